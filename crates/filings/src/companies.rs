//! The companies of the S&P 500, from the list that stands in the repository.
//!
//! A first look-up that needs no network: ticker, name and filer number. Membership changes; the
//! list says what it was when it was last written, and EDGAR's own file is asked for the rest.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::{Cik, FilingsError, Ticker};

/// The list, embedded so that the program needs no file beside it.
const LIST: &str = include_str!("../../../corpora/sp500.csv");

/// More rows than an index of 500 companies can have.
const MOST_ROWS: usize = 600;

/// A company of the list. A company with two classes of stock has a row for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Company {
    /// Exchange symbol.
    pub ticker: Ticker,
    /// Its usual name, e.g. `Alphabet Inc. (Class A)`.
    pub name: String,
    /// SEC's filer number.
    pub cik: Cik,
    /// GICS sector.
    pub sector: String,
}

static COMPANIES: LazyLock<Vec<Company>> =
    LazyLock::new(|| parse(LIST).expect("a test reads the embedded corpora/sp500.csv"));

/// Every company of the list, in the order of tickers.
pub fn sp500() -> &'static [Company] {
    &COMPANIES
}

/// The company with this symbol.
pub fn by_ticker(ticker: &Ticker) -> Option<&'static Company> {
    sp500().iter().find(|company| company.ticker == *ticker)
}

/// The rows with this filer number: more than one where a company has several classes of stock.
pub fn by_cik(cik: Cik) -> impl Iterator<Item = &'static Company> {
    sp500().iter().filter(move |company| company.cik == cik)
}

/// The rows with this name, whatever its case, punctuation and legal form: `alphabet`,
/// `Alphabet, Inc.` and `ALPHABET INC` are one name. Part of a name is no match.
pub fn by_name(name: &str) -> impl Iterator<Item = &'static Company> {
    let wanted = plain_name(name);
    sp500()
        .iter()
        .filter(move |company| !wanted.is_empty() && plain_name(&company.name) == wanted)
}

/// A name without case, punctuation, what stands in brackets, and legal forms at its end.
fn plain_name(name: &str) -> String {
    const FORMS: [&str; 15] = [
        "and",
        "inc",
        "incorporated",
        "corp",
        "corporation",
        "company",
        "companies",
        "co",
        "plc",
        "ltd",
        "limited",
        "nv",
        "group",
        "holdings",
        "the",
    ];
    let outside_brackets = match name.split_once('(') {
        Some((before, _)) if !before.trim().is_empty() => before,
        _ => name,
    };
    let lower = outside_brackets.to_lowercase();
    let kept: String = lower
        .chars()
        .filter(|c| !matches!(c, '.' | '\'' | '\u{2019}' | '!'))
        .map(|c| if c.is_alphanumeric() { c } else { ' ' })
        .collect();
    let mut words: Vec<&str> = kept.split_whitespace().collect();
    if words.len() > 1 && words.first() == Some(&"the") {
        words.remove(0);
    }
    while words.len() > 1 && words.last().is_some_and(|last| FORMS.contains(last)) {
        words.pop();
    }
    words.join(" ")
}

/// Reads `ticker,name,cik,sector` lines below a head line; a name with a comma is quoted.
fn parse(text: &str) -> Result<Vec<Company>, FilingsError> {
    let bad = |line: usize, reason: &str| FilingsError::Unreadable {
        path: format!("sp500.csv line {line}"),
        reason: reason.to_owned(),
        mend: "each line is ticker,name,cik,sector".to_owned(),
    };
    let mut lines = text.lines().zip(1..);
    if lines.next().map(|(head, _)| head) != Some("ticker,name,cik,sector") {
        return Err(bad(1, "the head line is missing"));
    }
    let mut companies = Vec::new();
    let mut seen = HashSet::new();
    for (line, number) in lines {
        if companies.len() == MOST_ROWS {
            return Err(bad(number, "too many rows"));
        }
        let (ticker, rest) = line
            .split_once(',')
            .ok_or_else(|| bad(number, "one field only"))?;
        let mut tail = rest.rsplitn(3, ',');
        let (Some(sector), Some(cik), Some(name)) = (tail.next(), tail.next(), tail.next()) else {
            return Err(bad(number, "fewer than four fields"));
        };
        let name = match name.strip_prefix('"').and_then(|n| n.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => name.to_owned(),
        };
        let company = Company {
            ticker: ticker.parse()?,
            name,
            cik: cik.parse()?,
            sector: sector.to_owned(),
        };
        if company.name.is_empty() || company.sector.is_empty() {
            return Err(bad(number, "an empty field"));
        }
        if !seen.insert(company.ticker.clone()) {
            return Err(bad(number, "a ticker that stands above already"));
        }
        companies.push(company);
    }
    Ok(companies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_list_is_whole() {
        let companies = parse(LIST).unwrap();
        assert!(
            (495..=510).contains(&companies.len()),
            "{}",
            companies.len()
        );
        let sectors: HashSet<&str> = companies.iter().map(|c| c.sector.as_str()).collect();
        assert_eq!(sectors.len(), 11, "{sectors:?}");
        assert!(companies.is_sorted_by_key(|company| company.ticker.clone()));
    }

    #[test]
    fn look_ups() {
        let apple = by_ticker(&"aapl".parse().unwrap()).unwrap();
        assert_eq!(apple.cik, Cik(320_193));
        assert_eq!(
            by_ticker(&"BRK.B".parse().unwrap()).unwrap().cik,
            Cik(1_067_983)
        );
        assert_eq!(
            by_cik(Cik(1_652_044)).count(),
            2,
            "Alphabet has two classes"
        );
        for (name, ticker) in [
            ("3m company", "MMM"),
            ("The Coca-Cola Company", "KO"),
            ("CATERPILLAR INC", "CAT"),
            ("O\u{2019}Reilly Automotive", "ORLY"),
            ("J.M. Smucker", "SJM"),
        ] {
            let found: Vec<&str> = by_name(name).map(|c| c.ticker.as_str()).collect();
            assert_eq!(found, [ticker], "{name}");
        }
        assert_eq!(by_name("Coca").count(), 0);
        assert_eq!(by_name("").count(), 0);
    }

    #[test]
    fn bad_lists_are_named() {
        let head = "ticker,name,cik,sector\n";
        for (rows, part) in [
            ("A,Agilent", "fewer than four fields"),
            (
                "A,Agilent,0001090872,Health Care\nA,Again,0000000001,Energy",
                "stands above",
            ),
            ("A,,0001090872,Health Care", "an empty field"),
            ("A,Agilent,none,Health Care", "is no CIK"),
            ("A", "one field only"),
        ] {
            let error = parse(&format!("{head}{rows}")).unwrap_err().to_string();
            assert!(error.contains(part), "{rows}: {error}");
        }
        let quoted = parse(&format!("{head}X,\"A, \"\"B\"\" Co\",1,Energy")).unwrap();
        assert_eq!(quoted[0].name, "A, \"B\" Co");
    }
}
