//! Prompts read on a device for their attention alone.
//!
//! As on the processor: tokens go through the layers up to the last tapped one, of which only what queries and keys need is
//! run. The windows' queries stay on the device in two halves, exact to 22 bits, until the last token is read; then each
//! tapped layer's keys are scored, and only scores come back. What this needs besides a pass's own buffers are pages of the
//! caches' pool, so it can be refused for want of memory but never take it from an answer that is being written. Must not
//! know what scores are for.

use std::ops::Range;
use std::sync::Arc;

use footnote_device::kernels::prompt::Source;
use footnote_device::kernels::rows::{Parts, Rows};
use footnote_device::kernels::tap::{
    Chosen, Keys, Precision, Reduce as DeviceReduce, Scores, Scratch, Tap as TapKernels, Window,
    most_parts, splits,
};
use footnote_device::kernels::{Half, PAGE_TOKENS, Sequence};
use footnote_device::{Address, Op, Page, Plan, bytes_of};

use super::step::Kind;
use super::{DeviceCache, DeviceModel, DeviceStep, PageLayout, Work, heads_of, shape_of};
use crate::EngineError;
use crate::cache::CacheShape;
use crate::decoder::{BANDED_CHUNK, Origin, Outputs};
use crate::tap::{Reduce, Tap};

/// What parts of a piece of memory are aligned to.
const ALIGNMENT: usize = 256;

/// An end of a prompt and the taps on its reading.
pub(crate) struct TappedEnd<'a> {
    /// Its tokens.
    pub(crate) tokens: &'a [u32],
    /// Taps on the beginning and this end.
    pub(crate) taps: &'a mut [Tap],
}

/// The last queries of a prompt's tapped layers, by slot, and what reads them.
pub(super) struct Reader {
    pub(super) cache: DeviceCache,
    /// The slot of the first query that any window holds.
    first: usize,
    /// Queries there is room for.
    rows: usize,
    /// By layer, where it is tapped: f16 `[rows][heads][head_dim]`, high parts and then low ones.
    queries: Vec<Option<Page>>,
    /// Where scores are worked out, as large as any tap wants it.
    pub(super) desk: Page,
    split: Rows,
}

