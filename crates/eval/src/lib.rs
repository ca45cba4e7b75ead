//! Evaluation: dataset and prediction formats, exact metrics, intervals, paired differences.
//!
//! Numbers here are compared with published ones, so each metric is one definition under one name
//! and nothing that cannot be read is left out of a mean in silence. This crate must not know axum.

mod answers;
mod bootstrap;
mod convert;
mod error;
pub mod evidence;
pub mod finagentbench;
pub mod financebench;
mod lines;
pub mod metrics;
mod pages;
mod report;
mod run;
mod score;
pub mod submission;
mod suite;
pub mod trec;

pub use answers::{AnswerKind, Judgement, judge};
pub use bootstrap::{Interval, PairedDifference, difference, interval};
pub use convert::{Converted, Form, convert};
pub use error::EvalError;
pub use financebench::{Question as PageQuestion, read_questions as read_page_questions};
pub use lines::{Line, read_lines};
pub use pages::{PageHit, PagePrediction};
pub use report::{Published, Written, published, write_report};
pub use run::{
    Bench, CellRun, OpenCell, Outcome, Posed, Progress, RunOptions, Watch, Worker, database,
    run_suite,
};
pub use score::{AnswerPrediction, Comparison, GroupReport, Report, Score, Task, score};
pub use suite::{Budget, Cell, Suite, file_hash};
