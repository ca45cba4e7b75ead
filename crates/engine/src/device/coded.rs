//! Caches of codes on a device: what their pages hold, layer by layer, and how those are written and read in a pass.
//!
//! What a token sees depends on its position alone, as on the processor: its own group of tokens exactly, all earlier
//! ones from their codes. Few rows bring keys back on the way to their scores; a prompt's rows share whole pages that are
//! rebuilt for the layer. Must not know requests.

mod ops;

use std::sync::Arc;

use footnote_device::kernels::coded_pages::{Kept, Widths};
use footnote_device::kernels::codes::Codes;
use footnote_device::kernels::product::{Job, Jobs, Matrix, Packed, Products};
use footnote_device::kernels::remat::{
    self, Form, HEAD_DIMS, LayerPlace, Remat, Shape, accumulator_layer,
};
use footnote_device::kernels::{Half, PAGE_TOKENS};
use footnote_device::{Address, Buffer, Device, Op, Page, Plan, bytes_of};
use half::f16;

use super::{DeviceModel, DeviceOptions, TwoHalves};
use crate::EngineError;
use crate::basis::{JointBasis, LayerBasis};
use crate::cache::{CachePolicy, Keep};
use crate::config::{ModelConfig, RopeLayout};
use crate::kernels::{Bits, Mix, multiply};

pub(super) use ops::{BodyLists, RowLists, Walk, own_page};

/// Pages that are rebuilt at a time: their rows make large products and little scratch.
pub(super) const REBUILT_PAGES: usize = 16;
/// Floats of what splits leave for joining, at most: 128 MB.
const MOST_PARTIALS: usize = 32 << 20;

/// A policy of codes on a device.
pub struct CodedPolicy {
    pub(super) layers: Vec<CodedLayer>,
    /// Bytes of a closed page.
    pub(super) closed_bytes: usize,
    /// Bytes of an open page.
    pub(super) open_bytes: usize,
    /// Bytes of a page of the closed loop's accumulator; 0 where there is none.
    pub(super) accumulator_bytes: usize,
}

/// One layer of it.
pub(super) struct CodedLayer {
    pub(super) kept: Kept,
    /// Whether it starts the accumulator.
    pub(super) base: bool,
    /// Whether codes are of keys as attention takes them.
    pub(super) rotated: bool,
    pub(super) place: LayerPlace,
    pub(super) rows: Codes,
    /// Of latents of keys, once more in f16.
    pub(super) first_channel: Option<Codes>,
    pub(super) values: Option<Codes>,
    pub(super) shape: Shape,
    pub(super) remat: Remat,
    /// What the kernel brings keys back by.
    pub(super) projection: Option<Held>,
    /// f16 `[kv][width]`: what products bring keys back by.
    pub(super) keys: Option<Held>,
    /// f16 `[kv][value width]`: what brings values back.
    pub(super) mix: Option<Held>,
    /// Latents of keys and of values.
    pub(super) latents: Option<[Latents; 2]>,
    pub(super) joint: Option<Joint>,
}

/// Memory of a policy, which is made when it is first asked for: where all that a model left was given to caches, out of that.
pub(super) enum Held {
    /// Of its own.
    Buffer(Buffer),
    /// A page of the caches' pool.
    Page {
        address: Address,
        /// Gives it back.
        _page: Page,
    },
}

impl Held {
    pub(super) fn address(&self) -> Address {
        match self {
            Held::Buffer(buffer) => buffer.address(),
            Held::Page { address, .. } => *address,
        }
    }
}

/// What makes latents of rows with their bias.
pub(super) struct Latents {
    pub(super) jobs: Jobs,
    _matrix: Matrix,
    _bias: Option<Buffer>,
}

/// The joint basis of inputs, f16.
pub(super) struct Joint {
    /// `[2 kv][hidden]`.
    pub(super) to_latents: Held,
    /// `[hidden][2 kv]`.
    pub(super) from_latents: Held,
}

/// What a layer's codes are made with, on the host.
pub(super) struct LayerBases<'a> {
    pub(super) pair: Option<&'a LayerBasis>,
    pub(super) joint: Option<&'a JointBasis>,
}

