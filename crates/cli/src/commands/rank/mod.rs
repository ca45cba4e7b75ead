//! `rank`: the candidates of a FinAgentBench dataset ordered by a ranker, one module a task.

mod doc_types;
pub mod passages;

pub use doc_types::run as doc_types;
