//! Line by line through a region: titles, captions, column heads, rows, and labels broken over lines.

use std::sync::LazyLock;

use footnote_filings::Span;
use regex::Regex;

use super::cells::{is_gap, push_dashes, split_row};
use super::{Cell, Column, Row};
use crate::calc::StatementKind;
use crate::number::{Scale, numbers_in, stated_scale};

/// A line longer than this is prose, whatever it looks like.
const MAX_ROW: usize = 1_000;

static YEAR: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:FY\s?)?((?:19|20)\d\d)\b").expect("a constant pattern"));

/// Words that stand in a column head beside years.
static HEAD_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)\b(?:january|february|march|april|may|june|july|august|september|october|november|december
        |jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|three|six|nine|twelve|twenty-?six|thirteen|thirty-?nine|fifty-?(?:two|three)
        |months?|weeks?|quarters?|years?|ended|ending|ends|end|at|as|of|for|the|and|to|fiscal|fy|calendar
        |unaudited|audited|restated|as\s+adjusted|in|millions?|thousands?|billions?|dollars?|usd|amounts?|except|per|share|shares?|data|par|value|note|notes|first|second|third|fourth|q[1-4]|\d{1,2})\b|[\s|,.():$—–*/&-]|\b\d{1,2}\b",
    )
    .expect("a constant pattern")
});

static MONTHS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)\b(?:(three|six|nine|twelve|3|6|9|12) months|(thirteen|13|twenty-?six|26|thirty-?nine|39|fifty-?(?:two|three)|52|53|12|24|36) weeks|(fiscal )?(years?)\b|(quarter))\b",
    )
    .expect("a constant pattern")
});

static CHANGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\bchange|variance|\bincrease|\bdecrease|\bvs\.?|\bfav|%")
        .expect("a constant pattern")
});

/// What is known at a line from the lines above it.
#[derive(Default)]
pub(super) struct Reader {
    columns: Vec<Column>,
    /// Months of the column groups, left to right.
    months: Vec<u8>,
    /// Whether the heads are still being read.
    heading: bool,
    has_change: bool,
    kind: Option<StatementKind>,
    scale: Option<Scale>,
    group: String,
    /// Lines without figures since the last row: a caption may be broken over several.
    caption: String,
    /// The line before, if it had no figures: a label may start there.
    open: Option<(String, usize)>,
    pub(super) rows: Vec<Row>,
}

impl Reader {
    /// Reads one line; lines without a place are repeated from above and give no rows.
    pub(super) fn line(&mut self, line: &str, start: Option<usize>, region: usize) {
        if line.is_empty() {
            return;
        }
        if line.len() > MAX_ROW {
            self.open = None;
            return;
        }
        if line.len() < 200 {
            if let Some(kind) = title_kind(line) {
                self.kind = Some(kind);
                self.columns.clear();
                self.months.clear();
                self.scale = stated_scale(line).or(self.scale);
                self.group.clear();
            }
            if self.caption.len() < 400 {
                self.caption.push_str(line);
                self.caption.push(' ');
            }
            if let Some(scale) = stated_scale(line).or_else(|| stated_scale(&self.caption)) {
                self.scale = Some(scale);
            }
        }
        if let Some(rest) = self.head(line) {
            self.open = None;
            if !rest.trim().is_empty() {
                let at = line.len() - rest.trim_start().len();
                self.body(&line[at..], start.map(|start| start + at), region);
            }
            return;
        }
        self.body(line, start, region);
    }

    /// A line that is no column head: rows, or words.
    fn body(&mut self, line: &str, start: Option<usize>, region: usize) {
        let several = self.several(line);
        let parted = several.len() > 1
            || several
                .first()
                .is_some_and(|(_, to)| *to < line.trim_end().len());
        if parted {
            for (from, to) in several {
                self.row(&line[from..to], start.map(|start| start + from), region);
            }
        } else {
            self.row(line, start, region);
        }
    }

