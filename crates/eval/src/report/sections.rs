//! The parts of a report: what was run, quality and cost of every run, what the differences support,
//! parts of the dataset, the worst questions with their traces.

use footnote_store::BlockingStore;
use serde_json::Value;

use super::document::Block;
use super::plot::{Mark, Plot};
use super::{Measured, Published};
use crate::EvalError;

/// Worst questions shown.
const WORST: usize = 10;
/// Longest text of a prompt, output or trace that is shown, in characters.
const SHOWN_CHARS: usize = 3_000;
/// With more runs than this, each is compared with the best only.
const PAIRWISE_MAX: usize = 6;

pub(super) fn head(measured: &[Measured], notes: &[String]) -> Vec<Block> {
    let mut suites: Vec<String> = measured
        .iter()
        .map(|m| {
            format!(
                "{} ({})",
                m.run.suite,
                &m.run.suite_hash[..12.min(m.run.suite_hash.len())]
            )
        })
        .collect();
    suites.sort();
    suites.dedup();
    let mut blocks = vec![
        Block::Heading(1, "Evaluation".to_owned()),
        Block::Text(format!(
            "Suites (with the start of their SHA-256): {}. Every question of the dataset is in every mean; one \
             without a usable result counts 0. Intervals are 95 % by bootstrap (10,000 resamples) over companies \
             where the dataset names them, else over questions.",
            suites.join(", ")
        )),
    ];
    blocks.extend(
        notes
            .iter()
            .map(|note| Block::Text(format!("Not complete: {note}."))),
    );
    blocks
}

pub(super) fn section(
    store: &BlockingStore,
    runs: &[Measured],
    published: &[Published],
) -> Result<Vec<Block>, EvalError> {
    let first = &runs[0];
    let leading = first.cell.task.leading_metric();
    let mut blocks = vec![
        Block::Heading(
            2,
            format!("{}: {}", first.cell.task.name(), first.cell.dataset),
        ),
        Block::Text(format!(
            "{} questions; SHA-256 of the dataset {}; judged by {leading}; intervals over {}.",
            first.score.ids.len(),
            first.run.dataset_hash,
            if first.report.clustered {
                "companies"
            } else {
                "questions"
            }
        )),
        quality(runs),
        costs(runs),
    ];
    let marks = runs.iter().filter(|run| run.complete()).filter_map(|run| {
        let interval = run.report.metrics.get(leading)?;
        Some(Mark {
            label: run.cell.label(),
            x: run.costs.seconds_mean,
            y: interval.mean,
            low: interval.ci95[0],
            high: interval.ci95[1],
        })
    });
    blocks.push(Block::Plot(Plot::Scatter {
        title: format!("{leading} against time"),
        marks: marks.collect(),
    }));
    blocks.extend(beside(first, published));
    blocks.extend(differences(runs)?);
    if let Some(best) = best(runs) {
        blocks.extend(parts(best, leading));
        blocks.extend(worst(store, best, leading)?);
    }
    Ok(blocks)
}

fn quality(runs: &[Measured]) -> Block {
    let mut rows = Vec::new();
    for run in runs {
        for (metric, interval) in &run.report.metrics {
            let [low, high] = interval.ci95;
            let note = if run.complete() {
                ""
            } else {
                " (not complete)"
            };
            rows.push(vec![
                format!("{}{note}", run.cell.label()),
                metric.clone(),
                format!("{:.4}", interval.mean),
                format!("{low:.4} to {high:.4}"),
                run.report.invalid.to_string(),
            ]);
        }
    }
    Block::Table(
        vec!["run", "metric", "mean", "95 % interval", "without a result"],
        rows,
    )
}

fn costs(runs: &[Measured]) -> Block {
    let rows = runs.iter().map(|run| {
        let costs = &run.costs;
        vec![
            run.cell.label(),
            format!("{} of {}", costs.done, run.score.ids.len()),
            costs.failed.to_string(),
            costs.over_budget.to_string(),
            format!("{:.3}", costs.seconds_mean),
            format!("{:.3}", costs.seconds_p95),
            format!("{:.0}", costs.tokens_in_mean),
            format!("{:.0}", costs.tokens_out_mean),
        ]
    });
    Block::Table(
        vec![
            "run",
            "done",
            "failed",
            "over budget",
            "s a question",
            "95 % within s",
            "tokens read",
            "written",
        ],
        rows.collect(),
    )
}

