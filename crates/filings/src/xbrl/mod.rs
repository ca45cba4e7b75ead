//! Inline XBRL: which elements are facts, what they say, and where they stand in the text.
//!
//! The HTML reader calls [`Recorder::open`] and [`Recorder::close`] as it meets elements and ties
//! each part to its place in the text; [`facts`] puts parts, contexts and units together at the
//! end. What a fact shows is read back from the text at its place, so that value and span cannot
//! disagree.

mod number;
mod resources;
mod wording;

use std::collections::HashMap;

use rust_decimal::Decimal;

use crate::html::frame::{Frame, Tie};
use crate::html::lexer::Attrs;
use crate::html::tags::Tag;
use crate::types::{Fact, FactPeriod, FactValue, Span};
use crate::{Warning, WarningCode};

use resources::Resources;

/// A text fact longer than this many bytes is a [`FactValue::LongText`].
pub const MAX_FACT_TEXT: usize = 2000;

/// Facts of one document; a large bank's 10-K has some fifteen thousand.
const MAX_FACTS: usize = 1_000_000;

/// Warnings of one kind that are listed; the rest are counted.
const MAX_WARNINGS: usize = 50;

/// An inline-XBRL element that delimits text.
enum Part<'a> {
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Fraction,
    Text,
}

/// A fact as its element declares it.
struct Declared<'a> {
    kind: Kind,
    concept: &'a str,
    id: Option<&'a str>,
    context: Option<&'a str>,
    unit: Option<&'a str>,
    decimals: Option<i32>,
    scale: i32,
    negative: bool,
    format: Option<&'a str>,
    nil: bool,
    continued_at: Option<&'a str>,
}

/// Collects the inline-XBRL elements of a document as they are met.
#[derive(Default)]
pub(crate) struct Recorder<'a> {
    pub(crate) resources: Resources<'a>,
    parts: Vec<(Part<'a>, bool)>,
    /// Open `ix:fraction` elements.
    fractions: Vec<u32>,
    dropped: usize,
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
        if self.parts.len() >= MAX_FACTS {
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

/// The facts of a document, given the frames that its shown and hidden parts are tied into.
pub(crate) fn facts(
    recorder: Recorder<'_>,
    shown: &Frame,
    hidden: &Frame,
    warnings: &mut Vec<Warning>,
) -> Vec<Fact> {
    let count = recorder.parts.len();
    let places = Places {
        shown_text: &shown.text,
        hidden_text: &hidden.text,
        shown: spans(shown, count),
        hidden: spans(hidden, count),
    };
    let mut reader = Reader::new(&recorder, places);
    let mut facts = Vec::new();
    for (index, (part, is_hidden)) in recorder.parts.iter().enumerate() {
        if let Part::Fact(declared) = part {
            facts.push(reader.fact(index, declared, *is_hidden));
        }
    }
    if recorder.dropped > 0 {
        let message = format!(
            "{} inline-XBRL elements beyond {MAX_FACTS} were left out",
            recorder.dropped
        );
        reader.warn(WarningCode::RecordSkipped, message, None);
    }
    reader.finish(warnings);
    facts
}

/// The span of each part in a frame's text.
fn spans(frame: &Frame, count: usize) -> Vec<Span> {
    let mut spans = vec![Span::default(); count];
    for mark in &frame.marks {
        match mark.tie {
            Tie::Start(part) => {
                if let Some(span) = spans.get_mut(part as usize) {
                    *span = Span::new(mark.at, mark.at);
                }
            }
            Tie::End(part) => {
                if let Some(span) = spans.get_mut(part as usize) {
                    span.end = mark.at.max(span.start);
                }
            }
            Tie::Anchor => {}
        }
    }
    spans
}

struct Places<'t> {
    shown_text: &'t str,
    hidden_text: &'t str,
    shown: Vec<Span>,
    hidden: Vec<Span>,
}

impl Places<'_> {
    fn text(&self, part: usize, hidden: bool) -> &str {
        let (spans, text) = if hidden {
            (&self.hidden, self.hidden_text)
        } else {
            (&self.shown, self.shown_text)
        };
        spans[part].of(text).unwrap_or_default()
    }
}

/// Makes facts of parts.
struct Reader<'r, 'a> {
    recorder: &'r Recorder<'a>,
    places: Places<'r>,
    continuations: HashMap<&'a str, usize>,
    /// Continuations that a fact has taken: each belongs to one.
    taken: Vec<bool>,
    /// Visible stand-ins of hidden facts, by fact id.
    stand_ins: HashMap<&'a str, usize>,
    /// Numerator and denominator by fraction.
    halves: HashMap<(u32, bool), usize>,
    /// Spans excluded from facts, in order, of the shown text.
    excluded: Vec<Span>,
    /// Bytes of text that may still be stored in values.
    budget: usize,
    warnings: Vec<Warning>,
    counts: HashMap<WarningCode, usize>,
}

