//! A model on an accelerator: its weights, its caches' memory, and the buffers that passes work in.
//!
//! `step` writes passes as launch plans over these buffers. All memory is taken when the model is opened: weights, work
//! buffers for the longest pass, and what is left for caches, in pages; nothing is taken later, so nothing can run out in
//! the middle of an answer. Must not know requests or text.

mod cache;
mod choice;
mod coded;
pub mod floors;
mod lists;
mod logits;
pub mod measure;
mod moved;
mod open;
mod pruned;
mod shapes;
mod step;
mod tapped;
mod weights;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use footnote_device::kernels::append::{Append, Pairs};
use footnote_device::kernels::attend::Attend;
use footnote_device::kernels::blend::Blend;
use footnote_device::kernels::coded_pages::Widths;
use footnote_device::kernels::product::{Job, Jobs, Matrix, Products};
use footnote_device::kernels::prompt::{Prompt, TileRows};
use footnote_device::kernels::rebuild::Rebuild;
use footnote_device::kernels::rows::{Parts, Rows};
use footnote_device::kernels::{Half, HeadShape as DeviceHeads, PAGE_TOKENS, Sequence};
use footnote_device::{Address, Buffer, PagePool, Plan};

use coded::{CodedPolicy, CodedWork, LayerBases, LayerBasesOwned};
use logits::Choice;

pub use cache::{CacheMemory, DeviceCache, PageCounts, PageLayout};
pub use choice::DeviceChoice;
pub use footnote_device::{Device, DeviceError};
pub use open::{HAS_CUDA, gpus, open};
pub use shapes::{SHAPES, shape};
pub use step::DeviceStep;
pub(crate) use tapped::TappedEnd;

use crate::EngineError;
use crate::cache::{CachePolicy, CacheShape, Keep, Plan as HostPlan, Window, keeps};
use crate::config::{ModelConfig, RopeLayout};
use crate::decoder::{LOGIT_ROWS, frequencies};
use crate::kernels::HeadShape;
use crate::model_file::ModelFile;
use crate::weights::Weights;

/// What stays free of a device's memory: the driver's own needs, and the library's workspace.
const SPARE_BYTES: usize = 512 << 20;
/// Slabs that the caches' memory is divided into at most: fine enough that several policies fit beside each other.
const MOST_SLABS: usize = 64;

/// What slabs are multiples of: as memory comes from a device.
const PAGE_ALIGNMENT: usize = 256;

/// How a model uses its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Longest context in tokens.
    pub context: usize,
    /// Tokens of one pass.
    pub rows: usize,
    /// Sequences of one pass.
    pub sequences: usize,
    /// Bytes for caches at most, and at most two thirds of what is left, so that another model finds room too; by default
    /// all that is left.
    pub cache_bytes: Option<usize>,
}

impl DeviceOptions {
    /// For contexts of up to `context` tokens: passes long enough that weights of codes, which are decoded for each, cost
    /// little beside the products.
    pub fn new(context: usize) -> DeviceOptions {
        DeviceOptions {
            context,
            rows: 2048,
            sequences: 64,
            cache_bytes: None,
        }
    }
}

/// A model on a device.
pub struct DeviceModel {
    device: Arc<dyn Device>,
    config: ModelConfig,
    options: DeviceOptions,
    half: Half,
    layers: Vec<Layer>,
    embedding: Arc<Matrix>,
    /// Only kept: the output's jobs name its memory.
    _output: Arc<Matrix>,
    output_norm: Buffer,
    table: Buffer,
    memory: Arc<CacheMemory>,
    layouts: Mutex<HashMap<(CachePolicy, Window), Arc<PageLayout>>>,
    makers: Makers,
    work: Mutex<Work>,
    weights_bytes: usize,
    /// The rotation's, of a head's pairs.
    frequencies: Vec<f64>,
}

