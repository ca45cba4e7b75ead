//! One sequence's memory on a device: pages of a pool, shared by forks until one of them writes.
//!
//! What a page holds is the layout's. Must not know weights, or how pages are read.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use footnote_device::kernels::PAGE_TOKENS;
use footnote_device::{Address, Buffer, Op, Page, PagePool};

use crate::EngineError;
use crate::cache::{CachePolicy, CacheShape};

/// A device's memory for caches, taken once.
pub struct CacheMemory {
    /// Who has which page.
    pub(super) pages: PagePool,
    memory: Buffer,
}

impl CacheMemory {
    pub(super) fn new(pages: PagePool, memory: Buffer) -> CacheMemory {
        CacheMemory { pages, memory }
    }

    /// Where a page begins.
    pub(super) fn address(&self, page: &Page) -> Address {
        self.memory.at(page.offset())
    }

    /// Takes a page of `bytes`, where there is room now.
    pub(super) fn take(&self, bytes: usize) -> Option<Page> {
        self.pages.take(bytes, 1).and_then(|mut pages| pages.pop())
    }

    /// Whether there can be a page of `bytes` at all.
    pub(super) fn can_hold(&self, bytes: usize) -> bool {
        self.pages.most_pages(bytes) > 0
    }

    /// Bytes of pages that are held.
    pub fn used_bytes(&self) -> usize {
        self.pages.used_bytes()
    }

    /// Bytes that caches can have in all.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }
}

/// What the pages of a policy hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageLayout {
    /// The policy.
    pub policy: CachePolicy,
    /// The model's shapes.
    pub shape: CacheShape,
    /// Bytes of a page of all layers.
    pub page_bytes: usize,
    /// Bytes from a page's start to each layer.
    pub layer_offsets: Vec<usize>,
}

impl PageLayout {
    /// f16 keys and values.
    pub fn full(shape: CacheShape) -> PageLayout {
        let layer = 2 * shape.kv_width() * PAGE_TOKENS * size_of::<half::f16>();
        PageLayout {
            policy: CachePolicy::Full,
            page_bytes: layer * shape.layers,
            layer_offsets: (0..shape.layers).map(|index| index * layer).collect(),
            shape,
        }
    }

    /// Pages that `tokens` take.
    pub fn pages(&self, tokens: usize) -> usize {
        tokens.div_ceil(PAGE_TOKENS)
    }
}

/// One sequence's pages.
pub struct DeviceCache {
    memory: Arc<CacheMemory>,
    layout: Arc<PageLayout>,
    /// By slot / [`PAGE_TOKENS`].
    pages: Vec<Arc<Page>>,
    len: usize,
    skipped: usize,
    /// Pages reserved for this sequence and its forks when it was admitted.
    reserved: Arc<Mutex<Vec<Page>>>,
}

impl DeviceCache {
    /// An empty cache.
    pub fn new(memory: &Arc<CacheMemory>, layout: &Arc<PageLayout>) -> DeviceCache {
        DeviceCache {
            memory: Arc::clone(memory),
            layout: Arc::clone(layout),
            pages: Vec::new(),
            len: 0,
            skipped: 0,
            reserved: Arc::default(),
        }
    }

    /// What its pages hold.
    pub fn layout(&self) -> &Arc<PageLayout> {
        &self.layout
    }

