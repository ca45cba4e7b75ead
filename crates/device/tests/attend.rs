//! Attention of newest rows on a device (see `common`) beside a softmax in f64.

mod common;

use common::cache::{Held, Step, half_numbers, layer_offset};
use common::{Bench, close};
use footnote_device::kernels::attend::{Attend, Splits};
use footnote_device::kernels::{Half, HeadShape};
use half::f16;
use proptest::prelude::*;

/// Weights are summed as f16: half a step of each, over values up to 1.
const BOUND: f64 = 6e-4;

/// Sequences as (tokens before the step, rows of it).
fn check(shape: HeadShape, sequences: &[(usize, usize)], splits: usize, half: Half) {
    let bench = Bench::new();
    let width = shape.heads * shape.head_dim;
    let held: Vec<Held> = sequences
        .iter()
        .enumerate()
        .map(|(index, (start, rows))| Held::random(&bench, shape, start + rows, index as u64))
        .collect();
    let of_step = held.iter().zip(sequences);
    let step = Step::new(
        &bench,
        of_step
            .map(|(held, (start, rows))| held.sequence(*start, *rows))
            .collect(),
        1,
    );
    let queries = half_numbers(step.rows * width, 77);
    let halves: Vec<f16> = queries.iter().map(|x| f16::from_f32(*x)).collect();
    let from = bench.buffer(&halves);
    let attend = Attend::new(shape, half);
    let (extents, partial) = attend.scratch_floats(step.rows, splits);
    let (extents, partial) = (bench.floats(extents), bench.floats(partial));
    let parts = bench.parts(step.rows * width);
    let most_rows = sequences
        .iter()
        .map(|(_, rows)| *rows)
        .max()
        .expect("a sequence");
    let scratch = Splits {
        extents: extents.address(),
        partial: partial.address(),
        splits,
    };
    bench.run(
        attend
            .attend(
                from.address(),
                &step.addresses(),
                most_rows,
                layer_offset(shape),
                &scratch,
                parts.addresses(),
            )
            .to_vec(),
    );
    let got = parts.joined(half);
    for ((held, (start, rows)), sequence) in held.iter().zip(sequences).zip(&step.sequences) {
        for within in 0..*rows {
            let row = sequence.first_row as usize + within;
            for head in 0..shape.heads {
                let at = row * width + head * shape.head_dim;
                let query = &queries[at..][..shape.head_dim];
                let wanted = held
                    .known
                    .attention(query, head / shape.group(), |s| s <= start + within);
                let what = format!("{shape:?} {splits} splits, {start} + {within}, head {head}");
                close(&got[at..][..shape.head_dim], &wanted, BOUND, &what);
            }
        }
    }
    let spare = &got[(step.rows - 1) * width..];
    assert!(spare.iter().all(|x| *x == 0.0), "a row that is none's");
}

const fn shape(heads: usize, kv_heads: usize, head_dim: usize) -> HeadShape {
    HeadShape {
        heads,
        kv_heads,
        head_dim,
    }
}

#[test]
fn one_row_of_each_sequence_at_every_odd_length() {
    let lengths = [1, 31, 32, 33, 127, 128, 129, 300].map(|tokens| (tokens - 1, 1));
    for heads in [
        shape(1, 1, 32),
        shape(4, 1, 64),
        shape(6, 1, 128),
        shape(14, 2, 64),
        shape(2, 2, 96),
        shape(3, 1, 16),
    ] {
        for splits in [1, 3] {
            check(heads, &lengths, splits, Half::F16);
        }
    }
}

#[test]
fn several_rows_see_no_further_than_themselves() {
    let ragged = [
        (0, 4),
        (30, 3),
        (126, 4),
        (128, 1),
        (255, 2),
        (411, 0),
        (500, 4),
    ];
    for heads in [shape(7, 1, 64), shape(8, 2, 128), shape(5, 5, 32)] {
        check(heads, &ragged, 8, Half::Bf16);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_ragged_step(
        heads in prop::sample::select(vec![shape(1, 1, 32), shape(6, 1, 32), shape(8, 2, 64), shape(14, 2, 64)]),
        sequences in prop::collection::vec((0_usize..500, 0_usize..5), 1..5),
        splits in 1_usize..7,
    ) {
        prop_assume!(sequences.iter().any(|(_, rows)| *rows > 0));
        check(heads, &sequences, splits, Half::F16);
    }
}

#[test]
fn long_contexts_are_split_and_joined() {
    check(shape(2, 1, 64), &[(2_999, 1), (700, 2)], 33, Half::F16);
}
