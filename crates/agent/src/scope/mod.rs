//! What a question is about: which companies, which fiscal periods, which kinds of document.
//!
//! Read from the question's words against the companies of the corpus; there is no list of
//! companies in the code. Doubt is kept (several candidates, each with a score and its reason) and
//! said in [`Scope::notes`]. Must not know how passages are searched or ranked.

mod company;
mod period;

use footnote_filings::{Cik, DocType, FilingMeta, FiscalPeriod, Ticker};
use jiff::civil::Date;
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

pub use company::{Company, companies_of};

/// How far below the best a company may score and still be looked into.
const COMPANY_MARGIN: f32 = 0.25;

/// What a question is about; plain data, shown as a step of the trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    /// Companies named, best first; empty where the question names none of the corpus.
    pub companies: Vec<CompanyMatch>,
    /// Fiscal periods named, in order of the text.
    pub periods: Vec<PeriodMention>,
    /// Full dates named, in order of the text.
    pub dates: Vec<DateMention>,
    /// The period whose filing should hold the answer: what is asked "as of", else the latest.
    pub anchor: Option<FiscalPeriod>,
    /// `3` for "the last three years".
    pub years_back: Option<u8>,
    /// Kinds of document named.
    pub doc_types: Vec<DocTypeMention>,
    /// What was not found or is doubtful, in words for a person.
    pub notes: Vec<String>,
}

/// A company the question may mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompanyMatch {
    /// Every name the corpus has for it, the most used first.
    pub names: Vec<String>,
    /// Exchange symbols, present and former.
    pub tickers: Vec<Ticker>,
    /// SEC's filer number.
    pub cik: Option<Cik>,
    /// 0 to 1: how sure.
    pub score: f32,
    /// The words of the question that named it.
    pub words: String,
    /// How they named it.
    pub by: MatchedBy,
    /// Where these words start in the question, in bytes.
    pub at: usize,
}

impl CompanyMatch {
    /// Whether a filing is this company's.
    pub fn is_filer_of(&self, filing: &FilingMeta) -> bool {
        match (self.cik, filing.cik) {
            (Some(own), Some(other)) => own == other,
            _ => {
                let name = filing.company.as_ref();
                let same_name = name.is_some_and(|name| self.names.contains(name));
                let ticker = filing.ticker.as_ref();
                same_name || ticker.is_some_and(|ticker| self.tickers.contains(ticker))
            }
        }
    }
}

/// How words of a question name a company.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchedBy {
    /// All of a name, without its legal form.
    Name,
    /// The first words of a name.
    ShortName,
    /// The exchange symbol.
    Ticker,
    /// Letters taken from the name's words: `JnJ`, `AMEX`, `JPM`.
    Abbreviation,
}

/// A fiscal period the question names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeriodMention {
    /// The period.
    pub period: FiscalPeriod,
    /// The words that name it.
    pub words: String,
    /// Where they start in the question, in bytes.
    pub at: usize,
}

/// A day the question names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DateMention {
    /// The day; the middle of the month where only that is named.
    pub date: Date,
    /// Whether only the month is named.
    #[serde(default)]
    pub whole_month: bool,
    /// The words that name it.
    pub words: String,
    /// Where they start in the question, in bytes.
    pub at: usize,
}

/// A kind of document the question names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocTypeMention {
    /// The kind.
    pub doc_type: DocType,
    /// The words that name it.
    pub words: String,
}

impl Scope {
    /// The companies worth looking into: the best, and those hardly worse or named by other words.
    pub fn likely_companies(&self) -> impl Iterator<Item = &CompanyMatch> {
        let best = self.companies.first().map_or(0.0, |company| company.score);
        self.companies
            .iter()
            .filter(move |company| company.score + COMPANY_MARGIN > best)
    }
}

static DOC_TYPES: LazyLock<[(DocType, Regex); 5]> = LazyLock::new(|| {
    let regex = |pattern: &str| {
        Regex::new(&format!("(?i){pattern}")).expect("patterns are constants, compiled in a test")
    };
    [
        (
            DocType::Def14a,
            regex(r"\bdef\s?-?14a\b|\bproxy(?:\s+(?:statement|filing|materials))?\b"),
        ),
        (
            DocType::TenK,
            regex(r"\b10-?\s?k\b|\bannual\s+(?:report|filing)s?\b"),
        ),
        (
            DocType::TenQ,
            regex(r"\b10-?\s?q\b|\bquarterly\s+(?:report|filing)s?\b"),
        ),
        (DocType::EightK, regex(r"\b8-?\s?k\b|\bcurrent\s+report\b")),
        (
            DocType::Earnings,
            regex(
                r"\bearnings\s+(?:call|release|presentation|press|transcript|report|announcement)s?\b|\bpress\s+release\b|\bconference\s+call\b|\bprepared\s+remarks\b",
            ),
        ),
    ]
});

/// Reads from a question which companies, periods and kinds of document it is about.
///
/// `companies` are those of the corpus, see [`companies_of`]. Never fails: what is not found is
/// said in [`Scope::notes`].
pub fn resolve(question: &str, companies: &[Company]) -> Scope {
    let matches = company::find(question, companies);
    let times = period::read(question);
    let doc_types = DOC_TYPES
        .iter()
        .filter_map(|(doc_type, pattern)| {
            pattern.find(question).map(|found| DocTypeMention {
                doc_type: *doc_type,
                words: found.as_str().to_owned(),
            })
        })
        .collect();
    let mut scope = Scope {
        companies: matches,
        periods: times.periods,
        dates: times.dates,
        anchor: times.anchor,
        years_back: times.years_back,
        doc_types,
        notes: Vec::new(),
    };
    if scope.companies.is_empty() {
        scope
            .notes
            .push("the question names no company of the corpus".to_owned());
    }
    let rivals: Vec<&CompanyMatch> = scope
        .likely_companies()
        .filter(|company| company.at == scope.companies[0].at)
        .collect();
    if rivals.len() > 1 {
        let names: Vec<&str> = rivals.iter().map(|c| c.names[0].as_str()).collect();
        let note = format!("{:?} may mean {}", rivals[0].words, names.join(" or "));
        scope.notes.push(note);
    }
    if scope.anchor.is_none() && scope.dates.is_empty() {
        scope
            .notes
            .push("the question names no period; the latest filings come first".to_owned());
    }
    scope
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kinds_of_document() {
        let kinds = |question: &str| -> Vec<DocType> {
            let scope = resolve(question, &[]);
            scope.doc_types.iter().map(|m| m.doc_type).collect()
        };
        assert_eq!(kinds("the agenda of the 8k filing"), [DocType::EightK]);
        assert_eq!(
            kinds("in its 10-K and its 10-Q"),
            [DocType::TenK, DocType::TenQ]
        );
        assert_eq!(kinds("per the proxy statement"), [DocType::Def14a]);
        assert_eq!(kinds("on the earnings call"), [DocType::Earnings]);
        assert_eq!(kinds("sold 10 kilos, 8 kg"), []);
    }

    #[test]
    fn says_what_it_did_not_find_and_survives_a_trace() {
        let scope = resolve("What was Zebra's revenue?", &[]);
        assert_eq!(scope.notes.len(), 2);
        let json = serde_json::to_string(&scope).unwrap();
        assert_eq!(serde_json::from_str::<Scope>(&json).unwrap(), scope);
    }
}
