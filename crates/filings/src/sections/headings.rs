//! Headings that no form prescribes: those inside items, and all of a proxy statement's.
//!
//! Their level is told from how they look: the larger, bolder, more capital, the higher. Must not know
//! items.

use std::collections::HashMap;

use crate::types::{Block, BlockKind, Section, Span};

/// Levels of headings below their parent; finer distinctions of style are noise.
const MAX_DEPTH: u8 = 3;
/// A heading that occurs this often is a running head or a label.
const TOO_OFTEN: usize = 4;
const MAX_LENGTH: usize = 180;

/// A heading with how heavily it is set.
struct Heading {
    span: Span,
    title: String,
    weight: u32,
}

/// Sections for the headings that stand within `within`, below a parent of `level` and `path`.
pub(super) fn nested(
    text: &str,
    blocks: &[Block],
    within: Span,
    parent_level: u8,
    path: &[String],
) -> Vec<Section> {
    let first = blocks.partition_point(|b| b.span.start < within.start);
    let last = blocks.partition_point(|b| b.span.start < within.end);
    let headings = headings(text, &blocks[first..last.max(first)]);
    let weights = levels(&headings);
    let mut sections: Vec<Section> = Vec::with_capacity(headings.len());
    let mut open: Vec<usize> = Vec::new();
    for heading in headings {
        let depth = weights.get(&heading.weight).copied().unwrap_or(MAX_DEPTH);
        let level = parent_level + depth;
        while let Some(top) = open.last().copied() {
            if sections[top].level < level {
                break;
            }
            sections[top].span.end = heading.span.start;
            open.pop();
        }
        let mut own_path = match open.last() {
            Some(parent) => sections[*parent].path.clone(),
            None => path.to_vec(),
        };
        own_path.push(heading.title.clone());
        open.push(sections.len());
        sections.push(Section {
            id: heading.title.clone(),
            title: heading.title,
            level,
            path: own_path,
            span: Span::new(heading.span.start, within.end),
            confidence: if depth == 1 { 0.8 } else { 0.7 },
        });
    }
    sections
}

fn headings(text: &str, blocks: &[Block]) -> Vec<Heading> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for block in blocks.iter().filter(|b| b.kind == BlockKind::Heading) {
        *counts
            .entry(block.span.of(text).unwrap_or_default())
            .or_default() += 1;
    }
    blocks
        .iter()
        .enumerate()
        .filter(|(_, block)| block.kind == BlockKind::Heading && !block.style.internal_link)
        .filter_map(|(index, block)| {
            let title = block.span.of(text)?;
            if !says_something(title) || counts.get(title).copied().unwrap_or(0) >= TOO_OFTEN {
                return None;
            }
            // What stands right above a table and states units is the table's, not the text's.
            let next = blocks[index + 1..].iter().find(|b| !b.span.is_empty());
            if next.is_some_and(|b| b.kind == BlockKind::Table) && states_units(title) {
                return None;
            }
            Some(Heading {
                span: block.span,
                title: title.split_whitespace().collect::<Vec<_>>().join(" "),
                weight: weight(block, title),
            })
        })
        .collect()
}

fn states_units(title: &str) -> bool {
    let lower = title.to_lowercase();
    [
        "in millions",
        "in thousands",
        "in billions",
        "dollars in",
        "unaudited)",
    ]
    .iter()
    .any(|words| lower.contains(words))
}

/// A heading has a word in it and is no sentence, label or figure.
fn says_something(title: &str) -> bool {
    let letters = title.chars().filter(|c| c.is_alphabetic()).count();
    let lower = title.to_lowercase();
    title.len() <= MAX_LENGTH
        && letters >= 3
        && letters * 2 >= title.chars().filter(|c| !c.is_whitespace()).count()
        && !title.ends_with([',', ';'])
        && !lower.starts_with("table of contents")
        && !lower.ends_with("continued)")
        && !(title.starts_with('(') && title.ends_with(')'))
}

/// Size first, then capitals, weight, position, slant.
fn weight(block: &Block, title: &str) -> u32 {
    let style = &block.style;
    let size = style
        .size_pt
        .filter(|s| s.is_finite())
        .map_or(100, |size| (size.clamp(1.0, 90.0) * 10.0) as u32);
    let capitals = title
        .chars()
        .filter(|c| c.is_alphabetic())
        .all(char::is_uppercase);
    let tag = style
        .tag_level
        .map_or(0, |level| u32::from(7u8.saturating_sub(level)) * 1_000);
    // Half points are rounding of the same size.
    (size / 8) * 8
        + tag
        + u32::from(capitals) * 6
        + u32::from(style.bold) * 5
        + u32::from(style.centered) * 3
        + u32::from(style.underlined)
        - u32::from(style.italic).min(1)
}

/// The depth of each weight: the heaviest is 1. A weight that occurs once among many takes the level of
/// the next lighter one, so that a title page does not push everything down.
fn levels(headings: &[Heading]) -> HashMap<u32, u8> {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for heading in headings {
        *counts.entry(heading.weight).or_default() += 1;
    }
    let mut weights: Vec<u32> = counts.keys().copied().collect();
    weights.sort_unstable_by(|a, b| b.cmp(a));
    let mut depth = 1;
    let mut levels = HashMap::new();
    let enough = if headings.len() > 30 { 2 } else { 1 };
    for weight in weights {
        levels.insert(weight, depth);
        if counts[&weight] >= enough && depth < MAX_DEPTH {
            depth += 1;
        }
    }
    levels
}
