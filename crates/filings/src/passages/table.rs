//! Cuts a table between rows and repeats its head above every part but the first.

use super::page::measured_lines;
use super::{Draft, cut};
use crate::tokens::{self, PASSAGE_TOKENS};
use crate::types::{PassageKind, Span};

/// Most tokens of caption and column heads that are repeated.
const LEAD_TOKENS: usize = 160;
/// A head of more rows than this is no head.
const HEAD_ROWS: usize = 5;

/// The parts of the table at `table`; `caption` is what stands before it (title, units) and belongs to
/// the first part.
pub(super) fn drafts(text: &str, caption: Option<Span>, table: Span) -> Vec<Draft> {
    let whole = Span::new(caption.map_or(table.start, |c| c.start), table.end);
    let (mut rows, mut exact) = measured_lines(text, table);
    if let Some(caption) = caption {
        let (lines, caption_exact) = measured_lines(text, Span::new(caption.start, table.start));
        exact &= caption_exact;
        rows.splice(0..0, lines);
    }
    let draft = |span, lead, exact| Draft {
        span,
        kind: PassageKind::Table,
        page: None,
        lead,
        exact,
    };
    let total: usize = rows.iter().map(|(_, tokens)| tokens).sum();
    if total <= PASSAGE_TOKENS {
        return vec![draft(whole, String::new(), exact)];
    }
    let lead = lead(text, caption, table);
    let limit = PASSAGE_TOKENS - (tokens::count(&lead) + 1);
    cut::balance(&rows, limit)
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

/// The last lines of the caption and the head rows, as many as fit.
fn lead(text: &str, caption: Option<Span>, table: Span) -> String {
    let caption_lines = caption
        .and_then(|span| span.of(text))
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim().is_empty());
    let head = head_rows(table.of(text).unwrap_or_default());
    let mut lines: Vec<&str> = caption_lines.chain(head).collect();
    let mut sizes: Vec<usize> = lines.iter().map(|line| tokens::count(line) + 1).collect();
    // The caption's first lines go first when there is too much: the column heads matter most.
    while sizes.iter().sum::<usize>() > LEAD_TOKENS {
        lines.remove(0);
        sizes.remove(0);
    }
    lines.join("\n")
}

/// The rows above the first row of data.
pub(super) fn head_rows(table: &str) -> Vec<&str> {
    let mut head = Vec::new();
    let mut saw_columns = false;
    for row in table.lines().take(HEAD_ROWS + 1) {
        let mut cells = row.split(" | ");
        let label = cells.next().unwrap_or_default().trim();
        let values: Vec<&str> = cells.map(str::trim).filter(|c| !c.is_empty()).collect();
        if values.is_empty() {
            if saw_columns {
                return head;
            }
            head.push(row);
            continue;
        }
        let is_data = !label.is_empty()
            && label.contains(char::is_alphabetic)
            && values.iter().any(|cell| is_figure(cell));
        if is_data {
            return head;
        }
        saw_columns = true;
        head.push(row);
    }
    // No row of data near the top: a table of words, whose first row may name its columns.
    head.truncate(1);
    head
}

/// A cell that holds a figure and not a year or a day.
fn is_figure(cell: &str) -> bool {
    let bare =
        cell.trim_matches(|c: char| matches!(c, '$' | '(' | ')' | '%' | ' ' | '€' | '£' | '-'));
    if bare.is_empty() {
        return matches!(cell, "$" | "-" | "%");
    }
    if bare.len() == 4
        && (bare.starts_with("19") || bare.starts_with("20"))
        && bare.bytes().all(|b| b.is_ascii_digit())
    {
        return false;
    }
    matches!(bare, "—" | "–")
        || (bare.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && bare
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, ',' | '.' | ' ' | '%' | ')')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_head_of_a_table() {
        for (table, rows) in [
            ("| 2023 | 2022\nNet sales | 1,200 | 1,100", 1),
            (
                "(In millions)\n | Year ended June 30,\n | 2023 | 2022\nRevenue: | \nProducts | $ | 5 | $ | 4",
                3,
            ),
            ("Name | Age | Position\nAda Quill | 61 | Chair", 1),
            ("Net sales | 1,200 | 1,100", 0),
            (
                "Name | Title\nAda | Chair\nBo | Chief\nCy | Clerk\nDi | Dean\nEd | Editor\nFi | Fellow",
                1,
            ),
        ] {
            assert_eq!(head_rows(table).len(), rows, "{table}");
        }
    }

    #[test]
    fn repeats_the_head_and_keeps_rows_whole() {
        let mut text = String::from("Sales by region\n(In millions)\n | 2023 | 2022");
        let table_start = text.find(" | 2023").unwrap();
        for row in 0..120 {
            text.push_str(&format!("\nRegion number {row} | 1,{row:03} | 9{row:02}"));
        }
        let table = Span::new(table_start, text.len());
        let parts = drafts(&text, Some(Span::new(0, table_start)), table);
        assert!(parts.len() > 2);
        for (index, part) in parts.iter().enumerate() {
            let body = part.span.of(&text).unwrap();
            assert!(tokens::count(&format!("{}\n{body}", part.lead)) <= PASSAGE_TOKENS);
            if index > 0 {
                assert_eq!(part.lead, "Sales by region\n(In millions)\n | 2023 | 2022");
                assert!(body.starts_with("Region number"), "{body}");
            }
        }
    }
}
