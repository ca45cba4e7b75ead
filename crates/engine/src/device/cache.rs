//! One sequence's memory on a device: pages of a pool, shared by forks until one of them writes.
//!
//! A full cache has a page for every [`PAGE_TOKENS`] tokens, the last perhaps not full. A cache of codes has a closed page
//! for every complete group, and one open page; a step that completes a group and begins the next writes the new one
//! beside it, so that a step that is broken off leaves no trace. Must not know weights, or how pages are read.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use footnote_device::kernels::PAGE_TOKENS;
use footnote_device::{Address, Buffer, Op, Page, PagePool};

use super::coded::CodedPolicy;
use crate::EngineError;
use crate::cache::{CachePolicy, CacheShape, Window};

/// A device's memory for caches, taken once.
pub struct CacheMemory {
    pages: PagePool,
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
        let taken = self.pages.take(bytes, 1);
        taken.and_then(|mut pages| pages.pop())
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
pub struct PageLayout {
    /// The policy.
    pub policy: CachePolicy,
    /// Which tokens are read in full precision.
    pub window: Window,
    /// The model's shapes.
    pub shape: CacheShape,
    /// Bytes of a page of all layers.
    pub page_bytes: usize,
    /// Bytes from a full page's start to each layer.
    pub layer_offsets: Vec<usize>,
    /// What caches of codes keep.
    pub(super) coded: Option<Arc<CodedPolicy>>,
}

impl PageLayout {
    /// f16 keys and values.
    pub fn full(shape: CacheShape) -> PageLayout {
        let layer = 2 * shape.kv_width() * PAGE_TOKENS * size_of::<half::f16>();
        PageLayout {
            policy: CachePolicy::Full,
            window: Window::Recent,
            page_bytes: layer * shape.layers,
            layer_offsets: (0..shape.layers).map(|index| index * layer).collect(),
            shape,
            coded: None,
        }
    }

    pub(super) fn coded(
        policy: CachePolicy,
        window: Window,
        shape: CacheShape,
        coded: Arc<CodedPolicy>,
    ) -> PageLayout {
        PageLayout {
            policy,
            window,
            shape,
            page_bytes: coded.closed_bytes,
            layer_offsets: Vec::new(),
            coded: Some(coded),
        }
    }

    /// Pages that `tokens` take besides an open one.
    fn pages(&self, tokens: usize) -> usize {
        match self.coded {
            None => tokens.div_ceil(PAGE_TOKENS),
            Some(_) => tokens / PAGE_TOKENS,
        }
    }

    /// Bytes of open pages and accumulators, where there are any.
    fn others(&self) -> (usize, usize) {
        self.coded
            .as_ref()
            .map_or((0, 0), |coded| (coded.open_bytes, coded.accumulator_bytes))
    }

    /// Bytes of a sequence of `tokens`.
    pub fn bytes(&self, tokens: usize) -> usize {
        let (open, accumulator) = self.others();
        self.pages(tokens) * (self.page_bytes + accumulator) + open
    }
}

/// Pages by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// Of a full cache, or closed.
    pub pages: usize,
    /// Open.
    pub opens: usize,
    /// Of the closed loop's accumulator.
    pub accumulators: usize,
}

#[derive(Default)]
struct Reserved {
    pages: Vec<Page>,
    opens: Vec<Page>,
    accumulators: Vec<Page>,
}

/// One sequence's pages.
pub struct DeviceCache {
    memory: Arc<CacheMemory>,
    layout: Arc<PageLayout>,
    /// By slot / [`PAGE_TOKENS`].
    pages: Vec<Arc<Page>>,
    open: Option<Arc<Page>>,
    /// Where a step that completes the open group writes what comes after it.
    next_open: Option<Arc<Page>>,
    /// By closed page; never shared, since every pass writes them.
    accumulators: Vec<Page>,
    len: usize,
    skipped: usize,
    /// Pages reserved for this sequence and its forks when it was admitted.
    reserved: Arc<Mutex<Reserved>>,
}

