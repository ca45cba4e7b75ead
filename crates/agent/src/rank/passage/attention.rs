//! Passages ranked by the attention that a question pays them: one short reading each, no token written.
//!
//! As in in-context re-ranking (Chen et al. 2024, arXiv:2410.02642) a passage's relevance is the attention from the
//! question's end to its tokens, less what a content-free question pays them, by heads that find evidence (QRHead,
//! arXiv:2506.09944). Unlike there each passage is read by itself, so that neither its place nor its neighbours matter, any
//! number can be ranked, and reading costs what the passages' tokens cost; and a long passage does not win by being long:
//! only its best tokens count (`evals/results/compression.md`). Must not know where passages come from.

use std::sync::Arc;

use footnote_engine::{Attention, AttentionRequest, LanguageModel};

use super::model::excerpt;
use super::{PassageRanker, settled};
use crate::AgentError;

/// How much of a passage is shown, in characters: most of a page. Of 700 characters with most words of the question every
/// other one lacks the line that answers.
pub const SHOWN_CHARS: usize = 1_800;
/// What a question without content is.
const NO_QUESTION: &str = "N/A";
/// Tokens of a passage that count: those that are paid most.
const BEST_TOKENS: usize = 48;
/// In a passage of so many tokens each has half of the attention that it would have alone: what it is paid counts by as much
/// more.
const CROWD_TOKENS: f32 = 1_000.0;
/// Lines that count where heads were not chosen.
const BEST_LINES: usize = 3;

/// A head that is listened to, and how loud it is: what it pays the passages of a question altogether, on average where it
/// was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Listened {
    /// Its layer, from 0.
    pub layer: usize,
    /// Its number among the query heads of the layer, from 0.
    pub head: usize,
    /// How loud it is; its scores are divided by this.
    pub loud: f32,
}

/// What one head pays a passage for the question more than for none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Paid {
    /// The best tokens, added up, by how many there are beside them.
    pub tokens: f32,
    /// The best lines, a line by its mean token, added up.
    pub lines: f32,
}

/// A head's layer, number and loudness.
type Known = (usize, usize, f32);

/// Heads that find evidence, by how a model's name begins. Those of Qwen2.5-Coder 0.5B are the eight
/// that order the pages of FinanceBench's 64 development questions best, of the first 14 layers (`cargo bench -p footnote-eval
/// --bench rank_pages`); what such a choice does for questions of other companies is in `evals/results/compression.md`.
const KNOWN_HEADS: &[(&str, &[Known])] = &[(
    "qwen2.5-coder-0.5b",
    &[
        (9, 8, 5.387),
        (11, 9, 3.173),
        (11, 10, 2.207),
        (11, 12, 6.187),
        (13, 0, 5.938),
        (13, 2, 6.968),
        (13, 6, 5.112),
        (13, 13, 4.780),
    ],
)];

/// The heads of a model that are known to find evidence.
fn known_heads(model: &str) -> Option<Vec<Listened>> {
    let (_, heads) = KNOWN_HEADS
        .iter()
        .find(|(name, _)| model.starts_with(name))?;
    let listened = |(layer, head, loud): &Known| Listened {
        layer: *layer,
        head: *head,
        loud: *loud,
    };
    Some(heads.iter().map(listened).collect())
}

/// A ranker by attention.
pub struct AttentionRanker {
    name: &'static str,
    model: Arc<dyn LanguageModel>,
    heads: Option<Vec<Listened>>,
}

impl AttentionRanker {
    /// By the heads of `model` that are known to find evidence, else by all.
    pub fn usual(model: Arc<dyn LanguageModel>) -> AttentionRanker {
        let heads = known_heads(model.name());
        AttentionRanker::new(model, heads)
    }

    /// By chosen heads of `model`, or by all: then by the best lines, since it is in lines that heads which were not chosen
    /// agree.
    pub fn new(model: Arc<dyn LanguageModel>, heads: Option<Vec<Listened>>) -> AttentionRanker {
        AttentionRanker {
            name: "attention",
            model,
            heads,
        }
    }

    fn score(&self, question: &str, passage: &str) -> Result<f32, AgentError> {
        let Some(heads) = &self.heads else {
            let seen = self.model.attend(&request(question, passage, None))?;
            return Ok((0..seen.heads.len())
                .map(|row| paid(&seen, row).lines)
                .sum());
        };
        let places = heads.iter().map(|head| (head.layer, head.head)).collect();
        let seen = self
            .model
            .attend(&request(question, passage, Some(places)))?;
        let mut score = 0.0;
        for (row, place) in seen.heads.iter().enumerate() {
            let head = heads.iter().find(|head| (head.layer, head.head) == *place);
            score += head.map_or(0.0, |head| paid(&seen, row).tokens / head.loud);
        }
        Ok(score)
    }
}

/// What is read of a passage, and how the question is asked after it. Lines stand apart; heads do too.
pub fn request(
    question: &str,
    passage: &str,
    heads: Option<Vec<(usize, usize)>>,
) -> AttentionRequest {
    let mut parts = vec!["Here are passages of a company's filings.\n\n".to_owned()];
    let lines = passage.lines().filter(|line| !line.trim().is_empty());
    parts.extend(lines.map(|line| format!("{line}\n")));
    if let Some(last) = parts.last_mut().filter(|last| !last.ends_with("\n\n")) {
        last.push('\n');
    }
    let end = |question: &str| {
        format!("Find the passages that help to answer the question.\n\nQuestion: {question}")
    };
    AttentionRequest {
        parts,
        ends: vec![end(question), end(NO_QUESTION)],
        heads,
        per_head: true,
    }
}

