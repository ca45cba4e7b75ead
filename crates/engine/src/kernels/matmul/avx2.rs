//! Products by AVX2: pairs of codes and activations into 16 bits, those into 32.
//!
//! Sums of pairs stay in 16 bits for as many steps as the codes' width cannot overflow. A panel goes
//! by halves of eight rows, whose unpacked codes take half of the sixteen registers.

use std::arch::x86_64::*;

use super::Record;
use crate::kernels::ggml::{Format, GROUP, SUPER_GROUPS, ScaleKind};
use crate::kernels::matrix::{
    FloatKind, HALVES, PANEL, SUPER_16_BYTES, SUPER_MIN_BYTES, VECTOR_BYTES, VECTORS,
};

/// Rows of one register's 32-bit lanes.
const ROWS: usize = PANEL / 2;

/// Adds to `sums[token]` the products of one panel with a block of records.
///
/// # Safety
/// The machine must have AVX2, FMA and F16C; the slices must be one panel of `format`, and whole
/// groups of `sums.len()` records, as many as the panel has.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn groups(
    format: Format,
    panel: (&[u8], &[u8]),
    records: &[Record],
    sums: &mut [[f32; PANEL]],
) {
    // SAFETY: passed on from the caller, with the width of the same format.
    unsafe {
        match format.bits {
            4 => run::<4>(format, panel, records, sums),
            5 => run::<5>(format, panel, records, sums),
            6 => run::<6>(format, panel, records, sums),
            _ => run::<8>(format, panel, records, sums),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run<const BITS: usize>(
    format: Format,
    (codes, scales): (&[u8], &[u8]),
    records: &[Record],
    sums: &mut [[f32; PANEL]],
) {
    let code_bytes = PANEL * GROUP * BITS / 8;
    let tokens = sums.len();
    debug_assert_eq!(records.len(), codes.len() / code_bytes * tokens);
    let halved = format.scales == ScaleKind::Super16;
    for (group, records) in records.chunks_exact(tokens).enumerate() {
        for half in 0..2 {
            // SAFETY: the codes and scales of group `group`, its first or last eight rows.
            let (weights, factors) = unsafe {
                (
                    unpack::<BITS>(codes.as_ptr().add(group * code_bytes + half * 32)),
                    read_factors(format.scales, scales.as_ptr(), group, half),
                )
            };
            for (record, sums) in records.iter().zip(sums.iter_mut()) {
                let at = sums[half * ROWS..].as_mut_ptr();
                // SAFETY: eight sums, and a record's 32 codes.
                unsafe {
                    let x = record.codes.as_ptr();
                    let first = dot::<BITS>(&weights, x, 0);
                    let last = dot::<BITS>(&weights, x, VECTORS / 2);
                    let mut sum = _mm256_loadu_ps(at);
                    let scale = _mm256_set1_ps(record.scale);
                    let mut add = |dot, offset, factor| {
                        let dot = _mm256_add_epi32(dot, _mm256_set1_epi32(offset));
                        let factor = _mm256_mul_ps(factor, scale);
                        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), factor, sum);
                    };
                    if halved {
                        add(first, record.offset_32[0], factors.scale[0]);
                        add(last, record.offset_32[1], factors.scale[1]);
                    } else {
                        let offset = match format.offset {
                            8 => record.offset_8,
                            16 => record.offset_16,
                            128 => record.offset_128,
                            _ => 0,
                        };
                        add(_mm256_add_epi32(first, last), offset, factors.scale[0]);
                    }
                    sum = _mm256_fmadd_ps(factors.min, _mm256_set1_ps(record.sum), sum);
                    _mm256_storeu_ps(at, sum);
                }
            }
        }
    }
}

/// The dot products of eight rows with four quads of activations from quad `first`.
#[inline(always)]
unsafe fn dot<const BITS: usize>(
    weights: &[__m256i; VECTORS],
    x: *const i8,
    first: usize,
) -> __m256i {
    // SAFETY: inlined where the instructions are on; quad `index` of the record's eight.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        // The largest pair of 4, 5, 6 bits is 3,810, 7,874 or 16,002: of 8, 4 or 2 of them the sum
        // fits.
        let steps = match BITS {
            4 | 5 => 4,
            6 => 2,
            _ => 1,
        };
        let mut total = _mm256_setzero_si256();
        let mut pairs = _mm256_setzero_si256();
        let mut high_pairs = _mm256_setzero_si256();
        for step in 0..VECTORS / 2 {
            let index = first + step;
            let x = _mm256_set1_epi32(x.add(index * 4).cast::<i32>().read_unaligned());
            if BITS == 8 {
                // Seven bits and the eighth apart: pairs of full bytes would overflow.
                let low = _mm256_and_si256(weights[index], _mm256_set1_epi8(0x7f));
                let high =
                    _mm256_and_si256(_mm256_srli_epi16::<7>(weights[index]), _mm256_set1_epi8(1));
                pairs = _mm256_maddubs_epi16(low, x);
                high_pairs = _mm256_add_epi16(high_pairs, _mm256_maddubs_epi16(high, x));
            } else {
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(weights[index], x));
            }
            if (step + 1) % steps == 0 {
                total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, ones));
                pairs = _mm256_setzero_si256();
            }
        }
        if BITS == 8 {
            let high = _mm256_madd_epi16(high_pairs, _mm256_set1_epi16(128));
            total = _mm256_add_epi32(total, high);
        }
        total
    }
}

