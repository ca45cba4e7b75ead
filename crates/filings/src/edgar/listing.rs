//! What EDGAR says of companies and their filings: the ticker file, the submissions pages with
//! their columns, and the list of a filing's exhibits.
//!
//! Reads bytes into lists, nothing more: no network, no files.

use std::collections::BTreeMap;

use jiff::civil::Date;
use regex::Regex;
use serde::Deserialize;

use super::http::edgar_error;
use crate::{Cik, FilingsError, Form, Ticker};

/// A filing as the submissions pages list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// `0000320193-23-000106`.
    pub accession: String,
    pub form: Form,
    pub filed: Date,
    /// Last day covered, day of the event, or day of the meeting.
    pub report: Option<Date>,
    /// File name of the main document; empty for very old filings.
    pub primary: String,
    pub inline_xbrl: bool,
}

/// A company's first submissions page.
#[derive(Debug)]
pub(super) struct Submissions {
    pub cik: Cik,
    pub name: String,
    pub industry: Option<String>,
    pub recent: Vec<Listed>,
    /// Names of the older pages that hold filings on or after the day asked for.
    pub older: Vec<String>,
    /// Rows that could not be used, one sentence each.
    pub doubts: Vec<String>,
}

/// SEC's table of tickers.
pub(super) fn tickers(url: &str, body: &[u8]) -> Result<BTreeMap<String, Cik>, FilingsError> {
    #[derive(Deserialize)]
    struct Row {
        cik_str: u64,
        ticker: String,
    }
    let rows: BTreeMap<String, Row> = parse(url, body)?;
    Ok(rows
        .into_values()
        .filter_map(|row| {
            let ticker: Ticker = row.ticker.parse().ok()?;
            Some((ticker.as_str().to_owned(), Cik(row.cik_str)))
        })
        .collect())
}

/// The columns of a submissions page: one array a field, one entry a filing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Columns {
    accession_number: Vec<String>,
    filing_date: Vec<String>,
    #[serde(default)]
    report_date: Vec<String>,
    form: Vec<String>,
    primary_document: Vec<String>,
    #[serde(default, rename = "isInlineXBRL")]
    inline_xbrl: Vec<u8>,
}

/// The first page; older pages count where they reach to `since` or later.
pub(super) fn submissions(
    url: &str,
    body: &[u8],
    since: Date,
) -> Result<Submissions, FilingsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        cik: Number,
        name: String,
        #[serde(default)]
        sic_description: Option<String>,
        filings: Filings,
    }
    /// SEC has written the number both as a text and as a number.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Number(u64),
    }
    #[derive(Deserialize)]
    struct Filings {
        recent: Columns,
        #[serde(default)]
        files: Vec<Older>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Older {
        name: String,
        #[serde(default)]
        filing_to: String,
    }
    let page: Page = parse(url, body)?;
    let cik = match page.cik {
        Number::Text(text) => text.parse()?,
        Number::Number(number) => Cik(number),
    };
    let mut doubts = Vec::new();
    let recent = rows(url, page.filings.recent, &mut doubts)?;
    let older = page
        .filings
        .files
        .into_iter()
        // A page without a readable last day is asked for: too much is better than too little.
        .filter(|older| {
            older
                .filing_to
                .parse::<Date>()
                .map_or(true, |last| last >= since)
        })
        .map(|older| older.name)
        .filter(|name| {
            let safe = is_file_name(name);
            if !safe {
                doubts.push(format!("{url}: the older page {name:?} has no usable name"));
            }
            safe
        })
        .collect();
    Ok(Submissions {
        cik,
        name: page.name,
        industry: page.sic_description.filter(|text| !text.is_empty()),
        recent,
        older,
        doubts,
    })
}

/// An older page: the bare columns.
pub(super) fn older_page(
    url: &str,
    body: &[u8],
) -> Result<(Vec<Listed>, Vec<String>), FilingsError> {
    let columns: Columns = parse(url, body)?;
    let mut doubts = Vec::new();
    let rows = rows(url, columns, &mut doubts)?;
    Ok((rows, doubts))
}

