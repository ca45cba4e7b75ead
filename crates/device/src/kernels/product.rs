//! Products with weights: of few rows straight from packed weights, and weights unpacked for the device's library.
//!
//! A written token reads every weight once, so such products are bound by the weights' bytes: codes are decoded in
//! registers, on the way to the matrix instruction, once for up to 64 tokens. Both sides keep more than a half: the input
//! comes as two halves ([`Parts`]), weights as the nearest f16 of `scale · code + least`, or as their own BF16. A token's
//! results do not depend on the tokens beside it: blocks of every size ([`Tiles`]) sum in the same order.

use std::sync::Arc;

use super::Half;
use super::rows::Parts;
use crate::{Address, Buffer, Device, DeviceError, Op, Program, bytes_of};

/// Threads of a block.
const THREADS: u32 = 256;
/// Weights of one scale.
pub const GROUP: usize = 32;
/// Groups of a super-block.
const SUPER_GROUPS: usize = 8;
/// Rows of the input in one matrix instruction.
const TOKENS: usize = 16;
/// Rows of weights in one.
const ROWS: usize = 8;
/// Tiles that a block may take, of rows of weights and of tokens alike.
const SIZES: [usize; 3] = [1, 2, 4];
/// Matrices of one launch begin at multiples of so many tiles of rows, so that one table serves blocks of every size.
const MOST_TILES: usize = 4;
/// Up to so many tokens, two blocks beside each other on a multiprocessor hide more than larger ones save.
const FEW_TOKENS: usize = 4;

/// Where the scales of codes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// An f16 a group: `d·(q − offset)`.
    Half,
    /// Two f16 a group: `d·q + m`.
    HalfMin,
    /// Two f16 a super-block of eight groups, two bytes a group: `(d·sc)·q − dmin·m`.
    SuperMin,
    /// An f16 a super-block, a signed byte for each half of a group: `(d·sc)·(q − offset)`.
    Super16,
}

/// Codes of a matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coding {
    /// Bits of a code: 4, 5, 6 or 8.
    pub bits: usize,
    /// What codes are too large by.
    pub offset: i32,
    /// Where their scales are.
    pub scales: Scales,
}

/// One group of codes, as block formats hold it.
#[derive(Clone, Copy, Debug, Default)]
pub struct CodeGroup {
    /// Codes, made unsigned by the offset.
    pub codes: [u8; GROUP],
    /// f16 bits: `d`, and `m` or `dmin`.
    pub half: [u16; 2],
    /// Factors of the group: scale and minimum, or the scales of its halves.
    pub factors: [u8; 2],
}

/// A matrix `[rows][cols]` as it is laid out for the kernels, still in the program's memory.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    rows: usize,
    cols: usize,
    bits: usize,
    kind: i32,
    offset: f32,
    low: Vec<u8>,
    high: Vec<u8>,
    scales: Vec<u32>,
    factors: Vec<u8>,
}

impl Packed {
    /// Lays codes out; `group` gives the `index`-th of a row. `None` where rows are not whole groups and super-blocks.
    pub fn codes(
        coding: Coding,
        rows: usize,
        cols: usize,
        mut group: impl FnMut(usize, usize) -> CodeGroup,
    ) -> Option<Packed> {
        let is_super = matches!(coding.scales, Scales::SuperMin | Scales::Super16);
        let step = if is_super {
            GROUP * SUPER_GROUPS
        } else {
            GROUP
        };
        if rows == 0 || cols == 0 || !cols.is_multiple_of(step) {
            return None;
        }
        let groups = cols / GROUP;
        let mut packed = Packed {
            rows,
            cols,
            bits: coding.bits,
            kind: match coding.scales {
                Scales::Half => 1,
                Scales::HalfMin => 2,
                Scales::SuperMin => 3,
                Scales::Super16 => 4,
            },
            offset: coding.offset as f32,
            ..Packed::default()
        };
        for row in 0..rows {
            for index in 0..groups {
                let group = group(row, index);
                if coding.bits == 8 {
                    packed.low.extend_from_slice(&group.codes);
                } else {
                    let nibbles = group.codes.chunks_exact(2);
                    packed
                        .low
                        .extend(nibbles.map(|pair| pair[0] & 15 | (pair[1] & 15) << 4));
                    let high_bits = coding.bits - 4;
                    let mut high = [0_u8; 8];
                    for (at, code) in group.codes.iter().enumerate() {
                        let bit = at * high_bits;
                        high[bit / 8] |= (code >> 4) << (bit % 8);
                    }
                    packed.high.extend_from_slice(&high[..4 * high_bits]);
                }
                if !is_super || index % SUPER_GROUPS == 0 {
                    let [first, second] = group.half.map(u32::from);
                    packed.scales.push(second << 16 | first);
                }
                if is_super {
                    packed.factors.extend_from_slice(&group.factors);
                }
            }
        }
        Some(packed)
    }

