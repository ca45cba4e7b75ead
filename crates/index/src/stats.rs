//! What a corpus holds, and whether it still holds it whole.
//!
//! Reads everything, changes nothing. This module must not know of queries or ranking.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use footnote_filings::Accession;
use serde::{Deserialize, Serialize};

use crate::schema;
use crate::{Corpus, IndexError, SearchBackend};

/// Counts over a whole corpus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusStats {
    /// Filings in all.
    pub filings: usize,
    /// Filings by form as filed.
    pub by_form: BTreeMap<String, usize>,
    /// Filings by company name; those without one under the empty name.
    pub by_company: BTreeMap<String, usize>,
    /// Filings by year (see `Filter::years`); those without one are left out.
    pub by_year: BTreeMap<u16, usize>,
    /// Passages.
    pub passages: usize,
    /// Pages of page corpora.
    pub pages: usize,
    /// Inline-XBRL facts.
    pub facts: usize,
    /// Doubts of the readers.
    pub warnings: usize,
    /// Bytes of normalised text.
    pub text_bytes: u64,
    /// Bytes of the index on disk.
    pub index_bytes: u64,
    /// Bytes of the whole filings on disk.
    pub filings_bytes: u64,
}

/// What is wrong with a corpus at one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The filing, where it is about one.
    pub accession: Option<Accession>,
    /// What.
    pub kind: FindingKind,
    /// One sentence with the particulars.
    pub message: String,
}

/// The kinds of things that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// The file of a filing is gone.
    FilingMissing,
    /// The file of a filing is not what was written, or does not belong to it.
    FilingDamaged,
    /// The index has more or fewer passages of a filing than were imported.
    PassageCount,
    /// A passage's span does not give its text.
    PassageText,
    /// A file that nothing names; the next import removes it.
    Orphan,
    /// A doubt of the reader, kept since the import; not damage.
    Reader,
}

impl FindingKind {
    /// Whether the corpus is damaged; the rest is for information.
    pub fn is_damage(self) -> bool {
        !matches!(self, FindingKind::Orphan | FindingKind::Reader)
    }
}

impl Corpus {
    /// Counts what the corpus holds.
    ///
    /// # Errors
    /// Where the corpus cannot be read.
    pub fn stats(&self) -> Result<CorpusStats, IndexError> {
        let mut stats = CorpusStats::default();
        for (meta, record) in self.catalogue()? {
            stats.filings += 1;
            *stats.by_form.entry(meta.form.to_string()).or_default() += 1;
            let company = meta.company.clone().unwrap_or_default();
            *stats.by_company.entry(company).or_default() += 1;
            if let Some(year) = schema::year(&meta) {
                *stats.by_year.entry(year).or_default() += 1;
            }
            stats.passages += record.passages;
            stats.pages += record.pages;
            stats.facts += record.facts;
            stats.warnings += record.warnings;
            stats.text_bytes += record.text_bytes as u64;
        }
        stats.index_bytes = folder_bytes(&self.layout.index())?;
        let files = self.blobs.list()?;
        stats.filings_bytes = files.iter().map(|file| file.bytes).sum();
        Ok(stats)
    }

    /// Verifies every filing: that its file is there and as written, that the index has all its
    /// passages, that each passage's span gives its text. Reader's doubts are listed too.
    /// `progress` is called with filings done and in all.
    ///
    /// # Errors
    /// Where the index itself cannot be read.
    pub fn check(
        &self,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Finding>, IndexError> {
        let catalogue = self.catalogue()?;
        let mut findings = Vec::new();
        let mut named = HashSet::new();
        for (done, (meta, record)) in catalogue.iter().enumerate() {
            progress(done, catalogue.len());
            named.insert(record.blob.clone());
            let mut find = |kind, message: String| {
                findings.push(Finding {
                    accession: Some(meta.accession.clone()),
                    kind,
                    message,
                });
            };
            // Not through the cache: what is on disk now is what counts.
            let stored = match self.blobs.read(&record.blob) {
                Ok(Some(stored)) => stored,
                Ok(None) => {
                    let path = self.blobs.path(&record.blob);
                    find(
                        FindingKind::FilingMissing,
                        format!("{} is gone", path.display()),
                    );
                    continue;
                }
                Err(error) => {
                    find(FindingKind::FilingDamaged, error.to_string());
                    continue;
                }
            };
            if stored.filing.meta != *meta {
                let message = "index and file disagree on what is known of the filing";
                find(FindingKind::FilingDamaged, message.to_owned());
            }
            let passages = self.passages(&meta.accession)?;
            if passages.len() != record.passages {
                let (found, wanted) = (passages.len(), record.passages);
                find(
                    FindingKind::PassageCount,
                    format!("{found} passages in the index, {wanted} were imported"),
                );
            }
            for passage in &passages {
                if passage.span.of(&stored.filing.text) != Some(passage.text.as_str()) {
                    let message = format!("the span of {} does not give its text", passage.id);
                    find(FindingKind::PassageText, message);
                }
            }
            for warning in &stored.warnings {
                find(FindingKind::Reader, warning.to_string());
            }
        }
        for file in self.blobs.list()? {
            if file.name.is_some_and(|name| named.contains(&name)) {
                continue;
            }
            findings.push(Finding {
                accession: None,
                kind: FindingKind::Orphan,
                message: format!("{} belongs to no filing", file.path.display()),
            });
        }
        progress(catalogue.len(), catalogue.len());
        Ok(findings)
    }
}

fn folder_bytes(folder: &Path) -> Result<u64, IndexError> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(IndexError::io(folder))? {
        let entry = entry.map_err(IndexError::io(folder))?;
        // A merge may remove a file between the listing and the look.
        bytes += entry.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(bytes)
}
