//! What a model says, pushed away from what it says when it is made worse: two readings of one text, side by side.
//!
//! `logits + w · (logits − weak logits)` over the tokens that the model itself finds plausible: the form of CAD
//! (arXiv:2305.14739: without the context) and DeCoRe (arXiv:2410.18860: without its retrieval heads). Must not know
//! requests or caches.

use crate::decoder::Perturbation;
use crate::{Contrast, EngineError};

/// The state of a contrast while a text is written.
pub(super) struct Contrasting {
    contrast: Contrast,
    /// How the weak reading's heads are moved; none where its prompt is another.
    pub(super) perturbation: Option<Perturbation>,
    /// The weak reading's own prompt.
    pub(super) weak_prompt: Option<Vec<u32>>,
    /// Logits of the two readings for the next token, until both are there.
    held: [Option<Vec<f32>>; 2],
}

impl Contrasting {
    /// A contrast whose parts were checked against the model.
    pub(super) fn new(
        contrast: Contrast,
        perturbation: Option<Perturbation>,
        weak_prompt: Option<Vec<u32>>,
    ) -> Result<Contrasting, EngineError> {
        if !(contrast.weight >= 0.0 && contrast.weight <= 100.0) {
            return Err(EngineError::Request(format!(
                "the contrast's weight is {}; it must lie between 0 and 100",
                contrast.weight
            )));
        }
        if !(contrast.plausible > 0.0 && contrast.plausible <= 1.0) {
            return Err(EngineError::Request(format!(
                "the contrast's plausible share is {}; it must lie above 0 and at most at 1",
                contrast.plausible
            )));
        }
        Ok(Contrasting {
            contrast,
            perturbation,
            weak_prompt,
            held: [None, None],
        })
    }

    /// Keeps a reading's logits: 0 is the model itself, 1 the weak one.
    pub(super) fn hold(&mut self, reading: usize, logits: &[f32]) {
        self.held[reading] = Some(logits.to_vec());
    }

    /// Whether the model's own logits wait for the weak ones.
    pub(super) fn waits_for_weak(&self) -> bool {
        self.held[0].is_some() && self.held[1].is_none()
    }

    /// Both readings' logits, once they are there.
    pub(super) fn take(&mut self) -> Option<(Vec<f32>, Vec<f32>)> {
        match std::mem::take(&mut self.held) {
            [Some(strong), Some(weak)] => Some((strong, weak)),
            held => {
                self.held = held;
                None
            }
        }
    }

    /// Pushes `strong`, whose impossible tokens are `-inf`, away from `weak`.
    pub(super) fn apply(&self, strong: &mut [f32], weak: &[f32]) {
        let contrast = &self.contrast;
        let most = strong.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !most.is_finite() {
            return;
        }
        let least = most + contrast.plausible.ln();
        let weight = match contrast.by_entropy {
            true => contrast.weight * entropy(strong, most),
            false => contrast.weight,
        };
        for (strong, weak) in strong.iter_mut().zip(weak) {
            *strong = match *strong >= least {
                true => *strong + weight * (*strong - weak),
                false => f32::NEG_INFINITY,
            };
        }
    }
}

/// The entropy of what logits say, in nats.
fn entropy(logits: &[f32], most: f32) -> f32 {
    let (mut sum, mut weighted) = (0.0_f64, 0.0_f64);
    for logit in logits.iter().filter(|logit| logit.is_finite()) {
        let less = f64::from(logit - most);
        sum += less.exp();
        weighted += less * less.exp();
    }
    (sum.ln() - weighted / sum) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Weak;

    fn contrasting(weight: f32, by_entropy: bool) -> Contrasting {
        let contrast = Contrast {
            weak: Weak::Prompt(crate::Prompt::Tokens(vec![1])),
            weight,
            by_entropy,
            plausible: 0.1,
        };
        Contrasting::new(contrast, None, Some(vec![1])).unwrap()
    }

    #[test]
    fn what_the_weak_reading_says_too_counts_less() {
        let strong = [2.0, 1.9, -9.0, f32::NEG_INFINITY];
        let weak = [2.0, 0.0, -20.0, 9.0];
        let mut found = strong;
        contrasting(1.0, false).apply(&mut found, &weak);
        // The third token is what the weak reading likes least, and yet not plausible.
        assert_eq!(found, [2.0, 3.8, f32::NEG_INFINITY, f32::NEG_INFINITY]);
        let mut found = strong;
        contrasting(0.0, false).apply(&mut found, &weak);
        assert_eq!(found[..2], strong[..2]);
    }

    #[test]
    fn a_sure_model_is_not_pushed() {
        let mut found = [50.0, 0.0];
        contrasting(1.0, true).apply(&mut found, &[0.0, 50.0]);
        assert_eq!(found, [50.0, f32::NEG_INFINITY]);
        let even = entropy(&[3.0, 3.0, f32::NEG_INFINITY], 3.0);
        assert!((even - 2.0_f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let with = |weight, plausible| {
            let contrast = Contrast {
                weak: Weak::Prompt(crate::Prompt::Tokens(vec![1])),
                weight,
                by_entropy: false,
                plausible,
            };
            Contrasting::new(contrast, None, None)
                .err()
                .map(|e| e.to_string())
        };
        assert!(with(-1.0, 0.1).unwrap().contains("weight"));
        assert!(with(f32::NAN, 0.1).unwrap().contains("weight"));
        assert!(with(1.0, 0.0).unwrap().contains("plausible"));
        assert!(with(1.0, 0.1).is_none());
    }
}
