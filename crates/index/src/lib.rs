//! The searchable corpus: crash-safe import, filtered BM25, passage, filing and fact lookup.
//!
//! Callers use [`SearchBackend`]. This crate must not know models' internals or prompts.

mod backend;
mod error;

pub use backend::*;
pub use error::IndexError;