/// One layer on the device.
struct Layer {
    attention_norm: Buffer,
    query_norm: Option<Buffer>,
    key_norm: Option<Buffer>,
    feed_forward_norm: Buffer,
    /// Queries, keys and values.
    project: Group,
    attention_output: Group,
    /// Gate and up.
    widen: Group,
    down: Group,
}

/// Products of one input.
struct Group {
    matrices: Vec<Matrix>,
    biases: Vec<Option<Buffer>>,
    jobs: Jobs,
}

/// What makes launches.
struct Makers {
    rows: Rows,
    products: Products,
    append: Append,
    attend: Attend,
    prompt: Prompt,
    rebuild: Rebuild,
    blend: Blend,
}

/// Memory that passes work in.
struct Work {
    tokens: Buffer,
    row_sequence: Buffer,
    sequences: Buffer,
    page_table: Buffer,
    lists: Buffer,
    stream: Buffer,
    normed: TwoHalves,
    projected: Buffer,
    queries: Buffer,
    attended: TwoHalves,
    widened: Buffer,
    gated: TwoHalves,
    /// A matrix of codes as halves.
    unpacked: Buffer,
    extents: Buffer,
    partials: Buffer,
    outputs: Buffer,
    logits: Buffer,
    choice: Choice,
    output_jobs: Jobs,
    coded: CodedWork,
    plans: HashMap<step::PlanKey, Arc<Plan>>,
}

struct TwoHalves {
    high: Buffer,
    low: Buffer,
}

impl TwoHalves {
    fn new(device: &Arc<dyn Device>, count: usize) -> Result<TwoHalves, EngineError> {
        Ok(TwoHalves {
            high: Buffer::new(device, 2 * count)?,
            low: Buffer::new(device, 2 * count)?,
        })
    }

    /// From row `row` of rows of `width`.
    fn from(&self, row: usize, width: usize) -> Parts {
        Parts {
            high: self.high.at(2 * row * width),
            low: self.low.at(2 * row * width),
        }
    }
}

impl DeviceModel {
    /// Takes a model file's weights to a device.
    ///
    /// # Errors
    /// As [`Weights::load`], and where they do not fit.
    pub fn load(
        device: &Arc<dyn Device>,
        file: &ModelFile,
        config: &ModelConfig,
        options: DeviceOptions,
    ) -> Result<DeviceModel, EngineError> {
        let half = weights::halves_of(file);
        let weights = weights::load(file, config, device, half)?;
        DeviceModel::new(device, config.clone(), weights, half, options)
    }

    /// A model of a shape with made-up weights.
    ///
    /// # Errors
    /// Where it does not fit.
    pub fn synthetic(
        device: &Arc<dyn Device>,
        config: ModelConfig,
        options: DeviceOptions,
    ) -> Result<DeviceModel, EngineError> {
        let weights = weights::synthetic(&config, device)?;
        DeviceModel::new(device, config, weights, Half::Bf16, options)
    }

