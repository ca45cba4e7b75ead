//! Passes over a model on a device, as launch plans.
//!
//! Prompts' rows are multiplied by the device's library, written tokens by the kernels that read weights once: as on the
//! processor, what a token gives depends on where it comes from and not on the tokens beside it. A pass in which every
//! sequence writes one token names the same memory each time, and its plan is kept to be replayed. Must not know requests.

use std::sync::Arc;

use footnote_device::kernels::rows::Parts;
use footnote_device::kernels::{Half, PAGE_TOKENS, Step, append, attend, prompt};
use footnote_device::{Address, Buffer, Number, Op, Plan, Product};

use super::coded::{BodyLists, RowLists};
use super::lists::LayOut;
use super::moved::Moved;
use super::{DeviceCache, DeviceModel, DeviceOptions, Group, PageLayout, Work};
use crate::EngineError;
use crate::cache::{CachePolicy, Window};
use crate::decoder::{Origin, Outputs, Perturbation};

/// Plans kept for replay; each is of one number of sequences and one bound of contexts.
const MOST_PLANS: usize = 256;
/// Splits for which each sequence of a pass has memory; a pass of fewer sequences may have more.
const SEQUENCE_SPLITS: usize = 64;
/// Tokens that one split should have at least: below that joining them costs more than it gains.
const SPLIT_TOKENS: usize = 256;

/// Tokens to read on one cache of a device.
pub struct DeviceStep<'a> {
    /// The tokens, not empty.
    pub tokens: &'a [u32],
    /// Where they come from.
    pub origin: Origin,
    /// What was read before them.
    pub cache: &'a mut DeviceCache,
    /// Which rows to give.
    pub outputs: Outputs,
    /// Heads that are made worse on purpose.
    pub perturbation: Option<&'a Perturbation>,
}

impl DeviceStep<'_> {
    /// Whether a device has kernels for it.
    fn is_readable(&self) -> bool {
        let aligned = self.cache.len().is_multiple_of(PAGE_TOKENS);
        self.cache.layout().window == Window::Recent || (self.origin == Origin::Prompt && aligned)
    }
}

/// What tells plans for replay apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PlanKey {
    rows: usize,
    splits: usize,
    /// Closed pages of the longest sequence, rounded up: as many as the closed loop's lists have places for.
    pages: usize,
    policy: CachePolicy,
}

/// Neighbouring rows that are attended alike.
pub(super) struct Part {
    pub(super) layout: Arc<PageLayout>,
    /// Rows of the pass.
    pub(super) first_row: usize,
    pub(super) rows: usize,
    pub(super) kind: Kind,
}

/// How rows are attended.
pub(super) enum Kind {
    /// Written tokens on full caches.
    Written {
        step: Step,
        longest: usize,
        splits: usize,
    },
    /// Prompts on full caches.
    Prompt {
        step: Step,
        tiles: Address,
        tile_count: usize,
    },
    /// Rows of caches of codes, each by itself: written tokens, and a prompt's up to the end of an open group.
    Rows(RowLists),
    /// A prompt's rows from the start of a group, on a cache of codes.
    Body(BodyLists),
}

/// Rows times splits of what splits leave for joining.
pub(super) fn most_partials(options: &DeviceOptions) -> usize {
    options.rows.max(options.sequences * SEQUENCE_SPLITS)
}

/// The order in which steps go through a pass: prompts first, and those of one layout side by side.
fn order(steps: &[DeviceStep<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|index| {
        let step = &steps[*index];
        let written = step.origin == Origin::Written;
        let layout = step.cache.layout();
        let whole = layout.window == Window::None;
        (written, layout.policy.to_string(), whole)
    });
    order
}

