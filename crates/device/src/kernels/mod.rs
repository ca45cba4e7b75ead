//! The kernels: CUDA C beside a module that documents each and makes its launches.
//!
//! Sizes that decide how a kernel is compiled are constants of its program; what changes from step to step lies in device
//! memory. Rows that are multiplied come as halves in two parts: `high` the nearest half, `low` what it misses, so that
//! two matrix instructions give products of 22 bits (f16) or 16 (bf16). Must not know models.

pub mod coded_pages;
pub mod codes;
pub mod open;
pub mod rebuild;
pub mod remat;
pub mod rows;

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

/// Rows of a step, of any sequences, as kernels of coded caches read them.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The [`Sequence`]s.
    pub sequences: Address,
    /// For each row the index of its sequence, `u32`; `u32::MAX` for a row that only fills a recorded plan.
    pub row_sequence: Address,
    /// For each row the address of its open page, `u64`: rows of a prompt may lie in several. [`Address::NONE`] where each
    /// sequence's own is meant.
    pub opens: Address,
    /// Rows, those that only fill included.
    pub rows: usize,
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
    programs.extend(codes::programs());
    programs.extend(open::programs());
    programs.extend(rebuild::programs());
    programs.extend(remat::programs());
    programs.extend(rows::programs());
    programs
}
