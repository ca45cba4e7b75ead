//! Reads the cover page: what a filing without inline XBRL says of itself in words.

use crate::input::clean::floor_boundary;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::ToSpan;
use jiff::civil::{Date, date};
use regex::Regex;

use super::Known;
use crate::input::detect::prefix;
use crate::types::{DocType, FiscalPeriod, Form, Ticker};

/// The cover page is at the start; so much text holds it with the longest of check boxes.
const COVER_BYTES: usize = 12 << 10;

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this module are valid")
}

static FORM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?im)^\W*(?:united states\W*)?form\s*(10\s?-?\s?K(?:405|SB|T)?|10\s?-?\s?Q(?:SB|T)?|8\s?-?\s?K|20-?F|6-?K|S-\d|11-?K|40-?F)(/A|\W+\(?amendment)?",
    )
});
static PROXY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)schedule\s+14a|proxy statement pursuant to section 14"));
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:\b|[a-z])(January|February|March|April|May|June|July|August|September|October|November|December|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.?\s+(\d{1,2})\s*,?\s+((?:19|20)\d\d)\b|\b((?:19|20)\d\d)-(\d\d)-(\d\d)\b|\b(\d{1,2})/(\d{1,2})/((?:19|20)\d\d)\b",
    )
});
static YEAR_ENDED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:fiscal\s+year|year|transition period)\s+end(?:ed|ing)\b|\bperiod\s+ended\b|quarter(?:ly period)?\s+end(?:ed|ing)\b",
    )
});
static EVENT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)date\s+of\s+(?:earliest\s+event\s+reported|report)[^\n]{0,60}"));
static REGISTRANT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\(?\s*exact\s+name\s+of\s+(?:the\s+)?(?:registrant|issuer|company)|\(\s*name\s+of\s+(?:the\s+)?registrant",
    )
});
static TRADING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\(\s*(?:NYSE|NASDAQ|Nasdaq|NYSE American|AMEX)(?:\s+Global Select Market)?\s*:\s*([A-Z][A-Z.\-]{0,5})\s*\)|(?i:under the (?:trading )?symbols?)\s+[“”']?([A-Z]{1,5})\b",
    )
});
static CIK: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)central index key[^0-9\n]{0,40}(\d{6,10})\b"));

/// The calendar dates in `text`, with where they begin.
pub(crate) fn dates(text: &str) -> impl Iterator<Item = (usize, Date)> + '_ {
    DATE.captures_iter(text).filter_map(|found| {
        let number = |index: usize| found.get(index)?.as_str().parse::<i16>().ok();
        let day = if let Some(month) = found.get(1) {
            (number(3)?, month_number(month.as_str())?, number(2)?)
        } else if found.get(4).is_some() {
            (number(4)?, number(5)? as i8, number(6)?)
        } else {
            (number(9)?, number(7)? as i8, number(8)?)
        };
        let date = Date::new(day.0, day.1, i8::try_from(day.2).ok()?).ok()?;
        Some((found.get(0)?.start(), date))
    })
}

fn month_number(name: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let start = name.get(..3)?.to_ascii_lowercase();
    let index = MONTHS.iter().position(|month| **month == start)?;
    i8::try_from(index + 1).ok()
}

/// The first symbol of a `dei:TradingSymbol` that may list several (`BRK.A, BRK.B`).
pub(super) fn first_symbol(text: &str) -> Option<Ticker> {
    let symbol = text.split([',', ';', ' ']).find(|s| !s.is_empty())?;
    // "N/A" and "None" are written where there is no symbol.
    let none = ["N/A", "NONE", "NA", "-"].contains(&symbol.to_ascii_uppercase().as_str());
    if none { None } else { symbol.parse().ok() }
}

/// Reads the cover of `text`; `form` is what is already known.
pub(super) fn read(text: &str, form: Option<&Form>) -> Known {
    let cover = prefix(text, COVER_BYTES);
    let is_exhibit = form.is_some_and(|f| f.as_str().starts_with("EX-"));
    // A press release speaks of the forms it was not filed as.
    let stated = if is_exhibit { None } else { stated_form(cover) };
    let doc_type = form.or(stated.as_ref()).and_then(Form::doc_type);
    let mut known = Known {
        company: company(cover),
        ticker: TRADING.captures(cover).and_then(|found| {
            let symbol = found.get(1).or_else(|| found.get(2))?;
            symbol.as_str().parse().ok()
        }),
        cik: CIK.captures(cover).and_then(|found| found[1].parse().ok()),
        form: stated,
        ..Known::default()
    };
    if is_exhibit {
        return known;
    }
    match doc_type {
        Some(DocType::TenK | DocType::TenQ) => {
            known.period_end = date_after(cover, &YEAR_ENDED);
            known.fiscal_period = known.period_end.and_then(|end| {
                if doc_type == Some(DocType::TenK) {
                    Some(FiscalPeriod::year(fiscal_year(text, end)?))
                } else {
                    quarter(text, end)
                }
            });
        }
        Some(DocType::EightK) => {
            known.period_end = event_date(cover);
        }
        Some(DocType::Def14a) => {
            let year = proxy_year(text);
            known.fiscal_period = year.map(FiscalPeriod::year);
            known.period_end = year.and_then(|year| year_end(text, Some(year)));
        }
        _ => {}
    }
    known
}