/// Memory that passes over caches of codes work in besides the model's.
pub(super) struct CodedWork {
    pub(super) raw_keys: Buffer,
    pub(super) keys: Buffer,
    pub(super) rotated: Buffer,
    pub(super) values: Buffer,
    pub(super) parts: TwoHalves,
    pub(super) key_latents: Buffer,
    pub(super) value_latents: Buffer,
    pub(super) normed: Buffer,
    pub(super) queries: Buffer,
    /// A layer of full pages of a prompt's own groups.
    pub(super) own: Buffer,
    /// A layer of their open pages.
    pub(super) open: Buffer,
    /// A layer of full pages of all closed groups of a sequence.
    pub(super) rebuilt: Buffer,
    pub(super) decoded: Buffer,
    pub(super) rebuilt_keys: Buffer,
    pub(super) rebuilt_values: Buffer,
    /// f32 and halves of differences of complete groups' inputs to the accumulator.
    pub(super) differences: Buffer,
    pub(super) difference_parts: TwoHalves,
    pub(super) joint: Buffer,
    pub(super) weighed: Buffer,
    pub(super) sums: Buffer,
    pub(super) products: Products,
}

impl CodedWork {
    pub(super) fn new(
        device: &Arc<dyn Device>,
        config: &ModelConfig,
        options: &DeviceOptions,
    ) -> Result<CodedWork, EngineError> {
        let rows = options.rows;
        let (query, kv, hidden) = (config.query_width(), config.kv_width(), config.hidden);
        let floats = |count: usize| Buffer::new(device, 4 * count);
        let full_layer = full_layer_bytes(config);
        let groups = groups_of(options);
        let piece = REBUILT_PAGES * PAGE_TOKENS;
        let wide = hidden.max(2 * kv);
        // At least what one row of each sequence leaves, and all rows of one group.
        let least = config.heads * wide * options.sequences.max(PAGE_TOKENS);
        let weighed = least.max(MOST_PARTIALS.min(least * 8));
        Ok(CodedWork {
            raw_keys: floats(rows * kv)?,
            keys: floats(rows * kv)?,
            rotated: floats(rows * kv)?,
            values: floats(rows * kv)?,
            parts: TwoHalves::new(device, rows * kv)?,
            key_latents: floats(rows * kv)?,
            value_latents: floats(rows * kv)?,
            normed: floats(rows * hidden)?,
            queries: floats(rows * query)?,
            own: Buffer::new(device, groups * full_layer)?,
            open: Buffer::new(device, groups * 2 * PAGE_TOKENS * (2 * kv + wide))?,
            rebuilt: Buffer::new(device, options.context.div_ceil(PAGE_TOKENS) * full_layer)?,
            decoded: Buffer::new(device, 2 * piece * wide)?,
            rebuilt_keys: floats(piece * kv)?,
            rebuilt_values: floats(piece * kv)?,
            differences: floats(groups.max(options.sequences) * PAGE_TOKENS * hidden)?,
            difference_parts: TwoHalves::new(
                device,
                groups.max(options.sequences) * PAGE_TOKENS * hidden,
            )?,
            joint: floats(groups.max(options.sequences).max(REBUILT_PAGES) * PAGE_TOKENS * wide)?,
            weighed: floats(weighed)?,
            sums: floats(2 * weighed.div_ceil(config.head_dim))?,
            products: Products::new(Half::F16),
        })
    }

    /// Splits of contexts for which there is memory.
    pub(super) fn most_splits(&self, rows: usize, heads: usize, value_width: usize) -> usize {
        (self.weighed.bytes() / 4 / (rows * heads * value_width)).max(1)
    }
}

/// Groups of tokens that a pass can touch.
pub(super) fn groups_of(options: &DeviceOptions) -> usize {
    options.rows.div_ceil(PAGE_TOKENS) + 1
}

/// Bytes of one layer of a page of a full cache.
pub(super) fn full_layer_bytes(config: &ModelConfig) -> usize {
    2 * config.kv_width() * PAGE_TOKENS * size_of::<f16>()
}

