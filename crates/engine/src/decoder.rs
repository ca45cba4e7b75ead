//! The decoder: tokens of one or several sequences through all layers, in one pass.
//!
//! Rows of all sequences are multiplied together; only attention goes sequence by sequence, in the
//! sequence's own cache. So several sequences that each add one token read the weights once. This
//! module must not know tokenizers, requests or schedules.

mod perturb;
mod pruned;
mod tapped;

pub use perturb::{Perturbation, Target};
pub(crate) use tapped::BANDED_CHUNK;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::EngineError;
use crate::basis::{Bases, JointBases};
use crate::cache::{
    Cache, CachePlan, CachePolicy, CacheShape, KeyNorm, LayerRows, LayerView, Plan, PlanParts,
    Projection, Rotation, Window,
};
use crate::config::{ModelConfig, RopeLayout};
use crate::device::{DeviceModel, DeviceStep};
use crate::kernels::{
    Form, HeadShape, LaneTable, QuantMatrix, RopeStyle, RopeTable, matmul_many, rms_norm, rope,
    silu_mul,
};
use crate::model_file::ModelFile;
use crate::sampling::{TokenMask, greedy};
use crate::weights::{Linear, Weights};

/// Rows of logits computed at once: 64 rows of a vocabulary of 150,000 are 39 MB.
pub(crate) const LOGIT_ROWS: usize = 64;

/// A model ready to run.
pub struct Decoder {
    config: ModelConfig,
    runs: Runs,
    rope: RopeTable,
    style: RopeStyle,
    heads: HeadShape,
    lanes: OnceLock<Arc<LaneTable>>,
    bases: OnceLock<Arc<Bases>>,
    joint: OnceLock<Arc<JointBases>>,
    /// The model's file, beside which bases are kept.
    file: Option<PathBuf>,
}

/// What makes the passes.
enum Runs {
    /// This processor, which holds the weights.
    Here(Weights),
    /// An accelerator, which holds them.
    There(Arc<DeviceModel>),
}

/// Which positions of a step's tokens give an output row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// None: the middle of a prompt.
    None,
    /// The last token's.
    Last,
    /// Every token's.
    Every,
}

/// Where a step's tokens come from, which decides how products round them ([`Form`]): so what a token
/// gives does not depend on the steps beside it, on chunks, or on how many of them there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A prompt, of any length.
    Prompt,
    /// The model itself, a few tokens at a time.
    Written,
}

impl Origin {
    fn form(self) -> Form {
        match self {
            Origin::Prompt => Form::of_many(),
            Origin::Written => Form::Dots,
        }
    }
}

/// Tokens to read on one cache.
pub struct Step<'a> {
    /// The tokens, all below the vocabulary's size; not empty.
    pub tokens: &'a [u32],
    /// Where they come from.
    pub origin: Origin,
    /// What was read before them.
    pub cache: &'a mut Cache,
    /// Which rows to give.
    pub outputs: Outputs,
    /// Heads that are made worse on purpose.
    pub perturbation: Option<&'a Perturbation>,
}

/// Memory a pass works in, kept between passes.
#[derive(Default)]
pub struct Scratch {
    stream: Vec<f32>,
    normed: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    /// Keys before their norm, where there is one.
    raw_keys: Vec<f32>,
    values: Vec<f32>,
    attended: Vec<f32>,
    added: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

impl Decoder {
    /// A decoder for contexts of up to `context` tokens.
    pub fn new(config: ModelConfig, weights: Weights, context: usize) -> Decoder {
        let frequencies = frequencies(&config, weights.rope_factors.as_deref());
        let rope = RopeTable::new(&frequencies, context);
        Decoder::of(config, Runs::Here(weights), rope)
    }

    /// A decoder whose passes an accelerator makes. Of the weights in the file `model` this processor reads what it needs
    /// for bases, when it needs it.
    pub fn on_device(device: Arc<DeviceModel>, model: &Path) -> Decoder {
        let rope = RopeTable::new(device.frequencies(), device.options().context);
        Decoder::of(device.config().clone(), Runs::There(device), rope).with_file(model)
    }

