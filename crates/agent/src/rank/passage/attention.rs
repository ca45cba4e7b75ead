//! Passages ranked by the attention that a question pays them: one reading, no token written.
//!
//! In-context re-ranking (Chen et al. 2024, arXiv:2410.02642): all passages stand in one prompt with the question
//! last; a passage's relevance is the attention from the question's end to its tokens, less what a content-free
//! question pays them, outliers below two deviations dropped. Some heads find evidence better than all together (QRHead,
//! arXiv:2506.09944); which ones is measured per model (`evals/results/compression.md`). Passages that do not fit the
//! context are read in groups, the groups' scores joined as they are: each is a share of one reading's attention.

use std::sync::Arc;

use footnote_engine::{Attention, AttentionRequest, LanguageModel};

use super::model::excerpt;
use super::{PassageRanker, settled};
use crate::AgentError;

/// How much of a passage is shown, in characters: all passages are read together, and reading is what costs.
pub const SHOWN_CHARS: usize = 700;
/// What a question without content is.
const NO_QUESTION: &str = "N/A";
/// Tokens of a reading; more passages are read in groups.
const READING_TOKENS: usize = 8_192;
/// Deviations below the mean at which a token's share counts as noise.
const OUTLIER: f32 = 2.0;
/// Room for the template and the words between passages, for each passage and once.
const ROOM: (usize, usize) = (16, 128);

/// Heads that find evidence, by how a model's name begins. Those of Qwen2.5-Coder 0.5B were chosen greedily for nDCG@10 on
/// FinanceBench's 64 development questions, halved by company: each half's choice was measured on the other (nDCG@10 .414
/// beside BM25's .386 and .319 of all heads; `evals/results/compression.md`), and both halves' are here.
const KNOWN_HEADS: &[(&str, &[(usize, usize)])] = &[(
    "qwen2.5-coder-0.5b",
    &[
        (1, 3),
        (2, 4),
        (3, 7),
        (12, 5),
        (13, 0),
        (15, 7),
        (16, 8),
        (16, 13),
    ],
)];

/// The heads of a model that are known to find evidence.
fn known_heads(model: &str) -> Option<Vec<(usize, usize)>> {
    let (_, heads) = KNOWN_HEADS
        .iter()
        .find(|(name, _)| model.starts_with(name))?;
    Some(heads.to_vec())
}

/// A ranker by attention.
pub struct AttentionRanker {
    name: &'static str,
    model: Arc<dyn LanguageModel>,
    heads: Option<Vec<(usize, usize)>>,
}

impl AttentionRanker {
    /// By the heads of `model` that are known to find evidence, else by all.
    pub fn usual(model: Arc<dyn LanguageModel>) -> AttentionRanker {
        let heads = known_heads(model.name());
        AttentionRanker::new(model, heads)
    }

    /// By all heads of `model`, or by chosen ones, as layer and query head.
    pub fn new(
        model: Arc<dyn LanguageModel>,
        heads: Option<Vec<(usize, usize)>>,
    ) -> AttentionRanker {
        AttentionRanker {
            name: "attention",
            model,
            heads,
        }
    }

    /// The passages of each reading: as many as fit, in their order.
    fn groups(&self, texts: &[String]) -> Result<Vec<Vec<usize>>, AgentError> {
        let room = READING_TOKENS.min(self.model.context_tokens());
        let mut groups: Vec<Vec<usize>> = vec![Vec::new()];
        let mut used = ROOM.1;
        for (at, text) in texts.iter().enumerate() {
            let tokens = self.model.count_tokens(text)? + ROOM.0;
            if used + tokens > room && groups.last().is_some_and(|group| !group.is_empty()) {
                groups.push(Vec::new());
                used = ROOM.1;
            }
            used += tokens;
            if let Some(group) = groups.last_mut() {
                group.push(at);
            }
        }
        Ok(groups)
    }
}

/// The prompt of a reading. The question stands last, so that it sees all passages.
pub fn request(
    question: &str,
    texts: &[&str],
    heads: Option<Vec<(usize, usize)>>,
    per_head: bool,
) -> AttentionRequest {
    let mut parts = vec!["Here are passages of a company's filings.\n\n".to_owned()];
    for (at, text) in texts.iter().enumerate() {
        parts.push(format!("[{}] {}\n\n", at + 1, text.trim()));
    }
    let end = |question: &str| {
        format!("Find the passages that help to answer the question.\n\nQuestion: {question}")
    };
    AttentionRequest {
        parts,
        ends: vec![end(question), end(NO_QUESTION)],
        heads,
        per_head,
    }
}

/// The relevance of each passage under one row of heads: the question's shares less those of no question, summed over the
/// passage's tokens without outliers. The first part is the instruction and no passage.
pub fn relevance(seen: &Attention, row: usize) -> Vec<f32> {
    let (asked, not_asked) = (&seen.shares[0][row], &seen.shares[1][row]);
    let of = |range: &std::ops::Range<usize>| {
        let paid: Vec<f32> = asked[range.clone()]
            .iter()
            .zip(&not_asked[range.clone()])
            .map(|(asked, not_asked)| asked - not_asked)
            .collect();
        let count = paid.len().max(1) as f32;
        let mean = paid.iter().sum::<f32>() / count;
        let deviation = (paid.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / count).sqrt();
        paid.iter()
            .filter(|x| **x >= mean - OUTLIER * deviation)
            .sum()
    };
    seen.parts.iter().skip(1).map(of).collect()
}

