//! What the first lines of a transcript say of the call: ticker, period, day.

use std::sync::LazyLock;

use jiff::civil::Date;
use regex::Regex;

use crate::input::detect::prefix;
use crate::meta::dates;
use crate::types::{FiscalPeriod, Ticker};

/// What a transcript says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) company: Option<String>,
    pub(crate) ticker: Option<Ticker>,
    pub(crate) fiscal_period: Option<FiscalPeriod>,
    pub(crate) date: Option<Date>,
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this module are valid")
}

static TICKER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:NYSE|NASDAQ|NasdaqGS|AMEX)\s*:\s*([A-Z][A-Z.\-]{0,6})\b|\(([A-Z]{1,5}(?:\.[A-Z])?)(?:[+\-][0-9.]+%)?\)",
    )
});
static QUARTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\bQ([1-4])\s+(?:FY\s?|fiscal\s+(?:year\s+)?)?(20\d\d)\b|\b(first|second|third|fourth)[- ]quarter\s+(?:of\s+)?(?:fiscal\s+(?:year\s+)?)?(20\d\d)\b",
    )
});
static COMPANY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?m)^([\p{Lu}][^\n(:]{1,60}?)\s*\n?\((?:[A-Z]+:)?\s?[A-Z.\-]{1,7}[+\-)0-9.%]*\)?")
});

/// Reads the first 4 KiB of a cleaned transcript.
pub(crate) fn read(text: &str) -> Header {
    let top = prefix(text, 700);
    let wider = prefix(text, 4 << 10);
    let ticker = TICKER.captures(top).and_then(|found| {
        let symbol = found.get(1).or_else(|| found.get(2))?;
        symbol.as_str().parse().ok()
    });
    let fiscal_period = QUARTER.captures(wider).and_then(|found| {
        let quarter = match (found.get(1), found.get(3)) {
            (Some(digit), _) => digit.as_str().parse().ok()?,
            (_, Some(word)) => match word.as_str().to_lowercase().as_str() {
                "first" => 1,
                "second" => 2,
                "third" => 3,
                _ => 4,
            },
            _ => return None,
        };
        let year = found
            .get(2)
            .or_else(|| found.get(4))?
            .as_str()
            .parse()
            .ok()?;
        Some(FiscalPeriod::quarter(year, quarter))
    });
    Header {
        company: COMPANY
            .captures(top)
            .map(|found| found[1].trim().to_owned()),
        ticker,
        fiscal_period,
        date: dates(top).next().map(|(_, date)| date),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_title_lines_of_each_publisher() {
        for (text, expected) in [
            (
                "Quill Feather Corporation (NYSE:QLL) Q3 2025 Earnings Call October 15, 2025 8:30 AM EDT\n",
                ("Quill Feather Corporation", "QLL", "2025Q3", "2025-10-15"),
            ),
            (
                "Quill Feather, Inc.\n(QLL) Q4 2025 Earnings Call February 2, 2026 5:00 PM EST\n",
                ("Quill Feather, Inc.", "QLL", "2025Q4", "2026-02-02"),
            ),
            (
                "Quillflake(QLL+7.02%)Q2 2025 Earnings CallAug 21, 2024,5:00 p.m. ET\n",
                ("Quillflake", "QLL", "2025Q2", "2024-08-21"),
            ),
        ] {
            let header = read(text);
            assert_eq!(
                (
                    header.company.unwrap_or_default().as_str(),
                    header.ticker.unwrap().as_str(),
                    header.fiscal_period.unwrap().to_string().as_str(),
                    header.date.unwrap().to_string().as_str(),
                ),
                expected
            );
        }
    }
}
