//! Codes on the emulator, byte for byte those of the engine's `CodeRows`, and open pages.

mod coding;
mod common;

use coding::{encode_page, first_channel};
use common::{Bench, numbers};
use footnote_device::kernels::coded_pages::{Kept, Widths};
use footnote_device::kernels::codes::{Axis, Bits, Codes, Coding, Source};
use footnote_device::kernels::open::{self, OpenRows};
use footnote_device::kernels::{PAGE_TOKENS, Sequence, Step};
use footnote_device::{Address, Buffer, bytes_of};
use half::f16;

/// Rows of several spreads and centres, with a constant row and channel, and what is no number.
fn rows(width: usize, seed: u64) -> Vec<f16> {
    let mut rows: Vec<f16> = numbers(PAGE_TOKENS * width, seed)
        .iter()
        .enumerate()
        .map(|(at, x)| {
            let (token, channel) = (at / width, at % width);
            let spread = ((token + channel) % 9) as i32 - 4;
            let centre = (channel % 5) as f32 * 40.0;
            f16::from_f32(match () {
                () if channel == 3 || token == 7 => -7.25,
                () => centre + x * (spread as f32).exp2(),
            })
        })
        .collect();
    rows[5 * width + 1] = f16::NAN;
    rows[6 * width + 2] = f16::INFINITY;
    rows
}

fn widened(rows: &[f16]) -> Vec<f32> {
    rows.iter().map(|x| x.to_f32()).collect()
}

#[test]
fn codes_are_those_of_the_engine() {
    for bits in Bits::ALL {
        for axis in [Axis::Channel, Axis::Token] {
            for width in [32, 80, 192, 128] {
                let coding = Coding { bits, width, axis };
                let bench = Bench::new();
                let what = format!("{coding:?}");
                let before = 32;
                let pages: Vec<Vec<f16>> = (0..2).map(|page| rows(width, page + 1)).collect();
                let turned = |rows: &[f16]| -> Vec<f16> {
                    let at = |i: usize| rows[i % PAGE_TOKENS * width + i / PAGE_TOKENS];
                    (0..rows.len()).map(at).collect()
                };
                for source in [Source::Rows, Source::Turned, Source::Floats] {
                    let from: Vec<Buffer> = pages
                        .iter()
                        .map(|rows| match source {
                            Source::Rows => bench.buffer(rows),
                            Source::Turned => bench.buffer(&turned(rows)),
                            Source::Floats => bench.buffer(&widened(rows)),
                        })
                        .collect();
                    let to: Vec<Buffer> = pages
                        .iter()
                        .map(|_| bench.buffer(&vec![0_u8; before + coding.bytes()]))
                        .collect();
                    let tasks: Vec<u64> = from
                        .iter()
                        .zip(&to)
                        .flat_map(|(from, to)| [from.address().0, to.address().0])
                        .chain([0, 0])
                        .collect();
                    let tasks = bench.buffer(&tasks);
                    let codes = Codes::new(coding);
                    bench.run(vec![codes.encode(tasks.address(), 3, source, 0, before)]);
                    let addresses: Vec<u64> = to.iter().map(|page| page.address().0).collect();
                    let list = bench.buffer(&addresses);
                    let count = 2 * PAGE_TOKENS * width;
                    let (floats, halves) = (bench.floats(count), bench.halves(count));
                    bench.run(vec![codes.decode(
                        list.address(),
                        2,
                        before,
                        halves.address(),
                        floats.address(),
                    )]);
                    let decoded = bench.read(&floats, count);
                    for (index, (rows, page)) in pages.iter().zip(&to).enumerate() {
                        let (wanted, back) = encode_page(&widened(rows), coding);
                        let got: Vec<u8> = page.read(before + coding.bytes()).expect("memory");
                        assert_eq!(got[before..], wanted, "{what} {source:?}");
                        let decoded = &decoded[index * back.len()..][..back.len()];
                        assert_eq!(decoded, back, "{what}");
                    }
                    let halves: Vec<f16> = halves.read(count).expect("memory");
                    let clamped = |x: &f32| f16::from_f32(x.clamp(-65_504.0, 65_504.0));
                    assert_eq!(halves, decoded.iter().map(clamped).collect::<Vec<_>>());
                }
            }
        }
    }
}

