//! Attention taps: how much a window of queries attends to every key, read off while a prompt is read.
//!
//! SpecPC's score (arXiv:2506.08373, as released): softmax of the last queries over all keys, rows
//! weighted, the largest over rows, heads and layers. Queries are kept after rotation until the
//! window is complete; then each layer's keys are gone through twice, block by block: once for the
//! rows' log-sum-exp, once for the weights. So nothing is as large as queries times keys, and chunks
//! of any size give the same. Must not know tokens or policies.

use crate::kernels::{
    HeadShape, KEY_LANES, KvBlock, join_shares, parallel, power_sum, product_block,
};

/// Gives all keys of a layer to a visitor, block by block.
pub(crate) type Keys<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&KvBlock<'_>));

/// Which heads are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heads {
    /// All heads of the layers from this one on.
    From(usize),
    /// These, as layer and query head.
    Chosen(Vec<(usize, usize)>),
}

/// How the rows of a head become one number a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The largest over rows.
    Max,
    /// The sum over rows.
    Sum,
}

/// What to read.
#[derive(Clone, Debug, PartialEq)]
pub struct TapConfig {
    /// Queries of the window: the last of the prompt.
    pub window: usize,
    /// Whether row `i` counts `i / (window − 1)`: later ones more, the first not at all.
    pub weighted: bool,
    /// Which heads.
    pub heads: Heads,
    /// How rows are joined.
    pub reduce: Reduce,
    /// Whether heads stay apart; else the largest (or the sum) over heads and layers is kept.
    pub per_head: bool,
}

/// A tap on the reading of one prompt.
pub struct Tap {
    config: TapConfig,
    shape: HeadShape,
    /// Tokens of the whole prompt.
    tokens: usize,
    /// By layer, the window's queries so far, `[window][heads][head_dim]`.
    queries: Vec<Vec<f32>>,
    /// Per key: one row, or one row a head in the order of [`Tap::heads`].
    scores: Vec<Vec<f32>>,
    heads: Vec<(usize, usize)>,
}

impl Tap {
    /// A tap on a prompt of `tokens` tokens read by `layers` layers. A window longer than the prompt is
    /// the whole prompt.
    pub fn new(config: TapConfig, shape: HeadShape, layers: usize, tokens: usize) -> Tap {
        let config = TapConfig {
            window: config.window.min(tokens),
            ..config
        };
        let heads: Vec<(usize, usize)> = match &config.heads {
            Heads::From(first) => (*first..layers)
                .flat_map(|layer| (0..shape.heads).map(move |head| (layer, head)))
                .collect(),
            Heads::Chosen(chosen) => {
                let mut chosen: Vec<(usize, usize)> = chosen
                    .iter()
                    .copied()
                    .filter(|(layer, head)| *layer < layers && *head < shape.heads)
                    .collect();
                chosen.sort_unstable();
                chosen.dedup();
                chosen
            }
        };
        let rows = if config.per_head { heads.len() } else { 1 };
        Tap {
            queries: vec![Vec::new(); layers],
            scores: vec![vec![0.0; tokens]; rows],
            config,
            shape,
            tokens,
            heads,
        }
    }

    /// Layers that must run: none after the last tapped one.
    pub fn layers(&self) -> usize {
        self.heads.last().map_or(0, |(layer, _)| layer + 1)
    }

    /// The heads, in the order of separate scores.
    pub fn heads(&self) -> &[(usize, usize)] {
        &self.heads
    }

    /// Scores by key: one row, or one a head.
    pub fn into_scores(self) -> Vec<Vec<f32>> {
        self.scores
    }

    /// What is read.
    pub(crate) fn config(&self) -> &TapConfig {
        &self.config
    }

    /// Tokens of the whole prompt.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Takes a row of scores that was found elsewhere; what it is too short for stays as it is.
    pub(crate) fn put(&mut self, row: usize, scores: &[f32]) {
        for (to, score) in self.scores[row].iter_mut().zip(scores) {
            *to = *score;
        }
    }

