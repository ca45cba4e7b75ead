//! One sequence's memory under the quantised policies.
//!
//! Tokens go by groups of [`GROUP_TOKENS`]. A group that is not complete, or belongs to the tokens being
//! read, lies open in f16; once complete it is coded layer by layer and closed. What a token sees
//! depends on its position alone (its own group open, all earlier ones closed), so chunks
//! of any size give the same. Closed groups are shared by forks. Keys (and inputs' values) are
//! rebuilt a few groups at a time, right before they are attended to.
//! This module must not know requests.

mod group;
mod rebuild;

use std::collections::HashSet;
use std::sync::Arc;

use half::f16;

use self::group::{
    Group, LayerCodes, OpenGroup, add_delta, by_token, encode_rows, in_basis, put_row, transposed,
    without,
};
use super::plan::{Keep, Plan, Window};
use super::{LayerRows, LayerView};
use crate::kernels::{
    CodeRows, GROUP_TOKENS, KvBlock, OnlineAttention, Parts, Values, multiply, parallel, put_key,
    put_value, rope,
};

/// Codes of one sequence.
pub struct QuantisedCache {
    plan: Arc<Plan>,
    /// Complete groups of committed tokens.
    groups: Vec<Arc<Group>>,
    /// The groups after them.
    open: Vec<OpenGroup>,
    len: usize,
    /// The input of the layer being walked, as rebuilt, of every closed group: the closed loop's scratch.
    accumulators: Vec<CodeRows>,
}

