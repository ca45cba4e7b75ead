//! How much a cache policy changes what a model says: every position of a text scored with the policy
//! beside a full cache.
//!
//! Perplexity alone is too forgiving (a policy may lose on one half of the positions and win on the
//! other), so the mean Kullback-Leibler divergence and the agreement of the likeliest tokens
//! stand beside it. Must not know files or commands.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::EngineError;
use crate::cache::{Cache, CacheBytes, CachePolicy, Window};
use crate::decoder::{Decoder, LOGIT_ROWS, Origin, Outputs, Scratch, Step};
use crate::kernels::{GROUP_TOKENS, parallel};

/// Tokens of a pass in prefill mode at most: whole groups of the quantised caches.
const CHUNK: usize = 256;
/// Positions of a block, over which losses are summed for intervals.
const BLOCK: usize = 256;

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As a prompt, every token quantised: as perplexities of quantised caches are published.
    Prefill,
    /// Token by token, the recent ones in full precision: as a model reads what it writes.
    Decode,
}

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct PerplexityOptions {
    /// The policy.
    pub policy: CachePolicy,
    /// How the text is read.
    pub mode: Mode,
    /// Tokens of one context; the text is cut into such windows.
    pub window: usize,
}

/// What was measured, over all scored positions.
#[derive(Clone, Debug, PartialEq)]
pub struct PerplexityReport {
    /// Scored positions.
    pub tokens: usize,
    /// Perplexity with the policy.
    pub ppl: f64,
    /// Perplexity with a full cache.
    pub ppl_full: f64,
    /// Mean loss with the policy less that with a full cache, in nats, of each block of neighbouring positions: what
    /// an interval of the difference is drawn from.
    pub block_differences: Vec<f64>,
    /// Mean divergence of the policy's distribution from the full cache's, in nats.
    pub mean_kl: f64,
    /// Share of positions with the same likeliest token.
    pub top1_agreement: f64,
    /// Bytes by use, at the end of the longest window.
    pub bytes: CacheBytes,
    /// Tokens that those bytes hold.
    pub held_tokens: usize,
    /// Tokens of those in closed groups, which `bytes.stored` holds.
    pub stored_tokens: usize,
    /// Bytes of one token in a full cache.
    pub bytes_per_token_full: usize,
    /// Bytes of the bases beside the model's weights.
    pub bases_bytes: usize,
    /// Seconds of the passes, both caches together.
    pub seconds: f64,
}

impl PerplexityReport {
    /// Stored bytes of one token in a closed group; of any token in a full cache.
    pub fn bytes_per_token(&self) -> f64 {
        if self.stored_tokens == 0 {
            return self.bytes_per_token_full as f64;
        }
        self.bytes.stored as f64 / self.stored_tokens as f64
    }
}

/// Sums over positions.
#[derive(Clone, Copy, Default)]
struct Sums {
    count: usize,
    loss: f64,
    loss_full: f64,
    divergence: f64,
    agreed: usize,
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.count += other.count;
        self.loss += other.loss;
        self.loss_full += other.loss_full;
        self.divergence += other.divergence;
        self.agreed += other.agreed;
    }
}

