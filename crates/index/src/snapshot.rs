//! One committed state of the index, with what is worth counting once for it.
//!
//! A search sees one snapshot from beginning to end, so that an import that commits meanwhile
//! cannot show half of a replaced filing. This module must not know of whole filings on disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use footnote_filings::{Accession, FilingMeta, Passage};
use serde::de::DeserializeOwned;
use tantivy::collector::{DocSetCollector, TopDocs};
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocAddress, Searcher, TantivyDocument, Term};

use crate::query::UnitStatistics;
use crate::schema::{Fields, FilingRecord, Unit};
use crate::{Filter, IndexError, query};

/// A searcher with the counts of its units.
pub(crate) struct Snapshot {
    pub searcher: Searcher,
    passages: u64,
    pages: u64,
    metas: Mutex<HashMap<Accession, Arc<FilingMeta>>>,
}

impl Snapshot {
    pub fn new(fields: &Fields, searcher: Searcher) -> Result<Snapshot, IndexError> {
        // Like every BM25 statistic of tantivy these still count replaced documents that no merge
        // has removed yet, so that they fit together.
        let count = |unit| searcher.doc_freq(&fields.unit_term(unit));
        Ok(Snapshot {
            passages: count(Unit::Passage)?,
            pages: count(Unit::Page)?,
            metas: Mutex::default(),
            searcher,
        })
    }

