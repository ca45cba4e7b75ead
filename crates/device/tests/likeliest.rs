//! The likeliest tokens on a device (see `common`) beside the choice of a processor.

mod common;

use common::{Bench, numbers};
use footnote_device::kernels::likeliest::{Bests, NO_TOKEN, likeliest, parts};

/// Rows with masks and without, equal logits, numbers that are none, and rows of which nothing may be chosen.
#[test]
fn the_likeliest_token_is_the_first_of_the_largest_that_counts() {
    for vocab in [1, 31, 300, 4096, 4097, 9001] {
        let bench = Bench::new();
        let rows = 6;
        let mut logits = numbers(rows * vocab, vocab as u64);
        let of_row = |row: usize| row * vocab..(row + 1) * vocab;
        // The largest twice, in parts that different blocks and lanes have.
        for at in [vocab / 2, vocab - 1] {
            logits[of_row(1)][at] = 2.0;
        }
        logits[of_row(2)].fill(f32::NAN);
        logits[of_row(2)][vocab / 3] = -7.0;
        logits[of_row(3)].fill(f32::NEG_INFINITY);
        let words = vocab.div_ceil(32);
        let mask = |allowed: &dyn Fn(usize) -> bool| -> Vec<u32> {
            let mut mask = vec![0; words];
            (0..vocab)
                .filter(|token| allowed(*token))
                .for_each(|token| mask[token / 32] |= 1 << (token % 32));
            mask
        };
        let thirds = |token: usize| token % 3 == 1;
        let masks = [mask(&thirds), mask(&|_| false)];
        let all = bench.buffer(&masks.concat());
        let addresses = [0, 0, 0, 0, all.at(0).0, all.at(4 * words).0];
        let (from, masks) = (bench.buffer(&logits), bench.buffer(&addresses));
        let bests = (
            bench.floats(rows * parts(vocab)),
            bench.floats(rows * parts(vocab)),
        );
        let out = bench.floats(rows);
        let ops = likeliest(
            from.address(),
            masks.address(),
            rows,
            vocab,
            Bests {
                logits: bests.0.address(),
                tokens: bests.1.address(),
            },
            out.address(),
        );
        bench.run(ops.to_vec());
        let wanted: Vec<u32> = (0..rows)
            .map(|row| {
                let counts = |token: &usize| match row {
                    4 => thirds(*token),
                    5 => false,
                    _ => true,
                };
                let row = &logits[of_row(row)];
                let mut best = (f32::NEG_INFINITY, NO_TOKEN);
                for token in (0..vocab).filter(counts) {
                    if row[token] > best.0 {
                        best = (row[token], token as u32);
                    }
                }
                best.1
            })
            .collect();
        let got: Vec<u32> = out.read(rows).expect("memory");
        assert_eq!(got, wanted, "of {vocab}");
    }
}
