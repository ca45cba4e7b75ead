//! Model files that are not what they should be: each gives an error that names the file, what is
//! wrong and the mend, and none is read further than it must.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails must fail")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use footnote_engine::{EngineError, LoadedModel};
use footnote_testkit::model_or_skip;
use gguf_file::Value;

/// A tiny Llama of one layer, to be bent out of shape.
struct Tiny {
    metadata: Vec<(String, Value)>,
    tensors: Vec<(String, QTensor)>,
}

impl Tiny {
    fn new() -> Tiny {
        let text = |text: &str| Value::String(text.to_string());
        let texts = |texts: &[&str]| Value::Array(texts.iter().map(|t| text(t)).collect());
        let kinds = [1, 1, 1, 3].map(Value::I32).to_vec();
        let metadata = [
            ("general.architecture", text("llama")),
            ("llama.block_count", Value::U32(1)),
            ("llama.context_length", Value::U32(64)),
            ("llama.embedding_length", Value::U32(32)),
            ("llama.feed_forward_length", Value::U32(64)),
            ("llama.attention.head_count", Value::U32(2)),
            ("llama.attention.head_count_kv", Value::U32(1)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("smollm")),
            (
                "tokenizer.ggml.tokens",
                texts(&["a", "b", "ab", "<|im_end|>"]),
            ),
            ("tokenizer.ggml.token_type", Value::Array(kinds)),
            ("tokenizer.ggml.merges", texts(&["a b"])),
            ("tokenizer.ggml.eos_token_id", Value::U32(3)),
            ("tokenizer.chat_template", text("{{ messages[0].content }}")),
        ];
        let mut tiny = Tiny {
            metadata: metadata.map(|(key, value)| (key.to_string(), value)).into(),
            tensors: Vec::new(),
        };
        for (name, shape) in [
            ("token_embd.weight", &[4, 32][..]),
            ("output_norm.weight", &[32]),
            ("blk.0.attn_norm.weight", &[32]),
            ("blk.0.attn_q.weight", &[32, 32]),
            ("blk.0.attn_k.weight", &[16, 32]),
            ("blk.0.attn_v.weight", &[16, 32]),
            ("blk.0.attn_output.weight", &[32, 32]),
            ("blk.0.ffn_norm.weight", &[32]),
            ("blk.0.ffn_gate.weight", &[64, 32]),
            ("blk.0.ffn_up.weight", &[64, 32]),
            ("blk.0.ffn_down.weight", &[32, 64]),
        ] {
            tiny.tensor(name, shape);
        }
        tiny
    }

    fn set(&mut self, key: &str, value: Value) {
        self.metadata.retain(|(other, _)| other != key);
        self.metadata.push((key.to_string(), value));
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) {
        let values = Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        let tensor = QTensor::quantize(&values, GgmlDType::F32).unwrap();
        self.tensors.retain(|(other, _)| other != name);
        self.tensors.push((name.to_string(), tensor));
    }

    fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("tiny.gguf");
        let metadata: Vec<(&str, &Value)> = self
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .collect();
        let tensors: Vec<(&str, &QTensor)> = self
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .collect();
        gguf_file::write(&mut File::create(&path).unwrap(), &metadata, &tensors).unwrap();
        path
    }
}

