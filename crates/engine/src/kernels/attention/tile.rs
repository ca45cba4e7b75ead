//! Attention of a tile of query rows over one head's keys and values.
//!
//! The rows are the queries of a few tokens times the heads that share the keys, so that decoding
//! one token and reading a long prompt are the same work. Keys go by blocks of [`BLOCK_KEYS`]: the
//! scores of a block stay in the first-level cache, keys and values become f32 in registers.

use half::f16;

use super::KEY_LANES;
use crate::kernels::lanes::{Kernel, LANES, Lanes};

/// Keys whose scores are held at once.
pub(super) const BLOCK_KEYS: usize = 64;

/// The rows of one tile and their running softmax. Scores are in units of ln 2.
pub(super) struct Tile<'a> {
    /// Scaled queries, transposed: element by element, each of all rows.
    pub(super) q: &'a [f32],
    /// How many of the head's slots row `r` may see is `visible + r / group`, from no less than 0.
    pub(super) visible: isize,
    /// Rows of one token.
    pub(super) group: usize,
    /// Largest score so far.
    pub(super) max: &'a mut [f32],
    /// Sum of the weights.
    pub(super) sum: &'a mut [f32],
    /// Weighted values, row by row.
    pub(super) acc: &'a mut [f32],
}

/// A run of slots of one head.
pub(super) struct HeadKeys<'a> {
    /// `[capacity / 16][dim][16]`.
    pub(super) keys: &'a [f16],
    /// `[capacity][width]`.
    pub(super) values: &'a [f16],
    /// Width of a key.
    pub(super) dim: usize,
    /// Width of a value.
    pub(super) width: usize,
    /// The slots to attend to; the first is a multiple of [`KEY_LANES`].
    pub(super) slots: std::ops::Range<usize>,
}

/// Takes the slots into the tile's softmax.
pub(super) struct Attend<'a, 'b> {
    pub(super) tile: Tile<'a>,
    pub(super) head: HeadKeys<'b>,
    /// Room for [`BLOCK_KEYS`] scores of each row.
    pub(super) scores: &'a mut [f32],
}

