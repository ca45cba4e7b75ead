//! New queries, keys and values: normed, rotated, and put where attention looks for them.
//!
//! One warp a head of a row, so a row of any model is a handful of blocks. What caches of codes keep besides (keys before
//! norm or rotation, values as floats) is written on the way, since only here it is at hand.

use std::sync::Arc;

use super::{HeadShape, Step};
use crate::{Address, Argument, Op, Program};

/// How rotated pairs lie within a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pairs {
    /// Element `i` with `i + head_dim / 2`.
    Halves,
    /// Element `2i` with `2i + 1`.
    Interleaved,
}

/// What is appended.
#[derive(Clone, Copy, Debug)]
pub struct New {
    /// f32 `[rows][(heads + 2 · kv_heads) · head_dim]`: queries, keys, values, biases added.
    pub qkv: Address,
    /// Whose rows they are.
    pub step: Step,
    /// f32 `[positions][head_dim / 2][2]`: cosine and sine.
    pub table: Address,
    /// f32 `[head_dim]` by which queries are normed, or none.
    pub query_weight: Address,
    /// f32 `[head_dim]` by which keys are normed, or none.
    pub key_weight: Address,
    /// Of the norms.
    pub epsilon: f32,
}

/// Where it goes; what is [`Address::NONE`] is not written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    /// The layer's bytes from the start of each sequence's pages, of a full cache.
    pub page_offset: Option<usize>,
    /// Rotated queries as f16 `[rows][heads][head_dim]`.
    pub queries: Address,
    /// The same as f32.
    pub exact_queries: Address,
    /// Keys as they came, f32 `[rows][kv_heads · head_dim]`.
    pub raw_keys: Address,
    /// Keys after their norm and before rotation, likewise.
    pub keys: Address,
    /// Rotated keys, likewise.
    pub rotated_keys: Address,
    /// Values, likewise.
    pub values: Address,
}

/// Heads that a block takes.
const HEADS: usize = 4;

/// The program for one width of heads and one way of rotation.
pub fn program(head_dim: usize, pairs: Pairs) -> Arc<Program> {
    Arc::new(Program {
        name: "append",
        source: include_str!("append.cu"),
        entries: &["append"],
        defines: vec![
            ("HEAD_DIM", head_dim as i64),
            ("INTERLEAVED", i64::from(pairs == Pairs::Interleaved)),
        ],
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    let both = [Pairs::Halves, Pairs::Interleaved];
    [32, 64, 96, 128]
        .into_iter()
        .flat_map(|head_dim| both.map(|pairs| program(head_dim, pairs)))
        .collect()
}

/// Makes launches for one shape of heads.
#[derive(Clone, Debug)]
pub struct Append {
    program: Arc<Program>,
    shape: HeadShape,
}

impl Append {
    /// For one shape of heads and one way of rotation.
    pub fn new(shape: HeadShape, pairs: Pairs) -> Append {
        Append {
            program: program(shape.head_dim, pairs),
            shape,
        }
    }

    /// Norms and rotates new rows and writes them to their places. Each row goes to slot
    /// `start + row − first_row` of its sequence, whose page must be there.
    pub fn append(&self, new: &New, places: &Places) -> Op {
        // No offset is below 0, so that one says that there are no pages.
        let page_offset = match places.page_offset {
            Some(bytes) => bytes.into(),
            None => Argument::Int(-1),
        };
        let heads = self.shape.heads + 2 * self.shape.kv_heads;
        let arguments = vec![
            new.qkv.into(),
            new.step.sequences.into(),
            new.step.row_sequence.into(),
            new.table.into(),
            new.query_weight.into(),
            new.key_weight.into(),
            places.queries.into(),
            places.exact_queries.into(),
            places.raw_keys.into(),
            places.keys.into(),
            places.rotated_keys.into(),
            places.values.into(),
            self.shape.heads.into(),
            self.shape.kv_heads.into(),
            page_offset,
            new.epsilon.into(),
        ];
        let grid = [heads.div_ceil(HEADS), new.step.rows, 1];
        let threads = 32 * HEADS as u32;
        self.program
            .launch("append", grid, threads, arguments)
            .into()
    }
}
