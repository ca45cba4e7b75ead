//! Tiny models of every family, made up: as folders of safetensors and as GGUF files.
#![allow(dead_code, reason = "each test uses some of it")]

pub mod devices;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use gguf_file::Value;
use half::bf16;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

pub const HIDDEN: usize = 64;
const HEADS: usize = 4;
const DIM: usize = 32;
const LAYERS: usize = 2;
pub const VOCAB: usize = 300;
/// Longest context.
pub const CONTEXT: usize = 512;

/// A weight by the hub's name, its shape, and its values, which BF16 holds exactly.
pub type Weight = (String, Vec<usize>, Vec<f32>);

/// Made-up weights of a family.
pub fn weights(kind: &str) -> Vec<Weight> {
    weights_of(kind, HIDDEN)
}

/// Made-up weights of a family, `hidden` wide.
pub fn weights_of(kind: &str, hidden: usize) -> Vec<Weight> {
    weights_with(kind, hidden, HEADS, DIM)
}

/// The same with so many query heads of `dim` values; there are two of keys.
pub fn weights_with(kind: &str, hidden: usize, heads: usize, dim: usize) -> Vec<Weight> {
    let mut seed = 1_u64;
    let mut make = |name: String, shape: &[usize], size: f32, centre: f32| {
        let values = (0..shape.iter().product::<usize>())
            .map(|_| {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let value = centre + size * ((seed >> 40) as f32 / (1 << 23) as f32 - 1.0);
                bf16::from_f32(value).to_f32()
            })
            .collect();
        (name, shape.to_vec(), values)
    };
    let kv = 2 * dim;
    let mut all = vec![
        make(
            "model.embed_tokens.weight".into(),
            &[VOCAB, hidden],
            0.5,
            0.0,
        ),
        make("model.norm.weight".into(), &[hidden], 0.2, 1.0),
    ];
    for layer in 0..LAYERS {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        all.extend([
            make(name("input_layernorm.weight"), &[hidden], 0.2, 1.0),
            make(
                name("self_attn.q_proj.weight"),
                &[heads * dim, hidden],
                0.3,
                0.0,
            ),
            make(name("self_attn.k_proj.weight"), &[kv, hidden], 0.3, 0.0),
            make(name("self_attn.v_proj.weight"), &[kv, hidden], 0.3, 0.0),
            make(
                name("self_attn.o_proj.weight"),
                &[hidden, heads * dim],
                0.3,
                0.0,
            ),
            make(name("post_attention_layernorm.weight"), &[hidden], 0.2, 1.0),
            make(name("mlp.gate_proj.weight"), &[96, hidden], 0.3, 0.0),
            make(name("mlp.up_proj.weight"), &[96, hidden], 0.3, 0.0),
            make(name("mlp.down_proj.weight"), &[hidden, 96], 0.3, 0.0),
        ]);
        if kind == "qwen2" {
            for (part, width) in [("q", heads * dim), ("k", kv), ("v", kv)] {
                all.push(make(
                    name(&format!("self_attn.{part}_proj.bias")),
                    &[width],
                    2.0,
                    0.0,
                ));
            }
        }
        if kind == "qwen3" {
            for part in ["q", "k"] {
                all.push(make(
                    name(&format!("self_attn.{part}_norm.weight")),
                    &[dim],
                    0.3,
                    1.0,
                ));
            }
        }
    }
    all
}

fn tokens() -> Vec<String> {
    let mut tokens: Vec<String> = ('a'..='z').map(String::from).collect();
    tokens.push("ab".into());
    tokens.push("<|im_end|>".into());
    tokens
}

/// The same weights with a channel in all keys that is far larger than all others, as those of real models have one.
pub fn with_outliers(mut weights: Vec<Weight>) -> Vec<Weight> {
    for (name, shape, values) in &mut weights {
        if !name.contains("k_proj.weight") {
            continue;
        }
        let hidden = shape[1];
        for (at, value) in values.iter_mut().enumerate() {
            let sign = if (at / hidden * 7 % 3 + at % hidden * 5 % 7) % 2 == 0 {
                1.0
            } else {
                -1.0
            };
            *value = bf16::from_f32(*value + 0.12 * sign).to_f32();
        }
    }
    weights
}

