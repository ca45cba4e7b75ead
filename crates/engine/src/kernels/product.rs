//! Products of small f32 matrices that stay in the caches: the changes of basis of cached latents.
//!
//! One thread; callers give each thread its own rows. Must not know what is multiplied.

use super::isa::Isa;
use super::lanes::{Kernel, LANES, Lanes, dispatch};
use super::matrix::Parts;
use super::pool::parallel;

/// A row-major matrix as its first element, and elements from one row to the next.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    pub(super) stride: usize,
}

/// `out (+)= a · b`: `a` of `rows`×`inner`, `b` of `inner`×`cols`, `cols` a multiple of 16; `out` rows
/// are `out_stride` apart.
///
/// # Panics
/// When a slice is too short.
pub(super) fn product(
    (rows, inner, cols): (usize, usize, usize),
    a: Rows<'_>,
    b: Rows<'_>,
    out: &mut [f32],
    out_stride: usize,
    add: bool,
) {
    dispatch(
        Isa::detect(),
        Product {
            rows,
            inner,
            cols,
            a,
            b,
            out,
            out_stride,
            add,
        },
    );
}

/// [`product`] as a kernel, for use inside another one.
pub(super) struct Product<'a, 'b> {
    pub(super) rows: usize,
    pub(super) inner: usize,
    pub(super) cols: usize,
    pub(super) a: Rows<'a>,
    pub(super) b: Rows<'a>,
    pub(super) out: &'b mut [f32],
    pub(super) out_stride: usize,
    pub(super) add: bool,
}

impl Kernel for Product<'_, '_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Product {
            rows,
            inner,
            cols,
            a,
            b,
            out,
            out_stride,
            add,
        } = self;
        assert!(cols.is_multiple_of(LANES), "{cols} columns");
        let end = |rows: usize, stride: usize, width: usize| match rows {
            0 => 0,
            rows => (rows - 1) * stride + width,
        };
        assert!(a.data.len() >= end(rows, a.stride, inner), "rows of a");
        assert!(b.data.len() >= end(inner, b.stride, cols), "rows of b");
        assert!(
            out.len() >= end(rows, out_stride, cols),
            "rows of the output"
        );
        if rows == 0 || cols == 0 {
            return;
        }
        let mut at = 0;
        while at < cols {
            let pair = L::WIDE && cols - at >= 2 * LANES;
            let mut row = 0;
            while row < rows {
                let height = match rows - row {
                    8.. if L::WIDE => 8,
                    4.. => 4,
                    _ => 1,
                };
                // SAFETY: the block's rows and columns lie within the matrices, as asserted.
                unsafe {
                    let block = (
                        a.data.as_ptr().add(row * a.stride),
                        b.data.as_ptr().add(at),
                        out.as_mut_ptr().add(row * out_stride + at),
                    );
                    let strides = (a.stride, b.stride, out_stride);
                    match (height, pair) {
                        (8, true) => L::apart(Block::<8, 2>(block, strides, inner, add)),
                        (8, false) => L::apart(Block::<8, 1>(block, strides, inner, add)),
                        (4, true) => L::apart(Block::<4, 2>(block, strides, inner, add)),
                        (4, false) => L::apart(Block::<4, 1>(block, strides, inner, add)),
                        (_, true) => L::apart(Block::<1, 2>(block, strides, inner, add)),
                        (_, false) => L::apart(Block::<1, 1>(block, strides, inner, add)),
                    }
                }
                row += height;
            }
            at += if pair { 2 * LANES } else { LANES };
        }
    }
}

/// `M` rows and `N` vectors of columns: where a, b and the output begin, their strides, the inner
/// width, and whether to add. All of it must be there.
struct Block<const M: usize, const N: usize>(
    (*const f32, *const f32, *mut f32),
    (usize, usize, usize),
    usize,
    bool,
);

impl<const M: usize, const N: usize> Kernel for Block<M, N> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Block((a, b, out), (a_stride, b_stride, out_stride), inner, add) = self;
        let mut sums = [[L::splat(0.0); N]; M];
        // SAFETY: `M` rows of a, `inner` rows of b with `N` vectors, `M` rows of the output.
        unsafe {
            if add {
                for (m, sums) in sums.iter_mut().enumerate() {
                    for (n, sum) in sums.iter_mut().enumerate() {
                        *sum = L::load(out.add(m * out_stride + n * LANES));
                    }
                }
            }
            for k in 0..inner {
                let columns: [L; N] =
                    std::array::from_fn(|n| L::load(b.add(k * b_stride + n * LANES)));
                for (m, sums) in sums.iter_mut().enumerate() {
                    let factor = L::splat(*a.add(m * a_stride + k));
                    for n in 0..N {
                        sums[n] = factor.mul_add(columns[n], sums[n]);
                    }
                }
            }
            for (m, sums) in sums.into_iter().enumerate() {
                for (n, sum) in sums.into_iter().enumerate() {
                    sum.store(out.add(m * out_stride + n * LANES));
                }
            }
        }
    }
}

/// A matrix `[inner][cols]` that rows are multiplied with from the right, packed in strips of 32
/// columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    inner: usize,
    cols: usize,
    strips: Vec<f32>,
}

/// Columns of a strip of a [`Mix`].
const STRIP: usize = 2 * LANES;

impl Mix {
    /// Packs `matrix`, `[inner][cols]`.
    ///
    /// # Panics
    /// When it is not of that shape, or `cols` no multiple of 16.
    pub fn new(matrix: &[f32], inner: usize, cols: usize) -> Mix {
        assert_eq!(matrix.len(), inner * cols, "elements of the matrix");
        assert!(cols.is_multiple_of(LANES), "{cols} columns");
        let mut strips = Vec::with_capacity(matrix.len());
        for first in (0..cols).step_by(STRIP) {
            let width = STRIP.min(cols - first);
            for row in matrix.chunks_exact(cols) {
                strips.extend_from_slice(&row[first..][..width]);
            }
        }
        Mix {
            inner,
            cols,
            strips,
        }
    }

