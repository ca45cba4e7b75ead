//! Answers against an answer key, by a strict rule that no model has a say in.
//!
//! The rule, in order:
//!
//! 1. An answer that finds nothing is wrong.
//! 2. A key that starts with Yes or No wants an answer that starts with the same word.
//! 3. A key with figures (years apart): every figure of the first sentence that has any must stand in
//!    the answer. Two figures are the same if they agree when rounded to the digits of the coarser of
//!    them, which must keep two significant digits; the key's scale may be left out, as keys leave it
//!    to the question (`in USD millions`), and so may a sign.
//! 4. A key without figures: four fifths of its first sentence's words (of four letters and more, by
//!    their first five) must occur in the answer.
//!
//! It errs against the answer: right answers in other words than the key's count as wrong. It must
//! not know how an answer came about.

use std::collections::HashSet;

use footnote_agent::{NumberInText, Scale, numbers_in, round};
use footnote_filings::Span;

/// What the rule says of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strict {
    /// It holds against the key.
    Right,
    /// It does not.
    Wrong,
    /// Nothing was found.
    NotFound,
}

/// Words of the key that the answer must have, as a share.
const WORDS: f64 = 0.8;

/// Judges `answer` (its text; none where nothing was found) by `key`.
pub fn strict(key: &str, answer: Option<&str>) -> Strict {
    let Some(answer) = answer else {
        return Strict::NotFound;
    };
    let right = polarity(key).is_none_or(|wanted| polarity(answer) == Some(wanted))
        && match figures(key) {
            Some(wanted) => {
                let given = numbers_in(answer);
                wanted
                    .iter()
                    .all(|figure| given.iter().any(|other| same(figure, other)))
            }
            None => polarity(key).is_some() || says_the_same(key, answer),
        };
    if right { Strict::Right } else { Strict::Wrong }
}

fn polarity(text: &str) -> Option<bool> {
    let first = text
        .split(|c: char| !c.is_alphabetic())
        .find(|word| !word.is_empty())?;
    match first.to_ascii_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The figures of the first sentence that has any.
fn figures(key: &str) -> Option<Vec<NumberInText>> {
    let all: Vec<NumberInText> = numbers_in(key)
        .into_iter()
        .filter(|number| !number.is_year())
        .collect();
    let first = all.first()?.span;
    let end = sentence_end(key, first);
    Some(
        all.into_iter()
            .filter(|number| number.span.start < end)
            .collect(),
    )
}

/// The end of the sentence around a place: a full stop, not a point inside a number.
fn sentence_end(text: &str, place: Span) -> usize {
    let after = text.get(place.end..).unwrap_or_default();
    let mut before = ' ';
    for (at, c) in after.char_indices() {
        let next = after[at + c.len_utf8()..].chars().next();
        let stop = c == '.' && !next.is_some_and(|n| n.is_ascii_digit()) && before != ' ';
        if stop || c == '\n' {
            return place.end + at;
        }
        before = c;
    }
    text.len()
}

/// Rule 3: equal as written or as amounts, rounded to the coarser of the two, signs aside.
fn same(key: &NumberInText, answer: &NumberInText) -> bool {
    if key.percent != answer.percent && (key.percent && answer.money || answer.percent && key.money) {
        return false;
    }
    let as_written = (key.value, answer.value);
    let scale = |n: &NumberInText| n.scale.unwrap_or(Scale::One);
    // As amounts in the coarser scale of the two.
    let unit = scale(key).max(scale(answer));
    let in_unit = |n: &NumberInText| {
        let amount = n.value.checked_mul(scale(n).factor())?;
        let digits = n.decimals + unit.exponent() - scale(n).exponent();
        Some((amount / unit.factor(), digits))
    };
    let agree = |a: rust_decimal::Decimal, b: rust_decimal::Decimal, places: u32| {
        let coarse = round(a.abs(), places);
        coarse == round(b.abs(), places) && (significant(coarse) >= 2 || a.abs() == b.abs())
    };
    let written = agree(
        as_written.0,
        as_written.1,
        key.decimals.min(answer.decimals),
    );
    let amounts = match (in_unit(key), in_unit(answer)) {
        (Some((a, da)), Some((b, db))) => agree(a, b, da.min(db)),
        _ => false,
    };
    // A scale on one side only: the key's is left to the question.
    let one_sided = key.scale.is_none() != answer.scale.is_none();
    if one_sided || key.scale == answer.scale {
        written || amounts
    } else {
        amounts
    }
}

/// Significant digits of a rounded number: `0.66` has two, `1,832` four.
fn significant(value: rust_decimal::Decimal) -> usize {
    value
        .to_string()
        .trim_start_matches(['-', '0', '.'])
        .chars()
        .filter(char::is_ascii_digit)
        .count()
}

/// Rule 4.
fn says_the_same(key: &str, answer: &str) -> bool {
    let first = key.split(['.', '\n']).find(|s| !s.trim().is_empty());
    let wanted = stems(first.unwrap_or(key));
    let given = stems(answer);
    let held = wanted.iter().filter(|word| given.contains(*word)).count();
    !wanted.is_empty() && held as f64 >= WORDS * wanted.len() as f64
}

fn stems(text: &str) -> HashSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() >= 4)
        .map(|word| word.to_lowercase().chars().take(5).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, answer: &str, right: bool) {
        let wanted = if right { Strict::Right } else { Strict::Wrong };
        assert_eq!(strict(key, Some(answer)), wanted, "{key} | {answer}");
    }

    #[test]
    fn figures_agree_to_the_coarser_digits() {
        check("0.66", "The ratio for FY2015 was 0.66. [1]", true);
        check("0.66", "The ratio for FY2015 was 0.67. [1]", false);
        check("$1832.00", "EBITDA was $1,832 million. [1]", true);
        check("$1832.00", "EBITDA was $1,833 million. [1]", false);
        check("$0.40", "It paid $389 million. [1]", false);
        check("$4.60", "It spent $4.6 billion. [1]", true);
        check("$4.60", "It spent $4,625 million. [1]", false);
        check("$8,400,000,000 in all", "It may borrow $8.4 billion.", true);
        check("ratio 2.774729", "2.77 (assets over revenue)", true);
        check("grew 65.4%", "grew by $65.4 million", false);
        check("$5 in 2021", "It was $7 in 2021.", false);
    }

    #[test]
    fn all_figures_of_the_first_sentence_are_wanted() {
        let key = "The ratio improved from 0.67 times to 0.69 times. (3.4% jump)";
        check(key, "It was 0.67 in FY2022 and 0.69 in FY2023.", true);
        check(key, "It was 0.69 in FY2023.", false);
    }

    #[test]
    fn polarity_counts_before_figures() {
        let key = "No, the margin fell from 36.8% to 34.6%.";
        check(key, "No: it was 36.8% in FY2021 and 34.6% in FY2022.", true);
        check(key, "Yes: it was 36.8% in FY2021 and 34.6% in FY2022.", false);
        check("Yes. It decreased.", "Yes: it fell by 3.", true);
        check("Yes. It decreased.", "It fell by 3.", false);
    }

    #[test]
    fn words_must_be_the_keys() {
        let key = "The shareholder proposal was defeated.";
        check(key, "The proposal of a shareholder was defeated. [1]", true);
        check(key, "For: 100, against: 2,000.", false);
        assert_eq!(strict(key, None), Strict::NotFound);
    }
}