    /// Where a line holds several rows (pages lose line ends), the ranges of each; every one has as
    /// many figures as there are columns.
    fn several(&self, line: &str) -> Vec<(usize, usize)> {
        let columns = self.columns.len();
        if columns < 2 {
            return Vec::new();
        }
        let numbers = numbers_in(line);
        let mut ranges = Vec::new();
        let (mut from, mut count, mut last) = (0, 0, 0);
        for (at, number) in numbers.iter().enumerate() {
            let mut dashes = Vec::new();
            let gap = &line[last..number.span.start];
            if is_gap(gap) && count > 0 {
                push_dashes(gap, &mut dashes);
                count += dashes.len() + 1;
            } else {
                count = 1;
            }
            last = number.span.end;
            let next = numbers.get(at + 1).map_or(line.len(), |n| n.span.start);
            let tail = &line[last..next];
            let words = tail.chars().filter(|c| c.is_alphabetic()).count();
            if count == columns && words >= 4 {
                ranges.push((from, last));
                from = last + (tail.len() - tail.trim_start_matches([' ', ')', '|']).len());
                count = 0;
            }
        }
        if !ranges.is_empty() && count == columns {
            ranges.push((from, line.len()));
        }
        ranges
    }

    fn row(&mut self, line: &str, start: Option<usize>, region: usize) {
        let (label, cells) = split_row(line);
        if cells.is_empty() {
            let bare = line.trim_matches(|c: char| c == '|' || c.is_whitespace());
            if bare.ends_with(':') || !bare.chars().any(|c| c.is_ascii_digit()) {
                self.group = bare.trim_end_matches(':').to_owned();
            }
            let broken = !bare.ends_with([':', '.']) && bare.len() < 160;
            self.open = start.filter(|_| broken).map(|at| (bare.to_owned(), at));
            return;
        }
        self.heading = false;
        self.caption.clear();
        let Some(start) = start else {
            return;
        };
        let (label, from) = match self.open.take() {
            // A label that starts small, or with a link word left open above, goes on from there.
            Some((above, at)) if goes_on(&above, label) => (format!("{above} {label}"), at),
            _ => (label.to_owned(), start),
        };
        let end = start + line.len();
        let cells = self.align(cells);
        self.rows.push(Row {
            label,
            group: self.group.clone(),
            cells,
            span: Span::new(from, end),
            quote: String::new(),
            kind: self.kind,
            scale: self.scale,
            latest_year: self.columns.iter().map(|c| c.year).max(),
            region,
        });
    }

