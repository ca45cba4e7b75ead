//! New rows on a device (see `common`) beside norm and rotation in f64, and where they go in pages.

mod common;

use common::cache::{Held, Step, layer_offset};
use common::{Bench, close, numbers};
use footnote_device::kernels::append::{Append, New, Pairs, Places};
use footnote_device::kernels::{HeadShape, Sequence};
use footnote_device::{Address, Buffer};

const POSITIONS: usize = 700;
const EPSILON: f32 = 1e-6;

fn angle(position: usize, pair: usize, dim: usize) -> f64 {
    position as f64 * 10_000_f64.powf(-2.0 * pair as f64 / dim as f64)
}

fn table(dim: usize) -> Vec<f32> {
    (0..POSITIONS)
        .flat_map(|position| (0..dim / 2).map(move |pair| angle(position, pair, dim)))
        .flat_map(|angle| [angle.cos() as f32, angle.sin() as f32])
        .collect()
}

fn normed(head: &[f64], weight: Option<&[f32]>) -> Vec<f64> {
    let Some(weight) = weight else {
        return head.to_vec();
    };
    let mean = head.iter().map(|x| x * x).sum::<f64>() / head.len() as f64;
    let scale = 1.0 / (mean + f64::from(EPSILON)).sqrt();
    let pairs = head.iter().zip(weight);
    pairs.map(|(x, w)| x * scale * f64::from(*w)).collect()
}

fn rotated(head: &[f64], position: usize, pairs: Pairs) -> Vec<f64> {
    let dim = head.len();
    let mut out = head.to_vec();
    for pair in 0..dim / 2 {
        let (first, second) = match pairs {
            Pairs::Halves => (pair, pair + dim / 2),
            Pairs::Interleaved => (2 * pair, 2 * pair + 1),
        };
        let (sine, cosine) = angle(position, pair, dim).sin_cos();
        out[first] = head[first] * cosine - head[second] * sine;
        out[second] = head[first] * sine + head[second] * cosine;
    }
    out
}

/// A ragged step: what every place gets, for one shape.
fn check(shape: HeadShape, pairs: Pairs, with_norms: bool) {
    let bench = Bench::new();
    let HeadShape {
        heads,
        kv_heads,
        head_dim: dim,
    } = shape;
    let kv_width = kv_heads * dim;
    let held = [300, 129, 5].map(|tokens| Held::empty(&bench, shape, tokens));
    let sequences = [
        // Over the border of a page, after tokens that were let go.
        Sequence {
            skipped: 333,
            ..held[0].sequence(126, 5)
        },
        held[1].sequence(128, 1),
        held[2].sequence(0, 2),
    ];
    let step = Step::new(&bench, sequences.to_vec(), 2);
    let rows = step.rows;
    let width = (heads + 2 * kv_heads) * dim;
    let qkv = numbers(rows * width, 1);
    let weights = [2, 3].map(|seed| numbers(dim, seed));
    let weight = |which: usize| with_norms.then(|| bench.buffer(&weights[which]));
    let (query_weight, key_weight) = (weight(0), weight(1));
    let address = |buffer: &Option<Buffer>| buffer.as_ref().map_or(Address::NONE, Buffer::address);
    let from = bench.buffer(&qkv);
    let turns = bench.buffer(&table(dim));
    let queries = bench.halves(rows * heads * dim);
    let exact = bench.floats(rows * heads * dim);
    let [raw, keys, rotated_keys, values] = [(); 4].map(|()| bench.floats(rows * kv_width));
    let append = Append::new(shape, pairs);
    let new = New {
        qkv: from.address(),
        step: step.addresses(),
        table: turns.address(),
        query_weight: address(&query_weight),
        key_weight: address(&key_weight),
        epsilon: EPSILON,
    };
    bench.run(vec![append.append(
        &new,
        &Places {
            page_offset: Some(layer_offset(shape)),
            queries: queries.address(),
            exact_queries: exact.address(),
            raw_keys: raw.address(),
            keys: keys.address(),
            rotated_keys: rotated_keys.address(),
            values: values.address(),
        },
    )]);
    // All places are optional.
    bench.run(vec![append.append(&new, &Places::default())]);

    let what = format!("{shape:?} {pairs:?} norms: {with_norms}");
    let halves: Vec<half::f16> = queries.read(rows * heads * dim).expect("memory");
    let exact = bench.read(&exact, rows * heads * dim);
    let [raw, keys, rotated_keys, values] =
        [raw, keys, rotated_keys, values].map(|buffer| bench.read(&buffer, rows * kv_width));
    for (index, sequence) in step.sequences.iter().enumerate() {
        for within in 0..sequence.rows as usize {
            let row = sequence.first_row as usize + within;
            let slot = sequence.start as usize + within;
            let position = slot + sequence.skipped as usize;
            let all: Vec<f64> = qkv[row * width..][..width]
                .iter()
                .map(|x| f64::from(*x))
                .collect();
            let (q, kv) = all.split_at(heads * dim);
            let (k, v) = kv.split_at(kv_width);
            let weight = |which: usize| with_norms.then_some(&weights[which][..]);
            let by_head = |rows: &[f64], work: &dyn Fn(&[f64]) -> Vec<f64>| -> Vec<f64> {
                rows.chunks_exact(dim).flat_map(work).collect()
            };
            let q = by_head(q, &|head| {
                rotated(&normed(head, weight(0)), position, pairs)
            });
            let normed_keys = by_head(k, &|head| normed(head, weight(1)));
            let turned_keys = by_head(&normed_keys, &|head| rotated(head, position, pairs));
            let got: Vec<f32> = halves[row * heads * dim..][..heads * dim]
                .iter()
                .map(|x| x.to_f32())
                .collect();
            // Half a step of f16 at values up to 2, and of f32 at angles' products.
            close(&got, &q, 1.1e-3, &what);
            let part = |of: &[f32], width: usize| of[row * width..][..width].to_vec();
            close(&part(&exact, heads * dim), &q, 2e-6, &what);
            close(&part(&raw, kv_width), k, 0.0, &what);
            close(&part(&keys, kv_width), &normed_keys, 1e-6, &what);
            close(&part(&rotated_keys, kv_width), &turned_keys, 2e-6, &what);
            close(&part(&values, kv_width), v, 0.0, &what);
            let (page_keys, page_values) = held[index].read(slot);
            close(&page_keys, &turned_keys, 1.1e-3, &what);
            close(&page_values, v, 1.1e-3, &what);
        }
    }
    // Nothing else is touched: neither spare rows nor neighbouring slots.
    assert!(
        exact[(rows - 2) * heads * dim..].iter().all(|x| x.is_nan()),
        "{what}"
    );
    for slot in [125, 131] {
        let (page_keys, page_values) = held[0].read(slot);
        assert!(page_keys.iter().chain(&page_values).all(|x| x.is_nan()));
    }
}

#[test]
fn rows_are_normed_rotated_and_put_in_their_pages() {
    for (heads, kv_heads, head_dim) in
        [(1, 1, 32), (4, 1, 64), (14, 2, 64), (6, 1, 128), (3, 3, 16)]
    {
        let shape = HeadShape {
            heads,
            kv_heads,
            head_dim,
        };
        for pairs in [Pairs::Halves, Pairs::Interleaved] {
            for with_norms in [false, true] {
                check(shape, pairs, with_norms);
            }
        }
    }
}
