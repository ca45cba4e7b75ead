//! From logits to a token: greedy, or drawn after temperature, top-k and top-p.
//!
//! Knows numbers only; a grammar says by a mask which tokens may come, and it is applied before (`-inf`).

use crate::{EngineError, Sampling};

/// Draws tokens for one request.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: Random,
    /// Kept between draws: `(logit, token)`.
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// A sampler of these settings.
    ///
    /// # Errors
    /// [`EngineError::Request`] where a setting is out of range.
    pub fn new(sampling: Sampling) -> Result<Sampler, EngineError> {
        if !(sampling.temperature >= 0.0 && sampling.temperature <= 100.0) {
            return Err(EngineError::Request(format!(
                "the temperature is {}; it must lie between 0 and 100",
                sampling.temperature
            )));
        }
        if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
            return Err(EngineError::Request(format!(
                "top_p is {}; it must lie above 0 and at most at 1",
                sampling.top_p
            )));
        }
        Ok(Sampler {
            sampling,
            random: Random(sampling.seed),
            candidates: Vec::new(),
        })
    }

    /// Whether it takes the likeliest token each time.
    pub(crate) fn is_greedy(&self) -> bool {
        self.sampling.temperature == 0.0
    }

    /// The next token, or `None` where no token is possible (all masked, or no number at all).
    pub fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        if self.is_greedy() {
            return greedy(logits);
        }
        self.candidates.clear();
        self.candidates.extend(
            logits
                .iter()
                .zip(0u32..)
                .filter(|(logit, _)| logit.is_finite())
                .map(|(logit, token)| (*logit, token)),
        );
        let top_k = self.sampling.top_k;
        let likelier = |left: &(f32, u32), right: &(f32, u32)| {
            right.0.total_cmp(&left.0).then(left.1.cmp(&right.1))
        };
        if top_k > 0 && top_k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(top_k - 1, likelier);
            self.candidates.truncate(top_k);
        }
        self.candidates.sort_unstable_by(likelier);
        let highest = self.candidates.first()?.0;
        let temperature = f64::from(self.sampling.temperature);
        let mut total = 0.0;
        let mut weights: Vec<f64> = Vec::with_capacity(self.candidates.len());
        for (logit, _) in &self.candidates {
            let weight = (f64::from(logit - highest) / temperature).exp();
            total += weight;
            weights.push(weight);
        }
        if self.sampling.top_p < 1.0 {
            let enough = total * f64::from(self.sampling.top_p);
            let mut sum = 0.0;
            let mut kept = 0;
            for weight in &weights {
                sum += weight;
                kept += 1;
                if sum >= enough {
                    break;
                }
            }
            weights.truncate(kept);
            total = sum;
        }
        let mut point = self.random.unit() * total;
        for (weight, (_, token)) in weights.iter().zip(&self.candidates) {
            point -= weight;
            if point < 0.0 {
                return Some(*token);
            }
        }
        // Rounding may leave a sliver past the last weight.
        self.candidates
            .get(weights.len().checked_sub(1)?)
            .map(|(_, token)| *token)
    }
}

/// Which tokens may come next: a bit for each, the lowest token in the lowest bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenMask(Vec<u32>);

impl TokenMask {
    /// A mask of the first `count` tokens, 32 a word; those beyond may not come.
    pub(crate) fn new(words: &[u32], count: usize) -> TokenMask {
        let mut words = words[..count.div_ceil(32).min(words.len())].to_vec();
        if let Some(last) = words.get_mut(count / 32) {
            *last &= (1 << (count % 32)) - 1;
        }
        TokenMask(words)
    }

    /// Its first `count` words, zeros where it has fewer.
    pub(crate) fn words(&self, count: usize) -> impl Iterator<Item = u32> {
        let words = self.0.iter().copied();
        words.chain(std::iter::repeat(0)).take(count)
    }

