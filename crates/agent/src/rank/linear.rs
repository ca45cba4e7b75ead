//! A weighted sum of measures.
//!
//! The weights come from `cargo run -p footnote-agent --example fit_passages`: a softmax over each
//! question's candidates (cross-entropy against its relevant pages) with a quadratic penalty, on 64
//! development questions of FinanceBench, checked by leaving out one company at a time. No weight
//! knows a company, a year or a question. Two are set by hand, because those questions cannot tell
//! them: [`Measure::KindRank`] (pages are searched without an order of kinds) and [`Measure::Fact`]
//! (page corpora have no facts).

use super::{MEASURES, Measure, MeasureRanker, Measures};

/// The built-in ranker over measures, or one with other weights.
#[derive(Clone, Debug)]
pub struct LinearRanker {
    weights: [f32; MEASURES.len()],
}

impl LinearRanker {
    /// A ranker with these weights, by [`Measure`].
    pub fn with_weights(weights: [f32; MEASURES.len()]) -> LinearRanker {
        LinearRanker { weights }
    }
}

impl Default for LinearRanker {
    fn default() -> Self {
        let mut weights = [0.0; MEASURES.len()];
        for (measure, weight) in FITTED {
            weights[*measure as usize] = *weight;
        }
        LinearRanker { weights }
    }
}

const FITTED: &[(Measure, f32)] = &[
    (Measure::AnnualReport, 0.74),
    (Measure::NamedKind, 0.90),
    (Measure::EarningsTalk, 2.11),
    (Measure::EventTalk, 0.98),
    (Measure::UnaskedQuarterly, -0.89),
    (Measure::SameYear, 2.98),
    (Measure::YearAfter, -0.81),
    (Measure::YearBefore, -0.82),
    (Measure::FarYear, -1.39),
    (Measure::SameQuarter, 1.74),
    (Measure::OtherQuarter, -1.07),
    (Measure::NearDate, 1.78),
    (Measure::KindRank, 1.50),
    (Measure::Words, 1.03),
    (Measure::LineItems, 0.97),
    (Measure::Topics, 2.14),
    (Measure::AllWords, 2.53),
    (Measure::Pairs, 0.53),
    (Measure::Headings, 1.23),
    (Measure::NamedStatement, 2.53),
    (Measure::NeededStatement, 3.52),
    (Measure::NamedAndNeeded, 2.71),
    (Measure::IdleStatement, -1.45),
    (Measure::Item, 0.70),
    (Measure::EarlyBusiness, 1.98),
    (Measure::CurrentItem, 0.86),
    (Measure::YearShown, 1.54),
    (Measure::Figures, 2.05),
    (Measure::Late, -0.99),
    (Measure::Fact, 1.50),
];

impl MeasureRanker for LinearRanker {
    fn name(&self) -> &str {
        "linear"
    }

    fn scores(&self, candidates: &[Measures]) -> Vec<f32> {
        candidates
            .iter()
            .map(|candidate| {
                let products = candidate.0.iter().zip(&self.weights);
                products.map(|(value, weight)| value * weight).sum()
            })
            .collect()
    }

    fn why(&self, candidate: &Measures) -> String {
        let mut parts: Vec<(f32, &str)> = MEASURES
            .iter()
            .map(|(measure, words)| {
                let at = *measure as usize;
                (candidate.0[at] * self.weights[at], *words)
            })
            .filter(|(share, _)| *share >= 0.4)
            .collect();
        parts.sort_by(|a, b| b.0.total_cmp(&a.0));
        let words: Vec<&str> = parts.iter().take(4).map(|part| part.1).collect();
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_strongest_reasons_first() {
        let mut measures = Measures::default();
        measures.set(Measure::SameYear, 1.0);
        measures.set(Measure::NeededStatement, 1.0);
        measures.set(Measure::Late, 1.0);
        let ranker = LinearRanker::default();
        assert_eq!(
            ranker.why(&measures),
            "the statement needed, the fiscal year asked"
        );
        assert_eq!(FITTED.len(), MEASURES.len(), "every measure has a weight");
    }
}
