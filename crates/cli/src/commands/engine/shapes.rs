//! `engine bench --synthetic` and `--pair`: shapes of large models with made-up weights on a GPU, beside what bytes and
//! operations could take at best.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use footnote_engine::cache::CachePolicy;
use footnote_engine::device::floors::{
    Floor, MEMORY_BYTES_PER_S, OPERATIONS_PER_S, decode_floor, prefill_floor,
};
use footnote_engine::device::measure::{self, GROWTH};
use footnote_engine::device::{self, Device, DeviceChoice, DeviceModel, DeviceOptions};
use footnote_engine::{EngineError, ModelConfig};
use serde_json::{Value, json};

use crate::args::{BenchArgs, PairName, Part};
use crate::commands::Context;
use crate::output::Outcome;

/// Prompts of a shape where none are asked for.
const PROMPTS: [u32; 2] = [2048, 8192];
/// Those of a pair.
const LONG_PROMPTS: [u32; 3] = [8192, 32_768, 131_072];

/// Floors of a step that a cell of steps is expected to take: about ten steps, at a third of what could be.
const EXPECTED_FLOORS: f64 = 30.0;

/// Notes that stand under every report of a shape.
const NOTES: [&str; 3] = [
    "weights are made up and contexts are pages of zeros that nobody read: times and bytes are real, texts are not",
    "ms_step leaves logits on the device, ms_step_host brings them to the host; neither draws a token",
    "timed steps lie within a group of 128 tokens: closing one, once in 128 steps, is not among them",
];

/// When measuring ends.
struct Deadline(Option<Instant>);

impl Deadline {
    fn of(args: &BenchArgs) -> Deadline {
        let seconds = args.seconds.map(Duration::from_secs);
        Deadline(seconds.and_then(|seconds| Instant::now().checked_add(seconds)))
    }

    /// An outcome as JSON besides what it is of: measured, or why not. What is expected to take longer than what is left is
    /// not begun.
    fn cell(
        &self,
        mut of: Value,
        expected: Duration,
        context: &Context,
        measure: impl FnOnce() -> Result<Value, EngineError>,
    ) -> Value {
        let outcome = match self.0 {
            Some(end) if Instant::now() + expected >= end => json!({"skipped": "no time was left"}),
            _ => match measure() {
                Ok(measured) => measured,
                Err(error) => json!({"skipped": error.to_string()}),
            },
        };
        if let (Value::Object(of), Value::Object(outcome)) = (&mut of, outcome) {
            of.extend(outcome);
        }
        context.output.step(&line(&of));
        of
    }
}

/// A shape's cells, or only their floors.
pub fn of_shape(name: &str, args: &BenchArgs, context: &Context) -> anyhow::Result<Outcome> {
    let config = config(name)?;
    let prompts = match args.prompts.as_slice() {
        [] => &PROMPTS[..],
        asked => asked,
    };
    if args.floors {
        return floors(&config, prompts, args, context);
    }
    let device = gpu(context)?;
    let end = Deadline::of(args);
    let most = |values: &[u32]| values.iter().copied().max().unwrap_or(1) as usize;
    let longest = match args.parts.contains(&Part::Decode) {
        true => most(&args.contexts) + GROWTH,
        false => 0,
    };
    let options = DeviceOptions {
        sequences: most(&args.batch),
        ..DeviceOptions::new(longest.max(most(prompts)))
    };
    let started = Instant::now();
    let model = DeviceModel::synthetic(&device, config.clone(), options)?;
    let built_s = started.elapsed().as_secs_f64();
    let mut report = json!({
        "shape": name,
        "device": device.name(),
        "memory_bytes": device.memory().map_err(EngineError::from)?.total,
        "weights_bytes": model.weights_bytes(),
        "caches_bytes": model.memory().bytes(),
        "built_s": built_s,
        "floor": {"memory_bytes_per_s": MEMORY_BYTES_PER_S, "operations_per_s": OPERATIONS_PER_S},
        "notes": NOTES,
    });
    if args.parts.contains(&Part::Prefill) {
        let cells = prompts.iter().map(|tokens| {
            end.cell(
                json!({"prompt_tokens": tokens}),
                Duration::ZERO,
                context,
                || {
                    let read = measure::prefill(&model, *tokens as usize, true)?;
                    Ok(json!({
                        "ms": read.seconds * 1e3,
                        "tok_s": f64::from(*tokens) / read.seconds,
                        "floor_ms": read.floor.seconds() * 1e3,
                        "of_floor": read.floor.seconds() / read.seconds,
                        "tflop_s": read.floor.operations / read.seconds / 1e12,
                    }))
                },
            )
        });
        report["prefill"] = cells.collect();
    }
    if args.parts.contains(&Part::Decode) {
        report["decode"] = decode_cells(args)
            .map(|(policy, batch, tokens)| {
                let of = cell_of(policy, batch, tokens);
                let floor = decode_floor(&config, policy, batch as usize, tokens as usize);
                let expected = Duration::from_secs_f64(floor.seconds() * EXPECTED_FLOORS);
                end.cell(of, expected, context, || {
                    decode(&model, policy, batch, tokens)
                })
            })
            .collect();
    }
    show(&report, args, context)
}

