//! Strict judging of an answer against the key: by figures or by words, no model's opinion.
//!
//! The rule, by what the key is:
//!
//! * **number**: the key is one figure and nothing else (`65.4%`, `$1832.00`). The answer's figure must equal
//!   it after rounding to the key's precision. The answer's figure is the result of its calculation (unrounded,
//!   or as shown), else the only figure of its first statement; a statement of several figures gives
//!   none.
//! * **figures**: the key is a sentence with figures. Every one of them must stand in the answer,
//!   rounded to the key's precision; a key that opens with yes or no wants the same first word; an answer with more
//!   than twice the key's figures and four is no answer but a table.
//! * **words**: the key has no figure. The answer must be the key, but for case, punctuation, articles and
//!   white space.
//!
//! Precision is half a unit of the key's last digit, inclusive; decimals that are all zero (`$382.00`) are formatting
//! and do not count. Units must agree: percent and pure numbers convert by a hundred, money with neither. A scale
//! word belongs to its number; a number without one is read as written, or in the unit that the question
//! asks for (`in USD millions`). Years are never figures, signs count. An answer of "not found" is wrong.

use std::sync::LazyLock;

use footnote_agent::{NumberInText, Scale, numbers_in};
use regex::Regex;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerKind {
    /// One figure.
    Number,
    /// A sentence with figures.
    Figures,
    /// A sentence without.
    Words,
}

impl AnswerKind {
    /// The word for it in reports.
    pub fn name(self) -> &'static str {
        match self {
            AnswerKind::Number => "number",
            AnswerKind::Figures => "figures",
            AnswerKind::Words => "words",
        }
    }
}

/// What an answer says, as far as it is judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said<'a> {
    /// Its whole text.
    pub text: &'a str,
    /// Its first statement.
    pub first: &'a str,
    /// The result of its calculation as shown.
    pub shown: Option<&'a str>,
    /// The same unrounded, in single units, and whether it is a percentage.
    pub result: Option<(Decimal, bool)>,
    /// Whether it says that nothing was found.
    pub not_found: bool,
}

/// How an answer fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What the key is.
    pub kind: AnswerKind,
    /// Right by the rule.
    pub strict: bool,
    /// By the same rule with 1 % of the key's figure as precision; false for words. Not strict, reported under
    /// its own name.
    pub within_1pct: bool,
}

/// Judges an answer.
pub fn judge(question: &str, key: &str, said: &Said<'_>) -> Judgement {
    let asked = Asked::read(question);
    let wanted = figures(key);
    let kind = match wanted.len() {
        0 => AnswerKind::Words,
        1 if only_a_figure(key, &wanted[0]) => AnswerKind::Number,
        _ => AnswerKind::Figures,
    };
    if said.not_found {
        return Judgement {
            kind,
            strict: false,
            within_1pct: false,
        };
    }
    let by = |tolerance: Tolerance| match kind {
        AnswerKind::Number => {
            // A bare key is in the unit that the question asks for.
            number(&wanted[0], asked.scale, said, &asked, tolerance)
        }
        AnswerKind::Figures => sentence(key, &wanted, said, &asked, tolerance),
        AnswerKind::Words => false,
    };
    let strict = match kind {
        AnswerKind::Words => {
            let key = plain_words(key);
            !key.is_empty()
                && [said.text, said.first]
                    .iter()
                    .any(|t| plain_words(t) == key)
        }
        _ => by(Tolerance::KeyPrecision),
    };
    Judgement {
        kind,
        strict,
        within_1pct: by(Tolerance::OnePercent),
    }
}

#[derive(Clone, Copy)]
enum Tolerance {
    KeyPrecision,
    OnePercent,
}

/// The unit that a question asks for.
struct Asked {
    scale: Option<Scale>,
    percent: bool,
}

static ASKED_SCALE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:in|usd|us\$|dollars?)\s*\(?(thousand|million|billion|trillion)s?\b")
        .expect("the pattern is constant and tested")
});

impl Asked {
    fn read(question: &str) -> Asked {
        let lower = question.to_lowercase();
        Asked {
            scale: ASKED_SCALE
                .captures(question)
                .and_then(|found| Scale::from_word(&found[1])),
            percent: ["in units of percent", "in percent", "as a percent", "in %"]
                .iter()
                .any(|words| lower.contains(words)),
        }
    }
}

static MARK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\s*\[\d+\]").expect("the pattern is constant and tested"));

