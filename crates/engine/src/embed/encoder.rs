//! all-MiniLM-L6-v2: a BERT encoder of six layers whose mean row is a sentence's vector.
//!
//! Post-norm transformer with learned positions and exact GELU (Devlin et al. 2018, arXiv:1810.04805), mean over
//! tokens and length 1 as its makers use it (Reimers and Gurevych 2019, arXiv:1908.10084). Texts are read
//! together as far as they fit one product; attention goes text by text. Own code of the engine's kernels: candle's
//! collection of models would bring a hundred others along.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors};
use tokenizers::{Tokenizer, TruncationParams};

use super::{Embedder, mean_direction};
use crate::EngineError;
use crate::kernels::{
    Form, Mix, Parts, QuantMatrix, join_shares, matmul_many, parallel, power_sum,
};

/// Tokens of a text that are read: as long as the texts that the model was trained on.
const MOST_TOKENS: usize = 256;
/// Tokens read together.
const BATCH_TOKENS: usize = 512;
/// Numbers of a head, which the weights' shapes do not tell.
const HEAD_WIDTH: usize = 32;
const EPSILON: f32 = 1e-12;
/// Columns of a vector of the kernels' products.
const COLUMNS: usize = 16;
/// Tokens whose rows one thread turns at a time.
const ROWS_A_PIECE: usize = 16;

/// A sentence encoder in memory.
pub struct SentenceEncoder {
    name: String,
    tokenizer: Tokenizer,
    width: usize,
    words: Vec<f32>,
    positions: Vec<f32>,
    kind: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct Linear {
    weight: QuantMatrix,
    bias: Vec<f32>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attention_norm: Norm,
    inner: Linear,
    outer: Linear,
    output_norm: Norm,
}

impl SentenceEncoder {
    /// Reads the weights (safetensors, F32) and the tokenizer.
    ///
    /// # Errors
    /// [`EngineError::Io`] or [`EngineError::ModelFile`], naming the file and the mend.
    pub fn open(name: &str, weights: &Path, tokenizer: &Path) -> Result<Self, EngineError> {
        let refuse = |path: &Path, reason: String| EngineError::ModelFile {
            path: path.to_path_buf(),
            reason,
            mend: "delete it and fetch it again with `footnote models get all-minilm-l6-v2`"
                .to_owned(),
        };
        let mut words = Tokenizer::from_file(tokenizer)
            .map_err(|error| refuse(tokenizer, format!("it is no tokenizer: {error}")))?;
        words.with_padding(None);
        words
            .with_truncation(Some(TruncationParams {
                max_length: MOST_TOKENS,
                ..TruncationParams::default()
            }))
            .map_err(|error| refuse(tokenizer, error.to_string()))?;
        let io = |source| EngineError::Io {
            path: weights.to_path_buf(),
            source,
        };
        let file = File::open(weights).map_err(io)?;
        // SAFETY: as with every model file, nobody writes it while it is read; the mapping ends with this call.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let tensors = SafeTensors::deserialize(&map)
            .map_err(|error| refuse(weights, format!("it holds no tensors: {error}")))?;
        let reader = Reader { tensors };
        reader
            .encoder(name, words)
            .map_err(|reason| refuse(weights, reason))
    }

    /// Rows of the last layer for `texts` of tokens, one after another.
    fn rows(&self, tokens: &[u32], texts: &[Range<usize>]) -> Vec<f32> {
        let width = self.width;
        let mut stream = vec![0.0_f32; tokens.len() * width];
        for text in texts {
            for (position, at) in text.clone().enumerate() {
                let word = tokens[at] as usize * width;
                let place = position * width;
                for (i, value) in stream[at * width..][..width].iter_mut().enumerate() {
                    *value = self.words[word + i] + self.positions[place + i] + self.kind[i];
                }
            }
        }
        self.norm.apply(&mut stream);
        for layer in &self.layers {
            layer.apply(&mut stream, width, texts);
        }
        stream
    }
}

impl Embedder for SentenceEncoder {
    fn name(&self) -> &str {
        &self.name
    }

