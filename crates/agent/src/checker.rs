//! The citation checker: quotes must stand in their passage, numbers in a quote or a calculation.
//!
//! It trusts nobody, the writer least. It knows no model and no corpus, only texts.

use std::collections::HashSet;

use footnote_filings::Span;

use crate::number::{Agreement, NumberInText, Scale, agree, numbers_in};

/// The longest quote looked for, in bytes.
const MAX_QUOTE: usize = 8_000;

/// Finds `quote` in `text`, any run of whitespace counting as one space, and gives the place in
/// `text`. The quote must have a letter or a digit.
pub fn locate(quote: &str, text: &str) -> Option<Span> {
    if quote.len() > MAX_QUOTE || !quote.chars().any(char::is_alphanumeric) {
        return None;
    }
    let (needle, _) = collapse(quote);
    let (hay, places) = collapse(text);
    let at = hay.find(&needle)?;
    let start = places[at];
    let last = at + needle.len() - 1;
    // The end of the last character: the next place, or the end of the text.
    let end = text[places[last]..]
        .chars()
        .next()
        .map_or(text.len(), |c| places[last] + c.len_utf8());
    Some(Span::new(start, end))
}

/// Text with whitespace runs as single spaces, trimmed, and for each of its bytes the start of the
/// character of the original that it came from.
fn collapse(text: &str) -> (String, Vec<usize>) {
    let mut out = String::with_capacity(text.len());
    let mut places = Vec::with_capacity(text.len());
    let mut space: Option<usize> = None;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() {
            space = space.or(Some(at));
            continue;
        }
        if let Some(gap) = space.take()
            && !out.is_empty()
        {
            out.push(' ');
            places.push(gap);
        }
        out.push(c);
        places.extend(std::iter::repeat_n(at, c.len_utf8()));
    }
    (out, places)
}

/// What a statement may rest on.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The cited words.
    pub quote: String,
    /// The scale stated above the table the quote is from.
    pub scale: Scale,
}

/// What the checker found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// What is wrong, in words; empty: nothing.
    pub faults: Vec<String>,
    /// A scale that the statement leaves out although its table states it.
    pub scale_left_out: Option<Scale>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Checks a statement against what it cites. `given` is text whose numbers need no evidence: the
/// question, the periods and forms of the cited filings. `results` are the shown results of a
/// calculation.
///
/// Every number must agree with one in the evidence (see [`agree`]), in the given text or in the
/// results; and most of the statement's words must occur in evidence or question, most of those
/// that the question does not have in the evidence itself, or the cited words are about something
/// else.
pub fn check_statement(
    statement: &str,
    evidence: &[Evidence],
    given: &str,
    results: &[String],
) -> Verdict {
    let mut verdict = Verdict::default();
    if evidence.is_empty() {
        verdict.faults.push("nothing is cited".to_owned());
        return verdict;
    }
    let given_numbers = numbers_in(given);
    let result_numbers: Vec<NumberInText> = results
        .iter()
        .flat_map(|result| numbers_in(result))
        .collect();
    let cited: Vec<(NumberInText, Scale)> = evidence
        .iter()
        .flat_map(|e| numbers_in(&e.quote).into_iter().map(|n| (n, e.scale)))
        .collect();
    let losses = speaks_of_outflow(statement);
    for number in numbers_in(statement) {
        let plain = |other: &NumberInText| {
            agree(&number, other, Scale::One).is_some_and(|a| a == Agreement::Same)
        };
        if result_numbers.iter().any(plain) {
            continue;
        }
        let harmless = number.bare && given_numbers.iter().any(plain);
        if harmless {
            continue;
        }
        let mut found = None;
        for (other, scale) in &cited {
            match agree(&number, other, *scale) {
                Some(Agreement::Same) => found = Some(Agreement::Same),
                Some(Agreement::OtherSign) if losses => {
                    found = found.or(Some(Agreement::OtherSign));
                }
                Some(left @ Agreement::ScaleLeftOut(_)) => found = found.or(Some(left)),
                _ => {}
            }
            if found == Some(Agreement::Same) {
                break;
            }
        }
        match found {
            Some(Agreement::ScaleLeftOut(scale)) if !number.is_year() => {
                verdict.scale_left_out = Some(scale);
            }
            Some(_) => {}
            None => {
                let written = number.span.of(statement).unwrap_or_default().trim();
                verdict.faults.push(format!(
                    "the number {written} does not stand in what is cited"
                ));
            }
        }
    }
    let share = supported_share(statement, evidence, given);
    if share < MIN_SUPPORT {
        verdict
            .faults
            .push("most of its words do not occur in what is cited".to_owned());
    }
    // A question's own words support nothing: what a written statement adds to them must stand in
    // what it cites. (The words of a calculated one are the program's.)
    if results.is_empty() {
        let cited: HashSet<String> = evidence.iter().flat_map(|one| stems(&one.quote)).collect();
        let asked = stems(given);
        let added: Vec<String> = stems(statement)
            .into_iter()
            .filter(|word| !asked.contains(word))
            .collect();
        let held = added.iter().filter(|word| cited.contains(*word)).count();
        if (held as f64) < MIN_SUPPORT * added.len() as f64 {
            verdict
                .faults
                .push("what it adds to the question does not occur in what is cited".to_owned());
        }
    }
    verdict
}

