//! Whole pages of a coded cache as pages of a full one, for rows that come many at a time; and the closed loop.
//!
//! A prompt's rows share the keys that are brought back, so that is done by large products: [`Codes::decode`] gives rows,
//! [`Product`](crate::Product)s bring latents or inputs back as keys and values, and the kernels here put those into pages
//! that the full cache's attention reads. Values stay without bias. An open page begins as a full page.
//!
//! The closed loop (differences of a layer's input to what was stored of the layer before) walks accumulators, f16
//! `[128][hidden]` for each closed page: [`Codes::accumulate`] moves them on where differences are kept as they are, and
//! [`Rebuild::move_on`] after a product where they are in the joint basis. Pages are given as lists of addresses in
//! memory; where one is 0 nothing is done, so that a list may be longer than what a step has. Must not know policies.
//!
//! [`Codes::decode`]: super::codes::Codes::decode
//! [`Codes::accumulate`]: super::codes::Codes::accumulate

use std::sync::Arc;

use super::PAGE_TOKENS;
use super::coded_pages::{OpenLayer, Widths};
use super::rows::Parts;
use crate::{Address, Argument, Op, Program};

/// The program for one width of heads and one way of turning. Its halves are f16.
pub fn program(head_dim: usize, interleaved: bool) -> Arc<Program> {
    Arc::new(Program {
        name: "rebuild",
        source: concat!(include_str!("parts.cuh"), include_str!("rebuild.cu")),
        entries: &["place_keys", "place_values", "differ", "move_on"],
        defines: vec![
            ("HEAD_DIM", head_dim as i64),
            ("INTERLEAVED", i64::from(interleaved)),
            ("BF16", 0),
        ],
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    let kinds = [
        (32, false),
        (64, false),
        (64, true),
        (128, false),
        (128, true),
    ];
    kinds
        .map(|(head_dim, interleaved)| program(head_dim, interleaved))
        .to_vec()
}

/// What turns rows into keys; all but the rows may be [`Address::NONE`].
#[derive(Clone, Copy, Debug)]
pub struct KeyRows {
    /// f32 `[pages · 128][kv]`, before bias, norm and rotation.
    pub rows: Address,
    /// f32 `[positions][head_dim / 2][cos, sin]`; none where keys are rotated already.
    pub table: Address,
    /// f32 `[kv]`.
    pub bias: Address,
    /// f32 `[head_dim]`.
    pub norm: Address,
    /// The norm's epsilon.
    pub epsilon: f32,
}

/// Makes launches for layers of one shape.
#[derive(Clone, Debug)]
pub struct Rebuild {
    program: Arc<Program>,
    widths: Widths,
}

impl Rebuild {
    /// For layers of these widths; `interleaved` as a [`Shape`](super::remat::Shape) has it.
    pub fn new(widths: Widths, interleaved: bool) -> Rebuild {
        Rebuild {
            program: program(widths.head_dim, interleaved),
            widths,
        }
    }

    fn launch(&self, entry: &'static str, grid: [usize; 2], arguments: Vec<Argument>) -> Op {
        let [x, y] = grid;
        self.program.launch(entry, [x, y, 1], 256, arguments).into()
    }

    /// Keys into `count` full pages (`u64` addresses at `pages`) at `layer_offset`; `positions`: of each page's first
    /// token, `u32`.
    pub fn place_keys(
        &self,
        pages: Address,
        positions: Address,
        count: usize,
        keys: &KeyRows,
        layer_offset: usize,
    ) -> Op {
        let arguments = vec![
            pages.into(),
            positions.into(),
            keys.rows.into(),
            keys.table.into(),
            keys.bias.into(),
            keys.norm.into(),
            keys.epsilon.into(),
            self.widths.kv_heads.into(),
            layer_offset.into(),
        ];
        let blocks = (PAGE_TOKENS * self.widths.kv_heads).div_ceil(8);
        self.launch("place_keys", [blocks, count], arguments)
    }

    /// Values, f32 `[count · 128][kv]`, into full pages whose layer is at `layer_offset`.
    pub fn place_values(
        &self,
        pages: Address,
        count: usize,
        rows: Address,
        layer_offset: usize,
    ) -> Op {
        let kv = self.widths.kv();
        let values_offset = layer_offset + 2 * PAGE_TOKENS * kv;
        let arguments = vec![pages.into(), rows.into(), kv.into(), values_offset.into()];
        self.launch("place_values", [kv.div_ceil(32), count], arguments)
    }

    /// The inputs in `count` open pages less accumulators (`tasks`: pairs of `u64` addresses), `[count · 128][hidden]`: as
    /// f32 `floats` and, for a product with the joint basis, as halves unless those are none.
    pub fn differ(
        &self,
        tasks: Address,
        count: usize,
        layer: &OpenLayer,
        layer_offset: usize,
        floats: Address,
        parts: Parts,
    ) -> Op {
        let values = PAGE_TOKENS * self.widths.hidden;
        let arguments = vec![
            tasks.into(),
            (layer_offset + layer.source_offset).into(),
            values.into(),
            floats.into(),
            parts.high.into(),
            parts.low.into(),
        ];
        self.launch("differ", [values.div_ceil(256), count], arguments)
    }

    /// Adds f32 `rows`, `[count · 128][hidden]`, to `count` accumulators (`u64` addresses). Not to be repeated.
    pub fn move_on(&self, accumulators: Address, count: usize, rows: Address) -> Op {
        let values = PAGE_TOKENS * self.widths.hidden;
        let arguments = vec![accumulators.into(), rows.into(), values.into()];
        self.launch("move_on", [values.div_ceil(256), count], arguments)
    }
}
