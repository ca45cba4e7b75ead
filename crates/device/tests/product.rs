//! Products with packed weights on a device (see `common`) beside sums in f64 over what the codes mean.

mod common;

use common::{Bench, close, numbers};
use footnote_device::kernels::Half;
use footnote_device::kernels::product::{
    CodeGroup, Coding, Job, Matrix, Packed, Products, Scales, Tiles,
};
use footnote_device::kernels::rows::Rows;
use footnote_device::{Address, Op};
use half::{bf16, f16};

const CODINGS: [Coding; 8] = [
    Coding {
        bits: 4,
        offset: 8,
        scales: Scales::Half,
    },
    Coding {
        bits: 4,
        offset: 0,
        scales: Scales::HalfMin,
    },
    Coding {
        bits: 5,
        offset: 16,
        scales: Scales::Half,
    },
    Coding {
        bits: 5,
        offset: 0,
        scales: Scales::HalfMin,
    },
    Coding {
        bits: 8,
        offset: 128,
        scales: Scales::Half,
    },
    Coding {
        bits: 4,
        offset: 0,
        scales: Scales::SuperMin,
    },
    Coding {
        bits: 5,
        offset: 0,
        scales: Scales::SuperMin,
    },
    Coding {
        bits: 6,
        offset: 32,
        scales: Scales::Super16,
    },
];

/// A matrix of made-up codes, and what they mean.
fn coded(coding: Coding, rows: usize, cols: usize, seed: u64) -> (Packed, Vec<f64>) {
    let draws = numbers(rows * cols, seed);
    let mut meant = vec![0.0; rows * cols];
    let group = |row: usize, index: usize| {
        let draws = &draws[row * cols + index * 32..][..32];
        let mut group = CodeGroup::default();
        for (code, draw) in group.codes.iter_mut().zip(draws) {
            *code = ((draw + 1.0) / 2.0 * (1 << coding.bits) as f32) as u8;
        }
        // One pair of halves a super-block.
        let block = &numbers(2, (row * 31 + index / 8) as u64 + seed);
        group.half = [
            f16::from_f32(block[0] * 0.05).to_bits(),
            f16::from_f32(block[1] * 0.05).to_bits(),
        ];
        group.factors = [(draws[0] * 31.0) as i8 as u8, (draws[1] * 31.0).abs() as u8];
        if coding.scales == Scales::SuperMin {
            group.factors[0] &= 63;
        }
        group
    };
    for row in 0..rows {
        for index in 0..cols / 32 {
            let group = group(row, index);
            let half = group
                .half
                .map(|bits| f64::from(f16::from_bits(bits).to_f32()));
            for (k, code) in group.codes.iter().enumerate() {
                let code = f64::from(*code);
                let offset = f64::from(coding.offset);
                meant[row * cols + index * 32 + k] = match coding.scales {
                    Scales::Half => half[0] * (code - offset),
                    Scales::HalfMin => half[0] * code + half[1],
                    Scales::SuperMin => {
                        half[0] * f64::from(group.factors[0]) * code
                            - half[1] * f64::from(group.factors[1])
                    }
                    Scales::Super16 => {
                        half[0] * f64::from(group.factors[k / 16] as i8) * (code - offset)
                    }
                };
            }
        }
    }
    (
        Packed::codes(coding, rows, cols, group).expect("whole groups"),
        meant,
    )
}

fn multiplied(weights: &[f64], rows: usize, cols: usize, input: &[f32]) -> Vec<f64> {
    input
        .chunks_exact(cols)
        .flat_map(|token| {
            (0..rows).map(move |row| {
                weights[row * cols..][..cols]
                    .iter()
                    .zip(token)
                    .map(|(w, x)| w * f64::from(*x))
                    .sum()
            })
        })
        .collect()
}

/// A product of one matrix, into rows of its own width.
fn job(matrix: &Matrix, out: Address) -> Job<'_> {
    Job {
        matrix,
        bias: Address::NONE,
        out,
        stride: matrix.rows(),
        add: false,
    }
}

