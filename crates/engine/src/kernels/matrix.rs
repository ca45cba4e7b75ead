//! The weights of one linear layer, packed once at load for the kernels.
//!
//! Rows (outputs) go by panels of [`PANEL`]; a vector of 64 bytes holds four neighbouring weights of
//! each of the panel's 16 rows, so that a dot-product instruction gives 16 outputs and no sum
//! across lanes is needed. Codes keep the file's bits (nibbles, plus planes of high bits), so the
//! packed form is as small as the file's, within 3 %. Scales lie in a second stream.

use candle_core::quantized::GgmlDType;

use super::buffer::Buffer;
use super::ggml::{Format, GROUP, Group, SUPER_GROUPS, ScaleKind, half_to_f32, read_group};
use super::pool::parallel;
use crate::EngineError;

/// Rows of one panel: the 32-bit lanes of the widest vectors.
pub(super) const PANEL: usize = 16;
/// Weights of one row in one vector of a panel.
pub(super) const QUAD: usize = 4;
/// Vectors of one group of a panel, once unpacked to bytes.
pub(super) const VECTORS: usize = GROUP / QUAD;
/// Bytes of one vector.
pub(super) const VECTOR_BYTES: usize = PANEL * QUAD;

/// How the elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// Integer codes in groups.
    Groups(Format),
    /// f32, f16 or bf16 elements.
    Floats(FloatKind),
}

/// An element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FloatKind {
    F32,
    F16,
    Bf16,
}

impl FloatKind {
    pub(super) fn bytes(self) -> usize {
        match self {
            FloatKind::F32 => 4,
            FloatKind::F16 | FloatKind::Bf16 => 2,
        }
    }
}

/// The weights of one linear layer: rows are outputs, columns inputs.
pub struct QuantMatrix {
    rows: usize,
    cols: usize,
    pub(super) storage: Storage,
    pub(super) codes: Buffer,
    pub(super) scales: Buffer,
}

