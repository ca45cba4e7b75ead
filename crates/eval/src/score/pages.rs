//! Ranked pages of a corpus against the pages that hold the answer.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::Value;

use super::predictions::Predictions;
use super::{Score, Task, put};
use crate::{EvalError, PagePrediction, financebench, metrics};

pub(super) fn score(dataset: &Path, predictions: &Path) -> Result<Score, EvalError> {
    let mut questions = Vec::new();
    for question in financebench::read_questions(dataset)? {
        let question = question?;
        let line = question.line;
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
        questions.push((
            question.id,
            question.company,
            doc,
            pages,
            question.question_type,
        ));
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

    let mut values = BTreeMap::new();
    for (index, (id, _, doc, pages, _)) in questions.iter().enumerate() {
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
        let mut put = |name: String, value: f64| put(&mut values, name, value);
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
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, question) in questions.iter().enumerate() {
        if let Some(kind) = &question.4 {
            groups
                .entry(format!("type {kind}"))
                .or_default()
                .push(place);
        }
        if let Some(kind) = financebench::doc_type(&question.2) {
            groups
                .entry(format!("form {kind}"))
                .or_default()
                .push(place);
        }
    }
    Ok(Score {
        task: Task::Pages,
        values,
        groups,
        clusters: questions
            .iter()
            .map(|question| question.1.clone())
            .collect(),
        ids: questions.into_iter().map(|question| question.0).collect(),
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
