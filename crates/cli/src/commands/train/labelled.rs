//! Labelled questions of document types, read from FinAgentBench's form: each named and left out where it teaches
//! nothing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::bail;
use footnote_agent::doctype::LabelledQuestion;
use footnote_eval::file_hash;
use footnote_eval::finagentbench::{PromptKind, Record, read_records};

use super::naming::name_of;
use crate::commands::Context;

/// What the datasets hold.
pub struct Labelled {
    /// The questions that teach something, each once.
    pub questions: Vec<LabelledQuestion>,
    /// The id of each.
    pub ids: Vec<String>,
    /// File names of the datasets.
    pub datasets: Vec<String>,
    /// Their SHA-256.
    pub sha256: Vec<String>,
    /// Records left out.
    pub left_out: usize,
}

/// Reads all of `datasets`.
pub fn labelled_questions(datasets: &[PathBuf], context: &Context) -> anyhow::Result<Labelled> {
    let output = &context.output;
    let mut read = Labelled {
        questions: Vec::new(),
        ids: Vec::new(),
        datasets: Vec::new(),
        sha256: Vec::new(),
        left_out: 0,
    };
    let mut known: HashSet<String> = HashSet::new();
    for dataset in datasets {
        read.datasets.push(name_of(dataset));
        read.sha256.push(file_hash(dataset)?);
        for record in read_records(dataset)? {
            let outcome = record
                .map_err(anyhow::Error::from)
                .and_then(|record| Ok((labelled(&record, dataset)?, record.id)));
            match outcome {
                Ok((question, id)) if known.insert(question.question.clone()) => {
                    read.questions.push(question);
                    read.ids.push(id);
                }
                Ok((_, id)) => {
                    read.left_out += 1;
                    output.warning(&format!(
                        "left out: {id}: its question stands there already"
                    ));
                }
                Err(error) => {
                    read.left_out += 1;
                    output.warning(&format!("left out: {error:#}"));
                }
            }
        }
    }
    if read.questions.is_empty() {
        bail!("no labelled question to learn from; a record needs a qrel with grades of the types");
    }
    Ok(read)
}

fn labelled(record: &Record, dataset: &Path) -> anyhow::Result<LabelledQuestion> {
    let place = format!("{}:{}: {}", dataset.display(), record.line, record.id);
    if record.prompt.kind != PromptKind::Documents {
        bail!("{place}: not a document-type question");
    }
    if record.prompt.question.trim().is_empty() {
        bail!("{place}: it asks nothing");
    }
    let Some(grades) = &record.grades else {
        bail!("{place}: no qrel to learn from");
    };
    let grades: [u32; 5] = match grades.as_slice().try_into() {
        Ok(grades) => grades,
        Err(_) => bail!("{place}: {} grades instead of five", grades.len()),
    };
    if grades.iter().any(|&grade| grade > 4) {
        bail!("{place}: a grade above 4");
    }
    if grades.iter().all(|grade| *grade == grades[0]) {
        bail!("{place}: all types have one grade, which orders nothing");
    }
    Ok(LabelledQuestion {
        question: record.prompt.question.clone(),
        grades,
    })
}
