//! The likeliest token of rows of logits, so that a vocabulary need not come to the processor for one number.
//!
//! As a greedy choice on the processor: the lowest token among equals, none where no logit is a number above `-inf`. Must
//! not know grammars: a mask says which tokens count.

use std::sync::Arc;

use crate::{Address, Op, Program};

/// Logits of one block: a vocabulary of 150,000 is 37 of them a row, which read it at once.
const PART: usize = 4096;
/// What stands for a token where there is none.
pub const NO_TOKEN: u32 = u32::MAX;

fn program() -> Arc<Program> {
    Arc::new(Program {
        name: "likeliest",
        source: include_str!("likeliest.cu"),
        entries: &["best_of_parts", "best_of_all"],
        defines: Vec::new(),
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    vec![program()]
}

/// Where parts of rows leave their best.
#[derive(Clone, Copy, Debug)]
pub struct Bests {
    /// f32 `[rows][parts]`.
    pub logits: Address,
    /// u32 `[rows][parts]`.
    pub tokens: Address,
}

/// Parts of a row, for each of which [`Bests`] must have a place.
pub fn parts(vocab: usize) -> usize {
    vocab.div_ceil(PART)
}

/// The likeliest token of each of `rows` rows of f32 `logits`, `[rows][vocab]`, as u32 to `out`, or [`NO_TOKEN`]. `masks` are
/// `u64 [rows]`: 0 where every token counts, or where the row's mask lies, u32 `[vocab / 32]` with a bit for each token that
/// does.
pub fn likeliest(
    logits: Address,
    masks: Address,
    rows: usize,
    vocab: usize,
    bests: Bests,
    out: Address,
) -> [Op; 2] {
    let parts = parts(vocab);
    let program = program();
    let of_parts = vec![
        logits.into(),
        masks.into(),
        vocab.into(),
        PART.into(),
        bests.logits.into(),
        bests.tokens.into(),
    ];
    let of_all = vec![
        bests.logits.into(),
        bests.tokens.into(),
        parts.into(),
        out.into(),
    ];
    [
        program.launch("best_of_parts", [parts, rows, 1], 256, of_parts),
        program.launch("best_of_all", [rows, 1, 1], 32, of_all),
    ]
    .map(Op::from)
}
