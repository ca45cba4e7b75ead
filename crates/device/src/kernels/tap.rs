//! Attention taps: how much a window of queries attends to every key, as the engine's own tap defines it.
//!
//! The keys of a full cache are gone through twice: once for the rows' log-sum-exp, once for the shares, of which each key
//! keeps the largest or the sum over rows. So nothing is as large as queries times keys, and since the window is whole by
//! then, how the prompt was cut into steps makes no difference. Keys are halves; queries may come in two parts, which
//! makes scores exact to single precision.

use std::sync::Arc;

use super::rows::Parts;
use super::{HeadShape, PAGE_TOKENS};
use crate::{Address, Argument, Op, Program};

/// Threads of a block.
const THREADS: u32 = 128;
/// Warps of a block.
const WARPS: usize = 4;
/// Rows that a block of the first pass takes, and bytes that it keeps of each.
const SLICE: usize = 256;
const SLICE_BYTES: usize = SLICE * WARPS * 4 * 2 * size_of::<f32>();
/// Blocks of the first pass that a multiprocessor gets: many, since their shares of the work are not equal in time and
/// joining them costs next to nothing.
const BLOCKS: usize = 8;

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
    /// f32 `[chosen][window][splits][2]`.
    pub extents: Address,
    /// f32 `[chosen][window]`.
    pub norms: Address,
    /// Parts into which the first pass cuts the keys, as [`splits`] says.
    pub splits: usize,
}

/// Parts into which the first pass cuts `longest` tokens for `chosen` heads: so many that they fill a device's
/// multiprocessors several times over, and none smaller than a page.
pub fn splits(longest: usize, chosen: usize, multiprocessors: usize) -> usize {
    let pages = longest.div_ceil(PAGE_TOKENS);
    (BLOCKS * multiprocessors)
        .div_ceil(chosen)
        .min(pages)
        .max(1)
}

/// No fewer than the splits of any number of heads up to `most` times that number.
pub fn most_parts(longest: usize, most: usize, multiprocessors: usize) -> usize {
    let pages = longest.div_ceil(PAGE_TOKENS).max(1);
    (BLOCKS * multiprocessors + most).min(most * pages)
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
        // Scores are powers of two.
        let scale = std::f32::consts::LOG2_E / (head_dim as f32).sqrt();
        let sums = self
            .program
            .launch(
                "tap_sums",
                [scratch.splits, chosen.count, window.rows.div_ceil(SLICE)],
                THREADS,
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
            )
            .with_shared(SLICE_BYTES);
        let rows = chosen.count * window.rows;
        let norms = self.program.launch(
            "tap_norms",
            [rows.div_ceil(WARPS), 1, 1],
            THREADS,
            vec![
                scratch.extents.into(),
                scratch.norms.into(),
                rows.into(),
                scratch.splits.into(),
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
        let shares = self.program.launch(
            "tap_shares",
            [keys.longest.div_ceil(PAGE_TOKENS), chosen.count, 1],
            THREADS,
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
        let mut ops = vec![sums.into(), norms.into(), shares.into()];
        if let Scores::Pooled {
            scores,
            shares,
            stride,
        } = scores
        {
            let pool = self.program.launch(
                "tap_pool",
                [keys.longest.div_ceil(256), 1, 1],
                256,
                vec![
                    shares.into(),
                    keys.sequence.into(),
                    scores.into(),
                    chosen.count.into(),
                    stride.into(),
                ],
            );
            ops.push(pool.into());
        }
        ops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cut_so_that_a_device_is_full_and_there_is_memory_for_all_parts() {
        for (longest, chosen, wanted) in [
            (1, 1, 1),
            (1024, 1, 8),
            (8192, 1, 64),
            (131_072, 1, 1024),
            (131_072, 28, 38),
            (131_072, 2000, 1),
        ] {
            assert_eq!(
                splits(longest, chosen, 132),
                wanted,
                "{chosen} of {longest}"
            );
        }
        for longest in [1, 1000, 131_072] {
            for most in 1..100 {
                let parts = (1..=most).map(|chosen| chosen * splits(longest, chosen, 132));
                assert!(parts.max() <= Some(most_parts(longest, most, 132)));
            }
        }
    }
}
