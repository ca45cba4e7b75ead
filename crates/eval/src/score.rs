//! Predictions against labels: per-question metrics, means with intervals, paired differences.
//!
//! The rule for bad input: a dataset that cannot be read whole is refused, because the mean over
//! the rest would be a mean over another dataset. A prediction that is missing, unreadable or
//! invalid counts 0 on every metric, is counted, and is named in [`Score::notes`]. Two predictions
//! for one question count as none.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bootstrap::Clusters;
use crate::metrics::{self, Denominator};
use crate::{EvalError, Interval, PagePrediction, PairedDifference, finagentbench, read_lines};

/// What was predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Order of the five document types; author's k is 5.
    DocTypes,
    /// Order of a document's chunks; reported at 5 and 10.
    Passages,
    /// Pages of a corpus.
    Pages,
}

/// A scored run, question by question.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    task: Task,
    /// Metric name to one value a question, in dataset order.
    values: BTreeMap<String, Vec<f64>>,
    clusters: Vec<Option<String>>,
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
    /// Differences to another run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Comparison>,
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
    /// The metric a run is judged by.
    pub fn leading_metric(self) -> &'static str {
        match self {
            Task::DocTypes | Task::Passages => "ndcg@5",
            Task::Pages => "recall@5",
        }
    }
}