impl Kernel for Attend<'_, '_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Attend { tile, head, scores } = self;
        let (dim, width, rows) = (head.dim, head.width, tile.max.len());
        assert!(dim.is_multiple_of(LANES) && width.is_multiple_of(LANES));
        assert!(tile.sum.len() == rows && tile.q.len() == rows * dim);
        assert!(tile.acc.len() == rows * width);
        assert!(scores.len() >= rows * BLOCK_KEYS);
        assert!(head.slots.end.next_multiple_of(KEY_LANES) * dim <= head.keys.len());
        assert!(head.slots.end * width <= head.values.len());
        assert!(head.slots.start.is_multiple_of(KEY_LANES));
        for start in head.slots.clone().step_by(BLOCK_KEYS) {
            let count = BLOCK_KEYS.min(head.slots.end - start);
            let seen = |row: usize| {
                (tile.visible + (row / tile.group) as isize - start as isize)
                    .clamp(0, count as isize) as usize
            };
            // Rows of earlier tokens may see nothing of this block.
            let Some(first) = (0..rows).step_by(tile.group).find(|row| seen(*row) > 0) else {
                continue;
            };
            let left = rows - first;
            let keys = &head.keys[start * dim..];
            let values = &head.values[start * width..][..count * width];
            let q = &tile.q[first..];
            let acc = &mut tile.acc[first * width..];
            let scores = &mut scores[..left * BLOCK_KEYS];
            // SAFETY: `left` rows of queries, sums and scores; the runs of `count` keys and `count`
            // values lie within the head, as asserted above.
            unsafe {
                let size = Size {
                    rows: left,
                    stride: rows,
                    dim,
                    width,
                    count,
                };
                tiles::<L>(size, |row, height| {
                    score_rows::<L>(
                        height,
                        size,
                        &q[row..],
                        keys,
                        &mut scores[row * BLOCK_KEYS..],
                    );
                });
                for row in 0..left {
                    let seen = seen(first + row);
                    weigh_row::<L>(
                        &mut scores[row * BLOCK_KEYS..][..count.next_multiple_of(LANES)],
                        seen,
                        &mut tile.max[first + row],
                        &mut tile.sum[first + row],
                        &mut acc[row * width..][..width],
                    );
                }
                tiles::<L>(size, |row, height| {
                    add_rows::<L>(
                        height,
                        size,
                        &scores[row * BLOCK_KEYS..],
                        values,
                        &mut acc[row * width..],
                    );
                });
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Size {
    /// Rows that see something of the block.
    rows: usize,
    /// Rows of the tile.
    stride: usize,
    /// Width of a key.
    dim: usize,
    /// Width of a value.
    width: usize,
    /// Keys of the block.
    count: usize,
}

/// Cuts the rows into heights there are inner loops for.
#[inline(always)]
fn tiles<L: Lanes>(size: Size, mut work: impl FnMut(usize, usize)) {
    let heights: &[usize] = if L::WIDE {
        &[12, 8, 7, 6, 4, 3, 2, 1]
    } else {
        &[4, 1]
    };
    let mut row = 0;
    for &height in heights {
        while size.rows - row >= height {
            work(row, height);
            row += height;
        }
    }
}

/// Runs the inner loop `$form` made for a height and one or two vectors of width.
macro_rules! by_height {
    ($lanes:ident, $height:expr, $pair:expr, $form:ident, $($arg:ident),*) => {
        match ($height, $pair) {
            (12, true) => $lanes::apart($form::<12, 2>::new($($arg),*)),
            (12, false) => $lanes::apart($form::<12, 1>::new($($arg),*)),
            (8, true) => $lanes::apart($form::<8, 2>::new($($arg),*)),
            (8, false) => $lanes::apart($form::<8, 1>::new($($arg),*)),
            (7, true) => $lanes::apart($form::<7, 2>::new($($arg),*)),
            (7, false) => $lanes::apart($form::<7, 1>::new($($arg),*)),
            (6, true) => $lanes::apart($form::<6, 2>::new($($arg),*)),
            (6, false) => $lanes::apart($form::<6, 1>::new($($arg),*)),
            (4, true) => $lanes::apart($form::<4, 2>::new($($arg),*)),
            (4, false) => $lanes::apart($form::<4, 1>::new($($arg),*)),
            (3, true) => $lanes::apart($form::<3, 2>::new($($arg),*)),
            (3, false) => $lanes::apart($form::<3, 1>::new($($arg),*)),
            (2, true) => $lanes::apart($form::<2, 2>::new($($arg),*)),
            (2, false) => $lanes::apart($form::<2, 1>::new($($arg),*)),
            (_, true) => $lanes::apart($form::<1, 2>::new($($arg),*)),
            (_, false) => $lanes::apart($form::<1, 1>::new($($arg),*)),
        }
    };
}

/// # Safety
/// `height` rows of `scores` and columns of `q`, and the keys of the block.
#[inline(always)]
unsafe fn score_rows<L: Lanes>(
    height: usize,
    size: Size,
    q: &[f32],
    keys: &[f16],
    scores: &mut [f32],
) {
    let runs = size.count.div_ceil(KEY_LANES);
    let mut run = 0;
    while run < runs {
        let pair = L::WIDE && runs - run >= 2;
        let keys = keys[run * KEY_LANES * size.dim..].as_ptr();
        let scores = scores[run * KEY_LANES..].as_mut_ptr();
        let q = q.as_ptr();
        // SAFETY: passed on; `run` and, for a pair, the next one are within the block.
        unsafe {
            by_height!(L, height, pair, Score, q, size, keys, scores);
        }
        run += if pair { 2 } else { 1 };
    }
}

/// Scores of `M` rows with `N` runs of keys; the rows, the runs and the room for the scores are
/// there.
struct Score<const M: usize, const N: usize> {
    q: *const f32,
    size: Size,
    keys: *const f16,
    scores: *mut f32,
}

impl<const M: usize, const N: usize> Score<M, N> {
    /// # Safety
    /// What the pointers lead to must be there when it runs, as the type says.
    unsafe fn new(q: *const f32, size: Size, keys: *const f16, scores: *mut f32) -> Score<M, N> {
        Score {
            q,
            size,
            keys,
            scores,
        }
    }
}

impl<const M: usize, const N: usize> Kernel for Score<M, N> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Score {
            q,
            size,
            keys,
            scores,
        } = self;
        let mut acc = [[L::splat(0.0); N]; M];
        for i in 0..size.dim {
            // SAFETY: element `i` of each row and run.
            unsafe {
                let k: [L; N] =
                    std::array::from_fn(|n| L::load_half(keys.add((n * size.dim + i) * KEY_LANES)));
                for n in 0..N {
                    // The same run of the next block.
                    L::prefetch(keys.wrapping_add(
                        (n * size.dim + i + BLOCK_KEYS / KEY_LANES * size.dim) * KEY_LANES,
                    ));
                }
                let q = q.add(i * size.stride);
                for (m, acc) in acc.iter_mut().enumerate() {
                    let q = L::splat(*q.add(m));
                    for n in 0..N {
                        acc[n] = q.mul_add(k[n], acc[n]);
                    }
                }
            }
        }
        for (m, acc) in acc.into_iter().enumerate() {
            for (n, acc) in acc.into_iter().enumerate() {
                // SAFETY: the caller's room for `M` rows.
                unsafe { acc.store(scores.add(m * BLOCK_KEYS + n * KEY_LANES)) };
            }
        }
    }
}

