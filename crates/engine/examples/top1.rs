//! What the decoder would say next at every position of given token sequences.
//!
//! `cargo run --release -p footnote-engine --example top1 -- MODEL.gguf < IN > OUT`
//!
//! Each line of `IN` is `{"tokens":[id,…]}` or `{"text":"…"}`. For tokens, the line in `OUT` is
//! `{"top1":[id after 1 token, after 2, …],"logp":[natural-log probability of token 2, 3, …]}`; for a
//! text it is `{"tokens":[id,…]}`. `evals/agreement.py` compares both with llama.cpp.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use footnote_engine::{
    EngineError, LoadedModel, Origin, Outputs, Scratch, Step, greedy, log_probability,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Tokens(Vec<u32>),
    Text(String),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("usage: top1 MODEL.gguf < IN")?;
    let model = LoadedModel::open(&path, None)?;
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Line::Text(text) => serde_json::json!({ "tokens": model.tokenizer.encode(&text)? }),
            Line::Tokens(tokens) => {
                let vocab = model.tokenizer.vocab();
                if let Some(foreign) = tokens.iter().find(|token| **token as usize >= vocab) {
                    return Err(format!("token {foreign} is not in the vocabulary").into());
                }
                let (top1, logp) = read(&model, &tokens)?;
                serde_json::json!({ "top1": top1, "logp": logp })
            }
        };
        serde_json::to_writer(&mut stdout, &answer)?;
        writeln!(stdout)?;
    }
    Ok(())
}

/// The likeliest token after each position, and the log probability of what follows in `tokens`.
fn read(model: &LoadedModel, tokens: &[u32]) -> Result<(Vec<u32>, Vec<f64>), EngineError> {
    let mut cache = model.decoder.full_cache()?;
    let mut scratch = Scratch::default();
    let mut top1 = Vec::new();
    let mut logp = Vec::new();
    for chunk in tokens.chunks(64) {
        let mut steps = [Step {
            tokens: chunk,
            origin: Origin::Prompt,
            cache: &mut cache,
            outputs: Outputs::Every,
            perturbation: None,
        }];
        let rows = model
            .decoder
            .forward(&mut steps, &mut scratch, &|| true)?
            .ok_or(EngineError::Stopped)?;
        let logits = model.decoder.logits(&rows)?;
        for logits in logits.chunks_exact(model.decoder.config().vocab) {
            let nothing = || EngineError::Weights("the model gave no number".to_string());
            top1.push(greedy(logits).ok_or_else(nothing)?);
            if let Some(next) = tokens.get(top1.len()) {
                logp.push(log_probability(logits, *next));
            }
        }
    }
    Ok((top1, logp))
}
