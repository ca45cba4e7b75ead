//! Keys rebuilt from codes that lie channel by channel, with tokens in the lanes: unpacked, brought
//! back to the heads' basis where they are latents, rotated, and laid out for attention.
//!
//! Nothing is transposed on the way, since [`KvBlock`](super::KvBlock) wants tokens in the lanes too.
//! Must not know caches or policies.

use half::f16;

use super::attention::{HeadShape, KEY_LANES};
use super::codes::CodeRows;
use super::isa::Isa;
use super::lanes::{Kernel, LANES, Lanes, dispatch};
use super::product::{Product, Rows};
use super::rows::{RopeStyle, RopeTable};

/// Tokens of one channel's group: the group length of XQuant (arXiv:2508.10395, section 4).
pub const GROUP_TOKENS: usize = 128;
/// Tokens rebuilt together, few enough that all their channels fit the first-level cache.
const STRIP: usize = 2 * LANES;
const STRIPS: usize = GROUP_TOKENS / STRIP;

/// Cosines and sines with positions in the lanes: `[position / 16][half][16]`.
#[derive(Clone, Debug)]
pub struct LaneTable {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl LaneTable {
    /// The same angles as `table`, up to a whole group of positions.
    pub fn new(table: &RopeTable) -> LaneTable {
        let half = table.half();
        let positions = table.positions().next_multiple_of(GROUP_TOKENS);
        let mut lanes = LaneTable {
            half,
            cos: vec![1.0; positions * half],
            sin: vec![0.0; positions * half],
        };
        for position in 0..table.positions() {
            let (cos, sin) = table.at(position);
            for i in 0..half {
                let at = (position / LANES * half + i) * LANES + position % LANES;
                lanes.cos[at] = cos[i];
                lanes.sin[at] = sin[i];
            }
        }
        lanes
    }

    /// Bytes of memory it takes.
    pub fn size_bytes(&self) -> usize {
        size_of::<f32>() * (self.cos.len() + self.sin.len())
    }
}

/// One group of keys as codes, and what turns it into keys.
#[derive(Clone, Copy)]
pub struct CodedKeys<'a> {
    /// Channels as rows, [`GROUP_TOKENS`] long.
    pub codes: &'a CodeRows,
    /// Channel 0 as it was, where it is kept beside the codes.
    pub first_channel: Option<&'a [f16]>,
    /// `[channels][channels]`: channel `c` of the keys is the sum of latents `j` times element
    /// `[c][j]`. None where the codes are of the keys themselves.
    pub basis: Option<&'a [f32]>,
    /// Added to each key before rotation.
    pub bias: Option<&'a [f32]>,
    /// Weight and epsilon of the norm of each head before rotation.
    pub norm: Option<(&'a [f32], f32)>,
    /// Position of the first token, a multiple of [`GROUP_TOKENS`].
    pub first: usize,
}

/// Rebuilds one group of keys into `keys`, laid out as a [`KvBlock`](super::KvBlock) of capacity
/// [`GROUP_TOKENS`]. `scratch` is reused memory.
///
/// # Panics
/// When a slice is not of its shape, or a position is beyond the table.
pub fn rebuild_keys(
    coded: CodedKeys<'_>,
    shape: &HeadShape,
    table: &LaneTable,
    style: RopeStyle,
    scratch: &mut Vec<f32>,
    keys: &mut [f16],
) {
    let channels = shape.kv_heads * shape.head_dim;
    assert_eq!(coded.codes.width(), GROUP_TOKENS, "tokens of a channel");
    assert_eq!(coded.codes.rows(), channels, "channels");
    assert_eq!(keys.len(), shape.kv_len(GROUP_TOKENS), "length of the keys");
    assert_eq!(table.half * 2, shape.head_dim, "whole heads are rotated");
    assert!(coded.first.is_multiple_of(GROUP_TOKENS), "whole groups");
    assert!(
        (coded.first + GROUP_TOKENS) * table.half <= table.cos.len(),
        "position within the table"
    );
    assert!(coded.bias.is_none_or(|bias| bias.len() == channels));
    assert!(
        coded
            .basis
            .is_none_or(|basis| basis.len() == channels * channels)
    );
    assert!(
        coded
            .first_channel
            .is_none_or(|first| first.len() == GROUP_TOKENS)
    );
    scratch.resize(channels * (GROUP_TOKENS + STRIP), 0.0);
    dispatch(
        Isa::detect(),
        Rebuild {
            coded,
            shape,
            table,
            style,
            scratch,
            keys,
        },
    );
}

struct Rebuild<'a, 'b> {
    coded: CodedKeys<'a>,
    shape: &'a HeadShape,
    table: &'a LaneTable,
    style: RopeStyle,
    scratch: &'b mut [f32],
    keys: &'b mut [f16],
}

impl Kernel for Rebuild<'_, '_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Rebuild {
            coded,
            shape,
            table,
            style,
            scratch,
            keys,
        } = self;
        let channels = shape.kv_heads * shape.head_dim;
        let (strips, mixed) = scratch.split_at_mut(channels * GROUP_TOKENS);
        let mut row = [0.0; GROUP_TOKENS];
        for channel in 0..channels {
            match coded.first_channel {
                Some(first) if channel == 0 => {
                    for (to, from) in row.iter_mut().zip(first) {
                        *to = from.to_f32();
                    }
                }
                _ => coded.codes.decode_here(channel, &mut row),
            }
            for (strip, part) in row.chunks_exact(STRIP).enumerate() {
                strips[(strip * channels + channel) * STRIP..][..STRIP].copy_from_slice(part);
            }
        }
        for strip in 0..STRIPS {
            let latents = &mut strips[strip * channels * STRIP..][..channels * STRIP];
            let rebuilt: &[f32] = match coded.basis {
                None => latents,
                Some(basis) => {
                    Product {
                        rows: channels,
                        inner: channels,
                        cols: STRIP,
                        a: Rows {
                            data: basis,
                            stride: channels,
                        },
                        b: Rows {
                            data: latents,
                            stride: STRIP,
                        },
                        out: mixed,
                        out_stride: STRIP,
                        add: false,
                    }
                    .run::<L>();
                    mixed
                }
            };
            for run in 0..STRIP / KEY_LANES {
                let tokens = strip * STRIP + run * KEY_LANES;
                let angles = (coded.first + tokens) / LANES * table.half * LANES;
                L::apart(RotateRun {
                    rebuilt: &rebuilt[run * LANES..],
                    bias: coded.bias,
                    norm: coded.norm,
                    cos: &table.cos[angles..][..table.half * LANES],
                    sin: &table.sin[angles..][..table.half * LANES],
                    shape,
                    style,
                    tokens,
                    keys,
                });
            }
        }
    }
}

