//! The last look over a document read whole: page furniture (page numbers, running heads) goes
//! into its page break, headings are told from paragraphs, anchors are noted on their blocks.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::types::{Block, BlockKind, Span};

use super::frame::{Frame, RawBlock, Tie, is_bullet};
use super::table::is_marker;

/// Blocks on either side of a page break that may be its furniture.
const FURNITURE_BLOCKS: usize = 4;
/// Page furniture is short.
const FURNITURE_BYTES: usize = 160;
/// A heading is no longer than this.
const HEADING_BYTES: usize = 260;

static PAGE_NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)^ [-–—|\s]* (?: page \s* )?
          (?: \d{1,4} | [ivxlc]{1,7} | [a-z]{1,2}-? \d{1,3} (?: - \d{1,3})? )
          (?: \s+ of \s+ \d{1,4} )? [-–—|\s]* $",
    )
    .ok()
});

fn is_page_number(text: &str) -> bool {
    text.len() <= 24
        && PAGE_NUMBER
            .as_ref()
            .is_some_and(|number| number.is_match(text))
}

/// The blocks of a finished document.
pub(crate) fn blocks(frame: &Frame) -> Vec<Block> {
    let merged = with_furniture(frame);
    let body_size = body_size(&merged);
    let mut anchors = anchors(frame).peekable();
    merged
        .iter()
        .map(|block| {
            let text = &frame.text[block.start..block.end];
            let mut style = block.ink.style();
            while anchors.next_if(|at| *at < block.end).is_some_and(|at| {
                style.anchor_target |= at >= block.start;
                true
            }) {}
            let kind = match block.kind {
                BlockKind::Paragraph => paragraph_kind(text, block, body_size),
                kind => kind,
            };
            Block {
                kind,
                span: Span::new(block.start, block.end),
                style,
            }
        })
        .collect()
}

/// Where the anchors that something links to stand.
fn anchors(frame: &Frame) -> impl Iterator<Item = usize> + '_ {
    let anchors = frame.marks.iter().filter(|mark| mark.tie == Tie::Anchor);
    anchors.map(|mark| mark.at)
}

/// The blocks with the running heads and page numbers beside page breaks taken into those.
fn with_furniture(frame: &Frame) -> Vec<RawBlock> {
    let blocks = &frame.blocks;
    let text_of = |block: &RawBlock| &frame.text[block.start..block.end];
    let breaks: Vec<usize> = (0..blocks.len())
        .filter(|at| blocks[*at].kind == BlockKind::PageBreak)
        .collect();
    let may_be = |block: &RawBlock| {
        block.kind != BlockKind::PageBreak
            && block.end - block.start <= FURNITURE_BYTES
            && !(block.kind == BlockKind::Table && text_of(block).contains('\n'))
    };
    let before = |at: usize| {
        (at.saturating_sub(FURNITURE_BLOCKS)..at)
            .rev()
            .take_while(|near| may_be(&blocks[*near]))
    };
    let after = |at: usize| {
        (at + 1..blocks.len().min(at + 1 + FURNITURE_BLOCKS))
            .take_while(|near| may_be(&blocks[*near]))
    };
    // How often a line, its numbers aside, stands beside a page break, and where it does so first.
    let mut seen: HashMap<(bool, String), (usize, usize)> = HashMap::new();
    for at in &breaks {
        for near in before(*at) {
            let entry = seen.entry((false, signature(text_of(&blocks[near]))));
            entry.or_insert((0, near)).0 += 1;
        }
        for near in after(*at) {
            let entry = seen.entry((true, signature(text_of(&blocks[near]))));
            entry.or_insert((0, near)).0 += 1;
        }
    }
    let often = (breaks.len() / 8).clamp(3, 5);
    // A running head is no place that links lead to; a section's heading on a new page is.
    let anchors: Vec<usize> = anchors(frame).collect();
    let is_anchored = |block: &RawBlock| {
        let next = anchors.partition_point(|at| *at < block.start);
        anchors.get(next).is_some_and(|at| *at < block.end)
    };
    let is_furniture = |near: usize, below: bool| {
        let text = text_of(&blocks[near]);
        let count = seen.get(&(below, signature(text))).copied();
        let repeated = count.is_some_and(|(count, first)| {
            // The first running head is often the true heading of its part.
            // "Not applicable." ends many a page; only a pointer to the notes is a running foot.
            let is_prose = !below && text.ends_with('.') && !text.to_lowercase().contains("note");
            let may_be_head = below && (near == first || is_anchored(&blocks[near]));
            count >= often && !is_prose && !(may_be_head && has_look(&blocks[near]))
        });
        is_page_number(text) || is_contents_link(text, &blocks[near]) || repeated
    };
    let mut out: Vec<RawBlock> = Vec::with_capacity(blocks.len());
    let mut at = 0;
    while at < blocks.len() {
        let mut block = blocks[at];
        at += 1;
        if block.kind == BlockKind::PageBreak {
            let here = at - 1;
            let mut span: Option<(usize, usize)> = None;
            for near in before(here).take_while(|near| is_furniture(*near, false)) {
                match out.last() {
                    Some(last)
                        if last.start == blocks[near].start
                            && last.kind != BlockKind::PageBreak =>
                    {
                        span = Some((last.start, span.map_or(last.end, |(_, end)| end)));
                        out.pop();
                    }
                    _ => break,
                }
            }
            let taken = after(here)
                .take_while(|near| is_furniture(*near, true))
                .count();
            if let Some(last) = taken.checked_sub(1).map(|last| blocks[at + last]) {
                let start = span.map_or(blocks[at].start, |(start, _)| start);
                span = Some((start, last.end));
                at += taken;
            }
            if let Some((start, end)) = span {
                (block.start, block.end) = (start, end);
            }
        }
        out.push(block);
    }
    out
}

