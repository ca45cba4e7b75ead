//! Attention of single rows over coded pages: keys are brought back from codes right before they are attended to, values
//! never are.
//!
//! A block takes a part of a row's pages for one head of keys and its queries. It unpacks codes into operands of matrix
//! instructions, multiplies them by the head's part of the projection where they are latents or inputs, adds the bias,
//! norms, rotates and scores, all in registers; it sums what was coded of the values weighed by the scores, and
//! [`Remat::join`] brings that sum back once. Keys are rotated by their place in the page only, and the query is rotated
//! back by the page's first position: a rotation by `p + j` is one by `p` and then one by `j`. So a lane's angles are the
//! same for each page, and a page costs the table's one row instead of 128. The open page is read as it is.
//!
//! Queries are the eight columns of the instructions and tokens the rows, so that few queries waste less, and keys
//! come out of a product in the order in which the scores' product takes them. Where a head of keys has more queries, they
//! are divided evenly among blocks, each of which brings the keys back for itself: the sums of more would not fit a
//! thread's registers where what is weighed is wide. Must not know policies by name.

use std::sync::Arc;

use super::coded_pages::{ClosedLayer, OpenLayer, Widths};
use super::codes::{Bits, group_of};
use super::rows::Parts;
use super::{Half, PAGE_TOKENS, Step};
use crate::{Address, Argument, Op, Program};

/// Queries that a block takes at most: the columns of a matrix instruction.
const MOST_QUERIES: usize = 8;
/// Memory that what a block of `join` joins may take, so that several fit a multiprocessor.
const JOINED_BYTES: usize = 64 << 10;

/// What the rows in a closed page are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Keys per channel without bias, before rotation, and values per token.
    Keys,
    /// Keys per channel as attention takes them, and values per token.
    RotatedKeys,
    /// Latents of keys per channel, latents of values per token.
    Latents,
    /// Inputs per token, or with [`Bits::Half`] an accumulator's rows, f16 `[128][hidden]`.
    Inputs,
}

/// What decides how the kernels are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// What is coded.
    pub form: Form,
    /// Bits of a code.
    pub bits: Bits,
    /// The layer's widths; `head_dim` is one of [`HEAD_DIMS`].
    pub widths: Widths,
    /// Query heads, as many for each of `kv_heads`.
    pub heads: usize,
    /// Whether closed pages have the first channel of latents of keys in f16 too, which is then taken.
    pub outlier: bool,
    /// Whether channels `2 i` and `2 i + 1` turn together, not `i` and `i + head_dim / 2`.
    pub interleaved: bool,
    /// The kind of halves that the result is written in.
    pub half: Half,
}

/// Widths of heads that there are kernels for.
pub const HEAD_DIMS: [usize; 4] = [32, 64, 96, 128];

/// What a shape comes to.
struct Sizes {
    width: usize,
    value_width: usize,
    value_row: usize,
    value_group: usize,
    span: usize,
    k_width: usize,
    v_width: usize,
    pages: usize,
    heads: usize,
    /// Queries of a head of keys that a block takes, and that a block of `join` takes.
    taken: usize,
    joined: usize,
    stages: usize,
    stage_bytes: usize,
    factors_at: usize,
    first_at: usize,
}

/// `count` divided as evenly as can be into parts of at most `most`: the largest part.
fn even_part(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most))
}

/// Memory of a block that its pieces of pages may take: so that two blocks fit a multiprocessor of most targets.
const RING_BYTES: usize = 80 << 10;

/// Products over so many channels take two pages at once: what they read of the projection is more than the codes.
const LARGE_WIDTH: usize = 512;

impl Shape {
    /// Queries of a head of keys.
    pub fn group(&self) -> usize {
        self.heads / self.widths.kv_heads
    }

    /// Width of what is weighed: a head's values, or what all heads share.
    pub fn value_width(&self) -> usize {
        match self.form {
            Form::Keys | Form::RotatedKeys => self.widths.head_dim,
            Form::Latents => self.widths.kv(),
            Form::Inputs => self.widths.hidden,
        }
    }

