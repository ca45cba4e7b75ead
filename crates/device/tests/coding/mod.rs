//! The codes' definition, as the engine's `CodeRows` has it, and pages of them in the kernels' order.
#![allow(dead_code, reason = "each test uses some of it")]

use footnote_device::kernels::PAGE_TOKENS;
use footnote_device::kernels::codes::{Axis, Bits, Coding};
use half::f16;

fn tame(value: f32) -> f32 {
    if value.is_nan() {
        0.0
    } else {
        value.clamp(-65_504.0, 65_504.0)
    }
}

/// The smallest f16 not below `value`.
fn at_least(value: f32) -> f16 {
    let near = f16::from_f32(value);
    if near.to_f32() >= value {
        near
    } else if near.to_bits() & 0x7fff == 0 {
        f16::from_bits(1)
    } else if near.is_sign_negative() {
        f16::from_bits(near.to_bits() - 1)
    } else if near == f16::MAX {
        near
    } else {
        f16::from_bits(near.to_bits() + 1)
    }
}

/// A group's packed codes, its scale and its least value.
pub fn encode_group(values: &[f32], bits: Bits) -> (Vec<u8>, f16, f16) {
    let count = bits.count();
    let mut bytes = vec![0; values.len() * count / 8];
    if bits == Bits::Half {
        for (to, value) in bytes.chunks_exact_mut(2).zip(values) {
            to.copy_from_slice(&f16::from_f32(tame(*value)).to_le_bytes());
        }
        return (bytes, f16::ONE, f16::ZERO);
    }
    let top = ((1 << count) - 1) as f32;
    let least = values
        .iter()
        .fold(f32::INFINITY, |least, x| least.min(tame(*x)));
    let most = values
        .iter()
        .fold(f32::NEG_INFINITY, |most, x| most.max(tame(*x)));
    let low = -at_least(-least);
    let least = low.to_f32();
    let step = at_least((most - least) / top);
    let scale = step.to_f32();
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for (at, value) in values.iter().enumerate() {
        let code = ((tame(*value) - least) * inverse + 0.5).clamp(0.0, top) as u8;
        let mut put = |first: usize, length: usize, bits: usize, code: u8| {
            bytes[first + at % length] |= code << (at / length * bits);
        };
        if bits == Bits::Three {
            put(0, values.len() / 4, 2, code & 3);
            put(values.len() / 4, values.len() / 8, 1, code >> 2);
        } else {
            put(0, values.len() * count / 8, count, code);
        }
    }
    (bytes, step, low)
}

/// What a group's codes stand for.
pub fn decode_group(bytes: &[u8], length: usize, bits: Bits, scale: f16, least: f16) -> Vec<f32> {
    (0..length)
        .map(|at| {
            let get = |first: usize, length: usize, bits: usize| -> u8 {
                bytes[first + at % length] >> (at / length * bits) & ((1_u16 << bits) - 1) as u8
            };
            let code = match bits {
                Bits::Half => {
                    return f16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]).to_f32();
                }
                Bits::Three => get(0, length / 4, 2) | get(length / 4, length / 8, 1) << 2,
                _ => get(0, length * bits.count() / 8, bits.count()),
            };
            f32::from(code) * scale.to_f32() + least.to_f32()
        })
        .collect()
}

/// A page's rows `[128][width]` as the kernels keep them, and what they stand for.
pub fn encode_page(rows: &[f32], coding: Coding) -> (Vec<u8>, Vec<f32>) {
    let Coding { bits, width, axis } = coding;
    let group = coding.group();
    let (mut codes, mut factors) = (vec![0_u8; coding.codes_bytes()], Vec::new());
    let mut back = vec![0.0; rows.len()];
    for index in 0..PAGE_TOKENS * width / group {
        let place = |at: usize| match axis {
            Axis::Channel => at * width + index,
            Axis::Token => index % PAGE_TOKENS * width + index / PAGE_TOKENS * group + at,
        };
        let values: Vec<f32> = (0..group).map(|at| rows[place(at)]).collect();
        let (packed, scale, least) = encode_group(&values, bits);
        let decoded = decode_group(&packed, group, bits, scale, least);
        for (at, x) in decoded.into_iter().enumerate() {
            back[place(at)] = x;
        }
        if bits == Bits::Half && axis == Axis::Token {
            for (at, value) in packed.chunks_exact(2).enumerate() {
                codes[2 * place(at)..][..2].copy_from_slice(value);
            }
        } else {
            codes[index * packed.len()..][..packed.len()].copy_from_slice(&packed);
        }
        factors.extend_from_slice(&scale.to_le_bytes());
        factors.extend_from_slice(&least.to_le_bytes());
    }
    if bits != Bits::Half {
        factors.resize(coding.factors_bytes(), 0);
        codes.extend_from_slice(&factors);
    }
    (codes, back)
}

/// The first channel of a page's rows as the kernels keep it besides the codes; and `back` with it.
pub fn first_channel(rows: &[f32], coding: Coding, back: &mut [f32]) -> Vec<u8> {
    let width = rows.len() / PAGE_TOKENS;
    let first: Vec<f32> = rows.iter().step_by(width).copied().collect();
    let (bytes, first) = encode_page(&first, coding);
    for (to, x) in back.iter_mut().step_by(width).zip(first) {
        *to = x;
    }
    bytes
}
