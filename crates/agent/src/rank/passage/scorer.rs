//! A learned score: a weighted sum of measures, and boosted trees on top where there are any.
//!
//! Plain data that is saved and read back; how it was fitted is not known here.

use serde::{Deserialize, Serialize};

use super::features::{FEATURES, Features};

/// More trees than this are no small model.
pub(super) const MOST_TREES: usize = 2_000;
/// More nodes than this has no tree of ours.
const MOST_NODES: usize = 256;

/// A learned ranker's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scorer {
    /// One weight a feature, in [`FEATURES`]' order.
    pub linear: Vec<f32>,
    /// Trees whose values are added.
    #[serde(default)]
    pub trees: Vec<Tree>,
}

/// A regression tree; node 0 is its root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tree(pub Vec<Node>);

/// A node of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Node {
    /// Goes left where the feature is at most the threshold, else right.
    Split(usize, f32, usize, usize),
    /// The end: a value.
    Leaf(f32),
}

impl Scorer {
    /// A weighted sum alone.
    pub fn linear(weights: Vec<f32>) -> Scorer {
        Scorer {
            linear: weights,
            trees: Vec::new(),
        }
    }

    /// The score of a chunk.
    pub fn score(&self, features: &Features) -> f32 {
        let sum: f32 = self.linear.iter().zip(features).map(|(w, f)| w * f).sum();
        sum + self
            .trees
            .iter()
            .map(|tree| tree.value(features))
            .sum::<f32>()
    }

    /// Whether every number is finite and every tree can be walked to its end.
    ///
    /// # Errors
    /// A sentence on what is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.linear.len() != FEATURES.len() {
            return Err(format!(
                "{} weights, this version has {} features",
                self.linear.len(),
                FEATURES.len()
            ));
        }
        if !self.linear.iter().all(|weight| weight.is_finite()) {
            return Err("a weight is no finite number".to_owned());
        }
        if self.trees.len() > MOST_TREES {
            return Err(format!("more than {MOST_TREES} trees"));
        }
        self.trees.iter().enumerate().try_for_each(|(at, tree)| {
            tree.check()
                .map_err(|reason| format!("tree {at}: {reason}"))
        })
    }
}

impl Tree {
    /// The value of the leaf that a chunk falls into.
    pub fn value(&self, features: &Features) -> f32 {
        let mut at = 0;
        // Children come after their parents, so this ends.
        while let Some(Node::Split(feature, threshold, left, right)) = self.0.get(at) {
            at = if features[*feature] <= *threshold {
                *left
            } else {
                *right
            };
        }
        match self.0.get(at) {
            Some(Node::Leaf(value)) => *value,
            _ => 0.0,
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.0.is_empty() || self.0.len() > MOST_NODES {
            return Err(format!(
                "{} nodes, 1 to {MOST_NODES} are allowed",
                self.0.len()
            ));
        }
        for (at, node) in self.0.iter().enumerate() {
            let fits = match node {
                Node::Leaf(value) => value.is_finite(),
                Node::Split(feature, threshold, left, right) => {
                    *feature < FEATURES.len()
                        && threshold.is_finite()
                        && [*left, *right]
                            .iter()
                            .all(|child| *child > at && *child < self.0.len())
                }
            };
            if !fits {
                return Err(format!("node {at} is none"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_walked_and_a_broken_one_refused() {
        let mut features = [0.0; FEATURES.len()];
        let tree = Tree(vec![
            Node::Split(1, 0.5, 1, 2),
            Node::Leaf(-1.0),
            Node::Leaf(2.0),
        ]);
        assert_eq!(tree.value(&features), -1.0);
        features[1] = 0.6;
        assert_eq!(tree.value(&features), 2.0);
        let scorer = |tree: Tree| Scorer {
            linear: vec![0.0; FEATURES.len()],
            trees: vec![tree],
        };
        assert_eq!(scorer(tree).check(), Ok(()));
        for broken in [
            Tree(vec![]),
            Tree(vec![Node::Split(0, 0.0, 0, 0)]),
            Tree(vec![
                Node::Split(FEATURES.len(), 0.0, 1, 1),
                Node::Leaf(0.0),
            ]),
            Tree(vec![Node::Leaf(f32::NAN)]),
        ] {
            assert!(scorer(broken).check().is_err());
        }
        assert!(Scorer::linear(vec![0.0]).check().is_err());
    }
}
