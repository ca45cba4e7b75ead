//! Ridge regression of several targets on a table of features, by Cholesky's factorisation of whichever
//! normal equations are smaller. Knows numbers only.

/// Weights of a fitted regression: `prediction = offset + Σ weight·feature`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// One row a feature, one number a target.
    pub weights: Vec<Vec<f64>>,
    /// One number a target.
    pub offset: Vec<f64>,
}

/// Fits `targets` (rows as `features`) with squared penalty `penalty`, features and targets centred.
///
/// # Panics
/// Where the tables have no rows or differ in their number.
pub fn fit(features: &[Vec<f64>], targets: &[Vec<f64>], penalty: f64) -> Fit {
    let (rows, width) = (features.len(), features[0].len());
    assert_eq!(rows, targets.len(), "rows of features and targets");
    let feature_means = means(features);
    let target_means = means(targets);
    let x: Vec<Vec<f64>> = features
        .iter()
        .map(|row| less(row, &feature_means))
        .collect();
    let y: Vec<Vec<f64>> = targets.iter().map(|row| less(row, &target_means)).collect();
    let outputs = target_means.len();
    let mut weights = vec![vec![0.0; outputs]; width];
    if rows <= width {
        let mut gram: Vec<Vec<f64>> = (0..rows)
            .map(|a| (0..rows).map(|b| dot(&x[a], &x[b])).collect())
            .collect();
        add_penalty(&mut gram, penalty);
        let factor = cholesky(gram);
        for output in 0..outputs {
            let alphas = solve(&factor, y.iter().map(|row| row[output]).collect());
            for (row, alpha) in x.iter().zip(alphas) {
                for (weight, value) in weights.iter_mut().zip(row) {
                    weight[output] += alpha * value;
                }
            }
        }
    } else {
        let mut gram = vec![vec![0.0; width]; width];
        for row in &x {
            for (a, value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                for (sum, other) in gram[a].iter_mut().zip(row) {
                    *sum += value * other;
                }
            }
        }
        add_penalty(&mut gram, penalty);
        let factor = cholesky(gram);
        for output in 0..outputs {
            let mut right = vec![0.0; width];
            for (row, target) in x.iter().zip(&y) {
                for (sum, value) in right.iter_mut().zip(row) {
                    *sum += value * target[output];
                }
            }
            for (weight, value) in weights.iter_mut().zip(solve(&factor, right)) {
                weight[output] = value;
            }
        }
    }
    let mut offset = target_means;
    for (weight, mean) in weights.iter().zip(&feature_means) {
        for (offset, weight) in offset.iter_mut().zip(weight) {
            *offset -= weight * mean;
        }
    }
    Fit { weights, offset }
}

fn means(table: &[Vec<f64>]) -> Vec<f64> {
    let mut sums = vec![0.0; table[0].len()];
    for row in table {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    sums.iter().map(|sum| sum / table.len() as f64).collect()
}

fn less(row: &[f64], means: &[f64]) -> Vec<f64> {
    row.iter()
        .zip(means)
        .map(|(value, mean)| value - mean)
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A penalty keeps the matrix positive definite, whatever the features.
fn add_penalty(gram: &mut [Vec<f64>], penalty: f64) {
    for (at, row) in gram.iter_mut().enumerate() {
        row[at] += penalty.max(1e-9);
    }
}

/// The lower triangle `L` with `L·Lᵀ` the matrix.
fn cholesky(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for row in 0..matrix.len() {
        for col in 0..=row {
            let sum = matrix[row][col] - dot(&matrix[row][..col], &matrix[col][..col]);
            matrix[row][col] = if row == col {
                sum.max(1e-12).sqrt()
            } else {
                sum / matrix[col][col]
            };
        }
    }
    matrix
}

fn solve(lower: &[Vec<f64>], mut right: Vec<f64>) -> Vec<f64> {
    for row in 0..right.len() {
        let sum = dot(&lower[row][..row], &right[..row]);
        right[row] = (right[row] - sum) / lower[row][row];
    }
    for row in (0..right.len()).rev() {
        right[row] /= lower[row][row];
        let value = right[row];
        for (earlier, factor) in right[..row].iter_mut().zip(&lower[row]) {
            *earlier -= value * factor;
        }
    }
    right
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// At the minimum the penalised error's gradient is zero, for wide tables and tall ones.
        #[test]
        fn the_gradient_vanishes(
            values in prop::collection::vec(-3.0_f64..3.0, 60),
            width in 1_usize..12,
            penalty in 0.1_f64..5.0,
        ) {
            let rows = 48 / width;
            let x: Vec<Vec<f64>> = values.chunks(width).take(rows).map(<[f64]>::to_vec).collect();
            prop_assume!(x.iter().all(|row| row.len() == width));
            let y: Vec<Vec<f64>> = (0..x.len()).map(|row| vec![values[59 - row % 12] + row as f64 * 0.1]).collect();
            let fitted = fit(&x, &y, penalty);
            let residuals: Vec<f64> = x.iter().zip(&y).map(|(row, want)| {
                want[0] - fitted.offset[0]
                    - row.iter().zip(&fitted.weights).map(|(value, weight)| value * weight[0]).sum::<f64>()
            }).collect();
            prop_assert!(residuals.iter().sum::<f64>().abs() < 1e-7);
            let means = means(&x);
            for feature in 0..width {
                let gradient: f64 = x.iter().zip(&residuals).map(|(row, left)| (row[feature] - means[feature]) * left).sum();
                prop_assert!((gradient - penalty * fitted.weights[feature][0]).abs() < 1e-6);
            }
        }
    }
}