impl DeviceModel {
    /// Reads `beginning` once and each end after it, and gives every tap its scores. Where there is a `band`, the
    /// beginning's tokens attend to the first ones and about so many before them only, and the ends to all.
    ///
    /// # Errors
    /// Where the pool has no room for the keys or the windows, or the device fails.
    pub(crate) fn tap_ends(
        &self,
        beginning: &[u32],
        ends: &mut [TappedEnd<'_>],
        band: Option<usize>,
    ) -> Result<(), EngineError> {
        let taps: Vec<&Tap> = ends.iter().flat_map(|end| end.taps.iter()).collect();
        let layers = taps.iter().map(|tap| tap.layers()).max().unwrap_or(0);
        if layers == 0 {
            return Ok(());
        }
        let shape = CacheShape {
            layers,
            ..shape_of(&self.config)
        };
        let layout = Arc::new(PageLayout::full(shape));
        let mut reader = self.reader(&taps, DeviceCache::new(&self.memory, &layout), &[])?;
        self.read_under(&mut reader, beginning, band)?;
        for end in ends {
            let tokens = beginning.len() + end.tokens.len();
            self.reserve(&mut reader.cache, tokens, &[])?;
            self.read_under(&mut reader, end.tokens, None)?;
            for tap in &mut *end.taps {
                self.score(&reader, tap)?;
            }
            reader.cache.truncate(beginning.len());
        }
        Ok(())
    }

    /// What reads prompts into `cache`, through its layers, and keeps the queries that any of `taps` wants. All memory is
    /// taken now, for so many tokens on forks of the cache too as `others` says.
    pub(super) fn reader(
        &self,
        taps: &[&Tap],
        cache: DeviceCache,
        others: &[usize],
    ) -> Result<Reader, EngineError> {
        let mut cache = cache;
        let begins = taps.iter().map(|tap| tap.tokens() - tap.config().window);
        let first = begins.min().unwrap_or(0);
        let last = taps.iter().map(|tap| tap.tokens()).max().unwrap_or(0);
        let mut tapped = vec![false; cache.layout().shape.layers];
        for (layer, _) in taps.iter().flat_map(|tap| tap.heads()) {
            tapped[*layer] = true;
        }
        let desks = taps.iter().map(|tap| Desk::sizes(self, tap).iter().sum());
        let desk = self.piece(desks.max().unwrap_or(0))?;
        self.reserve(&mut cache, last, others)?;
        let rows = last - first;
        // A window of no tokens is scored by nobody.
        let bytes = 2 * size_of::<u16>() * rows * self.config.query_width();
        let mut queries = Vec::new();
        for tapped in tapped {
            queries.push(match tapped && rows > 0 {
                true => Some(self.piece(bytes)?),
                false => None,
            });
        }
        Ok(Reader {
            cache,
            first,
            rows,
            queries,
            desk,
            split: Rows::new(Half::F16),
        })
    }

    /// Takes what a cache needs to hold `tokens`, and forks of it `others`, before anything is read.
    fn reserve(
        &self,
        cache: &mut DeviceCache,
        tokens: usize,
        others: &[usize],
    ) -> Result<(), EngineError> {
        let wanted = cache.wanted(tokens, others);
        if !cache.could_hold(wanted) {
            let besides = cache.wanted(0, others).pages * PAGE_TOKENS;
            return Err(EngineError::TooLong {
                tokens,
                limit: cache.most_tokens().saturating_sub(besides),
                mend: format!(
                    "{} has {} MB for keys of prompts; give it a shorter text, or its caches more memory",
                    self.device.name(),
                    self.memory.bytes() >> 20
                ),
            });
        }
        match cache.reserve(wanted) {
            true => Ok(()),
            false => Err(self.crowded()),
        }
    }

    fn crowded(&self) -> EngineError {
        EngineError::Request(format!(
            "{}: the {} MB for caches are in use; ask for less at once, or for shorter texts",
            self.device.name(),
            self.memory.bytes() >> 20
        ))
    }

    /// A piece of the caches' memory.
    fn piece(&self, bytes: usize) -> Result<Page, EngineError> {
        let bytes = bytes.max(1).next_multiple_of(ALIGNMENT);
        if !self.memory.can_hold(bytes) {
            return Err(EngineError::Request(format!(
                "{}: a window's queries and scores need {} MB in one piece, which the {} MB for caches are too small for; \
                 ask a shorter question, or give caches more memory",
                self.device.name(),
                bytes.div_ceil(1 << 20),
                self.memory.bytes() >> 20
            )));
        }
        self.memory.take(bytes).ok_or_else(|| self.crowded())
    }

    /// Reads tokens through the reader's layers.
    pub(super) fn read_under(
        &self,
        reader: &mut Reader,
        tokens: &[u32],
        band: Option<usize>,
    ) -> Result<(), EngineError> {
        let most = self.options.rows;
        let chunk = match band {
            Some(_) => BANDED_CHUNK,
            None => most,
        };
        for chunk in tokens.chunks(chunk) {
            let start = reader.cache.len();
            for tokens in chunk.chunks(most) {
                // A band is counted from the chunk's start, however the device cuts it.
                let band = band.map(|band| band + reader.cache.len() - start);
                self.pass_under(reader, tokens, band)?;
            }
        }
        Ok(())
    }

    /// One pass of it.
    fn pass_under(
        &self,
        reader: &mut Reader,
        tokens: &[u32],
        band: Option<usize>,
    ) -> Result<(), EngineError> {
        let work = self.lock();
        let copies = reader.cache.prepare(tokens.len())?;
        if !copies.is_empty() {
            self.device.run(&Plan::once(copies))?;
        }
        let start = reader.cache.len();
        let steps = [DeviceStep {
            tokens,
            origin: Origin::Prompt,
            cache: &mut reader.cache,
            outputs: Outputs::None,
            perturbation: None,
        }];
        let laid = self.lay_out(&steps, &[0], &work)?;
        let part = &laid.parts[0];
        let Kind::Prompt {
            step,
            tiles,
            tile_count,
        } = &part.kind
        else {
            unreachable!("a prompt on a full cache")
        };
        let layers = reader.queries.len();
        let mut ops = self.begin(&laid, &work);
        for index in 0..layers {
            self.project(index, &laid, &work, &mut ops);
            let kept = reader.kept(index, start, tokens.len());
            // Exact queries of a pass stand where gate and up stand later.
            let exact = match kept.is_empty() {
                true => Address::NONE,
                false => work.widened.address(),
            };
            ops.push(self.append_full(index, part, step, exact, &work));
            ops.extend(self.keep(reader, index, start, kept, &work));
            if index + 1 < layers {
                let source = Source {
                    queries: work.queries.address(),
                    sequences: step.sequences,
                    tiles: *tiles,
                    tile_count: *tile_count,
                    page_offset: part.layout.layer_offsets[index],
                    own_offset: 0,
                    band,
                };
                let attended = work.attended.from(0, self.config.query_width());
                ops.push(self.makers.prompt.attend(&source, attended));
                self.finish(index, &laid, &work, &mut ops);
            }
        }
        self.device.run(&Plan::once(ops))?;
        reader.cache.commit(tokens.len());
        Ok(())
    }

    /// Keeps `rows` of exact queries of a pass that begins at slot `start`.
    fn keep(
        &self,
        reader: &Reader,
        index: usize,
        start: usize,
        rows: Range<usize>,
        work: &Work,
    ) -> Option<Op> {
        if rows.is_empty() {
            return None;
        }
        let width = self.config.query_width();
        let to = self.window(reader, index, start + rows.start)?;
        let from = work.widened.at(4 * rows.start * width);
        Some(reader.split.split(from, to, rows.len() * width))
    }

    /// Where a layer's queries from `slot` on are kept.
    fn window(&self, reader: &Reader, index: usize, slot: usize) -> Option<Parts> {
        let row_bytes = size_of::<u16>() * self.config.query_width();
        let page = reader.queries[index].as_ref()?;
        let high = self
            .memory
            .address(page)
            .plus((slot - reader.first) * row_bytes);
        Some(Parts {
            high,
            low: high.plus(reader.rows * row_bytes),
        })
    }

    /// Scores all keys that were read for a tap.
    pub(super) fn score(&self, reader: &Reader, tap: &mut Tap) -> Result<(), EngineError> {
        let config = tap.config().clone();
        let tokens = reader.cache.len();
        debug_assert_eq!(tokens, tap.tokens(), "the window's end is read");
        if config.window == 0 {
            return Ok(());
        }
        let desk = Desk::new(self, reader, tap)?;
        let reduce = match config.reduce {
            Reduce::Max => DeviceReduce::Max,
            Reduce::Sum => DeviceReduce::Sum,
        };
        let kernels = TapKernels::new(heads_of(&self.config), Precision::Both, reduce);
        let mut ops = vec![Op::Zero {
            to: desk.pooled,
            bytes: 4 * tokens,
        }];
        let heads = tap.heads().to_vec();
        let mut row = 0;
        for of_layer in heads.chunk_by(|one, other| one.0 == other.0) {
            let layer = of_layer[0].0;
            let Some(queries) = self.window(reader, layer, tokens - config.window) else {
                continue;
            };
            let window = Window {
                queries,
                rows: config.window,
                weighted: config.weighted,
            };
            let keys = Keys {
                sequence: desk.sequence,
                page_offset: reader.cache.layout().layer_offsets[layer],
                longest: tokens,
            };
            let chosen = Chosen {
                heads: desk.heads.plus(4 * row),
                count: of_layer.len(),
            };
            let scores = match config.per_head {
                true => Scores::Apart {
                    scores: desk.shares,
                    places: Address::NONE,
                    stride: tokens,
                },
                false => Scores::Pooled {
                    scores: desk.pooled,
                    shares: desk.shares,
                    stride: tokens,
                },
            };
            let scratch = Scratch {
                extents: desk.extents,
                norms: desk.norms,
                splits: splits(tokens, of_layer.len(), self.device.multiprocessors()),
            };
            ops.extend(kernels.score(&window, chosen, &keys, &scratch, scores));
            if config.per_head {
                self.device.run(&Plan::once(std::mem::take(&mut ops)))?;
                let scores = self.floats(desk.shares, of_layer.len() * tokens)?;
                for (at, scores) in scores.chunks_exact(tokens).enumerate() {
                    tap.put(row + at, scores);
                }
            }
            row += of_layer.len();
        }
        if !config.per_head {
            self.device.run(&Plan::once(ops))?;
            tap.put(0, &self.floats(desk.pooled, tokens)?);
        }
        Ok(())
    }

    /// Reads floats back.
    fn floats(&self, from: Address, count: usize) -> Result<Vec<f32>, EngineError> {
        let mut bytes = vec![0; 4 * count];
        self.device.download(from, &mut bytes)?;
        let words = bytes.chunks_exact(4);
        Ok(words
            .map(|word| f32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
            .collect())
    }
}

impl Reader {
    /// Rows of a pass of `rows` from slot `start` on whose queries a layer keeps.
    fn kept(&self, index: usize, start: usize, rows: usize) -> Range<usize> {
        match self.queries[index] {
            Some(_) => self.first.saturating_sub(start).min(rows)..rows,
            None => 0..0,
        }
    }
}

/// Where a tap's scores are worked out.
struct Desk {
    sequence: Address,
    heads: Address,
    extents: Address,
    norms: Address,
    /// f32 `[heads][tokens]`, of one layer.
    shares: Address,
    /// f32 `[tokens]`.
    pooled: Address,
}

impl Desk {
    /// Bytes of its parts: the sequence, its page table, the heads, extents, norms, shares, and what is pooled of them.
    fn sizes(model: &DeviceModel, tap: &Tap) -> [usize; 7] {
        let (tokens, window) = (tap.tokens(), tap.config().window);
        let at_once = model.config.heads.min(tap.heads().len());
        let parts = most_parts(tokens, at_once, model.device.multiprocessors());
        [
            Sequence::BYTES,
            8 * tokens.div_ceil(PAGE_TOKENS),
            4 * tap.heads().len(),
            8 * window * parts,
            4 * at_once * window,
            4 * at_once * tokens,
            4 * tokens,
        ]
        .map(|bytes| bytes.next_multiple_of(ALIGNMENT))
    }

    fn new(model: &DeviceModel, reader: &Reader, tap: &Tap) -> Result<Desk, EngineError> {
        let mut next = model.memory.address(&reader.desk);
        let [sequence, pages, list, extents, norms, shares, pooled] =
            Desk::sizes(model, tap).map(|bytes| {
                let at = next;
                next = next.plus(bytes);
                at
            });
        let words = Sequence {
            pages,
            rows: tap.tokens() as u32,
            ..Sequence::default()
        }
        .words();
        let table = reader.cache.addresses();
        let heads: Vec<u32> = tap.heads().iter().map(|(_, head)| *head as u32).collect();
        model.device.upload(sequence, bytes_of(&words))?;
        model.device.upload(pages, bytes_of(&table))?;
        model.device.upload(list, bytes_of(&heads))?;
        Ok(Desk {
            sequence,
            heads: list,
            extents,
            norms,
            shares,
            pooled,
        })
    }
}