/// The figures of a text: no years, no footnote marks, no names of periods such as Q2.
fn figures(text: &str) -> Vec<NumberInText> {
    let text = MARK.replace_all(text, "");
    numbers_in(&text)
        .into_iter()
        .filter(|number| !number.is_year())
        .filter(|number| {
            let before = text[..number.span.start].chars().next_back();
            let after = text[number.span.end..].chars().next();
            !(before.is_some_and(char::is_alphanumeric) || after.is_some_and(char::is_alphanumeric))
        })
        .collect()
}

fn only_a_figure(key: &str, figure: &NumberInText) -> bool {
    let rest = [&key[..figure.span.start], &key[figure.span.end..]].concat();
    rest.chars().all(|c| !c.is_alphanumeric())
}

fn number(
    key: &NumberInText,
    key_scale: Option<Scale>,
    said: &Said<'_>,
    asked: &Asked,
    tolerance: Tolerance,
) -> bool {
    if let Some((value, percent)) = said.result {
        let unrounded = NumberInText {
            span: key.span,
            value,
            decimals: value.scale(),
            percent,
            money: false,
            // In single units already: no unit of the question is put on it.
            scale: Some(Scale::One),
            bare: false,
        };
        if equal(key, key_scale, &unrounded, asked, tolerance) {
            return true;
        }
    }
    let stated = figures(said.shown.unwrap_or(said.first));
    let Some(first) = stated.first() else {
        return false;
    };
    let same = |other: &NumberInText| {
        other.value == first.value && other.scale == first.scale && other.percent == first.percent
    };
    stated.iter().all(same) && equal(key, key_scale, first, asked, tolerance)
}

fn sentence(
    key: &str,
    wanted: &[NumberInText],
    said: &Said<'_>,
    asked: &Asked,
    tolerance: Tolerance,
) -> bool {
    if let Some(word) = yes_or_no(key)
        && yes_or_no(said.text) != Some(word)
    {
        return false;
    }
    let stated = figures(said.text);
    stated.len() <= 2 * wanted.len() + 4
        && wanted.iter().all(|key| {
            stated
                .iter()
                .any(|stated| equal(key, None, stated, asked, tolerance))
        })
}

/// Whether a stated figure is the key's.
fn equal(
    key: &NumberInText,
    key_scale: Option<Scale>,
    stated: &NumberInText,
    asked: &Asked,
    tolerance: Tolerance,
) -> bool {
    let hundred = Decimal::ONE_HUNDRED;
    let own = |number: &NumberInText| number.scale.unwrap_or_default().factor();
    let key_factor = if key.percent {
        Decimal::ONE
    } else {
        key.scale.or(key_scale).unwrap_or_default().factor()
    };
    let Some(wanted) = key.value.checked_mul(key_factor) else {
        return false;
    };
    let near = match tolerance {
        Tolerance::OnePercent => wanted.abs() / hundred,
        Tolerance::KeyPrecision => {
            let decimals = if key.value.fract().is_zero() {
                0
            } else {
                key.decimals
            };
            Decimal::new(5, (decimals + 1).min(28)) * key_factor
        }
    };
    let mut readings = Vec::new();
    match (key.percent, stated.percent) {
        (true, true) => readings.push(Some(stated.value)),
        (true, false) => {
            if !stated.money && stated.scale.is_none_or(|scale| scale == Scale::One) {
                readings.push(stated.value.checked_mul(hundred));
                if asked.percent {
                    readings.push(Some(stated.value));
                }
            }
        }
        (false, true) => {
            if !key.money && key_factor == Decimal::ONE {
                readings.push(Some(stated.value / hundred));
            }
        }
        (false, false) => {
            readings.push(stated.value.checked_mul(own(stated)));
            if let (None, Some(scale)) = (stated.scale, asked.scale) {
                readings.push(stated.value.checked_mul(scale.factor()));
            }
        }
    }
    readings
        .into_iter()
        .flatten()
        .any(|reading| (reading - wanted).abs() <= near)
}

