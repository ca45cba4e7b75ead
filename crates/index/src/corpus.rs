//! The embedded corpus: tantivy for passages, a file a filing for everything else.
//!
//! Opening, searching and looking up. It only reads; [`crate::Importer`] writes, in this process
//! or another, and a reader follows within half a second.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use footnote_filings::{Accession, Fact, Filing, FilingMeta, Passage, PassageId, Warning};
use tantivy::directory::MmapDirectory;
use tantivy::schema::Field;
use tantivy::{Index, IndexReader, ReloadPolicy, SearcherGeneration, Term};

use crate::blobs::{Blobs, FilingCache, StoredFiling};
use crate::layout::Layout;
use crate::query::{self, Boosts};
use crate::schema::{Fields, FilingRecord, Unit};
use crate::snapshot::{Snapshot, decode};
use crate::{
    CompanyEntry, FilingEntry, Filter, Hit, IndexError, PageHit, SearchBackend, SearchQuery,
};

/// Deepest page of results.
const DEEPEST: usize = 10_000;

/// Weights of a match in context and section path beside one in the text, for passages and pages.
///
/// Measured on FinanceBench's 64 development questions (`benches/corpus.rs`, passages over the
/// whole corpus, recall at 10): context 0 gives 0.18, 0.5 0.24, 1 0.25, 2 0.41, 3 0.47, 4 0.49.
/// A question names its company and year once and a filing's text seldom does, so the context
/// must speak loudly; beyond 3 the gain is within chance.
const BOOSTS: Boosts = Boosts {
    context: 3.0,
    section: 0.5,
};

/// An opened corpus.
pub struct Corpus {
    pub(crate) layout: Layout,
    pub(crate) fields: Fields,
    pub(crate) blobs: Blobs,
    reader: IndexReader,
    cache: FilingCache,
    current: RwLock<Option<Arc<Snapshot>>>,
}

/// Opens the index below a corpus folder, or says what is wrong with it.
pub(crate) fn open_index(layout: &Layout, fields: &Fields) -> Result<Index, IndexError> {
    let folder = layout.index();
    let damaged = |error: &dyn std::fmt::Display| IndexError::damaged(&folder, error.to_string());
    if !folder.join("meta.json").exists() {
        return Err(damaged(&"the index is gone"));
    }
    let directory = MmapDirectory::open(&folder).map_err(|error| damaged(&error))?;
    let mut index = Index::open(directory).map_err(|error| damaged(&error))?;
    if index.schema() != fields.schema {
        return Err(damaged(&"the index has another schema than this program's"));
    }
    index.set_tokenizers(Fields::tokenizers());
    Ok(index)
}

impl Corpus {
    /// Opens the corpus below `folder` for reading.
    ///
    /// # Errors
    /// Where there is none, where it was made by another version, or where it is damaged.
    pub fn open(folder: &Path) -> Result<Corpus, IndexError> {
        let layout = Layout::new(folder);
        let fields = Fields::new();
        if !layout.check_format()? {
            return Err(IndexError::Absent {
                path: layout.root.clone(),
            });
        }
        let index = open_index(&layout, &fields)?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::OnCommitWithDelay)
            .try_into()
            .map_err(|error| IndexError::damaged(&layout.index(), error.to_string()))?;
        Ok(Corpus {
            blobs: Blobs::new(layout.filings()),
            layout,
            fields,
            reader,
            cache: FilingCache::default(),
            current: RwLock::new(None),
        })
    }

    /// Sees what was committed up to now, at once; without it, within half a second.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub fn refresh(&self) -> Result<(), IndexError> {
        Ok(self.reader.reload()?)
    }

    pub(crate) fn snapshot(&self) -> Result<Arc<Snapshot>, IndexError> {
        let searcher = self.reader.searcher();
        let generation =
            |searcher: &tantivy::Searcher| -> SearcherGeneration { searcher.generation().clone() };
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(snapshot) = current.as_ref()
                && generation(&snapshot.searcher) == generation(&searcher)
            {
                return Ok(snapshot.clone());
            }
        }
        let snapshot = Arc::new(Snapshot::new(&self.fields, searcher)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// The hits of a query over one kind of unit, each with what is known of its filing.
    fn ranked(
        &self,
        query: &SearchQuery,
        unit: Unit,
        text: Field,
    ) -> Result<Vec<(f32, Passage, Arc<FilingMeta>)>, IndexError> {
        let wanted = query.limit.saturating_add(query.offset).min(DEEPEST);
        if query.limit == 0 || wanted <= query.offset {
            return Ok(Vec::new());
        }
        let snapshot = self.snapshot()?;
        let statistics = snapshot.statistics(unit, text);
        let Some(found) = query::scored(&self.fields, &statistics, query, unit, text, BOOSTS)?
        else {
            return Ok(Vec::new());
        };
        let best = snapshot.best(&self.fields, &*found, &statistics, wanted)?;
        let mut hits = Vec::new();
        for (score, passage) in best.into_iter().skip(query.offset) {
            let Some(meta) = snapshot.meta(&self.fields, &passage.accession)? else {
                let reason = format!("passage {} has no filing", passage.id);
                return Err(IndexError::damaged(&self.layout.index(), reason));
            };
            hits.push((score, passage, meta));
        }
        Ok(hits)
    }

    /// A whole filing with its reader's doubts, from memory where it was read a moment ago.
    ///
    /// # Errors
    /// Where the corpus cannot be read, or the filing's file is damaged.
    pub fn stored(&self, accession: &Accession) -> Result<Option<Arc<StoredFiling>>, IndexError> {
        let record = |snapshot: &Snapshot| -> Result<Option<FilingRecord>, IndexError> {
            let found = snapshot.filing_record(&self.fields, accession)?;
            Ok(found.map(|(_, record)| record))
        };
        let Some(known) = record(&*self.snapshot()?)? else {
            return Ok(None);
        };
        if let Some(stored) = self.read(&known.blob)? {
            return Ok(Some(stored));
        }
        // An import replaced the filing since this snapshot was taken, and removed the old file.
        self.refresh()?;
        let Some(known) = record(&*self.snapshot()?)? else {
            return Ok(None);
        };
        match self.read(&known.blob)? {
            Some(stored) => Ok(Some(stored)),
            None => Err(IndexError::damaged(
                &self.blobs.path(&known.blob),
                format!("the file of {accession} is gone"),
            )),
        }
    }

    fn read(&self, blob: &str) -> Result<Option<Arc<StoredFiling>>, IndexError> {
        if let Some(stored) = self.cache.get(blob) {
            return Ok(Some(stored));
        }
        let Some(stored) = self.blobs.read(blob)?.map(Arc::new) else {
            return Ok(None);
        };
        self.cache.put(blob, stored.clone());
        Ok(Some(stored))
    }
}

