//! Fiscal periods and dates in the words of a question.
//!
//! Everything is read by pattern, in order of how much a pattern says: a full date before a
//! quarter, a quarter before a year, and no character counts twice. Knows nothing of the corpus.

use std::ops::Range;
use std::sync::LazyLock;

use footnote_filings::FiscalPeriod;
use jiff::civil::Date;
use regex::{Captures, Regex};

use super::{DateMention, PeriodMention};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const MONTH: &str = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?";
/// What may stand between a quarter and its year; two digits need a mark, or no space at all.
const TO_YEAR: &str = r"(?:\s*,?\s*(?:of\s+|in\s+|for\s+)?(?:the\s+)?(?:fy|fiscal(?:\s+year)?|year)?\s*'?(?<four>20\d\d)|(?:\s*(?:of\s+|in\s+)?(?:fy\s?'?|fiscal\s+'?|'))?(?<two>\d\d))\b";

/// A pattern and how its groups become a period.
type PeriodPattern = (Regex, fn(&Captures) -> Option<FiscalPeriod>);
/// A pattern and how its groups become a day.
type DatePattern = (Regex, fn(&Captures) -> Option<Date>);

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("(?i){pattern}")).expect("patterns are constants, compiled in a test")
}

fn date_of(year: &str, month: &str, day: &str) -> Option<Date> {
    let head: String = month.chars().take(3).collect::<String>().to_lowercase();
    let month = match MONTHS.iter().position(|m| *m == head) {
        Some(at) => at as i8 + 1,
        None => month.parse().ok()?,
    };
    Date::new(year.parse().ok()?, month, day.parse().ok()?).ok()
}

/// A month, whose year stays free to be read as a fiscal year.
static MONTHS_ALONE: LazyLock<Regex> =
    LazyLock::new(|| regex(&format!(r"\b{MONTH},?\s+(?:of\s+)?(20\d\d)\b")));

static DATES: LazyLock<[DatePattern; 3]> = LazyLock::new(|| {
    [
        (
            regex(&format!(
                r"\b{MONTH}\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(20\d\d)\b"
            )),
            |c| date_of(&c[3], &c[1], &c[2]),
        ),
        (
            regex(&format!(
                r"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{MONTH},?\s+(20\d\d)\b"
            )),
            |c| date_of(&c[3], &c[2], &c[1]),
        ),
        (regex(r"\b(20\d\d)-(\d\d)-(\d\d)\b"), |c| {
            date_of(&c[1], &c[2], &c[3])
        }),
    ]
});

/// The year that [`TO_YEAR`] caught.
fn caught_year<'t>(captures: &'t Captures) -> &'t str {
    captures
        .name("four")
        .or(captures.name("two"))
        .map_or("", |found| found.as_str())
}

fn year_of(digits: &str) -> Option<u16> {
    let year: u16 = digits.parse().ok()?;
    let year = if year < 100 { 2000 + year } else { year };
    (1990..=2060).contains(&year).then_some(year)
}

fn ordinal(word: &str) -> Option<u8> {
    match word.to_lowercase().as_str() {
        "1" | "first" | "1st" => Some(1),
        "2" | "second" | "2nd" => Some(2),
        "3" | "third" | "3rd" => Some(3),
        "4" | "fourth" | "4th" | "last" | "final" => Some(4),
        _ => None,
    }
}

fn quarter_of(year: &str, quarter: &str) -> Option<FiscalPeriod> {
    Some(FiscalPeriod::quarter(year_of(year)?, ordinal(quarter)?))
}

/// A half year ends with the quarter whose report covers it.
fn half_of(year: &str, half: &str) -> Option<FiscalPeriod> {
    Some(FiscalPeriod::quarter(year_of(year)?, 2 * ordinal(half)?))
}