/// The yes or no that a text opens with.
fn yes_or_no(text: &str) -> Option<bool> {
    let word: String = text
        .trim_start()
        .chars()
        .take_while(|c| c.is_alphabetic())
        .collect();
    match word.to_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Lower-case words and numbers without marks and articles.
fn plain_words(text: &str) -> Vec<String> {
    MARK.replace_all(text, "")
        .split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| !word.is_empty() && !["a", "an", "the"].contains(&word.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(question: &str, key: &str, answer: &str, kind: AnswerKind, strict: bool) {
        let said = Said {
            text: answer,
            first: answer,
            ..Said::default()
        };
        let judged = judge(question, key, &said);
        assert_eq!(
            (judged.kind, judged.strict),
            (kind, strict),
            "{answer:?} for {key:?}"
        );
    }

    #[test]
    fn one_figure_to_the_keys_precision() {
        use AnswerKind::Number;
        let millions = "What was it? Answer in USD millions.";
        check("", "0.66", "The ratio was 0.66. [1]", Number, true);
        check("", "0.66", "The ratio was 0.664 in FY2015.", Number, true);
        check("", "0.66", "The ratio was 0.67.", Number, false);
        check("", "0.66", "The ratio was 0.7.", Number, false);
        check("", "65.4%", "It grew by 65.4% in 2016.", Number, true);
        check("", "65.4%", "It grew by 65.36%.", Number, true);
        check("", "65.4%", "It grew by 0.654.", Number, true);
        check("", "65.4%", "It grew by 65.4.", Number, false);
        check(
            "in units of percents",
            "65.4%",
            "It grew by 65.4.",
            Number,
            true,
        );
        check("", "65.4%", "It fell by -65.4%.", Number, false);
        check(millions, "$1832.00", "It was $1,832 million.", Number, true);
        check(millions, "$1832.00", "It was $1.832 billion.", Number, true);
        check(millions, "$1832.00", "It was $1.83 billion.", Number, false);
        check(millions, "$1832.00", "It was 1,832.", Number, true);
        check(millions, "$1832.00", "It was $1,832,000,000.", Number, true);
        check(
            millions,
            "$1832.00",
            "It was $1,832 thousand.",
            Number,
            false,
        );
        check(millions, "$382.00", "It was $381.6 million.", Number, true);
        check(millions, "$382.00", "It was 382%.", Number, false);
        check(
            "in USD billions",
            "$0.40",
            "They paid $389 million.",
            Number,
            false,
        );
        check(
            "in USD billions",
            "$0.40",
            "They paid $398 million.",
            Number,
            true,
        );
        // Which of two figures is meant is for the answer to say.
        check("", "0.66", "It was 0.66, after 0.70.", Number, false);
        check("", "0.66", "I do not know.", Number, false);
    }

    #[test]
    fn a_sentence_wants_all_its_figures_and_its_first_word() {
        use AnswerKind::Figures;
        let key = "No, margins fell from 36.8% in FY 2021 to 34.6% in FY2022.";
        check("", key, "No. They fell from 36.8% to 34.6%.", Figures, true);
        check("", key, "They fell from 36.8% to 34.6%.", Figures, false);
        check("", key, "No. They fell to 34.6%.", Figures, false);
        let table: String = (1..40).map(|n| format!("{n}.5%, ")).collect();
        check("", key, &format!("No. {table} 36.8% 34.6%"), Figures, false);
        check(
            "",
            "The sum is $473 million.",
            "$0.473 billion",
            Figures,
            true,
        );
    }

    #[test]
    fn words_must_be_the_same_words() {
        use AnswerKind::Words;
        check("", "The Americas.", "Americas [1]", Words, true);
        check("", "The Americas.", "Europe", Words, false);
        check("", "Yes. It decreased.", "Yes", Words, false);
        check("", "", "", Words, false);
    }

    #[test]
    fn the_calculations_result_is_the_figure() {
        let said = Said {
            text: "Revenue grew by 7.4%, from $2,590 million to $2,781 million.",
            first: "Revenue grew by 7.4%, from $2,590 million to $2,781 million.",
            shown: Some("7.4%"),
            result: Some((Decimal::new(73745, 4), true)),
            not_found: false,
        };
        assert!(judge("", "7.37%", &said).strict);
        assert!(judge("", "7.4%", &said).strict);
        assert!(!judge("", "7.3%", &said).strict);
        assert!(judge("", "7.44%", &said).within_1pct);
        let nothing = Said {
            not_found: true,
            ..said
        };
        assert!(!judge("", "7.4%", &nothing).strict);
    }

    #[test]
    fn periods_are_no_figures() {
        assert!(figures("In Q2 of FY2023 and FY23, at 2022 year end [3]").is_empty());
    }
}
