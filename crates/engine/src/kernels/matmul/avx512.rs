//! Products by AVX-512 with VNNI: one instruction multiplies four codes of each of 16 rows with
//! four activations and adds them up, 64 products a lane step.
//!
//! A group's codes are unpacked into eight registers once and meet every token of the block there.

use std::arch::x86_64::*;

use super::Record;
use crate::kernels::ggml::{Format, GROUP, SUPER_GROUPS, ScaleKind};
use crate::kernels::matrix::{
    FloatKind, HALVES, PANEL, SUPER_16_BYTES, SUPER_MIN_BYTES, VECTOR_BYTES, VECTORS,
};

/// Tokens whose dot products run side by side, enough to hide the instruction's latency.
const TOKENS: usize = 4;
/// How far ahead of their use codes are asked for.
const PREFETCH_BYTES: usize = 2048;

/// Adds to `sums[token]` the products of one panel with a block of records.
///
/// # Safety
/// The machine must have AVX-512 F, BW, VL and VNNI; the slices must be one panel of `format`, and
/// whole groups of `sums.len()` records, as many as the panel has.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn groups(
    format: Format,
    panel: (&[u8], &[u8]),
    records: &[Record],
    sums: &mut [[f32; PANEL]],
) {
    const HALF: u8 = 0;
    const HALF_MIN: u8 = 1;
    const SUPER_MIN: u8 = 2;
    const SUPER_16: u8 = 3;
    // SAFETY: passed on from the caller, with the constants of the same format.
    unsafe {
        match (format.bits, format.scales, format.offset) {
            (4, ScaleKind::Half, _) => run::<4, HALF, 8>(panel, records, sums),
            (4, ScaleKind::HalfMin, _) => run::<4, HALF_MIN, 0>(panel, records, sums),
            (4, _, _) => run::<4, SUPER_MIN, 0>(panel, records, sums),
            (5, ScaleKind::Half, _) => run::<5, HALF, 16>(panel, records, sums),
            (5, ScaleKind::HalfMin, _) => run::<5, HALF_MIN, 0>(panel, records, sums),
            (5, _, _) => run::<5, SUPER_MIN, 0>(panel, records, sums),
            (6, _, _) => run::<6, SUPER_16, 32>(panel, records, sums),
            _ => run::<8, HALF, 128>(panel, records, sums),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn run<const BITS: usize, const KIND: u8, const OFFSET: i32>(
    (codes, scales): (&[u8], &[u8]),
    records: &[Record],
    sums: &mut [[f32; PANEL]],
) {
    let code_bytes = PANEL * GROUP * BITS / 8;
    let groups = codes.len() / code_bytes;
    let tokens = sums.len();
    debug_assert_eq!(records.len(), groups * tokens);
    for group in 0..groups {
        // SAFETY: `group` is within the panel, and the records are `tokens` for each group. A
        // prefetch beyond the end touches nothing.
        unsafe {
            let at = codes.as_ptr().add(group * code_bytes);
            for line in (0..code_bytes).step_by(VECTOR_BYTES) {
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(PREFETCH_BYTES + line).cast());
            }
            let weights = unpack::<BITS>(at);
            let factors = read_factors::<KIND>(scales.as_ptr(), group);
            let mut record = records.as_ptr().add(group * tokens);
            let mut sum = sums.as_mut_ptr();
            for _ in 0..tokens / TOKENS {
                multiply::<TOKENS, KIND, OFFSET>(&weights, &factors, record, sum);
                record = record.add(TOKENS);
                sum = sum.add(TOKENS);
            }
            for _ in 0..tokens % TOKENS {
                multiply::<1, KIND, OFFSET>(&weights, &factors, record, sum);
                record = record.add(1);
                sum = sum.add(1);
            }
        }
    }
}

/// The codes of one group as unsigned bytes, vector by vector.
#[inline(always)]
pub(super) unsafe fn unpack<const BITS: usize>(codes: *const u8) -> [__m512i; VECTORS] {
    // SAFETY: inlined where the instructions are on; the caller gives a whole group: 8 vectors for
    // 8 bits, else 4 and the high planes.
    unsafe {
        let vector =
            |index: usize| _mm512_loadu_si512(codes.add(index * VECTOR_BYTES).cast::<__m512i>());
        let mut weights = [_mm512_setzero_si512(); VECTORS];
        if BITS == 8 {
            for (index, weight) in weights.iter_mut().enumerate() {
                *weight = vector(index);
            }
            return weights;
        }
        let nibble = _mm512_set1_epi8(0x0f);
        for index in 0..VECTORS / 2 {
            let pair = vector(index);
            weights[index] = _mm512_and_si512(pair, nibble);
            weights[index + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(pair), nibble);
        }
        /// Puts the bits of `$plane`, shifted and masked, on top of a weight.
        macro_rules! raise {
        ($plane:expr, $mask:expr, $($index:literal: $shift:ident $by:literal),*) => {$(
            // (plane & mask) | weight
            weights[$index] = _mm512_ternarylogic_epi64::<0xea>(
                $shift::<$by>($plane), $mask, weights[$index]);
        )*};
    }
        if BITS == 5 {
            let (plane, mask) = (vector(4), _mm512_set1_epi8(0x10));
            raise!(plane, mask,
            0: _mm512_slli_epi16 4, 1: _mm512_slli_epi16 3, 2: _mm512_slli_epi16 2,
            3: _mm512_slli_epi16 1, 4: _mm512_slli_epi16 0, 5: _mm512_srli_epi16 1,
            6: _mm512_srli_epi16 2, 7: _mm512_srli_epi16 3);
        }
        if BITS == 6 {
            let mask = _mm512_set1_epi8(0x30);
            let (first, last) = (vector(4), vector(5));
            raise!(first, mask,
            0: _mm512_slli_epi16 4, 1: _mm512_slli_epi16 2, 2: _mm512_slli_epi16 0,
            3: _mm512_srli_epi16 2);
            raise!(last, mask,
            4: _mm512_slli_epi16 4, 5: _mm512_slli_epi16 2, 6: _mm512_slli_epi16 0,
            7: _mm512_srli_epi16 2);
        }
        weights
    }
}

/// Scales of the two halves of a group (the same but for `SUPER_16`) and the added minimum.
pub(super) struct Factors {
    pub(super) scale: [__m512; 2],
    pub(super) min: __m512,
}

#[inline(always)]
pub(super) unsafe fn read_factors<const KIND: u8>(scales: *const u8, group: usize) -> Factors {
    // SAFETY: inlined where the instructions are on; the caller gives the scales of a whole panel,
    // of which `group` is one.
    unsafe {
        let (block, within) = (group / SUPER_GROUPS, group % SUPER_GROUPS);
        let halves = |at: *const u8| _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()));
        let zero = _mm512_setzero_ps();
        match KIND {
            0 => {
                let scale = halves(scales.add(group * HALVES));
                Factors {
                    scale: [scale, scale],
                    min: zero,
                }
            }
            1 => {
                let at = scales.add(group * 2 * HALVES);
                let scale = halves(at);
                Factors {
                    scale: [scale, scale],
                    min: halves(at.add(HALVES)),
                }
            }
            2 => {
                let at = scales.add(block * SUPER_MIN_BYTES);
                let small = at.add(2 * HALVES + within * 2 * PANEL);
                let unsigned = |at: *const u8| {
                    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast())))
                };
                let scale = _mm512_mul_ps(halves(at), unsigned(small));
                let min = _mm512_mul_ps(halves(at.add(HALVES)), unsigned(small.add(PANEL)));
                Factors {
                    scale: [scale, scale],
                    min: _mm512_sub_ps(zero, min),
                }
            }
            _ => {
                let at = scales.add(block * SUPER_16_BYTES);
                let small = at.add(HALVES + within * 2 * PANEL);
                let signed = |at: *const u8| {
                    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at.cast())))
                };
                let d = halves(at);
                Factors {
                    scale: [
                        _mm512_mul_ps(d, signed(small)),
                        _mm512_mul_ps(d, signed(small.add(PANEL))),
                    ],
                    min: zero,
                }
            }
        }
    }
}

