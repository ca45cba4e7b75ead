//! A question as it reaches the agent, checked at the edge.

use footnote_filings::{Form, Ticker};
use serde::{Deserialize, Serialize};

use crate::AgentError;

/// The longest question taken, in characters: several times the longest of any benchmark, and still
/// a small part of a model's context.
pub const MAX_QUESTION_CHARS: usize = 4_000;

/// What is asked, and where the asker wants it looked up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The question in plain words.
    pub text: String,
    /// Where to look; what it leaves open is resolved from the text.
    #[serde(default)]
    pub scope: AskedScope,
}

/// Limits set by the asker beside the question. Empty lists do not limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AskedScope {
    /// Companies by exchange symbol.
    pub tickers: Vec<Ticker>,
    /// Forms as filed.
    pub forms: Vec<Form>,
    /// Fiscal years.
    pub years: Vec<u16>,
}

impl Question {
    /// A question without limits of its own.
    ///
    /// # Errors
    /// See [`check`](Self::check).
    pub fn new(text: impl Into<String>) -> Result<Question, AgentError> {
        let question = Question {
            text: text.into(),
            scope: AskedScope::default(),
        };
        question.check()?;
        Ok(question)
    }

    /// Whether the agent takes it; [`Agent::ask`](crate::Agent::ask) asks this first.
    ///
    /// # Errors
    /// [`AgentError::EmptyQuestion`] and [`AgentError::QuestionTooLong`].
    pub fn check(&self) -> Result<(), AgentError> {
        let chars = self.text.chars().count();
        if self.text.trim().is_empty() {
            Err(AgentError::EmptyQuestion)
        } else if chars > MAX_QUESTION_CHARS {
            Err(AgentError::QuestionTooLong {
                chars,
                limit: MAX_QUESTION_CHARS,
            })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_nothing_and_far_too_much() {
        assert!(Question::new("What was revenue?").is_ok());
        assert!(Question::new("é".repeat(MAX_QUESTION_CHARS)).is_ok());
        let empty = Question::new(" \n ").unwrap_err();
        assert!(matches!(empty, AgentError::EmptyQuestion));
        let long = Question::new("a".repeat(100_000)).unwrap_err();
        assert!(long.to_string().contains("100000 characters"));
        assert!(long.to_string().contains("4000"));
    }
}
