//! The passage rankers by name.

use std::path::PathBuf;
use std::sync::Arc;

use footnote_engine::{Embedder, LanguageModel};

use super::model::{Judging, ModelJudge};
use super::plain::{Bm25, Learned};
use super::{AttentionRanker, Beside, Cascade, Dense, Fused, PassageRanker, saved};
use crate::AgentError;

/// The prefix of a ranker in a folder.
const LEARNED: &str = "learned:";

/// What a rank by BM25 weighs beside attention: between 0.2 and 0.6 nothing changes (`evals/results/compression.md`).
const BM25_BESIDE: f32 = 0.4;

/// Every name and what it means.
pub const NAMES: &[(&str, &str)] = &[
    ("bm25", "BM25 of the question's words"),
    (
        "bm25-sections",
        "BM25 with priors of section, speaker and kind of chunk",
    ),
    (
        "lexical",
        "some fifty lexical features under weights set by hand (the default)",
    ),
    (
        "hybrid",
        "reciprocal rank fusion of lexical and bm25-sections",
    ),
    (
        "dense",
        "the angle between the question's vector and the passage's (all-MiniLM-L6-v2)",
    ),
    (
        "hybrid-dense",
        "reciprocal rank fusion of lexical, bm25-sections and dense",
    ),
    (
        "model-yesno",
        "the local model's yes against no, passage by passage (slow)",
    ),
    (
        "model-likelihood",
        "how likely the local model finds the question after each passage (slow)",
    ),
    (
        "attention",
        "the attention that the question pays each passage, read by the local model one by one",
    ),
    (
        "attention-bm25",
        "attention, with the ranks by BM25 beside it",
    ),
    (
        "cascade",
        "hybrid over all, lexical over 50, the local model over 10",
    ),
    ("learned:DIR", "what `footnote train passages` wrote"),
];

/// The models that rankers ask, as far as they are open.
#[derive(Clone, Default)]
pub struct Models {
    /// Judges and pays attention.
    pub language: Option<Arc<dyn LanguageModel>>,
    /// Turns texts into vectors.
    pub embedder: Option<Arc<dyn Embedder>>,
}

/// A ranker chosen by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One of the plain names.
    Named(&'static str),
    /// A folder.
    Folder(PathBuf),
}

impl Choice {
    /// The ranker of this name.
    ///
    /// # Errors
    /// For an unknown name, with all that there are.
    pub fn parse(name: &str) -> Result<Choice, AgentError> {
        if let Some(folder) = name
            .strip_prefix(LEARNED)
            .filter(|folder| !folder.is_empty())
        {
            return Ok(Choice::Folder(PathBuf::from(folder)));
        }
        let known = NAMES
            .iter()
            .find(|(known, _)| *known == name && !known.starts_with(LEARNED));
        known.map(|(known, _)| Choice::Named(known)).ok_or_else(|| {
            let all: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            AgentError::PassageRanker {
                ranker: name.to_owned(),
                reason: "there is none of this name".to_owned(),
                mend: format!("choose one of {}", all.join(", ")),
            }
        })
    }

    /// Whether it asks a language model.
    pub fn needs_model(&self) -> bool {
        matches!(
            self,
            Choice::Named(
                "model-yesno" | "model-likelihood" | "attention" | "attention-bm25" | "cascade"
            )
        )
    }

    /// Whether it asks an embedder.
    pub fn needs_embedder(&self) -> bool {
        matches!(self, Choice::Named("dense" | "hybrid-dense"))
    }

    /// Makes the ranker, around the models that it asks.
    ///
    /// # Errors
    /// Where a folder holds no ranker, or a model is needed and none is given.
    pub fn build(&self, models: &Models) -> Result<Box<dyn PassageRanker>, AgentError> {
        let name = match self {
            Choice::Folder(folder) => {
                let (scorer, _) = saved::load(folder)?;
                let name = format!("{LEARNED}{}", folder.display());
                return Ok(Box::new(Learned::new(name, scorer)));
            }
            Choice::Named(name) => *name,
        };
        let asked = || {
            models
                .language
                .clone()
                .ok_or_else(|| AgentError::PassageRanker {
                    ranker: name.to_owned(),
                    reason: "it asks a language model and none is given".to_owned(),
                    mend: "name one by --model".to_owned(),
                })
        };
        let judge =
            |judging: Judging| Ok::<_, AgentError>(Box::new(ModelJudge::new(asked()?, judging)));
        let lexical = || Box::new(Learned::built_in());
        let dense = || {
            let embedder = models
                .embedder
                .clone()
                .ok_or_else(|| AgentError::PassageRanker {
                    ranker: name.to_owned(),
                    reason: "it asks an embedder and none is given".to_owned(),
                    mend: "fetch one by `footnote models get all-minilm-l6-v2`".to_owned(),
                })?;
            Ok::<_, AgentError>(Box::new(Dense::new(embedder)))
        };
        let words = || {
            vec![
                (1.0, lexical() as Box<dyn PassageRanker>),
                (0.5, Box::new(Bm25::Sections)),
            ]
        };
        let hybrid = || Box::new(Fused::new("hybrid", words()));
        Ok(match name {
            "bm25" => Box::new(Bm25::Plain),
            "bm25-sections" => Box::new(Bm25::Sections),
            "hybrid" => hybrid(),
            "dense" => dense()?,
            "hybrid-dense" => {
                let mut parts = words();
                parts.push((0.5, dense()?));
                Box::new(Fused::new("hybrid-dense", parts))
            }
            "model-yesno" => judge(Judging::YesNo)?,
            "model-likelihood" => judge(Judging::Likelihood)?,
            "attention" => Box::new(AttentionRanker::usual(asked()?)),
            "attention-bm25" => Box::new(Beside::new(
                "attention-bm25",
                Box::new(AttentionRanker::usual(asked()?)),
                Box::new(Bm25::Plain),
                BM25_BESIDE,
            )),
            "cascade" => Box::new(Cascade::new(
                "cascade",
                hybrid(),
                vec![(50, lexical(), 1.0), (10, judge(Judging::YesNo)?, 0.5)],
            )),
            _ => lexical(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_and_an_unknown_one_lists_them() {
        for (name, _) in NAMES {
            let choice = Choice::parse(name).unwrap();
            let alone = !choice.needs_model() && !choice.needs_embedder();
            if alone && matches!(choice, Choice::Named(_)) {
                assert_eq!(choice.build(&Models::default()).unwrap().name(), *name);
            }
        }
        let error = Choice::parse("magic").unwrap_err().to_string();
        assert!(
            error.contains("magic") && error.contains("bm25-sections"),
            "{error}"
        );
        assert!(Choice::parse("learned:").is_err());
        let error = Choice::parse("cascade")
            .unwrap()
            .build(&Models::default())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("--model"), "{error}");
        let error = Choice::parse("learned:/nowhere")
            .unwrap()
            .build(&Models::default())
            .err()
            .unwrap();
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }
}
