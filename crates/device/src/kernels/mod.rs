//! The kernels: CUDA C beside a module that documents each and makes its launches.
//!
//! Sizes that decide how a kernel is compiled are constants of its program; what changes from step to step lies in device
//! memory. Rows that are multiplied come as halves in two parts: `high` the nearest half, `low` what it misses, so that
//! two matrix instructions give products of 22 bits (f16) or 16 (bf16). Must not know models.

pub mod append;
pub mod attend;
pub mod blend;
pub mod coded_pages;
pub mod codes;
pub mod gather;
pub mod likeliest;
pub mod open;
pub mod product;
pub mod prompt;
pub mod rebuild;
pub mod remat;
pub mod rows;
pub mod tap;

use crate::Address;

/// What every program is compiled behind.
pub const PRELUDE: &str = include_str!("prelude.cuh");
/// What gives the prelude's names to a C++ compiler.
#[cfg(feature = "emulator")]
pub(crate) const EMULATED: &str = include_str!("emulated.h");

/// Tokens of a cache's page, and of a group of codes.
pub const PAGE_TOKENS: usize = 128;

/// A sequence of a step, as kernels read it.
///
/// A cache's *slots* are numbered from 0 without gaps; a *position* is what a token's rotation turns by. Slot `s` lies in
/// page `s / PAGE_TOKENS`. A page of a full cache holds, for each layer at the layer's offset, rotated keys as f16
/// `[kv_heads][PAGE_TOKENS][head_dim]` and then values as f16 `[kv_heads][head_dim][PAGE_TOKENS]`: each so that a lane
/// reads what it multiplies in one piece. Pages of coded caches are described in [`coded_pages`] and [`codes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Where the addresses of its pages are (`u64` each).
    pub pages: Address,
    /// Its open page, for caches of codes.
    pub open: Address,
    /// Its first row among the step's.
    pub first_row: u32,
    /// Its rows in the step.
    pub rows: u32,
    /// Tokens it held before the step: the slot of its first row.
    pub start: u32,
    /// Position less slot.
    pub skipped: u32,
}

impl Sequence {
    /// Bytes of one.
    pub const BYTES: usize = 32;

    /// As it lies on the device.
    pub fn words(&self) -> [u64; 4] {
        let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        [
            self.pages.0,
            self.open.0,
            pair(self.first_row, self.rows),
            pair(self.start, self.skipped),
        ]
    }
}

/// A step's sequences and rows on the device.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The [`Sequence`]s; one without rows is passed over.
    pub sequences: Address,
    /// How many.
    pub count: usize,
    /// u32 `[rows]`: whose each row is, or [`NO_SEQUENCE`].
    pub row_sequence: Address,
    /// u64 `[rows]`, for caches of codes: the open page of each row, since a prompt's rows may lie in several;
    /// [`Address::NONE`] where each sequence's own is meant.
    pub opens: Address,
    /// How many.
    pub rows: usize,
}

/// What stands for a sequence where a row or a tile is none's: launches are as large as a step may be.
pub const NO_SEQUENCE: u32 = u32::MAX;

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeadShape {
    /// Of queries.
    pub heads: usize,
    /// Of keys and values; each serves as many query heads, in order.
    pub kv_heads: usize,
    /// Elements of one, a multiple of 16.
    pub head_dim: usize,
}

impl HeadShape {
    /// Query heads of a KV head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Bytes of a layer in a page of a full cache.
    pub fn page_bytes(&self) -> usize {
        2 * self.kv_heads * PAGE_TOKENS * self.head_dim * size_of::<u16>()
    }
}

/// The kind of halves that products take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// IEEE half: models of integer codes and F16.
    F16,
    /// bfloat16: models of BF16.
    Bf16,
}

/// Every file of kernels with every kind of constants: what is compiled for all targets in tests.
pub fn all_programs() -> Vec<std::sync::Arc<crate::Program>> {
    let mut programs = Vec::new();
    programs.extend(product::programs());
    programs.extend(append::programs());
    programs.extend(attend::programs());
    programs.extend(blend::programs());
    programs.extend(codes::programs());
    programs.extend(gather::programs());
    programs.extend(likeliest::programs());
    programs.extend(open::programs());
    programs.extend(prompt::programs());
    programs.extend(rebuild::programs());
    programs.extend(remat::programs());
    programs.extend(rows::programs());
    programs.extend(tap::programs());
    programs
}
