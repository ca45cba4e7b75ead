//! Local inference: model files in, text and scores out, on a thread of its own.
//!
//! Callers use [`LanguageModel`]. This crate must not know filings, finance or serving.

pub mod catalogue;
mod error;
pub mod kernels;
mod model;

pub use error::EngineError;
pub use model::*;