/// What a row of heads pays the passage. The first part is the instruction and no line of it.
pub fn paid(seen: &Attention, row: usize) -> Paid {
    let (asked, not_asked) = (&seen.shares[0][row], &seen.shares[1][row]);
    let mut tokens: Vec<f32> = Vec::new();
    let mut lines: Vec<f32> = Vec::new();
    for line in seen.parts.iter().skip(1).filter(|line| !line.is_empty()) {
        let first = tokens.len();
        let both = asked[line.clone()].iter().zip(&not_asked[line.clone()]);
        tokens.extend(both.map(|(asked, not_asked)| asked - not_asked));
        lines.push(tokens[first..].iter().sum::<f32>() / line.len() as f32);
    }
    let crowd = 1.0 + tokens.len() as f32 / CROWD_TOKENS;
    Paid {
        tokens: best(tokens, BEST_TOKENS) * crowd,
        lines: best(lines, BEST_LINES),
    }
}

/// The largest numbers, added up.
fn best(mut numbers: Vec<f32>, count: usize) -> f32 {
    numbers.sort_by(|a, b| b.total_cmp(a));
    numbers.iter().take(count).sum()
}

impl PassageRanker for AttentionRanker {
    fn name(&self) -> &str {
        self.name
    }

    fn scores(&self, question: &str, texts: &[&str]) -> Result<Vec<f32>, AgentError> {
        let mut scores = Vec::with_capacity(texts.len());
        for text in texts {
            let shown = excerpt(question, text, SHOWN_CHARS);
            scores.push(match shown.trim().is_empty() {
                true => f32::NEG_INFINITY,
                false => self.score(question, &shown)?,
            });
        }
        Ok(settled(scores, texts))
    }
}

#[cfg(test)]
mod tests {
    use footnote_engine::{EngineError, GenerateRequest, Generation, Prompt};

    use super::*;

    /// Two heads over parts of two tokens each: one attends to lines with the word `anvil`, the other to the first line
    /// whatever is asked.
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
            let heads = request
                .heads
                .clone()
                .unwrap_or_else(|| vec![(0, 0), (0, 1)]);
            let share = |end: &str, head: usize, at: usize| match head {
                0 if request.parts[at].contains("anvil") && !end.contains(NO_QUESTION) => 0.3,
                1 if at == 1 => 0.5,
                _ => 0.0,
            };
            let row = |end: &str, head: usize| -> Vec<f32> {
                (0..2 * count).map(|at| share(end, head, at / 2)).collect()
            };
            let rows = |end: &String| heads.iter().map(|(_, head)| row(end, *head)).collect();
            Ok(Attention {
                parts: (0..count).map(|at| 2 * at..2 * at + 2).collect(),
                shares: request.ends.iter().map(rows).collect(),
                heads,
            })
        }

        fn generate(&self, _: GenerateRequest) -> Result<Generation, EngineError> {
            Err(EngineError::Stopped)
        }

        fn score(&self, _: Prompt, _: &[String]) -> Result<Vec<(f64, usize)>, EngineError> {
            Err(EngineError::Stopped)
        }
    }

    const TEXTS: [&str; 4] = ["first\nof all", "a hammer\n\nan anvil", "", "nothing"];

    #[test]
    fn a_models_heads_are_known_by_its_name() {
        let heads = known_heads("qwen2.5-coder-0.5b-instruct-q4_k_m").unwrap();
        assert!(!heads.is_empty() && heads.iter().all(|head| head.loud > 0.0));
        assert!(heads.is_sorted_by_key(|head| (head.layer, head.head)));
        assert!(known_heads("smollm2-135m").is_none());
    }

    #[test]
    fn what_any_question_would_be_paid_does_not_count() {
        let deaf = Listened {
            layer: 0,
            head: 1,
            loud: 1.0,
        };
        let keen = Listened { head: 0, ..deaf };
        for heads in [None, Some(vec![keen, deaf])] {
            let ranker = AttentionRanker::new(Arc::new(Scripted), heads);
            let scores = ranker.scores("Where is the anvil?", &TEXTS).unwrap();
            assert!(scores[1] > 0.0 && scores[0] == 0.0 && scores[3] == 0.0);
            assert!(scores[2] < 0.0, "an empty text is last: {scores:?}");
        }
        let ranker = AttentionRanker::new(Arc::new(Scripted), Some(vec![deaf]));
        let scores = ranker.scores("Where is the anvil?", &TEXTS).unwrap();
        assert_eq!(scores[1], scores[0]);
    }

    #[test]
    fn a_passages_score_knows_nothing_of_the_others_or_their_order() {
        let ranker = AttentionRanker::new(Arc::new(Scripted), None);
        let alone = ranker.scores("Why?", &TEXTS[1..2]).unwrap();
        let mut turned = TEXTS;
        turned.reverse();
        assert_eq!(ranker.scores("Why?", &turned).unwrap()[2], alone[0]);
        assert_eq!(ranker.scores("Why?", &TEXTS).unwrap()[1], alone[0]);
    }

    #[test]
    fn the_best_tokens_and_lines_count_and_what_shares_the_attention() {
        let seen = |lines: usize| {
            let request = request("Why?", &"an anvil\n".repeat(lines), None);
            paid(&Scripted.attend(&request).unwrap(), 0)
        };
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-4, "{a} for {b}");
        near(seen(1).tokens, 0.6 * 1.002);
        near(seen(1).lines, 0.3);
        near(seen(50).tokens, 0.3 * BEST_TOKENS as f32 * 1.1);
        near(seen(50).lines, 0.3 * BEST_LINES as f32);
    }
}
