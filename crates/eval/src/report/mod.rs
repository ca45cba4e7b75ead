//! `eval report`: what a run's folder holds, as Markdown and as one HTML page.
//!
//! Scores are computed anew from the store and the dataset, never copied from a run. A run that is not
//! complete is shown as such and compared with nothing. Published figures stand beside, each with its
//! source and whether it may be compared.

mod document;
mod plot;
mod published;
mod sections;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use footnote_store::{BlockingStore, EvalRun, ItemState, Location};

pub use published::{Published, published};

use crate::run::{Items, database, write_predictions};
use crate::suite::{Cell, file_hash};
use crate::{EvalError, Report, Score, score};

/// The report's two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Markdown.
    pub markdown: PathBuf,
    /// One page, self-contained.
    pub html: PathBuf,
    /// What a reader must know before believing it, e.g. runs that are not complete.
    pub notes: Vec<String>,
}

/// A run with its score.
struct Measured {
    run: EvalRun,
    cell: Cell,
    score: Score,
    report: Report,
    costs: Costs,
}

/// What the questions of a run cost.
#[derive(Default)]
struct Costs {
    done: usize,
    failed: usize,
    over_budget: usize,
    seconds_mean: f64,
    seconds_p95: f64,
    tokens_in_mean: f64,
    tokens_out_mean: f64,
}

impl Measured {
    fn complete(&self) -> bool {
        self.costs.done == self.score.ids.len()
    }
}

/// Writes `report.md` and `report.html` into a run's folder. `data` says where the datasets are now, if
/// not where they were.
///
/// # Errors
/// A folder without a run, a dataset that is not there or has changed.
pub fn write_report(folder: &Path, data: Option<&Path>) -> Result<Written, EvalError> {
    let path = database(folder);
    if !path.is_file() {
        return Err(EvalError::Unusable {
            path: folder.to_owned(),
            reason: "no run here; `footnote eval run SUITE.toml --out DIR` makes one".to_owned(),
        });
    }
    let store = BlockingStore::open(&Location::file(&path))?;
    let mut measured = Vec::new();
    let mut notes = Vec::new();
    let mut hashes: BTreeMap<PathBuf, String> = BTreeMap::new();
    for run in store.wait(store.store().runs())? {
        let mut cell = cell_of(&run, &path)?;
        if let Some(data) = data {
            cell.dataset_path = data.join(&cell.dataset);
        }
        if !hashes.contains_key(&cell.dataset_path) {
            hashes.insert(cell.dataset_path.clone(), file_hash(&cell.dataset_path)?);
        }
        if hashes[&cell.dataset_path] != run.dataset_hash {
            return Err(EvalError::Unusable {
                path: cell.dataset_path,
                reason: "not the file that was run: its SHA-256 is another; name the folder of the right one with \
                         --data"
                    .to_owned(),
            });
        }
        let one = measure(&store, run, cell, folder)?;
        if !one.complete() {
            notes.push(format!(
                "{} of {}: {} of {} questions are done; it is compared with nothing",
                one.cell.label(),
                one.cell.dataset,
                one.costs.done,
                one.score.ids.len()
            ));
        }
        measured.push(one);
    }
    if measured.is_empty() {
        return Err(EvalError::Unusable {
            path,
            reason: "no run here; `footnote eval run SUITE.toml --out DIR` makes one".to_owned(),
        });
    }
    let mut blocks = sections::head(&measured, &notes);
    // One section for each task and dataset, in the order in which they were begun.
    let mut sections: Vec<Vec<Measured>> = Vec::new();
    for one in measured {
        let key = |m: &Measured| (m.cell.task, m.run.dataset_hash.clone());
        match sections.iter_mut().find(|s| key(&s[0]) == key(&one)) {
            Some(section) => section.push(one),
            None => sections.push(vec![one]),
        }
    }
    let published = published()?;
    for section in &sections {
        blocks.extend(sections::section(&store, section, &published)?);
    }
    let title = "Footnote evaluation";
    let written = Written {
        markdown: folder.join("report.md"),
        html: folder.join("report.html"),
        notes,
    };
    write(&written.markdown, &document::markdown(&blocks))?;
    write(&written.html, &document::html(title, &blocks))?;
    Ok(written)
}

fn write(path: &Path, text: &str) -> Result<(), EvalError> {
    std::fs::write(path, text).map_err(|source| EvalError::Io {
        path: path.to_owned(),
        source,
    })
}

fn cell_of(run: &EvalRun, path: &Path) -> Result<Cell, EvalError> {
    serde_json::from_value(run.config["cell"].clone()).map_err(|error| EvalError::Unusable {
        path: path.to_owned(),
        reason: format!("the run {} is not this program's: {error}", run.id),
    })
}

fn measure(
    store: &BlockingStore,
    run: EvalRun,
    cell: Cell,
    folder: &Path,
) -> Result<Measured, EvalError> {
    let predictions = folder
        .join("predictions")
        .join(format!("report-{}.jsonl", run.id));
    write_predictions(store, &run.id, &cell, &predictions)?;
    let scored = score(cell.task, &cell.dataset_path, &predictions);
    // It was only the way to the score; the run's own prediction files stay.
    let removed = std::fs::remove_file(&predictions);
    let score = scored?;
    removed.map_err(|source| EvalError::Io {
        path: predictions,
        source,
    })?;
    let report = score.report(None)?;
    let costs = costs(store, &run.id)?;
    Ok(Measured {
        run,
        cell,
        score,
        report,
        costs,
    })
}

fn costs(store: &BlockingStore, run_id: &str) -> Result<Costs, EvalError> {
    let mut costs = Costs::default();
    let mut seconds = Vec::new();
    let (mut tokens_in, mut tokens_out) = (0, 0);
    let mut items = Items::new(store, run_id);
    while let Some(item) = items.next()? {
        costs.done += 1;
        costs.failed += usize::from(item.state == ItemState::Failed);
        costs.over_budget += usize::from(item.state == ItemState::OverBudget);
        seconds.push(item.time_ms / 1e3);
        tokens_in += item.tokens_in;
        tokens_out += item.tokens_out;
    }
    let n = costs.done.max(1) as f64;
    seconds.sort_unstable_by(f64::total_cmp);
    costs.seconds_mean = seconds.iter().sum::<f64>() / n;
    let p95 = ((seconds.len() as f64 * 0.95).ceil() as usize).max(1) - 1;
    costs.seconds_p95 = seconds.get(p95).copied().unwrap_or_default();
    costs.tokens_in_mean = tokens_in as f64 / n;
    costs.tokens_out_mean = tokens_out as f64 / n;
    Ok(costs)
}