impl<'r, 'a> Reader<'r, 'a> {
    fn new(recorder: &'r Recorder<'a>, places: Places<'r>) -> Reader<'r, 'a> {
        let mut reader = Reader {
            recorder,
            continuations: HashMap::new(),
            taken: vec![false; recorder.parts.len()],
            stand_ins: HashMap::new(),
            halves: HashMap::new(),
            excluded: Vec::new(),
            budget: places.shown_text.len() + places.hidden_text.len() + (1 << 20),
            places,
            warnings: Vec::new(),
            counts: HashMap::new(),
        };
        for (index, (part, hidden)) in recorder.parts.iter().enumerate() {
            match part {
                Part::Continuation { id, .. } => {
                    if reader.continuations.insert(id, index).is_some() {
                        let message = format!("two continuations are called {id:?}");
                        reader.warn(WarningCode::FactContinuation, message, None);
                    }
                }
                Part::Exclude if !hidden => reader.excluded.push(reader.places.shown[index]),
                Part::Half { of, below, .. } => {
                    reader.halves.insert((*of, *below), index);
                }
                Part::Shows { id } => {
                    reader.stand_ins.entry(id).or_insert(index);
                }
                Part::Exclude | Part::Fact(_) => {}
            }
        }
        reader
    }

    fn warn(&mut self, code: WarningCode, message: String, span: Option<Span>) {
        let count = self.counts.entry(code).or_default();
        *count += 1;
        if *count <= MAX_WARNINGS {
            self.warnings.push(Warning {
                code,
                message,
                span,
            });
        }
    }

    fn finish(self, warnings: &mut Vec<Warning>) {
        warnings.extend(self.warnings);
        let mut more: Vec<_> = self
            .counts
            .into_iter()
            .filter(|(_, count)| *count > MAX_WARNINGS)
            .map(|(code, count)| {
                let message = format!("and {} more of this kind", count - MAX_WARNINGS);
                Warning::new(code, message)
            })
            .collect();
        more.sort_by_key(|warning| warning.code.to_string());
        warnings.extend(more);
    }

    fn fact(&mut self, index: usize, declared: &Declared<'a>, hidden: bool) -> Fact {
        let mut span = self.places.shown[index];
        if hidden {
            let stand_in = declared.id.and_then(|id| self.stand_ins.get(id));
            if let Some(part) = stand_in {
                span = self.places.shown[*part];
            }
        }
        let place = (!span.is_empty()).then_some(span);
        let concept = declared.concept;
        let (period, dimensions) = match declared
            .context
            .map(|id| (id, self.recorder.resources.contexts.get(id)))
        {
            Some((_, Some(context))) => (context.period, context.dimensions.clone()),
            Some((id, None)) => {
                let message = format!(
                    "{concept} names context {id:?}, which is not defined; its period is unknown"
                );
                self.warn(WarningCode::FactUnresolved, message, place);
                (FactPeriod::Forever, Vec::new())
            }
            None => {
                let message = format!("{concept} names no context; its period is unknown");
                self.warn(WarningCode::FactUnresolved, message, place);
                (FactPeriod::Forever, Vec::new())
            }
        };
        let unit = match declared
            .unit
            .map(|id| (id, self.recorder.resources.units.get(id)))
        {
            Some((_, Some(unit))) => Some(unit.clone()),
            Some((id, None)) => {
                let message = format!("{concept} names unit {id:?}, which is not defined");
                self.warn(WarningCode::FactUnresolved, message, place);
                None
            }
            None => None,
        };
        let value = if declared.nil {
            FactValue::Nil
        } else {
            match declared.kind {
                Kind::Number => self.number(index, declared, hidden, place),
                Kind::Fraction => self.fraction(index, concept, place),
                Kind::Text => self.text(index, declared, hidden, place),
            }
        };
        Fact {
            concept: concept.to_owned(),
            value,
            unit,
            decimals: declared.decimals,
            period,
            dimensions,
            span,
            visible: !hidden,
        }
    }

    fn number(
        &mut self,
        index: usize,
        declared: &Declared<'_>,
        hidden: bool,
        place: Option<Span>,
    ) -> FactValue {
        let shown = self.places.text(index, hidden);
        match number::number(shown, declared.format, declared.scale, declared.negative) {
            Some(number) => FactValue::Number(number),
            None => {
                let shown: String = shown.chars().take(MAX_FACT_TEXT / 4).collect();
                let message = format!(
                    "{} shows {:?}, which is no number in format {}",
                    declared.concept,
                    shown.chars().take(60).collect::<String>(),
                    declared.format.unwrap_or("none"),
                );
                self.warn(WarningCode::FactValue, message, place);
                FactValue::Text(shown)
            }
        }
    }

