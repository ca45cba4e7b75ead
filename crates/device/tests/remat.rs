//! Attention over coded pages on the emulator beside its definition in f64.

mod coding;
mod common;

use coding::{encode_page, first_channel};
use common::{Bench, close, numbers};
use footnote_device::kernels::coded_pages::{Kept, Widths};
use footnote_device::kernels::codes::Bits;
use footnote_device::kernels::remat::{
    Form, KeyParts, LayerPlace, Partials, Remat, Shape, accumulator_layer,
};
use footnote_device::kernels::{Half, PAGE_TOKENS, Sequence, Step};
use footnote_device::{Address, Buffer};
use half::f16;

const POSITIONS: usize = 512;

/// What f16 keeps of a value.
fn rounded(values: Vec<f32>) -> Vec<f32> {
    values
        .into_iter()
        .map(|x| f16::from_f32(x).to_f32())
        .collect()
}

fn halves(values: &[f32]) -> Vec<f16> {
    values.iter().map(|x| f16::from_f32(*x)).collect()
}

/// Angles of every position, as the kernels' table.
fn table(head_dim: usize) -> Vec<f32> {
    let half = head_dim / 2;
    let angle = |position: usize, pair: usize| {
        position as f64 * 10_000_f64.powf(-(pair as f64) / half as f64)
    };
    (0..POSITIONS * half)
        .flat_map(|at| {
            let (sin, cos) = angle(at / half, at % half).sin_cos();
            [cos as f32, sin as f32]
        })
        .collect()
}

fn turn(head: &mut [f64], table: &[f32], position: usize, interleaved: bool) {
    let half = head.len() / 2;
    for pair in 0..half {
        let (first, second) = match interleaved {
            true => (2 * pair, 2 * pair + 1),
            false => (pair, pair + half),
        };
        let at = (position * half + pair) * 2;
        let (cos, sin) = (f64::from(table[at]), f64::from(table[at + 1]));
        let (x, y) = (head[first], head[second]);
        head[first] = x * cos - y * sin;
        head[second] = x * sin + y * cos;
    }
}

/// A sequence of a test: what its pages hold, and what that stands for.
struct Text {
    /// Slots of its rows.
    start: usize,
    rows: usize,
    skipped: usize,
    /// Per closed page rows of what keys come from, and of what is weighed.
    closed: Vec<(Vec<f32>, Vec<f32>)>,
    /// Per open page rotated keys `[kv_heads][128][head_dim]`, and what is weighed, by token.
    open: Vec<(Vec<f32>, Vec<f32>)>,
}

struct Case {
    shape: Shape,
    bias: bool,
    norm: bool,
    splits: usize,
    /// (slot of the first row, rows, position less slot)
    texts: Vec<(usize, usize, usize)>,
}

fn product(matrix: &[f32], row: usize, vector: &[f32]) -> f64 {
    let row = &matrix[row * vector.len()..][..vector.len()];
    row.iter()
        .zip(vector)
        .map(|(m, x)| f64::from(*m) * f64::from(*x))
        .sum()
}

