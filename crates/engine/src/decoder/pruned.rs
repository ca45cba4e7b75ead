//! A prompt read whole and remembered in part: SpecKV's pairs (arXiv:2506.08373, algorithm 1, as released).

use std::ops::Range;

use super::{Decoder, Scratch};
use crate::EngineError;
use crate::cache::{Cache, KeptPairs};
use crate::compress::{PairSelection, choose_pairs};
use crate::kernels::HeadShape;
use crate::tap::{Heads, Reduce, Tap, TapConfig};

impl Decoder {
    /// Reads `prompt` and what a draft thinks comes next, and keeps of every KV head of every layer the pairs of the
    /// prompt that its last tokens and `lookahead` attend to most. The cache is ready for the prompt's last token, which
    /// is not in it; keys stay rotated by their own positions.
    ///
    /// # Errors
    /// [`EngineError::TooLong`] where both together exceed the context or what a device has room for;
    /// [`EngineError::Request`] where the budget does not hold what must stay, or a device has no room now.
    ///
    /// # Panics
    /// Where the prompt is empty.
    pub fn read_pruned(
        &self,
        prompt: &[u32],
        lookahead: &[u32],
        selection: &PairSelection,
        protected: &[Range<usize>],
    ) -> Result<Cache, EngineError> {
        let whole = [prompt, lookahead].concat();
        self.check_length(whole.len())?;
        let shape = self.cache_shape();
        let config = TapConfig {
            window: selection.window + 1 + lookahead.len(),
            weighted: false,
            heads: Heads::From(0),
            reduce: Reduce::Max,
            per_head: true,
        };
        let mut tap = Tap::new(config, shape.heads, shape.layers, whole.len());
        let last = prompt.len() - 1;
        let choose =
            |scores: &[Vec<f32>]| kept_pairs(scores, shape.heads, last, selection, protected);
        if let Some(device) = self.device() {
            let kept = last.min(selection.budget);
            let cache = device.read_pruned(&whole, tap, kept, last, choose)?;
            return Ok(Cache::Device(cache));
        }
        let mut cache = self.host_cache();
        let mut scratch = Scratch::default();
        self.read_tapped(&whole, &mut cache, &mut scratch, &mut [&mut tap], None);
        cache
            .pruned(&choose(&tap.into_scores())?, last)
            .ok_or_else(|| EngineError::Request("only a full cache can be pruned".to_owned()))
    }
}

/// The pairs of the first `last` positions that each KV head keeps, by the scores of its query heads.
fn kept_pairs(
    scores: &[Vec<f32>],
    heads: HeadShape,
    last: usize,
    selection: &PairSelection,
    protected: &[Range<usize>],
) -> Result<KeptPairs, EngineError> {
    let of_head = |scores: &[Vec<f32>]| {
        let mut best = vec![0.0_f32; last];
        for scores in scores {
            for (best, score) in best.iter_mut().zip(scores) {
                *best = best.max(*score);
            }
        }
        choose_pairs(&best, selection, protected)
    };
    let group = heads.heads / heads.kv_heads;
    scores
        .chunks_exact(heads.heads)
        .map(|layer| layer.chunks_exact(group).map(of_head).collect())
        .collect()
}

impl Decoder {
    /// Reads the kept positions of a prompt where they stand in it. The cache is ready for the prompt's last token, which
    /// must be kept and is not in it.
    ///
    /// # Errors
    /// [`EngineError::TooLong`] where the whole prompt exceeds the context.
    pub(crate) fn read_in_place(
        &self,
        prompt: &[u32],
        kept: &[usize],
    ) -> Result<Cache, EngineError> {
        self.check_length(prompt.len())?;
        let last = prompt.len() - 1;
        let mut cache = self.full_cache()?;
        let mut scratch = Scratch::default();
        let mut from = 0;
        while let Some(first) = kept.get(from).filter(|first| **first < last) {
            let rest = kept[from..].iter().zip(*first..last);
            let count = rest.take_while(|(at, next)| **at == *next).count();
            cache.skip(first - cache.position());
            self.read_through(&prompt[*first..first + count], &mut cache, &mut scratch)?;
            from += count;
        }
        cache.skip(last - cache.position());
        Ok(cache)
    }
}

#[cfg(test)]
mod tests {
    use crate::decoder::{Origin, Outputs, Scratch, Step};
    use crate::{Decoder, LoadedModel};

    fn draft() -> Option<LoadedModel> {
        let Some(path) = footnote_testkit::model("smollm2-135m-instruct-q4_1.gguf") else {
            footnote_testkit::skip(
                module_path!(),
                "no model smollm2-135m; `footnote models get` fetches it",
            );
            return None;
        };
        Some(LoadedModel::open(&path, None).unwrap())
    }

    fn read(decoder: &Decoder, cache: &mut crate::cache::Cache, tokens: &[u32]) -> Vec<f32> {
        let mut steps = [Step {
            tokens,
            origin: Origin::Prompt,
            cache,
            outputs: Outputs::Last,
            perturbation: None,
        }];
        let rows = decoder
            .forward(&mut steps, &mut Scratch::default(), &|| true)
            .unwrap()
            .unwrap();
        decoder.logits(&rows).unwrap()
    }

    /// Pairs of all positions say what the cache said that they were taken from; fewer say something else, and what is read
    /// after them stands at its true position. (That each head attends to its own positions is the cache's test.)
    #[test]
    fn what_is_kept_is_attended_to_at_its_own_position() {
        let Some(model) = draft() else { return };
        let decoder = &model.decoder;
        let tokens = model
            .tokenizer
            .encode(&"Net sales rose by four percent in the third quarter of the year. ".repeat(40))
            .unwrap();
        let (start, last) = tokens.split_at(tokens.len() - 1);
        assert!(start.len() > 300, "more than one block");
        let mut whole = decoder.host_cache();
        read(decoder, &mut whole, start);
        let shape = decoder.cache_shape();
        let each =
            |positions: Vec<usize>| vec![vec![positions; shape.heads.kv_heads]; shape.layers];
        let all = each((0..start.len()).collect());
        let mut same = whole.pruned(&all, start.len()).unwrap();
        assert!(!same.is_pruned());
        let (a, b) = (
            read(decoder, &mut whole.fork(), last),
            read(decoder, &mut same, last),
        );
        assert_eq!(a, b);

        let kept: Vec<usize> = (0..start.len())
            .filter(|at| *at == 0 || *at >= 200)
            .collect();
        let count = kept.len();
        let mut few = whole.pruned(&each(kept), start.len()).unwrap();
        assert_eq!((few.len(), few.position()), (count, start.len()));
        let c = read(decoder, &mut few, last);
        assert_eq!((few.len(), few.position()), (count + 1, start.len() + 1));
        let apart = |x: &[f32], y: &[f32]| {
            x.iter()
                .zip(y)
                .map(|(x, y)| (x - y).abs())
                .fold(0.0, f32::max)
        };
        assert!(apart(&a, &c) > 0.0, "something was let go");
        assert!(c.iter().all(|logit| logit.is_finite()));
    }
}