    fn sizes(&self) -> Sizes {
        let Widths {
            head_dim, hidden, ..
        } = self.widths;
        let kv = self.widths.kv();
        let bits = self.bits.count();
        let coded = self.bits != Bits::Half;
        let by_head = matches!(self.form, Form::Keys | Form::RotatedKeys);
        let (width, value_row) = match self.form {
            Form::Keys | Form::RotatedKeys => (head_dim, kv),
            Form::Latents => (kv, kv),
            Form::Inputs => (hidden, hidden),
        };
        let v_width = if by_head {
            head_dim
        } else {
            group_of(value_row)
        };
        let value_group = if coded { group_of(value_row) } else { v_width };
        let k_width = match self.form {
            Form::Keys | Form::RotatedKeys => head_dim,
            Form::Inputs if coded => v_width,
            Form::Latents | Form::Inputs => [64, 48, 32, 16]
                .into_iter()
                .find(|piece| width.is_multiple_of(*piece))
                .expect("a multiple of 16"),
        };
        let pages = match by_head {
            false if width >= LARGE_WIDTH => 2,
            _ => 1,
        };
        let heads = match by_head {
            true => 1,
            false => [4, 3, 2, 1]
                .into_iter()
                .find(|heads| {
                    self.widths.kv_heads.is_multiple_of(*heads)
                        && heads * self.group() <= MOST_QUERIES
                })
                .unwrap_or(1),
        };
        let joined = (JOINED_BYTES / (4 * self.value_width())).clamp(1, MOST_QUERIES);
        // Groups that a head's values can touch.
        let span = match by_head && coded {
            true if head_dim.is_multiple_of(value_group) => head_dim / value_group,
            true if value_group.is_multiple_of(head_dim) => 1,
            true => (head_dim / value_group + 2).min(value_row / value_group),
            false => 1,
        };
        let group_bytes = value_group * bits / 8;
        let stride = if group_bytes.is_multiple_of(16) {
            group_bytes + 16
        } else {
            group_bytes
        };
        let values = match coded {
            true => span * PAGE_TOKENS * stride,
            false => PAGE_TOKENS * (2 * v_width + 16),
        };
        let (keys, key_factors) = match self.form {
            Form::Inputs if coded => (values, 4 * PAGE_TOKENS),
            Form::Inputs => (PAGE_TOKENS * (2 * k_width + 16), 0),
            _ => (k_width * (16 * bits + 16), 4 * k_width),
        };
        let factors_at = (pages * keys).max(values);
        let (key_factors, value_factors) = match coded {
            true => (pages * key_factors, 4 * span * PAGE_TOKENS),
            false => (0, 0),
        };
        let first_at = factors_at + key_factors;
        let first = match self.outlier {
            true => pages * 2 * PAGE_TOKENS,
            false => 0,
        };
        let stage_bytes = (first_at + first).max(factors_at + value_factors);
        Sizes {
            width,
            value_width: self.value_width(),
            value_row,
            value_group,
            span,
            k_width,
            v_width,
            pages,
            heads,
            taken: even_part(self.group(), MOST_QUERIES),
            joined: even_part(self.group(), joined),
            stages: if 3 * stage_bytes <= RING_BYTES { 3 } else { 2 },
            stage_bytes,
            factors_at,
            first_at,
        }
    }

    /// The program.
    ///
    /// # Panics
    /// Where heads are of another width, or `outlier` is asked for of what has no latents.
    pub fn program(&self) -> Arc<Program> {
        assert!(!self.outlier || self.form == Form::Latents, "{self:?}");
        assert!(HEAD_DIMS.contains(&self.widths.head_dim), "{self:?}");
        let sizes = self.sizes();
        let form = match self.form {
            Form::Keys | Form::RotatedKeys => 0,
            Form::Latents => 1,
            Form::Inputs => 2,
        };
        Arc::new(Program {
            name: "remat",
            source: concat!(
                include_str!("coded.cuh"),
                include_str!("parts.cuh"),
                include_str!("remat_parts.cuh"),
                include_str!("remat.cu"),
                include_str!("remat_ends.cu")
            ),
            entries: &["remat", "arrange", "join"],
            defines: vec![
                ("FORM", form),
                ("BITS", self.bits.count() as i64),
                ("HEAD_DIM", self.widths.head_dim as i64),
                ("BLOCKS", if sizes.pages == 1 { 2 } else { 1 }),
                ("PAGES", sizes.pages as i64),
                ("HEADS", sizes.heads as i64),
                ("KV_HEADS", self.widths.kv_heads as i64),
                ("GROUP", self.group() as i64),
                ("TAKEN", sizes.taken as i64),
                ("JOINED", sizes.joined as i64),
                ("WIDTH", sizes.width as i64),
                ("VALUE_WIDTH", sizes.value_width as i64),
                ("VALUE_ROW", sizes.value_row as i64),
                ("VALUE_GROUP", sizes.value_group as i64),
                ("SPAN", sizes.span as i64),
                ("K_WIDTH", sizes.k_width as i64),
                ("V_WIDTH", sizes.v_width as i64),
                ("STAGES", sizes.stages as i64),
                ("STAGE_BYTES", sizes.stage_bytes as i64),
                ("FACTORS_AT", sizes.factors_at as i64),
                ("OUTLIER", i64::from(self.outlier)),
                ("FIRST_AT", sizes.first_at as i64),
                ("INTERLEAVED", i64::from(self.interleaved)),
                ("ROTATED", i64::from(self.form == Form::RotatedKeys)),
                ("BF16", i64::from(self.half == Half::Bf16)),
            ],
        })
    }