/// What a policy keeps of a layer, and whether that starts the accumulator.
pub(super) fn kept(policy: CachePolicy, keep: Keep) -> (Kept, bool) {
    match keep {
        Keep::Pair { bits, latent } => {
            let outlier = latent && matches!(policy, CachePolicy::XQuant { outlier: true, .. });
            let pair = Kept::Pair {
                bits,
                latent,
                outlier,
            };
            (pair, false)
        }
        Keep::Input { bits, base } => (Kept::Input { bits }, base),
        Keep::Delta { bits, joint } => (Kept::Delta { bits, joint }, false),
    }
}

impl CodedPolicy {
    /// Works a policy out on the device: `bases` gives what each layer's codes are made with.
    pub(super) fn new(
        model: &DeviceModel,
        policy: CachePolicy,
        keeps: &[Keep],
        bases: &dyn Fn(usize) -> LayerBasesOwned,
    ) -> Result<CodedPolicy, EngineError> {
        let config = &model.config;
        if !HEAD_DIMS.contains(&config.head_dim) {
            return Err(EngineError::Request(format!(
                "heads of {} values have no kernels for {policy} on {}; use `full`, or `--device cpu`",
                config.head_dim,
                model.device.name()
            )));
        }
        let widths = Widths {
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            hidden: config.hidden,
        };
        let rotated = matches!(policy, CachePolicy::KvRotated(_));
        let mut made = CodedPolicy {
            layers: Vec::new(),
            closed_bytes: 0,
            open_bytes: 0,
            accumulator_bytes: 0,
        };
        for (index, keep) in keeps.iter().enumerate() {
            let (kept, base) = kept(policy, *keep);
            let (closed, open) = (kept.closed(&widths), kept.open(&widths));
            let place = LayerPlace {
                closed_offset: made.closed_bytes,
                closed,
                open_offset: made.open_bytes,
                open,
            };
            made.closed_bytes += closed.bytes();
            made.open_bytes += open.bytes;
            let (form, bits) = match kept {
                Kept::Pair {
                    bits, latent: true, ..
                } => (Form::Latents, bits),
                Kept::Pair { bits, .. } if rotated => (Form::RotatedKeys, bits),
                Kept::Pair { bits, .. } => (Form::Keys, bits),
                Kept::Input { bits } => (Form::Inputs, bits),
                Kept::Delta { .. } => {
                    made.accumulator_bytes = 2 * PAGE_TOKENS * config.hidden;
                    (Form::Inputs, Bits::Half)
                }
            };
            let shape = Shape {
                form,
                bits,
                widths,
                heads: config.heads,
                outlier: matches!(kept, Kept::Pair { outlier: true, .. }),
                interleaved: config.rope_layout == RopeLayout::Interleaved,
                half: model.half,
            };
            let bases = bases(index);
            made.layers.push(model.coded_layer(
                index,
                LayerParts {
                    kept,
                    base,
                    rotated,
                    place,
                    shape,
                },
                &bases,
            )?);
        }
        Ok(made)
    }
}

struct LayerParts {
    kept: Kept,
    base: bool,
    rotated: bool,
    place: LayerPlace,
    shape: Shape,
}

/// A layer's bases as plain matrices, where its codes need any.
#[derive(Default)]
pub(super) struct LayerBasesOwned {
    /// `B` of the keys, `[channel][latent]`.
    pub(super) keys: Vec<f32>,
    /// `B·Σ⁻¹` of the values, `[channel][latent]`.
    pub(super) to_values: Vec<f32>,
    /// `Σ·Bᵀ` of the values, `[latent][channel]`.
    pub(super) from_values: Vec<f32>,
    /// `U` of both, `[hidden][latent]`.
    pub(super) joint: Vec<f32>,
}

impl LayerBasesOwned {
    /// Of what the processor's caches use.
    pub(super) fn of(bases: &LayerBases<'_>) -> LayerBasesOwned {
        LayerBasesOwned {
            keys: bases.pair.map_or_else(Vec::new, |pair| pair.keys.clone()),
            to_values: bases
                .pair
                .map_or_else(Vec::new, |pair| plain(&pair.to_values)),
            from_values: bases
                .pair
                .map_or_else(Vec::new, |pair| plain(&pair.from_values)),
            joint: bases
                .joint
                .map_or_else(Vec::new, |joint| plain(&joint.to_latents)),
        }
    }

