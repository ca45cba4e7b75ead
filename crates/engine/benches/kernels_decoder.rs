//! How fast does the whole decoder read a prompt and add tokens, and where does the time go?
//!
//! `cargo bench -p footnote-engine --bench kernels_decoder -- MODEL.gguf [PROMPT_TOKENS [GEN_TOKENS]]`
#![expect(clippy::print_stdout, reason = "a benchmark's report")]

use std::path::Path;
use std::time::Instant;

use footnote_engine::{EngineError, LoadedModel, Origin, Outputs, Scratch, Step, greedy};

/// Tokens of one pass over a prompt.
const CHUNK: usize = 512;

fn main() -> Result<(), EngineError> {
    let mut arguments = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let Some(path) = arguments.next() else {
        println!("no model given: name a GGUF file");
        return Ok(());
    };
    let mut number = |default: usize| {
        arguments
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (prompt_tokens, gen_tokens) = (number(1024), number(64));
    let start = Instant::now();
    let model = LoadedModel::open(Path::new(&path), Some(prompt_tokens + gen_tokens + 1))?;
    println!("{path}: loaded in {:.2} s", start.elapsed().as_secs_f64());
    let decoder = &model.decoder;
    let vocabulary = decoder.config().vocab as u32;
    let prompt: Vec<u32> = (0..prompt_tokens as u32)
        .map(|i| (i * 7919 + 11) % vocabulary)
        .collect();
    let mut cache = decoder.full_cache()?;
    let mut scratch = Scratch::default();
    let start = Instant::now();
    let mut row = Vec::new();
    for tokens in prompt.chunks(CHUNK) {
        let step = Step {
            tokens,
            origin: Origin::Prompt,
            cache: &mut cache,
            outputs: Outputs::Last,
            perturbation: None,
        };
        row = decoder
            .forward(&mut [step], &mut scratch, &|| true)?
            .unwrap_or_default();
    }
    let mut token = greedy(&decoder.logits(&row)?).unwrap_or_default();
    let prefill = start.elapsed().as_secs_f64();
    println!(
        "prefill {prompt_tokens} tokens: {:.1} tokens/s",
        prompt_tokens as f64 / prefill
    );
    let start = Instant::now();
    let mut head = 0.0;
    for _ in 0..gen_tokens {
        let step = Step {
            tokens: &[token],
            origin: Origin::Written,
            cache: &mut cache,
            outputs: Outputs::Last,
            perturbation: None,
        };
        row = decoder
            .forward(&mut [step], &mut scratch, &|| true)?
            .unwrap_or_default();
        let logits = Instant::now();
        token = greedy(&decoder.logits(&row)?).unwrap_or_default();
        head += logits.elapsed().as_secs_f64();
    }
    let decode = start.elapsed().as_secs_f64();
    println!(
        "decode {gen_tokens} tokens: {:.1} tokens/s, {:.2} ms each, {:.2} ms of it logits and choice",
        gen_tokens as f64 / decode,
        decode / gen_tokens as f64 * 1e3,
        head / gen_tokens as f64 * 1e3,
    );
    Ok(())
}