    /// Dense halves of the program's kind, `[rows][cols]`. `None` where a row is no multiple of 32.
    pub fn dense(rows: usize, cols: usize, halves: &[u16]) -> Option<Packed> {
        let fits =
            rows > 0 && cols > 0 && cols.is_multiple_of(GROUP) && halves.len() == rows * cols;
        fits.then(|| Packed {
            rows,
            cols,
            bits: 16,
            low: bytes_of(halves).to_vec(),
            ..Packed::default()
        })
    }

    /// The matrices one under another: as many columns and the same coding, or `None`.
    pub fn stacked(parts: Vec<Packed>) -> Option<Packed> {
        let mut parts = parts.into_iter();
        let mut all = parts.next()?;
        for part in parts {
            let alike = (part.cols, part.bits, part.kind) == (all.cols, all.bits, all.kind);
            if !alike || part.offset != all.offset {
                return None;
            }
            all.rows += part.rows;
            all.low.extend(part.low);
            all.high.extend(part.high);
            all.scales.extend(part.scales);
            all.factors.extend(part.factors);
        }
        Some(all)
    }

    /// Takes it to a device.
    ///
    /// # Errors
    /// As [`Buffer::of`].
    pub fn upload(&self, device: &Arc<dyn Device>) -> Result<Matrix, DeviceError> {
        let low = Buffer::of(device, &self.low)?;
        let high = optional(device, &self.high)?;
        let scales = optional(device, &self.scales)?;
        let factors = optional(device, &self.factors)?;
        let layout = Layout {
            rows: self.rows,
            cols: self.cols,
            bits: self.bits,
            kind: self.kind,
            offset: self.offset,
        };
        Matrix::describe(device, layout, vec![Some(low), high, scales, factors])
    }
}

fn optional<E: crate::Element>(
    device: &Arc<dyn Device>,
    values: &[E],
) -> Result<Option<Buffer>, DeviceError> {
    match values.is_empty() {
        true => Ok(None),
        false => Buffer::of(device, values).map(Some),
    }
}

struct Layout {
    rows: usize,
    cols: usize,
    bits: usize,
    kind: i32,
    offset: f32,
}

/// A matrix on a device.
#[derive(Clone, Debug)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    dense: Option<Address>,
    bytes: usize,
    descriptor: Buffer,
    /// Kept alive.
    _parts: Vec<Buffer>,
}

impl Matrix {
    /// Dense halves that are on the device already.
    ///
    /// # Errors
    /// As [`Buffer::of`].
    pub fn dense(
        device: &Arc<dyn Device>,
        rows: usize,
        cols: usize,
        halves: Buffer,
    ) -> Result<Matrix, DeviceError> {
        let layout = Layout {
            rows,
            cols,
            bits: 16,
            kind: 0,
            offset: 0.0,
        };
        Matrix::describe(device, layout, vec![Some(halves), None, None, None])
    }

    fn describe(
        device: &Arc<dyn Device>,
        layout: Layout,
        parts: Vec<Option<Buffer>>,
    ) -> Result<Matrix, DeviceError> {
        let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        let mut words: Vec<u64> = parts
            .iter()
            .map(|part| part.as_ref().map_or(0, |part| part.address().0))
            .collect();
        words.push(pair(layout.rows as u32, layout.cols as u32));
        words.push(pair(layout.bits as u32, layout.kind.cast_unsigned()));
        words.push(pair(layout.offset.to_bits(), 0));
        let parts: Vec<Buffer> = parts.into_iter().flatten().collect();
        Ok(Matrix {
            rows: layout.rows,
            cols: layout.cols,
            dense: (layout.kind == 0).then(|| parts[0].address()),
            bytes: parts.iter().map(Buffer::bytes).sum(),
            descriptor: Buffer::of(device, &words)?,
            _parts: parts,
        })
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where its halves lie, `[rows][cols]`, if it is dense.
    pub fn halves(&self) -> Option<Address> {
        self.dense
    }
}

/// One matrix of a product of several.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The weights.
    pub matrix: &'a Matrix,
    /// One f32 a row of the weights, or [`Address::NONE`].
    pub bias: Address,
    /// f32 results, `[tokens][stride]`; the matrix's own rows are written.
    pub out: Address,
    /// Floats from one token's results to the next's.
    pub stride: usize,
    /// Whether results are added to what is there.
    pub add: bool,
}

