//! Long prompts made short: which tokens stay, by policy.
//!
//! SpecPC (arXiv:2506.08373) has a small draft model read the whole prompt, takes its attention to
//! every token as importance, and keeps the best neighbourhoods; the rivals keep chunks by BM25, the
//! two ends, or random pieces. The kept tokens are read by the target one after another, at
//! positions of their own. Must not know requests or chats.

mod policy;
mod select;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

pub use policy::CompressionPolicy;
pub use select::{PairSelection, Selection, choose_pairs, select};

use crate::EngineError;
use crate::cache::Cache;
use crate::config::Family;
use crate::decoder::{Decoder, Origin, Outputs, Scratch, Step};
use crate::sampling::{Random, greedy};
use crate::tap::{Heads, Reduce, Tap, TapConfig};
use crate::tokenizer::Tokenizer;

/// Last tokens that always stay, whose attention is read (section 4.2 of the release's settings).
pub const WINDOW: usize = 64;
/// Tokens that a draft reads in one pass.
const READ_TOKENS: usize = 512;
/// First layer whose attention counts.
const FIRST_LAYER: usize = 8;
/// Last positions of which SpecKV always keeps the pairs, and whose attention counts beside the lookahead's.
pub const PAIR_WINDOW: usize = 32;
/// SpecKV's pool.
pub const PAIR_KERNEL: usize = 7;
/// Tokens that a draft writes ahead for SpecKV. The paper goes to the answer's whole length; the release's cascade
/// writes 8 to 20.
pub const LOOKAHEAD: usize = 16;
/// Tokens that the cascade's first stage keeps.
pub const PC_TOKENS: usize = 2_048;
/// Tokens of a chunk of the rivals.
const CHUNK: usize = 64;

/// A small model that reads prompts for a larger one of the same vocabulary.
#[derive(Clone)]
pub struct Draft {
    decoder: Arc<Decoder>,
    /// Layer and head of those that find evidence best.
    heads: Option<Vec<(usize, usize)>>,
}

impl Draft {
    /// A draft model, with its chosen heads where there are some.
    ///
    /// # Errors
    /// [`EngineError::Request`] where a head is not the model's.
    pub fn new(
        decoder: Arc<Decoder>,
        heads: Option<Vec<(usize, usize)>>,
    ) -> Result<Draft, EngineError> {
        let config = decoder.config();
        let foreign = heads
            .iter()
            .flatten()
            .find(|(layer, head)| *layer >= config.layers || *head >= config.heads);
        if let Some((layer, head)) = foreign {
            return Err(EngineError::Request(format!(
                "the draft has no head {head} in layer {layer}: it has {} layers of {} heads",
                config.layers, config.heads
            )));
        }
        Ok(Draft { decoder, heads })
    }

    /// Longest prompt it reads, in tokens.
    pub fn context(&self) -> usize {
        self.decoder.context()
    }

    /// What the draft would write after `tokens`, greedily: at most `most` tokens, none after an end.
    ///
    /// # Errors
    /// [`EngineError::TooLong`] where it cannot read so much.
    pub fn lookahead(
        &self,
        tokens: &[u32],
        most: usize,
        ends: &[u32],
    ) -> Result<Vec<u32>, EngineError> {
        if tokens.len() + most > self.context() {
            return Err(EngineError::TooLong {
                tokens: tokens.len() + most,
                limit: self.context(),
                mend: "the draft model cannot read so long a prompt".to_string(),
            });
        }
        let mut cache = self.decoder.full_cache();
        let mut scratch = Scratch::default();
        let mut written: Vec<u32> = Vec::new();
        let mut rows = Vec::new();
        for chunk in tokens.chunks(READ_TOKENS) {
            rows = self.read(chunk, Origin::Prompt, &mut cache, &mut scratch)?;
        }
        while written.len() < most {
            let logits = self.decoder.logits(&rows);
            let Some(token) = greedy(&logits).filter(|token| !ends.contains(token)) else {
                break;
            };
            written.push(token);
            if written.len() < most {
                rows = self.read(&[token], Origin::Written, &mut cache, &mut scratch)?;
            }
        }
        Ok(written)
    }

