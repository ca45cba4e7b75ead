//! What can go wrong with one input; a batch goes on with the next.

use std::path::PathBuf;

/// Why an input gave no filing. The message names the thing and, where there is one, the mend.
#[derive(Debug, thiserror::Error)]
pub enum FilingsError {
    /// A text that is no CIK, ticker, accession, period, ….
    #[error("{text:?} is no {kind}")]
    Identifier {
        /// What it should have been.
        kind: &'static str,
        /// What it was, cut to 64 characters.
        text: String,
    },
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not what a reader can take: empty, binary, truncated, too large, of no known kind.
    #[error("{path}: {reason}; {mend}")]
    Unreadable {
        /// The file, with its line where there is one.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// What the user can do.
        mend: String,
    },
    /// SEC EDGAR answered with an error, or not at all.
    #[error("{url}: {reason}; {mend}")]
    Edgar {
        /// What was asked for.
        url: String,
        /// What came back.
        reason: String,
        /// What the user can do.
        mend: String,
    },
}

impl FilingsError {
    pub(crate) fn identifier(kind: &'static str, text: &str) -> FilingsError {
        FilingsError::Identifier {
            kind,
            text: text.chars().take(64).collect(),
        }
    }
}
