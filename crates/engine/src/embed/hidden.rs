//! Vectors from a local language model: the mean of its last layer's normed rows over a text's tokens.

use std::sync::Arc;

use super::{Embedder, mean_direction};
use crate::decoder::{Origin, Outputs, Scratch, Step};
use crate::{EngineError, LocalModel};

/// Tokens of a text that are read.
const MOST_TOKENS: usize = 512;

/// A language model as an embedder. Reads on the calling thread, beside what the model writes.
pub struct HiddenStates {
    name: String,
    model: Arc<LocalModel>,
}

impl HiddenStates {
    /// The states of `model`, known as `hidden:NAME`.
    pub fn new(name: &str, model: Arc<LocalModel>) -> HiddenStates {
        HiddenStates {
            name: format!("hidden:{name}"),
            model,
        }
    }
}

impl Embedder for HiddenStates {
    fn name(&self) -> &str {
        &self.name
    }

    fn width(&self) -> usize {
        self.model.config().hidden
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EngineError> {
        let decoder = self.model.decoder();
        let width = self.width();
        let mut scratch = Scratch::default();
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            // The first token is a sink: every later one attends to it, and what it holds says nothing of the
            // text. So a line break stands first and is not counted.
            let mut tokens = self.model.tokenizer().encode(&format!("\n{text}"))?;
            tokens.truncate(MOST_TOKENS.min(decoder.context()));
            if tokens.len() < 2 {
                return Err(EngineError::Request("a text to embed is empty".to_owned()));
            }
            let mut cache = decoder.full_cache()?;
            let mut steps = [Step {
                tokens: &tokens,
                origin: Origin::Prompt,
                cache: &mut cache,
                outputs: Outputs::Every,
                perturbation: None,
            }];
            let rows = decoder
                .forward(&mut steps, &mut scratch, &|| true)?
                .ok_or(EngineError::Stopped)?;
            vectors.push(mean_direction(&rows[width..], width));
        }
        Ok(vectors)
    }
}