    fn new(
        device: &Arc<dyn Device>,
        config: ModelConfig,
        weights: Weights<Matrix>,
        half: Half,
        options: DeviceOptions,
    ) -> Result<DeviceModel, EngineError> {
        let heads = heads_of(&config);
        let pairs = match config.rope_layout {
            RopeLayout::Interleaved => Pairs::Interleaved,
            RopeLayout::Halves => Pairs::Halves,
        };
        let makers = Makers {
            rows: Rows::new(half),
            products: Products::new(half),
            append: Append::new(heads, pairs),
            attend: Attend::new(heads, half),
            prompt: Prompt::new(heads, TileRows::Rows64, half),
            rebuild: Rebuild::new(
                Widths {
                    kv_heads: config.kv_heads,
                    head_dim: config.head_dim,
                    hidden: config.hidden,
                },
                pairs == Pairs::Interleaved,
            ),
            blend: Blend::new(heads, half),
        };
        let frequencies = frequencies(&config, weights.rope_factors.as_deref());
        let table = rotation_table(&frequencies, options.context);
        let table = Buffer::of(device, &table)?;
        let output_norm = Buffer::of(device, &weights.output_norm)?;
        let matrices = weights.layers.iter().flat_map(|layer| {
            [
                &layer.query.weight,
                &layer.key.weight,
                &layer.value.weight,
                &layer.attention_output,
                &layer.gate,
                &layer.up,
                &layer.down,
            ]
        });
        let (mut weights_bytes, mut coded) = (0, 0);
        for matrix in matrices.chain([&*weights.embedding]) {
            weights_bytes += matrix.bytes();
        }
        for layer in &weights.layers {
            for matrix in [
                &layer.gate,
                &layer.down,
                &layer.attention_output,
                &layer.query.weight,
            ] {
                if matrix.halves().is_none() {
                    coded = coded.max(matrix.rows() * matrix.cols());
                }
            }
        }
        if !Arc::ptr_eq(&weights.embedding, &weights.output) {
            weights_bytes += weights.output.bytes();
        }
        let mut work = Work::new(device, &config, &options, &makers, coded, &weights.output)?;
        let layers = weights
            .layers
            .into_iter()
            .map(|layer| Layer::new(device, layer, &config, &makers, &mut work))
            .collect::<Result<Vec<_>, EngineError>>()?;
        let free = device.memory()?.free;
        let left = free.saturating_sub(SPARE_BYTES.min(free / 8));
        let bytes = match options.cache_bytes {
            Some(most) => most.min(left / 3 * 2),
            None => left,
        };
        // A slab holds a page of any policy; the largest are open ones, with what codes are made of beside keys and values.
        let widest = config.hidden.max(config.kv_width());
        let open = 2 * PAGE_TOKENS * (2 * config.kv_width() + widest) * config.layers;
        // Pages begin at multiples of 16 bytes where slabs do.
        let slab = (bytes / MOST_SLABS / PAGE_ALIGNMENT * PAGE_ALIGNMENT).max(open);
        if bytes < slab {
            return Err(EngineError::Request(format!(
                "{}: {} MB are left for caches, less than the {} MB of a page of {PAGE_TOKENS} tokens; use a smaller model",
                device.name(),
                bytes >> 20,
                slab >> 20
            )));
        }
        let slabs = bytes / slab;
        let memory = Buffer::new(device, slabs * slab)?;
        tracing::info!(
            device.name = device.name(),
            model.weights_bytes = weights_bytes,
            cache.bytes = slabs * slab,
            "model on a device"
        );
        Ok(DeviceModel {
            device: Arc::clone(device),
            layers,
            embedding: weights.embedding,
            _output: weights.output,
            output_norm,
            table,
            memory: Arc::new(CacheMemory::new(PagePool::new(slabs * slab, slab), memory)),
            layouts: Mutex::default(),
            makers,
            work: Mutex::new(work),
            config,
            options,
            half,
            weights_bytes,
            frequencies,
        })
    }

    /// The device.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// How it uses its device.
    pub fn options(&self) -> &DeviceOptions {
        &self.options
    }

    /// Bytes of its weights.
    pub fn weights_bytes(&self) -> usize {
        self.weights_bytes
    }

    /// The rotation's frequencies of a head's pairs, the fastest first.
    pub(crate) fn frequencies(&self) -> &[f64] {
        &self.frequencies
    }