    /// Takes a line as (part of) the column heads, if it is, and gives what follows them.
    fn head<'l>(&mut self, line: &'l str) -> Option<&'l str> {
        let last_year = YEAR.find_iter(line).last();
        let front = &line[..last_year.map_or(line.len(), |m| m.end())];
        let rest = &line[front.len()..];
        let without_years = YEAR.replace_all(front, " ");
        let other: String = HEAD_WORDS.replace_all(&without_years, "").into_owned();
        let months: Vec<u8> = MONTHS
            .captures_iter(line)
            .filter_map(|c| month_count(&c))
            .collect();
        let few = other.chars().filter(|c| c.is_alphabetic()).count() <= 2
            || CHANGE.is_match(&without_years) && other.len() < 30;
        if !few || (last_year.is_none() && months.is_empty()) {
            return None;
        }
        let years: Vec<u16> = YEAR
            .captures_iter(front)
            .filter_map(|c| c[1].parse().ok())
            .collect();
        let goes_on = rest.chars().any(|c| c.is_ascii_digit()) && !CHANGE.is_match(rest);
        if goes_on && years.len() < 2 {
            return None;
        }
        // A row such as `2024 1,097 862` of a maturity table is no head.
        let figures = numbers_in(&without_years)
            .iter()
            .any(|n| !n.bare || n.value.abs() > rust_decimal::Decimal::from(31));
        if figures {
            return None;
        }
        if !self.heading {
            self.heading = true;
            self.columns.clear();
            self.months.clear();
            self.has_change = false;
        }
        self.has_change |= CHANGE.is_match(line);
        if !months.is_empty() && self.columns.is_empty() {
            self.months.extend(&months);
        } else if !months.is_empty() {
            self.months = months;
        }
        let seen: Vec<u16> = self.columns.iter().map(|c| c.year).collect();
        if seen == years {
            self.columns.clear();
        }
        self.columns
            .extend(years.iter().map(|&year| Column { year, months: None }));
        let columns = self.columns.len();
        let groups = self.months.len();
        if groups > 0 && columns > 0 {
            let each = columns.div_ceil(groups);
            for (i, column) in self.columns.iter_mut().enumerate() {
                column.months = self.months.get(i / each.max(1)).copied();
            }
        }
        Some(if goes_on { rest } else { "" })
    }

    /// Gives each cell its column, if cells and heads can be matched.
    fn align(&self, mut cells: Vec<Cell>) -> Vec<Cell> {
        let columns = self.columns.len();
        if columns == 0 {
            return cells;
        }
        if cells.len() > columns && !self.has_change {
            // Numbers of notes and marks of footnotes among the figures.
            let mut extra = cells.len() - columns;
            let small = |cell: &Cell| {
                cell.number
                    .as_ref()
                    .is_some_and(|n| n.bare && n.value < rust_decimal::Decimal::from(60))
            };
            let any_large = cells.iter().any(|cell| !small(cell));
            while extra > 0 && any_large {
                let Some(at) = cells.iter().position(small) else {
                    break;
                };
                cells.remove(at);
                extra -= 1;
            }
        }
        let fits = cells.len() == columns || (self.has_change && cells.len() > columns);
        if fits {
            for (cell, column) in cells.iter_mut().zip(&self.columns) {
                cell.column = Some(*column);
            }
        }
        cells
    }
}

fn month_count(found: &regex::Captures<'_>) -> Option<u8> {
    let word = found
        .iter()
        .skip(1)
        .flatten()
        .next()?
        .as_str()
        .to_ascii_lowercase();
    Some(match word.as_str() {
        "three" | "3" | "thirteen" | "13" | "12" if found.get(2).is_some() || word != "12" => 3,
        "quarter" => 3,
        "six" | "6" | "twenty-six" | "twentysix" | "26" | "24" => 6,
        "nine" | "9" | "thirty-nine" | "thirtynine" | "39" | "36" => 9,
        _ => 12,
    })
}

/// Whether the label continues the line above.
fn goes_on(above: &str, label: &str) -> bool {
    let first = label.chars().next();
    let open_end = [
        "of", "and", "to", "in", "by", "from", "for", "the", "on", "or", "net of", ",",
    ]
    .iter()
    .any(|end| above.to_lowercase().ends_with(end));
    label.is_empty() || open_end || first.is_some_and(char::is_lowercase)
}

/// The statement that a short line is the title of.
fn title_kind(line: &str) -> Option<StatementKind> {
    let lower = line.to_lowercase();
    let words = lower.split_whitespace().count();
    if words > 16
        || lower.contains("see ")
        || lower.contains("accompanying")
        || lower.contains("note")
    {
        return None;
    }
    let has = |text: &str| lower.contains(text);
    let statement = has("statement");
    if has("balance sheet")
        || (statement && (has("financial position") || has("financial condition")))
    {
        Some(StatementKind::Balance)
    } else if statement && has("cash flow") {
        Some(StatementKind::CashFlow)
    } else if statement
        && (has("income") || has("operations") || has("earnings") || has("profit"))
        && !(has("comprehensive") && !has("and comprehensive") && !has("operations"))
    {
        Some(StatementKind::Income)
    } else if statement
        && (has("equity") || has("comprehensive") || has("shareholders") || has("capital"))
    {
        Some(StatementKind::Any)
    } else {
        None
    }
}
