//! A folder of safetensors as model hubs publish them, read as a GGUF file would be.
//!
//! `config.json` and `tokenizer.json` become metadata under GGUF's keys, tensors get GGUF's names, so
//! that one loader serves both. Weights are F32, F16 or BF16. Every count is checked by whoever
//! reads the metadata, as with GGUF. Must not know how weights are used.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::Value as Json;

use crate::EngineError;
use crate::config::{HALVES, ROPE_LAYOUT};
use crate::model_file::{ModelFile, TensorInfo, Value, map};

/// Metadata of divisors of the rotation frequencies, which GGUF keeps as a tensor.
pub(crate) const ROPE_FACTORS: &str = "footnote.rope_factors";
/// Configurations are a few kilobytes.
const CONFIG_BYTES: u64 = 4 << 20;
/// The largest tokenizers take about 20 MB.
const TOKENIZER_BYTES: u64 = 128 << 20;
/// No model comes in nearly as many parts.
const MOST_PARTS: usize = 1000;
/// A vocabulary beyond this is absurd.
const MOST_TOKENS: u64 = 4 << 20;

/// Opens `path`, which holds `config.json`, `tokenizer.json` and one or several `.safetensors`.
pub(crate) fn open(path: &Path) -> Result<ModelFile, EngineError> {
    let folder = Folder { path };
    if !path.join("config.json").is_file() {
        return Err(EngineError::ModelFile {
            path: path.to_path_buf(),
            reason: "it is a folder without config.json".to_string(),
            mend: "name a GGUF file, or a folder with config.json, tokenizer.json and safetensors"
                .to_string(),
        });
    }
    let config = folder.json("config.json", CONFIG_BYTES)?;
    let tokenizer = folder.json("tokenizer.json", TOKENIZER_BYTES)?;
    let mut metadata = HashMap::new();
    let architecture = folder.shape(&config, &mut metadata)?;
    folder.tokens(&config, &tokenizer, &architecture, &mut metadata)?;
    let tied = config["tie_word_embeddings"].as_bool().unwrap_or(false);
    let (maps, tensors) = folder.tensors(tied)?;
    Ok(ModelFile::new(path, maps, metadata, tensors))
}

struct Folder<'a> {
    path: &'a Path,
}

