//! The contract of a searchable corpus, embedded or distributed.
//!
//! Callers know filters, queries and hits; they must not know tantivy. Everything is blocking and
//! safe to call from many threads at once.

use footnote_filings::{
    Accession, Cik, DocType, Fact, Filing, FilingMeta, FiscalPeriod, Form, Passage, PassageId,
    Section, Ticker,
};
use serde::{Deserialize, Serialize};

use crate::IndexError;

/// Which filings to look in. Empty lists do not filter; within a list one match is enough, and all
/// lists must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// By exchange symbol.
    pub tickers: Vec<Ticker>,
    /// By filer number.
    pub ciks: Vec<Cik>,
    /// By company name, exactly as the corpus has it.
    pub companies: Vec<String>,
    /// By form as filed.
    pub forms: Vec<Form>,
    /// By kind.
    pub doc_types: Vec<DocType>,
    /// By fiscal year.
    pub years: Vec<u16>,
    /// By exact fiscal period.
    pub periods: Vec<FiscalPeriod>,
    /// By filing.
    pub accessions: Vec<Accession>,
}

/// A ranked search over passages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchQuery {
    /// Plain words; a part in double quotes is a phrase. Never query syntax: any text is valid.
    pub text: String,
    /// Where to look.
    pub filter: Filter,
    /// At most this many hits.
    pub limit: usize,
    /// Leave out this many first.
    pub offset: usize,
}

/// A passage found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The passage itself.
    pub passage: Passage,
    /// The filing around it.
    pub meta: FilingMeta,
    /// BM25 score, larger is better; comparable within one search only.
    pub score: f32,
}

/// What the corpus holds of one filing, without its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilingEntry {
    /// What is known of it.
    pub meta: FilingMeta,
    /// How many passages it has.
    pub passages: usize,
    /// How many facts.
    pub facts: usize,
    /// Its sections, without text.
    pub sections: Vec<Section>,
}

/// A searchable corpus.
pub trait SearchBackend: Send + Sync {
    /// The best passages for a query by BM25 under a filter.
    ///
    /// # Errors
    /// Where the index cannot be read.
    fn search(&self, query: &SearchQuery) -> Result<Vec<Hit>, IndexError>;

    /// One passage by its id.
    ///
    /// # Errors
    /// Where the index cannot be read.
    fn passage(&self, id: &PassageId) -> Result<Option<Hit>, IndexError>;

    /// All passages of a filing in text order.
    ///
    /// # Errors
    /// Where the index cannot be read.
    fn passages(&self, accession: &Accession) -> Result<Vec<Passage>, IndexError>;

    /// What is known of every filing that passes the filter, ordered by accession.
    ///
    /// # Errors
    /// Where the index cannot be read.
    fn filings(&self, filter: &Filter) -> Result<Vec<FilingMeta>, IndexError>;

    /// A whole filing with text, sections and facts.
    ///
    /// # Errors
    /// Where the corpus cannot be read.
    fn filing(&self, accession: &Accession) -> Result<Option<Filing>, IndexError>;

    /// The inline-XBRL facts of a filing (empty where it has none).
    ///
    /// # Errors
    /// Where the corpus cannot be read.
    fn facts(&self, accession: &Accession) -> Result<Vec<Fact>, IndexError>;
}