impl QuantMatrix {
    /// Packs `rows`×`cols` weights of `dtype` from `bytes`, row major, as a GGUF file has them.
    ///
    /// # Errors
    /// [`EngineError::Weights`] for a format these kernels do not take, a width that is no multiple
    /// of the format's block, or bytes that are not exactly the matrix.
    pub fn from_ggml(
        dtype: GgmlDType,
        rows: usize,
        cols: usize,
        bytes: &[u8],
    ) -> Result<QuantMatrix, EngineError> {
        let refuse = |reason: String| {
            Err(EngineError::Weights(format!(
                "{dtype:?} matrix of {rows} by {cols}: {reason}"
            )))
        };
        if rows == 0 || cols == 0 {
            return refuse("it is empty".to_owned());
        }
        let (storage, block, block_bytes) = match (Format::of(dtype), dtype) {
            (Some(format), _) => (
                Storage::Groups(format),
                format.block_groups * GROUP,
                format.block_bytes,
            ),
            (None, GgmlDType::F32) => (Storage::Floats(FloatKind::F32), 1, 4),
            (None, GgmlDType::F16) => (Storage::Floats(FloatKind::F16), 1, 2),
            (None, GgmlDType::BF16) => (Storage::Floats(FloatKind::Bf16), 1, 2),
            (None, _) => {
                return refuse(
                    "this format is not supported; use a Q4_K_M, Q8_0 or F16 file".to_owned(),
                );
            }
        };
        if !cols.is_multiple_of(block) {
            return refuse(format!("rows must be a multiple of {block} wide"));
        }
        let row_bytes = cols / block * block_bytes;
        let expected = rows.checked_mul(row_bytes);
        if expected != Some(bytes.len()) {
            return refuse(format!("{} bytes are not that matrix", bytes.len()));
        }
        let panels = rows.div_ceil(PANEL);
        let (code_stride, scale_stride) = strides(storage, cols);
        let mut codes = Buffer::zeroed(panels * code_stride)?;
        let mut scales = Buffer::zeroed(panels * scale_stride)?;
        let code_panels = Parts::new(codes.bytes_mut(), code_stride);
        let scale_panels = Parts::new(scales.bytes_mut(), scale_stride);
        parallel(panels, |panel| {
            // SAFETY: each piece takes the parts of its own panel only.
            let (codes, scales) = unsafe { (code_panels.part(panel), scale_panels.part(panel)) };
            for row in 0..PANEL.min(rows - panel * PANEL) {
                let source = &bytes[(panel * PANEL + row) * row_bytes..][..row_bytes];
                match storage {
                    Storage::Groups(format) => {
                        pack_row(dtype, format, source, row, codes, scales);
                    }
                    Storage::Floats(kind) => pack_floats(kind, source, row, codes),
                }
            }
        });
        Ok(QuantMatrix {
            rows,
            cols,
            storage,
            codes,
            scales,
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

    /// Bytes of memory the packed weights take.
    pub fn size_bytes(&self) -> usize {
        self.codes.len() + self.scales.len()
    }

    /// Gives the packed bytes to `update`, to tell matrices apart.
    pub fn hash_into(&self, update: &mut dyn FnMut(&[u8])) {
        update(self.codes.bytes());
        update(self.scales.bytes());
    }

    /// Writes row `row` as f32 to `out` (`cols` long): the embedding of a token.
    ///
    /// # Panics
    /// When `row` is out of range or `out` has another length.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.cols, "length of the output row");
        let (panel, lane) = (row / PANEL, row % PANEL);
        let (codes, scales) = self.panel(panel);
        match self.storage {
            Storage::Groups(format) => {
                let bytes = group_code_bytes(format);
                for (index, out) in out.chunks_exact_mut(GROUP).enumerate() {
                    let codes = &codes[index * bytes..][..bytes];
                    let factors = GroupFactors::read(format, scales, index);
                    for (k, out) in out.iter_mut().enumerate() {
                        let code = code_at(format, codes, lane, k) - format.offset;
                        let scale = factors.scale[k / (GROUP / 2)][lane];
                        *out = scale * code as f32 + factors.min[lane];
                    }
                }
            }
            Storage::Floats(kind) => {
                for (k, out) in out.iter_mut().enumerate() {
                    *out = float_at(kind, codes, k * PANEL + lane);
                }
            }
        }
    }

    /// Codes and scales of one panel.
    pub(super) fn panel(&self, panel: usize) -> (&[u8], &[u8]) {
        let (code_stride, scale_stride) = strides(self.storage, self.cols);
        (
            &self.codes.bytes()[panel * code_stride..][..code_stride],
            &self.scales.bytes()[panel * scale_stride..][..scale_stride],
        )
    }

    /// Panels of 16 rows, the last one padded with zero rows.
    pub(super) fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }
}

/// Bytes of the codes of one group of a panel.
pub(super) fn group_code_bytes(format: Format) -> usize {
    PANEL * GROUP * format.bits / 8
}

/// Bytes of codes and of scales of one panel.
fn strides(storage: Storage, cols: usize) -> (usize, usize) {
    match storage {
        Storage::Groups(format) => {
            let groups = cols / GROUP;
            let scales = match format.scales {
                ScaleKind::Half => groups * HALVES,
                ScaleKind::HalfMin => groups * 2 * HALVES,
                ScaleKind::SuperMin => groups / SUPER_GROUPS * SUPER_MIN_BYTES,
                ScaleKind::Super16 => groups / SUPER_GROUPS * SUPER_16_BYTES,
            };
            (groups * group_code_bytes(format), scales)
        }
        Storage::Floats(kind) => (cols * PANEL * kind.bytes(), 0),
    }
}

/// Bytes of one f16 for each row of a panel.
pub(super) const HALVES: usize = PANEL * 2;
/// Scales of a super-block: `d`, `dmin`, then scale and minimum bytes group by group.
pub(super) const SUPER_MIN_BYTES: usize = 2 * HALVES + SUPER_GROUPS * 2 * PANEL;
/// Scales of a super-block: `d`, then two scale bytes group by group.
pub(super) const SUPER_16_BYTES: usize = HALVES + SUPER_GROUPS * 2 * PANEL;

/// The factors of one group of a panel: the weight of code `q` is
/// `scale[half]·(q − offset) + min`.
pub(super) struct GroupFactors {
    pub(super) scale: [[f32; PANEL]; 2],
    pub(super) min: [f32; PANEL],
}

impl GroupFactors {
    pub(super) fn read(format: Format, scales: &[u8], group: usize) -> GroupFactors {
        let (block, within) = (group / SUPER_GROUPS, group % SUPER_GROUPS);
        let mut factors = GroupFactors {
            scale: [[0.0; PANEL]; 2],
            min: [0.0; PANEL],
        };
        let half = |bytes: &[u8], lane: usize| {
            half_to_f32(u16::from_le_bytes([bytes[lane * 2], bytes[lane * 2 + 1]]))
        };
        for lane in 0..PANEL {
            match format.scales {
                ScaleKind::Half => {
                    let d = half(&scales[group * HALVES..], lane);
                    factors.scale[0][lane] = d;
                    factors.scale[1][lane] = d;
                }
                ScaleKind::HalfMin => {
                    let bytes = &scales[group * 2 * HALVES..];
                    let d = half(bytes, lane);
                    factors.scale[0][lane] = d;
                    factors.scale[1][lane] = d;
                    factors.min[lane] = half(&bytes[HALVES..], lane);
                }
                ScaleKind::SuperMin => {
                    let bytes = &scales[block * SUPER_MIN_BYTES..];
                    let small = &bytes[2 * HALVES + within * 2 * PANEL..];
                    let scale = half(bytes, lane) * f32::from(small[lane]);
                    factors.scale[0][lane] = scale;
                    factors.scale[1][lane] = scale;
                    factors.min[lane] =
                        -(half(&bytes[HALVES..], lane) * f32::from(small[PANEL + lane]));
                }
                ScaleKind::Super16 => {
                    let bytes = &scales[block * SUPER_16_BYTES..];
                    let small = &bytes[HALVES + within * 2 * PANEL..];
                    let d = half(bytes, lane);
                    factors.scale[0][lane] = d * f32::from(small[lane] as i8);
                    factors.scale[1][lane] = d * f32::from(small[PANEL + lane] as i8);
                }
            }
        }
        factors
    }
}

/// Code `k` of row `lane` of one packed group.
pub(super) fn code_at(format: Format, codes: &[u8], lane: usize, k: usize) -> i32 {
    let (vector, byte) = (k / QUAD, lane * QUAD + k % QUAD);
    if format.bits == 8 {
        return i32::from(codes[vector * VECTOR_BYTES + byte]);
    }
    let pair = codes[vector % 4 * VECTOR_BYTES + byte];
    let low = pair >> (vector / 4 * 4) & 0x0f;
    let planes = &codes[4 * VECTOR_BYTES..];
    let high = match format.bits {
        5 => planes[byte] >> vector & 1,
        6 => planes[vector / 4 * VECTOR_BYTES + byte] >> (vector % 4 * 2) & 3,
        _ => 0,
    };
    i32::from(low | high << 4)
}

/// Element `at` of packed floats.
pub(super) fn float_at(kind: FloatKind, bytes: &[u8], at: usize) -> f32 {
    match kind {
        FloatKind::F32 => {
            let b = &bytes[at * 4..][..4];
            f32::from_le_bytes([b[0], b[1], b[2], b[3]])
        }
        FloatKind::F16 => half_to_f32(u16::from_le_bytes([bytes[at * 2], bytes[at * 2 + 1]])),
        FloatKind::Bf16 => {
            f32::from_bits(u32::from(bytes[at * 2]) << 16 | u32::from(bytes[at * 2 + 1]) << 24)
        }
    }
}

/// Packs one row of blocks into its lane of a panel.
fn pack_row(
    dtype: GgmlDType,
    format: Format,
    source: &[u8],
    lane: usize,
    codes: &mut [u8],
    scales: &mut [u8],
) {
    let code_bytes = group_code_bytes(format);
    for (block_index, block) in source.chunks_exact(format.block_bytes).enumerate() {
        for within in 0..format.block_groups {
            let group = read_group(dtype, block, within);
            let index = block_index * format.block_groups + within;
            pack_codes(
                format.bits,
                &group,
                lane,
                &mut codes[index * code_bytes..][..code_bytes],
            );
            pack_factors(format.scales, &group, lane, index, scales);
        }
    }
}

/// Spreads the 32 codes of one row over the vectors of its group.
fn pack_codes(bits: usize, group: &Group, lane: usize, codes: &mut [u8]) {
    let mut words = [0_u32; VECTORS];
    for (word, quad) in words.iter_mut().zip(group.codes.chunks_exact(QUAD)) {
        *word = u32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]]);
    }
    let mut put = |vector: usize, word: u32| {
        codes[vector * VECTOR_BYTES + lane * QUAD..][..QUAD].copy_from_slice(&word.to_le_bytes());
    };
    if bits == 8 {
        for (vector, word) in words.into_iter().enumerate() {
            put(vector, word);
        }
        return;
    }
    for vector in 0..4 {
        put(
            vector,
            words[vector] & 0x0f0f_0f0f | (words[vector + 4] & 0x0f0f_0f0f) << 4,
        );
    }
    match bits {
        5 => put(
            4,
            (0..VECTORS).fold(0, |plane, v| plane | (words[v] >> 4 & 0x0101_0101) << v),
        ),
        6 => {
            for plane in 0..2 {
                let word = (0..4).fold(0, |word, v| {
                    word | (words[plane * 4 + v] >> 4 & 0x0303_0303) << (2 * v)
                });
                put(4 + plane, word);
            }
        }
        _ => {}
    }
}