    fn tapped(&self, layer: usize) -> Vec<(usize, usize)> {
        self.heads
            .iter()
            .enumerate()
            .filter(|(_, (at, _))| *at == layer)
            .map(|(row, (_, head))| (row, *head))
            .collect()
    }

    /// Takes the rotated queries of a layer, `[tokens][heads][head_dim]`, that begin at position `first`.
    /// True once the window is complete.
    pub(crate) fn take(&mut self, layer: usize, first: usize, queries: &[f32]) -> bool {
        let width = self.shape.heads * self.shape.head_dim;
        let count = queries.len() / width;
        let from = self.tokens - self.config.window;
        let kept = from.saturating_sub(first).min(count);
        if !self.heads.iter().any(|(at, _)| *at == layer) {
            return false;
        }
        self.queries[layer].extend_from_slice(&queries[kept * width..]);
        first + count == self.tokens
    }

    /// Scores a layer's keys; `keys` gives all of them, block by block, as often as asked.
    pub(crate) fn score(&mut self, layer: usize, keys: Keys<'_>) {
        let queries = std::mem::take(&mut self.queries[layer]);
        let tapped = self.tapped(layer);
        let rows = Rows::new(&self.config, &self.shape, &queries, &tapped, self.tokens);
        let mut sums = vec![(f32::NEG_INFINITY, 0.0_f32); rows.count()];
        keys(&mut |block| {
            let parts = rows.each_head(block, |head, scores, len| {
                (0..rows.window)
                    .map(|row| {
                        let seen = rows.seen(row, block.first).min(len);
                        let (most, sum) = power_sum(&scores[row * len..][..seen]);
                        (head * rows.window + row, most, sum)
                    })
                    .collect::<Vec<_>>()
            });
            for (row, most, sum) in parts.into_iter().flatten() {
                join(&mut sums[row], (most, sum));
            }
        });
        let norms: Vec<f32> = sums
            .into_iter()
            .map(|(most, sum)| most + sum.log2())
            .collect();
        let reduce = self.config.reduce;
        let (per_head, all) = (self.config.per_head, &mut self.scores);
        keys(&mut |block| {
            let parts = rows.each_head(block, |head, scores, len| {
                let mut best = vec![0.0_f32; len];
                for row in 0..rows.window {
                    let weight = rows.weights[row];
                    let norm = norms[head * rows.window + row];
                    let seen = rows.seen(row, block.first).min(len);
                    let scores = &scores[row * len..][..seen];
                    join_shares(&mut best, scores, norm, weight, reduce == Reduce::Sum);
                }
                (head, best)
            });
            for (head, best) in parts {
                let row = if per_head { tapped[head].0 } else { 0 };
                let to = &mut all[row][block.first..];
                for (to, share) in to.iter_mut().zip(best) {
                    match reduce {
                        Reduce::Max => *to = to.max(share),
                        Reduce::Sum => *to += share,
                    }
                }
            }
        });
    }
}

/// Joins another part of a row's softmax.
fn join((most, sum): &mut (f32, f32), (other_most, other_sum): (f32, f32)) {
    let largest = most.max(other_most);
    if largest == f32::NEG_INFINITY {
        return;
    }
    *sum = *sum * (*most - largest).exp2() + other_sum * (other_most - largest).exp2();
    *most = largest;
}

/// The window's queries of the tapped heads of one layer.
struct Rows {
    shape: HeadShape,
    window: usize,
    /// Position of the first row.
    first: usize,
    /// By tapped head: its KV head and its scaled queries, `[window][head_dim]`.
    heads: Vec<(usize, Vec<f32>)>,
    weights: Vec<f32>,
}

