//! Inputs of a quantised product: 8-bit codes in groups of 32, each with a scale of its own.
//!
//! A group with its scale and the sums the weights' offsets and minimums need fills one cache line.
//! Groups lie token block by token block in the order the products read them.

use super::ggml::GROUP;
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
pub struct Activations {
    tokens: usize,
    groups: usize,
    records: Vec<Record>,
}

impl Activations {
    /// Quantises `x`, row major: `tokens` rows of `cols`, a multiple of 32.
    ///
    /// # Panics
    /// When `x` is not of that shape.
    pub fn quantize(x: &[f32], tokens: usize, cols: usize) -> Activations {
        assert!(cols.is_multiple_of(GROUP), "{cols} columns");
        assert_eq!(x.len(), tokens * cols, "length of the activations");
        let groups = cols / GROUP;
        let mut records = vec![Record::ZERO; tokens * groups];
        let blocks = tokens.div_ceil(BLOCK_TOKENS);
        // A block's records are contiguous; the last block is shorter.
        let parts = Parts::new(&mut records, 1);
        parallel(blocks, |block| {
            let first = block * BLOCK_TOKENS;
            let count = BLOCK_TOKENS.min(tokens - first);
            for token in 0..count {
                let row = &x[(first + token) * cols..][..cols];
                for (group, values) in row.chunks_exact(GROUP).enumerate() {
                    // SAFETY: each record belongs to one token and group, each token to one piece.
                    let record = unsafe { parts.part(first * groups + group * count + token) };
                    record[0] = quantize_group(values);
                }
            }
        });
        Activations {
            tokens,
            groups,
            records,
        }
    }

    /// Rows.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        self.groups * GROUP
    }

    /// The records of token block `block`, group by group, and how many tokens it has.
    pub(super) fn block(&self, block: usize) -> (&[Record], usize) {
        let first = block * BLOCK_TOKENS;
        let count = BLOCK_TOKENS.min(self.tokens - first);
        (
            &self.records[first * self.groups..][..count * self.groups],
            count,
        )
    }
}

fn quantize_group(values: &[f32]) -> Record {
    let largest = values.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    if largest < TINY {
        return Record::ZERO;
    }
    let inverse = 127.0 / largest;
    let mut record = Record::ZERO;
    for (code, x) in record.codes.iter_mut().zip(values) {
        *code = (x * inverse).round_ties_even() as i8;
    }
    let sums: [i32; 2] = std::array::from_fn(|half| {
        record.codes[half * GROUP / 2..][..GROUP / 2]
            .iter()
            .map(|code| i32::from(*code))
            .sum()
    });
    let sum = sums[0] + sums[1];
    record.scale = largest / 127.0;
    record.sum = record.scale * sum as f32;
    record.offset_8 = -8 * sum;
    record.offset_16 = -16 * sum;
    record.offset_128 = -128 * sum;
    record.offset_32 = sums.map(|sum| -32 * sum);
    record
}
