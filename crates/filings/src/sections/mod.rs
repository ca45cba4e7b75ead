//! Divides a filing into its sections: parts and items by the form's own list, further headings by how
//! they look.
//!
//! A table-of-contents line, a cross reference and a running head are not sections; what could not be
//! found or is implausible in size or order is a warning. Works on text and blocks alone and must not
//! know where they came from.

mod assign;
mod candidates;
mod catalogue;
mod check;
mod current;
mod headings;

use candidates::{Candidate, Claim};
use catalogue::{ANNUAL, Item, QUARTERLY};
use check::Found;

use crate::types::{Block, BlockKind, DocType, Form, Section, Span};
use crate::{Warning, WarningCode};

/// The sections of a filing of `form`, in order, nested ones after their parent, with what is doubtful.
pub(crate) fn find(form: &Form, text: &str, blocks: &[Block]) -> (Vec<Section>, Vec<Warning>) {
    let mut warnings = Vec::new();
    let is_exhibit = form.as_str().starts_with("EX-");
    let is_foreign = matches!(form.as_str(), "20-F" | "20-F/A" | "6-K" | "6-K/A" | "ARS");
    let sections = match form.doc_type() {
        Some(DocType::TenK) if !is_foreign => ordered(text, blocks, ANNUAL, false, &mut warnings),
        Some(DocType::TenQ) => ordered(text, blocks, QUARTERLY, true, &mut warnings),
        Some(DocType::EightK) if !is_exhibit && !is_foreign => {
            current::sections(text, blocks, &mut warnings)
        }
        _ => headings::nested(text, blocks, Span::new(0, text.len()), 0, &[]),
    };
    if sections.is_empty() {
        warnings.push(Warning::new(
            WarningCode::NoSections,
            format!("no section of a {form} was found"),
        ));
    }
    (sections, warnings)
}

/// A section heading with its place, before spans are closed.
struct Mark {
    start: usize,
    heading_end: usize,
    id: String,
    title: String,
    part: u8,
    is_part: bool,
    confidence: f32,
}

/// Sections of a form whose items have a fixed order.
fn ordered(
    text: &str,
    blocks: &[Block],
    form: &[Item],
    with_part: bool,
    warnings: &mut Vec<Warning>,
) -> Vec<Section> {
    let candidates = candidates::gather(text, blocks);
    let chosen = assign::choose(&candidates, form, text.len());
    if !chosen.iter().any(|c| !form[c.first].number.is_empty()) {
        return Vec::new();
    }
    let mut marks: Vec<Mark> = Vec::new();
    let mut last_item = 0;
    for choice in &chosen {
        let candidate = &candidates[choice.candidate];
        let item = &form[choice.first];
        marks.push(Mark {
            start: candidate.heading.start,
            heading_end: candidate.heading.end,
            id: check::name(form, choice.first, with_part),
            title: candidate.title.clone(),
            part: item.part,
            is_part: item.number.is_empty(),
            confidence: assign::confidence(choice),
        });
        last_item = last_item.max(candidate.heading.start);
    }
    add_part_starts(&mut marks);
    let chain_end = marks.len();
    add_tail(text, blocks, &candidates, last_item, &mut marks);
    let spans = close(&marks, text.len());
    let mut found = Vec::new();
    for choice in &chosen {
        let candidate = &candidates[choice.candidate];
        let span = marks
            .iter()
            .zip(&spans)
            .find(|(m, _)| {
                m.start == candidate.heading.start
                    && m.is_part == form[choice.first].number.is_empty()
            })
            .map_or(candidate.heading, |(_, span)| *span);
        let items = form
            .iter()
            .enumerate()
            .take(choice.last + 1)
            .skip(choice.first);
        found.extend(
            items
                .filter(|(_, item)| !item.number.is_empty())
                .map(|(at, _)| Found {
                    at,
                    span,
                    heading_end: candidate.heading.end,
                    in_order: choice.in_order,
                    candidate,
                }),
        );
    }
    check::check(text, form, with_part, &found, warnings);
    let mut sections = Vec::new();
    for (index, (mark, span)) in marks.iter().zip(&spans).enumerate() {
        let part_id = format!("Part {}", catalogue::roman(mark.part));
        let path = if mark.is_part || mark.part == 0 {
            vec![mark.id.clone()]
        } else {
            vec![part_id.clone(), mark.id.clone()]
        };
        sections.push(Section {
            id: mark.id.clone(),
            title: mark.title.clone(),
            level: 1,
            path: path.clone(),
            span: *span,
            confidence: mark.confidence,
        });
        if mark.is_part {
            continue;
        }
        // Further items that the same heading heads share its place.
        if index < chain_end {
            let combined = chosen
                .iter()
                .find(|c| candidates[c.candidate].heading.start == mark.start && c.last > c.first);
            for at in combined.map_or(0..0, |c| c.first + 1..c.last + 1) {
                if form[at].number.is_empty() {
                    continue;
                }
                let id = check::name(form, at, with_part);
                sections.push(Section {
                    id: id.clone(),
                    title: mark.title.clone(),
                    level: 1,
                    path: vec![part_id.clone(), id],
                    span: *span,
                    confidence: mark.confidence,
                });
            }
        }
        let inside = Span::new(mark.heading_end.min(span.end), span.end);
        sections.extend(headings::nested(text, blocks, inside, 1, &path));
    }
    sections
}