    fn of(config: ModelConfig, runs: Runs, rope: RopeTable) -> Decoder {
        Decoder {
            rope,
            style: match config.rope_layout {
                RopeLayout::Interleaved => RopeStyle::Interleaved,
                RopeLayout::Halves => RopeStyle::Neox,
            },
            heads: HeadShape {
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
            },
            config,
            runs,
            lanes: OnceLock::new(),
            bases: OnceLock::new(),
            joint: OnceLock::new(),
            file: None,
        }
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The weights on this processor.
    ///
    /// # Panics
    /// Where a device makes the passes: nothing of a pass happens here then.
    pub(crate) fn weights(&self) -> &Weights {
        match &self.runs {
            Runs::Here(weights) => weights,
            Runs::There(device) => unreachable!("the weights are on {}", device.device().name()),
        }
    }

    /// Works something out of the weights, which are read for it where a device holds them.
    fn with_weights<T>(
        &self,
        work: impl FnOnce(&Weights) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match (&self.runs, &self.file) {
            (Runs::Here(weights), _) => work(weights),
            (Runs::There(_), Some(path)) => {
                let file = ModelFile::open(path)?;
                work(&Weights::load(&file, &self.config)?)
            }
            (Runs::There(_), None) => Err(EngineError::Request(
                "a model without a file has no bases: use a cache policy without any".to_owned(),
            )),
        }
    }

    /// Longest context, in tokens.
    pub fn context(&self) -> usize {
        self.rope.positions()
    }

    /// How its keys are rotated.
    pub(crate) fn rotation(&self) -> Rotation<'_> {
        Rotation {
            table: &self.rope,
            style: self.style,
        }
    }

    /// The shapes of its caches.
    pub fn cache_shape(&self) -> CacheShape {
        CacheShape {
            layers: self.config.layers,
            hidden: self.config.hidden,
            heads: self.heads,
        }
    }

    /// The same decoder, keeping what it decomposes of its weights in a file beside `model`.
    #[must_use]
    pub fn with_file(mut self, model: &Path) -> Decoder {
        self.file = Some(model.to_path_buf());
        self
    }

    /// The same model on an accelerator, where its passes are made there.
    pub fn device(&self) -> Option<&Arc<DeviceModel>> {
        match &self.runs {
            Runs::Here(_) => None,
            Runs::There(device) => Some(device),
        }
    }

    /// Tokens of the longest pass: a device has memory for so many.
    pub(crate) fn longest_pass(&self) -> usize {
        self.device()
            .map_or(usize::MAX, |device| device.options().rows)
    }

    /// An empty full cache for one sequence.
    ///
    /// # Errors
    /// Where a device has no room for any.
    pub fn full_cache(&self) -> Result<Cache, EngineError> {
        self.cache(CachePolicy::Full)
    }

    /// An empty cache of this processor's memory.
    pub(crate) fn host_cache(&self) -> Cache {
        Cache::full(self.cache_shape())
    }

    /// An empty cache for one sequence; for many, see [`plan`](Self::plan).
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn cache(&self, policy: CachePolicy) -> Result<Cache, EngineError> {
        Ok(self.cache_plan(policy, Window::Recent)?.empty())
    }

    /// How caches of a policy are kept, worked out for many of them.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), and where the device has no kernels for the policy.
    pub fn cache_plan(
        &self,
        policy: CachePolicy,
        window: Window,
    ) -> Result<CachePlan, EngineError> {
        if let Some(device) = self.device() {
            let layout = match self.plan(policy, window)? {
                None => device.layout(policy)?,
                Some(plan) => device.layout_of(&plan)?,
            };
            return Ok(CachePlan::Device(Arc::clone(device.memory()), layout));
        }
        Ok(match self.plan(policy, window)? {
            None => CachePlan::Full(self.cache_shape()),
            Some(plan) => CachePlan::Quantised(Arc::new(plan)),
        })
    }

    /// What a policy keeps of this model's layers; nothing for a full cache. Bases that it needs are
    /// computed once, which takes seconds.
    ///
    /// # Errors
    /// Where the policy cannot serve this model.
    pub fn plan(&self, policy: CachePolicy, window: Window) -> Result<Option<Plan>, EngineError> {
        if policy == CachePolicy::Full {
            return Ok(None);
        }
        let parts = PlanParts {
            lanes: &|| {
                let lanes = self
                    .lanes
                    .get_or_init(|| Arc::new(LaneTable::new(&self.rope)));
                Arc::clone(lanes)
            },
            still: &|| {
                let zeros = vec![0.0; self.config.head_dim / 2];
                Arc::new(LaneTable::new(&RopeTable::new(&zeros, self.context())))
            },
            bases: &|| {
                once(&self.bases, || {
                    self.with_weights(|weights| match &self.file {
                        Some(model) => Bases::beside(model, weights),
                        None => Bases::compute(weights),
                    })
                })
            },
            joint: &|| once(&self.joint, || self.with_weights(JointBases::compute)),
        };
        Plan::new(policy, self.cache_shape(), window, &parts).map(Some)
    }

