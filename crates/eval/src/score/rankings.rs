//! Rankings of numbered candidates against grades: document types, chunks, and TREC files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde_json::{Value, json};

use super::predictions::Predictions;
use super::{Score, Task, put};
use crate::metrics::{self, Denominator};
use crate::{EvalError, finagentbench, trec};

/// A question with its labels.
struct Labelled {
    id: String,
    grades: Vec<u32>,
    /// The candidates' names; without, a candidate is named by its index.
    names: Option<HashMap<String, usize>>,
    cluster: Option<String>,
    category: Option<String>,
}

pub(super) fn score(task: Task, dataset: &Path, predictions: &Path) -> Result<Score, EvalError> {
    let mut questions = if trec::is_qrels(dataset) {
        from_qrels(dataset)?
    } else {
        from_records(dataset)?
    };
    let positive = |question: &Labelled| question.grades.iter().any(|&grade| grade > 0);
    if !questions.iter().any(positive) {
        return Err(EvalError::Unusable {
            path: dataset.to_owned(),
            reason: "no candidate of any question has a positive grade".to_owned(),
        });
    }
    let mut predicted = if trec::is_run(predictions) {
        from_run(predictions, &questions)?
    } else {
        let ids: Vec<&str> = questions.iter().map(|q| q.id.as_str()).collect();
        Predictions::read(predictions, &ids)?
    };

    let cuts: &[usize] = if task == Task::DocTypes {
        &[5]
    } else {
        &[5, 10]
    };
    let mut values = BTreeMap::new();
    for (place, question) in questions.iter_mut().enumerate() {
        let ranking =
            predicted
                .take(place)
                .and_then(|(line, value)| match ranking(&value, question) {
                    Ok(ranking) => Some(ranking),
                    Err(reason) => {
                        predicted.refuse(predictions, line, &question.id, &reason);
                        None
                    }
                });
        measure(
            &mut values,
            &question.grades,
            ranking.as_deref(),
            cuts,
            task == Task::Passages,
        );
    }
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, question) in questions.iter().enumerate() {
        if let Some(category) = &question.category {
            groups
                .entry(format!("category {category}"))
                .or_default()
                .push(place);
        }
    }
    Ok(Score {
        task,
        values,
        groups,
        clusters: questions.iter().map(|q| q.cluster.clone()).collect(),
        ids: questions.into_iter().map(|question| question.id).collect(),
        invalid: predicted.invalid,
        notes: predicted.notes,
    })
}

/// Every metric of one question; 0 where there is no valid ranking.
fn measure(
    values: &mut BTreeMap<String, Vec<f64>>,
    grades: &[u32],
    ranking: Option<&[usize]>,
    cuts: &[usize],
    with_recall: bool,
) {
    let top = grades.iter().copied().max().unwrap_or(0);
    let mut add = |name: String, metric: &dyn Fn(&[u32], &[usize]) -> f64| {
        put(values, name, ranking.map_or(0.0, |r| metric(grades, r)));
    };
    for &k in cuts {
        add(format!("ndcg@{k}"), &|g, r| metrics::ndcg_exp(g, r, k));
        add(format!("map@{k}"), &|g, r| {
            metrics::average_precision(g, r, k, Denominator::AllRelevant)
        });
        add(format!("mrr@{k}"), &|g, r| {
            metrics::reciprocal_rank(g, r, k, 1)
        });
        add(format!("mrr_top@{k}"), &|g, r| {
            if top == 0 {
                0.0
            } else {
                metrics::reciprocal_rank(g, r, k, top)
            }
        });
        add(format!("ndcg_linear@{k}"), &|g, r| {
            metrics::ndcg_linear(g, r, k)
        });
        add(format!("map_min_rk@{k}"), &|g, r| {
            metrics::average_precision(g, r, k, Denominator::RelevantWithinK)
        });
        add(format!("map_found@{k}"), &|g, r| {
            metrics::average_precision(g, r, k, Denominator::Found)
        });
        if with_recall {
            add(format!("recall@{k}"), &|g, r| metrics::recall(g, r, k));
        }
    }
    add("top1".to_owned(), &|g, r| {
        f64::from(u8::from(top > 0 && g[r[0]] == top))
    });
}

