//! The block formats of GGUF files, read one group of 32 weights at a time.
//!
//! Knows the bytes of a file's blocks, not the layout the kernels multiply with.

use candle_core::quantized::GgmlDType;
use half::f16;

/// Weights per group: the unit of packing, and of quantised activations.
pub(crate) const GROUP: usize = 32;
/// Groups per super-block of the K formats.
pub(crate) const SUPER_GROUPS: usize = 8;

/// Where a format's scales are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScaleKind {
    /// One f16 scale a group: `d·(q − offset)`.
    Half,
    /// An f16 scale and an f16 minimum a group: `d·q + m`.
    HalfMin,
    /// f16 `d`, `dmin` a super-block, 6-bit factors a group: `(d·sc)·q − dmin·m`.
    SuperMin,
    /// f16 `d` a super-block, an i8 factor for each 16 weights: `(d·sc)·(q − offset)`.
    Super16,
}

/// A block format: `bits` a code, codes made unsigned by `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) bits: usize,
    pub(crate) offset: i32,
    pub(crate) scales: ScaleKind,
    /// Bytes of one block in the file.
    pub(crate) block_bytes: usize,
    /// Groups of one block in the file.
    pub(crate) block_groups: usize,
}

impl Format {
    /// The format called `dtype`, where it is an integer format these kernels take.
    pub(crate) fn of(dtype: GgmlDType) -> Option<Format> {
        use ScaleKind::{Half, HalfMin, Super16, SuperMin};
        let (bits, offset, scales, block_bytes, block_groups) = match dtype {
            GgmlDType::Q4_0 => (4, 8, Half, 18, 1),
            GgmlDType::Q4_1 => (4, 0, HalfMin, 20, 1),
            GgmlDType::Q5_0 => (5, 16, Half, 22, 1),
            GgmlDType::Q5_1 => (5, 0, HalfMin, 24, 1),
            GgmlDType::Q8_0 => (8, 128, Half, 34, 1),
            GgmlDType::Q4K => (4, 0, SuperMin, 144, SUPER_GROUPS),
            GgmlDType::Q5K => (5, 0, SuperMin, 176, SUPER_GROUPS),
            GgmlDType::Q6K => (6, 32, Super16, 210, SUPER_GROUPS),
            _ => return None,
        };
        Some(Format {
            bits,
            offset,
            scales,
            block_bytes,
            block_groups,
        })
    }
}

/// One group as the file has it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Group {
    /// Unsigned codes (`offset` added).
    pub(crate) codes: [u8; GROUP],
    /// f16 bits: `d`, and `m` or `dmin`.
    pub(crate) half: [u16; 2],
    /// Integer factors: scale and minimum, or the scales of the two halves (as i8).
    pub(crate) factors: [u8; 2],
}

/// Reads group `index` (within its block) of a `block` of `dtype`.
pub(crate) fn read_group(dtype: GgmlDType, block: &[u8], index: usize) -> Group {
    let mut group = Group::default();
    let half_at = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    match dtype {
        GgmlDType::Q4_0 | GgmlDType::Q4_1 => {
            let header = if dtype == GgmlDType::Q4_0 { 2 } else { 4 };
            group.half[0] = half_at(0);
            if header == 4 {
                group.half[1] = half_at(2);
            }
            split_nibbles(&block[header..header + 16], &mut group.codes);
        }
        GgmlDType::Q5_0 | GgmlDType::Q5_1 => {
            let header = if dtype == GgmlDType::Q5_0 { 2 } else { 4 };
            group.half[0] = half_at(0);
            if header == 4 {
                group.half[1] = half_at(2);
            }
            let high = u32::from(half_at(header)) | u32::from(half_at(header + 2)) << 16;
            split_nibbles(&block[header + 4..header + 20], &mut group.codes);
            for (bit, code) in group.codes.iter_mut().enumerate() {
                *code |= ((high >> bit & 1) << 4) as u8;
            }
        }
        GgmlDType::Q8_0 => {
            group.half[0] = half_at(0);
            for (code, byte) in group.codes.iter_mut().zip(&block[2..34]) {
                // Signed code plus 128.
                *code = byte ^ 0x80;
            }
        }
        GgmlDType::Q4K | GgmlDType::Q5K => {
            group.half = [half_at(0), half_at(2)];
            group.factors = scale_and_min(&block[4..16], index);
            let low = if dtype == GgmlDType::Q4K { 16 } else { 48 };
            let nibbles = &block[low + index / 2 * GROUP..][..GROUP];
            let shift = index % 2 * 4;
            for (code, byte) in group.codes.iter_mut().zip(nibbles) {
                *code = byte >> shift & 0x0f;
            }
            if dtype == GgmlDType::Q5K {
                for (code, byte) in group.codes.iter_mut().zip(&block[16..48]) {
                    *code |= (byte >> index & 1) << 4;
                }
            }
        }
        GgmlDType::Q6K => {
            // Two halves of 128 weights; within each, four groups share 64 low and 32 high bytes.
            let (half, quarter) = (index / 4, index % 4);
            let low = &block[half * 64 + quarter % 2 * GROUP..][..GROUP];
            let high = &block[128 + half * GROUP..][..GROUP];
            let (low_shift, high_shift) = (quarter / 2 * 4, quarter * 2);
            for (code, (low, high)) in group.codes.iter_mut().zip(low.iter().zip(high)) {
                *code = low >> low_shift & 0x0f | (high >> high_shift & 3) << 4;
            }
            let factors = &block[192 + half * 8 + quarter * 2..];
            group.factors = [factors[0], factors[1]];
            group.half[0] = half_at(208);
        }
        // `Format::of` gives no other format to pack.
        _ => {}
    }
    group
}

/// The first 16 codes are low nibbles, the next 16 high ones.
fn split_nibbles(bytes: &[u8], codes: &mut [u8; GROUP]) {
    let (low, high) = codes.split_at_mut(GROUP / 2);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = byte & 0x0f;
        *high = byte >> 4;
    }
}

/// The 6-bit scale and minimum of group `index` from the 12 packed bytes of a K block.
fn scale_and_min(packed: &[u8], index: usize) -> [u8; 2] {
    if index < 4 {
        [packed[index] & 63, packed[index + 4] & 63]
    } else {
        let both = packed[index + 4];
        [
            both & 0x0f | packed[index - 4] >> 6 << 4,
            both >> 4 | packed[index] >> 6 << 4,
        ]
    }
}

/// An f16 given by its bits, as f32.
pub(crate) fn half_to_f32(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}
