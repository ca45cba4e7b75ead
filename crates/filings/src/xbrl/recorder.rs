//! Collects the inline-XBRL elements of a document as the HTML reader meets them.

use crate::html::lexer::Attrs;
use crate::html::tags::Tag;

use super::resources::Resources;

/// Elements of one document; a large bank's 10-K has some fifteen thousand.
pub(super) const MAX_PARTS: usize = 1_000_000;

/// An inline-XBRL element that delimits text.
pub(super) enum Part<'a> {
    Fact(Declared<'a>),
    Continuation {
        id: &'a str,
        continued_at: Option<&'a str>,
    },
    /// Text inside a fact that is not part of it.
    Exclude,
    /// The numerator or denominator of the fact that is part number `of`.
    Half {
        of: u32,
        below: bool,
        scale: i32,
        negative: bool,
        format: Option<&'a str>,
    },
    /// Visible text that shows the hidden fact with this `id`.
    Shows {
        id: &'a str,
    },
}

/// Which element a fact is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Fraction,
    Text,
}

/// A fact as its element declares it.
pub(super) struct Declared<'a> {
    pub(super) kind: Kind,
    pub(super) concept: &'a str,
    pub(super) id: Option<&'a str>,
    pub(super) context: Option<&'a str>,
    pub(super) unit: Option<&'a str>,
    pub(super) decimals: Option<i32>,
    pub(super) scale: i32,
    pub(super) negative: bool,
    pub(super) format: Option<&'a str>,
    pub(super) nil: bool,
    pub(super) continued_at: Option<&'a str>,
}

/// Collects the inline-XBRL elements of a document as they are met.
#[derive(Default)]
pub(crate) struct Recorder<'a> {
    pub(crate) resources: Resources<'a>,
    pub(super) parts: Vec<(Part<'a>, bool)>,
    /// Open `ix:fraction` elements.
    fractions: Vec<u32>,
    pub(super) dropped: usize,
}

impl<'a> Recorder<'a> {
    /// Whether no inline XBRL was met yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Notes an element that opens; its part number if its place in the text matters.
    pub(crate) fn open(&mut self, tag: Tag, attrs: &Attrs<'a>, hidden: bool) -> Option<u32> {
        let number = u32::try_from(self.parts.len()).ok()?;
        let part = match tag {
            Tag::IxNonFraction => Part::Fact(declared(Kind::Number, attrs)),
            Tag::IxNonNumeric => Part::Fact(declared(Kind::Text, attrs)),
            Tag::IxFraction => Part::Fact(declared(Kind::Fraction, attrs)),
            Tag::IxNumerator | Tag::IxDenominator => Part::Half {
                of: *self.fractions.last()?,
                below: tag == Tag::IxDenominator,
                scale: integer(attrs.get("scale")).unwrap_or(0),
                negative: attrs.get("sign") == Some("-"),
                format: format_name(attrs),
            },
            Tag::IxContinuation => Part::Continuation {
                id: attrs.get("id").unwrap_or_default(),
                continued_at: attrs.get("continuedat"),
            },
            Tag::IxExclude => Part::Exclude,
            Tag::Span | Tag::Font | Tag::Block | Tag::P | Tag::Td
                if !self.is_empty() && !hidden =>
            {
                Part::Shows {
                    id: shown_id(attrs.get("style")?)?,
                }
            }
            _ => return None,
        };
        if self.parts.len() >= MAX_PARTS {
            self.dropped += 1;
            return None;
        }
        if tag == Tag::IxFraction {
            self.fractions.push(number);
        }
        self.parts.push((part, hidden));
        Some(number)
    }

    /// Notes that part `number` closes.
    pub(crate) fn close(&mut self, number: u32) {
        if self.fractions.last() == Some(&number) {
            self.fractions.pop();
        }
    }
}

fn integer(text: Option<&str>) -> Option<i32> {
    text?.trim().parse().ok()
}

/// The transformation's name without its prefix, whichever registry version that stands for.
fn format_name<'a>(attrs: &Attrs<'a>) -> Option<&'a str> {
    let format = attrs.get("format")?.trim();
    Some(format.rsplit_once(':').map_or(format, |(_, name)| name))
}

/// The fact that `-sec-ix-hidden:ID` in a style names.
fn shown_id(style: &str) -> Option<&str> {
    let (_, rest) = style.split_once("-sec-ix-hidden:")?;
    let id = rest.split(';').next()?.trim();
    (!id.is_empty()).then_some(id)
}

fn declared<'a>(kind: Kind, attrs: &Attrs<'a>) -> Declared<'a> {
    Declared {
        kind,
        concept: attrs.get("name").unwrap_or_default().trim(),
        id: attrs.get("id"),
        context: attrs.get("contextref"),
        unit: attrs.get("unitref"),
        decimals: integer(attrs.get("decimals")),
        scale: integer(attrs.get("scale")).unwrap_or(0),
        negative: attrs.get("sign").is_some_and(|sign| sign.trim() == "-"),
        format: format_name(attrs),
        nil: attrs
            .get("xsi:nil")
            .is_some_and(|nil| matches!(nil.trim(), "true" | "1")),
        continued_at: attrs.get("continuedat"),
    }
}
