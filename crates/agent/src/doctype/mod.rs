//! Stage 1: which kinds of document are likeliest to answer a question.
//!
//! No document is read here. The orders are one known beforehand, one drawn at random, that of descriptions, what the
//! model itself thinks likely or writes down, and what labelled questions taught.

pub mod calibration;
mod described;
mod examples;
mod generated;
mod learned;
mod nearest;
mod probe;
mod ridge;
mod selection;
pub mod wording;

pub use described::DescribedOrder;
pub use examples::ExamplesOrder;
pub use generated::{GeneratedOrder, benchmark_prompt};
pub use learned::{LabelledQuestion, LearnedOrder, Settings, TrainedOn, Vectors, tfidf_ridge};
pub use nearest::NearestOrder;
pub use probe::{PENALTY, Probe, ProbeOrder};

use footnote_filings::DocType;
use serde::{Deserialize, Serialize};

use crate::AgentError;

/// The five kinds in order for one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

/// Another order for every question, drawn from a seed and the question: what knowing nothing gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomOrder(pub u64);

impl DocTypeRanker for RandomOrder {
    fn name(&self) -> &str {
        "random"
    }

    fn rank(&self, question: &str) -> Result<DocTypeRanking, AgentError> {
        // FNV-1a over the question, then SplitMix64: the same on every machine.
        let mut state = question
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325 ^ self.0, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        let scores = std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        });
        Ok(DocTypeRanking::from_scores(self.name(), scores))
    }
}