/// Puts the scales of one row's group into their stream.
fn pack_factors(kind: ScaleKind, group: &Group, lane: usize, index: usize, scales: &mut [u8]) {
    let (block, within) = (index / SUPER_GROUPS, index % SUPER_GROUPS);
    let mut put_half = |at: usize, bits: u16| {
        scales[at + lane * 2..][..2].copy_from_slice(&bits.to_le_bytes());
    };
    match kind {
        ScaleKind::Half => put_half(index * HALVES, group.half[0]),
        ScaleKind::HalfMin => {
            put_half(index * 2 * HALVES, group.half[0]);
            put_half(index * 2 * HALVES + HALVES, group.half[1]);
        }
        ScaleKind::SuperMin | ScaleKind::Super16 => {
            let (start, header) = if kind == ScaleKind::SuperMin {
                (block * SUPER_MIN_BYTES, 2 * HALVES)
            } else {
                (block * SUPER_16_BYTES, HALVES)
            };
            if within == 0 {
                put_half(start, group.half[0]);
                if kind == ScaleKind::SuperMin {
                    put_half(start + HALVES, group.half[1]);
                }
            }
            let small = start + header + within * 2 * PANEL + lane;
            scales[small] = group.factors[0];
            scales[small + PANEL] = group.factors[1];
        }
    }
}

