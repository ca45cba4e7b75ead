//! Orders the chunks of one document for a question: lexical, learned, by a model, and together.
//!
//! Every ranker is a [`PassageRanker`] and known by a name ([`Choice`]); each works on the chunks of a
//! FinAgentBench record and on passages of the index alike, because all it sees is a question and
//! texts in their order. Must not know datasets, the index, or any label.

pub mod attention;
mod boost;
mod catalogue;
mod dense;
mod document;
mod features;
mod fit;
mod fuse;
mod lexical;
mod linear_fit;
mod model;
mod plain;
mod question;
mod saved;
mod scorer;
mod text;
mod vocabulary;

pub use attention::AttentionRanker;
pub use catalogue::{Choice, Models, NAMES};
pub use dense::Dense;
pub use features::{FEATURES, Feature, Features};
pub use fit::{CrossValidation, Example, FitOptions, Fitted, fit, ndcg};
pub use fuse::{Beside, Cascade, Fused, beside, reciprocal_rank_fusion};
pub use model::{Judging, ModelJudge, excerpt as shown};
pub use plain::{Bm25, Learned, Measurer};
pub use saved::{Training, load, save, starting_weights};
pub use scorer::{Node, Scorer, Tree};

use crate::AgentError;

/// Gives every chunk of a document a score for a question.
pub trait PassageRanker: Send + Sync {
    /// The name it is chosen by.
    fn name(&self) -> &str;

    /// One finite score for each text, larger is better; comparable within one call only. Empty texts
    /// score below all others.
    ///
    /// # Errors
    /// Where a model that it asks fails.
    fn scores(&self, question: &str, texts: &[&str]) -> Result<Vec<f32>, AgentError>;
}

/// How far below the worst text an empty one is put.
const EMPTY_BELOW: f32 = 1.0;

/// Puts empty texts below all others; what is no finite number counts as the worst.
pub(crate) fn settled(mut scores: Vec<f32>, texts: &[&str]) -> Vec<f32> {
    let worst = scores
        .iter()
        .copied()
        .filter(|score| score.is_finite())
        .fold(0.0, f32::min);
    for (score, text) in scores.iter_mut().zip(texts) {
        if !score.is_finite() {
            *score = worst;
        }
        if text.trim().is_empty() {
            *score = worst - EMPTY_BELOW;
        }
    }
    scores
}

/// Indices best first; equal scores keep the order of the document.
pub fn order(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    order
}
