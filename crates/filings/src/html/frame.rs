//! Normalised text as it grows: paragraphs, how they look, and marks that tie facts and anchors to
//! places in the text while tables move it about.
//!
//! There is one frame for the document and one for every table that is still open; a table's frame
//! is copied into the frame around it when the table ends. Frames know text and places, not
//! elements.

use crate::types::{BlockKind, Style};

use super::entities;
use super::grid::Grid;
use super::style::Look;
use super::table::is_marker;

/// What a mark ties to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    /// The first shown character of part number so-and-so.
    Start(u32),
    /// Behind the last shown character of that part.
    End(u32),
    /// The text behind an anchor that something links to.
    Anchor,
}

/// A tie at a byte of a frame's text; in a frame, marks stand in text order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) at: usize,
    pub(crate) tie: Tie,
}

/// Which looks the letters and digits of a paragraph have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ink {
    letters: u32,
    bold: u32,
    italic: u32,
    underlined: u32,
    superscript: u32,
    size_pt: f32,
    centered: bool,
    tag_level: u8,
    pub(crate) list_item: bool,
    pub(crate) internal_link: bool,
}

impl Ink {
    fn add(&mut self, letters: u32, look: &Look) {
        self.internal_link |= look.internal_link;
        if letters == 0 {
            return;
        }
        if look.superscript {
            // A note mark neither makes nor breaks a bold line.
            self.superscript += letters;
            return;
        }
        if self.letters == 0 {
            self.size_pt = look.size_pt;
            self.centered = look.centered;
            self.tag_level = look.tag_level;
            self.list_item = look.list_item;
        }
        self.letters = self.letters.saturating_add(letters);
        for (count, has) in [
            (&mut self.bold, look.bold),
            (&mut self.italic, look.italic),
            (&mut self.underlined, look.underlined),
        ] {
            if has {
                *count = count.saturating_add(letters);
            }
        }
    }

    /// The ink of two runs taken as one.
    pub(crate) fn merge(&mut self, other: &Ink) {
        if self.letters == 0 {
            self.size_pt = other.size_pt;
            self.centered = other.centered;
            self.tag_level = other.tag_level;
        }
        self.letters = self.letters.saturating_add(other.letters);
        self.bold = self.bold.saturating_add(other.bold);
        self.italic = self.italic.saturating_add(other.italic);
        self.underlined = self.underlined.saturating_add(other.underlined);
        self.superscript = self.superscript.saturating_add(other.superscript);
        self.internal_link |= other.internal_link;
    }

    /// Whether every letter is bold.
    pub(crate) fn is_bold(&self) -> bool {
        self.letters > 0 && self.bold == self.letters
    }

    /// Whether it is nothing but note marks.
    pub(crate) fn is_superscript(&self) -> bool {
        self.superscript > 0 && self.letters == 0
    }

    /// Letters and digits in it.
    pub(crate) fn letters(&self) -> u32 {
        self.letters
    }

    pub(crate) fn style(&self) -> Style {
        let all = |count: u32| self.letters > 0 && count == self.letters;
        Style {
            bold: all(self.bold),
            italic: all(self.italic),
            underlined: all(self.underlined),
            centered: self.centered,
            size_pt: (self.size_pt > 0.0).then_some(self.size_pt),
            tag_level: (self.tag_level > 0).then_some(self.tag_level),
            internal_link: self.internal_link,
            anchor_target: false,
        }
    }
}

/// A block before headings and page furniture are told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawBlock {
    pub(crate) kind: BlockKind,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) ink: Ink,
}

/// Growing text with its blocks and marks.
#[derive(Default)]
pub(crate) struct Frame {
    pub(crate) text: String,
    pub(crate) blocks: Vec<RawBlock>,
    pub(crate) marks: Vec<Mark>,
    /// The cells, where the frame is a table's.
    pub(crate) grid: Option<Grid>,
    open: Option<RawBlock>,
    space: bool,
    line_breaks: u8,
}

