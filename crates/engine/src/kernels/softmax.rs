//! Softmaxes of score rows in parts, in powers of two.

use super::isa::Isa;
use super::lanes::{Kernel, LANES, Lanes, dispatch};

/// The largest of a row's scores, and the sum of 2 to the power of each less it; nothing of an empty row.
pub fn power_sum(scores: &[f32]) -> (f32, f32) {
    let mut out = (f32::NEG_INFINITY, 0.0);
    dispatch(
        Isa::detect(),
        PowerSum {
            scores,
            out: &mut out,
        },
    );
    out
}

struct PowerSum<'a> {
    scores: &'a [f32],
    out: &'a mut (f32, f32),
}

impl Kernel for PowerSum<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let most = self
            .scores
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b });
        if most == f32::NEG_INFINITY {
            return;
        }
        let base = L::splat(most);
        let mut sums = L::splat(0.0);
        let chunks = self.scores.chunks_exact(LANES);
        let rest: f32 = chunks
            .remainder()
            .iter()
            .map(|score| (score - most).exp2())
            .sum();
        for chunk in chunks {
            // SAFETY: a chunk is a whole vector.
            let scores = unsafe { L::load(chunk.as_ptr()) };
            sums = sums.add(scores.sub(base).exp2());
        }
        *self.out = (most, sums.sum() + rest);
    }
}

/// Joins `weight · 2^(score − norm)` of each score to what stands at its place: the larger of the two, or
/// their sum.
///
/// # Panics
/// When there are fewer places than scores.
pub fn join_shares(into: &mut [f32], scores: &[f32], norm: f32, weight: f32, sum: bool) {
    let into = &mut into[..scores.len()];
    dispatch(
        Isa::detect(),
        JoinShares {
            into,
            scores,
            norm,
            weight,
            sum,
        },
    );
}

struct JoinShares<'a> {
    into: &'a mut [f32],
    scores: &'a [f32],
    norm: f32,
    weight: f32,
    sum: bool,
}

impl Kernel for JoinShares<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let whole = self.scores.len() / LANES * LANES;
        let (into, into_rest) = self.into.split_at_mut(whole);
        let (scores, scores_rest) = self.scores.split_at(whole);
        let (norm, weight) = (L::splat(self.norm), L::splat(self.weight));
        for (into, scores) in into.chunks_exact_mut(LANES).zip(scores.chunks_exact(LANES)) {
            // SAFETY: both are a whole vector.
            unsafe {
                let share = L::load(scores.as_ptr()).sub(norm).exp2().mul(weight);
                let before = L::load(into.as_ptr());
                let joined = if self.sum {
                    before.add(share)
                } else {
                    before.max(share)
                };
                joined.store(into.as_mut_ptr());
            }
        }
        for (into, score) in into_rest.iter_mut().zip(scores_rest) {
            let share = (score - self.norm).exp2() * self.weight;
            *into = if self.sum {
                *into + share
            } else {
                into.max(share)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_the_formula() {
        for count in [0, 1, 15, 16, 17, 100] {
            let scores: Vec<f32> = (0..count)
                .map(|i| ((i * 37) % 23) as f32 / 3.0 - 4.0)
                .collect();
            let (most, sum) = power_sum(&scores);
            let want: f64 = scores.iter().map(|s| f64::from(*s).exp2()).sum();
            let got = f64::from(sum) * f64::from(most).exp2();
            assert!(
                (got - want).abs() <= 1e-5 * want || count == 0,
                "{got} for {want}"
            );
            for add in [false, true] {
                let mut into = vec![0.125; count];
                join_shares(&mut into, &scores, 2.0, 0.5, add);
                for (into, score) in into.iter().zip(&scores) {
                    let share = 0.5 * (score - 2.0).exp2();
                    let want = if add { 0.125 + share } else { share.max(0.125) };
                    assert!((into - want).abs() < 1e-5 * want, "{into} for {want}");
                }
            }
        }
    }
}
