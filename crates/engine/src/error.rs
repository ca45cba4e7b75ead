//! What can go wrong with a model or a request to it.

use std::path::PathBuf;

/// Why a model gave nothing. The message names the file or the limit, and the mend.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A model file could not be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A model file is cut short, damaged or of a kind this engine does not run.
    #[error("{path}: {reason}; {mend}")]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What the user can do.
        mend: String,
    },
    /// No such model in the catalogue and no such file.
    #[error("no model {name:?}: {mend}")]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// What the user can do.
        mend: String,
    },
    /// A download failed or gave other bytes than it should.
    #[error("fetching {what}: {reason}; {mend}")]
    Fetch {
        /// The model or file.
        what: String,
        /// What went wrong.
        reason: String,
        /// What the user can do.
        mend: String,
    },
    /// The request is longer than the model's context or the configured limit.
    #[error("{tokens} tokens exceed the limit of {limit}: {mend}")]
    TooLong {
        /// What the request needs.
        tokens: usize,
        /// What there is.
        limit: usize,
        /// What the user can do.
        mend: String,
    },
    /// The grammar is not valid.
    #[error("the grammar is not usable: {0}")]
    Grammar(String),
    /// A parameter of the request is out of range.
    #[error("{0}")]
    Request(String),
    /// The queue is full.
    #[error("the model is busy: {waiting} requests wait already; try again later")]
    Overloaded {
        /// How many requests wait.
        waiting: usize,
    },
    /// A model server has no room; how many wait there it does not say.
    #[error("the model server {url} is busy; try again later")]
    Busy {
        /// The API's root.
        url: String,
    },
    /// A served model gave nothing.
    #[error("the model server {url}: {reason}")]
    Remote {
        /// The API's root.
        url: String,
        /// What went wrong, and the mend where there is one.
        reason: String,
    },
    /// The model's thread has ended.
    #[error("the model has stopped")]
    Stopped,
    /// Weights whose format, shape or size the kernels do not take.
    #[error("weights: {0}")]
    Weights(String),
    /// A device failed, or is not there.
    #[error(transparent)]
    Device(#[from] footnote_device::DeviceError),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}