    /// Sets the logits of tokens that may not come to `-inf`.
    pub(crate) fn apply(&self, logits: &mut [f32]) {
        let words = self.words(logits.len().div_ceil(32));
        for (logits, word) in logits.chunks_mut(32).zip(words) {
            for (bit, logit) in logits.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// The token of the highest logit, the lowest id among equals; `None` where none is a number above `-inf`.
pub fn greedy(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(f32, u32)> = None;
    for (logit, token) in logits.iter().zip(0u32..) {
        if *logit > best.map_or(f32::NEG_INFINITY, |(highest, _)| highest) {
            best = Some((*logit, token));
        }
    }
    best.map(|(_, token)| token)
}

/// Natural-log probability of `token` under `logits`, summed in f64.
pub fn log_probability(logits: &[f32], token: u32) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|logit| f64::from(logit - highest).exp())
        .sum();
    match logits.get(token as usize) {
        Some(logit) => f64::from(logit - highest) - sum.ln(),
        None => f64::NEG_INFINITY,
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): one word of state, the same numbers everywhere.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next word.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// Uniform in `[0, 1)`, 53 bits.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f32, top_p: f32, top_k: usize, seed: u64) -> Sampling {
        Sampling {
            temperature,
            top_p,
            top_k,
            seed,
        }
    }

    fn counts(sampling: Sampling, logits: &[f32], draws: usize) -> Vec<usize> {
        let mut sampler = Sampler::new(sampling).unwrap();
        let mut counts = vec![0; logits.len()];
        for _ in 0..draws {
            counts[sampler.draw(logits).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_highest() {
        let mut sampler = Sampler::new(Sampling::default()).unwrap();
        assert_eq!(sampler.draw(&[0.0, 2.0, f32::NAN, 2.0]), Some(1));
        assert_eq!(sampler.draw(&[f32::NEG_INFINITY; 3]), None);
        assert_eq!(sampler.draw(&[]), None);
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        // Probabilities 0.5, 0.25, 0.125, 0.125 at temperature 1.
        let logits: Vec<f32> = [4.0f32, 2.0, 1.0, 1.0].iter().map(|w| w.ln()).collect();
        let counts = counts(sampling(1.0, 1.0, 0, 7), &logits, 40_000);
        for (count, expected) in counts.iter().zip([20_000.0, 10_000.0, 5_000.0, 5_000.0]) {
            assert!((*count as f64 - expected).abs() < 400.0, "{counts:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits: Vec<f32> = [4.0f32, 2.0, 1.0, 1.0].iter().map(|w| w.ln()).collect();
        for (top_p, top_k, left) in [
            (1.0, 2, &[true, true, false, false]),
            (0.5, 0, &[true, false, false, false]),
            (0.7, 0, &[true, true, false, false]),
            (0.8, 0, &[true, true, true, false]),
            (1.0, 9, &[true, true, true, true]),
        ] {
            let counts = counts(sampling(1.0, top_p, top_k, 1), &logits, 2_000);
            let drawn: Vec<bool> = counts.iter().map(|count| *count > 0).collect();
            assert_eq!(drawn, left, "top_p {top_p} top_k {top_k}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        let logits = [0.0; 50];
        let draw = |seed| {
            let mut sampler = Sampler::new(sampling(1.0, 1.0, 0, seed)).unwrap();
            (0..20)
                .map(|_| sampler.draw(&logits).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (bad, word) in [
            (sampling(-1.0, 1.0, 0, 0), "temperature"),
            (sampling(f32::NAN, 1.0, 0, 0), "temperature"),
            (sampling(1.0, 0.0, 0, 0), "top_p"),
            (sampling(1.0, 1.5, 0, 0), "top_p"),
        ] {
            let error = Sampler::new(bad).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn log_probabilities_sum_to_one() {
        let logits = [1.0, -2.0, 0.5, f32::NEG_INFINITY];
        let sum: f64 = (0..4)
            .map(|token| log_probability(&logits, token).exp())
            .sum();
        assert!((sum - 1.0).abs() < 1e-9);
        assert_eq!(log_probability(&logits, 9), f64::NEG_INFINITY);
    }
}
