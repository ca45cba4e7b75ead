//! Dense ranking: the angle between the question's vector and each text's.
//!
//! A sentence encoder reads a question and a text apart, so it finds what is worded otherwise and misses what only
//! the two together tell; it stands beside the lexical rankers, not in their place. Of a long text the
//! stretch that fits the question's words best is read. Must not know which encoder it asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use footnote_engine::Embedder;

use super::model::excerpt;
use super::{PassageRanker, settled};
use crate::AgentError;

/// How much of a text is read, in characters: about what the encoder takes in.
const READ_CHARS: usize = 1_000;

/// Vectors kept, since many questions are asked of one document: 6 MB of them.
const KEPT: usize = 4_096;

/// A ranker by vectors.
pub struct Dense {
    embedder: Arc<dyn Embedder>,
    /// Vectors of texts read so far.
    kept: Mutex<HashMap<String, Vec<f32>>>,
}

impl Dense {
    /// A ranker by the vectors of `embedder`.
    pub fn new(embedder: Arc<dyn Embedder>) -> Dense {
        Dense {
            embedder,
            kept: Mutex::default(),
        }
    }

    /// Vectors of `texts`, read once each as long as they are kept.
    fn vectors(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, AgentError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let unread: Vec<&str> = texts
            .iter()
            .map(String::as_str)
            .filter(|text| !kept.contains_key(*text))
            .collect();
        if kept.len() + unread.len() > KEPT {
            kept.clear();
            drop(kept);
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            return Ok(self.embedder.embed(&texts)?);
        }
        for (text, vector) in unread.iter().zip(self.embedder.embed(&unread)?) {
            kept.insert((*text).to_owned(), vector);
        }
        Ok(texts
            .iter()
            .filter_map(|text| kept.get(text).cloned())
            .collect())
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
        let (places, read): (Vec<usize>, Vec<String>) = read.into_iter().unzip();
        for (at, vector) in places.iter().zip(self.vectors(&read)?) {
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