impl DeviceModel {
    /// Reads the steps' tokens and gives the last layer's normed rows of the asked positions in order,
    /// `[rows][hidden]`. `keep_going` is asked before each layer of a prompt's pass; once it says no, the pass ends with
    /// `None` and no token counts.
    ///
    /// # Errors
    /// Where pages are missing that were not reserved, where a cache of [`Window::None`] is to read anything but a prompt
    /// from the start of a group, or where the device fails; then no token counts.
    ///
    /// # Panics
    /// Where the steps have more rows or sequences than the model was opened for.
    pub fn forward(
        &self,
        steps: &mut [DeviceStep<'_>],
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        let mut work = self.lock();
        let Some(count) = self.read(steps, &mut work, keep_going)? else {
            return Ok(None);
        };
        Ok(Some(work.outputs.read(count * self.config.hidden)?))
    }

    /// Runs a pass; the asked rows, normed, are then in `outputs`. How many, or `None` where it was broken off.
    pub(super) fn read(
        &self,
        steps: &mut [DeviceStep<'_>],
        work: &mut Work,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Option<usize>, EngineError> {
        if let Some(step) = steps.iter().find(|step| !step.is_readable()) {
            return Err(EngineError::Request(format!(
                "on {} whole groups are read by their codes alone ({}) in prompts from the start of a group of \
                 {PAGE_TOKENS} tokens",
                self.device.name(),
                step.cache.layout().policy
            )));
        }
        let order = order(steps);
        let mut ops = Vec::new();
        for index in &order {
            let step = &mut steps[*index];
            ops.extend(step.cache.prepare(step.tokens.len())?);
        }
        if !ops.is_empty() {
            self.device.run(&Plan::once(ops))?;
        }
        let laid = self.lay_out(steps, &order, work)?;
        let count: usize = laid.outputs.iter().map(|(_, rows)| rows).sum();
        let moved = Moved::of(steps, &laid.places);
        let key = self.replay_key(steps, &laid);
        match key {
            Some(key) => {
                let plan = match work.plans.get(&key) {
                    Some(plan) => Arc::clone(plan),
                    None => {
                        let mut ops = self.begin(&laid, work);
                        for index in 0..self.layers.len() {
                            self.layer(index, &laid, &moved, work, &mut ops);
                        }
                        self.end(&laid, work, &mut ops);
                        if work.plans.len() >= MOST_PLANS {
                            work.plans.clear();
                        }
                        let plan = Arc::new(Plan::replayed(ops));
                        work.plans.insert(key, Arc::clone(&plan));
                        plan
                    }
                };
                self.device.run(&plan)?;
            }
            None => {
                let mut ops = self.begin(&laid, work);
                for index in 0..self.layers.len() {
                    if !keep_going() {
                        return Ok(None);
                    }
                    self.layer(index, &laid, &moved, work, &mut ops);
                    self.device.run(&Plan::once(std::mem::take(&mut ops)))?;
                }
                self.end(&laid, work, &mut ops);
                self.device.run(&Plan::once(ops))?;
            }
        }
        for step in steps {
            step.cache.commit(step.tokens.len());
        }
        Ok(Some(count))
    }

    /// A pass of written tokens, one a sequence, all of one layout, each asked for.
    fn replay_key(&self, steps: &[DeviceStep<'_>], laid: &Laid) -> Option<PlanKey> {
        let [part] = laid.parts.as_slice() else {
            return None;
        };
        let alike = steps.iter().all(|step| {
            step.origin == Origin::Written
                && step.tokens.len() == 1
                && step.outputs != Outputs::None
                && step.perturbation.is_none()
        });
        let (splits, pages) = match &part.kind {
            Kind::Written { splits, .. } => (*splits, 0),
            Kind::Rows(lists) => (lists.splits, lists.walk.map_or(0, |walk| walk.count)),
            Kind::Prompt { .. } | Kind::Body(_) => return None,
        };
        alike.then(|| PlanKey {
            rows: part.rows,
            splits,
            pages,
            policy: part.layout.policy,
        })
    }

    /// Writes down what changes from pass to pass: tokens, sequences, page tables, tiles.
    pub(super) fn lay_out(
        &self,
        steps: &[DeviceStep<'_>],
        order: &[usize],
        work: &Work,
    ) -> Result<Laid, EngineError> {
        let rows: usize = steps.iter().map(|step| step.tokens.len()).sum();
        assert!(rows <= self.options.rows, "{rows} rows in a pass");
        assert!(
            steps.len() <= self.options.sequences,
            "{} sequences in a pass",
            steps.len()
        );
        let mut layout = LayOut::new(self, work);
        let mut places = vec![0; steps.len()];
        let mut row = 0;
        let mut at = 0;
        while at < order.len() {
            let first = &steps[order[at]];
            let same = |index: &&usize| {
                let step = &steps[**index];
                step.origin == first.origin
                    && Arc::ptr_eq(step.cache.layout(), first.cache.layout())
            };
            let count = order[at..].iter().take_while(same).count();
            let mut part_rows = row;
            for index in &order[at..at + count] {
                places[*index] = part_rows;
                part_rows += steps[*index].tokens.len();
            }
            let together: Vec<&DeviceStep<'_>> = order[at..at + count]
                .iter()
                .map(|index| &steps[*index])
                .collect();
            layout.part(&together, row);
            row = part_rows;
            at += count;
        }
        let tokens: Vec<u32> = order
            .iter()
            .flat_map(|index| steps[*index].tokens)
            .copied()
            .collect();
        work.tokens.write(&tokens)?;
        Ok(Laid {
            rows,
            prompts: order
                .iter()
                .map(|index| &steps[*index])
                .filter(|step| step.origin == Origin::Prompt)
                .map(|step| step.tokens.len())
                .sum(),
            parts: layout.finish()?,
            outputs: outputs(steps, &places),
            places,
        })
    }

    pub(super) fn begin(&self, laid: &Laid, work: &Work) -> Vec<Op> {
        let (tokens, stream) = (work.tokens.address(), work.stream.address());
        vec![
            self.makers
                .products
                .embed(&self.embedding, tokens, stream, laid.rows),
        ]
    }

    /// Norms the asked rows into `outputs`.
    fn end(&self, laid: &Laid, work: &Work, ops: &mut Vec<Op>) {
        let hidden = self.config.hidden;
        let mut to = 0;
        // The stream is not needed after this, and rows only move forward over those that were copied already.
        for (row, count) in &laid.outputs {
            ops.push(Op::Copy {
                from: work.stream.at(4 * row * hidden),
                to: work.widened.at(4 * to * hidden),
                bytes: 4 * count * hidden,
            });
            to += count;
        }
        if to > 0 {
            ops.push(self.makers.rows.rms_norm(
                work.widened.address(),
                self.output_norm.address(),
                work.outputs.address(),
                work.normed.from(0, hidden),
                to,
                hidden,
                self.config.rms_epsilon,
            ));
        }
    }

    fn layer(
        &self,
        index: usize,
        laid: &Laid,
        moved: &[Moved<'_>],
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        self.project(index, laid, work, ops);
        for part in &laid.parts {
            self.attention(index, part, work, ops);
            self.move_heads(index, part, moved, work, ops);
        }
        self.finish(index, laid, work, ops);
    }

    /// The stream, normed by `weight`, also as `floats` unless that is [`Address::NONE`].
    fn norm(&self, weight: &Buffer, floats: Address, laid: &Laid, work: &Work) -> Op {
        let hidden = self.config.hidden;
        self.makers.rows.rms_norm(
            work.stream.address(),
            weight.address(),
            floats,
            work.normed.from(0, hidden),
            laid.rows,
            hidden,
            self.config.rms_epsilon,
        )
    }

    /// A layer's queries, keys and values.
    pub(super) fn project(&self, index: usize, laid: &Laid, work: &Work, ops: &mut Vec<Op>) {
        let layer = &self.layers[index];
        // What caches of inputs keep.
        let keeps = laid.parts.iter().any(|part| part.layout.coded.is_some());
        let floats = match keeps {
            true => work.coded.normed.address(),
            false => Address::NONE,
        };
        let normed = |row| work.normed.from(row, self.config.hidden);
        ops.push(self.norm(&layer.attention_norm, floats, laid, work));
        self.multiply(&layer.project, laid, work, &normed, ops);
    }

    /// What of a layer comes after attention.
    pub(super) fn finish(&self, index: usize, laid: &Laid, work: &Work, ops: &mut Vec<Op>) {
        let layer = &self.layers[index];
        let attended = |row| work.attended.from(row, self.config.query_width());
        self.multiply(&layer.attention_output, laid, work, &attended, ops);
        let normed = |row| work.normed.from(row, self.config.hidden);
        ops.push(self.norm(&layer.feed_forward_norm, Address::NONE, laid, work));
        self.multiply(&layer.widen, laid, work, &normed, ops);
        let inner = self.config.feed_forward;
        let gated = |row| work.gated.from(row, inner);
        ops.push(
            self.makers
                .rows
                .silu_mul(work.widened.address(), gated(0), laid.rows, inner),
        );
        self.multiply(&layer.down, laid, work, &gated, ops);
    }

    fn attention(&self, index: usize, part: &Part, work: &Work, ops: &mut Vec<Op>) {
        let out = work
            .attended
            .from(part.first_row, self.config.query_width());
        let coded = part.layout.coded.as_ref().map(|coded| &coded.layers[index]);
        match (&part.kind, coded) {
            (Kind::Rows(lists), Some(layer)) => {
                self.write_rows(index, layer, part.first_row, lists, work, ops);
                self.attend(index, part, out, work, ops);
                self.close_rows(layer, lists, work, ops);
            }
            (Kind::Body(lists), Some(layer)) => {
                self.write_body(index, layer, part.first_row, lists, work, ops);
                self.attend(index, part, out, work, ops);
            }
            (Kind::Written { step, .. } | Kind::Prompt { step, .. }, _) => {
                ops.push(self.append_full(index, part, step, Address::NONE, work));
                self.attend(index, part, out, work, ops);
            }
            (Kind::Rows(_) | Kind::Body(_), None) => {
                unreachable!("a part of codes has a policy of codes")
            }
        }
    }

    /// Attends from a part's queries to what a layer's cache holds of their sequences, themselves included; may be done
    /// again with other queries.
    pub(super) fn attend(
        &self,
        index: usize,
        part: &Part,
        out: Parts,
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        let queries = work
            .queries
            .at(2 * part.first_row * self.config.query_width());
        let coded = part.layout.coded.as_ref().map(|coded| &coded.layers[index]);
        match (&part.kind, coded) {
            (Kind::Rows(lists), Some(layer)) => {
                self.attend_rows(index, layer, lists, out, work, ops);
            }
            (Kind::Body(lists), _) => ops.push(self.attend_body(queries, lists, out)),
            (
                Kind::Written {
                    step,
                    longest,
                    splits,
                },
                _,
            ) => {
                let page_offset = part.layout.layer_offsets[index];
                let scratch = attend::Splits {
                    extents: work.extents.address(),
                    partial: work.partials.address(),
                    splits: *splits,
                };
                ops.extend(self.makers.attend.attend(
                    queries,
                    step,
                    *longest,
                    page_offset,
                    &scratch,
                    out,
                ));
            }
            (
                Kind::Prompt {
                    step,
                    tiles,
                    tile_count,
                },
                _,
            ) => {
                let source = prompt::Source {
                    queries,
                    sequences: step.sequences,
                    tiles: *tiles,
                    tile_count: *tile_count,
                    page_offset: part.layout.layer_offsets[index],
                    own_offset: 0,
                    band: None,
                };
                ops.push(self.makers.prompt.attend(&source, out));
            }
            (Kind::Rows(_), None) => unreachable!("a part of codes has a policy of codes"),
        }
    }

    /// Norms and rotates a part's rows and writes them to pages of a full cache; queries also as floats, unless `exact` is
    /// [`Address::NONE`].
    pub(super) fn append_full(
        &self,
        index: usize,
        part: &Part,
        step: &Step,
        exact: Address,
        work: &Work,
    ) -> Op {
        let query = self.config.query_width();
        let new = self.new_rows(index, part.first_row, step, work);
        let places = append::Places {
            page_offset: Some(part.layout.layer_offsets[index]),
            queries: work.queries.at(2 * part.first_row * query),
            exact_queries: exact,
            ..append::Places::default()
        };
        self.makers.append.append(&new, &places)
    }

    /// A layer's new queries, keys and values from `first_row` on, and whose they are.
    pub(super) fn new_rows(
        &self,
        index: usize,
        first_row: usize,
        step: &Step,
        work: &Work,
    ) -> append::New {
        let config = &self.config;
        let layer = &self.layers[index];
        let width = config.query_width() + 2 * config.kv_width();
        let optional =
            |buffer: &Option<Buffer>| buffer.as_ref().map_or(Address::NONE, Buffer::address);
        append::New {
            qkv: work.projected.at(4 * first_row * width),
            step: *step,
            table: self.table.address(),
            query_weight: optional(&layer.query_norm),
            key_weight: optional(&layer.key_norm),
            epsilon: config.rms_epsilon,
        }
    }

    /// The group's products for all rows: prompts' by the device's library, written tokens' by kernels of their own.
    fn multiply(
        &self,
        group: &Group,
        laid: &Laid,
        work: &Work,
        input: &dyn Fn(usize) -> Parts,
        ops: &mut Vec<Op>,
    ) {
        let prompt = laid.prompts;
        let written = laid.rows - prompt;
        if prompt > 0 {
            for ((matrix, bias), job) in group
                .matrices
                .iter()
                .zip(&group.biases)
                .zip(group.jobs.parts())
            {
                let weights = match matrix.halves() {
                    Some(halves) => halves,
                    None => {
                        ops.push(self.makers.products.unpack(matrix, work.unpacked.address()));
                        work.unpacked.address()
                    }
                };
                ops.push(Op::Product(Product {
                    left: input(0).high,
                    right: weights,
                    out: job.out,
                    rows: prompt,
                    columns: matrix.rows(),
                    depth: matrix.cols(),
                    left_stride: matrix.cols(),
                    right_stride: matrix.cols(),
                    out_stride: job.stride,
                    input: match self.half {
                        Half::F16 => Number::F16,
                        Half::Bf16 => Number::Bf16,
                    },
                    output: Number::F32,
                    accumulate: job.add,
                }));
                if let Some(bias) = bias {
                    ops.push(self.makers.products.add_bias(
                        bias.address(),
                        job.out,
                        prompt,
                        matrix.rows(),
                        job.stride,
                    ));
                }
            }
        }
        if written > 0 {
            ops.push(
                self.makers
                    .products
                    .run(&group.jobs, input(0), prompt, written),
            );
        }
    }
}

/// A pass, laid out.
pub(super) struct Laid {
    rows: usize,
    /// Rows of prompts, which come first.
    prompts: usize,
    pub(super) parts: Vec<Part>,
    /// Asked rows in the steps' order: the first and how many.
    outputs: Vec<(usize, usize)>,
    /// The steps' first rows.
    places: Vec<usize>,
}

/// How contexts are divided among blocks.
pub(super) struct Division {
    /// The device's.
    pub(super) multiprocessors: usize,
    /// Blocks for each split of a context.
    pub(super) blocks: usize,
    /// Splits for which there is memory.
    pub(super) most: usize,
}

impl Division {
    /// Splits of each of `contexts`, which are read together.
    ///
    /// Reading them takes as long as the multiprocessor with the most to read. So all that is read, a context's keys and
    /// values once for each of its blocks, is cut into shares of which a multiprocessor has about two (from one and a half to
    /// three: a power of two, so that few plans serve all lengths), and the longest context into as many of these as it is
    /// long. The others get as many splits, whose blocks have less to do; kernels cut at pages, and blocks without one end
    /// at once.
    pub(super) fn splits(&self, contexts: &[usize]) -> usize {
        let all: usize = contexts.iter().sum();
        let longest = contexts.iter().copied().max().unwrap_or(0);
        let even = (3 * self.multiprocessors * longest).div_ceil(2 * self.blocks * all.max(1));
        let fine = longest.div_ceil(SPLIT_TOKENS);
        let most = 1 << self.most.max(1).ilog2();
        even.min(fine).next_power_of_two().min(most)
    }
}

/// Asked rows in the steps' order, neighbours joined.
fn outputs(steps: &[DeviceStep<'_>], places: &[usize]) -> Vec<(usize, usize)> {
    let mut outputs: Vec<(usize, usize)> = Vec::new();
    for (step, first) in steps.iter().zip(places) {
        let count = step.tokens.len();
        let (row, rows) = match step.outputs {
            Outputs::None => continue,
            Outputs::Last => (first + count - 1, 1),
            Outputs::Every => (*first, count),
        };
        match outputs.last_mut() {
            Some((start, held)) if *start + *held == row => *held += rows,
            _ => outputs.push((row, rows)),
        }
    }
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: usize = 1024;

    #[test]
    fn contexts_are_split_so_that_a_device_is_full_about_twice_over() {
        // On an H100, for 64 sequences at most.
        let options = DeviceOptions::new(128 * K);
        let check = |blocks: usize, contexts: &[usize], wanted: usize| {
            let division = Division {
                multiprocessors: 132,
                blocks,
                most: most_partials(&options) / contexts.len(),
            };
            let splits = division.splits(contexts);
            assert_eq!(splits, wanted, "{blocks} blocks, {contexts:?}");
        };
        // Heads of keys, context, splits at batch 1 and 32: short ones are not cut finer than pays.
        for (heads, context, alone, together) in [
            (8, K, 4, 1),
            (8, 8 * K, 32, 1),
            (8, 128 * K, 32, 1),
            (2, K, 4, 4),
            (2, 8 * K, 32, 4),
            (2, 128 * K, 128, 4),
        ] {
            check(heads, &[context], alone);
            check(heads, &[context; 32], together);
        }
        check(8, &[1], 1);
        check(8, &[257], 2);
        // A long context among short ones is not left to a few blocks.
        let mut contexts = [K; 32];
        contexts[7] = 128 * K;
        check(8, &contexts, 32);
    }

    #[test]
    fn splits_have_memory() {
        let division = |most: usize| Division {
            multiprocessors: 132,
            blocks: 1,
            most,
        };
        for (most, wanted) in [(0, 1), (1, 1), (7, 4), (8, 8), (500, 256)] {
            assert_eq!(division(most).splits(&[128 * K]), wanted);
        }
    }
}
