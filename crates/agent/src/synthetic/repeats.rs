//! Where else in a filing a figure is said without being tagged.
//!
//! Management's discussion repeats the statements' figures in words ("$1.2 billion"). Such a passage
//! answers the question too; calling it wrong would teach a ranker the opposite of what is so.

use std::collections::BTreeSet;

use footnote_filings::Passage;
use rust_decimal::Decimal;

use crate::features::text::{Term, terms};
use crate::number::{NumberInText, numbers_in, round};

/// Fewer different digits than this may be the same by chance.
const TELLING_DIGITS: usize = 3;
/// Share of the label's words that must stand in a passage for its figure to be the one asked.
const LABEL_SHARE: f32 = 0.5;

/// A passage's numbers and words, looked at once for all questions.
pub(super) struct Said {
    numbers: Vec<NumberInText>,
    words: BTreeSet<Term>,
}

/// How a passage says a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The figure, with the words it is asked by.
    Says,
    /// The figure's digits, without these words: nobody can tell without reading.
    Unsure,
}

impl Said {
    pub(super) fn new(passage: &Passage) -> Said {
        let text = format!("{}\n{}", passage.lead, passage.text);
        Said {
            numbers: numbers_in(&text),
            words: terms(&text).into_iter().collect(),
        }
    }

    /// Whether, and how surely, the passage says `value` (in single units) of what `label` names.
    pub(super) fn repeats(&self, value: Decimal, label: &[Term]) -> Option<Repeat> {
        let exact = self.numbers.iter().any(|number| same_digits(number, value));
        let rounded = self.numbers.iter().any(|number| rounds_to(number, value));
        if !exact && !rounded {
            return None;
        }
        let shared = label
            .iter()
            .filter(|term| self.words.contains(term))
            .count();
        // Two digits and a scale are soon the same by chance: then every word must be there.
        let telling = exact
            || self
                .numbers
                .iter()
                .any(|n| rounds_to(n, value) && is_telling(n));
        let least = if telling { LABEL_SHARE } else { 1.0 };
        let said = !label.is_empty() && shared as f32 >= least * label.len() as f32;
        Some(if said { Repeat::Says } else { Repeat::Unsure })
    }
}

/// The same figure in whatever scale: equal but for zeros at the end.
fn same_digits(number: &NumberInText, value: Decimal) -> bool {
    let (own, wanted) = (digits(number.value), digits(value));
    own == wanted && wanted.len() >= TELLING_DIGITS && !(number.bare && number.is_year())
}

/// `$1.2 billion` for 1,234 million: the figure rounded to the number's last digit.
fn rounds_to(number: &NumberInText, value: Decimal) -> bool {
    let Some(scale) = number.scale else {
        return false;
    };
    let Some(in_scale) = value.abs().checked_div(scale.factor()) else {
        return false;
    };
    !number.value.is_zero() && round(in_scale, number.decimals) == number.value.abs()
}

fn is_telling(number: &NumberInText) -> bool {
    digits(number.value).len() >= TELLING_DIGITS
}

/// Significant digits of a number.
fn digits(value: Decimal) -> String {
    let text = value.abs().normalize().to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use footnote_filings::{PassageId, PassageKind, Span};

    use super::*;

    fn said(text: &str) -> Said {
        let accession = "ACME_2022_10K".parse().unwrap();
        let span = Span::new(0, text.len());
        Said::new(&Passage {
            id: PassageId::new(&accession, span),
            accession,
            section_path: Vec::new(),
            span,
            kind: PassageKind::Prose,
            page: None,
            lead: String::new(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn rounded_and_scaled_figures_are_the_same_figure() {
        let value = Decimal::from(1_234_000_000u64);
        let label = terms("net sales");
        for (text, wanted) in [
            ("Net sales were $1,234 million.", Some(Repeat::Says)),
            ("Net sales rose to $1.2 billion.", Some(Repeat::Says)),
            ("Net sales | 1,234 | 1,100", Some(Repeat::Says)),
            ("We paid 1,234 to others.", Some(Repeat::Unsure)),
            ("Net sales were $1.3 billion.", None),
            ("Net sales were 12,340.5.", None),
            ("", None),
        ] {
            assert_eq!(said(text).repeats(value, &label), wanted, "{text}");
        }
    }

    #[test]
    fn a_year_is_no_figure() {
        let label = terms("employees");
        assert_eq!(
            said("employees in 2023").repeats(Decimal::from(2023), &label),
            None
        );
    }
}