    /// Reads the steps' tokens and gives the last layer's normed rows of the asked positions, in
    /// order, `[rows][hidden]`, for [`logits`](Self::logits). `keep_going` is asked before each
    /// layer; once it says no, the pass ends with `None` and every cache is as it was.
    ///
    /// # Errors
    /// Where a device fails or has no room; on the processor never.
    pub fn forward(
        &self,
        steps: &mut [Step<'_>],
        scratch: &mut Scratch,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        if let Some(device) = self.device() {
            return device.forward(&mut on_device(device, steps)?, keep_going);
        }
        let config = &self.config;
        let tokens: usize = steps.iter().map(|step| step.tokens.len()).sum();
        let positions: Vec<usize> = steps
            .iter()
            .flat_map(|step| step.cache.position()..step.cache.position() + step.tokens.len())
            .collect();
        let runs = runs(steps);
        scratch.resize(tokens, config);
        let rows = scratch.stream.chunks_exact_mut(config.hidden);
        for (token, row) in steps.iter().flat_map(|step| step.tokens).zip(rows) {
            self.weights()
                .embedding
                .dequantize_row(*token as usize, row);
        }
        for index in 0..config.layers {
            if !keep_going() {
                return Ok(None);
            }
            self.attention_block(index, steps, &positions, &runs, scratch);
            self.feed_forward_block(index, &runs, scratch);
        }
        let mut outputs = Vec::new();
        let mut at = 0;
        for step in steps {
            let count = step.tokens.len();
            let wanted = match step.outputs {
                Outputs::None => at..at,
                Outputs::Last => at + count - 1..at + count,
                Outputs::Every => at..at + count,
            };
            outputs.extend_from_slice(
                &scratch.stream[wanted.start * config.hidden..wanted.end * config.hidden],
            );
            at += count;
            step.cache.commit(count);
        }
        let mut normed = vec![0.0; outputs.len()];
        rms_norm(
            &outputs,
            &self.weights().output_norm,
            config.rms_epsilon,
            &mut normed,
        );
        Ok(Some(normed))
    }

    /// Logits of rows that [`forward`](Self::forward) gave, `[rows][vocab]`.
    ///
    /// # Errors
    /// Where a device fails; on the processor never.
    pub fn logits(&self, rows: &[f32]) -> Result<Vec<f32>, EngineError> {
        if let Some(device) = self.device() {
            return device.logits(rows);
        }
        let count = rows.len() / self.config.hidden;
        let mut logits = vec![0.0; count * self.config.vocab];
        if count > 0 {
            self.weights().output.matmul(rows, count, &mut logits);
        }
        Ok(logits)
    }

    /// As [`forward`](Self::forward), and of each asked row the likeliest token, as [`greedy`] says, among those that its
    /// mask allows, if it has one. `masks` is asked once, while a device is at the pass.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub(crate) fn forward_likeliest(
        &self,
        steps: &mut [Step<'_>],
        scratch: &mut Scratch,
        keep_going: &dyn Fn() -> bool,
        masks: &mut dyn FnMut() -> Vec<Option<TokenMask>>,
    ) -> Result<Option<Vec<Option<u32>>>, EngineError> {
        if let Some(device) = self.device() {
            let mut steps = on_device(device, steps)?;
            return device.forward_likeliest(&mut steps, keep_going, masks);
        }
        let Some(rows) = self.forward(steps, scratch, keep_going)? else {
            return Ok(None);
        };
        let mut likeliest = Vec::new();
        let chunks = rows.chunks(LOGIT_ROWS * self.config.hidden);
        for (rows, masks) in chunks.zip(masks().chunks(LOGIT_ROWS)) {
            let mut logits = self.logits(rows)?;
            let of_rows = logits.chunks_exact_mut(self.config.vocab).zip(masks);
            likeliest.extend(of_rows.map(|(logits, mask)| {
                if let Some(mask) = mask {
                    mask.apply(logits);
                }
                greedy(logits)
            }));
        }
        Ok(Some(likeliest))
    }

    /// The stream's queries, keys and values of a layer; queries rotated.
    fn project(&self, index: usize, positions: &[usize], runs: &[Run], scratch: &mut Scratch) {
        let config = &self.config;
        let layer = &self.weights().layers[index];
        rms_norm(
            &scratch.stream,
            &layer.attention_norm,
            config.rms_epsilon,
            &mut scratch.normed,
        );
        multiply(
            runs,
            &scratch.normed,
            &mut [
                (&layer.query.weight, scratch.queries.as_mut_slice()),
                (&layer.key.weight, scratch.keys.as_mut_slice()),
                (&layer.value.weight, scratch.values.as_mut_slice()),
            ],
        );
        add_bias(&layer.query, &mut scratch.queries);
        add_bias(&layer.key, &mut scratch.keys);
        add_bias(&layer.value, &mut scratch.values);
        if let Some(norm) = &layer.query_norm {
            norm_heads(&mut scratch.queries, norm, config.rms_epsilon);
        }
        if let Some(norm) = &layer.key_norm {
            // What a latent cache is made from is not normed yet.
            scratch.raw_keys.clone_from(&scratch.keys);
            norm_heads(&mut scratch.keys, norm, config.rms_epsilon);
        }
        rope(
            &mut scratch.queries,
            config.heads,
            config.head_dim,
            positions,
            &self.rope,
            self.style,
        );
    }

    /// A layer as caches see it.
    fn view(&self, index: usize) -> LayerView<'_> {
        let layer = &self.weights().layers[index];
        LayerView {
            index,
            rotation: self.rotation(),
            key: projection(&layer.key),
            value: projection(&layer.value),
            key_norm: layer.key_norm.as_deref().map(|weight| KeyNorm {
                weight,
                epsilon: self.config.rms_epsilon,
            }),
        }
    }

