//! Kinds of document by the labels of the questions that are worded most alike: k nearest neighbours over TF-IDF of the
//! masked wording.

// Sums go in the order of the terms, so that every run gives the same.
use std::collections::BTreeMap;

use super::{DocTypeRanker, DocTypeRanking, LabelledQuestion, wording};
use crate::AgentError;

/// Neighbours that speak.
const NEIGHBOURS: usize = 8;
/// How much the mean of all labels weighs beside a neighbour of similarity 1.
const PRIOR_WEIGHT: f64 = 0.5;

/// Orders kinds by the nearest labelled questions.
pub struct NearestOrder {
    /// Squared-normed TF-IDF vectors with their grades.
    known: Vec<(BTreeMap<String, f64>, [f64; 5])>,
    rarity: BTreeMap<String, f64>,
    mean: [f64; 5],
}

impl NearestOrder {
    /// Remembers `questions`; nothing is fitted.
    pub fn new(questions: &[LabelledQuestion]) -> NearestOrder {
        let counted: Vec<BTreeMap<String, f64>> = questions
            .iter()
            .map(|question| counts(&question.question))
            .collect();
        let mut documents: BTreeMap<String, f64> = BTreeMap::new();
        for term in counted.iter().flat_map(BTreeMap::keys) {
            *documents.entry(term.clone()).or_default() += 1.0;
        }
        let total = questions.len().max(1) as f64;
        let rarity: BTreeMap<String, f64> = documents
            .into_iter()
            .map(|(term, count)| (term, (1.0 + total / count).ln()))
            .collect();
        let mut mean = [0.0; 5];
        for question in questions {
            for (sum, grade) in mean.iter_mut().zip(question.grades) {
                *sum += f64::from(grade) / total;
            }
        }
        let known = counted
            .into_iter()
            .zip(questions)
            .map(|(counts, question)| (weighed(counts, &rarity), question.grades.map(f64::from)))
            .collect();
        NearestOrder {
            known,
            rarity,
            mean,
        }
    }
}

fn counts(question: &str) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for term in wording::terms(&wording::masked(question)) {
        *counts.entry(term).or_default() += 1.0;
    }
    counts
}

/// TF-IDF of length 1; terms that no labelled question has say nothing.
fn weighed(counts: BTreeMap<String, f64>, rarity: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let mut vector: BTreeMap<String, f64> = counts
        .into_iter()
        .filter_map(|(term, count): (String, f64)| {
            let weight = (1.0 + count.ln()) * rarity.get(&term)?;
            Some((term, weight))
        })
        .collect();
    let length = vector.values().map(|x| x * x).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.values_mut().for_each(|x| *x /= length);
    }
    vector
}

impl NearestOrder {
    /// Similarity to each labelled question and its place among them, the most alike first.
    pub fn neighbours(&self, question: &str) -> Vec<(f64, usize)> {
        let asked = weighed(counts(question), &self.rarity);
        let mut near: Vec<(f64, usize)> = self
            .known
            .iter()
            .enumerate()
            .map(|(at, (vector, _))| {
                let shared = asked
                    .iter()
                    .filter_map(|(term, x)| Some(x * vector.get(term)?));
                (shared.sum(), at)
            })
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        near
    }
}

impl DocTypeRanker for NearestOrder {
    fn name(&self) -> &str {
        "nearest"
    }

    fn rank(&self, question: &str) -> Result<DocTypeRanking, AgentError> {
        let mut scores = self.mean.map(|mean| mean * PRIOR_WEIGHT);
        let mut weight = PRIOR_WEIGHT;
        for (similarity, at) in self.neighbours(question).into_iter().take(NEIGHBOURS) {
            // Nearer ones speak much louder.
            let voice = similarity * similarity;
            weight += voice;
            for (score, grade) in scores.iter_mut().zip(self.known[at].1) {
                *score += voice * grade;
            }
        }
        Ok(DocTypeRanking::from_scores(
            self.name(),
            scores.map(|score| score / weight),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_of_the_same_wording_has_the_same_order() {
        let labelled = |question: &str, grades: [u32; 5]| LabelledQuestion {
            question: question.to_owned(),
            grades,
        };
        let nearest = NearestOrder::new(&[
            labelled("How is Aquillon's chief executive paid?", [4, 2, 1, 0, 3]),
            labelled("What are Brantham's risk factors?", [0, 4, 3, 2, 1]),
            labelled("What did Carrow guide for next quarter?", [0, 1, 3, 2, 4]),
        ]);
        let first = |question: &str| nearest.rank(question).unwrap().order[0].index();
        assert_eq!(first("How is Dornwick's chief executive paid?"), 0);
        assert_eq!(first("What are Eskmoor's risk factors?"), 1);
        assert_eq!(first("What did Foxholt guide for next quarter?"), 4);
        // What nobody asked has the mean's order.
        assert_eq!(nearest.rank("Zebra?").unwrap().scores[1], 7.0 / 3.0);
    }
}
