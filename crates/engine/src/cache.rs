//! What a sequence remembers of the tokens it has read, by policy.
//!
//! The decoder hands every layer's rows to the cache and asks it for attention, and knows nothing
//! of how they are kept.
//! Rows are written past the end first and count only after [`Cache::commit`], so a step that is
//! broken off leaves no trace. This module must not know weights or requests.

mod full;
mod plan;
mod policy;
mod quantised;

use std::collections::HashSet;
use std::sync::Arc;

pub use full::FullCache;
pub(crate) use plan::{Keep, keeps};
pub use plan::{Plan, PlanParts, Window};
pub use policy::{CacheChoice, CachePolicy, Chosen, POLICIES};
pub use quantised::QuantisedCache;

use crate::device::{CacheMemory, DeviceCache, PageLayout};
use crate::kernels::{HeadShape, KvBlock, QuantMatrix, RopeStyle, RopeTable};

/// The shapes a cache needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Heads of a layer.
    pub heads: HeadShape,
}

impl CacheShape {
    /// Width of all key heads together.
    pub fn kv_width(&self) -> usize {
        self.heads.kv_heads * self.heads.head_dim
    }

    /// Whether the layer's input is no wider than its keys and values together, so that keeping it
    /// instead of them is smaller (the decision rule of XQuant, arXiv:2508.10395, section 3.3).
    pub fn keeps_input(&self) -> bool {
        self.hidden <= 2 * self.kv_width()
    }

    /// Bytes of one token's keys and values in f16.
    pub fn full_bytes_per_token(&self) -> usize {
        self.layers * 2 * self.kv_width() * size_of::<half::f16>()
    }
}

/// New tokens' rows of one layer, as the layer computed them.
#[derive(Clone, Copy, Debug)]
pub struct LayerRows<'a> {
    /// The layer's normed input, `[tokens][hidden]`: what XQuant keeps.
    pub normed: &'a [f32],
    /// Keys before rotation with their bias and norm, `[tokens][kv_heads][head_dim]`.
    pub keys: &'a [f32],
    /// Keys before their norm; `keys` again for models without one.
    pub raw_keys: &'a [f32],
    /// Values with their bias, as `keys`.
    pub values: &'a [f32],
}

/// How keys are rotated by position.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// Cosines and sines by position.
    pub table: &'a RopeTable,
    /// How pairs lie in a head.
    pub style: RopeStyle,
}

/// One projection of a layer's input.
#[derive(Clone, Copy)]
pub struct Projection<'a> {
    /// Weights, `[outputs][hidden]`.
    pub weight: &'a QuantMatrix,
    /// One value an output.
    pub bias: Option<&'a [f32]>,
}

/// The norm of key heads before rotation (Qwen3).
#[derive(Clone, Copy, Debug)]
pub struct KeyNorm<'a> {
    /// One weight an element of a head.
    pub weight: &'a [f32],
    /// Added to the mean square.
    pub epsilon: f32,
}

/// The layer a cache works on, for policies that rebuild keys and values.
#[derive(Clone, Copy)]
pub struct LayerView<'a> {
    /// Its number, from 0.
    pub index: usize,
    /// How keys are rotated.
    pub rotation: Rotation<'a>,
    /// What makes keys.
    pub key: Projection<'a>,
    /// What makes values.
    pub value: Projection<'a>,
    /// What norms keys, for models that do.
    pub key_norm: Option<KeyNorm<'a>>,
}

/// Bytes of a cache by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheBytes {
    /// Closed groups' codes and factors; all of a full cache.
    pub stored: usize,
    /// Tokens in full precision (the residual window).
    pub open: usize,
    /// What only a pass needs: the closed loop's accumulator.
    pub scratch: usize,
}

/// How the caches of a policy are kept.
#[derive(Clone)]
pub enum CachePlan {
    /// f16 keys and values in this processor's memory.
    Full(CacheShape),
    /// Codes there.
    Quantised(Arc<Plan>),
    /// Pages of a device.
    Device(Arc<CacheMemory>, Arc<PageLayout>),
}

impl CachePlan {
    /// The policy.
    pub fn policy(&self) -> CachePolicy {
        match self {
            CachePlan::Full(_) => CachePolicy::Full,
            CachePlan::Quantised(plan) => plan.policy(),
            CachePlan::Device(_, layout) => layout.policy,
        }
    }

    /// An empty cache.
    pub fn empty(&self) -> Cache {
        match self {
            CachePlan::Full(shape) => Cache::full(*shape),
            CachePlan::Quantised(plan) => Cache::quantised(Arc::clone(plan)),
            CachePlan::Device(memory, layout) => Cache::Device(DeviceCache::new(memory, layout)),
        }
    }

