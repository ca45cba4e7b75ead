//! Heads made worse on purpose, on a device: what a pass does to them after it attends.
//!
//! As on the processor (`decoder/perturb`): after attention, and before its output is multiplied. Must not know why.

use footnote_device::Op;
use footnote_device::kernels::Step;
use footnote_device::kernels::blend::Target as Towards;
use footnote_device::kernels::rows::Parts;

use super::step::{DeviceStep, Kind, Part};
use super::{DeviceModel, Work};
use crate::decoder::{Perturbation, Target};

/// Rows of a pass some of whose heads are moved.
pub(super) struct Moved<'a> {
    first_row: usize,
    rows: usize,
    perturbation: &'a Perturbation,
}

impl<'a> Moved<'a> {
    /// Those of the steps whose first rows are `places`.
    pub(super) fn of(steps: &[DeviceStep<'a>], places: &[usize]) -> Vec<Moved<'a>> {
        let placed = steps.iter().zip(places);
        let moved = placed.filter_map(|(step, first)| {
            Some(Moved {
                first_row: *first,
                rows: step.tokens.len(),
                perturbation: step.perturbation?,
            })
        });
        moved.collect()
    }
}

impl DeviceModel {
    /// Moves what the chosen heads of a layer gave for a part's rows, which were just attended for.
    pub(super) fn move_heads(
        &self,
        index: usize,
        part: &Part,
        moved: &[Moved<'_>],
        work: &Work,
        ops: &mut Vec<Op>,
    ) {
        let query = self.config.query_width();
        let end = part.first_row + part.rows;
        let mut evened = false;
        for moved in moved {
            // A prompt on a cache of codes is read in two parts.
            let first = moved.first_row.max(part.first_row);
            let last = (moved.first_row + moved.rows).min(end);
            let heads = moved.perturbation.heads_of(index);
            if first >= last || heads.is_empty() {
                continue;
            }
            if moved.perturbation.target() == Target::Uniform && !evened {
                self.attend_evenly(index, part, work, ops);
                evened = true;
            }
            let target = match moved.perturbation.target() {
                Target::Identity => self.own_values(first, work),
                Target::Zero => Towards::Nothing,
                Target::Sink => match &part.kind {
                    Kind::Written { step, .. } | Kind::Prompt { step, .. } => Towards::First {
                        step: Step {
                            row_sequence: step.row_sequence.plus(4 * (first - part.first_row)),
                            ..*step
                        },
                        page_offset: part.layout.layer_offsets[index],
                    },
                    // Caches of codes keep no values as they are.
                    Kind::Rows(_) | Kind::Body(_) => self.own_values(first, work),
                },
                Target::Uniform => Towards::Other(self.evenly(first, work)),
            };
            for head in heads {
                ops.push(self.makers.blend.blend(
                    work.attended.from(first, query),
                    last - first,
                    *head,
                    moved.perturbation.u(),
                    target,
                ));
            }
        }
    }

    /// The rows' own values, from `row` on.
    fn own_values(&self, row: usize, work: &Work) -> Towards {
        let (query, kv) = (self.config.query_width(), self.config.kv_width());
        let stride = query + 2 * kv;
        Towards::Values {
            rows: work.projected.at(4 * (row * stride + query + kv)),
            stride,
        }
    }

    /// Attends from a part's rows to all that they see alike: queries of zeros find all keys equal.
    fn attend_evenly(&self, index: usize, part: &Part, work: &Work, ops: &mut Vec<Op>) {
        let query = self.config.query_width();
        let mut clear = |from, bytes| ops.push(Op::Zero { to: from, bytes });
        let elements = part.rows * query;
        clear(work.queries.at(2 * part.first_row * query), 2 * elements);
        if part.layout.coded.is_some() {
            clear(work.coded.queries.address(), 4 * elements);
        }
        self.attend(index, part, self.evenly(part.first_row, work), work, ops);
    }

    /// Where the results of that are from `row` on: gate and up stand there later.
    fn evenly(&self, row: usize, work: &Work) -> Parts {
        let query = self.config.query_width();
        let low = 2 * self.options.rows * query;
        Parts {
            high: work.widened.at(2 * row * query),
            low: work.widened.at(low + 2 * row * query),
        }
    }
}
