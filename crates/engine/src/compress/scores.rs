//! Importance of a prompt's tokens, from a draft's attention.
//!
//! Must not know policies or text.

use super::FIRST_LAYER;
use crate::EngineError;
use crate::decoder::Decoder;
use crate::tap::{Heads, Reduce, Tap, TapConfig};

/// A head, as layer and query head, and its score for each token.
pub type HeadRow = ((usize, usize), Vec<f32>);

/// SpecPC's rule: the largest attention that any head of the later layers pays a token from the last `window` tokens, later
/// ones counting more.
pub(super) fn specpc(
    decoder: &Decoder,
    tokens: &[u32],
    window: usize,
) -> Result<Vec<f32>, EngineError> {
    let layers = decoder.config().layers;
    let config = TapConfig {
        window,
        weighted: true,
        // A shallow model keeps its later half.
        heads: Heads::From(FIRST_LAYER.min(layers / 2)),
        reduce: Reduce::Max,
        per_head: false,
    };
    let mut tap = Tap::new(config, decoder.cache_shape().heads, layers, tokens.len());
    decoder.tap(tokens, &mut tap)?;
    Ok(tap.into_scores().pop().unwrap_or_default())
}

/// What each head pays the tokens of `beginning`: the mean over the tokens of the end `asked`, less that over the end
/// `free`.
pub(super) fn differences(
    decoder: &Decoder,
    beginning: &[u32],
    asked: &[u32],
    free: &[u32],
    heads: Heads,
    band: Option<usize>,
) -> Result<Vec<HeadRow>, EngineError> {
    let config = TapConfig {
        // Each end is its own window.
        window: 0,
        weighted: false,
        heads,
        reduce: Reduce::Sum,
        per_head: true,
    };
    let taps = decoder.tap_ends(beginning, &[asked, free], &[config], band)?;
    let mut taps = taps.into_iter().flatten();
    let (Some(of_asked), Some(of_free)) = (taps.next(), taps.next()) else {
        return Ok(Vec::new());
    };
    let names = of_asked.heads().to_vec();
    let (by_asked, by_free) = (1.0 / asked.len() as f32, 1.0 / free.len() as f32);
    let rows = of_asked
        .into_scores()
        .into_iter()
        .zip(of_free.into_scores());
    let differences = rows.map(|(mut asked, free)| {
        asked.truncate(beginning.len());
        for (asked, free) in asked.iter_mut().zip(free) {
            *asked = *asked * by_asked - free * by_free;
        }
        asked
    });
    Ok(names.into_iter().zip(differences).collect())
}