fn decode(
    model: &DeviceModel,
    policy: CachePolicy,
    batch: u32,
    tokens: u32,
) -> Result<Value, EngineError> {
    let decoded = measure::decode(model, policy, batch as usize, tokens as usize)?;
    let floor = floor_json(&decoded.floor);
    Ok(json!({
        "tok_s": decoded.tokens_per_s(),
        "ms_step": decoded.step_s * 1e3,
        "ms_step_host": decoded.host_step_s * 1e3,
        "steps": decoded.steps,
        "weights_bytes": model.weights_bytes(),
        "cache_bytes": decoded.cache_bytes,
        "largest_batch": decoded.largest_batch,
        "floor_ms": floor["floor_ms"],
        "of_floor": decoded.floor.seconds() / decoded.step_s,
        "floor": floor,
    }))
}

/// Batches and contexts from the smallest up, policies side by side: what fits first is measured first.
fn decode_cells(args: &BenchArgs) -> impl Iterator<Item = (CachePolicy, u32, u32)> + '_ {
    args.batch.iter().flat_map(|batch| {
        args.contexts.iter().flat_map(|tokens| {
            let of = |policy: &CachePolicy| (*policy, *batch, *tokens);
            args.caches.iter().map(of)
        })
    })
}

fn cell_of(policy: CachePolicy, batch: u32, tokens: u32) -> Value {
    json!({"cache": policy.to_string(), "batch": batch, "context": tokens})
}

fn floor_json(floor: &Floor) -> Value {
    json!({
        "floor_ms": floor.seconds() * 1e3,
        "weights_bytes": floor.weights,
        "cache_bytes": floor.cache,
        "operations": floor.operations,
        "rebuilding_operations": floor.rebuilding,
        "bound": if floor.is_by_operations() { "operations" } else { "bytes" },
    })
}

/// The least that anything could take, from the shape alone.
fn floors(
    config: &ModelConfig,
    prompts: &[u32],
    args: &BenchArgs,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let with = |mut of: Value, floor: &Floor| {
        if let (Value::Object(of), Value::Object(floor)) = (&mut of, floor_json(floor)) {
            of.extend(floor);
        }
        of
    };
    let decode = decode_cells(args).map(|(policy, batch, tokens)| {
        let floor = decode_floor(config, policy, batch as usize, tokens as usize);
        let mut cell = with(cell_of(policy, batch, tokens), &floor);
        cell["floor_tok_s"] = json!(f64::from(batch) / floor.seconds());
        cell
    });
    let prefill = prompts.iter().map(|tokens| {
        let floor = prefill_floor(config, *tokens as usize);
        with(json!({"prompt_tokens": tokens}), &floor)
    });
    let report = json!({
        "shape": config.name,
        "computed": "floors only; nothing was measured",
        "floor": {"memory_bytes_per_s": MEMORY_BYTES_PER_S, "operations_per_s": OPERATIONS_PER_S},
        "decode": decode.collect::<Vec<_>>(),
        "prefill": prefill.collect::<Vec<_>>(),
    });
    show(&report, args, context)
}