    fn shared_bytes(&self) -> usize {
        let Sizes {
            pages,
            stages,
            stage_bytes,
            ..
        } = self.sizes();
        let queries = 2 * pages * 2 * MOST_QUERIES * (self.widths.head_dim / 2 + 8) * 4;
        let weights = pages * MOST_QUERIES * (PAGE_TOKENS + 8) * 2;
        let most = 8 * MOST_QUERIES * 4;
        let lines = match self.form {
            Form::Keys | Form::RotatedKeys => 8 * self.widths.head_dim,
            _ => 0,
        };
        // What sums are gathered in lies where the pieces were.
        queries + weights + most + lines + (stages * stage_bytes).max(8 * 128 * 4)
    }
}

/// Shapes of models that are compiled in tests.
pub(super) fn programs() -> Vec<Arc<Program>> {
    let shape = |form, bits, kv_heads, head_dim, hidden, heads| Shape {
        form,
        bits,
        widths: Widths {
            kv_heads,
            head_dim,
            hidden,
        },
        heads,
        outlier: false,
        interleaved: false,
        half: Half::F16,
    };
    // Every way of unpacking once, and every form at the widths of real models; the widest take seconds each.
    let mut shapes: Vec<Shape> = Bits::ALL
        .map(|bits| shape(Form::Keys, bits, 2, 64, 896, 14))
        .to_vec();
    shapes.extend([
        shape(Form::Keys, Bits::Four, 8, 128, 4096, 32),
        shape(Form::RotatedKeys, Bits::Four, 2, 64, 896, 14),
        shape(Form::Latents, Bits::Two, 2, 64, 896, 14),
        shape(Form::Latents, Bits::Four, 3, 64, 576, 9),
        shape(Form::Latents, Bits::Four, 8, 128, 4096, 32),
        shape(Form::Inputs, Bits::Four, 32, 64, 2048, 32),
        shape(Form::Inputs, Bits::Half, 8, 128, 1024, 16),
        // More queries for a head of keys than a block takes: in even parts, and not.
        shape(Form::Keys, Bits::Four, 2, 128, 2048, 32),
        shape(Form::Latents, Bits::Four, 2, 64, 896, 22),
        shape(Form::Inputs, Bits::Half, 2, 64, 2048, 32),
        shape(Form::Keys, Bits::Four, 8, 96, 3072, 32),
        shape(Form::Latents, Bits::Four, 8, 96, 3072, 32),
    ]);
    shapes.push(Shape {
        interleaved: true,
        half: Half::Bf16,
        ..shape(Form::Latents, Bits::Two, 8, 64, 2048, 32)
    });
    // One page at a time, and two.
    shapes.extend([(2, 64, 896, 14), (8, 128, 4096, 32)].map(
        |(kv_heads, head_dim, hidden, heads)| Shape {
            outlier: true,
            ..shape(Form::Latents, Bits::Two, kv_heads, head_dim, hidden, heads)
        },
    ));
    shapes.iter().map(Shape::program).collect()
}

/// Where a layer lies in pages.
#[derive(Clone, Copy, Debug)]
pub struct LayerPlace {
    /// Bytes from a closed page's start.
    pub closed_offset: usize,
    /// What lies there. For accumulators [`accumulator_layer`].
    pub closed: ClosedLayer,
    /// Bytes from an open page's start.
    pub open_offset: usize,
    /// What lies there.
    pub open: OpenLayer,
}

/// A page of an accumulator, as a layer: f16 `[128][hidden]`. Give [`Remat::attend`] sequences whose `pages` are the
/// accumulator's.
pub fn accumulator_layer(hidden: usize) -> ClosedLayer {
    ClosedLayer {
        rows: super::codes::Coding {
            bits: Bits::Half,
            width: hidden,
            axis: super::codes::Axis::Token,
        },
        first_channel: None,
        values: None,
    }
}

/// What turns a layer's codes into keys.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts {
    /// f32 `[positions][head_dim / 2][cos, sin]`, at least 128 rows.
    pub table: Address,
    /// What [`Remat::arrange`] made of the rows that bring keys back; none for keys themselves.
    pub projection: Address,
    /// f32 `[kv]`, or none. Not for rotated keys, which have theirs.
    pub bias: Address,
    /// f32 `[head_dim]`: the weight of the keys' norm, or none; none for keys themselves, which are normed.
    pub norm: Address,
    /// The norm's epsilon.
    pub epsilon: f32,
}

