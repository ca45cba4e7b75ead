//! Rankers together: reciprocal rank fusion, scores with another's ranks beside them, and cascades that let a dearer ranker
//! look at few.

use super::{PassageRanker, order, settled};
use crate::AgentError;

/// The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).
const K: f32 = 60.0;

/// Fuses orders: each candidate gets the sum of `weight / (60 + rank)` over the orders that rank it.
/// Each order lists candidate indices below `count`, best first.
pub fn reciprocal_rank_fusion(orders: &[(f32, &[usize])], count: usize) -> Vec<f32> {
    let mut scores = vec![0.0; count];
    for (weight, order) in orders {
        for (rank, at) in order.iter().enumerate() {
            scores[*at] += weight / (K + rank as f32 + 1.0);
        }
    }
    scores
}

/// Several rankers fused by rank.
pub struct Fused {
    name: String,
    parts: Vec<(f32, Box<dyn PassageRanker>)>,
}

impl Fused {
    /// A ranker by the ranks of others, each with its weight.
    pub fn new(name: impl Into<String>, parts: Vec<(f32, Box<dyn PassageRanker>)>) -> Fused {
        Fused {
            name: name.into(),
            parts,
        }
    }
}

impl PassageRanker for Fused {
    fn name(&self) -> &str {
        &self.name
    }

    fn scores(&self, question: &str, texts: &[&str]) -> Result<Vec<f32>, AgentError> {
        let mut orders = Vec::new();
        for (weight, ranker) in &self.parts {
            orders.push((*weight, order(&ranker.scores(question, texts)?)));
        }
        let orders: Vec<(f32, &[usize])> = orders.iter().map(|(w, o)| (*w, o.as_slice())).collect();
        Ok(settled(reciprocal_rank_fusion(&orders, texts.len()), texts))
    }
}

/// A ranker's scores, in deviations from their mean, less `weight` times the logarithm of the rank by another: how far ahead
/// a passage is counts, which fusing ranks forgets.
pub struct Beside {
    name: &'static str,
    ranker: Box<dyn PassageRanker>,
    other: Box<dyn PassageRanker>,
    weight: f32,
}

impl Beside {
    /// `ranker` with the ranks of `other` at `weight` beside it.
    pub fn new(
        name: &'static str,
        ranker: Box<dyn PassageRanker>,
        other: Box<dyn PassageRanker>,
        weight: f32,
    ) -> Beside {
        Beside {
            name,
            ranker,
            other,
            weight,
        }
    }
}

impl PassageRanker for Beside {
    fn name(&self) -> &str {
        self.name
    }

    fn scores(&self, question: &str, texts: &[&str]) -> Result<Vec<f32>, AgentError> {
        let scores = self.ranker.scores(question, texts)?;
        let ranked = order(&self.other.scores(question, texts)?);
        Ok(settled(beside(&scores, &ranked, self.weight), texts))
    }
}

/// Scores in deviations from their mean, less `weight` times the logarithm of the rank in an order, which lists all of them,
/// best first.
pub fn beside(scores: &[f32], ranked: &[usize], weight: f32) -> Vec<f32> {
    let count = scores.len().max(1) as f32;
    let mean = scores.iter().sum::<f32>() / count;
    let squares: f32 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    let deviation = (squares / count).sqrt().max(f32::MIN_POSITIVE);
    let mut joined = vec![0.0; scores.len()];
    for (rank, at) in ranked.iter().enumerate() {
        joined[*at] = (scores[*at] - mean) / deviation - weight * (rank as f32 + 1.0).ln();
    }
    joined
}

/// A ranker over all, then others over ever fewer of the best.
pub struct Cascade {
    name: String,
    first: Box<dyn PassageRanker>,
    /// How many of the best so far go in, the ranker that looks at them, and how much its order weighs
    /// against the one so far (1: as much).
    stages: Vec<(usize, Box<dyn PassageRanker>, f32)>,
}

impl Cascade {
    /// A cascade of `stages`, each with the number it looks at and the weight of its order against the
    /// order before it.
    pub fn new(
        name: impl Into<String>,
        first: Box<dyn PassageRanker>,
        stages: Vec<(usize, Box<dyn PassageRanker>, f32)>,
    ) -> Cascade {
        Cascade {
            name: name.into(),
            first,
            stages,
        }
    }
}

impl PassageRanker for Cascade {
    fn name(&self) -> &str {
        &self.name
    }

