//! What changes from pass to pass, written down for the kernels: sequences, tables of pages, tiles, lists.
//!
//! A pass's lists go to fixed places of a few buffers in the order in which they are made. Those that a replayed plan
//! names come first and are of a fixed length for the plan's key; tables, which only sequences point to, come after. Must
//! not know kernels' arithmetic.

use std::sync::Arc;

use footnote_device::kernels::{PAGE_TOKENS, Sequence, Step};
use footnote_device::{Address, Buffer};

use super::coded::{BodyLists, RowLists, Walk, full_layer_bytes, own_page};
use super::step::{DeviceStep, Division, Kind, Part, most_partials};
use super::{DeviceModel, Work};
use crate::EngineError;
use crate::cache::Window;
use crate::decoder::Origin;

/// Splits of a context of codes at most: they are joined one after another.
const MOST_CODED_SPLITS: usize = 64;

/// Values on their way to a buffer.
struct List<'a> {
    buffer: &'a Buffer,
    words: Vec<u64>,
}

impl List<'_> {
    /// Appends words; where they will lie.
    fn put(&mut self, words: impl IntoIterator<Item = u64>) -> Address {
        let at = self.buffer.at(8 * self.words.len());
        self.words.extend(words);
        at
    }

    fn write(&self) -> Result<(), EngineError> {
        match self.words.is_empty() {
            true => Ok(()),
            false => Ok(self.buffer.write(&self.words)?),
        }
    }
}

/// Lays a pass out, part by part.
pub(super) struct LayOut<'a> {
    model: &'a DeviceModel,
    work: &'a Work,
    sequences: List<'a>,
    lists: List<'a>,
    /// Tables of pages: what sequences point to.
    tables: List<'a>,
    /// By row of the pass.
    row_sequence: Vec<u32>,
    parts: Vec<Part>,
}

/// Bytes of the lists of a pass.
pub(super) fn list_bytes(context: usize, sequences: usize, rows: usize) -> usize {
    let pages = context.div_ceil(PAGE_TOKENS) + 1;
    // Of rows up to two lists of twice the pages; of a prompt closed pages twice, accumulators, where they are rebuilt and
    // their positions; rows' open pages; tiles; pairs.
    8 * (9 * sequences * pages + 2 * rows + 16 * sequences + 64)
}

/// Whether a step's rows go on in the next group.
fn crosses(step: &DeviceStep<'_>) -> bool {
    step.cache.len() % PAGE_TOKENS + step.tokens.len() > PAGE_TOKENS
}

