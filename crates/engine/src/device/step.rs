//! Passes over a model on a device, as launch plans.
//!
//! Prompts' rows are multiplied by the device's library, written tokens by the kernels that read weights once: as on the
//! processor, what a token gives depends on where it comes from and not on the tokens beside it. A pass in which every
//! sequence writes one token names the same memory each time, and its plan is kept to be replayed. Must not know requests.

use std::sync::{Arc, PoisonError};

use footnote_device::kernels::rows::Parts;
use footnote_device::kernels::{Half, NO_SEQUENCE, Sequence, Step, append, attend};
use footnote_device::{Address, Number, Op, Plan, Product};

use super::{DeviceCache, DeviceModel, DeviceOptions, Group, LOGIT_ROWS, Layer, PageLayout, Work};
use crate::EngineError;
use crate::cache::CachePolicy;
use crate::decoder::{Origin, Outputs};

/// Plans kept for replay; each is of one number of sequences and one bound of contexts.
const MOST_PLANS: usize = 256;
/// Splits of a context that one launch may have at most.
const MOST_SPLITS: usize = 64;
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
}

/// What tells plans for replay apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PlanKey {
    rows: usize,
    splits: usize,
    policy: CachePolicy,
}

/// Neighbouring rows of one kind: same origin, same layout of pages.
pub(super) struct Part {
    origin: Origin,
    pub(super) layout: Arc<PageLayout>,
    /// Rows of the pass.
    first_row: usize,
    rows: usize,
    /// Sequences of the pass.
    first_sequence: usize,
    sequences: usize,
    /// Splits of contexts, for written tokens.
    splits: usize,
    /// Most rows of a sequence.
    longest: usize,
}

/// Rows times splits of what splits leave for joining.
pub(super) fn most_partials(options: &DeviceOptions) -> usize {
    options.rows.max(options.sequences * MOST_SPLITS)
}

/// The order in which steps go through a pass: prompts first, and those of one layout side by side.
fn order(steps: &[DeviceStep<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|index| {
        let step = &steps[*index];
        let written = step.origin == Origin::Written;
        (written, step.cache.layout().policy.to_string())
    });
    order
}

impl DeviceModel {
    /// Reads the steps' tokens and gives the last layer's normed rows of the asked positions in order,
    /// `[rows][hidden]`. `keep_going` is asked before each layer of a prompt's pass; once it says no, the pass ends with
    /// `None` and no token counts.
    ///
    /// # Errors
    /// Where pages are missing that were not reserved, or the device fails; then no token counts.
    ///
    /// # Panics
    /// Where the steps have more rows or sequences than the model was opened for.
    pub fn forward(
        &self,
        steps: &mut [DeviceStep<'_>],
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = self.read(steps, &mut work, keep_going)? else {
            return Ok(None);
        };
        Ok(Some(work.outputs.read(count * self.config.hidden)?))
    }

    /// Logits of rows that [`forward`](Self::forward) gave, `[rows][vocab]`.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn logits(&self, rows: &[f32]) -> Result<Vec<f32>, EngineError> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let mut logits = Vec::new();
        for rows in rows.chunks(LOGIT_ROWS * self.config.hidden) {
            work.outputs.write(rows)?;
            let count = rows.len() / self.config.hidden;
            self.device
                .run(&Plan::once(self.logit_ops(&mut work, count)))?;
            logits.extend(work.logits.read::<f32>(count * self.config.vocab)?);
        }
        Ok(logits)
    }

    fn logit_ops(&self, work: &mut Work, count: usize) -> Vec<Op> {
        let hidden = self.config.hidden;
        let parts = work.normed.from(0, hidden);
        let split = self
            .makers
            .rows
            .split(work.outputs.address(), parts, count * hidden);
        let product = self.makers.products.run(&work.output_jobs, parts, 0, count);
        vec![split, product]
    }