fn stated_form(cover: &str) -> Option<Form> {
    if let Some(found) = FORM.captures(cover) {
        let name: String = found[1].chars().filter(|c| !c.is_whitespace()).collect();
        let name = name.to_ascii_uppercase();
        // `10K` as typed by some is `10-K`.
        let name = match name.find(['K', 'Q', 'F']) {
            Some(at) if !name.contains('-') => format!("{}-{}", &name[..at], &name[at..]),
            _ => name,
        };
        let amended = found.get(2).is_some();
        return Some(Form::new(&if amended { format!("{name}/A") } else { name }));
    }
    if PROXY.is_match(cover) {
        return Some(Form::new("DEF 14A"));
    }
    None
}

/// The line above "(Exact name of registrant as specified in its charter)".
fn company(cover: &str) -> Option<String> {
    let found = REGISTRANT.find(cover)?;
    let line_start = cover[..found.start()].rfind('\n').map_or(0, |at| at + 1);
    let same_line =
        cover[line_start..found.start()].trim_matches(|c: char| matches!(c, ' ' | '|' | '(' | '_'));
    let named = |line: &&str| {
        let letters = line.bytes().filter(u8::is_ascii_alphabetic).count();
        letters >= 2 && line.len() <= 120 && !line.to_lowercase().contains("commission file")
    };
    if named(&same_line) {
        return Some(same_line.to_owned());
    }
    cover[..line_start]
        .lines()
        .rev()
        .map(|line| line.trim_matches(|c: char| matches!(c, ' ' | '|' | '_' | '*')))
        .filter(|line| !line.is_empty())
        .take(2)
        .find(|line| named(line))
        .map(|line| line.split(" | ").next().unwrap_or(line).trim().to_owned())
}

/// The first date within 160 bytes after a match.
fn date_after(text: &str, words: &Regex) -> Option<Date> {
    words.find_iter(text).find_map(|found| {
        let rest = prefix(&text[found.end()..], 160);
        dates(rest).next().map(|(_, date)| date)
    })
}

/// An 8-K's date stands behind "Date of Report (Date of earliest event reported)", or on the line above.
fn event_date(cover: &str) -> Option<Date> {
    let found = EVENT.find(cover)?;
    let behind = prefix(&cover[found.start()..], 220);
    let before = &cover[floor_boundary(cover, found.start().saturating_sub(80))..found.start()];
    dates(behind)
        .next()
        .or_else(|| dates(before).last())
        .map(|(_, date)| date)
}

/// The fiscal year that ends on `end`. Companies differ on years that end in January; the filing's
/// own talk of "fiscal 2023" decides.
fn fiscal_year(text: &str, end: Date) -> Option<u16> {
    let year = u16::try_from(end.year()).ok()?;
    if end.month() == 1 && end.day() <= 8 {
        return Some(year - 1);
    }
    if end.month() <= 2 {
        let sample = prefix(text, 400 << 10);
        let count = |year: u16| {
            [
                format!("fiscal {year}"),
                format!("Fiscal {year}"),
                format!("fiscal year {year}"),
            ]
            .iter()
            .map(|words| sample.matches(words.as_str()).count())
            .sum::<usize>()
        };
        if count(year - 1) > count(year) {
            return Some(year - 1);
        }
    }
    Some(year)
}

/// A 10-Q's quarter: the longest stretch it reports on says how far into its year the company is.
fn quarter(text: &str, end: Date) -> Option<FiscalPeriod> {
    static STRETCH: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\b(nine|six|three|39|40|26|28|24|36|13|12|thirty-nine|twenty-six|thirteen|9|6|3)[ -](?:month|week)s?(?:\s+periods?)?\s+ended",
        )
    });
    let mut counts = [0usize; 4];
    for found in STRETCH.captures_iter(prefix(text, 600 << 10)) {
        let quarter = match found[1].to_ascii_lowercase().as_str() {
            "nine" | "39" | "40" | "36" | "thirty-nine" | "9" => 3,
            "six" | "26" | "28" | "24" | "twenty-six" | "6" => 2,
            _ => 1,
        };
        counts[quarter] += 1;
    }
    let total: usize = counts.iter().sum();
    // A stray "six months ended" of another company must not move the quarter.
    let quarter = (1..=3usize)
        .rev()
        .find(|quarter| counts[*quarter] * 12 > total && counts[*quarter] >= 1)
        .unwrap_or_else(|| (usize::from(end.month().unsigned_abs()) - 1) / 3 + 1)
        .min(3);
    let months = i32::try_from((4 - quarter) * 3).ok()?;
    let year_end = end.checked_add(months.months()).ok()?;
    // 52-week years drift by a few days over the end of a month.
    let year_end = year_end.checked_sub(6.days()).unwrap_or(year_end);
    let year = u16::try_from(year_end.year()).ok()?;
    let year = if year_end.month() == 1 {
        fiscal_year(text, date(year_end.year(), 1, 31)).unwrap_or(year)
    } else {
        year
    };
    Some(FiscalPeriod::quarter(year, u8::try_from(quarter).ok()?))
}

