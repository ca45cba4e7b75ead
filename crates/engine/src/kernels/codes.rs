//! Rows of floats as integer codes of 2, 3, 4 or 8 bits, in groups with a scale and a least value.
//!
//! The quantiser is the asymmetric uniform one of KIVI and XQuant (arXiv:2508.10395, section 4):
//! `x ≈ least + scale · code`, both factors f16, rounded outwards so that every finite value lies
//! within half a step of its code. A group's codes lie in planes, so that unpacking is vectors of
//! shifts and nothing is wasted: 3 bits are a plane of 2 and one of 1. How many bits there can be is
//! `footnote-device`'s to say, whose kernels make the same codes. Must not know what the rows are of.

pub use footnote_device::kernels::codes::Bits;
use half::f16;

use super::isa::Isa;
use super::lanes::{Kernel, Lanes, dispatch};

/// Largest code.
fn top(bits: Bits) -> f32 {
    ((1_u32 << bits.count()) - 1) as f32
}

/// Values of a group are a multiple of this, so that planes are whole bytes.
const GROUP_STEP: usize = 16;

/// The longest group up to `most` that divides `width` and packs into whole bytes, if there is one.
pub fn group_of(width: usize, most: usize) -> Option<usize> {
    (1..=most / GROUP_STEP)
        .rev()
        .map(|steps| steps * GROUP_STEP)
        .find(|group| width.is_multiple_of(*group))
}

/// Packed rows, all of one width.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeRows {
    bits: Bits,
    width: usize,
    group: usize,
    /// Group by group, the first row first.
    codes: Vec<u8>,
    /// Scale and least value of each group.
    factors: Vec<f16>,
}

impl CodeRows {
    /// Packs `rows`, each `width` long, in groups of `group` neighbours. A value that is no number
    /// counts as 0, one beyond f16 as the largest f16.
    ///
    /// # Panics
    /// When `rows` are not whole, or `group` is no divisor of `width` and multiple of 16.
    pub fn encode(rows: &[f32], width: usize, group: usize, bits: Bits) -> CodeRows {
        assert!(rows.len().is_multiple_of(width), "whole rows of {width}");
        assert!(
            width.is_multiple_of(group) && group.is_multiple_of(GROUP_STEP),
            "groups of {group} in rows of {width}"
        );
        let groups = rows.len() / group;
        let mut packed = CodeRows {
            bits,
            width,
            group,
            codes: vec![0; groups * code_bytes(group, bits)],
            factors: vec![f16::ZERO; if bits.has_factors() { 2 * groups } else { 0 }],
        };
        dispatch(
            Isa::detect(),
            Encode {
                rows,
                to: &mut packed,
            },
        );
        packed
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.codes.len() / self.row_bytes().max(1)
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes of codes and factors.
    pub fn size_bytes(&self) -> usize {
        self.codes.len() + size_of::<f16>() * self.factors.len()
    }

    /// Writes rows `first..` to `out`, as many as fit.
    ///
    /// # Panics
    /// When `out` is not whole rows, or more than there are.
    pub fn decode(&self, first: usize, out: &mut [f32]) {
        assert!(
            out.len().is_multiple_of(self.width),
            "whole rows of {}",
            self.width
        );
        assert!(
            first + out.len() / self.width <= self.rows(),
            "rows {first}.. of {}",
            self.rows()
        );
        dispatch(
            Isa::detect(),
            Decode {
                rows: self,
                first,
                out,
            },
        );
    }

    fn row_bytes(&self) -> usize {
        code_bytes(self.width, self.bits)
    }

    /// As [`decode`](Self::decode), inside a kernel.
    #[inline(always)]
    pub(super) fn decode_here(&self, first: usize, out: &mut [f32]) {
        let bytes = code_bytes(self.group, self.bits);
        let first = first * (self.width / self.group);
        let codes = &self.codes[first * bytes..];
        let groups = codes
            .chunks_exact(bytes)
            .zip(out.chunks_exact_mut(self.group));
        if !self.bits.has_factors() {
            for (codes, out) in groups {
                for (out, code) in out.iter_mut().zip(codes.chunks_exact(2)) {
                    *out = f16::from_le_bytes([code[0], code[1]]).to_f32();
                }
            }
            return;
        }
        let factors = self.factors[2 * first..].chunks_exact(2);
        for ((codes, out), factor) in groups.zip(factors) {
            let (scale, least) = (factor[0].to_f32(), factor[1].to_f32());
            match self.bits {
                Bits::Two => unpack::<2>(codes, scale, least, out),
                Bits::Three => unpack_three(codes, scale, least, out),
                Bits::Four => unpack::<4>(codes, scale, least, out),
                Bits::Eight | Bits::Half => unpack::<8>(codes, scale, least, out),
            }
        }
    }
}

fn code_bytes(values: usize, bits: Bits) -> usize {
    values * bits.count() / 8
}

/// `BITS` a code: plane after plane of the group's neighbours.
#[inline(always)]
fn unpack<const BITS: usize>(codes: &[u8], scale: f32, least: f32, out: &mut [f32]) {
    let mask = (u16::MAX >> (16 - BITS)) as u8;
    for (plane, out) in out.chunks_exact_mut(codes.len()).enumerate() {
        for (out, code) in out.iter_mut().zip(codes) {
            *out = f32::from(code >> (plane * BITS) & mask) * scale + least;
        }
    }
}

/// Two low bits in the first two thirds of the bytes, the high bit in the last third.
#[inline(always)]
fn unpack_three(codes: &[u8], scale: f32, least: f32, out: &mut [f32]) {
    let (low, high) = codes.split_at(codes.len() / 3 * 2);
    unpack::<2>(low, scale, least, out);
    let step = 4.0 * scale;
    for (plane, out) in out.chunks_exact_mut(high.len()).enumerate() {
        for (out, code) in out.iter_mut().zip(high) {
            *out += f32::from(code >> plane & 1) * step;
        }
    }
}

struct Encode<'a> {
    rows: &'a [f32],
    to: &'a mut CodeRows,
}

