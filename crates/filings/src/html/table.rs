//! Turns a finished table into text: rows of `label | cell | cell`, or plain blocks where the table
//! only arranges bullets, headings or paragraphs.
//!
//! EDGAR tables cut one number into several cells (`$`, `1,234`, `)`), put empty columns between
//! the real ones and let heads span them. The real columns are found as the fewest boundaries that
//! keep any two neighbouring texts of a row apart; heads are then laid over the columns they span.

use crate::types::BlockKind;

use super::frame::{Copier, Frame, Ink, is_bullet};
use super::grid::Cell;

/// Texts of one row that belong together: a number with its currency and closing parenthesis.
struct Atom {
    row: u32,
    /// Grid columns covered.
    start: u32,
    end: u32,
    rows: u32,
    /// Range in `Table::pieces`.
    first_piece: usize,
    end_piece: usize,
    ink: Ink,
}

/// The text of one cell, as a range of the frame's text.
#[derive(Clone, Copy)]
struct Piece {
    start: usize,
    end: usize,
    /// A blank goes before it.
    spaced: bool,
}

/// A head is laid over at most this many columns, and only when it is this short: beyond that it
/// stands once (also a bound on what hostile spans can make of a small file).
const MAX_REPEATS: usize = 8;
const MAX_REPEATED_BYTES: usize = 160;

/// Beyond this many columns cells are listed without alignment.
const MAX_COLUMNS: usize = 64;

/// Appends the table in `frame` to `into`.
pub(crate) fn render(frame: &Frame, into: &mut Frame) {
    let Some(grid) = &frame.grid else { return };
    let mut pieces = Vec::new();
    let atoms = atoms(frame, &grid.cells, &mut pieces);
    let table = Table {
        frame,
        atoms: &atoms,
        pieces: &pieces,
    };
    let mut copier = Copier::new(frame);
    if atoms.is_empty() {
        into.end_paragraph();
    } else if table.only_arranges(&grid.cells) {
        table.arranged(&grid.cells, &mut copier, into);
    } else {
        table.aligned(&mut copier, into);
    }
    copier.finish(into);
}

/// The non-empty cells, split cells joined, in order.
fn atoms(frame: &Frame, cells: &[Cell], pieces: &mut Vec<Piece>) -> Vec<Atom> {
    let mut atoms: Vec<Atom> = Vec::new();
    for cell in cells {
        let blocks = &frame.blocks[cell.first_block..cell.end_block];
        let mut shown = blocks.iter().filter(|b| b.kind != BlockKind::PageBreak);
        let Some(first) = shown.next() else { continue };
        let mut ink = first.ink;
        let mut end = first.end;
        for block in shown {
            ink.merge(&block.ink);
            end = block.end;
        }
        let start = first.start;
        let text = &frame.text[start..end];
        let joined = match atoms.last_mut() {
            Some(last) if last.row == cell.row => {
                let last_piece = pieces[last.end_piece - 1];
                let before = &frame.text[last_piece.start..last_piece.end];
                let open = pieces[last.first_piece..last.end_piece]
                    .iter()
                    .any(|piece| {
                        let text = &frame.text[piece.start..piece.end];
                        text.contains('(') && !text.contains(')')
                    });
                joins(before, open, text, cell.start - last.end, &ink).map(|spaced| {
                    pieces.push(Piece { start, end, spaced });
                    last.end = cell.end;
                    last.end_piece = pieces.len();
                    last.ink.merge(&ink);
                })
            }
            _ => None,
        };
        if joined.is_none() {
            pieces.push(Piece {
                start,
                end,
                spaced: false,
            });
            atoms.push(Atom {
                row: cell.row,
                start: cell.start,
                end: cell.end,
                rows: cell.rows,
                first_piece: pieces.len() - 1,
                end_piece: pieces.len(),
                ink,
            });
        }
    }
    atoms
}