fn rows(
    url: &str,
    columns: Columns,
    doubts: &mut Vec<String>,
) -> Result<Vec<Listed>, FilingsError> {
    let count = columns.accession_number.len();
    let lengths = [
        columns.filing_date.len(),
        columns.form.len(),
        columns.primary_document.len(),
    ];
    if lengths.iter().any(|length| *length != count) {
        return Err(malformed(
            url,
            &format!("its columns have different lengths ({count} and {lengths:?})"),
        ));
    }
    let mut listed = Vec::with_capacity(count);
    for at in 0..count {
        let accession = &columns.accession_number[at];
        let Ok(filed) = columns.filing_date[at].parse::<Date>() else {
            doubts.push(format!("{url}: {accession:?} has no day of filing"));
            continue;
        };
        if !is_accession(accession) {
            doubts.push(format!("{url}: {accession:?} is no accession number"));
            continue;
        }
        listed.push(Listed {
            accession: accession.clone(),
            form: Form::new(&columns.form[at]),
            filed,
            report: columns
                .report_date
                .get(at)
                .and_then(|day| day.parse::<Date>().ok()),
            primary: columns.primary_document[at].clone(),
            inline_xbrl: columns.inline_xbrl.get(at).is_some_and(|flag| *flag != 0),
        });
    }
    Ok(listed)
}

/// An exhibit of a filing: its type and file name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
pub(super) struct Exhibit {
    /// `EX-99.1`.
    pub form: String,
    /// `a8-kex991.htm`.
    pub file: String,
}