/// What a byte means to [`Frame::write`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Sign,
    Space,
    Reference,
    High,
    Drop,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Drop; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'&' => Class::Reference,
            b' ' | b'\n' | b'\t' | b'\r' | 0x0b | 0x0c => Class::Space,
            0..=31 | 127 => Class::Drop,
            32..=126 => Class::Sign,
            128..=255 => Class::High,
        };
        byte += 1;
    }
    classes
};

impl Frame {
    /// The frame of a table that opens.
    pub(crate) fn of_table() -> Frame {
        Frame {
            grid: Some(Grid::default()),
            ..Frame::default()
        }
    }

    /// Appends source text, decoding references and collapsing white space. `pending` are ties
    /// waiting for the next shown character.
    pub(crate) fn write(&mut self, raw: &str, look: &Look, pending: &mut Vec<Tie>) {
        let bytes = raw.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            match CLASSES[bytes[at] as usize] {
                Class::Letter | Class::Sign if !look.wingdings => {
                    let mut letters = 0;
                    while at < bytes.len() {
                        match CLASSES[bytes[at] as usize] {
                            Class::Letter => letters += 1,
                            Class::Sign => {}
                            _ => break,
                        }
                        at += 1;
                    }
                    self.put(&raw[start..at], letters, look, pending);
                }
                Class::Space => {
                    self.space = true;
                    at += 1;
                }
                Class::Drop => at += 1,
                Class::Reference => {
                    let (length, decoded) = entities::reference(&raw[at..]);
                    let (first, second) = decoded.unwrap_or(('&', None));
                    self.put_char(first, look, pending);
                    if let Some(second) = second {
                        self.put_char(second, look, pending);
                    }
                    at += length;
                }
                Class::High | Class::Letter | Class::Sign => {
                    let Some(character) = raw[at..].chars().next() else {
                        break;
                    };
                    self.put_char(character, look, pending);
                    at += character.len_utf8();
                }
            }
        }
    }

    fn put_char(&mut self, character: char, look: &Look, pending: &mut Vec<Tie>) {
        let character = if look.wingdings {
            wingding(character)
        } else {
            character
        };
        match character {
            _ if is_invisible(character) => {}
            _ if character.is_whitespace() => self.space = true,
            _ if character.is_control() => {}
            // Private-use characters are bullets of symbol fonts.
            '\u{e000}'..='\u{f8ff}' => self.put("•", 0, look, pending),
            _ => {
                let letters = u32::from(character.is_alphanumeric());
                self.put(character.encode_utf8(&mut [0; 4]), letters, look, pending);
            }
        }
    }

    fn put(&mut self, text: &str, letters: u32, look: &Look, pending: &mut Vec<Tie>) {
        if self.line_breaks == 1 {
            // A bold line above a plain one is a heading that only a `br` parts from its text.
            let split = self
                .open
                .as_ref()
                .is_some_and(|block| block.ink.letters > 0 && block.ink.is_bold() != look.bold);
            if split {
                self.end_paragraph();
            }
        }
        self.line_breaks = 0;
        let space = std::mem::take(&mut self.space);
        if self.open.is_none() {
            let start = self.begin();
            self.open = Some(RawBlock {
                kind: BlockKind::Paragraph,
                start,
                end: start,
                ink: Ink::default(),
            });
        } else if (space && !self.joins(text)) || self.follows_marker(text) {
            self.text.push(' ');
        }
        for tie in pending.drain(..) {
            let at = self.text.len();
            self.marks.push(Mark { at, tie });
        }
        if look.superscript && !space && self.is_note_mark(text) {
            // `1,234` with the raised mark `5` must not read 12345.
            self.text.push_str(" (");
            self.text.push_str(text);
            self.text.push(')');
        } else {
            self.text.push_str(text);
        }
        if let Some(block) = &mut self.open {
            block.ink.add(letters, look);
        }
    }

    /// Whether raised `text` is the number of a note to the word or figure before it, rather than
    /// an exponent.
    fn is_note_mark(&self, text: &str) -> bool {
        let mark = text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit() || b == b',');
        if !mark || text.starts_with(',') {
            return false;
        }
        let start = self.open.as_ref().map_or(0, |block| block.start);
        let before = &self.text[start..];
        let word = before.rsplit([' ', '\n']).next().unwrap_or(before);
        let unit = matches!(word, "m" | "km" | "cm" | "mm" | "ft" | "in" | "10");
        !unit && before.ends_with(|c: char| c.is_alphanumeric() || ")%.”’—–$".contains(c))
    }

    /// Whether the paragraph so far is only its bullet or number, which agents set apart from the
    /// text with margins instead of a blank.
    fn follows_marker(&self, next: &str) -> bool {
        let Some(block) = &self.open else {
            return false;
        };
        let before = &self.text[block.start..];
        before.len() <= 6
            && !before.is_empty()
            && (is_bullet(before) && !matches!(before, "o" | "-" | "–" | "—")
                || is_marker(before) && next.starts_with(|c: char| c.is_alphabetic() || c == '“'))
    }

    /// Whether `next` follows the text so far without the space the source has: `$ 12`, `(12 )`.
    fn joins(&self, next: &str) -> bool {
        let last = self.text.as_bytes().last();
        let first = next.as_bytes().first();
        match (last, first) {
            (Some(b'$'), Some(first)) => first.is_ascii_digit(),
            (Some(last), Some(b')' | b'%')) => last.is_ascii_digit(),
            _ => false,
        }
    }

    /// Where the next block starts: on a new line, or right behind a bullet that stands alone.
    fn begin(&mut self) -> usize {
        if let Some(last) = self.blocks.last() {
            let alone = last.kind == BlockKind::Paragraph
                && last.end == self.text.len()
                && is_bullet(&self.text[last.start..last.end]);
            // In a table the bullet has a cell of its own, which the grid points to.
            if alone && self.grid.is_none() {
                let start = last.start;
                self.blocks.pop();
                self.text.push(' ');
                return start;
            }
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.len()
    }

    /// A `br`: a space inside a paragraph, two of them its end.
    pub(crate) fn line_break(&mut self) {
        self.space = true;
        self.line_breaks = self.line_breaks.saturating_add(1);
        if self.line_breaks > 1 {
            self.end_paragraph();
        }
    }

    /// Ends the open paragraph, if there is one.
    pub(crate) fn end_paragraph(&mut self) {
        self.space = false;
        self.line_breaks = 0;
        if let Some(mut block) = self.open.take() {
            block.end = self.text.len();
            self.blocks.push(block);
        }
    }

    /// Notes a page break here, unless the last block is one.
    pub(crate) fn page_break(&mut self) {
        self.end_paragraph();
        if self
            .blocks
            .last()
            .is_none_or(|block| block.kind != BlockKind::PageBreak)
        {
            self.blocks.push(RawBlock {
                kind: BlockKind::PageBreak,
                start: self.text.len(),
                end: self.text.len(),
                ink: Ink::default(),
            });
        }
    }

    /// Ties `tie` to the end of the text so far.
    pub(crate) fn tie_here(&mut self, tie: Tie) {
        let at = self.text.len();
        self.marks.push(Mark { at, tie });
    }

    /// Starts a block of `kind` for [`Copier`] to fill.
    pub(crate) fn open_block(&mut self, kind: BlockKind) {
        self.end_paragraph();
        let start = self.begin();
        self.open = Some(RawBlock {
            kind,
            start,
            end: start,
            ink: Ink::default(),
        });
    }

    /// Appends words to the open block, white space collapsed.
    pub(crate) fn push_words(&mut self, words: &str) {
        for (index, word) in words.split_whitespace().enumerate() {
            if index > 0 {
                self.text.push(' ');
            }
            self.text.push_str(word);
        }
    }

    /// Appends a decoded line to the open paragraph, after a blank.
    pub(crate) fn write_plain(&mut self, line: &str, look: &Look) {
        self.space = true;
        for word in line.split_whitespace() {
            let letters = word.chars().filter(|c| c.is_alphanumeric()).count();
            self.put(
                word,
                u32::try_from(letters).unwrap_or(u32::MAX),
                look,
                &mut Vec::new(),
            );
            self.space = true;
        }
    }

    /// Adds to what is known of the looks of the open block.
    pub(crate) fn add_ink(&mut self, ink: &Ink) {
        if let Some(block) = &mut self.open {
            block.ink.merge(ink);
        }
    }

    /// Marks the open block as an item of a list.
    pub(crate) fn set_list_item(&mut self) {
        if let Some(block) = &mut self.open {
            block.ink.list_item = true;
        }
    }
}

