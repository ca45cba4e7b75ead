//! Rows of a page as integer codes in groups with a scale and a least value, and back.
//!
//! Codes and factors are those of the engine's `CodeRows` (`x ≈ least + scale · code`, both f16 and rounded outwards, codes
//! in planes), so that both sides keep the same numbers. They lie differently: a page's groups of a channel one channel
//! after another; its groups along a token by their place in the row, and then token by token, so that what a step of a
//! kernel reads of all 128 tokens is one piece. Factors lie in the same order, four bytes a group. Without
//! quantisation ([`Bits::Half`]) values lie as f16, `[channel][token]` or `[token][channel]`.
//! Must not know what the rows are of.

use std::sync::Arc;

use super::PAGE_TOKENS;
use crate::{Address, Argument, Op, Program};

/// Bits of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bits {
    /// Four values.
    Two,
    /// Eight values.
    Three,
    /// Sixteen values.
    Four,
    /// 256 values.
    Eight,
    /// The values themselves in f16, without factors.
    Half,
}

impl Bits {
    /// All of them.
    pub const ALL: [Bits; 5] = [Bits::Two, Bits::Three, Bits::Four, Bits::Eight, Bits::Half];

    /// How many bits one code takes.
    pub fn count(self) -> usize {
        match self {
            Bits::Two => 2,
            Bits::Three => 3,
            Bits::Four => 4,
            Bits::Eight => 8,
            Bits::Half => 16,
        }
    }

    /// Whether a group has a scale and a least value.
    pub fn has_factors(self) -> bool {
        self != Bits::Half
    }
}

/// The longest group along a token that divides `width`: a multiple of 16, so that planes are whole bytes.
///
/// # Panics
/// Where `width` is no multiple of 16, which no policy takes.
pub fn group_of(width: usize) -> usize {
    (1..=PAGE_TOKENS / 16)
        .rev()
        .map(|steps| steps * 16)
        .find(|group| width.is_multiple_of(*group))
        .expect("widths of coded rows are multiples of 16")
}

/// What a group of codes is a piece of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// A channel: its 128 tokens.
    Channel,
    /// A token: neighbouring channels.
    Token,
}

/// How the rows of a page are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coding {
    /// Bits of a code.
    pub bits: Bits,
    /// Channels.
    pub width: usize,
    /// What a group is of.
    pub axis: Axis,
}

impl Coding {
    /// Values of a group.
    pub fn group(self) -> usize {
        match self.axis {
            Axis::Channel => PAGE_TOKENS,
            Axis::Token => group_of(self.width),
        }
    }

    /// Bytes of a page's codes, a multiple of 16.
    pub fn codes_bytes(self) -> usize {
        PAGE_TOKENS * self.width * self.bits.count() / 8
    }

    /// Bytes of a page's factors, a multiple of 16.
    pub fn factors_bytes(self) -> usize {
        match self.bits.has_factors() {
            false => 0,
            true => 4 * (PAGE_TOKENS * self.width / self.group()).next_multiple_of(4),
        }
    }

    /// Bytes of both; factors lie behind the codes.
    pub fn bytes(self) -> usize {
        self.codes_bytes() + self.factors_bytes()
    }
}

/// Where the rows lie that are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// f16 `[token][channel]`.
    Rows,
    /// f16 `[channel][token]`.
    Turned,
    /// f32 `[token][channel]`.
    Floats,
}

/// The program for one kind of codes.
pub fn program(bits: Bits) -> Arc<Program> {
    Arc::new(Program {
        name: "codes",
        source: concat!(include_str!("coded.cuh"), include_str!("codes.cu")),
        entries: &["encode", "decode"],
        defines: vec![("BITS", bits.count() as i64)],
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    Bits::ALL.map(program).to_vec()
}

/// Makes launches for one kind of codes.
#[derive(Clone, Debug)]
pub struct Codes {
    program: Arc<Program>,
    coding: Coding,
    row_width: usize,
}

impl Codes {
    /// For rows coded so.
    pub fn new(coding: Coding) -> Codes {
        Codes::first_of(coding, coding.width)
    }

    /// For the first channels of rows that have `row_width` of them: other channels are not read, and not written.
    pub fn first_of(coding: Coding, row_width: usize) -> Codes {
        Codes {
            program: program(coding.bits),
            coding,
            row_width,
        }
    }

    /// Encodes whole pages. `tasks`: for each of `count` the address of a page that is read and of one that is written
    /// (`u64` pairs; nothing is done where the first is 0). The rows lie at byte `from_offset` of the one as `source`
    /// says; codes and factors go to byte `to_offset` of the other.
    pub fn encode(
        &self,
        tasks: Address,
        count: usize,
        source: Source,
        from_offset: usize,
        to_offset: usize,
    ) -> Op {
        let Coding { width, axis, .. } = self.coding;
        let groups = PAGE_TOKENS * width / self.coding.group();
        let arguments = vec![
            tasks.into(),
            match source {
                Source::Rows => 0_usize,
                Source::Turned => 1,
                Source::Floats => 2,
            }
            .into(),
            from_offset.into(),
            to_offset.into(),
            (to_offset + self.coding.codes_bytes()).into(),
            width.into(),
            self.row_width.into(),
            self.coding.group().into(),
            usize::from(axis == Axis::Channel).into(),
        ];
        let grid = [groups.div_ceil(8), count, 1];
        self.program.launch("encode", grid, 256, arguments).into()
    }

    /// Decodes whole pages: `pages` are `count` addresses (0: none), whose codes lie at byte `from_offset`. Rows
    /// `[count · 128][width]` go to f16 `halves` and f32 `floats`, either of which may be [`Address::NONE`].
    pub fn decode(
        &self,
        pages: Address,
        count: usize,
        from_offset: usize,
        halves: Address,
        floats: Address,
    ) -> Op {
        let outputs = [
            halves.into(),
            floats.into(),
            Address::NONE.into(),
            0_usize.into(),
        ];
        self.decode_to(pages, count, from_offset, outputs)
    }

    /// Decodes whole pages into accumulators, f16 `[128][width]` at `count` addresses: what was there is moved on by the
    /// decoded rows where `adds`, else replaced.
    pub fn accumulate(
        &self,
        pages: Address,
        count: usize,
        from_offset: usize,
        accumulators: Address,
        adds: bool,
    ) -> Op {
        let none = Argument::from(Address::NONE);
        let outputs = [none, none, accumulators.into(), usize::from(adds).into()];
        self.decode_to(pages, count, from_offset, outputs)
    }

    fn decode_to(
        &self,
        pages: Address,
        count: usize,
        from_offset: usize,
        outputs: [Argument; 4],
    ) -> Op {
        let Coding { width, axis, .. } = self.coding;
        let mut arguments = vec![
            pages.into(),
            from_offset.into(),
            (from_offset + self.coding.codes_bytes()).into(),
            width.into(),
            self.row_width.into(),
            self.coding.group().into(),
            usize::from(axis == Axis::Channel).into(),
        ];
        arguments.extend(outputs);
        let grid = [width.div_ceil(256), PAGE_TOKENS, count];
        self.program.launch("decode", grid, 256, arguments).into()
    }
}
