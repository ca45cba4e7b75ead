//! Attention of the few newest rows of each sequence to all that a full cache holds: what decoding does.
//!
//! Time is that of reading keys and values once, so the context is split among blocks and a second kernel joins their
//! parts; all query heads of a KV head, and all rows of a sequence as far as sixteen go, share what is read. How long
//! sequences are lies in device memory: a launch is made for `splits` parts, and those that a context is too short for
//! say so and end.

use std::sync::Arc;

use super::rows::Parts;
use super::{Half, HeadShape, Step};
use crate::{Address, Op, Program};

/// Threads of a block.
const THREADS: u32 = 128;
/// Warps of a block, each with a part of its own until they are joined.
const WARPS: usize = 4;
/// Pairs of row and query head that a block takes.
const TILE: usize = 16;

/// The program for heads of one width of which `group` share a KV head, giving one kind of halves.
pub fn program(head_dim: usize, group: usize, half: Half) -> Arc<Program> {
    Arc::new(Program {
        name: "attend",
        source: concat!(
            include_str!("parts.cuh"),
            include_str!("chunk.cuh"),
            include_str!("attend.cu")
        ),
        entries: &["attend", "combine"],
        defines: vec![
            ("HEAD_DIM", head_dim as i64),
            ("GROUP", group as i64),
            ("BF16", i64::from(half == Half::Bf16)),
        ],
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    let widths = [(32, 1), (64, 4), (64, 7), (96, 1), (128, 4), (128, 6)];
    widths
        .into_iter()
        .flat_map(|(head_dim, group)| {
            [Half::F16, Half::Bf16].map(|half| program(head_dim, group, half))
        })
        .collect()
}

/// Memory between the two kernels of a launch.
#[derive(Clone, Copy, Debug)]
pub struct Splits {
    /// f32 `[rows][heads][splits][2]`: the largest score and the sum of a part.
    pub extents: Address,
    /// f32 `[rows][heads][splits][head_dim]`: what a part sums to.
    pub partial: Address,
    /// Into how many parts a context goes at most.
    pub splits: usize,
}

/// Makes launches for one shape of heads.
#[derive(Clone, Debug)]
pub struct Attend {
    program: Arc<Program>,
    shape: HeadShape,
}

impl Attend {
    /// For one shape of heads, giving one kind of halves.
    pub fn new(shape: HeadShape, half: Half) -> Attend {
        Attend {
            program: program(shape.head_dim, shape.group(), half),
            shape,
        }
    }

    /// Blocks for each split of a sequence of `rows` rows.
    pub fn blocks(&self, rows: usize) -> usize {
        self.shape.kv_heads * (rows * self.shape.group()).div_ceil(TILE)
    }

    /// Floats of [`Splits::extents`] and of [`Splits::partial`].
    pub fn scratch_floats(&self, rows: usize, splits: usize) -> (usize, usize) {
        let parts = rows * self.shape.heads * splits;
        (2 * parts, parts * self.shape.head_dim)
    }

    /// Attention of f16 `queries`, `[rows][heads][head_dim]`, whose keys and values are in the pages already, at
    /// `page_offset` bytes from their starts. Row `r` of a sequence sees slots up to its own. No sequence may have more
    /// than `most_rows` rows: where a step has prompts besides, those come last and `step` ends before them. Goes to
    /// `parts`, `[rows][heads][head_dim]`; nobody's rows get zeros.
    pub fn attend(
        &self,
        queries: Address,
        step: &Step,
        most_rows: usize,
        page_offset: usize,
        scratch: &Splits,
        parts: Parts,
    ) -> [Op; 2] {
        // Scores are powers of two.
        let scale = std::f32::consts::LOG2_E / (self.shape.head_dim as f32).sqrt();
        // The warps' sums with their ends, and queries as halves.
        let head_dim = self.shape.head_dim;
        let shared = WARPS * TILE * (head_dim + 8 + 2) * size_of::<f32>()
            + TILE * (head_dim + 8) * size_of::<u16>();
        let arguments = vec![
            queries.into(),
            step.sequences.into(),
            scratch.extents.into(),
            scratch.partial.into(),
            self.shape.kv_heads.into(),
            page_offset.into(),
            scale.into(),
        ];
        let grid = [scratch.splits, self.blocks(most_rows), step.count];
        let attend = self.program.launch("attend", grid, THREADS, arguments);
        let arguments = vec![
            scratch.extents.into(),
            scratch.partial.into(),
            step.row_sequence.into(),
            parts.high.into(),
            parts.low.into(),
            scratch.splits.into(),
        ];
        let grid = [self.shape.heads, step.rows, 1];
        let combine = self.program.launch("combine", grid, THREADS, arguments);
        [attend.with_shared(shared).into(), combine.into()]
    }
}