/// Copies a table's text into the frame around it, from front to back, and its marks with it.
pub(crate) struct Copier<'a> {
    from: &'a Frame,
    next_mark: usize,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(from: &'a Frame) -> Copier<'a> {
        Copier { from, next_mark: 0 }
    }

    /// Appends the text at `start..end` as one line. Marks before it that were passed over land in
    /// front of it.
    pub(crate) fn copy(&mut self, start: usize, end: usize, into: &mut Frame) {
        self.copy_marks(start, end, into);
        push_line(&self.from.text[start..end], into);
    }

    /// Appends the text at `start..end` with its lines.
    pub(crate) fn copy_lines(&mut self, start: usize, end: usize, into: &mut Frame) {
        self.copy_marks(start, end, into);
        into.text.push_str(&self.from.text[start..end]);
    }

    fn copy_marks(&mut self, start: usize, end: usize, into: &mut Frame) {
        let offset = into.text.len();
        while let Some(mark) = self.from.marks.get(self.next_mark) {
            let inside = mark.at < end || (mark.at == end && !matches!(mark.tie, Tie::Start(_)));
            if !inside {
                break;
            }
            into.marks.push(Mark {
                at: offset + mark.at.saturating_sub(start),
                tie: mark.tie,
            });
            self.next_mark += 1;
        }
    }

    /// Appends the text at `start..end` again, leaving its marks where the first copy is.
    pub(crate) fn repeat(&self, start: usize, end: usize, into: &mut Frame) {
        push_line(&self.from.text[start..end], into);
    }

    /// Lands the marks that are left at the end of what was copied.
    pub(crate) fn finish(self, into: &mut Frame) {
        let at = into.text.len();
        for mark in &self.from.marks[self.next_mark..] {
            into.marks.push(Mark { at, tie: mark.tie });
        }
    }
}