    fn width(&self) -> usize {
        self.width
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut encoded = Vec::with_capacity(texts.len());
        for text in texts {
            let tokens = self
                .tokenizer
                .encode(*text, true)
                .map_err(|error| EngineError::Request(format!("a text to embed: {error}")))?;
            // The marks of beginning and end alone are no text.
            if tokens.get_ids().len() < 3 {
                return Err(EngineError::Request("a text to embed is empty".to_owned()));
            }
            encoded.push(tokens.get_ids().to_vec());
        }
        let mut vectors = Vec::with_capacity(texts.len());
        let mut next = 0;
        while next < encoded.len() {
            let (mut tokens, mut ranges) = (Vec::new(), Vec::new());
            while let Some(text) = encoded.get(next)
                && (tokens.is_empty() || tokens.len() + text.len() <= BATCH_TOKENS)
            {
                ranges.push(tokens.len()..tokens.len() + text.len());
                tokens.extend_from_slice(text);
                next += 1;
            }
            let rows = self.rows(&tokens, &ranges);
            vectors.extend(ranges.iter().map(|range| {
                mean_direction(
                    &rows[range.start * self.width..range.end * self.width],
                    self.width,
                )
            }));
        }
        Ok(vectors)
    }
}

impl Norm {
    fn apply(&self, rows: &mut [f32]) {
        let width = self.weight.len();
        for row in rows.chunks_exact_mut(width) {
            let mean = row.iter().sum::<f32>() / width as f32;
            let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width as f32;
            let scale = 1.0 / (variance + EPSILON).sqrt();
            for ((x, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
                *x = (*x - mean) * scale * weight + bias;
            }
        }
    }
}

impl Linear {
    fn apply(&self, rows: &[f32]) -> Vec<f32> {
        let count = rows.len() / self.weight.cols();
        let mut out = vec![0.0; count * self.weight.rows()];
        matmul_many(rows, count, Form::Dots, &mut [(&self.weight, &mut out)]);
        for row in out.chunks_exact_mut(self.bias.len()) {
            for (value, bias) in row.iter_mut().zip(&self.bias) {
                *value += bias;
            }
        }
        out
    }

