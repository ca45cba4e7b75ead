//! Attention over a key/value cache of f16: block by block with an online softmax in f32.
//!
//! Never holds scores of more than one block, and reads each key and value once for all the query
//! heads that share it. Keys lie transposed in runs of [`KEY_LANES`] positions, so that one vector
//! holds one element of 16 keys and scores need no sum across lanes.

use half::f16;

use super::matrix::Parts;
use super::pool::parallel;

/// Positions of one run of keys; capacities are multiples of it.
pub const KEY_LANES: usize = 16;

/// Heads of one attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl HeadShape {
    /// Elements of the keys (or the values) of `capacity` positions.
    pub fn kv_len(&self, capacity: usize) -> usize {
        self.kv_heads * capacity * self.head_dim
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// Keys and values of consecutive positions.
#[derive(Clone, Copy, Debug)]
pub struct KvBlock<'a> {
    /// `[kv_heads][capacity / 16][head_dim][16]`, as [`put_key`] writes them.
    pub keys: &'a [f16],
    /// `[kv_heads][capacity][head_dim]`, as [`put_value`] writes them.
    pub values: &'a [f16],
    /// Positions there is room for, a multiple of [`KEY_LANES`].
    pub capacity: usize,
    /// Positions there are.
    pub len: usize,
    /// Position of the first.
    pub first: usize,
}

/// Writes the rotated key of one position: `row` is `kv_heads` heads of `head_dim`, `slot` counts
/// from the block's first position.
///
/// # Panics
/// When the slices are not of that shape.
pub fn put_key(keys: &mut [f16], shape: &HeadShape, capacity: usize, slot: usize, row: &[f32]) {
    let dim = shape.head_dim;
    check_put(keys, shape, capacity, slot, row);
    for (head, row) in row.chunks_exact(dim).enumerate() {
        let run = &mut keys[(head * capacity + slot / KEY_LANES * KEY_LANES) * dim..];
        for (i, value) in row.iter().enumerate() {
            run[i * KEY_LANES + slot % KEY_LANES] = f16::from_f32(*value);
        }
    }
}

/// Writes the value of one position, as [`put_key`].
///
/// # Panics
/// When the slices are not of that shape.
pub fn put_value(values: &mut [f16], shape: &HeadShape, capacity: usize, slot: usize, row: &[f32]) {
    let dim = shape.head_dim;
    check_put(values, shape, capacity, slot, row);
    for (head, row) in row.chunks_exact(dim).enumerate() {
        let to = &mut values[(head * capacity + slot) * dim..][..dim];
        for (to, value) in to.iter_mut().zip(row) {
            *to = f16::from_f32(*value);
        }
    }
}

fn check_put(cache: &[f16], shape: &HeadShape, capacity: usize, slot: usize, row: &[f32]) {
    assert!(capacity.is_multiple_of(KEY_LANES), "capacity {capacity}");
    assert_eq!(cache.len(), shape.kv_len(capacity), "length of the cache");
    assert!(slot < capacity, "slot {slot} of {capacity}");
    assert_eq!(
        row.len(),
        shape.kv_heads * shape.head_dim,
        "length of the row"
    );
}

/// Attention of `tokens` queries over one block that starts at position 0: `q` and `out` are
/// `[tokens][heads][head_dim]`, query `t` stands at position `first_query + t` and sees the keys up
/// to its own position; scores are multiplied by `scale` before the softmax.
///
/// # Panics
/// When a slice is not of its shape.
pub fn attention(
    shape: &HeadShape,
    scale: f32,
    q: &[f32],
    first_query: usize,
    kv: &KvBlock,
    out: &mut [f32],
) {
    let mut state = OnlineAttention::new(*shape, scale, q, first_query);
    state.attend(kv);
    state.finish(out);
}

/// Attention that is given its keys and values one block after another, in any order.
pub struct OnlineAttention<'a> {
    shape: HeadShape,
    scale: f32,
    q: &'a [f32],
    tokens: usize,
    first_query: usize,
    /// Largest score so far, `[kv_heads][tokens][group]`.
    max: Vec<f32>,
    /// Sum of the exponentials, as `max`.
    sum: Vec<f32>,
    /// Weighted values, `[kv_heads][tokens][group][head_dim]`.
    acc: Vec<f32>,
}

