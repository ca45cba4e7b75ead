//! The full policy: rotated keys, and values, in f16, in blocks of positions that sequences share.
//!
//! A block holds all layers of [`BLOCK`] positions. Blocks are counted references: a fork costs
//! nothing, and the first write to a shared block copies that block only.
//!
//! A pruned cache holds fewer pairs than were read, each KV head its own: what follows is written after
//! them and rotated by its true position.

use std::collections::HashSet;
use std::sync::Arc;

use half::f16;

use super::{CacheShape, LayerRows, Rotation};
use crate::kernels::{KvBlock, OnlineAttention, move_pair, put_key, put_value, rope};

/// Positions of a block: long enough that attention works in large pieces, short enough that a
/// fork's copy and a short prompt's unused rest stay at a few megabytes.
pub(super) const BLOCK: usize = 256;

/// Keys and values in f16.
#[derive(Clone)]
pub struct FullCache {
    shape: CacheShape,
    blocks: Vec<Arc<Block>>,
    len: usize,
    /// Positions that were read and are not held.
    skipped: usize,
}

#[derive(Clone)]
struct Block {
    /// `[layers]` of what [`put_key`] lays out.
    keys: Vec<f16>,
    /// `[layers]` of what [`put_value`] lays out.
    values: Vec<f16>,
}

impl FullCache {
    /// An empty cache.
    pub fn new(shape: CacheShape) -> FullCache {
        FullCache {
            shape,
            blocks: Vec::new(),
            len: 0,
            skipped: 0,
        }
    }

    /// A cache of the chosen positions only, `[layer][KV head]` of as many each, rising; `next` is the position of what
    /// is read after them.
    ///
    /// # Panics
    /// Where a position is not held, or heads keep different numbers.
    pub(super) fn pruned(&self, chosen: &[Vec<Vec<usize>>], next: usize) -> FullCache {
        let heads = self.shape.heads;
        let count = chosen
            .first()
            .and_then(|heads| heads.first())
            .map_or(0, Vec::len);
        let layer_len = self.layer_len();
        let empty = Block {
            keys: vec![f16::ZERO; layer_len * self.shape.layers],
            values: vec![f16::ZERO; layer_len * self.shape.layers],
        };
        let mut blocks = vec![empty; count.div_ceil(BLOCK)];
        for (layer, kept) in chosen.iter().enumerate() {
            let layer = layer * layer_len..(layer + 1) * layer_len;
            for (head, positions) in kept.iter().enumerate() {
                assert_eq!(positions.len(), count, "positions of a head");
                for (to, from) in positions.iter().enumerate() {
                    let source = &self.blocks[from / BLOCK];
                    let target = &mut blocks[to / BLOCK];
                    move_pair(
                        &heads,
                        BLOCK,
                        head,
                        (
                            &source.keys[layer.clone()],
                            &source.values[layer.clone()],
                            from % BLOCK,
                        ),
                        (
                            &mut target.keys[layer.clone()],
                            &mut target.values[layer.clone()],
                            to % BLOCK,
                        ),
                    );
                }
            }
        }
        FullCache {
            shape: self.shape,
            blocks: blocks.into_iter().map(Arc::new).collect(),
            len: count,
            skipped: next - count,
        }
    }

    pub(super) fn skipped(&self) -> usize {
        self.skipped
    }

    /// Lets what is written next stand `count` positions later, as if so many tokens had been read and let go.
    pub(super) fn skip(&mut self, count: usize) {
        self.skipped += count;
    }

