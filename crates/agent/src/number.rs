//! Numbers as filings and answers write them: found in text, scaled, compared, written again.
//!
//! `1,577` under "in millions" and `$1.577 billion` are one figure; this module says so. It knows
//! nothing of tables, questions or models.

use std::fmt;
use std::sync::LazyLock;

use footnote_filings::Span;
use regex::Regex;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

/// By how much a written number is to be multiplied.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Scale {
    /// As written.
    #[default]
    One,
    /// × 1,000.
    Thousand,
    /// × 1,000,000.
    Million,
    /// × 1,000,000,000.
    Billion,
    /// × 1,000,000,000,000.
    Trillion,
}

impl Scale {
    /// All, smallest first.
    pub const ALL: [Scale; 5] = [
        Scale::One,
        Scale::Thousand,
        Scale::Million,
        Scale::Billion,
        Scale::Trillion,
    ];

    /// The power of ten.
    pub fn exponent(self) -> u32 {
        self as u32 * 3
    }

    /// The multiplier.
    pub fn factor(self) -> Decimal {
        Decimal::from(10_u64.pow(self.exponent()))
    }

    /// `million`, or nothing for [`Scale::One`].
    pub fn word(self) -> &'static str {
        match self {
            Scale::One => "",
            Scale::Thousand => "thousand",
            Scale::Million => "million",
            Scale::Billion => "billion",
            Scale::Trillion => "trillion",
        }
    }

    /// The scale that a word, an abbreviation or its plural names.
    pub fn from_word(word: &str) -> Option<Scale> {
        let lower = word.to_ascii_lowercase();
        let lower = lower.trim_end_matches('.');
        Some(match lower {
            "thousand" | "thousands" | "k" | "000s" | "000" => Scale::Thousand,
            "million" | "millions" | "mn" | "mm" | "m" | "mil" => Scale::Million,
            "billion" | "billions" | "bn" | "b" => Scale::Billion,
            "trillion" | "trillions" | "tn" => Scale::Trillion,
            _ => return None,
        })
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Unit {
    /// Money, in the filing's currency (US dollars unless it says otherwise).
    Money,
    /// Money for one share.
    PerShare,
    /// Shares.
    Shares,
    /// Hundredths; the value 5 is 5 %.
    Percent,
    /// Days.
    Days,
    /// A pure number: a ratio or a count.
    #[default]
    Number,
}

/// A number found in a text.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberInText {
    /// Where it stands, sign, currency mark and scale word included.
    pub span: Span,
    /// As written, sign applied, scale not.
    pub value: Decimal,
    /// Digits after the point.
    pub decimals: u32,
    /// A `%`, `percent` or `percentage points` follows.
    pub percent: bool,
    /// A currency mark stands before it.
    pub money: bool,
    /// The scale word behind it.
    pub scale: Option<Scale>,
    /// Written without thousands separators, point, currency or sign: may be a year or an ordinal.
    pub bare: bool,
}

impl NumberInText {
    /// The value in single units: the number's own scale word wins over the table's.
    pub fn absolute(&self, table: Scale) -> Option<Decimal> {
        let scale = if self.percent {
            Scale::One
        } else {
            self.scale.unwrap_or(table)
        };
        self.value.checked_mul(scale.factor())
    }

    /// Whether it can be a calendar or fiscal year.
    pub fn is_year(&self) -> bool {
        self.bare
            && !self.percent
            && self.scale.is_none()
            && self.value >= Decimal::from(1900)
            && self.value <= Decimal::from(2100)
    }
}

static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)
        (?P<open>\()?
        (?P<minus>[-−–])?
        (?:(?P<money>(?:US|C|A|HK)?\$|[€£¥]|USD\s|EUR\s|GBP\s)\s?)?
        (?P<open2>\()?
        (?P<minus2>[-−])?
        (?P<money2>[$€£¥])?
        (?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)
        (?P<close>\))?
        (?:\s?(?P<percent>%|percent(?:age\s+points?)?\b|per\s+cent\b|pp\b)
          |[\s-]?(?P<scale>thousands?|millions?|billions?|trillions?|mn|bn|mm|tn|[mbk])\b)?
        (?P<close2>\))?",
    )
    .expect("a constant pattern")
});

