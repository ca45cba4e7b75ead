//! A prediction file's records, one for each question of the dataset.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use crate::{EvalError, read_lines};

/// The records by question, and what was wrong with the rest.
pub(super) struct Predictions {
    records: Vec<Option<(usize, Value)>>,
    pub(super) invalid: usize,
    pub(super) notes: Vec<String>,
}

impl Predictions {
    /// By id; where the dataset repeats an id, by line number, and the ids must agree.
    pub(super) fn read(path: &Path, ids: &[&str]) -> Result<Predictions, EvalError> {
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
                let why = if repeated {
                    "is not the id of this line of the dataset, whose ids repeat"
                } else {
                    "is no question of the dataset"
                };
                note(line.number, &format!("left out: id {id:?} {why}"));
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
        Ok(Predictions::new(path, records, notes))
    }

    pub(super) fn new(
        path: &Path,
        records: Vec<Option<(usize, Value)>>,
        mut notes: Vec<String>,
    ) -> Predictions {
        let missing = records.iter().filter(|record| record.is_none()).count();
        if missing > 0 {
            notes.push(format!(
                "{}: {missing} of {} questions have no prediction and count 0",
                path.display(),
                records.len()
            ));
        }
        Predictions {
            records,
            invalid: missing,
            notes,
        }
    }

    /// The record of a question with its line, once.
    pub(super) fn take(&mut self, question: usize) -> Option<(usize, Value)> {
        self.records[question].take()
    }

    /// Counts a record that was there and is not usable.
    pub(super) fn refuse(&mut self, path: &Path, line: usize, id: &str, reason: &str) {
        self.invalid += 1;
        self.notes.push(format!(
            "{}:{line}: {id:?} counts 0: {reason}",
            path.display()
        ));
    }
}