impl Kernel for Encode<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Encode { rows, to } = self;
        let (bits, group) = (to.bits, to.group);
        let bytes = code_bytes(group, bits);
        let groups = rows
            .chunks_exact(group)
            .zip(to.codes.chunks_exact_mut(bytes));
        if !bits.has_factors() {
            for (values, codes) in groups {
                for (code, value) in codes.chunks_exact_mut(2).zip(values) {
                    code.copy_from_slice(&f16::from_f32(tame(*value)).to_le_bytes());
                }
            }
            return;
        }
        for ((values, codes), factors) in groups.zip(to.factors.chunks_exact_mut(2)) {
            let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
            for value in values {
                let value = tame(*value);
                least = if value < least { value } else { least };
                most = if value > most { value } else { most };
            }
            factors[1] = at_most(least);
            let least = factors[1].to_f32();
            factors[0] = at_least((most - least) / top(bits));
            let scale = factors[0].to_f32();
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            let code = |value: f32| {
                let code = ((tame(value) - least) * inverse + 0.5).clamp(0.0, top(bits));
                // Truncation of what was moved up by half is rounding.
                code as u8
            };
            match bits {
                Bits::Two => pack::<2>(values, codes, code),
                Bits::Four => pack::<4>(values, codes, code),
                Bits::Eight | Bits::Half => pack::<8>(values, codes, code),
                Bits::Three => {
                    let (low, high) = codes.split_at_mut(bytes / 3 * 2);
                    pack::<2>(values, low, |value| code(value) & 3);
                    pack::<1>(values, high, |value| code(value) >> 2);
                }
            }
        }
    }
}

/// Puts `BITS` of each value's code into planes.
#[inline(always)]
fn pack<const BITS: usize>(values: &[f32], codes: &mut [u8], code: impl Fn(f32) -> u8) {
    for (plane, values) in values.chunks_exact(codes.len()).enumerate() {
        for (to, value) in codes.iter_mut().zip(values) {
            *to |= code(*value) << (plane * BITS);
        }
    }
}

/// What f16 can hold of a value; 0 for what is no number.
#[inline(always)]
fn tame(value: f32) -> f32 {
    const LARGEST: f32 = 65_504.0;
    if value.is_nan() {
        0.0
    } else {
        value.clamp(-LARGEST, LARGEST)
    }
}

/// The largest f16 not above `value`.
fn at_most(value: f32) -> f16 {
    -at_least(-value)
}

