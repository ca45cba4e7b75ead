//! Fits a learned ranker on labelled examples and says how good it is on groups it has not seen.
//!
//! First a weighted sum, drawn to the built-in weights; then, where there is enough to learn from and
//! held-out groups gain by it, boosted trees on top. Groups (companies, documents) are never split
//! between training and test. The same examples and seed give the same ranker.

use serde::{Deserialize, Serialize};

use super::boost::boost;
use super::features::Features;
use super::linear_fit;
use super::scorer::Scorer;

/// The rank at which rankers are compared.
pub const CUT: usize = 5;
/// Questions under which no trees are grown: they would learn the questions.
const LEAST_FOR_TREES: usize = 200;
/// Rounds without a gain after which boosting ends.
const PATIENCE: usize = 40;
/// How much trees must gain in nDCG over the weighted sum alone to be kept.
const LEAST_GAIN: f64 = 0.002;

/// A question with its chunks measured and graded.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// One row a chunk.
    pub features: Vec<Features>,
    /// One grade a chunk.
    pub grades: Vec<u32>,
    /// Examples of one group are never parted.
    pub group: u64,
}

/// How to fit.
#[derive(Clone, Debug, PartialEq)]
pub struct FitOptions {
    /// Weights to start from and be drawn to.
    pub prior: Vec<f32>,
    /// How strongly, against the mean loss of a question.
    pub penalty: f64,
    /// At most so many trees; 0 for none.
    pub most_trees: usize,
    /// Folds of the cross-validation, by group.
    pub folds: usize,
    /// Decides which groups fall into which fold.
    pub seed: u64,
}

/// Mean nDCG at [`CUT`] on held-out groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CrossValidation {
    /// Folds.
    pub folds: usize,
    /// Groups.
    pub groups: usize,
    /// Of the weights started from.
    pub prior: f64,
    /// Of the weighted sum.
    pub linear: f64,
    /// Of the weighted sum with trees, at the number of trees chosen by these same folds, so slightly
    /// flattered; absent where none were tried.
    pub trees: Option<f64>,
    /// The number of trees chosen.
    pub rounds: usize,
}

/// A ranker and how it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The ranker, fitted on all examples.
    pub scorer: Scorer,
    /// How rankers fitted without them did on held-out groups.
    pub cross_validation: CrossValidation,
}

/// Fits a ranker.
pub fn fit(examples: &[Example], options: &FitOptions) -> Fitted {
    let all: Vec<&Example> = examples.iter().collect();
    let mut groups: Vec<u64> = examples.iter().map(|example| example.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let folds = options.folds.clamp(1, groups.len().max(1));
    let mut cross = CrossValidation {
        folds,
        groups: groups.len(),
        ..CrossValidation::default()
    };
    let rounds = if examples.len() >= LEAST_FOR_TREES {
        options.most_trees
    } else {
        0
    };
    let prior = Scorer::linear(options.prior.clone());
    cross.prior = mean(&all, &prior);
    if folds > 1 {
        // curve[t]: sum over held-out questions with t trees.
        let mut curve = vec![0.0; rounds + 1];
        for fold in 0..folds {
            let in_fold = |example: &&Example| fold_of(example.group, options.seed, folds) == fold;
            let (held, kept): (Vec<&Example>, Vec<&Example>) =
                all.iter().copied().partition(in_fold);
            if held.is_empty() {
                continue;
            }
            let weights = linear_fit::fit(&kept, &options.prior, options.penalty);
            let start = Scorer::linear(weights);
            let mut last = mean(&held, &start) * held.len() as f64;
            curve[0] += last;
            let mut seen = 0;
            let (mut best, mut best_at) = (last, 0);
            if rounds > 0 {
                boost(&kept, start, rounds, |scorer| {
                    seen += 1;
                    last = mean(&held, scorer) * held.len() as f64;
                    curve[seen] += last;
                    if last > best {
                        (best, best_at) = (last, seen);
                    }
                    seen - best_at < PATIENCE
                });
            }
            for later in &mut curve[seen + 1..] {
                *later += last;
            }
        }
        let count = all.len().max(1) as f64;
        cross.linear = curve[0] / count;
        if rounds > 0 {
            let best = (0..curve.len())
                .max_by(|a, b| curve[*a].total_cmp(&curve[*b]).then(b.cmp(a)))
                .unwrap_or(0);
            cross.trees = Some(curve[best] / count);
            if (curve[best] - curve[0]) / count >= LEAST_GAIN {
                cross.rounds = best;
            }
        }
    }
    let start = Scorer::linear(linear_fit::fit(&all, &options.prior, options.penalty));
    let scorer = if cross.rounds > 0 {
        boost(&all, start, cross.rounds, |_| true)
    } else {
        start
    };
    Fitted {
        scorer,
        cross_validation: cross,
    }
}

/// The fold of a group: a hash, so that it does not depend on the other groups.
pub fn fold_of(group: u64, seed: u64, folds: usize) -> usize {
    let mut z = group ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % folds.max(1) as u64) as usize
}

