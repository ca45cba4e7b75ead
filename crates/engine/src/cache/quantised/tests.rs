//! The quantised caches by what XQuant promises of them: exact where nothing is rounded, the same in
//! chunks of any size, closed loops that do not drift, and rollbacks that lose nothing.

use super::*;
use crate::cache::{Cache, CachePolicy, CacheShape, KeyNorm, Projection, Rotation};
use crate::config::{Family, ModelConfig};
use crate::decoder::{Decoder, Origin, Outputs, Scratch, Step};
use crate::kernels::{Bits, HeadShape, LaneTable, QuantMatrix, RopeStyle, RopeTable};
use crate::weights::{LayerWeights, Linear, Weights};
use crate::{greedy, log_probability};

const VOCAB: usize = 96;

/// Numbers that look random, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn vector(&mut self, count: usize, size: f32) -> Vec<f32> {
        (0..count).map(|_| self.next() * size).collect()
    }

    fn matrix(&mut self, rows: usize, cols: usize) -> QuantMatrix {
        let size = (3.0 / cols as f32).sqrt();
        let bytes: Vec<u8> = self
            .vector(rows * cols, size)
            .into_iter()
            .flat_map(f32::to_le_bytes)
            .collect();
        QuantMatrix::from_ggml(candle_core::quantized::GgmlDType::F32, rows, cols, &bytes).unwrap()
    }
}

/// A model of random weights in f32, so that nothing but the cache rounds.
fn model(family: Family, kv_heads: usize) -> Decoder {
    let (hidden, heads, head_dim, feed_forward, layers) = (128, 4, 32, 192, 6);
    let config = ModelConfig {
        family,
        name: String::new(),
        layers,
        hidden,
        feed_forward,
        heads,
        kv_heads,
        head_dim,
        context: 1024,
        rms_epsilon: 1e-6,
        rope_base: 10_000.0,
        rope_layout: family.rope_layout(),
        vocab: VOCAB,
    };
    let mut random = Random(kv_heads as u64 * 77 + 5);
    // Biases as large beside the keys as those of Qwen2.
    let linear = |random: &mut Random, rows: usize, bias: f32| Linear {
        weight: random.matrix(rows, hidden),
        bias: (family == Family::Qwen2).then(|| random.vector(rows, bias)),
    };
    let head_norm = |random: &mut Random, size: f32| {
        (family == Family::Qwen3).then(|| {
            let weights = random.vector(head_dim, 0.5);
            weights.into_iter().map(|x| (x + 1.0) * size).collect()
        })
    };
    let kv = kv_heads * head_dim;
    let embedding = Arc::new(random.matrix(VOCAB, hidden));
    let layers = (0..layers)
        .map(|_| LayerWeights {
            attention_norm: random.vector(hidden, 0.2).iter().map(|x| x + 1.0).collect(),
            query: linear(&mut random, heads * head_dim, 1.0),
            key: linear(&mut random, kv, 40.0),
            value: linear(&mut random, kv, 1.0),
            query_norm: head_norm(&mut random, 1.2),
            key_norm: head_norm(&mut random, 1.2),
            attention_output: random.matrix(hidden, heads * head_dim),
            feed_forward_norm: vec![1.0; hidden],
            gate: random.matrix(feed_forward, hidden),
            up: random.matrix(feed_forward, hidden),
            down: random.matrix(hidden, feed_forward),
        })
        .collect();
    let weights = Weights {
        output: Arc::clone(&embedding),
        embedding,
        layers,
        output_norm: vec![1.0; hidden],
        rope_factors: None,
    };
    Decoder::new(config, weights, 1024)
}

/// Grouped queries in all families, and inputs no wider than keys and values.
fn models() -> [(&'static str, Decoder); 5] {
    [
        ("qwen2, grouped", model(Family::Qwen2, 1)),
        ("llama, grouped", model(Family::Llama, 1)),
        ("llama, one KV head a head", model(Family::Llama, 4)),
        ("qwen3, grouped", model(Family::Qwen3, 1)),
        ("qwen3, input no wider", model(Family::Qwen3, 2)),
    ]
}

fn policies(bits: Bits) -> [CachePolicy; 4] {
    [
        CachePolicy::Kv(bits),
        CachePolicy::KvRotated(bits),
        CachePolicy::XQuant {
            bits,
            outlier: false,
        },
        CachePolicy::XQuantCl(bits),
    ]
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count)
        .map(|i| ((i * i * 31 + i * 17) % VOCAB) as u32)
        .collect()
}

