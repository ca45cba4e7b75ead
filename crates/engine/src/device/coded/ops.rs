//! The ops of one layer over a cache of codes.
//!
//! Must not know how a pass is laid out: it is given lists of addresses.

use footnote_device::kernels::coded_pages::Kept;
use footnote_device::kernels::codes::Source;
use footnote_device::kernels::open::{self, OpenRows};
use footnote_device::kernels::prompt;
use footnote_device::kernels::rebuild::KeyRows;
use footnote_device::kernels::remat::KeyParts;
use footnote_device::kernels::rows::{Parts, Rows};
use footnote_device::kernels::{Half, PAGE_TOKENS, Step, append};
use footnote_device::{Address, Buffer, Number, Op, Product};

use super::{CodedLayer, Held, REBUILT_PAGES, accumulator_place, full_layer_bytes, partials};
use crate::device::{DeviceModel, Work};

/// Lists of the closed loop. Pages and accumulators of the same place belong together; zeros are passed over.
#[derive(Clone, Copy)]
pub(in crate::device) struct Walk {
    /// Groups closed before: pages, and accumulators, `u64` each.
    pub(in crate::device) pages: Address,
    pub(in crate::device) accumulators: Address,
    pub(in crate::device) count: usize,
    /// Groups that this pass closes: likewise.
    pub(in crate::device) closing_pages: Address,
    pub(in crate::device) closing_accumulators: Address,
    /// Pairs of an open page and its accumulator.
    pub(in crate::device) differ: Address,
    /// Pairs of rows of differences, or of their latents, and a closed page.
    pub(in crate::device) encode: Address,
    pub(in crate::device) encode_joint: Address,
}

/// A part whose rows bring keys back themselves.
#[derive(Clone, Copy)]
pub(in crate::device) struct RowLists {
    pub(in crate::device) step: Step,
    /// The same sequences, their pages accumulators.
    pub(in crate::device) accumulated: Address,
    /// Pairs of an open and a closed page, of groups that this pass completes.
    pub(in crate::device) closing: Address,
    pub(in crate::device) count: usize,
    pub(in crate::device) splits: usize,
    pub(in crate::device) walk: Option<Walk>,
}

/// The rows of one prompt from the start of a group.
#[derive(Clone)]
pub(in crate::device) struct BodyLists {
    /// Its own groups' full pages as the sequence's.
    pub(in crate::device) step: Step,
    /// Rows of complete groups, whose open pages are scratch, and those of the last one, which stays open; each with the
    /// first of them.
    pub(in crate::device) pieces: Vec<(Step, usize)>,
    /// The sequence with rebuilt pages.
    pub(in crate::device) sequences: Address,
    pub(in crate::device) tiles: Address,
    pub(in crate::device) tile_count: usize,
    /// Pairs of an open and a closed page, of complete groups.
    pub(in crate::device) closing: Address,
    pub(in crate::device) closing_count: usize,
    /// All closed pages, those of this pass included; where each is rebuilt; and its first position, `u32`.
    pub(in crate::device) pages: Address,
    pub(in crate::device) rebuilt: Address,
    pub(in crate::device) positions: Address,
    pub(in crate::device) count: usize,
    pub(in crate::device) walk: Option<Walk>,
    /// Accumulators of the same pages, for the closed loop.
    pub(in crate::device) accumulators: Vec<Address>,
}

fn held(memory: Option<&Held>) -> Address {
    memory.map_or(Address::NONE, Held::address)
}

fn none(buffer: Option<&Buffer>) -> Address {
    buffer.map_or(Address::NONE, Buffer::address)
}

/// A list from its `index`-th `u64` on.
fn from(list: Address, index: usize) -> Address {
    list.plus(8 * index)
}

impl DeviceModel {
    /// Writes new rows of a layer to open pages.
    pub(in crate::device) fn write_rows(
        &self,
        index: usize,
        layer: &CodedLayer,
        first_row: usize,
        lists: &RowLists,
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        self.append_exact(index, first_row, &lists.step, None, work, ops);
        self.write_open(index, layer, first_row, &[(lists.step, 0)], work, ops);
        if let Some(walk) = &lists.walk {
            self.walk(layer, walk.pages, walk.accumulators, walk.count, work, ops);
        }
    }

