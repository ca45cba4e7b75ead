//! Sequences in pages of a full cache, and what attention over them is by definition.

use footnote_device::kernels::{self, HeadShape, NO_SEQUENCE, PAGE_TOKENS, Sequence};
use footnote_device::{Address, Buffer};
use half::f16;

use super::{Bench, numbers};

/// Layers of a test's pages; the last is used, so that an offset left out shows.
pub const LAYERS: usize = 2;

/// The used layer's place in a page.
pub fn layer_offset(shape: HeadShape) -> usize {
    (LAYERS - 1) * shape.page_bytes()
}

/// Numbers as an f16 holds them.
pub fn half_numbers(count: usize, seed: u64) -> Vec<f32> {
    let rounded = |x: f32| f16::from_f32(x).to_f32();
    numbers(count, seed).into_iter().map(rounded).collect()
}

/// A sequence's pages; what no token was written to holds NaN.
pub struct Held {
    shape: HeadShape,
    pages: Vec<Buffer>,
    table: Buffer,
    pub known: Known,
}

/// What a sequence's tokens are.
#[derive(Clone)]
pub struct Known {
    shape: HeadShape,
    /// `[tokens][kv_heads][head_dim]`.
    pub keys: Vec<f32>,
    pub values: Vec<f32>,
}

impl Held {
    /// Room for `tokens`, nothing written.
    pub fn empty(bench: &Bench, shape: HeadShape, tokens: usize) -> Held {
        let pages: Vec<Buffer> = (0..tokens.div_ceil(PAGE_TOKENS))
            .map(|_| bench.halves(LAYERS * shape.page_bytes() / 2))
            .collect();
        let table: Vec<u64> = pages.iter().map(|page| page.address().0).collect();
        Held {
            shape,
            table: bench.buffer(&table),
            pages,
            known: Known {
                shape,
                keys: Vec::new(),
                values: Vec::new(),
            },
        }
    }

    /// `tokens` random ones.
    pub fn random(bench: &Bench, shape: HeadShape, tokens: usize, seed: u64) -> Held {
        let mut held = Held::empty(bench, shape, tokens);
        let width = shape.kv_heads * shape.head_dim;
        held.known.keys = half_numbers(tokens * width, 2 * seed + 1)
            .iter()
            .map(|x| 4.0 * x)
            .collect();
        held.known.values = half_numbers(tokens * width, 2 * seed + 2);
        let all = LAYERS * shape.page_bytes() / 2;
        for (group, page) in held.pages.iter().enumerate() {
            let mut halves = vec![u16::MAX; all];
            let count = PAGE_TOKENS.min(tokens - group * PAGE_TOKENS);
            for place in 0..count {
                for at in 0..width {
                    let from = (group * PAGE_TOKENS + place) * width + at;
                    let half = |x: f32| f16::from_f32(x).to_bits();
                    halves[held.key_at(place, at)] = half(held.known.keys[from]);
                    halves[held.value_at(place, at)] = half(held.known.values[from]);
                }
            }
            page.write(&halves).expect("memory");
        }
        held
    }

    /// A whole page as it is, all layers.
    pub fn halves(&self, group: usize) -> Vec<u16> {
        let count = LAYERS * self.shape.page_bytes() / 2;
        self.pages[group].read(count).expect("memory")
    }

    /// Where element `at` of a token's keys lies in a page of halves.
    pub fn key_at(&self, place: usize, at: usize) -> usize {
        let (head, element) = (at / self.shape.head_dim, at % self.shape.head_dim);
        layer_offset(self.shape) / 2 + (head * PAGE_TOKENS + place) * self.shape.head_dim + element
    }

    /// Where element `at` of its values does.
    pub fn value_at(&self, place: usize, at: usize) -> usize {
        layer_offset(self.shape) / 2
            + (self.shape.kv_heads * self.shape.head_dim + at) * PAGE_TOKENS
            + place
    }