    /// The memory of its caches.
    pub fn memory(&self) -> &Arc<CacheMemory> {
        &self.memory
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What pages of a policy hold, for a model without weights on the host: what codes are made with is then the identity,
    /// so that sizes and times are those of the policy and what is written is not.
    ///
    /// # Errors
    /// Where the device has no kernels for it.
    pub fn layout(&self, policy: CachePolicy) -> Result<Arc<PageLayout>, EngineError> {
        let keeps = keeps(policy, &shape_of(&self.config));
        self.layout_with(policy, Window::Recent, &keeps, &|index| {
            LayerBasesOwned::identity(keeps[index], &self.config)
        })
    }

    /// What pages of a worked-out policy hold.
    ///
    /// # Errors
    /// Where the device has no kernels for it.
    pub(crate) fn layout_of(&self, plan: &HostPlan) -> Result<Arc<PageLayout>, EngineError> {
        self.layout_with(plan.policy(), plan.window, &plan.layers, &|index| {
            LayerBasesOwned::of(&LayerBases {
                pair: plan.bases.as_ref().map(|bases| &bases.layers[index]),
                joint: plan.joint.as_ref().map(|bases| &bases.layers[index]),
            })
        })
    }

    fn layout_with(
        &self,
        policy: CachePolicy,
        window: Window,
        keeps: &[Keep],
        bases: &dyn Fn(usize) -> LayerBasesOwned,
    ) -> Result<Arc<PageLayout>, EngineError> {
        // Held while a policy is worked out, so that two requests do not do it twice.
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layout) = layouts.get(&(policy, window)) {
            return Ok(Arc::clone(layout));
        }
        let shape = shape_of(&self.config);
        let layout = Arc::new(match policy {
            CachePolicy::Full => PageLayout::full(shape),
            policy => {
                // What it needs of each layer does not depend on the window.
                let other = match window {
                    Window::Recent => Window::None,
                    Window::None => Window::Recent,
                };
                let made = layouts.get(&(policy, other));
                let coded = match made.and_then(|layout| layout.coded.clone()) {
                    Some(coded) => coded,
                    None => Arc::new(CodedPolicy::new(self, policy, keeps, bases)?),
                };
                PageLayout::coded(policy, window, shape, coded)
            }
        });
        layouts.insert((policy, window), Arc::clone(&layout));
        Ok(layout)
    }

    /// An empty cache.
    ///
    /// # Errors
    /// As [`layout`](Self::layout).
    pub fn cache(&self, policy: CachePolicy) -> Result<DeviceCache, EngineError> {
        Ok(DeviceCache::new(&self.memory, &self.layout(policy)?))
    }
}

fn shape_of(config: &ModelConfig) -> CacheShape {
    CacheShape {
        layers: config.layers,
        hidden: config.hidden,
        heads: HeadShape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        },
    }
}

fn heads_of(config: &ModelConfig) -> DeviceHeads {
    DeviceHeads {
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
    }
}

/// Cosine and sine by position and pair, `[positions][head_dim / 2][2]`.
fn rotation_table(frequencies: &[f64], positions: usize) -> Vec<f32> {
    (0..positions)
        .flat_map(|position| {
            frequencies.iter().flat_map(move |frequency| {
                let (sine, cosine) = (position as f64 * frequency).sin_cos();
                [cosine as f32, sine as f32]
            })
        })
        .collect()
}

