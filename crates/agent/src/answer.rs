//! The answer as data: statements, the footnotes under them, the working of a calculation, or what
//! was searched where nothing was found. Serialised, it is what `ask --json` prints.

use footnote_filings::{Accession, FiscalPeriod, Form, PassageId, Span, Ticker};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{Event, Scale, Unit};

/// What the agent found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Answer {
    /// The question as asked.
    pub question: String,
    /// The answer to read: the statements in order, each with its `[n]` marks.
    pub text: String,
    /// What is said, piece by piece.
    pub statements: Vec<Statement>,
    /// Where each piece stands, numbered from 1 in the order first cited.
    pub footnotes: Vec<Footnote>,
    /// The working, where the answer was computed.
    pub calculation: Option<Calculation>,
    /// Set where the filings do not answer the question; then there are no statements.
    pub not_found: Option<NotFound>,
    /// What the model said and the checker did not let through.
    pub removed: Vec<Removed>,
    /// How the answer came about.
    pub trace: Trace,
}

/// One piece of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Statement {
    /// What is said, without marks.
    pub text: String,
    /// Numbers of the footnotes it rests on.
    pub footnotes: Vec<usize>,
    /// Whether every quote under it stands in its filing and every number in it stands in a quote or
    /// follows from the shown calculation.
    pub verified: bool,
    /// Why not, where it is not.
    pub doubt: Option<String>,
}

/// Where a statement stands in the filings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Footnote {
    /// Its number, from 1.
    pub n: usize,
    /// The filing.
    pub accession: Accession,
    /// The company, as the filing names it.
    pub company: Option<String>,
    /// Its symbol.
    pub ticker: Option<Ticker>,
    /// The form as filed.
    pub form: Form,
    /// The fiscal period the filing covers.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "FY2024"))]
    pub period: Option<FiscalPeriod>,
    /// The sections around the place, outermost first.
    pub section_path: Vec<String>,
    /// The page, for page corpora.
    pub page: Option<u32>,
    /// The passage it was found in.
    pub passage: PassageId,
    /// Where the quote stands, in bytes of the filing's normalised text.
    pub span: Span,
    /// The words that stand there, exactly.
    pub quote: String,
    /// The XBRL concept, where the figure is a tagged fact.
    pub concept: Option<String>,
    /// Whether the quote was found at the span when the answer was checked.
    pub verified: bool,
}

/// A result with its working.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Calculation {
    /// What is computed, e.g. `Quick ratio`.
    pub name: String,
    /// The formula in words, e.g. `(current assets - inventories) / current liabilities`.
    pub formula: String,
    /// Who gave the formula: the question's own definition, the catalogue of metrics, or the model.
    pub formula_from: FormulaSource,
    /// The figures it takes.
    pub inputs: Vec<Input>,
    /// The working, one result a line.
    pub steps: Vec<Working>,
    /// The last step's value, unrounded, in single units (dollars, not millions).
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub result: Decimal,
    /// Its unit.
    pub unit: Unit,
    /// The result as it stands in the answer, rounded.
    pub shown: String,
}

/// Who gave a formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FormulaSource {
    /// The question defines it.
    Question,
    /// A well-known metric.
    Catalogue,
    /// The model named it out of the closed list.
    Model,
}

/// A figure that a calculation takes from a filing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Input {
    /// What was looked for, e.g. `Total current liabilities`.
    pub item: String,
    /// The period it is about.
    pub period: String,
    /// The label of its row or fact in the filing.
    pub label: String,
    /// The number as written in the filing.
    pub written: String,
    /// The scale stated above the table.
    pub scale: Scale,
    /// The value in single units, scale and sign applied.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub value: Decimal,
    /// Its unit.
    pub unit: Unit,
    /// The footnote under which it stands.
    pub footnote: usize,
    /// How the row was chosen: by its label, by the model among rows shown to it, or from XBRL.
    pub chosen_by: ChosenBy,
}

/// How a figure's row was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChosenBy {
    /// The row's label says it.
    Label,
    /// The model picked it among rows.
    Model,
    /// A tagged fact of the concept and the period.
    Fact,
}

/// One line of working.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Working {
    /// What the line computes, e.g. `Quick ratio FY2023`.
    pub name: String,
    /// The figures put in, e.g. `(5,308 - 992 - 1,221) / 4,476`.
    pub expression: String,
    /// What comes out, unrounded.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub value: Decimal,
    /// The result as shown.
    pub shown: String,
}

/// What was searched in vain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotFound {
    /// Why there is no answer, in one sentence.
    pub reason: String,
    /// The companies looked at (empty: all).
    pub companies: Vec<String>,
    /// The periods.
    pub periods: Vec<String>,
    /// The forms.
    pub forms: Vec<String>,
    /// The searches made.
    pub queries: Vec<String>,
    /// How many filings were in scope.
    pub filings: usize,
    /// How many passages were read.
    pub passages: usize,
}

/// A statement that was not let through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Removed {
    /// What the model wrote.
    pub text: String,
    /// What the checker found wrong with it.
    pub reason: String,
}

/// How an answer came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Trace {
    /// The model that wrote or picked.
    pub model: String,
    /// The document-type ranker.
    pub doc_type_ranker: String,
    /// Every step except tokens and the answer itself, in order.
    pub events: Vec<Event>,
    /// Prompt tokens read over all calls.
    pub tokens_in: usize,
    /// Tokens written over all calls.
    pub tokens_out: usize,
    /// Calls of the model.
    pub model_calls: usize,
    /// From question to answer.
    pub total_ms: f64,
}
