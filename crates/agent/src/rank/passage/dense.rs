//! Dense ranking: the angle between the question's vector and each text's.
//!
//! A sentence encoder reads a question and a text apart, so it finds what is worded otherwise and misses what only
//! the two together tell; it stands beside the lexical rankers, not in their place. Of a long text the
//! stretch that fits the question's words best is read. Must not know which encoder it asks.

use std::sync::Arc;

use footnote_engine::Embedder;

use super::model::excerpt;
use super::{PassageRanker, settled};
use crate::AgentError;

/// How much of a text is read, in characters: about what the encoder takes in.
const READ_CHARS: usize = 1_000;

/// A ranker by vectors.
pub struct Dense {
    embedder: Arc<dyn Embedder>,
}

impl Dense {
    /// A ranker by the vectors of `embedder`.
    pub fn new(embedder: Arc<dyn Embedder>) -> Dense {
        Dense { embedder }
    }
}

impl PassageRanker for Dense {
    fn name(&self) -> &str {
        "dense"
    }

    fn scores(&self, question: &str, texts: &[&str]) -> Result<Vec<f32>, AgentError> {
        let mut scores = vec![f32::NEG_INFINITY; texts.len()];
        let read: Vec<(usize, String)> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| (at, excerpt(question, text, READ_CHARS)))
            // Marks alone give a tokenizer nothing to read.
            .filter(|(_, text)| text.chars().any(char::is_alphanumeric))
            .collect();
        let asked = self.embedder.embed(&[question])?;
        let texts_read: Vec<&str> = read.iter().map(|(_, text)| text.as_str()).collect();
        let vectors = self.embedder.embed(&texts_read)?;
        for ((at, _), vector) in read.iter().zip(vectors) {
            scores[*at] = asked
                .iter()
                .flatten()
                .zip(&vector)
                .map(|(a, b)| a * b)
                .sum();
        }
        Ok(settled(scores, texts))
    }
}

#[cfg(test)]
mod tests {
    use footnote_engine::EngineError;

    use super::*;

    /// A direction each for two words.
    struct Words;

    impl Embedder for Words {
        fn name(&self) -> &str {
            "words"
        }
        fn width(&self) -> usize {
            2
        }
        fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EngineError> {
            let holds = |text: &str, word| f32::from(u8::from(text.contains(word)));
            Ok(texts
                .iter()
                .map(|text| vec![holds(text, "hay"), holds(text, "anvil")])
                .collect())
        }
    }

    #[test]
    fn the_nearest_text_is_first_and_empty_ones_last() {
        let scores = Dense::new(Arc::new(Words))
            .scores(
                "How many anvils?",
                &["Hay and hay.", "", "***", "One anvil."],
            )
            .unwrap();
        let order = super::super::order(&scores);
        assert_eq!(order[0], 3, "{scores:?}");
        assert_eq!(order[3], 1, "{scores:?}");
    }
}
