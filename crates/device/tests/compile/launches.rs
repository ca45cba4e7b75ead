//! Dynamic shared memory of the kernels that ask for it, from their launches as they are made for all shapes that are
//! compiled.
//!
//! Launches over caches of codes are not among them: that they stay below the least of all targets is what the interpreter
//! sees to.

use std::collections::HashMap;

use footnote_device::kernels::attend::{Attend, Splits};
use footnote_device::kernels::prompt::{Prompt, Source, TileRows};
use footnote_device::kernels::rows::Parts;
use footnote_device::kernels::tap::{self, Precision, Reduce, Tap};
use footnote_device::kernels::{Half, HeadShape, Step};
use footnote_device::{Address, Op};

/// Bytes by program and kernel.
pub fn shared_bytes() -> HashMap<(String, &'static str), usize> {
    let mut found = HashMap::new();
    for (head_dim, group) in [
        (32, 1),
        (64, 1),
        (64, 4),
        (64, 7),
        (96, 1),
        (128, 4),
        (128, 6),
    ] {
        let shape = HeadShape {
            heads: group,
            kv_heads: 1,
            head_dim,
        };
        for half in [Half::F16, Half::Bf16] {
            for op in attention(shape, half) {
                let Op::Launch(launch) = op else {
                    continue;
                };
                let kernel = (launch.kernel.program.title(), launch.kernel.entry);
                found.insert(kernel, launch.shared as usize);
            }
        }
    }
    found
}

/// All launches for one shape of heads; nothing is run, so that nothing need be anywhere.
fn attention(shape: HeadShape, half: Half) -> Vec<Op> {
    let nowhere = Parts {
        high: Address::NONE,
        low: Address::NONE,
    };
    let step = Step {
        sequences: Address::NONE,
        count: 1,
        row_sequence: Address::NONE,
        opens: Address::NONE,
        rows: 1,
    };
    let splits = Splits {
        extents: Address::NONE,
        partial: Address::NONE,
        splits: 1,
    };
    let attend = Attend::new(shape, half);
    let mut ops = attend
        .attend(Address::NONE, &step, 1, 0, &splits, nowhere)
        .to_vec();
    let source = Source {
        queries: Address::NONE,
        sequences: Address::NONE,
        tiles: Address::NONE,
        tile_count: 1,
        page_offset: 0,
        own_offset: 0,
        band: None,
    };
    for rows in [TileRows::Rows64, TileRows::Rows128] {
        ops.push(Prompt::new(shape, rows, half).attend(&source, nowhere));
    }
    for precision in [Precision::High, Precision::Both] {
        for reduce in [Reduce::Max, Reduce::Sum] {
            ops.extend(tapped(&Tap::new(shape, precision, reduce)));
        }
    }
    ops
}

fn tapped(tap: &Tap) -> Vec<Op> {
    let window = tap::Window {
        queries: Parts {
            high: Address::NONE,
            low: Address::NONE,
        },
        rows: 64,
        weighted: false,
    };
    let chosen = tap::Chosen {
        heads: Address::NONE,
        count: 1,
    };
    let keys = tap::Keys {
        sequence: Address::NONE,
        page_offset: 0,
        longest: 1,
    };
    let scratch = tap::Scratch {
        extents: Address::NONE,
        norms: Address::NONE,
        splits: 1,
    };
    let scores = tap::Scores::Apart {
        scores: Address::NONE,
        places: Address::NONE,
        stride: 1,
    };
    tap.score(&window, chosen, &keys, &scratch, scores)
}
