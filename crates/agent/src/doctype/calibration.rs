//! Scores of the five kinds as probabilities that a kind is of the highest grade, by one temperature (Guo et al. 2017,
//! arXiv:1706.04599, section 4.2): the order stays, the numbers come to mean what they say. Knows numbers only.

/// Temperatures that are tried, smallest and largest; the scores are shares of a grade, so a few hundredths to a few.
const RANGE: (f64, f64) = (0.01, 10.0);
/// Steps of the search; each narrows the range to two thirds.
const STEPS: usize = 60;

/// `softmax(scores / temperature)`.
pub fn probabilities(scores: &[f64; 5], temperature: f64) -> [f64; 5] {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let raised = scores.map(|score| ((score - most) / temperature).exp());
    let sum: f64 = raised.iter().sum();
    raised.map(|x| x / sum)
}

/// Which kinds are of the highest grade; several share it evenly.
pub fn target(grades: &[u32; 5]) -> [f64; 5] {
    let most = grades.iter().max();
    let best = grades.map(|grade| f64::from(u8::from(Some(&grade) == most)));
    let count: f64 = best.iter().sum();
    best.map(|x| x / count)
}

/// Mean of `-Σ target · ln probability`.
pub fn log_loss(probabilities: &[[f64; 5]], grades: &[[u32; 5]]) -> f64 {
    let sum: f64 = probabilities
        .iter()
        .zip(grades)
        .map(|(probabilities, grades)| {
            target(grades)
                .iter()
                .zip(probabilities)
                .map(|(target, p)| -target * p.max(1e-12).ln())
                .sum::<f64>()
        })
        .sum();
    sum / probabilities.len().max(1) as f64
}

/// How far the probability of the kind that is put first is from how often it is right: the mean distance over
/// `bins` groups of questions of like probability, weighed by their size (expected calibration error).
pub fn calibration_error(probabilities: &[[f64; 5]], grades: &[[u32; 5]], bins: usize) -> f64 {
    let mut said_and_right: Vec<(f64, f64)> = probabilities
        .iter()
        .zip(grades)
        .map(|(probabilities, grades)| {
            let first = (0..5)
                .max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]))
                .unwrap_or(0);
            (probabilities[first], target(grades)[first])
        })
        .collect();
    said_and_right.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = said_and_right.len();
    let size = total.div_ceil(bins.max(1)).max(1);
    let apart: f64 = said_and_right
        .chunks(size)
        .map(|bin| {
            bin.iter()
                .map(|(said, right)| said - right)
                .sum::<f64>()
                .abs()
        })
        .sum();
    apart / total.max(1) as f64
}

/// The temperature of the least log loss.
pub fn temperature(scores: &[[f64; 5]], grades: &[[u32; 5]]) -> f64 {
    let loss = |log_temperature: f64| {
        let temperature = log_temperature.exp();
        let probabilities: Vec<[f64; 5]> = scores
            .iter()
            .map(|scores| probabilities(scores, temperature))
            .collect();
        log_loss(&probabilities, grades)
    };
    // The loss is convex in the temperature's inverse, so it has one valley.
    let (mut low, mut high) = (RANGE.0.ln(), RANGE.1.ln());
    for _ in 0..STEPS {
        let third = (high - low) / 3.0;
        if loss(low + third) < loss(high - third) {
            high -= third;
        } else {
            low += third;
        }
    }
    f64::midpoint(low, high).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_temperature_makes_probabilities_true() {
        // The first kind is right in three of four questions, with a score of one more than the others.
        let mut scores = Vec::new();
        let mut grades = Vec::new();
        for at in 0..40 {
            scores.push([1.0, 0.0, -50.0, -50.0, -50.0]);
            grades.push(if at % 4 == 0 {
                [0, 4, 0, 0, 0]
            } else {
                [4, 0, 0, 0, 0]
            });
        }
        let found = temperature(&scores, &grades);
        let said = probabilities(&scores[0], found);
        assert!((said[0] - 0.75).abs() < 1e-3, "{said:?}");
        let all: Vec<[f64; 5]> = scores.iter().map(|s| probabilities(s, found)).collect();
        assert!(calibration_error(&all, &grades, 1) < 1e-3);
        let sharp: Vec<[f64; 5]> = scores.iter().map(|s| probabilities(s, 0.05)).collect();
        assert!(log_loss(&sharp, &grades) > log_loss(&all, &grades));
        assert!((calibration_error(&sharp, &grades, 1) - 0.25).abs() < 1e-3);
        assert_eq!(target(&[2, 2, 0, 1, 0]), [0.5, 0.5, 0.0, 0.0, 0.0]);
    }
}
