//! The pace that SEC's fair-access rules allow: at most ten requests a second, whatever the number
//! of threads, and pauses when SEC asks for them.
//!
//! Time comes through [`Clock`], so that the rule can be tested without waiting. Knows nothing of
//! HTTP.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Space between the starts of two requests: ten starts fit into any second, an eleventh does not.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;
    /// Returns when `wait` has gone by.
    fn sleep(&self, wait: Duration);
}

/// The machine's own clock.
struct SystemClock(Instant);

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, wait: Duration) {
        std::thread::sleep(wait);
    }
}

/// Hands out the moments at which a request may start. Clones share one pace.
#[derive(Clone)]
pub struct Pacer {
    clock: Arc<dyn Clock>,
    /// The first moment that is still free.
    free_from: Arc<Mutex<Duration>>,
}

static SHARED: LazyLock<Pacer> =
    LazyLock::new(|| Pacer::new(Arc::new(SystemClock(Instant::now()))));

impl Pacer {
    /// A pace of its own on `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Pacer {
        Pacer {
            clock,
            free_from: Arc::new(Mutex::new(Duration::ZERO)),
        }
    }

    /// The one pace of this process: SEC counts by address, so everything that asks SEC shares it.
    pub fn shared() -> Pacer {
        SHARED.clone()
    }

    /// Waits until a request may start.
    pub fn turn(&self) {
        let now = self.clock.now();
        let start = {
            let mut free_from = self.lock();
            let start = now.max(*free_from);
            *free_from = start + INTERVAL;
            start
        };
        if start > now {
            self.clock.sleep(start - now);
        }
    }

    /// Holds everybody who shares this pace back for `wait`, and waits.
    pub fn pause(&self, wait: Duration) {
        let until = self.clock.now() + wait;
        {
            let mut free_from = self.lock();
            *free_from = (*free_from).max(until);
        }
        self.clock.sleep(wait);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Duration> {
        // A moment in time is whole even if another thread panicked while it held the lock.
        self.free_from
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock per thread would hide the sharing, so this one only notes when each turn would end.
    struct Frozen {
        slept: Mutex<Vec<Duration>>,
    }

    impl Clock for Frozen {
        fn now(&self) -> Duration {
            Duration::from_secs(5)
        }

        fn sleep(&self, wait: Duration) {
            self.slept.lock().unwrap().push(self.now() + wait);
        }
    }

    #[test]
    fn threads_share_ten_starts_a_second() {
        let clock = Arc::new(Frozen {
            slept: Mutex::new(Vec::new()),
        });
        let pacer = Pacer::new(clock.clone());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let pacer = pacer.clone();
                scope.spawn(move || (0..25).for_each(|_| pacer.turn()));
            }
        });
        let mut starts = clock.slept.lock().unwrap().clone();
        starts.push(Duration::from_secs(5));
        starts.sort();
        assert_eq!(starts.len(), 100, "only the first turn needs no wait");
        for window in starts.windows(11) {
            assert!(window[10] - window[0] >= Duration::from_secs(1));
        }
    }

    #[test]
    fn a_pause_holds_everybody_back() {
        let clock = Arc::new(Frozen {
            slept: Mutex::new(Vec::new()),
        });
        let pacer = Pacer::new(clock.clone());
        pacer.pause(Duration::from_secs(30));
        pacer.clone().turn();
        assert_eq!(
            *clock.slept.lock().unwrap(),
            [Duration::from_secs(35), Duration::from_secs(35)]
        );
    }
}
