//! In place of tile products on machines that cannot have them.

use std::ops::Range;

use super::Output;
use crate::kernels::ggml::Format;
use crate::kernels::isa::Isa;
use crate::kernels::matrix::QuantMatrix;

/// Never made here.
pub(super) enum Rows {}

impl Rows {
    pub(super) fn pack(_x: &[f32], _tokens: usize, _cols: usize) -> Rows {
        unreachable!("no product goes by tiles on this machine")
    }
}

pub(super) fn serves(_isa: Isa) -> bool {
    false
}

pub(super) fn piece_panels(_matrix: &QuantMatrix) -> usize {
    1
}

/// # Safety
/// Cannot be called: there are no [`Rows`].
pub(super) unsafe fn piece(
    _matrix: &QuantMatrix,
    _format: Format,
    rows: &Rows,
    _panels: Range<usize>,
    _out: &Output,
) {
    match *rows {}
}
