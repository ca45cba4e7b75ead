//! What stands in the index: a document a passage, and a document a filing.
//!
//! A filing's document carries what is known of it, so that one tantivy commit moves passages and
//! catalogue together. The first passage of each page of a page corpus also carries the page's
//! whole text, so that whole pages can be ranked by BM25 without a document of their own.
//! This module must not know of files, locks or queries.

use std::collections::HashMap;

use footnote_filings::{Accession, Filing, FilingMeta, Passage, Section, Span};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tantivy::schema::{
    DateOptions, FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, SchemaBuilder,
    TextFieldIndexing, TextOptions, Value,
};
use tantivy::tokenizer::TokenizerManager;
use tantivy::{DateTime, TantivyDocument, Term};

use crate::tokenizer;

/// What a document stands for; a term of the `unit` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// The catalogue entry of a filing.
    Filing,
    /// A passage.
    Passage,
    /// A passage that stands first on its page and carries the page's text.
    Page,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Filing => "filing",
            Unit::Passage => "passage",
            Unit::Page => "page",
        }
    }
}

/// The fields by name.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    pub schema: Schema,
    pub unit: Field,
    pub id: Field,
    pub accession: Field,
    pub company: Field,
    pub ticker: Field,
    pub cik: Field,
    pub form: Field,
    pub doc_type: Field,
    pub year: Field,
    pub period: Field,
    pub period_end: Field,
    pub filed: Field,
    pub date: Field,
    pub kind: Field,
    pub page: Field,
    /// Lead and text of a passage, stemmed.
    pub text: Field,
    /// Text of a whole page, stemmed.
    pub page_text: Field,
    /// Section path, stemmed.
    pub section: Field,
    /// Company, ticker, form and period in words, not stemmed.
    pub context: Field,
    /// The stored form: [`Passage`] or [`FilingRecord`] as JSON.
    pub record: Field,
    /// Stored meta of a filing as JSON, apart from its record because most readers want only it.
    pub meta: Field,
}

/// The stored form of a filing's catalogue entry, besides its meta.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FilingRecord {
    /// Name of the file that holds it whole.
    pub blob: String,
    pub passages: usize,
    pub pages: usize,
    pub facts: usize,
    pub warnings: usize,
    /// Bytes of normalised text.
    pub text_bytes: usize,
    pub sections: Vec<Section>,
}

fn text(tokenizer: &str, option: IndexRecordOption) -> TextOptions {
    TextOptions::default().set_indexing_options(
        TextFieldIndexing::default()
            .set_tokenizer(tokenizer)
            .set_index_option(option),
    )
}

impl Fields {
    pub fn new() -> Fields {
        let mut b = SchemaBuilder::new();
        let positions = IndexRecordOption::WithFreqsAndPositions;
        let date = || DateOptions::default().set_indexed().set_fast();
        Fields {
            unit: b.add_text_field("unit", STRING),
            id: b.add_text_field("id", STRING),
            accession: b.add_text_field("accession", STRING),
            company: b.add_text_field("company", STRING),
            ticker: b.add_text_field("ticker", STRING),
            cik: b.add_u64_field("cik", INDEXED),
            form: b.add_text_field("form", STRING | FAST),
            doc_type: b.add_text_field("doc_type", STRING | FAST),
            year: b.add_u64_field("year", INDEXED | FAST),
            period: b.add_text_field("period", STRING | FAST),
            period_end: b.add_date_field("period_end", date()),
            filed: b.add_date_field("filed", date()),
            date: b.add_date_field("date", date()),
            kind: b.add_text_field("kind", STRING),
            page: b.add_u64_field("page", INDEXED | FAST),
            text: b.add_text_field("text", text(tokenizer::STEMMED, positions)),
            page_text: b.add_text_field("page_text", text(tokenizer::STEMMED, positions)),
            section: b.add_text_field("section", text(tokenizer::STEMMED, positions)),
            context: b.add_text_field(
                "context",
                text(tokenizer::EXACT, IndexRecordOption::WithFreqs),
            ),
            record: b.add_text_field("record", STORED),
            meta: b.add_text_field("meta", STORED),
            schema: b.build(),
        }
    }

    /// The tokenizers that the schema names.
    pub fn tokenizers() -> TokenizerManager {
        let manager = TokenizerManager::default();
        manager.register(tokenizer::STEMMED, tokenizer::stemmed());
        manager.register(tokenizer::EXACT, tokenizer::exact());
        manager
    }

    pub fn unit_term(&self, unit: Unit) -> Term {
        Term::from_field_text(self.unit, unit.name())
    }

    pub fn accession_term(&self, accession: &Accession) -> Term {
        Term::from_field_text(self.accession, accession.as_str())
    }

