//! Running a suite: every question of every cell once, whatever happens in between.
//!
//! A question's outcome is in the store, whole, before the next is given to the same worker; what is
//! there is never asked again. So a run can be killed at any moment and goes on where it stood. Several
//! questions are in hand at once, and meet in the model's own queue.
//!
//! What answers is a [`Bench`] of the caller: this module must not know how rankers and agents are
//! built, where models lie, or how progress is shown.

mod questions;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use footnote_engine::CancellationToken;
use footnote_store::{BlockingStore, EvalItem, ItemState, Location, NewEvalRun, NewTrace, now_ms};
use serde_json::{Map, Value, json};

pub use questions::Posed;
pub use watch::Watch;

use crate::suite::{Cell, file_hash};
use crate::{EvalError, Suite};

/// Items read from the store at once.
const PAGE: i64 = 256;

/// Makes what answers the questions of a cell.
pub trait Bench {
    /// Loads what the cell needs, once.
    ///
    /// # Errors
    /// Why the cell cannot be run; the suite is then refused as a whole.
    fn open(&self, cell: &Cell) -> Result<Box<dyn OpenCell>, String>;
}

/// A cell with its model loaded; shared by the workers.
pub trait OpenCell: Sync {
    /// What one worker asks. Its models must come through `watch`, which keeps calls and budget.
    ///
    /// # Errors
    /// Why there is none.
    fn worker(&self, watch: &Watch) -> Result<Box<dyn Worker + '_>, String>;
}

/// Answers one question after another.
pub trait Worker {
    /// The outcome, or why there is none.
    ///
    /// # Errors
    /// A sentence for the report.
    fn answer(&mut self, question: &Posed) -> Result<Outcome, String>;
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The fields of the prediction beside its id.
    pub prediction: Map<String, Value>,
    /// The trace, for answers.
    pub trace: Option<NewTrace>,
}

/// How far a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Questions with an outcome, those of earlier runs included.
    pub done: usize,
    /// Questions done by this run.
    pub done_now: usize,
    /// Questions of the dataset.
    pub total: usize,
}

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Go on with what the folder holds.
    pub resume: bool,
    /// Ask at most so many questions this time.
    pub limit: Option<usize>,
    /// Abort the process after so many questions, to test that nothing is lost.
    pub abort_after: Option<usize>,
    /// Ends the run after the questions in hand; what is done is kept, and resumed from.
    pub stop: CancellationToken,
}

/// A cell after a run.
#[derive(Clone, Debug, PartialEq)]
pub struct CellRun {
    /// The cell.
    pub cell: Cell,
    /// Its name in the store.
    pub run_id: String,
    /// How far it is.
    pub progress: Progress,
    /// Questions without a result, over all runs.
    pub failed: usize,
    /// Its predictions as a file that `eval score` takes.
    pub predictions: PathBuf,
}

/// The database of a run's folder.
pub fn database(folder: &Path) -> PathBuf {
    folder.join("run.db")
}

/// Runs what is left of a suite.
///
/// # Errors
/// A dataset that cannot be read whole, a cell that cannot be opened, a folder that holds a run
/// already, a store that refuses. Questions that fail are no error: each is kept with its reason.
pub fn run_suite(
    suite: (&Suite, &str),
    cells: &[Cell],
    bench: &dyn Bench,
    folder: &Path,
    options: &RunOptions,
    progress: &(dyn Fn(&Cell, Progress) + Sync),
) -> Result<Vec<CellRun>, EvalError> {
    let (suite, suite_hash) = suite;
    let path = database(folder);
    if path.exists() && !options.resume {
        return Err(EvalError::Unusable {
            path: folder.to_owned(),
            reason: "it holds a run already; go on with it by --resume, or name another folder"
                .to_owned(),
        });
    }
    // All datasets are read through before anything is asked: a broken line is better known now.
    let mut sized: BTreeMap<&Path, (String, usize)> = BTreeMap::new();
    for cell in cells {
        let dataset = cell.dataset_path.as_path();
        if sized.contains_key(dataset) {
            continue;
        }
        let mut total = 0;
        for question in questions::posed(cell.task, &cell.dataset_path)? {
            question?;
            total += 1;
        }
        if total == 0 {
            return Err(EvalError::Unusable {
                path: cell.dataset_path.clone(),
                reason: "no question".to_owned(),
            });
        }
        sized.insert(dataset, (file_hash(dataset)?, total));
    }
    let store = BlockingStore::open(&Location::file(&path))?;
    let left = AtomicUsize::new(options.limit.unwrap_or(usize::MAX));
    let until_abort = AtomicUsize::new(options.abort_after.unwrap_or(usize::MAX));
    let mut runs = Vec::new();
    for cell in cells {
        let (dataset_hash, total) = sized[cell.dataset_path.as_path()].clone();
        let run_id = cell.run_id(&dataset_hash);
        let run = NewEvalRun {
            id: run_id.clone(),
            suite: suite.name.clone(),
            suite_hash: suite_hash.to_owned(),
            task: cell.task.name().to_owned(),
            dataset: cell.dataset.clone(),
            dataset_hash,
            ranker: cell.ranker.clone(),
            model: cell.model.clone().unwrap_or_default(),
            cache: cell.cache.clone(),
            compression: cell.compression.clone(),
            config: json!({ "cell": cell, "parallel": suite.parallel }),
            items_total: i64::try_from(total).unwrap_or(i64::MAX),
        };
        store.wait(store.store().begin_run(&run))?;
        let job = Job {
            cell,
            run_id: &run_id,
            store: &store,
            total,
            workers: suite.parallel,
            left: &left,
            stop: &options.stop,
            until_abort: &until_abort,
            progress,
        };
        let progress = job.run(bench)?;
        if progress.done == total {
            store.wait(store.store().finish_run(&run_id))?;
        }
        let predictions = folder.join("predictions").join(format!(
            "{}-{}-{}.jsonl",
            cell.task.name(),
            file_name(&cell.label()),
            &run_id[..8]
        ));
        let failed = write_predictions(&store, &run_id, cell, &predictions)?;
        runs.push(CellRun {
            cell: cell.clone(),
            run_id,
            progress,
            failed,
            predictions,
        });
    }
    Ok(runs)
}

