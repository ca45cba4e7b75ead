//! `eval run`: a suite's cells one after another, with progress, to be killed and resumed at will.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use footnote_eval::{Cell, Progress, RunOptions, Suite, run_suite};
use indicatif::ProgressBar;
use serde_json::json;

use super::bench::{Rankers, asks_model, check_policies};
use crate::args::RunArgs;
use crate::commands::{Context, Usage};
use crate::output::Outcome;

/// How often a run says how far it is where there is no terminal for a bar.
const TELL_EVERY: Duration = Duration::from_secs(30);

pub fn run(args: &RunArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let (suite, hash) = Suite::read(&args.suite)?;
    let beside = args.suite.parent().unwrap_or_else(|| Path::new(""));
    let data = args.data.as_deref().unwrap_or(beside);
    let refused = |reason: String| Usage(format!("{}: {reason}", args.suite.display()));
    let cells = suite
        .cells(data, |ranker| asks_model(suite.task, ranker))
        .map_err(refused)?;
    for cell in &cells {
        check_policies(cell).map_err(refused)?;
    }
    let options = RunOptions {
        resume: args.resume,
        limit: args.limit,
        abort_after: args.abort_after,
        ..RunOptions::default()
    };
    let shown = Shown {
        context,
        cell: Mutex::new(None),
    };
    let runs = run_suite(
        (&suite, &hash),
        &cells,
        &Rankers {
            context,
            loaded: &[],
        },
        &args.out,
        &options,
        &|cell, progress| shown.tell(cell, progress),
    )?;
    shown.end();
    let mut partly = false;
    for run in &runs {
        let Progress { done, total, .. } = run.progress;
        partly |= done < total || run.failed > 0;
        if run.failed > 0 {
            output.warning(&format!(
                "{} of {}: {} questions without a result, each with its reason in {}",
                run.cell.label(),
                run.cell.dataset,
                run.failed,
                run.predictions.display()
            ));
        }
    }
    if args.json {
        let list: Vec<_> = runs
            .iter()
            .map(|run| {
                json!({
                    "run": run.run_id,
                    "label": run.cell.label(),
                    "dataset": run.cell.dataset,
                    "done": run.progress.done,
                    "done_now": run.progress.done_now,
                    "total": run.progress.total,
                    "failed": run.failed,
                    "predictions": run.predictions,
                })
            })
            .collect();
        output.json(&list)?;
    } else {
        for run in &runs {
            output.line(&format!(
                "{} of {}: {} of {} questions done ({} now)",
                run.cell.label(),
                run.cell.dataset,
                run.progress.done,
                run.progress.total,
                run.progress.done_now
            ))?;
        }
        output.step(&format!(
            "`footnote eval report {}` writes the report",
            args.out.display()
        ));
    }
    Ok(if partly {
        Outcome::Partly
    } else {
        Outcome::Done
    })
}

/// Progress as the user sees it: a bar in a terminal, else a line now and then.
struct Shown<'a> {
    context: &'a Context,
    cell: Mutex<Option<Current>>,
}

struct Current {
    label: String,
    bar: ProgressBar,
    started: Instant,
    told: Instant,
}

impl Shown<'_> {
    fn tell(&self, cell: &Cell, progress: Progress) {
        let label = format!("{} of {}", cell.label(), cell.dataset);
        // Only drawing happens under the lock; a poisoned one is still good for that.
        let mut current = self
            .cell
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if current
            .as_ref()
            .is_none_or(|current| current.label != label)
        {
            if let Some(previous) = current.take() {
                previous.bar.finish_and_clear();
            }
            let total = u64::try_from(progress.total).unwrap_or(u64::MAX);
            *current = Some(Current {
                bar: self.context.output.items_bar(&label, total),
                started: Instant::now(),
                told: Instant::now(),
                label,
            });
        }
        let Some(current) = current.as_mut() else {
            return;
        };
        let done = u64::try_from(progress.done).unwrap_or(u64::MAX);
        if progress.done_now == 0 {
            // What earlier runs did must not count into the time that is left.
            current.bar.set_position(done);
            current.bar.reset_eta();
            return;
        }
        current.bar.set_position(done);
        if current.bar.is_hidden() && current.told.elapsed() > TELL_EVERY {
            current.told = Instant::now();
            let each = current.started.elapsed().as_secs_f64() / progress.done_now as f64;
            let left = each * progress.total.saturating_sub(progress.done) as f64;
            self.context.output.step(&format!(
                "{}: {} of {} questions done, about {:.0} min left",
                current.label,
                progress.done,
                progress.total,
                (left / 60.0).ceil()
            ));
        }
    }

    fn end(&self) {
        let current = self
            .cell
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(current) = current {
            current.bar.finish_and_clear();
        }
    }
}
