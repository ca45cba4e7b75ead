//! Groups of tokens, open and closed, and how rows become codes.
//!
//! Must not know attention.

use half::f16;

use crate::cache::plan::{Keep, Plan};
use crate::kernels::{Bits, CodeRows, GROUP_TOKENS, group_of, multiply, multiply_plain};

/// A closed group.
pub(super) struct Group {
    pub(super) layers: Vec<LayerCodes>,
}

/// What is kept of a group in one layer.
#[derive(Clone)]
pub(super) enum LayerCodes {
    /// Keys by channel, values by token.
    Pair {
        keys: CodeRows,
        /// Channel 0 of the keys as it was.
        first_channel: Option<Vec<f16>>,
        values: CodeRows,
    },
    /// Inputs or differences by token.
    Rows(CodeRows),
}

impl LayerCodes {
    pub(super) fn bytes(&self) -> usize {
        match self {
            LayerCodes::Pair {
                keys,
                first_channel,
                values,
            } => {
                let first = first_channel.as_ref().map_or(0, Vec::len);
                keys.size_bytes() + values.size_bytes() + first * size_of::<f16>()
            }
            LayerCodes::Rows(rows) => rows.size_bytes(),
        }
    }
}

/// A group that tokens are still written to.
#[derive(Clone)]
pub(super) struct OpenGroup {
    pub(super) layers: Vec<OpenLayer>,
    /// Codes of the first layers, once the group is complete.
    pub(super) closed: Vec<LayerCodes>,
}

/// One layer of an open group.
#[derive(Clone)]
pub(super) struct OpenLayer {
    /// Rotated keys, as [`put_key`] lays them out.
    pub(super) keys: Vec<f16>,
    /// Values without bias, or their latents, as attention takes them.
    pub(super) values: Vec<f16>,
    /// What codes are made from besides the values: keys before rotation without bias, or the input.
    pub(super) source: Vec<f16>,
}

impl OpenGroup {
    pub(super) fn new(plan: &Plan) -> OpenGroup {
        let kv = plan.shape.kv_width();
        let layers = (0..plan.shape.layers)
            .map(|layer| {
                let source = if plan.keeps_input(layer) {
                    plan.shape.hidden
                } else {
                    kv
                };
                OpenLayer {
                    keys: vec![f16::ZERO; GROUP_TOKENS * kv],
                    values: vec![f16::ZERO; GROUP_TOKENS * kv],
                    source: vec![f16::ZERO; GROUP_TOKENS * source],
                }
            })
            .collect();
        OpenGroup {
            layers,
            closed: Vec::new(),
        }
    }
}

/// Moves rebuilt inputs on by one layer's differences.
pub(super) fn add_delta(plan: &Plan, layer: usize, codes: &CodeRows, rebuilt: &mut [f32]) {
    let mut delta = vec![0.0; GROUP_TOKENS * codes.width()];
    codes.decode(0, &mut delta);
    if let (Keep::Delta { joint: true, .. }, Some(bases)) = (plan.layers[layer], &plan.joint) {
        let mut full = vec![0.0; rebuilt.len()];
        multiply(&bases.layers[layer].from_latents, &delta, &mut full);
        delta = full;
    }
    for (x, delta) in rebuilt.iter_mut().zip(&delta) {
        *x += delta;
    }
}

/// Codes of rows in the longest groups their width divides into.
pub(super) fn encode_rows(rows: &[f32], width: usize, bits: Bits) -> CodeRows {
    // `Plan::new` refused widths without a group.
    let group = group_of(width, GROUP_TOKENS).unwrap_or(width);
    CodeRows::encode(rows, width, group, bits)
}

/// Rows less a bias.
pub(super) fn without(rows: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let mut rows = rows.to_vec();
    if let Some(bias) = bias {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value -= bias;
            }
        }
    }
    rows
}

pub(super) fn put_row(rows: &mut [f16], slot: usize, row: &[f32]) {
    for (to, from) in rows[slot * row.len()..].iter_mut().zip(row) {
        *to = f16::from_f32(*from);
    }
}

/// `[tokens][width]` as `[width][tokens]`.
pub(super) fn transposed(rows: &[f32], width: usize) -> Vec<f32> {
    let tokens = rows.len() / width;
    let mut out = vec![0.0; rows.len()];
    for (token, row) in rows.chunks_exact(width).enumerate() {
        for (channel, value) in row.iter().enumerate() {
            out[channel * tokens + token] = *value;
        }
    }
    out
}

/// Rows times the basis, `[width][tokens]`: latent `j` is the sum of channels `c` times `basis[c][j]`.
pub(super) fn in_basis(basis: &[f32], rows: &[f32], width: usize) -> Vec<f32> {
    let mut latents = vec![0.0; rows.len()];
    multiply_plain(basis, rows, width, &mut latents);
    transposed(&latents, width)
}

/// Values laid out by head as `[tokens][width]`.
pub(super) fn by_token(values: &[f16], dim: usize, width: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (head, values) in values.chunks_exact(GROUP_TOKENS * dim).enumerate() {
        for (token, value) in values.chunks_exact(dim).enumerate() {
            let to = &mut out[token * width + head * dim..][..dim];
            for (to, from) in to.iter_mut().zip(value) {
                *to = from.to_f32();
            }
        }
    }
    out
}