fn check(case: &Case) {
    let shape = case.shape;
    let Widths {
        kv_heads,
        head_dim,
        hidden,
    } = shape.widths;
    let (kv, group) = (kv_heads * head_dim, shape.group());
    let what = format!("{shape:?}");
    let bench = Bench::new();
    let remat = Remat::new(shape);
    let bits = shape.bits;
    let latent = shape.form == Form::Latents;
    let kept = match shape.form {
        Form::Inputs => Kept::Input { bits },
        _ => Kept::Pair {
            bits,
            latent,
            outlier: shape.outlier,
        },
    };
    let place = LayerPlace {
        closed_offset: 48,
        closed: match (shape.form, bits) {
            (Form::Inputs, Bits::Half) => accumulator_layer(hidden),
            _ => kept.closed(&shape.widths),
        },
        open_offset: 32,
        open: kept.open(&shape.widths),
    };
    let (row_width, shared) = match shape.form {
        Form::Inputs => (hidden, true),
        Form::Latents => (kv, true),
        _ => (kv, false),
    };
    let value_row = if shared { row_width } else { kv };
    let scale_to =
        |values: Vec<f32>, scale: f32| -> Vec<f32> { values.iter().map(|x| x * scale).collect() };

    let table = table(head_dim);
    let spread = 1.7 / (row_width as f32).sqrt();
    let projection = rounded(scale_to(numbers(kv * row_width, 11), spread));
    let mix = rounded(scale_to(numbers(kv * row_width, 12), spread));
    let (key_bias, value_bias) = (scale_to(numbers(kv, 13), 3.0), numbers(kv, 14));
    let norm = numbers(head_dim, 15);

    // What the pages hold.
    let mut seed = 100;
    let mut fresh = |count: usize| {
        seed += 1;
        rounded(numbers(count, seed))
    };
    let mut pages: Vec<Buffer> = Vec::new();
    let mut texts = Vec::new();
    let (mut words, mut row_sequence, mut opens) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (start, rows, skipped)) in case.texts.iter().copied().enumerate() {
        let mut text = Text {
            start,
            rows,
            skipped,
            closed: Vec::new(),
            open: Vec::new(),
        };
        let mut addresses = Vec::new();
        for _ in 0..(start + rows - 1) / PAGE_TOKENS {
            let mut source = fresh(PAGE_TOKENS * row_width);
            if shape.outlier {
                let first = source.iter_mut().step_by(row_width);
                first.for_each(|x| *x *= 4.0);
            }
            let (mut bytes, mut back) = encode_page(&source, place.closed.rows);
            if let Some(coding) = place.closed.first_channel {
                bytes.extend(first_channel(&source, coding, &mut back));
            }
            let weighed = match place.closed.values {
                Some(values) => {
                    let (more, back) = encode_page(&fresh(PAGE_TOKENS * kv), values);
                    bytes.extend(more);
                    back
                }
                None => back.clone(),
            };
            let page: Vec<u8> = [vec![0xff; 48], bytes].concat();
            pages.push(bench.buffer(&page));
            addresses.push(pages[pages.len() - 1].address().0);
            text.closed.push((back, weighed));
        }
        // An open page for the first row's group and each later one.
        let first_open = pages.len();
        for _ in start / PAGE_TOKENS..=(start + rows - 1) / PAGE_TOKENS {
            let keys = fresh(PAGE_TOKENS * kv);
            let weighed = fresh(PAGE_TOKENS * value_row);
            let mut page = vec![f16::NAN; (32 + place.open.bytes) / 2];
            let valid = |slot: usize| {
                slot + text.open.len() * PAGE_TOKENS + start / PAGE_TOKENS * PAGE_TOKENS
                    < start + rows
            };
            for slot in (0..PAGE_TOKENS).filter(|slot| valid(*slot)) {
                for channel in 0..kv {
                    let at =
                        (channel / head_dim * PAGE_TOKENS + slot) * head_dim + channel % head_dim;
                    page[16 + at] = f16::from_f32(keys[at]);
                }
                for channel in 0..value_row {
                    let x = f16::from_f32(weighed[slot * value_row + channel]);
                    if shape.form == Form::Inputs {
                        page[16 + place.open.source_offset / 2 + slot * hidden + channel] = x;
                    } else {
                        page[16 + place.open.values_offset / 2 + channel * PAGE_TOKENS + slot] = x;
                    }
                }
            }
            pages.push(bench.buffer(&page));
            text.open.push((keys, weighed));
        }
        let list = bench.buffer(&if addresses.is_empty() {
            vec![0]
        } else {
            addresses
        });
        words.extend(
            Sequence {
                pages: list.address(),
                open: pages[first_open].address(),
                first_row: row_sequence.len() as u32,
                rows: rows as u32,
                start: start as u32,
                skipped: skipped as u32,
            }
            .words(),
        );
        pages.push(list);
        for row in 0..rows {
            row_sequence.push(index as u32);
            let open = (start + row) / PAGE_TOKENS - start / PAGE_TOKENS;
            opens.push(pages[first_open + open].address().0);
        }
        if index == 1 {
            row_sequence.push(u32::MAX);
            opens.push(0);
        }
        texts.push(text);
    }
    let rows = row_sequence.len();
    let crossing = texts.iter().any(|text| text.open.len() > 1);
    let queries = scale_to(numbers(rows * shape.heads * head_dim, 16), 2.0);

    // What the kernels make of them.
    let upload = |values: &[f32]| bench.buffer(values);
    let (table_at, queries_at) = (upload(&table), upload(&queries));
    let (key_bias_at, value_bias_at, norm_at) =
        (upload(&key_bias), upload(&value_bias), upload(&norm));
    let (projection_at, mix_at) = (
        bench.buffer(&halves(&projection)),
        bench.buffer(&halves(&mix)),
    );
    let arranged = bench.halves(projection.len());
    let (sequences, of_rows, opens) = (
        bench.buffer(&words),
        bench.buffer(&row_sequence),
        bench.buffer(&opens),
    );
    let (weighed, sums) = Partials::floats(&shape, rows, case.splits);
    let (weighed, sums) = (bench.floats(weighed), bench.floats(sums));
    let out = bench.parts(rows * shape.heads * head_dim);
    let if_any = |any: bool, buffer: &Buffer| if any { buffer.address() } else { Address::NONE };
    let step = Step {
        sequences: sequences.address(),
        count: sequences.bytes() / 32,
        row_sequence: of_rows.address(),
        opens: if_any(crossing, &opens),
        rows,
    };
    let keys = KeyParts {
        table: table_at.address(),
        projection: if_any(shared, &arranged),
        bias: if_any(case.bias, &key_bias_at),
        norm: if_any(case.norm, &norm_at),
        epsilon: 1e-6,
    };
    let partials = Partials {
        weighed: weighed.address(),
        sums: sums.address(),
        splits: case.splits,
    };
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut ops = Vec::new();
    if shared {
        ops.push(remat.arrange(projection_at.address(), arranged.address()));
    }
    ops.push(remat.attend(&step, queries_at.address(), &keys, &place, scale, &partials));
    ops.push(remat.join(
        &step,
        &partials,
        if_any(shared, &mix_at),
        if_any(case.bias, &value_bias_at),
        out.addresses(),
    ));
    bench.run(ops);

    // What they should.
    let mut wanted = Vec::new();
    let mut next = 0;
    for (index, text) in texts.iter().enumerate() {
        // Keys `[token][kv]` of the closed pages, turned.
        let mut closed_keys: Vec<Vec<f64>> = Vec::new();
        for (page, (source, _)) in text.closed.iter().enumerate() {
            for (slot, row) in source.chunks_exact(row_width).enumerate() {
                let mut key: Vec<f64> = (0..kv)
                    .map(|channel| match shared {
                        true => product(&projection, channel, row),
                        false => f64::from(row[channel]),
                    })
                    .collect();
                for (channel, x) in key.iter_mut().enumerate() {
                    *x += if case.bias {
                        f64::from(key_bias[channel])
                    } else {
                        0.0
                    };
                }
                for head in key.chunks_exact_mut(head_dim) {
                    if case.norm {
                        let squares: f64 = head.iter().map(|x| x * x).sum();
                        let factor = 1.0 / (squares / head_dim as f64 + 1e-6).sqrt();
                        for (x, weight) in head.iter_mut().zip(&norm) {
                            *x *= factor * f64::from(*weight);
                        }
                    }
                    if shape.form != Form::RotatedKeys {
                        let position = page * PAGE_TOKENS + slot + text.skipped;
                        turn(head, &table, position, shape.interleaved);
                    }
                }
                closed_keys.push(key);
            }
        }
        for row in 0..text.rows {
            let slot = text.start + row;
            let own = slot / PAGE_TOKENS;
            let (open_keys, open_values) = &text.open[own - text.start / PAGE_TOKENS];
            for head in 0..shape.heads {
                let of = head / group;
                let query = &queries[((next + row) * shape.heads + head) * head_dim..][..head_dim];
                let mut weights = Vec::new();
                let mut values: Vec<&[f32]> = Vec::new();
                let score = |key: &dyn Fn(usize) -> f64| -> f64 {
                    let sum: f64 = (0..head_dim).map(|i| f64::from(query[i]) * key(i)).sum();
                    (sum * f64::from(scale)).exp()
                };
                for token in 0..own * PAGE_TOKENS {
                    weights.push(score(&|i| closed_keys[token][of * head_dim + i]));
                    let (_, page) = &text.closed[token / PAGE_TOKENS];
                    values.push(&page[token % PAGE_TOKENS * value_row..][..value_row]);
                }
                for token in 0..=slot % PAGE_TOKENS {
                    let at = (of * PAGE_TOKENS + token) * head_dim;
                    weights.push(score(&|i| f64::from(open_keys[at + i])));
                    values.push(&open_values[token * value_row..][..value_row]);
                }
                let sum: f64 = weights.iter().sum();
                let mut joined = vec![0.0_f64; value_row];
                for (weight, value) in weights.iter().zip(&values) {
                    for (to, x) in joined.iter_mut().zip(*value) {
                        *to += weight / sum * f64::from(*x);
                    }
                }
                for i in 0..head_dim {
                    let channel = of * head_dim + i;
                    let x: f64 = match shared {
                        true => (0..row_width)
                            .map(|j| f64::from(mix[channel * row_width + j]) * joined[j])
                            .sum(),
                        false => joined[channel],
                    };
                    wanted.push(
                        x + if case.bias {
                            f64::from(value_bias[channel])
                        } else {
                            0.0
                        },
                    );
                }
            }
        }
        next += text.rows;
        if index == 1 {
            wanted.extend(vec![0.0; shape.heads * head_dim]);
            next += 1;
        }
    }
    // Keys, weights and values are halves: 2^-11 each, of scores up to about 6.
    close(&out.joined(shape.half), &wanted, 1e-3, &what);
}

