//! Rows of floats between products: norms, gates, and their split into halves.

use std::sync::Arc;

use super::Half;
use crate::{Address, Argument, Kernel, Launch, Op, Program};

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

    fn launch(&self, entry: &'static str, grid: [u32; 3], arguments: Vec<Argument>) -> Op {
        Op::Launch(Launch {
            kernel: Kernel {
                program: Arc::clone(&self.0),
                entry,
            },
            grid,
            threads: THREADS,
            shared: 0,
            arguments,
        })
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
        self.launch("rms_norm", [count as u32, 1, 1], arguments)
    }

    /// `silu(gate) · up` of f32 `gate_up`, `[count][gate: width, up: width]`, to `parts`, `[count][width]`.
    pub fn silu_mul(&self, gate_up: Address, parts: Parts, count: usize, width: usize) -> Op {
        let arguments = vec![
            gate_up.into(),
            parts.high.into(),
            parts.low.into(),
            width.into(),
        ];
        let columns = (width as u32).div_ceil(THREADS);
        self.launch("silu_mul", [columns, count as u32, 1], arguments)
    }

    /// `count` floats as halves.
    pub fn split(&self, rows: Address, parts: Parts, count: usize) -> Op {
        let arguments = vec![
            rows.into(),
            parts.high.into(),
            parts.low.into(),
            count.into(),
        ];
        self.launch("split", [(count as u32).div_ceil(THREADS), 1, 1], arguments)
    }
}
