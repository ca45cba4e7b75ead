//! Questions made from facts, said otherwise by a model: so that a ranker does not learn the templates.
//!
//! A model may change what is asked as well as how. So a rewording counts only where every number, date and name of
//! the question stands in it and none is new; else the template's words stay. The question is data to the
//! model, and the answer's place, which is known for certain, never depends on what the model writes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use footnote_engine::{GenerateRequest, LanguageModel, Message, Prompt, Role, Sampling};

use crate::AgentError;

/// Tokens of a reworded question.
const MOST_TOKENS: usize = 80;
/// How freely words are drawn.
const TEMPERATURE: f32 = 0.8;
/// A rewording that is longer than this many times the question, or shorter than a third of it, says something else.
const MOST_TIMES: usize = 2;

/// Rewords questions by a model, each once.
pub struct Rewording {
    model: Arc<dyn LanguageModel>,
    seed: u64,
    /// What became of every question asked so far.
    known: Mutex<HashMap<String, Option<String>>>,
}

impl Rewording {
    /// Rewords by `model`; the same seed gives the same words.
    pub fn new(model: Arc<dyn LanguageModel>, seed: u64) -> Rewording {
        Rewording {
            model,
            seed,
            known: Mutex::default(),
        }
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        self.model.name()
    }

    /// The question in other words; as it is where the model changes what it asks.
    ///
    /// # Errors
    /// Where the model fails.
    pub fn reword(&self, question: &str) -> Result<String, AgentError> {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(question) {
            return Ok(known.clone().unwrap_or_else(|| question.to_owned()));
        }
        let mut request = GenerateRequest::new(prompt(question), MOST_TOKENS);
        request.sampling = Sampling {
            temperature: TEMPERATURE,
            top_p: 0.95,
            seed: self.seed,
            ..Sampling::default()
        };
        request.stop = vec!["\n".to_owned()];
        let written = self.model.generate(request)?.complete()?.text;
        let written = written.trim().trim_matches('"').trim();
        let accepted = says_the_same(question, written).then(|| written.to_owned());
        lock().insert(question.to_owned(), accepted.clone());
        Ok(accepted.unwrap_or_else(|| question.to_owned()))
    }

    /// How many questions were said otherwise, and how many stayed as they were.
    pub fn counts(&self) -> (usize, usize) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let reworded = known.values().filter(|words| words.is_some()).count();
        (reworded, known.len() - reworded)
    }
}

fn prompt(question: &str) -> Prompt {
    Prompt::Chat(vec![
        Message::new(
            Role::System,
            "You rephrase questions of financial analysts. Say the same in other words, as one question on one line. \
             Keep every company name, number, date and period exactly as it is.",
        ),
        Message::new(Role::User, "What was Acme Corp's revenue in fiscal 2020?"),
        Message::new(
            Role::Assistant,
            "How much revenue did Acme Corp bring in during fiscal 2020?",
        ),
        Message::new(Role::User, question),
    ])
}

/// Whether `other` is another question about the same names, numbers and dates.
fn says_the_same(question: &str, other: &str) -> bool {
    let (long, short) = (question.chars().count(), other.chars().count());
    let fits = short <= MOST_TIMES * long && short * 3 >= long;
    if !fits || !other.ends_with(['?', '.']) || plain(question) == plain(other) {
        return false;
    }
    let (said, now) = (words(question), words(other));
    let kept = marks(question).iter().all(|mark| now.contains(mark));
    let new = marks(other).iter().any(|mark| !said.contains(mark));
    kept && !new
}

/// All words in lower case, without an owner's ending.
fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(bare).collect()
}

fn bare(word: &str) -> String {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    let owner = word.strip_suffix("'s").or(word.strip_suffix("’s"));
    owner.unwrap_or(word).to_lowercase()
}

fn plain(text: &str) -> String {
    let letters = text.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// Words that no rewording may drop or add: those with digits, and capitalised ones that do not begin the sentence; in
/// lower case, since a heading's words may lose their capitals.
fn marks(text: &str) -> BTreeSet<String> {
    text.split_whitespace()
        .enumerate()
        .filter_map(|(at, word)| {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric());
            let owner = word.strip_suffix("'s").or(word.strip_suffix("’s"));
            let capital = word.chars().next().is_some_and(char::is_uppercase);
            let digit = word.chars().any(|c| c.is_ascii_digit());
            // The first word is a name only where it owns something.
            let name = capital && (at > 0 || owner.is_some());
            (digit || name).then(|| bare(word))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_words_for_the_same_question_count() {
        let question = "What was Acme Corp's revenue for the year ended May 31, 2020?";
        for (other, same) in [
            (
                "How much revenue did Acme Corp report for the year ended May 31, 2020?",
                true,
            ),
            (
                "How much revenue did Acme Corp report for the year ended May 31, 2021?",
                false,
            ),
            (
                "How much revenue did the company report for the year ended May 31, 2020?",
                false,
            ),
            (
                "How much did Acme Corp's Fabrics unit earn for the year ended May 31, 2020?",
                false,
            ),
            (
                "What was Acme Corp's revenue for the year ended May 31, 2020?",
                false,
            ),
            ("Acme Corp May 31, 2020", false),
            ("", false),
        ] {
            assert_eq!(says_the_same(question, other), same, "{other}");
        }
        assert_eq!(
            marks("Acme's margin in Q3"),
            marks("In Q3 the margin of Acme")
        );
    }

    #[test]
    fn a_real_model_never_changes_what_is_asked() {
        let path = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
        let model =
            footnote_engine::LocalModel::open(&path, footnote_engine::LocalOptions::default())
                .unwrap();
        let rewording = Rewording::new(Arc::new(model), 1);
        let question = "What was Aquillon's operating income in fiscal 2021?";
        let once = rewording.reword(question).unwrap();
        assert!(once == question || says_the_same(question, &once), "{once}");
        assert_eq!(rewording.reword(question).unwrap(), once);
        let (reworded, kept) = rewording.counts();
        assert_eq!(reworded + kept, 1);
    }
}
