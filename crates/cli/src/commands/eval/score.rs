//! `eval score`: metrics with intervals, and paired differences to another run.

use footnote_eval::{Report, Task};

use crate::args::{ScoreArgs, TaskName};
use crate::commands::Context;
use crate::output::{Outcome, Output};

pub fn run(args: &ScoreArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let task = match args.task {
        TaskName::DocTypes => Task::DocTypes,
        TaskName::Passages => Task::Passages,
        TaskName::Pages => Task::Pages,
        TaskName::Answers => Task::Answers,
    };
    let ours = footnote_eval::score(task, &args.dataset, &args.predictions)?;
    let theirs = match &args.against {
        Some(path) => Some(footnote_eval::score(task, &args.dataset, path)?),
        None => None,
    };
    for note in ours
        .notes
        .iter()
        .chain(theirs.iter().flat_map(|score| &score.notes))
    {
        output.warning(note);
    }
    let report = ours.report(theirs.as_ref())?;
    if args.json {
        output.json(&report)?;
    } else {
        table(&report, output)?;
    }
    let partly = ours.invalid > 0 || theirs.is_some_and(|score| score.invalid > 0);
    Ok(if partly {
        Outcome::Partly
    } else {
        Outcome::Done
    })
}

fn table(report: &Report, output: &Output) -> anyhow::Result<()> {
    let by = if report.clustered {
        "companies"
    } else {
        "questions"
    };
    output.line(&format!(
        "{} questions, {} without a usable prediction (they count 0); 95 % intervals by bootstrap over {by}",
        report.n, report.invalid
    ))?;
    for (name, interval) in &report.metrics {
        let [low, high] = interval.ci95;
        let mut line = format!("{name:<14} {:.4}  [{low:.4}, {high:.4}]", interval.mean);
        if let Some(against) = &report.against
            && let (Some(other), Some(difference)) =
                (against.metrics.get(name), against.differences.get(name))
        {
            let [low, high] = difference.ci95;
            line.push_str(&format!(
                "   other {:.4}   difference {:+.4}  [{low:+.4}, {high:+.4}]  p = {:.3}",
                other.mean, difference.mean, difference.p
            ));
        }
        output.line(&line)?;
    }
    if let Some(against) = &report.against {
        output.line(&against.verdict)?;
    }
    let leading = report.task.leading_metric();
    for (name, group) in &report.groups {
        if let Some(interval) = group.metrics.get(leading) {
            let [low, high] = interval.ci95;
            output.line(&format!(
                "{leading} of {name} ({} questions): {:.4}  [{low:.4}, {high:.4}]",
                group.n, interval.mean
            ))?;
        }
    }
    Ok(())
}