    /// Bases that change nothing: of models without weights on the host, where only time counts.
    pub(super) fn identity(kept: Keep, config: &ModelConfig) -> LayerBasesOwned {
        let square = |rows: usize, columns: usize| -> Vec<f32> {
            let mut matrix = vec![0.0; rows * columns];
            (0..rows.min(columns)).for_each(|at| matrix[at * columns + at] = 1.0);
            matrix
        };
        let kv = config.kv_width();
        match kept {
            Keep::Pair { latent: true, .. } => LayerBasesOwned {
                keys: square(kv, kv),
                to_values: square(kv, kv),
                from_values: square(kv, kv),
                joint: Vec::new(),
            },
            Keep::Delta { joint: true, .. } => LayerBasesOwned {
                joint: square(config.hidden, 2 * kv),
                ..LayerBasesOwned::default()
            },
            _ => LayerBasesOwned::default(),
        }
    }
}

/// A packed matrix as it is, `[inner][columns]`.
fn plain(mix: &Mix) -> Vec<f32> {
    let inner = mix.inner();
    let mut identity = vec![0.0; inner * inner];
    (0..inner).for_each(|at| identity[at * inner + at] = 1.0);
    let mut out = vec![0.0; inner * mix.cols()];
    multiply(mix, &identity, &mut out);
    out
}

fn halves(values: &[f32]) -> Vec<u16> {
    let most = f16::MAX.to_f32();
    let half = |x: &f32| f16::from_f32(x.clamp(-most, most)).to_bits();
    values.iter().map(half).collect()
}

fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| values[row * columns + column]))
        .collect()
}

impl DeviceModel {
    fn hold(&self, bytes: usize) -> Result<Held, EngineError> {
        if self.options.cache_bytes.is_some() {
            return Ok(Held::Buffer(Buffer::new(&self.device, bytes)?));
        }
        // Addresses of rows are multiples of 16.
        let page = self.memory.take(bytes.next_multiple_of(256));
        let page = page.ok_or_else(|| {
            EngineError::Request(format!(
                "{}: no {} MB are free for what this cache policy needs of each layer; ask for it before longer texts, or \
                 for another policy",
                self.device.name(),
                bytes.div_ceil(1 << 20)
            ))
        })?;
        Ok(Held::Page {
            address: self.memory.address(&page),
            _page: page,
        })
    }

    fn coded_layer(
        &self,
        index: usize,
        parts: LayerParts,
        bases: &LayerBasesOwned,
    ) -> Result<CodedLayer, EngineError> {
        let LayerParts {
            kept,
            base,
            rotated,
            place,
            shape,
        } = parts;
        let (kv, hidden) = (self.config.kv_width(), self.config.hidden);
        let remat = Remat::new(shape);
        let upload = |values: &[f32]| -> Result<Held, EngineError> {
            let held = self.hold(2 * values.len())?;
            self.device
                .upload(held.address(), bytes_of(&halves(values)))?;
            Ok(held)
        };
        let (mut keys, mut mix, mut latents, mut joint) = (None, None, None, None);
        match kept {
            Kept::Pair { latent: true, .. } => {
                keys = Some(upload(&bases.keys)?);
                mix = Some(upload(&transposed(&bases.from_values, kv))?);
                latents = Some(self.latents(index, bases)?);
            }
            Kept::Pair { .. } => {}
            Kept::Input { .. } | Kept::Delta { .. } => {
                keys = Some(self.weights_as_f16(index, 1)?);
                mix = Some(self.weights_as_f16(index, 2)?);
            }
        }
        if let Kept::Delta { joint: true, .. } = kept {
            joint = Some(Joint {
                to_latents: upload(&transposed(&bases.joint, 2 * kv))?,
                from_latents: upload(&bases.joint)?,
            });
        }
        let projection = match &keys {
            None => None,
            Some(keys) => {
                let width = if matches!(kept, Kept::Pair { .. }) {
                    kv
                } else {
                    hidden
                };
                let arranged = self.hold(2 * kv * width)?;
                let op = remat.arrange(keys.address(), arranged.address());
                self.device.run(&Plan::once(vec![op]))?;
                Some(arranged)
            }
        };
        Ok(CodedLayer {
            rows: Codes::new(place.closed.rows),
            first_channel: place
                .closed
                .first_channel
                .map(|coding| Codes::first_of(coding, kv)),
            values: place.closed.values.map(Codes::new),
            kept,
            base,
            rotated,
            place,
            shape,
            remat,
            projection,
            keys,
            mix,
            latents,
            joint,
        })
    }

