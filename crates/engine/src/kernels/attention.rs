//! Attention over a key/value cache of f16: block by block with an online softmax in f32.
//!
//! Never holds scores of more than one block, and reads each key and value once for all the query
//! heads that share it. Keys lie transposed in runs of [`KEY_LANES`] positions, so that one vector
//! holds one element of 16 keys and scores need no sum across lanes.

mod tile;

use std::cell::RefCell;
use std::ops::Range;

use half::f16;

use self::tile::{Attend, BLOCK_KEYS, HeadKeys, Tile};
use super::isa::Isa;
use super::lanes::{LANES, dispatch};
use super::matrix::Parts;
use super::pool::{parallel, threads};

/// Query rows of one tile.
const TILE_ROWS: usize = 48;
/// Keys of one piece where there are too few tiles for the threads.
const SPLIT_KEYS: usize = 512;

/// Positions of one run of keys; capacities are multiples of it.
pub const KEY_LANES: usize = 16;

/// Heads of one attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head, a multiple of 16.
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
    /// `[kv_heads][capacity][head_dim]`, as [`put_value`] writes them; or, for
    /// [`Values::Shared`], `[capacity][width]`.
    pub values: &'a [f16],
    /// Positions there is room for, a multiple of [`KEY_LANES`].
    pub capacity: usize,
    /// Positions there are.
    pub len: usize,
    /// Position of the first.
    pub first: usize,
}

/// What is weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Each KV head's own values, as wide as its keys.
    Heads,
    /// One row of this width for all heads: latents that heads draw their values from later.
    Shared(usize),
}

impl Values {
    /// Width of a weighed row.
    pub fn width(self, shape: &HeadShape) -> usize {
        match self {
            Values::Heads => shape.head_dim,
            Values::Shared(width) => width,
        }
    }

    /// Elements of the values of `capacity` positions.
    pub fn len(self, shape: &HeadShape, capacity: usize) -> usize {
        match self {
            Values::Heads => shape.kv_len(capacity),
            Values::Shared(width) => width * capacity,
        }
    }