/// Whether a cell continues the text before it, and if so whether after a blank.
fn joins(before: &str, open: bool, text: &str, gap: u32, ink: &Ink) -> Option<bool> {
    let opens = before.chars().count() <= 4
        && before.ends_with(['$', '€', '£', '¥', '₩', '₹', '('])
        && gap <= 1;
    if opens && text.starts_with(|c: char| c.is_ascii_digit() || "(.-—–−".contains(c)) {
        return Some(false);
    }
    let numeric = before.ends_with(|c: char| c.is_ascii_digit() || ")%—–-".contains(c));
    let closes = text.len() <= 4
        && (text.chars().all(|c| ")%¢‰x ".contains(c)) || matches!(text, "pts" | "bps" | "pp"));
    if numeric && closes && gap <= u32::from(open) {
        return Some(matches!(text, "pts" | "bps" | "pp"));
    }
    (ink.is_superscript() && text.len() <= 8 && gap <= 1).then_some(true)
}

struct Table<'a> {
    frame: &'a Frame,
    atoms: &'a [Atom],
    pieces: &'a [Piece],
}

impl Table<'_> {
    /// The text of an atom's first piece, which is all of it unless it is a joined number.
    fn text(&self, atom: &Atom) -> &str {
        let piece = self.pieces[atom.first_piece];
        &self.frame.text[piece.start..piece.end]
    }

    fn rows(&self) -> impl Iterator<Item = &[Atom]> + Clone {
        self.atoms.chunk_by(|a, b| a.row == b.row)
    }

    fn is_number(&self, atom: &Atom) -> bool {
        let text = self.text(atom);
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        digits > 0 && digits * 2 >= text.bytes().filter(u8::is_ascii_alphanumeric).count()
    }

    /// Whether the table only puts text in place: bullets, a heading in two cells, columns of prose.
    fn only_arranges(&self, cells: &[Cell]) -> bool {
        let blocks = &self.frame.blocks;
        if blocks.iter().any(|block| block.kind == BlockKind::Table) {
            return true;
        }
        let widest = self.rows().map(<[Atom]>::len).max().unwrap_or(0);
        if widest <= 1 {
            return true;
        }
        let listed = self.rows().all(|row| match row {
            [_] => true,
            [marker, text] => is_marker(self.text(marker)) && !self.is_number(text),
            _ => false,
        });
        if listed {
            return true;
        }
        let linked = self.atoms.iter().any(|atom| atom.ink.internal_link);
        let short = self.rows().count() <= 2;
        let heads = !linked
            && self.rows().all(|row| match row {
                [_] => true,
                [number, title] => {
                    is_item_number(self.text(number))
                        && !self.is_number(title)
                        && (short || (number.ink.is_bold() && title.ink.is_bold()))
                }
                _ => false,
            });
        if heads {
            return true;
        }
        let numbers = self
            .atoms
            .iter()
            .filter(|atom| self.is_number(atom))
            .count();
        let prose = cells.iter().any(|cell| {
            let inside = &blocks[cell.first_block..cell.end_block];
            match (inside.first(), inside.last()) {
                (Some(first), Some(last)) => {
                    let length = last.end - first.start;
                    length > 2000 || (inside.len() > 2 && length > 800)
                }
                _ => false,
            }
        });
        prose && numbers * 5 < self.atoms.len()
    }

    /// Emits the cells' blocks in order, a marker or item number together with its text.
    fn arranged(&self, cells: &[Cell], copier: &mut Copier<'_>, into: &mut Frame) {
        for row in cells.chunk_by(|a, b| a.row == b.row) {
            let mut held: Option<(usize, usize, Ink)> = None;
            for cell in row {
                for block in &self.frame.blocks[cell.first_block..cell.end_block] {
                    let text = &self.frame.text[block.start..block.end];
                    if block.kind == BlockKind::PageBreak {
                        into.page_break();
                        continue;
                    }
                    let starts = held.is_none()
                        && block.kind == BlockKind::Paragraph
                        && row.len() > 1
                        && (is_marker(text) || is_item_number(text));
                    if starts {
                        held = Some((block.start, block.end, block.ink));
                        continue;
                    }
                    into.open_block(block.kind);
                    if let Some((start, end, ink)) = held.take() {
                        copier.copy(start, end, into);
                        into.text.push(' ');
                        into.add_ink(&ink);
                        if is_marker(&self.frame.text[start..end]) {
                            into.set_list_item();
                        }
                    }
                    if block.kind == BlockKind::Table {
                        copier.copy_lines(block.start, block.end, into);
                    } else {
                        copier.copy(block.start, block.end, into);
                    }
                    into.add_ink(&block.ink);
                    into.end_paragraph();
                }
            }
            if let Some((start, end, ink)) = held {
                into.open_block(BlockKind::Paragraph);
                copier.copy(start, end, into);
                into.add_ink(&ink);
                into.end_paragraph();
            }
        }
    }

    /// Emits one line a row, texts of one column in one place.
    fn aligned(&self, copier: &mut Copier<'_>, into: &mut Frame) {
        let columns = Columns::of(self.rows());
        let mut hanging: Vec<Option<(usize, u32)>> = vec![None; columns.len()];
        let mut in_head = true;
        into.open_block(BlockKind::Table);
        for (index, row) in self.rows().enumerate() {
            if index > 0 {
                into.text.push('\n');
            }
            in_head &= !row.iter().skip(1).any(|atom| self.is_value(atom));
            let mut line = Line {
                columns: 0,
                started: false,
            };
            for (position, atom) in row.iter().enumerate() {
                let covered = columns.covered(atom, position);
                self.fill(
                    covered.start,
                    &mut line,
                    &mut hanging,
                    atom.row,
                    copier,
                    into,
                );
                line.advance(covered.start, into);
                for piece in &self.pieces[atom.first_piece..atom.end_piece] {
                    if piece.spaced {
                        into.text.push(' ');
                    }
                    copier.copy(piece.start, piece.end, into);
                }
                into.add_ink(&atom.ink);
                let first_piece = self.pieces[atom.first_piece];
                let short = self.text(atom).len() <= MAX_REPEATED_BYTES
                    && atom.end_piece - atom.first_piece == 1;
                let whole = row.len() == 1 && covered.start <= 1 && covered.end == columns.len();
                let repeats = short && in_head && !whole && covered.len() <= MAX_REPEATS;
                if repeats {
                    for column in covered.clone().skip(1) {
                        line.advance(column, into);
                        copier.repeat(first_piece.start, first_piece.end, into);
                    }
                }
                let reaches_down = short && (2..=32).contains(&atom.rows) && !self.is_value(atom);
                if reaches_down && let Some(place) = hanging.get_mut(covered.start) {
                    *place = Some((atom.first_piece, atom.row + atom.rows));
                }
            }
        }
        into.end_paragraph();
    }

    /// Repeats labels that reach down from rows above into the columns before `until`.
    fn fill(
        &self,
        until: usize,
        line: &mut Line,
        hanging: &mut [Option<(usize, u32)>],
        row: u32,
        copier: &Copier<'_>,
        into: &mut Frame,
    ) {
        let from = line.columns;
        for column in from..until.min(hanging.len()) {
            if let Some((piece, end_row)) = hanging[column] {
                if row < end_row {
                    line.advance(column, into);
                    let piece = self.pieces[piece];
                    copier.repeat(piece.start, piece.end, into);
                } else {
                    hanging[column] = None;
                }
            }
        }
    }

    /// Whether an atom is a figure rather than a year or a label.
    fn is_value(&self, atom: &Atom) -> bool {
        let text = self.text(atom);
        let year = text.len() == 4 && (text.starts_with("19") || text.starts_with("20"));
        let joined = atom.end_piece - atom.first_piece > 1;
        joined || (!year && text.len() <= 24 && self.is_number(atom) && !text.contains(", "))
    }
}