impl SearchBackend for Corpus {
    fn search(&self, query: &SearchQuery) -> Result<Vec<Hit>, IndexError> {
        let ranked = self.ranked(query, Unit::Passage, self.fields.text)?;
        Ok(ranked
            .into_iter()
            .map(|(score, passage, meta)| Hit {
                passage,
                meta: (*meta).clone(),
                score,
            })
            .collect())
    }

    fn search_pages(&self, query: &SearchQuery) -> Result<Vec<PageHit>, IndexError> {
        let ranked = self.ranked(query, Unit::Page, self.fields.page_text)?;
        Ok(ranked
            .into_iter()
            .filter_map(|(score, first, meta)| {
                Some(PageHit {
                    meta: (*meta).clone(),
                    page: first.page?,
                    score,
                    first,
                })
            })
            .collect())
    }

    fn passage(&self, id: &PassageId) -> Result<Option<Hit>, IndexError> {
        let snapshot = self.snapshot()?;
        let term = Term::from_field_text(self.fields.id, &id.0);
        let Some(passage) = snapshot.passages_with(&self.fields, vec![term])?.pop() else {
            return Ok(None);
        };
        let meta = snapshot.meta(&self.fields, &passage.accession)?;
        Ok(meta.map(|meta| Hit {
            passage,
            meta: (*meta).clone(),
            score: 0.0,
        }))
    }

    fn passages(&self, accession: &Accession) -> Result<Vec<Passage>, IndexError> {
        let term = self.fields.accession_term(accession);
        self.snapshot()?.passages_with(&self.fields, vec![term])
    }

    fn page_passages(&self, accession: &Accession, page: u32) -> Result<Vec<Passage>, IndexError> {
        let terms = vec![
            self.fields.accession_term(accession),
            Term::from_field_u64(self.fields.page, u64::from(page)),
        ];
        self.snapshot()?.passages_with(&self.fields, terms)
    }

    fn filings(&self, filter: &Filter) -> Result<Vec<FilingMeta>, IndexError> {
        let filings = self.snapshot()?.filings(&self.fields, filter)?;
        Ok(filings.into_iter().map(|(meta, _)| meta).collect())
    }

    fn filing(&self, accession: &Accession) -> Result<Option<Filing>, IndexError> {
        Ok(self.stored(accession)?.map(|stored| stored.filing.clone()))
    }

    fn facts(&self, accession: &Accession) -> Result<Vec<Fact>, IndexError> {
        let stored = self.stored(accession)?;
        Ok(stored.map_or_else(Vec::new, |stored| stored.filing.facts.clone()))
    }

    fn warnings(&self, accession: &Accession) -> Result<Vec<Warning>, IndexError> {
        let stored = self.stored(accession)?;
        Ok(stored.map_or_else(Vec::new, |stored| stored.warnings.clone()))
    }

    fn entry(&self, accession: &Accession) -> Result<Option<FilingEntry>, IndexError> {
        let found = self.snapshot()?.filing_record(&self.fields, accession)?;
        Ok(found.map(|(meta, record)| FilingEntry {
            meta,
            passages: record.passages,
            facts: record.facts,
            warnings: record.warnings,
            text_bytes: record.text_bytes,
            sections: record.sections,
        }))
    }

    fn companies(&self) -> Result<Vec<CompanyEntry>, IndexError> {
        let mut companies: Vec<CompanyEntry> = Vec::new();
        let mut metas = self.filings(&Filter::default())?;
        metas.sort_by(|a, b| (&a.company, &a.ticker, &a.cik).cmp(&(&b.company, &b.ticker, &b.cik)));
        for meta in metas {
            match companies.last_mut() {
                Some(last)
                    if (&last.company, &last.ticker, &last.cik)
                        == (&meta.company, &meta.ticker, &meta.cik) =>
                {
                    last.filings += 1;
                }
                _ => companies.push(CompanyEntry {
                    company: meta.company,
                    ticker: meta.ticker,
                    cik: meta.cik,
                    filings: 1,
                }),
            }
        }
        Ok(companies)
    }
}

impl Corpus {
    /// The catalogue entries of all filings with their records, ordered by accession.
    pub(crate) fn catalogue(&self) -> Result<Vec<(FilingMeta, FilingRecord)>, IndexError> {
        let mut entries = Vec::new();
        for (meta, document) in self.snapshot()?.filings(&self.fields, &Filter::default())? {
            entries.push((meta, decode(self.fields.record, &document)?));
        }
        Ok(entries)
    }
}
