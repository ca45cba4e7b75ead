//! The local model as a judge of passages, by its probabilities and never by its prose.
//!
//! Two judgements: how much likelier it says Yes than No when asked whether a passage helps (pointwise
//! relevance generation, Liang et al. 2022, arXiv:2211.09110), and how likely the passage makes the
//! question (unsupervised passage re-ranking, Sachan et al. 2022, arXiv:2204.07496). Both read one
//! passage at a time, so they are dear and stand at the end of a cascade.

use std::sync::Arc;

use footnote_engine::{LanguageModel, Message, Prompt, Role};

use super::document::Document;
use super::lexical::{Query, window};
use super::question::ask;
use super::text::{Stemmer, without_tags};
use super::{PassageRanker, settled};
use crate::AgentError;

/// How much of a passage is shown, in characters; of a longer one the part that fits best.
const SHOWN_CHARS: usize = 1_500;

/// How a model judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judging {
    /// By yes and no.
    YesNo,
    /// By the likelihood of the question.
    Likelihood,
}

/// A ranker by a model's probabilities.
pub struct ModelJudge {
    model: Arc<dyn LanguageModel>,
    judging: Judging,
}

impl ModelJudge {
    /// A ranker that asks `model`.
    pub fn new(model: Arc<dyn LanguageModel>, judging: Judging) -> ModelJudge {
        ModelJudge { model, judging }
    }

    fn judge(&self, question: &str, passage: &str) -> Result<f32, AgentError> {
        let score = match self.judging {
            Judging::YesNo => {
                let answers = ["Yes".to_owned(), "No".to_owned()];
                let scored = self.model.score(yes_no(question, passage), &answers)?;
                match scored.as_slice() {
                    [yes, no] => yes.0 - no.0,
                    _ => f64::NEG_INFINITY,
                }
            }
            Judging::Likelihood => {
                let scored = self
                    .model
                    .score(likelihood(passage), &[question.to_owned()])?;
                scored.first().map_or(f64::NEG_INFINITY, |(sum, tokens)| {
                    sum / (*tokens).max(1) as f64
                })
            }
        };
        Ok(score as f32)
    }
}

impl PassageRanker for ModelJudge {
    fn name(&self) -> &str {
        match self.judging {
            Judging::YesNo => "model-yesno",
            Judging::Likelihood => "model-likelihood",
        }
    }

    fn scores(&self, question: &str, texts: &[&str]) -> Result<Vec<f32>, AgentError> {
        let mut scores = Vec::with_capacity(texts.len());
        for text in texts {
            scores.push(if text.trim().is_empty() {
                f32::NEG_INFINITY
            } else {
                self.judge(question, &excerpt(question, text, SHOWN_CHARS))?
            });
        }
        Ok(settled(scores, texts))
    }
}

/// The question stands before the passage, so that the model's kept prefix serves every passage.
fn yes_no(question: &str, passage: &str) -> Prompt {
    Prompt::Chat(vec![
        Message::new(
            Role::System,
            "You judge whether a passage of a company's filing helps to answer an analyst's question. \
             Answer Yes or No.",
        ),
        Message::new(
            Role::User,
            format!(
                "Question: {question}\n\nPassage:\n{passage}\n\nDoes the passage help to answer the question?"
            ),
        ),
    ])
}

fn likelihood(passage: &str) -> Prompt {
    Prompt::Chat(vec![Message::new(
        Role::User,
        format!("{passage}\n\nWrite one question of an analyst that this passage answers."),
    )])
}

/// The passage, or of a longer one than `most_chars` the stretch that holds most of the question's words.
pub fn excerpt(question: &str, text: &str, most_chars: usize) -> String {
    let plain = without_tags(text).replace("##", " ");
    if plain.chars().count() <= most_chars {
        return plain;
    }
    let pieces = pieces(&plain, most_chars);
    let mut stemmer = Stemmer::default();
    let document = Document::new(&pieces, &mut stemmer);
    let query = Query::new(&document, &ask(question, &mut stemmer).words);
    let fits = window(&document, &query, 200);
    let best = (0..pieces.len())
        .max_by(|a, b| fits[*a].total_cmp(&fits[*b]).then(b.cmp(a)))
        .unwrap_or(0);
    pieces
        .get(best)
        .map_or_else(String::new, |piece| (*piece).to_owned())
}

/// Stretches of at most `most_chars` that begin at words, each overlapping the next by half.
fn pieces(text: &str, most_chars: usize) -> Vec<&str> {
    let starts: Vec<usize> = text
        .char_indices()
        .step_by((most_chars / 2).max(1))
        .map(|(at, _)| {
            text[at..]
                .find(char::is_whitespace)
                .map_or(at, |blank| at + blank)
        })
        .collect();
    starts
        .iter()
        .map(|start| {
            let rest = &text[*start..];
            let end = rest
                .char_indices()
                .nth(most_chars)
                .map_or(rest.len(), |(end, _)| end);
            &rest[..end]
        })
        .filter(|piece| !piece.trim().is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use footnote_engine::{EngineError, GenerateRequest, Generation};

    use super::*;

    /// Says yes to passages with the word `anvil`, and finds questions likely after it.
    struct Scripted;

    impl LanguageModel for Scripted {
        fn name(&self) -> &str {
            "scripted"
        }
        fn context_tokens(&self) -> usize {
            4096
        }
        fn count_tokens(&self, text: &str) -> Result<usize, EngineError> {
            Ok(text.len())
        }
        fn generate(&self, _: GenerateRequest) -> Result<Generation, EngineError> {
            Err(EngineError::Stopped)
        }
        fn score(
            &self,
            prompt: Prompt,
            continuations: &[String],
        ) -> Result<Vec<(f64, usize)>, EngineError> {
            let Prompt::Chat(messages) = prompt else {
                return Err(EngineError::Stopped);
            };
            let liked = messages
                .iter()
                .any(|message| message.content.contains("anvil"));
            Ok(continuations
                .iter()
                .map(|text| match (text.as_str(), liked) {
                    ("No", true) => (-3.0, 1),
                    (_, true) => (-1.0, 1),
                    _ => (-2.0, 1),
                })
                .collect())
        }
    }

    #[test]
    fn the_models_yes_decides() {
        for judging in [Judging::YesNo, Judging::Likelihood] {
            let judge = ModelJudge::new(Arc::new(Scripted), judging);
            let scores = judge
                .scores("What do we sell?", &["Hay.", "", "One anvil."])
                .unwrap();
            assert_eq!(
                crate::rank::passage::order(&scores),
                [2, 0, 1],
                "{scores:?}"
            );
        }
    }

    #[test]
    fn of_a_long_passage_the_part_that_fits_is_shown() {
        let text = format!(
            "{}the dividend policy is simple {}",
            "é word ".repeat(900),
            "word ".repeat(900)
        );
        let shown = excerpt("What is the dividend policy?", &text, SHOWN_CHARS);
        assert!(shown.contains("dividend policy") && shown.chars().count() <= SHOWN_CHARS);
        assert_eq!(excerpt("Why?", "short", SHOWN_CHARS), "short");
        excerpt("Why?", &"é".repeat(5_000), SHOWN_CHARS);
    }
}
