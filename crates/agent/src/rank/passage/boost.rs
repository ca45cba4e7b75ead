//! LambdaMART: boosted regression trees on the lambda gradients of nDCG (Burges 2010, MSR-TR-2010-82,
//! sections 4 to 7), grown leaf by leaf on binned features, starting from a given score.

use super::features::{FEATURES, Features};
use super::fit::{Example, gain};
use super::scorer::{Node, Scorer, Tree};

/// Bins a feature is cut into.
const BINS: usize = 32;
/// Leaves of a tree.
const LEAVES: usize = 8;
/// Chunks a leaf must hold.
const LEAST: usize = 20;
/// What a leaf's sum of second derivatives is raised by.
const SMOOTHING: f64 = 1.0;
/// Part of each tree that is added.
const RATE: f64 = 0.1;
/// Pairs count where one of them stands among the first so many.
const CUT: usize = 10;

/// Grows trees round by round and shows the scorer after each to `watch`, which ends it by `false`.
pub(super) fn boost(
    examples: &[&Example],
    start: Scorer,
    rounds: usize,
    mut watch: impl FnMut(&Scorer) -> bool,
) -> Scorer {
    let rows: Vec<&Features> = examples
        .iter()
        .flat_map(|example| &example.features)
        .collect();
    let cuts: Vec<Vec<f32>> = (0..FEATURES.len()).map(|at| cuts_of(&rows, at)).collect();
    let bins: Vec<Vec<u8>> = cuts
        .iter()
        .enumerate()
        .map(|(at, cuts)| rows.iter().map(|row| bin(cuts, row[at])).collect())
        .collect();
    let mut scores: Vec<f64> = rows.iter().map(|row| f64::from(start.score(row))).collect();
    let mut scorer = start;
    for _ in 0..rounds {
        let (slopes, curvatures) = lambdas(examples, &scores);
        let Some((tree, leaves)) = grow(&bins, &cuts, &slopes, &curvatures) else {
            break;
        };
        for (rows, value) in leaves {
            for row in rows {
                scores[row as usize] += value;
            }
        }
        scorer.trees.push(tree);
        if !watch(&scorer) {
            break;
        }
    }
    scorer
}

/// Thresholds between bins: quantiles of the different values.
fn cuts_of(rows: &[&Features], at: usize) -> Vec<f32> {
    let mut values: Vec<f32> = rows.iter().map(|row| row[at]).collect();
    values.sort_by(f32::total_cmp);
    let mut cuts: Vec<f32> = Vec::new();
    let mut distinct = values.clone();
    distinct.dedup();
    let source = if distinct.len() <= BINS {
        &distinct
    } else {
        &values
    };
    for step in 1..BINS {
        let place = step * source.len() / BINS;
        if let Some(value) = source.get(place.saturating_sub(1))
            && cuts.last().is_none_or(|last| last < value)
        {
            cuts.push(*value);
        }
    }
    if source.len() <= BINS {
        cuts = distinct;
        cuts.pop();
    }
    cuts
}

/// How many thresholds lie below a value.
fn bin(cuts: &[f32], value: f32) -> u8 {
    cuts.partition_point(|cut| *cut < value) as u8
}

/// First and second derivatives of each chunk's score.
fn lambdas(examples: &[&Example], scores: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut slopes, mut curvatures) = (vec![0.0; scores.len()], vec![0.0; scores.len()]);
    let mut from = 0;
    for example in examples {
        let count = example.grades.len();
        let own = &scores[from..from + count];
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| own[*b].total_cmp(&own[*a]).then(a.cmp(b)));
        let discount = |place: usize| {
            if place < CUT {
                1.0 / (place as f64 + 2.0).log2()
            } else {
                0.0
            }
        };
        let mut best = example.grades.clone();
        best.sort_unstable_by(|a, b| b.cmp(a));
        let ideal: f64 = best
            .iter()
            .enumerate()
            .map(|(place, g)| gain(*g) * discount(place))
            .sum();
        if ideal <= 0.0 {
            from += count;
            continue;
        }
        for (high_place, high) in order.iter().enumerate() {
            if example.grades[*high] == 0 {
                continue;
            }
            for (low_place, low) in order.iter().enumerate() {
                if example.grades[*low] >= example.grades[*high] || high_place.min(low_place) >= CUT
                {
                    continue;
                }
                let gains = gain(example.grades[*high]) - gain(example.grades[*low]);
                let change = gains * (discount(high_place) - discount(low_place)).abs() / ideal;
                let doubt = 1.0 / (1.0 + (own[*high] - own[*low]).exp());
                let curvature = change * doubt * (1.0 - doubt);
                slopes[from + high] += change * doubt;
                slopes[from + low] -= change * doubt;
                curvatures[from + high] += curvature;
                curvatures[from + low] += curvature;
            }
        }
        from += count;
    }
    (slopes, curvatures)
}

/// A leaf that may be split: its rows, its node, and its best split.
struct Leaf {
    rows: Vec<u32>,
    node: usize,
    split: Option<Split>,
}

struct Split {
    won: f64,
    feature: usize,
    bin: u8,
}

type Grown = (Tree, Vec<(Vec<u32>, f64)>);