impl Rows {
    fn new(
        config: &TapConfig,
        shape: &HeadShape,
        queries: &[f32],
        tapped: &[(usize, usize)],
        tokens: usize,
    ) -> Rows {
        let (dim, width) = (shape.head_dim, shape.heads * shape.head_dim);
        // Scores are powers of two.
        let scale = std::f32::consts::LOG2_E / (dim as f32).sqrt();
        let group = shape.heads / shape.kv_heads;
        Rows {
            shape: *shape,
            window: config.window,
            first: tokens - config.window,
            heads: tapped
                .iter()
                .map(|(_, head)| {
                    let rows = queries
                        .chunks_exact(width)
                        .flat_map(|row| &row[head * dim..][..dim])
                        .map(|q| q * scale)
                        .collect();
                    (head / group, rows)
                })
                .collect(),
            weights: (0..config.window)
                .map(|row| match (config.weighted, config.window) {
                    (true, 2..) => row as f32 / (config.window - 1) as f32,
                    _ => 1.0,
                })
                .collect(),
        }
    }

    fn count(&self) -> usize {
        self.heads.len() * self.window
    }

    /// How many keys of a block that begins at `first` row `row` sees.
    fn seen(&self, row: usize, first: usize) -> usize {
        (self.first + row + 1).saturating_sub(first)
    }

    /// Gives `work` each tapped head's scores with a block's keys, `[window][len]`.
    fn each_head<T: Send + Sync>(
        &self,
        block: &KvBlock<'_>,
        work: impl Fn(usize, &[f32], usize) -> T + Sync,
    ) -> Vec<T> {
        let dim = self.shape.head_dim;
        let done: Vec<std::sync::OnceLock<T>> = self
            .heads
            .iter()
            .map(|_| std::sync::OnceLock::new())
            .collect();
        parallel(self.heads.len(), |head| {
            let (kv_head, queries) = &self.heads[head];
            let keys = &block.keys[kv_head * block.capacity * dim..][..block.capacity * dim];
            let mut run = vec![0.0; dim * KEY_LANES];
            let mut part = vec![0.0; self.window * KEY_LANES];
            let mut scores = vec![0.0; self.window * block.len];
            for start in (0..block.len).step_by(KEY_LANES) {
                let halves = &keys[start * dim..][..dim * KEY_LANES];
                for (to, half) in run.iter_mut().zip(halves) {
                    *to = half.to_f32();
                }
                product_block(queries, self.window, &run, dim, &mut part);
                let count = KEY_LANES.min(block.len - start);
                for (row, part) in part.chunks_exact(KEY_LANES).enumerate() {
                    scores[row * block.len + start..][..count].copy_from_slice(&part[..count]);
                }
            }
            done[head].get_or_init(|| work(head, &scores, block.len));
        });
        done.into_iter()
            .filter_map(std::sync::OnceLock::into_inner)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use serde_json::Value;

    use super::*;
    use crate::kernels::put_key;

    /// Keys as blocks of `len` positions, `[tokens][kv_heads][dim]`.
    fn blocks(keys: &[Vec<f32>], shape: &HeadShape, len: usize) -> Vec<Stored> {
        let capacity = len.next_multiple_of(KEY_LANES);
        keys.chunks(len)
            .enumerate()
            .map(|(index, rows)| {
                let mut block = vec![f16::ZERO; shape.kv_len(capacity)];
                for (slot, row) in rows.iter().enumerate() {
                    put_key(&mut block, shape, capacity, slot, row);
                }
                Stored {
                    keys: block,
                    capacity,
                    len: rows.len(),
                    first: index * len,
                }
            })
            .collect()
    }

    struct Stored {
        keys: Vec<f16>,
        capacity: usize,
        len: usize,
        first: usize,
    }

    fn score(tap: &mut Tap, layer: usize, blocks: &[Stored]) {
        tap.score(layer, &mut |visit| {
            for block in blocks {
                visit(&KvBlock {
                    keys: &block.keys,
                    values: &[],
                    capacity: block.capacity,
                    len: block.len,
                    first: block.first,
                });
            }
        });
    }

    fn numbers(value: &Value) -> Vec<f32> {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap() as f32)
            .collect()
    }