fn has_look(block: &RawBlock) -> bool {
    let style = block.ink.style();
    style.bold || style.underlined || style.italic
}

/// "Table of Contents" or "Back to contents", as agents put on top of every page.
fn is_contents_link(text: &str, block: &RawBlock) -> bool {
    let text = text.to_ascii_lowercase();
    (block.ink.internal_link && text.contains("content") && text.len() <= 40)
        || text == "index to financial statements"
}

/// A line with the numbers at its ends and in cells of their own taken out, for those count pages;
/// but not the number of a part, an item or a note.
fn signature(text: &str) -> String {
    let first = text.split_whitespace().next().unwrap_or_default();
    let is_numbered = ["part", "item", "note", "section", "article", "exhibit"]
        .iter()
        .any(|name| first.eq_ignore_ascii_case(name));
    if is_numbered {
        return text.to_lowercase();
    }
    let mut out = String::with_capacity(text.len());
    for cell in text.split(['|', '\n']) {
        let mut words = cell.split_whitespace().peekable();
        let mut is_first = true;
        while let Some(word) = words.next() {
            let at_end = is_first || words.peek().is_none();
            is_first = false;
            if at_end && is_page_number(word) {
                out.push('#');
            } else {
                let letters = word.chars().filter(|c| c.is_alphanumeric());
                out.extend(letters.flat_map(char::to_lowercase));
            }
        }
    }
    out
}

/// The font size that most of the prose has.
fn body_size(blocks: &[RawBlock]) -> f32 {
    let mut letters: HashMap<u32, u64> = HashMap::new();
    for block in blocks.iter().filter(|b| b.kind == BlockKind::Paragraph) {
        if let Some(size) = block.ink.style().size_pt {
            *letters.entry((size * 4.0) as u32).or_default() += u64::from(block.ink.letters());
        }
    }
    letters
        .into_iter()
        .max_by_key(|(size, count)| (*count, *size))
        .map_or(0.0, |(size, _)| size as f32 / 4.0)
}

fn paragraph_kind(text: &str, block: &RawBlock, body_size: f32) -> BlockKind {
    let first = text.split(' ').next().unwrap_or(text);
    let bulleted = first.len() < text.len() && is_bullet(first);
    if bulleted {
        return BlockKind::ListItem;
    }
    if is_heading(text, block, body_size) {
        return BlockKind::Heading;
    }
    if block.ink.list_item || (first.len() < text.len() && is_marker(first)) {
        return BlockKind::ListItem;
    }
    BlockKind::Paragraph
}

fn is_heading(text: &str, block: &RawBlock, body_size: f32) -> bool {
    let style = block.ink.style();
    if style.tag_level.is_some() {
        return text.len() <= HEADING_BYTES;
    }
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    if letters < 3 || text.len() > HEADING_BYTES {
        return false;
    }
    let larger = body_size > 0.0 && style.size_pt.is_some_and(|size| size >= body_size + 1.5);
    let capitals = text.chars().filter(|c| c.is_uppercase()).count() == letters
        || text
            .chars()
            .filter(|c| c.is_alphabetic())
            .all(char::is_uppercase);
    let sentence = text.ends_with(['.', ';', ',', ':']) && text.len() > 120;
    let is_item = text
        .get(..5)
        .is_some_and(|head| head.eq_ignore_ascii_case("item "));
    if sentence && !is_item {
        return false;
    }
    style.bold
        || larger
        || (style.underlined && text.len() <= 160)
        || (style.italic && text.len() <= 120)
        || (capitals && text.len() <= 160)
}
