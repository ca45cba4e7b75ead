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
        let items = assign::named(choice, candidate, form);
        let items = items.into_iter().filter(|at| !form[*at].number.is_empty());
        found.extend(items.map(|at| Found {
            at,
            span,
            heading_end: candidate.heading.end,
            in_order: choice.in_order,
            candidate,
        }));
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
            let further = combined.map_or_else(Vec::new, |c| {
                assign::named(c, &candidates[c.candidate], form).split_off(1)
            });
            for at in further {
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// The level-1 sections of an HTML body, with their first words, and the warnings' codes.
    fn check(form: &str, html: &str, expected: &Expect) {
        let (document, _) = crate::read_html(&format!("<html><body>{html}</body></html>"));
        let (sections, warnings) = find(&Form::new(form), &document.text, &document.blocks);
        let mut shown: Vec<String> = sections
            .iter()
            .filter(|s| s.level == 1)
            .map(|s| {
                let body: String = s
                    .span
                    .of(&document.text)
                    .unwrap_or_default()
                    .replace('\n', "/");
                let tail = body.chars().rev().take(12).collect::<Vec<_>>();
                let tail: String = tail.into_iter().rev().collect();
                format!("{} = {} … {tail}", s.path.join(" > "), s.title)
            })
            .collect();
        // Invented filings are short: what is small or missing is not what is tested here.
        shown.extend(
            warnings
                .iter()
                .filter(|w| {
                    !matches!(
                        w.code,
                        WarningCode::SectionSmall | WarningCode::SectionMissing
                    )
                })
                .map(|w| w.message.clone()),
        );
        expected.assert_eq(&shown.join("\n"));
    }

    const PROSE: &str = "<p>Quills are made of feathers, and feathers come from geese; see Item 7 of this report. The company has sold them for a hundred years in many countries and hopes to go on.</p>";

    #[test]
    fn contents_references_and_running_heads_are_no_sections() {
        check(
            "10-K",
            &format!(
                "<table><tr><td>Item 1.</td><td>Business</td><td>3</td></tr><tr><td>Item 1A.</td><td>Risk Factors</td><td>9</td></tr><tr><td>Item 7.</td><td>Discussion and Analysis</td><td>12</td></tr></table>\
                 <p>Item 1. Business 3</p><p>Item 1A. Risk Factors 9</p><p>Item 2. Properties 11</p>\
                 <p><b>PART I</b></p><p><b>Item 1. Business</b></p>{PROSE}<p>Item 1. Business (continued)</p>{PROSE}\
                 <p><b>Item 1A. Risk Factors</b></p>{PROSE}<p>Item 1A of our annual report tells of risks.</p>{PROSE}\
                 <p><b>Item 2.</b></p><p><b>Properties</b></p>{PROSE}<p><b>SIGNATURES</b></p><p>Ada Quill</p>"
            ),
            &expect![[r#"
                Part I = PART I … s to go on./
                Part I > Item 1 = Item 1. Business … s to go on./
                Part I > Item 1A = Item 1A. Risk Factors … s to go on./
                Part I > Item 2 = Item 2. Properties … s to go on./
                Signatures = SIGNATURES … ES/Ada Quill"#]],
        );
    }

    #[test]
    fn headings_in_cells_combined_and_out_of_order() {
        check(
            "10-K",
            &format!(
                "<table><tr><td><b>Items 1 and 2.</b></td><td><b>Business and Properties</b></td></tr></table>{PROSE}\
                 <p><b>Item 1A. Risk Factors</b></p>{PROSE}\
                 <p><b>Item 3. Legal Proceedings</b></p>\
                 <p><b>Item 7. Management's Discussion and Analysis</b></p>{PROSE}\
                 <p><b>Item 6. Selected Financial Data</b></p>{PROSE}\
                 <p><b>Item 8. Financial Statements and Supplementary Data</b></p>{PROSE}"
            ),
            &expect![[r#"
                Part I = Part I … Proceedings/
                Part I > Item 1 = Items 1 and 2. Business and Properties … s to go on./
                Part I > Item 2 = Items 1 and 2. Business and Properties … s to go on./
                Part I > Item 1A = Item 1A. Risk Factors … s to go on./
                Part I > Item 3 = Item 3. Legal Proceedings … Proceedings/
                Part II = Part II … es to go on.
                Part II > Item 7 = Item 7. Management's Discussion and Analysis … s to go on./
                Part II > Item 6 = Item 6. Selected Financial Data … s to go on./
                Part II > Item 8 = Item 8. Financial Statements and Supplementary Data … es to go on.
                Item 3 holds nothing besides its heading
                Item 7 stands out of the form's order"#]],
        );
    }

    #[test]
    fn quarterly_items_are_told_apart_by_their_words() {
        check(
            "10-Q",
            &format!(
                "<p><b>Item 1. Financial Statements</b></p>{PROSE}<p><b>Item 2. Management’s Discussion and Analysis</b></p>{PROSE}\
                 <p><b>PART I I. OTHER INFORMATION</b></p><p><b>Item 1. Legal Proceeding s</b></p>{PROSE}\
                 <p><b>Item 2. Unregistered Sales of Equity Securities</b></p>{PROSE}<p><b>Item 6. Exhibits</b></p>{PROSE}"
            ),
            &expect![[r#"
                Part I = Part I … s to go on./
                Part I > Part I Item 1 = Item 1. Financial Statements … s to go on./
                Part I > Part I Item 2 = Item 2. Management’s Discussion and Analysis … s to go on./
                Part II = PART I I. OTHER INFORMATION … es to go on.
                Part II > Part II Item 1 = Item 1. Legal Proceeding s … s to go on./
                Part II > Part II Item 2 = Item 2. Unregistered Sales of Equity Securities … s to go on./
                Part II > Part II Item 6 = Item 6. Exhibits … es to go on."#]],
        );
    }

    #[test]
    fn current_reports_keep_their_own_order() {
        check(
            "8-K",
            &format!(
                "<p>Item 2.02 and Item 9.01 below</p><p><b>Item 2.02 Results of Operations and Financial Condition.</b></p>{PROSE}\
                 <p><b>Item 9.01. Financial Statements and Exhibits</b></p>{PROSE}<p><b>SIGNATURE</b></p><p>Ada</p>"
            ),
            &expect![[r#"
                Item 2.02 = Item 2.02 Results of Operations and Financial Condition. … s to go on./
                Item 9.01 = Item 9.01. Financial Statements and Exhibits … s to go on./
                Signatures = SIGNATURE … IGNATURE/Ada"#]],
        );
    }
}
