//! The product of activations and packed weights: shapes, blocking and threads.
//!
//! A piece of work is a run of panels small enough for the second-level cache; all token blocks
//! pass over it before the next one is fetched from memory.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "matmul/no_tiles.rs"]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use super::activations::{Activations, BLOCK_TOKENS, Record};
use super::ggml::Format;
use super::isa::Isa;
use super::matrix::{FloatKind, PANEL, QuantMatrix, Storage};
use super::pool::{parallel, threads};

/// Bytes of weights one piece may have: half the second-level cache of the smaller machines.
const PIECE_BYTES: usize = 128 << 10;
/// Tokens whose quantised form is held at once; longer inputs go by such parts.
const PASS_TOKENS: usize = 512;

/// How a product with quantised weights rounds its inputs. A token's result depends on this and not
/// on the tokens beside it, so a caller that chooses by what a token is, and not by how many there
/// are, gets the same numbers in any company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// To 8 bits in groups of 32, for dot products: best for few tokens.
    Dots,
    /// To BF16, for tiles: best for many tokens. As `Dots` where the machine has no tiles.
    Tiles,
}

impl Form {
    /// The form for tokens of which there may be many: by tiles where the machine has them.
    pub fn of_many() -> Form {
        if amx::serves(Isa::detect()) {
            Form::Tiles
        } else {
            Form::Dots
        }
    }
}

impl QuantMatrix {
    /// `out = x·Wᵀ` by [`Form::Dots`]: `x` is `tokens` rows of [`QuantMatrix::cols`], `out` `tokens` rows of
    /// [`QuantMatrix::rows`].
    ///
    /// # Panics
    /// When a slice is not of that shape.
    pub fn matmul(&self, x: &[f32], tokens: usize, out: &mut [f32]) {
        matmul_many(x, tokens, Form::Dots, &mut [(self, out)]);
    }
}

/// Several products over the same input, such as queries, keys and values, in one parallel region;
/// each as
/// [`QuantMatrix::matmul`], by `form`. The matrices have the same number of columns.
///
/// # Panics
/// When a slice is not of its shape.
pub fn matmul_many(
    x: &[f32],
    tokens: usize,
    form: Form,
    products: &mut [(&QuantMatrix, &mut [f32])],
) {
    matmul_many_with(Isa::detect(), x, tokens, form, products);
}

pub(super) fn matmul_many_with(
    isa: Isa,
    x: &[f32],
    tokens: usize,
    form: Form,
    products: &mut [(&QuantMatrix, &mut [f32])],
) {
    let Some(cols) = products.first().map(|(matrix, _)| matrix.cols()) else {
        return;
    };
    assert_eq!(x.len(), tokens * cols, "length of the input");
    for (matrix, out) in products.iter() {
        assert_eq!(matrix.cols(), cols, "columns of products over one input");
        assert_eq!(out.len(), tokens * matrix.rows(), "length of the output");
    }
    let quantised = products
        .iter()
        .any(|(matrix, _)| matches!(matrix.storage, Storage::Groups(_)));
    let by_tiles = quantised && form == Form::Tiles && amx::serves(isa);
    for first in (0..tokens).step_by(PASS_TOKENS) {
        let count = PASS_TOKENS.min(tokens - first);
        let x = &x[first * cols..][..count * cols];
        let tiles = by_tiles.then(|| amx::Rows::pack(x, count, cols));
        let acts = (quantised && !by_tiles).then(|| Activations::quantize(x, count, cols));
        let input = Input {
            x,
            tokens: count,
            acts: acts.as_ref(),
            tiles: tiles.as_ref(),
        };
        let outputs: Vec<Product> = products
            .iter_mut()
            .map(|(matrix, out)| Product {
                matrix,
                out: Output {
                    start: out[first * matrix.rows()..].as_mut_ptr(),
                    tokens: count,
                    rows: matrix.rows(),
                },
                piece_panels: match matrix.storage {
                    Storage::Groups(_) if by_tiles => amx::piece_panels(matrix),
                    _ => piece_panels(matrix),
                },
            })
            .collect();
        let pieces: Vec<(usize, usize)> = outputs
            .iter()
            .enumerate()
            .flat_map(|(index, product)| {
                (0..product.matrix.panels())
                    .step_by(product.piece_panels)
                    .map(move |panel| (index, panel))
            })
            .collect();
        parallel(pieces.len(), |piece| {
            let (index, panel) = pieces[piece];
            let product = &outputs[index];
            let end = (panel + product.piece_panels).min(product.matrix.panels());
            run_piece(isa, product.matrix, &input, panel..end, &product.out);
        });
    }
}