/// The first channel once more in f16: nothing beside it is touched, in the page and in the rows that it is decoded to.
#[test]
fn a_first_channel_is_kept_besides_the_codes() {
    let (width, before) = (96, 32);
    let layer = Kept::Pair {
        bits: Bits::Two,
        latent: true,
        outlier: true,
    }
    .closed(&Widths {
        kv_heads: 3,
        head_dim: 32,
        hidden: 64,
    });
    let coding = layer.first_channel.expect("an outlier's channel");
    let bench = Bench::new();
    let rows = rows(width, 5);
    let from = bench.buffer(&rows);
    let page = bench.buffer(&vec![0xff_u8; before + layer.bytes()]);
    let tasks = bench.buffer(&[from.address().0, page.address().0, 0, 0]);
    let pages = bench.buffer(&[page.address().0, 0]);
    let halves = bench.halves(PAGE_TOKENS * width);
    let (codes, first) = (Codes::new(layer.rows), Codes::first_of(coding, width));
    let at = before + layer.first_channel_offset();
    let (none, to) = (Address::NONE, halves.address());
    bench.run(vec![
        codes.encode(tasks.address(), 2, Source::Rows, 0, before),
        first.encode(tasks.address(), 2, Source::Rows, 0, at),
        codes.decode(pages.address(), 2, before, to, none),
        first.decode(pages.address(), 2, at, to, none),
    ]);
    let rows = widened(&rows);
    let (mut wanted, mut back) = encode_page(&rows, layer.rows);
    wanted.extend(first_channel(&rows, coding, &mut back));
    assert_eq!(wanted.len(), layer.values_offset());
    let values = layer.values.expect("a pair").bytes();
    wanted.extend(vec![0xff; values]);
    let got: Vec<u8> = page.read(before + layer.bytes()).expect("memory");
    assert_eq!(got[before..], wanted);
    let halves: Vec<f16> = halves.read(PAGE_TOKENS * width).expect("memory");
    let clamped = |x: &f32| f16::from_f32(x.clamp(-65_504.0, 65_504.0));
    assert_eq!(halves, back.iter().map(clamped).collect::<Vec<_>>());
}

#[test]
fn rows_go_to_their_open_pages() {
    let widths = Widths {
        kv_heads: 2,
        head_dim: 32,
        hidden: 96,
    };
    let bits = Bits::Four;
    let pair = Kept::Pair {
        bits,
        latent: true,
        outlier: false,
    };
    for kept in [pair, Kept::Input { bits }] {
        let bench = Bench::new();
        let layer = kept.open(&widths);
        let (kv, width, offset) = (widths.kv(), layer.source_width, 64);
        // A prompt over a page's end, a row that fills, and one that goes on.
        let starts = [126_usize, 300];
        let counts = [4_usize, 1];
        let total = 6;
        let pages: Vec<Buffer> = (0..3)
            .map(|_| bench.buffer(&vec![0_u8; offset + layer.bytes]))
            .collect();
        let sequences: Vec<u64> = [(0, 0), (5, 1)]
            .into_iter()
            .flat_map(|(first, index): (u32, usize)| {
                Sequence {
                    open: pages[2 * index].address(),
                    first_row: first,
                    rows: counts[index] as u32,
                    start: starts[index] as u32,
                    ..Sequence::default()
                }
                .words()
            })
            .collect();
        let (sequences, of_rows) = (
            bench.buffer(&sequences),
            bench.buffer(&[0_u32, 0, 0, 0, u32::MAX, 1]),
        );
        let opens: Vec<u64> = [0, 0, 1, 1, 0, 2]
            .map(|page| pages[page].address().0)
            .to_vec();
        let opens = bench.buffer(&opens);
        let keys = numbers(total * kv, 1);
        let (values, source) = (numbers(total * kv, 2), numbers(total * width, 3));
        let (value_bias, source_bias) = (numbers(kv, 4), numbers(width, 5));
        let buffers = [&keys, &values, &source, &value_bias, &source_bias].map(|x| bench.buffer(x));
        let rows = OpenRows {
            keys: buffers[0].address(),
            values: buffers[1].address(),
            source: buffers[2].address(),
            value_bias: buffers[3].address(),
            source_bias: buffers[4].address(),
        };
        let step = Step {
            sequences: sequences.address(),
            count: sequences.bytes() / 32,
            row_sequence: of_rows.address(),
            opens: opens.address(),
            rows: total,
        };
        bench.run(vec![open::write(&step, &rows, (2, 32), &layer, offset)]);
        let mut wanted = vec![vec![f16::ZERO; layer.bytes / 2]; 3];
        let places = [
            (0, 126),
            (0, 127),
            (1, 0),
            (1, 1),
            (0, usize::MAX),
            (2, 300 % 128),
        ];
        for (row, (page, slot)) in places.into_iter().enumerate() {
            if slot == usize::MAX {
                continue;
            }
            let page = &mut wanted[page];
            for channel in 0..kv {
                let at = row * kv + channel;
                page[(channel / 32 * 128 + slot) * 32 + channel % 32] = f16::from_f32(keys[at]);
                page[layer.values_offset / 2 + channel * 128 + slot] =
                    f16::from_f32(values[at] - value_bias[channel]);
            }
            for channel in 0..width {
                page[layer.source_offset / 2 + slot * width + channel] =
                    f16::from_f32(source[row * width + channel] - source_bias[channel]);
            }
        }
        for (page, wanted) in pages.iter().zip(&wanted) {
            let got: Vec<u8> = page.read(offset + layer.bytes).expect("memory");
            assert_eq!(&got[offset..], bytes_of(wanted));
        }
    }
}
