//! Why a question got no answer at all. "Not in the filings" is an answer, not an error.

use footnote_engine::EngineError;
use footnote_index::IndexError;

/// What can go wrong between a question and its answer. The message names the thing and the mend.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The question is empty.
    #[error(
        "the question is empty; write one, e.g. \"What was 3M's capital expenditure in FY2018?\""
    )]
    EmptyQuestion,
    /// The question is longer than any real one.
    #[error(
        "the question has {chars} characters, the limit is {limit}; shorten it, and import long texts as filings instead"
    )]
    QuestionTooLong {
        /// What was given.
        chars: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The corpus has no filing at all.
    #[error(
        "the corpus is empty; import filings first: `footnote corpus import PATH`, or `footnote corpus get --ticker AAPL --forms 10-K --since 2022`"
    )]
    EmptyCorpus,
    /// A calculation that has no result.
    #[error("cannot compute {what}: {reason}")]
    Calculation {
        /// The formula or the metric.
        what: String,
        /// Division by zero, units that do not go together, ….
        reason: String,
    },
    /// A ranker needs something its model does not give.
    #[error("the document-type ranker {ranker:?} cannot run: {reason}; {mend}")]
    Ranker {
        /// Its name.
        ranker: String,
        /// What is missing.
        reason: String,
        /// What the user can do.
        mend: String,
    },
    /// A passage ranker that is not there, is broken, or lacks what it needs.
    #[error("the passage ranker {ranker:?} cannot run: {reason}; {mend}")]
    PassageRanker {
        /// Its name or file.
        ranker: String,
        /// What is wrong.
        reason: String,
        /// What the user can do.
        mend: String,
    },
    /// The model's output is not what its schema demands.
    #[error(
        "the model {model:?} broke off its answer: {reason}; ask again, or with `--model` name a larger one"
    )]
    ModelOutput {
        /// Its name.
        model: String,
        /// How it failed.
        reason: String,
    },
    /// Whoever asked does not wait for the answer any more.
    #[error("the question was cancelled")]
    Cancelled,
    /// The model failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The corpus could not be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}
