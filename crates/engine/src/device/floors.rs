//! What a pass must at least move and compute, from shapes alone: what measured times are held against.
//!
//! Lower bounds of any program with these weights and caches: each weight and each cached byte is read once, a cached
//! token costs its scores, its share of the values and, where it is kept as something else, bringing its keys back. Must
//! not know devices.

use footnote_device::kernels::PAGE_TOKENS;
use footnote_device::kernels::coded_pages::{Kept, Widths};

use super::coded::kept;
use super::shape_of;
use crate::cache::{CachePolicy, keeps};
use crate::config::ModelConfig;

/// Bytes a second that an H100 SXM's memory gives a program at best.
pub const MEMORY_BYTES_PER_S: f64 = 3.0e12;
/// Operations a second that its matrix units give a program at best, in halves.
pub const OPERATIONS_PER_S: f64 = 790e12;
/// Bytes of a weight of a made-up model.
const WEIGHT_BYTES: f64 = 2.0;

/// The least that a pass moves and computes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Floor {
    /// Bytes of weights.
    pub weights: f64,
    /// Bytes of caches.
    pub cache: f64,
    /// Operations, a multiplication and an addition being two.
    pub operations: f64,
    /// Those of them that bring cached tokens back.
    pub rebuilding: f64,
}

impl Floor {
    /// The least time on an H100.
    pub fn seconds(&self) -> f64 {
        let memory = (self.weights + self.cache) / MEMORY_BYTES_PER_S;
        memory.max(self.operations / OPERATIONS_PER_S)
    }

    /// Whether the operations take longer than the bytes.
    pub fn is_by_operations(&self) -> bool {
        (self.weights + self.cache) / MEMORY_BYTES_PER_S < self.operations / OPERATIONS_PER_S
    }
}

/// Weights of all layers, without embedding and output.
fn layer_weights(config: &ModelConfig) -> f64 {
    let (hidden, query, kv) = (config.hidden, config.query_width(), config.kv_width());
    let layer = 2 * query * hidden + 2 * kv * hidden + 3 * config.feed_forward * hidden;
    (config.layers * layer) as f64
}

fn output_weights(config: &ModelConfig) -> f64 {
    (config.vocab * config.hidden) as f64
}

/// Bytes of `tokens` of a policy, in closed groups.
pub fn cache_bytes(config: &ModelConfig, policy: CachePolicy, tokens: usize) -> f64 {
    let shape = shape_of(config);
    if policy == CachePolicy::Full {
        return (tokens * shape.full_bytes_per_token()) as f64;
    }
    let widths = widths(config);
    let closed = keeps(policy, &shape)
        .into_iter()
        .map(|keep| kept(policy, keep).0.closed(&widths).bytes());
    closed.sum::<usize>() as f64 * tokens as f64 / PAGE_TOKENS as f64
}

/// One step that writes a token to each of `batch` sequences of `context` tokens.
pub fn decode_floor(
    config: &ModelConfig,
    policy: CachePolicy,
    batch: usize,
    context: usize,
) -> Floor {
    let (sequences, tokens) = (batch as f64, (batch * context) as f64);
    let weights = layer_weights(config) + output_weights(config);
    // Scores and weighted values.
    let attention = (config.layers * 4 * config.query_width()) as f64;
    let mut floor = Floor {
        weights: weights * WEIGHT_BYTES,
        cache: sequences * cache_bytes(config, policy, context),
        operations: 2.0 * weights * sequences + attention * tokens,
        rebuilding: 0.0,
    };
    for keep in keeps(policy, &shape_of(config)) {
        let (bytes, operations) = rebuilding(config, kept(policy, keep).0);
        floor.weights += bytes;
        floor.rebuilding += operations * tokens;
    }
    floor.operations += floor.rebuilding;
    floor
}

