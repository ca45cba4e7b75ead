//! Causal attention of many rows of a prompt to a full cache's pages: what reading a prompt does.
//!
//! A block takes a tile of rows of one head and goes over keys and values tile by tile, the next on its way into shared
//! memory while the last is multiplied. Tiles of rows begin at multiples of their height among slots, not among a step's
//! rows, so that none lies across two groups of tokens: caches of codes give a tile its own group exactly and earlier
//! ones rebuilt, and what a row sees does not depend on how a prompt was cut into steps.

use std::sync::Arc;

use super::rows::Parts;
use super::{Half, HeadShape, NO_SEQUENCE, Sequence};
use crate::{Address, Argument, Op, Program};

/// Threads of a block.
const THREADS: u32 = 128;

/// How many rows a block takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TileRows {
    /// Where tiles of 128 are too few to keep a device busy.
    Rows64,
    /// Where there are enough: keys and values are read half as often.
    Rows128,
}

impl TileRows {
    /// The number.
    pub fn count(self) -> usize {
        match self {
            TileRows::Rows64 => 64,
            TileRows::Rows128 => 128,
        }
    }
}

/// A tile of rows, as the kernel reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Where the tile's group of tokens is, laid out as a layer of a page; none for the sequence's own page.
    pub own: Address,
    /// Which of the step's sequences, or [`NO_SEQUENCE`]: nothing to do.
    pub sequence: u32,
    /// The slot it begins at, a multiple of its height.
    pub first: u32,
}

impl Tile {
    /// What fills a list up to the launch's length.
    pub const NONE: Tile = Tile {
        own: Address::NONE,
        sequence: NO_SEQUENCE,
        first: 0,
    };

    /// As it lies on the device.
    pub fn words(&self) -> [u64; 2] {
        [
            self.own.0,
            u64::from(self.first) << 32 | u64::from(self.sequence),
        ]
    }
}

/// Keys of a tile: fewer where a wide head and many rows leave no registers for more.
fn keys(head_dim: usize, rows: TileRows) -> usize {
    match rows {
        TileRows::Rows128 if head_dim > 64 => 32,
        _ => 64,
    }
}

/// The program for heads of one width and one height of tiles, giving one kind of halves.
pub fn program(head_dim: usize, rows: TileRows, half: Half) -> Arc<Program> {
    Arc::new(Program {
        name: "prompt",
        source: concat!(include_str!("parts.cuh"), include_str!("prompt.cu")),
        entries: &["prompt"],
        defines: vec![
            ("HEAD_DIM", head_dim as i64),
            ("KEYS", keys(head_dim, rows) as i64),
            ("ROW_TILES", (rows.count() / 64) as i64),
            ("BF16", i64::from(half == Half::Bf16)),
        ],
    })
}

pub(super) fn programs() -> Vec<Arc<Program>> {
    let both = [TileRows::Rows64, TileRows::Rows128];
    let mut programs: Vec<_> = [32, 64, 96, 128]
        .into_iter()
        .flat_map(|head_dim| both.map(|rows| program(head_dim, rows, Half::F16)))
        .collect();
    programs.push(program(64, TileRows::Rows128, Half::Bf16));
    programs
}

/// What is read.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// f16 rotated queries `[rows][heads][head_dim]`.
    pub queries: Address,
    /// The step's [`Sequence`]s, whose keys and values are in the pages (or in tiles' own groups) already.
    pub sequences: Address,
    /// [`Tile`]s, as many as `tile_count`.
    pub tiles: Address,
    /// How many tiles a launch is made for.
    pub tile_count: usize,
    /// The layer's bytes from the start of each page.
    pub page_offset: usize,
    /// The layer's bytes from [`Tile::own`].
    pub own_offset: usize,
    /// Where it is given: rows see only slots below 256, and from the last multiple of 256 on that is at least so far before
    /// their sequence's `start`.
    pub band: Option<usize>,
}

/// Makes launches for one shape of heads.
#[derive(Clone, Debug)]
pub struct Prompt {
    program: Arc<Program>,
    shape: HeadShape,
    rows: TileRows,
}

impl Prompt {
    /// For one shape of heads and one height of tiles, giving one kind of halves.
    pub fn new(shape: HeadShape, rows: TileRows, half: Half) -> Prompt {
        Prompt {
            program: program(shape.head_dim, rows, half),
            shape,
            rows,
        }
    }

    /// The tiles of a step's sequences, those with the most to read first, so that none of them is left for the end.
    pub fn tiles(&self, sequences: &[Sequence]) -> Vec<Tile> {
        let height = self.rows.count() as u32;
        let of_one = |(index, sequence): (usize, &Sequence)| {
            let end = sequence.start + sequence.rows;
            let from = sequence.start / height * height;
            let firsts = (from..end).step_by(height as usize);
            let tile = move |first| Tile {
                own: Address::NONE,
                sequence: index as u32,
                first,
            };
            let none = sequence.rows == 0;
            firsts.map(tile).filter(move |_| !none)
        };
        let mut tiles: Vec<Tile> = sequences.iter().enumerate().flat_map(of_one).collect();
        tiles.sort_by_key(|tile| std::cmp::Reverse(tile.first));
        tiles
    }

    /// Attention of all rows of the tiles' sequences that lie in the tiles, to `parts`, `[rows][heads][head_dim]`.
    pub fn attend(&self, source: &Source, parts: Parts) -> Op {
        let (dim, rows) = (self.shape.head_dim, self.rows.count());
        let keys = keys(dim, self.rows);
        let halves = rows * (dim + 8) + 2 * (keys * (dim + 8) + dim * (keys + 8));
        // Scores are powers of two.
        let scale = std::f32::consts::LOG2_E / (dim as f32).sqrt();
        let arguments = vec![
            source.queries.into(),
            source.sequences.into(),
            source.tiles.into(),
            parts.high.into(),
            parts.low.into(),
            self.shape.kv_heads.into(),
            source.page_offset.into(),
            source.own_offset.into(),
            // No band is below 0, so that one says that there is none.
            source.band.map_or(Argument::Int(-1), Argument::from),
            scale.into(),
        ];
        // Heads side by side: those of a KV head find its keys and values in the cache.
        let grid = [self.shape.heads, source.tile_count, 1];
        let launch = self.program.launch("prompt", grid, THREADS, arguments);
        launch.with_shared(halves * size_of::<u16>()).into()
    }
}
