//! Small operations on rows of activations: normalisation, rotation, the gated unit.

use super::isa::Isa;
use super::lanes::{Kernel, LANES, Lanes, dispatch};
use super::matrix::Parts;
use super::pool::{parallel, threads};

/// Elements below which a second thread costs more than it saves.
const SPLIT_ELEMENTS: usize = 32 << 10;

/// `out = x / sqrt(mean(x²) + eps) · weight`, row by row; rows are as wide as `weight`.
///
/// # Panics
/// When `x` or `out` are not whole rows, or differ in length.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    assert_eq!(x.len(), out.len(), "lengths of input and output");
    assert!(x.len().is_multiple_of(width), "whole rows of {width}");
    by_rows(out, width, |row, out| {
        let x = &x[row * width..][..width];
        dispatch(
            Isa::detect(),
            NormRow {
                x,
                weight,
                eps,
                out,
            },
        );
    });
}

struct NormRow<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for NormRow<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let chunks = self.x.chunks_exact(LANES);
        let rest: f32 = chunks.remainder().iter().map(|x| x * x).sum();
        let mut sums = L::splat(0.0);
        for chunk in chunks {
            // SAFETY: a chunk is a whole vector.
            let x = unsafe { L::load(chunk.as_ptr()) };
            sums = x.mul_add(x, sums);
        }
        let mean = (sums.sum() + rest) / self.x.len() as f32;
        let scale = 1.0 / (mean + self.eps).sqrt();
        for ((out, x), weight) in self.out.iter_mut().zip(self.x).zip(self.weight) {
            *out = x * scale * weight;
        }
    }
}

/// `gate = silu(gate) · up`, element by element.
///
/// # Panics
/// When the lengths differ.
pub fn silu_mul(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "lengths of gate and up");
    const CHUNK: usize = 1024;
    let whole = gate.len() / CHUNK * CHUNK;
    let (chunks, rest) = gate.split_at_mut(whole);
    by_rows(chunks, CHUNK, |row, gate| {
        let up = &up[row * CHUNK..][..CHUNK];
        dispatch(Isa::detect(), GateRow { gate, up });
    });
    let up = &up[whole..];
    dispatch(Isa::detect(), GateRow { gate: rest, up });
}

struct GateRow<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for GateRow<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let whole = self.gate.len() / LANES * LANES;
        let (gate, gate_rest) = self.gate.split_at_mut(whole);
        let (up, up_rest) = self.up.split_at(whole);
        for (gate, up) in gate.chunks_exact_mut(LANES).zip(up.chunks_exact(LANES)) {
            gate_lanes::<L>(gate, up);
        }
        let (mut last, mut last_up) = ([0.0; LANES], [0.0; LANES]);
        last[..gate_rest.len()].copy_from_slice(gate_rest);
        last_up[..up_rest.len()].copy_from_slice(up_rest);
        gate_lanes::<L>(&mut last, &last_up);
        gate_rest.copy_from_slice(&last[..gate_rest.len()]);
    }
}

/// One vector of the gated unit: `x·up / (1 + 2^(−x·log₂e))`.
#[inline(always)]
fn gate_lanes<L: Lanes>(gate: &mut [f32], up: &[f32]) {
    debug_assert!(gate.len() == LANES && up.len() == LANES);
    // SAFETY: both are a whole vector.
    unsafe {
        let (x, up) = (L::load(gate.as_ptr()), L::load(up.as_ptr()));
        let power = x.mul(L::splat(-std::f32::consts::LOG2_E)).exp2();
        x.div(L::splat(1.0).add(power))
            .mul(up)
            .store(gate.as_mut_ptr());
    }
}

/// How rotated pairs lie within a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Element `i` with `i + dim/2` (Qwen, and Llama in safetensors).
    Neox,
    /// Element `2i` with `2i + 1` (Llama in GGUF).
    Interleaved,
}

/// Cosines and sines of every position up to a limit.
#[derive(Clone, Debug)]
pub struct RopeTable {
    half: usize,
    positions: usize,
    /// `positions` rows of `half` cosines.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeTable {
    /// The table of `positions` positions for the angles per position `frequencies` (half the
    /// rotated width of a head).
    pub fn new(frequencies: &[f64], positions: usize) -> RopeTable {
        let mut table = RopeTable {
            half: frequencies.len(),
            positions: 0,
            cos: Vec::new(),
            sin: Vec::new(),
        };
        table.extend(frequencies, positions);
        table
    }

    /// Makes the table at least `positions` long.
    ///
    /// # Panics
    /// When there are not as many `frequencies` as at first.
    pub fn extend(&mut self, frequencies: &[f64], positions: usize) {
        assert_eq!(frequencies.len(), self.half, "frequencies of one table");
        for position in self.positions..positions {
            for frequency in frequencies {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                self.cos.push(cos as f32);
                self.sin.push(sin as f32);
            }
        }
        self.positions = self.positions.max(positions);
    }

    /// How many positions there are.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Pairs of a head that turn.
    pub(super) fn half(&self) -> usize {
        self.half
    }

    /// Cosines and sines of one position.
    pub(super) fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let at = position * self.half;
        (&self.cos[at..][..self.half], &self.sin[at..][..self.half])
    }
}