    /// Attends from each of new rows to what it sees, one by one.
    pub(in crate::device) fn attend_rows(
        &self,
        index: usize,
        layer: &CodedLayer,
        lists: &RowLists,
        out: Parts,
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        let coded = &work.coded;
        let config = &self.config;
        let accumulates = matches!(layer.kept, Kept::Delta { .. });
        let (mut step, mut place) = (lists.step, layer.place);
        if accumulates {
            step.sequences = lists.accumulated;
            place = accumulator_place(layer, config.hidden);
        }
        let by_norm = layer.projection.is_some();
        let keys = KeyParts {
            table: self.table.address(),
            projection: held(layer.projection.as_ref()),
            bias: match layer.rotated {
                true => Address::NONE,
                false => none(self.layers[index].project.biases[1].as_ref()),
            },
            norm: none(self.layers[index].key_norm.as_ref().filter(|_| by_norm)),
            epsilon: config.rms_epsilon,
        };
        let value_width = layer.shape.value_width();
        let most = coded.most_splits(lists.step.rows, config.heads, value_width);
        let partials = partials(coded, lists.splits.min(most));
        let scale = 1.0 / (config.head_dim as f32).sqrt();
        ops.push(layer.remat.attend(
            &step,
            coded.queries.address(),
            &keys,
            &place,
            scale,
            &partials,
        ));
        let bias = none(self.layers[index].project.biases[2].as_ref());
        ops.push(
            layer
                .remat
                .join(&step, &partials, held(layer.mix.as_ref()), bias, out),
        );
    }

    /// Codes the groups that new rows complete.
    pub(in crate::device) fn close_rows(
        &self,
        layer: &CodedLayer,
        lists: &RowLists,
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        self.close(
            layer,
            lists.closing,
            lists.count,
            lists.walk.as_ref(),
            false,
            work,
            ops,
        );
    }

    /// Writes a prompt's rows from the start of a group, closes complete groups, and rebuilds what they see of others.
    pub(in crate::device) fn write_body(
        &self,
        index: usize,
        layer: &CodedLayer,
        first_row: usize,
        lists: &BodyLists,
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        self.append_exact(index, first_row, &lists.step, Some(0), work, ops);
        self.write_open(index, layer, first_row, &lists.pieces, work, ops);
        if let Some(walk) = &lists.walk {
            self.walk(layer, walk.pages, walk.accumulators, walk.count, work, ops);
        }
        self.close(
            layer,
            lists.closing,
            lists.closing_count,
            lists.walk.as_ref(),
            true,
            work,
            ops,
        );
        for start in (0..lists.count).step_by(REBUILT_PAGES) {
            let count = REBUILT_PAGES.min(lists.count - start);
            self.rebuild(index, layer, lists, start, count, work, ops);
        }
    }

    /// Attends to a prompt's own groups exactly, unless they are read by their codes too, and to all others as rebuilt.
    pub(in crate::device) fn attend_body(
        &self,
        queries: Address,
        lists: &BodyLists,
        out: Parts,
    ) -> Op {
        self.makers.prompt.attend(
            &prompt::Source {
                queries,
                sequences: lists.sequences,
                tiles: lists.tiles,
                tile_count: lists.tile_count,
                page_offset: 0,
                own_offset: 0,
                band: None,
            },
            out,
        )
    }

    /// Norms and rotates a part's rows into this pass's buffers, and into full pages at `page_offset` where there are any.
    fn append_exact(
        &self,
        index: usize,
        first_row: usize,
        step: &Step,
        page_offset: Option<usize>,
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        let config = &self.config;
        let coded = &work.coded;
        let new = self.new_rows(index, first_row, step, work);
        let places = append::Places {
            page_offset,
            queries: work.queries.at(2 * first_row * config.query_width()),
            exact_queries: coded.queries.address(),
            raw_keys: coded.raw_keys.address(),
            keys: coded.keys.address(),
            rotated_keys: coded.rotated.address(),
            values: coded.values.address(),
        };
        ops.push(self.makers.append.append(&new, &places));
    }

    /// Writes a part's rows to open pages. `pieces`: rows of one kind of open pages, and the first of them in the part.
    fn write_open(
        &self,
        index: usize,
        layer: &CodedLayer,
        first_row: usize,
        pieces: &[(Step, usize)],
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        let config = &self.config;
        let coded = &work.coded;
        let kv = config.kv_width();
        let project = &self.layers[index].project;
        let bias = |part: usize| none(project.biases[part].as_ref());
        let count: usize = pieces.iter().map(|(step, _)| step.rows).sum();
        let (mut values, mut value_bias) = (&coded.values, bias(2));
        if let Some(latents) = &layer.latents {
            let split = Rows::new(Half::F16);
            for (latents, rows) in latents.iter().zip([&coded.raw_keys, &coded.values]) {
                let parts = coded.parts.from(0, kv);
                ops.push(split.split(rows.address(), parts, count * kv));
                ops.push(coded.products.run(&latents.jobs, parts, 0, count));
            }
            (values, value_bias) = (&coded.value_latents, Address::NONE);
        }
        for (step, row) in pieces {
            let own = |buffer: &Buffer| buffer.at(4 * row * kv);
            let (source, source_bias) = match layer.kept {
                Kept::Pair { latent: true, .. } => (own(&coded.key_latents), Address::NONE),
                Kept::Pair { .. } if layer.rotated => (own(&coded.rotated), Address::NONE),
                Kept::Pair { .. } => (own(&coded.keys), bias(1)),
                Kept::Input { .. } | Kept::Delta { .. } => {
                    let row = first_row + row;
                    (coded.normed.at(4 * row * config.hidden), Address::NONE)
                }
            };
            let rows = OpenRows {
                keys: own(&coded.rotated),
                values: own(values),
                source,
                value_bias,
                source_bias,
            };
            let heads = (config.kv_heads, config.head_dim);
            // Scratch pages of a prompt's complete groups hold this layer alone.
            let offset = match step.opens {
                Address::NONE => layer.place.open_offset,
                _ => 0,
            };
            ops.push(open::write(step, &rows, heads, &layer.place.open, offset));
        }
    }

