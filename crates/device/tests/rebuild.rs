//! Coded pages as full pages, and the closed loop, on the emulator beside their definitions.

mod coding;
mod common;

use coding::{encode_page, first_channel};
use common::{Bench, close, numbers};
use footnote_device::kernels::PAGE_TOKENS;
use footnote_device::kernels::coded_pages::{Kept, Widths};
use footnote_device::kernels::codes::{Axis, Bits, Codes, Coding, Source};
use footnote_device::kernels::rebuild::{KeyRows, Rebuild};
use footnote_device::kernels::rows::Parts;
use footnote_device::{Address, Buffer, Number, Op, Product};
use half::f16;

const NO_PARTS: Parts = Parts {
    high: Address::NONE,
    low: Address::NONE,
};

fn halves(values: &[f32]) -> Vec<f16> {
    values.iter().map(|x| f16::from_f32(*x)).collect()
}

fn widened(values: &[f16]) -> Vec<f32> {
    values.iter().map(|x| x.to_f32()).collect()
}

/// `rows · matrixᵀ` of halves.
fn product(
    rows: &Buffer,
    matrix: &Buffer,
    out: &Buffer,
    (count, columns, depth): (usize, usize, usize),
    accumulate: bool,
) -> Op {
    Op::Product(Product {
        left: rows.address(),
        right: matrix.address(),
        out: out.address(),
        rows: count,
        columns,
        depth,
        left_stride: depth,
        right_stride: depth,
        out_stride: columns,
        input: Number::F16,
        output: Number::F32,
        accumulate,
    })
}

fn addresses(bench: &Bench, pages: &[Buffer]) -> Buffer {
    let list: Vec<u64> = pages
        .iter()
        .map(|page| page.address().0)
        .chain([0])
        .collect();
    bench.buffer(&list)
}

#[test]
fn pages_come_back_as_a_full_cache_has_them() {
    for (kv_heads, head_dim, interleaved, norm) in [
        (2, 32, false, false),
        (3, 64, true, true),
        (1, 128, false, true),
    ] {
        let widths = Widths {
            kv_heads,
            head_dim,
            hidden: 64,
        };
        let (kv, half) = (widths.kv(), head_dim / 2);
        let bench = Bench::new();
        let rebuild = Rebuild::new(widths, interleaved);
        let closed = Kept::Pair {
            bits: Bits::Four,
            latent: false,
            outlier: false,
        }
        .closed(&widths);
        let coded = closed.values.expect("a pair");
        let positions = [128_u32, 7, 0];
        let mut pages = Vec::new();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for page in 0..2 {
            let (mut bytes, back) = encode_page(&numbers(PAGE_TOKENS * kv, page + 1), closed.rows);
            keys.push(back);
            let (more, back) = encode_page(&numbers(PAGE_TOKENS * kv, page + 3), coded);
            values.push(back);
            bytes.extend(more);
            pages.push(bench.buffer(&bytes));
        }
        let offset = 32;
        let full: Vec<Buffer> = (0..2)
            .map(|_| bench.buffer(&vec![f16::NAN; offset / 2 + 2 * PAGE_TOKENS * kv]))
            .collect();
        let (from, to) = (addresses(&bench, &pages), addresses(&bench, &full));
        let rows = [0, 1].map(|_| bench.floats(3 * PAGE_TOKENS * kv));
        let table: Vec<f32> = (0..256 * half)
            .flat_map(|at| {
                let angle = (at / half) as f64 * 0.9_f64.powi((at % half) as i32);
                [angle.cos() as f32, angle.sin() as f32]
            })
            .collect();
        let (bias, weight) = (numbers(kv, 5), numbers(head_dim, 6));
        let uploads = [&table, &bias, &weight].map(|x| bench.buffer(x));
        let positions_at = bench.buffer(&positions);
        let none = Address::NONE;
        let key_rows = KeyRows {
            rows: rows[0].address(),
            table: uploads[0].address(),
            bias: uploads[1].address(),
            norm: if norm { uploads[2].address() } else { none },
            epsilon: 1e-6,
        };
        let values_at = closed.values_offset();
        bench.run(vec![
            Codes::new(closed.rows).decode(from.address(), 3, 0, none, rows[0].address()),
            Codes::new(coded).decode(from.address(), 3, values_at, none, rows[1].address()),
            rebuild.place_keys(to.address(), positions_at.address(), 3, &key_rows, offset),
            rebuild.place_values(to.address(), 3, rows[1].address(), offset),
        ]);
        for page in 0..2 {
            let got: Vec<f16> = full[page]
                .read(offset / 2 + 2 * PAGE_TOKENS * kv)
                .expect("memory");
            let mut wanted = vec![0.0; 2 * PAGE_TOKENS * kv];
            for token in 0..PAGE_TOKENS {
                for head in 0..kv_heads {
                    let first = token * kv + head * head_dim;
                    let mut key: Vec<f64> = (0..head_dim)
                        .map(|i| {
                            f64::from(keys[page][first + i]) + f64::from(bias[head * head_dim + i])
                        })
                        .collect();
                    if norm {
                        let squares: f64 = key.iter().map(|x| x * x).sum();
                        let factor = 1.0 / (squares / head_dim as f64 + 1e-6).sqrt();
                        for (x, weight) in key.iter_mut().zip(&weight) {
                            *x *= factor * f64::from(*weight);
                        }
                    }
                    let to = (head * PAGE_TOKENS + token) * head_dim;
                    for pair in 0..half {
                        let at = ((positions[page] as usize + token) * half + pair) * 2;
                        let (cos, sin) = (f64::from(table[at]), f64::from(table[at + 1]));
                        let (a, b) = match interleaved {
                            true => (2 * pair, 2 * pair + 1),
                            false => (pair, pair + half),
                        };
                        wanted[to + a] = key[a] * cos - key[b] * sin;
                        wanted[to + b] = key[a] * sin + key[b] * cos;
                    }
                }
                for channel in 0..kv {
                    wanted[(kv + channel) * PAGE_TOKENS + token] =
                        f64::from(values[page][token * kv + channel]);
                }
            }
            // A half's step.
            close(&widened(&got[offset / 2..]), &wanted, 6e-4, "full page");
        }
    }
}

