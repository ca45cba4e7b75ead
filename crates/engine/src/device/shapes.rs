//! Shapes of published models, for measuring without their files.

use crate::config::{Family, ModelConfig, RopeLayout};

/// Names that `--synthetic` takes.
pub const SHAPES: [&str; 6] = [
    "llama-3.1-8b",
    "llama-3.2-1b",
    "llama-2-7b",
    "qwen2.5-0.5b",
    "qwen2.5-1.5b",
    "qwen2.5-14b",
];

/// The shape called `name`, as its maker's configuration gives it.
pub fn shape(name: &str) -> Option<ModelConfig> {
    // Layers, hidden, feed-forward, heads, KV heads, head width, vocabulary, base of the rotation.
    let (family, numbers, base) = match name {
        "llama-3.1-8b" => (Family::Llama, [32, 4096, 14_336, 32, 8, 128, 128_256], 5e5),
        "llama-3.2-1b" => (Family::Llama, [16, 2048, 8192, 32, 8, 64, 128_256], 5e5),
        "llama-2-7b" => (Family::Llama, [32, 4096, 11_008, 32, 32, 128, 32_000], 1e4),
        "qwen2.5-0.5b" => (Family::Qwen2, [24, 896, 4864, 14, 2, 64, 151_936], 1e6),
        "qwen2.5-1.5b" => (Family::Qwen2, [28, 1536, 8960, 12, 2, 128, 151_936], 1e6),
        "qwen2.5-14b" => (Family::Qwen2, [48, 5120, 13_824, 40, 8, 128, 152_064], 1e6),
        _ => return None,
    };
    let [
        layers,
        hidden,
        feed_forward,
        heads,
        kv_heads,
        head_dim,
        vocab,
    ] = numbers;
    Some(ModelConfig {
        family,
        name: name.to_string(),
        layers,
        hidden,
        feed_forward,
        heads,
        kv_heads,
        head_dim,
        context: 131_072,
        rms_epsilon: 1e-5,
        rope_base: base,
        // Made-up weights have no order of rows that would call for the other.
        rope_layout: RopeLayout::Halves,
        vocab,
    })
}
