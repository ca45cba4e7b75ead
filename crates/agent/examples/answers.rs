//! Answers a file of questions with one model, for measuring answers.
//!
//! `cargo run --release -p footnote-agent --example answers -- CORPUS MODEL.gguf QUESTIONS.jsonl OUT.jsonl [ID…]`
//!
//! Each line of `QUESTIONS` has `id` and `question`; nothing else of it is read. Each line of `OUT` is
//! `{"id","answer","shown"?,"formula"?,"verified","not_found","removed","seconds","tokens_in","tokens_out"}`,
//! written as soon as it is known: a run that is broken off goes on where it stood.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::Arc;

use footnote_agent::{Agent, FixedOrder, Question};
use footnote_engine::{LocalModel, LocalOptions};
use footnote_index::Corpus;
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, model, questions, out, only @ ..] = args.as_slice() else {
        return Err("usage: answers CORPUS MODEL.gguf QUESTIONS.jsonl OUT.jsonl [ID…]".into());
    };
    let agent = Agent::new(
        Arc::new(Corpus::open(&PathBuf::from(corpus))?),
        Arc::new(LocalModel::open(
            &PathBuf::from(model),
            LocalOptions::default(),
        )?),
        // Which model ranks the kinds of document is measured elsewhere.
        Arc::new(FixedOrder::default()),
    );
    let known: HashSet<String> = match File::open(out) {
        Ok(file) => BufReader::new(file)
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| {
                Some(
                    serde_json::from_str::<Value>(&line).ok()?["id"]
                        .as_str()?
                        .to_owned(),
                )
            })
            .collect(),
        Err(_) => HashSet::new(),
    };
    let mut out = OpenOptions::new().create(true).append(true).open(out)?;
    for line in BufReader::new(File::open(questions)?).lines() {
        let record: Value = serde_json::from_str(&line?)?;
        let (Some(id), Some(text)) = (record["id"].as_str(), record["question"].as_str()) else {
            return Err("a line without id or question".into());
        };
        let wanted = only.is_empty() || only.iter().any(|one| id.ends_with(one.as_str()));
        if !wanted || known.contains(id) {
            continue;
        }
        let answer = agent.ask(&Question::new(text)?, &mut |_| {})?;
        let calculation = answer.calculation.as_ref();
        let line = json!({
            "id": id,
            "answer": answer.text,
            "shown": calculation.map(|c| &c.shown),
            "formula": calculation.map(|c| &c.formula),
            "formula_from": calculation.map(|c| c.formula_from),
            "verified": answer.statements.iter().all(|s| s.verified)
                && answer.footnotes.iter().all(|f| f.verified),
            "footnotes": answer.footnotes.iter().map(|f| format!("{}#{}: {}", f.accession, f.page.unwrap_or(0), f.quote)).collect::<Vec<_>>(),
            "not_found": answer.not_found.as_ref().map(|n| &n.reason),
            "removed": answer.removed.iter().map(|r| json!([r.text, r.reason])).collect::<Vec<_>>(),
            "seconds": answer.trace.total_ms / 1000.0,
            "model_calls": answer.trace.model_calls,
            "tokens_in": answer.trace.tokens_in,
            "tokens_out": answer.trace.tokens_out,
        });
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    Ok(())
}
