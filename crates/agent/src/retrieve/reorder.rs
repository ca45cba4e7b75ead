//! The pages that retrieval found, ordered anew by a passage ranker: alone, or beside retrieval's own order.
//!
//! What a ranker sees is the question and the pages' texts, best page first. Must not know which ranker it is.

use super::{PageHit, Retriever};
use crate::AgentError;
use crate::rank::passage::{PassageRanker, order, reciprocal_rank_fusion};

/// What stands before a passage ranker's name where it orders pages beside retrieval.
const BESIDE: &str = "agent+";

/// How pages are ordered, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageOrder {
    /// By retrieval alone: `agent`.
    Agent,
    /// By a passage ranker over the best that retrieval found.
    By {
        /// The passage ranker's name.
        ranker: String,
        /// Whether retrieval's order is fused with the ranker's: `agent+NAME`.
        beside_agent: bool,
    },
}

impl PageOrder {
    /// `agent`, the name of a passage ranker, or `agent+` and such a name.
    pub fn parse(name: &str) -> PageOrder {
        match (name, name.strip_prefix(BESIDE)) {
            ("agent", _) => PageOrder::Agent,
            (_, Some(ranker)) => PageOrder::By {
                ranker: ranker.to_owned(),
                beside_agent: true,
            },
            (ranker, None) => PageOrder::By {
                ranker: ranker.to_owned(),
                beside_agent: false,
            },
        }
    }
}

impl Retriever<'_> {
    /// The best `k` pages, of which the first `depth` are ordered by `ranker`; fused with the order that they were
    /// found in where `beside_agent`. The others follow as they were found.
    ///
    /// # Errors
    /// Where the corpus cannot be read, or the ranker fails.
    pub fn pages_by(
        &self,
        question: &str,
        k: usize,
        depth: usize,
        ranker: &dyn PassageRanker,
        beside_agent: bool,
    ) -> Result<Vec<PageHit>, AgentError> {
        let found = self.pages_with_text(question, k.max(depth))?;
        let shown = depth.min(found.len());
        let texts: Vec<&str> = found[..shown]
            .iter()
            .map(|(_, text)| text.as_str())
            .collect();
        let again = order(&ranker.scores(question, &texts)?);
        let again = if beside_agent {
            let first: Vec<usize> = (0..shown).collect();
            order(&reciprocal_rank_fusion(
                &[(1.0, &first), (1.0, &again)],
                shown,
            ))
        } else {
            again
        };
        let hits = again
            .into_iter()
            .chain(shown..found.len())
            .take(k)
            .enumerate()
            .map(|(rank, at)| PageHit {
                score: 1.0 / (rank as f32 + 1.0),
                ..found[at].0.clone()
            });
        Ok(hits.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_who_orders() {
        assert_eq!(PageOrder::parse("agent"), PageOrder::Agent);
        for (name, beside) in [("bm25", false), ("agent+bm25", true)] {
            assert_eq!(
                PageOrder::parse(name),
                PageOrder::By {
                    ranker: "bm25".to_owned(),
                    beside_agent: beside,
                }
            );
        }
    }
}