#[test]
fn products_of_every_coding_are_sums_of_what_the_codes_mean() {
    let products = Products::new(Half::F16);
    let split = Rows::new(Half::F16);
    for (seed, coding) in CODINGS.into_iter().enumerate() {
        for (rows, cols, tokens) in [(24, 256, 1), (19, 768, 3), (40, 1280, 17), (20, 256, 64)] {
            let bench = Bench::new();
            let (packed, meant) = coded(coding, rows, cols, seed as u64 + 1);
            let matrix = packed.upload(&bench.device).expect("memory");
            let input = numbers(tokens * cols, 9);
            let from = bench.buffer(&input);
            let parts = bench.parts(tokens * cols);
            let out = bench.floats(tokens * rows);
            let jobs = products
                .jobs(&bench.device, &[job(&matrix, out.address())])
                .expect("memory");
            bench.run(vec![
                split.split(from.address(), parts.addresses(), tokens * cols),
                products.run(&jobs, parts.addresses(), 0, tokens),
            ]);
            let wanted = multiplied(&meant, rows, cols, &input);
            // A weight is the nearest f16 of what its code means: 2^-12 of it, at random.
            let largest = meant.iter().fold(0.0_f64, |most, w| most.max(w.abs()));
            let bound = largest * (cols as f64).sqrt() * 4e-4;
            close(
                &bench.read(&out, tokens * rows),
                &wanted,
                bound,
                &format!("{coding:?} {rows}x{cols} of {tokens}"),
            );

            let unpacked = bench.halves(rows * cols);
            bench.run(vec![products.unpack(&matrix, unpacked.address())]);
            let halves: Vec<u16> = unpacked.read(rows * cols).expect("memory");
            let halves: Vec<f32> = halves
                .into_iter()
                .map(|bits| f16::from_bits(bits).to_f32())
                .collect();
            close(&halves, &meant, largest.max(1.0) * 5e-4, "unpacked");
        }
    }
}

/// However many tokens there are and however blocks divide them, a token's results are the same to the last bit, and
/// nothing is written for tokens that are not there.
#[test]
fn a_tokens_results_do_not_depend_on_the_tokens_beside_it() {
    let products = Products::new(Half::F16);
    let split = Rows::new(Half::F16);
    // Some warps take two pieces of the depth, and the last tile of rows is not whole.
    let (rows, cols, most) = (37, 1280, 100);
    let (packed, meant) = coded(CODINGS[7], rows, cols, 11);
    let bench = Bench::new();
    let matrix = packed.upload(&bench.device).expect("memory");
    let input = numbers(most * cols, 12);
    let from = bench.buffer(&input);
    let parts = bench.parts(most * cols);
    bench.run(vec![split.split(
        from.address(),
        parts.addresses(),
        most * cols,
    )]);
    let run = |tiles: Option<Tiles>, first: usize, tokens: usize| -> Vec<f32> {
        let out = bench.buffer(&vec![f32::NAN; most * rows]);
        let jobs = products
            .jobs(&bench.device, &[job(&matrix, out.address())])
            .expect("memory");
        let parts = parts.addresses();
        bench.run_once(vec![match tiles {
            Some(tiles) => products.run_as(tiles, &jobs, parts, first, tokens),
            None => products.run(&jobs, parts, first, tokens),
        }]);
        bench.read(&out, most * rows)
    };
    let one = Tiles { rows: 1, tokens: 1 };
    let all = run(Some(one), 0, most);
    let wanted = multiplied(&meant, rows, cols, &input);
    let largest = meant.iter().fold(0.0_f64, |most, w| most.max(w.abs()));
    let bound = largest * (cols as f64).sqrt() * 4e-4;
    close(&all, &wanted, bound, "all tokens");
    let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|x| x.to_bits()).collect() };
    let check = |tiles: Option<Tiles>, first: usize, tokens: usize| {
        let got = run(tiles, first, tokens);
        let (from, to) = (first * rows, (first + tokens) * rows);
        let name = format!("tokens {first}..{} by {tiles:?}", first + tokens);
        assert_eq!(bits(&got[from..to]), bits(&all[from..to]), "{name}");
        let others = got[..from].iter().chain(&got[to..]);
        assert!(others.copied().all(f32::is_nan), "{name} wrote others");
    };
    for tiles in Tiles::all() {
        check(Some(tiles), 0, most);
        check(Some(tiles), 5, 16 * tiles.tokens + 1);
    }
    for tokens in [1, 4, 17, 31, 32, 33, 48, 64, 65] {
        check(None, 3, tokens);
    }
}