/// The time to the first token: the target reads the prompt, or the draft's first layers read it and the target what stays.
pub fn of_pair(pair: &PairName, args: &BenchArgs, context: &Context) -> anyhow::Result<Outcome> {
    let (draft, target) = (config(&pair.draft)?, config(&pair.target)?);
    let layers = match args.draft_layers {
        Some(layers) => (layers as usize).min(draft.layers),
        None => (3 * draft.layers).div_ceil(5),
    };
    let prompts = match args.prompts.as_slice() {
        [] => &LONG_PROMPTS[..],
        asked => asked,
    };
    let device = gpu(context)?;
    let end = Deadline::of(args);
    let longest = prompts.iter().chain([&args.kept]).copied().max();
    let longest = longest.unwrap_or(1) as usize;
    let open = |config: ModelConfig| {
        let cache = 2 * 2 * config.layers * config.kv_width() * (longest + 256);
        let options = DeviceOptions {
            sequences: 1,
            cache_bytes: Some(cache),
            ..DeviceOptions::new(longest)
        };
        DeviceModel::synthetic(&device, config, options)
    };
    let floor = |tokens: u32| prefill_floor(&target, tokens as usize).seconds();
    let target = open(target.clone())?;
    let shortened = ModelConfig {
        layers,
        ..draft.clone()
    };
    let drafting = open(shortened)?;
    // The first passes of either compile kernels and choose algorithms.
    for model in [&target, &drafting] {
        measure::prefill(model, (args.kept as usize).min(longest), true)?;
    }
    // Seconds that one of the floor was last.
    let mut slower = 1.0;
    let cells = prompts.iter().map(|tokens| {
        let of = json!({"prompt_tokens": tokens, "kept": args.kept.min(*tokens)});
        let expected = Duration::from_secs_f64(floor(*tokens) * slower);
        end.cell(of, expected, context, || {
            let kept = args.kept.min(*tokens) as usize;
            let drafted = measure::prefill(&drafting, *tokens as usize, false)?.seconds;
            let read = measure::prefill(&target, kept, true)?.seconds;
            let dense = measure::prefill(&target, *tokens as usize, false)?;
            slower = (drafted + read + dense.seconds) / dense.floor.seconds();
            Ok(json!({
                "dense_ms": dense.seconds * 1e3,
                "dense_floor_ms": dense.floor.seconds() * 1e3,
                "draft_ms": drafted * 1e3,
                "target_ms": read * 1e3,
                "specpc_ms": (drafted + read) * 1e3,
                "times": dense.seconds / (drafted + read),
            }))
        })
    });
    let report = json!({
        "draft": pair.draft,
        "target": pair.target,
        "draft_layers": layers,
        "draft_layers_of": draft.layers,
        "device": device.name(),
        "first_token": cells.collect::<Vec<_>>(),
        "notes": [
            "the draft's first layers read the whole prompt, the target what stays; both passes are really run, on made-up weights",
            "not among the times: reading the evidence heads' attention, choosing tokens, tokenising and drawing the token",
        ],
    });
    show(&report, args, context)
}

fn config(name: &str) -> anyhow::Result<ModelConfig> {
    device::shape(name).ok_or_else(|| anyhow!("no shape is called {name:?}"))
}

/// A shape is measured on a GPU or not at all: on the processor its numbers would mean nothing.
fn gpu(context: &Context) -> anyhow::Result<Arc<dyn Device>> {
    let choice = match context.device() {
        DeviceChoice::Auto => DeviceChoice::Cuda(0),
        choice => choice,
    };
    device::open(choice)?.ok_or_else(|| {
        anyhow!("made-up weights are measured on a GPU only; use `--device cuda:0`, or `--floors` for what is computed")
    })
}

/// One cell for people.
fn line(cell: &Value) -> String {
    let part = |name: &str, unit: &str| match &cell[name] {
        Value::String(text) => Some(format!("{text}{unit}")),
        value => value.as_f64().map(|value| match value {
            value if value >= 100.0 => format!("{value:.0}{unit}"),
            value => format!("{value:.2}{unit}"),
        }),
    };
    let count = |name: &str, unit: &str| cell[name].as_u64().map(|count| format!("{count}{unit}"));
    let share = |name: &str, unit: &str| {
        let value = cell[name].as_f64();
        value.map(|value| format!("{:.0} %{unit}", 100.0 * value))
    };
    let megabytes = |name: &str, unit: &str| {
        let value = cell[name].as_f64();
        value.map(|value| format!("{:.0} MB{unit}", value / 1e6))
    };
    let parts = [
        part("cache", ""),
        count("batch", " sequences"),
        count("context", " tokens each"),
        count("prompt_tokens", " tokens of prompt"),
        part("tok_s", " tok/s"),
        part("ms_step", " ms a step"),
        part("ms_step_host", " with logits on the host"),
        part("ms", " ms"),
        part("floor_ms", " ms at least"),
        share("of_floor", " of that"),
        part("dense_ms", " ms dense"),
        part("specpc_ms", " ms by the draft"),
        part("times", " times as fast"),
        megabytes("cache_bytes", " of cache"),
        count("largest_batch", " sequences fit"),
        part("bound", " bound"),
        part("skipped", ""),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The JSON, or a line a cell; of cells that were said while they were measured, nothing twice.
fn show(report: &Value, args: &BenchArgs, context: &Context) -> anyhow::Result<Outcome> {
    let cells = ["prefill", "decode", "first_token"]
        .into_iter()
        .flat_map(|part| report[part].as_array().into_iter().flatten());
    let skipped = cells.clone().any(|cell| cell["skipped"].is_string());
    if args.json {
        context.output.json(report)?;
    } else {
        let name = report["shape"].as_str().unwrap_or("a pair");
        let on = match report["device"].as_str() {
            Some(device) => format!("on {device}"),
            None => "computed, not measured".to_owned(),
        };
        context.output.line(&format!("{name} {on}"))?;
        for cell in cells {
            context.output.line(&format!("  {}", line(cell)))?;
        }
        for note in report["notes"].as_array().into_iter().flatten() {
            context
                .output
                .line(&format!("  {}", note.as_str().unwrap_or_default()))?;
        }
    }
    Ok(if skipped {
        Outcome::Partly
    } else {
        Outcome::Done
    })
}
