//! The kernels against other sources: candle's reading of the formats, and formulas in f64.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use half::f16;
use proptest::prelude::*;

use super::matmul::matmul_many_with;
use super::*;

const QUANTISED: [GgmlDType; 8] = [
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];
const FLOATS: [GgmlDType; 3] = [GgmlDType::F32, GgmlDType::F16, GgmlDType::BF16];

/// Pseudo-random values in −1..1, never the same run for two seeds.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// A matrix as a file would hold it, and candle's reading of it.
fn weights(dtype: GgmlDType, rows: usize, cols: usize, values: Vec<f32>) -> (Vec<u8>, Vec<f32>) {
    let tensor = Tensor::from_vec(values, (rows, cols), &Device::Cpu).unwrap();
    let quantised = QTensor::quantize(&tensor, dtype).unwrap();
    let read = quantised.dequantize(&Device::Cpu).unwrap();
    (
        quantised.data().unwrap().into_owned(),
        read.flatten_all().unwrap().to_vec1().unwrap(),
    )
}

#[test]
fn rows_are_read_exactly_as_candle_reads_them() {
    for dtype in QUANTISED.into_iter().chain(FLOATS) {
        for (rows, cols) in [(1, 256), (16, 512), (37, 1536)] {
            let mut values = noise(rows as u64, rows * cols);
            // Rows of zeros, of tiny and of large values.
            values[..cols / 2].fill(0.0);
            values[cols / 2..cols].iter_mut().for_each(|x| *x *= 1e-4);
            values[(rows - 1) * cols..]
                .iter_mut()
                .for_each(|x| *x *= 300.0);
            let (bytes, want) = weights(dtype, rows, cols, values);
            let matrix = QuantMatrix::from_ggml(dtype, rows, cols, &bytes).unwrap();
            let mut row = vec![0.0; cols];
            for (index, want) in want.chunks_exact(cols).enumerate() {
                matrix.dequantize_row(index, &mut row);
                assert_eq!(row, want, "{dtype:?} row {index} of {rows} by {cols}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let refused = |dtype, rows, cols, bytes: usize| {
        QuantMatrix::from_ggml(dtype, rows, cols, &vec![0; bytes])
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    expect_test::expect![[r#"
        weights: Q4K matrix of 2 by 32: rows must be a multiple of 256 wide
        weights: Q4_0 matrix of 2 by 32: 35 bytes are not that matrix
        weights: F32 matrix of 0 by 32: it is empty
        weights: Q3K matrix of 1 by 256: this format is not supported; use a Q4_K_M, Q8_0 or F16 file
        weights: F32 matrix of 18446744073709551615 by 32: 0 bytes are not that matrix
    "#]]
    .assert_eq(&format!(
        "{}\n{}\n{}\n{}\n{}\n",
        refused(GgmlDType::Q4K, 2, 32, 0),
        refused(GgmlDType::Q4_0, 2, 32, 35),
        refused(GgmlDType::F32, 0, 32, 0),
        refused(GgmlDType::Q3K, 1, 256, 110),
        refused(GgmlDType::F32, usize::MAX, 32, 0),
    ));
}

/// Whether a product by tiles is one of BF16 here.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_tiles(isa: Isa) -> bool {
    isa == Isa::Amx
}
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn has_tiles(_isa: Isa) -> bool {
    false
}

/// Products of every form against f64 over candle's reading; the error of 8-bit activations is
/// bounded by half a step of each group, times the weights' magnitudes; that of BF16 by 2⁻⁸ of each
/// weight and each activation.
fn check_product(dtype: GgmlDType, rows: usize, cols: usize, tokens: usize, scale: f32) {
    let seed = (rows * 31 + cols * 7 + tokens) as u64;
    let (bytes, read) = weights(dtype, rows, cols, noise(seed, rows * cols));
    let matrix = QuantMatrix::from_ggml(dtype, rows, cols, &bytes).unwrap();
    let mut x = noise(seed + 1, tokens * cols);
    x.iter_mut().for_each(|x| *x *= scale);
    // One outlier channel, as real activations have, and one token of zeros.
    x.iter_mut().step_by(cols).for_each(|x| *x *= 50.0);
    x[(tokens - 1) * cols..].fill(0.0);
    let exact = FLOATS.contains(&dtype);
    let forms = Isa::available()
        .into_iter()
        .flat_map(|isa| [(isa, Form::Dots), (isa, Form::Tiles)]);
    for (isa, form) in forms {
        let mut out = vec![f32::NAN; tokens * rows];
        matmul_many_with(isa, &x, tokens, form, &mut [(&matrix, &mut out)]);
        for token in 0..tokens {
            let x = &x[token * cols..][..cols];
            for row in 0..rows {
                let weights = &read[row * cols..][..cols];
                let dot = |f: &dyn Fn(usize) -> f64| (0..cols).map(f).sum::<f64>();
                let want = dot(&|i| f64::from(weights[i]) * f64::from(x[i]));
                let bound = dot(&|i| {
                    let step = if exact {
                        0.0
                    } else if form == Form::Tiles && has_tiles(isa) {
                        f64::from(x[i].abs()) / 127.0
                    } else {
                        let group = &x[i / 32 * 32..][..32];
                        f64::from(group.iter().fold(0.0_f32, |m, x| m.max(x.abs()))) / 254.0
                    };
                    f64::from(weights[i]).abs() * (step * 1.001 + f64::from(x[i]).abs() * 1e-5)
                });
                let got = f64::from(out[token * rows + row]);
                assert!(
                    (got - want).abs() <= bound + 1e-30,
                    "{isa:?} {form:?} {dtype:?} {rows}x{cols} token {token} of {tokens} row {row}: \
                     {got} for {want}, bound {bound}"
                );
            }
        }
        // Alone or among others, a token's result is the same to the last bit.
        let mut alone = vec![f32::NAN; rows];
        matmul_many_with(isa, &x[..cols], 1, form, &mut [(&matrix, &mut alone)]);
        assert_eq!(
            alone,
            out[..rows],
            "{isa:?} {form:?} {dtype:?} one of {tokens}"
        );
    }
}

#[test]
fn products_stay_within_the_error_of_their_activations() {
    for dtype in QUANTISED.into_iter().chain(FLOATS) {
        for (rows, cols, tokens) in [
            (1, 256, 1),
            (16, 256, 2),
            (33, 512, 5),
            (40, 768, 67),
            (290, 1024, 33),
        ] {
            check_product(dtype, rows, cols, tokens, 1.0);
        }
    }
    for dtype in [GgmlDType::Q5_0, GgmlDType::Q8_0, GgmlDType::Q4_1] {
        check_product(dtype, 24, 896, 3, 1.0);
        check_product(dtype, 24, 96, 13, 1e-6);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn products_of_any_shape(
        dtype in prop::sample::select(QUANTISED.into_iter().chain(FLOATS).collect::<Vec<_>>()),
        rows in 1_usize..50,
        blocks in 1_usize..4,
        tokens in prop_oneof![1_usize..20, 30_usize..100],
        exponent in -8_i32..8,
    ) {
        let block = if matches!(dtype, GgmlDType::Q4K | GgmlDType::Q5K | GgmlDType::Q6K) { 256 } else { 32 };
        check_product(dtype, rows, block * blocks, tokens, 10_f32.powi(exponent));
    }
}

#[test]
fn several_products_over_one_input_are_those_products() {
    let (cols, tokens) = (256, 9);
    let x = noise(3, tokens * cols);
    let matrices: Vec<QuantMatrix> = [
        (GgmlDType::Q4K, 48),
        (GgmlDType::Q6K, 20),
        (GgmlDType::F16, 7),
    ]
    .into_iter()
    .map(|(dtype, rows)| {
        let (bytes, _) = weights(dtype, rows, cols, noise(rows as u64, rows * cols));
        QuantMatrix::from_ggml(dtype, rows, cols, &bytes).unwrap()
    })
    .collect();
    let mut together: Vec<Vec<f32>> = matrices
        .iter()
        .map(|m| vec![0.0; tokens * m.rows()])
        .collect();
    let mut products: Vec<(&QuantMatrix, &mut [f32])> = matrices
        .iter()
        .zip(&mut together)
        .map(|(matrix, out)| (matrix, out.as_mut_slice()))
        .collect();
    matmul_many(&x, tokens, Form::Dots, &mut products);
    for (matrix, together) in matrices.iter().zip(together) {
        let mut alone = vec![0.0; together.len()];
        matrix.matmul(&x, tokens, &mut alone);
        assert_eq!(alone, together);
    }
}

struct AttentionCase {
    shape: HeadShape,
    tokens: usize,
    first_query: usize,
    capacity: usize,
}

/// Attention in two blocks against the formula in f64 over the same f16 keys and values.
fn check_attention(case: &AttentionCase) {
    let AttentionCase {
        shape,
        tokens,
        first_query,
        capacity,
    } = *case;
    let (dim, len) = (shape.head_dim, first_query + tokens);
    let kv_width = shape.kv_heads * dim;
    let q: Vec<f32> = noise(1, tokens * shape.heads * dim)
        .iter()
        .map(|x| x * 3.0)
        .collect();
    let (k, v) = (noise(2, len * kv_width), noise(4, len * kv_width));
    // The second block starts where a run of keys does.
    let cut = len / 2 / KEY_LANES * KEY_LANES;
    let block = |from: usize, to: usize| {
        let mut keys = vec![f16::NAN; shape.kv_len(capacity)];
        let mut values = vec![f16::NAN; shape.kv_len(capacity)];
        for slot in from..to {
            let row = slot * kv_width..(slot + 1) * kv_width;
            put_key(&mut keys, &shape, capacity, slot - from, &k[row.clone()]);
            put_value(&mut values, &shape, capacity, slot - from, &v[row]);
        }
        (keys, values)
    };
    let view = |(keys, values): &(Vec<f16>, Vec<f16>), first, len| {
        (keys.clone(), values.clone(), first, len)
    };
    let whole = [view(&block(0, len), 0, len)];
    let split = [
        view(&block(cut, len), cut, len - cut),
        view(&block(0, cut), 0, cut),
    ];
    let scale = 1.0 / (dim as f32).sqrt();
    let isas = Isa::available();
    for (isa, blocks, together) in isas.iter().flat_map(|isa| {
        [
            (isa, &whole[..], true),
            (isa, &split[..], true),
            (isa, &split[..], false),
        ]
    }) {
        let mut state =
            OnlineAttention::with_isa(*isa, Values::Heads, shape, scale, &q, first_query);
        let blocks: Vec<KvBlock> = blocks
            .iter()
            .map(|(keys, values, first, len)| KvBlock {
                keys,
                values,
                capacity,
                len: *len,
                first: *first,
            })
            .collect();
        if together {
            state.attend_blocks(&blocks);
        } else {
            blocks.iter().for_each(|block| state.attend(block));
        }
        let mut out = vec![f32::NAN; q.len()];
        state.finish(&mut out);
        let half = |x: f32| f64::from(f16::from_f32(x).to_f32());
        for token in 0..tokens {
            for head in 0..shape.heads {
                let at = (token * shape.heads + head) * dim;
                let kv =
                    |slot: usize| slot * kv_width + head / (shape.heads / shape.kv_heads) * dim;
                let scores: Vec<f64> = (0..=first_query + token)
                    .map(|slot| {
                        f64::from(scale)
                            * (0..dim)
                                .map(|i| f64::from(q[at + i]) * half(k[kv(slot) + i]))
                                .sum::<f64>()
                    })
                    .collect();
                let max = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                for i in 0..dim {
                    let want: f64 = scores
                        .iter()
                        .enumerate()
                        .map(|(slot, s)| (s - max).exp() / sum * half(v[kv(slot) + i]))
                        .sum();
                    let got = f64::from(out[at + i]);
                    assert!(
                        (got - want).abs() < 2e-5,
                        "{isa:?} token {token} head {head}: {got} for {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn attention_is_the_softmax_over_the_visible_keys() {
    let shape = |heads, kv_heads, head_dim| HeadShape {
        heads,
        kv_heads,
        head_dim,
    };
    for (shape, tokens, first_query, capacity) in [
        (shape(2, 1, 16), 1, 0, 16),
        (shape(64, 1, 32), 3, 20, 32),
        (shape(4, 2, 48), 3, 1400, 1408),
        (shape(9, 3, 64), 5, 30, 48),
        (shape(14, 2, 64), 40, 0, 64),
        (shape(12, 2, 128), 1, 299, 304),
        (shape(12, 2, 128), 35, 100, 144),
        (shape(4, 4, 80), 17, 3, 32),
        (shape(32, 4, 64), 2, 700, 704),
    ] {
        check_attention(&AttentionCase {
            shape,
            tokens,
            first_query,
            capacity,
        });
    }
}
