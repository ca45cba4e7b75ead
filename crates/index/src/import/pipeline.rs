//! The threads of an import.
//!
//! Readers take sources and put filings into a short queue; preparers cut them into passages,
//! write their files and hand documents to tantivy's own threads; the caller's thread counts,
//! reports and commits. All queues are bounded, so memory does not grow with the corpus.
//!
//! Invariant: a filing's delete and all its adds happen under one read lock of the writer, and a
//! commit takes the write lock, so no commit sees half a filing.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use footnote_filings::{Accession, Warning};
use tantivy::IndexWriter;

use super::{Failure, ImportOptions, ImportReport, Incoming, Known, Progress, Source, Splitter};
use crate::IndexError;
use crate::blobs::{Blobs, StoredFiling};
use crate::schema::{Fields, FilingRecord};

/// Filings read but not yet prepared. They are whole filings, so few.
const FILINGS_WAITING: usize = 2;
/// Events not yet counted.
const EVENTS_WAITING: usize = 64;
/// How long the committing thread sleeps at most when nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// What the threads tell the caller's.
enum Event {
    SourceDone { name: String, bytes: u64 },
    Unchanged(Accession),
    Indexed(Box<Indexed>),
    Failed(Failure),
    Fatal(IndexError),
}

struct Indexed {
    known: Known,
    replaced: bool,
    passages: usize,
    facts: usize,
    warnings: Vec<Warning>,
}

/// Everything the threads share.
pub(super) struct Run<'a> {
    pub fields: &'a Fields,
    pub blobs: &'a Blobs,
    pub known: &'a HashMap<Accession, Known>,
    pub splitter: &'a Splitter,
    pub options: &'a ImportOptions,
}

/// The state of one run.
struct Shared<'a, I> {
    run: &'a Run<'a>,
    sources: Mutex<I>,
    waiting: Mutex<Receiver<(String, Incoming)>>,
    /// Which source gave which filing in this run, with what told it apart.
    claimed: Mutex<HashMap<Accession, (String, String)>>,
    writer: RwLock<IndexWriter>,
    /// Filings written since the last commit, which the next one must find durable.
    written: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// A guard of a lock that a panicking thread held is as good as any: what these locks protect is
/// whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run<'_> {
    /// Runs the import to its end and gives the report and what the corpus now knows.
    pub fn run<I>(
        &self,
        writer: IndexWriter,
        sources: I,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(ImportReport, HashMap<Accession, Known>), IndexError>
    where
        I: Iterator<Item = Source> + Send,
    {
        let threads = self.options.threads.clamp(1, 8);
        let (filings_in, filings_out) = sync_channel(FILINGS_WAITING);
        let (events_in, events_out) = sync_channel(EVENTS_WAITING);
        let total = match sources.size_hint() {
            (least, Some(most)) if least == most => Some(most),
            _ => None,
        };
        let shared = Shared {
            run: self,
            sources: Mutex::new(sources),
            waiting: Mutex::new(filings_out),
            claimed: Mutex::default(),
            writer: RwLock::new(writer),
            written: Mutex::default(),
            stop: AtomicBool::new(false),
        };
        let mut ledger = Ledger::new(total);
        let outcome = std::thread::scope(|scope| {
            for _ in 0..threads {
                let (filings, events) = (filings_in.clone(), events_in.clone());
                scope.spawn(|| shared.read(filings, events));
                let events = events_in.clone();
                scope.spawn(|| shared.prepare(events));
            }
            // The queues end when the threads that fill them do.
            drop((filings_in, events_in));
            let outcome = self.collect(&shared, &events_out, &mut ledger, progress);
            if outcome.is_err() {
                shared.stop.store(true, Ordering::Relaxed);
                // Threads blocked on a full queue must see the end.
                while events_out.recv().is_ok() {}
            }
            outcome
        });
        outcome?;
        shared.commit()?;
        ledger.commit();
        progress(&ledger.progress);
        let writer = shared.writer.into_inner();
        writer
            .unwrap_or_else(PoisonError::into_inner)
            .wait_merging_threads()?;
        Ok((ledger.report, ledger.known))
    }

    /// Counts, reports and commits until the last thread is done.
    fn collect<I>(
        &self,
        shared: &Shared<'_, I>,
        events: &Receiver<Event>,
        ledger: &mut Ledger,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), IndexError> {
        let mut last_commit = Instant::now();
        loop {
            match events.recv_timeout(TICK) {
                Ok(Event::Fatal(error)) => return Err(error),
                Ok(event) => {
                    ledger.enter(event);
                    progress(&ledger.progress);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let due = ledger.passages_pending >= self.options.commit_passages
                || (ledger.pending() > 0 && last_commit.elapsed() >= self.options.commit_after);
            if due {
                // Filings already handed over but still in the event queue are committed too;
                // counting them only at the next commit errs on the safe side.
                shared.commit()?;
                ledger.commit();
                progress(&ledger.progress);
                last_commit = Instant::now();
            }
        }
    }
}

impl<I> Shared<'_, I> {
    /// Makes all that was handed over until now the corpus's state.
    fn commit(&self) -> Result<(), IndexError> {
        let mut writer = self.writer.write().unwrap_or_else(PoisonError::into_inner);
        let written = std::mem::take(&mut *lock(&self.written));
        self.run.blobs.sync(&written)?;
        writer.commit()?;
        Ok(())
    }
}

impl<I: Iterator<Item = Source> + Send> Shared<'_, I> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Takes sources one by one and puts their filings into the queue.
    fn read(&self, filings: SyncSender<(String, Incoming)>, events: SyncSender<Event>) {
        while !self.stopped() {
            let Some(source) = lock(&self.sources).next() else {
                return;
            };
            let Source { name, bytes, read } = source;
            let failed = |message: String| {
                events.send(Event::Failed(Failure {
                    source: name.clone(),
                    message,
                }))
            };
            let mut readings = match catch_unwind(AssertUnwindSafe(read)) {
                Ok(readings) => Some(readings),
                Err(panic) => {
                    let _ = failed(panicked(&*panic));
                    None
                }
            };
            while let Some(iterator) = readings.as_mut() {
                if self.stopped() {
                    return;
                }
                match catch_unwind(AssertUnwindSafe(|| iterator.next())) {
                    Ok(Some(Ok(incoming))) => {
                        if filings.send((name.clone(), incoming)).is_err() {
                            return;
                        }
                    }
                    Ok(Some(Err(error))) => {
                        let _ = failed(error.to_string());
                    }
                    Ok(None) => readings = None,
                    Err(panic) => {
                        let _ = failed(panicked(&*panic));
                        readings = None;
                    }
                }
            }
            if events.send(Event::SourceDone { name, bytes }).is_err() {
                return;
            }
        }
    }

    /// Takes filings from the queue and indexes them.
    fn prepare(&self, events: SyncSender<Event>) {
        loop {
            // Also after a stop the queue is emptied, so that no reader waits for ever.
            let next = lock(&self.waiting).recv();
            let Ok((source, incoming)) = next else {
                return;
            };
            if self.stopped() {
                continue;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| self.index(&source, incoming)));
            let event = match outcome {
                Ok(Ok(event)) => event,
                Ok(Err(error)) => Event::Fatal(error),
                Err(panic) => Event::Failed(Failure {
                    source,
                    message: panicked(&*panic),
                }),
            };
            if events.send(event).is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
    }

    fn index(&self, source: &str, incoming: Incoming) -> Result<Event, IndexError> {
        let Incoming { filing, warnings } = incoming;
        let accession = filing.meta.accession.clone();
        let before = self.run.known.get(&accession);
        if let Some(event) = self.claim(source, &accession, &filing.meta.sha256) {
            return Ok(event);
        }
        if !self.run.options.force && before.is_some_and(|known| known.same(&filing.meta)) {
            return Ok(Event::Unchanged(accession));
        }

        let passages = (self.run.splitter)(&filing);
        let stored = StoredFiling { filing, warnings };
        let blob = self.run.blobs.write(&stored)?;
        let StoredFiling { filing, warnings } = stored;
        let record = FilingRecord {
            blob: blob.clone(),
            passages: passages.len(),
            pages: filing.pages.len(),
            facts: filing.facts.len(),
            warnings: warnings.len(),
            text_bytes: filing.text.len(),
            sections: filing.sections.clone(),
        };
        let documents = self.run.fields.documents(&filing, &record, &passages);
        let documents = match documents {
            Ok(documents) => documents,
            Err(error) => {
                return Ok(Event::Failed(Failure {
                    source: source.to_owned(),
                    message: format!("{accession} cannot be stored: {error}"),
                }));
            }
        };
        {
            let writer = self.writer.read().unwrap_or_else(PoisonError::into_inner);
            lock(&self.written).push(blob.clone());
            writer.delete_term(self.run.fields.accession_term(&accession));
            for document in documents {
                writer.add_document(document)?;
            }
        }
        Ok(Event::Indexed(Box::new(Indexed {
            replaced: before.is_some(),
            passages: passages.len(),
            facts: filing.facts.len(),
            warnings,
            known: Known {
                meta: filing.meta,
                blob,
            },
        })))
    }

    /// Notes that this run has the filing; what to report where it already had it. Two sources
    /// that give the same filing with different bytes are a mistake the user must know of.
    fn claim(&self, source: &str, accession: &Accession, sha256: &str) -> Option<Event> {
        let mut claimed = lock(&self.claimed);
        match claimed.get(accession) {
            None => {
                claimed.insert(accession.clone(), (source.to_owned(), sha256.to_owned()));
                None
            }
            Some((_, same)) if same == sha256 => Some(Event::Unchanged(accession.clone())),
            Some((first, _)) => Some(Event::Failed(Failure {
                source: source.to_owned(),
                message: format!(
                    "{accession} was already given by {first} with other content, which was kept; \
                     give one of them another accession in a manifest, or import them apart"
                ),
            })),
        }
    }
}