fn from_records(dataset: &Path) -> Result<Vec<Labelled>, EvalError> {
    let mut questions = Vec::new();
    for record in finagentbench::read_records(dataset)? {
        let record = record?;
        let grades = record.grades.ok_or_else(|| EvalError::Dataset {
            path: dataset.to_owned(),
            line: record.line,
            reason: "no qrel: this form of the dataset has no labels to score against".to_owned(),
        })?;
        questions.push(Labelled {
            id: record.id,
            grades,
            names: None,
            cluster: record.company,
            category: record.category,
        });
    }
    Ok(questions)
}

fn from_qrels(dataset: &Path) -> Result<Vec<Labelled>, EvalError> {
    let questions = trec::read_qrels(dataset)?;
    Ok(questions
        .into_iter()
        .map(|question| Labelled {
            id: question.id,
            grades: question.documents.iter().map(|(_, grade)| *grade).collect(),
            names: Some(
                (question.documents.into_iter().enumerate())
                    .map(|(place, (name, _))| (name, place))
                    .collect(),
            ),
            cluster: None,
            category: None,
        })
        .collect())
}

/// A run's lists as prediction records: `ranking` holds names.
fn from_run(path: &Path, questions: &[Labelled]) -> Result<Predictions, EvalError> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (place, question) in questions.iter().enumerate() {
        if places.insert(&question.id, place).is_some() {
            return Err(EvalError::Unusable {
                path: path.to_owned(),
                reason: format!(
                    "a run names questions by id, and the dataset has {:?} more than once; give the predictions as \
                     JSON lines",
                    question.id
                ),
            });
        }
    }
    let run = trec::read_run(path)?;
    let mut notes = run.notes;
    let mut records = vec![None; questions.len()];
    for list in run.lists {
        match places.get(list.id.as_str()) {
            Some(&place) => {
                let record = match list.ranking {
                    Ok(names) => json!({ "ranking": names }),
                    Err(reason) => json!({ "unusable": reason }),
                };
                records[place] = Some((list.line, record));
            }
            None => notes.push(format!(
                "{}:{}: left out: {:?} is no question of the dataset",
                path.display(),
                list.line,
                list.id
            )),
        }
    }
    Ok(Predictions::new(path, records, notes))
}

/// The ranking of a record as indices into the question's grades, which get a grade 0 for every name
/// that nobody judged.
fn ranking(value: &Value, question: &mut Labelled) -> Result<Vec<usize>, String> {
    if let Some(reason) = value.get("unusable").and_then(Value::as_str) {
        return Err(reason.to_owned());
    }
    let list = value
        .get("ranking")
        .ok_or("no ranking")?
        .as_array()
        .ok_or("the ranking is no list of indices")?;
    if let Some(scores) = value.get("scores").filter(|scores| !scores.is_null()) {
        let finite = |score: &Value| score.as_f64().is_some_and(f64::is_finite);
        if !scores
            .as_array()
            .is_some_and(|scores| scores.iter().all(finite))
        {
            return Err("a score is no finite number".to_owned());
        }
    }
    let ranking = match &mut question.names {
        Some(names) => by_name(list, names, &mut question.grades)?,
        None => list
            .iter()
            .map(index)
            .collect::<Option<Vec<usize>>>()
            .ok_or("the ranking holds something that is no index")?,
    };
    if metrics::is_valid(&ranking, question.grades.len()) {
        Ok(ranking)
    } else {
        Err(format!(
            "the ranking is empty, repeats an index or leaves 0 to {}",
            question.grades.len().max(1) - 1
        ))
    }
}

/// An index, or a TREC document name that is one.
fn index(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        Value::Number(number) => number
            .as_u64()
            .and_then(|index| usize::try_from(index).ok()),
        _ => None,
    }
}

fn by_name(
    list: &[Value],
    names: &mut HashMap<String, usize>,
    grades: &mut Vec<u32>,
) -> Result<Vec<usize>, String> {
    let mut seen = HashSet::new();
    list.iter()
        .map(|value| {
            let name = match value {
                Value::String(name) => name.clone(),
                Value::Number(number) if number.is_u64() => number.to_string(),
                other => return Err(format!("{other} is no document's name")),
            };
            if !seen.insert(name.clone()) {
                return Err(format!("{name:?} is ranked twice"));
            }
            // Judged documents keep their grade; the others are candidates of grade 0.
            Ok(*names.entry(name).or_insert_with(|| {
                grades.push(0);
                grades.len() - 1
            }))
        })
        .collect()
}