    fn add_to(&self, stream: &mut [f32], rows: &[f32]) {
        for (sum, more) in stream.iter_mut().zip(self.apply(rows)) {
            *sum += more;
        }
    }
}

impl Layer {
    fn apply(&self, stream: &mut [f32], width: usize, texts: &[Range<usize>]) {
        let (queries, keys, values) = (
            self.query.apply(stream),
            self.key.apply(stream),
            self.value.apply(stream),
        );
        let attended = attention(&queries, &keys, &values, width, texts);
        self.attended.add_to(stream, &attended);
        self.attention_norm.apply(stream);
        let mut inner = self.inner.apply(stream);
        gelu(&mut inner, self.inner.bias.len());
        self.outer.add_to(stream, &inner);
        self.output_norm.apply(stream);
    }
}

/// Every token of a text attends to all of it, head by head.
fn attention(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    width: usize,
    texts: &[Range<usize>],
) -> Vec<f32> {
    let mut out = vec![0.0_f32; queries.len()];
    for text in texts {
        let heads = width / HEAD_WIDTH;
        let mut by_head = vec![0.0_f32; text.len() * width];
        let parts = Parts::new(&mut by_head, text.len() * HEAD_WIDTH);
        parallel(heads, |head| {
            let rows = |from: &[f32]| -> Vec<f32> {
                text.clone()
                    .flat_map(|at| &from[at * width + head * HEAD_WIDTH..][..HEAD_WIDTH])
                    .copied()
                    .collect()
            };
            // SAFETY: each piece takes the part of its own head.
            let part = unsafe { parts.part(head) };
            attend_head(&rows(queries), &rows(keys), &rows(values), part);
        });
        for (head, rows) in by_head.chunks_exact(text.len() * HEAD_WIDTH).enumerate() {
            for (at, row) in text.clone().zip(rows.chunks_exact(HEAD_WIDTH)) {
                out[at * width + head * HEAD_WIDTH..][..HEAD_WIDTH].copy_from_slice(row);
            }
        }
    }
    out
}

/// `softmax(Q·Kᵀ/√d)·V` of one head of one text, rows of [`HEAD_WIDTH`] numbers.
fn attend_head(queries: &[f32], keys: &[f32], values: &[f32], out: &mut [f32]) {
    let tokens = queries.len() / HEAD_WIDTH;
    // The kernels multiply whole vectors of columns; those beyond the text are never read.
    let columns = tokens.next_multiple_of(COLUMNS);
    // Scores in powers of two, as the kernels take them.
    let scale = std::f32::consts::LOG2_E / (HEAD_WIDTH as f32).sqrt();
    let mut transposed = vec![0.0_f32; HEAD_WIDTH * columns];
    for (token, key) in keys.chunks_exact(HEAD_WIDTH).enumerate() {
        for (channel, value) in key.iter().enumerate() {
            transposed[channel * columns + token] = value * scale;
        }
    }
    let mut scores = vec![0.0_f32; tokens * columns];
    Mix::new(&transposed, HEAD_WIDTH, columns).apply(queries, 0..columns, &mut scores, columns);
    let mut shares = vec![0.0_f32; tokens * tokens];
    for (scores, shares) in scores
        .chunks_exact(columns)
        .zip(shares.chunks_exact_mut(tokens))
    {
        let (most, sum) = power_sum(&scores[..tokens]);
        join_shares(shares, &scores[..tokens], most + sum.log2(), 1.0, true);
    }
    Mix::new(values, tokens, HEAD_WIDTH).apply(&shares, 0..HEAD_WIDTH, out, HEAD_WIDTH);
}

/// `x·Φ(x)`, by the error function itself as the model was trained.
fn gelu(rows: &mut [f32], width: usize) {
    let piece = ROWS_A_PIECE * width;
    let count = rows.len().div_ceil(piece);
    // The last piece may be shorter, and parts are of one size.
    let whole = rows.len() / piece * piece;
    let turn = |x: &mut f32| *x *= 0.5 * (1.0 + libm::erff(*x * std::f32::consts::FRAC_1_SQRT_2));
    let (even, rest) = rows.split_at_mut(whole);
    rest.iter_mut().for_each(turn);
    let parts = Parts::new(even, piece);
    parallel(count.min(whole / piece), |at| {
        // SAFETY: each piece takes its own part.
        unsafe { parts.part(at) }.iter_mut().for_each(turn);
    });
}

/// Tensors by name, checked for their shapes; errors say what is wrong with the file.
struct Reader<'a> {
    tensors: SafeTensors<'a>,
}

impl Reader<'_> {
    fn encoder(&self, name: &str, tokenizer: Tokenizer) -> Result<SentenceEncoder, String> {
        let words = self.shape("embeddings.word_embeddings.weight")?;
        let width = words[1];
        if !width.is_multiple_of(HEAD_WIDTH) {
            return Err(format!(
                "its width of {width} is no multiple of {HEAD_WIDTH}"
            ));
        }
        if tokenizer.get_vocab_size(true) > words[0] {
            return Err(format!(
                "its {} words are fewer than its tokenizer's",
                words[0]
            ));
        }
        let positions = self.shape("embeddings.position_embeddings.weight")?;
        if positions[0] < MOST_TOKENS {
            return Err(format!("it has places for {} tokens only", positions[0]));
        }
        let layers: Vec<Layer> = (0..)
            .take_while(|layer| {
                self.tensors
                    .tensor(&format!("encoder.layer.{layer}.output.dense.weight"))
                    .is_ok()
            })
            .map(|layer| self.layer(layer, width))
            .collect::<Result<_, _>>()?;
        if layers.is_empty() {
            return Err("it has no layers".to_owned());
        }
        Ok(SentenceEncoder {
            name: name.to_owned(),
            tokenizer,
            width,
            words: self.floats("embeddings.word_embeddings.weight", words[0] * width)?,
            positions: self.floats(
                "embeddings.position_embeddings.weight",
                positions[0] * width,
            )?,
            kind: self.floats_from("embeddings.token_type_embeddings.weight", width)?,
            norm: self.norm("embeddings.LayerNorm", width)?,
            layers,
        })
    }

    fn layer(&self, layer: usize, width: usize) -> Result<Layer, String> {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let inner_width = self.shape(&name("intermediate.dense.weight"))?[0];
        let linear = |part: &str, rows, cols| self.linear(&name(part), rows, cols);
        Ok(Layer {
            query: linear("attention.self.query", width, width)?,
            key: linear("attention.self.key", width, width)?,
            value: linear("attention.self.value", width, width)?,
            attended: linear("attention.output.dense", width, width)?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"), width)?,
            inner: linear("intermediate.dense", inner_width, width)?,
            outer: linear("output.dense", width, inner_width)?,
            output_norm: self.norm(&name("output.LayerNorm"), width)?,
        })
    }

