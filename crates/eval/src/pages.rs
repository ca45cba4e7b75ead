//! Page predictions: ranked pages of a corpus for each question.

use serde::{Deserialize, Serialize};

/// A page predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageHit {
    /// The document.
    pub doc: String,
    /// The page as the corpus counts.
    pub page: u32,
    /// Larger is better.
    pub score: f64,
}

/// A line of a page prediction file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PagePrediction {
    /// The question's name.
    pub id: String,
    /// Best first.
    pub hits: Vec<PageHit>,
}