/// The line being written: how many columns have been passed.
struct Line {
    columns: usize,
    started: bool,
}

impl Line {
    /// Writes separators up to `column`; a second text in one column follows after a blank.
    fn advance(&mut self, column: usize, into: &mut Frame) {
        if self.started && column < self.columns {
            into.text.push(' ');
            return;
        }
        let passed = column + 1 - self.columns;
        let bars = if self.started { passed } else { column };
        for bar in 0..bars {
            into.text.push_str(if bar == 0 && self.started {
                " | "
            } else {
                "| "
            });
        }
        self.columns = column + 1;
        self.started = true;
    }
}

/// The table's real columns.
struct Columns {
    /// Grid columns at which a new column starts, ascending, without 0.
    cuts: Vec<u32>,
    /// Grid columns that texts of one column alone cover.
    cores: Vec<(u32, u32)>,
}

impl Columns {
    fn of<'a>(rows: impl Iterator<Item = &'a [Atom]> + Clone) -> Columns {
        // Every gap between neighbours of a row demands a cut inside it; stabbing the gaps in the
        // order of their right ends gives the fewest cuts (interval stabbing).
        let mut gaps: Vec<(u32, u32)> = rows
            .clone()
            .flat_map(|row| row.windows(2).map(|pair| (pair[1].start, pair[0].end)))
            .collect();
        gaps.sort_unstable();
        let mut cuts: Vec<u32> = Vec::new();
        for (right, left) in gaps {
            if cuts.last().is_none_or(|last| *last < left) {
                cuts.push(right);
            }
        }
        if cuts.len() >= MAX_COLUMNS {
            cuts.clear();
        }
        let mut columns = Columns {
            cores: vec![(u32::MAX, 0); cuts.len() + 1],
            cuts,
        };
        for atom in rows.flatten() {
            let (first, last) = (columns.at(atom.start), columns.at(atom.end - 1));
            if first == last {
                let core = &mut columns.cores[first];
                *core = (core.0.min(atom.start), core.1.max(atom.end));
            }
        }
        columns
    }

    fn len(&self) -> usize {
        self.cores.len()
    }

    /// The column that holds grid column `grid`.
    fn at(&self, grid: u32) -> usize {
        self.cuts.partition_point(|cut| *cut <= grid)
    }

    /// The columns an atom lies over; `position` is its place in its row.
    fn covered(&self, atom: &Atom, position: usize) -> std::ops::Range<usize> {
        if self.cuts.is_empty() {
            return position..position + 1;
        }
        let (mut first, mut last) = (self.at(atom.start), self.at(atom.end - 1));
        let overlaps = |column: usize| {
            let (start, end) = self.cores[column];
            start < atom.end && atom.start < end
        };
        while first < last && !overlaps(first) {
            first += 1;
        }
        while first < last && !overlaps(last) {
            last -= 1;
        }
        // A text that starts in the label column is a label, however wide.
        if first == 0 {
            last = 0;
        }
        first..last + 1
    }
}