impl<'a> OnlineAttention<'a> {
    /// Queries as [`attention`] takes them.
    ///
    /// # Panics
    /// When `q` is not whole tokens of `shape`, or the heads are not a multiple of the KV heads.
    pub fn new(
        shape: HeadShape,
        scale: f32,
        q: &'a [f32],
        first_query: usize,
    ) -> OnlineAttention<'a> {
        let width = shape.heads * shape.head_dim;
        assert!(shape.heads.is_multiple_of(shape.kv_heads), "{shape:?}");
        assert!(q.len().is_multiple_of(width), "whole tokens of queries");
        let tokens = q.len() / width;
        OnlineAttention {
            shape,
            scale,
            q,
            tokens,
            first_query,
            max: vec![f32::NEG_INFINITY; tokens * shape.heads],
            sum: vec![0.0; tokens * shape.heads],
            acc: vec![0.0; q.len()],
        }
    }

    /// Takes in one more block; keys after a query's position are not seen by it.
    ///
    /// # Panics
    /// When the block is not of its shape.
    pub fn attend(&mut self, kv: &KvBlock) {
        let shape = self.shape;
        let (dim, group, tokens) = (shape.head_dim, shape.group(), self.tokens);
        assert!(
            kv.capacity.is_multiple_of(KEY_LANES),
            "capacity {}",
            kv.capacity
        );
        assert!(kv.len <= kv.capacity, "{} of {}", kv.len, kv.capacity);
        assert_eq!(
            kv.keys.len(),
            shape.kv_len(kv.capacity),
            "length of the keys"
        );
        assert_eq!(
            kv.values.len(),
            shape.kv_len(kv.capacity),
            "length of the values"
        );
        let max = Parts::new(&mut self.max, group);
        let sum = Parts::new(&mut self.sum, group);
        let acc = Parts::new(&mut self.acc, group * dim);
        let (q, scale, first_query) = (self.q, self.scale, self.first_query);
        parallel(shape.kv_heads * tokens, |piece| {
            let (head, token) = (piece / tokens, piece % tokens);
            let visible = (first_query + token + 1)
                .saturating_sub(kv.first)
                .min(kv.len);
            // SAFETY: each piece has its own part of each.
            let (max, sum, acc) = unsafe { (max.part(piece), sum.part(piece), acc.part(piece)) };
            for member in 0..group {
                let q = &q[(token * shape.heads + head * group + member) * dim..][..dim];
                let acc = &mut acc[member * dim..][..dim];
                for slot in 0..visible {
                    let run = &kv.keys[(head * kv.capacity + slot / KEY_LANES * KEY_LANES) * dim..];
                    let score = scale
                        * (0..dim)
                            .map(|i| q[i] * run[i * KEY_LANES + slot % KEY_LANES].to_f32())
                            .sum::<f32>();
                    if score > max[member] {
                        let shrink = (max[member] - score).exp();
                        sum[member] *= shrink;
                        acc.iter_mut().for_each(|a| *a *= shrink);
                        max[member] = score;
                    }
                    let weight = (score - max[member]).exp();
                    sum[member] += weight;
                    let value = &kv.values[(head * kv.capacity + slot) * dim..][..dim];
                    for (acc, value) in acc.iter_mut().zip(value) {
                        *acc += weight * value.to_f32();
                    }
                }
            }
        });
    }

    /// Writes the results, `[tokens][heads][head_dim]`; a query that saw no key gives zeros.
    ///
    /// # Panics
    /// When `out` has not the length of the queries.
    pub fn finish(self, out: &mut [f32]) {
        assert_eq!(out.len(), self.q.len(), "length of the output");
        let (dim, group) = (self.shape.head_dim, self.shape.group());
        let rows = self.sum.iter().zip(self.acc.chunks_exact(dim)).enumerate();
        for (row, (sum, acc)) in rows {
            let (member, token) = (row % group, row / group % self.tokens);
            let head = row / group / self.tokens * group + member;
            let inverse = if *sum > 0.0 { 1.0 / sum } else { 0.0 };
            let out = &mut out[(token * self.shape.heads + head) * dim..][..dim];
            for (out, acc) in out.iter_mut().zip(acc) {
                *out = acc * inverse;
            }
        }
    }
}
