//! Kinds of document by the local model's scores, with the nearest labelled questions shown to it first.
//!
//! As [`ModelRanker`](crate::ModelRanker), and before the question stand turns of a chat in which the questions
//! worded most alike were answered by their best kind (in-context examples chosen by nearness, Liu et al. 2022,
//! arXiv:2101.06804). A question of the same company, or the same question, is never shown, so that one file can be
//! both asked and shown.

use std::sync::Arc;

use footnote_engine::LanguageModel;
use footnote_filings::DocType;

use super::{DocTypeRanker, DocTypeRanking, LabelledQuestion, NearestOrder, wording};
use crate::AgentError;
use crate::model_ranker::{Shown, scores_beside_prior};

/// Examples in a prompt.
const EXAMPLES: usize = 4;

/// Orders kinds by a model that has seen like questions answered.
pub struct ExamplesOrder {
    model: Arc<dyn LanguageModel>,
    nearest: NearestOrder,
    known: Vec<LabelledQuestion>,
}

impl ExamplesOrder {
    /// A ranker that asks `model` after showing it some of `questions`.
    pub fn new(model: Arc<dyn LanguageModel>, questions: &[LabelledQuestion]) -> ExamplesOrder {
        ExamplesOrder {
            model,
            nearest: NearestOrder::new(questions),
            known: questions.to_vec(),
        }
    }

    /// What is shown before `question`, the most alike last: next to the question, where it says most.
    fn shown(&self, question: &str) -> Vec<Shown> {
        let company = wording::company(question);
        let other = |known: &LabelledQuestion| {
            known.question != question
                && (company.is_none() || wording::company(&known.question) != company)
        };
        let mut shown: Vec<Shown> = self
            .nearest
            .neighbours(question)
            .into_iter()
            .map(|(_, at)| &self.known[at])
            .filter(|known| other(known))
            .take(EXAMPLES)
            .map(|known| Shown {
                question: known.question.clone(),
                best: best(&known.grades),
            })
            .collect();
        shown.reverse();
        shown
    }
}

/// The kind of the highest grade; of several the one that answers most questions.
fn best(grades: &[u32; 5]) -> DocType {
    DocTypeRanking::from_scores("", grades.map(f64::from)).order[0]
}

impl DocTypeRanker for ExamplesOrder {
    fn name(&self) -> &str {
        "examples"
    }

    fn rank(&self, question: &str) -> Result<DocTypeRanking, AgentError> {
        let shown = self.shown(question);
        let scores = scores_beside_prior(self.model.as_ref(), question, &shown)?;
        Ok(DocTypeRanking::from_scores(self.name(), scores))
    }
}

#[cfg(test)]
mod tests {
    use footnote_engine::{EngineError, GenerateRequest, Generation, Prompt};

    use super::*;

    /// Likes whatever letter was answered last.
    struct Parrot;

    impl LanguageModel for Parrot {
        fn name(&self) -> &str {
            "parrot"
        }
        fn context_tokens(&self) -> usize {
            4096
        }
        fn count_tokens(&self, text: &str) -> Result<usize, EngineError> {
            Ok(text.len())
        }
        fn generate(&self, _: GenerateRequest) -> Result<Generation, EngineError> {
            Err(EngineError::Stopped)
        }
        fn score(
            &self,
            prompt: Prompt,
            letters: &[String],
        ) -> Result<Vec<(f64, usize)>, EngineError> {
            let Prompt::Chat(messages) = prompt else {
                return Err(EngineError::Stopped);
            };
            let asked = &messages[messages.len() - 1].content;
            let last = (asked != "N/A").then(|| messages[messages.len() - 2].content.clone());
            let score = |letter: &String| {
                if Some(letter) == last.as_ref() {
                    5.0
                } else {
                    0.0
                }
            };
            Ok(letters.iter().map(|letter| (score(letter), 1)).collect())
        }
    }

    #[test]
    fn the_nearest_of_other_companies_are_shown() {
        let labelled = |question: &str, grades: [u32; 5]| LabelledQuestion {
            question: question.to_owned(),
            grades,
        };
        let order = ExamplesOrder::new(
            Arc::new(Parrot),
            &[
                labelled("How is Aquillon's chief executive paid?", [4, 2, 1, 0, 3]),
                labelled("How is Dornwick's chief executive paid?", [0, 0, 0, 4, 0]),
                labelled("What did Carrow guide for next quarter?", [0, 1, 3, 2, 4]),
            ],
        );
        let shown = order.shown("How is Dornwick's chief executive paid?");
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[1].best, DocType::Def14a);
        let ranking = order
            .rank("How is Dornwick's chief executive paid?")
            .unwrap();
        assert_eq!(ranking.order[0], DocType::Def14a);
    }
}
