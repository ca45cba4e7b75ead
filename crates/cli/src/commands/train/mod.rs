//! `train`: rankers fitted on labelled records, one module a task.

mod passages;

pub use passages::run as passages;
