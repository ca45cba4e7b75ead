//! Where the cells of an open table stand: rows, columns, and the blocks of text in each cell.
//!
//! It records; what a table means is told in [`super::table`] once it is whole.

/// Columns and rows a cell may claim; more is nonsense or malice.
const MAX_SPAN: u32 = 1000;

/// A cell: its place in the grid and its blocks in the frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) row: u32,
    /// First grid column.
    pub(crate) start: u32,
    /// One past the last grid column.
    pub(crate) end: u32,
    /// Rows it reaches down, 1 for a plain cell.
    pub(crate) rows: u32,
    /// First of its blocks.
    pub(crate) first_block: usize,
    /// One past the last of its blocks.
    pub(crate) end_block: usize,
}

/// The cells of one table in source order.
#[derive(Debug, Default)]
pub(crate) struct Grid {
    pub(crate) cells: Vec<Cell>,
    rows: u32,
    in_row: bool,
    in_cell: bool,
    column: u32,
    /// Columns taken by cells that reach down from rows above: start, end, rows left.
    hanging: Vec<(u32, u32, u32)>,
    claimed: usize,
}

impl Grid {
    /// Starts a row.
    pub(crate) fn start_row(&mut self, blocks: usize) {
        self.end_row(blocks);
        self.in_row = true;
        self.column = 0;
    }

    /// Ends the row and its open cell. `blocks` is how many blocks the frame has by now.
    pub(crate) fn end_row(&mut self, blocks: usize) {
        self.end_cell(blocks);
        self.claim_loose(blocks);
        if std::mem::take(&mut self.in_row) {
            self.rows = self.rows.saturating_add(1);
            self.hanging.retain_mut(|(_, _, left)| {
                *left -= 1;
                *left > 0
            });
        }
    }

    /// Starts a cell, and a row where none is open.
    pub(crate) fn start_cell(&mut self, columns: u32, rows: u32, blocks: usize) {
        self.end_cell(blocks);
        if !self.in_row {
            self.start_row(blocks);
        }
        self.claim_loose(blocks);
        while let Some((_, end, _)) = self
            .hanging
            .iter()
            .find(|(start, end, _)| (*start..*end).contains(&self.column))
        {
            self.column = *end;
        }
        let (columns, rows) = (columns.clamp(1, MAX_SPAN), rows.clamp(1, MAX_SPAN));
        let end = self.column.saturating_add(columns);
        // A row holds its own cells first: what hangs over is bounded like the row itself.
        if rows > 1 && self.hanging.len() < 64 {
            self.hanging.push((self.column, end, rows));
        }
        self.cells.push(Cell {
            row: self.rows,
            start: self.column,
            end,
            rows,
            first_block: blocks,
            end_block: blocks,
        });
        self.column = end;
        self.in_cell = true;
    }

    /// Ends the open cell, if there is one.
    pub(crate) fn end_cell(&mut self, blocks: usize) {
        if std::mem::take(&mut self.in_cell) {
            if let Some(cell) = self.cells.last_mut() {
                cell.end_block = blocks;
            }
            self.claimed = blocks;
        }
    }

    /// Text outside any cell (a caption, stray words) becomes a row of its own.
    fn claim_loose(&mut self, blocks: usize) {
        if blocks > self.claimed {
            if self.in_row && self.column > 0 {
                self.rows = self.rows.saturating_add(1);
                self.column = 0;
            }
            self.cells.push(Cell {
                row: self.rows,
                start: 0,
                end: 1,
                rows: 1,
                first_block: self.claimed,
                end_block: blocks,
            });
            self.rows = self.rows.saturating_add(1);
            self.claimed = blocks;
        }
    }
}
