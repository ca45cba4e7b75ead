//! Lexical scores of all chunks of a document for one set of query words.
//!
//! One function a method, each returning one score a chunk; how they are weighed is not known here.

use super::document::{Chunk, Document};
use crate::features::text::Term;

/// Query words with their rarity in the document; words that no chunk has are left out.
pub(super) struct Query(Vec<(Term, f32)>);

impl Query {
    /// Weighs words by rarity.
    pub(super) fn new(document: &Document, words: &[Term]) -> Query {
        let weighed = words.iter().map(|term| (*term, document.rarity(*term)));
        Query(weighed.filter(|(_, rarity)| *rarity > 0.0).collect())
    }

    fn total(&self) -> f32 {
        self.0.iter().map(|entry| entry.1).sum()
    }

    /// Share of the words' rarity that satisfies `has`.
    pub(super) fn share(&self, has: impl Fn(Term) -> bool) -> f32 {
        let total = self.total();
        let held: f32 = self.0.iter().filter(|e| has(e.0)).map(|e| e.1).sum();
        if total > 0.0 { held / total } else { 0.0 }
    }

    /// Rarity of the rarest word that a chunk has, as a share of the rarest of all.
    pub(super) fn rarest(&self, chunk: &Chunk) -> f32 {
        let most = self.0.iter().map(|entry| entry.1).fold(0.0, f32::max);
        let held = self.0.iter().filter(|e| chunk.count(e.0) > 0);
        let own = held.map(|entry| entry.1).fold(0.0, f32::max);
        if most > 0.0 { own / most } else { 0.0 }
    }
}

/// BM25 (Robertson and Zaragoza, 2009, section 3.2) with saturation `k1` and length correction `b`.
pub(super) fn bm25(document: &Document, query: &Query, k1: f32, b: f32) -> Vec<f32> {
    let score = |chunk: &Chunk| -> f32 {
        let length = k1 * (1.0 - b + b * chunk.words.len() as f32 / document.average);
        query
            .0
            .iter()
            .map(|(term, rarity)| {
                let count = chunk.count(*term) as f32;
                rarity * count * (k1 + 1.0) / (count + length)
            })
            .sum()
    };
    telling(document, score)
}

/// Cosine of tf-idf vectors with logarithmic counts.
pub(super) fn cosine(document: &Document, query: &Query) -> Vec<f32> {
    let norm: f32 = query
        .0
        .iter()
        .map(|entry| entry.1 * entry.1)
        .sum::<f32>()
        .sqrt();
    telling(document, |chunk| {
        let weight = |count: u32, rarity: f32| (1.0 + (count as f32).ln()) * rarity;
        let dot: f32 = query
            .0
            .iter()
            .map(|(term, rarity)| match chunk.count(*term) {
                0 => 0.0,
                count => weight(count, *rarity) * rarity,
            })
            .sum();
        let own: f32 = chunk
            .counts()
            .iter()
            .map(|(term, count)| weight(*count, document.rarity(*term)).powi(2))
            .sum::<f32>()
            .sqrt();
        if dot > 0.0 {
            dot / (own * norm).max(1e-6)
        } else {
            0.0
        }
    })
}

/// Query likelihood with Dirichlet smoothing (Zhai and Lafferty, 2004), over words that occur:
/// how much likelier the chunk makes them than the document does.
pub(super) fn likelihood(document: &Document, query: &Query, mu: f32) -> Vec<f32> {
    let all: f32 = document
        .chunks
        .iter()
        .map(|chunk| chunk.words.len() as f32)
        .sum();
    let shares: Vec<(Term, f32)> = query
        .0
        .iter()
        .map(|(term, _)| {
            let count: u32 = document.chunks.iter().map(|chunk| chunk.count(*term)).sum();
            (*term, count as f32 / all.max(1.0))
        })
        .filter(|entry| entry.1 > 0.0)
        .collect();
    telling(document, |chunk| {
        let length = chunk.words.len() as f32;
        let gain: f32 = shares
            .iter()
            .map(|(term, share)| (1.0 + chunk.count(*term) as f32 / (mu * share)).ln())
            .sum();
        (gain + shares.len() as f32 * (mu / (length + mu)).ln()).max(0.0)
    })
}