/// The message of a panic in a reader or splitter.
fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    format!("the reader failed unexpectedly ({message}); please report this with the file")
}

/// What the caller's thread counts.
struct Ledger {
    progress: Progress,
    report: ImportReport,
    known: HashMap<Accession, Known>,
    passages_pending: usize,
}

impl Ledger {
    fn new(sources_total: Option<usize>) -> Ledger {
        Ledger {
            progress: Progress {
                sources_total,
                ..Progress::default()
            },
            report: ImportReport::default(),
            known: HashMap::new(),
            passages_pending: 0,
        }
    }

    fn pending(&self) -> usize {
        self.progress.imported - self.progress.committed
    }

    fn commit(&mut self) {
        self.progress.committed = self.progress.imported;
        self.passages_pending = 0;
    }

    fn enter(&mut self, event: Event) {
        let progress = &mut self.progress;
        match event {
            Event::SourceDone { name, bytes } => {
                progress.sources_done += 1;
                progress.bytes_done += bytes;
                progress.last = name;
            }
            Event::Unchanged(accession) => {
                progress.unchanged += 1;
                progress.last = accession.to_string();
                self.report.unchanged += 1;
            }
            Event::Indexed(indexed) => {
                let accession = indexed.known.meta.accession.clone();
                progress.imported += 1;
                progress.last = accession.to_string();
                self.passages_pending += indexed.passages;
                self.report.passages += indexed.passages;
                self.report.facts += indexed.facts;
                match indexed.replaced {
                    true => self.report.replaced.push(accession.clone()),
                    false => self.report.added.push(accession.clone()),
                }
                let warnings = indexed.warnings.into_iter();
                self.report
                    .warnings
                    .extend(warnings.map(|warning| (accession.clone(), warning)));
                self.known.insert(accession, indexed.known);
            }
            Event::Failed(failure) => {
                progress.failed += 1;
                progress.last.clone_from(&failure.source);
                self.report.failed.push(failure);
            }
            // Handled by the caller, which stops.
            Event::Fatal(_) => {}
        }
    }
}
