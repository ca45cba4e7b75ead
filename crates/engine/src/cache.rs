//! What a sequence remembers of the tokens it has read, by policy.
//!
//! The decoder hands every layer's rows to the cache and asks it for attention, and knows nothing
//! of how they are kept: so a quantised policy is a further variant here, and no change there.
//! Rows are written past the end first and count only after [`Cache::commit`], so a step that is
//! broken off leaves no trace. This module must not know weights or requests.

mod full;

use std::collections::HashSet;

pub use full::FullCache;

use crate::kernels::{HeadShape, RopeStyle, RopeTable};

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// Rotated keys, and values, in f16.
    #[default]
    Full,
}

impl CachePolicy {
    /// The name it has on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            CachePolicy::Full => "full",
        }
    }
}

/// The shapes a cache needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// Decoder layers.
    pub layers: usize,
    /// Heads of a layer.
    pub heads: HeadShape,
}

/// New tokens' rows of one layer, as the layer computed them.
#[derive(Clone, Copy, Debug)]
pub struct LayerRows<'a> {
    /// The layer's normed input, `[tokens][hidden]`: what XQuant keeps.
    pub normed: &'a [f32],
    /// Keys before rotation with their bias, `[tokens][kv_heads][head_dim]`.
    pub keys: &'a [f32],
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

/// One sequence's memory of what it has read.
pub enum Cache {
    /// f16 keys and values.
    Full(FullCache),
}

impl Cache {
    /// An empty cache.
    pub fn new(policy: CachePolicy, shape: CacheShape) -> Cache {
        match policy {
            CachePolicy::Full => Cache::Full(FullCache::new(shape)),
        }
    }

    /// Tokens it holds.
    pub fn len(&self) -> usize {
        match self {
            Cache::Full(cache) => cache.len(),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes rows of `layer` after the tokens it holds, without counting them yet.
    pub fn write(&mut self, layer: usize, rows: &LayerRows<'_>, rotation: &Rotation<'_>) {
        match self {
            Cache::Full(cache) => cache.write(layer, rows, rotation),
        }
    }

    /// Attention of rotated `queries` (`[tokens][heads][head_dim]`) of the tokens just written to
    /// `layer`, over all tokens up to each; into `out`, shaped as `queries`.
    pub fn attend(&self, layer: usize, queries: &[f32], out: &mut [f32]) {
        match self {
            Cache::Full(cache) => cache.attend(layer, queries, out),
        }
    }

    /// Counts `tokens` rows that were written to every layer.
    pub fn commit(&mut self, tokens: usize) {
        match self {
            Cache::Full(cache) => cache.commit(tokens),
        }
    }

    /// Forgets all tokens from `len` on.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Cache::Full(cache) => cache.truncate(len),
        }
    }

    /// A cache of the same tokens that shares memory until either writes.
    pub fn fork(&self) -> Cache {
        match self {
            Cache::Full(cache) => Cache::Full(cache.clone()),
        }
    }

    /// Bytes of memory, shared ones included.
    pub fn bytes(&self) -> usize {
        self.bytes_besides(&mut HashSet::new())
    }

    /// Bytes of memory blocks not in `seen`, which gets them.
    pub fn bytes_besides(&self, seen: &mut HashSet<usize>) -> usize {
        match self {
            Cache::Full(cache) => cache.bytes_besides(seen),
        }
    }
}
