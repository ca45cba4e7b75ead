//! Evaluation: dataset and prediction formats, exact metrics, intervals, paired differences.
//!
//! Numbers here are compared with published ones, so each metric is one definition under one name
//! and nothing that cannot be read is left out of a mean in silence. This crate must not know axum.

mod bootstrap;
mod error;
pub mod finagentbench;
mod lines;
pub mod metrics;
mod pages;
mod score;

pub use bootstrap::{Interval, PairedDifference};
pub use error::EvalError;
pub use lines::{Line, read_lines};
pub use pages::{PageHit, PagePrediction, PageQuestion, read_page_questions};
pub use score::{Comparison, Report, Score, Task, score};