fn shape(
    form: Form,
    bits: Bits,
    kv_heads: usize,
    head_dim: usize,
    hidden: usize,
    group: usize,
) -> Shape {
    Shape {
        form,
        bits,
        widths: Widths {
            kv_heads,
            head_dim,
            hidden,
        },
        heads: kv_heads * group,
        outlier: false,
        interleaved: false,
        half: Half::F16,
    }
}

/// Slots 0, 126, 127, 128 and 299, and rows that go on.
fn texts() -> Vec<(usize, usize, usize)> {
    vec![
        (0, 1, 0),
        (126, 1, 0),
        (127, 1, 3),
        (128, 1, 0),
        (299, 1, 17),
        (256, 3, 0),
    ]
}

fn case(shape: Shape) -> Case {
    Case {
        shape,
        bias: true,
        norm: false,
        splits: 2,
        texts: texts(),
    }
}

#[test]
fn keys_of_all_bits() {
    for (at, bits) in Bits::ALL.into_iter().enumerate() {
        let group = [1, 4, 7, 7, 2][at];
        check(&case(shape(Form::Keys, bits, 2, 64, 896, group)));
    }
}

#[test]
fn keys_of_other_heads() {
    check(&case(shape(Form::Keys, Bits::Four, 2, 32, 64, 2)));
    check(&case(shape(Form::Keys, Bits::Eight, 1, 128, 128, 8)));
    // Values of a head in two groups of 96, and of 80.
    check(&case(shape(Form::Keys, Bits::Three, 3, 64, 576, 3)));
    check(&case(shape(Form::Keys, Bits::Two, 5, 64, 960, 3)));
    check(&Case {
        bias: false,
        ..case(shape(Form::RotatedKeys, Bits::Four, 2, 64, 896, 7))
    });
    check(&case(Shape {
        interleaved: true,
        half: Half::F16,
        ..shape(Form::Keys, Bits::Two, 2, 64, 128, 4)
    }));
}

