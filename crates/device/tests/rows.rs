//! Norms and gates on a device (see `common`) beside their definitions in f64.

mod common;

use common::{Bench, close, numbers};
use footnote_device::kernels::Half;
use footnote_device::kernels::rows::Rows;

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

/// What two halves together may miss of values up to a few.
fn half_error(half: Half) -> f64 {
    match half {
        Half::F16 => 2e-6,
        Half::Bf16 => 1e-4,
    }
}
