//! Rankers by words alone: BM25, BM25 with priors of place, and the learned ones.

use super::document::Document;
use super::features::{Feature, Features, KindCues, extract};
use super::lexical::{Query, bm25, of_best};
use super::question::ask;
use super::scorer::Scorer;
use super::text::Stemmer;
use super::{PassageRanker, settled};
use crate::AgentError;

/// What place and kind of a chunk are worth beside its BM25 as a share of the best.
const PRIORS: &[(Feature, f32)] = &[
    (Feature::Item, 0.15),
    (Feature::Headings, 0.15),
    (Feature::TitleBefore, 0.10),
    (Feature::ExecutiveForManagement, 0.10),
    (Feature::AnalystForAnalysts, 0.20),
    (Feature::AnswerForAnalysts, 0.10),
    (Feature::Statement, 0.40),
    (Feature::TableForWords, -0.15),
    (Feature::Short, -0.40),
    (Feature::Contents, -0.40),
    (Feature::Boilerplate, -0.30),
    (Feature::Operator, -0.20),
];

/// Plain BM25 of the question's words, the yardstick; or with priors of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bm25 {
    /// k1 1.2, b 0.75, nothing else.
    Plain,
    /// Content words only, and what place and kind of a chunk tell.
    Sections,
}

impl PassageRanker for Bm25 {
    fn name(&self) -> &str {
        match self {
            Bm25::Plain => "bm25",
            Bm25::Sections => "bm25-sections",
        }
    }

    fn scores(&self, question: &str, texts: &[&str]) -> Result<Vec<f32>, AgentError> {
        let mut stemmer = Stemmer::default();
        let scores = match self {
            Bm25::Plain => {
                let document = Document::new(texts, &mut stemmer);
                let asked = ask(question, &mut stemmer);
                of_best(bm25(
                    &document,
                    &Query::new(&document, &asked.all),
                    1.2,
                    0.75,
                ))
            }
            Bm25::Sections => measure_with(question, texts, &mut stemmer)
                .iter()
                .map(|features| {
                    let priors = PRIORS
                        .iter()
                        .map(|(feature, weight)| features[*feature as usize] * weight);
                    features[Feature::Words as usize] + priors.sum::<f32>()
                })
                .collect(),
        };
        Ok(settled(scores, texts))
    }
}

/// A learned ranker.
#[derive(Clone, Debug)]
pub struct Learned {
    name: String,
    scorer: Scorer,
}

impl Learned {
    /// A ranker by a learned score.
    pub fn new(name: impl Into<String>, scorer: Scorer) -> Learned {
        Learned {
            name: name.into(),
            scorer,
        }
    }

    /// The one that comes with the program.
    pub fn built_in() -> Learned {
        Learned::new("lexical", super::saved::built_in().0.clone())
    }
}

impl PassageRanker for Learned {
    fn name(&self) -> &str {
        &self.name
    }

    fn scores(&self, question: &str, texts: &[&str]) -> Result<Vec<f32>, AgentError> {
        let features = measure_with(question, texts, &mut Stemmer::default());
        let scores = features
            .iter()
            .map(|features| self.scorer.score(features))
            .collect();
        Ok(settled(scores, texts))
    }
}

/// Measures questions on documents, one after the other; keeps the last document and the stems.
#[derive(Default)]
pub struct Measurer {
    stemmer: Stemmer,
}

impl Measurer {
    /// The features of every text of one document for several questions about it.
    pub fn measure(&mut self, questions: &[&str], texts: &[&str]) -> Vec<Vec<Features>> {
        let document = Document::new(texts, &mut self.stemmer);
        let cues = KindCues::new(&mut self.stemmer);
        let asked = questions
            .iter()
            .map(|question| ask(question, &mut self.stemmer));
        asked
            .map(|asked| extract(&asked, &document, &cues))
            .collect()
    }
}

