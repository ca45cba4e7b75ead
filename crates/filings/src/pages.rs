//! Page corpora: JSON lines of `{"doc","company","ticker"?,"doc_type","fiscal_period"?,"page","text"}`,
//! one filing per `doc`.
//!
//! Streams: one document is in memory at a time. A line that cannot be used is an error of its own, by
//! number, and the rest goes on. The lines of a document must stand together: a document that comes
//! back after another one has begun is refused (taking it would silently replace its first part).
//! Must not know how pages are cut into passages.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use jiff::civil::Date;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::input::clean::{push_clean, unix_lines};
use crate::input::unpack::{Line, Stream};
use crate::input::{ReadOptions, unreadable};
use crate::reader::Reading;
use crate::types::{
    Accession, Block, BlockKind, Filing, FilingMeta, FiscalPeriod, Form, Page, Span, Style, Ticker,
};
use crate::{FilingsError, Warning, WarningCode};

/// A document never has more pages than this; more mean a corpus without usable `doc` names.
const MAX_PAGES: usize = 100_000;

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    doc: Cow<'a, str>,
    #[serde(borrow, default)]
    company: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    ticker: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    doc_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    fiscal_period: Option<Cow<'a, str>>,
    page: u32,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// Whether the start of a file is page records: one of its first lines is one, or starts like one that
/// is longer than the start seen.
pub(crate) fn is_page_corpus(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let mut lines = head.split(|b| *b == b'\n').peekable();
    let mut looked_at = 0;
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if serde_json::from_slice::<Record>(line).is_ok() {
            return true;
        }
        let has = |key: &[u8]| memchr::memmem::find(line, key).is_some();
        if last
            && line.starts_with(b"{")
            && has(b"\"doc\"")
            && (has(b"\"page\"") || has(b"\"text\""))
        {
            return true;
        }
        looked_at += 1;
        if looked_at == 20 {
            return false;
        }
    }
    false
}

/// A document while its lines are being gathered.
struct Gathering {
    doc: String,
    first_line: u64,
    company: Option<String>,
    ticker: Option<String>,
    doc_type: Option<String>,
    fiscal_period: Option<String>,
    pages: Vec<(u32, String)>,
    bytes: u64,
    hash: Sha256,
    warnings: Vec<Warning>,
}

/// The filings of a page corpus, in the order of the file.
pub(crate) struct PageFilings {
    stream: Option<Stream>,
    options: ReadOptions,
    source: String,
    line: Vec<u8>,
    line_number: u64,
    current: Option<Gathering>,
    /// Documents that are done (true) or refused for size (false), with their first line.
    seen: HashMap<String, u64>,
    /// The document whose lines are being passed over.
    skipping: Option<String>,
    ready: VecDeque<Result<Reading, FilingsError>>,
}

impl PageFilings {
    pub(crate) fn new(stream: Stream, options: &ReadOptions) -> PageFilings {
        PageFilings {
            source: stream.path().display().to_string(),
            stream: Some(stream),
            options: options.clone(),
            line: Vec::new(),
            line_number: 0,
            current: None,
            seen: HashMap::new(),
            skipping: None,
            ready: VecDeque::new(),
        }
    }

    fn line_error(&self, reason: impl Into<String>, mend: &str) -> FilingsError {
        FilingsError::Unreadable {
            path: format!("{}:{}", self.source, self.line_number),
            reason: reason.into(),
            mend: mend.to_owned(),
        }
    }

    /// Reads one line into the current document; false at the end of the file.
    fn step(&mut self) -> bool {
        let Some(stream) = self.stream.as_mut() else {
            return false;
        };
        let read = stream.next_line(&mut self.line, self.options.max_line_bytes);
        self.line_number += 1;
        match read {
            Ok(Line::Read) => {
                let line = std::mem::take(&mut self.line);
                self.take_line(&line);
                self.line = line;
                true
            }
            Ok(Line::TooLong) => {
                let limit = self.options.max_line_bytes;
                self.ready.push_back(Err(self.line_error(
                    format!("the line is longer than {limit} bytes"),
                    "a page is never that long; the line was left out",
                )));
                true
            }
            Ok(Line::End) => {
                self.stream = None;
                self.finish();
                false
            }
            Err(e) => {
                // What came before the damage is whole pages, but maybe not all of the document.
                self.stream = None;
                if let Some(current) = self.current.take() {
                    self.ready.push_back(Err(self.line_error(
                        format!("the file ends inside document {:?}", current.doc),
                        "fetch the file again; the documents before it were read",
                    )));
                }
                self.ready.push_back(Err(e));
                false
            }
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            return;
        }
        let record: Record = match serde_json::from_slice(line) {
            Ok(record) => record,
            Err(e) => {
                let error = self.line_error(
                    format!("no page record ({e})"),
                    "mend or remove the line; the other lines were read",
                );
                self.ready.push_back(Err(error));
                return;
            }
        };
        if self.current.as_ref().is_none_or(|c| c.doc != record.doc) {
            if self.skipping.as_deref() == Some(&*record.doc) {
                return;
            }
            self.finish();
            self.skipping = None;
            if let Some(first_line) = self.seen.get(&*record.doc) {
                let error = self.line_error(
                    format!(
                        "document {:?} began at line {first_line} and comes back after another one",
                        record.doc
                    ),
                    "sort the lines by doc; these lines were left out",
                );
                self.ready.push_back(Err(error));
                self.skipping = Some(record.doc.into_owned());
                return;
            }
            self.seen.insert(record.doc.to_string(), self.line_number);
            self.current = Some(Gathering {
                doc: record.doc.to_string(),
                first_line: self.line_number,
                company: record.company.as_deref().map(str::to_owned),
                ticker: record.ticker.as_deref().map(str::to_owned),
                doc_type: record.doc_type.as_deref().map(str::to_owned),
                fiscal_period: record.fiscal_period.as_deref().map(str::to_owned),
                pages: Vec::new(),
                bytes: 0,
                hash: Sha256::new(),
                warnings: Vec::new(),
            });
        }
        let line_number = self.line_number;
        let max_bytes = self.options.max_document_bytes;
        let Some(current) = self.current.as_mut() else {
            return;
        };
        current.bytes += line.len() as u64;
        if current.bytes > max_bytes || current.pages.len() >= MAX_PAGES {
            let doc = std::mem::take(&mut current.doc);
            self.current = None;
            self.ready.push_back(Err(self.line_error(
                format!("document {doc:?} has more than {MAX_PAGES} pages or {max_bytes} bytes"),
                "give each document its own doc name",
            )));
            self.skipping = Some(doc);
            return;
        }
        current.hash.update(line);
        current.hash.update(b"\n");
        if current.company.as_deref() != record.company.as_deref()
            || current.doc_type.as_deref() != record.doc_type.as_deref()
            || current.fiscal_period.as_deref() != record.fiscal_period.as_deref()
        {
            current.warnings.push(Warning::new(
                WarningCode::ManifestDisagrees,
                format!(
                    "line {line_number} states another company, type or period than line {}, which was used",
                    current.first_line
                ),
            ));
        }
        let mut text = String::new();
        push_clean(&mut text, &unix_lines(&record.text));
        current.pages.push((record.page, text));
    }

