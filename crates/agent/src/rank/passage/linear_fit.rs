//! Fits a weighted sum: a softmax over each question's chunks against their gains (ListNet's top-one
//! form, Cao et al. 2007, section 4.2), with a quadratic penalty for leaving the starting weights.

use super::features::{FEATURES, Features};
use super::fit::{Example, gain};

const STEPS: usize = 300;
const N: usize = FEATURES.len();

/// Weights that make gainful chunks likely. `prior` are the weights to start from and be drawn to,
/// `penalty` how strongly, against the mean loss of a question.
pub(super) fn fit(examples: &[&Example], prior: &[f32], penalty: f64) -> Vec<f32> {
    let prior: Vec<f64> = (0..N)
        .map(|at| prior.get(at).copied().map_or(0.0, f64::from))
        .collect();
    let mut weights = prior.clone();
    let (mut mean, mut square) = (vec![0f64; N], vec![0f64; N]);
    for step in 1..=STEPS {
        let mut gradient: Vec<f64> = weights
            .iter()
            .zip(&prior)
            .map(|(weight, prior)| penalty * (weight - prior))
            .collect();
        let share = 1.0 / examples.len().max(1) as f64;
        for example in examples {
            add_gradient(example, &weights, share, &mut gradient);
        }
        // Adam (Kingma and Ba, 2015) with a step that shrinks to a tenth.
        let rate = 0.05 * (1.0 - 0.9 * step as f64 / STEPS as f64);
        for at in 0..N {
            mean[at] = 0.9 * mean[at] + 0.1 * gradient[at];
            square[at] = 0.999 * square[at] + 0.001 * gradient[at] * gradient[at];
            let mean = mean[at] / (1.0 - 0.9f64.powi(step as i32));
            let square = square[at] / (1.0 - 0.999f64.powi(step as i32));
            weights[at] -= rate * mean / (square.sqrt() + 1e-8);
        }
    }
    weights.into_iter().map(|weight| weight as f32).collect()
}

fn add_gradient(example: &Example, weights: &[f64], share: f64, gradient: &mut [f64]) {
    let total: f64 = example.grades.iter().map(|grade| gain(*grade)).sum();
    if total <= 0.0 {
        return;
    }
    let score = |features: &Features| -> f64 {
        features
            .iter()
            .zip(weights)
            .map(|(f, w)| f64::from(*f) * w)
            .sum()
    };
    let scores: Vec<f64> = example.features.iter().map(score).collect();
    let top = scores.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - top).exp()).sum();
    for ((features, score), grade) in example.features.iter().zip(&scores).zip(&example.grades) {
        let error = share * ((score - top).exp() / sum - gain(*grade) / total);
        if error.abs() > 1e-12 {
            for (slope, value) in gradient.iter_mut().zip(features) {
                *slope += error * f64::from(*value);
            }
        }
    }
}