/// Exhibits 99 from the table of a filing's `-index.htm`: cells number, description, document,
/// type, size.
pub(super) fn exhibits_of_page(url: &str, body: &[u8]) -> Result<Vec<Exhibit>, FilingsError> {
    let page = String::from_utf8_lossy(body);
    let pattern = |text: &str| {
        Regex::new(text).map_err(|error| malformed(url, &format!("pattern {text}: {error}")))
    };
    let row = pattern(r"(?is)<tr[^>]*>(.*?)</tr>")?;
    let cell = pattern(r"(?is)<td[^>]*>(.*?)</td>")?;
    let link = pattern(r#"(?is)<a[^>]*href="([^"]*)""#)?;
    let tag = pattern(r"(?s)<[^>]*>")?;
    if !page.contains("<td") {
        return Err(malformed(url, "it has no table of documents"));
    }
    let mut exhibits = Vec::new();
    for row in row.captures_iter(&page) {
        let cells: Vec<&str> = cell
            .captures_iter(&row[1])
            .filter_map(|cell| Some(cell.get(1)?.as_str()))
            .collect();
        let [_, _, document, kind, ..] = cells.as_slice() else {
            continue;
        };
        let kind = tag.replace_all(kind, "").trim().to_ascii_uppercase();
        let Some(href) = link.captures(document) else {
            continue;
        };
        let file = href[1].rsplit('/').next().unwrap_or_default().to_owned();
        if kind.starts_with("EX-99") && is_document(&file) {
            exhibits.push(Exhibit { form: kind, file });
        }
    }
    Ok(exhibits)
}

/// Exhibits 99 from a filing's `index.json`, which has names but no types: a guess by name.
pub(super) fn exhibits_of_directory(url: &str, body: &[u8]) -> Result<Vec<Exhibit>, FilingsError> {
    #[derive(Deserialize)]
    struct Index {
        directory: Directory,
    }
    #[derive(Deserialize)]
    struct Directory {
        item: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        name: String,
    }
    let index: Index = parse(url, body)?;
    Ok(index
        .directory
        .item
        .into_iter()
        .filter(|item| is_document(&item.name))
        .filter_map(|item| {
            let plain: String = item
                .name
                .to_ascii_lowercase()
                .replace("exhibit", "ex")
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect();
            let (_, number) = plain.split_once("ex99")?;
            let number = number.chars().next().filter(char::is_ascii_digit);
            let form = match number {
                Some(digit) => format!("EX-99.{digit}"),
                None => "EX-99".to_owned(),
            };
            Some(Exhibit {
                form,
                file: item.name,
            })
        })
        .collect())
}

/// Whether `name` is a text document with a name that is safe below a folder.
fn is_document(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    is_file_name(name)
        && [".htm", ".html", ".txt"]
            .iter()
            .any(|end| lower.ends_with(end))
}

/// Whether `name` is one plain file name: no folder, nothing hidden, nothing odd.
pub(super) fn is_file_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains("..")
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_accession(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 20
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            10 | 13 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

fn parse<T: serde::de::DeserializeOwned>(url: &str, body: &[u8]) -> Result<T, FilingsError> {
    serde_json::from_slice(body).map_err(|error| malformed(url, &error.to_string()))
}

fn malformed(url: &str, reason: &str) -> FilingsError {
    edgar_error(
        url,
        format!("not what EDGAR sends here: {reason}"),
        "try again later; if it stays, EDGAR's form has changed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhibits_come_from_the_type_column() {
        let page = br#"<table class="tableFile"><tr><th>Seq</th></tr>
            <tr><td>1</td><td>8-K</td><td><a href="/ix?doc=/Archives/edgar/data/1/2/main.htm">main.htm</a> iXBRL</td><td>8-K</td><td>9</td></tr>
            <tr class="e"><td>2</td><td>RELEASE</td><td><a href="/Archives/edgar/data/1/2/pr.htm">pr.htm</a></td><td>EX-99.1</td><td>9</td></tr>
            <tr><td>3</td><td>SLIDES</td><td><a href="/Archives/edgar/data/1/2/deck.pdf">deck.pdf</a></td><td>EX-99.2</td><td>9</td></tr>
            <tr><td>4</td><td>BAD</td><td><a href="/Archives/..htm">x</a></td><td>EX-99.3</td><td>9</td></tr>
            <tr><td>5</td><td>LOGO</td><td><a href="/a/ex99.jpg">x</a></td><td>GRAPHIC</td><td>9</td></tr></table>"#;
        let found = exhibits_of_page("u", page).unwrap();
        assert_eq!(
            found,
            [Exhibit {
                form: "EX-99.1".to_owned(),
                file: "pr.htm".to_owned()
            }]
        );
        assert!(exhibits_of_page("u", b"<html>busy</html>").is_err());
    }

    #[test]
    fn exhibits_are_guessed_from_names() {
        let body = br#"{"directory":{"item":[{"name":"co-20240101.htm"},{"name":"co_ex991.htm"},
            {"name":"exhibit99-2.htm"},{"name":"ex99.jpg"},{"name":"ex-99.htm"},{"name":"ex10-1.htm"}]}}"#;
        let found: Vec<(String, String)> = exhibits_of_directory("u", body)
            .unwrap()
            .into_iter()
            .map(|exhibit| (exhibit.form, exhibit.file))
            .collect();
        let expected = [
            ("EX-99.1", "co_ex991.htm"),
            ("EX-99.2", "exhibit99-2.htm"),
            ("EX-99", "ex-99.htm"),
        ];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn names_that_could_leave_the_folder_are_refused() {
        for bad in [
            "",
            "..",
            "../x.htm",
            "a/b.htm",
            ".hidden",
            "a b.htm",
            "x..htm",
            "C:\\x.htm",
        ] {
            assert!(!is_file_name(bad), "{bad:?}");
        }
        assert!(is_file_name("d10k_2023-1.htm"));
        assert!(is_accession("0000320193-23-000106"));
        assert!(!is_accession("0000320193-23-00010x"));
        assert!(!is_accession("0000320193/23-000106"));
    }

    #[test]
    fn uneven_columns_are_an_error_and_bad_rows_a_doubt() {
        let uneven = br#"{"accessionNumber":["0000000001-23-000001"],"filingDate":[],"form":["10-K"],"primaryDocument":["a.htm"]}"#;
        let error = older_page("u", uneven).unwrap_err().to_string();
        assert!(error.contains("different lengths"), "{error}");
        let body = br#"{"accessionNumber":["0000000001-23-000001","x"],"filingDate":["2023-02-03","2023-02-04"],"form":["10-K","8-K"],"primaryDocument":["a.htm","b.htm"]}"#;
        let (rows, doubts) = older_page("u", body).unwrap();
        assert_eq!((rows.len(), doubts.len()), (1, 1));
        assert_eq!(rows[0].filed.to_string(), "2023-02-03");
    }
}
