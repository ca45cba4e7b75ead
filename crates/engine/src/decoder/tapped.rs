//! A prompt read for its attention alone.

use super::{Decoder, Origin, Outputs, Run, Scratch, Step, add_product};
use crate::EngineError;
use crate::cache::{Cache, CacheShape};
use crate::device::TappedEnd;
use crate::tap::{Tap, TapConfig};

/// Tokens of a pass.
const CHUNK: usize = 512;
/// Tokens of a pass whose tokens look back only so far: more of them would look at one another for nothing.
pub(crate) const BANDED_CHUNK: usize = 256;

impl Decoder {
    /// Reads a prompt for its attention alone: layers after the last tapped one are not run, and of
    /// that one only what queries and keys need.
    ///
    /// # Errors
    /// [`EngineError::TooLong`] where the prompt is longer than the context or what a device has room for;
    /// [`EngineError::Request`] where a device has no room now.
    pub fn tap(&self, tokens: &[u32], tap: &mut Tap) -> Result<(), EngineError> {
        self.check_length(tokens.len())?;
        if let Some(device) = self.device() {
            let taps = std::slice::from_mut(tap);
            return device.tap_ends(&[], &mut [TappedEnd { tokens, taps }], None);
        }
        let mut cache = self.tapped_cache(Some(tap.layers()));
        self.read_tapped(
            tokens,
            &mut cache,
            &mut Scratch::default(),
            &mut [tap],
            None,
        );
        Ok(())
    }

    /// Reads `beginning` once and each of `ends` after it, each under taps of all of `configs`: `[end][config]`. A window
    /// of 0 is the end's own length; a longer one reaches back into the beginning. Where there is a `band`, the beginning's
    /// tokens attend to the first ones and about so many before them only, and the ends to all.
    ///
    /// # Errors
    /// As [`tap`](Self::tap).
    pub fn tap_ends(
        &self,
        beginning: &[u32],
        ends: &[&[u32]],
        configs: &[TapConfig],
        band: Option<usize>,
    ) -> Result<Vec<Vec<Tap>>, EngineError> {
        let longest = ends.iter().map(|end| end.len()).max().unwrap_or(0);
        self.check_length(beginning.len() + longest)?;
        let shape = self.cache_shape();
        let mut taps: Vec<Vec<Tap>> = ends
            .iter()
            .map(|end| {
                configs
                    .iter()
                    .map(|config| {
                        let window = match config.window {
                            0 => end.len(),
                            window => window,
                        };
                        let config = TapConfig {
                            window,
                            ..config.clone()
                        };
                        let tokens = beginning.len() + end.len();
                        Tap::new(config, shape.heads, shape.layers, tokens)
                    })
                    .collect()
            })
            .collect();
        if let Some(device) = self.device() {
            let of_each = taps.iter_mut().zip(ends);
            let mut ends: Vec<TappedEnd<'_>> = of_each
                .map(|(taps, tokens)| TappedEnd { tokens, taps })
                .collect();
            device.tap_ends(beginning, &mut ends, band)?;
            return Ok(taps);
        }
        let mut cache = self.tapped_cache(taps.iter().flatten().map(Tap::layers).max());
        let mut scratch = Scratch::default();
        let mut all: Vec<&mut Tap> = taps.iter_mut().flatten().collect();
        self.read_tapped(beginning, &mut cache, &mut scratch, &mut all, band);
        for (taps, end) in taps.iter_mut().zip(ends) {
            let mut taps: Vec<&mut Tap> = taps.iter_mut().collect();
            self.read_tapped(end, &mut cache, &mut scratch, &mut taps, None);
            cache.truncate(beginning.len());
        }
        Ok(taps)
    }

    /// Reads a prompt's tokens for what its cache then holds.
    pub(super) fn read_through(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        scratch: &mut Scratch,
    ) -> Result<(), EngineError> {
        if self.device().is_none() {
            self.read_tapped(tokens, cache, scratch, &mut [], None);
            return Ok(());
        }
        for tokens in tokens.chunks(CHUNK.min(self.longest_pass())) {
            let mut steps = [Step {
                tokens,
                origin: Origin::Prompt,
                cache: &mut *cache,
                outputs: Outputs::None,
                perturbation: None,
            }];
            self.forward(&mut steps, scratch, &|| true)?;
        }
        Ok(())
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

    /// A cache of as many layers as are run.
    fn tapped_cache(&self, layers: Option<usize>) -> Cache {
        Cache::full(CacheShape {
            layers: layers.unwrap_or(0),
            ..self.cache_shape()
        })
    }

    /// Reads tokens through the layers that `cache` has, under `taps`.
    pub(super) fn read_tapped(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        scratch: &mut Scratch,
        taps: &mut [&mut Tap],
        band: Option<usize>,
    ) {
        let layers = cache.layers();
        let chunk = if band.is_some() { BANDED_CHUNK } else { CHUNK };
        for chunk in tokens.chunks(chunk) {
            let first = cache.len();
            let range = 0..chunk.len();
            let next = cache.position();
            let positions: Vec<usize> = (next..next + chunk.len()).collect();
            let runs = [Run {
                rows: range.clone(),
                form: Origin::Prompt.form(),
            }];
            scratch.resize(chunk.len(), &self.config);
            let rows = scratch.stream.chunks_exact_mut(self.config.hidden);
            for (token, row) in chunk.iter().zip(rows) {
                self.weights()
                    .embedding
                    .dequantize_row(*token as usize, row);
            }
            for index in 0..layers {
                self.project(index, &positions, &runs, scratch);
                let view = self.view(index);
                cache.write(&view, &self.rows(index, &range, scratch));
                for tap in &mut *taps {
                    if tap.take(index, first, &scratch.queries) {
                        tap.score(index, &mut |visit| {
                            cache.visit_keys(&view, chunk.len(), visit);
                        });
                    }
                }
                if index + 1 < layers {
                    let (queries, attended) = (&scratch.queries, &mut scratch.attended);
                    match band {
                        Some(band) => cache.attend_near(&view, queries, attended, band),
                        None => cache.attend(&view, queries, attended),
                    }
                    add_product(
                        &self.weights().layers[index].attention_output,
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