    pub fn statistics(&self, unit: Unit, own: Field) -> UnitStatistics<'_> {
        UnitStatistics {
            searcher: &self.searcher,
            units: match unit {
                Unit::Page => self.pages,
                Unit::Passage | Unit::Filing => self.passages,
            },
            passages: self.passages,
            own,
        }
    }

    /// The best `wanted` documents, best first, ties by passage id.
    ///
    /// Which of several equal scores tantivy keeps depends on how documents fell into segments.
    /// So more than wanted are taken until the last one scores worse than the last wanted one, and
    /// the tie is broken by what does not change.
    pub fn best(
        &self,
        fields: &Fields,
        found: &dyn Query,
        statistics: &UnitStatistics<'_>,
        wanted: usize,
    ) -> Result<Vec<(f32, Passage)>, IndexError> {
        let everything = usize::try_from(self.searcher.num_docs()).unwrap_or(usize::MAX);
        let mut take = wanted.saturating_add(16);
        let mut top: Vec<(f32, DocAddress)>;
        loop {
            top = self
                .searcher
                .search_with_statistics_provider(
                    found,
                    &TopDocs::with_limit(take).order_by_score(),
                    statistics,
                )?
                .into_iter()
                .map(|(score, address)| (coarse(score), address))
                .collect();
            let tied_to_the_end = top.len() == take
                && top.last().map(|last| last.0) == top.get(wanted - 1).map(|at| at.0);
            if !tied_to_the_end || take >= everything {
                break;
            }
            take = take.saturating_mul(4);
        }
        let last_wanted = top.get(wanted - 1).map_or(f32::NEG_INFINITY, |at| at.0);
        let mut hits = Vec::with_capacity(wanted);
        for (score, address) in top {
            if score >= last_wanted {
                hits.push((score, self.record::<Passage>(fields, address)?));
            }
        }
        hits.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
        hits.truncate(wanted);
        Ok(hits)
    }

    /// Every document that a query finds, in no order.
    pub fn all(&self, found: &dyn Query) -> Result<Vec<DocAddress>, IndexError> {
        let found = self.searcher.search(found, &DocSetCollector)?;
        Ok(found.into_iter().collect())
    }

    /// Every document that has all the terms, in no order.
    pub fn with_terms(&self, terms: Vec<Term>) -> Result<Vec<DocAddress>, IndexError> {
        let clauses = terms
            .into_iter()
            .map(|term| -> (Occur, Box<dyn Query>) {
                let query = TermQuery::new(term, IndexRecordOption::Basic);
                (Occur::Must, Box::new(query))
            })
            .collect();
        self.all(&BooleanQuery::new(clauses))
    }

    /// The passages that have all the terms, in text order.
    pub fn passages_with(
        &self,
        fields: &Fields,
        mut terms: Vec<Term>,
    ) -> Result<Vec<Passage>, IndexError> {
        terms.push(fields.unit_term(Unit::Passage));
        let mut passages = Vec::new();
        for address in self.with_terms(terms)? {
            passages.push(self.record::<Passage>(fields, address)?);
        }
        passages.sort_by_key(|passage| (passage.span.start, passage.span.end));
        Ok(passages)
    }

    pub fn document(&self, address: DocAddress) -> Result<TantivyDocument, IndexError> {
        Ok(self.searcher.doc(address)?)
    }

    pub fn record<T: DeserializeOwned>(
        &self,
        fields: &Fields,
        address: DocAddress,
    ) -> Result<T, IndexError> {
        decode(fields.record, &self.document(address)?)
    }

    /// What is known of a filing.
    pub fn meta(
        &self,
        fields: &Fields,
        accession: &Accession,
    ) -> Result<Option<Arc<FilingMeta>>, IndexError> {
        let lock = || self.metas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(accession) {
            return Ok(Some(known.clone()));
        }
        let Some(document) = self.filing_document(fields, accession)? else {
            return Ok(None);
        };
        let meta: Arc<FilingMeta> = Arc::new(decode(fields.meta, &document)?);
        lock().insert(accession.clone(), meta.clone());
        Ok(Some(meta))
    }

    /// A filing's catalogue entry.
    pub fn filing_record(
        &self,
        fields: &Fields,
        accession: &Accession,
    ) -> Result<Option<(FilingMeta, FilingRecord)>, IndexError> {
        let Some(document) = self.filing_document(fields, accession)? else {
            return Ok(None);
        };
        Ok(Some((
            decode(fields.meta, &document)?,
            decode(fields.record, &document)?,
        )))
    }

    fn filing_document(
        &self,
        fields: &Fields,
        accession: &Accession,
    ) -> Result<Option<TantivyDocument>, IndexError> {
        let found = self.with_terms(vec![
            fields.accession_term(accession),
            fields.unit_term(Unit::Filing),
        ])?;
        found.first().map(|at| self.document(*at)).transpose()
    }

    /// The catalogue entries that pass a filter, ordered by accession.
    pub fn filings(
        &self,
        fields: &Fields,
        filter: &Filter,
    ) -> Result<Vec<(FilingMeta, TantivyDocument)>, IndexError> {
        let mut filings: Vec<(FilingMeta, TantivyDocument)> = Vec::new();
        for address in self.all(&query::unscored(fields, Unit::Filing, filter))? {
            let document = self.document(address)?;
            filings.push((decode(fields.meta, &document)?, document));
        }
        filings.sort_by(|a, b| a.0.accession.cmp(&b.0.accession));
        Ok(filings)
    }
}

/// A stored record from its JSON.
pub(crate) fn decode<T: DeserializeOwned>(
    field: Field,
    document: &TantivyDocument,
) -> Result<T, IndexError> {
    let json = Fields::stored(document, field).unwrap_or_default();
    serde_json::from_str(json).map_err(|error| {
        let reason = format!("a record of the index is unreadable: {error}");
        IndexError::Tantivy(tantivy::TantivyError::DataCorruption(
            tantivy::error::DataCorruption::comment_only(reason),
        ))
    })
}

/// The score without its last bits: the order of a sum's terms, which differs between segments,
/// shows only in those.
fn coarse(score: f32) -> f32 {
    const DROPPED: u32 = 8;
    let half = 1 << (DROPPED - 1);
    let bits = (score.to_bits().saturating_add(half) >> DROPPED) << DROPPED;
    f32::from_bits(bits)
}
