//! How the settings of a learned ranker are chosen: by cross-validation over wordings, within the training part alone.
//!
//! Knows labelled questions and what can be fitted on them; must not know files, or what is saved.

use footnote_filings::DocType;

use super::learned::{LabelledQuestion, Settings, fit_probe, fit_with, joined};
use super::{DocTypeRanking, wording};

/// Weights of the words beside the cues, and penalties, that the settings are chosen from.
const TERM_SHARES: [f64; 3] = [0.0, 0.1, 0.4];
const PENALTIES: [f64; 3] = [2.0, 4.0, 8.0];
const INNER_FOLDS: usize = 5;

/// Cross-validation over wordings within the training part.
pub(super) struct Inner<'a> {
    questions: &'a [LabelledQuestion],
    pub(super) masked: Vec<String>,
    /// Training and test part of each fold.
    folds: Vec<(Vec<usize>, Vec<usize>)>,
}

impl<'a> Inner<'a> {
    pub(super) fn new(questions: &'a [LabelledQuestion]) -> Inner<'a> {
        let masked: Vec<String> = questions
            .iter()
            .map(|q| wording::masked(&q.question))
            .collect();
        let groups = wording::templates(&masked);
        let folds = (0..INNER_FOLDS)
            .map(|fold| {
                let (test, train): (Vec<usize>, Vec<usize>) =
                    (0..questions.len()).partition(|&at| groups[at] % INNER_FOLDS == fold);
                (train, test)
            })
            .filter(|(train, _)| !train.is_empty())
            .collect();
        Inner {
            questions,
            masked,
            folds,
        }
    }

    /// The settings of the cues that order wordings left out best, and those scores.
    pub(super) fn best_cues(&self) -> (Settings, Vec<[f64; 5]>) {
        let plainest = Settings {
            term_share: 0.0,
            penalty: PENALTIES[0],
        };
        let mut best = (f64::MIN, plainest, Vec::new());
        for term_share in TERM_SHARES {
            for penalty in PENALTIES {
                let settings = Settings {
                    term_share,
                    penalty,
                };
                let scores = self.left_out(|train| {
                    let fitted = fit_with(self.questions, &self.masked, train, settings);
                    move |at: usize| fitted.cue_scores(&self.questions[at].question)
                });
                // The plainer settings come first and win ties.
                let value = self.value(&scores);
                if value > best.0 + 1e-9 {
                    best = (value, settings, scores);
                }
            }
        }
        (best.1, best.2)
    }

    /// The cues' scores with those of a probe, both of questions left out.
    pub(super) fn with_probe(&self, cues: &[[f64; 5]], vectors: &[Vec<f32>]) -> Vec<[f64; 5]> {
        let probe = self.left_out(|train| {
            let fitted = fit_probe(self.questions, vectors, train);
            move |at: usize| fitted.scores(&vectors[at])
        });
        cues.iter()
            .zip(&probe)
            .map(|(cues, probe)| joined(cues, probe))
            .collect()
    }

    /// Each question's scores by what was fitted without its fold.
    fn left_out<F: Fn(usize) -> [f64; 5]>(&self, fit: impl Fn(&[usize]) -> F) -> Vec<[f64; 5]> {
        let mut scores = vec![[0.0; 5]; self.questions.len()];
        for (train, test) in &self.folds {
            let score = fit(train);
            for &at in test {
                scores[at] = score(at);
            }
        }
        scores
    }

    /// Mean nDCG@5 of the orders that `scores` give.
    fn value(&self, scores: &[[f64; 5]]) -> f64 {
        let sum: f64 = self
            .questions
            .iter()
            .zip(scores)
            .map(|(question, scores)| {
                ndcg(
                    &question.grades,
                    &DocTypeRanking::from_scores("", *scores).order,
                )
            })
            .sum();
        sum / self.questions.len() as f64
    }
}

/// nDCG over the five types with gain `2^grade − 1` (FinAgentBench's own definition).
fn ndcg(grades: &[u32; 5], order: &[DocType]) -> f64 {
    let sum = |grades: &mut dyn Iterator<Item = u32>| {
        grades
            .enumerate()
            .map(|(place, grade)| (f64::from(grade).exp2() - 1.0) / (place as f64 + 2.0).log2())
            .sum::<f64>()
    };
    let mut sorted = *grades;
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let ideal = sum(&mut sorted.into_iter());
    if ideal > 0.0 {
        sum(&mut order.iter().map(|kind| grades[kind.index()])) / ideal
    } else {
        0.0
    }
}
