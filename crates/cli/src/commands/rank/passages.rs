//! `rank passages`: the chunks of a FinAgentBench dataset ordered by a ranker.
//!
//! One record is in memory at a time: the real file has 5 GB. Its ids repeat, so the line's place is the
//! key: every line of the dataset gets a line of predictions, an empty ranking where it failed.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::Context as _;
use footnote_agent::rank::passage::{Choice, Models, PassageRanker, order};
use footnote_eval::finagentbench::{PromptKind, Record, read_records};
use serde_json::{Value, json};

use crate::args::RankPassagesArgs;
use crate::commands::retrieve::Written;
use crate::commands::{Context, Usage};
use crate::output::Outcome;
use crate::setup;

pub fn run(args: &RankPassagesArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let ranker = ranker(&args.ranker, args.model.as_deref(), context)?;
    let lines = count_lines(&args.dataset)?;
    let mut out = Written::create(&args.out)?;
    let bar = output.items_bar("questions", lines);
    let mut failed = 0usize;
    for record in read_records(&args.dataset)? {
        let ranked = record
            .map_err(|error| (String::new(), anyhow::Error::from(error)))
            .and_then(|record| rank(ranker.as_ref(), &record).map_err(|error| (record.id, error)));
        match ranked {
            Ok(line) => out.line(&line)?,
            Err((id, error)) => {
                failed += 1;
                output.warning(&format!("ranked nothing: {id} {error:#}"));
                out.line(&json!({ "id": id, "ranking": [], "error": format!("{error:#}") }))?;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    out.finish()?;
    Ok(if failed == 0 {
        Outcome::Done
    } else {
        Outcome::Partly
    })
}

/// The ranker of a name, with the model that it asks, if any.
pub fn ranker(
    name: &str,
    model: Option<&str>,
    context: &Context,
) -> anyhow::Result<Box<dyn PassageRanker>> {
    let choice = Choice::parse(name).map_err(|error| Usage(error.to_string()))?;
    let mut models = Models::default();
    if choice.needs_model() {
        let name = model.unwrap_or(setup::DRAFT_MODEL);
        models.language = Some(setup::language_model(Some(name), context)?);
    }
    if choice.needs_embedder() {
        models.embedder = Some(setup::embedder(setup::SENTENCE_ENCODER, context)?);
    }
    Ok(choice.build(&models)?)
}

fn rank(ranker: &dyn PassageRanker, record: &Record) -> anyhow::Result<Value> {
    anyhow::ensure!(
        record.prompt.kind == PromptKind::Chunks,
        "not a question over chunks; `footnote rank doc-types` ranks document types"
    );
    let texts: Vec<&str> = record
        .prompt
        .candidates
        .iter()
        .map(String::as_str)
        .collect();
    let scores = ranker.scores(&record.prompt.question, &texts)?;
    let order = order(&scores);
    let scores: Vec<f32> = order.iter().map(|&index| scores[index]).collect();
    Ok(json!({ "id": record.id, "ranking": order, "scores": scores }))
}

/// How many lines a file has, for the progress bar; read as bytes, since parsing gigabytes twice is slow.
fn count_lines(path: &Path) -> anyhow::Result<u64> {
    let unreadable = || format!("cannot read {}", path.display());
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).with_context(unreadable)?);
    let mut buffer = vec![0; 1 << 20];
    let mut lines = 0;
    loop {
        match reader.read(&mut buffer).with_context(unreadable)? {
            0 => return Ok(lines),
            read => lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}