/// Turns one row's scores into weights relative to its largest, and brings what it has so far to
/// the same measure.
///
/// # Safety
/// `scores` must be whole vectors.
#[inline(always)]
unsafe fn weigh_row<L: Lanes>(
    scores: &mut [f32],
    seen: usize,
    max: &mut f32,
    sum: &mut f32,
    acc: &mut [f32],
) {
    scores[seen..].fill(f32::NEG_INFINITY);
    if seen == 0 {
        scores.fill(0.0);
        return;
    }
    // SAFETY: whole vectors of scores and of the row.
    unsafe {
        let mut largest = L::splat(*max);
        for at in (0..scores.len()).step_by(LANES) {
            largest = largest.max(L::load(scores.as_ptr().add(at)));
        }
        let largest = largest.largest();
        if largest > *max {
            // The first block shrinks zeros, by whatever.
            let shrink = L::splat((*max - largest).max(-126.0)).exp2();
            for at in (0..acc.len()).step_by(LANES) {
                let at = acc.as_mut_ptr().add(at);
                L::load(at).mul(shrink).store(at);
            }
            *sum *= shrink.to_array()[0];
            *max = largest;
        }
        let base = L::splat(*max);
        let mut total = L::splat(0.0);
        for at in (0..scores.len()).step_by(LANES) {
            let at = scores.as_mut_ptr().add(at);
            let weights = L::load(at).sub(base).exp2();
            total = total.add(weights);
            weights.store(at);
        }
        *sum += total.sum();
    }
}

/// # Safety
/// `height` rows of `weights` and `acc`, and the values of the block.
#[inline(always)]
unsafe fn add_rows<L: Lanes>(
    height: usize,
    size: Size,
    weights: &[f32],
    values: &[f16],
    acc: &mut [f32],
) {
    let mut at = 0;
    while at < size.width {
        let pair = L::WIDE && size.width - at >= 2 * LANES;
        let weights = weights.as_ptr();
        let values = values[at..].as_ptr();
        let acc = acc[at..].as_mut_ptr();
        // SAFETY: passed on; vector `at` and, for a pair, the next one are within the rows.
        unsafe {
            by_height!(L, height, pair, Add, size, weights, values, acc);
        }
        at += if pair { 2 * LANES } else { LANES };
    }
}

/// Adds the weighted values to `N` vectors of `M` rows; the rows and values are there.
struct Add<const M: usize, const N: usize> {
    size: Size,
    weights: *const f32,
    values: *const f16,
    acc: *mut f32,
}

impl<const M: usize, const N: usize> Add<M, N> {
    /// # Safety
    /// What the pointers lead to must be there when it runs, as the type says.
    unsafe fn new(size: Size, weights: *const f32, values: *const f16, acc: *mut f32) -> Add<M, N> {
        Add {
            size,
            weights,
            values,
            acc,
        }
    }
}

impl<const M: usize, const N: usize> Kernel for Add<M, N> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Add {
            size,
            weights,
            values,
            acc,
        } = self;
        // SAFETY: `M` rows, `N` vectors each.
        let at = |m: usize, n: usize| unsafe { acc.add(m * size.width + n * LANES) };
        let mut sums: [[L; N]; M] =
        // SAFETY: as above.
        std::array::from_fn(|m| std::array::from_fn(|n| unsafe { L::load(at(m, n)) }));
        for key in 0..size.count {
            // SAFETY: key `key` of the block.
            unsafe {
                let v: [L; N] =
                    std::array::from_fn(|n| L::load_half(values.add(key * size.width + n * LANES)));
                L::prefetch(values.wrapping_add((key + BLOCK_KEYS) * size.width));
                for (m, sums) in sums.iter_mut().enumerate() {
                    let weight = L::splat(*weights.add(m * BLOCK_KEYS + key));
                    for n in 0..N {
                        sums[n] = weight.mul_add(v[n], sums[n]);
                    }
                }
            }
        }
        for (m, sums) in sums.into_iter().enumerate() {
            for (n, sums) in sums.into_iter().enumerate() {
                // SAFETY: as above.
                unsafe { sums.store(at(m, n)) };
            }
        }
    }
}
