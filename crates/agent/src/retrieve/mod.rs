//! Finds the filings, pages and passages that answer a question.
//!
//! First the scope (companies, periods, kinds), then the few filings that fit it best, then every
//! page or passage of those, measured and ranked. Where the question names no company of the
//! corpus, the filings come from a plain search. Knows the search contract, not the engine
//! behind it; reads nothing but the question.

mod documents;
mod facts;
mod reader;
mod reorder;

use std::collections::HashMap;

use footnote_filings::{Accession, DocType, Fact, FilingMeta};
use footnote_index::{Filter, Hit, IndexError, SearchBackend, SearchQuery};
use serde::{Deserialize, Serialize};

use crate::features::{Looked, understand};
use crate::rank::{FilingMeasures, LinearRanker, MeasureRanker, Measures, Pool};
use crate::scope::{Company, Scope, companies_of, resolve};
use documents::Times;
use reader::{ReadFiling, Reader};
pub use reorder::PageOrder;

/// How many filings are read whole for a question.
const FILINGS_READ: usize = 6;
/// Hits of the plain search that vote for filings when no company is known.
const VOTING_HITS: usize = 120;
/// The longest question searched for, in characters; more is cut off, boilerplate comes first.
const MAX_QUESTION_CHARS: usize = 8_000;

/// A page found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageHit {
    /// The document's name in the corpus.
    pub doc: String,
    /// The page as the corpus counts.
    pub page: u32,
    /// The ranker's score; comparable within one question only.
    pub score: f32,
}

/// A passage found and ranked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankedPassage {
    /// The passage and its filing; `hit.score` is the ranker's score too.
    pub hit: Hit,
    /// The ranker's score; passages of one page, and parts of one table, share it.
    pub score: f32,
    /// What speaks for it, in words.
    pub why: String,
    /// XBRL facts in it that fit the question, best first.
    pub facts: Vec<Fact>,
}

/// A snapshot of a corpus to ask several questions of; make another after an import.
pub struct Retriever<'a> {
    backend: &'a dyn SearchBackend,
    filings: Vec<FilingMeta>,
    companies: Vec<Company>,
    ranker: Box<dyn MeasureRanker>,
    reader: Reader,
}

/// A candidate and where it comes from.
struct Ranked {
    filing: usize,
    unit: usize,
    score: f32,
    measures: Measures,
}

/// Candidates of a question, and the filings they are of.
struct Found<'a> {
    filings: Vec<(&'a FilingMeta, std::sync::Arc<ReadFiling>)>,
    ranked: Vec<Ranked>,
    facts: facts::Fitting,
}

