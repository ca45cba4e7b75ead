//! `engine perplexity`: a text scored under a cache policy beside the full cache.

use std::io::{BufRead, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use footnote_engine::cache::CacheChoice;
use footnote_engine::{Mode, PerplexityOptions, catalogue, perplexity};
use footnote_eval::interval;
use serde::Deserialize;
use serde_json::json;

use crate::args::{ModeName, PerplexityArgs};
use crate::commands::Context;
use crate::commands::engine::loaded;
use crate::output::Outcome;

/// Caches side by side: the policy's and the full one.
const CONTEXTS: usize = 2;
/// No token of ordinary text is longer, on average, than this many bytes.
const BYTES_A_TOKEN: u64 = 16;
/// The longest line of page JSON lines that is read.
const LINE_BYTES_MAX: u64 = 32 << 20;

pub fn run(args: &PerplexityArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let path = catalogue::resolve(&args.model, &context.home.models())?;
    let text = text(&args.text, u64::from(args.max_tokens) * BYTES_A_TOKEN)?;
    let window = args.window as usize;
    let model = loaded(&path, CONTEXTS, context)?;
    let mut tokens: Vec<u32> = model.tokenizer.begin_token().into_iter().collect();
    tokens.extend(model.tokenizer.encode(&text)?);
    tokens.truncate(args.max_tokens as usize);
    let chosen = args
        .cache
        .resolve(&model.decoder.cache_shape(), model.decoder.context());
    if args.cache == CacheChoice::Auto {
        output.step(&format!("cache {}: {}", chosen.policy, chosen.reason));
    }
    let bar = output.items_bar("tokens", tokens.len() as u64);
    let options = PerplexityOptions {
        policy: chosen.policy,
        mode: match args.mode {
            ModeName::Prefill => Mode::Prefill,
            ModeName::Decode => Mode::Decode,
        },
        window,
    };
    let report = perplexity(&model.decoder, &tokens, &options, &mut |done| {
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let policy = chosen.policy.to_string();
    // Blocks of neighbouring positions are drawn together: what stands side by side is not independent.
    let change = (report.block_differences.len() > 1).then(|| {
        let unnamed = vec![None; report.block_differences.len()];
        interval(&report.block_differences, &unnamed)
            .ci95
            .map(|difference| difference.exp_m1())
    });
    if args.json {
        output.json(&json!({
            "model": args.model,
            "cache": policy,
            "mode": match options.mode {
                Mode::Prefill => "prefill",
                Mode::Decode => "decode",
            },
            "window": window,
            "tokens": report.tokens,
            "ppl": report.ppl,
            "ppl_full": report.ppl_full,
            "ppl_change": report.ppl / report.ppl_full - 1.0,
            "ppl_change_ci95": change,
            "mean_kl": report.mean_kl,
            "top1_agreement": report.top1_agreement,
            "cache_bytes_per_token": report.bytes_per_token(),
            "cache_bytes_per_token_full": report.bytes_per_token_full,
            "cache_bytes": {
                "held_tokens": report.held_tokens,
                "stored": report.bytes.stored,
                "open": report.bytes.open,
                "scratch": report.bytes.scratch,
                "bases": report.bases_bytes,
            },
            "seconds": report.seconds,
        }))?;
    } else {
        output.line(&format!(
            "{}, cache {policy}: perplexity {:.4} (full {:.4}{}), mean KL {:.6}, top-1 agreement {:.2} %, {:.0} bytes a token \
             (full {}), {} positions in {:.1} s",
            args.model,
            report.ppl,
            report.ppl_full,
            change.map_or_else(String::new, |[low, high]| format!(
                "; {:+.2} % to {:+.2} %",
                100.0 * low,
                100.0 * high
            )),
            report.mean_kl,
            100.0 * report.top1_agreement,
            report.bytes_per_token(),
            report.bytes_per_token_full,
            report.tokens,
            report.seconds
        ))?;
    }
    Ok(Outcome::Done)
}

/// A page of a corpus, as far as it matters here.
#[derive(Deserialize)]
struct Page {
    text: String,
}

/// The start of a text file, or of the pages' texts, up to about `most` bytes.
fn text(path: &Path, most: u64) -> anyhow::Result<String> {
    let mut reader = footnote_filings::open_text(path)?;
    let named = || format!("cannot read {}", path.display());
    if reader.fill_buf().with_context(named)?.first() != Some(&b'{') {
        let mut bytes = Vec::new();
        reader
            .take(most)
            .read_to_end(&mut bytes)
            .with_context(named)?;
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    let mut whole = String::new();
    let mut number = 0_usize;
    while (whole.len() as u64) < most {
        let mut line = Vec::new();
        number += 1;
        let read = (&mut reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .with_context(named)?;
        if read == 0 {
            break;
        }
        let page: Page = serde_json::from_slice(&line).with_context(|| {
            format!(
                "{} line {number} is no page: {{\"text\": …}} is needed",
                path.display()
            )
        })?;
        whole.push_str(&page.text);
        whole.push_str("\n\n");
    }
    if whole.trim().is_empty() {
        bail!("{} holds no text", path.display());
    }
    Ok(whole)
}