/// Three matrices of different codings with one input, one of them with a bias and one added to what is there.
#[test]
fn several_products_share_a_launch() {
    let products = Products::new(Half::F16);
    let split = Rows::new(Half::F16);
    let (cols, tokens) = (256, 2);
    let bench = Bench::new();
    let rows = [9, 16, 8200];
    let made: Vec<_> = [5, 7, 1]
        .into_iter()
        .zip(rows)
        .map(|(coding, rows)| coded(CODINGS[coding], rows, cols, 3))
        .collect();
    let matrices: Vec<_> = made
        .iter()
        .map(|(packed, _)| packed.upload(&bench.device).expect("memory"))
        .collect();
    let input = numbers(tokens * cols, 4);
    let (from, parts) = (bench.buffer(&input), bench.parts(tokens * cols));
    let bias_values = numbers(16, 5);
    let bias = bench.buffer(&bias_values);
    let (out, before) = (bench.floats(tokens * 30), numbers(tokens * 8200, 6));
    let added = bench.buffer(&before);
    let jobs = [
        Job {
            matrix: &matrices[0],
            bias: Address::NONE,
            out: out.address(),
            stride: 30,
            add: false,
        },
        Job {
            matrix: &matrices[1],
            bias: bias.address(),
            out: out.at(4 * 9),
            stride: 30,
            add: false,
        },
        Job {
            matrix: &matrices[2],
            bias: Address::NONE,
            out: added.address(),
            stride: 8200,
            add: true,
        },
    ];
    let jobs = products.jobs(&bench.device, &jobs).expect("memory");
    bench.run_once(vec![
        split.split(from.address(), parts.addresses(), tokens * cols),
        products.run(&jobs, parts.addresses(), 0, tokens),
    ]);
    let got = bench.read(&out, tokens * 30);
    let first = multiplied(&made[0].1, 9, cols, &input);
    let second = multiplied(&made[1].1, 16, cols, &input);
    let third = multiplied(&made[2].1, 8200, cols, &input);
    for token in 0..tokens {
        close(
            &got[token * 30..][..9],
            &first[token * 9..][..9],
            2e-2,
            "first",
        );
        let wanted: Vec<f64> = second[token * 16..][..16]
            .iter()
            .zip(&bias_values)
            .map(|(sum, bias)| sum + f64::from(*bias))
            .collect();
        close(&got[token * 30 + 9..][..16], &wanted, 2e-2, "with a bias");
    }
    let wanted: Vec<f64> = third
        .iter()
        .zip(&before)
        .map(|(sum, before)| sum + f64::from(*before))
        .collect();
    close(&bench.read(&added, tokens * 8200), &wanted, 2e-2, "added");
}

/// Weights of BF16 are themselves, and the input keeps 16 bits; rows looked up are exact.
#[test]
fn bfloat_weights_are_exact() {
    let products = Products::new(Half::Bf16);
    let split = Rows::new(Half::Bf16);
    let (rows, cols, tokens) = (21, 160, 5);
    let bench = Bench::new();
    let halves: Vec<u16> = numbers(rows * cols, 1)
        .into_iter()
        .map(|x| bf16::from_f32(x).to_bits())
        .collect();
    let meant: Vec<f64> = halves
        .iter()
        .map(|bits| f64::from(bf16::from_bits(*bits).to_f32()))
        .collect();
    let matrix = Packed::dense(rows, cols, &halves)
        .expect("whole groups")
        .upload(&bench.device)
        .expect("memory");
    let input = numbers(tokens * cols, 2);
    let (from, parts, out) = (
        bench.buffer(&input),
        bench.parts(tokens * cols),
        bench.floats(tokens * rows),
    );
    let jobs = products
        .jobs(&bench.device, &[job(&matrix, out.address())])
        .expect("memory");
    bench.run(vec![
        split.split(from.address(), parts.addresses(), tokens * cols),
        products.run(&jobs, parts.addresses(), 0, tokens),
    ]);
    close(
        &bench.read(&out, tokens * rows),
        &multiplied(&meant, rows, cols, &input),
        2e-4,
        "product",
    );
    let tokens = bench.buffer(&[20_u32, 0, 7]);
    let looked_up = bench.floats(3 * cols);
    bench.run(vec![products.embed(
        &matrix,
        tokens.address(),
        looked_up.address(),
        3,
    )]);
    let wanted: Vec<f64> = [20, 0, 7]
        .into_iter()
        .flat_map(|row| meant[row * cols..][..cols].to_vec())
        .collect();
    close(&bench.read(&looked_up, 3 * cols), &wanted, 0.0, "rows");
}

/// The interpreter's own product, which stands for the device's library.
#[test]
fn library_products_are_their_definition() {
    use footnote_device::{Number, Product};
    let bench = Bench::new();
    let (rows, columns, depth) = (3, 5, 16);
    let halves =
        |values: &[f32]| -> Vec<f16> { values.iter().map(|x| f16::from_f32(*x)).collect() };
    let (left, right) = (
        halves(&numbers(rows * depth, 1)),
        halves(&numbers(columns * depth, 2)),
    );
    let (a, b, out) = (
        bench.buffer(&left),
        bench.buffer(&right),
        bench.floats(rows * columns),
    );
    let product = Product {
        left: a.address(),
        right: b.address(),
        out: out.address(),
        rows,
        columns,
        depth,
        left_stride: depth,
        right_stride: depth,
        out_stride: columns,
        input: Number::F16,
        output: Number::F32,
        accumulate: false,
    };
    bench.run(vec![Op::Product(product)]);
    let wanted: Vec<f64> = (0..rows * columns)
        .map(|at| {
            (0..depth)
                .map(|k| {
                    f64::from(left[at / columns * depth + k].to_f32())
                        * f64::from(right[at % columns * depth + k].to_f32())
                })
                .sum()
        })
        .collect();
    close(&bench.read(&out, rows * columns), &wanted, 1e-6, "product");
}
