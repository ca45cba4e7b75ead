//! A linear probe: kinds of document from the vector of a question (Alain and Bengio 2016, arXiv:1610.01644).
//!
//! The vectors are a model's and are not trained; what is learned is one weight a number and kind. Nobody chooses
//! words here, so what it is worth on questions not seen is worth believing. Must not know which model
//! gives the vectors.

use std::sync::Arc;

use footnote_engine::Embedder;
use serde::{Deserialize, Serialize};

use super::learned::shares;
use super::ridge::{self, Fit};
use super::{DocTypeRanker, DocTypeRanking, LabelledQuestion};
use crate::AgentError;

/// The squared penalty where none is chosen, in units of the vectors' spread.
pub const PENALTY: f64 = 1.5;

/// Weights over a vector's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// One row a number of the vector, one weight a kind.
    pub(super) weights: Vec<Vec<f64>>,
    /// One a kind.
    pub(super) offset: Vec<f64>,
}

impl Probe {
    /// Fits the grades of `questions` on their vectors, by ridge regression.
    ///
    /// # Panics
    /// Where there are no questions, or not one vector for each.
    pub fn fit(questions: &[&LabelledQuestion], vectors: &[&[f32]], penalty: f64) -> Probe {
        let table: Vec<Vec<f64>> = vectors
            .iter()
            .map(|vector| vector.iter().map(|x| f64::from(*x)).collect())
            .collect();
        let targets: Vec<Vec<f64>> = questions
            .iter()
            .map(|question| shares(&question.grades))
            .collect();
        let Fit { weights, offset } = ridge::fit(&table, &targets, penalty * spread(&table));
        Probe { weights, offset }
    }

    /// Expected grade of each kind, as a share of the highest.
    pub fn scores(&self, vector: &[f32]) -> [f64; 5] {
        std::array::from_fn(|kind| {
            self.offset[kind]
                + vector
                    .iter()
                    .zip(&self.weights)
                    .map(|(x, weight)| f64::from(*x) * weight[kind])
                    .sum::<f64>()
        })
    }

    /// Whether it reads vectors of `width` numbers and gives finite scores.
    pub(super) fn is_sound(&self, width: usize) -> bool {
        self.weights.len() == width
            && self.weights.iter().all(|row| row.len() == 5)
            && self.offset.len() == 5
            && self
                .weights
                .iter()
                .flatten()
                .chain(&self.offset)
                .all(|x| x.is_finite())
    }
}

/// Mean squared distance from the mean.
fn spread(table: &[Vec<f64>]) -> f64 {
    let rows = table.len() as f64;
    let width = table.first().map_or(0, Vec::len);
    let variance = |at: usize| {
        let mean = table.iter().map(|row| row[at]).sum::<f64>() / rows;
        table
            .iter()
            .map(|row| (row[at] - mean).powi(2))
            .sum::<f64>()
            / rows
    };
    (0..width).map(variance).sum::<f64>().max(1e-9)
}

/// Orders kinds by a probe of a question's vector.
pub struct ProbeOrder {
    name: String,
    embedder: Arc<dyn Embedder>,
    probe: Probe,
}

impl ProbeOrder {
    /// A probe over the vectors of `embedder`, fitted on `questions`.
    ///
    /// # Errors
    /// Where the embedder fails, or there is nothing to learn from.
    pub fn fit(
        embedder: Arc<dyn Embedder>,
        questions: &[LabelledQuestion],
    ) -> Result<ProbeOrder, AgentError> {
        let texts: Vec<&str> = questions.iter().map(|q| q.question.as_str()).collect();
        let name = format!("probe:{}", embedder.name());
        if texts.is_empty() {
            return Err(AgentError::Ranker {
                ranker: name,
                reason: "there is no labelled question to learn from".to_owned(),
                mend: "give labelled questions".to_owned(),
            });
        }
        let vectors = embedder.embed(&texts)?;
        let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let questions: Vec<&LabelledQuestion> = questions.iter().collect();
        Ok(ProbeOrder {
            name,
            probe: Probe::fit(&questions, &vectors, PENALTY),
            embedder,
        })
    }
}

impl DocTypeRanker for ProbeOrder {
    fn name(&self) -> &str {
        &self.name
    }

    fn rank(&self, question: &str) -> Result<DocTypeRanking, AgentError> {
        let vectors = self.embedder.embed(&[question])?;
        let vector = vectors.first().map_or(&[][..], Vec::as_slice);
        Ok(DocTypeRanking::from_scores(
            self.name(),
            self.probe.scores(vector),
        ))
    }
}

#[cfg(test)]
mod tests {
    use footnote_engine::EngineError;

    use super::*;

    /// Which of three words a text holds.
    pub struct Words;

    impl Embedder for Words {
        fn name(&self) -> &str {
            "words"
        }
        fn width(&self) -> usize {
            3
        }
        fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EngineError> {
            let holds = |text: &str, word| f32::from(u8::from(text.contains(word)));
            Ok(texts
                .iter()
                .map(|text| {
                    ["paid", "risk", "guide"]
                        .map(|word| holds(text, word))
                        .to_vec()
                })
                .collect())
        }
    }

    #[test]
    fn a_probe_learns_what_the_vectors_tell() {
        let questions: Vec<LabelledQuestion> = [
            ("Who is paid?", [4, 2, 1, 0, 3]),
            ("What is a risk?", [0, 4, 3, 2, 1]),
            ("What did they guide?", [0, 1, 3, 2, 4]),
        ]
        .iter()
        .map(|(question, grades)| LabelledQuestion {
            question: (*question).to_owned(),
            grades: *grades,
        })
        .collect();
        // As often as real labels say a thing, so that the penalty does not drown it.
        let often: Vec<LabelledQuestion> = (0..8).flat_map(|_| questions.clone()).collect();
        let order = ProbeOrder::fit(Arc::new(Words), &often).unwrap();
        for (question, best) in [("paid well", 0), ("a risk", 1), ("to guide", 4)] {
            assert_eq!(order.rank(question).unwrap().order[0].index(), best);
        }
        assert!(ProbeOrder::fit(Arc::new(Words), &[]).is_err());
        assert!(!order.probe.is_sound(2));
    }
}
