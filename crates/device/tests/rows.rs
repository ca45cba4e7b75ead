//! Norms, gates and moved heads on a device (see `common`) beside their definitions in f64.

mod common;

use common::cache::{Held, Step, layer_offset};
use common::{Bench, close, numbers};
use footnote_device::kernels::blend::{Blend, Target};
use footnote_device::kernels::rows::Rows;
use footnote_device::kernels::{Half, HeadShape};

#[test]
fn norms_and_gates_are_their_definitions() {
    for half in [Half::F16, Half::Bf16] {
        let rows = Rows::new(half);
        for (count, width) in [(1, 32), (3, 576), (2, 896)] {
            let bench = Bench::new();
            let (input, weight) = (numbers(count * width, 1), numbers(width, 2));
            let (from, by) = (bench.buffer(&input), bench.buffer(&weight));
            let out = bench.floats(count * width);
            let parts = bench.parts(count * width);
            bench.run(vec![rows.rms_norm(
                from.address(),
                by.address(),
                out.address(),
                parts.addresses(),
                count,
                width,
                1e-5,
            )]);
            let wanted: Vec<f64> = input
                .chunks_exact(width)
                .flat_map(|row| {
                    let mean: f64 =
                        row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
                    let scale = 1.0 / (mean + 1e-5).sqrt();
                    row.iter()
                        .zip(&weight)
                        .map(move |(x, w)| f64::from(*x) * scale * f64::from(*w))
                        .collect::<Vec<_>>()
                })
                .collect();
            close(&bench.read(&out, count * width), &wanted, 1e-5, "norm");
            close(
                &parts.joined(half),
                &wanted,
                half_error(half),
                "norm in parts",
            );

            let gate_up = numbers(count * 2 * width, 3);
            let from = bench.buffer(&gate_up);
            let parts = bench.parts(count * width);
            bench.run(vec![rows.silu_mul(
                from.address(),
                parts.addresses(),
                count,
                width,
            )]);
            let wanted: Vec<f64> = gate_up
                .chunks_exact(2 * width)
                .flat_map(|row| {
                    let (gate, up) = row.split_at(width);
                    gate.iter()
                        .zip(up)
                        .map(|(g, u)| {
                            let g = f64::from(*g);
                            g / (1.0 + (-g).exp()) * f64::from(*u)
                        })
                        .collect::<Vec<_>>()
                })
                .collect();
            close(&parts.joined(half), &wanted, half_error(half), "gate");
        }
    }
}

/// One head is moved towards each target, and no other head changes; rows belong to several sequences.
#[test]
fn a_moved_head_is_its_definition() {
    let shape = HeadShape {
        heads: 6,
        kv_heads: 2,
        head_dim: 32,
    };
    let (dim, width, head, u) = (shape.head_dim, 6 * 32, 4, 0.3_f32);
    let kv_head = head / shape.group();
    for half in [Half::F16, Half::Bf16] {
        let bench = Bench::new();
        let held = [130, 2].map(|tokens| Held::random(&bench, shape, tokens, tokens as u64));
        let sequences = vec![held[0].sequence(128, 2), held[1].sequence(1, 1)];
        let step = Step::new(&bench, sequences, 0);
        let rows = step.rows;
        // A row's queries, keys and values, of which the values are meant.
        let stride = width + 2 * shape.kv_heads * dim;
        let (before, other) = (numbers(rows * width, 1), numbers(rows * width, 2));
        let values = numbers(rows * stride, 3);
        let value = |row: usize, i: usize| {
            f64::from(values[row * stride + width + (shape.kv_heads + kv_head) * dim + i])
        };
        let first = |row: usize, i: usize| {
            let of = &held[usize::from(row == 2)].known.values;
            f64::from(of[kv_head * dim + i])
        };
        let given = |row: usize, i: usize| f64::from(other[row * width + head * dim + i]);
        let nothing = |_: usize, _: usize| 0.0;
        let from = bench.buffer(&values);
        let (split, others) = (Rows::new(half), bench.parts(rows * width));
        let floats = bench.buffer(&other);
        bench.run(vec![split.split(
            floats.address(),
            others.addresses(),
            rows * width,
        )]);
        type Definition<'a> = &'a dyn Fn(usize, usize) -> f64;
        let cases: [(Target, Definition<'_>); 4] = [
            (
                Target::Values {
                    rows: from.at(4 * (width + shape.kv_heads * dim)),
                    stride,
                },
                &value,
            ),
            (Target::Nothing, &nothing),
            (
                Target::First {
                    step: step.addresses(),
                    page_offset: layer_offset(shape),
                },
                &first,
            ),
            (Target::Other(others.addresses()), &given),
        ];
        for (target, definition) in cases {
            let (parts, floats) = (bench.parts(rows * width), bench.buffer(&before));
            let blend = Blend::new(shape, half);
            bench.run_once(vec![
                split.split(floats.address(), parts.addresses(), rows * width),
                blend.blend(parts.addresses(), rows, head, u, target),
            ]);
            let wanted: Vec<f64> = (0..rows * width)
                .map(|at| {
                    let (row, within) = (at / width, at % width);
                    let x = f64::from(before[at]);
                    match within / dim == head {
                        true => {
                            (1.0 - f64::from(u)) * x + f64::from(u) * definition(row, within % dim)
                        }
                        false => x,
                    }
                })
                .collect();
            let what = format!("{half:?}, {target:?}");
            close(&parts.joined(half), &wanted, 2.0 * half_error(half), &what);
        }
    }
}

/// What two halves together may miss of values up to a few.
fn half_error(half: Half) -> f64 {
    match half {
        Half::F16 => 2e-6,
        Half::Bf16 => 1e-4,
    }
}
