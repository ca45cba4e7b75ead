//! A bounded map that forgets what was used least recently.
//!
//! Must not know what it keeps.

use std::collections::HashMap;
use std::hash::Hash;

/// At most `capacity` values by key.
pub(super) struct Recent<K, V> {
    capacity: usize,
    clock: u64,
    values: HashMap<K, (u64, V)>,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(capacity: usize) -> Recent<K, V> {
        Recent {
            capacity,
            clock: 0,
            values: HashMap::new(),
        }
    }

    /// A value, which counts as used now.
    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        self.clock += 1;
        let (used, value) = self.values.get_mut(key)?;
        *used = self.clock;
        Some(value)
    }

    /// Keeps a value in place of the one that the key had, or of the least recently used where there is no room.
    pub(super) fn insert(&mut self, key: K, value: V) -> &mut V {
        self.clock += 1;
        if self.values.len() >= self.capacity && !self.values.contains_key(&key) {
            let oldest = self.values.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.values.remove(&oldest);
            }
        }
        let entry = self.values.entry(key).insert_entry((self.clock, value));
        &mut entry.into_mut().1
    }

    /// Forgets all of it.
    pub(super) fn clear(&mut self) {
        self.values.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut recent = Recent::new(2);
        recent.insert(1, "one");
        recent.insert(2, "two");
        assert!(recent.get(&1).is_some());
        recent.insert(3, "three");
        assert!(recent.get(&2).is_none(), "used before 1 was");
        assert_eq!(recent.get(&1), Some(&mut "one"));
        recent.insert(3, "again");
        assert_eq!(recent.get(&3), Some(&mut "again"));
        assert!(
            recent.get(&1).is_some(),
            "a value in place of its own takes no room"
        );
    }
}