    /// What makes latents of a layer's keys and values, whose rows come with their bias.
    fn latents(&self, index: usize, bases: &LayerBasesOwned) -> Result<[Latents; 2], EngineError> {
        let work = self.lock();
        let kv = self.config.kv_width();
        let group = &self.layers[index].project;
        let one = |to: &[f32], part: usize, out: Address| -> Result<Latents, EngineError> {
            let packed = Packed::dense(kv, kv, &halves(&transposed(to, kv))).ok_or_else(|| {
                EngineError::Weights(format!(
                    "keys of {kv} values do not divide into groups of 32"
                ))
            })?;
            let matrix = packed.upload(&self.device)?;
            // (x + b)·T less b·T.
            let bias = match &group.biases[part] {
                None => None,
                Some(bias) => {
                    let bias: Vec<f32> = bias.read(kv)?;
                    let moved: Vec<f32> = (0..kv)
                        .map(|latent| {
                            let terms = bias.iter().enumerate();
                            -terms.map(|(c, b)| b * to[c * kv + latent]).sum::<f32>()
                        })
                        .collect();
                    Some(Buffer::of(&self.device, &moved)?)
                }
            };
            let job = Job {
                matrix: &matrix,
                bias: bias.as_ref().map_or(Address::NONE, Buffer::address),
                out,
                stride: kv,
                add: false,
            };
            Ok(Latents {
                jobs: work.coded.products.jobs(&self.device, &[job])?,
                _matrix: matrix,
                _bias: bias,
            })
        };
        Ok([
            one(&bases.keys, 1, work.coded.key_latents.address())?,
            one(&bases.to_values, 2, work.coded.value_latents.address())?,
        ])
    }

    /// A layer's key (1) or value (2) weights as f16.
    fn weights_as_f16(&self, index: usize, part: usize) -> Result<Held, EngineError> {
        let matrix = &self.layers[index].project.matrices[part];
        let count = matrix.rows() * matrix.cols();
        let out = self.hold(2 * count)?;
        match (self.half, matrix.halves()) {
            (Half::F16, Some(from)) => {
                let copy = Op::Copy {
                    from,
                    to: out.address(),
                    bytes: 2 * count,
                };
                self.device.run(&Plan::once(vec![copy]))?;
            }
            (Half::F16, None) => {
                let op = self.makers.products.unpack(matrix, out.address());
                self.device.run(&Plan::once(vec![op]))?;
            }
            (Half::Bf16, _) => {
                let floats = self.hold(4 * count)?;
                let numbers: Vec<u32> = (0..matrix.rows() as u32).collect();
                let rows = self.hold(4 * numbers.len())?;
                self.device.upload(rows.address(), bytes_of(&numbers))?;
                let split = footnote_device::kernels::rows::Rows::new(Half::F16);
                let parts = footnote_device::kernels::rows::Parts {
                    high: out.address(),
                    low: Address::NONE,
                };
                self.device.run(&Plan::once(vec![
                    self.makers.products.embed(
                        matrix,
                        rows.address(),
                        floats.address(),
                        matrix.rows(),
                    ),
                    split.split(floats.address(), parts, count),
                ]))?;
                self.device.synchronize()?;
            }
        }
        Ok(out)
    }
}

/// Where the accumulator of the closed loop lies, as a layer of pages.
pub(super) fn accumulator_place(layer: &CodedLayer, hidden: usize) -> LayerPlace {
    LayerPlace {
        closed_offset: 0,
        closed: accumulator_layer(hidden),
        ..layer.place
    }
}

/// Floats that rows of a shape leave for joining.
pub(super) fn partials(work: &CodedWork, splits: usize) -> remat::Partials {
    remat::Partials {
        weighed: work.weighed.address(),
        sums: work.sums.address(),
        splits,
    }
}
