//! Small invented filings, and a corpus of them in a temporary folder.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::Path;

use footnote_filings::{
    Accession, Filing, FilingMeta, FilingsError, FiscalPeriod, Form, Page, Passage, PassageId,
    PassageKind, Span, Warning, WarningCode,
};
use footnote_index::{
    Corpus, ImportOptions, ImportReport, Importer, Incoming, SearchQuery, Source,
};
use tempfile::TempDir;

/// A filing of `company` whose paragraphs become its passages.
pub fn filing(accession: &str, company: &str, form: &str, period: &str, text: &[&str]) -> Filing {
    let form = Form::new(form);
    let text = text.join("\n");
    Filing {
        meta: FilingMeta {
            accession: accession.parse().unwrap(),
            company: Some(company.to_owned()),
            ticker: company.split(' ').next().and_then(|name| name.parse().ok()),
            cik: Some(footnote_filings::Cik(company.len() as u64)),
            doc_type: form.doc_type(),
            form,
            fiscal_period: period.parse::<FiscalPeriod>().ok(),
            period_end: period.parse().ok(),
            filed: None,
            source: "test".to_owned(),
            sha256: format!("{:064x}", fnv(&text)),
        },
        text,
        blocks: Vec::new(),
        sections: Vec::new(),
        facts: Vec::new(),
        pages: Vec::new(),
        turns: Vec::new(),
    }
}

/// Makes every paragraph of a filing a page of its own, two sentences a passage.
pub fn paged(mut filing: Filing) -> Filing {
    let mut start = 0;
    for (number, line) in filing.text.split('\n').enumerate() {
        filing.pages.push(Page {
            number: number as u32,
            span: Span::new(start, start + line.len()),
        });
        start += line.len() + 1;
    }
    filing
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// A passage a paragraph; a passage a sentence on pages.
pub fn split(filing: &Filing) -> Vec<Passage> {
    let mut passages = Vec::new();
    let mut start = 0;
    for (number, line) in filing.text.split('\n').enumerate() {
        let page = (!filing.pages.is_empty()).then_some(number as u32);
        let pieces: Vec<&str> = match page {
            Some(_) => line.split_inclusive(". ").collect(),
            None => vec![line],
        };
        for piece in pieces {
            let span = Span::new(start, start + piece.len());
            start += piece.len();
            passages.push(Passage {
                id: PassageId::new(&filing.meta.accession, span),
                accession: filing.meta.accession.clone(),
                section_path: Vec::new(),
                span,
                kind: page.map_or(PassageKind::Prose, |_| PassageKind::Page),
                page,
                lead: String::new(),
                text: piece.to_owned(),
            });
        }
        start += 1;
    }
    passages
}

/// A source that gives these filings.
pub fn source(name: &str, filings: Vec<Filing>) -> Source {
    Source {
        name: name.to_owned(),
        bytes: filings.iter().map(|filing| filing.text.len() as u64).sum(),
        read: Box::new(move || {
            Box::new(filings.into_iter().map(|filing| {
                let doubt = Warning::new(WarningCode::NoSections, "no section was found");
                Ok::<_, FilingsError>(Incoming {
                    filing,
                    warnings: vec![doubt],
                })
            }))
        }),
    }
}

pub fn import(folder: &Path, filings: Vec<Filing>) -> ImportReport {
    import_with(folder, filings, &ImportOptions::default())
}

pub fn import_with(folder: &Path, filings: Vec<Filing>, options: &ImportOptions) -> ImportReport {
    let mut importer = Importer::open(folder).unwrap();
    importer
        .import([source("test", filings)], &split, options, &mut |_| {})
        .unwrap()
}

/// A corpus of these filings.
pub fn corpus(filings: Vec<Filing>) -> (TempDir, Corpus) {
    let folder = tempfile::tempdir().unwrap();
    import(folder.path(), filings);
    let corpus = Corpus::open(folder.path()).unwrap();
    (folder, corpus)
}

pub fn query(text: &str) -> SearchQuery {
    SearchQuery {
        text: text.to_owned(),
        limit: 10,
        ..SearchQuery::default()
    }
}

pub fn accession(text: &str) -> Accession {
    text.parse().unwrap()
}