/// A model built by hand that finds what followed a word before: its first layer tells each token the one before it, its
/// second looks for tokens that follow the present one.
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::quantized::GgmlDType;

    use super::super::{Selection, select};
    use super::*;
    use crate::config::{Family, ModelConfig};
    use crate::kernels::QuantMatrix;
    use crate::sampling::Random;
    use crate::weights::{LayerWeights, Linear, Weights};

    const VOCAB: usize = 512;
    const HIDDEN: usize = 128;
    const HEAD: usize = 64;
    /// Width of a token's code, which stands first in the stream, the code of the token before it after it.
    const CODE: usize = 32;
    /// Always one.
    const ONE: usize = 2 * CODE;
    const BASE: f32 = 1e9;
    const TOKENS: usize = 2_000;
    const REACH: usize = 64;
    const WINDOW: usize = 64;

    fn matrix(rows: usize, cols: usize, of: impl Fn(usize, usize) -> f32) -> QuantMatrix {
        let bytes: Vec<u8> = (0..rows * cols)
            .flat_map(|at| of(at / cols, at % cols).to_le_bytes())
            .collect();
        QuantMatrix::from_ggml(GgmlDType::F32, rows, cols, &bytes).unwrap()
    }

    fn plain(weight: QuantMatrix) -> Linear {
        Linear { weight, bias: None }
    }

    /// Signs that differ from token to token.
    fn code(token: usize, at: usize) -> f32 {
        let drawn = Random((token * CODE + at) as u64 * 7 + 3).next();
        if drawn >> 63 == 0 { 1.0 } else { -1.0 }
    }

    fn layer(query: QuantMatrix, key: QuantMatrix) -> LayerWeights {
        let none = |rows: usize, cols: usize| matrix(rows, cols, |_, _| 0.0);
        LayerWeights {
            attention_norm: vec![1.0; HIDDEN],
            query: plain(query),
            key: plain(key),
            value: plain(matrix(HEAD, HIDDEN, |row, col| {
                f32::from(row < CODE && row == col)
            })),
            query_norm: None,
            key_norm: None,
            attention_output: matrix(HIDDEN, HEAD, |row, col| {
                f32::from(col < CODE && row == col + CODE)
            }),
            feed_forward_norm: vec![1.0; HIDDEN],
            gate: none(HEAD, HIDDEN),
            up: none(HEAD, HIDDEN),
            down: none(HIDDEN, HEAD),
        }
    }

    fn model(layers: Vec<LayerWeights>) -> Decoder {
        let config = ModelConfig {
            family: Family::Qwen2,
            name: String::new(),
            layers: layers.len(),
            hidden: HIDDEN,
            feed_forward: HEAD,
            heads: 1,
            kv_heads: 1,
            head_dim: HEAD,
            context: 4_096,
            rms_epsilon: 1e-6,
            rope_base: BASE,
            rope_layout: Family::Qwen2.rope_layout(),
            vocab: VOCAB,
        };
        let embedding = Arc::new(matrix(VOCAB, HIDDEN, |token, at| match at {
            ONE => 1.0,
            at if at < CODE => code(token, at),
            _ => 0.0,
        }));
        let weights = Weights {
            output: Arc::clone(&embedding),
            embedding,
            layers,
            output_norm: vec![1.0; HIDDEN],
            rope_factors: None,
        };
        Decoder::new(config, weights, 4_096)
    }

    fn induction() -> Decoder {
        let half = HEAD / 2;
        let angle = |pair: usize| BASE.powf(-(pair as f32) / half as f32);
        // Pairs that turn fast tell places apart, those that hardly turn carry codes.
        let fast = half / 2;
        let before = layer(
            matrix(HEAD, HIDDEN, |row, col| match (row, col) {
                (row, ONE) if row < fast => 20.0,
                _ => 0.0,
            }),
            // A query finds a key one place back straight before it.
            matrix(HEAD, HIDDEN, |row, col| match (row, col) {
                (row, ONE) if row < fast => 20.0 * angle(row).cos(),
                (row, ONE) if (half..half + fast).contains(&row) => 20.0 * angle(row - half).sin(),
                _ => 0.0,
            }),
        );
        // The slow pairs' first halves carry half of a code, their second halves the other.
        let place = |row: usize| match row {
            row if (fast..half).contains(&row) => Some(row - fast),
            row if (half + fast..HEAD).contains(&row) => Some(row - half),
            _ => None,
        };
        let carries = |from: usize| {
            matrix(HEAD, HIDDEN, move |row, col| match place(row) {
                Some(at) if col == from + at => 4.0,
                _ => 0.0,
            })
        };
        model(vec![before, layer(carries(0), carries(CODE))])
    }

    fn random() -> Decoder {
        let drawn = |seed: u64| {
            matrix(HEAD, HIDDEN, move |row, col| {
                let drawn = Random(seed * 100_003 + (row * HIDDEN + col) as u64).next() >> 40;
                drawn as f32 / (1 << 23) as f32 - 1.0
            })
        };
        model(vec![layer(drawn(1), drawn(2)), layer(drawn(3), drawn(4))])
    }

    /// A prompt of a hundred words in any order, in which a key and its value stand once, at `depth`, and whose last word is
    /// the key; and where the value stands.
    fn haystack(depth: f64) -> (Vec<u32>, usize) {
        let mut tokens: Vec<u32> = (0..TOKENS)
            .map(|at| (Random(at as u64).next() >> 32) as u32 % 100)
            .collect();
        let at = 1 + (depth * (TOKENS - WINDOW - 8) as f64) as usize;
        tokens[at] = 500;
        tokens[at + 1] = 501;
        tokens[TOKENS - 1] = 500;
        (tokens, at + 1)
    }

    /// How many of the needles stay, by SpecPC's rule and by the second layer's head alone.
    fn retained(decoder: &Decoder, budget: usize) -> (usize, usize, usize) {
        let depths: Vec<f64> = (0..20).map(|at| f64::from(at) / 19.0).collect();
        let selection = Selection {
            budget,
            window: WINDOW,
            kernel: REACH,
            neighbours: REACH,
        };
        let (mut by_all, mut by_head) = (0, 0);
        for depth in &depths {
            let (tokens, value) = haystack(*depth);
            let stays = |scores: &[f32]| {
                let kept = select(scores, &selection, &[]).unwrap();
                assert_eq!(kept.len(), budget);
                usize::from(kept.binary_search(&value).is_ok())
            };
            by_all += stays(&specpc(decoder, &tokens, WINDOW).unwrap());
            let (beginning, asked) = tokens.split_at(TOKENS - WINDOW);
            let free = vec![7; WINDOW];
            let heads = Heads::Chosen(vec![(1, 0)]);
            let rows = differences(decoder, beginning, asked, &free, heads, None).unwrap();
            let mut scores = rows[0].1.clone();
            scores.resize(TOKENS, 0.0);
            by_head += stays(&scores);
        }
        (depths.len(), by_all, by_head)
    }

    #[test]
    fn a_model_that_finds_keeps_every_needle_and_a_random_one_does_not() {
        // The window, the sink, and room for the needle's neighbourhood.
        let budget = WINDOW + 3 * REACH;
        let (needles, by_all, by_head) = retained(&induction(), budget);
        assert_eq!((by_all, by_head), (needles, needles));
        let (needles, by_all, by_head) = retained(&random(), budget);
        assert!(
            by_all < needles / 2 && by_head < needles / 2,
            "{by_all}, {by_head} of {needles}"
        );
    }
}
