//! Chosen tokens of a full cache into the pages of a shorter one, each KV head's own.
//!
//! Bits are copied as they are, so keys stay rotated by the positions at which they were read. What lies behind the last
//! token of the last page is left as it was, as in any page that is not full. Must not know how tokens are chosen.

use std::sync::Arc;

use super::{HeadShape, PAGE_TOKENS};
use crate::{Address, Op, Program};

/// The program.
pub fn program() -> Arc<Program> {
    Arc::new(Program {
        name: "gather",
        source: include_str!("gather.cu"),
        entries: &["gather"],
        defines: Vec::new(),
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    vec![program()]
}

/// What of one layer goes where.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// u64: addresses of the pages that hold all tokens.
    pub from: Address,
    /// u64 `[count / PAGE_TOKENS]`, rounded up: addresses of the pages that get the chosen ones; none of `from`.
    pub to: Address,
    /// u32 `[kv_heads][count]`: which slot of `from` each slot of `to` gets.
    pub slots: Address,
    /// Slots of `to`, not 0.
    pub count: usize,
}

/// Copies one layer's keys and values, at `page_offset` bytes from the start of pages on both sides.
pub fn gather(shape: HeadShape, chosen: &Chosen, page_offset: usize) -> Op {
    let grid = [chosen.count.div_ceil(PAGE_TOKENS), shape.kv_heads, 1];
    let arguments = vec![
        chosen.from.into(),
        chosen.to.into(),
        chosen.slots.into(),
        chosen.count.into(),
        shape.head_dim.into(),
        page_offset.into(),
    ];
    let threads = PAGE_TOKENS as u32;
    program().launch("gather", grid, threads, arguments).into()
}
