//! Inputs of a quantised product: 8-bit codes in groups of 32, each with a scale of its own.
//!
//! A group with its scale and the sums the weights' offsets and minimums need fills one cache line.
//! Groups lie token block by token block in the order the products read them.

use std::cell::RefCell;

use super::ggml::GROUP;
use super::isa::Isa;
use super::lanes::{Kernel, Lanes, dispatch};
use super::matrix::Parts;
use super::pool::parallel;

/// Tokens of one block: their accumulators stay in the first-level cache.
pub(super) const BLOCK_TOKENS: usize = 64;

/// Below this, a group counts as zero: a scale would no longer have an inverse.
const TINY: f32 = 1e-30;

/// One group of one token: `x ≈ scale·codes`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Record {
    pub(super) codes: [i8; GROUP],
    pub(super) scale: f32,
    /// `scale` times the sum of the codes.
    pub(super) sum: f32,
    /// What an unsigned weight code's offset adds to a dot product, negated: minus 8, 16 and 128
    /// times the sum of the codes.
    pub(super) offset_8: i32,
    pub(super) offset_16: i32,
    pub(super) offset_128: i32,
    /// Minus 32 times the sums of the first and the last 16 codes.
    pub(super) offset_32: [i32; 2],
    _fill: u32,
}

impl Record {
    const ZERO: Record = Record {
        codes: [0; GROUP],
        scale: 0.0,
        sum: 0.0,
        offset_8: 0,
        offset_16: 0,
        offset_128: 0,
        offset_32: [0; 2],
        _fill: 0,
    };
}

/// The quantised inputs of one or more products that share them.
pub(super) struct Activations {
    tokens: usize,
    groups: usize,
    records: Vec<Record>,
}

impl Activations {
    /// Quantises `x`, row major: `tokens` rows of `cols`, a multiple of 32.
    ///
    /// # Panics
    /// When `x` is not of that shape.
    pub(super) fn quantize(x: &[f32], tokens: usize, cols: usize) -> Activations {
        assert!(cols.is_multiple_of(GROUP), "{cols} columns");
        assert_eq!(x.len(), tokens * cols, "length of the activations");
        let groups = cols / GROUP;
        let mut records = SCRATCH.take();
        if records.len() < tokens * groups {
            records.resize(tokens * groups, Record::ZERO);
        }
        let parts = Parts::new(&mut records, 1);
        let quantize = |token: usize| {
            // A block's records are contiguous; the last block is shorter.
            let first = token / BLOCK_TOKENS * BLOCK_TOKENS;
            let kernel = QuantizeRow {
                row: &x[token * cols..][..cols],
                records: &parts,
                start: first * groups + token - first,
                stride: BLOCK_TOKENS.min(tokens - first),
            };
            dispatch(Isa::detect(), kernel);
        };
        if x.len() < SPLIT_ELEMENTS {
            (0..tokens).for_each(quantize);
        } else {
            parallel(tokens, quantize);
        }
        Activations {
            tokens,
            groups,
            records,
        }
    }

    /// The records of token block `block`, group by group.
    pub(super) fn block(&self, block: usize) -> &[Record] {
        let first = block * BLOCK_TOKENS;
        let count = BLOCK_TOKENS.min(self.tokens - first);
        &self.records[first * self.groups..][..count * self.groups]
    }
}

thread_local! {
    /// The records of this thread's last product, kept for the next: their memory, not what they
    /// hold. Bounded by the tokens of one pass and the widest layer.
    static SCRATCH: RefCell<Vec<Record>> = const { RefCell::new(Vec::new()) };
}

impl Drop for Activations {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.records));
    }
}

/// Below this many elements a second thread costs more than it saves.
const SPLIT_ELEMENTS: usize = 16 << 10;

/// One token's groups, to every `stride`th record from `start`.
struct QuantizeRow<'a> {
    row: &'a [f32],
    records: &'a Parts<Record>,
    start: usize,
    stride: usize,
}

impl Kernel for QuantizeRow<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        for (group, values) in self.row.as_chunks().0.iter().enumerate() {
            // SAFETY: each record belongs to one group of one token, each token to one piece.
            let record = unsafe { self.records.part(self.start + group * self.stride) };
            record[0] = quantize_group(values);
        }
    }
}

/// Written in operations the compiler turns into whole vectors for any instruction set.
#[inline(always)]
fn quantize_group(values: &[f32; GROUP]) -> Record {
    // Magnitudes order as their bits do; a NaN comes out largest and makes the scale NaN.
    let largest = values
        .iter()
        .fold(0, |max, x| max.max(x.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest);
    if largest < TINY {
        return Record::ZERO;
    }
    let inverse = 127.0 / largest;
    let mut record = Record::ZERO;
    let mut sums = [0; 2];
    let halves = values.chunks_exact(GROUP / 2);
    let codes = record.codes.chunks_exact_mut(GROUP / 2);
    for (sum, (values, codes)) in sums.iter_mut().zip(halves.zip(codes)) {
        for (x, code) in values.iter().zip(codes) {
            // Adding 1.5·2²³ rounds to the nearest whole number, which the lowest bits then hold.
            let rounded = ((x * inverse + 12_582_912.0).to_bits() as i32) << 24 >> 24;
            *code = rounded as i8;
            *sum += rounded;
        }
    }
    let sum = sums[0] + sums[1];
    record.scale = largest / 127.0;
    record.sum = record.scale * sum as f32;
    record.offset_8 = -8 * sum;
    record.offset_16 = -16 * sum;
    record.offset_128 = -128 * sum;
    record.offset_32 = sums.map(|sum| -32 * sum);
    record
}
