//! Orders candidate passages by what was measured of them.
//!
//! Two levels: a [`MeasureRanker`] orders the pages and passages of many filings by measures of filing
//! and passage; a [`passage::PassageRanker`] orders the chunks of one document by their text. Neither
//! may know the index, and never a question's key.

mod linear;
mod measures;
pub mod passage;

pub use linear::LinearRanker;
pub use measures::{FilingMeasures, MEASURES, Measure, Measures, Pool};

/// Gives every candidate a score.
pub trait MeasureRanker: Send + Sync {
    /// Its name, as commands and traces show it.
    fn name(&self) -> &str;

    /// One score for each candidate, larger is better; comparable within one call only.
    fn scores(&self, candidates: &[Measures]) -> Vec<f32>;

    /// What speaks most for a candidate, in words for a person.
    fn why(&self, candidate: &Measures) -> String;
}