impl Folder<'_> {
    fn refuse(&self, name: &str, reason: impl Into<String>) -> EngineError {
        EngineError::ModelFile {
            path: self.path.join(name),
            reason: reason.into(),
            mend: "fetch the model's folder again, whole".to_string(),
        }
    }

    fn text(&self, name: &str, most: u64) -> Result<String, EngineError> {
        let path = self.path.join(name);
        let io = |source| EngineError::Io {
            path: path.clone(),
            source,
        };
        let size = fs::metadata(&path).map_err(io)?.len();
        if size > most {
            return Err(self.refuse(
                name,
                format!("it has {size} bytes, at most {most} are read"),
            ));
        }
        fs::read_to_string(&path).map_err(io)
    }

    fn json(&self, name: &str, most: u64) -> Result<Json, EngineError> {
        serde_json::from_str(&self.text(name, most)?)
            .map_err(|error| self.refuse(name, format!("it is no JSON: {error}")))
    }

    /// A file that need not be there.
    fn optional(&self, name: &str) -> Result<Option<Json>, EngineError> {
        if self.path.join(name).is_file() {
            self.json(name, CONFIG_BYTES).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The model's shape under GGUF's keys; gives the architecture.
    fn shape(
        &self,
        config: &Json,
        metadata: &mut HashMap<String, Value>,
    ) -> Result<String, EngineError> {
        let architecture = match config["model_type"].as_str() {
            Some(kind @ ("llama" | "qwen2" | "qwen3")) => kind.to_string(),
            kind => {
                return Err(EngineError::ModelFile {
                    path: self.path.join("config.json"),
                    reason: format!(
                        "it is a model of type {:?}, which this engine does not run",
                        kind.unwrap_or("unknown")
                    ),
                    mend: "choose a model of the llama, qwen2 or qwen3 family".to_string(),
                });
            }
        };
        metadata.insert(
            "general.architecture".to_string(),
            Value::Text(architecture.clone()),
        );
        metadata.insert(ROPE_LAYOUT.to_string(), Value::Text(HALVES.to_string()));
        let counts = [
            ("embedding_length", "hidden_size"),
            ("attention.head_count", "num_attention_heads"),
            ("attention.head_count_kv", "num_key_value_heads"),
            ("attention.key_length", "head_dim"),
            ("block_count", "num_hidden_layers"),
            ("feed_forward_length", "intermediate_size"),
            ("context_length", "max_position_embeddings"),
        ];
        for (key, name) in counts {
            if let Some(count) = config[name].as_u64() {
                metadata.insert(format!("{architecture}.{key}"), Value::Unsigned(count));
            }
        }
        for (key, name) in [
            ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
            ("rope.freq_base", "rope_theta"),
        ] {
            if let Some(number) = config[name].as_f64() {
                metadata.insert(format!("{architecture}.{key}"), Value::Float(number));
            }
        }
        if let Some(scaling) = config["rope_scaling"].as_object() {
            let kind = scaling
                .get("rope_type")
                .or(scaling.get("type"))
                .and_then(Json::as_str)
                .unwrap_or("unknown");
            match kind {
                "default" => {}
                "llama3" => {
                    let factors = llama3_factors(config).ok_or_else(|| {
                        self.refuse("config.json", "its rope scaling lacks numbers")
                    })?;
                    metadata.insert(ROPE_FACTORS.to_string(), Value::Floats(factors));
                }
                kind => {
                    // The reader of the shape refuses it by name.
                    metadata.insert(
                        format!("{architecture}.rope.scaling.type"),
                        Value::Text(kind.to_string()),
                    );
                }
            }
        }
        if config["use_sliding_window"].as_bool() == Some(true) {
            return Err(self.refuse(
                "config.json",
                "it attends in sliding windows, which this engine does not do",
            ));
        }
        Ok(architecture)
    }

    /// The tokenizer under GGUF's keys.
    fn tokens(
        &self,
        config: &Json,
        tokenizer: &Json,
        architecture: &str,
        metadata: &mut HashMap<String, Value>,
    ) -> Result<(), EngineError> {
        let damaged = |reason: &str| self.refuse("tokenizer.json", reason);
        let model = &tokenizer["model"];
        if model["type"].as_str() != Some("BPE") {
            return Err(damaged("its tokenizer is not byte-level BPE"));
        }
        let vocab = model["vocab"]
            .as_object()
            .ok_or_else(|| damaged("it holds no vocabulary"))?;
        let count = config["vocab_size"]
            .as_u64()
            .filter(|count| (1..=MOST_TOKENS).contains(count))
            .ok_or_else(|| self.refuse("config.json", "its vocab_size is missing or absurd"))?;
        // Rows beyond the vocabulary are padding: numbers without a meaning.
        let mut tokens: Vec<String> = (0..count).map(|id| format!("[PAD{id}]")).collect();
        let mut kinds = vec![5_i32; tokens.len()];
        let mut put = |token: &str, id: Option<u64>, kind: i32| -> Result<(), EngineError> {
            let at = id
                .and_then(|id| usize::try_from(id).ok())
                .filter(|id| *id < kinds.len())
                .ok_or_else(|| damaged("a token's number is beyond the model's vocabulary"))?;
            tokens[at] = token.to_string();
            kinds[at] = kind;
            Ok(())
        };
        for (token, id) in vocab {
            put(token, id.as_u64(), 1)?;
        }
        for added in tokenizer["added_tokens"].as_array().into_iter().flatten() {
            let special = added["special"].as_bool().unwrap_or(false);
            let content = added["content"].as_str().unwrap_or_default();
            put(content, added["id"].as_u64(), if special { 3 } else { 4 })?;
        }
        let merges: Vec<String> = model["merges"]
            .as_array()
            .ok_or_else(|| damaged("it holds no merges"))?
            .iter()
            .filter_map(|merge| match merge {
                Json::String(pair) => Some(pair.clone()),
                Json::Array(pair) => Some(format!(
                    "{} {}",
                    pair.first()?.as_str()?,
                    pair.get(1)?.as_str()?
                )),
                _ => None,
            })
            .collect();
        let splits = split_name(architecture, &tokenizer["pre_tokenizer"])
            .ok_or_else(|| damaged("it splits text in a way this engine does not know"))?;
        let generation = self.optional("generation_config.json")?.unwrap_or_default();
        let settings = self.optional("tokenizer_config.json")?.unwrap_or_default();
        let ends = [&generation["eos_token_id"], &config["eos_token_id"]]
            .into_iter()
            .flat_map(|ends| match ends {
                Json::Array(ends) => ends.iter().filter_map(Json::as_u64).collect(),
                end => end.as_u64().into_iter().collect::<Vec<_>>(),
            });
        let keys = [
            "tokenizer.ggml.eos_token_id",
            "tokenizer.ggml.eot_token_id",
            "tokenizer.ggml.eom_token_id",
        ];
        let distinct: BTreeSet<u64> = ends.collect();
        for (key, end) in keys.into_iter().zip(distinct) {
            metadata.insert(key.to_string(), Value::Unsigned(end));
        }
        if let Some(begin) = config["bos_token_id"].as_u64() {
            metadata.insert(
                "tokenizer.ggml.bos_token_id".to_string(),
                Value::Unsigned(begin),
            );
        }
        if let Some(adds) = settings["add_bos_token"].as_bool() {
            metadata.insert(
                "tokenizer.ggml.add_bos_token".to_string(),
                Value::Bool(adds),
            );
        }
        if let Some(template) = self.template(&settings)? {
            metadata.insert("tokenizer.chat_template".to_string(), Value::Text(template));
        }
        for (key, value) in [
            ("tokenizer.ggml.model", Value::Text("gpt2".to_string())),
            ("tokenizer.ggml.pre", Value::Text(splits.to_string())),
            ("tokenizer.ggml.tokens", Value::Texts(tokens)),
            ("tokenizer.ggml.token_type", Value::Integers(kinds)),
            ("tokenizer.ggml.merges", Value::Texts(merges)),
        ] {
            metadata.insert(key.to_string(), value);
        }
        Ok(())
    }

    /// The chat template: a file of its own, or in the tokenizer's settings.
    fn template(&self, settings: &Json) -> Result<Option<String>, EngineError> {
        if self.path.join("chat_template.jinja").is_file() {
            return self.text("chat_template.jinja", CONFIG_BYTES).map(Some);
        }
        Ok(match &settings["chat_template"] {
            Json::String(template) => Some(template.clone()),
            Json::Array(named) => named
                .iter()
                .find(|entry| entry["name"].as_str() == Some("default"))
                .and_then(|entry| entry["template"].as_str())
                .map(str::to_string),
            _ => None,
        })
    }

    /// All parts mapped, and their tensors by GGUF's names.
    fn tensors(&self, tied: bool) -> Result<(Vec<Mmap>, HashMap<String, TensorInfo>), EngineError> {
        let mut maps = Vec::new();
        let mut tensors = HashMap::new();
        for path in self.parts()? {
            let part = maps.len();
            let map = map(&path)?;
            let name = path
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let (header, content) = SafeTensors::read_metadata(&map).map_err(|error| {
                self.refuse(&name, format!("it is no safetensors file: {error}"))
            })?;
            for (theirs, tensor) in content.tensors() {
                let Some(ours) = gguf_name(&theirs) else {
                    return Err(self.refuse(
                        &name,
                        format!("it has a tensor this engine has no use for: {theirs}"),
                    ));
                };
                // Files of tied models may hold the embeddings a second time.
                if tied && ours == "output.weight" {
                    continue;
                }
                let type_id = match tensor.dtype {
                    Dtype::F32 => 0,
                    Dtype::F16 => 1,
                    Dtype::BF16 => 30,
                    other => {
                        return Err(self.refuse(
                            &name,
                            format!(
                                "tensor {theirs} is of type {other:?}; F32, F16 and BF16 are read"
                            ),
                        ));
                    }
                };
                let info = TensorInfo {
                    name: ours.clone(),
                    type_id,
                    dimensions: tensor.shape.iter().rev().copied().collect(),
                    part,
                    // The header's length stands in the eight bytes before it.
                    start: (tensor.data_offsets.0 + header + 8) as u64,
                };
                if tensors.insert(ours, info).is_some() {
                    return Err(self.refuse(&name, format!("tensor {theirs} is there twice")));
                }
            }
            maps.push(map);
        }
        Ok((maps, tensors))
    }

    /// The safetensors files: those the index names, or all there are.
    fn parts(&self) -> Result<Vec<PathBuf>, EngineError> {
        let names: BTreeSet<String> = match self.optional("model.safetensors.index.json")? {
            Some(index) => index["weight_map"]
                .as_object()
                .into_iter()
                .flat_map(|map| map.values())
                .filter_map(Json::as_str)
                .map(str::to_string)
                .collect(),
            None => fs::read_dir(self.path)
                .map_err(|source| EngineError::Io {
                    path: self.path.to_path_buf(),
                    source,
                })?
                .filter_map(Result::ok)
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .filter(|name| {
                    name.ends_with(".safetensors") && !name.ends_with(".bases.safetensors")
                })
                .collect(),
        };
        if names.is_empty() || names.len() > MOST_PARTS {
            return Err(self.refuse("", format!("it holds {} safetensors files", names.len())));
        }
        // An index must not lead out of its folder.
        if let Some(name) = names.iter().find(|name| name.contains(['/', '\\'])) {
            return Err(self.refuse(
                "model.safetensors.index.json",
                format!("it names a file elsewhere: {name}"),
            ));
        }
        Ok(names.into_iter().map(|name| self.path.join(name)).collect())
    }
}

/// How text is split, by GGUF's name.
fn split_name(architecture: &str, pre_tokenizer: &Json) -> Option<&'static str> {
    if architecture != "llama" {
        return Some("qwen2");
    }
    let described = pre_tokenizer.to_string();
    if described.contains("{1,3}") {
        Some("llama-bpe")
    } else if described.contains("Digits") {
        Some("smollm")
    } else if described.contains("ByteLevel") {
        Some("gpt-2")
    } else {
        None
    }
}