/// What a layer reads besides its weights to bring tokens back, and what it computes for each besides attention.
fn rebuilding(config: &ModelConfig, kept: Kept) -> (f64, f64) {
    let (kv, hidden) = (config.kv_width() as f64, config.hidden as f64);
    let (heads, query) = (config.heads as f64, config.query_width() as f64);
    // Keys are brought back one by one. Values need not be: what the heads weigh is summed first and brought back once, for
    // sums as wide as what is kept instead of as a head.
    let of = |width: f64| {
        let summed = 2.0 * heads * width - 2.0 * query;
        2.0 * width * kv + summed.min(2.0 * width * kv)
    };
    match kept {
        Kept::Pair { latent: false, .. } => (0.0, 0.0),
        Kept::Pair { latent: true, .. } => (2.0 * kv * kv * WEIGHT_BYTES, of(kv)),
        Kept::Input { .. } | Kept::Delta { joint: false, .. } => (0.0, of(hidden)),
        Kept::Delta { joint: true, .. } => (
            2.0 * kv * hidden * WEIGHT_BYTES,
            of(hidden) + 4.0 * kv * hidden,
        ),
    }
}

/// Reading a prompt of `tokens` on an empty full cache, up to the logits of its last token.
pub fn prefill_floor(config: &ModelConfig, tokens: usize) -> Floor {
    let (layers, output) = (layer_weights(config), output_weights(config));
    let count = tokens as f64;
    // Every token looks at itself and those before it.
    let pairs = count * (count + 1.0) / 2.0;
    let attention = (config.layers * 4 * config.query_width()) as f64 * pairs;
    Floor {
        weights: (layers + output) * WEIGHT_BYTES,
        cache: cache_bytes(config, CachePolicy::Full, tokens),
        operations: 2.0 * layers * count + 2.0 * output + attention,
        rebuilding: 0.0,
    }
}

fn widths(config: &ModelConfig) -> Widths {
    Widths {
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        hidden: config.hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::shape;

    fn floor(name: &str, policy: &str, batch: usize, context: usize) -> Floor {
        let policy = policy.parse().unwrap();
        decode_floor(&shape(name).unwrap(), policy, batch, context)
    }

    #[test]
    fn a_step_reads_the_weights_once_and_every_cache() {
        // 8.03 billion weights less the embedding's 0.53, in halves.
        let one = floor("llama-3.1-8b", "full", 1, 1024);
        assert!((one.weights - 15.01e9).abs() < 0.02e9, "{one:?}");
        // 8 heads of 128, keys and values in halves, 32 layers.
        assert_eq!(one.cache, 1024.0 * 131_072.0);
        assert!((one.seconds() - 5.05e-3).abs() < 0.05e-3, "{one:?}");
        let many = floor("llama-3.1-8b", "full", 32, 8192);
        assert_eq!(many.weights, one.weights);
        assert_eq!(many.cache, one.cache * 256.0);
        assert!(!many.is_by_operations());
    }

    #[test]
    fn codes_are_fewer_bytes_and_more_operations() {
        for name in ["llama-3.1-8b", "llama-2-7b", "qwen2.5-1.5b"] {
            let full = floor(name, "full", 1, 8192);
            for (policy, times) in [
                ("kv4", 3.5),
                ("xquant4", 3.5),
                ("xquant2", 6.0),
                ("xquant-cl2", 3.0),
            ] {
                let coded = floor(name, policy, 1, 8192);
                assert!(full.cache / coded.cache > times, "{name} {policy}");
                assert_eq!(coded.rebuilding > 0.0, policy != "kv4", "{name} {policy}");
            }
        }
        // The paper's point: an input is half as wide as keys and values together where each head has its own.
        let pairs = floor("llama-2-7b", "kv4", 1, 8192);
        let inputs = floor("llama-2-7b", "xquant4", 1, 8192);
        assert!((pairs.cache / inputs.cache - 2.0).abs() < 0.1);
        assert!(inputs.is_by_operations() && !pairs.is_by_operations());
    }

    #[test]
    fn a_prompt_is_bound_by_operations() {
        let config = shape("llama-3.1-8b").unwrap();
        let floor = prefill_floor(&config, 2048);
        // Twice the 6.98 billion weights of the layers for each token, and attention.
        assert!((floor.operations - 2048.0 * 2.0 * 6.98e9) / floor.operations < 0.06);
        assert!(floor.is_by_operations());
    }
}
