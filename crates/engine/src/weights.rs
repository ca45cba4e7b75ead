//! A model's weights, packed once from the file's pages, which are let go as they are used up.
//!
//! Knows tensor names and shapes; must not know how they are multiplied or what a request is. What becomes of a matrix
//! (packed for the processor, or taken to a device) is the caller's: weights are generic in it.

use std::collections::HashSet;
use std::sync::Arc;

use candle_core::quantized::GgmlDType;

use crate::config::{Family, ModelConfig};
use crate::kernels::QuantMatrix;
use crate::model_file::{ModelFile, TensorInfo, Value};
use crate::{EngineError, folder};

/// All weights of a decoder, their matrices as `M`.
pub struct Weights<M = QuantMatrix> {
    /// Token embeddings, `[vocab][hidden]`.
    pub embedding: Arc<M>,
    /// Layers, first to last.
    pub layers: Vec<LayerWeights<M>>,
    /// Weight of the norm before the output.
    pub output_norm: Vec<f32>,
    /// `[vocab][hidden]`; the embeddings themselves where the model ties them.
    pub output: Arc<M>,
    /// Divisors of the rotation frequencies (Llama 3.1 and later), where the file has them.
    pub rope_factors: Option<Vec<f32>>,
}

/// One layer's weights.
pub struct LayerWeights<M = QuantMatrix> {
    /// Weight of the norm before attention.
    pub attention_norm: Vec<f32>,
    /// Queries.
    pub query: Linear<M>,
    /// Keys.
    pub key: Linear<M>,
    /// Values.
    pub value: Linear<M>,
    /// Weight of the norm of each query head, for families that have one.
    pub query_norm: Option<Vec<f32>>,
    /// Weight of the norm of each key head.
    pub key_norm: Option<Vec<f32>>,
    /// Attention's output.
    pub attention_output: M,
    /// Weight of the norm before the feed-forward block.
    pub feed_forward_norm: Vec<f32>,
    /// Gate.
    pub gate: M,
    /// Up.
    pub up: M,
    /// Down.
    pub down: M,
}

/// A matrix with its bias.
pub struct Linear<M = QuantMatrix> {
    /// Weights.
    pub weight: M,
    /// One value an output.
    pub bias: Option<Vec<f32>>,
}

/// A matrix as a file holds it.
pub(crate) struct RawMatrix<'a> {
    /// Its element type.
    pub(crate) kind: GgmlDType,
    /// Outputs.
    pub(crate) rows: usize,
    /// Inputs, whole blocks of the type.
    pub(crate) cols: usize,
    /// Exactly its elements, row major.
    pub(crate) bytes: &'a [u8],
}

impl Weights {
    /// Packs the weights of `file` for this processor.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] where a tensor is missing, of another shape or of a type the
    /// kernels do not take, or where the file has tensors this decoder would leave out.
    pub fn load(file: &ModelFile, config: &ModelConfig) -> Result<Weights, EngineError> {
        Weights::load_as(file, config, |raw| {
            QuantMatrix::from_ggml(raw.kind, raw.rows, raw.cols, raw.bytes)
        })
    }

    /// Bytes of memory the weights take.
    pub fn size_bytes(&self) -> usize {
        let linear = |linear: &Linear| {
            linear.weight.size_bytes() + 4 * linear.bias.as_ref().map_or(0, Vec::len)
        };
        let layers: usize = self
            .layers
            .iter()
            .map(|layer| {
                linear(&layer.query)
                    + linear(&layer.key)
                    + linear(&layer.value)
                    + layer.attention_output.size_bytes()
                    + layer.gate.size_bytes()
                    + layer.up.size_bytes()
                    + layer.down.size_bytes()
                    + 4 * (layer.attention_norm.len() + layer.feed_forward_norm.len())
            })
            .sum();
        let output = if Arc::ptr_eq(&self.embedding, &self.output) {
            0
        } else {
            self.output.size_bytes()
        };
        layers + output + self.embedding.size_bytes() + 4 * self.output_norm.len()
    }
}

impl<M> Weights<M> {
    /// Reads the weights of `file`; `make` makes each matrix.
    ///
    /// # Errors
    /// As [`Weights::load`], and as `make`, whose errors get the tensor's name.
    pub(crate) fn load_as(
        file: &ModelFile,
        config: &ModelConfig,
        make: impl FnMut(RawMatrix<'_>) -> Result<M, EngineError>,
    ) -> Result<Weights<M>, EngineError> {
        let mut loader = Loader {
            file,
            make,
            used: HashSet::new(),
        };
        let embedding =
            Arc::new(loader.matrix("token_embd.weight", config.vocab, config.hidden)?);
        let output = match file.tensor("output.weight") {
            Some(_) => Arc::new(loader.matrix("output.weight", config.vocab, config.hidden)?),
            None => Arc::clone(&embedding),
        };
        let output_norm = loader.vector("output_norm.weight", config.hidden)?;
        let rope_factors = match file.tensor("rope_freqs.weight") {
            Some(_) => Some(loader.vector("rope_freqs.weight", config.head_dim / 2)?),
            None => match file.value(folder::ROPE_FACTORS) {
                Some(Value::Floats(factors)) if factors.len() == config.head_dim / 2 => {
                    Some(factors.iter().map(|factor| *factor as f32).collect())
                }
                _ => None,
            },
        };
        let mut layers = Vec::new();
        for index in 0..config.layers {
            layers.push(loader.layer(index, config)?);
        }
        loader.refuse_leftovers()?;
        Ok(Weights {
            embedding,
            layers,
            output_norm,
            output,
            rope_factors,
        })
    }
}

struct Loader<'a, F> {
    file: &'a ModelFile,
    make: F,
    used: HashSet<String>,
}