    fn linear(&self, name: &str, rows: usize, cols: usize) -> Result<Linear, String> {
        let weight = self.bytes(&format!("{name}.weight"), rows * cols)?;
        Ok(Linear {
            weight: QuantMatrix::from_ggml(GgmlDType::F32, rows, cols, weight)
                .map_err(|error| format!("{name}: {error}"))?,
            bias: self.floats(&format!("{name}.bias"), rows)?,
        })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm, String> {
        Ok(Norm {
            weight: self.floats(&format!("{name}.weight"), width)?,
            bias: self.floats(&format!("{name}.bias"), width)?,
        })
    }

    /// Rows and columns of a matrix.
    fn shape(&self, name: &str) -> Result<[usize; 2], String> {
        let tensor = self
            .tensors
            .tensor(name)
            .map_err(|error| error.to_string())?;
        tensor
            .shape()
            .try_into()
            .map_err(|_| format!("tensor {name} is no matrix"))
    }

    fn bytes(&self, name: &str, count: usize) -> Result<&[u8], String> {
        let tensor = self
            .tensors
            .tensor(name)
            .map_err(|error| error.to_string())?;
        if tensor.dtype() != Dtype::F32 {
            return Err(format!(
                "tensor {name} is of type {:?}, not F32",
                tensor.dtype()
            ));
        }
        let bytes = tensor.data();
        if bytes.len() != count * 4 {
            return Err(format!(
                "tensor {name} has {} bytes instead of {}",
                bytes.len(),
                count * 4
            ));
        }
        // The view lives as long as the mapping, not as the tensor's handle.
        Ok(bytes)
    }

    fn floats(&self, name: &str, count: usize) -> Result<Vec<f32>, String> {
        let bytes = self.bytes(name, count)?;
        Ok(read_floats(bytes))
    }

    /// The first `count` numbers of a longer tensor.
    fn floats_from(&self, name: &str, count: usize) -> Result<Vec<f32>, String> {
        let [rows, cols] = self.shape(name)?;
        let bytes = self.bytes(name, rows * cols)?;
        let first = bytes.get(..count * 4);
        first
            .map(read_floats)
            .ok_or_else(|| format!("tensor {name} is too small"))
    }
}

fn read_floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder() -> Option<SentenceEncoder> {
        let weights = footnote_testkit::model("all-minilm-l6-v2.safetensors");
        let tokenizer = footnote_testkit::model("all-minilm-l6-v2.tokenizer.json");
        let (Some(weights), Some(tokenizer)) = (weights, tokenizer) else {
            footnote_testkit::skip(
                module_path!(),
                "no model all-minilm-l6-v2; `footnote models get` fetches it",
            );
            return None;
        };
        Some(SentenceEncoder::open("all-minilm-l6-v2", &weights, &tokenizer).unwrap())
    }

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// First numbers by a second implementation (NumPy over the same file, f32).
    #[test]
    fn vectors_are_those_of_another_implementation() {
        let Some(encoder) = encoder() else { return };
        let vectors = encoder
            .embed(&["How is the chief executive paid?"])
            .unwrap();
        let expected = [
            0.007_008_12,
            0.006_114_21,
            0.097_403,
            0.025_235_28,
            -0.034_771_29,
            -0.009_771_79,
            0.038_765_81,
            0.019_360_2,
        ];
        for (ours, theirs) in vectors[0].iter().zip(expected) {
            assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
        }
        assert!((cosine(&vectors[0], &vectors[0]) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_text_does_not_depend_on_its_company_and_long_ones_are_cut() {
        let Some(encoder) = encoder() else { return };
        let long = "Revenue grew in every segment of the company. ".repeat(200);
        let texts = [
            "Who sits on the board?",
            "Net sales rose.",
            long.as_str(),
            "Directors of the company",
        ];
        let together = encoder.embed(&texts).unwrap();
        for (text, vector) in texts.iter().zip(&together) {
            let alone = &encoder.embed(&[text]).unwrap()[0];
            assert!(cosine(alone, vector) > 0.999_99, "{text}");
        }
        assert!(cosine(&together[0], &together[3]) > cosine(&together[0], &together[1]));
        assert!(
            encoder
                .embed(&[""])
                .unwrap_err()
                .to_string()
                .contains("empty")
        );
    }

    #[test]
    fn damaged_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("w.safetensors");
        let tokenizer = folder.path().join("t.json");
        std::fs::write(&weights, b"nothing").unwrap();
        std::fs::write(&tokenizer, b"{}").unwrap();
        let error = SentenceEncoder::open("x", &weights, &tokenizer)
            .err()
            .unwrap();
        assert!(error.to_string().contains("t.json"), "{error}");
    }
}