    /// Rows of the matrix.
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of memory it takes.
    pub fn size_bytes(&self) -> usize {
        size_of::<f32>() * self.strips.len()
    }

    /// `out = rows · matrix[.., columns]`: `rows` are `[n][inner]`, row `r` of the result begins at
    /// `out[r · stride]`. Columns are a range of whole strips, or all.
    ///
    /// # Panics
    /// When a slice is too short or the columns cut a strip.
    pub fn apply(
        &self,
        rows: &[f32],
        columns: std::ops::Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        assert!(
            columns.start.is_multiple_of(STRIP)
                && (columns.end.is_multiple_of(STRIP) || columns.end == self.cols)
                && columns.end <= self.cols,
            "columns {columns:?} of {}",
            self.cols
        );
        let count = rows.len() / self.inner;
        for first in columns.clone().step_by(STRIP) {
            let width = STRIP.min(self.cols - first);
            product(
                (count, self.inner, width),
                Rows {
                    data: rows,
                    stride: self.inner,
                },
                Rows {
                    data: &self.strips[first * self.inner..][..width * self.inner],
                    stride: width,
                },
                &mut out[first - columns.start..],
                stride,
                false,
            );
        }
    }
}

/// Rows a thread multiplies at once.
const PIECE_ROWS: usize = 16;

/// `out = rows · mix`, on several threads where there are many rows.
///
/// # Panics
/// When a slice is not of its shape.
pub fn multiply(mix: &Mix, rows: &[f32], out: &mut [f32]) {
    let count = rows.len() / mix.inner;
    assert_eq!(rows.len(), count * mix.inner, "whole rows");
    assert_eq!(out.len(), count * mix.cols, "length of the output");
    let parts = Parts::new(out, mix.cols);
    parallel(count.div_ceil(PIECE_ROWS), |piece| {
        let range = piece * PIECE_ROWS..((piece + 1) * PIECE_ROWS).min(count);
        let rows = &rows[range.start * mix.inner..range.end * mix.inner];
        // SAFETY: each row belongs to one piece.
        let out = unsafe { parts.parts(range) };
        mix.apply(rows, 0..mix.cols, out, mix.cols);
    });
}

/// `out = rows · matrix` for a square row-major `matrix` of `width`.
///
/// # Panics
/// When a slice is not of its shape, or `width` no multiple of 16.
pub fn multiply_plain(matrix: &[f32], rows: &[f32], width: usize, out: &mut [f32]) {
    assert_eq!(matrix.len(), width * width, "elements of the matrix");
    assert_eq!(rows.len(), out.len(), "lengths of input and output");
    let (a, b) = (
        Rows {
            data: rows,
            stride: width,
        },
        Rows {
            data: matrix,
            stride: width,
        },
    );
    product((rows.len() / width, width, width), a, b, out, width, false);
}

/// `out = rows · block` for `rows` `[count][inner]` and a block of 16 columns, `[inner][16]`.
///
/// # Panics
/// When a slice is too short.
pub fn product_block(rows: &[f32], count: usize, block: &[f32], inner: usize, out: &mut [f32]) {
    let (a, b) = (
        Rows {
            data: rows,
            stride: inner,
        },
        Rows {
            data: block,
            stride: LANES,
        },
    );
    product((count, inner, LANES), a, b, out, LANES, false);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(a: &[f32], b: &[f32], (rows, inner, cols): (usize, usize, usize)) -> Vec<f64> {
        let mut out = vec![0.0; rows * cols];
        for r in 0..rows {
            for c in 0..cols {
                out[r * cols + c] = (0..inner)
                    .map(|k| f64::from(a[r * inner + k]) * f64::from(b[k * cols + c]))
                    .sum();
            }
        }
        out
    }

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0)
            .collect()
    }

    #[test]
    fn products_match_the_formula_on_all_heights_and_widths() {
        for (rows, inner, cols) in [
            (1, 3, 16),
            (4, 64, 32),
            (7, 33, 48),
            (13, 128, 192),
            (0, 5, 16),
        ] {
            let (a, b) = (values(rows * inner, 1), values(inner * cols, 2));
            let want = plain(&a, &b, (rows, inner, cols));
            let mut out = vec![0.0; rows * cols];
            Mix::new(&b, inner, cols).apply(&a, 0..cols, &mut out, cols);
            for (out, want) in out.iter().zip(&want) {
                assert!((f64::from(*out) - want).abs() < 1e-4, "{out} for {want}");
            }
            let before = out.clone();
            let (a, b) = (
                Rows {
                    data: &a,
                    stride: inner,
                },
                Rows {
                    data: &b,
                    stride: cols,
                },
            );
            product((rows, inner, cols), a, b, &mut out, cols, true);
            for ((out, before), want) in out.iter().zip(&before).zip(&want) {
                assert!((f64::from(*out - *before) - want).abs() < 2e-4);
            }
        }
    }

    #[test]
    fn a_range_of_strips_gives_those_columns() {
        let (a, b) = (values(5 * 24, 3), values(24 * 128, 4));
        let mix = Mix::new(&b, 24, 128);
        let (mut all, mut part) = (vec![0.0; 5 * 128], vec![0.0; 5 * 64]);
        mix.apply(&a, 0..128, &mut all, 128);
        mix.apply(&a, 64..128, &mut part, 64);
        for (all, part) in all.chunks_exact(128).zip(part.chunks_exact(64)) {
            assert_eq!(&all[64..], part);
        }
    }
}