/// A part whose heading is missing begins with its first item.
fn add_part_starts(marks: &mut Vec<Mark>) {
    for part in 1..=4 {
        if marks.iter().any(|m| m.is_part && m.part == part) {
            continue;
        }
        let Some(first) = marks.iter().position(|m| m.part == part) else {
            continue;
        };
        let start = marks[first].start;
        marks.insert(
            first,
            Mark {
                start,
                heading_end: start,
                id: format!("Part {}", catalogue::roman(part)),
                title: format!("Part {}", catalogue::roman(part)),
                part,
                is_part: true,
                confidence: 0.6,
            },
        );
    }
}

/// What follows the last item: signatures, and financial statements bound in at the end.
fn add_tail(
    text: &str,
    blocks: &[Block],
    candidates: &[Candidate],
    last_item: usize,
    marks: &mut Vec<Mark>,
) {
    let tail = |start: usize, end: usize, id: &str, title: String, confidence: f32| Mark {
        start,
        heading_end: end,
        id: id.to_owned(),
        title,
        part: 0,
        is_part: false,
        confidence,
    };
    if let Some(signatures) = candidates
        .iter()
        .find(|c| c.claim == Claim::Signatures && c.heading.start > last_item && c.looks > 0.5)
    {
        marks.push(tail(
            signatures.heading.start,
            signatures.heading.end,
            "Signatures",
            signatures.title.clone(),
            0.9,
        ));
    }
    // "The financial statements begin on page F-1": they stand behind item 15, and are long.
    let statements = blocks.iter().find(|block| {
        block.kind == BlockKind::Heading
            && block.span.start > last_item
            && block.span.of(text).is_some_and(opens_statements)
            && text.len() - block.span.start > 25_000
    });
    if let Some(block) = statements {
        let title = block.span.of(text).unwrap_or_default().to_owned();
        marks.push(tail(
            block.span.start,
            block.span.end,
            "Financial Statements",
            title,
            0.7,
        ));
    }
    marks.sort_by_key(|m| m.start);
}

fn opens_statements(heading: &str) -> bool {
    let lower = heading.to_lowercase();
    lower.starts_with("report of independent")
        || lower.starts_with("index to consolidated financial")
        || lower.starts_with("index to financial")
        || lower.starts_with("consolidated balance sheet")
}

/// Where each mark's section ends: a part at the next part, anything else at the next mark.
fn close(marks: &[Mark], text_len: usize) -> Vec<Span> {
    marks
        .iter()
        .enumerate()
        .map(|(index, mark)| {
            let end = marks[index + 1..]
                .iter()
                .find(|next| {
                    if mark.is_part {
                        next.is_part || next.part == 0
                    } else {
                        next.start > mark.start
                    }
                })
                .map_or(text_len, |next| next.start);
            Span::new(mark.start, end.max(mark.start))
        })
        .collect()
}
