//! Builds normalised text from tokens in one pass: a stack of open elements with their inherited
//! look, a stack of open tables, no tree and no recursion.

use std::collections::HashSet;

use crate::xbrl::Recorder;
use crate::{Warning, WarningCode};

use super::frame::{Frame, Tie};
use super::lexer::{Lexer, Token, decode, decode_into};
use super::style::{Layout, Look};
use super::tags::Tag;
use super::{plain, table};

/// Elements open at once; deeper ones are read as if their tags were not there.
const MAX_DEPTH: usize = 256;

/// Tables open at once.
const MAX_TABLES: usize = 24;

/// An open element.
struct Open {
    tag: Tag,
    /// The look inside it.
    look: Look,
    /// Whether its end ends a paragraph.
    is_block: bool,
    break_after: bool,
    /// The inline-XBRL part that it delimits, and whether that is hidden.
    part: Option<(u32, bool)>,
}

/// What a pass over the source gives.
pub(crate) struct Built<'a> {
    /// The text, blocks and marks of the document.
    pub(crate) frame: Frame,
    /// The text of hidden parts, with their marks.
    pub(crate) hidden: Frame,
    pub(crate) recorder: Recorder<'a>,
    pub(crate) title: Option<String>,
    pub(crate) warnings: Vec<Warning>,
}