/// Lines of one cell become one line, byte for byte so that marks keep their distance.
fn push_line(text: &str, into: &mut Frame) {
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            into.text.push(' ');
        }
        into.text.push_str(line);
    }
}

/// Zero-width signs and soft hyphens, which only hide words from search.
pub(crate) fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}'
    )
}

/// Whether `text` is a list bullet and nothing else.
pub(crate) fn is_bullet(text: &str) -> bool {
    matches!(
        text,
        "•" | "●"
            | "○"
            | "▪"
            | "■"
            | "◦"
            | "·"
            | "–"
            | "—"
            | "-"
            | "*"
            | "➢"
            | "✓"
            | "✔"
            | "►"
            | "▶"
            | "»"
            | "o"
            | "☐"
            | "☒"
            | "☑"
            | "□"
            | "◆"
            | "♦"
            | "❖"
    )
}

/// The Unicode character that Wingdings draws for a letter, where filings use it.
fn wingding(character: char) -> char {
    match character {
        'l' | '\u{9f}' => '●',
        'n' | '\u{a7}' => '▪',
        'o' | 'q' | '\u{a8}' => '☐',
        'x' | '\u{fd}' => '☒',
        '\u{fe}' => '☑',
        '\u{fc}' => '✓',
        '\u{d8}' => '➢',
        'v' => '❖',
        'u' => '◆',
        '\u{e8}' | '\u{f0}' => '►',
        _ => character,
    }
}