/// The fiscal year a proxy statement reports pay for: the one it names most often.
fn proxy_year(text: &str) -> Option<u16> {
    static FISCAL: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\bfiscal(?:\s+year)?\s+(?:ended\s+\w+\s+\d{1,2},\s+)?((?:19|20)\d\d)\b|\byear ended december 31, ((?:19|20)\d\d)\b",
        )
    });
    static MEETING: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\b((?:19|20)\d\d)\s+(?:annual|special)\s+(?:general\s+)?meeting|(?:annual|special)\s+meeting[^\n]{0,120}?\b((?:19|20)\d\d)\b",
        )
    });
    let counts = |words: &Regex, sample: &str| {
        let mut counts = BTreeMap::<u16, usize>::new();
        for found in words.captures_iter(sample) {
            let year = found.get(1).or_else(|| found.get(2));
            if let Some(year) = year.and_then(|year| year.as_str().parse().ok()) {
                *counts.entry(year).or_default() += 1;
            }
        }
        counts
    };
    let most = |counts: &BTreeMap<u16, usize>| {
        counts
            .iter()
            .max_by_key(|(_, count)| **count)
            .map(|(year, _)| *year)
    };
    let meeting = most(&counts(&MEETING, prefix(text, 40 << 10)));
    let fiscal_counts = counts(&FISCAL, prefix(text, 600 << 10));
    let fiscal = most(&fiscal_counts);
    let Some(meeting) = meeting else {
        return fiscal;
    };
    // Pay is reported for the year before the meeting, or for the fiscal year that ended in the
    // meeting's own. A dated year end tells; a mention of the year to come does not.
    let mentions = |year| fiscal_counts.get(&year).copied().unwrap_or(0);
    match year_end(text, None).and_then(|end| u16::try_from(end.year()).ok()) {
        Some(ended) if ended == meeting || ended + 1 == meeting => Some(ended),
        _ if fiscal == Some(meeting) && mentions(meeting) > 4 * mentions(meeting - 1) => fiscal,
        _ => Some(meeting - 1),
    }
}

/// The last day of a fiscal year (of `year`, if given), as a text that says "year ended …" most often
/// gives it.
fn year_end(text: &str, year: Option<u16>) -> Option<Date> {
    static ENDED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\byear\s+ended\s"));
    let sample = prefix(text, 600 << 10);
    let mut counts = BTreeMap::<Date, usize>::new();
    for found in ENDED.find_iter(sample) {
        let next = dates(prefix(&sample[found.end()..], 20)).next();
        let fits = |day: &Date| year.is_none_or(|year| u16::try_from(day.year()) == Ok(year));
        if let Some((_, date)) = next.filter(|(_, date)| fits(date)) {
            *counts.entry(date).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(date, _)| date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_old_covers() {
        let tenk = "UNITED STATES\nSECURITIES AND EXCHANGE COMMISSION\nFORM 10-K405\nFor the fiscal year ended June 30, 2001\nQUILL FEATHER WORKS, INC.\n(Exact name of registrant as specified in its charter)\n";
        let known = read(tenk, None);
        assert_eq!(known.form, Some(Form::new("10-K405")));
        assert_eq!(known.company.as_deref(), Some("QUILL FEATHER WORKS, INC."));
        assert_eq!(known.fiscal_period, Some(FiscalPeriod::year(2001)));

        let tenq = "FORM 10-Q\nFor the quarterly period ended August 31, 2023\nQuill Inc | 1-123\n(Exact name of Registrant as specified)\nthree months ended August 31, 2023";
        let known = read(tenq, None);
        assert_eq!(known.fiscal_period, Some(FiscalPeriod::quarter(2024, 1)));

        let eightk = "FORM 8-K\nCURRENT REPORT\nDate of Report (Date of earliest event reported): September 10, 2021\n";
        let known = read(eightk, None);
        assert_eq!(known.period_end, Some(date(2021, 9, 10)));
        assert_eq!(known.fiscal_period, None);
    }

    #[test]
    fn counts_quarters_by_the_longest_stretch() {
        for (end, words, expected) in [
            (
                date(2018, 6, 30),
                "three months ended; six months ended",
                "2018Q2",
            ),
            (
                date(2023, 9, 30),
                "three months ended nine months ended nine months ended",
                "2023Q3",
            ),
            (
                date(2023, 7, 1),
                "three months ended nine months ended",
                "2023Q3",
            ),
            (date(2024, 12, 28), "13 weeks ended", "2025Q1"),
            (date(2023, 10, 1), "39 weeks ended", "2023Q3"),
        ] {
            assert_eq!(quarter(words, end).unwrap().to_string(), expected, "{end}");
        }
    }
}
