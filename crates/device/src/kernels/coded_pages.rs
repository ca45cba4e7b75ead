//! What one layer of a coded cache's pages holds, and where.
//!
//! A closed page has, for each layer at the layer's offset, the codes of one or two kinds of rows. An open page has exact
//! f16: first what a full page has, so that kernels of full caches read it, and then the rows that codes are made of.
//! Must not know policies by name.

use super::PAGE_TOKENS;
use super::codes::{Axis, Bits, Coding};

/// What is kept of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// Keys per channel, values per token; as they are, or as latents.
    Pair {
        /// Bits of a code.
        bits: Bits,
        /// Whether they are in the layer's bases.
        latent: bool,
        /// Whether the first channel of the keys, which collects outliers where they are latents, is kept in f16 too.
        outlier: bool,
    },
    /// The normed input per token.
    Input {
        /// Bits of a code.
        bits: Bits,
    },
    /// The input's difference to the accumulator per token; as it is, or in the joint basis.
    Delta {
        /// Bits of a code.
        bits: Bits,
        /// Whether it is in the joint basis.
        joint: bool,
    },
}

/// Widths of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Widths {
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one.
    pub head_dim: usize,
    /// Width of the layer's input.
    pub hidden: usize,
}

impl Widths {
    /// Width of keys, and of values.
    pub fn kv(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// One layer of a closed page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClosedLayer {
    /// Keys, or inputs or differences, at the layer's offset.
    pub rows: Coding,
    /// The first channel of the keys once more, in f16, behind their codes. It is read in the place of what those say.
    pub first_channel: Option<Coding>,
    /// Values, behind both.
    pub values: Option<Coding>,
}

impl ClosedLayer {
    /// Bytes from the layer's offset to the first channel in f16, where there is one.
    pub fn first_channel_offset(&self) -> usize {
        self.rows.bytes()
    }

    /// Bytes from the layer's offset to the values.
    pub fn values_offset(&self) -> usize {
        self.first_channel_offset() + self.first_channel.map_or(0, Coding::bytes)
    }

    /// Its bytes, a multiple of 16.
    pub fn bytes(&self) -> usize {
        self.values_offset() + self.values.map_or(0, Coding::bytes)
    }
}

/// One layer of an open page. Rotated keys, f16 `[kv_heads][128][head_dim]`, lie at the layer's offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenLayer {
    /// Bytes from the layer's offset to the values, f16 `[kv][128]`: without bias, or latents.
    pub values_offset: usize,
    /// Bytes from the layer's offset to what codes are made of, f16 `[128][source_width]`: keys before rotation and without
    /// bias, or their latents, or the normed input.
    pub source_offset: usize,
    /// Width of that.
    pub source_width: usize,
    /// Its bytes.
    pub bytes: usize,
}

impl Kept {
    /// The layer in a closed page.
    pub fn closed(self, widths: &Widths) -> ClosedLayer {
        let by = |axis, width, bits| Coding { bits, width, axis };
        match self {
            Kept::Pair { bits, outlier, .. } => ClosedLayer {
                rows: by(Axis::Channel, widths.kv(), bits),
                first_channel: outlier.then(|| by(Axis::Channel, 1, Bits::Half)),
                values: Some(by(Axis::Token, widths.kv(), bits)),
            },
            Kept::Input { bits } | Kept::Delta { bits, joint: false } => ClosedLayer {
                rows: by(Axis::Token, widths.hidden, bits),
                first_channel: None,
                values: None,
            },
            Kept::Delta { bits, joint: true } => ClosedLayer {
                rows: by(Axis::Token, 2 * widths.kv(), bits),
                first_channel: None,
                values: None,
            },
        }
    }

    /// The layer in an open page.
    pub fn open(self, widths: &Widths) -> OpenLayer {
        let part = 2 * PAGE_TOKENS * widths.kv();
        let source_width = match self {
            Kept::Pair { .. } => widths.kv(),
            Kept::Input { .. } | Kept::Delta { .. } => widths.hidden,
        };
        OpenLayer {
            values_offset: part,
            source_offset: 2 * part,
            source_width,
            bytes: 2 * part + 2 * PAGE_TOKENS * source_width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_formula() {
        let widths = Widths {
            kv_heads: 2,
            head_dim: 64,
            hidden: 896,
        };
        let bits = Bits::Four;
        let pair = |outlier| Kept::Pair {
            bits,
            latent: true,
            outlier,
        };
        // 4 bits a value, 4 bytes a group of 128.
        let half = 128 * 128 / 2 + 4 * 128;
        assert_eq!(pair(false).closed(&widths).bytes(), 2 * half);
        assert_eq!(pair(false).closed(&widths).values_offset(), half);
        // And two bytes a token.
        let with_first = pair(true).closed(&widths);
        assert_eq!(with_first.bytes(), 2 * half + 2 * 128);
        assert_eq!(with_first.first_channel_offset(), half);
        assert_eq!(with_first.values_offset(), half + 2 * 128);
        let input = Kept::Input { bits }.closed(&widths);
        assert_eq!(input.bytes(), 128 * (896 / 2 + 4 * 7));
        let joint = Kept::Delta { bits, joint: true }.closed(&widths);
        assert_eq!(joint.bytes(), 128 * (256 / 2 + 4 * 2));
        let open = Kept::Input { bits }.open(&widths);
        assert_eq!(open.bytes, 2 * 128 * (128 + 128 + 896));
    }
}