/// A tensor's name in GGUF.
fn gguf_name(theirs: &str) -> Option<String> {
    let plain = match theirs {
        "model.embed_tokens.weight" => Some("token_embd.weight"),
        "model.norm.weight" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(name) = plain {
        return Some(name.to_string());
    }
    let (layer, rest) = theirs.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let (part, kind) = rest.rsplit_once('.')?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    let part = match part {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "post_attention_layernorm" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}.{kind}"))
}

/// Divisors of the rotation frequencies of Llama 3.1 and later (its reference implementation,
/// `apply_scaling`): long waves turn `factor` times slower, short ones as before, those between by a
/// share of both.
fn llama3_factors(config: &Json) -> Option<Vec<f64>> {
    let scaling = &config["rope_scaling"];
    let factor = scaling["factor"].as_f64()?;
    let low = scaling["low_freq_factor"].as_f64()?;
    let high = scaling["high_freq_factor"].as_f64()?;
    let trained = scaling["original_max_position_embeddings"].as_f64()?;
    let base = config["rope_theta"].as_f64()?;
    let width = config["head_dim"].as_u64().or_else(|| {
        let hidden = config["hidden_size"].as_u64()?;
        hidden.checked_div(config["num_attention_heads"].as_u64()?)
    })?;
    if factor <= 0.0 || high <= low || !(2..=1024).contains(&width) {
        return None;
    }
    let factors = (0..width / 2).map(|i| {
        let frequency = base.powf(-2.0 * i as f64 / width as f64);
        let wavelength = 2.0 * std::f64::consts::PI / frequency;
        if wavelength < trained / high {
            1.0
        } else if wavelength > trained / low {
            factor
        } else {
            let smooth = (trained / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    });
    Some(factors.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_gguf() {
        for (theirs, ours) in [
            (
                "model.layers.12.self_attn.k_proj.bias",
                Some("blk.12.attn_k.bias"),
            ),
            (
                "model.layers.0.mlp.down_proj.weight",
                Some("blk.0.ffn_down.weight"),
            ),
            ("model.norm.weight", Some("output_norm.weight")),
            ("model.layers.x.mlp.down_proj.weight", None),
            ("model.layers.1.self_attn.rotary_emb.inv_freq", None),
        ] {
            assert_eq!(gguf_name(theirs).as_deref(), ours);
        }
    }

    /// The numbers Llama 3.1 8B's GGUF files carry in `rope_freqs.weight`.
    #[test]
    fn llama3_scaling_gives_the_published_factors() {
        let config = serde_json::json!({
            "rope_theta": 500_000.0, "head_dim": 128,
            "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        });
        let factors = llama3_factors(&config).unwrap();
        assert_eq!(factors.len(), 64);
        assert!(factors[..28].iter().all(|factor| *factor == 1.0));
        assert!(factors[36..].iter().all(|factor| *factor == 8.0));
        assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]));
    }
}