/// Blocks share heads of keys where their queries fit one, and heads of many queries have several.
#[test]
fn blocks_are_as_many_as_queries_want() {
    let blocks = |kv_heads, group| {
        Remat::new(shape(
            Form::Latents,
            Bits::Four,
            kv_heads,
            64,
            64 * kv_heads,
            group,
        ))
        .blocks()
    };
    assert_eq!(blocks(8, 4), 4, "two heads a block");
    assert_eq!(blocks(8, 1), 2, "four");
    assert_eq!(blocks(2, 7), 2);
    assert_eq!(blocks(2, 16), 4, "two blocks a head");
}

#[test]
fn heads_of_96() {
    check(&case(shape(Form::Keys, Bits::Four, 2, 96, 64, 3)));
    check(&case(shape(Form::RotatedKeys, Bits::Two, 1, 96, 128, 8)));
    check(&case(Shape {
        interleaved: true,
        ..shape(Form::Latents, Bits::Three, 4, 96, 384, 2)
    }));
    check(&case(shape(Form::Inputs, Bits::Four, 2, 96, 192, 2)));
}

#[test]
fn latents() {
    for (at, bits) in Bits::ALL.into_iter().enumerate() {
        let group = [7, 1, 4, 7, 2][at];
        check(&case(shape(Form::Latents, bits, 2, 64, 896, group)));
    }
    check(&Case {
        norm: true,
        bias: false,
        ..case(shape(Form::Latents, Bits::Four, 3, 64, 576, 3))
    });
    check(&case(Shape {
        interleaved: true,
        ..shape(Form::Latents, Bits::Four, 2, 128, 1024, 4)
    }));
    // With the first channel in f16: channels in several pieces, one page at a time.
    for bits in [Bits::Three, Bits::Half] {
        check(&case(Shape {
            outlier: true,
            ..shape(Form::Latents, bits, 4, 32, 96, 2)
        }));
    }
}

