//! Importing: filings in, one crash-safe corpus out.
//!
//! A filing's file is made durable first; then its old documents are deleted and its new ones
//! added in one commit. So at any moment the corpus on disk is that of the last commit: a killed
//! import has lost only what the next run does again, and can have doubled nothing. Files that no
//! commit names are collected when the next import opens the corpus.
//!
//! Sources and the splitter come from the caller; this module must not know file formats.

mod pipeline;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

pub use footnote_filings::Reading as Incoming;
use footnote_filings::{
    Accession, Filing, FilingMeta, ImportItem, Passage, ReadOptions, Readings, Warning, read_path,
};
use tantivy::indexer::IndexWriterOptions;
use tantivy::{Index, IndexWriter, ReloadPolicy};

use crate::blobs::Blobs;
use crate::corpus::open_index;
use crate::layout::Layout;
use crate::schema::{Fields, FilingRecord};
use crate::snapshot::{Snapshot, decode};
use crate::{Filter, IndexError};

/// Something to import from, usually a file.
pub struct Source {
    /// What messages call it, usually the path.
    pub name: String,
    /// Its size, for progress.
    pub bytes: u64,
    /// Reads it; called on one of the import's threads.
    pub read: Box<dyn FnOnce() -> Readings + Send>,
}

impl Source {
    /// A file, read by the readers of `footnote_filings`.
    pub fn file(item: ImportItem, options: ReadOptions) -> Source {
        Source {
            name: item.path.display().to_string(),
            bytes: item.size_bytes,
            read: Box::new(move || match read_path(&item.path, &options) {
                Ok(readings) => readings,
                Err(error) => Box::new(std::iter::once(Err(error))),
            }),
        }
    }
}

/// How filings become passages.
pub type Splitter = dyn Fn(&Filing) -> Vec<Passage> + Sync;

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Import again what the corpus has from the same bytes and with the same meta. Needed when
    /// the readers themselves have changed.
    pub force: bool,
    /// Threads that read, and as many that index. The readers of one file are one thread.
    pub threads: usize,
    /// Memory for postings not yet written, all indexing threads together.
    pub heap_bytes: usize,
    /// Commit after this many passages, …
    pub commit_passages: usize,
    /// … or after this time, whichever comes first.
    pub commit_after: Duration,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions {
            force: false,
            threads: 2,
            heap_bytes: 256 << 20,
            commit_passages: 50_000,
            commit_after: Duration::from_secs(15),
        }
    }
}

/// How far an import is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Sources read to their end.
    pub sources_done: usize,
    /// Sources in all, where the caller's iterator knows.
    pub sources_total: Option<usize>,
    /// Bytes of the sources read to their end.
    pub bytes_done: u64,
    /// Filings new or changed, indexed so far.
    pub imported: usize,
    /// Filings that the corpus already has.
    pub unchanged: usize,
    /// Items that failed.
    pub failed: usize,
    /// Of `imported`, how many a crash can no longer take away.
    pub committed: usize,
    /// The source or filing last finished.
    pub last: String,
}

/// An item that gave no filing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The source it came from.
    pub source: String,
    /// What was wrong, and the mend.
    pub message: String,
}

/// What an import did.
#[derive(Clone, Debug, Default)]
pub struct ImportReport {
    /// Filings the corpus did not have.
    pub added: Vec<Accession>,
    /// Filings whose bytes or meta had changed; their old passages are gone.
    pub replaced: Vec<Accession>,
    /// Filings the corpus had already.
    pub unchanged: usize,
    /// Passages added.
    pub passages: usize,
    /// Facts added.
    pub facts: usize,
    /// What could not be imported; everything else was.
    pub failed: Vec<Failure>,
    /// What readers doubted, by filing; also kept with each filing.
    pub warnings: Vec<(Accession, Warning)>,
    /// Files left by an import that was killed, and files of replaced filings, removed.
    pub collected: usize,
}

/// What the corpus already has of a filing.
#[derive(Clone, Debug)]
struct Known {
    meta: FilingMeta,
    blob: String,
}

impl Known {
    /// Whether an import of `meta` would change nothing. Where it was read from does not count.
    fn same(&self, meta: &FilingMeta) -> bool {
        let mut mine = self.meta.clone();
        mine.source.clone_from(&meta.source);
        mine == *meta
    }
}

/// A corpus opened for writing; nobody else can while this lives.
pub struct Importer {
    fields: Fields,
    blobs: Blobs,
    index: Index,
    known: HashMap<Accession, Known>,
    collected_at_open: usize,
    /// Held, not used: the system releases the lock when the file closes.
    _lock: File,
}