    /// The last token's row.
    fn read(
        &self,
        tokens: &[u32],
        origin: Origin,
        cache: &mut Cache,
        scratch: &mut Scratch,
    ) -> Result<Vec<f32>, EngineError> {
        let mut steps = [Step {
            tokens,
            origin,
            cache,
            outputs: Outputs::Last,
        }];
        let rows = self.decoder.forward(&mut steps, scratch, &|| true);
        rows.ok_or(EngineError::Stopped)
    }

    /// Importance of every token by the policy's heads.
    fn scores(&self, policy: CompressionPolicy, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        let layers = self.decoder.config().layers;
        let heads = match (policy, &self.heads) {
            (CompressionPolicy::SpecPcHeads(_), Some(heads)) => Heads::Chosen(heads.clone()),
            (CompressionPolicy::SpecPcHeads(_), None) => {
                return Err(EngineError::Request(
                    "specpc-heads needs the draft's evidence heads; `footnote engine heads` finds them, and \
                     --heads FILE names them"
                        .to_string(),
                ));
            }
            // A shallow model keeps its later half.
            _ => Heads::From(FIRST_LAYER.min(layers / 2)),
        };
        let config = TapConfig {
            window: WINDOW,
            weighted: true,
            heads,
            reduce: Reduce::Max,
            per_head: false,
        };
        let mut tap = Tap::new(
            config,
            self.decoder.cache_shape().heads,
            layers,
            tokens.len(),
        );
        self.decoder.tap(tokens, &mut tap)?;
        Ok(tap.into_scores().pop().unwrap_or_default())
    }

    /// SpecPC's released sizes of pool and neighbourhood.
    fn reach(&self) -> usize {
        match self.decoder.config().family {
            Family::Llama => 32,
            Family::Qwen2 | Family::Qwen3 => 64,
        }
    }
}

/// What stays of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Compressed {
    /// Positions that stay, rising.
    pub kept: Vec<usize>,
    /// Milliseconds it took to find them.
    pub ms: f64,
}

/// Finds what stays of `tokens`. `protected` ranges always do, and so do the last [`WINDOW`] tokens. A prompt
/// within the budget stays whole and costs nothing.
///
/// # Errors
/// [`EngineError::Request`] where a policy needs a draft and there is none, or the budget is too small for
/// what must stay; [`EngineError::TooLong`] where the draft cannot read the prompt.
pub fn compress(
    policy: CompressionPolicy,
    tokens: &[u32],
    tokenizer: &Tokenizer,
    draft: Option<&Draft>,
    protected: &[Range<usize>],
) -> Result<Compressed, EngineError> {
    let started = Instant::now();
    let whole = || (0..tokens.len()).collect();
    let kept = match policy.budget() {
        None => whole(),
        Some(budget) if tokens.len() <= budget => whole(),
        // Tokens stay; pairs are chosen when the target reads them.
        Some(_) if matches!(policy, CompressionPolicy::SpecKv(_)) => whole(),
        Some(budget) => {
            let budget = match policy {
                CompressionPolicy::SpecKvPc(pairs) => PC_TOKENS.max(2 * pairs),
                _ => budget,
            };
            let mut selection = Selection {
                budget,
                window: WINDOW,
                kernel: 1,
                neighbours: 1,
            };
            let scores = match policy {
                CompressionPolicy::SpecPc(_)
                | CompressionPolicy::SpecPcHeads(_)
                | CompressionPolicy::SpecKvPc(_) => {
                    let draft = draft.ok_or_else(|| {
                        EngineError::Request(format!(
                            "{policy} needs a draft model of the same vocabulary (--draft)"
                        ))
                    })?;
                    selection.kernel = draft.reach();
                    selection.neighbours = draft.reach();
                    draft.scores(policy, tokens)?
                }
                CompressionPolicy::Bm25(_) => bm25(tokens, tokenizer),
                CompressionPolicy::Random(_) => by_chunk(tokens.len(), |chunk| {
                    // Of 64 bits the upper 24 are what a float holds.
                    (Random(chunk as u64 + tokens.len() as u64).next() >> 40) as f32
                }),
                // The nearer to an end the better.
                _ => (0..tokens.len())
                    .map(|at| -((at.min(tokens.len() - 1 - at)) as f32))
                    .collect(),
            };
            select(&scores, &selection, protected)?
        }
    };
    Ok(Compressed {
        kept,
        ms: started.elapsed().as_secs_f64() * 1e3,
    })
}