/// The words of four letters and more, by their first five; numbers apart.
fn stems(text: &str) -> HashSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() >= 4 && !word.bytes().all(|b| b.is_ascii_digit()))
        .map(|word| word.to_lowercase().chars().take(5).collect())
        .collect()
}

/// Below this share of its words in evidence or question a statement is not about what it cites.
const MIN_SUPPORT: f64 = 0.5;

/// The share of a statement's words (of four letters and more, by their first five) that occur in
/// the evidence or the given text. 1 for a statement without such words.
fn supported_share(statement: &str, evidence: &[Evidence], given: &str) -> f64 {
    let said = stems(statement);
    if said.is_empty() {
        return 1.0;
    }
    let mut known = stems(given);
    for one in evidence {
        known.extend(stems(&one.quote));
    }
    let held = said.iter().filter(|word| known.contains(*word)).count();
    held as f64 / said.len() as f64
}

/// Whether a positive number in the statement may stand for a negative one in brackets: a loss, a
/// payment, a decrease.
fn speaks_of_outflow(statement: &str) -> bool {
    const WORDS: [&str; 20] = [
        "loss",
        "decreas",
        "declin",
        "paid",
        "pay",
        "spen",
        "used",
        "outflow",
        "expens",
        "cost",
        "purchas",
        "repurchas",
        "dividend",
        "capital expenditure",
        "fell",
        "reduc",
        "lower",
        "drop",
        "negative",
        "deficit",
    ];
    let lower = statement.to_lowercase();
    WORDS.iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn evidence(quote: &str, scale: Scale) -> Vec<Evidence> {
        vec![Evidence {
            quote: quote.to_owned(),
            scale,
        }]
    }

    #[test]
    fn quotes_are_found_across_line_ends_and_nowhere_else() {
        let text = "Total  current\nassets 5,308\u{2003}5,853\nTotal assets 17,003";
        let found = |quote: &str| locate(quote, text).and_then(|span| span.of(text));
        assert_eq!(
            found("current assets 5,308 5,853"),
            Some("current\nassets 5,308\u{2003}5,853")
        );
        assert_eq!(found(" Total assets 17,003 "), Some("Total assets 17,003"));
        assert_eq!(found("Total assets 17,004"), None);
        assert_eq!(found("total assets"), None);
        assert_eq!(found("  "), None);
        assert_eq!(found("—"), None);
        assert_eq!(
            locate(&"a".repeat(MAX_QUOTE + 1), &"a".repeat(MAX_QUOTE * 2)),
            None
        );
    }

    #[test]
    fn numbers_must_stand_in_the_quote() {
        let quote = "Net cash provided by operating activities 7,838 7,230";
        let table = [
            (
                "Operating activities provided net cash of $7,838 million in FY2022.",
                None,
            ),
            (
                "Operating activities provided net cash of $7.8 billion.",
                None,
            ),
            (
                "Operating activities provided net cash of $7,839 million.",
                Some("the number $7,839 million does not stand in what is cited"),
            ),
            (
                "Operating activities provided net cash of 156%.",
                Some("the number 156% does not stand in what is cited"),
            ),
        ];
        for (statement, fault) in table {
            let verdict = check_statement(
                statement,
                &evidence(quote, Scale::Million),
                "in FY2022 and 2021",
                &[],
            );
            assert_eq!(
                verdict.faults.first().map(String::as_str),
                fault,
                "{statement}"
            );
        }
    }

    #[test]
    fn shown_results_count_and_question_amounts_do_not() {
        let quote = evidence("Revenue 100 80", Scale::One);
        let results = ["25.0%".to_owned()];
        assert!(check_statement("Revenue grew by 25.0%.", &quote, "", &results).holds());
        assert!(!check_statement("Revenue grew by 25.0%.", &quote, "", &[]).holds());
        // An amount in the question is no evidence for itself, a year is.
        assert!(
            !check_statement(
                "Revenue was $7 million.",
                &quote,
                "Was revenue $7 million?",
                &[]
            )
            .holds()
        );
        assert!(check_statement("Revenue in 2022 was 100.", &quote, "In 2022?", &[]).holds());
    }

    #[test]
    fn signs_need_a_word_that_explains_them() {
        let quote = evidence("Net loss (5,053) (4,290)", Scale::Million);
        assert!(check_statement("The net loss was $5,053 million.", &quote, "", &[]).holds());
        let quote = evidence("Net result (5,053)", Scale::Million);
        assert!(!check_statement("The net result was $5,053 million.", &quote, "", &[]).holds());
        assert!(check_statement("The net result was -$5,053 million.", &quote, "", &[]).holds());
    }

    #[test]
    fn a_scale_left_out_is_noticed() {
        let quote = evidence("Net sales 14,694", Scale::Million);
        let verdict = check_statement("Net sales were $14,694.", &quote, "", &[]);
        assert!(verdict.holds());
        assert_eq!(verdict.scale_left_out, Some(Scale::Million));
    }

    #[test]
    fn words_of_something_else_do_not_hold() {
        let quote = evidence("The Company has two classes of common stock.", Scale::One);
        let verdict = check_statement("Boeing faces lawsuits over crashes.", &quote, "", &[]);
        assert!(!verdict.holds());
        assert!(!check_statement("Anything.", &[], "", &[]).holds());
    }

    #[test]
    fn words_of_the_question_do_not_support_its_answer() {
        let asked = "What was the outcome of the shareholder vote on the climate proposal?";
        let said = "The shareholder proposal on climate was defeated.";
        let other = evidence("the Federal Funds Rate shall be deemed zero", Scale::One);
        assert!(!check_statement(said, &other, asked, &[]).holds());
        let vote = evidence(
            "The shareholder proposal on climate was defeated: For 11%",
            Scale::One,
        );
        assert!(check_statement(said, &vote, asked, &[]).holds());
    }

    proptest! {
        #[test]
        fn every_piece_of_a_text_is_found_in_it(text in "[a-z0-9 \\n\u{a0}é]{1,80}", start in 0_usize..80, len in 1_usize..80) {
            let chars: Vec<char> = text.chars().collect();
            let start = start.min(chars.len() - 1);
            let piece: String = chars[start..(start + len).min(chars.len())].iter().collect();
            match locate(&piece, &text) {
                Some(span) => {
                    let found = span.of(&text).unwrap();
                    let same = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
                    prop_assert_eq!(same(found), same(&piece));
                }
                None => prop_assert!(!piece.chars().any(char::is_alphanumeric)),
            }
        }
    }
}