    /// Moves the accumulators of closed groups on to this layer.
    fn walk(
        &self,
        layer: &CodedLayer,
        pages: Address,
        accumulators: Address,
        count: usize,
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        let offset = layer.place.closed_offset;
        let joint = match layer.kept {
            Kept::Input { .. } if layer.base => {
                ops.push(
                    layer
                        .rows
                        .accumulate(pages, count, offset, accumulators, false),
                );
                return;
            }
            Kept::Delta { joint: false, .. } => {
                ops.push(
                    layer
                        .rows
                        .accumulate(pages, count, offset, accumulators, true),
                );
                return;
            }
            Kept::Delta { .. } => &layer.joint,
            _ => return,
        };
        let Some(joint) = joint else { return };
        let (hidden, latents) = (self.config.hidden, 2 * self.config.kv_width());
        for start in (0..count).step_by(REBUILT_PAGES) {
            let size = REBUILT_PAGES.min(count - start);
            let halves = work.coded.decoded.address();
            ops.push(
                layer
                    .rows
                    .decode(from(pages, start), size, offset, halves, Address::NONE),
            );
            ops.push(Op::Product(Product {
                left: halves,
                right: joint.from_latents.address(),
                out: work.coded.joint.address(),
                rows: size * PAGE_TOKENS,
                columns: hidden,
                depth: latents,
                left_stride: latents,
                right_stride: latents,
                out_stride: hidden,
                input: Number::F16,
                output: Number::F32,
                accumulate: false,
            }));
            let rows = work.coded.joint.address();
            ops.push(
                self.makers
                    .rebuild
                    .move_on(from(accumulators, start), size, rows),
            );
        }
    }

    /// Codes groups that are complete. A prompt's open pages are `scratch`: they hold this layer alone.
    #[expect(clippy::too_many_arguments, reason = "a slice of what a part is given")]
    fn close(
        &self,
        layer: &CodedLayer,
        closing: Address,
        count: usize,
        walk: Option<&Walk>,
        scratch: bool,
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        if count == 0 {
            return;
        }
        let coded = &work.coded;
        let place = &layer.place;
        let open_offset = if scratch { 0 } else { place.open_offset };
        let source = open_offset + place.open.source_offset;
        match (layer.kept, walk) {
            (Kept::Delta { joint, .. }, Some(walk)) => {
                let (hidden, latents) = (self.config.hidden, 2 * self.config.kv_width());
                let parts = match joint {
                    true => coded.difference_parts.from(0, hidden),
                    false => Parts {
                        high: Address::NONE,
                        low: Address::NONE,
                    },
                };
                let floats = coded.differences.address();
                let open = &place.open;
                ops.push(self.makers.rebuild.differ(
                    walk.differ,
                    count,
                    open,
                    open_offset,
                    floats,
                    parts,
                ));
                let mut tasks = walk.encode;
                if let Some(basis) = layer.joint.as_ref().filter(|_| joint) {
                    ops.push(Op::Product(Product {
                        left: parts.high,
                        right: basis.to_latents.address(),
                        out: coded.joint.address(),
                        rows: count * PAGE_TOKENS,
                        columns: latents,
                        depth: hidden,
                        left_stride: hidden,
                        right_stride: hidden,
                        out_stride: latents,
                        input: Number::F16,
                        output: Number::F32,
                        accumulate: false,
                    }));
                    tasks = walk.encode_joint;
                }
                let to = place.closed_offset;
                ops.push(layer.rows.encode(tasks, count, Source::Floats, 0, to));
            }
            _ => {
                let to = place.closed_offset;
                ops.push(layer.rows.encode(closing, count, Source::Rows, source, to));
                if let Some(first) = &layer.first_channel {
                    let to = to + place.closed.first_channel_offset();
                    ops.push(first.encode(closing, count, Source::Rows, source, to));
                }
            }
        }
        if let Some(values) = &layer.values {
            let at = open_offset + place.open.values_offset;
            let to = place.closed_offset + place.closed.values_offset();
            ops.push(values.encode(closing, count, Source::Turned, at, to));
        }
        if let Some(walk) = walk {
            let (pages, accumulators) = (walk.closing_pages, walk.closing_accumulators);
            self.walk(layer, pages, accumulators, count, work, ops);
        }
    }