/// Reads tokens in chunks and gives the logits of all of them.
fn read(decoder: &Decoder, cache: &mut Cache, tokens: &[u32], chunk: usize) -> Vec<Vec<f32>> {
    let mut scratch = Scratch::default();
    let mut logits = Vec::new();
    for part in tokens.chunks(chunk) {
        let mut steps = [Step {
            tokens: part,
            origin: Origin::Prompt,
            cache,
            outputs: Outputs::Every,
            perturbation: None,
        }];
        let rows = decoder
            .forward(&mut steps, &mut scratch, &|| true)
            .unwrap()
            .unwrap();
        logits.extend(
            decoder
                .logits(&rows)
                .unwrap()
                .chunks_exact(VOCAB)
                .map(<[f32]>::to_vec),
        );
    }
    logits
}

/// Divergence of `other` from `one`, in nats, at the worst position.
fn worst_divergence(one: &[Vec<f32>], other: &[Vec<f32>]) -> f64 {
    assert_eq!(one.len(), other.len());
    one.iter()
        .zip(other)
        .map(|(one, other)| {
            (0..VOCAB as u32)
                .map(|token| {
                    let log = log_probability(one, token);
                    log.exp() * (log - log_probability(other, token))
                })
                .sum::<f64>()
        })
        .fold(0.0, f64::max)
}

fn tops(logits: &[Vec<f32>]) -> Vec<u32> {
    logits.iter().filter_map(|logits| greedy(logits)).collect()
}

#[test]
fn without_quantisation_every_policy_says_what_the_full_cache_says() {
    for (name, decoder) in models() {
        let text = tokens(420);
        let full = read(&decoder, &mut decoder.host_cache(), &text, 64);
        for policy in policies(Bits::Half) {
            let mut cache = decoder.cache(policy).unwrap();
            let kept = read(&decoder, &mut cache, &text, 64);
            let worst = worst_divergence(&full, &kept);
            // Beside a bias of 40 the full cache's own f16 keys are 0.02 off.
            let bound = if name.starts_with("qwen2") {
                5e-4
            } else {
                1e-5
            };
            assert!(worst < bound, "{name}, {policy}: divergence {worst}");
            let same = tops(&full)
                .iter()
                .zip(tops(&kept))
                .filter(|(a, b)| **a == *b)
                .count();
            assert!(
                same + 2 >= text.len(),
                "{name}, {policy}: {same} of {} agree",
                text.len()
            );
            assert_eq!(cache.len(), text.len());
        }
    }
}

#[test]
fn fewer_bits_lose_more_and_eight_lose_next_to_nothing() {
    for (name, decoder) in models() {
        let text = tokens(512);
        let full = read(&decoder, &mut decoder.host_cache(), &text, 128);
        for make in 0..3 {
            let losses: Vec<f64> = [Bits::Eight, Bits::Four, Bits::Two]
                .into_iter()
                .map(|bits| {
                    let policy = policies(bits)[make];
                    let mut cache = decoder.cache(policy).unwrap();
                    let kept = read(&decoder, &mut cache, &text, 128);
                    full.iter()
                        .zip(&kept)
                        .map(|(full, kept)| {
                            worst_divergence(std::slice::from_ref(full), std::slice::from_ref(kept))
                        })
                        .sum::<f64>()
                        / text.len() as f64
                })
                .collect();
            assert!(
                losses[0] <= losses[1] && losses[1] < losses[2] && losses[2] < 0.5,
                "{name}, {}: {losses:?}",
                policies(Bits::Two)[make]
            );
        }
    }
}