impl<'a> LayOut<'a> {
    pub(super) fn new(model: &'a DeviceModel, work: &'a Work) -> LayOut<'a> {
        let list = |buffer: &'a Buffer| List {
            buffer,
            words: Vec::new(),
        };
        LayOut {
            model,
            work,
            sequences: list(&work.sequences),
            lists: list(&work.lists),
            tables: list(&work.page_table),
            row_sequence: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// Rows from `first_row` on: steps of one origin and one policy.
    pub(super) fn part(&mut self, steps: &[&DeviceStep<'_>], first_row: usize) {
        let coded = steps[0].cache.layout().coded.is_some();
        match (steps[0].origin, coded) {
            (_, false) => self.full(steps, first_row),
            // Tokens that are written together, as grammars have it, may go on in the next group; seldom, and then as a
            // prompt does.
            (Origin::Written, true) if steps.iter().all(|step| !crosses(step)) => {
                let rows: Vec<usize> = steps.iter().map(|step| step.tokens.len()).collect();
                self.rows(steps, &rows, first_row);
            }
            (origin, true) => {
                let mut row = first_row;
                for step in steps {
                    let count = step.tokens.len();
                    let within = step.cache.len() % PAGE_TOKENS;
                    let head = match within {
                        0 if origin == Origin::Prompt => 0,
                        _ => count.min(PAGE_TOKENS - within),
                    };
                    if head > 0 {
                        self.rows(&[step], &[head], row);
                    }
                    if count > head {
                        self.body(step, head, row + head);
                    }
                    row += count;
                }
            }
        }
    }

    /// The parts, once their lists are on the device.
    pub(super) fn finish(self) -> Result<Vec<Part>, EngineError> {
        self.sequences.write()?;
        self.lists.write()?;
        self.tables.write()?;
        self.work.row_sequence.write(&self.row_sequence)?;
        Ok(self.parts)
    }

    /// Says whose the next rows are; sequences are counted from the part's first.
    fn whose(&mut self, first_row: usize, counts: &[usize]) -> Address {
        debug_assert_eq!(self.row_sequence.len(), first_row);
        for (sequence, count) in counts.iter().enumerate() {
            let rows = std::iter::repeat_n(sequence as u32, *count);
            self.row_sequence.extend(rows);
        }
        self.work.row_sequence.at(4 * first_row)
    }

    fn full(&mut self, steps: &[&DeviceStep<'_>], first_row: usize) {
        let counts: Vec<usize> = steps.iter().map(|step| step.tokens.len()).collect();
        let row_sequence = self.whose(first_row, &counts);
        let mut laid = Vec::new();
        let mut row = 0;
        for step in steps {
            laid.push(Sequence {
                pages: self.tables.put(step.cache.addresses()),
                open: Address::NONE,
                first_row: row,
                rows: step.tokens.len() as u32,
                start: step.cache.len() as u32,
                skipped: step.cache.skipped() as u32,
            });
            row += step.tokens.len() as u32;
        }
        let step = Step {
            sequences: self.sequences.put(laid.iter().flat_map(Sequence::words)),
            count: steps.len(),
            row_sequence,
            opens: Address::NONE,
            rows: row as usize,
        };
        let kind = match steps[0].origin {
            Origin::Written => {
                let longest = counts.iter().copied().max().unwrap_or(0);
                let contexts = steps.iter().zip(&counts);
                let contexts: Vec<usize> = contexts
                    .map(|(step, count)| step.cache.len() + count)
                    .collect();
                let division = Division {
                    multiprocessors: self.model.device.multiprocessors(),
                    blocks: self.model.makers.attend.blocks(longest),
                    most: most_partials(&self.model.options) / step.rows,
                };
                Kind::Written {
                    step,
                    longest,
                    splits: division.splits(&contexts),
                }
            }
            Origin::Prompt => {
                let tiles = self.model.makers.prompt.tiles(&laid);
                Kind::Prompt {
                    step,
                    tile_count: tiles.len(),
                    tiles: self.lists.put(tiles.iter().flat_map(|tile| tile.words())),
                }
            }
        };
        self.push(steps[0], first_row, row as usize, kind);
    }

    fn push(&mut self, step: &DeviceStep<'_>, first_row: usize, rows: usize, kind: Kind) {
        self.parts.push(Part {
            layout: Arc::clone(step.cache.layout()),
            first_row,
            rows,
            kind,
        });
    }

    /// Rows of caches of codes that go one by one: the first `counts` of each step.
    fn rows(&mut self, steps: &[&DeviceStep<'_>], counts: &[usize], first_row: usize) {
        let row_sequence = self.whose(first_row, counts);
        let coded = steps[0].cache.layout().coded.as_ref();
        let loops = coded.is_some_and(|coded| coded.accumulator_bytes > 0);
        let (mut laid, mut accumulated) = (Vec::new(), Vec::new());
        let (mut closing, mut closing_accumulators) = (Vec::new(), Vec::new());
        let mut row = 0;
        for (step, count) in steps.iter().zip(counts) {
            let start = step.cache.len();
            let pages = step.cache.addresses();
            let accumulators = step.cache.accumulators();
            // The group that these rows complete, if they do: no more than one, since more begin a new page.
            let group = start / PAGE_TOKENS;
            let completes = (start + count) / PAGE_TOKENS > group;
            let page = if completes { pages[group] } else { 0 };
            let accumulator = match loops && completes {
                true => accumulators[group],
                false => 0,
            };
            let open = step.cache.open();
            closing.push((if completes { open.0 } else { 0 }, page));
            closing_accumulators.push(accumulator);
            let sequence = Sequence {
                pages: self.tables.put(pages),
                open,
                first_row: row,
                rows: *count as u32,
                start: start as u32,
                skipped: 0,
            };
            accumulated.push(Sequence {
                pages: match loops {
                    true => self.tables.put(accumulators),
                    false => Address::NONE,
                },
                ..sequence
            });
            laid.push(sequence);
            row += *count as u32;
        }
        let step = Step {
            sequences: self.sequences.put(laid.iter().flat_map(Sequence::words)),
            count: steps.len(),
            row_sequence,
            opens: Address::NONE,
            rows: row as usize,
        };
        let accumulated = self
            .sequences
            .put(accumulated.iter().flat_map(Sequence::words));
        let count = closing.len();
        let pairs = closing.iter().flat_map(|(open, page)| [*open, *page]);
        let closing_at = self.lists.put(pairs);
        let walk = loops.then(|| {
            let longest = steps.iter().map(|step| step.cache.len() / PAGE_TOKENS);
            // A power of two, so that few plans serve all lengths.
            let most = longest.max().unwrap_or(0).next_power_of_two();
            let mut walked = (Vec::new(), Vec::new());
            for step in steps {
                let held = step.cache.len() / PAGE_TOKENS;
                for (list, of) in [
                    (&mut walked.0, step.cache.addresses()),
                    (&mut walked.1, step.cache.accumulators()),
                ] {
                    list.extend(&of[..held]);
                    list.extend(std::iter::repeat_n(0, most - held));
                }
            }
            self.walk(walked, &closing, &closing_accumulators)
        });
        let contexts = steps.iter().zip(counts).flat_map(|(step, rows)| {
            // A row at a time.
            std::iter::repeat_n(step.cache.len() + rows, *rows)
        });
        // Layers may be read by different kernels: that of the fewest blocks is cut finest.
        let layers = coded.iter().flat_map(|coded| &coded.layers);
        let blocks = layers.map(|layer| layer.remat.blocks()).min().unwrap_or(1);
        let division = Division {
            multiprocessors: self.model.device.multiprocessors(),
            blocks,
            most: MOST_CODED_SPLITS,
        };
        let lists = RowLists {
            step,
            accumulated,
            closing: closing_at,
            count,
            splits: division.splits(&contexts.collect::<Vec<usize>>()),
            walk,
        };
        self.push(steps[0], first_row, row as usize, Kind::Rows(lists));
    }

    /// Lists of the closed loop: pages and accumulators that are walked, pairs of open and closed pages that are closing,
    /// and the accumulators of these.
    fn walk(
        &mut self,
        walked: (Vec<u64>, Vec<u64>),
        closing: &[(u64, u64)],
        accumulators: &[u64],
    ) -> Walk {
        let count = walked.0.len();
        let (hidden, kv) = (self.model.config.hidden, self.model.config.kv_width());
        let coded = &self.work.coded;
        let rows = |buffer: &Buffer, width: usize| -> Vec<u64> {
            let pairs = closing
                .iter()
                .enumerate()
                .flat_map(|(index, (open, page))| {
                    let at = buffer.at(4 * index * PAGE_TOKENS * width).0;
                    [if *open == 0 { 0 } else { at }, *page]
                });
            pairs.collect()
        };
        let differ = closing.iter().zip(accumulators);
        let differ: Vec<u64> = differ.flat_map(|((open, _), to)| [*open, *to]).collect();
        Walk {
            pages: self.lists.put(walked.0),
            accumulators: self.lists.put(walked.1),
            count,
            closing_pages: self.lists.put(closing.iter().map(|(_, page)| *page)),
            closing_accumulators: self.lists.put(accumulators.iter().copied()),
            differ: self.lists.put(differ),
            encode: self.lists.put(rows(&coded.differences, hidden)),
            encode_joint: self.lists.put(rows(&coded.joint, 2 * kv)),
        }
    }

    /// A prompt's rows after the first `head`, which begin a group.
    fn body(&mut self, step: &DeviceStep<'_>, head: usize, first_row: usize) {
        let config = &self.model.config;
        let work = self.work;
        let start = step.cache.len() + head;
        let count = step.tokens.len() - head;
        let (first, groups) = (start / PAGE_TOKENS, count.div_ceil(PAGE_TOKENS));
        let complete = count / PAGE_TOKENS;
        let pages = step.cache.addresses();
        let row_sequence = self.whose(first_row, &[count]);
        // Keys and values of its own groups, exactly, as full pages.
        let own: Vec<u64> = (0..groups)
            .map(|group| own_page(work, config, group).0)
            .collect();
        let own_table = std::iter::repeat_n(0, first).chain(own.iter().copied());
        let sequence = Sequence {
            pages: self.tables.put(own_table.collect::<Vec<u64>>()),
            open: Address::NONE,
            first_row: 0,
            rows: count as u32,
            start: start as u32,
            skipped: 0,
        };
        // Complete groups are coded from scratch pages of this layer, the last one stays open.
        let open_layer = work.coded.open.bytes() / super::coded::groups_of(&self.model.options);
        let open_page = |group: usize| match group < complete {
            true => work.coded.open.at(group * open_layer).0,
            false => step.cache.open_after().0,
        };
        let whole = complete * PAGE_TOKENS;
        let opens = (0..whole).map(|row| open_page(row / PAGE_TOKENS));
        let opens = self.lists.put(opens.collect::<Vec<u64>>());
        let closing: Vec<(u64, u64)> = (0..complete)
            .map(|group| (open_page(group), pages[first + group]))
            .collect();
        let closed = first + complete;
        let full_layer = full_layer_bytes(config);
        let rebuilt: Vec<u64> = (0..closed)
            .map(|page| work.coded.rebuilt.at(page * full_layer).0)
            .collect();
        let attended = Sequence {
            pages: self.tables.put(rebuilt.iter().copied()),
            ..sequence
        };
        let mut tiles = self.model.makers.prompt.tiles(&[attended]);
        // A complete group is rebuilt like those before it, and read so where no token is to be read exactly.
        let by_codes = step.cache.layout().window == Window::None;
        for tile in &mut tiles {
            let group = tile.first as usize / PAGE_TOKENS - first;
            if !(by_codes && group < complete) {
                tile.own = Address(own[group]);
            }
        }
        let accumulators = step.cache.accumulators();
        let walk = (!accumulators.is_empty()).then(|| {
            let walked = (pages[..first].to_vec(), accumulators[..first].to_vec());
            self.walk(walked, &closing, &accumulators[first..closed])
        });
        let positions: Vec<u32> = (0..closed)
            .map(|page| (page * PAGE_TOKENS) as u32)
            .collect();
        let positions = positions
            .chunks(2)
            .map(|pair| u64::from(pair.get(1).copied().unwrap_or(0)) << 32 | u64::from(pair[0]));
        let own_step = Step {
            sequences: self.sequences.put(sequence.words()),
            count: 1,
            row_sequence,
            opens: Address::NONE,
            rows: count,
        };
        let mut pieces = Vec::new();
        if whole > 0 {
            let step = Step {
                opens,
                rows: whole,
                ..own_step
            };
            pieces.push((step, 0));
        }
        if count > whole {
            let tail = Sequence {
                open: step.cache.open_after(),
                rows: (count - whole) as u32,
                start: (start + whole) as u32,
                ..sequence
            };
            let step = Step {
                sequences: self.sequences.put(tail.words()),
                rows: count - whole,
                ..own_step
            };
            pieces.push((step, whole));
        }
        let lists = BodyLists {
            step: own_step,
            pieces,
            sequences: self.sequences.put(attended.words()),
            tile_count: tiles.len(),
            tiles: self.lists.put(tiles.iter().flat_map(|tile| tile.words())),
            closing: self
                .lists
                .put(closing.iter().flat_map(|(open, page)| [*open, *page])),
            closing_count: complete,
            positions: self.lists.put(positions.collect::<Vec<u64>>()),
            pages: self.lists.put(pages[..closed].iter().copied()),
            rebuilt: self.lists.put(rebuilt),
            count: closed,
            walk,
            accumulators: accumulators.into_iter().take(closed).map(Address).collect(),
        };
        self.push(step, first_row, count, Kind::Body(lists));
    }
}