    fn attention_block(
        &self,
        index: usize,
        steps: &mut [Step<'_>],
        positions: &[usize],
        runs: &[Run],
        scratch: &mut Scratch,
    ) {
        let config = &self.config;
        let layer = &self.weights().layers[index];
        self.project(index, positions, runs, scratch);
        let view = self.view(index);
        let query_width = config.query_width();
        let mut at = 0;
        for step in steps {
            let range = at..at + step.tokens.len();
            let part = |width: usize| range.start * width..range.end * width;
            step.cache.write(&view, &self.rows(index, &range, scratch));
            step.cache.attend(
                &view,
                &scratch.queries[part(query_width)],
                &mut scratch.attended[part(query_width)],
            );
            if let Some(perturbation) = step.perturbation {
                self.perturb(perturbation, &view, step.cache, range.clone(), scratch);
            }
            at = range.end;
        }
        add_product(
            &layer.attention_output,
            runs,
            &scratch.attended,
            &mut scratch.added,
            &mut scratch.stream,
        );
    }

    /// Rows `range` of a layer for its cache.
    fn rows<'a>(&self, index: usize, range: &Range<usize>, scratch: &'a Scratch) -> LayerRows<'a> {
        let kv_width = self.config.kv_width();
        let part = |width: usize| range.start * width..range.end * width;
        LayerRows {
            normed: &scratch.normed[part(self.config.hidden)],
            keys: &scratch.keys[part(kv_width)],
            raw_keys: match self.weights().layers[index].key_norm {
                Some(_) => &scratch.raw_keys[part(kv_width)],
                None => &scratch.keys[part(kv_width)],
            },
            values: &scratch.values[part(kv_width)],
        }
    }

    fn feed_forward_block(&self, index: usize, runs: &[Run], scratch: &mut Scratch) {
        let layer = &self.weights().layers[index];
        rms_norm(
            &scratch.stream,
            &layer.feed_forward_norm,
            self.config.rms_epsilon,
            &mut scratch.normed,
        );
        multiply(
            runs,
            &scratch.normed,
            &mut [
                (&layer.gate, scratch.gate.as_mut_slice()),
                (&layer.up, scratch.up.as_mut_slice()),
            ],
        );
        silu_mul(&mut scratch.gate, &scratch.up);
        add_product(
            &layer.down,
            runs,
            &scratch.gate,
            &mut scratch.added,
            &mut scratch.stream,
        );
    }
}