/// One tree, and the rows and value of each of its leaves; nothing where no split helps.
fn grow(bins: &[Vec<u8>], cuts: &[Vec<f32>], slopes: &[f64], curvatures: &[f64]) -> Option<Grown> {
    let all: Vec<u32> = (0..slopes.len() as u32).collect();
    let split = best_split(&all, bins, cuts, slopes, curvatures);
    split.as_ref()?;
    let mut nodes = vec![Node::Leaf(0.0)];
    let mut leaves = vec![Leaf {
        rows: all,
        node: 0,
        split,
    }];
    while leaves.len() < LEAVES {
        let best = (0..leaves.len())
            .filter(|at| leaves[*at].split.is_some())
            .max_by(|a, b| {
                let won = |at: usize| leaves[at].split.as_ref().map_or(0.0, |split| split.won);
                won(*a).total_cmp(&won(*b)).then(b.cmp(a))
            });
        let Some(at) = best else { break };
        let leaf = leaves.swap_remove(at);
        let Some(split) = leaf.split else { break };
        let (left, right): (Vec<u32>, Vec<u32>) = leaf
            .rows
            .iter()
            .partition(|row| bins[split.feature][**row as usize] <= split.bin);
        let threshold = cuts[split.feature][usize::from(split.bin)];
        nodes[leaf.node] = Node::Split(split.feature, threshold, nodes.len(), nodes.len() + 1);
        for rows in [left, right] {
            let split = best_split(&rows, bins, cuts, slopes, curvatures);
            leaves.push(Leaf {
                rows,
                node: nodes.len(),
                split,
            });
            nodes.push(Node::Leaf(0.0));
        }
    }
    let mut valued = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        let slope: f64 = leaf.rows.iter().map(|row| slopes[*row as usize]).sum();
        let curvature: f64 = leaf.rows.iter().map(|row| curvatures[*row as usize]).sum();
        // Kept as the saved model keeps it, so that training and use agree.
        let value = (RATE * slope / (curvature + SMOOTHING)) as f32;
        nodes[leaf.node] = Node::Leaf(value);
        valued.push((leaf.rows, f64::from(value)));
    }
    Some((Tree(nodes), valued))
}

/// The split of some rows that lowers the loss most.
fn best_split(
    rows: &[u32],
    bins: &[Vec<u8>],
    cuts: &[Vec<f32>],
    slopes: &[f64],
    curvatures: &[f64],
) -> Option<Split> {
    let slope: f64 = rows.iter().map(|row| slopes[*row as usize]).sum();
    let curvature: f64 = rows.iter().map(|row| curvatures[*row as usize]).sum();
    let worth = |slope: f64, curvature: f64| slope * slope / (curvature + SMOOTHING);
    let mut best: Option<Split> = None;
    for (feature, bins) in bins.iter().enumerate() {
        let cuts = cuts[feature].len();
        if cuts == 0 {
            continue;
        }
        let mut sums = [(0.0f64, 0.0f64, 0usize); BINS + 1];
        for row in rows {
            let row = *row as usize;
            let sum = &mut sums[usize::from(bins[row])];
            *sum = (sum.0 + slopes[row], sum.1 + curvatures[row], sum.2 + 1);
        }
        let mut left = (0.0, 0.0, 0usize);
        for (at, sum) in sums.iter().enumerate().take(cuts) {
            left = (left.0 + sum.0, left.1 + sum.1, left.2 + sum.2);
            if left.2 < LEAST || rows.len() - left.2 < LEAST {
                continue;
            }
            let won = worth(left.0, left.1) + worth(slope - left.0, curvature - left.1)
                - worth(slope, curvature);
            if won > 1e-9 && best.as_ref().is_none_or(|best| won > best.won) {
                best = Some(Split {
                    won,
                    feature,
                    bin: at as u8,
                });
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::passage::ndcg;

    /// What is relevant lies in the middle of a feature, which no weighted sum can order.
    #[test]
    fn trees_learn_what_a_sum_cannot() {
        let examples: Vec<Example> = (0..60)
            .map(|query| {
                let features: Vec<Features> = (0..9)
                    .map(|at| {
                        let mut f = [0.0; FEATURES.len()];
                        f[0] = ((at + query) % 9) as f32 / 8.0;
                        f[1] = (query % 7) as f32;
                        f
                    })
                    .collect();
                let grades = features
                    .iter()
                    .map(|f| u32::from((0.4..0.6).contains(&f[0])))
                    .collect();
                Example {
                    features,
                    grades,
                    group: query as u64,
                }
            })
            .collect();
        let all: Vec<&Example> = examples.iter().collect();
        let start = Scorer::linear(vec![0.0; FEATURES.len()]);
        let scorer = boost(&all, start, 20, |_| true);
        scorer.check().unwrap();
        for example in &examples {
            let scores: Vec<f32> = example.features.iter().map(|f| scorer.score(f)).collect();
            assert!(ndcg(&example.grades, &scores, 5) > 0.99);
        }
    }

    #[test]
    fn bins_keep_order_and_equal_values_together() {
        let rows: Vec<Features> = (0..500)
            .map(|at| {
                let mut f = [0.0; FEATURES.len()];
                f[0] = (at % 97) as f32;
                f[1] = if at < 3 { 1.0 } else { 0.0 };
                f
            })
            .collect();
        let rows: Vec<&Features> = rows.iter().collect();
        let cuts = cuts_of(&rows, 0);
        assert!(cuts.len() < BINS && cuts.windows(2).all(|two| two[0] < two[1]));
        assert_eq!(cuts_of(&rows, 1), [0.0]);
        assert_eq!((bin(&[0.0], 0.0), bin(&[0.0], 1.0)), (0, 1));
        assert_eq!(cuts_of(&rows, 2), Vec::<f32>::new());
    }
}
