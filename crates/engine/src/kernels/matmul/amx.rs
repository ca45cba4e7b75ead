//! Products of many tokens by BF16 tiles.
//!
//! The codes of some panels are unpacked to BF16 a few hundred columns at a time and meet every
//! token of the pass there: unpacking costs a fifth of the products it feeds at 512 tokens, and needs
//! no scale afterwards, so it serves every format alike. BF16 keeps 8 bits of each number whatever its
//! neighbours are; inputs and weights each err by at most 2⁻⁸ of themselves, less than inputs of 8
//! bits in groups of 32 do. Few tokens are not worth the unpacking and go the other ways.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

use super::Output;
use super::avx512::{read_factors, unpack};
use crate::kernels::ggml::{Format, GROUP, ScaleKind};
use crate::kernels::isa::Isa;
use crate::kernels::matrix::{PANEL, Parts, QuantMatrix, group_code_bytes};
use crate::kernels::pool::{parallel, threads};
use crate::kernels::tiles::{TILE_COLS, TILE_ROWS, Tile, TileRegisters};

/// Columns unpacked at once, in tiles: two blocks of tokens over them stay in the first-level cache.
const CHUNK_STEPS: usize = 16;
/// Panels of one piece: their unpacked chunk and their sums of 512 tokens fill half the second-level
/// cache.
const PIECE_PANELS: usize = 16;

// One group of a format is one tile of columns, one panel one tile of outputs.
const _: () = assert!(GROUP == TILE_COLS && PANEL == TILE_ROWS);

/// Whether products may go this way.
pub(super) fn serves(isa: Isa) -> bool {
    isa == Isa::Amx
}

/// Panels of one piece: an even number, and pieces enough for every thread.
pub(super) fn piece_panels(matrix: &QuantMatrix) -> usize {
    let share = matrix.panels().div_ceil(4 * threads());
    share.next_multiple_of(2).min(PIECE_PANELS)
}

/// The inputs of one or more products as BF16, in tiles of 16 tokens by 32 columns; the tokens are
/// filled up with zeros to whole pairs of tiles.
pub(super) struct Rows {
    tokens: usize,
    steps: usize,
    tiles: Vec<Tile>,
}

/// What this thread works in, kept between products: memory, not contents.
#[derive(Default)]
struct Scratch {
    weights: Vec<Tile>,
    sums: Vec<Tile>,
}

thread_local! {
    static ROWS: RefCell<Vec<Tile>> = const { RefCell::new(Vec::new()) };
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

impl Rows {
    /// Rounds `x`, row major, `tokens` rows of `cols`, a multiple of 32.
    pub(super) fn pack(x: &[f32], tokens: usize, cols: usize) -> Rows {
        debug_assert!(cols.is_multiple_of(TILE_COLS) && x.len() == tokens * cols);
        let steps = cols / TILE_COLS;
        let blocks = tokens.div_ceil(2 * TILE_ROWS) * 2;
        let mut tiles = ROWS.take();
        grow(&mut tiles, blocks * steps);
        let parts = Parts::new(&mut tiles, steps);
        parallel(blocks, |block| {
            // SAFETY: one piece a block.
            let tiles = unsafe { parts.part(block) };
            for row in 0..TILE_ROWS {
                let token = block * TILE_ROWS + row;
                if token < tokens {
                    // SAFETY: rows are only packed where `serves` found the instructions.
                    unsafe { pack_row(&x[token * cols..][..cols], row, tiles) };
                } else {
                    for tile in &mut *tiles {
                        // SAFETY: any bytes are pairs.
                        unsafe { tile.pairs[row] = [0; 16] };
                    }
                }
            }
        });
        Rows {
            tokens,
            steps,
            tiles,
        }
    }

    fn blocks(&self) -> usize {
        self.tokens.div_ceil(2 * TILE_ROWS) * 2
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        ROWS.set(std::mem::take(&mut self.tiles));
    }
}

fn grow(tiles: &mut Vec<Tile>, count: usize) {
    if tiles.len() < count {
        tiles.resize(count, Tile::ZERO);
    }
}

/// # Safety
/// The machine must have AVX-512 F; `row` is 16 wide for each tile.
#[target_feature(enable = "avx512f")]
unsafe fn pack_row(row: &[f32], at: usize, tiles: &mut [Tile]) {
    for (values, tile) in row.as_chunks::<TILE_COLS>().0.iter().zip(tiles) {
        // SAFETY: 32 floats are two vectors, and their BF16 form one row of a tile.
        unsafe {
            let to = tile.pairs[at].as_mut_ptr().cast::<u8>();
            for half in 0..2 {
                let x = _mm512_loadu_si512(values.as_ptr().add(half * 16).cast());
                let rounded = _mm512_add_epi32(x, _mm512_set1_epi32(0x8000));
                let words = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded));
                _mm256_storeu_si256(to.add(half * 32).cast(), words);
            }
        }
    }
}