/// Rotates `x` in place: one row of `heads` heads, `head_dim` wide, for each of `positions`. Where
/// the table is narrower than a head, the rest of the head stays.
///
/// # Panics
/// When `x` is not of that shape or a position is beyond the table.
pub fn rope(
    x: &mut [f32],
    heads: usize,
    head_dim: usize,
    positions: &[usize],
    table: &RopeTable,
    style: RopeStyle,
) {
    let width = heads * head_dim;
    assert_eq!(x.len(), positions.len() * width, "length of the rows");
    assert!(table.half * 2 <= head_dim, "rotated width within the head");
    by_rows(x, width, |row, x| {
        let at = positions[row] * table.half;
        let cos = &table.cos[at..][..table.half];
        let sin = &table.sin[at..][..table.half];
        for head in x.chunks_exact_mut(head_dim) {
            match style {
                RopeStyle::Neox => {
                    let (first, last) = head.split_at_mut(table.half);
                    for i in 0..table.half {
                        let (a, b) = (first[i], last[i]);
                        first[i] = a * cos[i] - b * sin[i];
                        last[i] = a * sin[i] + b * cos[i];
                    }
                }
                RopeStyle::Interleaved => {
                    for (i, pair) in head.chunks_exact_mut(2).take(table.half).enumerate() {
                        let (a, b) = (pair[0], pair[1]);
                        pair[0] = a * cos[i] - b * sin[i];
                        pair[1] = a * sin[i] + b * cos[i];
                    }
                }
            }
        }
    });
}

/// Gives each row of `width` with its number to `work`, on several threads where it pays.
fn by_rows(rows: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let count = rows.len() / width;
    if rows.len() < SPLIT_ELEMENTS {
        for (row, values) in rows.chunks_exact_mut(width).enumerate() {
            work(row, values);
        }
        return;
    }
    let pieces = (4 * threads()).min(count);
    let parts = Parts::new(rows, width);
    parallel(pieces, |piece| {
        for row in count * piece / pieces..count * (piece + 1) / pieces {
            // SAFETY: each row belongs to one piece.
            work(row, unsafe { parts.part(row) });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norm_and_gate_match_their_formulas() {
        for (rows, width) in [(1, 7), (3, 64), (5, 896), (64, 1536)] {
            let x: Vec<f32> = (0..rows * width)
                .map(|i| ((i * 37 % 101) as f32 - 50.0) / 9.0)
                .collect();
            let weight: Vec<f32> = (0..width).map(|i| 1.0 + (i % 5) as f32 * 0.1).collect();
            let mut out = vec![0.0; x.len()];
            rms_norm(&x, &weight, 1e-6, &mut out);
            for (row, out) in out.chunks_exact(width).enumerate() {
                let x = &x[row * width..][..width];
                let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
                for ((out, x), weight) in out.iter().zip(x).zip(&weight) {
                    let want = f64::from(*x) / (mean + 1e-6).sqrt() * f64::from(*weight);
                    assert!((f64::from(*out) - want).abs() < 1e-5 * (1.0 + want.abs()));
                }
            }
            let mut gate = x.clone();
            silu_mul(&mut gate, &out);
            for ((gate, x), up) in gate.iter().zip(&x).zip(&out) {
                let x = f64::from(*x);
                let want = x / (1.0 + (-x).exp()) * f64::from(*up);
                assert!((f64::from(*gate) - want).abs() < 1e-5 * (1.0 + want.abs()));
            }
        }
    }

    #[test]
    fn extreme_gates_give_no_nan() {
        let mut gate = [-1e30, -200.0, 0.0, 200.0, 1e30];
        silu_mul(&mut gate, &[1.0; 5]);
        let want = [-1e30 / 127_f32.exp2(), 0.0, 0.0, 200.0, 1e30];
        for (gate, want) in gate.iter().zip(want) {
            assert!(
                (gate - want).abs() <= 1e-5 * f32::abs(want) + 1e-30,
                "{gate} for {want}"
            );
        }
    }

    #[test]
    fn both_styles_rotate_the_same_pairs() {
        let frequencies: Vec<f64> = (0..4).map(|i| 0.5_f64.powi(i)).collect();
        let table = RopeTable::new(&frequencies, 10);
        let positions = [0, 3, 9];
        let neox: Vec<f32> = (0..48).map(|i| i as f32 * 0.1 - 2.0).collect();
        let interleave = |x: &[f32]| -> Vec<f32> {
            x.chunks_exact(8)
                .flat_map(|head| {
                    (0..4)
                        .flat_map(|i| [head[i], head[i + 4]])
                        .collect::<Vec<_>>()
                })
                .collect()
        };
        let mut paired = interleave(&neox);
        let mut neox_turned = neox.clone();
        rope(&mut neox_turned, 2, 8, &positions, &table, RopeStyle::Neox);
        rope(
            &mut paired,
            2,
            8,
            &positions,
            &table,
            RopeStyle::Interleaved,
        );
        assert_eq!(interleave(&neox_turned), paired);
        assert_eq!(neox_turned[..16], neox[..16], "position 0 turns nothing");
        let angle = 3.0_f32 * 0.5;
        let (a, b) = (neox[17], neox[21]);
        assert!((neox_turned[17] - (a * angle.cos() - b * angle.sin())).abs() < 1e-6);
    }
}
