//! `train doc-types`: a ranker of document types fitted on labelled questions, with what it is worth on
//! companies and wordings it has not seen.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use footnote_agent::doctype::{
    LabelledQuestion, PENALTY, Probe, TrainedOn, Vectors, calibration, tfidf_ridge, wording,
};
use footnote_agent::{
    DescribedOrder, DocTypeRanker, DocTypeRanking, FixedOrder, LearnedOrder, NearestOrder,
};
use footnote_engine::Embedder;
use footnote_eval::metrics::{Denominator, average_precision, ndcg_exp, reciprocal_rank};
use footnote_eval::{Interval, PairedDifference, difference, interval};
use footnote_filings::DocType;
use serde::Serialize;
use serde_json::json;

use super::labelled::{Labelled, labelled_questions};
use crate::args::TrainDocTypesArgs;
use crate::commands::Context;
use crate::commands::retrieve::Written;
use crate::output::Outcome;
use crate::setup;

/// Rankings are scored to this depth: all five types.
const K: usize = 5;
/// The rankers compared that need no vectors, before those that do and `learned`.
const PLAIN: [&str; 4] = ["fixed", "bm25", "nearest", "tfidf-ridge"];
/// `learned` without vectors, where there are any.
const CUES: &str = "cues";
const LEARNED: &str = "learned";
/// Groups of questions over which a calibration error is taken.
const BINS: usize = 5;
const METRICS: [&str; 5] = ["ndcg@5", "map@5", "mrr@5", "mrr_top@5", "top1"];

/// Vectors of every question by one embedder.
struct Embedded {
    embedder: Arc<dyn Embedder>,
    /// The name of its probe in the report.
    ranker: String,
    vectors: Vec<Vec<f32>>,
}

const LICENCE_NOTE: &str = "Learned weights of labelled questions. FinAgentBench's terms of use are \
    not known to this program: ask before a ranker trained on it is passed on.";

