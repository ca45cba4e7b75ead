//! `rank doc-types`: the candidates of a FinAgentBench dataset ordered by a ranker.

use std::path::Path;

use footnote_agent::{
    DescribedOrder, DocTypeRanker, FixedOrder, GeneratedOrder, LearnedOrder, RandomOrder,
};
use footnote_eval::finagentbench::{PromptKind, read_records};
use serde_json::json;

use crate::args::RankArgs;
use crate::commands::retrieve::Written;
use crate::commands::{Context, Usage};
use crate::output::Outcome;
use crate::setup;

pub fn run(args: &RankArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let ranker: Box<dyn DocTypeRanker> = match args.ranker.as_str() {
        "fixed" => Box::new(FixedOrder::default()),
        "random" => Box::new(RandomOrder(0)),
        "bm25" => Box::new(DescribedOrder),
        "model" => setup::doc_type_ranker(args.model.as_deref(), context)?,
        "generated" => {
            let model = args.model.as_deref().unwrap_or(setup::DRAFT_MODEL);
            Box::new(GeneratedOrder::new(setup::language_model(
                Some(model),
                context,
            )?))
        }
        other => match other.strip_prefix("learned:") {
            Some(folder) => Box::new(LearnedOrder::open(Path::new(folder))?),
            None => {
                let known = "fixed, random, bm25, model, generated and learned:DIR";
                return Err(Usage(format!("no ranker {other:?}; there are {known}")).into());
            }
        },
    };
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
