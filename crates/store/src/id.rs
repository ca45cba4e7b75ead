//! Names of rows, and the clock.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Keys of this process, drawn by the standard library from the system's random source.
static PROCESS: LazyLock<[RandomState; 2]> =
    LazyLock::new(|| [RandomState::new(), RandomState::new()]);
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Milliseconds since 1970 in UTC.
pub fn now_ms() -> i64 {
    // A clock before 1970 is a broken clock; rows then sort first and nothing else depends on it.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

/// A new name: 12 hex digits of time, so that names sort by age, and 20 that no other process or call
/// draws. Unique, not secret: an API key is never made from it.
pub fn new_id() -> String {
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let draw = |state: &RandomState| {
        let mut hasher = state.build_hasher();
        hasher.write_u64(count);
        hasher.write_u32(std::process::id());
        hasher.finish()
    };
    let [high, low] = [draw(&PROCESS[0]), draw(&PROCESS[1])];
    format!("{:012x}{high:016x}{:04x}", now_ms(), low & 0xFFFF)
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
        assert!(names[0][..12] <= names[9_999][..12]);
    }
}