/// Eight rows' codes of one group as unsigned bytes, vector by vector.
#[inline(always)]
unsafe fn unpack<const BITS: usize>(codes: *const u8) -> [__m256i; VECTORS] {
    // SAFETY: inlined where the instructions are on; the caller gives half of a whole group.
    unsafe {
        let vector =
            |index: usize| _mm256_loadu_si256(codes.add(index * VECTOR_BYTES).cast::<__m256i>());
        let mut weights = [_mm256_setzero_si256(); VECTORS];
        if BITS == 8 {
            for (index, weight) in weights.iter_mut().enumerate() {
                *weight = vector(index);
            }
            return weights;
        }
        let nibble = _mm256_set1_epi8(0x0f);
        for index in 0..VECTORS / 2 {
            let pair = vector(index);
            weights[index] = _mm256_and_si256(pair, nibble);
            weights[index + 4] = _mm256_and_si256(_mm256_srli_epi16::<4>(pair), nibble);
        }
        for (index, weight) in weights.iter_mut().enumerate() {
            let high = match BITS {
                5 => {
                    let plane = _mm256_srl_epi16(vector(4), _mm_cvtsi32_si128(index as i32));
                    _mm256_and_si256(plane, _mm256_set1_epi8(1))
                }
                6 => {
                    let shift = _mm_cvtsi32_si128(index as i32 % 4 * 2);
                    let plane = _mm256_srl_epi16(vector(4 + index / 4), shift);
                    _mm256_and_si256(plane, _mm256_set1_epi8(3))
                }
                _ => continue,
            };
            *weight = _mm256_or_si256(*weight, _mm256_slli_epi16::<4>(high));
        }
        weights
    }
}

/// Scales of the two halves of a group's codes and the added minimum, of eight rows.
struct Factors {
    scale: [__m256; 2],
    min: __m256,
}

