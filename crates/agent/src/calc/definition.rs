//! Reads a formula written in words: `(FY2019 COGS) / (average inventory between FY2018 and FY2019)`.
//!
//! The same reader serves a question's own definition and the catalogue's formulas.

use std::sync::LazyLock;

use footnote_filings::FiscalPeriod;
use regex::Regex;
use rust_decimal::Decimal;

use super::Expr;
use super::period::periods_in;

/// A figure named in a formula.
#[derive(Clone, Debug, PartialEq)]
pub struct Phrase {
    /// What it is called, lower case, without periods.
    pub name: String,
    /// Whether one period's value, the mean of two, or their difference is meant.
    pub over: Over,
    /// The periods the formula names, earliest first; empty: the question's own.
    pub periods: Vec<FiscalPeriod>,
}

/// How a named figure is taken over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// At one period.
    One,
    /// The mean of the period and the one before.
    Average,
    /// The period less the one before.
    Change,
}

/// The most figures one formula may name.
const MAX_PHRASES: usize = 16;

/// Deepest nesting of brackets.
const MAX_DEPTH: usize = 16;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(Decimal),
    Words(String),
    Plus,
    Minus,
    Times,
    Over,
    Open,
    Close,
}

static OPERATOR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(?:divided by|over|less|minus|plus|times|multiplied by|subtracting|add(?:ed to)?)\b",
    )
    .expect("a constant pattern")
});

static PERIOD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(?:fy|fiscal(?:\s+year)?|cy)?\s?'?(?:19|20)\d\d\b|\bfy\s?\d\d\b|\b(?:between|for|in|from|at|of|to|and)\s*$")
        .expect("a constant pattern")
});

static BETWEEN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\bbetween\s+\S+\s+and\s+\S+").expect("a constant pattern"));

/// Reads a formula; figures of the result are indices into the phrases. Nothing where the text is
/// no formula (no operator, unbalanced brackets, more than 16 figures).
pub fn parse_formula(text: &str) -> Option<(Expr, Vec<Phrase>)> {
    let tokens = tokens(&text.to_lowercase());
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        phrases: Vec::new(),
    };
    let expr = parser.sum(0)?;
    let whole = parser.at == tokens.len();
    let phrases = parser.phrases;
    (whole && !phrases.is_empty() && phrases.len() <= MAX_PHRASES).then_some((expr, phrases))
}

fn tokens(lower: &str) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::new();
    let mut words = String::new();
    let mut rest = lower;
    let mut at_word_start = true;
    while let Some(c) = rest.chars().next() {
        let spaced = rest[c.len_utf8()..].starts_with(' ') && at_word_start;
        let symbol = match c {
            '+' => Some(Token::Plus),
            '*' | '×' => Some(Token::Times),
            '/' | '÷' => Some(Token::Over),
            '(' => Some(Token::Open),
            ')' => Some(Token::Close),
            '-' | '–' | '−' if spaced => Some(Token::Minus),
            'x' if spaced => Some(Token::Times),
            _ => None,
        };
        if c == '[' {
            // `[from cash flow statement]`: a remark.
            rest = rest.find(']').map_or("", |end| &rest[end + 1..]);
            continue;
        }
        if let Some(symbol) = symbol {
            flush(&mut words, &mut out);
            out.push(symbol);
            rest = &rest[c.len_utf8()..];
            at_word_start = true;
            continue;
        }
        if at_word_start && let Some(found) = OPERATOR.find(rest) {
            let symbol = match found.as_str() {
                "divided by" | "over" => Token::Over,
                "times" | "multiplied by" => Token::Times,
                "plus" | "add" | "added to" => Token::Plus,
                _ => Token::Minus,
            };
            flush(&mut words, &mut out);
            out.push(symbol);
            rest = &rest[found.end()..];
            continue;
        }
        words.push(c);
        at_word_start = !c.is_alphanumeric();
        rest = &rest[c.len_utf8()..];
    }
    flush(&mut words, &mut out);
    out
}

fn flush(words: &mut String, out: &mut Vec<Token>) {
    let text =
        words.trim_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '.' | ',' | '"'));
    if !text.is_empty() {
        out.push(match text.parse::<Decimal>() {
            Ok(number) => Token::Number(number),
            Err(_) => Token::Words(text.to_owned()),
        });
    }
    words.clear();
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    phrases: Vec<Phrase>,
}

