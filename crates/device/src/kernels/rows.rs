//! Rows of floats between products: norms, gates, and their split into halves.

use std::sync::Arc;

use super::Half;
use crate::{Address, Op, Program};

/// Where rows go as halves.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// The nearest halves, shaped as the rows.
    pub high: Address,
    /// What those miss; [`Address::NONE`] where nobody needs it.
    pub low: Address,
}

/// Threads of a block.
const THREADS: u32 = 256;

/// The program for one kind of halves.
pub fn program(half: Half) -> Arc<Program> {
    Arc::new(Program {
        name: "rows",
        source: concat!(include_str!("parts.cuh"), include_str!("rows.cu")),
        entries: &["rms_norm", "silu_mul", "split"],
        defines: vec![("BF16", i64::from(half == Half::Bf16))],
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    [Half::F16, Half::Bf16].map(program).to_vec()
}

/// Makes launches of one kind of halves.
#[derive(Clone, Debug)]
pub struct Rows(Arc<Program>);

impl Rows {
    /// For one kind of halves.
    pub fn new(half: Half) -> Rows {
        Rows(program(half))
    }

    /// RMS norm of f32 `rows` (`[count][width]`) by f32 `weight`, to `parts`, and to f32 `out` unless that is
    /// [`Address::NONE`].
    #[expect(clippy::too_many_arguments, reason = "the kernel's own")]
    pub fn rms_norm(
        &self,
        rows: Address,
        weight: Address,
        out: Address,
        parts: Parts,
        count: usize,
        width: usize,
        epsilon: f32,
    ) -> Op {
        let arguments = vec![
            rows.into(),
            weight.into(),
            out.into(),
            parts.high.into(),
            parts.low.into(),
            width.into(),
            epsilon.into(),
        ];
        let grid = [count, 1, 1];
        self.0.launch("rms_norm", grid, THREADS, arguments).into()
    }

    /// `silu(gate) · up` of f32 `gate_up`, `[count][gate: width, up: width]`, to `parts`, `[count][width]`.
    pub fn silu_mul(&self, gate_up: Address, parts: Parts, count: usize, width: usize) -> Op {
        let arguments = vec![
            gate_up.into(),
            parts.high.into(),
            parts.low.into(),
            width.into(),
        ];
        let grid = [width.div_ceil(THREADS as usize), count, 1];
        self.0.launch("silu_mul", grid, THREADS, arguments).into()
    }

    /// `count` floats as halves.
    pub fn split(&self, rows: Address, parts: Parts, count: usize) -> Op {
        let arguments = vec![
            rows.into(),
            parts.high.into(),
            parts.low.into(),
            count.into(),
        ];
        let grid = [count.div_ceil(THREADS as usize), 1, 1];
        self.0.launch("split", grid, THREADS, arguments).into()
    }
}
