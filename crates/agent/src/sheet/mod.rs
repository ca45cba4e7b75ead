//! Tables read back into rows: label, figures, the period of each column, the scale stated above.
//!
//! Works on normalised filing text, whether a table came from HTML (` | ` between cells) or as the
//! lines of a page. What cannot be told (a column without a period) stays untold. Must not know
//! questions or models.

mod cells;
mod reader;
mod subtotals;

use footnote_filings::{DocType, FilingMeta, FiscalPeriod, PassageId, Span};

use crate::calc::StatementKind;
use crate::number::{NumberInText, Scale};
use reader::Reader;
pub use subtotals::UNLABELLED;

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
    subtotals::name_subtotals(&mut rows);
    rows
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