/// The message of the error the file gives; it must be about the file.
#[track_caller]
fn refusal(path: &Path) -> String {
    match LoadedModel::open(path, None).err() {
        Some(error @ EngineError::ModelFile { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whole_file_loads() {
    let dir = tempfile::tempdir().unwrap();
    let model = LoadedModel::open(&Tiny::new().write(dir.path()), None).unwrap();
    assert_eq!(
        model.tokenizer.encode("abab<|im_end|>ba").unwrap(),
        [2, 2, 1, 0]
    );
}

#[test]
fn what_is_bent_is_named() {
    type Bend = fn(&mut Tiny);
    let cases: &[(Bend, &str)] = &[
        (
            |t| t.set("general.architecture", Value::String("mamba".into())),
            "architecture \"mamba\"",
        ),
        (
            |t| t.metadata.retain(|(key, _)| key != "llama.block_count"),
            "does not say its llama.block_count",
        ),
        (
            |t| t.set("llama.block_count", Value::U32(0)),
            "block_count is Unsigned(0)",
        ),
        (
            |t| t.set("llama.block_count", Value::U32(2)),
            "lacks tensor blk.1.",
        ),
        (
            |t| t.set("llama.block_count", Value::U32(u32::MAX)),
            "block_count is Unsigned(4294967295)",
        ),
        (
            |t| t.set("llama.embedding_length", Value::U32(48)),
            "shape [32, 4] instead of [48, 4]",
        ),
        (
            |t| t.set("llama.attention.head_count", Value::U32(5)),
            "do not divide into 5 heads",
        ),
        (
            |t| t.set("llama.attention.head_count_kv", Value::U32(3)),
            "do not share 3 key heads",
        ),
        (
            |t| t.set("llama.rope.scaling.type", Value::String("yarn".into())),
            "rope scaling \"yarn\"",
        ),
        (
            |t| t.set("llama.rope.dimension_count", Value::U32(8)),
            "rotates 8 of 16",
        ),
        (
            |t| t.set("tokenizer.ggml.model", Value::String("llama".into())),
            "of kind \"llama\"",
        ),
        (
            |t| t.set("tokenizer.ggml.pre", Value::String("martian".into())),
            "\"martian\"",
        ),
        (
            |t| {
                t.set(
                    "tokenizer.ggml.token_type",
                    Value::Array(vec![Value::I32(1)]),
                )
            },
            "token types do not match",
        ),
        (
            |t| {
                t.set(
                    "tokenizer.ggml.merges",
                    Value::Array(vec![Value::String("a z".into())]),
                )
            },
            "does not fit together",
        ),
        (
            |t| t.set("tokenizer.chat_template", Value::String("{% for %}".into())),
            "chat template does not parse",
        ),
        (
            |t| {
                t.metadata
                    .retain(|(key, _)| key != "tokenizer.chat_template")
            },
            "no chat template",
        ),
        (
            |t| t.tensor("blk.0.ffn_up.weight", &[32, 64]),
            "ffn_up.weight is of shape",
        ),
        (
            |t| t.tensor("blk.0.attn_q_norm.weight", &[16]),
            "no use for, among them blk.0.attn_q_norm",
        ),
    ];
    for (bend, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut tiny = Tiny::new();
        bend(&mut tiny);
        let message = refusal(&tiny.write(dir.path()));
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        assert!(message.contains("tiny.gguf"), "{message}");
    }
}

#[test]
fn a_file_cut_short_is_named_wherever_it_is_cut() {
    let path = model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let dir = tempfile::tempdir().unwrap();
    let cut = dir.path().join("cut.gguf");
    for size in [3, 20, 5_000, 1_500_000, 40_000_000, 98_362_431] {
        let mut bytes = Vec::new();
        File::open(&path)
            .unwrap()
            .take(size)
            .read_to_end(&mut bytes)
            .unwrap();
        File::create(&cut).unwrap().write_all(&bytes).unwrap();
        let message = refusal(&cut);
        assert!(message.contains("cut short"), "{size}: {message}");
        assert!(message.contains("fetch it again"), "{size}: {message}");
    }
}

#[test]
fn what_is_no_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = LoadedModel::open(&dir.path().join("none.gguf"), None).err();
    assert!(
        matches!(missing, Some(EngineError::Io { .. })),
        "{missing:?}"
    );
    assert!(refusal(dir.path()).contains("without config.json"));
    let empty = dir.path().join("empty.gguf");
    File::create(&empty).unwrap();
    assert!(refusal(&empty).contains("cut short"));
}