/// Whether `text` is what stands before an item of a list: a bullet, `(a)`, `1.`, `(12)`, `iv.`.
pub(crate) fn is_marker(text: &str) -> bool {
    if is_bullet(text) {
        return true;
    }
    if text.len() > 6 || !text.is_ascii() {
        return false;
    }
    let inner = text.trim_start_matches('(').trim_end_matches([')', '.']);
    let closed = text.ends_with([')', '.']);
    closed
        && !inner.is_empty()
        && ((inner.len() <= 2 && inner.bytes().all(|b| b.is_ascii_digit()))
            || (inner.len() <= 4 && inner.bytes().all(|b| b"ivxIVX".contains(&b)))
            || (inner.len() == 1 && inner.as_bytes()[0].is_ascii_alphabetic()))
}

/// Whether `text` is the number of an item, part or note without its title.
fn is_item_number(text: &str) -> bool {
    if text.len() > 20 || !text.is_ascii() {
        return false;
    }
    let mut words = text.split_ascii_whitespace();
    let (Some(word), Some(number), None) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let named = [
        "item", "part", "note", "section", "article", "proposal", "exhibit", "appendix", "annex",
        "schedule",
    ]
    .iter()
    .any(|name| word.eq_ignore_ascii_case(name));
    let number = number.trim_end_matches(['.', ':', '-', ')']);
    named
        && number.len() <= 8
        && number
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"().".contains(&b))
}