    /// Closed pages `start..start + count` of a prompt's sequence as full pages of this layer.
    #[expect(
        clippy::too_many_arguments,
        reason = "a slice of what a layer is given"
    )]
    fn rebuild(
        &self,
        index: usize,
        layer: &CodedLayer,
        lists: &BodyLists,
        start: usize,
        count: usize,
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        let config = &self.config;
        let coded = &work.coded;
        let (kv, hidden) = (config.kv_width(), config.hidden);
        let rows = count * PAGE_TOKENS;
        let (pages, rebuilt) = (from(lists.pages, start), from(lists.rebuilt, start));
        let place = &layer.place;
        let at = place.closed_offset;
        let (keys, values) = (coded.rebuilt_keys.address(), coded.rebuilt_values.address());
        let bring = |left: Address, rows: usize, right: Address, depth: usize, out: Address| {
            Op::Product(Product {
                left,
                right,
                out,
                rows,
                columns: kv,
                depth,
                left_stride: depth,
                right_stride: depth,
                out_stride: kv,
                input: Number::F16,
                output: Number::F32,
                accumulate: false,
            })
        };
        let halves = coded.decoded.address();
        let by_keys = held(layer.keys.as_ref());
        let by_values = held(layer.mix.as_ref());
        match (layer.kept, &layer.values, &lists.walk) {
            (Kept::Pair { latent: true, .. }, Some(coder), _) => {
                ops.push(layer.rows.decode(pages, count, at, halves, Address::NONE));
                if let Some(first) = &layer.first_channel {
                    let at = at + place.closed.first_channel_offset();
                    ops.push(first.decode(pages, count, at, halves, Address::NONE));
                }
                ops.push(bring(halves, rows, by_keys, kv, keys));
                let at = at + place.closed.values_offset();
                ops.push(coder.decode(pages, count, at, halves, Address::NONE));
                ops.push(bring(halves, rows, by_values, kv, values));
            }
            (Kept::Pair { .. }, Some(coder), _) => {
                ops.push(layer.rows.decode(pages, count, at, Address::NONE, keys));
                let at = at + place.closed.values_offset();
                ops.push(coder.decode(pages, count, at, Address::NONE, values));
            }
            (Kept::Delta { .. }, _, Some(_)) => {
                for page in 0..count {
                    // An accumulator is as large as another: pages of a cache need not be neighbours.
                    let left = lists.accumulators[start + page];
                    let out = |base: Address| base.plus(4 * page * PAGE_TOKENS * kv);
                    ops.push(bring(left, PAGE_TOKENS, by_keys, hidden, out(keys)));
                    ops.push(bring(left, PAGE_TOKENS, by_values, hidden, out(values)));
                }
            }
            _ => {
                ops.push(layer.rows.decode(pages, count, at, halves, Address::NONE));
                ops.push(bring(halves, rows, by_keys, hidden, keys));
                ops.push(bring(halves, rows, by_values, hidden, values));
            }
        }
        let bias = |part: usize| none(self.layers[index].project.biases[part].as_ref());
        let by_norm = layer.projection.is_some();
        ops.push(self.makers.rebuild.place_keys(
            rebuilt,
            lists.positions.plus(4 * start),
            count,
            &KeyRows {
                rows: keys,
                table: match layer.rotated {
                    true => Address::NONE,
                    false => self.table.address(),
                },
                bias: match layer.rotated {
                    true => Address::NONE,
                    false => bias(1),
                },
                norm: none(self.layers[index].key_norm.as_ref().filter(|_| by_norm)),
                epsilon: config.rms_epsilon,
            },
            0,
        ));
        if bias(2) != Address::NONE {
            ops.push(self.makers.products.add_bias(bias(2), values, rows, kv, kv));
        }
        ops.push(self.makers.rebuild.place_values(rebuilt, count, values, 0));
    }
}

/// Where the `group`-th own page of a prompt lies in a buffer of one layer's pages.
pub(in crate::device) fn own_page(
    work: &Work,
    config: &crate::ModelConfig,
    group: usize,
) -> Address {
    work.coded.own.at(group * full_layer_bytes(config))
}
