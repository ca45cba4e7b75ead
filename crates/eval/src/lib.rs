//! Evaluation: datasets, exact metrics, intervals.
//!
//! This crate must not know axum.
