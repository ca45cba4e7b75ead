//! `rank doc-types`: the candidates of a FinAgentBench dataset ordered by a ranker.

use std::path::Path;
use std::sync::Arc;

use footnote_agent::doctype::{LabelledQuestion, tfidf_ridge};
use footnote_agent::{
    DescribedOrder, DocTypeRanker, ExamplesOrder, FixedOrder, GeneratedOrder, NearestOrder,
    ProbeOrder, RandomOrder,
};
use footnote_engine::LanguageModel;
use footnote_eval::finagentbench::{PromptKind, read_records};
use serde_json::json;

use crate::args::RankArgs;
use crate::commands::retrieve::Written;
use crate::commands::train::labelled_questions;
use crate::commands::{Context, Usage};
use crate::output::Outcome;
use crate::setup;

/// What stands before an embedder's name where a probe of its vectors ranks.
const PROBE: &str = "probe:";

pub fn run(args: &RankArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let ranker = ranker(args, context)?;
    let total = read_records(&args.dataset)?.count() as u64;
    let mut out = Written::create(&args.out)?;
    let bar = output.items_bar("questions", total);
    let mut failed = 0usize;
    for record in read_records(&args.dataset)? {
        let outcome = record.map_err(anyhow::Error::from).and_then(|record| {
            if record.prompt.kind != PromptKind::Documents {
                anyhow::bail!("{}: not a document-type question", record.id);
            }
            let ranking = ranker.rank(&record.prompt.question)?;
            let order: Vec<usize> = ranking.order.iter().map(|kind| kind.index()).collect();
            let scores: Vec<f64> = order.iter().map(|&index| ranking.scores[index]).collect();
            out.line(&json!({ "id": record.id, "ranking": order, "scores": scores }))
        });
        if let Err(error) = outcome {
            failed += 1;
            output.warning(&format!("left out: {error:#}"));
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

fn ranker(args: &RankArgs, context: &Context) -> anyhow::Result<Box<dyn DocTypeRanker>> {
    let model = || -> anyhow::Result<Arc<dyn LanguageModel>> {
        let name = args.model.as_deref().unwrap_or(setup::DRAFT_MODEL);
        setup::language_model(Some(name), context)
    };
    Ok(match args.ranker.as_str() {
        "fixed" => Box::new(FixedOrder::default()),
        "random" => Box::new(RandomOrder(0)),
        "bm25" => Box::new(DescribedOrder),
        "model" => setup::doc_type_ranker(args.model.as_deref(), context)?,
        "generated" => Box::new(GeneratedOrder::new(model()?)),
        "nearest" => Box::new(NearestOrder::new(&labelled(args, context)?)),
        "tfidf-ridge" => Box::new(tfidf_ridge(&labelled(args, context)?)?),
        "examples" => Box::new(ExamplesOrder::new(model()?, &labelled(args, context)?)),
        other => {
            if let Some(folder) = other.strip_prefix("learned:") {
                Box::new(setup::learned_order(Path::new(folder), context)?)
            } else if let Some(embedder) = other.strip_prefix(PROBE) {
                let questions = labelled(args, context)?;
                let embedder = setup::embedder(embedder, context)?;
                Box::new(ProbeOrder::fit(embedder, &questions)?)
            } else {
                let known = "fixed, random, bm25, model, generated, learned:DIR, and with --labelled nearest, \
                             tfidf-ridge, examples and probe:EMBEDDER";
                return Err(Usage(format!("no ranker {other:?}; there are {known}")).into());
            }
        }
    })
}

/// The questions of `--labelled`; those that teach nothing are named and left out.
fn labelled(args: &RankArgs, context: &Context) -> anyhow::Result<Vec<LabelledQuestion>> {
    if args.labelled.is_empty() {
        let ranker = &args.ranker;
        return Err(Usage(format!(
            "{ranker} learns from labelled questions: give --labelled"
        ))
        .into());
    }
    Ok(labelled_questions(&args.labelled, context)?.questions)
}
