//! Attention taps: how much a window of queries attends to every key, as the engine's own tap defines it.
//!
//! The keys of a full cache are gone through twice: once for the rows' log-sum-exp, once for the shares, of which each key
//! keeps the largest or the sum over rows. So nothing is as large as queries times keys, and since the window is whole by
//! then, how the prompt was cut into steps makes no difference. Keys are halves; queries may come in two parts, which
//! makes scores exact to single precision.

use std::sync::Arc;

use super::rows::Parts;
use super::{HeadShape, PAGE_TOKENS};
use crate::{Address, Argument, Kernel, Launch, Op, Program};

/// Threads of a block.
const THREADS: u32 = 128;
/// Warps of a block.
const WARPS: usize = 4;
/// Rows that a block of the first pass takes, and bytes that it keeps of each.
const SLICE: usize = 256;
const SLICE_BYTES: usize = SLICE * WARPS * 4 * 2 * size_of::<f32>();
/// More splits than these find nothing more to do at once.
const MOST_SPLITS: usize = 64;

/// How the rows of a head, and heads and layers that are pooled, become one number a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// The largest.
    Max,
    /// The sum.
    Sum,
}

/// What queries are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Their high halves.
    High,
    /// Both halves, f16 as well.
    Both,
}

/// The program for heads of one width.
pub fn program(head_dim: usize, precision: Precision, reduce: Reduce) -> Arc<Program> {
    let parts = match precision {
        Precision::High => 1,
        Precision::Both => 2,
    };
    Arc::new(Program {
        name: "tap",
        source: concat!(include_str!("chunk.cuh"), include_str!("tap.cu")),
        entries: &["tap_sums", "tap_norms", "tap_shares", "tap_pool"],
        defines: vec![
            ("HEAD_DIM", head_dim as i64),
            ("PARTS", parts),
            ("SUM", i64::from(reduce == Reduce::Sum)),
        ],
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    let both = [Precision::High, Precision::Both];
    let mut programs: Vec<_> = [32, 64, 96, 128]
        .into_iter()
        .flat_map(|head_dim| both.map(|precision| program(head_dim, precision, Reduce::Max)))
        .collect();
    programs.push(program(64, Precision::Both, Reduce::Sum));
    programs
}

/// The last queries of a prompt.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// f16 `[rows][heads][head_dim]`, rotated.
    pub queries: Parts,
    /// How many; no more than the sequence has tokens.
    pub rows: usize,
    /// Whether row `i` counts `i / (rows − 1)`: later ones more, the first not at all.
    pub weighted: bool,
}

/// Which heads of a layer are read.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// u32 `[count]`: query heads.
    pub heads: Address,
    /// How many.
    pub count: usize,
}

/// The keys of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// One [`Sequence`](super::Sequence), whose last row is the window's.
    pub sequence: Address,
    /// The layer's bytes from the start of each page.
    pub page_offset: usize,
    /// Tokens that launches are made for: as many as the sequence has, or more.
    pub longest: usize,
}

/// Where scores go.
#[derive(Clone, Copy, Debug)]
pub enum Scores {
    /// Each head's by itself.
    Apart {
        /// f32 `[any][stride]`.
        scores: Address,
        /// u32 `[chosen]`: the row of each chosen head.
        places: Address,
        /// Floats from row to row.
        stride: usize,
    },
    /// All heads' joined, and with what is there from other layers: zeros at first.
    Pooled {
        /// f32 `[tokens]`.
        scores: Address,
        /// f32 `[chosen][stride]`: between the kernels.
        shares: Address,
        /// Floats from row to row.
        stride: usize,
    },
}

/// Memory between the kernels.
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    /// f32 `[chosen][window][splits][2]`, with as many splits as [`splits`] says.
    pub extents: Address,
    /// f32 `[chosen][window]`.
    pub norms: Address,
}

/// Parts into which the first pass cuts `longest` tokens.
pub fn splits(longest: usize) -> usize {
    longest.div_ceil(PAGE_TOKENS).clamp(1, MOST_SPLITS)
}

/// Makes launches for one shape of heads.
#[derive(Clone, Debug)]
pub struct Tap {
    program: Arc<Program>,
    shape: HeadShape,
}

impl Tap {
    /// For one shape of heads.
    pub fn new(shape: HeadShape, precision: Precision, reduce: Reduce) -> Tap {
        Tap {
            program: program(shape.head_dim, precision, reduce),
            shape,
        }
    }

    fn launch(
        &self,
        entry: &'static str,
        grid: [usize; 3],
        threads: u32,
        shared: usize,
        arguments: Vec<Argument>,
    ) -> Op {
        Op::Launch(Launch {
            kernel: Kernel {
                program: Arc::clone(&self.program),
                entry,
            },
            grid: grid.map(|blocks| blocks as u32),
            threads,
            shared: shared as u32,
            arguments,
        })
    }

    /// Scores a layer's keys by its chosen heads. Scores of slots that the sequence does not have are left alone.
    pub fn score(
        &self,
        window: &Window,
        chosen: Chosen,
        keys: &Keys,
        scratch: &Scratch,
        scores: Scores,
    ) -> Vec<Op> {
        let HeadShape {
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        let splits = splits(keys.longest);
        // Scores are powers of two.
        let scale = std::f32::consts::LOG2_E / (head_dim as f32).sqrt();
        let sums = self.launch(
            "tap_sums",
            [splits, chosen.count, window.rows.div_ceil(SLICE)],
            THREADS,
            SLICE_BYTES,
            vec![
                window.queries.high.into(),
                window.queries.low.into(),
                chosen.heads.into(),
                keys.sequence.into(),
                scratch.extents.into(),
                heads.into(),
                kv_heads.into(),
                window.rows.into(),
                keys.page_offset.into(),
                scale.into(),
            ],
        );
        let rows = chosen.count * window.rows;
        let norms = self.launch(
            "tap_norms",
            [rows.div_ceil(WARPS), 1, 1],
            THREADS,
            0,
            vec![
                scratch.extents.into(),
                scratch.norms.into(),
                rows.into(),
                splits.into(),
            ],
        );
        let (to, places, stride) = match scores {
            Scores::Apart {
                scores,
                places,
                stride,
            } => (scores, places, stride),
            Scores::Pooled { shares, stride, .. } => (shares, Address::NONE, stride),
        };
        let shares = self.launch(
            "tap_shares",
            [keys.longest.div_ceil(PAGE_TOKENS), chosen.count, 1],
            THREADS,
            0,
            vec![
                window.queries.high.into(),
                window.queries.low.into(),
                chosen.heads.into(),
                places.into(),
                keys.sequence.into(),
                scratch.norms.into(),
                to.into(),
                heads.into(),
                kv_heads.into(),
                window.rows.into(),
                keys.page_offset.into(),
                stride.into(),
                Argument::Int(i32::from(window.weighted)),
                scale.into(),
            ],
        );
        let mut ops = vec![sums, norms, shares];
        if let Scores::Pooled {
            scores,
            shares,
            stride,
        } = scores
        {
            ops.push(self.launch(
                "tap_pool",
                [keys.longest.div_ceil(256), 1, 1],
                256,
                0,
                vec![
                    shares.into(),
                    keys.sequence.into(),
                    scores.into(),
                    chosen.count.into(),
                    stride.into(),
                ],
            ));
        }
        ops
    }
}