pub fn run(args: &TrainDocTypesArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let Labelled {
        questions,
        ids,
        datasets,
        sha256,
        left_out,
    } = labelled_questions(&args.dataset, context)?;
    let mut trained_on = TrainedOn {
        licence_note: LICENCE_NOTE.to_owned(),
        datasets,
        sha256,
        left_out,
        ..TrainedOn::default()
    };
    let embedded = embedded(args, &questions, context)?;
    let groups = Groups::of(&questions);
    trained_on.questions = questions.len();
    trained_on.companies = groups
        .companies
        .iter()
        .flatten()
        .collect::<HashSet<_>>()
        .len();
    trained_on.templates = groups.templates.iter().collect::<HashSet<_>>().len();

    let known = Known {
        questions: &questions,
        groups: &groups,
        embedded: &embedded,
        folds: usize::from(args.folds),
        seed: args.seed,
    };
    let by_company = cross_validate(&known, &groups.company_keys(), context)?;
    let by_template = cross_validate(&known, &groups.template_keys(), context)?;
    let start = Instant::now();
    let every: Vec<usize> = (0..questions.len()).collect();
    let mut learned = known.fit(&every, true)?;
    let fit_seconds = start.elapsed().as_secs_f64();
    if let Some(used) = embedded.first() {
        learned = learned.with_embedder(Arc::clone(&used.embedder))?;
    }
    let start = Instant::now();
    for question in &questions {
        learned.scores(&question.question)?;
    }
    let rank_ms = start.elapsed().as_secs_f64() * 1e3 / questions.len() as f64;
    let parts = [
        report("companies not seen", &known, &by_company, None),
        report(
            "companies not seen, wording seen",
            &known,
            &by_company,
            Some(true),
        ),
        report(
            "companies not seen, wording not seen",
            &known,
            &by_company,
            Some(false),
        ),
        report("wordings not seen", &known, &by_template, None),
    ];
    let parts: Vec<Part> = parts.into_iter().flatten().collect();
    if let Some(path) = &args.predictions {
        let mut out = Written::create(path)?;
        for (id, orders) in ids.iter().zip(&by_company.orders) {
            out.line(&json!({ "id": id, "ranking": orders.last() }))?;
        }
        out.finish()?;
    }
    let folder = args
        .out
        .clone()
        .unwrap_or_else(|| context.home.doc_type_ranker());
    let settings = learned.settings();
    let stacked = learned.embedder().map(str::to_owned);
    learned
        .with_record(trained_on.clone(), serde_json::to_value(&parts)?)
        .save(&folder)?;
    if args.json {
        output.json(&json!({
            "out": folder, "trained_on": trained_on, "settings": settings, "embedder": stacked, "parts": parts,
            "fit_seconds": fit_seconds, "rank_ms": rank_ms,
        }))?;
    } else {
        print(&parts, &trained_on, context)?;
        output.line(&match &stacked {
            Some(name) => format!("\nthe saved ranker stacks its cues with a probe of {name}"),
            None => "\nthe saved ranker reads words alone".to_owned(),
        })?;
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

/// Opens the embedders that were asked for and reads every question by each. One that cannot be had is named; what is
/// learned then goes without it.
fn embedded(
    args: &TrainDocTypesArgs,
    questions: &[LabelledQuestion],
    context: &Context,
) -> anyhow::Result<Vec<Embedded>> {
    let mut embedded = Vec::new();
    for name in args.embed.iter().filter(|name| *name != "none") {
        let embedder = match setup::embedder(name, context) {
            Ok(embedder) => embedder,
            Err(error) => {
                context.output.warning(&format!(
                    "learning without the vectors of {name}: {error:#}"
                ));
                continue;
            }
        };
        let bar = context
            .output
            .items_bar(&format!("reading by {name}"), questions.len() as u64);
        let mut vectors = Vec::with_capacity(questions.len());
        for question in questions {
            vectors.extend(embedder.embed(&[&question.question])?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        embedded.push(Embedded {
            ranker: format!("probe:{}", embedder.name()),
            embedder,
            vectors,
        });
    }
    Ok(embedded)
}

/// All that a cross-validation draws on.
struct Known<'a> {
    questions: &'a [LabelledQuestion],
    groups: &'a Groups,
    embedded: &'a [Embedded],
    folds: usize,
    seed: u64,
}

impl Known<'_> {
    /// Names of the rankers compared, `learned` last.
    fn rankers(&self) -> Vec<&str> {
        let mut names = PLAIN.to_vec();
        names.extend(
            self.embedded
                .iter()
                .map(|embedded| embedded.ranker.as_str()),
        );
        if !self.embedded.is_empty() {
            names.push(CUES);
        }
        names.push(LEARNED);
        names
    }

    fn chosen(&self, chosen: &[usize]) -> Vec<LabelledQuestion> {
        chosen
            .iter()
            .map(|&at| self.questions[at].clone())
            .collect()
    }

    /// What the chosen questions teach, with the first embedder's vectors or without.
    fn fit(&self, chosen: &[usize], with_vectors: bool) -> anyhow::Result<LearnedOrder> {
        let stacked = self.embedded.first().filter(|_| with_vectors);
        let vectors: Option<Vec<Vec<f32>>> = stacked.map(|embedded| {
            chosen
                .iter()
                .map(|&at| embedded.vectors[at].clone())
                .collect()
        });
        let vectors = stacked
            .zip(vectors.as_ref())
            .map(|(embedded, vectors)| Vectors {
                embedder: embedded.embedder.as_ref(),
                vectors,
            });
        Ok(LearnedOrder::fit(&self.chosen(chosen), vectors.as_ref())?)
    }

    /// Question `at`'s vector by the embedder that `learned` stacks.
    fn vector(&self, at: usize) -> Option<&[f32]> {
        let embedded = self.embedded.first()?;
        Some(embedded.vectors[at].as_slice())
    }
}

/// What each question got from the fold that did not see its group.
struct Validated {
    /// One ranking a ranker.
    orders: Vec<Vec<Vec<usize>>>,
    /// What `learned` says of the five types.
    probabilities: Vec<[f64; 5]>,
    /// Whether the training part had a question of the same wording.
    seen: Vec<bool>,
}

fn cross_validate(known: &Known, keys: &[String], context: &Context) -> anyhow::Result<Validated> {
    let questions = known.questions;
    let fold_of = folds_of(keys, known.folds, known.seed);
    let templates = &known.groups.templates;
    let mut validated = Validated {
        orders: vec![Vec::new(); questions.len()],
        probabilities: vec![[0.0; 5]; questions.len()],
        seen: vec![false; questions.len()],
    };
    let bar = context
        .output
        .items_bar("cross-validating", known.folds as u64);
    for fold in 0..known.folds {
        let (test, train): (Vec<usize>, Vec<usize>) =
            (0..questions.len()).partition(|&at| fold_of[at] == fold);
        bar.inc(1);
        if test.is_empty() {
            continue;
        }
        let learn = known.chosen(&train);
        let seen: HashSet<usize> = train.iter().map(|&at| templates[at]).collect();
        let plain: [Box<dyn DocTypeRanker>; PLAIN.len()] = [
            Box::new(FixedOrder::default()),
            Box::new(DescribedOrder),
            Box::new(NearestOrder::new(&learn)),
            Box::new(tfidf_ridge(&learn)?),
        ];
        let probes: Vec<(&Embedded, Probe)> = known
            .embedded
            .iter()
            .map(|embedded| {
                let vectors: Vec<&[f32]> = train
                    .iter()
                    .map(|&at| embedded.vectors[at].as_slice())
                    .collect();
                let learn: Vec<&LabelledQuestion> = learn.iter().collect();
                (embedded, Probe::fit(&learn, &vectors, PENALTY))
            })
            .collect();
        let cues = match known.embedded {
            [] => None,
            _ => Some(known.fit(&train, false)?),
        };
        let learned = known.fit(&train, true)?;
        for at in test {
            validated.seen[at] = seen.contains(&templates[at]);
            let question = &questions[at].question;
            let mut put = |order: &[DocType]| {
                let order = order.iter().map(|kind| kind.index()).collect();
                validated.orders[at].push(order);
            };
            for ranker in &plain {
                put(&ranker.rank(question)?.order);
            }
            for (embedded, probe) in &probes {
                let scores = probe.scores(&embedded.vectors[at]);
                put(&DocTypeRanking::from_scores("", scores).order);
            }
            if let Some(cues) = &cues {
                put(&DocTypeRanking::from_scores("", cues.scores_of(question, None)).order);
            }
            let scores = learned.scores_of(question, known.vector(at));
            put(&DocTypeRanking::from_scores("", scores).order);
            validated.probabilities[at] = learned.probabilities(&scores);
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
    /// In the order of the report.
    order: Vec<String>,
    rankers: BTreeMap<String, BTreeMap<&'static str, Interval>>,
    /// nDCG@5 of `learned` less that of each other.
    learned_less: BTreeMap<String, PairedDifference>,
    calibration: Calibration,
}

/// How true the probabilities of `learned` are.
#[derive(Serialize)]
struct Calibration {
    /// Mean of `-ln` of the probability given to the types of the highest grade.
    log_loss: f64,
    /// The same of how often each type is of the highest grade.
    log_loss_of_shares: f64,
    /// Distance of the probability given to the first type from how often it is right.
    error: f64,
}

fn report(
    name: &'static str,
    known: &Known,
    validated: &Validated,
    seen: Option<bool>,
) -> Option<Part> {
    let Known {
        questions, groups, ..
    } = known;
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
    let names = known.rankers();
    let rankers = names
        .iter()
        .enumerate()
        .map(|(ranker, name)| {
            let metrics = METRICS
                .iter()
                .map(|metric| (*metric, interval(&values(ranker, metric), &clusters)))
                .collect();
            ((*name).to_owned(), metrics)
        })
        .collect();
    let last = names.len() - 1;
    let ours = values(last, METRICS[0]);
    let learned_less = (0..last)
        .map(|other| {
            (
                names[other].to_owned(),
                difference(&ours, &values(other, METRICS[0]), &clusters),
            )
        })
        .collect();
    let grades: Vec<[u32; 5]> = chosen.iter().map(|&at| questions[at].grades).collect();
    let said: Vec<[f64; 5]> = chosen
        .iter()
        .map(|&at| validated.probabilities[at])
        .collect();
    let mut shares = [0.0; 5];
    for target in grades.iter().map(calibration::target) {
        for (share, target) in shares.iter_mut().zip(target) {
            *share += target / grades.len() as f64;
        }
    }
    Some(Part {
        name,
        questions: chosen.len(),
        order: names.into_iter().map(str::to_owned).collect(),
        rankers,
        learned_less,
        calibration: Calibration {
            log_loss: calibration::log_loss(&said, &grades),
            log_loss_of_shares: calibration::log_loss(&vec![shares; grades.len()], &grades),
            error: calibration::calibration_error(&said, &grades, BINS),
        },
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
            "  {:<32}{}",
            "",
            METRICS.map(|m| format!("{m:<22}")).concat()
        ))?;
        for ranker in &part.order {
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
            output.line(&format!("  {ranker:<32}{cells}"))?;
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
        let Calibration {
            log_loss,
            log_loss_of_shares,
            error,
        } = part.calibration;
        output.line(&format!(
            "  probabilities of learned: log loss {log_loss:.3} (shares alone {log_loss_of_shares:.3}), off by {error:.3} on average"
        ))?;
    }
    Ok(())
}
