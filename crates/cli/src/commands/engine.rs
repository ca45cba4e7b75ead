//! `engine generate|compress|bench|perplexity|needle|heads`: the language model by itself.

mod bench;
mod compress;
mod heads;
mod needle;
mod perplexity;
mod shapes;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use footnote_engine::cache::CacheChoice;
use footnote_engine::compress::{Draft, EvidenceHeads};
use footnote_engine::{
    Contrast, GenerateEvent, GenerateRequest, Grammar, LanguageModel, LoadedModel, LocalModel,
    Message, OnDevice, Prompt, Role, Sampling, Weak, catalogue,
};
use serde_json::{Value, json};

use crate::args::{EngineCommand, GenerateArgs};
use crate::commands::{Context, Usage};
use crate::output::Outcome;
use crate::setup;

/// The share of the likeliest token's probability below which a contrast writes no token, as its papers have it.
const PLAUSIBLE: f32 = 0.1;

/// Caches that a draft holds at once, at most: what it reads, and a copy.
const DRAFT_CONTEXTS: usize = 2;

/// The largest prompt file that is read.
const PROMPT_BYTES_MAX: u64 = 16 << 20;

pub fn run(command: &EngineCommand, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        EngineCommand::Generate(args) => generate(args, context),
        EngineCommand::Compress(args) => compress::run(args, context),
        EngineCommand::Bench(args) => bench::run(args, context),
        EngineCommand::Perplexity(args) => perplexity::run(args, context),
        EngineCommand::Needle(args) => needle::run(args, context),
        EngineCommand::Heads(args) => heads::run(args, context),
    }
}

/// Loads a model by catalogue name or path.
pub fn open(name: &str, context: &Context) -> anyhow::Result<Arc<LocalModel>> {
    let path = catalogue::resolve(name, &context.home.models())?;
    Ok(Arc::new(LocalModel::open(&path, context.local_options())?))
}

/// Loads a model's parts for a tool that holds up to `contexts` caches.
fn loaded(path: &Path, contexts: usize, context: &Context) -> anyhow::Result<LoadedModel> {
    let on = OnDevice::of(context.device(), contexts)?;
    Ok(LoadedModel::open_on(path, None, on.as_ref())?)
}

/// The weaker reading that is asked for.
fn contrast(args: &GenerateArgs, context: &Context) -> anyhow::Result<Option<Contrast>> {
    let Some(target) = args.contrast else {
        return Ok(None);
    };
    let heads = match &args.contrast_heads {
        Some(path) => Some(heads_of(path)?),
        None => known_heads(&catalogue::resolve(&args.model, &context.home.models())?),
    };
    let Some(heads) = heads else {
        return Err(Usage(format!(
            "no evidence heads of {} are known; find them with `footnote engine heads` and name them with --contrast-heads",
            args.model
        ))
        .into());
    };
    Ok(Some(Contrast {
        weak: Weak::Heads {
            heads: heads.heads.iter().map(|h| (h.layer, h.head)).collect(),
            target,
            u: args.contrast_u,
        },
        weight: args.contrast_weight,
        by_entropy: false,
        plausible: PLAUSIBLE,
    }))
}

/// The evidence heads that come with Footnote for a model's file.
fn known_heads(model: &Path) -> Option<EvidenceHeads> {
    EvidenceHeads::known(&model.file_stem().unwrap_or_default().to_string_lossy())
}

/// The evidence heads of a file that `engine heads` wrote.
fn heads_of(path: &Path) -> anyhow::Result<EvidenceHeads> {
    EvidenceHeads::parse(&read_text(path)?)
        .map_err(|why| anyhow::anyhow!("{} is no file of evidence heads: {why}", path.display()))
}

/// A draft model, with the evidence heads of a file that `engine heads` wrote, or those that come with Footnote.
pub fn draft(name: &str, heads: Option<&Path>, context: &Context) -> anyhow::Result<Draft> {
    let path = catalogue::resolve(name, &context.home.models())?;
    let heads = match heads {
        None => known_heads(&path),
        Some(path) => Some(heads_of(path)?),
    };
    Ok(Draft::new(loaded(&path, DRAFT_CONTEXTS, context)?, heads)?)
}

