//! Threads that wait for work by spinning a short while, then asleep.
//!
//! A decoded token is a hundred and more short parallel regions; waking a sleeping thread for each
//! would cost more than the region's work on a small model. A worker that is late (not scheduled)
//! never holds a region up: it joins only while work is open. One region runs at a time; a caller
//! that finds the pool taken, or is itself a part of a region, runs its work alone.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a worker spins for the next region before it sleeps: longer than the gaps within one
/// decoded token, shorter than anybody notices.
const SPIN: Duration = Duration::from_micros(200);

/// The most threads used, whatever the machine has.
const MAX_THREADS: usize = 64;

/// Runs `work(0) … work(pieces - 1)`, each once, on the pool's threads and this one, and returns
/// when all are done. Pieces are handed out in order as threads come free.
///
/// # Panics
/// With the panic of a piece, after the others have ended.
pub fn parallel(pieces: usize, work: impl Fn(usize) + Sync) {
    if pieces <= 1 || threads() == 1 || INSIDE.get() {
        (0..pieces).for_each(work);
        return;
    }
    pool().run(pieces, &work);
}

/// How many threads a region may use, the caller's included.
pub fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        std::thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS))
    })
}

thread_local! {
    /// Whether this thread is running a piece.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// One region. The reference is used only while the region is open or has members.
#[derive(Clone, Copy)]
struct Region {
    work: &'static (dyn Fn(usize) + Sync),
    pieces: usize,
}

struct Pool {
    /// Held by the caller whose region runs.
    taken: Mutex<()>,
    /// Region number (high 32 bits), [`OPEN`], and the number of workers inside (low 31 bits).
    state: AtomicU64,
    region: UnsafeCell<Option<Region>>,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: Mutex<usize>,
    wake: Condvar,
}

// SAFETY: `region` is written only by the holder of `taken` while the region is closed and has no
// members, and read only by workers that joined an open region; `state` orders the two.
unsafe impl Sync for Pool {}

const OPEN: u64 = 1 << 31;
const MEMBERS: u64 = OPEN - 1;
const NUMBER_SHIFT: u32 = 32;

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    static STARTED: OnceLock<()> = OnceLock::new();
    let pool = POOL.get_or_init(|| Pool {
        taken: Mutex::new(()),
        state: AtomicU64::new(0),
        region: UnsafeCell::new(None),
        next: AtomicUsize::new(0),
        panic: Mutex::new(None),
        sleepers: Mutex::new(0),
        wake: Condvar::new(),
    });
    STARTED.get_or_init(|| {
        for worker in 1..threads() {
            // A thread the system refuses is a thread less: the others take its pieces.
            let started = std::thread::Builder::new()
                .name(format!("kernels-{worker}"))
                .spawn(move || pool.serve());
            if let Err(error) = started {
                tracing::warn!(%error, worker, "no thread for the kernels: they run with fewer");
            }
        }
    });
    pool
}

impl Pool {
    fn run(&self, pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        let Ok(taken) = self.taken.try_lock() else {
            (0..pieces).for_each(work);
            return;
        };
        // SAFETY: only the lifetime changes. `finish` (also on unwinding, by `Closer`) waits until
        // no worker is inside, so nobody uses the reference after this call.
        let work: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(work) };
        // SAFETY: `taken` is held and the last region was closed with no members left.
        unsafe { *self.region.get() = Some(Region { work, pieces }) };
        self.next.store(0, Ordering::Relaxed);
        let number = (self.state.load(Ordering::Relaxed) >> NUMBER_SHIFT) + 1;
        self.state.store(
            (number & u64::from(u32::MAX)) << NUMBER_SHIFT | OPEN,
            Ordering::SeqCst,
        );
        if *lock(&self.sleepers) > 0 {
            self.wake.notify_all();
        }
        let closer = Closer(self);
        self.take_pieces(Region { work, pieces });
        drop(closer);
        drop(taken);
        let panic = lock(&self.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Runs pieces until none is left, keeping the first panic.
    fn take_pieces(&self, region: Region) {
        INSIDE.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let piece = self.next.fetch_add(1, Ordering::Relaxed);
                if piece >= region.pieces {
                    break;
                }
                (region.work)(piece);
            }
        }));
        INSIDE.set(false);
        if let Err(panic) = outcome {
            lock(&self.panic).get_or_insert(panic);
        }
    }

    /// What a worker does for ever.
    fn serve(&self) {
        let mut last = 0;
        loop {
            last = self.join(last);
            // SAFETY: this worker is a member of an open region: `region` was written before the
            // region opened and stays until its members have left.
            let region = unsafe { *self.region.get() };
            if let Some(region) = region {
                self.take_pieces(region);
            }
            self.state.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits for an open region other than number `last`, becomes its member, gives its number.
    fn join(&self, last: u64) -> u64 {
        let mut since = Instant::now();
        let mut spins = 0_u32;
        loop {
            if let Some(number) = self.try_join(last) {
                return number;
            }
            std::hint::spin_loop();
            spins += 1;
            if spins.is_multiple_of(64) && since.elapsed() > SPIN {
                let mut sleepers = lock(&self.sleepers);
                *sleepers += 1;
                // The caller opens its region before it looks for sleepers, and a sleeper counts
                // itself before it looks for a region, so one of the two sees the other.
                while !self.has_open(last) {
                    sleepers = self
                        .wake
                        .wait(sleepers)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                *sleepers -= 1;
                since = Instant::now();
            }
        }
    }

    fn has_open(&self, last: u64) -> bool {
        let state = self.state.load(Ordering::SeqCst);
        state & OPEN != 0 && state >> NUMBER_SHIFT != last
    }

    fn try_join(&self, last: u64) -> Option<u64> {
        let state = self.state.load(Ordering::Acquire);
        if state & OPEN == 0 || state >> NUMBER_SHIFT == last {
            return None;
        }
        self.state
            .compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(|_| state >> NUMBER_SHIFT)
    }
}

/// Closes the region and waits for its members, however the caller leaves.
struct Closer<'a>(&'a Pool);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0_u32;
        while self.0.state.load(Ordering::Acquire) & MEMBERS != 0 {
            std::hint::spin_loop();
            spins += 1;
            if spins.is_multiple_of(4096) {
                std::thread::yield_now();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can be left half done by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_piece_runs_once_however_many_callers_there_are() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for pieces in [0, 1, 2, 3, 17, 200] {
                        for _ in 0..200 {
                            let counts: Vec<AtomicUsize> =
                                (0..pieces).map(|_| AtomicUsize::new(0)).collect();
                            parallel(pieces, |piece| {
                                counts[piece].fetch_add(1, Ordering::Relaxed);
                                parallel(2, |_| ());
                            });
                            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn a_panicking_piece_reaches_the_caller_and_the_pool_lives_on() {
        let outcome = catch_unwind(|| {
            parallel(8, |piece| assert_ne!(piece, 5, "piece five"));
        });
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        parallel(8, |piece| {
            sum.fetch_add(piece, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 28);
    }

    #[test]
    fn a_sleeping_worker_is_woken() {
        for _ in 0..3 {
            std::thread::sleep(SPIN * 3);
            let sum = AtomicUsize::new(0);
            parallel(16, |piece| {
                sum.fetch_add(piece, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 120);
        }
    }
}