/// Latents of keys with their first channel in f16, and of values.
#[test]
fn latents_come_back_by_products() {
    let widths = Widths {
        kv_heads: 2,
        head_dim: 32,
        hidden: 96,
    };
    let kv = widths.kv();
    let bench = Bench::new();
    let closed = Kept::Pair {
        bits: Bits::Three,
        latent: true,
        outlier: true,
    }
    .closed(&widths);
    let (coding, coded) = (
        closed.first_channel.expect("an outlier's channel"),
        closed.values.expect("a pair"),
    );
    let keys = numbers(PAGE_TOKENS * kv, 1);
    let (mut bytes, mut key_latents) = encode_page(&keys, closed.rows);
    bytes.extend(first_channel(&keys, coding, &mut key_latents));
    let (more, value_latents) = encode_page(&numbers(PAGE_TOKENS * kv, 2), coded);
    bytes.extend(more);
    let page = bench.buffer(&bytes);
    let pages = bench.buffer(&[page.address().0]);
    let matrix = halves(&numbers(kv * kv, 3));
    let matrix_at = bench.buffer(&matrix);
    let rows = [0, 1].map(|_| bench.halves(PAGE_TOKENS * kv));
    let made = [0, 1].map(|_| bench.floats(PAGE_TOKENS * kv));
    let decode = |codes: Codes, at: usize, rows: &Buffer| {
        codes.decode(pages.address(), 1, at, rows.address(), Address::NONE)
    };
    let sizes = (PAGE_TOKENS, kv, kv);
    bench.run(vec![
        decode(Codes::new(closed.rows), 0, &rows[0]),
        decode(
            Codes::first_of(coding, kv),
            closed.first_channel_offset(),
            &rows[0],
        ),
        product(&rows[0], &matrix_at, &made[0], sizes, false),
        decode(Codes::new(coded), closed.values_offset(), &rows[1]),
        product(&rows[1], &matrix_at, &made[1], sizes, false),
    ]);
    let matrix = widened(&matrix);
    for (made, latents) in made.iter().zip([key_latents, value_latents]) {
        let wanted: Vec<f64> = (0..PAGE_TOKENS * kv)
            .map(|at| {
                let row = &latents[at / kv * kv..][..kv];
                let terms = row.iter().zip(&matrix[at % kv * kv..]);
                terms.map(|(x, m)| f64::from(*x) * f64::from(*m)).sum()
            })
            .collect();
        // Latents are halves when they are multiplied.
        close(
            &bench.read(made, PAGE_TOKENS * kv),
            &wanted,
            2e-3,
            "of latents",
        );
    }
}