/// The smallest f16 not below `value`, which is within f16's range.
fn at_least(value: f32) -> f16 {
    let near = f16::from_f32(value);
    if near.to_f32() >= value {
        near
    } else if near.to_bits() == 0x8000 || near.to_bits() == 0 {
        f16::from_bits(1)
    } else if near.is_sign_negative() {
        f16::from_bits(near.to_bits() - 1)
    } else if near == f16::MAX {
        near
    } else {
        f16::from_bits(near.to_bits() + 1)
    }
}

struct Decode<'a> {
    rows: &'a CodeRows,
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for Decode<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        self.rows.decode_here(self.first, self.out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Half a step each way, whatever the values, groups and counts of rows.
        #[test]
        fn every_value_comes_back_within_half_a_step(
            bits in prop::sample::select(Bits::ALL.to_vec()),
            group in prop::sample::select(vec![16_usize, 48, 64, 80, 96, 128]),
            groups in 1_usize..4,
            rows in 0_usize..4,
            seed in any::<u64>(),
            spread in -12_i32..12,
            centre in -300.0_f32..300.0,
        ) {
            let width = group * groups;
            let mut state = seed | 1;
            let values: Vec<f32> = (0..rows * width)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    centre + ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * (spread as f32).exp2()
                })
                .collect();
            let packed = CodeRows::encode(&values, width, group, bits);
            prop_assert_eq!(packed.rows(), rows);
            let factors = if bits == Bits::Half { 0 } else { 4 * rows * groups };
            prop_assert_eq!(packed.size_bytes(), rows * width * bits.count() / 8 + factors);
            let mut back = vec![0.0; values.len()];
            packed.decode(0, &mut back);
            for (values, back) in values.chunks_exact(group).zip(back.chunks_exact(group)) {
                let least = values.iter().copied().fold(f32::INFINITY, f32::min);
                let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                // The factors' own rounding widens a step.
                let ulp = least.abs().max(most.abs()) / 1024.0 + 1e-7;
                let step = if bits == Bits::Half { 0.0 } else { (most - least + ulp) / top(bits) };
                let bound = step * 0.5005 + ulp / 2.0 * f32::from(u8::from(bits == Bits::Half)) + step / 512.0 + 1e-6 * centre.abs() + 1e-7;
                for (value, back) in values.iter().zip(back) {
                    prop_assert!((value - back).abs() <= bound, "{value} came back as {back}, bound {bound}");
                }
            }
        }
    }

    #[test]
    fn part_of_the_rows_decodes_as_the_whole() {
        let values: Vec<f32> = (0..5 * 96).map(|i| ((i * 31) % 97) as f32 - 40.0).collect();
        for bits in Bits::ALL {
            let packed = CodeRows::encode(&values, 96, 48, bits);
            let (mut whole, mut part) = (vec![0.0; 5 * 96], vec![0.0; 2 * 96]);
            packed.decode(0, &mut whole);
            packed.decode(2, &mut part);
            assert_eq!(whole[2 * 96..4 * 96], part);
        }
    }

    #[test]
    fn constants_and_what_is_no_number_do_no_harm() {
        let mut values = vec![-7.25; 64];
        for bits in Bits::ALL {
            let mut back = vec![0.0; 64];
            CodeRows::encode(&values, 64, 64, bits).decode(0, &mut back);
            assert_eq!(back, values, "a constant is exact at {bits:?}");
        }
        values[3] = f32::NAN;
        values[9] = f32::INFINITY;
        values[20] = -1e30;
        for bits in Bits::ALL {
            let mut back = vec![0.0; 64];
            CodeRows::encode(&values, 64, 64, bits).decode(0, &mut back);
            assert!(
                back.iter().all(|value| value.is_finite()),
                "{bits:?}: {back:?}"
            );
        }
    }

    #[test]
    fn groups_divide_the_width() {
        let found: Vec<Option<usize>> = [128, 192, 256, 320, 576, 896, 960, 1536, 40]
            .into_iter()
            .map(|width| group_of(width, 128))
            .collect();
        let wanted = [128, 96, 128, 80, 96, 128, 96, 128, 0];
        let wanted: Vec<Option<usize>> = wanted
            .into_iter()
            .map(|group| (group > 0).then_some(group))
            .collect();
        assert_eq!(found, wanted);
    }
}
