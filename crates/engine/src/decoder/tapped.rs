//! A prompt read for its attention alone.

use super::{Decoder, Origin, Run, Scratch, add_product};
use crate::EngineError;
use crate::cache::{Cache, CacheShape};
use crate::tap::Tap;

/// Tokens of a pass.
const CHUNK: usize = 512;

impl Decoder {
    /// Reads a prompt for its attention alone: layers after the last tapped one are not run, and of
    /// that one only what queries and keys need.
    ///
    /// # Errors
    /// [`EngineError::TooLong`] where the prompt is longer than the context.
    pub fn tap(&self, tokens: &[u32], tap: &mut Tap) -> Result<(), EngineError> {
        if tokens.len() > self.context() {
            return Err(EngineError::TooLong {
                tokens: tokens.len(),
                limit: self.context(),
                mend: "the draft model cannot read so long a prompt".to_string(),
            });
        }
        let layers = tap.layers();
        let mut cache = Cache::full(CacheShape {
            layers,
            ..self.cache_shape()
        });
        let mut scratch = Scratch::default();
        for chunk in tokens.chunks(CHUNK) {
            let first = cache.len();
            let range = 0..chunk.len();
            let positions: Vec<usize> = (first..first + chunk.len()).collect();
            let runs = [Run {
                rows: range.clone(),
                form: Origin::Prompt.form(),
            }];
            scratch.resize(chunk.len(), &self.config);
            let rows = scratch.stream.chunks_exact_mut(self.config.hidden);
            for (token, row) in chunk.iter().zip(rows) {
                self.weights.embedding.dequantize_row(*token as usize, row);
            }
            for index in 0..layers {
                self.project(index, &positions, &runs, &mut scratch);
                let view = self.view(index);
                cache.write(&view, &self.rows(index, &range, &scratch));
                if tap.take(index, first, &scratch.queries) {
                    tap.score(index, &mut |visit| {
                        cache.visit_keys(&view, chunk.len(), visit);
                    });
                }
                if index + 1 < layers {
                    cache.attend(&view, &scratch.queries, &mut scratch.attended);
                    add_product(
                        &self.weights.layers[index].attention_output,
                        &runs,
                        &scratch.attended,
                        &mut scratch.added,
                        &mut scratch.stream,
                    );
                    self.feed_forward_block(index, &runs, &mut scratch);
                }
            }
            cache.commit(chunk.len());
        }
        Ok(())
    }
}