/// The largest share of the query's rarity inside any `width` words in a row.
pub(super) fn window(document: &Document, query: &Query, width: usize) -> Vec<f32> {
    let total = query.total();
    telling(document, |chunk| {
        if total <= 0.0 {
            return 0.0;
        }
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (place, word) in chunk.words.iter().enumerate() {
            if let Some(at) = query.0.iter().position(|entry| entry.0 == *word) {
                places.push((place, at));
            }
        }
        let mut counts = vec![0u32; query.0.len()];
        let (mut held, mut best, mut first) = (0.0f32, 0.0f32, 0usize);
        for (place, at) in &places {
            if counts[*at] == 0 {
                held += query.0[*at].1;
            }
            counts[*at] += 1;
            while places[first].0 + width <= *place {
                let gone = places[first].1;
                counts[gone] -= 1;
                if counts[gone] == 0 {
                    held -= query.0[gone].1;
                }
                first += 1;
            }
            best = best.max(held);
        }
        best / total
    })
}

/// A score for chunks that can answer; 0 for empty ones and speakers' lines.
fn telling(document: &Document, score: impl Fn(&Chunk) -> f32) -> Vec<f32> {
    let scores = document.chunks.iter().map(|chunk| {
        if chunk.is_empty() || chunk.speaker_line {
            0.0
        } else {
            score(chunk)
        }
    });
    scores.collect()
}

/// Scores as shares of the best one's.
pub(super) fn of_best(mut scores: Vec<f32>) -> Vec<f32> {
    let best = scores.iter().copied().fold(0.0, f32::max);
    if best > 0.0 {
        for score in &mut scores {
            *score /= best;
        }
    }
    scores
}

/// 1 for the best, falling with the rank; scores of 0 get 0.
pub(super) fn by_rank(scores: &[f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let mut ranks = vec![0.0; scores.len()];
    for (rank, at) in order.into_iter().enumerate() {
        if scores[at] > 0.0 {
            ranks[at] = 3.0 / (3.0 + rank as f32);
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::passage::text::Stemmer;

    fn scored(texts: &[&str], query: &str) -> (Document, Query) {
        let mut stemmer = Stemmer::default();
        let document = Document::new(texts, &mut stemmer);
        let words = stemmer.terms(query);
        let query = Query::new(&document, &words);
        (document, query)
    }

    #[test]
    fn bm25_by_hand() {
        let (document, query) = scored(&["cat cat dog", "dog", "cow cow"], "cat");
        let scores = bm25(&document, &query, 1.2, 0.75);
        let rarity = (1.0f32 + 2.5 / 1.5).ln();
        let length = 1.2 * (0.25 + 0.75 * 3.0 / 2.0);
        let wanted = rarity * 2.0 * 2.2 / (2.0 + length);
        assert!((scores[0] - wanted).abs() < 1e-5, "{scores:?}");
        assert_eq!(scores[1..], [0.0, 0.0]);
    }

    #[test]
    fn a_window_holds_what_stands_together() {
        let (document, query) = scored(
            &["red x x x x blue", "red blue x x", "x", "red"],
            "red blue",
        );
        let narrow = window(&document, &query, 3);
        assert!(narrow[0] < 1.0 && narrow[1] == 1.0, "{narrow:?}");
        assert_eq!(window(&document, &query, 10)[0], 1.0);
        assert!(cosine(&document, &query)[1] > cosine(&document, &query)[0]);
        assert!(likelihood(&document, &query, 10.0)[1] > likelihood(&document, &query, 10.0)[2]);
    }

    #[test]
    fn a_query_that_nothing_holds_scores_nothing() {
        let (document, query) = scored(&["a b", ""], "zebra");
        for scores in [
            bm25(&document, &query, 1.2, 0.75),
            cosine(&document, &query),
            window(&document, &query, 5),
            likelihood(&document, &query, 100.0),
        ] {
            assert_eq!(scores, [0.0, 0.0]);
        }
    }
}
