//! `train doc-types`: a ranker of document types fitted on labelled questions, with what it is worth on
//! companies and wordings it has not seen.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use footnote_agent::doctype::{LabelledQuestion, TrainedOn, tfidf_ridge, wording};
use footnote_agent::{DescribedOrder, DocTypeRanker, FixedOrder, LearnedOrder, NearestOrder};
use footnote_eval::finagentbench::{PromptKind, Record, read_records};
use footnote_eval::metrics::{Denominator, average_precision, ndcg_exp, reciprocal_rank};
use footnote_eval::{Interval, PairedDifference, difference, file_hash, interval};
use serde::Serialize;
use serde_json::json;

use super::naming::name_of;
use crate::args::TrainDocTypesArgs;
use crate::commands::Context;
use crate::commands::retrieve::Written;
use crate::output::Outcome;

/// Rankings are scored to this depth: all five types.
const K: usize = 5;
/// The rankers compared.
const RANKERS: [&str; 5] = ["fixed", "bm25", "nearest", "tfidf-ridge", "learned"];
const METRICS: [&str; 5] = ["ndcg@5", "map@5", "mrr@5", "mrr_top@5", "top1"];

const LICENCE_NOTE: &str = "Learned weights of labelled questions. FinAgentBench's terms of use are \
    not known to this program: ask before a ranker trained on it is passed on.";

pub fn run(args: &TrainDocTypesArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let mut questions = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    let mut trained_on = TrainedOn {
        licence_note: LICENCE_NOTE.to_owned(),
        ..TrainedOn::default()
    };
    let mut known: HashSet<String> = HashSet::new();
    for dataset in &args.dataset {
        trained_on.datasets.push(name_of(dataset));
        trained_on.sha256.push(file_hash(dataset)?);
        for record in read_records(dataset)? {
            let outcome = record
                .map_err(anyhow::Error::from)
                .and_then(|record| Ok((labelled(&record, dataset)?, record.id)));
            match outcome {
                Ok((question, id)) if known.insert(question.question.clone()) => {
                    questions.push(question);
                    ids.push(id);
                }
                Ok((_, id)) => {
                    trained_on.left_out += 1;
                    output.warning(&format!(
                        "left out: {id}: its question stands there already"
                    ));
                }
                Err(error) => {
                    trained_on.left_out += 1;
                    output.warning(&format!("left out: {error:#}"));
                }
            }
        }
    }
    if questions.is_empty() {
        bail!("no labelled question to learn from; a record needs a qrel with grades of the types");
    }
    let groups = Groups::of(&questions);
    trained_on.questions = questions.len();
    trained_on.companies = groups
        .companies
        .iter()
        .flatten()
        .collect::<HashSet<_>>()
        .len();
    trained_on.templates = groups.templates.iter().collect::<HashSet<_>>().len();

    let by_company = cross_validate(&questions, &groups, &groups.company_keys(), args, context)?;
    let by_template = cross_validate(&questions, &groups, &groups.template_keys(), args, context)?;
    let start = Instant::now();
    let learned = LearnedOrder::fit(&questions)?;
    let fit_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for question in &questions {
        learned.scores(&question.question);
    }
    let rank_ms = start.elapsed().as_secs_f64() * 1e3 / questions.len() as f64;
    let parts = [
        report("companies not seen", &questions, &groups, &by_company, None),
        report(
            "companies not seen, wording seen",
            &questions,
            &groups,
            &by_company,
            Some(true),
        ),
        report(
            "companies not seen, wording not seen",
            &questions,
            &groups,
            &by_company,
            Some(false),
        ),
        report("wordings not seen", &questions, &groups, &by_template, None),
    ];
    let parts: Vec<Part> = parts.into_iter().flatten().collect();
    if let Some(path) = &args.predictions {
        let mut out = Written::create(path)?;
        for (id, orders) in ids.iter().zip(&by_company.orders) {
            out.line(&json!({ "id": id, "ranking": orders[RANKERS.len() - 1] }))?;
        }
        out.finish()?;
    }
    let folder = args
        .out
        .clone()
        .unwrap_or_else(|| context.home.doc_type_ranker());
    let settings = learned.settings();
    learned
        .with_record(trained_on.clone(), serde_json::to_value(&parts)?)
        .save(&folder)?;
    if args.json {
        output.json(&json!({
            "out": folder, "trained_on": trained_on, "settings": settings, "parts": parts,
            "fit_seconds": fit_seconds, "rank_ms": rank_ms,
        }))?;
    } else {
        print(&parts, &trained_on, context)?;
        output.line(&format!(
            "use it by `--ranker learned:{}`",
            folder.display()
        ))?;
    }
    Ok(match trained_on.left_out {
        0 => Outcome::Done,
        _ => Outcome::Partly,
    })
}