/// Every number of `text` in order. Digits inside words (`FY2022`, `Q2`, `10-K`, `3M`'s 3 stays a
/// number of millions only after a currency mark) are no numbers.
pub fn numbers_in(text: &str) -> Vec<NumberInText> {
    NUMBER
        .captures_iter(text)
        .filter_map(|found| number_from(text, &found))
        .collect()
}

fn number_from(text: &str, found: &regex::Captures<'_>) -> Option<NumberInText> {
    let digits = found.name("digits")?;
    let has = |name: &str| found.name(name).is_some();
    let money = has("money") || has("money2");
    let whole = found.get(0)?;
    let (mut start, mut end) = (whole.start(), whole.end());

    // The character before the number must not make it part of a word or of a longer number.
    let first = found.name("money").map_or(digits.start(), |m| m.start());
    let minus = ["minus", "minus2"].iter().find_map(|name| found.name(name));
    let before_sign = minus.map_or(first, |m| m.start().min(first));
    let before = text[..before_sign].chars().next_back();
    let joined = before.is_some_and(|c| c.is_alphanumeric());
    if joined && !money {
        // `2019-2020`, `FY2018-2019`, `COVID-19`: the sign is a dash, the number stands alone or
        // belongs to the word.
        let previous_is_digit = before.is_some_and(|c| c.is_ascii_digit());
        if minus.is_none() || !previous_is_digit {
            return None;
        }
    }
    if before.is_some_and(|c| matches!(c, '.' | ',')) && minus.is_none() && first == digits.start()
    {
        let further = text[..before_sign]
            .trim_end_matches(['.', ','])
            .chars()
            .next_back();
        if further.is_some_and(|c| c.is_ascii_digit()) {
            return None;
        }
    }
    // A letter straight behind it makes it part of a word: `10th`, `2H`, `10-K`.
    let mut scale = found.name("scale");
    let mut tail = text[digits.end()..].chars();
    let next = tail.next();
    if let (Some(word), false) = (scale, money) {
        // `3M` is a company, `5b` a note; single letters count only behind a currency mark.
        if word.as_str().len() == 1 {
            scale = None;
        }
    }
    if scale.is_none() && !has("percent") {
        let times = next == Some('x') && !tail.clone().next().is_some_and(char::is_alphanumeric);
        if next.is_some_and(char::is_alphabetic) && !times {
            return None;
        }
        if next == Some('-') && tail.next().is_some_and(char::is_alphabetic) {
            let rest = &text[digits.end() + 1..];
            let word: String = rest.chars().take_while(|c| c.is_alphabetic()).collect();
            // `5-year`, `364-day` count something; `10-K` names a form.
            if word.len() <= 2 {
                return None;
            }
        }
    }

    let opened = has("open") || has("open2");
    let closed = has("close") || has("close2");
    // Brackets that belong to the sentence stay outside.
    if has("open") && !closed {
        start += 1;
    }
    if closed && !opened {
        end = found.name("close").map_or(end, |m| m.start());
        if has("close2") && !has("close") {
            end -= 1;
        }
    }
    if scale.is_none() && found.name("scale").is_some() {
        end = digits.end();
    }
    let dash_of_range = minus.is_some() && before.is_some_and(char::is_alphanumeric);
    if dash_of_range {
        start = digits.start();
    }
    // `(1,493)` and `(6.5%)` are negative, `(2022)` is a year; in `(of $3 million)` the brackets are the sentence's.
    let year = digits.len() == 4 && !money && matches!(digits.as_str().as_bytes()[0], b'1' | b'2');
    let bracketed = opened && !year && (has("close") || (has("close2") && scale.is_none()));
    if opened && closed && !bracketed {
        start += usize::from(has("open"));
        end -= 1;
    }
    let negative = (minus.is_some() && !dash_of_range) || bracketed;
    let plain: String = digits.as_str().chars().filter(|&c| c != ',').collect();
    let padded = if plain.starts_with('.') {
        format!("0{plain}")
    } else {
        plain
    };
    // More digits than a Decimal holds: no figure of a filing.
    let magnitude: Decimal = padded.parse().ok()?;
    let decimals = padded
        .split_once('.')
        .map_or(0, |(_, part)| part.len() as u32);
    Some(NumberInText {
        span: Span::new(start, end),
        value: if negative { -magnitude } else { magnitude },
        decimals,
        percent: has("percent"),
        money,
        scale: scale.and_then(|word| Scale::from_word(word.as_str())),
        bare: !money && !negative && decimals == 0 && !digits.as_str().contains(','),
    })
}

