//! XBRL facts that fit a question, by the words of their concepts and by their period.

use footnote_filings::{Fact, FactPeriod, FactValue, Span};

use super::reader::ReadFiling;
use crate::features::Looked;
use crate::features::concept::telling_words;
use crate::features::text::{Term, term};
use crate::scope::Scope;

/// A concept must share at least this part of its words with the question.
const LEAST_FIT: f32 = 0.5;
/// Facts shown with one passage.
const SHOWN: usize = 8;

/// The facts of each filing that fit, best first: index into the filing's facts, and fit 0 to 1.
pub(super) struct Fitting(Vec<Vec<(usize, f32)>>);

/// Finds the facts that fit in each filing.
pub(super) fn fit<'a>(
    looked: &Looked,
    scope: &Scope,
    filings: impl Iterator<Item = &'a ReadFiling>,
) -> Fitting {
    let wanted: Vec<Term> = looked
        .words
        .iter()
        .chain(&looked.line_items)
        .map(|word| term(word))
        .collect();
    let year = scope.anchor.map(|anchor| anchor.year);
    Fitting(
        filings
            .map(|filing| {
                let mut fitting: Vec<(usize, f32)> = filing
                    .facts
                    .iter()
                    .enumerate()
                    .filter(|(_, fact)| fact.visible && matches!(fact.value, FactValue::Number(_)))
                    .map(|(at, fact)| (at, fit_of(fact, &wanted, year)))
                    .filter(|(_, fit)| *fit >= LEAST_FIT)
                    .collect();
                fitting.sort_by(|a, b| b.1.total_cmp(&a.1));
                fitting
            })
            .collect(),
    )
}

impl Fitting {
    /// The fit of the best fact in a unit.
    pub(super) fn best(&self, filing: usize, unit: usize, read: &ReadFiling) -> f32 {
        let passages = &read.passages[read.units[unit].passages.clone()];
        self.0[filing]
            .iter()
            .find(|(at, _)| {
                passages
                    .iter()
                    .any(|p| p.span.contains(read.facts[*at].span))
            })
            .map_or(0.0, |(_, fit)| *fit)
    }

    /// The facts inside a span that fit, best first.
    pub(super) fn inside(&self, filing: usize, span: Span, read: &ReadFiling) -> Vec<Fact> {
        self.0[filing]
            .iter()
            .map(|(at, _)| &read.facts[*at])
            .filter(|fact| span.contains(fact.span))
            .take(SHOWN)
            .cloned()
            .collect()
    }
}

/// How well a fact fits: the shared part of its concept's words, less for parts of a whole
/// (dimensions) and for other years.
fn fit_of(fact: &Fact, wanted: &[Term], year: Option<u16>) -> f32 {
    let words = telling_words(&fact.concept);
    let shared = words
        .iter()
        .filter(|word| wanted.contains(&term(word)))
        .count();
    let mut fit = shared as f32 / words.len().max(1) as f32;
    if !fact.dimensions.is_empty() {
        fit *= 0.8;
    }
    let end = match fact.period {
        FactPeriod::Instant(day) | FactPeriod::Duration(_, day) => Some(day.year()),
        FactPeriod::Forever => None,
    };
    if let (Some(year), Some(end)) = (year, end)
        && end.unsigned_abs().abs_diff(year) > 1
    {
        fit *= 0.5;
    }
    fit
}