impl<'a> Retriever<'a> {
    /// A retriever over the filings that pass `filter`.
    ///
    /// # Errors
    /// Where the corpus cannot be read.
    pub fn new(
        backend: &'a dyn SearchBackend,
        filter: &Filter,
    ) -> Result<Retriever<'a>, IndexError> {
        let filings = backend.filings(filter)?;
        let companies = companies_of(&filings);
        Ok(Retriever {
            backend,
            filings,
            companies,
            ranker: Box::new(LinearRanker::default()),
            reader: Reader::default(),
        })
    }

    /// The same with another ranker.
    pub fn with_ranker(mut self, ranker: Box<dyn MeasureRanker>) -> Retriever<'a> {
        self.ranker = ranker;
        self
    }

    /// The companies of the corpus.
    pub fn companies(&self) -> &[Company] {
        &self.companies
    }

    /// The filings of the corpus that the filter let through.
    pub fn filings(&self) -> &[FilingMeta] {
        &self.filings
    }

    /// What a question is about, see [`resolve`].
    pub fn scope(&self, question: &str) -> Scope {
        resolve(clipped(question), &self.companies)
    }

    /// The best pages of a page corpus, from the question alone.
    ///
    /// # Errors
    /// Where the corpus cannot be read.
    pub fn pages(&self, question: &str, k: usize) -> Result<Vec<PageHit>, IndexError> {
        let scope = self.scope(question);
        let found = self.find(question, &scope, None)?;
        let pages = found.ranked.iter().filter_map(|candidate| {
            let (meta, read) = &found.filings[candidate.filing];
            Some(PageHit {
                doc: meta.accession.to_string(),
                page: read.units[candidate.unit].page?,
                score: candidate.score,
            })
        });
        Ok(pages.take(k).collect())
    }

    /// The best pages as [`pages`](Self::pages), each with its text.
    fn pages_with_text(
        &self,
        question: &str,
        k: usize,
    ) -> Result<Vec<(PageHit, String)>, IndexError> {
        let scope = self.scope(question);
        let found = self.find(question, &scope, None)?;
        let pages = found.ranked.iter().filter_map(|candidate| {
            let (meta, read) = &found.filings[candidate.filing];
            let unit = &read.units[candidate.unit];
            let texts: Vec<&str> = read.passages[unit.passages.clone()]
                .iter()
                .map(|passage| passage.text.as_str())
                .collect();
            let hit = PageHit {
                doc: meta.accession.to_string(),
                page: unit.page?,
                score: candidate.score,
            };
            Some((hit, texts.join("\n")))
        });
        Ok(pages.take(k).collect())
    }

    /// The best passages for a question under a scope; `kinds` is an order of document kinds, best
    /// first, where one is known. Passages of one page, and parts of one table, come together, in
    /// text order.
    ///
    /// # Errors
    /// Where the corpus cannot be read.
    pub fn passages(
        &self,
        question: &str,
        scope: &Scope,
        kinds: Option<&[DocType]>,
        k: usize,
    ) -> Result<Vec<RankedPassage>, IndexError> {
        let found = self.find(question, scope, kinds)?;
        let mut passages = Vec::new();
        for candidate in &found.ranked {
            let (meta, read) = &found.filings[candidate.filing];
            let why = self.ranker.why(&candidate.measures);
            for at in read.units[candidate.unit].passages.clone() {
                if passages.len() == k {
                    return Ok(passages);
                }
                let passage = read.passages[at].clone();
                passages.push(RankedPassage {
                    facts: found.facts.inside(candidate.filing, passage.span, read),
                    hit: Hit {
                        passage,
                        meta: (*meta).clone(),
                        score: candidate.score,
                    },
                    score: candidate.score,
                    why: why.clone(),
                });
            }
        }
        Ok(passages)
    }

    /// Measures of every candidate of a question with their document and page, for fitting weights.
    ///
    /// # Errors
    /// Where the corpus cannot be read.
    pub fn measured_pages(
        &self,
        question: &str,
    ) -> Result<Vec<(String, u32, Measures)>, IndexError> {
        let scope = self.scope(question);
        let found = self.find(question, &scope, None)?;
        let pages = found.ranked.iter().filter_map(|candidate| {
            let (meta, read) = &found.filings[candidate.filing];
            let page = read.units[candidate.unit].page?;
            Some((meta.accession.to_string(), page, candidate.measures.clone()))
        });
        Ok(pages.collect())
    }

    /// All candidates of the filings worth reading, best first.
    fn find(
        &self,
        question: &str,
        scope: &Scope,
        kinds: Option<&[DocType]>,
    ) -> Result<Found<'_>, IndexError> {
        let looked = understand(clipped(question), scope);
        let chosen = self.choose(scope, &looked, kinds)?;
        let mut filings = Vec::with_capacity(chosen.len());
        for (at, measures) in &chosen {
            let meta = &self.filings[*at];
            let read = self.reader.read(self.backend, meta)?;
            filings.push((meta, read, measures));
        }
        let facts = facts::fit(&looked, scope, filings.iter().map(|f| &*f.1));
        let mut pool = Pool::new(&looked, asked_year(scope));
        let mut places = Vec::new();
        for (filing, (_, read, measures)) in filings.iter().enumerate() {
            pool.add(&read.units, measures);
            places.extend((0..read.units.len()).map(|unit| (filing, unit)));
        }
        let measures = pool.measure(|at| {
            let (filing, unit) = places[at];
            facts.best(filing, unit, filings[filing].1.as_ref())
        });
        let scores = self.ranker.scores(&measures);
        let mut ranked: Vec<Ranked> = places
            .into_iter()
            .zip(scores)
            .zip(measures)
            .map(|(((filing, unit), score), measures)| Ranked {
                filing,
                unit,
                score,
                measures,
            })
            .collect();
        // Equal scores keep the order of filings and text, so that results are the same each time.
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(Found {
            filings: filings
                .into_iter()
                .map(|(meta, read, _)| (meta, read))
                .collect(),
            ranked,
            facts,
        })
    }

    /// The filings to read, best first, with what was measured of them.
    fn choose(
        &self,
        scope: &Scope,
        looked: &Looked,
        kinds: Option<&[DocType]>,
    ) -> Result<Vec<(usize, FilingMeasures)>, IndexError> {
        let companies: Vec<_> = scope.likely_companies().collect();
        if companies.is_empty() {
            return self.choose_by_search(scope, looked, kinds);
        }
        let share = FILINGS_READ.div_ceil(companies.len()).max(2);
        let mut chosen = Vec::new();
        for company in companies {
            let own: Vec<usize> = (0..self.filings.len())
                .filter(|at| company.is_filer_of(&self.filings[*at]))
                .collect();
            let metas: Vec<&FilingMeta> = own.iter().map(|at| &self.filings[*at]).collect();
            let times = Times::new(scope, &metas);
            let measured = own.iter().map(|at| {
                let measures = times.measure(&self.filings[*at], looked, kinds);
                (*at, measures)
            });
            chosen.extend(self.best_filings(measured.map(|m| (m, 0.0)), share));
        }
        Ok(chosen)
    }

    /// No company known: the filings that a plain search likes, judged by time and kind too.
    fn choose_by_search(
        &self,
        scope: &Scope,
        looked: &Looked,
        kinds: Option<&[DocType]>,
    ) -> Result<Vec<(usize, FilingMeasures)>, IndexError> {
        let hits = self.backend.search(&SearchQuery {
            text: looked.query(),
            limit: VOTING_HITS,
            ..SearchQuery::default()
        })?;
        let best = hits.iter().map(|hit| hit.score).fold(0.0, f32::max);
        let mut votes: HashMap<&Accession, f32> = HashMap::new();
        for hit in &hits {
            // The best hit of a filing says most; more hits add ever less.
            let vote = votes.entry(&hit.passage.accession).or_default();
            let share = if best > 0.0 { hit.score / best } else { 0.0 };
            *vote = vote.max(share) + 0.05 * share;
        }
        let metas: Vec<&FilingMeta> = self.filings.iter().collect();
        let times = Times::new(scope, &metas);
        let measured = self.filings.iter().enumerate().filter_map(|(at, meta)| {
            let vote = votes.get(&meta.accession)?;
            Some(((at, times.measure(meta, looked, kinds)), 4.0 * vote))
        });
        Ok(self.best_filings(measured, FILINGS_READ))
    }

    /// The `count` filings whose measures and votes score best.
    fn best_filings(
        &self,
        filings: impl Iterator<Item = ((usize, FilingMeasures), f32)>,
        count: usize,
    ) -> Vec<(usize, FilingMeasures)> {
        let filings: Vec<((usize, FilingMeasures), f32)> = filings.collect();
        let measures: Vec<Measures> = filings
            .iter()
            .map(|((_, filing), _)| filing.measures.clone())
            .collect();
        let scores = self.ranker.scores(&measures);
        let mut order: Vec<(f32, (usize, FilingMeasures))> = scores
            .into_iter()
            .zip(filings)
            .map(|(score, (filing, vote))| (score + vote, filing))
            .collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        order.truncate(count);
        order.into_iter().map(|(_, filing)| filing).collect()
    }
}

