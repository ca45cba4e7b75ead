//! `train passages`: a passage ranker fitted on labelled FinAgentBench records.
//!
//! Records of one document, and all records that share a question's id, belong to one group: in the
//! public file that is a company. Groups are never parted between training and test, and nothing but the
//! measures of a chunk is kept in memory.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::bail;
use footnote_agent::rank::passage::{
    CrossValidation, Example, Feature, Features, FitOptions, Measurer, Training, fit, save,
    starting_weights,
};
use footnote_eval::file_hash;
use footnote_eval::finagentbench::{PromptKind, Record, read_records};
use serde_json::json;

use super::naming::name_of;
use crate::args::TrainPassagesArgs;
use crate::commands::Context;
use crate::output::Outcome;

/// Irrelevant chunks kept of a question: the likeliest, and every n-th of the rest.
const LIKELY_KEPT: usize = 48;
const OTHERS_KEPT: usize = 24;

pub fn run(args: &TrainPassagesArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let mut gathered = Gathered::default();
    let mut training = Training {
        seed: args.seed,
        ..Training::default()
    };
    for dataset in &args.dataset {
        training.datasets.push(name_of(dataset));
        training.sha256.push(file_hash(dataset)?);
        let bar = output.items_bar(&format!("reading {}", dataset.display()), 0);
        for record in read_records(dataset)? {
            bar.inc(1);
            match record {
                Ok(record) => {
                    if let Err(reason) = gathered.add(&record) {
                        training.left_out += 1;
                        output.warning(&format!("left out: {}: {reason}", record.id));
                    }
                }
                Err(error) => {
                    training.left_out += 1;
                    output.warning(&format!("left out: {error}"));
                }
            }
        }
        bar.finish_and_clear();
    }
    if gathered.examples.is_empty() {
        bail!(
            "no record to learn from; a record needs a qrel in which some chunks are relevant and some are not"
        );
    }
    let examples = gathered.grouped();
    training.questions = examples.len();
    training.chunks = examples.iter().map(|example| example.grades.len()).sum();
    output.step(&format!(
        "fitting on {} questions, {} chunks",
        training.questions, training.chunks
    ));
    let fitted = fit(
        &examples,
        &FitOptions {
            prior: starting_weights(),
            penalty: args.penalty,
            most_trees: usize::from(args.trees),
            folds: usize::from(args.folds),
            seed: args.seed,
        },
    );
    training.cross_validation = fitted.cross_validation;
    save(&args.out, &fitted.scorer, &training)?;
    report(args, &training, fitted.scorer.trees.len(), context)?;
    Ok(if training.left_out == 0 {
        Outcome::Done
    } else {
        Outcome::Partly
    })
}

fn report(
    args: &TrainPassagesArgs,
    training: &Training,
    trees: usize,
    context: &Context,
) -> anyhow::Result<()> {
    let output = &context.output;
    if args.json {
        return output.json(&json!({ "out": args.out, "trees": trees, "training": training }));
    }
    let CrossValidation {
        folds,
        groups,
        prior,
        linear,
        trees: boosted,
        ..
    } = training.cross_validation;
    output.line(&format!(
        "{} questions ({} left out) in {groups} groups; nDCG@5 on groups not seen, {folds} folds:",
        training.questions, training.left_out
    ))?;
    output.line(&format!("  built-in weights  {prior:.4}"))?;
    output.line(&format!("  fitted weights    {linear:.4}"))?;
    match boosted {
        Some(boosted) => output.line(&format!(
            "  and trees         {boosted:.4} (their number chosen on these folds; {trees} kept)"
        ))?,
        None => output.line("  no trees: too few questions")?,
    }
    output.line(&format!(
        "use it by `--ranker learned:{}`",
        args.out.display()
    ))
}

/// Examples and what they have in common, until all are read.
#[derive(Default)]
struct Gathered {
    measurer: Measurer,
    examples: Vec<Example>,
    /// Group of each example, to be followed to its root.
    roots: Vec<usize>,
    by_key: HashMap<u64, usize>,
}

impl Gathered {
    fn add(&mut self, record: &Record) -> Result<(), &'static str> {
        if record.prompt.kind != PromptKind::Chunks {
            return Err("not a question over chunks");
        }
        let grades = record.grades.as_deref().ok_or("no qrel")?;
        let relevant = grades.iter().filter(|grade| **grade > 0).count();
        if relevant == 0 {
            return Err("no chunk is relevant");
        }
        if grades.iter().all(|grade| grade == &grades[0]) {
            return Err("all chunks have one grade");
        }
        let texts: Vec<&str> = record
            .prompt
            .candidates
            .iter()
            .map(String::as_str)
            .collect();
        let mut measured = self.measurer.measure(&[&record.prompt.question], &texts);
        let features = measured.pop().ok_or("nothing was measured")?;
        let kept = kept(&features, grades);
        let at = self.examples.len();
        self.examples.push(Example {
            features: kept.iter().map(|&chunk| features[chunk]).collect(),
            grades: kept.iter().map(|&chunk| grades[chunk]).collect(),
            group: 0,
        });
        self.roots.push(at);
        let mut document = DefaultHasher::new();
        texts.hash(&mut document);
        let mut id = DefaultHasher::new();
        ("id", &record.id).hash(&mut id);
        for key in [document.finish(), id.finish()] {
            match self.by_key.get(&key) {
                Some(&other) => self.join(at, other),
                None => {
                    self.by_key.insert(key, at);
                }
            }
        }
        Ok(())
    }

    fn root(&self, mut at: usize) -> usize {
        while self.roots[at] != at {
            at = self.roots[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        // The smaller index is the root, whatever the order of joining.
        let (low, high) = (a.min(b), a.max(b));
        self.roots[high] = low;
    }

    fn grouped(mut self) -> Vec<Example> {
        for at in 0..self.examples.len() {
            self.examples[at].group = self.root(at) as u64;
        }
        self.examples
    }
}

/// The chunks to learn from: all relevant ones, the likeliest irrelevant ones, some others.
fn kept(features: &[Features], grades: &[u32]) -> Vec<usize> {
    let mut others: Vec<usize> = (0..grades.len()).filter(|&at| grades[at] == 0).collect();
    let likely = |at: usize| features[at][Feature::Combined as usize];
    others.sort_by(|&a, &b| likely(b).total_cmp(&likely(a)).then(a.cmp(&b)));
    let rest = others.split_off(others.len().min(LIKELY_KEPT));
    let step = rest.len().div_ceil(OTHERS_KEPT).max(1);
    let mut kept: Vec<usize> = (0..grades.len()).filter(|&at| grades[at] > 0).collect();
    kept.extend(others);
    kept.extend(rest.into_iter().step_by(step));
    kept.sort_unstable();
    kept
}