/// Puts one row of floats into its lane of a panel.
fn pack_floats(kind: FloatKind, source: &[u8], lane: usize, codes: &mut [u8]) {
    let size = kind.bytes();
    for (k, element) in source.chunks_exact(size).enumerate() {
        codes[(k * PANEL + lane) * size..][..size].copy_from_slice(element);
    }
}

/// Equal, disjoint parts of a slice that several threads fill.
pub(crate) struct Parts<T> {
    start: *mut T,
    count: usize,
    size: usize,
}

// SAFETY: `part` is unsafe and its callers keep the parts they hold disjoint.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    pub(crate) fn new(slice: &mut [T], size: usize) -> Parts<T> {
        Parts {
            start: slice.as_mut_ptr(),
            count: slice.len().checked_div(size).unwrap_or(usize::MAX),
            size,
        }
    }

    /// Part `index`.
    ///
    /// # Safety
    /// The slice given to [`Parts::new`] must outlive the part, and no part may be held twice.
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub(crate) unsafe fn part(&self, index: usize) -> &mut [T] {
        assert!(index < self.count, "part {index} of {}", self.count);
        // SAFETY: the part lies within the slice; the caller keeps parts disjoint and alive.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(index * self.size), self.size) }
    }

    /// Neighbouring parts as one.
    ///
    /// # Safety
    /// As [`Parts::part`].
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub(crate) unsafe fn parts(&self, range: std::ops::Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.count);
        // SAFETY: as in `part`.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.start.add(range.start * self.size),
                range.len() * self.size,
            )
        }
    }
}