/// Writes a folder as hubs publish them, in BF16.
pub fn write_folder(folder: &Path, kind: &str, weights: &[Weight]) {
    let tokens = tokens();
    let vocab: HashMap<&str, usize> = tokens[..27]
        .iter()
        .enumerate()
        .map(|(id, token)| (token.as_str(), id))
        .collect();
    // Of keys there are two heads.
    let dim = weights[4].1[0] / 2;
    let config = json!({
        "model_type": kind, "hidden_size": weights[1].1[0], "num_attention_heads": weights[3].1[0] / dim,
        "num_key_value_heads": 2, "head_dim": dim, "num_hidden_layers": LAYERS,
        "intermediate_size": 96, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0, "vocab_size": VOCAB, "tie_word_embeddings": true,
        "eos_token_id": 27, "torch_dtype": "bfloat16",
    });
    let tokenizer = json!({
        "model": {"type": "BPE", "vocab": vocab, "merges": ["a b"]},
        "added_tokens": [{"id": 27, "content": "<|im_end|>", "special": true}],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "ByteLevel"}]},
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let settings = json!({"chat_template": "{{ messages[0].content }}"});
    fs::write(folder.join("tokenizer_config.json"), settings.to_string()).unwrap();
    // Two parts and an index, as large models come.
    let mut map = serde_json::Map::new();
    for part in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", part + 1);
        let data: Vec<(&Weight, Vec<u8>)> = weights
            .iter()
            .skip(part)
            .step_by(2)
            .map(|weight| {
                let bytes = weight
                    .2
                    .iter()
                    .flat_map(|x| bf16::from_f32(*x).to_le_bytes());
                (weight, bytes.collect())
            })
            .collect();
        let views: Vec<(String, TensorView<'_>)> = data
            .iter()
            .map(|((theirs, shape, _), bytes)| {
                map.insert(theirs.clone(), json!(name));
                (
                    theirs.clone(),
                    TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap(),
                )
            })
            .collect();
        fs::write(
            folder.join(&name),
            safetensors::serialize(views, None).unwrap(),
        )
        .unwrap();
    }
    let index = json!({"weight_map": map});
    fs::write(
        folder.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
}

/// The same model as a GGUF file in f32; a Llama's query and key rows are paired as GGUF wants them.
pub fn write_gguf(path: &Path, kind: &str, weights: &[Weight]) {
    let text = |text: &str| Value::String(text.to_string());
    let mut names = tokens();
    names.extend((names.len()..VOCAB).map(|id| format!("[PAD{id}]")));
    let kinds = (0..VOCAB as i32)
        .map(|id| {
            Value::I32(if id < 27 {
                1
            } else if id == 27 {
                3
            } else {
                5
            })
        })
        .collect();
    let key = |name: &str| format!("{kind}.{name}");
    let pre = if kind == "llama" { "smollm" } else { "qwen2" };
    let metadata: Vec<(String, Value)> = vec![
        ("general.architecture".into(), text(kind)),
        (key("block_count"), Value::U32(LAYERS as u32)),
        (key("context_length"), Value::U32(CONTEXT as u32)),
        (key("embedding_length"), Value::U32(HIDDEN as u32)),
        (key("feed_forward_length"), Value::U32(96)),
        (key("attention.head_count"), Value::U32(HEADS as u32)),
        (key("attention.head_count_kv"), Value::U32(2)),
        (key("attention.key_length"), Value::U32(DIM as u32)),
        (key("attention.layer_norm_rms_epsilon"), Value::F32(1e-5)),
        (key("rope.freq_base"), Value::F32(10_000.0)),
        ("tokenizer.ggml.model".into(), text("gpt2")),
        ("tokenizer.ggml.pre".into(), text(pre)),
        (
            "tokenizer.ggml.tokens".into(),
            Value::Array(names.iter().map(|name| text(name)).collect()),
        ),
        ("tokenizer.ggml.token_type".into(), Value::Array(kinds)),
        (
            "tokenizer.ggml.merges".into(),
            Value::Array(vec![text("a b")]),
        ),
        ("tokenizer.ggml.eos_token_id".into(), Value::U32(27)),
        (
            "tokenizer.chat_template".into(),
            text("{{ messages[0].content }}"),
        ),
    ];
    let ours = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    let tensors: Vec<(String, QTensor)> = weights
        .iter()
        .map(|(theirs, shape, values)| {
            let name = ours
                .iter()
                .fold(theirs.clone(), |name, (from, to)| name.replace(from, to));
            let mut values = values.clone();
            if kind == "llama" && (theirs.contains("q_proj") || theirs.contains("k_proj")) {
                let rows: Vec<&[f32]> = values.chunks_exact(HIDDEN).collect();
                let paired = (0..rows.len()).map(|row| {
                    let (head, at) = (row / DIM, row % DIM);
                    rows[head * DIM + at % 2 * (DIM / 2) + at / 2]
                });
                values = paired.collect::<Vec<_>>().concat();
            }
            let tensor = Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap();
            (name, QTensor::quantize(&tensor, GgmlDType::F32).unwrap())
        })
        .collect();
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let mut file = fs::File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}
