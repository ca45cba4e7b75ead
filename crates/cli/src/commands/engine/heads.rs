//! `engine heads`: the heads of a draft model that find evidence best.
//!
//! Reads labelled prompts with the draft as `specpc-heads` will, and leaves the choice to `footnote_eval::evidence`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use footnote_engine::compress::{
    Draft, EvidenceHead, EvidenceHeads, HeadRow, Selection, WINDOW, ranges_of, select,
};
use footnote_engine::{Heads, Message, Prompt, Role};
use footnote_eval::evidence::{Choosing, SeenPrompt, choose, scales};
use footnote_eval::{difference, interval, read_lines};
use serde::Deserialize;
use serde_json::json;

use crate::args::HeadsArgs;
use crate::commands::Context;
use crate::commands::engine::draft;
use crate::output::{Outcome, Output};

/// A line of the data.
#[derive(Deserialize)]
struct Labelled {
    question: String,
    passages: Vec<String>,
    /// Which passages hold the evidence.
    relevant: Vec<usize>,
    /// The very lines, where they are known; else all of the relevant passages counts.
    #[serde(default)]
    evidence: Vec<String>,
    /// What must not be on both sides: a company, a document.
    group: Option<String>,
}

/// A prompt as the draft saw it.
struct Seen {
    group: String,
    tokens: Vec<u32>,
    rows: Vec<HeadRow>,
    evidence: BTreeSet<usize>,
    /// Share of the evidence that SpecPC's rule keeps, by budget.
    by_specpc: f64,
}

pub fn run(args: &HeadsArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let draft = draft(&args.model, None, context)?;
    let (seen, failed) = read(args, &draft, output)?;
    if seen.len() < 4 {
        bail!(
            "{} gives {} usable prompts; at least 4 are needed, each with evidence and longer than the budgets",
            args.data.display(),
            seen.len()
        );
    }
    let names: Vec<(usize, usize)> = seen[0].rows.iter().map(|(head, _)| *head).collect();
    let rows: Vec<Vec<HeadRow>> = seen.iter().map(|seen| seen.rows.clone()).collect();
    let scales = scales(&rows);
    let prompts: Vec<SeenPrompt> = seen
        .iter()
        .map(|seen| {
            let tokenizer = draft.tokenizer();
            let group = seen.group.clone();
            SeenPrompt::new(
                group,
                &seen.rows,
                &scales,
                &seen.tokens,
                tokenizer,
                &seen.evidence,
            )
        })
        .collect();
    let choosing = Choosing {
        budgets: args.budget.iter().map(|budget| *budget as usize).collect(),
        a_round: args.a_round as usize,
        most: args.most as usize,
        layers: args.layers.map_or(usize::MAX, |layers| layers as usize),
    };
    let bar = output.items_bar("choosing heads", 0);
    let chosen = choose(&prompts, &names, &choosing, &|| bar.inc(1));
    bar.finish_and_clear();
    let by_specpc: Vec<f64> = seen.iter().map(|seen| seen.by_specpc).collect();
    let groups: Vec<Option<&str>> = seen.iter().map(|seen| Some(seen.group.as_str())).collect();
    let gain = difference(&chosen.recalls, &by_specpc, &groups);
    let file = EvidenceHeads {
        model: args.model.clone(),
        found_on: args
            .data
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        prompts: seen.len(),
        budgets: choosing.budgets.clone(),
        recall: interval(&chosen.recalls, &groups).mean,
        recall_all_heads: interval(&by_specpc, &groups).mean,
        heads: chosen
            .heads
            .iter()
            .map(|at| EvidenceHead {
                layer: names[*at].0,
                head: names[*at].1,
                scale: scales[*at],
            })
            .collect(),
    };
    write(&args.out, &file)?;
    let listed: Vec<(usize, usize)> = file.heads.iter().map(|h| (h.layer, h.head)).collect();
    let report = json!({
        "out": args.out, "prompts": seen.len(), "failed": failed, "budgets": file.budgets,
        "heads": listed, "layers_run": listed.iter().map(|(layer, _)| layer + 1).max(),
        "held_out_recall_by_count": chosen.held_out,
        "recall": file.recall, "recall_all_heads": file.recall_all_heads,
        "gain": gain.mean, "gain_ci95": gain.ci95,
    });
    if args.json {
        output.json(&report)?;
    } else {
        output.line(&format!(
            "{} heads of {}: {listed:?}\n{:.1} % of the evidence stays on prompts that did not choose them, {:.1} % by \
             specpc over all heads (difference {:+.1} points, {:+.1} to {:+.1}); {} prompts, budgets {:?}",
            listed.len(),
            args.model,
            100.0 * file.recall,
            100.0 * file.recall_all_heads,
            100.0 * gain.mean,
            100.0 * gain.ci95[0],
            100.0 * gain.ci95[1],
            seen.len(),
            file.budgets
        ))?;
    }
    Ok(if failed == 0 {
        Outcome::Done
    } else {
        Outcome::Partly
    })
}