    /// Bytes that all caches of the policy share besides the model's weights.
    pub fn bases_bytes(&self) -> usize {
        match self {
            CachePlan::Quantised(plan) => plan.bases_bytes(),
            CachePlan::Full(_) | CachePlan::Device(..) => 0,
        }
    }
}

/// Positions whose pairs stay, `[layer][KV head]` of as many each, rising.
pub(crate) type KeptPairs = Vec<Vec<Vec<usize>>>;

/// What only the processor's own decoder does to a cache, and never to a device's.
const HOST_ONLY: &str = "a device writes and reads its caches itself";

/// One sequence's memory of what it has read.
pub enum Cache {
    /// f16 keys and values.
    Full(FullCache),
    /// Codes.
    Quantised(QuantisedCache),
    /// Pages of a device.
    Device(DeviceCache),
}

impl Cache {
    /// An empty full cache.
    pub fn full(shape: CacheShape) -> Cache {
        Cache::Full(FullCache::new(shape))
    }

    /// An empty cache of a worked-out policy.
    pub fn quantised(plan: Arc<Plan>) -> Cache {
        Cache::Quantised(QuantisedCache::new(plan))
    }

    /// Its policy.
    pub fn policy(&self) -> CachePolicy {
        match self {
            Cache::Full(_) => CachePolicy::Full,
            Cache::Quantised(cache) => cache.plan().policy(),
            Cache::Device(cache) => cache.layout().policy,
        }
    }

    /// Layers it holds.
    pub(crate) fn layers(&self) -> usize {
        match self {
            Cache::Full(cache) => cache.shape().layers,
            Cache::Quantised(cache) => cache.plan().shape.layers,
            Cache::Device(cache) => cache.layout().shape.layers,
        }
    }

    /// Tokens it holds.
    pub fn len(&self) -> usize {
        match self {
            Cache::Full(cache) => cache.len(),
            Cache::Quantised(cache) => cache.len(),
            Cache::Device(cache) => cache.len(),
        }
    }

    /// Position of the next token: as many as it holds, and those that were read and let go.
    pub fn position(&self) -> usize {
        match self {
            Cache::Full(cache) => cache.len() + cache.skipped(),
            Cache::Quantised(cache) => cache.len(),
            Cache::Device(cache) => cache.len() + cache.skipped(),
        }
    }

    /// Lets what is written next stand `count` positions later. False for a quantised cache, whose codes are of groups of
    /// neighbours.
    pub(crate) fn skip(&mut self, count: usize) -> bool {
        match self {
            Cache::Full(cache) => cache.skip(count),
            Cache::Device(cache) if cache.layout().policy == CachePolicy::Full => cache.skip(count),
            Cache::Quantised(_) | Cache::Device(_) => return count == 0,
        }
        true
    }

    /// Whether it holds fewer tokens than were read, so that it is no prefix of another prompt.
    pub fn is_pruned(&self) -> bool {
        self.position() > self.len()
    }

    /// A full cache of the chosen positions only, `[layer][KV head]` of as many each, rising; `next` is the position of
    /// what is read after them. Nothing for a quantised cache, whose codes are of whole groups; a device's is made where
    /// its pages are.
    pub(crate) fn pruned(&self, chosen: &[Vec<Vec<usize>>], next: usize) -> Option<Cache> {
        match self {
            Cache::Full(cache) => Some(Cache::Full(cache.pruned(chosen, next))),
            Cache::Quantised(_) | Cache::Device(_) => None,
        }
    }