    fn fixtures() -> Option<Value> {
        let Some(path) = footnote_testkit::shared("fixtures/specpc/fixtures.json") else {
            footnote_testkit::skip(module_path!(), "no ../shared/fixtures/specpc");
            return None;
        };
        Some(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    /// The released functions' scores of random queries and keys, from the window and from the tokens written after it.
    /// Keys are kept in f16, which costs a thousandth; here a key stands as two halves in a head of twice the width, so that
    /// the tap itself is held to the reference's own precision.
    #[test]
    fn scores_are_those_of_the_released_functions_at_any_block_size() {
        let Some(fixtures) = fixtures() else {
            return;
        };
        let case = &fixtures["scoring"];
        let count = |name: &str| case[name].as_u64().unwrap() as usize;
        let (dim, wide) = (count("head_dim"), 2 * count("head_dim"));
        let shape = HeadShape {
            heads: count("heads"),
            kv_heads: count("kv_heads"),
            head_dim: wide,
        };
        let (tokens, window, first_layer) =
            (count("n"), count("window"), count("starting_layer_index"));
        // The scale of the narrow head.
        let factor = (wide as f32 / dim as f32).sqrt();
        let query = |row: &Value| -> Vec<f32> {
            let row: Vec<f32> = numbers(row).iter().map(|x| x * factor).collect();
            row.repeat(2)
        };
        let key = |row: &Value| -> Vec<f32> {
            let row = numbers(row);
            let high: Vec<f32> = row.iter().map(|x| f16::from_f32(*x).to_f32()).collect();
            let low: Vec<f32> = row.iter().zip(&high).map(|(x, high)| x - high).collect();
            [high, low].concat()
        };
        let expected = numbers(&case["expected_scores"]);
        let steps = case["decode"].as_array().unwrap();
        for len in [7, 64, 300, 1000] {
            let config = |window, weighted| TapConfig {
                window,
                weighted,
                heads: Heads::From(first_layer),
                reduce: Reduce::Max,
                per_head: false,
            };
            let layers = count("layers");
            let mut taps: Vec<Tap> = (0..steps.len())
                .map(|step| Tap::new(config(1, false), shape, layers, tokens + step + 1))
                .collect();
            taps.insert(0, Tap::new(config(window, true), shape, layers, tokens));
            for layer in first_layer..layers {
                let mut keys: Vec<Vec<f32>> = (0..tokens)
                    .map(|at| {
                        let kv = case["k"][layer].as_array().unwrap();
                        kv.iter().flat_map(|head| key(&head[at])).collect()
                    })
                    .collect();
                let heads = case["q_window"][layer].as_array().unwrap();
                let queries: Vec<f32> = (0..window)
                    .flat_map(|row| heads.iter().flat_map(move |head| query(&head[row])))
                    .collect();
                // In two pieces, as chunks would bring them.
                let (early, late) = queries.split_at(5 * shape.heads * wide);
                assert!(!taps[0].take(layer, tokens - window, early));
                assert!(taps[0].take(layer, tokens - window + 5, late));
                score(&mut taps[0], layer, &blocks(&keys, &shape, len));
                for (at, step) in steps.iter().enumerate() {
                    let step = &step[layer];
                    let every = |name: &str| step[name].as_array().unwrap().clone();
                    keys.push(every("k").iter().flat_map(&key).collect());
                    let queries: Vec<f32> = every("q").iter().flat_map(&query).collect();
                    assert!(taps[at + 1].take(layer, tokens + at, &queries));
                    score(&mut taps[at + 1], layer, &blocks(&keys, &shape, len));
                }
            }
            let mut scores = vec![0.0_f32; tokens];
            for tap in taps {
                let row = tap.into_scores().remove(0);
                for (best, score) in scores.iter_mut().zip(row) {
                    *best = best.max(score);
                }
            }
            for (at, (score, expected)) in scores.iter().zip(&expected).enumerate() {
                let apart = (score - expected).abs();
                assert!(
                    apart < 2e-5,
                    "key {at}, blocks of {len}: {score} for {expected}"
                );
            }
        }
    }
}
