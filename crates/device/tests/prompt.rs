//! Attention of prompts on a device (see `common`) beside a softmax in f64.

mod common;

use common::cache::{Held, Step, half_numbers, layer_offset};
use common::{Bench, close};
use footnote_device::kernels::prompt::{Prompt, Source, Tile, TileRows};
use footnote_device::kernels::{Half, HeadShape, PAGE_TOKENS};
use half::f16;
use proptest::prelude::*;

/// Weights are summed as f16: half a step of each, over values up to 1.
const BOUND: f64 = 6e-4;
/// What a band is counted in.
const BAND_BLOCK: usize = 256;

const BOTH: [TileRows; 2] = [TileRows::Rows64, TileRows::Rows128];

struct Case {
    shape: HeadShape,
    rows: TileRows,
    half: Half,
    band: Option<usize>,
    /// Whether tiles' own groups come from elsewhere.
    own: bool,
}

impl Case {
    fn plain(shape: HeadShape, rows: TileRows) -> Case {
        Case {
            shape,
            rows,
            half: Half::F16,
            band: None,
            own: false,
        }
    }

    /// Sequences as (tokens before the step, rows of it).
    fn check(&self, sequences: &[(usize, usize)]) {
        let bench = Bench::new();
        let shape = self.shape;
        let width = shape.heads * shape.head_dim;
        let random = |seed: u64| -> Vec<Held> {
            let of = sequences.iter().zip(seed..);
            of.map(|((start, rows), seed)| Held::random(&bench, shape, start + rows, seed))
                .collect()
        };
        let (held, exact) = (random(1), random(100));
        let step = Step::new(
            &bench,
            held.iter()
                .zip(sequences)
                .map(|(held, (start, rows))| held.sequence(*start, *rows))
                .collect(),
            0,
        );
        let queries = half_numbers(step.rows * width, 77);
        let halves: Vec<f16> = queries.iter().map(|x| f16::from_f32(*x)).collect();
        let from = bench.buffer(&halves);
        let parts = bench.parts(step.rows * width);
        let prompt = Prompt::new(shape, self.rows, self.half);
        let mut tiles = prompt.tiles(&step.sequences);
        if self.own {
            for tile in &mut tiles {
                tile.own = exact[tile.sequence as usize].page(tile.first as usize / PAGE_TOKENS);
            }
        }
        // A launch may be larger than the step.
        tiles.insert(tiles.len() / 2, Tile::NONE);
        let words: Vec<u64> = tiles.iter().flat_map(Tile::words).collect();
        let on_device = bench.buffer(&words);
        bench.run(vec![prompt.attend(
            &Source {
                queries: from.address(),
                sequences: step.on_device.address(),
                tiles: on_device.address(),
                tile_count: tiles.len(),
                page_offset: layer_offset(shape),
                own_offset: layer_offset(shape),
                band: self.band,
            },
            parts.addresses(),
        )]);
        let got = parts.joined(self.half);
        for (index, (start, rows)) in sequences.iter().enumerate() {
            let first_row = step.sequences[index].first_row as usize;
            let from = self.band.map_or(0, |band| {
                start.saturating_sub(band) / BAND_BLOCK * BAND_BLOCK
            });
            let mut known = held[index].known.clone();
            for within in 0..*rows {
                let slot = start + within;
                if self.own && (within == 0 || slot.is_multiple_of(PAGE_TOKENS)) {
                    let group = slot / PAGE_TOKENS;
                    known = held[index].known.with_group(group, &exact[index].known);
                }
                for head in 0..shape.heads {
                    let at = (first_row + within) * width + head * shape.head_dim;
                    let query = &queries[at..][..shape.head_dim];
                    let seen = |s: usize| s <= slot && (s < BAND_BLOCK || s >= from);
                    let wanted = known.attention(query, head / shape.group(), seen);
                    let what = format!("{shape:?} {:?} {start} + {within}, head {head}", self.rows);
                    close(&got[at..][..shape.head_dim], &wanted, BOUND, &what);
                }
            }
        }
    }
}

const fn shape(heads: usize, kv_heads: usize, head_dim: usize) -> HeadShape {
    HeadShape {
        heads,
        kv_heads,
        head_dim,
    }
}

#[test]
fn prompts_of_every_odd_length_from_their_beginning() {
    let lengths = [1, 31, 32, 33, 127, 128, 129, 300].map(|rows| (0, rows));
    for rows in BOTH {
        Case::plain(shape(1, 1, 32), rows).check(&lengths);
        Case::plain(shape(4, 1, 64), rows).check(&lengths[3..]);
        Case::plain(shape(2, 2, 128), rows).check(&lengths[2..7]);
        Case::plain(shape(1, 1, 96), rows).check(&lengths[5..]);
        Case::plain(shape(2, 1, 16), rows).check(&lengths[1..5]);
    }
}

#[test]
fn parts_of_prompts_after_what_was_read_before() {
    let ragged = [
        (1, 1),
        (63, 70),
        (127, 2),
        (128, 31),
        (200, 0),
        (260, 129),
        (300, 3),
    ];
    for rows in BOTH {
        Case::plain(shape(6, 1, 32), rows).check(&ragged);
        Case::plain(shape(7, 1, 64), rows).check(&ragged[1..4]);
        Case {
            half: Half::Bf16,
            ..Case::plain(shape(2, 1, 128), rows)
        }
        .check(&ragged[1..4]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn any_ragged_step(
        heads in prop::sample::select(vec![shape(1, 1, 32), shape(6, 1, 32), shape(2, 1, 64)]),
        rows in prop::sample::select(BOTH.to_vec()),
        sequences in prop::collection::vec((0_usize..400, 0_usize..150), 1..4),
        band in prop::option::of(0_usize..300),
        own in any::<bool>(),
    ) {
        prop_assume!(sequences.iter().any(|(_, rows)| *rows > 0));
        Case { band, own, ..Case::plain(heads, rows) }.check(&sequences);
    }
}

#[test]
fn a_band_leaves_out_what_is_neither_first_nor_near() {
    for rows in BOTH {
        for band in [0, 100, 256, 300, 2_000] {
            Case {
                band: Some(band),
                ..Case::plain(shape(2, 1, 32), rows)
            }
            .check(&[
                (900, 40),
                (0, 300),
                (256, 5),
                (511, 20),
                (512, 3),
                (768, 70),
            ]);
        }
    }
}

#[test]
fn a_tiles_own_group_comes_from_where_it_says() {
    for rows in BOTH {
        Case {
            own: true,
            ..Case::plain(shape(2, 1, 64), rows)
        }
        .check(&[(0, 300), (200, 90), (255, 2)]);
    }
}