/// One group of 16 rows with `N` tokens.
#[inline(always)]
unsafe fn multiply<const N: usize, const KIND: u8, const OFFSET: i32>(
    weights: &[__m512i; VECTORS],
    factors: &Factors,
    records: *const Record,
    sums: *mut [f32; PANEL],
) {
    // SAFETY: inlined where the instructions are on; the caller gives `N` records and as many sums.
    unsafe {
        let start = |token: usize, half: usize| {
            let record = &*records.add(token);
            match OFFSET {
                8 => _mm512_set1_epi32(record.offset_8),
                16 => _mm512_set1_epi32(record.offset_16),
                32 => _mm512_set1_epi32(record.offset_32[half]),
                128 => _mm512_set1_epi32(record.offset_128),
                _ => _mm512_setzero_si512(),
            }
        };
        let quad = |token: usize, index: usize| {
            let codes = (*records.add(token)).codes.as_ptr();
            _mm512_set1_epi32(codes.add(index * 4).cast::<i32>().read_unaligned())
        };
        // The halves run as two chains; where they share a scale only one starts at the offset.
        let mut first: [__m512i; N] = std::array::from_fn(|token| start(token, 0));
        let mut last: [__m512i; N] = std::array::from_fn(|token| {
            if KIND == 3 {
                start(token, 1)
            } else {
                _mm512_setzero_si512()
            }
        });
        for index in 0..VECTORS / 2 {
            for token in 0..N {
                let x = quad(token, index);
                first[token] = _mm512_dpbusd_epi32(first[token], weights[index], x);
                let x = quad(token, index + 4);
                last[token] = _mm512_dpbusd_epi32(last[token], weights[index + 4], x);
            }
        }
        for token in 0..N {
            let record = &*records.add(token);
            let scale = _mm512_set1_ps(record.scale);
            let at = sums.add(token).cast::<f32>();
            let mut sum = _mm512_loadu_ps(at);
            if KIND == 3 {
                let factor = _mm512_mul_ps(factors.scale[0], scale);
                sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(first[token]), factor, sum);
                let factor = _mm512_mul_ps(factors.scale[1], scale);
                sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(last[token]), factor, sum);
            } else {
                let dot = _mm512_add_epi32(first[token], last[token]);
                let factor = _mm512_mul_ps(factors.scale[0], scale);
                sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), factor, sum);
            }
            if KIND == 1 || KIND == 2 {
                sum = _mm512_fmadd_ps(factors.min, _mm512_set1_ps(record.sum), sum);
            }
            _mm512_storeu_ps(at, sum);
        }
    }
}