    fn scores(&self, question: &str, texts: &[&str]) -> Result<Vec<f32>, AgentError> {
        let mut best = order(&self.first.scores(question, texts)?);
        for (keep, ranker, weight) in &self.stages {
            let kept = (*keep).min(best.len());
            // In the document's order, which some rankers look at.
            let mut shown = best[..kept].to_vec();
            shown.retain(|at| !texts[*at].trim().is_empty());
            shown.sort_unstable();
            let few: Vec<&str> = shown.iter().map(|at| texts[*at]).collect();
            let again = order(&ranker.scores(question, &few)?);
            let again: Vec<usize> = again.into_iter().map(|at| shown[at]).collect();
            let fused =
                reciprocal_rank_fusion(&[(1.0, &best[..kept]), (*weight, &again)], texts.len());
            // Those let in stay above those left out.
            best[..kept].sort_by(|a, b| fused[*b].total_cmp(&fused[*a]).then(a.cmp(b)));
        }
        let mut scores = vec![0.0; texts.len()];
        for (rank, at) in best.iter().enumerate() {
            scores[*at] = 1.0 / (rank as f32 + 1.0);
        }
        Ok(settled(scores, texts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Likes texts by the number they hold; counts what it was shown.
    struct ByNumber(f32);

    impl PassageRanker for ByNumber {
        fn name(&self) -> &str {
            "by number"
        }
        fn scores(&self, _: &str, texts: &[&str]) -> Result<Vec<f32>, AgentError> {
            Ok(texts
                .iter()
                .map(|t| self.0 * t.parse().unwrap_or(-1e9))
                .collect())
        }
    }

    #[test]
    fn a_cascade_reorders_only_what_it_lets_in() {
        let texts = ["1", "2", "3", "4", "", "5"];
        let cascade = Cascade::new(
            "cascade",
            Box::new(ByNumber(1.0)),
            vec![(3, Box::new(ByNumber(-1.0)), 100.0)],
        );
        let order = order(&cascade.scores("?", &texts).unwrap());
        assert_eq!(order, [2, 3, 5, 1, 0, 4]);
    }

    #[test]
    fn a_cascade_of_few_is_whole() {
        let cascade = Cascade::new(
            "cascade",
            Box::new(ByNumber(1.0)),
            vec![(50, Box::new(ByNumber(1.0)), 1.0)],
        );
        assert_eq!(
            order(&cascade.scores("?", &["1", "", "2"]).unwrap()),
            [2, 0, 1]
        );
        assert!(cascade.scores("?", &[]).unwrap().is_empty());
    }

    #[test]
    fn far_ahead_stays_ahead_whatever_the_other_says_and_level_ones_follow_it() {
        let texts = ["9", "1", "1.1", "0.9", ""];
        let beside = |weight| {
            let ranker = Beside::new(
                "beside",
                Box::new(ByNumber(1.0)),
                Box::new(ByNumber(-1.0)),
                weight,
            );
            order(&ranker.scores("?", &texts[..4]).unwrap())
        };
        assert_eq!(beside(0.0), [0, 2, 1, 3]);
        assert_eq!(beside(0.4), [0, 3, 1, 2]);
        let alone = Beside::new(
            "beside",
            Box::new(ByNumber(1.0)),
            Box::new(ByNumber(1.0)),
            1.0,
        );
        assert_eq!(order(&alone.scores("?", &["", "7"]).unwrap()), [1, 0]);
        assert!(alone.scores("?", &[]).unwrap().is_empty());
        assert_eq!(super::beside(&[2.0, 2.0], &[1, 0], 1.0)[1], 0.0);
    }

    proptest! {
        #[test]
        fn fusion_is_fair(count in 1usize..20, seed in any::<u64>()) {
            let mut draws = crate::synthetic::Draws::new(seed, "fusion");
            let mut one: Vec<usize> = (0..count).collect();
            draws.shuffle(&mut one);
            let mut two: Vec<usize> = (0..count).collect();
            draws.shuffle(&mut two);
            let fused = reciprocal_rank_fusion(&[(1.0, &one), (1.0, &two)], count);
            // The order of rankers does not matter, one ranker keeps its order, and who is better in both
            // is better.
            prop_assert_eq!(&fused, &reciprocal_rank_fusion(&[(1.0, &two), (1.0, &one)], count));
            prop_assert_eq!(&order(&reciprocal_rank_fusion(&[(1.0, &one)], count)), &one);
            let place = |order: &[usize], item: usize| order.iter().position(|at| *at == item).unwrap();
            for a in 0..count {
                for b in 0..count {
                    if place(&one, a) < place(&one, b) && place(&two, a) < place(&two, b) {
                        prop_assert!(fused[a] > fused[b]);
                    }
                }
            }
        }
    }
}