/// Several products of the same input, laid out on a device.
#[derive(Clone, Debug)]
pub struct Jobs {
    table: Buffer,
    /// Tiles of rows, each matrix's rounded up to [`MOST_TILES`].
    row_tiles: usize,
    multiprocessors: usize,
    parts: Vec<Placed>,
}

/// Where one matrix's results go.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// f32 results.
    pub out: Address,
    /// Floats from one token's results to the next's.
    pub stride: usize,
    /// Whether results are added to what is there.
    pub add: bool,
}

impl Jobs {
    /// Where each matrix's results go.
    pub fn parts(&self) -> &[Placed] {
        &self.parts
    }
}

/// What one block takes: so many tiles of rows of weights, and of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Of eight rows: 1, 2 or 4.
    pub rows: usize,
    /// Of sixteen tokens: 1, 2 or 4.
    pub tokens: usize,
}

impl Tiles {
    /// Every size of blocks.
    pub fn all() -> impl Iterator<Item = Tiles> {
        let sizes = |rows| SIZES.map(|tokens| Tiles { rows, tokens });
        SIZES.into_iter().flat_map(sizes)
    }

    /// For `tokens` and `row_tiles` tiles of weights.
    ///
    /// Tokens: as many as there are, up to 64, so that weights are read and decoded once for all. Rows: each block reads
    /// its tokens' inputs again, from the second cache, and for many tokens these are more bytes than its weights; larger
    /// blocks read them for more rows, but may leave multiprocessors idle. The time is that of the multiprocessor with the
    /// most blocks, each of which reads two bytes a weight (or decodes as much) and four an input.
    fn choose(row_tiles: usize, tokens: usize, multiprocessors: usize) -> Tiles {
        let token_tiles = tokens.div_ceil(TOKENS).next_power_of_two().min(MOST_TILES);
        let beside = tokens.div_ceil(token_tiles * TOKENS);
        let inputs = 4 * tokens.min(token_tiles * TOKENS);
        let time = |rows: &usize| {
            let blocks = row_tiles.div_ceil(*rows) * beside;
            blocks.div_ceil(multiprocessors) * (2 * rows * ROWS + inputs)
        };
        let most = if tokens <= FEW_TOKENS { 2 } else { MOST_TILES };
        let sizes = SIZES.into_iter().filter(|rows| *rows <= most);
        Tiles {
            rows: sizes.min_by_key(time).expect("there are sizes"),
            tokens: token_tiles,
        }
    }

    /// Its place among all.
    fn index(self) -> usize {
        let size = |tiles: usize| tiles.ilog2() as usize;
        size(self.rows) * SIZES.len() + size(self.tokens)
    }
}

/// Makes launches for one kind of halves.
#[derive(Clone, Debug)]
pub struct Products {
    /// By [`Tiles::index`].
    products: Vec<Arc<Program>>,
    weights: Arc<Program>,
}

/// Products for one kind of halves and size of blocks.
fn product_program(half: Half, tiles: Tiles) -> Arc<Program> {
    Arc::new(Program {
        name: "product",
        source: concat!(include_str!("weights.cuh"), include_str!("product.cu")),
        entries: &["product"],
        defines: vec![
            ("BF16", i64::from(half == Half::Bf16)),
            ("TILES", tiles.rows as i64),
            ("TOKEN_TILES", tiles.tokens as i64),
        ],
    })
}