pub(crate) struct Builder<'a> {
    lexer: Lexer<'a>,
    stack: Vec<Open>,
    /// Elements beyond [`MAX_DEPTH`] that are still open.
    overflow: usize,
    /// The document's frame, then one for each open table.
    frames: Vec<Frame>,
    hidden: Frame,
    /// Ties that wait for the next shown and the next hidden character.
    pending: Vec<Tie>,
    pending_hidden: Vec<Tie>,
    open_hidden: usize,
    recorder: Recorder<'a>,
    /// Anchors of this document that something links to.
    targets: HashSet<&'a str>,
    /// Preformatted text not laid out yet.
    preformatted: String,
    in_resources: bool,
    skip_line: bool,
    title: Option<String>,
    root: Look,
    too_deep: bool,
    too_many_tables: bool,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(source: &'a str) -> Builder<'a> {
        let root = Look {
            preformatted: plain::is_plain(source),
            ..Look::default()
        };
        Builder {
            lexer: Lexer::new(source),
            stack: Vec::new(),
            overflow: 0,
            frames: vec![Frame::default()],
            hidden: Frame::default(),
            pending: Vec::new(),
            pending_hidden: Vec::new(),
            open_hidden: 0,
            recorder: Recorder::default(),
            targets: link_targets(source),
            preformatted: String::new(),
            in_resources: false,
            skip_line: false,
            title: None,
            root,
            too_deep: false,
            too_many_tables: false,
        }
    }

    /// Reads the source to its end.
    pub(crate) fn run(mut self) -> Built<'a> {
        while let Some(token) = self.lexer.next() {
            match token {
                Token::Text(raw) => self.text(raw),
                Token::Start { name, self_closing } => self.start(name, self_closing),
                Token::End { name } => self.end(name),
                Token::Comment(comment) => {
                    if plain::is_page_break_comment(comment) {
                        self.page_break();
                    }
                }
            }
        }
        while !self.stack.is_empty() {
            self.pop();
        }
        self.end_paragraph();
        let mut frame = self.frames.swap_remove(0);
        for tie in self.pending.drain(..) {
            frame.tie_here(tie);
        }
        self.hidden.end_paragraph();
        let warnings = self.markup_warnings();
        Built {
            frame,
            hidden: self.hidden,
            recorder: self.recorder,
            title: self.title,
            warnings,
        }
    }

    fn markup_warnings(&self) -> Vec<Warning> {
        let notes = [
            (
                self.too_deep,
                format!(
                    "elements are nested more than {MAX_DEPTH} deep; the inner ones are read flat"
                ),
            ),
            (
                self.too_many_tables,
                format!(
                    "tables are nested more than {MAX_TABLES} deep; the inner ones are read flat"
                ),
            ),
            (
                self.lexer.cut_in_tag,
                "the file ends inside a tag; it is probably cut short".to_owned(),
            ),
            (
                self.lexer.open_comment,
                "a comment is never closed; it was taken to end at its first '>'".to_owned(),
            ),
        ];
        notes
            .into_iter()
            .filter(|(found, _)| *found)
            .map(|(_, message)| Warning::new(WarningCode::Markup, message))
            .collect()
    }

    fn look(&self) -> Look {
        self.stack.last().map_or(self.root, |open| open.look)
    }

    fn frame(&mut self) -> &mut Frame {
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn text(&mut self, raw: &'a str) {
        if self.in_resources {
            self.recorder.resources.text(raw);
            return;
        }
        let raw = if std::mem::take(&mut self.skip_line) {
            raw.split_once('\n').map_or("", |(_, rest)| rest)
        } else {
            raw
        };
        let look = self.look();
        if look.hidden {
            if self.open_hidden > 0 {
                self.hidden
                    .write(raw, &Look::default(), &mut self.pending_hidden);
            }
        } else if look.preformatted && self.recorder.is_empty() {
            decode_into(raw, &mut self.preformatted);
        } else {
            let last = self.frames.len() - 1;
            self.frames[last].write(raw, &look, &mut self.pending);
        }
    }

    fn start(&mut self, name: &'a str, self_closing: bool) {
        let tag = match name.split_once(':') {
            Some((prefix, local)) if prefix.eq_ignore_ascii_case("ix") => Tag::of_ix(local),
            Some(_) => Tag::Unknown,
            None => Tag::of(name),
        };
        if self.in_resources {
            if tag.is_block() {
                // Resources never closed must not swallow the filing.
                self.in_resources = false;
            } else {
                self.recorder.resources.start(name, &self.lexer.attrs);
                if self_closing {
                    self.recorder.resources.end(name);
                }
                return;
            }
        }
        self.anchor();
        self.close_implied(tag);
        let (look, layout) = self.look().enter(tag, &self.lexer.attrs);
        let columns = name.eq_ignore_ascii_case("s") || name.eq_ignore_ascii_case("c");
        if look.preformatted && columns {
            // EDGAR's `<S>` and `<C>` under the heads of a typewriter table are a line of marks.
            let line = self.preformatted.rfind('\n').map_or(0, |end| end + 1);
            self.preformatted.truncate(line);
            self.skip_line = true;
            return;
        }
        match tag {
            Tag::Unknown => return,
            Tag::Br => {
                if look.preformatted {
                    self.preformatted.push('\n');
                } else if !look.hidden {
                    self.frame().line_break();
                }
                return;
            }
            Tag::Hr => {
                self.end_paragraph();
                if layout.break_before || layout.break_after {
                    self.page_break();
                }
                return;
            }
            Tag::Page => {
                self.page_break();
                return;
            }
            Tag::SgmlLine => {
                self.skip_line = self.frames.len() == 1 && self.frames[0].text.is_empty();
                return;
            }
            Tag::Title => {
                if !self_closing {
                    let title = decode(self.lexer.raw_text(name));
                    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
                    self.title = self.title.take().or(Some(title)).filter(|t| !t.is_empty());
                }
                return;
            }
            Tag::Raw => {
                if !self_closing {
                    self.lexer.raw_text(name);
                }
                return;
            }
            Tag::IxResources => {
                self.in_resources = !self_closing;
                return;
            }
            _ => {}
        }
        self.open(tag, look, layout);
        if self_closing {
            self.close(tag);
        }
    }

    fn open(&mut self, tag: Tag, look: Look, layout: Layout) {
        let is_block = (tag.is_block() && !layout.inline) || layout.block;
        if is_block {
            self.end_paragraph();
        }
        if layout.break_before && !look.hidden {
            self.page_break();
        }
        if self.stack.len() >= MAX_DEPTH {
            self.too_deep = true;
            self.overflow += 1;
            return;
        }
        let mut tag = tag;
        let blocks = self.frame().blocks.len();
        let shown = !look.hidden;
        match tag {
            Tag::Table if shown && !look.preformatted => {
                if self.frames.len() > MAX_TABLES {
                    self.too_many_tables = true;
                    tag = Tag::Block;
                } else {
                    self.frames.push(Frame::of_table());
                }
            }
            Tag::Table => tag = Tag::Block,
            Tag::Tr if shown => {
                if let Some(grid) = &mut self.frame().grid {
                    grid.start_row(blocks);
                }
            }
            Tag::Td if shown => {
                let span = |name| {
                    let value = self.lexer.attrs.get(name)?;
                    value.trim().parse::<u32>().ok()
                };
                let columns = span("colspan").unwrap_or(1);
                let rows = span("rowspan").unwrap_or(1);
                if let Some(grid) = &mut self.frame().grid {
                    grid.start_cell(columns, rows, blocks);
                }
            }
            _ => {}
        }
        let part = self
            .recorder
            .open(tag, &self.lexer.attrs, look.hidden)
            .map(|part| (part, look.hidden));
        match part {
            Some((part, true)) => {
                self.open_hidden += 1;
                self.pending_hidden.push(Tie::Start(part));
                // Its place among the shown text, where nothing of it shows.
                self.frame().tie_here(Tie::Start(part));
            }
            Some((part, false)) => self.pending.push(Tie::Start(part)),
            None => {}
        }
        self.stack.push(Open {
            tag,
            look,
            is_block,
            break_after: layout.break_after,
            part,
        });
    }

    /// Notes that the next text is what a link in this document points to.
    fn anchor(&mut self) {
        if self.targets.is_empty() {
            return;
        }
        let named = |name| self.lexer.attrs.get(name);
        let hit = [named("id"), named("name")]
            .into_iter()
            .flatten()
            .any(|id| self.targets.contains(id));
        if hit && !self.pending.contains(&Tie::Anchor) {
            self.pending.push(Tie::Anchor);
        }
    }

    fn end(&mut self, name: &'a str) {
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        let is_ix = prefix.eq_ignore_ascii_case("ix");
        if self.in_resources {
            if is_ix && Tag::of_ix(local) == Tag::IxResources {
                self.in_resources = false;
            } else {
                self.recorder.resources.end(name);
            }
            return;
        }
        let tag = match (is_ix, prefix.is_empty()) {
            (true, _) => Tag::of_ix(local),
            (false, true) => Tag::of(name),
            (false, false) => Tag::Unknown,
        };
        match tag {
            Tag::Unknown | Tag::Br | Tag::Hr | Tag::Title | Tag::Raw => {}
            _ => self.close(tag),
        }
    }

    /// Closes the innermost `tag` and all inside it, if one is open in this table cell.
    fn close(&mut self, tag: Tag) {
        if self.overflow > 0 {
            self.overflow -= 1;
            if tag.is_block() {
                self.end_paragraph();
            }
            return;
        }
        let found = self.stack.iter().rposition(|open| open.tag == tag);
        let Some(found) = found else {
            if tag == Tag::Table && self.look().preformatted {
                self.close(Tag::Block);
            }
            return;
        };
        // The end of a `b` or `div` in a cell says nothing of one around the table.
        let walls: &[Tag] = match tag {
            Tag::Table | Tag::Tr | Tag::Td | Tag::RowGroup | Tag::Caption | Tag::Block => {
                &[Tag::Table]
            }
            _ => &[Tag::Table, Tag::Td],
        };
        let walled = self.stack[found + 1..]
            .iter()
            .any(|open| walls.contains(&open.tag));
        if walled && !tag.is_ix() {
            return;
        }
        while self.stack.len() > found {
            self.pop();
        }
    }

    /// Closes what the start of `tag` ends without an end tag of its own.
    fn close_implied(&mut self, tag: Tag) {
        if self.overflow > 0 {
            return;
        }
        let found = match tag {
            // A paragraph ends the one before it, and any dressing left open in that.
            Tag::P | Tag::H(_) => self
                .stack
                .iter()
                .rposition(|open| !open.tag.is_dressing())
                .filter(|at| self.stack[*at].tag == Tag::P),
            Tag::Li => self
                .stack
                .iter()
                .rposition(|open| !(open.tag.is_dressing() || open.tag == Tag::P))
                .filter(|at| self.stack[*at].tag == Tag::Li),
            Tag::Tr | Tag::Td | Tag::RowGroup => {
                let ends: &[Tag] = match tag {
                    Tag::Td => &[Tag::Td, Tag::Caption],
                    Tag::Tr => &[Tag::Tr, Tag::Td, Tag::Caption],
                    _ => &[Tag::Tr, Tag::Td, Tag::Caption, Tag::RowGroup],
                };
                let wall = self
                    .stack
                    .iter()
                    .rposition(|open| open.tag == Tag::Table)
                    .unwrap_or(self.stack.len());
                self.stack
                    .iter()
                    .enumerate()
                    .skip(wall)
                    .find(|(_, open)| ends.contains(&open.tag))
                    .map(|(at, _)| at)
            }
            _ => None,
        };
        if let Some(found) = found {
            while self.stack.len() > found {
                self.pop();
            }
        }
    }

    fn pop(&mut self) {
        let Some(open) = self.stack.pop() else { return };
        if open.is_block {
            self.end_paragraph();
        }
        match open.part {
            Some((part, true)) => {
                self.open_hidden -= 1;
                end_part(part, &mut self.hidden, &mut self.pending_hidden);
            }
            Some((part, false)) => {
                let last = self.frames.len() - 1;
                end_part(part, &mut self.frames[last], &mut self.pending);
            }
            None => {}
        }
        if let Some(part) = open.part {
            self.recorder.close(part.0);
        }
        let shown = !open.look.hidden;
        let blocks = self.frame().blocks.len();
        match open.tag {
            Tag::Table if self.frames.len() > 1 => {
                self.end_paragraph();
                if let Some(mut frame) = self.frames.pop() {
                    let blocks = frame.blocks.len();
                    if let Some(grid) = &mut frame.grid {
                        grid.end_row(blocks);
                    }
                    table::render(&frame, self.frame());
                }
            }
            Tag::Tr if shown => {
                if let Some(grid) = &mut self.frame().grid {
                    grid.end_row(blocks);
                }
            }
            Tag::Td if shown => {
                if let Some(grid) = &mut self.frame().grid {
                    grid.end_cell(blocks);
                }
            }
            _ => {}
        }
        if open.break_after && shown {
            self.page_break();
        }
    }

    fn end_paragraph(&mut self) {
        self.lay_out_preformatted();
        self.frame().end_paragraph();
    }

    fn page_break(&mut self) {
        self.lay_out_preformatted();
        self.frame().page_break();
    }

    fn lay_out_preformatted(&mut self) {
        if !self.preformatted.is_empty() {
            let text = std::mem::take(&mut self.preformatted);
            plain::lay_out(&text, self.frame());
        }
    }
}

/// Ties the end of a part; a part that showed nothing is tied to where it stands.
fn end_part(part: u32, frame: &mut Frame, pending: &mut Vec<Tie>) {
    if let Some(at) = pending.iter().position(|tie| *tie == Tie::Start(part)) {
        pending.remove(at);
        frame.tie_here(Tie::Start(part));
    }
    frame.tie_here(Tie::End(part));
}

/// The names of places in this document that its links point to.
fn link_targets(source: &str) -> HashSet<&str> {
    let bytes = source.as_bytes();
    let mut targets = HashSet::new();
    for at in memchr::memmem::find_iter(bytes, b"=\"#") {
        let named = bytes[..at].len() >= 4 && bytes[at - 4..at].eq_ignore_ascii_case(b"href");
        if named {
            let rest = &source[at + 3..];
            // Names are short; a longer one is no anchor of a filing.
            let head = &rest.as_bytes()[..rest.len().min(256)];
            if let Some(end) = memchr::memchr(b'"', head).filter(|end| *end > 0) {
                targets.insert(&rest[..end]);
            }
        }
    }
    targets
}
