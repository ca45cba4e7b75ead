//! The steps of a question as they happen: shown in a terminal, streamed over HTTP, kept as a trace.

use footnote_filings::{Accession, DocType, PassageId, Span};
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
    /// A draft model shortened the excerpts.
    Shortened {
        /// By which policy.
        policy: String,
        /// Tokens of the excerpts with the question.
        tokens: usize,
        /// Of these, tokens that it kept.
        tokens_kept: usize,
        /// Lines before.
        lines: usize,
        /// Lines that stay: those of which more than half was kept.
        lines_kept: usize,
    },
    /// What was read of the passages, and which of them the question attends to.
    Explained {
        /// The model whose attention this is; none where no model tells its attention.
        by: Option<String>,
        /// Why there is no attention.
        why_not: Option<String>,
        /// The passages, in the order of the prompt.
        passages: Vec<AttendedPassage>,
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

/// A passage as the model that answers reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttendedPassage {
    /// Its filing.
    pub accession: Accession,
    /// The page, for page corpora.
    pub page: Option<u32>,
    /// The sections around it.
    pub section_path: Vec<String>,
    /// What the question pays this passage of all that it pays passages, less what any question would: the mean over heads.
    pub share: Option<f32>,
    /// The heads that pay it the largest shares.
    pub heads: Vec<HeadShare>,
    /// Its lines that were weighed, in order.
    pub lines: Vec<LineRead>,
}

/// What one head of a model pays a passage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeadShare {
    /// Its layer, from 0.
    pub layer: usize,
    /// Its number in the layer, from 0.
    pub head: usize,
    /// Of all that it pays passages, 0 to 1.
    pub share: f32,
}

/// A line that was weighed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LineRead {
    /// As it stands in the filing.
    pub text: String,
    /// Where.
    pub span: Span,
    /// Whether the model that answers was shown it.
    pub kept: bool,
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
