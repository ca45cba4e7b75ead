//! Ranking metrics, each by one definition under one name.
//!
//! `grades[i]` is the grade of candidate i, `ranking` the candidate indices best first, distinct
//! and in range ([`is_valid`]); positions p count from 0. The author's definitions are FinAgentBench's
//! (arXiv:2508.14052, and its public code); the variants appear in other public code, and their
//! numbers are not comparable with the author's.

/// Whether `ranking` names at least one candidate, each at most once, all in range.
pub fn is_valid(ranking: &[usize], candidates: usize) -> bool {
    let mut seen = vec![false; candidates];
    !ranking.is_empty()
        && ranking
            .iter()
            .all(|&index| index < candidates && !std::mem::replace(&mut seen[index], true))
}

/// nDCG@k with gain 2^grade − 1 and discount 1/log2(p + 2) (the author's): the DCG of the first k
/// over the same sum for all grades sorted downwards; 0 where no grade is positive.
pub fn ndcg_exp(grades: &[u32], ranking: &[usize], k: usize) -> f64 {
    ndcg(grades, ranking, k, |grade| f64::from(grade).exp2() - 1.0)
}

/// nDCG@k with gain = grade (a variant in public code).
pub fn ndcg_linear(grades: &[u32], ranking: &[usize], k: usize) -> f64 {
    ndcg(grades, ranking, k, f64::from)
}

fn ndcg(grades: &[u32], ranking: &[usize], k: usize, gain: impl Fn(u32) -> f64) -> f64 {
    let dcg = |ordered: &mut dyn Iterator<Item = u32>| -> f64 {
        ordered
            .take(k)
            .enumerate()
            .map(|(position, grade)| gain(grade) / (position as f64 + 2.0).log2())
            .sum()
    };
    let mut best = grades.to_vec();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let ideal = dcg(&mut best.into_iter());
    if ideal == 0.0 {
        0.0
    } else {
        dcg(&mut ranking.iter().map(|&i| grades[i])) / ideal
    }
}

/// What the precision sum of [`average_precision`] is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denominator {
    /// R, all relevant candidates (the author's).
    AllRelevant,
    /// min(R, k) (ftRAG's).
    RelevantWithinK,
    /// The relevant candidates found in the first k (inflates).
    Found,
}

/// Average precision at k; relevant is grade > 0.
pub fn average_precision(
    grades: &[u32],
    ranking: &[usize],
    k: usize,
    denominator: Denominator,
) -> f64 {
    let mut found = 0usize;
    let mut sum = 0.0;
    for (position, &index) in ranking.iter().take(k).enumerate() {
        if grades[index] > 0 {
            found += 1;
            sum += found as f64 / (position + 1) as f64;
        }
    }
    let relevant = grades.iter().filter(|&&grade| grade > 0).count();
    let by = match denominator {
        Denominator::AllRelevant => relevant,
        Denominator::RelevantWithinK => relevant.min(k),
        Denominator::Found => found,
    };
    if by == 0 { 0.0 } else { sum / by as f64 }
}

/// 1/(p + 1) of the first of the first k candidates whose grade is at least `grade`, else 0. The
/// author's MRR asks for grade 1, ours at the top grade for the question's highest.
pub fn reciprocal_rank(grades: &[u32], ranking: &[usize], k: usize, grade: u32) -> f64 {
    ranking
        .iter()
        .take(k)
        .position(|&index| grades[index] >= grade)
        .map_or(0.0, |position| 1.0 / (position + 1) as f64)
}

/// Share of the relevant candidates among the first k.
pub fn recall(grades: &[u32], ranking: &[usize], k: usize) -> f64 {
    let relevant = grades.iter().filter(|&&grade| grade > 0).count();
    let found = ranking
        .iter()
        .take(k)
        .filter(|&&index| grades[index] > 0)
        .count();
    if relevant == 0 {
        0.0
    } else {
        found as f64 / relevant as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permutations(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![vec![]];
        }
        let mut all = Vec::new();
        for shorter in permutations(n - 1) {
            for place in 0..n {
                let mut longer = shorter.clone();
                longer.insert(place, n - 1);
                all.push(longer);
            }
        }
        all
    }

    /// Exact means over all 120 orders of grades 0..4, as published for this task.
    #[test]
    fn means_over_all_orders_are_the_published_ones() {
        let grades = [0, 1, 2, 3, 4];
        let orders = permutations(5);
        let mean = |metric: &dyn Fn(&[usize]) -> f64| {
            orders.iter().map(|order| metric(order)).sum::<f64>() / orders.len() as f64
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 5e-5, "{a} is not {b}");
        close(mean(&|r| ndcg_exp(&grades, r, 5)), 0.7182);
        close(mean(&|r| ndcg_linear(&grades, r, 5)), 0.8052);
        close(
            mean(&|r| average_precision(&grades, r, 5, Denominator::AllRelevant)),
            0.8642,
        );
        close(mean(&|r| reciprocal_rank(&grades, r, 5, 1)), 0.9000);
    }

    #[test]
    fn a_worked_example_with_a_tie() {
        let (grades, ranking) = ([1, 3, 2, 0, 2], [4, 1, 0, 2, 3]);
        assert!((ndcg_exp(&grades, &ranking, 5) - 0.850794).abs() < 1e-6);
        assert!(
            (average_precision(&grades, &ranking, 5, Denominator::AllRelevant) - 1.0).abs() < 1e-12
        );
        assert!((reciprocal_rank(&grades, &ranking, 5, 1) - 1.0).abs() < 1e-12);
        assert!((reciprocal_rank(&grades, &ranking, 5, 3) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn denominators_differ_only_where_they_should() {
        let grades = [1, 1, 1, 1, 0, 0];
        let ranking = [0, 4, 1];
        let ap = |by| average_precision(&grades, &ranking, 3, by);
        assert!((ap(Denominator::AllRelevant) - (1.0 + 2.0 / 3.0) / 4.0).abs() < 1e-12);
        assert!((ap(Denominator::RelevantWithinK) - (1.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        assert!((ap(Denominator::Found) - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn rankings_that_are_none_are_invalid() {
        assert!(is_valid(&[2, 0], 3));
        assert!(!is_valid(&[], 3));
        assert!(!is_valid(&[0, 0], 3));
        assert!(!is_valid(&[3], 3));
    }
}