impl DeviceCache {
    /// An empty cache.
    pub fn new(memory: &Arc<CacheMemory>, layout: &Arc<PageLayout>) -> DeviceCache {
        DeviceCache {
            memory: Arc::clone(memory),
            layout: Arc::clone(layout),
            pages: Vec::new(),
            open: None,
            next_open: None,
            accumulators: Vec::new(),
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

    /// Pages that the sequence must take to have read `tokens`, and each fork of it as many more than those as `others`
    /// says; a last page that is shared is copied before it is written, and tokens that were let go of take none.
    pub fn wanted(&self, tokens: usize, others: &[usize]) -> PageCounts {
        let tokens = tokens.saturating_sub(self.skipped);
        let coded = self.layout.coded.as_ref();
        let loops = coded.is_some_and(|coded| coded.accumulator_bytes > 0);
        // Forks begin within a page.
        let forks = others.iter().map(|more| self.layout.pages(*more) + 1);
        let shared = !self.len.is_multiple_of(PAGE_TOKENS) && !self.owns_last();
        let pages = self.layout.pages(tokens).saturating_sub(self.pages.len())
            + usize::from(coded.is_none() && shared)
            + forks.sum::<usize>();
        let lanes = 1 + others.len();
        PageCounts {
            pages,
            opens: if coded.is_some() { 2 * lanes } else { 0 },
            accumulators: match loops {
                true => self.layout.pages(tokens) * lanes + pages,
                false => 0,
            },
        }
    }

    /// Takes `wanted` pages, once and for all, for the sequence and its forks. False, with nothing taken, where the pool
    /// has not so many now.
    pub fn reserve(&mut self, wanted: PageCounts) -> bool {
        let (open, accumulator) = self.layout.others();
        let pool = &self.memory.pages;
        let mut reserved = lock(&self.reserved);
        let missing = |held: &Vec<Page>, wanted: usize| wanted.saturating_sub(held.len());
        let Some(pages) = pool.take(
            self.layout.page_bytes,
            missing(&reserved.pages, wanted.pages),
        ) else {
            return false;
        };
        let Some(opens) = pool.take(open, missing(&reserved.opens, wanted.opens)) else {
            return false;
        };
        let held = missing(&reserved.accumulators, wanted.accumulators);
        let Some(accumulators) = pool.take(accumulator, held) else {
            return false;
        };
        reserved.pages.extend(pages);
        reserved.opens.extend(opens);
        reserved.accumulators.extend(accumulators);
        true
    }

    /// Whether so many pages besides its own could ever be had at once.
    pub fn could_hold(&self, wanted: PageCounts) -> bool {
        let (open, accumulator) = self.layout.others();
        let pages = self.pages.len() + wanted.pages;
        let bytes = pages * self.layout.page_bytes
            + wanted.opens * open
            + wanted.accumulators * accumulator;
        bytes <= self.memory.bytes()
            && pages <= self.memory.pages.most_pages(self.layout.page_bytes)
    }

    /// The refusal of a text of `tokens` for which there are not so many pages, though nobody is being answered.
    pub(crate) fn refusal(&self, tokens: usize, wanted: PageCounts) -> EngineError {
        // Prompts that are being read, or wait to be answered, hold pages too.
        let others = self.memory.used_bytes() > self.bytes_besides(&mut HashSet::new());
        if others && self.could_hold(wanted) {
            return self.crowded();
        }
        EngineError::TooLong {
            tokens,
            limit: self.most_tokens() + self.skipped,
            mend: format!(
                "the device has {} MB for caches; ask for a shorter text, or a cache policy of fewer bits than {}",
                self.memory.bytes() >> 20,
                self.layout.policy
            ),
        }
    }

    /// Tokens of the longest text that fits alone.
    pub(super) fn most_tokens(&self) -> usize {
        let (open, accumulator) = self.layout.others();
        let left = self.memory.bytes().saturating_sub(2 * open);
        let pages = left / (self.layout.page_bytes + accumulator).max(1);
        let most = self.memory.pages.most_pages(self.layout.page_bytes);
        pages.min(most) * PAGE_TOKENS
    }

    fn owns_last(&self) -> bool {
        let last = match self.layout.coded {
            None => self.pages.last(),
            Some(_) => self.open.as_ref(),
        };
        last.is_none_or(|page| Arc::strong_count(page) == 1)
    }

    /// Makes room for `rows` more tokens, from what was reserved or the pool; gives the copies that must be made before
    /// they are written.
    pub(super) fn prepare(&mut self, rows: usize) -> Result<Vec<Op>, EngineError> {
        let mut copies = Vec::new();
        let end = self.len + rows;
        self.pages.truncate(self.layout.pages(self.len));
        self.next_open = None;
        let within = self.len % PAGE_TOKENS;
        if rows > 0 && within > 0 && !self.owns_last() {
            let fresh = match self.layout.coded {
                None => Arc::new(self.take()?),
                Some(_) => Arc::new(self.take_open()?),
            };
            let last = match self.layout.coded {
                None => self.pages.last_mut(),
                Some(_) => self.open.as_mut(),
            };
            if let Some(last) = last {
                copies.push(Op::Copy {
                    from: self.memory.address(last),
                    to: self.memory.address(&fresh),
                    bytes: fresh.bytes(),
                });
                *last = fresh;
            }
        }
        while self.pages.len() < self.layout.pages(end) {
            let page = self.take()?;
            self.pages.push(Arc::new(page));
        }
        let Some(coded) = &self.layout.coded else {
            return Ok(copies);
        };
        let (loops, first) = (
            coded.accumulator_bytes > 0,
            self.open.is_none() || within == 0,
        );
        if first && !(self.open.is_some() && self.owns_last()) {
            self.open = Some(Arc::new(self.take_open()?));
        }
        // What comes after a group that was begun before this step must not take its place until the step counts.
        if within > 0 && within + rows > PAGE_TOKENS && !end.is_multiple_of(PAGE_TOKENS) {
            self.next_open = Some(Arc::new(self.take_open()?));
        }
        while loops && self.accumulators.len() < self.pages.len() {
            let page = self.take_accumulator()?;
            self.accumulators.push(page);
        }
        Ok(copies)
    }

    fn take(&self) -> Result<Page, EngineError> {
        let reserved = lock(&self.reserved).pages.pop();
        self.or_taken(reserved, self.layout.page_bytes)
    }

    fn take_open(&self) -> Result<Page, EngineError> {
        let reserved = lock(&self.reserved).opens.pop();
        self.or_taken(reserved, self.layout.others().0)
    }

    fn take_accumulator(&self) -> Result<Page, EngineError> {
        let reserved = lock(&self.reserved).accumulators.pop();
        self.or_taken(reserved, self.layout.others().1)
    }

    fn or_taken(&self, reserved: Option<Page>, bytes: usize) -> Result<Page, EngineError> {
        if let Some(page) = reserved {
            return Ok(page);
        }
        self.memory.take(bytes).ok_or_else(|| self.crowded())
    }

    /// The refusal of what would fit if others held less.
    fn crowded(&self) -> EngineError {
        EngineError::Request(format!(
            "the device's {} MB for caches are in use; ask for less at once, shorter texts or a smaller cache policy",
            self.memory.bytes() >> 20
        ))
    }

    /// Takes pages for `tokens` more tokens without reading any: for measuring. What they hold is whatever was there,
    /// as zeros.
    ///
    /// # Errors
    /// Where there are not enough pages.
    pub fn pretend(&mut self, tokens: usize) -> Result<Vec<Op>, EngineError> {
        let first = self.pages.len();
        let mut ops = self.prepare(tokens)?;
        let fresh = self.pages[first..].iter().chain(&self.open);
        ops.extend(fresh.map(|page| Op::Zero {
            to: self.memory.address(page),
            bytes: page.bytes(),
        }));
        self.commit(tokens);
        Ok(ops)
    }

    /// Addresses of its pages, those of groups that the step being prepared completes included.
    pub(super) fn addresses(&self) -> Vec<u64> {
        let pages = self.pages.iter();
        pages.map(|page| self.memory.address(page).0).collect()
    }

    /// The open page of a cache of codes.
    pub(super) fn open(&self) -> Address {
        self.address_of(self.open.as_deref())
    }

    /// Where rows after the open group go.
    pub(super) fn open_after(&self) -> Address {
        self.address_of(self.next_open.as_deref().or(self.open.as_deref()))
    }

    fn address_of(&self, page: Option<&Page>) -> Address {
        page.map_or(Address::NONE, |page| self.memory.address(page))
    }

    /// Accumulators of its pages.
    pub(super) fn accumulators(&self) -> Vec<u64> {
        let pages = self.accumulators.iter();
        pages.map(|page| self.memory.address(page).0).collect()
    }

    pub(crate) fn commit(&mut self, tokens: usize) {
        self.len += tokens;
        if let Some(next) = self.next_open.take() {
            self.open = Some(next);
        }
    }

    /// Forgets all tokens from `len` on; a cache of codes the whole of a closed group that `len` cuts.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        let closed = self.len / PAGE_TOKENS * PAGE_TOKENS;
        self.len = match self.layout.coded {
            Some(_) if len < closed => len / PAGE_TOKENS * PAGE_TOKENS,
            _ => len,
        };
        self.pages.truncate(self.layout.pages(self.len));
        self.accumulators.truncate(self.pages.len());
    }

    /// A cache of the same tokens that shares pages until either writes.
    pub(crate) fn fork(&self) -> DeviceCache {
        DeviceCache {
            memory: Arc::clone(&self.memory),
            layout: Arc::clone(&self.layout),
            pages: self.pages.clone(),
            open: self.open.clone(),
            next_open: None,
            accumulators: Vec::new(),
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
            open: None,
            len: 0,
            skipped: 0,
            ..self.fork()
        }
    }

    /// Gives back what was reserved and not used, and what only a pass needs.
    pub(crate) fn rest(&mut self) {
        self.reserved = Arc::default();
        self.pages.truncate(self.layout.pages(self.len));
        self.accumulators = Vec::new();
        self.next_open = None;
    }

    /// Bytes of pages not in `seen`, which gets them.
    pub(crate) fn bytes_besides(&self, seen: &mut HashSet<usize>) -> usize {
        let shared = self.pages.iter().chain(&self.open);
        let fresh = shared.filter(|page| seen.insert(Arc::as_ptr(page) as usize));
        fresh.map(|page| page.bytes()).sum::<usize>()
            + self.accumulators.iter().map(Page::bytes).sum::<usize>()
    }
}

fn lock(reserved: &Mutex<Reserved>) -> std::sync::MutexGuard<'_, Reserved> {
    reserved.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use footnote_device::Device;
    use footnote_device::emulator::Emulator;