#[inline(always)]
unsafe fn read_factors(kind: ScaleKind, scales: *const u8, group: usize, half: usize) -> Factors {
    // SAFETY: inlined where the instructions are on; the caller gives the scales of a whole panel,
    // of which `group` is one.
    unsafe {
        let (block, within) = (group / SUPER_GROUPS, group % SUPER_GROUPS);
        let halves =
            |at: *const u8| _mm256_cvtph_ps(_mm_loadu_si128(at.add(half * ROWS * 2).cast()));
        let bytes = |at: *const u8| _mm_loadl_epi64(at.add(half * ROWS).cast());
        let unsigned = |at| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes(at)));
        let signed = |at| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes(at)));
        let zero = _mm256_setzero_ps();
        match kind {
            ScaleKind::Half => Factors {
                scale: [halves(scales.add(group * HALVES)); 2],
                min: zero,
            },
            ScaleKind::HalfMin => {
                let at = scales.add(group * 2 * HALVES);
                Factors {
                    scale: [halves(at); 2],
                    min: halves(at.add(HALVES)),
                }
            }
            ScaleKind::SuperMin => {
                let at = scales.add(block * SUPER_MIN_BYTES);
                let small = at.add(2 * HALVES + within * 2 * PANEL);
                let min = _mm256_mul_ps(halves(at.add(HALVES)), unsigned(small.add(PANEL)));
                Factors {
                    scale: [_mm256_mul_ps(halves(at), unsigned(small)); 2],
                    min: _mm256_sub_ps(zero, min),
                }
            }
            ScaleKind::Super16 => {
                let at = scales.add(block * SUPER_16_BYTES);
                let small = at.add(HALVES + within * 2 * PANEL);
                let d = halves(at);
                Factors {
                    scale: [
                        _mm256_mul_ps(d, signed(small)),
                        _mm256_mul_ps(d, signed(small.add(PANEL))),
                    ],
                    min: zero,
                }
            }
        }
    }
}

/// The products of one panel of floats with `sums.len()` rows of `x`.
///
/// # Safety
/// The machine must have AVX2, FMA and F16C; `codes` must be a panel of `kind` as wide as the rows.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn floats(kind: FloatKind, codes: &[u8], x: &[f32], sums: &mut [[f32; PANEL]]) {
    const TOKENS: usize = 4;
    let cols = codes.len() / (PANEL * kind.bytes());
    debug_assert_eq!(x.len(), sums.len() * cols);
    let rows = x.chunks(TOKENS * cols).zip(sums.chunks_mut(TOKENS));
    for (x, sums) in rows {
        // SAFETY: as many rows of `x` as sums.
        unsafe {
            match sums.len() {
                4 => float_rows::<4>(kind, codes, x, sums),
                3 => float_rows::<3>(kind, codes, x, sums),
                2 => float_rows::<2>(kind, codes, x, sums),
                _ => float_rows::<1>(kind, codes, x, sums),
            }
        }
    }
}

/// `N` rows that share the reading of the weights.
#[inline(always)]
unsafe fn float_rows<const N: usize>(
    kind: FloatKind,
    codes: &[u8],
    x: &[f32],
    sums: &mut [[f32; PANEL]],
) {
    // SAFETY: inlined where the instructions are on; element `k` of the panel and of the `N` rows;
    // a panel's sums are 16 floats.
    unsafe {
        let cols = x.len() / N;
        let mut acc = [[_mm256_setzero_ps(); 2]; N];
        for k in 0..cols {
            for half in 0..2 {
                let at = codes.as_ptr().add((k * PANEL + half * ROWS) * kind.bytes());
                let weights = match kind {
                    FloatKind::F32 => _mm256_loadu_ps(at.cast()),
                    FloatKind::F16 => _mm256_cvtph_ps(_mm_loadu_si128(at.cast())),
                    FloatKind::Bf16 => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(
                        _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast())),
                    )),
                };
                for (token, acc) in acc.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*x.get_unchecked(token * cols + k));
                    acc[half] = _mm256_fmadd_ps(weights, x, acc[half]);
                }
            }
        }
        for (acc, sums) in acc.into_iter().zip(sums) {
            for (half, acc) in acc.into_iter().enumerate() {
                _mm256_storeu_ps(sums[half * ROWS..].as_mut_ptr(), acc);
            }
        }
    }
}