/// All prompts read by the draft, and how many lines gave none.
fn read(args: &HeadsArgs, draft: &Draft, output: &Output) -> anyhow::Result<(Vec<Seen>, usize)> {
    let mut seen = Vec::new();
    let mut failed = 0;
    let bar = output.items_bar("reading prompts", 0);
    for line in read_lines(&args.data)? {
        bar.inc(1);
        let outcome = line
            .record
            .map_err(anyhow::Error::msg)
            .and_then(|record| Ok(serde_json::from_value::<Labelled>(record)?))
            .and_then(|labelled| tapped(&labelled, args, draft, line.number));
        match outcome {
            Ok(Some(prompt)) => seen.push(prompt),
            Ok(None) => {}
            Err(error) => {
                failed += 1;
                output.warning(&format!(
                    "left out: {} line {}: {error:#}",
                    args.data.display(),
                    line.number
                ));
            }
        }
    }
    bar.finish_and_clear();
    Ok((seen, failed))
}

/// One prompt through the draft; none where it fits the budget anyway.
fn tapped(
    labelled: &Labelled,
    args: &HeadsArgs,
    draft: &Draft,
    line: usize,
) -> anyhow::Result<Option<Seen>> {
    let mut keep: BTreeSet<usize> = (0..labelled.passages.len()).collect();
    if labelled.relevant.iter().any(|at| !keep.contains(at)) || labelled.relevant.is_empty() {
        bail!("relevant does not name passages that are there");
    }
    // Passages go from the end until the prompt is short enough; the relevant ones stay.
    let tokens = loop {
        let texts: Vec<&str> = keep
            .iter()
            .map(|at| labelled.passages[*at].as_str())
            .collect();
        let content = format!("{}\n\nQuestion: {}", texts.join("\n\n"), labelled.question);
        let tokens = draft.encode(&Prompt::Chat(vec![Message::new(Role::User, content)]))?;
        if tokens.len() <= args.max_tokens as usize {
            break tokens;
        }
        match keep
            .iter()
            .rev()
            .find(|at| !labelled.relevant.contains(at))
            .copied()
        {
            Some(last) => keep.remove(&last),
            None => bail!(
                "its evidence alone is longer than {} tokens",
                args.max_tokens
            ),
        };
    };
    if args
        .budget
        .iter()
        .any(|budget| tokens.len() <= *budget as usize)
    {
        return Ok(None);
    }
    let texts: Vec<String> = if labelled.evidence.is_empty() {
        labelled
            .relevant
            .iter()
            .map(|at| labelled.passages[*at].clone())
            .collect()
    } else {
        labelled.evidence.clone()
    };
    let ranges = ranges_of(&tokens, draft.tokenizer(), &texts);
    let evidence: BTreeSet<usize> = ranges.into_iter().flatten().collect();
    if evidence.is_empty() {
        bail!("its evidence does not stand in its passages");
    }
    let question = std::slice::from_ref(&labelled.question);
    let asks = ranges_of(&tokens, draft.tokenizer(), question);
    let focus = asks
        .last()
        .cloned()
        .unwrap_or(tokens.len() - 1..tokens.len());
    let rows = draft.differences(&tokens, &focus, Heads::From(0))?;
    let window = WINDOW.max(tokens.len() - focus.start);
    let scores = draft.specpc(&tokens, window)?;
    let mut by_specpc = 0.0;
    for budget in &args.budget {
        let selection = Selection {
            budget: *budget as usize,
            window,
            kernel: draft.reach(),
            neighbours: draft.reach(),
        };
        let kept = select(&scores, &selection, &[])?;
        let stay = evidence.iter().filter(|at| kept.binary_search(at).is_ok());
        by_specpc += stay.count() as f64 / evidence.len() as f64 / args.budget.len() as f64;
    }
    Ok(Some(Seen {
        group: labelled.group.clone().unwrap_or_else(|| line.to_string()),
        rows,
        evidence,
        by_specpc,
        tokens,
    }))
}

fn write(path: &Path, file: &EvidenceHeads) -> anyhow::Result<()> {
    let text = file.text().map_err(anyhow::Error::msg)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
