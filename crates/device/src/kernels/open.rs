//! Rows of a step into the open pages of a coded cache.
//!
//! A complete open page becomes codes by [`Codes::encode`](super::codes::Codes::encode): its source from
//! [`Source::Rows`](super::codes::Source), its values from `Turned`. Must not know models.

use std::sync::Arc;

use super::Step;
use super::coded_pages::OpenLayer;
use crate::{Address, Op, Program};

/// The program.
pub fn program() -> Arc<Program> {
    Arc::new(Program {
        name: "open",
        source: include_str!("open.cu"),
        entries: &["write_open"],
        defines: Vec::new(),
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    vec![program()]
}

/// What is written of each row, f32.
#[derive(Clone, Copy, Debug)]
pub struct OpenRows {
    /// Rotated keys, `[rows][kv]`.
    pub keys: Address,
    /// Values or their latents, `[rows][kv]`.
    pub values: Address,
    /// What codes are made of, `[rows][source_width]`. Where they are made of the rotated keys, those.
    pub source: Address,
    /// Taken from each row of values, `[kv]`; or [`Address::NONE`].
    pub value_bias: Address,
    /// Taken from each row of `source`; or [`Address::NONE`].
    pub source_bias: Address,
}

/// Writes one layer of a step's rows, each to its slot of its open page. `heads`: how many of keys, and their width.
pub fn write(
    step: &Step,
    rows: &OpenRows,
    heads: (usize, usize),
    layer: &OpenLayer,
    layer_offset: usize,
) -> Op {
    let (kv_heads, head_dim) = heads;
    let kv = kv_heads * head_dim;
    let arguments = vec![
        step.sequences.into(),
        step.row_sequence.into(),
        step.opens.into(),
        rows.keys.into(),
        rows.values.into(),
        rows.source.into(),
        rows.value_bias.into(),
        rows.source_bias.into(),
        kv.into(),
        head_dim.into(),
        layer.source_width.into(),
        layer_offset.into(),
        layer.values_offset.into(),
        layer.source_offset.into(),
    ];
    let columns = kv.max(layer.source_width).div_ceil(256);
    let grid = [columns, step.rows, 1];
    program().launch("write_open", grid, 256, arguments).into()
}