impl Parser<'_> {
    fn next_is(&mut self, token: &Token) -> bool {
        let is = self.tokens.get(self.at) == Some(token);
        self.at += usize::from(is);
        is
    }

    fn sum(&mut self, depth: usize) -> Option<Expr> {
        let mut left = self.product(depth)?;
        loop {
            left = if self.next_is(&Token::Plus) {
                Expr::Add(Box::new(left), Box::new(self.product(depth)?))
            } else if self.next_is(&Token::Minus) {
                Expr::Sub(Box::new(left), Box::new(self.product(depth)?))
            } else {
                return Some(left);
            };
        }
    }

    fn product(&mut self, depth: usize) -> Option<Expr> {
        let mut left = self.atom(depth)?;
        loop {
            left = if self.next_is(&Token::Times) {
                Expr::Mul(Box::new(left), Box::new(self.atom(depth)?))
            } else if self.next_is(&Token::Over) {
                Expr::Div(Box::new(left), Box::new(self.atom(depth)?))
            } else {
                return Some(left);
            };
        }
    }

    fn atom(&mut self, depth: usize) -> Option<Expr> {
        if depth > MAX_DEPTH {
            return None;
        }
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        match token {
            Token::Number(number) => Some(Expr::Constant(number)),
            Token::Words(words) => {
                let expr = self.phrase(&words)?;
                self.skip_remark();
                Some(expr)
            }
            Token::Open => {
                let inner = self.sum(depth + 1)?;
                self.next_is(&Token::Close).then_some(inner)
            }
            _ => None,
        }
    }

    /// A bracket straight behind a figure's name is a remark: `D&A (from the cash flow statement)`.
    fn skip_remark(&mut self) {
        if let [Token::Open, Token::Words(words), Token::Close] =
            &self.tokens[self.at..(self.at + 3).min(self.tokens.len())]
        {
            let remark = ["from ", "in ", "as ", "on ", "per ", "i.e", "excluding "]
                .iter()
                .any(|start| words.starts_with(start));
            if remark || words.len() <= 6 {
                self.at += 3;
            }
        }
    }

    fn phrase(&mut self, words: &str) -> Option<Expr> {
        let mut periods = periods_in(words);
        periods.sort_by_key(|p| (p.year, p.quarter));
        let mut name = BETWEEN.replace_all(words, " ").into_owned();
        name = PERIOD.replace_all(&name, " ").into_owned();
        let mut over = Over::One;
        let mut name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        for (start, kind) in [
            ("the average of ", Over::Average),
            ("average of ", Over::Average),
            ("the average ", Over::Average),
            ("average ", Over::Average),
            ("the change in ", Over::Change),
            ("change in ", Over::Change),
        ] {
            if let Some(rest) = name.strip_prefix(start) {
                name = rest.to_owned();
                over = kind;
                break;
            }
        }
        for end in [
            " between", " for", " in", " from", " at", " of", " the", " year", " and",
        ] {
            while let Some(rest) = name.strip_suffix(end) {
                name = rest.to_owned();
            }
        }
        let name = name.trim().trim_start_matches("the ").to_owned();
        if name.is_empty() || name.split(' ').count() > 14 {
            return None;
        }
        let phrase = Phrase {
            name,
            over,
            periods,
        };
        let at = match self.phrases.iter().position(|known| *known == phrase) {
            Some(at) => at,
            None => {
                self.phrases.push(phrase);
                self.phrases.len() - 1
            }
        };
        Some(Expr::Figure(at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::formula::written;
    use super::*;

    #[track_caller]
    fn check(text: &str, formula: &str, phrases: &[&str]) {
        let (expr, found) = parse_formula(text).unwrap_or_else(|| panic!("{text}"));
        let shown: Vec<String> = found
            .iter()
            .map(|p| {
                let periods: Vec<String> = p.periods.iter().map(ToString::to_string).collect();
                let over = match p.over {
                    Over::One => "",
                    Over::Average => "average ",
                    Over::Change => "change in ",
                };
                format!("{over}{} {}", p.name, periods.join(" "))
                    .trim()
                    .to_owned()
            })
            .collect();
        assert_eq!(shown, phrases, "{text}");
        let letters: Vec<String> = ('a'..='z').map(String::from).collect();
        assert_eq!(written(&expr, &letters, &[]), formula, "{text}");
    }

    #[test]
    fn reads_definitions_as_questions_write_them() {
        check(
            "cash from operations / total current liabilities",
            "a / b",
            &["cash from operations", "total current liabilities"],
        );
        check(
            "FY2017 net income / (average total assets between FY2016 and FY2017)",
            "a / b",
            &["net income FY2017", "average total assets FY2016 FY2017"],
        );
        check(
            "365 * (average accounts payable between FY2020 and FY2021) / (FY2021 COGS + change in inventory between FY2020 and FY2021)",
            "365 × a / (b + c)",
            &[
                "average accounts payable FY2020 FY2021",
                "cogs FY2021",
                "change in inventory FY2020 FY2021",
            ],
        );
        check(
            "total current assets less total current liabilities",
            "a - b",
            &["total current assets", "total current liabilities"],
        );
        check(
            "total current assets divided by total current liabilities",
            "a / b",
            &["total current assets", "total current liabilities"],
        );
        check(
            "unadjusted operating income + depreciation and amortization [from cash flow statement]",
            "a + b",
            &[
                "unadjusted operating income",
                "depreciation and amortization",
            ],
        );
        check(
            "operating income plus D&A (from the cash flow statement) minus year-end capex",
            "a + b - c",
            &["operating income", "d&a", "year-end capex"],
        );
    }

    #[test]
    fn what_is_no_formula_gives_nothing() {
        for text in ["", "( a / b", "a / / b", "/", "365"] {
            assert_eq!(parse_formula(text), None, "{text}");
        }
        assert_eq!(parse_formula(&"(".repeat(10_000)), None);
        assert_eq!(parse_formula(&"a / ".repeat(10_000)), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,120}") {
            let _ = parse_formula(&text);
        }
    }
}
