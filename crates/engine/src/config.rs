//! What a model file says about the model's shape, checked once so that the decoder need not.
//!
//! Knows the metadata keys of the families this engine runs; must not know weights or requests.

use crate::EngineError;
use crate::model_file::{ModelFile, Value};

/// How a family lays out a head before rotation (RoPE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeLayout {
    /// Value `2i` turns with `2i + 1`: llama files, whose query and key rows were permuted for it.
    Interleaved,
    /// Value `i` turns with `i + head_dim / 2`: the Qwen families.
    Halves,
}

/// Metadata of a reader whose files lay heads out otherwise than GGUF: its value is [`HALVES`].
pub(crate) const ROPE_LAYOUT: &str = "footnote.rope_layout";
/// [`RopeLayout::Halves`].
pub(crate) const HALVES: &str = "halves";

/// The families this engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama, SmolLM and their like: no biases.
    Llama,
    /// Qwen2 and Qwen2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen3: no biases, each head of queries and keys normed before rotation.
    Qwen3,
}

impl Family {
    /// The family of `general.architecture`.
    pub fn from_name(name: &str) -> Option<Family> {
        match name {
            "llama" => Some(Family::Llama),
            "qwen2" => Some(Family::Qwen2),
            "qwen3" => Some(Family::Qwen3),
            _ => None,
        }
    }

    /// How its heads are rotated in GGUF files.
    pub fn rope_layout(self) -> RopeLayout {
        match self {
            Family::Llama => RopeLayout::Interleaved,
            Family::Qwen2 | Family::Qwen3 => RopeLayout::Halves,
        }
    }
}

/// The model's shape. All counts are positive and divide as the decoder needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Family, which decides biases and rotation.
    pub family: Family,
    /// `general.name`, or empty.
    pub name: String,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the feed-forward block.
    pub feed_forward: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Longest context the model was trained for, in tokens.
    pub context: usize,
    /// Epsilon of the RMS norms.
    pub rms_epsilon: f32,
    /// Base of the rotation frequencies.
    pub rope_base: f32,
    /// How a head's values are paired for rotation.
    pub rope_layout: RopeLayout,
    /// Tokens in the vocabulary.
    pub vocab: usize,
}

impl ModelConfig {
    /// Reads and checks the metadata.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] where the architecture is another one or a value is missing or absurd.
    pub fn from_file(file: &ModelFile) -> Result<ModelConfig, EngineError> {
        let architecture = match file.value("general.architecture") {
            Some(Value::Text(name)) => name.clone(),
            _ => return Err(file.damaged("it names no architecture")),
        };
        let Some(family) = Family::from_name(&architecture) else {
            return Err(file.error(
                format!(
                    "it is a model of architecture {architecture:?}, which this engine does not run"
                ),
                "choose a model of the llama, qwen2 or qwen3 family (`footnote models list`)",
            ));
        };
        let read = Keys {
            file,
            architecture: &architecture,
        };
        let hidden = read.count("embedding_length", 1, 65_536)?;
        let heads = read.count("attention.head_count", 1, 1024)?;
        let kv_heads = match read.optional_count("attention.head_count_kv", 1, 1024)? {
            Some(count) => count,
            None => heads,
        };
        let head_dim = match read.optional_count("attention.key_length", 2, 1024)? {
            Some(width) => width,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                return Err(
                    file.damaged(&format!("{hidden} values do not divide into {heads} heads"))
                );
            }
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(file.damaged(&format!(
                "{heads} query heads do not share {kv_heads} key heads evenly"
            )));
        }
        if !head_dim.is_multiple_of(2) {
            return Err(file.damaged(&format!("a head of {head_dim} values cannot be rotated")));
        }
        if let Some(rotated) = read.optional_count("rope.dimension_count", 1, 1024)?
            && rotated != head_dim
        {
            return Err(file.error(
                format!("it rotates {rotated} of {head_dim} values of a head, which this engine does not do"),
                "choose another model (`footnote models list`)",
            ));
        }
        if let Some(Value::Text(kind)) = read.value("rope.scaling.type")
            && kind != "none"
        {
            return Err(file.error(
                format!("it needs rope scaling {kind:?}, which this engine does not do yet"),
                "choose another model (`footnote models list`)",
            ));
        }
        let vocab = match file.value("tokenizer.ggml.tokens") {
            Some(Value::Texts(tokens)) if !tokens.is_empty() => tokens.len(),
            _ => return Err(file.damaged("it holds no vocabulary")),
        };
        Ok(ModelConfig {
            family,
            name: match file.value("general.name") {
                Some(Value::Text(name)) => name.clone(),
                _ => String::new(),
            },
            layers: read.count("block_count", 1, 1024)?,
            hidden,
            feed_forward: read.count("feed_forward_length", 1, 1 << 20)?,
            heads,
            kv_heads,
            head_dim,
            context: read.count("context_length", 1, 1 << 24)?,
            rms_epsilon: read.float("attention.layer_norm_rms_epsilon", 1e-12, 1.0)?,
            rope_base: match read.value("rope.freq_base") {
                Some(_) => read.float("rope.freq_base", 1.0, 1e12)?,
                // The base of the original Llama, which its files leave out.
                None => 10_000.0,
            },
            rope_layout: match file.value(ROPE_LAYOUT) {
                Some(Value::Text(layout)) if layout == HALVES => RopeLayout::Halves,
                _ => family.rope_layout(),
            },
            vocab,
        })
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads together, and of all value heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// Metadata of one architecture.
struct Keys<'a> {
    file: &'a ModelFile,
    architecture: &'a str,
}

impl Keys<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        self.file.value(&format!("{}.{key}", self.architecture))
    }

    fn count(&self, key: &str, least: usize, most: usize) -> Result<usize, EngineError> {
        match self.optional_count(key, least, most)? {
            Some(count) => Ok(count),
            None => Err(self
                .file
                .damaged(&format!("it does not say its {}.{key}", self.architecture))),
        }
    }

    fn optional_count(
        &self,
        key: &str,
        least: usize,
        most: usize,
    ) -> Result<Option<usize>, EngineError> {
        let count = match self.value(key) {
            None => return Ok(None),
            Some(Value::Unsigned(count)) => usize::try_from(*count).ok(),
            Some(Value::Signed(count)) => usize::try_from(*count).ok(),
            Some(_) => None,
        };
        match count {
            Some(count) if (least..=most).contains(&count) => Ok(Some(count)),
            _ => Err(self.absurd(key)),
        }
    }

    fn float(&self, key: &str, least: f64, most: f64) -> Result<f32, EngineError> {
        match self.value(key) {
            Some(Value::Float(value)) if (least..=most).contains(value) => Ok(*value as f32),
            _ => Err(self.absurd(key)),
        }
    }

    fn absurd(&self, key: &str) -> EngineError {
        let value = match self.value(key) {
            Some(value) => format!("{value:?}").chars().take(60).collect(),
            None => "missing".to_string(),
        };
        self.file
            .damaged(&format!("its {}.{key} is {value}", self.architecture))
    }
}