/// Scores `tokens` under a policy and under a full cache. `progress` is told how many tokens are done.
///
/// # Errors
/// Where the policy cannot serve the model, or there are fewer than two tokens or a window of fewer.
pub fn perplexity(
    decoder: &Decoder,
    tokens: &[u32],
    options: &PerplexityOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<PerplexityReport, EngineError> {
    let window = options.window.min(decoder.context());
    if tokens.len() < 2 || window < 2 {
        return Err(EngineError::Request(
            "a perplexity needs a text and a window of at least two tokens".to_string(),
        ));
    }
    let kept = match options.mode {
        Mode::Prefill => Window::None,
        Mode::Decode => Window::Recent,
    };
    let chunk = match options.mode {
        Mode::Prefill => chunk_of(decoder)?,
        Mode::Decode => 1,
    };
    let full = decoder.cache_plan(CachePolicy::Full, kept)?;
    let plan = decoder.cache_plan(options.policy, kept)?;
    let started = Instant::now();
    let mut sums = Sums::default();
    let mut block = Sums::default();
    let mut block_differences = Vec::new();
    let mut report = None;
    let mut done = 0;
    for text in tokens.chunks(window) {
        if text.len() < 2 {
            break;
        }
        let mut pair = Pair {
            decoder,
            full: full.empty(),
            policy: plan.empty(),
            scratch: Scratch::default(),
        };
        for start in (0..text.len()).step_by(chunk) {
            let end = (start + chunk).min(text.len());
            let next = &text[start + 1..(end + 1).min(text.len())];
            let read = pair.read(&text[start..end], next, options.mode)?;
            sums.add(read);
            block.add(read);
            // What is left over at the end is shorter, and counts in no block.
            if block.count + 1 >= BLOCK {
                block_differences.push((block.loss - block.loss_full) / block.count as f64);
                block = Sums::default();
            }
            progress(done + end);
        }
        done += text.len();
        report.get_or_insert_with(|| (pair.policy.bytes_by_use(), pair.policy.len()));
    }
    let (bytes, held_tokens) = report.unwrap_or_default();
    let count = sums.count.max(1) as f64;
    Ok(PerplexityReport {
        tokens: sums.count,
        ppl: (sums.loss / count).exp(),
        ppl_full: (sums.loss_full / count).exp(),
        block_differences,
        mean_kl: sums.divergence / count,
        top1_agreement: sums.agreed as f64 / count,
        bytes,
        held_tokens,
        stored_tokens: match options.policy {
            CachePolicy::Full => 0,
            _ => held_tokens / GROUP_TOKENS * GROUP_TOKENS,
        },
        bytes_per_token_full: decoder.cache_shape().full_bytes_per_token(),
        bases_bytes: plan.bases_bytes(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Tokens of a pass in prefill mode: as many whole groups as a device has room for twice.
fn chunk_of(decoder: &Decoder) -> Result<usize, EngineError> {
    let groups = (decoder.longest_pass() / 2).min(CHUNK) / GROUP_TOKENS;
    match groups {
        0 => Err(EngineError::Request(format!(
            "passes of {} tokens are too short to read whole groups of {GROUP_TOKENS} by their codes on two caches",
            decoder.longest_pass()
        ))),
        groups => Ok(groups * GROUP_TOKENS),
    }
}

/// Two caches that read the same tokens in the same passes.
struct Pair<'a> {
    decoder: &'a Decoder,
    full: Cache,
    policy: Cache,
    scratch: Scratch,
}

impl Pair<'_> {
    /// Reads `tokens`, and scores those positions whose `next` token is known.
    fn read(&mut self, tokens: &[u32], next: &[u32], mode: Mode) -> Result<Sums, EngineError> {
        let origin = match mode {
            Mode::Prefill => Origin::Prompt,
            Mode::Decode => Origin::Written,
        };
        let step = |cache| Step {
            tokens,
            origin,
            cache,
            outputs: Outputs::Every,
            perturbation: None,
        };
        let mut steps = [step(&mut self.full), step(&mut self.policy)];
        let Some(rows) = self
            .decoder
            .forward(&mut steps, &mut self.scratch, &|| true)?
        else {
            return Ok(Sums::default());
        };
        let (full, policy) = rows.split_at(rows.len() / 2);
        let width = self.decoder.config().hidden;
        let vocab = self.decoder.config().vocab;
        let sums = Mutex::new(Sums::default());
        for (index, next) in next.chunks(LOGIT_ROWS).enumerate() {
            let rows = index * LOGIT_ROWS * width..(index * LOGIT_ROWS + next.len()) * width;
            let full = self.decoder.logits(&full[rows.clone()])?;
            let policy = self.decoder.logits(&policy[rows])?;
            parallel(next.len(), |row| {
                let part = row * vocab..(row + 1) * vocab;
                let one = position(&full[part.clone()], &policy[part], next[row] as usize);
                sums.lock().unwrap_or_else(PoisonError::into_inner).add(one);
            });
        }
        Ok(sums.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Scores one position.
fn position(full: &[f32], policy: &[f32], next: usize) -> Sums {
    let (full_top, full_norm) = norm(full);
    let (policy_top, policy_norm) = norm(policy);
    let divergence: f64 = full
        .iter()
        .zip(policy)
        .map(|(full, policy)| {
            let log_full = f64::from(*full) - full_norm;
            // What is less likely than this adds nothing that f64 would show.
            if log_full < -40.0 {
                return 0.0;
            }
            log_full.exp() * (log_full - (f64::from(*policy) - policy_norm))
        })
        .sum();
    Sums {
        count: 1,
        loss: policy_norm - f64::from(policy[next]),
        loss_full: full_norm - f64::from(full[next]),
        divergence: divergence.max(0.0),
        agreed: usize::from(full_top == policy_top),
    }
}

/// The likeliest token and the logarithm of the sum of exponentials.
fn norm(logits: &[f32]) -> (usize, f64) {
    let top = crate::sampling::greedy(logits).map_or(0, |token| token as usize);
    let largest = f64::from(logits[top]);
    let sum: f64 = logits
        .iter()
        .map(|logit| f64::from((logit - largest as f32).exp()))
        .sum();
    (top, largest + sum.ln())
}