    /// Runs a pass; the asked rows, normed, are then in `outputs`. How many, or `None` where it was broken off.
    fn read(
        &self,
        steps: &mut [DeviceStep<'_>],
        work: &mut Work,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Option<usize>, EngineError> {
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
        let key = self.replay_key(steps, &laid);
        match key {
            Some(key) => {
                let plan = match work.plans.get(&key) {
                    Some(plan) => Arc::clone(plan),
                    None => {
                        let mut ops = self.begin(&laid, work);
                        for index in 0..self.layers.len() {
                            self.layer(index, &laid, work, &mut ops);
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
                    self.layer(index, &laid, work, &mut ops);
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
        });
        alike.then(|| PlanKey {
            rows: part.rows,
            splits: part.splits,
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
        let mut parts: Vec<Part> = Vec::new();
        let mut places = vec![0; steps.len()];
        let (mut tokens, mut row_sequence): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        let (mut sequences, mut table) = (Vec::new(), Vec::<u64>::new());
        for (sequence, index) in order.iter().enumerate() {
            let step = &steps[*index];
            let layout = step.cache.layout();
            let count = step.tokens.len();
            let alike = |part: &Part| part.origin == step.origin && part.layout == *layout;
            if !parts.last().is_some_and(alike) {
                parts.push(Part {
                    origin: step.origin,
                    layout: Arc::clone(layout),
                    first_row: tokens.len(),
                    rows: 0,
                    first_sequence: sequence,
                    sequences: 0,
                    splits: 1,
                    longest: 0,
                });
            }
            let last = parts.len() - 1;
            let part = &mut parts[last];
            places[*index] = tokens.len();
            // Kernels count rows and sequences from the part's first.
            let within = part.sequences;
            let laid = Sequence {
                pages: work.page_table.at(8 * table.len()),
                open: Address::NONE,
                first_row: part.rows as u32,
                rows: count as u32,
                start: step.cache.len() as u32,
                skipped: step.cache.skipped() as u32,
            };
            sequences.extend(laid.words());
            table.extend(step.cache.addresses());
            tokens.extend(step.tokens);
            row_sequence.extend(std::iter::repeat_n(within as u32, count));
            part.rows += count;
            part.sequences += 1;
            part.longest = part.longest.max(count);
            let end = step.cache.len() + count;
            part.splits = part.splits.max(splits(end));
        }
        debug_assert!(row_sequence.iter().all(|sequence| *sequence != NO_SEQUENCE));
        // Fewer splits where there are many sequences to keep the device busy.
        for part in &mut parts {
            part.splits = part.splits.min((512 / part.sequences).max(1));
        }
        work.tokens.write(&tokens)?;
        work.row_sequence.write(&row_sequence)?;
        work.sequences.write(&sequences)?;
        work.page_table.write(&table)?;
        Ok(Laid {
            rows,
            parts,
            outputs: outputs(steps, &places),
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

    fn layer(&self, index: usize, laid: &Laid, work: &Work, ops: &mut Vec<Op>) {
        self.project(index, laid, work, ops);
        for part in &laid.parts {
            self.attention(index, &self.layers[index], part, work, ops);
        }
        self.finish(index, laid, work, ops);
    }

    /// The stream, normed by `weight`.
    fn norm(&self, weight: Address, laid: &Laid, work: &Work) -> Op {
        let hidden = self.config.hidden;
        self.makers.rows.rms_norm(
            work.stream.address(),
            weight,
            Address::NONE,
            work.normed.from(0, hidden),
            laid.rows,
            hidden,
            self.config.rms_epsilon,
        )
    }

    /// A layer's queries, keys and values.
    pub(super) fn project(&self, index: usize, laid: &Laid, work: &Work, ops: &mut Vec<Op>) {
        let layer = &self.layers[index];
        let normed = |row| work.normed.from(row, self.config.hidden);
        ops.push(self.norm(layer.attention_norm.address(), laid, work));
        self.multiply(&layer.project, laid, work, &normed, ops);
    }

    /// What of a layer comes after attention.
    pub(super) fn finish(&self, index: usize, laid: &Laid, work: &Work, ops: &mut Vec<Op>) {
        let layer = &self.layers[index];
        let attended = |row| work.attended.from(row, self.config.query_width());
        self.multiply(&layer.attention_output, laid, work, &attended, ops);
        let normed = |row| work.normed.from(row, self.config.hidden);
        ops.push(self.norm(layer.feed_forward_norm.address(), laid, work));
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

    /// A part's new queries, keys and values, and whose they are.
    pub(super) fn appended(&self, layer: &Layer, part: &Part, work: &Work) -> append::New {
        let config = &self.config;
        let width = config.query_width() + 2 * config.kv_width();
        let optional = |buffer: &Option<footnote_device::Buffer>| {
            buffer
                .as_ref()
                .map_or(Address::NONE, footnote_device::Buffer::address)
        };
        append::New {
            qkv: work.projected.at(4 * part.first_row * width),
            step: Step {
                opens: Address::NONE,
                sequences: work.sequences.at(part.first_sequence * Sequence::BYTES),
                count: part.sequences,
                row_sequence: work.row_sequence.at(4 * part.first_row),
                rows: part.rows,
            },
            table: self.table.address(),
            query_weight: optional(&layer.query_norm),
            key_weight: optional(&layer.key_norm),
            epsilon: config.rms_epsilon,
        }
    }

    fn attention(&self, index: usize, layer: &Layer, part: &Part, work: &Work, ops: &mut Vec<Op>) {
        let query = self.config.query_width();
        let new = self.appended(layer, part, work);
        let step = new.step;
        let queries = work.queries.at(2 * part.first_row * query);
        let page_offset = part.layout.layer_offsets[index];
        let places = append::Places {
            page_offset: Some(page_offset),
            queries,
            ..append::Places::default()
        };
        ops.push(self.makers.append.append(&new, &places));
        let out = work.attended.from(part.first_row, query);
        let splits = match part.origin {
            Origin::Written => part.splits,
            Origin::Prompt => 1,
        };
        let scratch = attend::Splits {
            extents: work.extents.address(),
            partial: work.partials.address(),
            splits,
        };
        ops.extend(self.makers.attend.attend(
            queries,
            &step,
            part.longest,
            page_offset,
            &scratch,
            out,
        ));
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
        let prompt: usize = laid.rows_of(Origin::Prompt);
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
    /// Prompts' first.
    pub(super) parts: Vec<Part>,
    /// Asked rows in the steps' order: the first and how many.
    outputs: Vec<(usize, usize)>,
}

impl Laid {
    fn rows_of(&self, origin: Origin) -> usize {
        let parts = self.parts.iter().filter(|part| part.origin == origin);
        parts.map(|part| part.rows).sum()
    }
}

/// Splits for contexts of up to `tokens`: a power of two, so that few plans serve all lengths.
fn splits(tokens: usize) -> usize {
    tokens
        .div_ceil(SPLIT_TOKENS)
        .next_power_of_two()
        .min(MOST_SPLITS)
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
