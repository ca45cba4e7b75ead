//! The contract of a searchable corpus, embedded or distributed.
//!
//! Callers know filters, queries and hits; they must not know tantivy. Everything is blocking and
//! safe to call from many threads at once.

use footnote_filings::{
    Accession, Cik, DocType, Fact, Filing, FilingMeta, FiscalPeriod, Form, Passage, PassageId,
    Section, Ticker, Warning,
};
use jiff::civil::Date;
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
    /// By fiscal year; for a filing without one (an 8-K) by the year of the last day covered, else
    /// of filing.
    pub years: Vec<u16>,
    /// By exact fiscal period.
    pub periods: Vec<FiscalPeriod>,
    /// By filing.
    pub accessions: Vec<Accession>,
    /// The last day covered (the day of filing where that is unknown) is this day or later.
    #[serde(default)]
    pub since: Option<Date>,
    /// The last day covered (the day of filing where that is unknown) is this day or earlier.
    #[serde(default)]
    pub until: Option<Date>,
}

/// A ranked search over passages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchQuery {
    /// Plain words; a part in double quotes is a phrase, which must stand in the text or the
    /// section path of a hit. Never query syntax: any text is valid. A text without a word has no
    /// hits. Beyond 100,000 bytes it is cut, and of its different words the most telling 64 count.
    pub text: String,
    /// Further words that may stand in a hit but need not, each text with its weight beside the
    /// 1.0 of a word of `text`: synonyms, names of statements, the company's own terms.
    #[serde(default)]
    pub expansions: Vec<(String, f32)>,
    /// Where to look.
    pub filter: Filter,
    /// At most this many hits; `limit` and `offset` together at most 10,000, more is cut to that.
    pub limit: usize,
    /// Leave out this many first. Hits of equal score are ordered by passage id, so that pages of
    /// results neither overlap nor leave gaps.
    pub offset: usize,
}

/// A passage found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hit {
    /// The passage itself.
    pub passage: Passage,
    /// The filing around it.
    pub meta: FilingMeta,
    /// BM25 score, larger is better; comparable within one search only.
    pub score: f32,
}

/// A page of a page corpus found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageHit {
    /// The filing around it.
    pub meta: FilingMeta,
    /// The page's number as the corpus counts.
    pub page: u32,
    /// BM25 score of the whole page, larger is better; comparable within one search only.
    pub score: f32,
    /// The first passage of the page; [`SearchBackend::page_passages`] has all of them.
    pub first: Passage,
}

/// A company as filings name it: the source of the table of aliases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompanyEntry {
    /// Its name.
    pub company: Option<String>,
    /// Its exchange symbol.
    pub ticker: Option<Ticker>,
    /// SEC's number for it.
    pub cik: Option<Cik>,
    /// How many filings name it exactly so.
    pub filings: usize,
}

/// What the corpus holds of one filing, without its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FilingEntry {
    /// What is known of it.
    pub meta: FilingMeta,
    /// How many passages it has.
    pub passages: usize,
    /// How many facts.
    pub facts: usize,
    /// How many doubts its reader had.
    pub warnings: usize,
    /// Bytes of normalised text.
    pub text_bytes: usize,
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

    /// The best pages for a query: BM25 over whole pages of page corpora, under a filter. Filings
    /// without pages have no hits here.
    ///
    /// # Errors
    /// Where the index cannot be read.
    fn search_pages(&self, query: &SearchQuery) -> Result<Vec<PageHit>, IndexError>;

    /// The passages of one page of a page corpus in text order.
    ///
    /// # Errors
    /// Where the index cannot be read.
    fn page_passages(&self, accession: &Accession, page: u32) -> Result<Vec<Passage>, IndexError>;

    /// What the corpus holds of a filing, without its text.
    ///
    /// # Errors
    /// Where the index cannot be read.
    fn entry(&self, accession: &Accession) -> Result<Option<FilingEntry>, IndexError>;

    /// What the reader doubted about a filing.
    ///
    /// # Errors
    /// Where the corpus cannot be read.
    fn warnings(&self, accession: &Accession) -> Result<Vec<Warning>, IndexError>;

    /// The different (company, ticker, CIK) of all filings, ordered by name.
    ///
    /// # Errors
    /// Where the index cannot be read.
    fn companies(&self) -> Result<Vec<CompanyEntry>, IndexError>;
}
