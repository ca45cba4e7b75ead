//! Heads moved towards something else: `(1 − u)·out + u·target`, of what chosen heads gave.
//!
//! The interpolation of SoftPAG (arXiv:2506.10978, eq. 7) applied to a head's results, which are linear in its attention. Must
//! not know models, or why heads are moved.

use std::sync::Arc;

use super::rows::Parts;
use super::{Half, HeadShape, Step};
use crate::{Address, Op, Program};

/// The program for heads of one width and one kind of halves.
pub fn program(head_dim: usize, half: Half) -> Arc<Program> {
    Arc::new(Program {
        name: "blend",
        source: concat!(include_str!("parts.cuh"), include_str!("blend.cu")),
        entries: &["blend"],
        defines: vec![
            ("HEAD_DIM", head_dim as i64),
            ("BF16", i64::from(half == Half::Bf16)),
        ],
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    vec![program(64, Half::F16), program(128, Half::Bf16)]
}

/// What a head is moved towards.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Each row's own value of its KV head.
    Values {
        /// f32 `[rows][stride]`, a row's values `[kv_heads][head_dim]` first.
        rows: Address,
        /// Floats from row to row.
        stride: usize,
    },
    /// Zeros.
    Nothing,
    /// The value in the first slot of the row's sequence, of a full cache.
    First {
        /// The rows' sequences, whose pages hold the layer; as many rows as are moved.
        step: Step,
        /// The layer's bytes from the start of each page.
        page_offset: usize,
    },
    /// Other results for the same rows, `[rows][heads][head_dim]`.
    Other(Parts),
}

/// Makes launches for one shape of heads.
#[derive(Clone, Debug)]
pub struct Blend {
    program: Arc<Program>,
    shape: HeadShape,
}

impl Blend {
    /// For one shape of heads and one kind of halves.
    pub fn new(shape: HeadShape, half: Half) -> Blend {
        Blend {
            program: program(shape.head_dim, half),
            shape,
        }
    }

    /// Moves query head `head` of `count` rows in `parts`, `[rows][heads][head_dim]`, by `u` towards `target`.
    pub fn blend(&self, parts: Parts, count: usize, head: usize, u: f32, target: Target) -> Op {
        let (mut values, mut stride) = (Address::NONE, 0);
        let (mut sequences, mut row_sequence, mut offset) = (Address::NONE, Address::NONE, 0);
        let mut other = Parts {
            high: Address::NONE,
            low: Address::NONE,
        };
        let kind: usize = match target {
            Target::Values { rows, stride: of } => {
                (values, stride) = (rows, of);
                0
            }
            Target::Nothing => 1,
            Target::First { step, page_offset } => {
                (sequences, row_sequence) = (step.sequences, step.row_sequence);
                offset = page_offset;
                2
            }
            Target::Other(parts) => {
                other = parts;
                3
            }
        };
        let arguments = vec![
            parts.high.into(),
            parts.low.into(),
            self.shape.heads.into(),
            self.shape.kv_heads.into(),
            head.into(),
            u.into(),
            kind.into(),
            values.into(),
            stride.into(),
            sequences.into(),
            row_sequence.into(),
            offset.into(),
            other.high.into(),
            other.low.into(),
        ];
        self.program
            .launch("blend", [count, 1, 1], 128, arguments)
            .into()
    }
}
