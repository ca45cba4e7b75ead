//! Names of rows, and the clock.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Draws of this process, seeded by the standard library from the system's random source.
static PROCESS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
/// The last name's time and place within it.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Milliseconds since 1970 in UTC.
pub fn now_ms() -> i64 {
    // A clock before 1970 is a broken clock; rows then sort first and nothing else depends on it.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

/// A new name: 12 hex digits of time and 4 that count within a millisecond, so that names of one process sort by age
/// whatever the clock does, and 16 that no other process draws. Unique, not secret: an API key is never made from it.
pub fn new_id() -> String {
    let now = now_ms().cast_unsigned() << 16;
    let next = |last: u64| now.max(last + 1);
    // Another thread's name in between makes the closure run again; it never refuses.
    let before = LAST
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(next(last))
        })
        .unwrap_or_else(|last| last);
    let place = next(before);
    let mut hasher = PROCESS.build_hasher();
    hasher.write_u64(place);
    hasher.write_u32(std::process::id());
    format!("{place:016x}{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_sort_by_age() {
        let names: Vec<String> = (0..10_000).map(|_| new_id()).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        assert!(names.iter().all(|name| name.len() == 32));
        assert!(names.is_sorted());
    }
}