    /// Tokens it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Positions that were read and are not held.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    pub(crate) fn skip(&mut self, count: usize) {
        self.skipped += count;
    }

    /// Pages that the sequence must take to grow to `tokens`, and each fork of it to as many more than it holds then as
    /// `others` says; a last page that is shared is copied before it is written.
    pub fn wanted(&self, tokens: usize, others: &[usize]) -> usize {
        let shared = self.len % PAGE_TOKENS > 0 && !self.owns_last();
        let forks = others.iter().map(|more| self.layout.pages(*more) + 1);
        self.layout.pages(tokens).saturating_sub(self.pages.len())
            + usize::from(shared)
            + forks.sum::<usize>()
    }

    /// Takes `wanted` pages, once and for all, for the sequence and its forks. False, with nothing taken, where the pool
    /// has not so many now.
    pub fn reserve(&mut self, wanted: usize) -> bool {
        let mut reserved = lock(&self.reserved);
        let missing = wanted.saturating_sub(reserved.len());
        match self.memory.pages.take(self.layout.page_bytes, missing) {
            Some(pages) => reserved.extend(pages),
            None => return false,
        }
        true
    }

    /// Pages of its size that there are in all.
    pub fn most(&self) -> usize {
        self.memory.pages.most_pages(self.layout.page_bytes)
    }

    /// The refusal of a text that does not fit even alone.
    pub(crate) fn too_large(&self, tokens: usize) -> EngineError {
        EngineError::TooLong {
            tokens,
            limit: self.most() * PAGE_TOKENS,
            mend: format!(
                "the device has {} MB for caches; ask for a shorter text, or a cache policy of fewer bits than {}",
                self.memory.bytes() >> 20,
                self.layout.policy
            ),
        }
    }

    fn owns_last(&self) -> bool {
        self.pages
            .last()
            .is_none_or(|page| Arc::strong_count(page) == 1)
    }

    /// Makes room for `rows` more tokens, from what was reserved or the pool; gives the copies that must be made before
    /// they are written.
    pub(super) fn prepare(&mut self, rows: usize) -> Result<Vec<Op>, EngineError> {
        let mut copies = Vec::new();
        let end = self.len + rows;
        self.pages.truncate(self.layout.pages(self.len));
        if rows > 0 && self.len % PAGE_TOKENS > 0 && !self.owns_last() {
            let fresh = Arc::new(self.take()?);
            if let Some(last) = self.pages.last_mut() {
                copies.push(Op::Copy {
                    from: self.memory.address(last),
                    to: self.memory.address(&fresh),
                    bytes: self.layout.page_bytes,
                });
                *last = fresh;
            }
        }
        while self.pages.len() < self.layout.pages(end) {
            let page = self.take()?;
            self.pages.push(Arc::new(page));
        }
        Ok(copies)
    }

    fn take(&self) -> Result<Page, EngineError> {
        if let Some(page) = lock(&self.reserved).pop() {
            return Ok(page);
        }
        let page = self.memory.take(self.layout.page_bytes);
        page.ok_or_else(|| {
            EngineError::Request(format!(
                "the device's {} MB for caches are in use; ask for less at once, shorter texts or a smaller cache policy",
                self.memory.bytes() >> 20
            ))
        })
    }

    /// Addresses of its pages.
    pub(super) fn addresses(&self) -> impl Iterator<Item = u64> {
        self.pages.iter().map(|page| self.memory.address(page).0)
    }

    pub(crate) fn commit(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// Forgets all tokens from `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.pages.truncate(self.layout.pages(self.len));
    }

    /// A cache of the same tokens that shares pages until either writes.
    pub(crate) fn fork(&self) -> DeviceCache {
        DeviceCache {
            memory: Arc::clone(&self.memory),
            layout: Arc::clone(&self.layout),
            pages: self.pages.clone(),
            len: self.len,
            skipped: self.skipped,
            reserved: Arc::clone(&self.reserved),
        }
    }

    /// A cache of the same tokens for another request.
    pub(crate) fn apart(&self) -> DeviceCache {
        DeviceCache {
            reserved: Arc::default(),
            ..self.fork()
        }
    }

    /// An empty cache of the same policy that shares what is reserved.
    pub(crate) fn emptied(&self) -> DeviceCache {
        DeviceCache {
            pages: Vec::new(),
            len: 0,
            skipped: 0,
            ..self.fork()
        }
    }

    /// Gives back what was reserved and not used.
    pub(crate) fn rest(&mut self) {
        self.reserved = Arc::default();
        self.pages.truncate(self.layout.pages(self.len));
    }

    /// Bytes of pages not in `seen`, which gets them.
    pub(crate) fn bytes_besides(&self, seen: &mut HashSet<usize>) -> usize {
        let fresh = self
            .pages
            .iter()
            .filter(|page| seen.insert(Arc::as_ptr(page) as usize));
        fresh.count() * self.layout.page_bytes
    }
}

fn lock(reserved: &Mutex<Vec<Page>>) -> std::sync::MutexGuard<'_, Vec<Page>> {
    reserved.lock().unwrap_or_else(PoisonError::into_inner)
}