impl Work {
    fn new(
        device: &Arc<dyn Device>,
        config: &ModelConfig,
        options: &DeviceOptions,
        makers: &Makers,
        coded: usize,
        output: &Matrix,
    ) -> Result<Work, EngineError> {
        let (rows, sequences) = (options.rows, options.sequences);
        let (query, kv) = (config.query_width(), config.kv_width());
        let floats = |count: usize| Buffer::new(device, 4 * count);
        let logits = floats(LOGIT_ROWS * config.vocab)?;
        let (extents, partials) = makers
            .attend
            .scratch_floats(step::most_partials(options), 1);
        let job = Job {
            matrix: output,
            bias: Address::NONE,
            out: logits.address(),
            stride: config.vocab,
            add: false,
        };
        Ok(Work {
            tokens: floats(rows)?,
            row_sequence: floats(rows)?,
            // A sequence of codes is read by up to five: rows before a group's end as it is and by its accumulators, those
            // behind it in two parts, and by what is rebuilt.
            sequences: Buffer::new(device, 5 * sequences * Sequence::BYTES)?,
            lists: Buffer::new(device, lists::list_bytes(options.context, sequences, rows))?,
            // Of codes there are tables of accumulators, of a prompt's own groups and of rebuilt pages besides.
            page_table: Buffer::new(
                device,
                8 * 4 * sequences * (options.context.div_ceil(PAGE_TOKENS) + 1),
            )?,
            stream: floats(rows * config.hidden)?,
            normed: TwoHalves::new(device, rows * config.hidden)?,
            projected: floats(rows * (query + 2 * kv))?,
            queries: Buffer::new(device, 2 * rows * query)?,
            attended: TwoHalves::new(device, rows * query)?,
            // Also where taps have a pass's queries as floats, and what heads are moved towards stands in two halves.
            widened: floats(rows * query.max(2 * config.feed_forward))?,
            gated: TwoHalves::new(device, rows * config.feed_forward)?,
            unpacked: Buffer::new(device, 2 * coded)?,
            extents: floats(extents)?,
            partials: floats(partials)?,
            outputs: floats(rows * config.hidden)?,
            output_jobs: makers.products.jobs(device, &[job])?,
            logits,
            choice: Choice::new(device, config.vocab)?,
            coded: CodedWork::new(device, config, options)?,
            plans: HashMap::new(),
        })
    }
}

impl Layer {
    fn new(
        device: &Arc<dyn Device>,
        layer: crate::weights::LayerWeights<Matrix>,
        config: &ModelConfig,
        makers: &Makers,
        work: &mut Work,
    ) -> Result<Layer, EngineError> {
        let (query, kv) = (config.query_width(), config.kv_width());
        let width = query + 2 * kv;
        let inner = config.feed_forward;
        let (hidden, stream) = (config.hidden, work.stream.address());
        let optional = |values: Option<Vec<f32>>| -> Result<Option<Buffer>, EngineError> {
            Ok(match values {
                Some(values) => Some(Buffer::of(device, &values)?),
                None => None,
            })
        };
        // Matrix, bias, where its results go, how far apart they are, whether they are added.
        type Part = (Matrix, Option<Vec<f32>>, Address, usize, bool);
        let group = |parts: Vec<Part>| -> Result<Group, EngineError> {
            let mut biases = Vec::new();
            for (_, bias, ..) in &parts {
                biases.push(optional(bias.clone())?);
            }
            let jobs: Vec<Job<'_>> = parts
                .iter()
                .zip(&biases)
                .map(|((matrix, _, out, stride, add), bias)| Job {
                    matrix,
                    bias: bias.as_ref().map_or(Address::NONE, Buffer::address),
                    out: *out,
                    stride: *stride,
                    add: *add,
                })
                .collect();
            let jobs = makers.products.jobs(device, &jobs)?;
            Ok(Group {
                matrices: parts.into_iter().map(|(matrix, ..)| matrix).collect(),
                biases,
                jobs,
            })
        };
        let at = |columns: usize| work.projected.at(4 * columns);
        Ok(Layer {
            attention_norm: Buffer::of(device, &layer.attention_norm)?,
            query_norm: optional(layer.query_norm)?,
            key_norm: optional(layer.key_norm)?,
            feed_forward_norm: Buffer::of(device, &layer.feed_forward_norm)?,
            project: group(vec![
                (layer.query.weight, layer.query.bias, at(0), width, false),
                (layer.key.weight, layer.key.bias, at(query), width, false),
                (
                    layer.value.weight,
                    layer.value.bias,
                    at(query + kv),
                    width,
                    false,
                ),
            ])?,
            attention_output: group(vec![(layer.attention_output, None, stream, hidden, true)])?,
            widen: group(vec![
                (layer.gate, None, work.widened.at(0), 2 * inner, false),
                (layer.up, None, work.widened.at(4 * inner), 2 * inner, false),
            ])?,
            down: group(vec![(layer.down, None, stream, hidden, true)])?,
        })
    }
}