    fn fraction(&mut self, index: usize, concept: &str, place: Option<Span>) -> FactValue {
        let half = |below: bool| -> Option<Decimal> {
            let part = *self.halves.get(&(u32::try_from(index).ok()?, below))?;
            let (
                Part::Half {
                    scale,
                    negative,
                    format,
                    ..
                },
                hidden,
            ) = &self.recorder.parts[part]
            else {
                return None;
            };
            number::number(self.places.text(part, *hidden), *format, *scale, *negative)
        };
        let value = half(false)
            .zip(half(true))
            .and_then(|(above, below)| above.checked_div(below))
            .map(|value| value.normalize());
        match value {
            Some(value) => FactValue::Number(value),
            None => {
                let message = format!(
                    "{concept} is a fraction without a numerator and a denominator other than 0"
                );
                self.warn(WarningCode::FactValue, message, place);
                FactValue::Text(String::new())
            }
        }
    }

    fn text(
        &mut self,
        index: usize,
        declared: &Declared<'a>,
        hidden: bool,
        place: Option<Span>,
    ) -> FactValue {
        let chain = self.chain(index, declared, hidden, place);
        let total: usize = chain
            .iter()
            .map(|(part, hidden)| self.places.text(*part, *hidden).len())
            .sum();
        let all_shown = chain.iter().all(|(_, hidden)| !hidden);
        if all_shown && (total > MAX_FACT_TEXT || total > self.budget) {
            return FactValue::LongText(
                chain
                    .iter()
                    .map(|(part, _)| self.places.shown[*part])
                    .collect(),
            );
        }
        if total > self.budget {
            let message = format!("{} is hidden and too long to keep", declared.concept);
            self.warn(WarningCode::FactValue, message, place);
            return FactValue::Text(String::new());
        }
        self.budget -= total;
        let mut shown = String::with_capacity(total);
        for (part, hidden) in &chain {
            if !shown.is_empty() {
                shown.push(' ');
            }
            self.push_without_excluded(*part, *hidden, &mut shown);
        }
        match declared
            .format
            .map(|format| (format, wording::text(&shown, format)))
        {
            None => FactValue::Text(shown),
            Some((_, Some(value))) => FactValue::Text(value),
            Some((format, None)) => {
                let message = format!(
                    "{} shows {:?}, which has not the form {format}",
                    declared.concept,
                    shown.chars().take(60).collect::<String>(),
                );
                self.warn(WarningCode::FactValue, message, place);
                FactValue::Text(shown)
            }
        }
    }

    /// The parts of a text fact: its own element and the continuations after it.
    fn chain(
        &mut self,
        index: usize,
        declared: &Declared<'a>,
        hidden: bool,
        place: Option<Span>,
    ) -> Vec<(usize, bool)> {
        let mut chain = vec![(index, hidden)];
        let mut next = declared.continued_at;
        while let Some(id) = next {
            let Some(part) = self.continuations.get(id).copied() else {
                let message = format!(
                    "{} continues at {id:?}, which is not there",
                    declared.concept
                );
                self.warn(WarningCode::FactContinuation, message, place);
                break;
            };
            if std::mem::replace(&mut self.taken[part], true) {
                let message = format!(
                    "{} continues at {id:?}, which it or another fact has taken already",
                    declared.concept
                );
                self.warn(WarningCode::FactContinuation, message, place);
                break;
            }
            let (Part::Continuation { continued_at, .. }, hidden) = &self.recorder.parts[part]
            else {
                break;
            };
            chain.push((part, *hidden));
            next = *continued_at;
        }
        chain
    }

    fn push_without_excluded(&self, part: usize, hidden: bool, out: &mut String) {
        if hidden {
            out.push_str(self.places.text(part, true));
            return;
        }
        let span = self.places.shown[part];
        let text = self.places.shown_text;
        let mut at = span.start;
        let first = self.excluded.partition_point(|cut| cut.end <= span.start);
        for cut in &self.excluded[first..] {
            if cut.start >= span.end {
                break;
            }
            out.push_str(text.get(at..cut.start.max(at)).unwrap_or_default());
            at = cut.end.max(at);
        }
        let rest = text.get(at..span.end).unwrap_or_default();
        let parted = out.is_empty() || out.ends_with(char::is_whitespace);
        out.push_str(if parted { rest.trim_start() } else { rest });
    }
}
