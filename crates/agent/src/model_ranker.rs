//! Stage 1 by the model's own scores: how likely it finds each kind of document, never its prose.
//!
//! The five kinds are lettered options; what is read is the probability of each letter. A small
//! model prefers some letters and some kinds whatever is asked, so the options are shown in two
//! opposite orders, and what it says to a question without content is taken away (contextual
//! calibration, Zhao et al. 2021, arXiv:2102.09690, section 3). What is left is how much likelier the
//! question makes each kind, and is added to the log-odds known beforehand, as Bayes' rule has it. No
//! label is trained in.

use std::sync::Arc;

use footnote_engine::{LanguageModel, Message, Prompt, Role};
use footnote_filings::DocType;

use crate::{AgentError, DocTypeRanker, DocTypeRanking};

/// What each kind is, for a model that may never have heard of the form.
const ABOUT: [&str; 5] = [
    "DEF14A proxy statement: directors, board, executive pay, shareholder votes, governance",
    "10-K annual report: business, risk factors, full-year financial statements, segments, strategy",
    "10-Q quarterly report: quarterly financial statements, changes since the last quarter",
    "8-K current report: one event just announced: a deal, a departure, a press release, guidance",
    "Earnings call transcript: management's comments, outlook and guidance, analysts' questions",
];

/// Log-odds of the kinds before anything is asked: annual reports answer most, current reports and
/// proxy statements least.
const PRIOR: [f64; 5] = [-0.5, 1.0, 0.25, -0.75, 0.5];

/// The letters of the options; one token each in every vocabulary served.
const LETTERS: [&str; 5] = ["A", "B", "C", "D", "E"];

/// A question that asks nothing, to see what the model says regardless.
const NO_QUESTION: &str = "N/A";

/// Orders kinds of document by a model's scores over lettered options.
pub struct ModelRanker {
    model: Arc<dyn LanguageModel>,
    /// Log probability of each kind when nothing is asked.
    regardless: [f64; 5],
}

impl ModelRanker {
    /// A ranker by `model`, which is asked at once what it says regardless of the question.
    ///
    /// # Errors
    /// Where the model fails, or cannot give probabilities (a remote one): choose another ranker.
    pub fn new(model: Arc<dyn LanguageModel>) -> Result<ModelRanker, AgentError> {
        let regardless = scores(model.as_ref(), NO_QUESTION, &[])?;
        Ok(ModelRanker { model, regardless })
    }
}

impl DocTypeRanker for ModelRanker {
    fn name(&self) -> &str {
        "model"
    }

    fn rank(&self, question: &str) -> Result<DocTypeRanking, AgentError> {
        let asked = scores(self.model.as_ref(), question, &[])?;
        Ok(DocTypeRanking::from_scores(
            self.name(),
            beside_prior(&asked, &self.regardless),
        ))
    }
}

/// A question that was answered by its best kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) question: String,
    pub(crate) best: DocType,
}

/// Scores of the kinds for a question after examples: what it makes likelier than a question without content after
/// the same examples, beside what is known beforehand.
pub(crate) fn scores_beside_prior(
    model: &dyn LanguageModel,
    question: &str,
    shown: &[Shown],
) -> Result<[f64; 5], AgentError> {
    let regardless = scores(model, NO_QUESTION, shown)?;
    Ok(beside_prior(&scores(model, question, shown)?, &regardless))
}

fn beside_prior(asked: &[f64; 5], regardless: &[f64; 5]) -> [f64; 5] {
    std::array::from_fn(|kind| PRIOR[kind] + asked[kind] - regardless[kind])
}

/// Mean log probability of each kind over two opposite orders of the options.
fn scores(
    model: &dyn LanguageModel,
    question: &str,
    shown: &[Shown],
) -> Result<[f64; 5], AgentError> {
    let letters = LETTERS.map(str::to_owned);
    let mut sums = [0.0; 5];
    for reversed in [false, true] {
        let mut order = DocType::ALL;
        if reversed {
            order.reverse();
        }
        let scored = model.score(prompt(&order, question, shown), &letters)?;
        // Over the five letters only: how much goes to other words says nothing of the order.
        let most = scored
            .iter()
            .map(|score| score.0)
            .fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scored.iter().map(|score| (score.0 - most).exp()).sum();
        for (kind, (log_probability, _)) in order.iter().zip(&scored) {
            sums[kind.index()] += (log_probability - most - sum.ln()) / 2.0;
        }
    }
    Ok(sums)
}

/// The options stand before the question, so that the model's kept prefix serves every question.
fn prompt(order: &[DocType; 5], question: &str, shown: &[Shown]) -> Prompt {
    let options: Vec<String> = order
        .iter()
        .zip(LETTERS)
        .map(|(kind, letter)| format!("{letter}. {}", ABOUT[kind.index()]))
        .collect();
    let letter = |kind: DocType| {
        let place = order.iter().position(|other| *other == kind);
        place.map_or("", |place| LETTERS[place])
    };
    let mut messages = vec![Message::new(
        Role::System,
        format!(
            "An analyst asks about a company. Say which document most likely holds the answer.\n{}\n\
                 Answer with one letter.",
            options.join("\n")
        ),
    )];
    for example in shown {
        messages.push(Message::new(Role::User, example.question.as_str()));
        messages.push(Message::new(Role::Assistant, letter(example.best)));
    }
    messages.push(Message::new(Role::User, question));
    Prompt::Chat(messages)
}

#[cfg(test)]
mod tests {
    use footnote_engine::{EngineError, GenerateRequest, Generation};

    use super::*;

    /// Likes the first letter, and the word that the question holds.
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
            let asked = &messages[1].content;
            Ok(continuations
                .iter()
                .enumerate()
                .map(|(place, letter)| {
                    let line = messages[0]
                        .content
                        .lines()
                        .find(|line| line.starts_with(&format!("{letter}. ")))
                        .unwrap_or_default();
                    let known = asked
                        .split(' ')
                        .any(|word| word.len() > 4 && line.contains(word));
                    (-(place as f64) + if known { 8.0 } else { 0.0 }, 1)
                })
                .collect())
        }
    }

    #[test]
    fn a_liking_for_letters_cancels_and_the_question_counts() {
        let ranker = ModelRanker::new(Arc::new(Scripted)).unwrap();
        let nothing = ranker.rank("What?").unwrap();
        assert_eq!(nothing.order[0], DocType::TenK);
        let proxy = ranker.rank("Who are the directors on the board?").unwrap();
        assert_eq!(proxy.order[0], DocType::Def14a);
        let call = ranker
            .rank("Which outlook did the transcript give?")
            .unwrap();
        assert_eq!(call.order[0], DocType::Earnings);
    }
}
