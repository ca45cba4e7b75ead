//! What can go wrong with an export.

use std::path::{Path, PathBuf};

use footnote_eval::EvalError;
use footnote_index::IndexError;
use footnote_store::StoreError;

/// Why nothing was exported. The message names the thing and the mend.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A source or folder that is not what it should be.
    #[error("{what}: {reason}; {mend}")]
    Unusable {
        /// The source or folder.
        what: String,
        /// What is wrong.
        reason: String,
        /// What the user can do.
        mend: String,
    },
    /// A Parquet file could not be written or read.
    #[error("{path}: {source}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The library's reason.
        source: parquet::errors::ParquetError,
    },
    /// A dataset.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The corpus.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl ExportError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ExportError + '_ {
        move |source| ExportError::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn parquet(
        path: &Path,
    ) -> impl Fn(parquet::errors::ParquetError) -> ExportError + '_ {
        move |source| ExportError::Parquet {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn unusable(
        what: impl Into<String>,
        reason: impl Into<String>,
        mend: impl Into<String>,
    ) -> ExportError {
        ExportError::Unusable {
            what: what.into(),
            reason: reason.into(),
            mend: mend.into(),
        }
    }
}
