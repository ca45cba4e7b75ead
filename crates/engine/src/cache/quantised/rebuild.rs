//! Closed groups back as keys and values, a few groups at a time.
//!
//! Must not know what attention makes of them.

use std::cell::RefCell;
use std::sync::Arc;

use half::f16;

use super::group::{LayerCodes, add_delta};
use super::{LayerView, QuantisedCache};
use crate::cache::plan::Keep;
use crate::kernels::{
    CodedKeys, Form, GROUP_TOKENS, KvBlock, Parts, Values, matmul_many, parallel, put_key,
    put_value, rebuild_keys, rebuild_values, rms_norm, rope,
};

/// Groups rebuilt together: what they take stays in the second-level caches, and there is work for
/// several threads.
const WAVE: usize = 8;

/// Memory that a pass works in, on the model's thread.
#[derive(Default)]
struct Work {
    keys: Vec<f16>,
    values: Vec<f16>,
    inputs: Vec<f32>,
    rebuilt_keys: Vec<f32>,
    normed_keys: Vec<f32>,
    rebuilt_values: Vec<f32>,
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::new(Work::default());
    /// What one group's rebuilding works in, on any thread.
    static PIECE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl QuantisedCache {
    /// Gives `visit` the first `count` groups of a layer as blocks, a wave at a time, with the number of
    /// the wave's first group. `advance` moves the closed loop's accumulator on to this layer, which
    /// must happen once a layer.
    pub(super) fn visit_coded(
        &mut self,
        view: &LayerView<'_>,
        count: usize,
        advance: bool,
        visit: &mut dyn FnMut(usize, &[KvBlock<'_>]),
    ) {
        let plan = Arc::clone(&self.plan);
        let heads = plan.shape.heads;
        let key_len = heads.kv_len(GROUP_TOKENS);
        let value_len = plan.values(view.index).len(&heads, GROUP_TOKENS);
        WORK.with_borrow_mut(|work| {
            let wave = if plan.keeps_input(view.index) {
                WAVE / 2
            } else {
                WAVE
            };
            for first in (0..count).step_by(wave) {
                let size = wave.min(count - first);
                work.keys.resize(size * key_len, f16::ZERO);
                work.values.resize(size * value_len, f16::ZERO);
                if plan.keeps_input(view.index) {
                    self.rebuild_inputs(view, first, size, advance, work);
                } else {
                    self.rebuild_pairs(view, first, size, work);
                }
                let blocks: Vec<KvBlock<'_>> = work
                    .keys
                    .chunks_exact(key_len)
                    .zip(work.values.chunks_exact(value_len))
                    .enumerate()
                    .map(|(index, (keys, values))| KvBlock {
                        keys,
                        values,
                        capacity: GROUP_TOKENS,
                        len: GROUP_TOKENS,
                        first: (first + index) * GROUP_TOKENS,
                    })
                    .collect();
                visit(first, &blocks);
            }
        });
    }

    fn rebuild_pairs(&self, view: &LayerView<'_>, first: usize, size: usize, work: &mut Work) {
        let plan = &self.plan;
        let heads = &plan.shape.heads;
        let latent = plan.values(view.index) != Values::Heads;
        let basis = plan
            .bases
            .as_ref()
            .filter(|_| latent)
            .map(|bases| bases.layers[view.index].keys.as_slice());
        let key_parts = Parts::new(&mut work.keys, heads.kv_len(GROUP_TOKENS));
        let value_len = plan.values(view.index).len(heads, GROUP_TOKENS);
        let value_parts = Parts::new(&mut work.values, value_len);
        parallel(size, |index| {
            let LayerCodes::Pair {
                keys,
                first_channel,
                values,
            } = self.codes(view.index, first + index)
            else {
                return;
            };
            // SAFETY: each piece takes the parts of its own group.
            let (key_block, value_block) =
                unsafe { (key_parts.part(index), value_parts.part(index)) };
            PIECE.with_borrow_mut(|scratch| {
                let coded = CodedKeys {
                    codes: keys,
                    first_channel: first_channel.as_deref(),
                    basis,
                    bias: view.key.bias.filter(|_| !plan.rotated_keys()),
                    norm: view
                        .key_norm
                        .filter(|_| latent)
                        .map(|norm| (norm.weight, norm.epsilon)),
                    first: (first + index) * GROUP_TOKENS,
                };
                let style = view.rotation.style;
                rebuild_keys(coded, heads, &plan.lanes, style, scratch, key_block);
                let by_head = (!latent).then_some(heads);
                rebuild_values(values, by_head, scratch, value_block);
            });
        });
    }

    fn rebuild_inputs(
        &mut self,
        view: &LayerView<'_>,
        first: usize,
        size: usize,
        advance: bool,
        work: &mut Work,
    ) {
        let plan = Arc::clone(&self.plan);
        let heads = plan.shape.heads;
        let (kv, hidden) = (plan.shape.kv_width(), plan.shape.hidden);
        let tokens = size * GROUP_TOKENS;
        work.inputs.resize(tokens * hidden, 0.0);
        for (index, rebuilt) in work
            .inputs
            .chunks_exact_mut(GROUP_TOKENS * hidden)
            .enumerate()
        {
            let group = first + index;
            let closed = group < self.groups.len();
            let keep = plan.layers[view.index];
            match (keep, self.codes(view.index, group)) {
                (Keep::Input { .. }, LayerCodes::Rows(rows)) => rows.decode(0, rebuilt),
                (Keep::Delta { .. }, LayerCodes::Rows(rows)) => {
                    self.accumulators[group].decode(0, rebuilt);
                    if closed && advance {
                        add_delta(&plan, view.index, rows, rebuilt);
                    }
                }
                _ => {}
            }
            let walks = matches!(keep, Keep::Delta { .. } | Keep::Input { base: true, .. });
            // A group closed in this very step was moved on when it was coded.
            if closed && advance && walks {
                self.keep_rebuilt(group, rebuilt);
            }
        }
        work.rebuilt_keys.resize(tokens * kv, 0.0);
        work.rebuilt_values.resize(tokens * kv, 0.0);
        matmul_many(
            &work.inputs,
            tokens,
            Form::of_many(),
            &mut [
                (view.key.weight, work.rebuilt_keys.as_mut_slice()),
                (view.value.weight, work.rebuilt_values.as_mut_slice()),
            ],
        );
        let positions: Vec<usize> = (0..tokens).map(|t| first * GROUP_TOKENS + t).collect();
        if let Some(bias) = view.key.bias {
            for row in work.rebuilt_keys.chunks_exact_mut(kv) {
                for (key, bias) in row.iter_mut().zip(bias) {
                    *key += bias;
                }
            }
        }
        if let Some(norm) = view.key_norm {
            work.normed_keys.resize(tokens * kv, 0.0);
            rms_norm(
                &work.rebuilt_keys,
                norm.weight,
                norm.epsilon,
                &mut work.normed_keys,
            );
            std::mem::swap(&mut work.rebuilt_keys, &mut work.normed_keys);
        }
        rope(
            &mut work.rebuilt_keys,
            heads.kv_heads,
            heads.head_dim,
            &positions,
            view.rotation.table,
            view.rotation.style,
        );
        let key_parts = Parts::new(&mut work.keys, heads.kv_len(GROUP_TOKENS));
        let value_parts = Parts::new(&mut work.values, heads.kv_len(GROUP_TOKENS));
        let (keys, values) = (&work.rebuilt_keys, &work.rebuilt_values);
        parallel(size, |index| {
            // SAFETY: each piece takes the parts of its own group.
            let (key_block, value_block) =
                unsafe { (key_parts.part(index), value_parts.part(index)) };
            for slot in 0..GROUP_TOKENS {
                let row =
                    (index * GROUP_TOKENS + slot) * kv..(index * GROUP_TOKENS + slot + 1) * kv;
                put_key(key_block, &heads, GROUP_TOKENS, slot, &keys[row.clone()]);
                put_value(value_block, &heads, GROUP_TOKENS, slot, &values[row]);
            }
        });
    }
}