/// Rounds half away from zero, as filings do.
pub fn round(value: Decimal, places: u32) -> Decimal {
    value.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero)
}

/// `-1,234.50`: rounded to `places`, thousands parted by commas.
pub fn grouped(value: Decimal, places: u32) -> String {
    let text = format!("{:.*}", places as usize, round(value, places).abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::with_capacity(text.len() + text.len() / 3 + 1);
    if round(value, places).is_sign_negative() && !round(value, places).is_zero() {
        out.push('-');
    }
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// How a value is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Show {
    /// What it counts.
    pub unit: Unit,
    /// The scale of the written number.
    pub scale: Scale,
    /// Digits after the point.
    pub places: u32,
}

impl Show {
    /// Writes `value` (in single units).
    pub fn write(self, value: Decimal) -> String {
        let number = grouped(value / self.scale.factor(), self.places);
        let (sign, digits) = match number.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", number.as_str()),
        };
        let word = match self.scale {
            Scale::One => String::new(),
            scale => format!(" {}", scale.word()),
        };
        match self.unit {
            Unit::Money | Unit::PerShare => format!("{sign}${digits}{word}"),
            Unit::Percent => format!("{number}%"),
            Unit::Shares => format!("{number}{word} shares"),
            Unit::Days => format!("{number} days"),
            Unit::Number => format!("{number}{word}"),
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scale::One => "units",
            Scale::Thousand => "thousands",
            Scale::Million => "millions",
            Scale::Billion => "billions",
            Scale::Trillion => "trillions",
        })
    }
}

/// How a stated number and one in the evidence agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// The same amount, perhaps in another scale, perhaps rounded to the digits stated.
    Same,
    /// The digits agree, but the statement leaves out the scale that the table states.
    ScaleLeftOut(Scale),
    /// The same but for the sign.
    OtherSign,
}

/// Compares a number of a statement with one of the evidence, whose table is in `table` scale.
/// A stated number may be rounded: it agrees when the evidence, rounded to its last digit, is it.
pub fn agree(stated: &NumberInText, evidence: &NumberInText, table: Scale) -> Option<Agreement> {
    if stated.percent && !evidence.percent && (evidence.money || evidence.scale.is_some()) {
        return None;
    }
    if evidence.percent && (stated.money || stated.scale.is_some()) {
        return None;
    }
    let evidence_scale = match evidence.scale {
        _ if evidence.percent || stated.percent => Scale::One,
        Some(own) => own,
        None => table,
    };
    let stated_scale = if stated.percent {
        Scale::One
    } else {
        stated.scale.unwrap_or(Scale::One)
    };
    let there = evidence.value.checked_mul(evidence_scale.factor())?;
    let rounds_to = |value: Decimal, scale: Scale| {
        value
            .checked_div(scale.factor())
            .map(|v| round(v, stated.decimals))
    };
    if rounds_to(there, stated_scale)? == stated.value && !too_coarse(stated, there, stated_scale) {
        return Some(Agreement::Same);
    }
    if rounds_to(-there, stated_scale)? == stated.value && !too_coarse(stated, there, stated_scale)
    {
        return Some(Agreement::OtherSign);
    }
    if stated.scale.is_none() && evidence_scale != Scale::One && !stated.percent {
        if stated.value == evidence.value {
            return Some(Agreement::ScaleLeftOut(evidence_scale));
        }
        if stated.value == -evidence.value {
            return Some(Agreement::OtherSign);
        }
    }
    None
}

