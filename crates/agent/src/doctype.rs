//! Stage 1: which kinds of document are likeliest to answer a question.
//!
//! No document is read here, and no label is trained in: an order known beforehand, and what the
//! model itself thinks likely.

use footnote_filings::DocType;
use serde::{Deserialize, Serialize};

use crate::AgentError;

/// The five kinds in order for one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocTypeRanking {
    /// Who ranked.
    pub ranker: String,
    /// Best first.
    pub order: Vec<DocType>,
    /// One score for each of [`DocType::ALL`], larger is better; comparable within one ranking only.
    pub scores: Vec<f64>,
}

impl DocTypeRanking {
    /// Orders the kinds by score; equal scores keep the order of [`FixedOrder::default`].
    pub fn from_scores(ranker: &str, scores: [f64; 5]) -> DocTypeRanking {
        let mut order = PRIOR_ORDER.to_vec();
        order.sort_by(|a, b| scores[b.index()].total_cmp(&scores[a.index()]));
        DocTypeRanking {
            ranker: ranker.to_owned(),
            order,
            scores: scores.to_vec(),
        }
    }
}

/// Orders the kinds of document for a question.
pub trait DocTypeRanker: Send + Sync {
    /// The name it is known by in traces and on the command line.
    fn name(&self) -> &str;

    /// The order for one question.
    ///
    /// # Errors
    /// Where the model behind it fails, or cannot give probabilities.
    fn rank(&self, question: &str) -> Result<DocTypeRanking, AgentError>;
}

/// Annual reports hold most of what is asked, proxy statements and current reports least.
const PRIOR_ORDER: [DocType; 5] = [
    DocType::TenK,
    DocType::Earnings,
    DocType::TenQ,
    DocType::Def14a,
    DocType::EightK,
];

/// The same order for every question: the yardstick that any other ranker has to beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedOrder {
    order: [DocType; 5],
}

impl FixedOrder {
    /// A ranker that always gives `order`.
    pub fn new(order: [DocType; 5]) -> FixedOrder {
        FixedOrder { order }
    }
}

impl Default for FixedOrder {
    fn default() -> Self {
        FixedOrder::new(PRIOR_ORDER)
    }
}

impl DocTypeRanker for FixedOrder {
    fn name(&self) -> &str {
        "fixed"
    }

    fn rank(&self, _question: &str) -> Result<DocTypeRanking, AgentError> {
        let mut scores = [0.0; 5];
        for (place, kind) in self.order.iter().enumerate() {
            scores[kind.index()] = 1.0 / (place as f64 + 1.0);
        }
        Ok(DocTypeRanking {
            ranker: self.name().to_owned(),
            order: self.order.to_vec(),
            scores: scores.to_vec(),
        })
    }
}
