//! Page retrieval: questions with the pages that answer them, and ranked pages predicted.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{EvalError, read_lines};

/// A line of a page dataset. `doc` and `relevant_pages` are the answer key: a ranker never reads
/// them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageQuestion {
    /// Its name.
    pub id: String,
    /// The question.
    pub question: String,
    /// The company, used only to cluster the bootstrap.
    #[serde(default)]
    pub company: Option<String>,
    /// The document that holds the answer.
    #[serde(default)]
    pub doc: Option<String>,
    /// Its pages that hold the answer.
    #[serde(default)]
    pub relevant_pages: Option<Vec<u32>>,
}

/// A page predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageHit {
    /// The document.
    pub doc: String,
    /// The page as the corpus counts.
    pub page: u32,
    /// Larger is better.
    pub score: f64,
}

/// A line of a page prediction file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PagePrediction {
    /// The question's name.
    pub id: String,
    /// Best first.
    pub hits: Vec<PageHit>,
}

/// Reads a page dataset.
///
/// # Errors
/// Where the file cannot be opened. A bad line is an `Err` item that names file and line.
pub fn read_page_questions(
    path: &Path,
) -> Result<impl Iterator<Item = Result<PageQuestion, EvalError>>, EvalError> {
    let lines = read_lines(path)?;
    let path = path.to_owned();
    Ok(lines.map(move |line| {
        line.record
            .and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()))
            .map_err(|reason| EvalError::Dataset {
                path: path.clone(),
                line: line.number,
                reason,
            })
    }))
}
