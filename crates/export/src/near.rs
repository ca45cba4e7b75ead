//! Texts that are nearly the same, found by MinHash (Broder 1997) in bands, without comparing all pairs.
//!
//! Must not know what the texts are of.

use std::collections::{HashMap, HashSet};

/// Texts of one bucket that a new one is compared with: more would let equal texts cost a square.
const BUCKET: usize = 16;

/// How alike texts are that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Likeness {
    /// Words of one shingle.
    pub shingle: usize,
    /// Least share of shingles in common (Jaccard).
    pub least: f64,
    /// Bands of the signature.
    pub bands: usize,
    /// Hashes of a band.
    pub rows: usize,
}

/// The same but for a few words.
pub const DOUBLE: Likeness = Likeness {
    shingle: 3,
    least: 0.9,
    bands: 8,
    rows: 4,
};

/// One wording with other names and numbers.
pub const WORDING: Likeness = Likeness {
    shingle: 1,
    least: 0.6,
    bands: 20,
    rows: 2,
};

/// Texts seen so far.
pub struct Seen {
    likeness: Likeness,
    /// Shingles of each text.
    texts: Vec<HashSet<u64>>,
    buckets: HashMap<(usize, u64), Vec<usize>>,
}

impl Seen {
    /// None yet.
    pub fn new(likeness: Likeness) -> Seen {
        Seen {
            likeness,
            texts: Vec::new(),
            buckets: HashMap::new(),
        }
    }

    /// Takes a text in, and gives the numbers of those before it that it is like.
    pub fn add(&mut self, text: &str) -> Vec<usize> {
        let shingles = shingles(text, self.likeness.shingle);
        let signature = signature(&shingles, self.likeness.bands * self.likeness.rows);
        let number = self.texts.len();
        let mut candidates = Vec::new();
        for (band, hashes) in signature.chunks(self.likeness.rows).enumerate() {
            let key = hashes.iter().fold(band as u64, |key, hash| mix(key ^ hash));
            let bucket = self.buckets.entry((band, key)).or_default();
            candidates.extend(bucket.iter().copied());
            if bucket.len() < BUCKET {
                bucket.push(number);
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|other| jaccard(&shingles, &self.texts[*other]) >= self.likeness.least);
        self.texts.push(shingles);
        candidates
    }
}

/// Sets that grow together.
pub struct Unions(Vec<usize>);

impl Unions {
    /// `count` sets of one each.
    pub fn new(count: usize) -> Unions {
        Unions((0..count).collect())
    }

    /// The least member of the set of `at`.
    pub fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    /// Makes the sets of `a` and `b` one.
    pub fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

/// A number that looks random for a text, the same everywhere.
pub fn hash(text: &str) -> u64 {
    mix(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// The finaliser of MurmurHash3.
pub fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

fn shingles(text: &str, words: usize) -> HashSet<u64> {
    let hashes: Vec<u64> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| hash(&word.to_lowercase()))
        .collect();
    if hashes.len() < words {
        return hashes.into_iter().collect();
    }
    hashes
        .windows(words)
        .map(|window| {
            window
                .iter()
                .fold(0, |key, hash| mix(key ^ hash).rotate_left(7))
        })
        .collect()
}

fn signature(shingles: &HashSet<u64>, count: usize) -> Vec<u64> {
    (0..count as u64)
        .map(|seed| {
            let seed = mix(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
            shingles
                .iter()
                .map(|shingle| mix(shingle ^ seed))
                .min()
                .unwrap_or(u64::MAX)
        })
        .collect()
}

fn jaccard(a: &HashSet<u64>, b: &HashSet<u64>) -> f64 {
    let shared = a.intersection(b).count();
    let all = a.len() + b.len() - shared;
    if all == 0 {
        return 1.0;
    }
    shared as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What all pairs would find is found, up to the buckets' bound.
        #[test]
        fn doubles_are_found_as_by_all_pairs(texts in prop::collection::vec("([ab] ){3,9}", 1..12)) {
            let mut seen = Seen::new(DOUBLE);
            let sets: Vec<HashSet<u64>> = texts.iter().map(|text| shingles(text, 3)).collect();
            for (at, text) in texts.iter().enumerate() {
                let found = seen.add(text);
                for earlier in 0..at {
                    if sets[at] == sets[earlier] {
                        prop_assert!(found.contains(&earlier));
                    }
                    if jaccard(&sets[at], &sets[earlier]) < 0.9 {
                        prop_assert!(!found.contains(&earlier));
                    }
                }
            }
        }
    }

    #[test]
    fn wordings_with_other_names_are_one() {
        let mut seen = Seen::new(WORDING);
        seen.add("how did analysts question the outlook of company in 0000");
        assert_eq!(
            seen.add("how did analysts question the outlook for company"),
            [0]
        );
        assert!(
            seen.add("what is the inventory turnover of company")
                .is_empty()
        );
    }
}