/// The year that columns should show.
fn asked_year(scope: &Scope) -> Option<u16> {
    let anchor = scope.anchor.map(|anchor| anchor.year);
    anchor.or_else(|| Some(scope.dates.last()?.date.year().unsigned_abs()))
}

/// The start of a question that is longer than any real one.
fn clipped(question: &str) -> &str {
    match question.char_indices().nth(MAX_QUESTION_CHARS) {
        Some((end, _)) => &question[..end],
        None => question,
    }
}

/// The best `k` pages for one question over the whole corpus; [`Retriever::pages`] answers many
/// questions faster.
///
/// # Errors
/// Where the corpus cannot be read.
pub fn retrieve_pages(
    backend: &dyn SearchBackend,
    question: &str,
    k: usize,
) -> Result<Vec<PageHit>, IndexError> {
    Retriever::new(backend, &Filter::default())?.pages(question, k)
}

/// The best `k` passages for one question under a scope; see [`Retriever::passages`].
///
/// # Errors
/// Where the corpus cannot be read.
pub fn retrieve_passages(
    backend: &dyn SearchBackend,
    question: &str,
    scope: &Scope,
    kinds: Option<&[DocType]>,
    k: usize,
) -> Result<Vec<RankedPassage>, IndexError> {
    Retriever::new(backend, &Filter::default())?.passages(question, scope, kinds, k)
}
