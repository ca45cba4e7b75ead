//! `engine bench --model`: the speed of requests on an otherwise idle model.

use std::time::Instant;

use footnote_engine::{
    GenerateRequest, LanguageModel, LocalModel, LocalOptions, Prompt, catalogue,
};
use serde_json::json;

use super::{peak_rss_bytes, shapes};
use crate::args::BenchArgs;
use crate::commands::{Context, Usage};
use crate::output::Outcome;

pub fn run(args: &BenchArgs, context: &Context) -> anyhow::Result<Outcome> {
    match (&args.model, &args.synthetic, &args.pair) {
        (Some(model), None, None) => of_model(model, args, context),
        (None, Some(shape), None) => shapes::of_shape(shape, args, context),
        (None, None, Some(pair)) => shapes::of_pair(pair, args, context),
        _ => Err(Usage("give one of --model, --synthetic and --pair".to_owned()).into()),
    }
}

/// Prompts of exactly `prompt_tokens` arbitrary tokens, no two with the same start, then `gen_tokens` greedy ones, whatever
/// they are.
fn of_model(model: &str, args: &BenchArgs, context: &Context) -> anyhow::Result<Outcome> {
    let path = catalogue::resolve(model, &context.home.models())?;
    let options = LocalOptions {
        running: args.requests as usize,
        queue: args.requests as usize,
        ..context.local_options()
    };
    let name = model;
    let model = LocalModel::open(&path, options)?;
    let cache = model.chosen_cache(Some(args.cache));
    let started = Instant::now();
    let running = (0..args.requests)
        .map(|request| {
            // Ids that every vocabulary has and that are no control tokens in any of the families.
            let tokens: Vec<u32> = (0..args.prompt_tokens)
                .map(|i| 1000 + (i + 31 * request).wrapping_mul(7919) % 20_000)
                .collect();
            let mut request =
                GenerateRequest::new(Prompt::Tokens(tokens), args.gen_tokens as usize);
            request.cache = Some(args.cache);
            model.generate(request)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let usages = running
        .into_iter()
        .map(|generation| generation.complete().map(|completion| completion.usage))
        .collect::<Result<Vec<_>, _>>()?;
    let wall_s = started.elapsed().as_secs_f64();
    let count = usages.len() as f64;
    let sum = |part: fn(&footnote_engine::Usage) -> f64| usages.iter().map(part).sum::<f64>();
    let mean = |part: fn(&footnote_engine::Usage) -> f64| sum(part) / count;
    let written = sum(|usage| usage.tokens_out as f64);
    let device = model
        .decoder()
        .device()
        .map_or_else(|| "cpu".to_owned(), |on| on.device().name());
    let report = json!({
        "model": name,
        "device": device,
        "requests": args.requests,
        "prompt_tokens": mean(|usage| usage.tokens_in as f64),
        "gen_tokens": mean(|usage| usage.tokens_out as f64),
        "prefill_tok_s": mean(|usage| usage.prefill_tok_s),
        "decode_tok_s": mean(|usage| usage.decode_tok_s),
        "total_tok_s": written / wall_s,
        "ttft_ms": mean(|usage| usage.ttft_ms),
        "wall_ms": wall_s * 1e3,
        "peak_rss_bytes": peak_rss_bytes(),
        "cache": {
            "policy": cache.policy.to_string(),
            "bytes": sum(|usage| usage.cache_bytes as f64),
            "bytes_full": sum(|usage| usage.cache_bytes_full as f64),
        },
    });
    if args.json {
        context.output.json(&report)?;
    } else {
        context.output.line(&format!(
            "{name} on {device}: {} requests at once, each of {} tokens read at {:.1} a second and {} written at {:.2} a second, \
             first after {:.0} ms; {:.1} written a second in all",
            args.requests,
            args.prompt_tokens,
            mean(|usage| usage.prefill_tok_s),
            args.gen_tokens,
            mean(|usage| usage.decode_tok_s),
            mean(|usage| usage.ttft_ms),
            written / wall_s
        ))?;
    }
    Ok(Outcome::Done)
}
