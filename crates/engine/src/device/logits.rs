//! From a pass's rows to logits and tokens.
//!
//! Where only the likeliest token is asked for, only that comes from the device: a vocabulary's logits for each of many
//! sequences are more to bring over and to search than a step takes. Must not know passes or grammars.

use std::sync::Arc;

use footnote_device::kernels::likeliest::{Bests, NO_TOKEN, likeliest, parts};
use footnote_device::{Buffer, Device, Op, Plan};

use super::step::DeviceStep;
use super::{DeviceModel, Work};
use crate::EngineError;
use crate::decoder::LOGIT_ROWS;
use crate::sampling::TokenMask;

/// Where the likeliest tokens of rows of logits are found.
pub(super) struct Choice {
    /// u64 `[rows]`.
    masks: Buffer,
    /// u32 `[rows][vocab / 32]`.
    allowed: Buffer,
    best_logits: Buffer,
    best_tokens: Buffer,
    tokens: Buffer,
}

impl Choice {
    pub(super) fn new(device: &Arc<dyn Device>, vocab: usize) -> Result<Choice, EngineError> {
        let words = |count: usize| Buffer::new(device, 4 * count);
        let parts = LOGIT_ROWS * parts(vocab);
        Ok(Choice {
            masks: words(2 * LOGIT_ROWS)?,
            allowed: words(LOGIT_ROWS * vocab.div_ceil(32))?,
            best_logits: words(parts)?,
            best_tokens: words(parts)?,
            tokens: words(LOGIT_ROWS)?,
        })
    }
}

impl DeviceModel {
    /// Logits of rows that [`forward`](Self::forward) gave, `[rows][vocab]`.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn logits(&self, rows: &[f32]) -> Result<Vec<f32>, EngineError> {
        let mut work = self.lock();
        let mut logits = Vec::new();
        for rows in rows.chunks(LOGIT_ROWS * self.config.hidden) {
            work.outputs.write(rows)?;
            let count = rows.len() / self.config.hidden;
            self.device
                .run(&Plan::once(self.logit_ops(&mut work, 0, count)))?;
            logits.extend(work.logits.read::<f32>(count * self.config.vocab)?);
        }
        Ok(logits)
    }

    /// As [`forward`](Self::forward), and of each asked row the likeliest token among those that its mask allows, if it has
    /// one; `None` where there is none. `masks` is asked once, while the device is at the pass, and only tokens come back.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub(crate) fn forward_likeliest(
        &self,
        steps: &mut [DeviceStep<'_>],
        keep_going: &dyn Fn() -> bool,
        masks: &mut dyn FnMut() -> Vec<Option<TokenMask>>,
    ) -> Result<Option<Vec<Option<u32>>>, EngineError> {
        let mut work = self.lock();
        let Some(count) = self.read(steps, &mut work, keep_going)? else {
            return Ok(None);
        };
        let masks = masks();
        debug_assert_eq!(masks.len(), count);
        let mut found = Vec::with_capacity(count);
        for (index, masks) in masks.chunks(LOGIT_ROWS).enumerate() {
            found.extend(self.likeliest(&mut work, index * LOGIT_ROWS, masks)?);
        }
        Ok(Some(found))
    }

    /// The likeliest tokens of as many rows in `outputs` as there are masks, from `first` on.
    fn likeliest(
        &self,
        work: &mut Work,
        first: usize,
        masks: &[Option<TokenMask>],
    ) -> Result<Vec<Option<u32>>, EngineError> {
        let vocab = self.config.vocab;
        let words = vocab.div_ceil(32);
        let (mut allowed, mut addresses) = (Vec::new(), Vec::new());
        for mask in masks {
            addresses.push(match mask {
                None => 0,
                Some(_) => work.choice.allowed.at(4 * allowed.len()).0,
            });
            allowed.extend(mask.iter().flat_map(|mask| mask.words(words)));
        }
        work.choice.masks.write(&addresses)?;
        if !allowed.is_empty() {
            work.choice.allowed.write(&allowed)?;
        }
        let mut ops = self.logit_ops(work, first, masks.len());
        let bests = Bests {
            logits: work.choice.best_logits.address(),
            tokens: work.choice.best_tokens.address(),
        };
        ops.extend(likeliest(
            work.logits.address(),
            work.choice.masks.address(),
            masks.len(),
            vocab,
            bests,
            work.choice.tokens.address(),
        ));
        self.device.run(&Plan::once(ops))?;
        let tokens = work.choice.tokens.read::<u32>(masks.len())?;
        let some = |token: u32| (token != NO_TOKEN).then_some(token);
        Ok(tokens.into_iter().map(some).collect())
    }

    /// Logits of `count` rows in `outputs`, from `first` on.
    pub(super) fn logit_ops(&self, work: &mut Work, first: usize, count: usize) -> Vec<Op> {
        let hidden = self.config.hidden;
        let parts = work.normed.from(0, hidden);
        let rows = work.outputs.at(4 * first * hidden);
        let split = self.makers.rows.split(rows, parts, count * hidden);
        let product = self.makers.products.run(&work.output_jobs, parts, 0, count);
        vec![split, product]
    }
}

