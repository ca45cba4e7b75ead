//! A model's weights on a device: from a file, or made up.
//!
//! Knows formats; must not know steps or caches.

use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use footnote_device::kernels::Half;
use footnote_device::kernels::product::{CodeGroup, Coding, Matrix, Packed, Scales};
use footnote_device::{Buffer, Device};
use half::{bf16, f16};

use crate::EngineError;
use crate::config::ModelConfig;
use crate::kernels::ggml::{Format, GROUP, ScaleKind, read_group};
use crate::model_file::ModelFile;
use crate::weights::{LayerWeights, Linear, RawMatrix, Weights};

/// GGML's number of BF16.
const BF16_TYPE: u32 = 30;

/// The halves that a file's products are made of: BF16 where all its matrices are, f16 otherwise, which holds decoded
/// codes more exactly.
pub(super) fn halves_of(file: &ModelFile) -> Half {
    let mut matrices = file
        .tensor_names()
        .filter_map(|name| file.tensor(name))
        .filter(|tensor| tensor.dimensions.len() > 1);
    match matrices.all(|tensor| tensor.type_id == BF16_TYPE) {
        true => Half::Bf16,
        false => Half::F16,
    }
}

/// Reads a file's weights onto a device, one matrix at a time.
pub(super) fn load(
    file: &ModelFile,
    config: &ModelConfig,
    device: &Arc<dyn Device>,
    half: Half,
) -> Result<Weights<Matrix>, EngineError> {
    Weights::load_as(file, config, |raw| {
        let packed = packed(&raw, half).ok_or_else(|| {
            EngineError::Weights(format!(
                "{:?} matrix of {} by {} does not divide into groups of {GROUP}",
                raw.kind, raw.rows, raw.cols
            ))
        })?;
        Ok(packed.upload(device)?)
    })
}

/// A file's matrix as the device's kernels take it.
pub(super) fn packed(raw: &RawMatrix<'_>, half: Half) -> Option<Packed> {
    let Some(format) = Format::of(raw.kind) else {
        return Packed::dense(raw.rows, raw.cols, &halves(raw, half)?);
    };
    let coding = Coding {
        bits: format.bits,
        offset: format.offset,
        scales: match format.scales {
            ScaleKind::Half => Scales::Half,
            ScaleKind::HalfMin => Scales::HalfMin,
            ScaleKind::SuperMin => Scales::SuperMin,
            ScaleKind::Super16 => Scales::Super16,
        },
    };
    let row_bytes = raw.cols / (format.block_groups * GROUP) * format.block_bytes;
    Packed::codes(coding, raw.rows, raw.cols, |row, index| {
        let (block, within) = (index / format.block_groups, index % format.block_groups);
        let block =
            &raw.bytes[row * row_bytes + block * format.block_bytes..][..format.block_bytes];
        let group = read_group(raw.kind, block, within);
        CodeGroup {
            codes: group.codes,
            half: group.half,
            factors: group.factors,
        }
    })
}

/// Dense elements as halves; those beyond f16 become the largest there is.
fn halves(raw: &RawMatrix<'_>, half: Half) -> Option<Vec<u16>> {
    let short = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
    let pairs = raw.bytes.chunks_exact(2);
    let to_f16 = |x: f32| f16::from_f32(x.clamp(-f16::MAX.to_f32(), f16::MAX.to_f32())).to_bits();
    Some(match (raw.kind, half) {
        (GgmlDType::BF16, Half::Bf16) | (GgmlDType::F16, Half::F16) => pairs.map(short).collect(),
        (GgmlDType::BF16, Half::F16) => pairs
            .map(|pair| to_f16(bf16::from_bits(short(pair)).to_f32()))
            .collect(),
        (GgmlDType::F32, _) => {
            let singles = raw.bytes.chunks_exact(4);
            let singles = singles.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            match half {
                Half::F16 => singles.map(to_f16).collect(),
                Half::Bf16 => singles.map(|x| bf16::from_f32(x).to_bits()).collect(),
            }
        }
        _ => return None,
    })
}

/// Made-up BF16 weights of a model's shape, for measuring: small, different everywhere, and the same every time.
pub(super) fn synthetic(
    config: &ModelConfig,
    device: &Arc<dyn Device>,
) -> Result<Weights<Matrix>, EngineError> {
    let mut maker = Maker {
        device,
        state: 0x9e37_79b9_7f4a_7c15,
    };
    let (hidden, inner) = (config.hidden, config.feed_forward);
    let (query, kv) = (config.query_width(), config.kv_width());
    let biased = config.family == crate::Family::Qwen2;
    let normed = config.family == crate::Family::Qwen3;
    let embedding = Arc::new(maker.matrix(config.vocab, hidden)?);
    let mut layers = Vec::new();
    for _ in 0..config.layers {
        let mut linear = |rows: usize| -> Result<Linear<Matrix>, EngineError> {
            Ok(Linear {
                weight: maker.matrix(rows, hidden)?,
                bias: biased.then(|| vec![0.01; rows]),
            })
        };
        let (query_weight, key, value) = (linear(query)?, linear(kv)?, linear(kv)?);
        layers.push(LayerWeights {
            attention_norm: vec![1.0; hidden],
            query: query_weight,
            key,
            value,
            query_norm: normed.then(|| vec![1.0; config.head_dim]),
            key_norm: normed.then(|| vec![1.0; config.head_dim]),
            attention_output: maker.matrix(hidden, query)?,
            feed_forward_norm: vec![1.0; hidden],
            gate: maker.matrix(inner, hidden)?,
            up: maker.matrix(inner, hidden)?,
            down: maker.matrix(hidden, inner)?,
        });
    }
    Ok(Weights {
        output: Arc::new(maker.matrix(config.vocab, hidden)?),
        embedding,
        layers,
        output_norm: vec![1.0; hidden],
        rope_factors: None,
    })
}

/// Makes up matrices.
struct Maker<'a> {
    device: &'a Arc<dyn Device>,
    state: u64,
}

impl Maker<'_> {
    /// Elements uniform with the deviation that keeps a product's size.
    fn matrix(&mut self, rows: usize, cols: usize) -> Result<Matrix, EngineError> {
        /// Made on the host once and repeated: a model of billions is filled at the speed of its bus.
        const PIECE: usize = 1 << 22;
        let spread = (3.0 / cols as f32).sqrt();
        let count = rows * cols;
        let piece: Vec<u16> = (0..count.min(PIECE))
            .map(|_| {
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                let draw = (self.state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                bf16::from_f32(draw * spread).to_bits()
            })
            .collect();
        let buffer = Buffer::new(self.device, count * 2)?;
        for start in (0..count).step_by(PIECE) {
            let end = (start + PIECE).min(count);
            let bytes = footnote_device::bytes_of(&piece[..end - start]);
            self.device.upload(buffer.at(start * 2), bytes)?;
        }
        Ok(Matrix::dense(self.device, rows, cols, buffer)?)
    }
}
