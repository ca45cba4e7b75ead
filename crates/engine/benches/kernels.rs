//! How fast are products with packed weights and attention, beside candle's products in one run?
//!
//! `cargo bench -p footnote-engine --bench kernels [FORMAT]`. Decoding is measured in bytes of
//! weights a second (its ceiling is what memory gives, measured first), prefill in operations.
#![expect(clippy::print_stdout, reason = "a benchmark's report")]

use std::hint::black_box;
use std::time::Instant;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};
use footnote_engine::kernels::{
    Form, HeadShape, Isa, KvBlock, QuantMatrix, attention, matmul_many, parallel, put_key,
    put_value, threads,
};
use half::f16;

/// Shapes of the catalogue's models: Qwen2.5-Coder 1.5B and 0.5B, SmolLM2-135M.
const SHAPES: [(GgmlDType, usize, usize); 6] = [
    (GgmlDType::Q4K, 8960, 1536),
    (GgmlDType::Q6K, 1536, 8960),
    (GgmlDType::Q5_0, 4864, 896),
    (GgmlDType::Q8_0, 4864, 896),
    (GgmlDType::Q4_1, 1536, 576),
    (GgmlDType::F16, 2048, 1536),
];
/// Enough copies of a matrix that decoding reads memory and not a cache.
const COLD_BYTES: usize = 160 << 20;

fn main() -> Result<(), candle_core::Error> {
    // `cargo bench` adds `--bench` to what the user gave.
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    println!("{} threads, {:?}", threads(), Isa::detect());
    println!("memory reads {:.1} GB/s", read_speed());
    for (dtype, rows, cols) in SHAPES {
        let name = format!("{dtype:?}");
        if only.as_ref().is_none_or(|only| *only == name) {
            products(dtype, rows, cols)?;
        }
    }
    if only.is_none_or(|only| only == "attention") {
        for (heads, kv_heads, head_dim) in [(12, 2, 128), (14, 2, 64), (9, 3, 64)] {
            attend(&HeadShape {
                heads,
                kv_heads,
                head_dim,
            });
        }
    }
    Ok(())
}

/// The shortest of some runs, in seconds.
fn best(runs: usize, mut work: impl FnMut()) -> f64 {
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min)
}

fn values(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| (i * 7919 % 10_007) as f32 / 5003.0 - 1.0)
        .collect()
}

fn read_speed() -> f64 {
    let memory = vec![1_u64; 32 << 20];
    let part = memory.len().div_ceil(threads());
    let seconds = best(8, || {
        parallel(threads(), |piece| {
            let part = memory.chunks(part).nth(piece).unwrap_or(&[]);
            let mut sums = [0_u64; 32];
            for chunk in part.as_chunks::<32>().0 {
                for (sum, x) in sums.iter_mut().zip(chunk) {
                    *sum = sum.wrapping_add(*x);
                }
            }
            black_box(sums);
        });
    });
    (memory.len() * 8) as f64 / seconds / 1e9
}

fn products(dtype: GgmlDType, rows: usize, cols: usize) -> Result<(), candle_core::Error> {
    let weights = Tensor::from_vec(values(rows * cols), (rows, cols), &Device::Cpu)?;
    let tensor = QTensor::quantize(&weights, dtype)?;
    let bytes = tensor.data()?.into_owned();
    let copies = COLD_BYTES.div_ceil(bytes.len());
    let matrices: Vec<QuantMatrix> = (0..copies)
        .filter_map(|_| QuantMatrix::from_ggml(dtype, rows, cols, &bytes).ok())
        .collect();
    // Candle's matrix is one: its decoding speed is flattered by the cache.
    let candle = QMatMul::from_qtensor(tensor)?;
    print!("{dtype:?} {rows}×{cols}:");
    for tokens in [1, 2, 4, 8, 16, 32, 64, 512] {
        let x = values(tokens * cols);
        let mut out = vec![0.0; tokens * rows];
        let many = if tokens < 64 { matrices.len() } else { 1 };
        let seconds = best(4, || {
            for matrix in &matrices[..many] {
                // As the decoder has it: prompts by tiles, written tokens by dot products.
                let form = if tokens < 32 {
                    Form::Dots
                } else {
                    Form::of_many()
                };
                matmul_many(&x, tokens, form, &mut [(matrix, out.as_mut_slice())]);
            }
        }) / many as f64;
        let speed = |seconds: f64| {
            if tokens == 1 {
                bytes.len() as f64 / seconds / 1e9
            } else {
                2.0 * (rows * cols * tokens) as f64 / seconds / 1e9
            }
        };
        let unit = if tokens == 1 { "GB/s" } else { "GOPS" };
        print!(" {tokens} tokens {:.1} {unit}", speed(seconds));
        if [1, 512].contains(&tokens) {
            let x = Tensor::from_vec(x, (tokens, cols), &Device::Cpu)?;
            candle.forward(&x)?;
            let mut failed = None;
            let seconds = best(3, || failed = candle.forward(&x).err());
            if let Some(error) = failed {
                return Err(error);
            }
            print!(" (candle {:.1})", speed(seconds));
        }
    }
    println!();
    Ok(())
}

fn attend(shape: &HeadShape) {
    const KEYS: usize = 8192;
    let width = shape.kv_heads * shape.head_dim;
    let mut keys = vec![f16::ZERO; shape.kv_len(KEYS)];
    let mut rows = keys.clone();
    for (slot, row) in values(KEYS * width).chunks_exact(width).enumerate() {
        put_key(&mut keys, shape, KEYS, slot, row);
        put_value(&mut rows, shape, KEYS, slot, row);
    }
    let block = KvBlock {
        keys: &keys,
        values: &rows,
        capacity: KEYS,
        len: KEYS,
        first: 0,
    };
    for tokens in [1, 512] {
        let q = values(tokens * shape.heads * shape.head_dim);
        let mut out = vec![0.0; q.len()];
        let seconds = best(4, || {
            attention(shape, 0.1, &q, KEYS - tokens, &block, &mut out);
        });
        let operations = 4.0 * (tokens * KEYS * shape.heads * shape.head_dim) as f64;
        println!(
            "attention of {}/{} heads of {}, {tokens} tokens over {KEYS} keys: {:.2} ms, {:.0} \
             GFLOPS, {:.1} GB/s of keys and values",
            shape.heads,
            shape.kv_heads,
            shape.head_dim,
            seconds * 1e3,
            operations / seconds / 1e9,
            (4 * KEYS * width) as f64 / seconds / 1e9,
        );
    }
}