#[test]
fn chunks_of_any_size_give_the_same() {
    for (name, decoder) in models() {
        let text = tokens(300);
        for policy in policies(Bits::Four) {
            let whole = read(&decoder, &mut decoder.cache(policy).unwrap(), &text, 300);
            for chunk in [1, 7, 127, 128, 129, 256] {
                let parts = read(&decoder, &mut decoder.cache(policy).unwrap(), &text, chunk);
                let worst = worst_divergence(&whole, &parts);
                // A sum in another order can turn a code by one.
                assert!(worst < 2e-3, "{name}, {policy}, chunks of {chunk}: {worst}");
            }
        }
    }
}

#[test]
fn a_rollback_and_a_fork_read_on_as_if_nothing_had_been() {
    for (name, decoder) in models() {
        let text = tokens(330);
        for policy in policies(Bits::Four) {
            let fresh = read(&decoder, &mut decoder.cache(policy).unwrap(), &text, 64);
            let mut cache = decoder.cache(policy).unwrap();
            read(&decoder, &mut cache, &text[..290], 64);
            let mut other = cache.fork();
            let beside: Vec<u32> = text.iter().rev().take(150).copied().collect();
            read(&decoder, &mut other, &beside, 64);
            for back_to in [280, 200, 128, 5] {
                cache.truncate(back_to);
                let held = cache.len();
                assert!(
                    held <= back_to && held + GROUP_TOKENS > back_to,
                    "{name}, {policy}: {held} tokens are left of {back_to}"
                );
                let again = read(&decoder, &mut cache, &text[held..], 64);
                let worst = worst_divergence(&fresh[held..], &again);
                assert!(worst < 2e-3, "{name}, {policy}, back to {back_to}: {worst}");
            }
            assert_eq!(other.len(), 440);
            drop(other);
            assert!(cache.bytes() > 0);
        }
    }
}

#[test]
fn a_step_that_is_broken_off_leaves_no_trace() {
    let decoder = model(Family::Qwen2, 1);
    let text = tokens(200);
    for policy in policies(Bits::Four) {
        let fresh = read(&decoder, &mut decoder.cache(policy).unwrap(), &text, 50);
        let mut cache = decoder.cache(policy).unwrap();
        read(&decoder, &mut cache, &text[..100], 50);
        for layers in 0..decoder.config().layers {
            let asked = std::cell::Cell::new(0);
            let mut steps = [Step {
                tokens: &[7; 90],
                origin: Origin::Prompt,
                cache: &mut cache,
                outputs: Outputs::Last,
                perturbation: None,
            }];
            let keep_going = || {
                asked.set(asked.get() + 1);
                asked.get() <= layers
            };
            let broken = decoder.forward(&mut steps, &mut Scratch::default(), &keep_going);
            assert!(broken.unwrap().is_none());
        }
        let rest = read(&decoder, &mut cache, &text[100..], 50);
        assert!(worst_divergence(&fresh[100..], &rest) < 2e-3, "{policy}");
    }
}

#[test]
fn keys_for_taps_are_those_attention_saw() {
    for (name, decoder) in models() {
        let text = tokens(300);
        let layer = &decoder.weights().layers[0];
        for policy in policies(Bits::Half) {
            let (mut full, mut kept) = (decoder.host_cache(), decoder.cache(policy).unwrap());
            read(&decoder, &mut full, &text, 64);
            read(&decoder, &mut kept, &text, 64);
            let view = LayerView {
                index: 0,
                rotation: decoder.rotation(),
                key: Projection {
                    weight: &layer.key.weight,
                    bias: layer.key.bias.as_deref(),
                },
                value: Projection {
                    weight: &layer.value.weight,
                    bias: layer.value.bias.as_deref(),
                },
                key_norm: layer.key_norm.as_deref().map(|weight| KeyNorm {
                    weight,
                    epsilon: decoder.config().rms_epsilon,
                }),
            };
            let collect = |cache: &mut Cache| {
                let mut keys = Vec::new();
                cache.visit_keys(&view, 0, &mut |block| {
                    for slot in 0..block.len {
                        let at = slot / 16 * 16 * 32 + slot % 16;
                        keys.push((block.first + slot, block.keys[at].to_f32()));
                    }
                });
                keys
            };
            let (full, kept) = (collect(&mut full), collect(&mut kept));
            assert_eq!(full.len(), text.len());
            assert_eq!(kept.len(), text.len());
            for ((at, full), (also_at, kept)) in full.iter().zip(&kept) {
                assert_eq!(at, also_at);
                assert!(
                    (full - kept).abs() < 0.02 + full.abs() / 256.0,
                    "{name}, {policy}, key {at}: {kept} for {full}"
                );
            }
        }
    }
}

