//! The searchable corpus: crash-safe import, filtered BM25, passage, filing and fact lookup.
//!
//! Callers use [`SearchBackend`]; [`Corpus`] is the embedded one, [`Importer`] fills it. This crate
//! must not know models' internals or prompts.

mod backend;
mod blobs;
mod corpus;
mod error;
mod import;
mod layout;
mod query;
mod schema;
mod snapshot;
mod stats;
mod tokenizer;

pub use backend::*;
pub use blobs::StoredFiling;
pub use corpus::Corpus;
pub use error::IndexError;
pub use import::{
    Failure, ImportOptions, ImportReport, Importer, Incoming, Progress, Source, Splitter,
};
pub use stats::{CorpusStats, Finding, FindingKind};