    use super::*;
    use crate::kernels::HeadShape;

    /// Memory for so many pages of one layer.
    fn memory(pages: usize) -> (Arc<CacheMemory>, Arc<PageLayout>) {
        let layout = PageLayout::full(CacheShape {
            layers: 1,
            hidden: 32,
            heads: HeadShape {
                heads: 2,
                kv_heads: 1,
                head_dim: 16,
            },
        });
        let bytes = layout.page_bytes;
        let device: Arc<dyn Device> = Arc::new(Emulator::new(1 << 20));
        let memory = Buffer::new(&device, pages * bytes).unwrap();
        let pool = PagePool::new(pages * bytes, bytes);
        (Arc::new(CacheMemory::new(pool, memory)), Arc::new(layout))
    }

    /// A cache that holds `tokens` of as many more as were let go of.
    fn held(memory: &Arc<CacheMemory>, layout: &Arc<PageLayout>, tokens: usize) -> DeviceCache {
        let mut cache = DeviceCache::new(memory, layout);
        cache.prepare(tokens).unwrap();
        cache.commit(tokens);
        cache.skip(1_000);
        cache
    }

    #[test]
    fn what_was_let_go_of_takes_no_pages() {
        let (memory, layout) = memory(4);
        let cache = held(&memory, &layout, 130);
        let pages = |tokens: usize| cache.wanted(tokens, &[]).pages;
        assert_eq!((pages(1_130), pages(1_256), pages(1_257)), (0, 0, 1));
        assert_eq!(cache.wanted(1_200, &[20]).pages, 2, "a fork's");
        // Two are its own.
        assert!(cache.could_hold(cache.wanted(1_512, &[])));
        assert!(!cache.could_hold(cache.wanted(1_513, &[])));
    }

    #[test]
    fn a_refusal_says_whether_to_wait() {
        let (memory, layout) = memory(4);
        let refused = |cache: &DeviceCache, tokens: usize| {
            let wanted = cache.wanted(tokens, &[]);
            cache.refusal(tokens, wanted)
        };
        let mut cache = held(&memory, &layout, 130);
        let limit = match refused(&cache, 2_000) {
            EngineError::TooLong { limit, .. } => limit,
            error => panic!("another error: {error}"),
        };
        assert_eq!(limit, 1_512);
        let others = held(&memory, &layout, 129);
        assert!(!cache.reserve(cache.wanted(limit, &[])));
        let error = refused(&cache, limit).to_string();
        assert!(error.contains("ask for less at once"), "{error}");
        drop(others);
        assert!(cache.reserve(cache.wanted(limit, &[])));
    }
}