    /// The documents of a filing: its catalogue entry, then its passages.
    ///
    /// # Errors
    /// Where a date lies outside what the index can hold, or a record cannot be written as JSON.
    pub fn documents(
        &self,
        filing: &Filing,
        record: &FilingRecord,
        passages: &[Passage],
    ) -> Result<Vec<TantivyDocument>, serde_json::Error> {
        let mut base = TantivyDocument::default();
        self.add_filters(&mut base, &filing.meta);

        let mut entry = base.clone();
        entry.add_text(self.unit, Unit::Filing.name());
        entry.add_text(self.meta, serde_json::to_string(&filing.meta)?);
        entry.add_text(self.record, serde_json::to_string(record)?);

        let mut documents = Vec::with_capacity(passages.len() + 1);
        documents.push(entry);
        let context = context_words(&filing.meta);
        let page_spans: HashMap<u32, Span> = filing
            .pages
            .iter()
            .map(|page| (page.number, page.span))
            .collect();
        let mut last_page = None;
        for passage in passages {
            let mut document = base.clone();
            document.add_text(self.unit, Unit::Passage.name());
            document.add_text(self.id, &passage.id.0);
            document.add_text(self.kind, format!("{:?}", passage.kind));
            document.add_text(self.context, &context);
            if !passage.section_path.is_empty() {
                document.add_text(self.section, passage.section_path.join("\n"));
            }
            if !passage.lead.is_empty() {
                document.add_text(self.text, &passage.lead);
            }
            document.add_text(self.text, &passage.text);
            if let Some(number) = passage.page {
                document.add_u64(self.page, u64::from(number));
                if last_page != Some(number) {
                    last_page = Some(number);
                    let page_text = page_spans
                        .get(&number)
                        .and_then(|span| span.of(&filing.text));
                    if let Some(page_text) = page_text {
                        document.add_text(self.unit, Unit::Page.name());
                        document.add_text(self.page_text, page_text);
                    }
                }
            }
            document.add_text(self.record, serde_json::to_string(passage)?);
            documents.push(document);
        }
        Ok(documents)
    }

    fn add_filters(&self, document: &mut TantivyDocument, meta: &FilingMeta) {
        document.add_text(self.accession, meta.accession.as_str());
        if let Some(company) = &meta.company {
            document.add_text(self.company, company);
        }
        if let Some(ticker) = &meta.ticker {
            document.add_text(self.ticker, ticker.as_str());
        }
        if let Some(cik) = meta.cik {
            document.add_u64(self.cik, cik.0);
        }
        document.add_text(self.form, meta.form.as_str());
        if let Some(doc_type) = meta.doc_type {
            document.add_text(self.doc_type, doc_type.name());
        }
        if let Some(year) = year(meta) {
            document.add_u64(self.year, u64::from(year));
        }
        if let Some(period) = meta.fiscal_period {
            document.add_text(self.period, period.to_string());
        }
        for (field, date) in [
            (self.period_end, meta.period_end),
            (self.filed, meta.filed),
            (self.date, meta.period_end.or(meta.filed)),
        ] {
            if let Some(date) = date {
                document.add_date(field, date_time(date));
            }
        }
    }

    /// The text of a stored field.
    pub fn stored(document: &TantivyDocument, field: Field) -> Option<&str> {
        document.get_first(field).and_then(|value| value.as_str())
    }
}

/// The year a filing is looked for under: its fiscal year, else the year of the last day covered,
/// else of filing (an 8-K has no fiscal year).
pub(crate) fn year(meta: &FilingMeta) -> Option<u16> {
    meta.fiscal_period.map(|period| period.year).or_else(|| {
        let date = meta.period_end.or(meta.filed)?;
        u16::try_from(date.year()).ok()
    })
}

/// A civil date as the index holds it: midnight, UTC.
pub(crate) fn date_time(date: Date) -> DateTime {
    let days = date.duration_since(Date::constant(1970, 1, 1)).as_secs();
    DateTime::from_timestamp_secs(days)
}

/// Company, ticker, form and period as a person would write them in a question.
fn context_words(meta: &FilingMeta) -> String {
    let mut words: Vec<String> = Vec::new();
    words.extend(meta.company.clone());
    words.extend(meta.ticker.as_ref().map(|ticker| ticker.to_string()));
    words.push(meta.form.to_string());
    match meta.doc_type {
        Some(doc_type) if doc_type.name() != meta.form.as_str() => {
            words.push(doc_type.name().to_owned());
        }
        _ => {}
    }
    if let Some(period) = meta.fiscal_period {
        words.push(format!("FY{}", period.year));
        if let Some(quarter) = period.quarter {
            let ordinal = ["first", "second", "third", "fourth"];
            let ordinal = ordinal.get(usize::from(quarter) - 1).unwrap_or(&"");
            words.push(format!("Q{quarter} {ordinal} quarter"));
        }
    } else if let Some(year) = year(meta) {
        words.push(year.to_string());
    }
    words.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_keep_their_order_and_day() {
        let day = |y, m, d| date_time(Date::constant(y, m, d)).into_timestamp_secs();
        assert_eq!(day(1970, 1, 2), 86_400);
        assert_eq!(day(1969, 12, 31), -86_400);
        assert!(day(2023, 9, 30) < day(2023, 10, 1));
    }
}
