//! Lays out preformatted text: filings of the nineties and early two-thousands, whose pages are
//! lines of typewriter text with tables made of blanks.

use std::sync::LazyLock;

use regex::Regex;

use crate::types::BlockKind;

use super::frame::{Frame, is_bullet, is_invisible};
use super::style::Look;

static MARKUP: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)<(?:html|body|p|div|br|hr|tr|td|li|b|i|u|a|font|span|center|h[1-6]|ix:\w+)[\s/>]",
    )
    .ok()
});

/// A line centred on the page starts with at least this many blanks.
const CENTRED_INDENT: usize = 12;

/// Whether a document is plain text in EDGAR's wrapping, without any HTML to lay it out.
pub(crate) fn is_plain(source: &str) -> bool {
    MARKUP
        .as_ref()
        .is_some_and(|markup| !markup.is_match(source))
}

/// Whether a comment is how a filing agent's software marks the end of a page.
pub(crate) fn is_page_break_comment(comment: &str) -> bool {
    let comment = comment.trim();
    comment.len() <= 16
        && ["PAGEBREAK", "PAGE BREAK", "PAGE_BREAK"]
            .iter()
            .any(|name| comment.eq_ignore_ascii_case(name))
}

/// Appends preformatted `text` to `frame`: blank lines part paragraphs, lines with inner gaps are
/// rows of a table, form feeds are page breaks.
pub(crate) fn lay_out(text: &str, frame: &mut Frame) {
    let shown = |c: &char| !is_invisible(*c) && (!c.is_control() || "\n\t\x0c".contains(*c));
    let text: String = text.chars().filter(shown).collect();
    for (index, page) in text.split('\x0c').enumerate() {
        if index > 0 {
            frame.page_break();
        }
        let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
        for group in lines.split(|line| line.trim().is_empty()) {
            lay_out_group(group, frame);
        }
    }
}

/// Lines without a blank one between them: rows where they have gaps, prose otherwise. A title
/// standing right above a table, or a table right below prose, is parted from it.
fn lay_out_group(group: &[&str], frame: &mut Frame) {
    let lines: Vec<&str> = group
        .iter()
        .copied()
        .filter(|line| !is_rule(line.trim()))
        .collect();
    let mut rest = lines.as_slice();
    while let Some(first) = rest.first() {
        let is_row = has_gap(first);
        let mut length = rest
            .iter()
            .take_while(|line| has_gap(line) == is_row)
            .count();
        if is_row {
            // A label that runs over two lines has no gap; the row goes on below it.
            while length + 1 < rest.len() && !has_gap(rest[length]) && has_gap(rest[length + 1]) {
                length += 2;
            }
        }
        let (run, after) = rest.split_at(length);
        rest = after;
        if is_row && (run.len() > 1 || frame_ends_in_table(frame)) {
            rows(run, frame);
        } else {
            prose(run, frame);
        }
    }
}

fn frame_ends_in_table(frame: &Frame) -> bool {
    frame
        .blocks
        .last()
        .is_some_and(|block| block.kind == BlockKind::Table)
}

fn rows(run: &[&str], frame: &mut Frame) {
    frame.open_block(BlockKind::Table);
    for (index, line) in run.iter().enumerate() {
        if index > 0 {
            frame.text.push('\n');
        }
        let mut currency = false;
        for (cell_index, cell) in cells(line).enumerate() {
            if cell_index > 0 && !currency {
                frame.text.push_str(" | ");
            }
            // `$   900` is one figure.
            currency = cell == "$";
            match cell.strip_prefix("$ ") {
                Some(figure) => {
                    frame.text.push('$');
                    frame.push_words(figure);
                }
                None => frame.push_words(cell),
            }
        }
    }
    frame.end_paragraph();
}

fn prose(run: &[&str], frame: &mut Frame) {
    let centred = run
        .iter()
        .all(|line| line.len() - line.trim_start().len() >= CENTRED_INDENT);
    let look = Look {
        centered: centred,
        ..Look::default()
    };
    for line in run {
        let bulleted = line
            .split_whitespace()
            .next()
            .is_some_and(|word| is_bullet(word) && word != "o");
        if bulleted {
            frame.end_paragraph();
        }
        frame.write_plain(line, &look);
        // Lines set in the middle are each meant alone.
        if centred {
            frame.end_paragraph();
        }
    }
    frame.end_paragraph();
}

/// A line of dashes or underscores between parts.
fn is_rule(line: &str) -> bool {
    line.len() > 2 && line.bytes().all(|b| b"-_=* ".contains(&b))
}

/// Whether a line has cells: words, then a wide gap or leading dots, then more.
fn has_gap(line: &str) -> bool {
    cells(line).nth(1).is_some()
}

/// The cells of a line: parted by three blanks or more, or by dot leaders.
fn cells(line: &str) -> impl Iterator<Item = &str> {
    let bytes = line.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        // Skip what lies between cells.
        while at < bytes.len() && (bytes[at].is_ascii_whitespace() || is_leader(bytes, at)) {
            at += 1;
        }
        let start = at;
        let mut end = at;
        while at < bytes.len() {
            if bytes[at].is_ascii_whitespace() {
                let blanks = bytes[at..]
                    .iter()
                    .take_while(|b| b.is_ascii_whitespace())
                    .count();
                if blanks >= 3 || bytes[at] == b'\t' {
                    break;
                }
                at += blanks;
            } else if is_leader(bytes, at) {
                break;
            } else {
                at += 1;
                end = at;
            }
        }
        let cell = line.get(start..end).unwrap_or("");
        (!cell.is_empty()).then_some(cell)
    })
}

/// Whether a dot is one of a run of at least four.
fn is_leader(bytes: &[u8], at: usize) -> bool {
    if bytes[at] != b'.' {
        return false;
    }
    let dot = |b: &&u8| **b == b'.' || **b == b' ';
    let ahead = bytes[at..]
        .iter()
        .take(8)
        .take_while(dot)
        .filter(|b| **b == b'.')
        .count();
    let behind = bytes[..at]
        .iter()
        .rev()
        .take(8)
        .take_while(dot)
        .filter(|b| **b == b'.')
        .count();
    ahead + behind >= 4
}
