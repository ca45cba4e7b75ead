//! Passages of a page corpus: a page each, or balanced parts of a page, cut at line ends.

use super::{Draft, cut};
use crate::tokens::{self, PASSAGE_TOKENS};
use crate::types::{Filing, Page, PassageKind, Span};

/// Most tokens of a page's first lines that are repeated above its later parts.
const LEAD_TOKENS: usize = 64;

pub(super) fn drafts(filing: &Filing) -> Vec<Draft> {
    filing
        .pages
        .iter()
        .flat_map(|page| page_drafts(&filing.text, page))
        .collect()
}

fn page_drafts(text: &str, page: &Page) -> Vec<Draft> {
    let draft = |span, lead, exact| Draft {
        span,
        kind: PassageKind::Page,
        page: Some(page.number),
        lead,
        exact,
    };
    let Some(inside) = page.span.of(text) else {
        return Vec::new();
    };
    let (lines, exact) = measured_lines(text, page.span);
    let total: usize = lines.iter().map(|(_, tokens)| tokens).sum();
    if total <= PASSAGE_TOKENS {
        return vec![draft(page.span, String::new(), exact)];
    }
    let (lead, lead_tokens) = page_lead(inside);
    let limit = PASSAGE_TOKENS - lead_tokens;
    cut::balance(&lines, limit)
        .into_iter()
        .enumerate()
        .map(|(index, span)| {
            let lead = if index == 0 {
                String::new()
            } else {
                lead.clone()
            };
            draft(span, lead, exact)
        })
        .collect()
}

/// The lines of `span` with their line ends and tokens, in one pass; lines that are too long for any
/// passage are cut, and then the second value is false: the sum no longer bounds the whole.
pub(super) fn measured_lines(text: &str, span: Span) -> (Vec<(Span, usize)>, bool) {
    let inside = span.of(text).unwrap_or_default();
    let mut exact = true;
    let mut start = span.start;
    let mut lines = Vec::new();
    for line in inside.split_inclusive('\n') {
        let line_span = Span::new(start, start + line.len());
        start = line_span.end;
        let tokens = tokens::count(line);
        if tokens <= PASSAGE_TOKENS / 2 {
            lines.push((line_span, tokens));
            continue;
        }
        exact = false;
        for piece in cut::cut(text, line_span, PASSAGE_TOKENS / 4) {
            let tokens = tokens::count(piece.of(text).unwrap_or_default()) + 1;
            lines.push((piece, tokens));
        }
    }
    (lines, exact)
}

/// The lines that say what a page is about: its first two that say anything, and the line that states
/// the units if it stands near the top.
fn page_lead(page: &str) -> (String, usize) {
    let mut lead = String::new();
    let mut used = 0;
    let mut titles = 0;
    for line in page.lines().take(15) {
        let lower = line.to_ascii_lowercase();
        let states_units = lower.len() < 120
            && ["in millions", "in thousands", "in billions"]
                .iter()
                .any(|unit| lower.contains(unit));
        let says_something = line.len() <= 120
            && line.bytes().filter(u8::is_ascii_alphabetic).count() >= 4
            && !lower.starts_with("table of contents");
        if !(states_units || (says_something && titles < 2)) {
            continue;
        }
        let tokens = tokens::count(line) + 1;
        if used + tokens > LEAD_TOKENS {
            break;
        }
        if !lead.is_empty() {
            lead.push('\n');
        }
        lead.push_str(line);
        used += tokens;
        titles += 1;
    }
    (lead, used)
}