/// Layers of a residual stream: each a little different from the one before.
fn stream(layers: usize, width: usize) -> Vec<Vec<f32>> {
    let mut x = numbers(PAGE_TOKENS * width, 1);
    (0..layers)
        .map(|layer| {
            for (x, change) in x
                .iter_mut()
                .zip(numbers(PAGE_TOKENS * width, layer as u64 + 2))
            {
                *x = f16::from_f32(*x + change * 0.2).to_f32();
            }
            x.clone()
        })
        .collect()
}

#[test]
fn the_closed_loop_is_the_engines() {
    let widths = Widths {
        kv_heads: 2,
        head_dim: 32,
        hidden: 96,
    };
    let hidden = widths.hidden;
    let bench = Bench::new();
    let rebuild = Rebuild::new(widths, false);
    let open = Kept::Input { bits: Bits::Four }.open(&widths);
    let accumulator = bench.halves(PAGE_TOKENS * hidden);
    let accumulators = bench.buffer(&[accumulator.address().0, 0]);
    let floats = bench.floats(2 * PAGE_TOKENS * hidden);
    let mut expected: Vec<f32> = Vec::new();
    for (layer, source) in stream(4, hidden).iter().enumerate() {
        let bits = if layer == 0 { Bits::Four } else { Bits::Two };
        let coding = Coding {
            bits,
            width: hidden,
            axis: Axis::Token,
        };
        let codes = Codes::new(coding);
        let mut content = vec![f16::NAN; open.bytes / 2];
        content[open.source_offset / 2..].copy_from_slice(&halves(source));
        let open_page = bench.buffer(&content);
        let page = bench.buffer(&vec![0_u8; coding.bytes()]);
        let pages = bench.buffer(&[page.address().0, 0]);
        let (wanted, from, at) = if layer == 0 {
            let (wanted, back) = encode_page(source, coding);
            expected = widened(&halves(&back));
            (
                wanted,
                open_page.address(),
                (Source::Rows, open.source_offset),
            )
        } else {
            let tasks = bench.buffer(&[open_page.address().0, accumulator.address().0, 0, 0]);
            bench.run(vec![rebuild.differ(
                tasks.address(),
                2,
                &open,
                0,
                floats.address(),
                NO_PARTS,
            )]);
            let delta: Vec<f32> = source.iter().zip(&expected).map(|(x, y)| x - y).collect();
            let (wanted, back) = encode_page(&delta, coding);
            for (sum, delta) in expected.iter_mut().zip(&back) {
                *sum = f16::from_f32(*sum + delta).to_f32();
            }
            (wanted, floats.address(), (Source::Floats, 0))
        };
        let tasks = bench.buffer(&[from.0, page.address().0, 0, 0]);
        bench.run(vec![codes.encode(tasks.address(), 2, at.0, at.1, 0)]);
        assert_eq!(
            page.read::<u8>(coding.bytes()).expect("memory"),
            wanted,
            "layer {layer}"
        );
        bench.run_once(vec![codes.accumulate(
            pages.address(),
            2,
            0,
            accumulators.address(),
            layer > 0,
        )]);
        let got: Vec<f16> = accumulator.read(PAGE_TOKENS * hidden).expect("memory");
        assert_eq!(widened(&got), expected, "layer {layer}");
    }
}

