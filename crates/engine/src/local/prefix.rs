//! Caches of finished sequences, kept so that a prompt that starts as an earlier one is not read again.
//!
//! Entries share memory blocks with each other and with running sequences; the bound counts each
//! block once. Knows tokens and caches; must not know requests.

use std::collections::HashSet;

use crate::cache::{Cache, CachePolicy};

/// Shorter common starts are not worth a look-up's copying.
const SHORTEST_REUSE: usize = 8;

/// Kept caches, the least recently used leaving first.
pub(super) struct PrefixStore {
    /// Least recently used first.
    entries: Vec<Kept>,
    limit_bytes: usize,
}

struct Kept {
    /// The tokens whose keys and values the cache holds.
    tokens: Vec<u32>,
    cache: Cache,
}

impl PrefixStore {
    /// A store of at most `limit_bytes`; 0 keeps nothing.
    pub(super) fn new(limit_bytes: usize) -> PrefixStore {
        PrefixStore {
            entries: Vec::new(),
            limit_bytes,
        }
    }

    /// A cache of `policy` and of the longest kept start of `prompt`, at most all but its last token,
    /// which must be read to know what follows.
    pub(super) fn find(&mut self, prompt: &[u32], policy: CachePolicy) -> Option<Cache> {
        let (index, common) = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, kept)| kept.cache.policy() == policy)
            .map(|(index, kept)| (index, common_start(&kept.tokens, prompt)))
            .max_by_key(|(_, common)| *common)?;
        let common = common.min(prompt.len().saturating_sub(1));
        if common < SHORTEST_REUSE {
            return None;
        }
        let kept = self.entries.remove(index);
        let mut cache = kept.cache.apart();
        cache.truncate(common);
        self.entries.push(kept);
        Some(cache)
    }

    /// Keeps a cache and the tokens it holds; entries that are its starts go.
    pub(super) fn keep(&mut self, tokens: Vec<u32>, mut cache: Cache) {
        cache.rest();
        let policy = cache.policy();
        // What was let go of is missing to every other prompt.
        if tokens.len() < SHORTEST_REUSE || self.limit_bytes == 0 || cache.is_pruned() {
            return;
        }
        debug_assert_eq!(tokens.len(), cache.len(), "one token a cached position");
        if let Some(longer) = self
            .entries
            .iter()
            .position(|kept| kept.cache.policy() == policy && kept.tokens.starts_with(&tokens))
        {
            let kept = self.entries.remove(longer);
            self.entries.push(kept);
            return;
        }
        self.entries
            .retain(|kept| kept.cache.policy() != policy || !tokens.starts_with(&kept.tokens));
        self.entries.push(Kept { tokens, cache });
        while self.bytes() > self.limit_bytes && !self.entries.is_empty() {
            self.entries.remove(0);
        }
    }

    /// Lets go of what was used the longest time ago; false where nothing is kept.
    pub(super) fn drop_oldest(&mut self) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        self.entries.remove(0);
        true
    }

    /// Bytes of all kept blocks, each counted once.
    pub(super) fn bytes(&self) -> usize {
        let mut seen = HashSet::new();
        self.entries
            .iter()
            .map(|kept| kept.cache.bytes_besides(&mut seen))
            .sum()
    }
}

fn common_start(left: &[u32], right: &[u32]) -> usize {
    left.iter()
        .zip(right)
        .take_while(|(left, right)| left == right)
        .count()
}