    /// Keys and values of a slot as the pages hold them.
    pub fn read(&self, slot: usize) -> (Vec<f32>, Vec<f32>) {
        let page: Vec<f16> = self.pages[slot / PAGE_TOKENS]
            .read(LAYERS * self.shape.page_bytes() / 2)
            .expect("memory");
        let place = slot % PAGE_TOKENS;
        let width = self.shape.kv_heads * self.shape.head_dim;
        (0..width)
            .map(|at| {
                (
                    page[self.key_at(place, at)].to_f32(),
                    page[self.value_at(place, at)].to_f32(),
                )
            })
            .unzip()
    }

    pub fn page(&self, group: usize) -> Address {
        self.pages[group].address()
    }

    /// Where the addresses of its pages are.
    pub fn table(&self) -> Address {
        self.table.address()
    }

    /// As part of a step; `first_row` is filled in by [`Step::new`].
    pub fn sequence(&self, start: usize, rows: usize) -> Sequence {
        Sequence {
            pages: self.table.address(),
            open: Address::NONE,
            first_row: 0,
            rows: rows as u32,
            start: start as u32,
            skipped: 0,
        }
    }
}

impl Known {
    /// With one group of tokens as another sequence has it.
    pub fn with_group(&self, group: usize, other: &Known) -> Known {
        let size = PAGE_TOKENS * self.shape.kv_heads * self.shape.head_dim;
        let range = group * size..self.keys.len().min((group + 1) * size);
        let mut mixed = self.clone();
        mixed.keys[range.clone()].copy_from_slice(&other.keys[range.clone()]);
        mixed.values[range.clone()].copy_from_slice(&other.values[range]);
        mixed
    }

    /// One query head's attention to the slots of which `seen` is true: `[head_dim]`.
    pub fn attention(
        &self,
        query: &[f32],
        kv_head: usize,
        seen: impl Fn(usize) -> bool,
    ) -> Vec<f64> {
        let dim = self.shape.head_dim;
        let width = self.shape.kv_heads * dim;
        let slots: Vec<usize> = (0..self.keys.len() / width).filter(|s| seen(*s)).collect();
        let scores: Vec<f64> = slots
            .iter()
            .map(|slot| self.score(query, kv_head, *slot))
            .collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
        let mut out = vec![0.0; dim];
        for (slot, score) in slots.iter().zip(&scores) {
            let share = (score - most).exp() / sum;
            let values = &self.values[slot * width + kv_head * dim..][..dim];
            for (out, value) in out.iter_mut().zip(values) {
                *out += share * f64::from(*value);
            }
        }
        out
    }

    /// A query's scaled product with a key.
    pub fn score(&self, query: &[f32], kv_head: usize, slot: usize) -> f64 {
        let dim = self.shape.head_dim;
        let key = &self.keys[(slot * self.shape.kv_heads + kv_head) * dim..][..dim];
        let pairs = query.iter().zip(key);
        let dot: f64 = pairs.map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
        dot / (dim as f64).sqrt()
    }
}

/// A step's sequences on the device, their rows one after the other.
pub struct Step {
    pub sequences: Vec<Sequence>,
    pub on_device: Buffer,
    pub row_sequence: Buffer,
    /// Rows, with `spare` that are none's at the end.
    pub rows: usize,
}

impl Step {
    pub fn new(bench: &Bench, sequences: Vec<Sequence>, spare: usize) -> Step {
        let mut sequences = sequences;
        let mut owners: Vec<u32> = Vec::new();
        for (index, sequence) in sequences.iter_mut().enumerate() {
            sequence.first_row = owners.len() as u32;
            owners.extend(vec![index as u32; sequence.rows as usize]);
        }
        owners.extend(vec![NO_SEQUENCE; spare]);
        let words: Vec<u64> = sequences.iter().flat_map(Sequence::words).collect();
        Step {
            on_device: bench.buffer(&words),
            row_sequence: bench.buffer(&owners),
            rows: owners.len(),
            sequences,
        }
    }

    pub fn addresses(&self) -> kernels::Step {
        kernels::Step {
            opens: Address::NONE,
            sequences: self.on_device.address(),
            count: self.sequences.len(),
            row_sequence: self.row_sequence.address(),
            rows: self.rows,
        }
    }
}