/// Panels of one piece: what fits the cache, and enough pieces for every thread.
fn piece_panels(matrix: &QuantMatrix) -> usize {
    let panel_bytes = matrix.size_bytes() / matrix.panels();
    let fitting = PIECE_BYTES / panel_bytes.max(1);
    fitting.min(matrix.panels().div_ceil(4 * threads())).max(1)
}

struct Product<'a> {
    matrix: &'a QuantMatrix,
    out: Output,
    piece_panels: usize,
}

/// What a product reads.
struct Input<'a> {
    x: &'a [f32],
    tokens: usize,
    /// The quantised form, where a matrix of the region needs it.
    acts: Option<&'a Activations>,
    /// The form for tiles, in its place.
    tiles: Option<&'a amx::Rows>,
}

/// Where a product writes: panels write disjoint columns of the same rows.
struct Output {
    start: *mut f32,
    tokens: usize,
    rows: usize,
}

// SAFETY: threads write disjoint elements: each panel belongs to one piece.
unsafe impl Sync for Output {}

impl Output {
    /// Writes the panel's outputs of one token.
    ///
    /// # Safety
    /// No other thread may write this panel.
    #[inline(always)]
    unsafe fn put(&self, token: usize, panel: usize, values: &[f32; PANEL]) {
        debug_assert!(token < self.tokens);
        let width = PANEL.min(self.rows - panel * PANEL);
        // SAFETY: the elements lie within the output of `tokens` rows, and are this panel's own.
        unsafe {
            let to = self.start.add(token * self.rows + panel * PANEL);
            if width == PANEL {
                to.cast::<[f32; PANEL]>().write_unaligned(*values);
            } else {
                std::ptr::copy_nonoverlapping(values.as_ptr(), to, width);
            }
        }
    }
}

fn run_piece(
    isa: Isa,
    matrix: &QuantMatrix,
    input: &Input,
    panels: std::ops::Range<usize>,
    out: &Output,
) {
    if let (Storage::Groups(format), Some(tiles)) = (matrix.storage, input.tiles) {
        // SAFETY: the rows were packed from this input where tiles are served; the panels are this
        // piece's own.
        unsafe { amx::piece(matrix, format, tiles, panels, out) };
        return;
    }
    let mut room = [[0.0; PANEL]; BLOCK_TOKENS];
    for first in (0..input.tokens).step_by(BLOCK_TOKENS) {
        let count = BLOCK_TOKENS.min(input.tokens - first);
        for panel in panels.clone() {
            let sums = &mut room[..count];
            sums.fill([0.0; PANEL]);
            match (matrix.storage, input.acts) {
                (Storage::Groups(format), Some(acts)) => {
                    let records = acts.block(first / BLOCK_TOKENS);
                    groups(isa, format, matrix.panel(panel), records, sums);
                }
                (Storage::Floats(kind), _) => {
                    let x = &input.x[first * matrix.cols()..][..count * matrix.cols()];
                    floats(isa, kind, matrix.panel(panel).0, x, sums);
                }
                (Storage::Groups(_), None) => {
                    debug_assert!(false, "a quantised matrix without quantised input");
                }
            }
            for (token, values) in sums.iter().enumerate() {
                // SAFETY: this piece alone has this panel.
                unsafe { out.put(first + token, panel, values) };
            }
        }
    }
}

/// Adds to `sums[token]` the products of one panel of codes with a block of records.
fn groups(
    isa: Isa,
    format: Format,
    panel: (&[u8], &[u8]),
    records: &[Record],
    sums: &mut [[f32; PANEL]],
) {
    match isa {
        Isa::Portable => portable::groups(format, panel, records, sums),
        // SAFETY: an `Isa` is only used where it was found; the slices are of one panel and block.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::groups(format, panel, records, sums) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512::groups(format, panel, records, sums) },
        // SAFETY: as above; tiles come on top of AVX-512.
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Isa::Amx => unsafe { avx512::groups(format, panel, records, sums) },
    }
}

/// Sets `sums[token]` to the products of one panel of floats with the rows of `x`.
fn floats(isa: Isa, kind: FloatKind, codes: &[u8], x: &[f32], sums: &mut [[f32; PANEL]]) {
    match isa {
        Isa::Portable => portable::floats(kind, codes, x, sums),
        // SAFETY: as in `groups`.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::floats(kind, codes, x, sums) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512::floats(kind, codes, x, sums) },
        // SAFETY: as above.
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Isa::Amx => unsafe { avx512::floats(kind, codes, x, sums) },
    }
}
