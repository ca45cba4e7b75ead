//! What a reader doubted about a filing that it could read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Span;

/// The kinds of doubt, stable names for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WarningCode {
    /// A section that the form demands was not found.
    SectionMissing,
    /// A section holds no text besides its heading.
    SectionEmpty,
    /// A section is implausibly small for its kind.
    SectionSmall,
    /// A section is implausibly large for its kind.
    SectionLarge,
    /// Sections stand in an order that the form does not have.
    SectionOrder,
    /// No section at all was found.
    NoSections,
    /// A fact names a context or unit that is not defined.
    FactUnresolved,
    /// A fact's text is no number in its stated format.
    FactValue,
    /// A continuation is missing or runs in a circle.
    FactContinuation,
    /// The text was not valid in its stated encoding; bad bytes were replaced.
    Encoding,
    /// Markup nested or truncated beyond repair; the text goes on flat.
    Markup,
    /// The manifest and the file disagree; the manifest's value was used.
    ManifestDisagrees,
    /// Company, form or period could not be found.
    MetaMissing,
    /// A record of a batch was left out.
    RecordSkipped,
}

impl fmt::Display for WarningCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The serde names are the public ones; writing them twice would let them drift.
        let name = serde_json::to_value(self).unwrap_or_default();
        f.write_str(name.as_str().unwrap_or("unknown"))
    }
}

/// A doubt about one filing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Warning {
    /// Its kind.
    pub code: WarningCode,
    /// One sentence for a person, naming the section, fact or line.
    pub message: String,
    /// The place in the normalised text, where there is one.
    pub span: Option<Span>,
}

impl Warning {
    /// A warning without a place.
    pub fn new(code: WarningCode, message: impl Into<String>) -> Warning {
        Warning {
            code,
            message: message.into(),
            span: None,
        }
    }

    /// A warning about the text at `span`.
    pub fn at(code: WarningCode, message: impl Into<String>, span: Span) -> Warning {
        Warning {
            code,
            message: message.into(),
            span: Some(span),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