    /// The values of a layer's first position, `[kv_heads][head_dim]`; none of an empty cache.
    pub(crate) fn first_values(&self, layer: usize) -> Option<Vec<f32>> {
        let heads = self.shape.heads;
        let values = &self.blocks.first()?.values[layer * self.layer_len()..];
        let row = |head: usize| &values[head * BLOCK * heads.head_dim..][..heads.head_dim];
        let rows = (0..heads.kv_heads).flat_map(row);
        Some(rows.map(|value| value.to_f32()).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn shape(&self) -> &CacheShape {
        &self.shape
    }

    /// Elements of one layer's keys in a block.
    fn layer_len(&self) -> usize {
        self.shape.heads.kv_len(BLOCK)
    }

    pub(super) fn write(&mut self, layer: usize, rows: &LayerRows<'_>, rotation: &Rotation<'_>) {
        let heads = self.shape.heads;
        let width = heads.kv_heads * heads.head_dim;
        let tokens = rows.keys.len() / width;
        let slots: Vec<usize> = (self.len..self.len + tokens).collect();
        let positions: Vec<usize> = slots.iter().map(|slot| slot + self.skipped).collect();
        let mut rotated = rows.keys.to_vec();
        rope(
            &mut rotated,
            heads.kv_heads,
            heads.head_dim,
            &positions,
            rotation.table,
            rotation.style,
        );
        let layer_len = self.layer_len();
        let fresh = (self.len + tokens).div_ceil(BLOCK);
        while self.blocks.len() < fresh {
            self.blocks.push(Arc::new(Block {
                keys: vec![f16::ZERO; layer_len * self.shape.layers],
                values: vec![f16::ZERO; layer_len * self.shape.layers],
            }));
        }
        let layer = layer * layer_len..(layer + 1) * layer_len;
        for ((slot, key), value) in slots
            .iter()
            .zip(rotated.chunks_exact(width))
            .zip(rows.values.chunks_exact(width))
        {
            let block = Arc::make_mut(&mut self.blocks[slot / BLOCK]);
            let slot = slot % BLOCK;
            put_key(&mut block.keys[layer.clone()], &heads, BLOCK, slot, key);
            put_value(&mut block.values[layer.clone()], &heads, BLOCK, slot, value);
        }
    }

    pub(super) fn attend(&self, layer: usize, queries: &[f32], out: &mut [f32]) {
        let heads = self.shape.heads;
        let tokens = queries.len() / (heads.heads * heads.head_dim);
        let end = self.len + tokens;
        let scale = 1.0 / (heads.head_dim as f32).sqrt();
        let mut attention = OnlineAttention::new(heads, scale, queries, self.len);
        attention.attend_blocks(&self.layer_blocks(layer, end));
        attention.finish(out);
    }

    /// As [`attend`](Self::attend), over the first block and those of the last `band` positions before the queries only.
    pub(super) fn attend_near(&self, layer: usize, queries: &[f32], out: &mut [f32], band: usize) {
        let heads = self.shape.heads;
        let tokens = queries.len() / (heads.heads * heads.head_dim);
        let scale = 1.0 / (heads.head_dim as f32).sqrt();
        let mut attention = OnlineAttention::new(heads, scale, queries, self.len);
        let mut blocks = self.layer_blocks(layer, self.len + tokens);
        let from = self.len.saturating_sub(band) / BLOCK;
        if from > 1 {
            blocks.drain(1..from);
        }
        attention.attend_blocks(&blocks);
        attention.finish(out);
    }

    /// The first `end` positions of one layer.
    fn layer_blocks(&self, layer: usize, end: usize) -> Vec<KvBlock<'_>> {
        let layer_len = self.layer_len();
        let layer = layer * layer_len..(layer + 1) * layer_len;
        self.blocks
            .iter()
            .take(end.div_ceil(BLOCK))
            .enumerate()
            .map(|(index, block)| KvBlock {
                keys: &block.keys[layer.clone()],
                values: &block.values[layer.clone()],
                capacity: BLOCK,
                len: end.saturating_sub(index * BLOCK).min(BLOCK),
                first: index * BLOCK,
            })
            .collect()
    }

    pub(super) fn visit_keys(
        &self,
        layer: usize,
        tokens: usize,
        visit: &mut dyn FnMut(&KvBlock<'_>),
    ) {
        self.layer_blocks(layer, self.len + tokens)
            .iter()
            .for_each(visit);
    }

    pub(super) fn commit(&mut self, tokens: usize) {
        self.len += tokens;
        debug_assert!(self.len <= self.blocks.len() * BLOCK, "rows were written");
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.blocks.truncate(self.len.div_ceil(BLOCK));
    }

    pub(super) fn bytes_besides(&self, seen: &mut HashSet<usize>) -> usize {
        self.blocks
            .iter()
            .filter(|block| seen.insert(Arc::as_ptr(block) as usize))
            .map(|block| (block.keys.len() + block.values.len()) * size_of::<f16>())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{HeadShape, RopeStyle, RopeTable};

    const DIM: usize = 16;
    const SHAPE: CacheShape = CacheShape {
        layers: 2,
        hidden: 64,
        heads: HeadShape {
            heads: 4,
            kv_heads: 2,
            head_dim: DIM,
        },
    };

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0)
            .collect()
    }

    /// Attention from a pruned cache beside a softmax in f64 over each head's own positions, the new token's included.
    #[test]
    fn a_pruned_cache_attends_to_each_heads_own_positions() {
        let table = RopeTable::new(&[0.07; DIM / 2], 512);
        let rotation = Rotation {
            table: &table,
            style: RopeStyle::Neox,
        };
        let (tokens, width) = (300, 2 * DIM);
        assert!(tokens > BLOCK, "more than one block");
        let rows = |layer: usize| {
            let keys = numbers((tokens + 1) * width, layer + 1);
            let values = numbers((tokens + 1) * width, layer + 7);
            (keys, values)
        };
        let write = |cache: &mut FullCache, layer: usize, range: std::ops::Range<usize>| {
            let (keys, values) = rows(layer);
            let part = range.start * width..range.end * width;
            let rows = LayerRows {
                normed: &[],
                keys: &keys[part.clone()],
                raw_keys: &[],
                values: &values[part],
            };
            cache.write(layer, &rows, &rotation);
        };
        let mut whole = FullCache::new(SHAPE);
        (0..2).for_each(|layer| write(&mut whole, layer, 0..tokens));
        whole.commit(tokens);
        // As many of each head, and no two the same.
        let chosen: Vec<Vec<Vec<usize>>> = (0..2)
            .map(|layer| {
                (0..2)
                    .map(|head| (0..270).map(|at| at + (10 * (layer * 2 + head))).collect())
                    .collect()
            })
            .collect();
        let mut pruned = whole.pruned(&chosen, tokens);
        assert_eq!(
            (pruned.len(), pruned.len() + pruned.skipped()),
            (270, tokens)
        );
        (0..2).for_each(|layer| write(&mut pruned, layer, tokens..tokens + 1));
        let queries = numbers(4 * DIM, 99);
        for (layer, kept) in chosen.iter().enumerate() {
            let mut out = vec![0.0; 4 * DIM];
            pruned.attend(layer, &queries, &mut out);
            let (mut keys, values) = rows(layer);
            let positions: Vec<usize> = (0..=tokens).collect();
            rope(&mut keys, 2, DIM, &positions, &table, RopeStyle::Neox);
            for head in 0..4 {
                let kv = head / 2;
                let seen: Vec<usize> = kept[kv].iter().copied().chain([tokens]).collect();
                let row = |from: &[f32], at: usize| -> Vec<f64> {
                    let row = &from[at * width + kv * DIM..][..DIM];
                    row.iter().map(|x| f64::from(*x)).collect()
                };
                let weights: Vec<f64> = seen
                    .iter()
                    .map(|at| {
                        let dot: f64 = row(&keys, *at)
                            .iter()
                            .zip(&queries[head * DIM..])
                            .map(|(k, q)| k * f64::from(*q))
                            .sum();
                        (dot / (DIM as f64).sqrt()).exp()
                    })
                    .collect();
                let sum: f64 = weights.iter().sum();
                for channel in 0..DIM {
                    let want: f64 = seen
                        .iter()
                        .zip(&weights)
                        .map(|(at, weight)| weight / sum * row(&values, *at)[channel])
                        .sum();
                    let got = f64::from(out[head * DIM + channel]);
                    assert!(
                        (got - want).abs() < 2e-3,
                        "layer {layer} head {head}: {got} for {want}"
                    );
                }
            }
        }
    }

    /// A band that leaves blocks out beside a softmax in f64 over the first block and what is near; one that reaches
    /// everything beside plain attention.
    #[test]
    fn a_band_looks_at_the_first_block_and_what_is_near() {
        let table = RopeTable::new(&[0.003; DIM / 2], 2_048);
        let rotation = Rotation {
            table: &table,
            style: RopeStyle::Neox,
        };
        let (held, width) = (5 * BLOCK + 30, 2 * DIM);
        let (keys, values) = (
            numbers((held + 1) * width, 3),
            numbers((held + 1) * width, 5),
        );
        let mut cache = FullCache::new(SHAPE);
        let part = |range: std::ops::Range<usize>| range.start * width..range.end * width;
        for range in [0..held, held..held + 1] {
            let rows = LayerRows {
                normed: &[],
                keys: &keys[part(range.clone())],
                raw_keys: &[],
                values: &values[part(range.clone())],
            };
            cache.write(0, &rows, &rotation);
            if range.start == 0 {
                cache.commit(held);
            }
        }
        let queries = numbers(4 * DIM, 99);
        let near = |band: usize| {
            let mut out = vec![0.0; 4 * DIM];
            cache.attend_near(0, &queries, &mut out, band);
            out
        };
        let mut whole = vec![0.0; 4 * DIM];
        cache.attend(0, &queries, &mut whole);
        assert_eq!(near(held), whole);
        let mut rotated = keys.clone();
        let positions: Vec<usize> = (0..=held).collect();
        rope(&mut rotated, 2, DIM, &positions, &table, RopeStyle::Neox);
        let from = (held - 300) / BLOCK * BLOCK;
        let seen: Vec<usize> = (0..BLOCK).chain(from..=held).collect();
        let out = near(300);
        for head in 0..4 {
            let row = |of: &[f32], at: usize| -> Vec<f64> {
                let row = &of[at * width + head / 2 * DIM..][..DIM];
                row.iter().map(|x| f64::from(*x)).collect()
            };
            let weight = |at: &usize| {
                let key = row(&rotated, *at);
                let query = &queries[head * DIM..];
                let dot: f64 = key.iter().zip(query).map(|(k, q)| k * f64::from(*q)).sum();
                (dot / (DIM as f64).sqrt()).exp()
            };
            let weights: Vec<f64> = seen.iter().map(weight).collect();
            let sum: f64 = weights.iter().sum();
            for channel in 0..DIM {
                let rows = seen.iter().zip(&weights);
                let want: f64 = rows
                    .map(|(at, w)| w / sum * row(&values, *at)[channel])
                    .sum();
                let got = f64::from(out[head * DIM + channel]);
                assert!((got - want).abs() < 2e-3, "head {head}: {got} for {want}");
            }
        }
    }
}