    /// Turns the document gathered so far, if any, into a filing.
    fn finish(&mut self) {
        if let Some(current) = self.current.take() {
            let reading = filing(current, &self.source);
            self.ready.push_back(reading);
        }
    }
}

impl Iterator for PageFilings {
    type Item = Result<Reading, FilingsError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if !self.step() && self.ready.is_empty() {
                return None;
            }
        }
    }
}

fn filing(gathered: Gathering, source: &str) -> Result<Reading, FilingsError> {
    let mut warnings = gathered.warnings;
    let accession: Accession = match gathered.doc.parse() {
        Ok(accession) => accession,
        Err(_) => crate::meta::slug(&gathered.doc).ok_or_else(|| {
            let path = format!("{source}:{}", gathered.first_line);
            unreadable(
                path,
                format!("{:?} cannot name a document", gathered.doc),
                "use letters, digits, hyphens and underscores in doc",
            )
        })?,
    };
    let mut pages = gathered.pages;
    if !pages.is_sorted_by_key(|(number, _)| *number) {
        pages.sort_by_key(|(number, _)| *number);
    }
    let before = pages.len();
    pages.dedup_by_key(|(number, _)| *number);
    if pages.len() < before {
        warnings.push(Warning::new(
            WarningCode::RecordSkipped,
            format!(
                "{} pages had the number of another; the first was kept",
                before - pages.len()
            ),
        ));
    }
    let mut text = String::with_capacity(pages.iter().map(|(_, page)| page.len() + 2).sum());
    let mut spans = Vec::with_capacity(pages.len());
    let mut blocks = Vec::with_capacity(pages.len());
    for (number, page) in pages {
        if !page.is_empty() && !text.is_empty() {
            text.push_str("\n\n");
        }
        let start = text.len();
        text.push_str(&page);
        let span = Span::new(start, text.len());
        spans.push(Page { number, span });
        if !span.is_empty() {
            blocks.push(Block {
                kind: BlockKind::Paragraph,
                span,
                style: Style::default(),
            });
        }
    }
    let form = match gathered.doc_type.as_deref().map(str::trim) {
        Some(form) if !form.is_empty() => Form::new(form),
        _ => crate::meta::form_in_name(&gathered.doc).ok_or_else(|| {
            let path = format!("{source}:{}", gathered.first_line);
            unreadable(
                path,
                format!("document {:?} states no doc_type", gathered.doc),
                "add doc_type (10-K, 10-Q, 8-K, DEF 14A, Earnings) to its lines",
            )
        })?,
    };
    let doc_type = form.doc_type();
    let mut meta = FilingMeta {
        accession,
        company: gathered.company.filter(|c| !c.trim().is_empty()),
        ticker: gathered
            .ticker
            .as_deref()
            .and_then(|t| t.parse::<Ticker>().ok()),
        cik: None,
        form,
        doc_type,
        fiscal_period: None,
        period_end: None,
        filed: None,
        source: source.to_owned(),
        sha256: crate::meta::hex(&gathered.hash.finalize()),
    };
    if let Some(period) = gathered.fiscal_period.as_deref().map(str::trim) {
        if let Ok(day) = period.parse::<Date>() {
            // A proxy statement is dated by its filing, a current report by its event.
            match doc_type {
                Some(crate::types::DocType::Def14a) => meta.filed = Some(day),
                _ => meta.period_end = Some(day),
            }
        } else if let Ok(period) = period.parse::<FiscalPeriod>() {
            meta.fiscal_period = Some(period);
        } else if !period.is_empty() {
            warnings.push(Warning::new(
                WarningCode::MetaMissing,
                format!("fiscal_period {period:?} is neither a period nor a day"),
            ));
        }
    }
    if meta.company.is_none() {
        warnings.push(Warning::new(WarningCode::MetaMissing, "no company stated"));
    }
    Ok(Reading {
        filing: Filing {
            meta,
            text,
            blocks,
            sections: Vec::new(),
            facts: Vec::new(),
            pages: spans,
            turns: Vec::new(),
        },
        warnings,
    })
}
