//! What can go wrong with the index or the corpus beside it.

use std::path::PathBuf;

/// Why the corpus could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file of the corpus could not be read or written.
    #[error("cannot access {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another process is importing into the same corpus.
    #[error("{path} is locked by another import; wait for it, or stop it")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The index was made by another version, or is damaged.
    #[error("{path}: {reason}; {mend}")]
    Damaged {
        /// The index folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What the user can do.
        mend: String,
    },
    /// The search engine failed.
    #[error("search index: {0}")]
    Tantivy(#[from] tantivy::TantivyError),
}
