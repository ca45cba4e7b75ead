//! Products with weights: of few rows straight from packed weights, and weights unpacked for the device's library.
//!
//! A written token reads every weight once, so such products are bound by the weights' bytes: codes are decoded in
//! registers, on the way to the matrix instruction. Both sides keep more than a half: the input comes as two halves
//! ([`Parts`]), weights as the nearest f16 of `scale · code + least`, or as their own BF16. A token's results do not
//! depend on the tokens beside it.

use std::sync::Arc;

use super::Half;
use super::rows::Parts;
use crate::{
    Address, Argument, Buffer, Device, DeviceError, Kernel, Launch, Op, Program, bytes_of,
};

/// Weights of one scale.
pub const GROUP: usize = 32;
/// Groups of a super-block.
const SUPER_GROUPS: usize = 8;
/// Rows of the input that one block takes.
const TOKENS: usize = 16;
/// Rows of weights in one matrix instruction.
const ROWS: usize = 8;
/// With so many rows of weights there are blocks enough for each to take two tiles of them.
const MANY_ROWS: usize = 8192;

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
    blocks: u32,
    tiles: usize,
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

/// Makes launches for one kind of halves.
#[derive(Clone, Debug)]
pub struct Products {
    programs: [Arc<Program>; 2],
}

/// The program for one kind of halves; a block takes `tiles` times eight rows of weights.
fn program(half: Half, tiles: usize) -> Arc<Program> {
    Arc::new(Program {
        name: "product",
        source: include_str!("product.cu"),
        entries: &["product", "embed", "unpack", "add_bias"],
        defines: vec![
            ("BF16", i64::from(half == Half::Bf16)),
            ("TILES", tiles as i64),
        ],
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    [Half::F16, Half::Bf16]
        .into_iter()
        .flat_map(|half| [1, 2].map(|tiles| program(half, tiles)))
        .collect()
}

impl Products {
    /// For one kind of halves.
    pub fn new(half: Half) -> Products {
        Products {
            programs: [1, 2].map(|tiles| program(half, tiles)),
        }
    }

    fn launch(
        &self,
        tiles: usize,
        entry: &'static str,
        grid: [u32; 3],
        arguments: Vec<Argument>,
    ) -> Op {
        Op::Launch(Launch {
            kernel: Kernel {
                program: Arc::clone(&self.programs[tiles - 1]),
                entry,
            },
            grid,
            threads: 256,
            shared: 0,
            arguments,
        })
    }

    /// Lays out products of one input, as wide as each matrix.
    ///
    /// # Errors
    /// As [`Buffer::of`].
    pub fn jobs(&self, device: &Arc<dyn Device>, jobs: &[Job<'_>]) -> Result<Jobs, DeviceError> {
        let rows: usize = jobs.iter().map(|job| job.matrix.rows).sum();
        let tiles = if rows >= MANY_ROWS { 2 } else { 1 };
        let pair = |low: usize, high: u32| u64::from(high) << 32 | low as u64;
        let mut words = Vec::new();
        let mut blocks = 0;
        for job in jobs {
            words.extend([job.matrix.descriptor.address().0, job.bias.0, job.out.0]);
            words.push(pair(job.stride, blocks));
            words.push(u64::from(job.add));
            blocks += job.matrix.rows.div_ceil(ROWS * tiles) as u32;
        }
        Ok(Jobs {
            table: Buffer::of(device, &words)?,
            blocks,
            tiles,
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
        let grid = [tokens.div_ceil(TOKENS) as u32, jobs.blocks, 1];
        let arguments = vec![
            jobs.table.address().into(),
            jobs.parts.len().into(),
            input.high.into(),
            input.low.into(),
            first.into(),
            (first + tokens).into(),
        ];
        self.launch(jobs.tiles, "product", grid, arguments)
    }

    /// Rows of `matrix` by their numbers (`count` of u32), as f32 `[count][cols]`.
    pub fn embed(&self, matrix: &Matrix, numbers: Address, out: Address, count: usize) -> Op {
        let arguments = vec![
            matrix.descriptor.address().into(),
            numbers.into(),
            out.into(),
        ];
        self.launch(1, "embed", [count as u32, 1, 1], arguments)
    }

    /// All of `matrix` as halves, `[rows][cols]`.
    pub fn unpack(&self, matrix: &Matrix, out: Address) -> Op {
        let groups = matrix.rows * (matrix.cols / GROUP);
        let arguments = vec![matrix.descriptor.address().into(), out.into()];
        let blocks = groups.div_ceil(256) as u32;
        self.launch(1, "unpack", [blocks, 1, 1], arguments)
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
        let blocks = (width as u32).div_ceil(256);
        self.launch(1, "add_bias", [blocks, count as u32, 1], arguments)
    }
}
