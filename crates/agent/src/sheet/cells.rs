//! One line of a table parted into its label and its figures.

use super::Cell;
use crate::number::{NumberInText, numbers_in};

/// Parts a line into its label and the figures at its end. No figures: the line is no row.
pub(super) fn split_row(line: &str) -> (&str, Vec<Cell>) {
    let numbers = numbers_in(line);
    let mut cells: Vec<Cell> = Vec::new();
    let mut end = line.len();
    for number in numbers.into_iter().rev() {
        let gap = &line[number.span.end.min(end)..end];
        if !is_gap(gap) {
            break;
        }
        push_dashes(gap, &mut cells);
        let written = number.span.of(line).unwrap_or_default().trim().to_owned();
        end = number.span.start;
        cells.push(Cell {
            number: Some(number),
            written,
            column: None,
        });
    }
    // Dashes may also stand left of the first number.
    let trimmed = line[..end].trim_end_matches(is_filler);
    push_dashes(&line[trimmed.len()..end], &mut cells);
    cells.reverse();
    let label = trimmed.trim_matches(|c: char| c.is_whitespace() || c == '|');
    let has_number = cells.iter().any(|cell| cell.number.is_some());
    let year_only = cells.len() == 1 && cells[0].number.as_ref().is_some_and(NumberInText::is_year);
    if !has_number || year_only {
        (line, Vec::new())
    } else {
        (label, cells)
    }
}

fn is_filler(c: char) -> bool {
    c.is_whitespace() || matches!(c, '$' | '|' | '—' | '–' | '-' | '.' | '(' | '€' | '£')
}

pub(super) fn is_gap(gap: &str) -> bool {
    let marks = gap.trim();
    marks
        .chars()
        .all(|c| is_filler(c) || matches!(c, '%' | ')' | '*' | '†' | ']' | '[' | '’'))
        || matches!(marks, "pp" | "pts" | "x" | "NM" | "N/M")
}

pub(super) fn push_dashes(gap: &str, cells: &mut Vec<Cell>) {
    let dashes = gap.chars().filter(|c| matches!(c, '—' | '–')).count()
        + gap.split_whitespace().filter(|word| *word == "-").count();
    for _ in 0..dashes {
        cells.push(Cell {
            number: None,
            written: "—".to_owned(),
            column: None,
        });
    }
}