/// Mean nDCG over examples.
fn mean(examples: &[&Example], scorer: &Scorer) -> f64 {
    let sum: f64 = examples
        .iter()
        .map(|example| {
            let scores: Vec<f32> = example.features.iter().map(|f| scorer.score(f)).collect();
            ndcg(&example.grades, &scores, CUT)
        })
        .sum();
    sum / examples.len().max(1) as f64
}

/// 2^grade − 1.
pub(super) fn gain(grade: u32) -> f64 {
    f64::from(grade.min(30)).exp2() - 1.0
}

/// nDCG at `k` of chunks ordered by score, gain 2^grade − 1; 0 where nothing is relevant.
pub fn ndcg(grades: &[u32], scores: &[f32], k: usize) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let sum = |grades: &mut dyn Iterator<Item = u32>| -> f64 {
        grades
            .take(k)
            .enumerate()
            .map(|(place, grade)| gain(grade) / (place as f64 + 2.0).log2())
            .sum()
    };
    let mut best = grades.to_vec();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let ideal = sum(&mut best.into_iter());
    if ideal > 0.0 {
        sum(&mut order.iter().map(|at| grades[*at])) / ideal
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::passage::features::FEATURES;

    fn examples() -> Vec<Example> {
        (0..40)
            .map(|query| {
                let features: Vec<Features> = (0..10)
                    .map(|at| {
                        let mut f = [0.0; FEATURES.len()];
                        f[2] = if at == query % 10 {
                            1.0
                        } else {
                            0.1 * (at % 3) as f32
                        };
                        f[3] = (at % 2) as f32;
                        f
                    })
                    .collect();
                let grades = (0..10)
                    .map(|at| if at == query % 10 { 2 } else { 0 })
                    .collect();
                Example {
                    features,
                    grades,
                    group: query as u64 % 8,
                }
            })
            .collect()
    }

    fn options() -> FitOptions {
        FitOptions {
            prior: vec![0.0; FEATURES.len()],
            penalty: 0.01,
            most_trees: 10,
            folds: 4,
            seed: 1,
        }
    }

    #[test]
    fn what_decides_is_found_and_held_out_groups_gain() {
        let fitted = fit(&examples(), &options());
        assert!(fitted.scorer.linear[2] > 1.0);
        assert!(
            fitted.cross_validation.linear > 0.99,
            "{:?}",
            fitted.cross_validation
        );
        assert!(fitted.cross_validation.prior < 0.7);
        assert_eq!(
            fitted.cross_validation.trees, None,
            "too few questions for trees"
        );
        assert_eq!(fitted, fit(&examples(), &options()));
    }

    #[test]
    fn a_strong_prior_holds() {
        let mut options = options();
        options.prior[3] = 2.0;
        options.penalty = 1e4;
        let fitted = fit(&examples(), &options);
        assert!((fitted.scorer.linear[3] - 2.0).abs() < 0.1);
        assert!(fitted.scorer.linear[2].abs() < 0.1);
    }

    #[test]
    fn nothing_to_learn_from_is_survived() {
        let fitted = fit(&[], &options());
        assert_eq!(fitted.scorer.linear, vec![0.0; FEATURES.len()]);
        assert_eq!(ndcg(&[0, 0], &[1.0, 2.0], 5), 0.0);
        assert_eq!(ndcg(&[0, 2], &[1.0, 2.0], 5), 1.0);
    }
}