static PERIODS: LazyLock<[PeriodPattern; 10]> = LazyLock::new(|| {
    [
        (regex(&format!(r"\bq([1-4]){TO_YEAR}")), |c| {
            quarter_of(caught_year(c), &c[1])
        }),
        (regex(&format!(r"\b([1-4])q{TO_YEAR}")), |c| {
            quarter_of(caught_year(c), &c[1])
        }),
        (
            regex(r"\b(?:fy|fiscal(?:\s+year)?)?\s*'?(20\d\d)\s*[-,]?\s*q([1-4])\b"),
            |c| quarter_of(&c[1], &c[2]),
        ),
        (
            regex(r"\b(?:fy|fiscal(?:\s+year)?)\s*'?(\d\d)\s*[-,]?\s*q([1-4])\b"),
            |c| quarter_of(&c[1], &c[2]),
        ),
        (
            regex(&format!(
                r"\b(first|second|third|fourth|1st|2nd|3rd|4th|last|final)[\s-]+(?:fiscal\s+)?quarter{TO_YEAR}"
            )),
            |c| quarter_of(caught_year(c), &c[1]),
        ),
        (regex(&format!(r"\bh([12]){TO_YEAR}")), |c| {
            half_of(caught_year(c), &c[1])
        }),
        (regex(&format!(r"\b([12])h{TO_YEAR}")), |c| {
            half_of(caught_year(c), &c[1])
        }),
        (regex(&format!(r"\b(first|second)\s+half{TO_YEAR}")), |c| {
            half_of(caught_year(c), &c[1])
        }),
        (
            regex(r"\b(?:fy|fiscal(?:\s+year)?)[\s-]*'?(20\d\d|\d\d)\b"),
            |c| Some(FiscalPeriod::year(year_of(&c[1])?)),
        ),
        (regex(r"\b((?:19|20)\d\d)\b"), |c| {
            Some(FiscalPeriod::year(year_of(&c[1])?))
        }),
    ]
});

static BARE_QUARTER: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"\b(?:q([1-4])|(first|second|third|fourth)\s+(?:fiscal\s+)?quarter)\b")
});
static AS_OF: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"\b(?:as\s+of|as\s+at|at\s+the\s+end\s+of)(?:\s+the)?(?:\s+(?:end|close)\s+of)?(?:\s+the)?\s*$",
    )
});
static YEARS_BACK: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"\b(?:last|past|previous|prior|recent)\s+(two|three|four|five|\d)\s+(?:fiscal\s+)?years?\b",
    )
});

/// What [`read`] found.
#[derive(Default)]
pub(super) struct Times {
    pub periods: Vec<PeriodMention>,
    pub dates: Vec<DateMention>,
    pub anchor: Option<FiscalPeriod>,
    pub years_back: Option<u8>,
}

/// Reads all times of a question and decides which one its filing should be of.
pub(super) fn read(question: &str) -> Times {
    // Three bytes for three bytes, so that places in `text` are places in the question.
    let text = question.replace('’', "  '");
    let text = text.as_str();
    let mut used: Vec<Range<usize>> = Vec::new();
    let mut dates: Vec<DateMention> = Vec::new();
    let mut periods: Vec<PeriodMention> = Vec::new();
    let words = |range: &Range<usize>| question.get(range.clone()).unwrap_or("").trim().to_owned();
    for (pattern, build) in DATES.iter() {
        for captures in pattern.captures_iter(text) {
            let range = captures.get_match().range();
            if is_free(&used, &range)
                && let Some(date) = build(&captures)
            {
                dates.push(DateMention {
                    date,
                    whole_month: false,
                    words: words(&range),
                    at: range.start,
                });
                used.push(range);
            }
        }
    }
    for captures in MONTHS_ALONE.captures_iter(text) {
        let range = captures.get_match().range();
        if is_free(&used, &range)
            && let Some(date) = date_of(&captures[2], &captures[1], "15")
        {
            dates.push(DateMention {
                date,
                whole_month: true,
                words: words(&range),
                at: range.start,
            });
        }
    }
    for (pattern, build) in PERIODS.iter() {
        for captures in pattern.captures_iter(text) {
            let range = captures.get_match().range();
            if is_free(&used, &range)
                && let Some(period) = build(&captures)
            {
                periods.push(PeriodMention {
                    period,
                    words: words(&range),
                    at: range.start,
                });
                used.push(range);
            }
        }
    }
    periods.sort_by_key(|mention| mention.at);
    dates.sort_by_key(|mention| mention.at);
    let bare_quarter = BARE_QUARTER
        .captures_iter(text)
        .filter(|captures| is_free(&used, &captures.get_match().range()))
        .filter_map(|captures| ordinal(captures.get(1).or(captures.get(2))?.as_str()))
        .max();
    let anchor = anchor(text, &periods, bare_quarter);
    let years_back =
        YEARS_BACK
            .captures(text)
            .and_then(|captures| match captures[1].to_lowercase().as_str() {
                "two" => Some(2),
                "three" => Some(3),
                "four" => Some(4),
                "five" => Some(5),
                digit => digit.parse().ok(),
            });
    Times {
        periods,
        dates,
        anchor,
        years_back,
    }
}

fn is_free(used: &[Range<usize>], range: &Range<usize>) -> bool {
    !used
        .iter()
        .any(|other| other.start < range.end && range.start < other.end)
}

