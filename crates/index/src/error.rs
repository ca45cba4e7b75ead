//! What can go wrong with the index or the corpus beside it.

use std::path::{Path, PathBuf};

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
    /// There is no corpus yet.
    #[error("{path} holds no corpus; `footnote corpus import PATH...` makes one")]
    Absent {
        /// The corpus folder.
        path: PathBuf,
    },
    /// Another process is importing into the same corpus.
    #[error("{path} is locked by another import{}; wait for it, or stop it", .holder.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, where it could be read.
        holder: Option<u32>,
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

impl IndexError {
    /// Wraps the system's reason with the file it is about.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> IndexError {
        let path = path.to_path_buf();
        move |source| IndexError::Io { path, source }
    }

    /// Damage that only a new import mends.
    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> IndexError {
        IndexError::Damaged {
            path: path.to_path_buf(),
            reason: reason.into(),
            mend: "move the corpus folder away and run `footnote corpus import` again".to_owned(),
        }
    }
}