/// Heads of keys with more queries than a block takes: 6 and 6 of them, 5 and 4, and blocks that join fewer than that.
#[test]
fn many_queries_of_a_head() {
    for (form, bits, kv_heads, hidden, group) in [
        (Form::Keys, Bits::Four, 2, 64, 12),
        (Form::Latents, Bits::Two, 2, 64, 9),
        (Form::Inputs, Bits::Four, 1, 4096, 9),
    ] {
        // No row follows the last one, so that what is written behind it shows.
        check(&Case {
            texts: vec![(130, 2, 2)],
            ..case(shape(form, bits, kv_heads, 32, hidden, group))
        });
    }
}

#[test]
fn inputs_and_accumulators() {
    for (at, bits) in Bits::ALL.into_iter().enumerate() {
        let group = [1, 2, 1, 1, 2][at];
        check(&Case {
            bias: at == 1,
            norm: at > 2,
            ..case(shape(Form::Inputs, bits, 2, 64, 256, group))
        });
    }
    // Groups of 80, 96 and 48, whose bytes are no multiple of 16.
    check(&case(shape(Form::Inputs, Bits::Two, 2, 32, 80, 1)));
    check(&case(shape(Form::Inputs, Bits::Three, 2, 64, 192, 1)));
    check(&case(shape(Form::Inputs, Bits::Half, 2, 32, 48, 1)));
    check(&case(Shape {
        interleaved: true,
        ..shape(Form::Inputs, Bits::Four, 1, 128, 128, 2)
    }));
}

/// Products over many channels take two pages at once.
#[test]
fn wide_products() {
    let texts = vec![(130, 1, 2), (257, 1, 0), (5, 1, 0)];
    for (splits, shape) in [
        (1, shape(Form::Inputs, Bits::Four, 1, 64, 512, 2)),
        (2, shape(Form::Inputs, Bits::Half, 1, 32, 576, 1)),
        (
            1,
            Shape {
                outlier: true,
                ..shape(Form::Latents, Bits::Three, 8, 64, 2048, 1)
            },
        ),
    ] {
        check(&Case {
            splits,
            texts: texts.clone(),
            ..case(shape)
        });
    }
}

#[test]
fn rows_over_the_end_of_a_group_and_many_splits() {
    for (splits, form) in [(1, Form::Keys), (7, Form::Latents), (3, Form::Inputs)] {
        check(&Case {
            splits,
            texts: vec![(126, 4, 0), (255, 2, 5), (5, 2, 1)],
            ..case(shape(form, Bits::Four, 2, 64, 128, 1))
        });
    }
}