/// A cell's work.
struct Job<'a> {
    cell: &'a Cell,
    run_id: &'a str,
    store: &'a BlockingStore,
    total: usize,
    workers: usize,
    /// Questions that may still be asked in this run.
    left: &'a AtomicUsize,
    stop: &'a CancellationToken,
    until_abort: &'a AtomicUsize,
    progress: &'a (dyn Fn(&Cell, Progress) + Sync),
}

impl Job<'_> {
    fn run(&self, bench: &dyn Bench) -> Result<Progress, EvalError> {
        let store = self.store;
        let there: BTreeSet<i64> = store.wait(store.store().rows_done(self.run_id))?;
        let before = Progress {
            done: there.len(),
            done_now: 0,
            total: self.total,
        };
        (self.progress)(self.cell, before);
        let none_left = self.left.load(Ordering::Relaxed) == 0 || self.stop.is_cancelled();
        if there.len() >= self.total || none_left {
            return Ok(before);
        }
        let refused = |reason: String| EvalError::Cell {
            cell: self.cell.label(),
            reason,
        };
        let open = bench.open(self.cell).map_err(refused)?;
        let done_now = AtomicUsize::new(0);
        let failure: Mutex<Option<EvalError>> = Mutex::new(None);
        let (sender, receiver) = mpsc::sync_channel::<Posed>(self.workers);
        // The receiving end lives only in the workers: when the last one has given up, giving out
        // more questions fails, and the loop below ends.
        let receiver = Arc::new(Mutex::new(receiver));
        let read = std::thread::scope(|scope| {
            for _ in 0..self.workers {
                let receiver = Arc::clone(&receiver);
                let (open, failure, done_now) = (&open, &failure, &done_now);
                scope.spawn(move || {
                    let worked = self.work(open.as_ref(), &receiver, |now| {
                        let now = done_now.fetch_add(now, Ordering::Relaxed) + now;
                        let progress = Progress {
                            done: before.done + now,
                            done_now: now,
                            total: self.total,
                        };
                        (self.progress)(self.cell, progress);
                    });
                    if let Err(error) = worked {
                        lock(failure).get_or_insert(error);
                    }
                });
            }
            drop(receiver);
            self.give_out(&there, sender, &failure)
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        read?;
        let now = done_now.into_inner();
        Ok(Progress {
            done: before.done + now,
            done_now: now,
            total: self.total,
        })
    }

    /// Gives the questions that are not done to the workers, as far as the limit goes.
    fn give_out(
        &self,
        there: &BTreeSet<i64>,
        sender: mpsc::SyncSender<Posed>,
        failure: &Mutex<Option<EvalError>>,
    ) -> Result<(), EvalError> {
        for question in questions::posed(self.cell.task, &self.cell.dataset_path)? {
            let question = question?;
            if there.contains(&row_no(&question)) {
                continue;
            }
            if self.left.load(Ordering::Relaxed) == 0 || self.stop.is_cancelled() {
                break;
            }
            self.left.fetch_sub(1, Ordering::Relaxed);
            if lock(failure).is_some() || sender.send(question).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn work(
        &self,
        open: &dyn OpenCell,
        receiver: &Mutex<mpsc::Receiver<Posed>>,
        done: impl Fn(usize),
    ) -> Result<(), EvalError> {
        let refused = |reason: String| EvalError::Cell {
            cell: self.cell.label(),
            reason,
        };
        let watch = Watch::new(self.cell.budget);
        let mut worker = open.worker(&watch).map_err(refused)?;
        loop {
            let Ok(question) = lock(receiver).recv() else {
                return Ok(());
            };
            watch.begin();
            let outcome = worker.answer(&question);
            let (calls, time, over) = watch.end();
            let (state, outcome, error) = match (outcome, over) {
                (_, Some(reason)) => (ItemState::OverBudget, None, Some(reason)),
                (Ok(outcome), None) => (ItemState::Done, Some(outcome), None),
                (Err(reason), None) => (ItemState::Failed, None, Some(reason)),
            };
            let (prediction, trace) = match outcome {
                Some(outcome) => (Value::Object(outcome.prediction), outcome.trace),
                None => (Value::Null, None),
            };
            let item = EvalItem {
                run_id: self.run_id.to_owned(),
                row_no: row_no(&question),
                question_id: question.id,
                question: question.question,
                state,
                result: prediction,
                error,
                time_ms: time.as_secs_f64() * 1e3,
                tokens_in: calls.iter().map(|call| call.tokens_in).sum(),
                tokens_out: calls.iter().map(|call| call.tokens_out).sum(),
                trace_id: None,
                finished_ms: now_ms(),
            };
            let store = self.store;
            store.wait(store.store().add_item(&item, &calls, trace.as_ref()))?;
            if self.until_abort.fetch_sub(1, Ordering::Relaxed) == 1 {
                std::process::abort();
            }
            done(1);
        }
    }
}

fn row_no(question: &Posed) -> i64 {
    // A dataset of more lines than i64 holds cannot be read in anybody's lifetime.
    i64::try_from(question.row).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Workers do not panic with a lock held; what it holds is whole in any case.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a run's outcomes as a prediction file, a line for every line of the dataset, so that repeated
/// ids keep their places; gives how many have no result.
pub(crate) fn write_predictions(
    store: &BlockingStore,
    run_id: &str,
    cell: &Cell,
    path: &Path,
) -> Result<usize, EvalError> {
    let unwritable = |source| EvalError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(unwritable)?;
    }
    let partial = path.with_extension("partial");
    let file = std::fs::File::create(&partial).map_err(unwritable)?;
    let mut out = BufWriter::new(file);
    let mut failed = 0;
    let mut items = Items::new(store, run_id);
    for question in questions::posed(cell.task, &cell.dataset_path)? {
        let question = question?;
        let mut line = Map::new();
        line.insert("id".to_owned(), Value::String(question.id.clone()));
        match items.at(row_no(&question))? {
            Some(EvalItem {
                result: Value::Object(fields),
                ..
            }) => line.extend(fields),
            Some(item) => {
                failed += 1;
                line.insert("error".to_owned(), json!(item.error));
            }
            None => {
                line.insert("error".to_owned(), json!("not asked yet"));
            }
        }
        serde_json::to_writer(&mut out, &line).map_err(|error| unwritable(error.into()))?;
        out.write_all(b"\n").map_err(unwritable)?;
    }
    let file = out
        .into_inner()
        .map_err(|error| unwritable(error.into_error()))?;
    file.sync_all().map_err(unwritable)?;
    std::fs::rename(&partial, path).map_err(unwritable)?;
    Ok(failed)
}

/// A run's items in row order, a page in memory at a time.
pub(crate) struct Items<'a> {
    store: &'a BlockingStore,
    run_id: &'a str,
    page: VecDeque<EvalItem>,
    next: i64,
    ended: bool,
}

impl<'a> Items<'a> {
    pub(crate) fn new(store: &'a BlockingStore, run_id: &'a str) -> Items<'a> {
        Items {
            store,
            run_id,
            page: VecDeque::new(),
            next: 0,
            ended: false,
        }
    }

    /// The item of a row, if there is one; rows must be asked for in order.
    fn at(&mut self, row: i64) -> Result<Option<EvalItem>, EvalError> {
        while let Some(item) = self.peek()? {
            if item.row_no > row {
                return Ok(None);
            }
            let item = self.page.pop_front();
            if let Some(item) = item.filter(|item| item.row_no == row) {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// The next item.
    pub(crate) fn next(&mut self) -> Result<Option<EvalItem>, EvalError> {
        self.peek()?;
        Ok(self.page.pop_front())
    }

    fn peek(&mut self) -> Result<Option<&EvalItem>, EvalError> {
        if self.page.is_empty() && !self.ended {
            let store = self.store.store();
            let page = self.store.wait(store.items(self.run_id, self.next, PAGE))?;
            match page.last() {
                Some(last) => self.next = last.row_no + 1,
                None => self.ended = true,
            }
            self.page = page.into();
        }
        Ok(self.page.front())
    }
}

/// A label as part of a file's name.
fn file_name(label: &str) -> String {
    let name: String = label
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    name.split('_')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("_")
        .chars()
        .take(80)
        .collect()
}
