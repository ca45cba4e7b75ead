//! `engine heads`: the heads of a draft model that find evidence best.
//!
//! Greedy forward selection, as HeadHunter (Ahn et al. 2025) chooses heads for image guidance, toward
//! what compression needs: the share of evidence tokens that stay at the real budget. Half of the groups choose, the other half measure; a further head is
//! taken only while the measured half gains. Then the heads are chosen once more on all of the data.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, bail};
use footnote_engine::compress::{Selection, WINDOW, ranges_of, select};
use footnote_engine::{Heads, LoadedModel, Message, Reduce, Role, Tap, TapConfig, catalogue};
use footnote_eval::read_lines;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::HeadsArgs;
use crate::commands::Context;
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
    /// Scores of every head, by token.
    heads: Vec<Vec<f32>>,
    evidence: Vec<usize>,
    tokens: usize,
}

/// What `specpc-heads` reads.
#[derive(Serialize)]
struct HeadsFile {
    model: String,
    found_on: String,
    prompts: usize,
    budget: usize,
    recall: f64,
    recall_all_heads: f64,
    heads: Vec<(usize, usize)>,
}

pub fn run(args: &HeadsArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let path = catalogue::resolve(&args.model, &context.home.models())?;
    let model = LoadedModel::open(&path, None)?;
    let (seen, failed) = read(args, &model, output)?;
    let names = tap(&model, 1).heads().to_vec();
    if seen.len() < 4 {
        bail!(
            "{} gives {} usable prompts; at least 4 are needed, each with evidence and longer than the budget",
            args.data.display(),
            seen.len()
        );
    }
    let selection = Selection {
        budget: args.budget as usize,
        window: WINDOW,
        kernel: args.reach as usize,
        neighbours: args.reach as usize,
    };
    let all: Vec<usize> = (0..seen.len()).collect();
    let halves = halves(&seen);
    let bar = output.items_bar("choosing heads", u64::from(args.most) * 3);
    // What each number of heads is worth on prompts that did not choose them.
    let mut held_out = vec![Vec::new(); args.most as usize];
    for (choosing, measuring) in [(&halves.0, &halves.1), (&halves.1, &halves.0)] {
        let chosen = choose(&seen, choosing, &selection, args.most as usize, &bar)?;
        for (count, recalls) in held_out.iter_mut().enumerate() {
            let heads = &chosen[..chosen.len().min(count + 1)];
            recalls.extend(recalls_of(&seen, measuring, heads, &selection)?);
        }
    }
    let means: Vec<f64> = held_out.iter().map(|recalls| mean(recalls)).collect();
    let best = means.iter().copied().fold(0.0, f64::max);
    let at_best = means.iter().position(|mean| *mean == best).unwrap_or(0);
    // The fewest heads within a standard error of the best: what lies between is noise.
    let noise = standard_error(&held_out[at_best]);
    let count = means
        .iter()
        .position(|mean| *mean >= best - noise)
        .unwrap_or(at_best)
        + 1;
    let heads = choose(&seen, &all, &selection, count, &bar)?;
    bar.finish_and_clear();
    let late = names
        .iter()
        .enumerate()
        .filter(|(_, (layer, _))| *layer >= 8.min(model.decoder.config().layers / 2))
        .map(|(at, _)| at)
        .collect::<Vec<_>>();
    let every = recalls_of(&seen, &all, &late, &selection)?;
    let file = HeadsFile {
        model: args.model.clone(),
        found_on: args
            .data
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        prompts: seen.len(),
        budget: selection.budget,
        recall: means[count - 1],
        recall_all_heads: mean(&every),
        heads: heads.iter().map(|at| names[*at]).collect(),
    };
    write(&args.out, &file)?;
    let gain: Vec<f64> = ordered(&halves, &held_out[count - 1])
        .into_iter()
        .zip(&every)
        .map(|(ours, every)| ours - every)
        .collect();
    let report = json!({
        "out": args.out, "prompts": seen.len(), "failed": failed, "budget": selection.budget,
        "heads": file.heads, "layers_run": file.heads.iter().map(|(layer, _)| layer + 1).max(),
        "held_out_recall_by_count": means, "standard_error": noise,
        "recall": file.recall, "recall_all_heads": file.recall_all_heads,
        "gain": mean(&gain), "gain_standard_error": standard_error(&gain),
    });
    if args.json {
        output.json(&report)?;
    } else {
        output.line(&format!(
            "{} heads of {}: {:?}\n{:.1} % of the evidence stays on prompts that did not choose them, {:.1} % by all heads from \
             layer 8 on (difference {:+.1} points, standard error {:.1}); {} prompts, budget {}",
            file.heads.len(),
            args.model,
            file.heads,
            100.0 * file.recall,
            100.0 * file.recall_all_heads,
            100.0 * mean(&gain),
            100.0 * standard_error(&gain),
            seen.len(),
            selection.budget
        ))?;
    }
    Ok(if failed == 0 {
        Outcome::Done
    } else {
        Outcome::Partly
    })
}

/// A tap on all heads, apart.
fn tap(model: &LoadedModel, tokens: usize) -> Tap {
    let config = TapConfig {
        window: WINDOW,
        weighted: true,
        heads: Heads::From(0),
        reduce: Reduce::Max,
        per_head: true,
    };
    let decoder = &model.decoder;
    Tap::new(
        config,
        decoder.cache_shape().heads,
        decoder.config().layers,
        tokens,
    )
}

