//! The forms that trainers read, one row at a time.
//!
//! * `sft`: `messages` as TRL and OpenAI take them, the assistant's turn last.
//! * `preferences`: `prompt`, `chosen` and `rejected` as lists of messages (TRL's conversational form).
//! * `rft`: the benchmark authors' form, `messages` of the user with `qrel` and `metadata`.
//! * `rerank`: `query` with lists of `positive` and `negative` texts (sentence-transformers).
//! * `qrels`: query, document, grade.
//!
//! Must not know files or splits.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use footnote_agent::rank::passage::{PassageRanker, order};
use footnote_eval::metrics::ndcg_exp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::example::{Example, Task};

/// Chunks that a ranking answer names.
const ANSWERED_CHUNKS: usize = 10;
/// Negatives of a query.
const NEGATIVES: usize = 8;
/// A preference must differ by at least this much nDCG.
const LEAST_MARGIN: f64 = 0.02;
/// The constant order of document types that a chosen one is preferred to.
const CONSTANT_ORDER: [usize; 5] = [1, 4, 2, 0, 3];

/// A form of fine-tuning data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Chats to imitate.
    Sft,
    /// Pairs of a better and a worse answer.
    Preferences,
    /// Prompts with what grades an answer.
    Rft,
    /// Queries with relevant and irrelevant texts.
    Rerank,
    /// Relevance judgements.
    Qrels,
}

