//! A prompt read for its attention alone.

use super::{Decoder, Origin, Run, Scratch, add_product};
use crate::EngineError;
use crate::cache::{Cache, CacheShape};
use crate::tap::{Tap, TapConfig};

/// Tokens of a pass.
const CHUNK: usize = 512;

impl Decoder {
    /// Reads a prompt for its attention alone: layers after the last tapped one are not run, and of
    /// that one only what queries and keys need.
    ///
    /// # Errors
    /// [`EngineError::TooLong`] where the prompt is longer than the context.
    pub fn tap(&self, tokens: &[u32], tap: &mut Tap) -> Result<(), EngineError> {
        self.check_length(tokens.len())?;
        let mut cache = self.tapped_cache(tap.layers());
        let mut scratch = Scratch::default();
        self.read_tapped(tokens, tap.layers(), &mut cache, &mut scratch, Some(tap));
        Ok(())
    }

    /// Reads `beginning` once and each of `ends` after it, for the attention of the end's tokens alone;
    /// gives a tap for each. Of `config`, the window is each end's own length.
    ///
    /// # Errors
    /// As [`tap`](Self::tap).
    pub fn tap_ends(
        &self,
        beginning: &[u32],
        ends: &[&[u32]],
        config: &TapConfig,
    ) -> Result<Vec<Tap>, EngineError> {
        let longest = ends.iter().map(|end| end.len()).max().unwrap_or(0);
        self.check_length(beginning.len() + longest)?;
        let shape = self.cache_shape();
        let mut taps: Vec<Tap> = ends
            .iter()
            .map(|end| {
                let config = TapConfig {
                    window: end.len(),
                    ..config.clone()
                };
                Tap::new(
                    config,
                    shape.heads,
                    shape.layers,
                    beginning.len() + end.len(),
                )
            })
            .collect();
        let layers = taps.first().map_or(0, Tap::layers);
        let mut cache = self.tapped_cache(layers);
        let mut scratch = Scratch::default();
        self.read_tapped(beginning, layers, &mut cache, &mut scratch, None);
        for (tap, end) in taps.iter_mut().zip(ends) {
            self.read_tapped(end, layers, &mut cache, &mut scratch, Some(tap));
            cache.truncate(beginning.len());
        }
        Ok(taps)
    }

    pub(super) fn check_length(&self, tokens: usize) -> Result<(), EngineError> {
        if tokens > self.context() {
            return Err(EngineError::TooLong {
                tokens,
                limit: self.context(),
                mend: "the draft model cannot read so long a prompt".to_string(),
            });
        }
        Ok(())
    }

    fn tapped_cache(&self, layers: usize) -> Cache {
        Cache::full(CacheShape {
            layers,
            ..self.cache_shape()
        })
    }

    pub(super) fn read_tapped(
        &self,
        tokens: &[u32],
        layers: usize,
        cache: &mut Cache,
        scratch: &mut Scratch,
        mut tap: Option<&mut Tap>,
    ) {
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
                self.project(index, &positions, &runs, scratch);
                let view = self.view(index);
                cache.write(&view, &self.rows(index, &range, scratch));
                if let Some(tap) = tap.as_deref_mut()
                    && tap.take(index, first, &scratch.queries)
                {
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
                    self.feed_forward_block(index, &runs, scratch);
                }
            }
            cache.commit(chunk.len());
        }
    }
}
