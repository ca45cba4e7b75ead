//! Intervals and paired differences by resampling questions, or whole companies where questions of
//! one company hang together.
//!
//! Percentile bootstrap (Efron 1979) over clusters; the paired test flips the sign of each
//! cluster's difference (Fisher's randomisation test). Seeded, so a report is reproducible.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Resamples behind every interval and test.
const RESAMPLES: usize = 10_000;

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Mean over questions.
    pub mean: f64,
    /// 2.5 % and 97.5 % points of the resampled means.
    pub ci95: [f64; 2],
}

/// How one run differs from another on the same questions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Mean of this run minus the other.
    pub mean: f64,
    /// Its 95 % interval.
    pub ci95: [f64; 2],
    /// Two-sided p-value of the sign-flip test.
    pub p: f64,
}

/// Mean of `values` with its interval; questions of one named cluster are drawn together.
///
/// # Panics
/// Where values and clusters differ in number, or there are none.
pub fn interval(values: &[f64], clusters: &[Option<&str>]) -> Interval {
    assert_eq!(values.len(), clusters.len(), "values and clusters");
    Clusters::new(clusters.iter().copied()).interval(values)
}

/// Mean of `ours − theirs` with its interval and test; clusters as in [`interval`].
///
/// # Panics
/// As [`interval`].
pub fn difference(ours: &[f64], theirs: &[f64], clusters: &[Option<&str>]) -> PairedDifference {
    assert_eq!(ours.len(), theirs.len(), "values of both runs");
    assert_eq!(ours.len(), clusters.len(), "values and clusters");
    Clusters::new(clusters.iter().copied()).difference(ours, theirs)
}

/// The questions' clusters: sums and sizes are resampled, not single questions.
pub(crate) struct Clusters(Vec<Vec<usize>>);

impl Clusters {
    /// One cluster a name; a question without a name is its own cluster.
    pub(crate) fn new<'a>(names: impl Iterator<Item = Option<&'a str>>) -> Clusters {
        let mut named: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut clusters = Vec::new();
        for (question, name) in names.enumerate() {
            match name {
                Some(name) => named.entry(name).or_default().push(question),
                None => clusters.push(vec![question]),
            }
        }
        clusters.extend(named.into_values());
        Clusters(clusters)
    }

    pub(crate) fn interval(&self, values: &[f64]) -> Interval {
        let sums = self.sums(values);
        let mut random = SplitMix(0x00F0_0717);
        let mut means: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let (mut total, mut count) = (0.0, 0usize);
                for _ in 0..sums.len() {
                    let (sum, size) = sums[random.below(sums.len())];
                    total += sum;
                    count += size;
                }
                total / count.max(1) as f64
            })
            .collect();
        means.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| means[((RESAMPLES - 1) as f64 * share).round() as usize];
        Interval {
            mean: mean(values),
            ci95: [at(0.025), at(0.975)],
        }
    }

    pub(crate) fn difference(&self, ours: &[f64], theirs: &[f64]) -> PairedDifference {
        let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
        let Interval { mean, ci95 } = self.interval(&differences);
        let sums = self.sums(&differences);
        let observed = sums.iter().map(|(sum, _)| sum).sum::<f64>().abs();
        let mut random = SplitMix(0x00F0_0718);
        let as_far = (0..RESAMPLES)
            .filter(|_| {
                let flipped: f64 = sums
                    .iter()
                    .map(|(sum, _)| if random.next() & 1 == 0 { *sum } else { -sum })
                    .sum();
                flipped.abs() >= observed - 1e-12
            })
            .count();
        PairedDifference {
            mean,
            ci95,
            p: (as_far + 1) as f64 / (RESAMPLES + 1) as f64,
        }
    }

    fn sums(&self, values: &[f64]) -> Vec<(f64, usize)> {
        self.0
            .iter()
            .map(|cluster| (cluster.iter().map(|&q| values[q]).sum(), cluster.len()))
            .collect()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Steele, Lea and Flood's SplitMix64: enough for resampling, and the same on every machine.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_coin_is_the_binomial_one() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let clusters = Clusters::new(values.iter().map(|_| None));
        let interval = clusters.interval(&values);
        // 0.5 ± 1.96 · sqrt(0.25 / 400) = 0.451 … 0.549
        assert!((interval.ci95[0] - 0.451).abs() < 0.006, "{interval:?}");
        assert!((interval.ci95[1] - 0.549).abs() < 0.006, "{interval:?}");
    }

    #[test]
    fn clusters_that_move_together_widen_the_interval() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(i / 50)).collect();
        let alone = Clusters::new(values.iter().map(|_| None)).interval(&values);
        let names: Vec<String> = (0..100).map(|i| format!("company {}", i / 10)).collect();
        let together = Clusters::new(names.iter().map(|n| Some(n.as_str()))).interval(&values);
        assert!(together.ci95[1] - together.ci95[0] > 2.0 * (alone.ci95[1] - alone.ci95[0]));
    }

    #[test]
    fn equal_runs_do_not_differ_and_a_clear_win_does() {
        let clusters = Clusters::new((0..40).map(|_| None));
        let base = vec![0.3; 40];
        let same = clusters.difference(&base, &base);
        assert_eq!((same.mean, same.ci95, same.p), (0.0, [0.0, 0.0], 1.0));
        let better = clusters.difference(&vec![0.5; 40], &base);
        assert!(better.p < 0.001 && better.ci95[0] > 0.19);
    }
}