impl Score {
    /// Means with intervals, and the differences to `other` where given.
    ///
    /// # Errors
    /// Where `other` is over another dataset.
    pub fn report(&self, other: Option<&Score>) -> Result<Report, EvalError> {
        let clusters = Clusters::new(self.clusters.iter().map(Option::as_deref));
        let against = match other {
            None => None,
            Some(other) => {
                debug_assert_eq!(self.clusters.len(), other.clusters.len());
                let differences: BTreeMap<String, PairedDifference> = self
                    .values
                    .iter()
                    .filter_map(|(name, ours)| {
                        let theirs = other.values.get(name)?;
                        Some((name.clone(), clusters.difference(ours, theirs)))
                    })
                    .collect();
                let verdict = verdict(self.task.leading_metric(), &differences);
                Some(Comparison {
                    invalid: other.invalid,
                    metrics: other.intervals(&clusters),
                    differences,
                    verdict,
                })
            }
        };
        Ok(Report {
            task: self.task,
            n: self.clusters.len(),
            invalid: self.invalid,
            clustered: self.clusters.iter().any(Option::is_some),
            metrics: self.intervals(&clusters),
            against,
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

/// Scores a prediction file.
///
/// # Errors
/// Where a file cannot be read, or the dataset is unusable as a whole.
pub fn score(task: Task, dataset: &Path, predictions: &Path) -> Result<Score, EvalError> {
    match task {
        Task::DocTypes | Task::Passages => score_rankings(task, dataset, predictions),
        Task::Pages => score_pages(dataset, predictions),
    }
}

fn score_rankings(task: Task, dataset: &Path, predictions: &Path) -> Result<Score, EvalError> {
    let mut questions = Vec::new();
    for record in finagentbench::read_records(dataset)? {
        let record = record?;
        let grades = record.grades.ok_or_else(|| EvalError::Dataset {
            path: dataset.to_owned(),
            line: questions.len() + 1,
            reason: "no qrel: this form of the dataset has no labels to score against".to_owned(),
        })?;
        questions.push((record.id, grades));
    }
    if questions
        .iter()
        .all(|(_, grades)| grades.iter().all(|&grade| grade == 0))
    {
        return Err(EvalError::Unusable {
            path: dataset.to_owned(),
            reason: "no candidate of any question has a positive grade".to_owned(),
        });
    }
    let ids: Vec<&str> = questions.iter().map(|(id, _)| id.as_str()).collect();
    let mut predicted = Predictions::read(predictions, &ids)?;

    let cuts: &[usize] = if task == Task::DocTypes {
        &[5]
    } else {
        &[5, 10]
    };
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (question, (id, grades)) in questions.iter().enumerate() {
        let ranking = predicted.take(question).and_then(|(line, value)| {
            match ranking(&value, grades.len()) {
                Ok(ranking) => Some(ranking),
                Err(reason) => {
                    predicted.refuse(predictions, line, id, &reason);
                    None
                }
            }
        });
        let top = grades.iter().copied().max().unwrap_or(0);
        let mut put = |name: String, metric: &dyn Fn(&[u32], &[usize]) -> f64| {
            let value = ranking
                .as_ref()
                .map_or(0.0, |ranking| metric(grades, ranking));
            values.entry(name).or_default().push(value);
        };
        for &k in cuts {
            put(format!("ndcg@{k}"), &|g, r| metrics::ndcg_exp(g, r, k));
            put(format!("map@{k}"), &|g, r| {
                metrics::average_precision(g, r, k, Denominator::AllRelevant)
            });
            put(format!("mrr@{k}"), &|g, r| {
                metrics::reciprocal_rank(g, r, k, 1)
            });
            put(format!("mrr_top@{k}"), &|g, r| {
                if top == 0 {
                    0.0
                } else {
                    metrics::reciprocal_rank(g, r, k, top)
                }
            });
            put(format!("ndcg_linear@{k}"), &|g, r| {
                metrics::ndcg_linear(g, r, k)
            });
            put(format!("map_min_rk@{k}"), &|g, r| {
                metrics::average_precision(g, r, k, Denominator::RelevantWithinK)
            });
            put(format!("map_found@{k}"), &|g, r| {
                metrics::average_precision(g, r, k, Denominator::Found)
            });
            if task == Task::Passages {
                put(format!("recall@{k}"), &|g, r| metrics::recall(g, r, k));
            }
        }
        put("top1".to_owned(), &|g, r| {
            f64::from(u8::from(top > 0 && g[r[0]] == top))
        });
    }
    let clusters = vec![None; questions.len()];
    Ok(Score {
        task,
        values,
        clusters,
        invalid: predicted.invalid,
        notes: predicted.notes,
    })
}

fn ranking(value: &Value, candidates: usize) -> Result<Vec<usize>, String> {
    let list = value
        .get("ranking")
        .ok_or("no ranking")?
        .as_array()
        .ok_or("the ranking is no list of indices")?;
    let ranking = list
        .iter()
        .map(|index| index.as_u64().and_then(|index| usize::try_from(index).ok()))
        .collect::<Option<Vec<usize>>>()
        .ok_or("the ranking holds something that is no index")?;
    if let Some(scores) = value.get("scores").filter(|scores| !scores.is_null()) {
        let finite = scores.as_array().is_some_and(|scores| {
            scores
                .iter()
                .all(|s| s.as_f64().is_some_and(f64::is_finite))
        });
        if !finite {
            return Err("a score is no finite number".to_owned());
        }
    }
    if metrics::is_valid(&ranking, candidates) {
        Ok(ranking)
    } else {
        Err(format!(
            "the ranking is empty, repeats an index or leaves 0 to {}",
            candidates.max(1) - 1
        ))
    }
}

fn score_pages(dataset: &Path, predictions: &Path) -> Result<Score, EvalError> {
    let mut questions = Vec::new();
    for question in crate::read_page_questions(dataset)? {
        let question = question?;
        let line = questions.len() + 1;
        let reason = |reason: &str| EvalError::Dataset {
            path: dataset.to_owned(),
            line,
            reason: reason.to_owned(),
        };
        let doc = question
            .doc
            .ok_or_else(|| reason("no doc: nothing to score against"))?;
        let pages: HashSet<u32> = question
            .relevant_pages
            .ok_or_else(|| reason("no relevant_pages: nothing to score against"))?
            .into_iter()
            .collect();
        if pages.is_empty() {
            return Err(reason("relevant_pages is empty"));
        }
        questions.push((question.id, question.company, doc, pages));
    }
    if questions.is_empty() {
        return Err(EvalError::Unusable {
            path: dataset.to_owned(),
            reason: "no question".to_owned(),
        });
    }
    let ids: Vec<&str> = questions
        .iter()
        .map(|question| question.0.as_str())
        .collect();
    let mut predicted = Predictions::read(predictions, &ids)?;

    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (index, (id, _, doc, pages)) in questions.iter().enumerate() {
        let hits = predicted
            .take(index)
            .and_then(|(line, value)| match page_hits(value) {
                Ok(hits) => Some(hits),
                Err(reason) => {
                    predicted.refuse(predictions, line, id, &reason);
                    None
                }
            });
        // The relevant pages come first as candidates 0..R, every other hit is a candidate of its
        // own: the list metrics then apply as they are.
        let relevant: Vec<u32> = pages.iter().copied().collect();
        let hits = hits.unwrap_or_default();
        let grades: Vec<u32> = std::iter::repeat_n(1, relevant.len())
            .chain(std::iter::repeat_n(0, hits.len()))
            .collect();
        let ranking: Vec<usize> = hits
            .iter()
            .enumerate()
            .map(|(position, hit)| {
                let found = relevant
                    .iter()
                    .position(|&page| page == hit.1 && hit.0 == *doc);
                found.unwrap_or(relevant.len() + position)
            })
            .collect();
        let mut put = |name: String, value: f64| values.entry(name).or_default().push(value);
        for k in [1, 5, 10, 20] {
            put(format!("recall@{k}"), metrics::recall(&grades, &ranking, k));
        }
        put(
            "mrr@10".to_owned(),
            metrics::reciprocal_rank(&grades, &ranking, 10, 1),
        );
        put(
            "ndcg@10".to_owned(),
            metrics::ndcg_linear(&grades, &ranking, 10),
        );
        let doc_at = |k: usize| f64::from(u8::from(hits.iter().take(k).any(|hit| hit.0 == *doc)));
        put("doc@1".to_owned(), doc_at(1));
        put("doc@5".to_owned(), doc_at(5));
    }
    let clusters = questions.into_iter().map(|question| question.1).collect();
    Ok(Score {
        task: Task::Pages,
        values,
        clusters,
        invalid: predicted.invalid,
        notes: predicted.notes,
    })
}

fn page_hits(value: Value) -> Result<Vec<(String, u32)>, String> {
    let prediction: PagePrediction =
        serde_json::from_value(value).map_err(|error| error.to_string())?;
    let mut seen = HashSet::new();
    prediction
        .hits
        .into_iter()
        .map(|hit| {
            if !hit.score.is_finite() {
                return Err(format!(
                    "the score of {} page {} is not finite",
                    hit.doc, hit.page
                ));
            }
            if !seen.insert((hit.doc.clone(), hit.page)) {
                return Err(format!("{} page {} is there twice", hit.doc, hit.page));
            }
            Ok((hit.doc, hit.page))
        })
        .collect()
}

/// The prediction file's records by question.
struct Predictions {
    records: Vec<Option<(usize, Value)>>,
    invalid: usize,
    notes: Vec<String>,
}

impl Predictions {
    /// By id; where the dataset repeats an id, by line number, and the ids must agree.
    fn read(path: &Path, ids: &[&str]) -> Result<Predictions, EvalError> {
        let mut by_id: HashMap<&str, usize> = HashMap::new();
        let repeated = ids
            .iter()
            .enumerate()
            .any(|(i, id)| by_id.insert(id, i).is_some());
        let mut records: Vec<Option<(usize, Value)>> = vec![None; ids.len()];
        let mut twice = HashSet::new();
        let mut notes = Vec::new();
        let mut note = |line: usize, what: &str| {
            notes.push(format!("{}:{line}: {what}", path.display()));
        };
        for (position, line) in read_lines(path)?.enumerate() {
            let value = match line.record {
                Ok(value) => value,
                Err(reason) => {
                    note(line.number, &format!("left out: {reason}"));
                    continue;
                }
            };
            let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
            let question = if repeated {
                (ids.get(position) == Some(&id)).then_some(position)
            } else {
                by_id.get(id).copied()
            };
            let Some(question) = question else {
                note(
                    line.number,
                    &format!("left out: id {id:?} is no question of the dataset"),
                );
                continue;
            };
            if records[question].is_some() || twice.contains(&question) {
                note(
                    line.number,
                    &format!("a second prediction for {id:?}: both count as none"),
                );
                records[question] = None;
                twice.insert(question);
                continue;
            }
            records[question] = Some((line.number, value));
        }
        let missing = records.iter().filter(|record| record.is_none()).count();
        if missing > 0 {
            notes.push(format!(
                "{}: {missing} of {} questions have no prediction and count 0",
                path.display(),
                ids.len()
            ));
        }
        Ok(Predictions {
            records,
            invalid: missing,
            notes,
        })
    }

    fn take(&mut self, question: usize) -> Option<(usize, Value)> {
        self.records[question].take()
    }

    fn refuse(&mut self, path: &Path, line: usize, id: &str, reason: &str) {
        self.invalid += 1;
        self.notes.push(format!(
            "{}:{line}: {id:?} counts 0: {reason}",
            path.display()
        ));
    }
}
