//! `train`: rankers fitted on labelled records, one module a task.

mod doc_types;
mod labelled;
mod naming;
mod passages;

pub use doc_types::run as doc_types;
pub use labelled::labelled_questions;
pub use passages::run as passages;
