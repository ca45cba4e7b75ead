//! Splits a full EDGAR submission (the `.txt` with its SGML wrapping) into its documents.
//!
//! Takes the primary document, the annual-report exhibit 13 (where older filers keep their MD&A and
//! statements) and exhibits 99; graphics, data files and the other exhibits are left out. Must not
//! know how a document's own text is read.

use jiff::civil::Date;

use crate::types::{Accession, Cik, Form};

/// What the header of a submission states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// `ACCESSION NUMBER`.
    pub(crate) accession: Option<Accession>,
    /// `CONFORMED SUBMISSION TYPE`.
    pub(crate) form: Option<Form>,
    /// `COMPANY CONFORMED NAME`.
    pub(crate) company: Option<String>,
    /// `CENTRAL INDEX KEY`.
    pub(crate) cik: Option<Cik>,
    /// `CONFORMED PERIOD OF REPORT`.
    pub(crate) period_end: Option<Date>,
    /// `FILED AS OF DATE`.
    pub(crate) filed: Option<Date>,
}

/// One document of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document<'a> {
    /// Its `<TYPE>`: the form for the primary document, `EX-99.1` and the like for exhibits.
    pub(crate) form: Form,
    /// Its `<FILENAME>`, where stated.
    pub(crate) file: Option<&'a str>,
    /// What stands between `<TEXT>` and `</TEXT>`.
    pub(crate) text: &'a str,
    /// Whether its end is missing: the file was cut short.
    pub(crate) truncated: bool,
}

/// The header and the documents worth reading, the primary one first.
pub(crate) fn split(text: &str) -> (Header, Vec<Document<'_>>) {
    let header_end = text.find("<DOCUMENT>").unwrap_or(text.len());
    let header = parse_header(&text[..header_end]);
    let mut documents = Vec::new();
    let mut rest = &text[header_end..];
    let mut first = true;
    while let Some(start) = rest.find("<DOCUMENT>") {
        rest = &rest[start + "<DOCUMENT>".len()..];
        let end = rest.find("</DOCUMENT>");
        let whole = &rest[..end.unwrap_or(rest.len())];
        if let Some(document) = parse_document(whole, end.is_none()) {
            let name = document.form.as_str();
            if first || name.starts_with("EX-99") || name.starts_with("EX-13") {
                documents.push(document);
            }
            first = false;
        }
        rest = &rest[end.unwrap_or(rest.len())..];
    }
    (header, documents)
}

fn parse_header(text: &str) -> Header {
    let mut header = Header::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        // The first filer named is the one whose report this is; co-registrants follow.
        match key.trim() {
            "ACCESSION NUMBER" => header.accession = header.accession.or(value.parse().ok()),
            "CONFORMED SUBMISSION TYPE" => header.form = header.form.or(Some(Form::new(value))),
            "COMPANY CONFORMED NAME" => {
                header.company = header.company.or_else(|| Some(value.to_owned()));
            }
            "CENTRAL INDEX KEY" => header.cik = header.cik.or(value.parse().ok()),
            "CONFORMED PERIOD OF REPORT" => header.period_end = header.period_end.or(date(value)),
            "FILED AS OF DATE" => header.filed = header.filed.or(date(value)),
            _ => {}
        }
    }
    header
}

/// `20011002`.
fn date(digits: &str) -> Option<Date> {
    Date::strptime("%Y%m%d", digits).ok()
}

fn parse_document(whole: &str, truncated: bool) -> Option<Document<'_>> {
    let text_start = whole.find("<TEXT>")? + "<TEXT>".len();
    let (top, body) = whole.split_at(text_start);
    let field = |tag: &str| {
        top.lines()
            .find_map(|line| line.trim().strip_prefix(tag))
            .map(str::trim)
            .filter(|value| !value.is_empty())
    };
    let form = Form::new(field("<TYPE>")?);
    let text = &body[..body.rfind("</TEXT>").unwrap_or(body.len())];
    let text = ["<XBRL>", "<PDF>"]
        .iter()
        .fold(text.trim_start(), |text, tag| {
            text.strip_prefix(tag).unwrap_or(text)
        });
    let text = text.trim_end().strip_suffix("</XBRL>").unwrap_or(text);
    if text.trim_start().starts_with("begin 644") {
        return None;
    }
    Some(Document {
        form,
        file: field("<FILENAME>"),
        text,
        truncated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBMISSION: &str = "<SEC-DOCUMENT>0000123456-01-500001.txt : 20011002
<SEC-HEADER>
ACCESSION NUMBER:\t\t0000123456-01-500001
CONFORMED SUBMISSION TYPE:\t10-K405
CONFORMED PERIOD OF REPORT:\t20010630
FILED AS OF DATE:\t\t20010928
FILER:
\tCOMPANY DATA:
\t\tCOMPANY CONFORMED NAME:\t\t\tQUILL FEATHER WORKS INC
\t\tCENTRAL INDEX KEY:\t\t\t0000123456
</SEC-HEADER>
<DOCUMENT>
<TYPE>10-K405
<SEQUENCE>1
<FILENAME>d10k.txt
<TEXT>
Item 1. Business
</TEXT>
</DOCUMENT>
<DOCUMENT>
<TYPE>EX-21
<TEXT>
Subsidiaries
</TEXT>
</DOCUMENT>
<DOCUMENT>
<TYPE>EX-99.1
<TEXT>
Press release
</TEXT>
</DOCUMENT>
<DOCUMENT>
<TYPE>GRAPHIC
<TEXT>
begin 644 logo.gif
";

    #[test]
    fn keeps_the_primary_document_and_exhibit_99() {
        let (header, documents) = split(SUBMISSION);
        assert_eq!(header.company.as_deref(), Some("QUILL FEATHER WORKS INC"));
        assert_eq!(header.cik, Some(Cik(123_456)));
        assert_eq!(header.period_end, Some(jiff::civil::date(2001, 6, 30)));
        assert_eq!(header.filed, Some(jiff::civil::date(2001, 9, 28)));
        let seen: Vec<_> = documents
            .iter()
            .map(|d| (d.form.as_str(), d.text.trim(), d.truncated))
            .collect();
        assert_eq!(
            seen,
            [
                ("10-K405", "Item 1. Business", false),
                ("EX-99.1", "Press release", false)
            ]
        );
    }

    #[test]
    fn says_that_the_end_is_missing() {
        let cut = &SUBMISSION[..SUBMISSION.find("Business").unwrap()];
        let (_, documents) = split(cut);
        assert_eq!(documents.len(), 1);
        assert!(documents[0].truncated);
    }
}