fn generate(args: &GenerateArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let text = match (&args.prompt, &args.prompt_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => read_text(path)?,
        (None, None) => return Err(Usage("give --prompt or --prompt-file".to_owned()).into()),
    };
    let grammar = match (&args.json_schema, &args.grammar, &args.regex) {
        (Some(path), _, _) => {
            let schema = serde_json::from_str(&read_text(path)?)
                .with_context(|| format!("{} is no JSON", path.display()))?;
            Some(Grammar::JsonSchema(schema))
        }
        (_, Some(path), _) => Some(Grammar::Lark(read_text(path)?)),
        (_, _, Some(regex)) => Some(Grammar::Regex(regex.clone())),
        _ => None,
    };
    let prompt = if args.chat {
        Prompt::Chat(vec![Message::new(Role::User, text)])
    } else {
        Prompt::Text(text)
    };
    let mut request = GenerateRequest {
        prompt,
        max_tokens: args.max_tokens,
        sampling: Sampling {
            temperature: args.temperature,
            top_p: args.top_p,
            top_k: args.top_k,
            seed: args.seed,
        },
        stop: args.stop.clone(),
        grammar,
        cache: None,
        compress: args.compress,
        protect: args.protect.clone(),
        focus: args.focus.clone(),
        positions: args.positions,
        contrast: contrast(args, context)?,
    };
    let draft = match &args.draft {
        Some(name) => Some(draft(name, args.heads.as_deref(), context)?),
        None => None,
    };
    if setup::is_served(&args.model) {
        let mut model = setup::served_model(&args.model, context)?;
        if let Some(draft) = draft {
            model = model.with_draft(draft);
        }
        if args.cache != CacheChoice::default() {
            request.cache = Some(args.cache);
        }
        return write(&model, request, &Value::Null, args.json, context);
    }
    let path = catalogue::resolve(&args.model, &context.home.models())?;
    let mut model = LocalModel::open(&path, context.local_options())?;
    if let Some(draft) = draft {
        model = model.with_draft(draft)?;
    }
    request.cache = Some(args.cache);
    let cache = model.chosen_cache(request.cache);
    if args.cache == CacheChoice::Auto {
        output.step(&format!("cache {}: {}", cache.policy, cache.reason));
    }
    let cache = json!({"policy": cache.policy.to_string(), "reason": cache.reason});
    write(&model, request, &cache, args.json, context)
}

/// Shows a generation as it comes, or its JSON at the end. `cache` says how a local model keeps its
/// context.
fn write(
    model: &dyn LanguageModel,
    request: GenerateRequest,
    cache: &Value,
    as_json: bool,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let mut whole = String::new();
    for event in model.generate(request)? {
        match event? {
            GenerateEvent::Text(more) if as_json => whole.push_str(&more),
            GenerateEvent::Text(more) => output.part(&more)?,
            GenerateEvent::Done(finish, usage) if as_json => output.json(&json!({
                "text": whole,
                "finish": finish,
                "tokens_in": usage.tokens_in,
                "tokens_kept": usage.tokens_kept,
                "tokens_out": usage.tokens_out,
                "ttft_ms": usage.ttft_ms,
                "compress_ms": usage.compress_ms,
                "decode_tok_s": usage.decode_tok_s,
                "prefill_tok_s": usage.prefill_tok_s,
                "cache": {
                    "policy": cache["policy"],
                    "reason": cache["reason"],
                    "bytes": usage.cache_bytes,
                    "bytes_full": usage.cache_bytes_full,
                },
            }))?,
            GenerateEvent::Done(_, usage) => {
                output.line("")?;
                output.step(&format!(
                    "{} tokens read at {:.0} a second, {} written at {:.1} a second, first after {:.0} ms",
                    usage.tokens_in,
                    usage.prefill_tok_s,
                    usage.tokens_out,
                    usage.decode_tok_s,
                    usage.ttft_ms
                ));
            }
        }
    }
    Ok(Outcome::Done)
}

/// The most memory the process ever held, where the system tells.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .len();
    if size > PROMPT_BYTES_MAX {
        anyhow::bail!(
            "{} has {size} bytes; at most {PROMPT_BYTES_MAX} are read",
            path.display()
        );
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