impl<'a, M, F: FnMut(RawMatrix<'_>) -> Result<M, EngineError>> Loader<'a, F> {
    fn layer(
        &mut self,
        index: usize,
        config: &ModelConfig,
    ) -> Result<LayerWeights<M>, EngineError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let (hidden, inner) = (config.hidden, config.feed_forward);
        let (query, kv) = (config.query_width(), config.kv_width());
        Ok(LayerWeights {
            attention_norm: self.vector(&name("attn_norm.weight"), hidden)?,
            query: self.linear(&name("attn_q"), query, config)?,
            key: self.linear(&name("attn_k"), kv, config)?,
            value: self.linear(&name("attn_v"), kv, config)?,
            query_norm: self.head_norm(&name("attn_q_norm.weight"), config)?,
            key_norm: self.head_norm(&name("attn_k_norm.weight"), config)?,
            attention_output: self.matrix(&name("attn_output.weight"), hidden, query)?,
            feed_forward_norm: self.vector(&name("ffn_norm.weight"), hidden)?,
            gate: self.matrix(&name("ffn_gate.weight"), inner, hidden)?,
            up: self.matrix(&name("ffn_up.weight"), inner, hidden)?,
            down: self.matrix(&name("ffn_down.weight"), hidden, inner)?,
        })
    }

    fn linear(
        &mut self,
        name: &str,
        outputs: usize,
        config: &ModelConfig,
    ) -> Result<Linear<M>, EngineError> {
        let bias = format!("{name}.bias");
        let needs_bias = config.family == Family::Qwen2;
        Ok(Linear {
            weight: self.matrix(&format!("{name}.weight"), outputs, config.hidden)?,
            bias: match self.file.tensor(&bias) {
                None if !needs_bias => None,
                _ => Some(self.vector(&bias, outputs)?),
            },
        })
    }

    fn head_norm(
        &mut self,
        name: &str,
        config: &ModelConfig,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        match config.family {
            Family::Qwen3 => self.vector(name, config.head_dim).map(Some),
            Family::Llama | Family::Qwen2 => Ok(None),
        }
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<M, EngineError> {
        let tensor = self.tensor(name, &[cols, rows])?;
        let kind = self.element_type(tensor)?;
        let count = rows
            .checked_mul(cols)
            .filter(|_| cols.is_multiple_of(kind.block_size()));
        let size = count
            .map(|count| count / kind.block_size())
            .and_then(|blocks| blocks.checked_mul(kind.type_size()))
            .ok_or_else(|| {
                self.file.damaged(&format!(
                    "tensor {name} of {rows} by {cols} does not divide into blocks of {kind:?}"
                ))
            })?;
        let bytes = self.file.bytes(tensor, size)?;
        let raw = RawMatrix {
            kind,
            rows,
            cols,
            bytes,
        };
        let matrix = (self.make)(raw).map_err(|error| {
            self.file.error(
                format!("tensor {name}: {error}"),
                "choose a file of another quantisation, such as Q4_K_M or Q8_0",
            )
        })?;
        self.file.release(tensor, size);
        Ok(matrix)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, EngineError> {
        let tensor = self.tensor(name, &[len])?;
        let kind = self.element_type(tensor)?;
        let size = len
            .checked_mul(kind.type_size())
            .filter(|_| kind.block_size() == 1)
            .ok_or_else(|| {
                self.file.damaged(&format!(
                    "tensor {name} is quantised ({kind:?}), which a norm or bias is not"
                ))
            })?;
        let bytes = self.file.bytes(tensor, size)?;
        let matrix = QuantMatrix::from_ggml(kind, 1, len, bytes)
            .map_err(|error| self.file.damaged(&format!("tensor {name}: {error}")))?;
        let mut vector = vec![0.0; len];
        matrix.dequantize_row(0, &mut vector);
        Ok(vector)
    }

    fn tensor(&mut self, name: &str, dimensions: &[usize]) -> Result<&'a TensorInfo, EngineError> {
        let tensor = self
            .file
            .tensor(name)
            .ok_or_else(|| self.file.damaged(&format!("it lacks tensor {name}")))?;
        if tensor.dimensions != dimensions {
            return Err(self.file.damaged(&format!(
                "tensor {name} is of shape {:?} instead of {dimensions:?}",
                tensor.dimensions
            )));
        }
        self.used.insert(name.to_string());
        Ok(tensor)
    }

    fn element_type(&self, tensor: &TensorInfo) -> Result<GgmlDType, EngineError> {
        element_type(tensor.type_id).ok_or_else(|| {
            self.file.error(
                format!(
                    "tensor {} is of GGML type {}, which this engine does not know",
                    tensor.name, tensor.type_id
                ),
                "choose a file of another quantisation, such as Q4_K_M or Q8_0",
            )
        })
    }

    /// A tensor nobody asked for would change what the model says if it were left out.
    fn refuse_leftovers(&self) -> Result<(), EngineError> {
        let mut leftovers: Vec<&str> = self
            .file
            .tensor_names()
            .filter(|name| !self.used.contains(*name))
            .collect();
        leftovers.sort_unstable();
        match leftovers.first() {
            None => Ok(()),
            Some(first) => Err(self.file.error(
                format!(
                    "it has {} tensors this engine has no use for, among them {first}",
                    leftovers.len()
                ),
                "choose another model (`footnote models list`)",
            )),
        }
    }
}

/// GGML's numbers of element types.
fn element_type(id: u32) -> Option<GgmlDType> {
    Some(match id {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}