/// What else is done with weights of one kind of halves.
fn weights_program(half: Half) -> Arc<Program> {
    Arc::new(Program {
        name: "weights",
        source: concat!(include_str!("weights.cuh"), include_str!("weights.cu")),
        entries: &["embed", "unpack", "add_bias"],
        defines: vec![("BF16", i64::from(half == Half::Bf16))],
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    let of = |half| Tiles::all().map(move |tiles| product_program(half, tiles));
    let halves = [Half::F16, Half::Bf16];
    let products = halves.into_iter().flat_map(of);
    products.chain(halves.map(weights_program)).collect()
}

impl Products {
    /// For one kind of halves.
    pub fn new(half: Half) -> Products {
        Products {
            products: Tiles::all()
                .map(|tiles| product_program(half, tiles))
                .collect(),
            weights: weights_program(half),
        }
    }

    /// Lays out products of one input, as wide as each matrix.
    ///
    /// # Errors
    /// As [`Buffer::of`].
    pub fn jobs(&self, device: &Arc<dyn Device>, jobs: &[Job<'_>]) -> Result<Jobs, DeviceError> {
        let pair = |low: usize, high: usize| (high as u64) << 32 | low as u64;
        let mut words = Vec::new();
        let mut row_tiles = 0;
        for job in jobs {
            words.extend([job.matrix.descriptor.address().0, job.bias.0, job.out.0]);
            words.push(pair(job.stride, row_tiles));
            words.push(u64::from(job.add));
            row_tiles += job.matrix.rows.div_ceil(ROWS).next_multiple_of(MOST_TILES);
        }
        Ok(Jobs {
            table: Buffer::of(device, &words)?,
            row_tiles,
            multiprocessors: device.multiprocessors(),
            parts: jobs
                .iter()
                .map(|job| Placed {
                    out: job.out,
                    stride: job.stride,
                    add: job.add,
                })
                .collect(),
        })
    }

    /// The products for `tokens` rows of the input and of the results, from row `first`.
    pub fn run(&self, jobs: &Jobs, input: Parts, first: usize, tokens: usize) -> Op {
        let tiles = Tiles::choose(jobs.row_tiles, tokens, jobs.multiprocessors);
        self.run_as(tiles, jobs, input, first, tokens)
    }

    /// As [`run`](Self::run) with blocks of a given size, which makes no difference to the results.
    pub fn run_as(
        &self,
        tiles: Tiles,
        jobs: &Jobs,
        input: Parts,
        first: usize,
        tokens: usize,
    ) -> Op {
        let grid = [
            tokens.div_ceil(TOKENS * tiles.tokens),
            jobs.row_tiles / tiles.rows,
            1,
        ];
        let arguments = vec![
            jobs.table.address().into(),
            jobs.parts.len().into(),
            input.high.into(),
            input.low.into(),
            first.into(),
            (first + tokens).into(),
        ];
        let program = &self.products[tiles.index()];
        program.launch("product", grid, THREADS, arguments).into()
    }

    /// Rows of `matrix` by their numbers (`count` of u32), as f32 `[count][cols]`.
    pub fn embed(&self, matrix: &Matrix, numbers: Address, out: Address, count: usize) -> Op {
        let arguments = vec![
            matrix.descriptor.address().into(),
            numbers.into(),
            out.into(),
        ];
        let grid = [count, 1, 1];
        self.weights
            .launch("embed", grid, THREADS, arguments)
            .into()
    }

    /// All of `matrix` as halves, `[rows][cols]`.
    pub fn unpack(&self, matrix: &Matrix, out: Address) -> Op {
        let groups = matrix.rows * (matrix.cols / GROUP);
        let arguments = vec![matrix.descriptor.address().into(), out.into()];
        let grid = [groups.div_ceil(THREADS as usize), 1, 1];
        self.weights
            .launch("unpack", grid, THREADS, arguments)
            .into()
    }

    /// Adds f32 `bias` of `width` to `count` rows that lie `stride` floats apart.
    pub fn add_bias(
        &self,
        bias: Address,
        rows: Address,
        count: usize,
        width: usize,
        stride: usize,
    ) -> Op {
        let arguments = vec![bias.into(), rows.into(), width.into(), stride.into()];
        let grid = [width.div_ceil(THREADS as usize), count, 1];
        self.weights
            .launch("add_bias", grid, THREADS, arguments)
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a launch of the shapes that are measured, on an H100.
    #[test]
    fn blocks_are_as_large_as_keeps_multiprocessors_busy() {
        for (rows, tokens, wanted) in [
            // A token alone: small blocks, as many as hide each other's beginnings.
            (28_672, 1, (2, 1)),
            (6144, 1, (2, 1)),
            (896, 1, (1, 1)),
            // Eight tokens: their inputs begin to count.
            (4096, 8, (4, 1)),
            (28_672, 8, (4, 1)),
            (1536, 8, (2, 1)),
            (4096, 32, (4, 2)),
            (4096, 64, (4, 4)),
            (28_672, 64, (4, 4)),
            // Few rows are divided all the same.
            (896, 64, (1, 4)),
            // More tokens are blocks beside each other.
            (4096, 100, (4, 4)),
            (4096, 33, (4, 4)),
            (4096, 17, (4, 2)),
        ] {
            let tiles = Tiles::choose(rows / ROWS, tokens, 132);
            assert_eq!(
                (tiles.rows, tiles.tokens),
                wanted,
                "{rows} rows, {tokens} tokens"
            );
        }
    }
}