/// One score for all tokens of a chunk, those of earlier tokens a little higher, so that chunks fill whole.
fn by_chunk(tokens: usize, score: impl Fn(usize) -> f32) -> Vec<f32> {
    let scores: Vec<f32> = (0..tokens.div_ceil(CHUNK)).map(score).collect();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let mut by_token = vec![0.0; tokens];
    for (place, chunk) in order.into_iter().enumerate() {
        // Ranks instead of scores: no two chunks share one.
        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(tokens);
        by_token[range].fill(-(place as f32));
    }
    by_token
}

/// BM25 (k1 1.2, b 0.75) of chunks for the words of the last tokens.
fn bm25(tokens: &[u32], tokenizer: &Tokenizer) -> Vec<f32> {
    let words = |tokens: &[u32]| -> Vec<String> {
        tokenizer
            .decode(tokens)
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let chunks: Vec<Vec<String>> = tokens.chunks(CHUNK).map(words).collect();
    let mut query = words(&tokens[tokens.len().saturating_sub(WINDOW)..]);
    query.sort_unstable();
    query.dedup();
    let mut holding: HashMap<&str, usize> = HashMap::new();
    for chunk in &chunks {
        let distinct: std::collections::HashSet<&str> = chunk.iter().map(String::as_str).collect();
        for word in distinct {
            *holding.entry(word).or_default() += 1;
        }
    }
    let count = chunks.len() as f64;
    let mean = chunks.iter().map(Vec::len).sum::<usize>() as f64 / count.max(1.0);
    by_chunk(tokens.len(), |at| {
        let chunk = &chunks[at];
        let score: f64 = query
            .iter()
            .map(|word| {
                let held = holding.get(word.as_str()).copied().unwrap_or(0) as f64;
                let times = chunk.iter().filter(|other| *other == word).count() as f64;
                let rarity = (1.0 + (count - held + 0.5) / (held + 0.5)).ln();
                let length = 0.25 + 0.75 * chunk.len() as f64 / mean.max(1.0);
                rarity * times * 2.2 / (times + 1.2 * length)
            })
            .sum();
        score as f32
    })
}

/// What tokens write, and for each byte the place of the token that writes it.
pub(crate) fn bytes_of(tokens: &[u32], tokenizer: &Tokenizer) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Vec::new();
    let mut owner = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        bytes.extend_from_slice(tokenizer.bytes(*token));
        owner.resize(bytes.len(), at);
    }
    (bytes, owner)
}

/// Ranges of tokens that write any of `texts`, wherever they stand in the prompt.
pub fn ranges_of(tokens: &[u32], tokenizer: &Tokenizer, texts: &[String]) -> Vec<Range<usize>> {
    let (bytes, owner) = bytes_of(tokens, tokenizer);
    let mut ranges = Vec::new();
    for text in texts
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
    {
        let mut from = 0;
        while let Some(found) = memchr::memmem::find(&bytes[from..], text.as_bytes()) {
            let (start, end) = (from + found, from + found + text.len());
            ranges.push(owner[start]..owner[end - 1] + 1);
            from = end;
        }
    }
    ranges
}