impl Importer {
    /// Opens the corpus below `folder`, making a new one where there is none, and removes what a
    /// killed import left.
    ///
    /// # Errors
    /// Where another import holds it, another version made it, it is damaged, or it cannot be
    /// written.
    pub fn open(folder: &Path) -> Result<Importer, IndexError> {
        let layout = Layout::new(folder);
        let lock = layout.lock()?;
        let fields = Fields::new();
        let blobs = Blobs::new(layout.filings());
        if !layout.check_format()? {
            layout.create()?;
        }
        let index = if layout.index().join("meta.json").exists() {
            open_index(&layout, &fields)?
        } else if blobs.list()?.is_empty() {
            create_index(&layout, &fields)?
        } else {
            // An import killed before its first commit leaves no filings without an index.
            return Err(IndexError::damaged(&layout.index(), "the index is gone"));
        };
        let known = known_filings(&index, &fields)?;
        let named: HashSet<String> = known.values().map(|known| known.blob.clone()).collect();
        let collected_at_open = blobs.collect(&named)?;
        if collected_at_open > 0 {
            tracing::info!(
                index.collected_files = collected_at_open,
                "removed {collected_at_open} files of an import that did not finish"
            );
        }
        Ok(Importer {
            fields,
            blobs,
            index,
            known,
            collected_at_open,
            _lock: lock,
        })
    }

    /// Imports every filing of every source. A filing that the corpus has from the same bytes with
    /// the same meta is left as it is; one that has changed replaces the old. A filing that a
    /// source no longer holds stays: sources add and replace, only [`Importer::remove`] removes.
    ///
    /// A source or filing that fails is named in the report, and the rest goes on. `progress` is
    /// called on the caller's thread after every filing and every source.
    ///
    /// # Errors
    /// Where the corpus itself can no longer be written. What was committed by then stays.
    pub fn import<I>(
        &mut self,
        sources: I,
        splitter: &Splitter,
        options: &ImportOptions,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<ImportReport, IndexError>
    where
        I: IntoIterator<Item = Source>,
        I::IntoIter: Send,
    {
        let writer = self.writer(options)?;
        let run = pipeline::Run {
            fields: &self.fields,
            blobs: &self.blobs,
            known: &self.known,
            splitter,
            options,
        };
        let (mut report, now_known) = match run.run(writer, sources.into_iter(), progress) {
            Ok(done) => done,
            Err(error) => {
                // Some of it may be committed; what the corpus has is what the index says.
                self.known = known_filings(&self.index, &self.fields)?;
                return Err(error);
            }
        };
        self.known.extend(now_known);
        report.collected = std::mem::take(&mut self.collected_at_open) + self.collect()?;
        Ok(report)
    }

    /// Removes filings with all that belongs to them; how many the corpus had.
    ///
    /// # Errors
    /// Where the corpus cannot be written.
    pub fn remove(&mut self, accessions: &[Accession]) -> Result<usize, IndexError> {
        let mut writer = self.writer(&ImportOptions::default())?;
        let mut removed = 0;
        for accession in accessions {
            if self.known.remove(accession).is_some() {
                writer.delete_term(self.fields.accession_term(accession));
                removed += 1;
            }
        }
        writer.commit()?;
        writer.wait_merging_threads()?;
        self.collect()?;
        Ok(removed)
    }

    /// The filings the corpus has.
    pub fn accessions(&self) -> impl Iterator<Item = &Accession> {
        self.known.keys()
    }

    fn collect(&self) -> Result<usize, IndexError> {
        let named = self.known.values().map(|known| known.blob.clone());
        self.blobs.collect(&named.collect())
    }

    fn writer(&self, options: &ImportOptions) -> Result<IndexWriter, IndexError> {
        let threads = options.threads.clamp(1, 8);
        let least = 16 << 20;
        let options = IndexWriterOptions::builder()
            .num_worker_threads(threads)
            .memory_budget_per_thread((options.heap_bytes / threads).max(least))
            .num_merge_threads(1)
            .build();
        Ok(self.index.writer_with_options(options)?)
    }
}

fn create_index(layout: &Layout, fields: &Fields) -> Result<Index, IndexError> {
    let folder = layout.index();
    std::fs::create_dir_all(&folder).map_err(IndexError::io(&folder))?;
    Ok(Index::builder()
        .schema(fields.schema.clone())
        .tokenizers(Fields::tokenizers())
        .create_in_dir(&folder)?)
}

fn known_filings(index: &Index, fields: &Fields) -> Result<HashMap<Accession, Known>, IndexError> {
    let reader = index
        .reader_builder()
        .reload_policy(ReloadPolicy::Manual)
        .try_into()?;
    let snapshot = Snapshot::new(fields, reader.searcher())?;
    let mut known = HashMap::new();
    for (meta, document) in snapshot.filings(fields, &Filter::default())? {
        let record: FilingRecord = decode(fields.record, &document)?;
        let accession = meta.accession.clone();
        let blob = record.blob;
        known.insert(accession, Known { meta, blob });
    }
    Ok(known)
}
