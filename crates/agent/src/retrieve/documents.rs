//! Which filings to read for a question, judged by what is known of them besides their text.

use footnote_filings::{DocType, FilingMeta};
use jiff::civil::Date;

use crate::features::Looked;
use crate::rank::{FilingMeasures, Measure, Measures};
use crate::scope::Scope;

/// Days around a date within which a filing counts as of that date, and as near it.
const SAME_DATE_DAYS: i32 = 7;
const NEAR_DATE_DAYS: i32 = 31;

/// The times of a question against what the corpus has of a company.
pub(super) struct Times<'a> {
    scope: &'a Scope,
    /// The fiscal year whose filing is looked for: the one asked, or the nearest there is.
    year: Option<u16>,
}

impl<'a> Times<'a> {
    /// `filings` are those of the company (of the whole corpus where none is known).
    pub(super) fn new(scope: &'a Scope, filings: &[&FilingMeta]) -> Times<'a> {
        let years = |kinds: &[DocType]| {
            let mut years: Vec<u16> = filings
                .iter()
                .filter(|filing| filing.doc_type.is_some_and(|kind| kinds.contains(&kind)))
                .filter_map(|filing| year_of(filing))
                .collect();
            years.sort_unstable();
            years
        };
        let year = match scope.anchor {
            Some(anchor) if anchor.quarter.is_some() => Some(anchor.year),
            Some(anchor) => Some(nearest(
                &years(&[DocType::TenK, DocType::Earnings]),
                anchor.year,
            )),
            None => match scope.dates.last() {
                // A day is looked up in the reports of that day, not in the nearest year's.
                Some(mention) => Some(mention.date.year().unsigned_abs()),
                // No time at all: the latest annual report.
                None => years(&[DocType::TenK]).last().copied(),
            },
        };
        Times { scope, year }
    }

    /// Measures one filing.
    pub(super) fn measure(
        &self,
        filing: &FilingMeta,
        looked: &Looked,
        kinds: Option<&[DocType]>,
    ) -> FilingMeasures {
        let mut m = Measures::default();
        let mut set = |measure: Measure, on: bool| m.set(measure, if on { 1.0 } else { 0.0 });
        let kind = filing.doc_type;
        let is = |wanted: DocType| kind == Some(wanted);
        let scope = self.scope;
        let quarter = scope.anchor.and_then(|anchor| anchor.quarter);
        let named = |wanted: DocType| scope.doc_types.iter().any(|m| m.doc_type == wanted);
        set(Measure::NamedKind, kind.is_some_and(named));
        let untimed = quarter.is_none() && scope.dates.is_empty();
        set(Measure::AnnualReport, is(DocType::TenK) && untimed);
        set(
            Measure::EarningsTalk,
            is(DocType::Earnings) && looked.earnings_talk,
        );
        set(Measure::EventTalk, is(DocType::EightK) && looked.event_talk);
        set(
            Measure::UnaskedQuarterly,
            is(DocType::TenQ) && quarter.is_none(),
        );
        let days = scope
            .dates
            .iter()
            .filter_map(|mention| {
                let slack = if mention.whole_month { 15 } else { 0 };
                Some((days_from(filing, mention.date)? - slack).max(0))
            })
            .min();
        let dated = days.is_some_and(|days| days <= SAME_DATE_DAYS);
        // A report whose period ends on the day asked is the one asked for.
        let of_date = dated && (is(DocType::TenK) || is(DocType::TenQ));
        let timed = !is(DocType::EightK) && (scope.anchor.is_some() || is(DocType::TenK));
        if let (Some(year), Some(wanted), true) = (year_of(filing), self.year, timed) {
            let apart = i32::from(year) - i32::from(wanted);
            set(Measure::SameYear, apart == 0 || of_date);
            set(Measure::YearAfter, apart == 1 && !of_date);
            set(Measure::YearBefore, apart == -1 && !of_date);
            if let Some(asked) = quarter {
                let own = filing.fiscal_period.and_then(|period| period.quarter);
                let same = own == Some(asked) && apart == 0;
                set(Measure::SameQuarter, same || of_date);
                set(Measure::OtherQuarter, own.is_some() && !same && !of_date);
            }
            if apart.abs() > 1 && !of_date {
                m.set(Measure::FarYear, apart.abs().min(4) as f32 / 4.0);
            }
        }
        if is(DocType::EightK) || of_date {
            let near = match days {
                Some(days) if days <= SAME_DATE_DAYS => 1.0,
                Some(days) if days <= NEAR_DATE_DAYS => 0.5,
                _ => 0.0,
            };
            m.set(Measure::NearDate, near);
        }
        if let (Some(order), Some(kind)) = (kinds, kind)
            && let Some(place) = order.iter().position(|other| *other == kind)
        {
            m.set(Measure::KindRank, 1.0 - place as f32 / order.len() as f32);
        }
        FilingMeasures {
            measures: m,
            doc_type: kind,
        }
    }
}

/// The fiscal year of a filing, from its period's end where it is not known.
fn year_of(filing: &FilingMeta) -> Option<u16> {
    filing
        .fiscal_period
        .map(|period| period.year)
        .or_else(|| Some(filing.period_end.or(filing.filed)?.year().unsigned_abs()))
}

/// Days between a day and what the filing is dated.
fn days_from(filing: &FilingMeta, day: Date) -> Option<i32> {
    [filing.period_end, filing.filed]
        .into_iter()
        .flatten()
        .filter_map(|dated| dated.since(day).ok())
        .map(|span| span.get_days().abs())
        .min()
}

/// The year itself where there is a filing of it; else one of the two after it, which still shows
/// it for comparison; else the last before it, which may foretell it.
fn nearest(years: &[u16], wanted: u16) -> u16 {
    if years.contains(&wanted) {
        return wanted;
    }
    let after = years
        .iter()
        .find(|year| (wanted..=wanted + 2).contains(*year));
    let before = years.iter().rfind(|year| **year < wanted);
    after
        .or(before)
        .or(years.first())
        .copied()
        .unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_back_to_the_filing_that_may_still_show_the_year() {
        for (years, wanted, expected) in [
            (&[2019, 2021, 2022][..], 2021, 2021),
            (&[2019, 2021, 2022], 2020, 2021),
            (&[2021, 2022], 2023, 2022),
            (&[2021, 2022], 2015, 2021),
            (&[], 2020, 2020),
        ] {
            assert_eq!(nearest(years, wanted), expected, "{years:?} {wanted}");
        }
    }
}
