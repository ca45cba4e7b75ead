//! The agent: a question in, typed events and a footnoted answer out.
//!
//! This crate must not know axum or SQL.

pub mod scope;