/// One number a passage from heads that were kept apart: each head by its own total, so that a loud one does not decide
/// alone.
pub fn joined(seen: &Attention, rows: &[usize]) -> Vec<f32> {
    let mut sum = vec![0.0; seen.parts.len().saturating_sub(1)];
    for row in rows {
        let scores = relevance(seen, *row);
        let total: f32 = scores.iter().map(|score| score.abs()).sum();
        if total > 0.0 {
            for (sum, score) in sum.iter_mut().zip(scores) {
                *sum += score / total;
            }
        }
    }
    sum
}

impl PassageRanker for AttentionRanker {
    fn name(&self) -> &str {
        self.name
    }

    fn scores(&self, question: &str, texts: &[&str]) -> Result<Vec<f32>, AgentError> {
        let shown: Vec<String> = texts
            .iter()
            .map(|text| excerpt(question, text, SHOWN_CHARS))
            .collect();
        let mut scores = vec![0.0; texts.len()];
        for group in self.groups(&shown)? {
            let group: Vec<usize> = group
                .into_iter()
                .filter(|at| !shown[*at].trim().is_empty())
                .collect();
            if group.is_empty() {
                continue;
            }
            let texts: Vec<&str> = group.iter().map(|at| shown[*at].as_str()).collect();
            let apart = self.heads.is_some();
            let seen = self
                .model
                .attend(&request(question, &texts, self.heads.clone(), apart))?;
            let rows: Vec<usize> = (0..seen.shares[0].len()).collect();
            let found = if apart {
                joined(&seen, &rows)
            } else {
                relevance(&seen, 0)
            };
            for (at, score) in group.into_iter().zip(found) {
                scores[at] = score;
            }
        }
        Ok(settled(scores, texts))
    }
}

#[cfg(test)]
mod tests {
    use footnote_engine::{EngineError, GenerateRequest, Generation, Prompt};

    use super::*;

    /// Attends to passages with the word `anvil`, and to the first passage whatever is asked.
    struct Scripted;

    impl LanguageModel for Scripted {
        fn name(&self) -> &str {
            "scripted"
        }

        fn context_tokens(&self) -> usize {
            1_000
        }

        fn count_tokens(&self, text: &str) -> Result<usize, EngineError> {
            Ok(text.split_whitespace().count())
        }

        fn attend(&self, request: &AttentionRequest) -> Result<Attention, EngineError> {
            let count = request.parts.len();
            let shares = request
                .ends
                .iter()
                .map(|end| {
                    let of = |(at, part): (usize, &String)| {
                        let sought = part.contains("anvil") && !end.contains(NO_QUESTION);
                        let always = if at == 1 { 0.5 } else { 0.0 };
                        always + if sought { 0.3 } else { 0.0 }
                    };
                    vec![request.parts.iter().enumerate().map(of).collect()]
                })
                .collect();
            Ok(Attention {
                parts: (0..count).map(|at| at..at + 1).collect(),
                heads: Vec::new(),
                shares,
            })
        }

        fn generate(&self, _: GenerateRequest) -> Result<Generation, EngineError> {
            Err(EngineError::Stopped)
        }

        fn score(&self, _: Prompt, _: &[String]) -> Result<Vec<(f64, usize)>, EngineError> {
            Err(EngineError::Stopped)
        }
    }

    #[test]
    fn a_models_heads_are_known_by_its_name() {
        let heads = known_heads("qwen2.5-coder-0.5b-instruct-q4_k_m").unwrap();
        assert!(heads.contains(&(13, 0)) && heads.is_sorted());
        assert!(known_heads("smollm2-135m").is_none());
    }

    #[test]
    fn what_any_question_would_be_paid_does_not_count() {
        let ranker = AttentionRanker::new(Arc::new(Scripted), None);
        let texts = ["first of all", "an anvil", "", "nothing"];
        let scores = ranker.scores("Where is the anvil?", &texts).unwrap();
        assert!(scores[1] > scores[0] && scores[1] > scores[3], "{scores:?}");
        assert!(scores[2] < scores[3], "{scores:?}");
    }

    #[test]
    fn what_does_not_fit_is_read_in_groups_and_none_is_lost() {
        let ranker = AttentionRanker::new(Arc::new(Scripted), None);
        let long = "word ".repeat(250);
        let texts: Vec<&str> = (0..7).map(|_| long.as_str()).collect();
        let shown: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let groups = ranker.groups(&shown).unwrap();
        assert!(groups.len() > 1);
        assert_eq!(groups.concat(), (0..7).collect::<Vec<_>>());
        assert_eq!(ranker.scores("Why?", &texts).unwrap().len(), 7);
    }
}
