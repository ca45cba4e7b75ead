//! What SpecPC is held against: chunks by BM25, the two ends, pieces at random.
//!
//! Must not know draft models.

use std::collections::HashMap;

use crate::sampling::Random;
use crate::tokenizer::Tokenizer;

/// Tokens of a chunk.
const CHUNK: usize = 64;

/// Chunks in an order drawn by number, the same each time.
pub(super) fn random(tokens: usize) -> Vec<f32> {
    by_chunk(tokens, |chunk| {
        // Of 64 bits the upper 24 are what a float holds.
        (Random(chunk as u64 + tokens as u64).next() >> 40) as f32
    })
}

/// The nearer to an end the better.
pub(super) fn ends(tokens: usize) -> Vec<f32> {
    (0..tokens)
        .map(|at| -((at.min(tokens - 1 - at)) as f32))
        .collect()
}

/// One score for all tokens of a chunk, those of earlier tokens a little higher, so that chunks fill whole.
fn by_chunk(tokens: usize, score: impl Fn(usize) -> f32) -> Vec<f32> {
    let scores: Vec<f32> = (0..tokens.div_ceil(CHUNK)).map(score).collect();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let mut by_token = vec![0.0; tokens];
    for (place, chunk) in order.into_iter().enumerate() {
        // Ranks instead of scores: no two chunks share one.
        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(tokens);
        by_token[range].fill(-(place as f32));
    }
    by_token
}

/// BM25 (k1 1.2, b 0.75) of chunks for the words of `query`.
pub(super) fn bm25(tokens: &[u32], query: &[u32], tokenizer: &Tokenizer) -> Vec<f32> {
    let words = |tokens: &[u32]| -> Vec<String> {
        tokenizer
            .decode(tokens)
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let chunks: Vec<Vec<String>> = tokens.chunks(CHUNK).map(words).collect();
    let mut query = words(query);
    query.sort_unstable();
    query.dedup();
    let mut holding: HashMap<&str, usize> = HashMap::new();
    for chunk in &chunks {
        let distinct: std::collections::HashSet<&str> = chunk.iter().map(String::as_str).collect();
        for word in distinct {
            *holding.entry(word).or_default() += 1;
        }
    }
    let count = chunks.len() as f64;
    let mean = chunks.iter().map(Vec::len).sum::<usize>() as f64 / count.max(1.0);
    by_chunk(tokens.len(), |at| {
        let chunk = &chunks[at];
        let score: f64 = query
            .iter()
            .map(|word| {
                let held = holding.get(word.as_str()).copied().unwrap_or(0) as f64;
                let times = chunk.iter().filter(|other| *other == word).count() as f64;
                let rarity = (1.0 + (count - held + 0.5) / (held + 0.5)).ln();
                let length = 0.25 + 0.75 * chunk.len() as f64 / mean.max(1.0);
                rarity * times * 2.2 / (times + 1.2 * length)
            })
            .sum();
        score as f32
    })
}
