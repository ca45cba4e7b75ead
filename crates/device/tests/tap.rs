//! Attention taps on a device (see `common`) beside the released score's definition in f64.

mod common;

use common::cache::{Held, Step, layer_offset};
use common::{Bench, close, numbers};
use footnote_device::Op;
use footnote_device::kernels::rows::Rows;
use footnote_device::kernels::tap::{
    self, Chosen, Keys, Precision, Reduce, Scores, Scratch, Tap, Window,
};
use footnote_device::kernels::{Half, HeadShape};

struct Case {
    shape: HeadShape,
    tokens: usize,
    window: usize,
    weighted: bool,
    reduce: Reduce,
}

impl Case {
    /// A head's score of every key: shares of the window's rows, weighted and joined.
    fn wanted(&self, held: &Held, queries: &[f32], head: usize) -> Vec<f64> {
        let shape = self.shape;
        let mut scores = vec![0.0_f64; self.tokens];
        for row in 0..self.window {
            let weight = match (self.weighted, self.window) {
                (true, 2..) => row as f64 / (self.window - 1) as f64,
                _ => 1.0,
            };
            let query = &queries[(row * shape.heads + head) * shape.head_dim..][..shape.head_dim];
            let powers: Vec<f64> = (0..=self.tokens - self.window + row)
                .map(|slot| held.known.score(query, head / shape.group(), slot).exp())
                .collect();
            let sum: f64 = powers.iter().sum();
            for (score, power) in scores.iter_mut().zip(powers) {
                *score = self.join(*score, power / sum * weight);
            }
        }
        scores
    }

    fn join(&self, one: f64, other: f64) -> f64 {
        match self.reduce {
            Reduce::Max => one.max(other),
            Reduce::Sum => one + other,
        }
    }

    /// Two layers' worth of heads, each apart and all pooled; `bound` is of a share.
    fn check(&self, layers: [&[u32]; 2], precision: Precision, bound: f64) {
        let bench = Bench::new();
        let Case {
            shape,
            tokens,
            window,
            ..
        } = *self;
        let held = Held::random(&bench, shape, tokens, 5);
        // As after the last step of a prompt.
        let last = tokens.min(7);
        let step = Step::new(&bench, vec![held.sequence(tokens - last, last)], 0);
        let count = window * shape.heads * shape.head_dim;
        let queries = numbers(count, 9);
        let exact = bench.buffer(&queries);
        let parts = bench.parts(count);
        let mut ops = vec![Rows::new(Half::F16).split(exact.address(), parts.addresses(), count)];
        let all = layers.concat();
        // Launches may be larger than the sequence.
        let longest = tokens + 200;
        let stride = tokens + 3;
        let (pooled, apart, shares) = (
            bench.floats(tokens),
            bench.floats(all.len() * stride),
            bench.floats(all.len() * stride),
        );
        let multiprocessors = bench.device.multiprocessors();
        let extents =
            bench.floats(2 * window * tap::most_parts(longest, all.len(), multiprocessors));
        let norms = bench.floats(all.len() * window);
        let window = Window {
            queries: match precision {
                Precision::High => parts.high_only(),
                Precision::Both => parts.addresses(),
            },
            rows: window,
            weighted: self.weighted,
        };
        let keys = Keys {
            sequence: step.on_device.address(),
            page_offset: layer_offset(shape),
            longest,
        };
        let tap = Tap::new(shape, precision, self.reduce);
        ops.push(Op::Zero {
            to: pooled.address(),
            bytes: 4 * tokens,
        });
        let mut first = 0;
        let mut kept = Vec::new();
        for heads in layers {
            // From the last row on, so that a place left out shows.
            let places: Vec<u32> = (first..first + heads.len())
                .map(|index| (all.len() - 1 - index) as u32)
                .collect();
            first += heads.len();
            let (heads, places) = (bench.buffer(heads), bench.buffer(&places));
            let chosen = Chosen {
                heads: heads.address(),
                count: places.bytes() / 4,
            };
            let scratch = Scratch {
                extents: extents.address(),
                norms: norms.address(),
                splits: tap::splits(longest, chosen.count, multiprocessors),
            };
            for scores in [
                Scores::Apart {
                    scores: apart.address(),
                    places: places.address(),
                    stride,
                },
                Scores::Pooled {
                    scores: pooled.address(),
                    shares: shares.address(),
                    stride,
                },
            ] {
                ops.extend(tap.score(&window, chosen, &keys, &scratch, scores));
            }
            kept.push((heads, places));
        }
        bench.run(ops);
        let what = format!("{shape:?}, {} of {tokens}, {:?}", self.window, self.reduce);
        let apart = bench.read(&apart, all.len() * stride);
        let mut joined = vec![0.0; tokens];
        for (index, head) in all.iter().enumerate() {
            let wanted = self.wanted(&held, &queries, *head as usize);
            let row = &apart[(all.len() - 1 - index) * stride..][..stride];
            close(
                &row[..tokens],
                &wanted,
                bound,
                &format!("head {head} of {what}"),
            );
            assert!(row[tokens..].iter().all(|x| x.is_nan()), "behind {what}");
            for (joined, share) in joined.iter_mut().zip(wanted) {
                *joined = self.join(*joined, share);
            }
        }
        close(&bench.read(&pooled, tokens), &joined, bound, &what);
    }
}

#[test]
fn windows_of_every_odd_length_score_every_key() {
    let heads = |heads, kv_heads, head_dim| HeadShape {
        heads,
        kv_heads,
        head_dim,
    };
    for (shape, tokens, window, layers) in [
        (heads(1, 1, 32), 1, 1, [&[0_u32][..], &[0][..]]),
        (heads(4, 1, 64), 31, 31, [&[0, 3], &[2]]),
        (heads(4, 4, 32), 128, 16, [&[1], &[0, 1, 2, 3]]),
        (heads(6, 1, 16), 129, 17, [&[5, 0], &[4]]),
        (heads(14, 2, 64), 300, 40, [&[6, 7, 13], &[0]]),
        (heads(7, 1, 128), 33, 32, [&[3], &[6]]),
        (heads(2, 1, 32), 700, 300, [&[0], &[1]]),
    ] {
        for (weighted, reduce) in [(true, Reduce::Max), (false, Reduce::Sum)] {
            let case = Case {
                shape,
                tokens,
                window,
                weighted,
                reduce,
            };
            case.check(layers, Precision::Both, 4e-6);
            // Queries of eleven bits.
            case.check(layers, Precision::High, 4e-3);
        }
    }
}
