//! Predictions against labels: per-question metrics, means with intervals, paired differences.
//!
//! The rule for bad input, whatever the format: a dataset that cannot be read whole is refused with file
//! and line, because the mean over the rest would be a mean over another dataset. So are labels
//! that name a candidate which is not there, and a dataset without any positive label. A prediction
//! that is missing, unreadable or invalid counts 0 on every metric, is counted, and is named with
//! file and line in [`Score::notes`]; two predictions for one question count as none. A question
//! none of whose candidates is positive stays in the mean with 0, as the author's code has it.

mod answers;
mod pages;
mod predictions;
mod rankings;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bootstrap::Clusters;
use crate::{EvalError, Interval, PairedDifference};

pub use answers::AnswerPrediction;

/// What was predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Order of the five document types; author's k is 5.
    DocTypes,
    /// Order of a document's chunks; reported at 5 and 10.
    Passages,
    /// Pages of a corpus.
    Pages,
    /// Answers in words and figures.
    Answers,
}

/// A scored run, question by question.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    task: Task,
    /// Metric name to one value a question, in dataset order.
    values: BTreeMap<String, Vec<f64>>,
    /// The questions' ids, in dataset order; not unique in chunk files.
    pub ids: Vec<String>,
    clusters: Vec<Option<String>>,
    /// Named parts of the dataset, each as places in it.
    groups: BTreeMap<String, Vec<usize>>,
    /// Questions without a usable prediction (they count 0).
    pub invalid: usize,
    /// What was wrong with which line, for a person.
    pub notes: Vec<String>,
}

/// What `eval score --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The task.
    pub task: Task,
    /// Questions in the dataset, all of them in every mean.
    pub n: usize,
    /// Questions without a usable prediction.
    pub invalid: usize,
    /// Whether intervals resample companies (else questions).
    pub clustered: bool,
    /// Means with intervals.
    pub metrics: BTreeMap<String, Interval>,
    /// The same over parts of the dataset: by kind of question or document, where known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, GroupReport>,
    /// Differences to another run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Comparison>,
}

/// A part of the dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Questions in it.
    pub n: usize,
    /// Means with intervals.
    pub metrics: BTreeMap<String, Interval>,
}

/// This run minus another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The other run's questions without a usable prediction.
    pub invalid: usize,
    /// The other run's means.
    pub metrics: BTreeMap<String, Interval>,
    /// Paired differences.
    pub differences: BTreeMap<String, PairedDifference>,
    /// What the difference in the leading metric supports.
    pub verdict: String,
}

impl Task {
    /// All.
    pub const ALL: [Task; 4] = [Task::DocTypes, Task::Passages, Task::Pages, Task::Answers];

    /// The name on the command line, in suites and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Task::DocTypes => "doc-types",
            Task::Passages => "passages",
            Task::Pages => "pages",
            Task::Answers => "answers",
        }
    }

    /// The metric a run is judged by.
    pub fn leading_metric(self) -> &'static str {
        match self {
            Task::DocTypes | Task::Passages => "ndcg@5",
            Task::Pages => "recall@5",
            Task::Answers => "strict",
        }
    }
}

impl Score {
    /// The value of a metric for each question, in dataset order.
    pub fn values(&self, metric: &str) -> Option<&[f64]> {
        self.values.get(metric).map(Vec::as_slice)
    }

    /// Means with intervals, and the differences to `other` where given.
    ///
    /// # Errors
    /// Where `other` is over another dataset.
    pub fn report(&self, other: Option<&Score>) -> Result<Report, EvalError> {
        let clusters = Clusters::new(self.clusters.iter().map(Option::as_deref));
        let against = match other {
            None => None,
            Some(other) => Some(self.compare(other, &clusters)?),
        };
        let groups = self.groups.iter().map(|(name, members)| {
            let part = Clusters::new(members.iter().map(|&q| self.clusters[q].as_deref()));
            let metrics = self.values.iter().map(|(metric, values)| {
                let values: Vec<f64> = members.iter().map(|&q| values[q]).collect();
                (metric.clone(), part.interval(&values))
            });
            let group = GroupReport {
                n: members.len(),
                metrics: metrics.collect(),
            };
            (name.clone(), group)
        });
        Ok(Report {
            task: self.task,
            n: self.ids.len(),
            invalid: self.invalid,
            clustered: self.clusters.iter().any(Option::is_some),
            metrics: self.intervals(&clusters),
            groups: groups.collect(),
            against,
        })
    }

    fn compare(&self, other: &Score, clusters: &Clusters) -> Result<Comparison, EvalError> {
        if self.task != other.task || self.ids != other.ids {
            return Err(EvalError::Comparison(format!(
                "{} questions of {} against {} questions of {}",
                self.ids.len(),
                self.task.name(),
                other.ids.len(),
                other.task.name()
            )));
        }
        let differences: BTreeMap<String, PairedDifference> = self
            .values
            .iter()
            .filter_map(|(name, ours)| {
                let theirs = other.values.get(name)?;
                Some((name.clone(), clusters.difference(ours, theirs)))
            })
            .collect();
        let verdict = verdict(self.task.leading_metric(), &differences);
        Ok(Comparison {
            invalid: other.invalid,
            metrics: other.intervals(clusters),
            differences,
            verdict,
        })
    }

    fn intervals(&self, clusters: &Clusters) -> BTreeMap<String, Interval> {
        self.values
            .iter()
            .map(|(name, values)| (name.clone(), clusters.interval(values)))
            .collect()
    }
}

fn verdict(metric: &str, differences: &BTreeMap<String, PairedDifference>) -> String {
    let Some(difference) = differences.get(metric) else {
        return format!("no difference in {metric} can be stated");
    };
    let PairedDifference {
        mean,
        ci95: [low, high],
        p,
    } = *difference;
    let range = format!("{mean:+.3} (95 % interval {low:+.3} to {high:+.3}, p = {p:.3})");
    if p < 0.05 && (low > 0.0 || high < 0.0) {
        let word = if mean > 0.0 { "better" } else { "worse" };
        format!("these questions support that this run is {word} in {metric}: {range}")
    } else {
        format!("these questions do not tell the two runs apart in {metric}: {range}")
    }
}

/// Scores a prediction file. Rankings may also come as TREC files, known by their names' endings:
/// `.qrels` or `.qrel` for the dataset, `.run` or `.trec` for the predictions.
///
/// # Errors
/// Where a file cannot be read, or the dataset is unusable as a whole.
pub fn score(task: Task, dataset: &Path, predictions: &Path) -> Result<Score, EvalError> {
    match task {
        Task::DocTypes | Task::Passages => rankings::score(task, dataset, predictions),
        Task::Pages => pages::score(dataset, predictions),
        Task::Answers => answers::score(dataset, predictions),
    }
}

/// One more value of each named metric, for the question that comes next.
fn put(values: &mut BTreeMap<String, Vec<f64>>, name: impl Into<String>, value: f64) {
    values.entry(name.into()).or_default().push(value);
}