fn labelled(record: &Record, dataset: &Path) -> anyhow::Result<LabelledQuestion> {
    let place = format!("{}:{}: {}", dataset.display(), record.line, record.id);
    if record.prompt.kind != PromptKind::Documents {
        bail!("{place}: not a document-type question");
    }
    let Some(grades) = &record.grades else {
        bail!("{place}: no qrel to learn from");
    };
    let grades: [u32; 5] = match grades.as_slice().try_into() {
        Ok(grades) => grades,
        Err(_) => bail!("{place}: {} grades instead of five", grades.len()),
    };
    if grades.iter().any(|&grade| grade > 4) {
        bail!("{place}: a grade above 4");
    }
    if grades.iter().all(|grade| *grade == grades[0]) {
        bail!("{place}: all types have one grade, which orders nothing");
    }
    Ok(LabelledQuestion {
        question: record.prompt.question.clone(),
        grades,
    })
}

/// What questions have in common.
struct Groups {
    companies: Vec<Option<String>>,
    templates: Vec<usize>,
}

impl Groups {
    fn of(questions: &[LabelledQuestion]) -> Groups {
        let masked: Vec<String> = questions
            .iter()
            .map(|q| wording::masked(&q.question))
            .collect();
        Groups {
            companies: questions
                .iter()
                .map(|q| wording::company(&q.question))
                .collect(),
            templates: wording::templates(&masked),
        }
    }

    /// A question that names nobody belongs to those of its wording.
    fn company_keys(&self) -> Vec<String> {
        self.companies
            .iter()
            .zip(&self.templates)
            .map(|(company, template)| match company {
                Some(company) => format!("company {company}"),
                None => format!("wording {template}"),
            })
            .collect()
    }

    fn template_keys(&self) -> Vec<String> {
        self.templates
            .iter()
            .map(|template| format!("wording {template}"))
            .collect()
    }
}

/// Each question's rankings by the fold that did not see its group, one a ranker.
struct Validated {
    orders: Vec<Vec<Vec<usize>>>,
    /// Whether the training part had a question of the same wording.
    seen: Vec<bool>,
}

fn cross_validate(
    questions: &[LabelledQuestion],
    groups: &Groups,
    keys: &[String],
    args: &TrainDocTypesArgs,
    context: &Context,
) -> anyhow::Result<Validated> {
    let folds = usize::from(args.folds);
    let fold_of = folds_of(keys, folds, args.seed);
    let templates = &groups.templates;
    let mut validated = Validated {
        orders: vec![Vec::new(); questions.len()],
        seen: vec![false; questions.len()],
    };
    let bar = context.output.items_bar("cross-validating", folds as u64);
    for fold in 0..folds {
        let (test, train): (Vec<usize>, Vec<usize>) =
            (0..questions.len()).partition(|&at| fold_of[at] == fold);
        bar.inc(1);
        if test.is_empty() {
            continue;
        }
        let learn: Vec<LabelledQuestion> = train.iter().map(|&at| questions[at].clone()).collect();
        let seen: HashSet<usize> = train.iter().map(|&at| templates[at]).collect();
        let rankers: [Box<dyn DocTypeRanker>; RANKERS.len()] = [
            Box::new(FixedOrder::default()),
            Box::new(DescribedOrder),
            Box::new(NearestOrder::new(&learn)),
            Box::new(tfidf_ridge(&learn)?),
            Box::new(LearnedOrder::fit(&learn)?),
        ];
        for at in test {
            validated.seen[at] = seen.contains(&templates[at]);
            for ranker in &rankers {
                let ranking = ranker.rank(&questions[at].question)?;
                validated.orders[at].push(ranking.order.iter().map(|kind| kind.index()).collect());
            }
        }
    }
    bar.finish_and_clear();
    Ok(validated)
}