/// Writes the products of `panels` with all rows to `out`.
///
/// # Safety
/// `rows` must be as wide as `matrix`, which holds codes of `format`; no other thread may write
/// these panels of `out`; [`serves`] must have said yes.
pub(super) unsafe fn piece(
    matrix: &QuantMatrix,
    format: Format,
    rows: &Rows,
    panels: Range<usize>,
    out: &Output,
) {
    let pairs = panels.len().div_ceil(2);
    let blocks = rows.blocks();
    SCRATCH.with_borrow_mut(|scratch| {
        grow(&mut scratch.weights, 2 * pairs * CHUNK_STEPS);
        grow(&mut scratch.sums, blocks * 2 * pairs);
        // SAFETY: the caller's promise.
        let registers = unsafe { TileRegisters::take() };
        for first in (0..rows.steps).step_by(CHUNK_STEPS) {
            let steps = CHUNK_STEPS.min(rows.steps - first);
            let places = scratch.weights.chunks_exact_mut(CHUNK_STEPS);
            for (index, place) in places.take(2 * pairs).enumerate() {
                let place = &mut place[..steps];
                match panels.clone().nth(index) {
                    // SAFETY: groups of this panel; the instructions are there.
                    Some(panel) => unsafe {
                        unpack_groups(format, matrix.panel(panel), first, place);
                    },
                    None => place.fill(Tile::ZERO),
                }
            }
            for block in (0..blocks).step_by(2) {
                for pair in 0..pairs {
                    let input = |block: usize| &raw const rows.tiles[block * rows.steps + first];
                    let weight = |panel: usize| &raw const scratch.weights[panel * CHUNK_STEPS];
                    let sums = &mut scratch.sums[(block / 2 * pairs + pair) * 4..][..4];
                    // SAFETY: `steps` tiles follow each of these, within its block or panel.
                    unsafe {
                        registers.multiply(
                            [input(block), input(block + 1)],
                            [weight(2 * pair), weight(2 * pair + 1)],
                            steps,
                            sums.as_mut_ptr(),
                            first > 0,
                        );
                    }
                }
            }
        }
        drop(registers);
        // SAFETY: the caller's promise; the kernel wrote sums of all blocks.
        unsafe { write_out(&scratch.sums, blocks, rows.tokens, panels, out) };
    });
}

/// Copies the sums of a piece, pairs of blocks by pairs of panels, to where they belong.
///
/// # Safety
/// The machine must have AVX-512 F; the tiles must hold sums; no other thread may write these panels.
#[target_feature(enable = "avx512f")]
unsafe fn write_out(
    sums: &[Tile],
    blocks: usize,
    tokens: usize,
    panels: Range<usize>,
    out: &Output,
) {
    let pairs = panels.len().div_ceil(2);
    for block in 0..blocks {
        let first = block * TILE_ROWS;
        let count = TILE_ROWS.min(tokens.saturating_sub(first));
        for row in 0..count {
            for (index, panel) in panels.clone().enumerate() {
                let tile = (block / 2 * pairs + index / 2) * 4 + block % 2 * 2 + index % 2;
                // SAFETY: the caller's promise.
                unsafe { out.put(first + row, panel, &sums[tile].sums[row]) };
            }
        }
    }
}

/// Unpacks as many groups of a panel as there are `tiles`, from group `first` on.
///
/// # Safety
/// The machine must have AVX-512 F and BW, AVX2, FMA and F16C; the slices must be a panel of `format`
/// with those groups.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn unpack_groups(
    format: Format,
    (codes, scales): (&[u8], &[u8]),
    first: usize,
    tiles: &mut [Tile],
) {
    debug_assert!((first + tiles.len()) * group_code_bytes(format) <= codes.len());
    let (codes, scales) = (codes.as_ptr(), scales.as_ptr());
    // SAFETY: passed on from the caller, with the constants of the same format.
    unsafe {
        match (format.bits, format.scales) {
            (4, ScaleKind::Half) => run::<4, 0>(format, codes, scales, first, tiles),
            (4, ScaleKind::HalfMin) => run::<4, 1>(format, codes, scales, first, tiles),
            (4, _) => run::<4, 2>(format, codes, scales, first, tiles),
            (5, ScaleKind::Half) => run::<5, 0>(format, codes, scales, first, tiles),
            (5, ScaleKind::HalfMin) => run::<5, 1>(format, codes, scales, first, tiles),
            (5, _) => run::<5, 2>(format, codes, scales, first, tiles),
            (6, _) => run::<6, 3>(format, codes, scales, first, tiles),
            _ => run::<8, 0>(format, codes, scales, first, tiles),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn run<const BITS: usize, const KIND: u8>(
    format: Format,
    codes: *const u8,
    scales: *const u8,
    first: usize,
    tiles: &mut [Tile],
) {
    let offset = _mm512_set1_ps(format.offset as f32);
    for (index, tile) in tiles.iter_mut().enumerate() {
        let group = first + index;
        // SAFETY: the caller gives a panel with this group; two rows of the tile are written for
        // each of the eight vectors.
        unsafe {
            let weights = unpack::<BITS>(codes.add(group * (PANEL * GROUP * BITS / 8)));
            let factors = read_factors::<KIND>(scales, group);
            let to = tile.pairs.as_mut_ptr().cast::<__m512i>();
            for (vector, codes) in weights.into_iter().enumerate() {
                let scale = factors.scale[vector / 4];
                let start = _mm512_fnmadd_ps(offset, scale, factors.min);
                let byte = _mm512_set1_epi32(0xff);
                let value = |code: __m512i| {
                    let value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(code), scale, start);
                    // Half a unit more, so that cutting rounds.
                    _mm512_add_epi32(_mm512_castps_si512(value), _mm512_set1_epi32(0x8000))
                };
                let pair = |even: __m512i, odd: __m512i| {
                    _mm512_mask_blend_epi16(0xaaaa_aaaa, _mm512_srli_epi32::<16>(even), odd)
                };
                let even = value(_mm512_and_si512(codes, byte));
                let odd = value(_mm512_and_si512(_mm512_srli_epi32::<8>(codes), byte));
                _mm512_store_si512(to.add(2 * vector), pair(even, odd));
                let even = value(_mm512_and_si512(_mm512_srli_epi32::<16>(codes), byte));
                let odd = value(_mm512_srli_epi32::<24>(codes));
                _mm512_store_si512(to.add(2 * vector + 1), pair(even, odd));
            }
        }
    }
}