impl Form {
    /// All forms.
    pub const ALL: [Form; 5] = [
        Form::Sft,
        Form::Preferences,
        Form::Rft,
        Form::Rerank,
        Form::Qrels,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Form::Sft => "sft",
            Form::Preferences => "preferences",
            Form::Rft => "rft",
            Form::Rerank => "rerank",
            Form::Qrels => "qrels",
        }
    }

    /// Columns of a row, in order.
    pub(crate) fn columns(self) -> &'static [(&'static str, Kind)] {
        match self {
            Form::Sft => &[
                ("id", Kind::Text),
                ("messages", Kind::Messages),
                ("metadata", Kind::Json),
            ],
            Form::Preferences => &[
                ("id", Kind::Text),
                ("prompt", Kind::Messages),
                ("chosen", Kind::Messages),
                ("rejected", Kind::Messages),
                ("metadata", Kind::Json),
            ],
            Form::Rft => &[
                ("id", Kind::Text),
                ("messages", Kind::Messages),
                ("qrel", Kind::Json),
                ("metadata", Kind::Json),
            ],
            Form::Rerank => &[
                ("id", Kind::Text),
                ("query", Kind::Text),
                ("positive", Kind::Texts),
                ("negative", Kind::Texts),
                ("metadata", Kind::Json),
            ],
            Form::Qrels => &[
                ("query_id", Kind::Text),
                ("doc_id", Kind::Text),
                ("grade", Kind::Integer),
                ("metadata", Kind::Json),
            ],
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Form {
    type Err = String;

    fn from_str(name: &str) -> Result<Form, String> {
        Form::ALL
            .into_iter()
            .find(|form| form.name() == name)
            .ok_or_else(|| {
                format!("no form {name:?}; there are sft, preferences, rft, rerank and qrels")
            })
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Texts,
    Messages,
    Json,
    Integer,
}

/// A row: one value a column.
pub(crate) type Row = Vec<Value>;

/// A row as a JSON line.
pub(crate) fn line(form: Form, row: &Row) -> Value {
    Value::Object(
        form.columns()
            .iter()
            .zip(row)
            .map(|((name, _), value)| ((*name).to_owned(), value.clone()))
            .collect::<Map<_, _>>(),
    )
}

fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

fn as_list(order: &[usize]) -> String {
    let numbers: Vec<String> = order.iter().map(usize::to_string).collect();
    format!("[{}]", numbers.join(", "))
}

/// Makes rows of examples.
pub(crate) struct Maker<'a> {
    pub(crate) form: Form,
    /// What a chosen ranking of chunks is preferred to, and what finds hard negatives.
    pub(crate) baseline: &'a dyn PassageRanker,
}

impl Maker<'_> {
    /// The rows of an example, or why it gives none.
    pub(crate) fn rows(&self, example: &Example, metadata: &Value) -> Result<Vec<Row>, String> {
        match self.form {
            Form::Sft => self.sft(example, metadata),
            Form::Preferences => self.preferences(example, metadata),
            Form::Rft => self.rft(example, metadata),
            Form::Rerank => self.rerank(example, metadata),
            Form::Qrels => qrels(example, metadata),
        }
    }

    fn sft(&self, example: &Example, metadata: &Value) -> Result<Vec<Row>, String> {
        let answer = right_answer(example)?;
        let messages = json!([
            message("user", prompt(example)),
            message("assistant", &answer)
        ]);
        Ok(vec![vec![json!(example.id), messages, metadata.clone()]])
    }

    fn preferences(&self, example: &Example, metadata: &Value) -> Result<Vec<Row>, String> {
        let pair = |rejected: &str, more: Value| -> Result<Row, String> {
            let chosen = right_answer(example)?;
            let mut metadata = metadata.clone();
            if let (Value::Object(metadata), Value::Object(more)) = (&mut metadata, more) {
                metadata.extend(more);
            }
            Ok(vec![
                json!(example.id),
                json!([message("user", prompt(example))]),
                json!([message("assistant", &chosen)]),
                json!([message("assistant", rejected)]),
                metadata,
            ])
        };
        if example.task == Task::Answers {
            let wrong = example
                .wrong_answer
                .as_ref()
                .ok_or("no worse answer is known")?;
            return Ok(vec![pair(wrong, json!({ "rejected_by": "feedback" }))?]);
        }
        let grades = labelled(example)?;
        let mut given: Vec<(String, Vec<usize>)> = example
            .given
            .iter()
            .map(|given| (given.by.clone(), given.ranking.clone()))
            .collect();
        if given.is_empty() {
            given.push(self.baseline_order(example)?);
        }
        let mut rows = Vec::new();
        let mut shown_before = HashSet::new();
        for (by, ranking) in given {
            // Two rankers may err alike.
            if !shown_before.insert(ranking.clone()) {
                continue;
            }
            let valid = footnote_eval::metrics::is_valid(&ranking, grades.len());
            let score = if valid {
                ndcg_exp(grades, &ranking, 5)
            } else {
                0.0
            };
            // The best order's own nDCG is 1.
            if 1.0 - score < LEAST_MARGIN {
                continue;
            }
            let shown = match example.task {
                Task::Passages => &ranking[..ranking.len().min(ANSWERED_CHUNKS)],
                _ => &ranking,
            };
            let more = json!({ "rejected_by": by, "ndcg5_chosen": 1.0, "ndcg5_rejected": score });
            rows.push(pair(&as_list(shown), more)?);
        }
        if rows.is_empty() {
            return Err("no known ranking is worse".to_owned());
        }
        Ok(rows)
    }

    /// A ranking of plain means: the constant order of types, BM25 of chunks.
    fn baseline_order(&self, example: &Example) -> Result<(String, Vec<usize>), String> {
        if example.task == Task::DocTypes {
            if example.candidates.len() != CONSTANT_ORDER.len() {
                return Err("not five document types".to_owned());
            }
            return Ok(("constant order".to_owned(), CONSTANT_ORDER.to_vec()));
        }
        Ok((self.baseline.name().to_owned(), self.by_baseline(example)?))
    }

    fn by_baseline(&self, example: &Example) -> Result<Vec<usize>, String> {
        let texts: Vec<&str> = example.candidates.iter().map(String::as_str).collect();
        let scores = self
            .baseline
            .scores(&example.question, &texts)
            .map_err(|error| error.to_string())?;
        Ok(order(&scores))
    }

    fn rft(&self, example: &Example, metadata: &Value) -> Result<Vec<Row>, String> {
        let grades = labelled(example)?;
        let qrel: Map<String, Value> = grades
            .iter()
            .enumerate()
            .map(|(index, grade)| (index.to_string(), json!(grade)))
            .collect();
        Ok(vec![vec![
            json!(example.id),
            json!([message("user", prompt(example))]),
            Value::Object(qrel),
            metadata.clone(),
        ]])
    }

    fn rerank(&self, example: &Example, metadata: &Value) -> Result<Vec<Row>, String> {
        let grades = labelled(example)?;
        let top = grades.iter().copied().max().unwrap_or(0);
        // Of document types only the most useful count: nearly all have some grade.
        let least = if example.task == Task::DocTypes {
            top
        } else {
            1
        };
        let positive: Vec<&String> = example
            .candidates
            .iter()
            .zip(grades)
            .filter(|(text, grade)| **grade >= least && !text.is_empty())
            .map(|(text, _)| text)
            .collect();
        let order = match example.task {
            Task::Passages => self.by_baseline(example)?,
            _ => (0..example.candidates.len()).collect(),
        };
        let negative: Vec<&String> = order
            .into_iter()
            .filter(|at| grades[*at] == 0 && !example.candidates[*at].is_empty())
            .take(NEGATIVES)
            .map(|at| &example.candidates[at])
            .collect();
        if positive.is_empty() || negative.is_empty() {
            return Err("no text that is relevant, or none that is not".to_owned());
        }
        Ok(vec![vec![
            json!(example.id),
            json!(example.question),
            json!(positive),
            json!(negative),
            metadata.clone(),
        ]])
    }
}

/// A judgement for every candidate of a labelled example, or for every page that answers it.
fn qrels(example: &Example, metadata: &Value) -> Result<Vec<Row>, String> {
    let row = |doc: String, grade: u32| {
        vec![
            json!(example.place),
            json!(doc),
            json!(grade),
            metadata.clone(),
        ]
    };
    if example.task == Task::Answers {
        if example.relevant.is_empty() {
            return Err("no page that answers it is known".to_owned());
        }
        return Ok(example
            .relevant
            .iter()
            .map(|page| row(page.clone(), 1))
            .collect());
    }
    let grades = labelled(example)?;
    Ok(grades
        .iter()
        .enumerate()
        .map(|(index, grade)| row(example.candidate_name(index), *grade))
        .collect())
}

fn labelled(example: &Example) -> Result<&Vec<u32>, String> {
    match &example.grades {
        Some(grades) if example.has_positive() && grades.len() == example.candidates.len() => {
            Ok(grades)
        }
        Some(_) => Err("no candidate is relevant".to_owned()),
        None => Err("no labels".to_owned()),
    }
}

fn prompt(example: &Example) -> &str {
    example.prompt.as_deref().unwrap_or(&example.question)
}

/// What the assistant should say.
fn right_answer(example: &Example) -> Result<String, String> {
    match example.task {
        Task::Answers => example
            .answer
            .clone()
            .filter(|answer| !answer.trim().is_empty())
            .ok_or_else(|| "no right answer is known".to_owned()),
        Task::DocTypes => {
            labelled(example)?;
            example
                .best_order()
                .map(|order| as_list(&order))
                .ok_or_else(|| "no labels".to_owned())
        }
        Task::Passages => {
            let grades = labelled(example)?;
            let order: Vec<usize> = example
                .best_order()
                .unwrap_or_default()
                .into_iter()
                .filter(|at| grades[*at] > 0)
                .take(ANSWERED_CHUNKS)
                .collect();
            Ok(as_list(&order))
        }
    }
}