/// A fold for each question, groups kept together, dealt out in an order drawn by the seed.
fn folds_of(keys: &[String], folds: usize, seed: u64) -> Vec<usize> {
    let mix = |key: &str| {
        let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = key.bytes().fold(start, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        hash ^ (hash >> 29)
    };
    let mut drawn: Vec<&String> = keys.iter().collect::<HashSet<_>>().into_iter().collect();
    drawn.sort_unstable_by_key(|key| (mix(key), key.as_str()));
    let fold: BTreeMap<&String, usize> = drawn
        .into_iter()
        .enumerate()
        .map(|(place, key)| (key, place % folds))
        .collect();
    keys.iter().map(|key| fold[key]).collect()
}

/// One table of the report.
#[derive(Serialize)]
struct Part {
    name: &'static str,
    questions: usize,
    rankers: BTreeMap<&'static str, BTreeMap<&'static str, Interval>>,
    /// nDCG@5 of `learned` less that of each other.
    learned_less: BTreeMap<&'static str, PairedDifference>,
}

fn report(
    name: &'static str,
    questions: &[LabelledQuestion],
    groups: &Groups,
    validated: &Validated,
    seen: Option<bool>,
) -> Option<Part> {
    let chosen: Vec<usize> = (0..questions.len())
        .filter(|&at| seen.is_none_or(|seen| validated.seen[at] == seen))
        .collect();
    if chosen.is_empty() {
        return None;
    }
    let clusters: Vec<Option<&str>> = chosen
        .iter()
        .map(|&at| groups.companies[at].as_deref())
        .collect();
    let values = |ranker: usize, metric: &str| -> Vec<f64> {
        chosen
            .iter()
            .map(|&at| measure(metric, &questions[at].grades, &validated.orders[at][ranker]))
            .collect()
    };
    let rankers = RANKERS
        .iter()
        .enumerate()
        .map(|(ranker, name)| {
            let metrics = METRICS
                .iter()
                .map(|metric| (*metric, interval(&values(ranker, metric), &clusters)))
                .collect();
            (*name, metrics)
        })
        .collect();
    let last = RANKERS.len() - 1;
    let ours = values(last, METRICS[0]);
    let learned_less = (0..last)
        .map(|other| {
            (
                RANKERS[other],
                difference(&ours, &values(other, METRICS[0]), &clusters),
            )
        })
        .collect();
    Some(Part {
        name,
        questions: chosen.len(),
        rankers,
        learned_less,
    })
}

fn measure(metric: &str, grades: &[u32; 5], order: &[usize]) -> f64 {
    let top = grades.iter().max().copied().unwrap_or(0);
    match metric {
        "ndcg@5" => ndcg_exp(grades, order, K),
        "map@5" => average_precision(grades, order, K, Denominator::AllRelevant),
        "mrr@5" => reciprocal_rank(grades, order, K, 1),
        "mrr_top@5" => reciprocal_rank(grades, order, K, top),
        _ => f64::from(u8::from(order.first().is_some_and(|&at| grades[at] == top))),
    }
}

fn print(parts: &[Part], trained_on: &TrainedOn, context: &Context) -> anyhow::Result<()> {
    let output = &context.output;
    output.line(&format!(
        "{} questions ({} left out), {} companies, {} wordings",
        trained_on.questions, trained_on.left_out, trained_on.companies, trained_on.templates
    ))?;
    for part in parts {
        output.line(&format!("\n{} ({} questions)", part.name, part.questions))?;
        output.line(&format!(
            "  {:<12}{}",
            "",
            METRICS.map(|m| format!("{m:<22}")).concat()
        ))?;
        for ranker in RANKERS {
            let cells: String = METRICS
                .iter()
                .map(|metric| {
                    let Interval {
                        mean,
                        ci95: [low, high],
                    } = part.rankers[ranker][metric];
                    format!("{:<22}", format!("{mean:.3} [{low:.3},{high:.3}]"))
                })
                .collect();
            output.line(&format!("  {ranker:<12}{cells}"))?;
        }
        for (
            other,
            PairedDifference {
                mean,
                ci95: [low, high],
                p,
            },
        ) in &part.learned_less
        {
            output.line(&format!(
                "  learned less {other}: nDCG@5 {mean:+.3} [{low:+.3},{high:+.3}], p {p:.4}"
            ))?;
        }
    }
    Ok(())
}
