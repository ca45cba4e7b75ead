//! Fiscal periods in a text.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use footnote_filings::FiscalPeriod;
use regex::Regex;

/// The period before: a year, or the same quarter a year earlier.
pub(super) fn before(period: FiscalPeriod) -> FiscalPeriod {
    FiscalPeriod {
        year: period.year.saturating_sub(1),
        quarter: period.quarter,
    }
}

pub(super) fn every_year(periods: &[FiscalPeriod]) -> Vec<FiscalPeriod> {
    match (periods.first(), periods.last()) {
        (Some(first), Some(last)) if last.year - first.year <= 10 => {
            let years: BTreeSet<u16> = (first.year..=last.year).collect();
            years.into_iter().map(FiscalPeriod::year).collect()
        }
        _ => periods.to_vec(),
    }
}

static YEAR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)
        (?:\bq(?P<q1>[1-4])\s*(?:of\s+)?(?:the\s+)?(?:fy|fiscal(?:\s+year)?)?\s*'?(?P<y1>(?:19|20)\d\d)\b)
        |(?:\b(?:fy)?\s?(?P<y2>(?:19|20)\d\d)\s?-?q(?P<q2>[1-4])\b)
        |(?:\b(?P<ord>first|second|third|fourth)\s+(?:fiscal\s+)?quarter\s+(?:of\s+)?(?:the\s+)?(?:fy|fiscal(?:\s+year)?)?\s*'?(?P<y3>(?:19|20)\d\d)\b)
        |(?:\b(?:fy|cy|fiscal(?:\s+year)?)?\s?'?(?P<y4>(?:19|20)\d\d)(?:\b|e\b))
        |(?:\bfy\s?'?(?P<y5>\d\d)\b)",
    )
    .expect("a constant pattern")
});

/// The text with every fiscal period in it left out.
pub(super) fn without_periods(text: &str) -> String {
    YEAR.replace_all(text, " ").into_owned()
}

/// Every fiscal period that a text names, in order, each once.
pub(crate) fn periods_in(text: &str) -> Vec<FiscalPeriod> {
    let mut found: Vec<FiscalPeriod> = Vec::new();
    for capture in YEAR.captures_iter(text) {
        let year = ["y1", "y2", "y3", "y4"]
            .iter()
            .find_map(|name| capture.name(name))
            .and_then(|m| m.as_str().parse::<u16>().ok())
            .or_else(|| Some(2000 + capture.name("y5")?.as_str().parse::<u16>().ok()?));
        let quarter = ["q1", "q2"]
            .iter()
            .find_map(|name| capture.name(name))
            .and_then(|m| m.as_str().parse::<u8>().ok())
            .or_else(|| {
                let word = capture.name("ord")?.as_str().to_lowercase();
                let at = ["first", "second", "third", "fourth"]
                    .iter()
                    .position(|w| *w == word)?;
                Some(at as u8 + 1)
            });
        if let Some(year) = year {
            let period = FiscalPeriod { year, quarter };
            if !found.contains(&period) {
                found.push(period);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_periods() {
        let shown = |text: &str| {
            let all: Vec<String> = periods_in(text).iter().map(ToString::to_string).collect();
            all.join(" ")
        };
        assert_eq!(
            shown("from FY2018 - FY2020, FY21 and fiscal year 2022"),
            "FY2018 FY2020 FY2021 FY2022"
        );
        assert_eq!(
            shown("Q2 of FY2023, 2021Q1 and the third quarter of 2019"),
            "2023Q2 2021Q1 2019Q3"
        );
        assert_eq!(shown("20210 people"), "");
    }
}
