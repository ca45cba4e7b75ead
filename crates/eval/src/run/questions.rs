//! The questions of a dataset as they are put: without their answer key.

use std::path::Path;

use crate::finagentbench::{PromptKind, read_records};
use crate::{EvalError, Task, financebench};

/// A question as a ranker or the agent gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posed {
    /// Its place in the dataset, from 0; ids may repeat.
    pub row: usize,
    /// Its id.
    pub id: String,
    /// The question.
    pub question: String,
    /// What is to be ordered, for doc-types and passages.
    pub candidates: Vec<String>,
}

/// The questions of a dataset in order, one in memory at a time. Labels are read by the reader of the
/// format and go no further.
///
/// # Errors
/// Where the file cannot be opened; an item names the file and line of a question that cannot be put.
pub(super) fn posed(
    task: Task,
    path: &Path,
) -> Result<Box<dyn Iterator<Item = Result<Posed, EvalError>> + '_>, EvalError> {
    let kind = match task {
        Task::DocTypes => PromptKind::Documents,
        Task::Passages => PromptKind::Chunks,
        Task::Pages | Task::Answers => {
            let questions = financebench::read_questions(path)?;
            return Ok(Box::new(questions.enumerate().map(|(row, question)| {
                question.map(|question| Posed {
                    row,
                    id: question.id,
                    question: question.question,
                    candidates: Vec::new(),
                })
            })));
        }
    };
    let place = path.to_owned();
    let records = read_records(path)?.enumerate().map(move |(row, record)| {
        let record = record?;
        if record.prompt.kind != kind {
            return Err(EvalError::Dataset {
                path: place.clone(),
                line: record.line,
                reason: format!("a question of another task than {}", task.name()),
            });
        }
        Ok(Posed {
            row,
            id: record.id,
            question: record.prompt.question,
            candidates: record.prompt.candidates,
        })
    });
    Ok(Box::new(records))
}