impl QuantisedCache {
    /// An empty cache.
    pub fn new(plan: Arc<Plan>) -> QuantisedCache {
        QuantisedCache {
            plan,
            groups: Vec::new(),
            open: Vec::new(),
            len: 0,
            accumulators: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// An empty cache of the same plan.
    pub(super) fn emptied(&self) -> QuantisedCache {
        QuantisedCache::new(Arc::clone(&self.plan))
    }

    /// Position of the first open group.
    fn base(&self) -> usize {
        self.groups.len() * GROUP_TOKENS
    }

    pub(super) fn write(&mut self, view: &LayerView<'_>, rows: &LayerRows<'_>) {
        let plan = Arc::clone(&self.plan);
        let heads = plan.shape.heads;
        let (kv, hidden) = (plan.shape.kv_width(), plan.shape.hidden);
        let tokens = rows.keys.len() / kv;
        let (start, end) = (self.len, self.len + tokens);
        while self.base() + self.open.len() * GROUP_TOKENS < end {
            self.open.push(OpenGroup::new(&plan));
        }
        let positions: Vec<usize> = (start..end).collect();
        let mut rotated = rows.keys.to_vec();
        rope(
            &mut rotated,
            heads.kv_heads,
            heads.head_dim,
            &positions,
            view.rotation.table,
            view.rotation.style,
        );
        // Latents are of the projection itself; codes of keys are nearer to what attention sees.
        let source = if plan.values(view.index) == Values::Heads {
            rows.keys
        } else {
            rows.raw_keys
        };
        let keys = without(source, view.key.bias);
        let mut values = without(rows.values, view.value.bias);
        let shared = plan.values(view.index) != Values::Heads;
        if let (true, Some(bases)) = (shared, &plan.bases) {
            let mut latents = vec![0.0; values.len()];
            let basis = &bases.layers[view.index].to_values;
            multiply(basis, &values, &mut latents);
            values = latents;
        }
        let from_input = plan.keeps_input(view.index);
        let base = self.base();
        for (token, position) in positions.iter().enumerate() {
            let at = position - base;
            let layer = &mut self.open[at / GROUP_TOKENS].layers[view.index];
            let slot = at % GROUP_TOKENS;
            let row = token * kv..(token + 1) * kv;
            put_key(
                &mut layer.keys,
                &heads,
                GROUP_TOKENS,
                slot,
                &rotated[row.clone()],
            );
            let value = &values[row.clone()];
            if shared {
                put_row(&mut layer.values, slot, value);
            } else {
                put_value(&mut layer.values, &heads, GROUP_TOKENS, slot, value);
            }
            if from_input {
                let normed = &rows.normed[token * hidden..][..hidden];
                put_row(&mut layer.source, slot, normed);
            } else {
                let keys = if plan.rotated_keys() { &rotated } else { &keys };
                put_row(&mut layer.source, slot, &keys[row]);
            }
        }
        for complete in 0..(end - base) / GROUP_TOKENS {
            self.close(view, complete);
        }
    }

    /// Codes layer `view.index` of open group `index`, all of whose tokens are written.
    fn close(&mut self, view: &LayerView<'_>, index: usize) {
        let plan = Arc::clone(&self.plan);
        let (kv, hidden) = (plan.shape.kv_width(), plan.shape.hidden);
        let open = &mut self.open[index];
        // What a broken-off step left.
        open.closed.truncate(view.index);
        let layer = &open.layers[view.index];
        let source: Vec<f32> = layer.source.iter().map(|x| x.to_f32()).collect();
        let absolute = self.groups.len() + index;
        let codes = match plan.layers[view.index] {
            Keep::Pair { bits, latent } => {
                let by_channel = match &plan.bases {
                    Some(bases) if latent => in_basis(&bases.layers[view.index].keys, &source, kv),
                    _ => transposed(&source, kv),
                };
                let values: Vec<f32> = if latent {
                    layer.values.iter().map(|x| x.to_f32()).collect()
                } else {
                    by_token(&layer.values, plan.shape.heads.head_dim, kv)
                };
                LayerCodes::Pair {
                    keys: CodeRows::encode(&by_channel, GROUP_TOKENS, GROUP_TOKENS, bits),
                    first_channel: (plan.outlier && latent).then(|| {
                        by_channel[..GROUP_TOKENS]
                            .iter()
                            .map(|x| f16::from_f32(*x))
                            .collect()
                    }),
                    values: encode_rows(&values, kv, bits),
                }
            }
            Keep::Input { bits, base } => {
                let codes = encode_rows(&source, hidden, bits);
                if base {
                    let mut rebuilt = source;
                    codes.decode(0, &mut rebuilt);
                    self.keep_rebuilt(absolute, &rebuilt);
                }
                LayerCodes::Rows(codes)
            }
            Keep::Delta { bits, joint } => {
                // Against what was rebuilt of the layer before, not what it was: so errors do
                // not add up over layers.
                let mut rebuilt = vec![0.0; source.len()];
                self.accumulators[absolute].decode(0, &mut rebuilt);
                let mut delta: Vec<f32> = source
                    .iter()
                    .zip(&rebuilt)
                    .map(|(x, before)| x - before)
                    .collect();
                let mut width = hidden;
                if let (true, Some(bases)) = (joint, &plan.joint) {
                    let basis = &bases.layers[view.index].to_latents;
                    width = basis.cols();
                    let mut latents = vec![0.0; GROUP_TOKENS * width];
                    multiply(basis, &delta, &mut latents);
                    delta = latents;
                }
                let codes = encode_rows(&delta, width, bits);
                add_delta(&plan, view.index, &codes, &mut rebuilt);
                self.keep_rebuilt(absolute, &rebuilt);
                LayerCodes::Rows(codes)
            }
        };
        self.open[index].closed.push(codes);
    }

    /// Keeps a group's rebuilt input for the next layer.
    fn keep_rebuilt(&mut self, group: usize, rebuilt: &[f32]) {
        let codes = encode_rows(rebuilt, self.plan.shape.hidden, self.plan.accumulator);
        if self.accumulators.len() <= group {
            self.accumulators.resize(group + 1, codes.clone());
        }
        self.accumulators[group] = codes;
    }

    pub(super) fn attend(&mut self, view: &LayerView<'_>, queries: &[f32], out: &mut [f32]) {
        let plan = Arc::clone(&self.plan);
        let heads = plan.shape.heads;
        let width = heads.heads * heads.head_dim;
        let values = plan.values(view.index);
        let scale = 1.0 / (heads.head_dim as f32).sqrt();
        let end = self.len + queries.len() / width;
        let mut parts = Vec::new();
        let mut position = self.len;
        while position < end {
            let group = position / GROUP_TOKENS;
            let next = end.min((group + 1) * GROUP_TOKENS);
            let rows = (position - self.len) * width..(next - self.len) * width;
            let coded = match plan.window {
                // Its own group too, if it is complete.
                Window::None if (group + 1) * GROUP_TOKENS <= end => group + 1,
                _ => group,
            };
            parts.push(Part {
                attention: OnlineAttention::over(
                    values,
                    heads,
                    scale,
                    &queries[rows.clone()],
                    position,
                ),
                rows,
                group,
                coded,
            });
            position = next;
        }
        let most = parts.iter().map(|part| part.coded).max().unwrap_or(0);
        self.visit_coded(view, most, true, &mut |first, blocks| {
            for part in &mut parts {
                let seen = part.coded.saturating_sub(first).min(blocks.len());
                part.attention.attend_blocks(&blocks[..seen]);
            }
        });
        for part in parts {
            let mut attention = part.attention;
            if part.coded == part.group {
                attention.attend(&self.open_block(view.index, part.group, end));
            }
            self.finish(view, attention, &mut out[part.rows]);
        }
    }

    /// The tokens of an open group as a block.
    fn open_block(&self, layer: usize, group: usize, end: usize) -> KvBlock<'_> {
        let open = &self.open[group - self.groups.len()].layers[layer];
        let first = group * GROUP_TOKENS;
        KvBlock {
            keys: &open.keys,
            values: &open.values,
            capacity: GROUP_TOKENS,
            len: (end - first).min(GROUP_TOKENS),
            first,
        }
    }

    /// Codes of a complete group.
    fn codes(&self, layer: usize, group: usize) -> &LayerCodes {
        match self.groups.get(group) {
            Some(closed) => &closed.layers[layer],
            None => &self.open[group - self.groups.len()].closed[layer],
        }
    }

    /// Brings weighed values back to the heads' own, and adds their bias: the weights sum to 1.
    fn finish(&self, view: &LayerView<'_>, attention: OnlineAttention, out: &mut [f32]) {
        let heads = self.plan.shape.heads;
        let (dim, kv) = (heads.head_dim, self.plan.shape.kv_width());
        let group = heads.heads / heads.kv_heads;
        let shared = self.plan.values(view.index) != Values::Heads;
        match (&self.plan.bases, shared) {
            (Some(bases), true) => {
                let basis = &bases.layers[view.index].from_values;
                let mut weighed = vec![0.0; out.len() / dim * kv];
                attention.finish(&mut weighed);
                let parts = Parts::new(out, group * dim);
                let weighed: Vec<&[f32]> = weighed.chunks_exact(group * kv).collect();
                parallel(weighed.len(), |index| {
                    let head = index % heads.kv_heads;
                    // SAFETY: each piece takes its own part.
                    let out = unsafe { parts.part(index) };
                    basis.apply(weighed[index], head * dim..(head + 1) * dim, out, dim);
                });
            }
            _ => attention.finish(out),
        }
        if let Some(bias) = view.value.bias {
            for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                let bias = &bias[head % heads.heads / group * dim..][..dim];
                for (value, bias) in out.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
        }
    }

    /// Gives `visit` the rotated keys of all tokens, `tokens` just written ones included.
    pub(super) fn visit_keys(
        &mut self,
        view: &LayerView<'_>,
        tokens: usize,
        visit: &mut dyn FnMut(&KvBlock<'_>),
    ) {
        let end = self.len + tokens;
        let coded = match self.plan.window {
            Window::None => end / GROUP_TOKENS,
            Window::Recent => self.groups.len(),
        };
        self.visit_coded(view, coded, false, &mut |_, blocks| {
            blocks.iter().for_each(&mut *visit);
        });
        for group in coded..end.div_ceil(GROUP_TOKENS) {
            visit(&self.open_block(view.index, group, end));
        }
    }

    pub(super) fn commit(&mut self, tokens: usize) {
        self.len += tokens;
        let complete = self.len / GROUP_TOKENS - self.groups.len();
        for open in self.open.drain(..complete) {
            self.groups.push(Arc::new(Group {
                layers: open.closed,
            }));
        }
        debug_assert!(
            self.groups
                .iter()
                .all(|group| group.layers.len() == self.plan.shape.layers),
            "every layer was written"
        );
    }

    /// Forgets all tokens from `len` on, and with them the rest of a closed group that `len` cuts.
    pub(super) fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        if len < self.base() {
            self.groups.truncate(len / GROUP_TOKENS);
            self.open.clear();
            self.len = self.base();
        } else {
            self.len = len;
            self.open
                .truncate((len - self.base()).div_ceil(GROUP_TOKENS));
        }
        self.accumulators.truncate(self.groups.len());
    }

    pub(super) fn fork(&self) -> QuantisedCache {
        QuantisedCache {
            plan: Arc::clone(&self.plan),
            groups: self.groups.clone(),
            open: self.open.clone(),
            len: self.len,
            accumulators: Vec::new(),
        }
    }

    /// Lets go of what only a pass needs.
    pub(super) fn rest(&mut self) {
        self.accumulators = Vec::new();
    }

    pub(super) fn bytes_besides(&self, seen: &mut HashSet<usize>) -> usize {
        let closed: usize = self
            .groups
            .iter()
            .filter(|group| seen.insert(Arc::as_ptr(group) as usize))
            .flat_map(|group| &group.layers)
            .map(LayerCodes::bytes)
            .sum();
        closed + self.open_bytes()
    }

    /// Bytes of the tokens in full precision.
    pub(super) fn open_bytes(&self) -> usize {
        self.open
            .iter()
            .flat_map(|open| &open.layers)
            .map(|layer| {
                (layer.keys.len() + layer.values.len() + layer.source.len()) * size_of::<f16>()
            })
            .sum()
    }

    /// Bytes of the closed loop's accumulator.
    pub(super) fn scratch_bytes(&self) -> usize {
        self.accumulators.iter().map(CodeRows::size_bytes).sum()
    }
}

/// Queries of one group.
struct Part {
    attention: OnlineAttention,
    rows: std::ops::Range<usize>,
    group: usize,
    /// How many groups they see coded.
    coded: usize,
}

#[cfg(test)]
mod tests;