/// Tokens that share the reading of a float.
const FLOAT_TOKENS: usize = 12;

/// The products of one panel of floats with `sums.len()` rows of `x`.
///
/// # Safety
/// The machine must have AVX-512 F and F16C; `codes` must be a panel of `kind` as wide as the rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn floats(kind: FloatKind, codes: &[u8], x: &[f32], sums: &mut [[f32; PANEL]]) {
    let cols = codes.len() / (PANEL * kind.bytes());
    debug_assert_eq!(x.len(), sums.len() * cols);
    let rows = x
        .chunks(FLOAT_TOKENS * cols)
        .zip(sums.chunks_mut(FLOAT_TOKENS));
    for (x, sums) in rows {
        /// Calls the form for exactly as many rows as there are.
        macro_rules! exactly {
            ($($n:literal)*) => {
                match sums.len() {
                    // SAFETY: as many rows of `x` as sums.
                    $($n => unsafe { float_rows::<$n>(kind, codes, x, sums) },)*
                    _ => debug_assert!(sums.is_empty()),
                }
            };
        }
        exactly!(1 2 3 4 5 6 7 8 9 10 11 12);
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
        let mut acc = [_mm512_setzero_ps(); N];
        for k in 0..cols {
            let at = codes.as_ptr().add(k * PANEL * kind.bytes());
            let weights = match kind {
                FloatKind::F32 => _mm512_loadu_ps(at.cast()),
                FloatKind::F16 => _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())),
                FloatKind::Bf16 => _mm512_castsi512_ps(_mm512_slli_epi32::<16>(
                    _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast())),
                )),
            };
            for (token, acc) in acc.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*x.get_unchecked(token * cols + k));
                *acc = _mm512_fmadd_ps(weights, x, *acc);
            }
        }
        for (acc, sums) in acc.into_iter().zip(sums) {
            _mm512_storeu_ps(sums.as_mut_ptr(), acc);
        }
    }
}