/// The rotation's frequencies of a head's pairs, the fastest first.
pub(crate) fn frequencies(config: &ModelConfig, factors: Option<&[f32]>) -> Vec<f64> {
    let half = config.head_dim / 2;
    (0..half)
        .map(|i| {
            let exponent = i as f64 / half as f64;
            let factor = factors.map_or(1.0, |factors| f64::from(factors[i]));
            f64::from(config.rope_base).powf(-exponent) / factor
        })
        .collect()
}

/// A pass's steps for a device.
fn on_device<'a>(
    device: &DeviceModel,
    steps: &'a mut [Step<'_>],
) -> Result<Vec<DeviceStep<'a>>, EngineError> {
    let steps = steps.iter_mut().map(|step| {
        let Cache::Device(cache) = &mut *step.cache else {
            return Err(EngineError::Request(format!(
                "{} cannot read on a cache of the processor's memory; use `--device cpu`",
                device.device().name()
            )));
        };
        Ok(DeviceStep {
            tokens: step.tokens,
            origin: step.origin,
            cache,
            outputs: step.outputs,
            perturbation: step.perturbation,
        })
    });
    steps.collect()
}

/// Norms each head of `rows`; a head is as wide as `weight`.
fn norm_heads(rows: &mut Vec<f32>, weight: &[f32], epsilon: f32) {
    let mut normed = vec![0.0; rows.len()];
    rms_norm(rows, weight, epsilon, &mut normed);
    *rows = normed;
}

fn projection(linear: &Linear) -> Projection<'_> {
    Projection {
        weight: &linear.weight,
        bias: linear.bias.as_deref(),
    }
}

/// What `cell` holds, made if need be; two who make it at once keep the first.
fn once<T>(
    cell: &OnceLock<Arc<T>>,
    make: impl FnOnce() -> Result<T, EngineError>,
) -> Result<Arc<T>, EngineError> {
    if let Some(made) = cell.get() {
        return Ok(Arc::clone(made));
    }
    let made = Arc::new(make()?);
    Ok(Arc::clone(cell.get_or_init(|| made)))
}

/// Neighbouring rows whose products round alike.
struct Run {
    rows: Range<usize>,
    form: Form,
}

fn runs(steps: &[Step<'_>]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut at = 0;
    for step in steps {
        let end = at + step.tokens.len();
        let form = step.origin.form();
        match runs.last_mut() {
            Some(last) if last.form == form => last.rows.end = end,
            _ => runs.push(Run {
                rows: at..end,
                form,
            }),
        }
        at = end;
    }
    runs
}

/// Products over all rows of `input`, each run by its form.
fn multiply(runs: &[Run], input: &[f32], products: &mut [(&QuantMatrix, &mut [f32])]) {
    let Some(cols) = products.first().map(|(matrix, _)| matrix.cols()) else {
        return;
    };
    for Run { rows, form } in runs {
        let mut parts: Vec<(&QuantMatrix, &mut [f32])> = products
            .iter_mut()
            .map(|(matrix, out)| {
                let width = matrix.rows();
                (*matrix, &mut out[rows.start * width..rows.end * width])
            })
            .collect();
        let input = &input[rows.start * cols..rows.end * cols];
        matmul_many(input, rows.len(), *form, &mut parts);
    }
}

/// `stream += input · matrixᵀ`.
fn add_product(
    matrix: &QuantMatrix,
    runs: &[Run],
    input: &[f32],
    product: &mut [f32],
    stream: &mut [f32],
) {
    multiply(runs, input, &mut [(matrix, &mut *product)]);
    for (sum, more) in stream.iter_mut().zip(product) {
        *sum += *more;
    }
}

impl Scratch {
    fn resize(&mut self, tokens: usize, config: &ModelConfig) {
        let query = config.query_width();
        let kv = config.kv_width();
        for (buffer, width) in [
            (&mut self.stream, config.hidden),
            (&mut self.normed, config.hidden),
            (&mut self.queries, query),
            (&mut self.keys, kv),
            (&mut self.values, kv),
            (&mut self.attended, query),
            (&mut self.added, config.hidden),
            (&mut self.gate, config.feed_forward),
            (&mut self.up, config.feed_forward),
        ] {
            buffer.resize(tokens * width, 0.0);
        }
    }
}

fn add_bias(linear: &Linear, rows: &mut [f32]) {
    if let Some(bias) = &linear.bias {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    }
}