fn measure_with(question: &str, texts: &[&str], stemmer: &mut Stemmer) -> Vec<Features> {
    let document = Document::new(texts, stemmer);
    let cues = KindCues::new(stemmer);
    extract(&ask(question, stemmer), &document, &cues)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::passage::features::FEATURES;
    use crate::rank::passage::order;

    const TEXTS: &[&str] = &[
        "Table of contents",
        "ITEM 1. BUSINESS\nWe make anvils and sell them to smiths in many countries, as we have for years.",
        "",
        "Dividends\n\nOur board declared a quarterly dividend of $0.25 per share and expects the dividend to grow with earnings over time.",
        "##2023##2022\nDividends per share##1.00##0.96\nShares##10##11",
        "We bought back shares in the year as well, and paid for two new forges with what was left of our cash.",
    ];

    #[test]
    fn what_answers_comes_first_and_what_is_empty_last() {
        for ranker in [
            Box::new(Bm25::Plain) as Box<dyn PassageRanker>,
            Box::new(Bm25::Sections),
            Box::new(Learned::built_in()),
        ] {
            let question = "What did Acme's leadership say about its dividend policy?";
            let scores = ranker.scores(question, TEXTS).unwrap();
            let order = order(&scores);
            assert_eq!(order[0], 3, "{} {scores:?}", ranker.name());
            assert_eq!(order[5], 2, "{} {scores:?}", ranker.name());
            assert_eq!(scores, ranker.scores(question, TEXTS).unwrap());
        }
    }

    #[test]
    fn nothing_and_little_are_ranked_too() {
        let lexical = Learned::built_in();
        assert_eq!(lexical.scores("What?", &[]).unwrap(), Vec::<f32>::new());
        assert_eq!(lexical.scores("", &["", " "]).unwrap().len(), 2);
        assert!(lexical.scores("\u{0}", &["only"]).unwrap()[0].is_finite());
    }

    /// The features that are allowed to see where a chunk stands.
    const OF_PLACE: &[Feature] = &[
        Feature::Lead,
        Feature::TitleBefore,
        Feature::Neighbour,
        Feature::Surroundings,
        Feature::Statement,
        Feature::IdleStatement,
        Feature::Position,
        Feature::First,
        Feature::Last,
        Feature::Item,
        Feature::CombinedRank,
        Feature::WordsRank,
    ];

    proptest::proptest! {
        #[test]
        fn the_order_of_chunks_changes_only_features_of_place(
            texts in proptest::collection::vec("[a-z]{1,4}( [a-z]{1,4}){0,12}", 1..12),
            turn in 0usize..12,
        ) {
            let question = "what did ab say on abc d dividend";
            let mut turned = texts.clone();
            let turn = turn % texts.len();
            turned.rotate_left(turn);
            let mut measurer = Measurer::default();
            let plain: Vec<&str> = texts.iter().map(String::as_str).collect();
            let moved: Vec<&str> = turned.iter().map(String::as_str).collect();
            let a = measurer.measure(&[question], &plain).remove(0);
            let b = measurer.measure(&[question], &moved).remove(0);
            for (at, features) in b.iter().enumerate() {
                let before = &a[(at + turn) % texts.len()];
                for (feature, name) in FEATURES {
                    if OF_PLACE.contains(feature) {
                        continue;
                    }
                    let (x, y) = (before[*feature as usize], features[*feature as usize]);
                    proptest::prop_assert!((x - y).abs() < 1e-4, "{} {} {}", name, x, y);
                }
            }
        }

        #[test]
        fn any_chunks_get_finite_scores(texts in proptest::collection::vec("\\PC{0,80}", 0..6), question in "\\PC{0,80}") {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            for ranker in [Box::new(Bm25::Plain) as Box<dyn PassageRanker>, Box::new(Learned::built_in())] {
                let scores = ranker.scores(&question, &texts).unwrap();
                proptest::prop_assert_eq!(scores.len(), texts.len());
                proptest::prop_assert!(scores.iter().all(|score| score.is_finite()));
            }
        }
    }
}