/// A stated number of no significant digit (`0 billion` for 382 million) says nothing.
fn too_coarse(stated: &NumberInText, there: Decimal, scale: Scale) -> bool {
    stated.value.is_zero() && !there.is_zero() && scale != Scale::One
}

static STATED_SCALE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)\b(?:in|of|amounts?|dollars?|\$|usd|except)\W{0,3}(?:(?:u\.?s\.?|united states|dollars?|usd|of|in|and|shares?|\$|amounts?|are)\W{1,3}){0,4}(thousands|millions|billions|000s)\b|\(\s*(thousands|millions|billions)\b|\$\s?000s?\b|\b(?:dollars|shares|amounts)\s+in\s+(thousands|millions|billions)\b",
    )
    .expect("a constant pattern")
});

/// The scale that a table's caption or lead states: `(In millions, except per share data)`.
pub fn stated_scale(text: &str) -> Option<Scale> {
    let found = STATED_SCALE.captures(text)?;
    let word = (1..=3).find_map(|i| found.get(i));
    match word {
        Some(word) => Scale::from_word(word.as_str()),
        None => Some(Scale::Thousand),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dec(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = numbers_in(text)
            .iter()
            .map(|n| {
                format!(
                    "{}{}{}{}",
                    if n.money { "$" } else { "" },
                    n.value,
                    if n.percent { "%" } else { "" },
                    n.scale.map_or(String::new(), |s| format!(" {}", s.word())),
                )
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn finds_numbers_as_filings_write_them() {
        check("Capital spending (4,625) (4,240)", &["-4625", "-4240"]);
        check("$ (1,319,907) $ 2,214,380", &["$-1319907", "$2214380"]);
        check("($4,935) ($8.30)", &["$-4935", "$-8.30"]);
        check("rose 6.5% to $1.577 billion", &["6.5%", "$1.577 billion"]);
        check("(6.5)% or (6.5%)", &["-6.5%", "-6.5%"]);
        check("a gain (including $25 million)", &["$25 million"]);
        check("grew ($903,095 thousand)", &["$903095 thousand"]);
        check("2,117 (2022)", &["2117", "2022"]);
        check("FY2022 Q2 10-K, 8-K and COVID-19; 3M, 10th, 2H", &[]);
        check(
            "in 2019-2020 and 2018–2019",
            &["2019", "2020", "2018", "2019"],
        );
        check("minus -473 and −5 and .67", &["-473", "-5", "0.67"]);
        check(
            "a 5-year notes 364-day $4.2bn, $3M",
            &["5", "364", "$4.2 billion", "$3 million"],
        );
        check(
            "0.69x, 12 percent, 3 percentage points",
            &["0.69", "12%", "3%"],
        );
        check(
            "costs of $9,151 and $6,214, respectively 1,217,968",
            &["$9151", "$6214", "1217968"],
        );
        check("1 million shares", &["1 million"]);
        check(&"9".repeat(60), &[]);
    }

    #[test]
    fn spans_lie_on_what_was_found() {
        let text = "a gain (of $25 million) and (1,493) in 2022–2023";
        let found: Vec<&str> = numbers_in(text)
            .iter()
            .map(|n| n.span.of(text).unwrap())
            .collect();
        assert_eq!(found, ["$25 million", "(1,493)", "2022", "2023"]);
    }

    #[test]
    fn reads_the_scale_a_table_states() {
        let table = [
            ("(In thousands, except par value)", Some(Scale::Thousand)),
            (
                "($ in millions, except share and per share data)",
                Some(Scale::Million),
            ),
            (
                "(dollars in millions, except per share amounts)",
                Some(Scale::Million),
            ),
            ("(Dollars in millions)", Some(Scale::Million)),
            ("(Millions of dollars)", Some(Scale::Million)),
            ("(Millions, except per share)", Some(Scale::Million)),
            ("(U.S. dollars in billions)", Some(Scale::Billion)),
            (
                "Amounts in U.S. dollars, in thousands",
                Some(Scale::Thousand),
            ),
            ("($000s)", Some(Scale::Thousand)),
            ("Consolidated Balance Sheets", None),
            ("it lost $3 million", None),
        ];
        for (text, expected) in table {
            assert_eq!(stated_scale(text), expected, "{text}");
        }
    }

    #[test]
    fn one_figure_in_two_scales_agrees() {
        let one = |text: &str| numbers_in(text).remove(0);
        let table = [
            (
                "$1.577 billion",
                "1,577",
                Scale::Million,
                Some(Agreement::Same),
            ),
            (
                "$1.58 billion",
                "1,577",
                Scale::Million,
                Some(Agreement::Same),
            ),
            ("$1.57 billion", "1,577", Scale::Million, None),
            (
                "$1,577",
                "1,577",
                Scale::Million,
                Some(Agreement::ScaleLeftOut(Scale::Million)),
            ),
            (
                "$1,577 million",
                "1,577,431",
                Scale::Thousand,
                Some(Agreement::Same),
            ),
            ("$1,577 million", "1,577", Scale::One, None),
            (
                "$1,577,000,000",
                "1,577",
                Scale::Million,
                Some(Agreement::Same),
            ),
            ("34.6%", "34.6", Scale::One, Some(Agreement::Same)),
            ("34.6%", "34.6%", Scale::Million, Some(Agreement::Same)),
            ("34.6%", "$34.6", Scale::One, None),
            ("$34.6", "34.6%", Scale::One, None),
            (
                "$4,290 million",
                "(4,290)",
                Scale::Million,
                Some(Agreement::OtherSign),
            ),
            ("$0 billion", "382", Scale::Million, None),
        ];
        for (stated, evidence, scale, expected) in table {
            assert_eq!(
                agree(&one(stated), &one(evidence), scale),
                expected,
                "{stated} / {evidence}"
            );
        }
    }

    #[test]
    fn writes_values() {
        let show = |unit, scale, places| Show {
            unit,
            scale,
            places,
        };
        let million = show(Unit::Money, Scale::Million, 2);
        assert_eq!(million.write(dec("1577000000")), "$1,577.00 million");
        let loss = show(Unit::Money, Scale::Million, 0);
        assert_eq!(loss.write(dec("-1561400000")), "-$1,561 million");
        assert_eq!(
            show(Unit::Percent, Scale::One, 1).write(dec("65.449")),
            "65.4%"
        );
        assert_eq!(
            show(Unit::Number, Scale::One, 2).write(dec("-0.001")),
            "0.00"
        );
        assert_eq!(grouped(dec("0.125"), 2), "0.13");
    }

    proptest! {
        #[test]
        fn written_numbers_are_read_back(units in -10_i64.pow(15)..10_i64.pow(15), places in 0_u32..6) {
            let value = Decimal::new(units, places);
            let text = format!("was {} then", grouped(value, places));
            let found = numbers_in(&text);
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].value, value);
            prop_assert_eq!(found[0].decimals, places);
        }

        #[test]
        fn any_scale_of_a_figure_agrees_with_it(units in 1_i64..10_i64.pow(12), table in 0_usize..4, shown in 0_usize..4) {
            let (table, shown) = (Scale::ALL[table], Scale::ALL[shown]);
            let written = grouped(Decimal::from(units), 0);
            let evidence = numbers_in(&written).remove(0);
            let places = (shown.exponent()).saturating_sub(table.exponent());
            let show = Show { unit: Unit::Money, scale: shown, places };
            let stated = show.write(Decimal::from(units) * table.factor());
            let stated = numbers_in(&stated).remove(0);
            prop_assert_eq!(agree(&stated, &evidence, table), Some(Agreement::Same));
        }

        #[test]
        fn never_panics_and_spans_are_in_order(text in "\\PC{0,200}") {
            let mut last = 0;
            for number in numbers_in(&text) {
                prop_assert!(number.span.of(&text).is_some());
                prop_assert!(number.span.start >= last);
                last = number.span.end;
            }
        }
    }
}