/// The error of rebuilt inputs, layer by layer: with the loop closed it stays, open it grows.
#[test]
fn the_closed_loop_does_not_drift() {
    let (hidden, layers) = (128, 24);
    let shape = CacheShape {
        layers,
        hidden,
        heads: HeadShape {
            heads: 4,
            kv_heads: 4,
            head_dim: 32,
        },
    };
    let rope = RopeTable::new(&[0.1; 16], 256);
    let none = || unreachable!("no bases are needed where the input is kept");
    let no_joint = || unreachable!("no bases are needed where the input is kept");
    let parts = super::super::PlanParts {
        lanes: &|| Arc::new(LaneTable::new(&rope)),
        still: &|| Arc::new(LaneTable::new(&RopeTable::new(&[0.0; 16], 256))),
        bases: &none,
        joint: &no_joint,
    };
    let plan = Plan::new(
        CachePolicy::XQuantCl(Bits::Two),
        shape,
        Window::Recent,
        &parts,
    )
    .unwrap();
    let mut cache = QuantisedCache::new(Arc::new(plan));
    let mut random = Random(9);
    let weight = random.matrix(128, hidden);
    let mut input = random.vector(GROUP_TOKENS * hidden, 1.0);
    let mut open_loop: Vec<f32> = Vec::new();
    let (mut closed_errors, mut open_errors) = (Vec::new(), Vec::new());
    for index in 0..layers {
        let before = input.clone();
        for value in &mut input {
            *value += 0.3 * random.next();
        }
        let view = LayerView {
            index,
            rotation: Rotation {
                table: &rope,
                style: RopeStyle::Neox,
            },
            key: Projection {
                weight: &weight,
                bias: None,
            },
            value: Projection {
                weight: &weight,
                bias: None,
            },
            key_norm: None,
        };
        let zeros = vec![0.0; GROUP_TOKENS * 128];
        cache.write(
            &view,
            &LayerRows {
                normed: &input,
                keys: &zeros,
                raw_keys: &zeros,
                values: &zeros,
            },
        );
        let error = |rebuilt: &[f32]| {
            let squares: f32 = rebuilt
                .iter()
                .zip(&input)
                .map(|(a, b)| (a - b).powi(2))
                .sum();
            (squares / input.len() as f32).sqrt()
        };
        if index < 2 {
            continue;
        }
        let mut rebuilt = vec![0.0; input.len()];
        cache.accumulators[0].decode(0, &mut rebuilt);
        closed_errors.push(error(&rebuilt));
        if index == 2 {
            open_loop = rebuilt;
        } else {
            let delta: Vec<f32> = input
                .iter()
                .zip(&before)
                .map(|(x, before)| x - before)
                .collect();
            let mut decoded = vec![0.0; delta.len()];
            CodeRows::encode(&delta, hidden, 128, Bits::Two).decode(0, &mut decoded);
            for (x, delta) in open_loop.iter_mut().zip(decoded) {
                *x += delta;
            }
        }
        open_errors.push(error(&open_loop));
    }
    let (first, last) = (closed_errors[2], closed_errors[closed_errors.len() - 1]);
    assert!(last < 1.3 * first, "closed: {closed_errors:?}");
    let open = open_errors[open_errors.len() - 1];
    assert!(
        open > 2.0 * last,
        "open {open_errors:?} beside closed {closed_errors:?}"
    );
    cache.commit(GROUP_TOKENS);
    assert_eq!(cache.len(), GROUP_TOKENS);
    assert_eq!(cache.open_bytes(), 0);
}
