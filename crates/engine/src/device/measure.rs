//! How fast a model's passes are on its device, beside their floors.
//!
//! Passes are those of real requests: tokens, sequences and tables of pages go up before each, and logits are computed.
//! What is left out is said where it is: contexts are pages of zeros that nobody read, and logits stay on the device where
//! a time says so. Must not know commands.

use std::time::{Duration, Instant};

use super::floors::{Floor, decode_floor, prefill_floor};
use super::{DeviceCache, DeviceModel, DeviceStep};
use crate::EngineError;
use crate::cache::CachePolicy;
use crate::decoder::{Origin, Outputs};
use footnote_device::Plan;

/// Steps before the clock starts: the first compiles kernels and chooses products' algorithms, the second records the
/// plan, the third replays it.
const WARM_STEPS: usize = 3;
/// Steps that are timed, at least and at most.
const STEPS: (usize, usize) = (4, 32);
/// What the timed steps should take together.
const STEPS_TIME: Duration = Duration::from_millis(250);
/// Steps whose tokens come to the host; the first, for which a kernel may be compiled, is not timed.
const HOST_STEPS: usize = 4;

/// Tokens beyond its context that a cell's caches grow by: the last step's logits are looked at.
pub const GROWTH: usize = WARM_STEPS + STEPS.1 + HOST_STEPS + 1;

/// Writing one token a sequence and step.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// How caches are kept.
    pub policy: CachePolicy,
    /// Sequences.
    pub batch: usize,
    /// Tokens that each held before.
    pub context: usize,
    /// Timed steps.
    pub steps: usize,
    /// Seconds of a step whose logits stay on the device.
    pub step_s: f64,
    /// Seconds of a step whose likeliest tokens come to the host.
    pub host_step_s: f64,
    /// Bytes of the pages that the caches held at the end.
    pub cache_bytes: usize,
    /// Sequences of such contexts for which there are pages, as the scheduler reserves them.
    pub largest_batch: usize,
    /// The least it could take.
    pub floor: Floor,
}

impl Decoded {
    /// Tokens a second, all sequences together.
    pub fn tokens_per_s(&self) -> f64 {
        self.batch as f64 / self.step_s
    }
}

/// Reading a prompt.
#[derive(Clone, Copy, Debug)]
pub struct Prefilled {
    /// Its tokens.
    pub tokens: usize,
    /// Seconds up to the logits of its last token, on the device.
    pub seconds: f64,
    /// The least it could take.
    pub floor: Floor,
}

impl DeviceModel {
    /// As [`forward`](Self::forward) and [`logits`](Self::logits) of what was asked for, at most 64 rows, with everything
    /// left on the device; returns once it is queued.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn advance(&self, steps: &mut [DeviceStep<'_>]) -> Result<(), EngineError> {
        let mut work = self.lock();
        let count = self.read(steps, &mut work, &|| true)?.unwrap_or_default();
        if count > 0 {
            let plan = Plan::once(self.logit_ops(&mut work, 0, count));
            self.device().run(&plan)?;
        }
        Ok(())
    }
}

/// Times steps that write, `batch` sequences at once of `context` tokens each.
///
/// # Errors
/// Where there is no room for them or the policy is not there, in words that say so; where the device fails, or writes
/// what are no numbers.
pub fn decode(
    model: &DeviceModel,
    policy: CachePolicy,
    batch: usize,
    context: usize,
) -> Result<Decoded, EngineError> {
    let options = model.options();
    if batch > options.sequences || context + GROWTH > options.context {
        return Err(EngineError::Request(format!(
            "{batch} sequences of {context} tokens are more than the {} of {} that the model was opened for",
            options.sequences,
            options.context - GROWTH.min(options.context),
        )));
    }
    let largest_batch = largest_batch(model, policy, context)?;
    if largest_batch < batch {
        return Err(EngineError::Request(format!(
            "{batch} sequences do not fit: there is room for {largest_batch} in {:.1} GB",
            model.memory().bytes() as f64 / 1e9
        )));
    }
    let before = model.memory().used_bytes();
    let mut caches = Vec::with_capacity(batch);
    for _ in 0..batch {
        let mut cache = model.cache(policy)?;
        let ops = cache.pretend(context)?;
        model.device().run(&Plan::once(ops))?;
        caches.push(cache);
    }
    let mut single = Duration::ZERO;
    for _ in 0..WARM_STEPS {
        let started = Instant::now();
        model.advance(&mut write_one(&mut caches))?;
        model.device().synchronize()?;
        single = started.elapsed();
    }
    let wanted = STEPS_TIME.as_secs_f64() / single.as_secs_f64().max(1e-9);
    let steps = (wanted as usize).clamp(STEPS.0, STEPS.1);
    let started = Instant::now();
    for _ in 0..steps {
        model.advance(&mut write_one(&mut caches))?;
    }
    model.device().synchronize()?;
    let step_s = started.elapsed().as_secs_f64() / steps as f64;
    let mut started = Instant::now();
    for step in 0..HOST_STEPS {
        if step == 1 {
            started = Instant::now();
        }
        let steps = &mut write_one(&mut caches);
        model.forward_likeliest(steps, &|| true, &mut || vec![None; batch])?;
    }
    let host_step_s = started.elapsed().as_secs_f64() / (HOST_STEPS - 1) as f64;
    let last = model.forward(&mut write_one(&mut caches), &|| true)?;
    if !model
        .logits(&last.unwrap_or_default())?
        .iter()
        .all(|logit| logit.is_finite())
    {
        return Err(EngineError::Weights(format!(
            "{policy} at {context} tokens gave logits that are no numbers"
        )));
    }
    Ok(Decoded {
        policy,
        batch,
        context,
        steps,
        step_s,
        host_step_s,
        cache_bytes: model.memory().used_bytes() - before,
        largest_batch,
        floor: decode_floor(model.config(), policy, batch, context),
    })
}

