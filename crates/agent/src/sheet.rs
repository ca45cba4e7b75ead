//! Tables read back into rows: label, figures, the period of each column, the scale stated above.
//!
//! Works on normalised filing text, whether a table came from HTML (` | ` between cells) or as the
//! lines of a page. What cannot be told (a column without a period) stays untold. Must not know
//! questions or models.

use std::sync::LazyLock;

use footnote_filings::{DocType, FilingMeta, FiscalPeriod, PassageId, Span};
use regex::Regex;

use crate::calc::StatementKind;
use crate::number::{NumberInText, Scale, numbers_in, stated_scale};

/// A line longer than this is prose, whatever it looks like.
const MAX_ROW: usize = 1_000;

/// A piece of a filing's text, where it stands, and what is known around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// The filing.
    pub meta: FilingMeta,
    /// The sections around it.
    pub section_path: Vec<String>,
    /// The page, for page corpora.
    pub page: Option<u32>,
    /// The passage it is, where it is no more than one.
    pub passage: Option<PassageId>,
    /// Lines repeated from above, not part of the text.
    pub lead: String,
    /// `filing.text[start..start + text.len()]`.
    pub text: String,
    /// Where it starts in the filing's text.
    pub start: usize,
}

/// The period of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The calendar year written at its head.
    pub year: u16,
    /// How many months it covers, where that is written.
    pub months: Option<u8>,
}

/// One figure of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The number; none for a dash, which means nil.
    pub number: Option<NumberInText>,
    /// The number as written.
    pub written: String,
    /// Its column, where the head could be matched.
    pub column: Option<Column>,
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What stands before the figures, with the line above where it was broken.
    pub label: String,
    /// The last line without figures above it that ends with a colon or heads a group.
    pub group: String,
    /// Its figures, left to right.
    pub cells: Vec<Cell>,
    /// The line (or two) in the filing's text.
    pub span: Span,
    /// The words there.
    pub quote: String,
    /// The statement it belongs to, as the title above says.
    pub kind: Option<StatementKind>,
    /// The scale stated above.
    pub scale: Option<Scale>,
    /// The latest year of its table's heads.
    pub latest_year: Option<u16>,
    /// Index of the region.
    pub region: usize,
}

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

/// Reads the rows of a region.
pub fn rows(region: &Region, index: usize) -> Vec<Row> {
    let mut reader = Reader::default();
    for line in region.lead.lines() {
        reader.line(line, None, index);
    }
    let mut at = region.start;
    for line in region.text.split_inclusive('\n') {
        let shown = line.trim_end();
        let start = at + (shown.len() - shown.trim_start().len());
        reader.line(shown.trim_start(), Some(start), index);
        at += line.len();
    }
    let mut rows = reader.rows;
    name_subtotals(&mut rows);
    rows
}

#[derive(Default)]
struct Reader {
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
    rows: Vec<Row>,
}