/// The period whose filing should hold the answer: the one "as of" which is asked, else the latest
/// (a filing shows the years before it for comparison, never the years after).
fn anchor(text: &str, periods: &[PeriodMention], bare_quarter: Option<u8>) -> Option<FiscalPeriod> {
    let as_of = periods
        .iter()
        .rfind(|mention| {
            text.get(..mention.at)
                .is_some_and(|before| AS_OF.is_match(before))
        })
        .map(|mention| mention.period);
    let latest_year = periods.iter().map(|mention| mention.period.year).max();
    let mut anchor = as_of.or_else(|| {
        let year = latest_year?;
        // A quarter of that year says more than the year does.
        let quarter = periods
            .iter()
            .filter(|mention| mention.period.year == year)
            .filter_map(|mention| mention.period.quarter)
            .max();
        Some(FiscalPeriod { year, quarter })
    })?;
    if anchor.quarter.is_none() {
        anchor.quarter = bare_quarter;
    }
    Some(anchor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(question: &str) -> String {
        let times = read(question);
        let list = |items: Vec<String>| items.join(" ");
        format!(
            "{} | {} | {} | {}",
            times.anchor.map_or("-".to_owned(), |p| p.to_string()),
            list(times.periods.iter().map(|m| m.period.to_string()).collect()),
            list(times.dates.iter().map(|m| m.date.to_string()).collect()),
            times.years_back.map_or("-".to_owned(), |n| n.to_string()),
        )
    }

    #[test]
    fn reads_the_usual_ways_to_name_a_period() {
        let table = [
            ("capex in FY2018?", "FY2018 | FY2018 |  | -"),
            ("capex in fiscal year 2018", "FY2018 | FY2018 |  | -"),
            ("net sales FY22", "FY2022 | FY2022 |  | -"),
            ("for fiscal '21", "FY2021 | FY2021 |  | -"),
            ("as of Q2 of FY2023 close", "2023Q2 | 2023Q2 |  | -"),
            ("in 2022 Q2, which segment", "2022Q2 | 2022Q2 |  | -"),
            ("As of FY2023Q1, why", "2023Q1 | 2023Q1 |  | -"),
            ("Q3'22 revenue", "2022Q3 | 2022Q3 |  | -"),
            ("4Q23 margin", "2023Q4 | 2023Q4 |  | -"),
            (
                "the second fiscal quarter of 2023 compared to the prior year",
                "2023Q2 | 2023Q2 |  | -",
            ),
            ("in H1 FY2023", "2023Q2 | 2023Q2 |  | -"),
            ("second half of 2022", "2022Q4 | 2022Q4 |  | -"),
            ("FY2018 vs FY2017", "FY2018 | FY2018 FY2017 |  | -"),
            ("between 2021 and 2022", "FY2022 | FY2021 FY2022 |  | -"),
            (
                "As of FY 2021, how much is expected in 2024?",
                "FY2021 | FY2021 FY2024 |  | -",
            ),
            ("Q2 revenue, in 2023", "2023Q2 | FY2023 |  | -"),
            (
                "revenue of the first quarter against 2020",
                "2020Q1 | FY2020 |  | -",
            ),
            ("on May 3, 2023", "- |  | 2023-05-03 | -"),
            ("dated 1st July 2022", "- |  | 2022-07-01 | -"),
            ("nominated in May 2022", "FY2022 | FY2022 | 2022-05-15 | -"),
            ("as of Dec 31 2022", "- |  | 2022-12-31 | -"),
            ("on 2023-05-26", "- |  | 2023-05-26 | -"),
            ("over the last three years", "- |  |  | 3"),
            ("a quick ratio of 2000000 or 12", "- |  |  | -"),
            ("on February 31, 2023", "FY2023 | FY2023 |  | -"),
            ("the company’s FY2020 sales", "FY2020 | FY2020 |  | -"),
            ("in the Q2 10-Q of 2023", "2023Q2 | FY2023 |  | -"),
            ("Q2’23 sales", "2023Q2 | 2023Q2 |  | -"),
            ("no time at all", "- |  |  | -"),
        ];
        for (question, expected) in table {
            assert_eq!(shown(question), expected, "{question}");
        }
    }

    #[test]
    fn says_which_words_it_read() {
        let times = read("3M’s sales in Q2 of FY2023, and on May 3, 2023");
        assert_eq!(times.periods[0].words, "Q2 of FY2023");
        assert_eq!(times.dates[0].words, "May 3, 2023");
    }
}