/// A token for each cache: which one changes nothing about the time.
fn write_one(caches: &mut [DeviceCache]) -> Vec<DeviceStep<'_>> {
    let steps = caches.iter_mut().map(|cache| DeviceStep {
        tokens: &[1],
        origin: Origin::Written,
        cache,
        outputs: Outputs::Last,
        perturbation: None,
    });
    steps.collect()
}

/// Sequences of `context` tokens for which there are pages.
///
/// # Errors
/// Where the policy is not there.
pub fn largest_batch(
    model: &DeviceModel,
    policy: CachePolicy,
    context: usize,
) -> Result<usize, EngineError> {
    let cache = model.cache(policy)?;
    let one = cache.wanted(context + GROWTH, &[]);
    let fits = |count: usize| {
        cache.could_hold(super::PageCounts {
            pages: one.pages * count,
            opens: one.opens * count,
            accumulators: one.accumulators * count,
        })
    };
    let (mut low, mut high) = (0, 1);
    while fits(high) {
        (low, high) = (high, 2 * high);
    }
    while low + 1 < high {
        let middle = low.midpoint(high);
        match fits(middle) {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(low)
}

/// Times the reading of a prompt on an empty full cache. `warm` reads its first pass once before, so that kernels are
/// compiled and algorithms chosen.
///
/// # Errors
/// Where it does not fit, or the device fails.
pub fn prefill(model: &DeviceModel, tokens: usize, warm: bool) -> Result<Prefilled, EngineError> {
    let rows = model.options().rows;
    if tokens == 0 || tokens > model.options().context {
        return Err(EngineError::Request(format!(
            "a prompt of {tokens} tokens is not within the {} that the model was opened for",
            model.options().context
        )));
    }
    if warm {
        read(model, tokens.min(rows))?;
        // The last pass may be shorter, and its products others.
        if tokens > rows && !tokens.is_multiple_of(rows) {
            read(model, tokens % rows)?;
        }
    }
    Ok(Prefilled {
        tokens,
        seconds: read(model, tokens)?,
        floor: prefill_floor(model.config(), tokens),
    })
}

fn read(model: &DeviceModel, count: usize) -> Result<f64, EngineError> {
    let mut cache = model.cache(CachePolicy::Full)?;
    let vocab = model.config().vocab as u32;
    let tokens: Vec<u32> = (0..count as u32).map(|at| at * 31 % vocab).collect();
    model.device().synchronize()?;
    let started = Instant::now();
    let mut left = count;
    for chunk in tokens.chunks(model.options().rows) {
        left -= chunk.len();
        model.advance(&mut [DeviceStep {
            tokens: chunk,
            origin: Origin::Prompt,
            cache: &mut cache,
            outputs: match left {
                0 => Outputs::Last,
                _ => Outputs::None,
            },
            perturbation: None,
        }])?;
    }
    model.device().synchronize()?;
    Ok(started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use footnote_device::Device;
    use footnote_device::emulator::Emulator;

    use super::*;
    use crate::config::ModelConfig;
    use crate::device::{DeviceOptions, shape};

    /// A model small enough for the interpreter of plans.
    fn tiny(kv_heads: usize, sequences: usize) -> DeviceModel {
        let device: Arc<dyn Device> = Arc::new(Emulator::new(2 << 30));
        let config = ModelConfig {
            layers: 4,
            hidden: 128,
            feed_forward: 128,
            heads: 4,
            kv_heads,
            head_dim: 32,
            vocab: 320,
            ..shape("llama-3.2-1b").unwrap()
        };
        let options = DeviceOptions {
            rows: 64,
            sequences,
            cache_bytes: Some(16 << 20),
            ..DeviceOptions::new(128 + GROWTH)
        };
        DeviceModel::synthetic(&device, config, options).unwrap()
    }

    /// Every policy of the table is timed on both kinds of shapes, and gives its pages back.
    #[test]
    fn every_policy_is_timed_beside_its_floor() {
        for kv_heads in [4, 1] {
            let model = tiny(kv_heads, 2);
            for policy in ["full", "kv4", "xquant4", "xquant2", "xquant-cl2"] {
                let decoded = decode(&model, policy.parse().unwrap(), 2, 128).unwrap();
                assert!(decoded.step_s > decoded.floor.seconds(), "{policy}");
                assert!(decoded.tokens_per_s() > 0.0 && decoded.host_step_s > 0.0);
                assert!(decoded.largest_batch >= 2, "{policy}");
                assert!(decoded.cache_bytes as f64 > decoded.floor.cache, "{policy}");
                assert_eq!(model.memory().used_bytes(), 0, "{policy}");
            }
            let read = prefill(&model, 150, true).unwrap();
            assert!(read.seconds > read.floor.seconds());
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let model = tiny(4, 64);
        let why = |batch, context| {
            let refused = decode(&model, CachePolicy::Full, batch, context);
            refused.err().map(|error| error.to_string()).unwrap()
        };
        let most = largest_batch(&model, CachePolicy::Full, 128).unwrap();
        assert!((1..64).contains(&most), "{most}");
        assert!(why(most + 1, 128).contains(&format!("room for {most}")));
        assert!(why(1, 256).contains("opened for"));
        assert!(prefill(&model, 4096, false).is_err());
        assert_eq!(model.memory().used_bytes(), 0);
    }
}