    /// Elements from one head's values to the next one's.
    fn head_stride(self, shape: &HeadShape, capacity: usize) -> usize {
        match self {
            Values::Heads => shape.head_dim * capacity,
            Values::Shared(_) => 0,
        }
    }
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

/// Copies one KV head's key and value from a slot of one block to a slot of another of the same capacity.
///
/// # Panics
/// When a slice is not of that shape.
pub fn move_pair(
    shape: &HeadShape,
    capacity: usize,
    head: usize,
    (from_keys, from_values, from): (&[f16], &[f16], usize),
    (to_keys, to_values, to): (&mut [f16], &mut [f16], usize),
) {
    assert!(from < capacity && to < capacity && head < shape.kv_heads);
    let dim = shape.head_dim;
    let run =
        |slot: usize| (head * capacity + slot / KEY_LANES * KEY_LANES) * dim + slot % KEY_LANES;
    for i in 0..dim {
        to_keys[run(to) + i * KEY_LANES] = from_keys[run(from) + i * KEY_LANES];
    }
    let row = |slot: usize| (head * capacity + slot) * dim;
    to_values[row(to)..][..dim].copy_from_slice(&from_values[row(from)..][..dim]);
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
pub struct OnlineAttention {
    shape: HeadShape,
    values: Values,
    isa: Isa,
    tokens: usize,
    first_query: usize,
    /// Queries times scale, `[kv_heads][tokens][group][head_dim]`.
    q: Vec<f32>,
    /// The running softmax of each row of `q`.
    rows: Rows,
}

/// Running softmaxes, row by row; scores in units of ln 2.
struct Rows {
    max: Vec<f32>,
    sum: Vec<f32>,
    acc: Vec<f32>,
}

impl Rows {
    fn new(rows: usize, dim: usize) -> Rows {
        Rows {
            max: vec![f32::NEG_INFINITY; rows],
            sum: vec![0.0; rows],
            acc: vec![0.0; rows * dim],
        }
    }
}

impl OnlineAttention {
    /// Queries as [`attention`] takes them.
    ///
    /// # Panics
    /// When `q` is not whole tokens of `shape`, or `shape` is not as its fields say.
    pub fn new(shape: HeadShape, scale: f32, q: &[f32], first_query: usize) -> OnlineAttention {
        OnlineAttention::over(Values::Heads, shape, scale, q, first_query)
    }

    /// As [`new`](Self::new), over `values`.
    ///
    /// # Panics
    /// As [`new`](Self::new), or when the width of `values` is no multiple of 16.
    pub fn over(
        values: Values,
        shape: HeadShape,
        scale: f32,
        q: &[f32],
        first_query: usize,
    ) -> OnlineAttention {
        OnlineAttention::with_isa(Isa::detect(), values, shape, scale, q, first_query)
    }

    pub(super) fn with_isa(
        isa: Isa,
        values: Values,
        shape: HeadShape,
        scale: f32,
        q: &[f32],
        first_query: usize,
    ) -> OnlineAttention {
        let (dim, group) = (shape.head_dim, shape.group());
        assert!(
            shape.heads == group * shape.kv_heads && dim.is_multiple_of(LANES),
            "{shape:?}"
        );
        let value_width = values.width(&shape);
        assert!(value_width.is_multiple_of(LANES), "{values:?}");
        let width = shape.heads * dim;
        assert!(q.len().is_multiple_of(width), "whole tokens of queries");
        let tokens = q.len() / width;
        let scale = scale * std::f32::consts::LOG2_E;
        let mut scaled = Vec::with_capacity(q.len());
        for head in 0..shape.kv_heads {
            for token in q.chunks_exact(width) {
                let rows = &token[head * group * dim..][..group * dim];
                scaled.extend(rows.iter().map(|q| q * scale));
            }
        }
        OnlineAttention {
            shape,
            values,
            isa,
            tokens,
            first_query,
            q: scaled,
            rows: Rows::new(tokens * shape.heads, value_width),
        }
    }

    /// Takes in one more block; keys after a query's position are not seen by it.
    ///
    /// # Panics
    /// When the block is not of its shape.
    pub fn attend(&mut self, kv: &KvBlock) {
        self.attend_blocks(std::slice::from_ref(kv));
    }

    /// Takes in several blocks at once, which lets more threads help than one after another.
    ///
    /// # Panics
    /// When a block is not of its shape.
    pub fn attend_blocks(&mut self, blocks: &[KvBlock]) {
        let shape = self.shape;
        for kv in blocks {
            let (keys, values) = (
                shape.kv_len(kv.capacity),
                self.values.len(&shape, kv.capacity),
            );
            assert!(
                kv.capacity.is_multiple_of(KEY_LANES),
                "capacity {}",
                kv.capacity
            );
            assert!(kv.len <= kv.capacity, "{} of {}", kv.len, kv.capacity);
            assert_eq!(kv.keys.len(), keys, "length of the keys");
            assert_eq!(kv.values.len(), values, "length of the values");
        }
        let last = self.first_query + self.tokens;
        let segments: Vec<Segment> = blocks
            .iter()
            .flat_map(|kv| {
                let end = last.saturating_sub(kv.first).min(kv.len);
                (0..end).step_by(SPLIT_KEYS).map(move |start| Segment {
                    kv,
                    slots: start..(start + SPLIT_KEYS).min(end),
                })
            })
            .collect();
        let keys: usize = segments.iter().map(|segment| segment.slots.len()).sum();
        let tile_tokens = (TILE_ROWS / shape.group()).clamp(1, self.tokens.max(1));
        let task = Task {
            shape,
            values: self.values,
            tokens: self.tokens,
            tile_tokens,
            first_query: self.first_query,
            q: &self.q,
            isa: self.isa,
        };
        if task.tiles() < 4 * threads() && keys >= 2 * SPLIT_KEYS {
            task.attend_split(&segments, &mut self.rows);
        } else {
            task.attend_whole(&segments, &mut self.rows);
        }
    }

    /// Writes the results, `[tokens][heads][width of the values]`; a query that saw no key gives zeros.
    ///
    /// # Panics
    /// When `out` has another length.
    pub fn finish(self, out: &mut [f32]) {
        let (dim, group) = (self.values.width(&self.shape), self.shape.group());
        assert_eq!(out.len(), self.rows.sum.len() * dim, "length of the output");
        let rows = self.rows.sum.iter().zip(self.rows.acc.chunks_exact(dim));
        for (row, (sum, acc)) in rows.enumerate() {
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

/// Neighbouring slots of one block.
struct Segment<'a> {
    kv: &'a KvBlock<'a>,
    slots: Range<usize>,
}

/// One call of `attend_blocks`, cut into tiles of a few tokens of one KV head.
struct Task<'a> {
    shape: HeadShape,
    values: Values,
    tokens: usize,
    tile_tokens: usize,
    first_query: usize,
    q: &'a [f32],
    isa: Isa,
}

impl Task<'_> {
    fn tiles(&self) -> usize {
        self.shape.kv_heads * self.tokens.div_ceil(self.tile_tokens)
    }

    /// Head and tokens of a tile. Neighbouring tiles are of the same tokens, of different heads.
    fn place(&self, tile: usize) -> (usize, Range<usize>) {
        let first = tile / self.shape.kv_heads * self.tile_tokens;
        let end = (first + self.tile_tokens).min(self.tokens);
        (tile % self.shape.kv_heads, first..end)
    }

    /// Rows of a tile.
    fn rows(&self, tile: usize) -> Range<usize> {
        let (head, tokens) = self.place(tile);
        let row = |token: usize| (head * self.tokens + token) * self.shape.group();
        row(tokens.start)..row(tokens.end)
    }

    /// A piece for each tile: enough of them.
    fn attend_whole(&self, segments: &[Segment], rows: &mut Rows) {
        let (max, sum, acc) = (
            Parts::new(&mut rows.max, 1),
            Parts::new(&mut rows.sum, 1),
            Parts::new(&mut rows.acc, self.values.width(&self.shape)),
        );
        let tiles = self.tiles();
        parallel(tiles, |piece| {
            // The last tokens see most: theirs go first, so that no long piece is left for the end.
            let tile = tiles - 1 - piece;
            let rows = self.rows(tile);
            // SAFETY: each row belongs to one tile, each tile to one piece.
            let (max, sum, acc) = unsafe {
                (
                    max.parts(rows.clone()),
                    sum.parts(rows.clone()),
                    acc.parts(rows),
                )
            };
            self.attend(tile, segments, max, sum, acc);
        });
    }

    /// A piece for each tile and some of the segments, joined afterwards.
    fn attend_split(&self, segments: &[Segment], rows: &mut Rows) {
        let dim = self.values.width(&self.shape);
        let keys: usize = segments.iter().map(|segment| segment.slots.len()).sum();
        let together = (segments.len() * SPLIT_KEYS / keys).max(1);
        let runs: Vec<&[Segment]> = segments.chunks(together).collect();
        let mut pieces: Vec<Rows> = (0..self.tiles() * runs.len())
            .map(|piece| Rows::new(self.rows(piece / runs.len()).len(), dim))
            .collect();
        let parts = Parts::new(&mut pieces, 1);
        parallel(self.tiles() * runs.len(), |piece| {
            // SAFETY: each piece has its own rows.
            let [Rows { max, sum, acc }] = (unsafe { parts.part(piece) }) else {
                return;
            };
            self.attend(piece / runs.len(), runs[piece % runs.len()], max, sum, acc);
        });
        for (piece, part) in pieces.iter().enumerate() {
            for (index, row) in self.rows(piece / runs.len()).enumerate() {
                join(
                    (&mut rows.max[row], &mut rows.sum[row]),
                    &mut rows.acc[row * dim..][..dim],
                    (part.max[index], part.sum[index]),
                    &part.acc[index * dim..][..dim],
                );
            }
        }
    }

    /// Takes the segments into one tile's softmax.
    fn attend(
        &self,
        tile: usize,
        segments: &[Segment],
        max: &mut [f32],
        sum: &mut [f32],
        acc: &mut [f32],
    ) {
        let dim = self.shape.head_dim;
        let (head, tokens) = self.place(tile);
        let rows = self.rows(tile);
        let q = &self.q[rows.start * dim..rows.end * dim];
        let rows = rows.len();
        SCRATCH.with_borrow_mut(|scratch| {
            let needed = rows * (dim + BLOCK_KEYS);
            if scratch.len() < needed {
                scratch.resize(needed, 0.0);
            }
            let (columns, scores) = scratch[..needed].split_at_mut(rows * dim);
            transpose(q, dim, columns);
            for Segment { kv, slots } in segments {
                let visible = (self.first_query + tokens.start + 1) as isize - kv.first as isize;
                // What the last token does not see, none does.
                let most = (visible + tokens.len() as isize - 1).max(0) as usize;
                if slots.start >= most {
                    continue;
                }
                let size = kv.capacity * dim;
                let width = self.values.width(&self.shape);
                let values = head * self.values.head_stride(&self.shape, kv.capacity);
                dispatch(
                    self.isa,
                    Attend {
                        tile: Tile {
                            q: columns,
                            visible,
                            group: self.shape.group(),
                            max,
                            sum,
                            acc,
                        },
                        head: HeadKeys {
                            keys: &kv.keys[head * size..][..size],
                            values: &kv.values[values..][..kv.capacity * width],
                            dim,
                            width,
                            slots: slots.start..slots.end.min(most),
                        },
                        scores,
                    },
                );
            }
        });
    }
}

/// Rows by columns. A few rows at a time, so that what is written stands together: written one by one, rows apart, it takes
/// longer than the scores of a short prompt.
fn transpose(rows: &[f32], width: usize, columns: &mut [f32]) {
    const TOGETHER: usize = 16;
    let height = rows.len() / width;
    for (block, rows) in rows.chunks(TOGETHER * width).enumerate() {
        let first = block * TOGETHER;
        let count = rows.len() / width;
        for at in 0..width {
            let column = &mut columns[at * height + first..][..count];
            for (row, to) in column.iter_mut().enumerate() {
                *to = rows[row * width + at];
            }
        }
    }
}

thread_local! {
    /// A tile's transposed queries and the scores of one block.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Joins the softmax over other keys into a row's.
fn join((max, sum): (&mut f32, &mut f32), acc: &mut [f32], other: (f32, f32), other_acc: &[f32]) {
    let largest = max.max(other.0);
    if largest == f32::NEG_INFINITY {
        return;
    }
    let (mine, others) = ((*max - largest).exp2(), (other.0 - largest).exp2());
    *max = largest;
    *sum = *sum * mine + other.1 * others;
    for (acc, other) in acc.iter_mut().zip(other_acc) {
        *acc = *acc * mine + other * others;
    }
}
