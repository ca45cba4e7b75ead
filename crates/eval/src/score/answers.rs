//! Answers against the key, by the strict rule of [`crate::judge`].

use std::collections::BTreeMap;
use std::path::Path;

use footnote_agent::{Answer, Unit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::predictions::Predictions;
use super::{Score, Task, put};
use crate::answers::{Said, judge};
use crate::{EvalError, financebench};

/// A line of an answer prediction file. `answer` is what `ask --json` prints, or a plain text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerPrediction {
    /// The question's name.
    pub id: String,
    /// The answer.
    pub answer: AnswerGiven,
    /// Whether it says "not found" (of a plain text).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_found: Option<Value>,
    /// Whether every footnote was verified (of a plain text).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// The result as shown (of a plain text).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// From question to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// An answer in one of its forms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AnswerGiven {
    /// As `ask --json` prints it.
    Whole(Box<Answer>),
    /// Its text alone.
    Text(String),
}

impl AnswerPrediction {
    fn said(&self) -> Said<'_> {
        match &self.answer {
            AnswerGiven::Whole(answer) => Said {
                text: &answer.text,
                first: answer.statements.first().map_or("", |first| &first.text),
                shown: answer.calculation.as_ref().map(|c| c.shown.as_str()),
                result: (answer.calculation.as_ref()).map(|c| (c.result, c.unit == Unit::Percent)),
                not_found: answer.not_found.is_some(),
            },
            AnswerGiven::Text(text) => Said {
                text,
                first: text,
                shown: self.shown.as_deref(),
                result: None,
                not_found: match &self.not_found {
                    None | Some(Value::Null | Value::Bool(false)) => false,
                    Some(_) => true,
                },
            },
        }
    }

    /// Whether there is a footnote and all of it was verified.
    fn verified(&self) -> bool {
        match &self.answer {
            AnswerGiven::Whole(answer) => {
                !answer.footnotes.is_empty()
                    && answer.footnotes.iter().all(|footnote| footnote.verified)
                    && answer.statements.iter().all(|statement| statement.verified)
            }
            AnswerGiven::Text(_) => self.verified == Some(true),
        }
    }

    fn seconds(&self) -> Option<f64> {
        let own = match &self.answer {
            AnswerGiven::Whole(answer) => Some(answer.trace.total_ms / 1e3),
            AnswerGiven::Text(_) => None,
        };
        self.seconds.or(own)
    }
}

pub(super) fn score(dataset: &Path, predictions: &Path) -> Result<Score, EvalError> {
    let questions: Vec<financebench::Question> =
        financebench::read_questions(dataset)?.collect::<Result<_, _>>()?;
    let without = |question: &&financebench::Question| {
        (question.answer.as_deref()).is_none_or(|answer| answer.trim().is_empty())
    };
    if let Some(question) = questions.iter().find(without) {
        return Err(EvalError::Dataset {
            path: dataset.to_owned(),
            line: question.line,
            reason: "no answer: nothing to score against".to_owned(),
        });
    }
    if questions.is_empty() {
        return Err(EvalError::Unusable {
            path: dataset.to_owned(),
            reason: "no question".to_owned(),
        });
    }
    let ids: Vec<&str> = questions.iter().map(|q| q.id.as_str()).collect();
    let mut predicted = Predictions::read(predictions, &ids)?;
    let mut values = BTreeMap::new();
    let mut seconds = Vec::new();
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, question) in questions.iter().enumerate() {
        let given = predicted.take(place).and_then(|(line, value)| {
            match serde_json::from_value::<AnswerPrediction>(value) {
                Ok(given) => Some(given),
                Err(error) => {
                    predicted.refuse(predictions, line, &question.id, &error.to_string());
                    None
                }
            }
        });
        let key = question.answer.as_deref().unwrap_or_default();
        let said = given.as_ref().map(AnswerPrediction::said);
        let judged = judge(
            &question.question,
            key,
            said.as_ref().unwrap_or(&Said {
                not_found: true,
                ..Said::default()
            }),
        );
        let answered = said.as_ref().is_some_and(|said| !said.not_found);
        let not_found = said.as_ref().is_some_and(|said| said.not_found);
        let verified = answered && given.as_ref().is_some_and(AnswerPrediction::verified);
        let mut share =
            |name: &str, holds: bool| put(&mut values, name, f64::from(u8::from(holds)));
        share("strict", judged.strict);
        share("within_1pct", judged.within_1pct);
        share("wrong", answered && !judged.strict);
        share("not_found", not_found);
        share("verified", verified);
        seconds.push(given.as_ref().and_then(AnswerPrediction::seconds));
        let mut group = |name: String| groups.entry(name).or_default().push(place);
        group(format!("kind {}", judged.kind.name()));
        if let Some(kind) = &question.question_type {
            group(format!("type {kind}"));
        }
        if let Some(form) = question.doc.as_deref().and_then(financebench::doc_type) {
            group(format!("form {form}"));
        }
    }
    // A mean of seconds over some of the questions would be another mean.
    if let Some(seconds) = seconds.into_iter().collect::<Option<Vec<f64>>>() {
        values.insert("seconds".to_owned(), seconds);
    }
    Ok(Score {
        task: Task::Answers,
        values,
        groups,
        clusters: questions.iter().map(|q| q.company.clone()).collect(),
        ids: questions.into_iter().map(|question| question.id).collect(),
        invalid: predicted.invalid,
        notes: predicted.notes,
    })
}