/// Rotates 16 tokens and puts them into their run of every head.
struct RotateRun<'a, 'b> {
    /// Channels [`STRIP`] apart.
    rebuilt: &'a [f32],
    bias: Option<&'a [f32]>,
    norm: Option<(&'a [f32], f32)>,
    cos: &'a [f32],
    sin: &'a [f32],
    shape: &'a HeadShape,
    style: RopeStyle,
    /// First token within the group.
    tokens: usize,
    keys: &'b mut [f16],
}

impl Kernel for RotateRun<'_, '_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (dim, half) = (self.shape.head_dim, self.shape.head_dim / 2);
        let channels = self.shape.kv_heads * dim;
        assert!(self.rebuilt.len() >= (channels - 1) * STRIP + LANES);
        assert!(self.norm.is_none_or(|(weight, _)| weight.len() == dim));
        assert!(self.cos.len() == half * LANES && self.sin.len() == half * LANES);
        for head in 0..self.shape.kv_heads {
            let run = (head * GROUP_TOKENS + self.tokens) * dim;
            let run = &mut self.keys[run..run + dim * KEY_LANES];
            // Elements of this head for 16 tokens, with bias. SAFETY: the lengths were asserted above.
            let plain = |element: usize| unsafe {
                let channel = head * dim + element;
                let x = L::load(self.rebuilt.as_ptr().add(channel * STRIP));
                match self.bias {
                    Some(bias) => x.add(L::splat(bias[channel])),
                    None => x,
                }
            };
            let factor = self.norm.map(|(_, epsilon)| {
                let squares = (0..dim).fold(L::splat(0.0), |sum, element| {
                    let x = plain(element);
                    x.mul_add(x, sum)
                });
                let inverse = squares
                    .to_array()
                    .map(|sum| 1.0 / (sum / dim as f32 + epsilon).sqrt());
                // SAFETY: the array is a whole vector.
                unsafe { L::load(inverse.as_ptr()) }
            });
            let at = |element: usize| match (self.norm, factor) {
                (Some((weight, _)), Some(factor)) => {
                    plain(element).mul(factor).mul(L::splat(weight[element]))
                }
                _ => plain(element),
            };
            for i in 0..half {
                let (first, second) = match self.style {
                    RopeStyle::Neox => (i, i + half),
                    RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                };
                // SAFETY: the lengths were asserted above.
                unsafe {
                    let (a, b) = (at(first), at(second));
                    let cos = L::load(self.cos.as_ptr().add(i * LANES));
                    let sin = L::load(self.sin.as_ptr().add(i * LANES));
                    a.mul(cos)
                        .sub(b.mul(sin))
                        .store_half(run.as_mut_ptr().add(first * KEY_LANES));
                    a.mul(sin)
                        .add(b.mul(cos))
                        .store_half(run.as_mut_ptr().add(second * KEY_LANES));
                }
            }
        }
    }
}

/// Writes packed rows `[positions][width]` as f16 values of a [`KvBlock`](super::KvBlock) of capacity
/// [`GROUP_TOKENS`]: by head where `heads` are given, else row after row.
///
/// # Panics
/// When the slices are not of that shape.
pub fn rebuild_values(
    coded: &CodeRows,
    heads: Option<&HeadShape>,
    scratch: &mut Vec<f32>,
    values: &mut [f16],
) {
    let width = coded.width();
    let dim = heads.map_or(width, |heads| heads.head_dim);
    assert!(width.is_multiple_of(dim) && dim.is_multiple_of(LANES));
    assert_eq!(coded.rows(), GROUP_TOKENS, "tokens of a group");
    assert_eq!(values.len(), GROUP_TOKENS * width, "length of the values");
    scratch.resize(width, 0.0);
    dispatch(
        Isa::detect(),
        RebuildValues {
            coded,
            dim,
            row: scratch,
            values,
        },
    );
}

struct RebuildValues<'a> {
    coded: &'a CodeRows,
    dim: usize,
    row: &'a mut [f32],
    values: &'a mut [f16],
}

impl Kernel for RebuildValues<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        for token in 0..GROUP_TOKENS {
            self.coded.decode_here(token, self.row);
            for (head, part) in self.row.chunks_exact(self.dim).enumerate() {
                let to = &mut self.values[(head * GROUP_TOKENS + token) * self.dim..][..self.dim];
                for (to, from) in to.chunks_exact_mut(LANES).zip(part.chunks_exact(LANES)) {
                    // SAFETY: both are a whole vector.
                    unsafe { L::load(from.as_ptr()).store_half(to.as_mut_ptr()) };
                }
            }
        }
    }
}
