//! The bounded queue between callers and the model thread.
//!
//! Knows jobs as things that may be cancelled; must not know what is in them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::EngineError;

/// Something that waits and whose asker may go away.
pub(super) trait Cancellable {
    /// Whether nobody waits for it any more.
    fn is_cancelled(&self) -> bool;
}

/// A queue that refuses instead of growing.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    limit: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
}

impl<T: Cancellable> Queue<T> {
    /// A queue of at most `limit` waiting jobs.
    pub(super) fn new(limit: usize) -> Queue<T> {
        Queue {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                closed: false,
            }),
            wake: Condvar::new(),
            limit: limit.max(1),
        }
    }

    /// Adds a job, or says at once that there is no room. Places of cancelled jobs are free.
    pub(super) fn submit(&self, job: T) -> Result<(), EngineError> {
        let mut state = self.lock();
        if state.closed {
            return Err(EngineError::Stopped);
        }
        if state.waiting.len() >= self.limit {
            state.waiting.retain(|job| !job.is_cancelled());
        }
        if state.waiting.len() >= self.limit {
            return Err(EngineError::Overloaded {
                waiting: state.waiting.len(),
            });
        }
        state.waiting.push_back(job);
        self.wake.notify_one();
        Ok(())
    }

    /// The next job that somebody still waits for, if there is one now.
    pub(super) fn next_now(&self) -> Option<T> {
        let mut state = self.lock();
        while let Some(job) = state.waiting.pop_front() {
            if !job.is_cancelled() {
                return Some(job);
            }
        }
        None
    }

    /// Waits for a job; `None` when the queue was closed.
    pub(super) fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            while let Some(job) = state.waiting.pop_front() {
                if !job.is_cancelled() {
                    return Some(job);
                }
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Refuses new jobs and drops the waiting ones, which ends their streams.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        self.wake.notify_all();
    }

    /// How many jobs wait whose askers are still there.
    pub(super) fn waiting(&self) -> usize {
        let state = self.lock();
        state
            .waiting
            .iter()
            .filter(|job| !job.is_cancelled())
            .count()
    }

    /// Whether it was closed.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // The state is consistent between any two statements above, whoever panicked meanwhile.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Job(u8, Arc<AtomicBool>);

    impl Cancellable for Job {
        fn is_cancelled(&self) -> bool {
            self.1.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_full_queue_refuses_until_somebody_leaves() {
        let queue = Queue::new(2);
        let gone = Arc::new(AtomicBool::new(false));
        let stays = Arc::new(AtomicBool::new(false));
        queue.submit(Job(1, Arc::clone(&gone))).unwrap();
        queue.submit(Job(2, Arc::clone(&stays))).unwrap();
        assert!(matches!(
            queue.submit(Job(3, Arc::clone(&stays))),
            Err(EngineError::Overloaded { waiting: 2 })
        ));
        gone.store(true, Ordering::Relaxed);
        queue.submit(Job(3, Arc::clone(&stays))).unwrap();
        assert_eq!(queue.next().unwrap().0, 2);
        assert_eq!(queue.next_now().unwrap().0, 3);
        assert!(queue.next_now().is_none());
        queue.close();
        assert!(queue.next().is_none());
        assert!(matches!(
            queue.submit(Job(4, stays)),
            Err(EngineError::Stopped)
        ));
    }
}