fn beside(first: &Measured, published: &[Published]) -> Vec<Block> {
    let rows: Vec<Vec<String>> = published
        .iter()
        .filter(|figure| figure.task == first.cell.task)
        .map(|figure| {
            vec![
                figure.system.clone(),
                figure.metric.clone(),
                format!("{:.3}", figure.value),
                if figure.comparable { "yes" } else { "no" }.to_owned(),
                figure.why.clone(),
                figure.source.clone(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    vec![
        Block::Heading(3, "Published".to_owned()),
        Block::Table(
            vec!["system", "metric", "value", "comparable", "why", "source"],
            rows,
        ),
    ]
}

/// The complete run with the best mean in the leading metric.
fn best(runs: &[Measured]) -> Option<&Measured> {
    let mean = |run: &Measured| {
        let metric = run.cell.task.leading_metric();
        run.report
            .metrics
            .get(metric)
            .map_or(0.0, |interval| interval.mean)
    };
    runs.iter()
        .filter(|run| run.complete())
        .max_by(|a, b| mean(a).total_cmp(&mean(b)))
}

/// A sentence for each pair of complete runs, or for each against the best where there are many.
fn differences(runs: &[Measured]) -> Result<Vec<Block>, EvalError> {
    let complete: Vec<&Measured> = runs.iter().filter(|run| run.complete()).collect();
    let Some(best) = best(runs).filter(|_| complete.len() > 1) else {
        return Ok(Vec::new());
    };
    let mut pairs = Vec::new();
    if complete.len() <= PAIRWISE_MAX {
        for (place, one) in complete.iter().enumerate() {
            pairs.extend(complete[place + 1..].iter().map(|other| (*one, *other)));
        }
    } else {
        let others = complete.iter().filter(|run| run.run.id != best.run.id);
        pairs.extend(others.map(|other| (best, *other)));
    }
    let mut blocks = vec![Block::Heading(3, "Differences".to_owned())];
    for (one, other) in pairs {
        let report = one.score.report(Some(&other.score))?;
        if let Some(against) = report.against {
            blocks.push(Block::Text(format!(
                "{} against {}: {}.",
                one.cell.label(),
                other.cell.label(),
                against.verdict
            )));
        }
    }
    let tests = blocks.len() - 1;
    if tests > 1 {
        blocks.push(Block::Text(format!(
            "These are {tests} tests on the same questions: at p < 0.05 about {:.1} of them would speak of a \
             difference where there is none.",
            tests as f64 * 0.05
        )));
    }
    Ok(blocks)
}

fn parts(best: &Measured, leading: &str) -> Vec<Block> {
    let marks: Vec<Mark> = best
        .report
        .groups
        .iter()
        .filter_map(|(name, group)| {
            let interval = group.metrics.get(leading)?;
            Some(Mark {
                label: format!("{name} ({})", group.n),
                x: 0.0,
                y: interval.mean,
                low: interval.ci95[0],
                high: interval.ci95[1],
            })
        })
        .collect();
    if marks.is_empty() {
        return Vec::new();
    }
    let rows = marks.iter().map(|mark| {
        vec![
            mark.label.clone(),
            format!("{:.4}", mark.y),
            format!("{:.4} to {:.4}", mark.low, mark.high),
        ]
    });
    vec![
        Block::Heading(3, format!("By part of the dataset: {}", best.cell.label())),
        Block::Table(
            vec!["part (questions)", "mean", "95 % interval"],
            rows.collect(),
        ),
        Block::Plot(Plot::Bars {
            title: format!("{leading} by part"),
            marks,
        }),
    ]
}

/// The questions on which the best run does worst, with what led there.
fn worst(store: &BlockingStore, best: &Measured, leading: &str) -> Result<Vec<Block>, EvalError> {
    let Some(values) = best.score.values(leading) else {
        return Ok(Vec::new());
    };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut blocks = vec![Block::Heading(
        3,
        format!("Worst questions of {}", best.cell.label()),
    )];
    for row in order.into_iter().take(WORST) {
        let at = i64::try_from(row).unwrap_or(i64::MAX);
        let items = store.wait(store.store().items(&best.run.id, at, 1))?;
        let Some(item) = items.into_iter().find(|item| item.row_no == at) else {
            continue;
        };
        let mut inner = vec![Block::Text(item.question.clone())];
        if let Some(error) = &item.error {
            inner.push(Block::Text(format!("No result: {error}")));
        }
        let said = match &item.result["answer"]["text"] {
            Value::String(text) => text.clone(),
            _ => item.result.to_string(),
        };
        inner.push(Block::Verbatim(shortened(&said)));
        if let Some(id) = &item.trace_id {
            let trace = store.wait(store.store().trace(id))?;
            for event in trace.events.as_array().into_iter().flatten() {
                inner.push(Block::Verbatim(shortened(&event.to_string())));
            }
        }
        for call in store.wait(store.store().calls(&best.run.id, at))? {
            inner.push(Block::Text(format!(
                "A call of the model: {:.0} ms, {} tokens read, {} written.",
                call.time_ms, call.tokens_in, call.tokens_out
            )));
            inner.push(Block::Verbatim(shortened(&call.prompt)));
            inner.push(Block::Verbatim(shortened(&call.output)));
        }
        blocks.push(Block::Details(
            format!(
                "{} (line {}): {leading} {:.3}, {:.2} s",
                item.question_id,
                row + 1,
                values[row],
                item.time_ms / 1e3
            ),
            inner,
        ));
    }
    Ok(blocks)
}

fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= SHOWN_CHARS {
        return text.to_owned();
    }
    let half = SHOWN_CHARS / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(count - half).collect();
    format!(
        "{head}\n… {} characters left out …\n{tail}",
        count - 2 * half
    )
}
