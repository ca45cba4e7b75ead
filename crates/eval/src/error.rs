//! What makes a dataset or a run unusable as a whole.

use std::path::PathBuf;

/// Why there is no score. A single bad prediction is no error: it counts 0 and is named.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line of the dataset is unusable; scoring the rest would be another dataset.
    #[error("{path}:{line}: {reason}")]
    Dataset {
        /// The dataset.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The dataset as a whole cannot be scored.
    #[error("{path}: {reason}")]
    Unusable {
        /// The dataset or prediction file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Two runs that are not over the same questions.
    #[error("the two runs are not over the same questions: {0}")]
    Comparison(String),
    /// A combination of a suite cannot be run.
    #[error("{cell}: {reason}")]
    Cell {
        /// The combination.
        cell: String,
        /// Why.
        reason: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] footnote_store::StoreError),
}