/// Memory between [`Remat::attend`] and [`Remat::join`].
#[derive(Clone, Copy, Debug)]
pub struct Partials {
    /// f32 `[rows][kv_heads][splits][group][value_width]`.
    pub weighed: Address,
    /// f32 `[rows][kv_heads][splits][group][largest score, sum]`.
    pub sums: Address,
    /// Parts into which a row's pages are divided, some perhaps empty.
    pub splits: usize,
}

impl Partials {
    /// Floats of `weighed` and of `sums`.
    pub fn floats(shape: &Shape, rows: usize, splits: usize) -> (usize, usize) {
        let sums = rows * shape.heads * splits;
        (sums * shape.value_width(), 2 * sums)
    }
}

/// Makes launches for one shape.
#[derive(Clone, Debug)]
pub struct Remat {
    program: Arc<Program>,
    shape: Shape,
}

impl Remat {
    /// For one shape.
    pub fn new(shape: Shape) -> Remat {
        Remat {
            program: shape.program(),
            shape,
        }
    }

    fn launch(
        &self,
        entry: &'static str,
        grid: [usize; 3],
        shared: usize,
        arguments: Vec<Argument>,
    ) -> Op {
        let launch = self.program.launch(entry, grid, 256, arguments);
        launch.with_shared(shared).into()
    }

    /// Blocks for each split of a row's context.
    pub fn blocks(&self) -> usize {
        let Sizes { heads, taken, .. } = self.shape.sizes();
        self.shape.widths.kv_heads / heads * self.shape.group().div_ceil(taken)
    }

    /// Puts the rows that bring keys back (f16 `[kv][width]`: `B` for latents, the keys' weights for inputs) into the order
    /// in which [`attend`](Self::attend) reads them, as many halves. Once for each layer of a model.
    pub fn arrange(&self, matrix: Address, out: Address) -> Op {
        let width = self.shape.sizes().width;
        let pieces = self.shape.widths.kv() * width / 8;
        let arguments = vec![matrix.into(), out.into(), width.into()];
        self.launch("arrange", [pieces.div_ceil(256), 1, 1], 0, arguments)
    }

    /// Attends from each row to the closed pages before its own group, and to its own group's tokens up to itself in its
    /// open page. `queries`: f32 `[rows][heads · head_dim]`, rotated. Scores are multiplied by `scale`.
    pub fn attend(
        &self,
        step: &Step,
        queries: Address,
        keys: &KeyParts,
        layer: &LayerPlace,
        scale: f32,
        partials: &Partials,
    ) -> Op {
        let key_factors = layer.closed.rows.codes_bytes();
        let (values, value_factors) = match layer.closed.values {
            Some(values) => {
                let at = layer.closed.values_offset();
                (at, at + values.codes_bytes())
            }
            None => (0, key_factors),
        };
        let open_values = match self.shape.form {
            Form::Inputs => layer.open.source_offset,
            _ => layer.open.values_offset,
        };
        let arguments = vec![
            step.sequences.into(),
            step.row_sequence.into(),
            step.opens.into(),
            queries.into(),
            keys.table.into(),
            keys.projection.into(),
            keys.bias.into(),
            keys.norm.into(),
            keys.epsilon.into(),
            scale.into(),
            layer.closed_offset.into(),
            key_factors.into(),
            values.into(),
            value_factors.into(),
            layer.open_offset.into(),
            open_values.into(),
            partials.weighed.into(),
            partials.sums.into(),
        ];
        let grid = [partials.splits, self.blocks(), step.rows];
        self.launch("remat", grid, self.shape.shared_bytes(), arguments)
    }

    /// Joins what [`attend`](Self::attend) left: weighed values, brought back by f16 `mix` `[kv][value_width]` where they
    /// are latents (`Σ·Bᵀ` of the values, a row for each channel) or inputs (the values' weights), with their f32 `bias`
    /// `[kv]` unless that is none, as `[rows][heads · head_dim]`. Rows that only fill become 0.
    pub fn join(
        &self,
        step: &Step,
        partials: &Partials,
        mix: Address,
        bias: Address,
        out: Parts,
    ) -> Op {
        let arguments = vec![
            step.row_sequence.into(),
            partials.weighed.into(),
            partials.sums.into(),
            partials.splits.into(),
            mix.into(),
            bias.into(),
            out.high.into(),
            out.low.into(),
        ];
        let joined = self.shape.sizes().joined;
        let shared = 4 * joined * self.shape.value_width();
        let blocks = self.shape.widths.kv_heads * self.shape.group().div_ceil(joined);
        let grid = [blocks, step.rows, 1];
        self.launch("join", grid, shared, arguments)
    }
}