    /// Bytes that one token would take in a full cache.
    pub fn full_bytes_per_token(&self) -> usize {
        match self {
            Cache::Full(cache) => cache.shape().full_bytes_per_token(),
            Cache::Quantised(cache) => cache.plan().shape.full_bytes_per_token(),
            Cache::Device(cache) => cache.layout().shape.full_bytes_per_token(),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes rows of a layer after the tokens it holds, without counting them yet. Layers come in
    /// order, first to last.
    pub fn write(&mut self, view: &LayerView<'_>, rows: &LayerRows<'_>) {
        match self {
            Cache::Full(cache) => cache.write(view.index, rows, &view.rotation),
            Cache::Quantised(cache) => cache.write(view, rows),
            Cache::Device(_) => unreachable!("{HOST_ONLY}"),
        }
    }

    /// Attention of rotated `queries` (`[tokens][heads][head_dim]`) of the tokens just written to the
    /// layer, over all tokens up to each; into `out`, shaped as `queries`.
    pub fn attend(&mut self, view: &LayerView<'_>, queries: &[f32], out: &mut [f32]) {
        match self {
            Cache::Full(cache) => cache.attend(view.index, queries, out),
            Cache::Quantised(cache) => cache.attend(view, queries, out),
            Cache::Device(_) => unreachable!("{HOST_ONLY}"),
        }
    }

    /// As [`attend`](Self::attend), over the first tokens and the last `band` before the queries, in whole blocks. A
    /// quantised cache looks at everything.
    pub(crate) fn attend_near(
        &mut self,
        view: &LayerView<'_>,
        queries: &[f32],
        out: &mut [f32],
        band: usize,
    ) {
        match self {
            Cache::Full(cache) => cache.attend_near(view.index, queries, out, band),
            Cache::Quantised(cache) => cache.attend(view, queries, out),
            Cache::Device(_) => unreachable!("{HOST_ONLY}"),
        }
    }

    /// Gives `visit` the layer's rotated keys, block by block in order: of all tokens, `tokens` just
    /// written ones included. Comes after [`attend`](Self::attend).
    pub fn visit_keys(
        &mut self,
        view: &LayerView<'_>,
        tokens: usize,
        visit: &mut dyn FnMut(&KvBlock<'_>),
    ) {
        match self {
            Cache::Full(cache) => cache.visit_keys(view.index, tokens, visit),
            Cache::Quantised(cache) => cache.visit_keys(view, tokens, visit),
            Cache::Device(_) => unreachable!("{HOST_ONLY}"),
        }
    }

    /// Counts `tokens` rows that were written to every layer.
    pub fn commit(&mut self, tokens: usize) {
        match self {
            Cache::Full(cache) => cache.commit(tokens),
            Cache::Quantised(cache) => cache.commit(tokens),
            Cache::Device(cache) => cache.commit(tokens),
        }
    }

    /// Forgets all tokens from `len` on. A quantised cache forgets more where `len` cuts a closed
    /// group: see [`len`](Self::len) for what is left.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Cache::Full(cache) => cache.truncate(len),
            Cache::Quantised(cache) => cache.truncate(len),
            Cache::Device(cache) => cache.truncate(len),
        }
    }

    /// A cache of the same tokens that shares memory until either writes.
    pub fn fork(&self) -> Cache {
        match self {
            Cache::Full(cache) => Cache::Full(cache.clone()),
            Cache::Quantised(cache) => Cache::Quantised(cache.fork()),
            Cache::Device(cache) => Cache::Device(cache.fork()),
        }
    }

    /// As [`fork`](Self::fork), for a request that has nothing to do with this one.
    pub(crate) fn apart(&self) -> Cache {
        match self {
            Cache::Device(cache) => Cache::Device(cache.apart()),
            Cache::Full(_) | Cache::Quantised(_) => self.fork(),
        }
    }

    /// An empty cache of the same policy.
    pub(crate) fn emptied(&self) -> Cache {
        match self {
            Cache::Full(cache) => Cache::full(*cache.shape()),
            Cache::Quantised(cache) => Cache::Quantised(cache.emptied()),
            Cache::Device(cache) => Cache::Device(cache.emptied()),
        }
    }

    /// Lets go of memory that only a pass needs.
    pub fn rest(&mut self) {
        match self {
            Cache::Full(_) => {}
            Cache::Quantised(cache) => cache.rest(),
            Cache::Device(cache) => cache.rest(),
        }
    }

    /// Bytes of memory, shared ones included.
    pub fn bytes(&self) -> usize {
        self.bytes_besides(&mut HashSet::new())
    }

    /// Bytes by what they are for.
    pub fn bytes_by_use(&self) -> CacheBytes {
        match self {
            Cache::Full(_) | Cache::Device(_) => CacheBytes {
                stored: self.bytes(),
                ..CacheBytes::default()
            },
            Cache::Quantised(cache) => CacheBytes {
                stored: self.bytes() - cache.open_bytes() - cache.scratch_bytes(),
                open: cache.open_bytes(),
                scratch: cache.scratch_bytes(),
            },
        }
    }

    /// Bytes of memory blocks not in `seen`, which gets them.
    pub fn bytes_besides(&self, seen: &mut HashSet<usize>) -> usize {
        match self {
            Cache::Full(cache) => cache.bytes_besides(seen),
            Cache::Quantised(cache) => cache.bytes_besides(seen) + cache.scratch_bytes(),
            Cache::Device(cache) => cache.bytes_besides(seen),
        }
    }
}