#[test]
fn differences_go_through_the_joint_basis() {
    let widths = Widths {
        kv_heads: 1,
        head_dim: 32,
        hidden: 96,
    };
    let (hidden, rank) = (widths.hidden, 64);
    let bench = Bench::new();
    let rebuild = Rebuild::new(widths, false);
    let open = Kept::Input { bits: Bits::Eight }.open(&widths);
    let coding = Kept::Delta {
        bits: Bits::Eight,
        joint: true,
    }
    .closed(&widths)
    .rows;
    assert_eq!(coding.width, rank);
    let (before, source) = (
        numbers(PAGE_TOKENS * hidden, 1),
        numbers(PAGE_TOKENS * hidden, 2),
    );
    let mut content = vec![f16::NAN; open.bytes / 2];
    content[open.source_offset / 2..].copy_from_slice(&halves(&source));
    let open_page = bench.buffer(&content);
    let accumulator = bench.buffer(&halves(&before));
    // Orthonormal columns: a reflection's first ones.
    let normal: Vec<f32> = numbers(hidden, 3);
    let squares: f32 = normal.iter().map(|x| x * x).sum();
    let u = |row: usize, column: usize| {
        f32::from(u8::from(row == column)) - 2.0 * normal[row] * normal[column] / squares
    };
    let up: Vec<f32> = (0..hidden * rank)
        .map(|at| u(at / rank, at % rank))
        .collect();
    let down: Vec<f32> = (0..hidden * rank)
        .map(|at| u(at % hidden, at / hidden))
        .collect();
    let (up_at, down_at) = (bench.buffer(&halves(&up)), bench.buffer(&halves(&down)));
    let (floats, moved) = (
        bench.floats(PAGE_TOKENS * hidden),
        bench.floats(PAGE_TOKENS * hidden),
    );
    let parts = bench.parts(PAGE_TOKENS * hidden);
    let latents = bench.floats(PAGE_TOKENS * rank);
    let decoded = bench.halves(PAGE_TOKENS * rank);
    let page = bench.buffer(&vec![0_u8; coding.bytes()]);
    let lists = [
        vec![open_page.address().0, accumulator.address().0],
        vec![latents.address().0, page.address().0],
        vec![page.address().0],
        vec![accumulator.address().0],
    ]
    .map(|list| bench.buffer(&list));
    let codes = Codes::new(coding);
    let sizes = (PAGE_TOKENS, rank, hidden);
    bench.run_once(vec![
        rebuild.differ(
            lists[0].address(),
            1,
            &open,
            0,
            floats.address(),
            parts.addresses(),
        ),
        product(&parts.high, &down_at, &latents, sizes, false),
        product(&parts.low, &down_at, &latents, sizes, true),
        codes.encode(lists[1].address(), 1, Source::Floats, 0, 0),
        codes.decode(lists[2].address(), 1, 0, decoded.address(), Address::NONE),
        product(&decoded, &up_at, &moved, (PAGE_TOKENS, hidden, rank), false),
        rebuild.move_on(lists[3].address(), 1, moved.address()),
    ]);
    let got = widened(
        &accumulator
            .read::<f16>(PAGE_TOKENS * hidden)
            .expect("memory"),
    );
    let mut wanted = Vec::new();
    for token in 0..PAGE_TOKENS {
        let row = token * hidden..(token + 1) * hidden;
        let delta: Vec<f64> = source[row.clone()]
            .iter()
            .zip(&before[row.clone()])
            .map(|(x, y)| f64::from(*x) - f64::from(*y))
            .collect();
        let latents: Vec<f64> = (0..rank)
            .map(|j| {
                (0..hidden)
                    .map(|i| delta[i] * f64::from(up[i * rank + j]))
                    .sum()
            })
            .collect();
        for i in 0..hidden {
            let back: f64 = (0..rank)
                .map(|j| latents[j] * f64::from(up[i * rank + j]))
                .sum();
            wanted.push(f64::from(before[row.start + i]) + back);
        }
    }
    // Half a step of 8 bits over a range of about 4, spread by an orthonormal matrix.
    close(&got, &wanted, 2e-2, "accumulator");
}