/// All prompts read by the draft, and how many lines gave none.
fn read(
    args: &HeadsArgs,
    model: &LoadedModel,
    output: &Output,
) -> anyhow::Result<(Vec<Seen>, usize)> {
    let mut seen = Vec::new();
    let mut failed = 0;
    let bar = output.items_bar("reading prompts", 0);
    for line in read_lines(&args.data)? {
        bar.inc(1);
        let outcome = line
            .record
            .map_err(anyhow::Error::msg)
            .and_then(|record| Ok(serde_json::from_value::<Labelled>(record)?))
            .and_then(|labelled| tapped(&labelled, args, model, line.number));
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
    model: &LoadedModel,
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
        let tokens = model
            .template
            .encode(&[Message::new(Role::User, content)], &model.tokenizer)?;
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
    if tokens.len() <= args.budget as usize {
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
    let ranges: Vec<Range<usize>> = ranges_of(&tokens, &model.tokenizer, &texts);
    let evidence: Vec<usize> = ranges
        .into_iter()
        .flatten()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    if evidence.is_empty() {
        bail!("its evidence does not stand in its passages");
    }
    let mut tap = tap(model, tokens.len());
    model.decoder.tap(&tokens, &mut tap)?;
    Ok(Some(Seen {
        group: labelled.group.clone().unwrap_or_else(|| line.to_string()),
        tokens: tokens.len(),
        heads: tap.into_scores(),
        evidence,
    }))
}

/// Two halves of the prompts, groups kept together.
fn halves(seen: &[Seen]) -> (Vec<usize>, Vec<usize>) {
    let groups: BTreeSet<&str> = seen.iter().map(|prompt| prompt.group.as_str()).collect();
    let side = |group: &str| groups.iter().position(|other| *other == group).unwrap_or(0) % 2;
    (0..seen.len()).partition(|at| side(&seen[*at].group) == 0)
}

/// Held-out recalls, which come half by half, in the order of the prompts.
fn ordered(halves: &(Vec<usize>, Vec<usize>), recalls: &[f64]) -> Vec<f64> {
    // The second half was measured first.
    let order = halves.1.iter().chain(&halves.0);
    let mut by_prompt: Vec<(usize, f64)> = order.copied().zip(recalls.iter().copied()).collect();
    by_prompt.sort_by_key(|(at, _)| *at);
    by_prompt.into_iter().map(|(_, recall)| recall).collect()
}

/// Heads that together keep most evidence of the prompts `on`, the best first.
fn choose(
    seen: &[Seen],
    on: &[usize],
    selection: &Selection,
    most: usize,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<Vec<usize>> {
    let count = seen.first().map_or(0, |prompt| prompt.heads.len());
    // What the chosen heads say together, prompt by prompt.
    let mut joined: Vec<Vec<f32>> = on.iter().map(|at| vec![0.0; seen[*at].tokens]).collect();
    let mut chosen: Vec<usize> = Vec::new();
    let mut reached = -1.0;
    while chosen.len() < most {
        bar.inc(1);
        let mut best: Option<(f64, usize)> = None;
        for head in (0..count).filter(|head| !chosen.contains(head)) {
            let mut sum = 0.0;
            for (at, joined) in on.iter().zip(&joined) {
                let scores: Vec<f32> = joined
                    .iter()
                    .zip(&seen[*at].heads[head])
                    .map(|(joined, score)| joined.max(*score))
                    .collect();
                sum += recall(&seen[*at], &scores, selection)?;
            }
            let mean = sum / on.len().max(1) as f64;
            if best.is_none_or(|(most, _)| mean > most) {
                best = Some((mean, head));
            }
        }
        let Some((mean, head)) = best.filter(|(mean, _)| *mean > reached) else {
            break;
        };
        reached = mean;
        chosen.push(head);
        for (at, joined) in on.iter().zip(&mut joined) {
            for (joined, score) in joined.iter_mut().zip(&seen[*at].heads[head]) {
                *joined = joined.max(*score);
            }
        }
    }
    Ok(chosen)
}

fn recalls_of(
    seen: &[Seen],
    on: &[usize],
    heads: &[usize],
    selection: &Selection,
) -> anyhow::Result<Vec<f64>> {
    on.iter()
        .map(|at| {
            let prompt = &seen[*at];
            let mut scores = vec![0.0_f32; prompt.tokens];
            for head in heads {
                for (score, other) in scores.iter_mut().zip(&prompt.heads[*head]) {
                    *score = score.max(*other);
                }
            }
            recall(prompt, &scores, selection)
        })
        .collect()
}

/// Share of a prompt's evidence tokens that stay.
fn recall(prompt: &Seen, scores: &[f32], selection: &Selection) -> anyhow::Result<f64> {
    let kept = select(scores, selection, &[])?;
    let stay = prompt
        .evidence
        .iter()
        .filter(|at| kept.binary_search(at).is_ok())
        .count();
    Ok(stay as f64 / prompt.evidence.len() as f64)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn standard_error(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len().max(2) - 1) as f64 / values.len().max(1) as f64).sqrt()
}

fn write(path: &Path, file: &HeadsFile) -> anyhow::Result<()> {
    let text = toml::to_string(file).context("the heads cannot be written as TOML")?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
