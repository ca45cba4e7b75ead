//! Who has which page of a device's memory: pages of several sizes out of one piece taken at the start.
//!
//! The piece is divided into slabs. A slab that is in use holds pages of one size; once the last of them is given back it
//! may hold another. So sizes can mix as requests come, nothing is ever moved, and what is lost to
//! odd sizes is less than a page a slab. Pages are counted here and nowhere touched: this module must not know devices.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Pages out of one piece of memory.
#[derive(Clone)]
pub struct PagePool(Arc<Pool>);

struct Pool {
    slab_bytes: usize,
    state: Mutex<State>,
}

struct State {
    slabs: Vec<Slab>,
    /// Slabs that hold nothing.
    empty: Vec<usize>,
    /// Page size → slabs of it with room.
    partial: BTreeMap<usize, Vec<usize>>,
    used_bytes: usize,
}

#[derive(Default)]
struct Slab {
    page_bytes: usize,
    /// Free places of it.
    free: Vec<u32>,
    used: usize,
}

/// A page, given back when its last owner drops it.
pub struct Page {
    pool: PagePool,
    slab: usize,
    place: u32,
    offset: usize,
    bytes: usize,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Page({}..+{})", self.offset, self.bytes)
    }
}

impl Page {
    /// Bytes from the start of the piece to the page.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.pool.give_back(self.slab, self.place);
    }
}

impl PagePool {
    /// A pool of `bytes`, in slabs of `slab_bytes`; what is left over at the end is not used.
    pub fn new(bytes: usize, slab_bytes: usize) -> PagePool {
        let count = bytes / slab_bytes.max(1);
        PagePool(Arc::new(Pool {
            slab_bytes,
            state: Mutex::new(State {
                slabs: (0..count).map(|_| Slab::default()).collect(),
                empty: (0..count).rev().collect(),
                partial: BTreeMap::new(),
                used_bytes: 0,
            }),
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `count` pages of `bytes`, or none where there is not room for all.
    pub fn take(&self, bytes: usize, count: usize) -> Option<Vec<Page>> {
        let mut state = self.lock();
        if self.room(&state, bytes) < count {
            return None;
        }
        let pages = (0..count).map(|_| self.take_one(&mut state, bytes));
        Some(pages.collect())
    }

    /// `room` has said that there is one.
    fn take_one(&self, state: &mut State, bytes: usize) -> Page {
        let partial = state.partial.entry(bytes).or_default();
        let slab = match partial.last() {
            Some(slab) => *slab,
            None => {
                let slab = state.empty.pop().expect("there is room");
                let places = (self.0.slab_bytes / bytes) as u32;
                state.slabs[slab] = Slab {
                    page_bytes: bytes,
                    free: (0..places).rev().collect(),
                    used: 0,
                };
                partial.push(slab);
                slab
            }
        };
        let held = &mut state.slabs[slab];
        let place = held.free.pop().expect("a slab with room");
        held.used += 1;
        if held.free.is_empty() {
            partial.pop();
        }
        state.used_bytes += bytes;
        Page {
            pool: self.clone(),
            slab,
            place,
            offset: slab * self.0.slab_bytes + place as usize * bytes,
            bytes,
        }
    }

    fn give_back(&self, slab: usize, place: u32) {
        let mut state = self.lock();
        let state = &mut *state;
        let held = &mut state.slabs[slab];
        let bytes = held.page_bytes;
        let was_full = held.free.is_empty();
        held.free.push(place);
        held.used -= 1;
        state.used_bytes -= bytes;
        let partial = state.partial.entry(bytes).or_default();
        if held.used == 0 {
            partial.retain(|other| *other != slab);
            state.empty.push(slab);
        } else if was_full {
            partial.push(slab);
        }
    }

    fn room(&self, state: &State, bytes: usize) -> usize {
        if bytes == 0 || bytes > self.0.slab_bytes {
            return 0;
        }
        let partial = state.partial.get(&bytes).into_iter().flatten();
        let places: usize = partial.map(|slab| state.slabs[*slab].free.len()).sum();
        places + state.empty.len() * (self.0.slab_bytes / bytes)
    }

    /// How many pages of `bytes` can be taken now.
    pub fn free_pages(&self, bytes: usize) -> usize {
        self.room(&self.lock(), bytes)
    }

    /// How many pages of `bytes` there are if nothing else is held: what more can never be had.
    pub fn most_pages(&self, bytes: usize) -> usize {
        match bytes {
            0 => 0,
            _ => self.lock().slabs.len() * (self.0.slab_bytes / bytes),
        }
    }

    /// Bytes of pages that are held.
    pub fn used_bytes(&self) -> usize {
        self.lock().used_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_or_nothing() {
        let pool = PagePool::new(1000, 100);
        assert_eq!(pool.most_pages(30), 30);
        let held = pool.take(30, 29).expect("there is room");
        assert!(pool.take(30, 2).is_none());
        assert!(pool.take(101, 1).is_none());
        assert_eq!(pool.used_bytes(), 29 * 30);
        drop(held);
        assert_eq!((pool.used_bytes(), pool.free_pages(100)), (0, 10));
    }

    proptest! {
        /// Whatever is taken and given back in whatever order: pages never overlap, none is lost, and room is what it says.
        #[test]
        fn pages_never_overlap_and_none_is_lost(
            steps in prop::collection::vec((any::<bool>(), 1_usize..6, prop::sample::select(vec![16_usize, 24, 40, 64])), 1..120),
        ) {
            let pool = PagePool::new(1024, 128);
            let mut held: Vec<Page> = Vec::new();
            for (take, count, bytes) in steps {
                if take {
                    let room = pool.free_pages(bytes);
                    let taken = pool.take(bytes, count);
                    prop_assert_eq!(taken.is_some(), count <= room);
                    held.extend(taken.into_iter().flatten());
                } else {
                    let from = held.len().saturating_sub(count);
                    // From the middle, so that slabs empty in no order.
                    let third = held.len() / 3;
                    held.rotate_left(third);
                    held.truncate(from);
                }
                let mut spans: Vec<(usize, usize)> = held.iter().map(|page| (page.offset(), page.offset() + page.bytes())).collect();
                spans.sort_unstable();
                prop_assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{spans:?}");
                prop_assert!(spans.iter().all(|span| span.1 <= 1024));
                prop_assert_eq!(pool.used_bytes(), held.iter().map(Page::bytes).sum::<usize>());
            }
            held.clear();
            prop_assert_eq!(pool.free_pages(128), 8);
        }
    }
}