impl Reader {
    fn line(&mut self, line: &str, start: Option<usize>, region: usize) {
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

/// Parts a line into its label and the figures at its end. No figures: the line is no row.
fn split_row(line: &str) -> (&str, Vec<Cell>) {
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

fn is_gap(gap: &str) -> bool {
    let marks = gap.trim();
    marks
        .chars()
        .all(|c| is_filler(c) || matches!(c, '%' | ')' | '*' | '†' | ']' | '[' | '’'))
        || matches!(marks, "pp" | "pts" | "x" | "NM" | "N/M")
}

fn push_dashes(gap: &str, cells: &mut Vec<Cell>) {
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

/// Marks a label that the filing does not print.
pub const UNLABELLED: &str = "unlabelled";

/// Subtotals without a label get one where the sums tell what they are: the total of the rows since
/// their heading, or gross profit (revenue less the costs on the row above).
fn name_subtotals(rows: &mut [Row]) {
    let value = |row: &Row| {
        let cell = row.cells.first()?;
        cell.number.as_ref().map(|n| n.value)
    };
    for i in 1..rows.len() {
        let (before, after) = rows.split_at_mut(i);
        let row = &mut after[0];
        let Some(own) = value(row) else {
            continue;
        };
        if !row.label.is_empty() || row.cells[0].column.is_none() {
            continue;
        }
        let group: Vec<&Row> = before
            .iter()
            .rev()
            .take_while(|r| r.group == row.group && !r.label.is_empty())
            .collect();
        let total: rust_decimal::Decimal = group.iter().filter_map(|r| value(r)).sum();
        if group.len() > 1 && total == own && !row.group.is_empty() {
            row.label = format!("Total {} ({UNLABELLED})", row.group.to_lowercase());
            continue;
        }
        let Some(costs) = before
            .last()
            .filter(|r| r.label.to_lowercase().contains("cost"))
            .and_then(value)
        else {
            continue;
        };
        let sells = |r: &&Row| {
            let label = r.label.to_lowercase();
            label.contains("revenue") || label.contains("sales")
        };
        if before
            .iter()
            .filter(sells)
            .any(|r| value(r).is_some_and(|v| v - costs.abs() == own))
        {
            row.label = format!("Gross profit ({UNLABELLED})");
        }
    }
}

impl Row {
    /// Sets the quote from the region's text.
    pub fn quoted(mut self, region: &Region) -> Row {
        let at = Span::new(self.span.start - region.start, self.span.end - region.start);
        self.quote = at.of(&region.text).unwrap_or_default().to_owned();
        self
    }

    /// The figure of a fiscal period: by year and months of the column, in the filing's own
    /// calendar (a fiscal year may end in the next calendar year's first months).
    pub fn cell_at(&self, period: FiscalPeriod, meta: &FilingMeta) -> Option<&Cell> {
        let own = meta.fiscal_period;
        let late = match (own, self.latest_year) {
            (Some(own), Some(latest)) if latest == own.year + 1 => 1,
            _ => 0,
        };
        let yearly = meta.doc_type == Some(DocType::TenK);
        self.cells.iter().find(|cell| {
            let Some(column) = cell.column else {
                return false;
            };
            if column.year != period.year + late {
                return false;
            }
            match (period.quarter, column.months) {
                (None, Some(months)) => months == 12,
                (None, None) => yearly || (own.is_none_or(|p| p.quarter.is_none_or(|q| q == 4))),
                (Some(quarter), Some(months)) => {
                    months == 3 && own.is_some_and(|p| p.quarter == Some(quarter))
                }
                (Some(_), None) => !yearly && own == Some(period),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use footnote_filings::{Accession, Form};
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn region(text: &str) -> Region {
        let accession: Accession = "TEST_2023_10K".parse().unwrap();
        Region {
            meta: FilingMeta {
                accession: accession.clone(),
                company: Some("Test".into()),
                ticker: None,
                cik: None,
                form: Form::new("10-K"),
                doc_type: Some(DocType::TenK),
                fiscal_period: Some(FiscalPeriod::year(2023)),
                period_end: None,
                filed: None,
                source: String::new(),
                sha256: String::new(),
            },
            section_path: Vec::new(),
            page: None,
            passage: None,
            lead: String::new(),
            text: text.to_owned(),
            start: 0,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Expect) {
        let region = region(text);
        let shown: Vec<String> = rows(&region, 0)
            .into_iter()
            .map(|row| {
                let cells: Vec<String> = row
                    .cells
                    .iter()
                    .map(|c| match c.column {
                        Some(column) => format!(
                            "{}{}={}",
                            column.year,
                            column.months.map_or(String::new(), |m| format!("/{m}")),
                            c.written
                        ),
                        None => format!("?={}", c.written),
                    })
                    .collect();
                format!("{} [{}] {}", row.label, row.group, cells.join(", "))
            })
            .collect();
        expected.assert_eq(&shown.join("\n"));
    }

    #[test]
    fn reads_page_text() {
        check(
            "Acme plc\nConsolidated Balance Sheets\n($ in millions, except share data)\nAs of June 30, 2023 2022\nAssets\nCurrent assets:\nCash and cash equivalents $ 689 $ 775\nTrade receivables, net of allowance of $21 and $25, respectively 1,875 1,935\nInventories, net\nRaw materials 992 1,114\nAssets held for sale, net — 192\nTotal current assets 5,308 5,853",
            expect![[r#"
                Cash and cash equivalents [Current assets] 2023=$ 689, 2022=$ 775
                Trade receivables, net of allowance of $21 and $25, respectively [Current assets] 2023=1,875, 2022=1,935
                Raw materials [Inventories, net] 2023=992, 2022=1,114
                Assets held for sale, net [Inventories, net] 2023=—, 2022=192
                Total current assets [Inventories, net] 2023=5,308, 2022=5,853"#]],
        );
        check(
            "CONSOLIDATED STATEMENTS OF INCOME\nYear Ended December 31, 2017 2016 2015\n(In millions except per share data)\nNET INCOME ATTRIBUTABLE TO SHAREOWNERS OF\nTHE ACME COMPANY $ 1,248 $ 6,527 $ 7,351\nBASIC NET INCOME PER SHARE $ 0.29 3 $ 1.51 $ 1.69",
            expect![[r#"
                NET INCOME ATTRIBUTABLE TO SHAREOWNERS OF THE ACME COMPANY [NET INCOME ATTRIBUTABLE TO SHAREOWNERS OF] 2017/12=$ 1,248, 2016/12=$ 6,527, 2015/12=$ 7,351
                BASIC NET INCOME PER SHARE [NET INCOME ATTRIBUTABLE TO SHAREOWNERS OF] 2017/12=$ 0.29, 2016/12=$ 1.51, 2015/12=$ 1.69"#]],
        );
        check(
            "CONSOLIDATED BALANCE SHEETS\n(In thousands, except par value)\nDecember 1,\n2017\nDecember 2,\n2016\nASSETS\nCash $ 2,306,072 $ 1,011,315",
            expect!["Cash [ASSETS] 2017=$ 2,306,072, 2016=$ 1,011,315"],
        );
        check(
            "Three months ended June 30, Six months ended June 30,\n2023 2022 2023 2022\nNet revenue $ 10 $ 9 $ 19 $ 17\n2024 1,097 862",
            expect![[r#"
                Net revenue [] 2023/3=$ 10, 2022/3=$ 9, 2023/6=$ 19, 2022/6=$ 17
                 [] ?=2024, ?=1,097, ?=862"#]],
        );
    }

    #[test]
    fn reads_pages_that_lost_line_ends() {
        check(
            "Statements of Cash Flows\n(Dollars\nin\nmillions)\nFor the Years Ended December 31, 2021 2020 2019 OPERATING ACTIVITIES Net income $ 1,263 $ 709 $ 621 Adjustments:\nDepreciation 636 604 582 Deferred taxes (230) — 208 Other, net (23) (20) (41)\nTotal 1,646 1,293 770",
            expect![[r#"
                OPERATING ACTIVITIES Net income [millions)] 2021/12=$ 1,263, 2020/12=$ 709, 2019/12=$ 621
                Depreciation [millions)] 2021/12=636, 2020/12=604, 2019/12=582
                Deferred taxes [millions)] 2021/12=(230), 2020/12=—, 2019/12=208
                Other, net [millions)] 2021/12=(23), 2020/12=(20), 2019/12=(41)
                Total [millions)] 2021/12=1,646, 2020/12=1,293, 2019/12=770"#]],
        );
        check(
            "STATEMENTS OF OPERATIONS\n2020 2019\nRevenues\nCasino $ 2,871 $ 6,517\nRooms 830 2,322\n3,701 8,839\nExpenses\nCasino 1,701 3,623",
            expect![[r#"
                Casino [Revenues] 2020=$ 2,871, 2019=$ 6,517
                Rooms [Revenues] 2020=830, 2019=2,322
                Total revenues (unlabelled) [Revenues] 2020=3,701, 2019=8,839
                Casino [Expenses] 2020=1,701, 2019=3,623"#]],
        );
    }

    #[test]
    fn reads_tables_of_html() {
        check(
            "Years ended December 31, | 2022 | 2021 | Change\nSales of products | $ | 55,893 | $ | 51,386 | 8.8 | %\nTotal revenues | 66,608 | 62,286\nTotal costs | (63,106) | (59,269)\n | 3,502 | 3,017",
            expect![[r#"
                Sales of products [] 2022/12=55,893, 2021/12=51,386, ?=8.8
                Total revenues [] 2022/12=66,608, 2021/12=62,286
                Total costs [] 2022/12=(63,106), 2021/12=(59,269)
                Gross profit (unlabelled) [] 2022/12=3,502, 2021/12=3,017"#]],
        );
    }

    #[test]
    fn figures_are_found_by_fiscal_period() {
        let text = "Consolidated statements of operations\nFiscal year ended\nJanuary 28, 2024 January 29, 2023\nNet sales 120 100";
        let region = region(text);
        let row = rows(&region, 0).remove(0).quoted(&region);
        let at = |period: &str| {
            let cell = row.cell_at(period.parse().unwrap(), &region.meta);
            cell.map(|c| c.written.as_str())
        };
        assert_eq!(at("FY2023"), Some("120"));
        assert_eq!(at("FY2022"), Some("100"));
        assert_eq!(at("FY2024"), None);
        assert_eq!(at("2023Q1"), None);
        assert_eq!(row.quote, "Net sales 120 100");
    }

    proptest! {
        #[test]
        fn spans_hold_the_quotes(text in "([A-Za-z ,]{0,20}[0-9,.()$—| ]{0,20}\n?){0,8}") {
            let region = region(&text);
            for row in rows(&region, 0) {
                let span = row.span;
                let row = row.quoted(&region);
                prop_assert_eq!(span.of(&text), Some(row.quote.as_str()));
            }
        }
    }
}