#[cfg(test)]
mod tests {
    use footnote_device::emulator::Emulator;

    use super::*;
    use crate::config::ModelConfig;
    use crate::device::{DeviceOptions, shape};
    use crate::sampling::greedy;

    /// As many rows as take more than one turn, with masks of few tokens, of all and of none, and without any.
    #[test]
    fn likeliest_tokens_are_those_of_the_logits() {
        let device: Arc<dyn Device> = Arc::new(Emulator::new(1 << 30));
        let config = ModelConfig {
            layers: 1,
            hidden: 64,
            feed_forward: 64,
            heads: 2,
            kv_heads: 1,
            head_dim: 32,
            vocab: 4500,
            ..shape("llama-3.2-1b").unwrap()
        };
        let options = DeviceOptions {
            rows: LOGIT_ROWS + 6,
            cache_bytes: Some(4 << 20),
            ..DeviceOptions::new(128)
        };
        let (hidden, vocab, count) = (config.hidden, config.vocab, LOGIT_ROWS + 6);
        let model = DeviceModel::synthetic(&device, config, options).unwrap();
        let rows: Vec<f32> = (0..count * hidden)
            .map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0)
            .collect();
        let of_bits = |allowed: fn(usize) -> bool| {
            let word = |word: usize| {
                let bits = (0..32).filter(|bit| allowed(32 * word + bit));
                bits.fold(0, |word, bit| word | 1 << bit)
            };
            TokenMask::new(
                &(0..vocab.div_ceil(32)).map(word).collect::<Vec<u32>>(),
                vocab,
            )
        };
        let kinds = [
            None,
            Some(of_bits(|token| token % 97 == 5)),
            Some(of_bits(|_| true)),
            Some(of_bits(|_| false)),
            // Of a vocabulary that is shorter than the model's.
            Some(TokenMask::new(&[u32::MAX; 3], 70)),
        ];
        let masks: Vec<Option<TokenMask>> = kinds.iter().cycle().take(count).cloned().collect();
        let got: Vec<Option<u32>> = {
            let mut work = model.lock();
            work.outputs.write(&rows).unwrap();
            let turns = masks.chunks(LOGIT_ROWS).enumerate();
            turns
                .flat_map(|(turn, masks)| {
                    let first = turn * LOGIT_ROWS;
                    model.likeliest(&mut work, first, masks).unwrap()
                })
                .collect()
        };
        let mut logits = model.logits(&rows).unwrap();
        let wanted: Vec<Option<u32>> = logits
            .chunks_exact_mut(vocab)
            .zip(&masks)
            .map(|(logits, mask)| {
                if let Some(mask) = mask {
                    mask.apply(logits);
                }
                greedy(logits)
            })
            .collect();
        assert_eq!(got, wanted);
        assert!(got[3].is_none() && got[4].is_some_and(|token| token < 70));
        let different: std::collections::HashSet<_> = got.iter().collect();
        assert!(different.len() > 5, "{different:?}");
    }
}
