//! Products in plain Rust: the reference of every other form.

use super::Record;
use crate::kernels::ggml::{Format, GROUP, ScaleKind};
use crate::kernels::matrix::{
    FloatKind, GroupFactors, PANEL, QUAD, VECTOR_BYTES, VECTORS, code_at, float_at,
    group_code_bytes,
};

/// Adds to `sums[token]` the products of one panel (`codes`, `scales`) with a block of records.
pub(super) fn groups(
    format: Format,
    (codes, scales): (&[u8], &[u8]),
    records: &[Record],
    sums: &mut [[f32; PANEL]],
) {
    let code_bytes = group_code_bytes(format);
    for (group, records) in records.chunks_exact(sums.len()).enumerate() {
        let bytes = unpack(format, &codes[group * code_bytes..][..code_bytes]);
        let factors = GroupFactors::read(format, scales, group);
        for (record, sums) in records.iter().zip(sums.iter_mut()) {
            let dots = half_dots(&bytes, &record.codes);
            let starts = match format.offset {
                8 => [record.offset_8, 0],
                16 => [record.offset_16, 0],
                32 => record.offset_32,
                128 => [record.offset_128, 0],
                _ => [0, 0],
            };
            for lane in 0..PANEL {
                let [first, last] = [dots[0][lane] + starts[0], dots[1][lane] + starts[1]];
                sums[lane] += if format.scales == ScaleKind::Super16 {
                    factors.scale[0][lane] * record.scale * first as f32
                        + factors.scale[1][lane] * record.scale * last as f32
                } else {
                    factors.scale[0][lane] * record.scale * (first + last) as f32
                        + factors.min[lane] * record.sum
                };
            }
        }
    }
}

/// The group's codes as bytes, vector by vector.
fn unpack(format: Format, codes: &[u8]) -> [u8; GROUP * PANEL] {
    let mut bytes = [0; GROUP * PANEL];
    for k in 0..GROUP {
        for lane in 0..PANEL {
            bytes[k / QUAD * VECTOR_BYTES + lane * QUAD + k % QUAD] =
                code_at(format, codes, lane, k) as u8;
        }
    }
    bytes
}

/// Dot products of each row with the first and the last 16 activations.
fn half_dots(bytes: &[u8; GROUP * PANEL], x: &[i8; GROUP]) -> [[i32; PANEL]; 2] {
    let mut dots = [[0; PANEL]; 2];
    for (vector, (bytes, x)) in bytes
        .chunks_exact(VECTOR_BYTES)
        .zip(x.chunks_exact(QUAD))
        .enumerate()
    {
        let dots = &mut dots[vector / (VECTORS / 2)];
        for (dot, quad) in dots.iter_mut().zip(bytes.chunks_exact(QUAD)) {
            for (code, x) in quad.iter().zip(x) {
                *dot += i32::from(*code) * i32::from(*x);
            }
        }
    }
    dots
}

/// The products of one panel of floats with `sums.len()` rows of `x`.
pub(super) fn floats(kind: FloatKind, codes: &[u8], x: &[f32], sums: &mut [[f32; PANEL]]) {
    let cols = x.len() / sums.len();
    for (x, sums) in x.chunks_exact(cols).zip(sums) {
        for (k, x) in x.iter().enumerate() {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += float_at(kind, codes, k * PANEL + lane) * x;
            }
        }
    }
}
