//! The steps of a question as they happen: shown in a terminal, streamed over HTTP, kept as a trace.

use footnote_filings::{Accession, DocType, PassageId};
use serde::{Deserialize, Serialize};

use crate::{Answer, DocTypeRanking, Footnote, Input};

/// A step, and when it was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Milliseconds from the question to the end of this step.
    pub at_ms: f64,
    /// Milliseconds the step itself took.
    pub took_ms: f64,
    /// What was done.
    #[serde(flatten)]
    pub step: Step,
}

/// What was done; the tag is the field `event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Step {
    /// Companies, periods and forms were read from the question.
    Scope {
        /// Company names.
        companies: Vec<String>,
        /// Fiscal periods.
        periods: Vec<String>,
        /// Forms the question or the asker names.
        forms: Vec<String>,
        /// How many filings of the corpus are in scope.
        filings: usize,
    },
    /// The kinds of document were ordered.
    DocTypes {
        /// The order and its scores.
        ranking: DocTypeRanking,
    },
    /// Passages were found and ordered.
    Passages {
        /// The searches made.
        queries: Vec<String>,
        /// What was found, best first.
        passages: Vec<PassageShown>,
    },
    /// The question was read as a calculation.
    Plan {
        /// What is computed.
        name: String,
        /// The formula in words.
        formula: String,
        /// The figures it needs, with their periods.
        figures: Vec<String>,
    },
    /// A figure was found.
    Figure {
        /// The figure and where it stands.
        input: Input,
    },
    /// The model chose the lines that answer the question.
    Evidence {
        /// The lines, verbatim.
        lines: Vec<String>,
    },
    /// The model wrote this much more.
    Token {
        /// The text.
        text: String,
    },
    /// A footnote was checked.
    Citation {
        /// The footnote.
        footnote: Footnote,
    },
    /// A statement was not let through.
    Removed {
        /// What the model wrote.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is complete.
    Answer {
        /// All of it.
        #[cfg_attr(feature = "openapi", schema(no_recursion))]
        answer: Box<Answer>,
    },
    /// The question failed; the last event.
    Error {
        /// What went wrong, with the mend.
        message: String,
    },
}

/// A passage as a trace shows it, without its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PassageShown {
    /// Its name.
    pub id: PassageId,
    /// Its filing.
    pub accession: Accession,
    /// Kind of the filing.
    pub doc_type: Option<DocType>,
    /// The page, for page corpora.
    pub page: Option<u32>,
    /// The sections around it.
    pub section_path: Vec<String>,
    /// The ranker's score.
    pub score: f32,
    /// What speaks for it, in words.
    pub why: String,
}
