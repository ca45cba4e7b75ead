//! Does a stretch of a filing show a primary financial statement?
//!
//! A statement is told by three signs together: its title near the top, the row labels that every
//! such statement has, and mostly numbers. Titles are compared without spaces and case, because
//! PDF text breaks words (`BALANCE SHEE T`) and headings are set in capitals.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// The primary statements an answer may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statement {
    /// Balance sheet, statement of financial position.
    BalanceSheet,
    /// Income statement, statement of operations or earnings, profit and loss.
    Income,
    /// Statement of cash flows.
    CashFlow,
}

impl Statement {
    /// All three.
    pub const ALL: [Statement; 3] = [
        Statement::BalanceSheet,
        Statement::Income,
        Statement::CashFlow,
    ];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Statement::BalanceSheet => "balance sheet",
            Statement::Income => "income statement",
            Statement::CashFlow => "cash flow statement",
        }
    }

    /// Labels of its rows, punctuation removed.
    fn labels(self) -> &'static [&'static str] {
        match self {
            Statement::BalanceSheet => &[
                "total assets",
                "total current assets",
                "total current liabilities",
                "total liabilities",
                "cash and cash equivalents",
                "accounts payable",
                "retained earnings",
                "goodwill",
                "total liabilities and",
                "inventories",
                "property plant and equipment",
                "stockholders equity",
                "shareholders equity",
                "shareowners equity",
                "accumulated other comprehensive",
                "treasury stock",
                "additional paid-in capital",
                "long-term debt",
                "accrued liabilities",
            ],
            Statement::Income => &[
                "net income",
                "net earnings",
                "cost of",
                "operating income",
                "operating expenses",
                "income taxes",
                "per share",
                "basic",
                "diluted",
                "net sales",
                "total revenue",
                "revenues",
                "gross profit",
                "gross margin",
                "interest expense",
                "selling general and administrative",
                "weighted average",
                "provision for",
                "costs and expenses",
            ],
            Statement::CashFlow => &[
                "operating activities",
                "investing activities",
                "financing activities",
                "depreciation",
                "capital expenditures",
                "purchases of property",
                "dividends paid",
                "net increase",
                "net decrease",
                "beginning of",
                "end of",
                "repurchase",
                "proceeds from",
                "deferred income taxes",
                "stock-based compensation",
                "share-based compensation",
                "accounts receivable",
                "inventories",
            ],
        }
    }

    /// How many labels make it certain.
    fn enough(self) -> f32 {
        match self {
            Statement::CashFlow => 7.0,
            _ => 8.0,
        }
    }

    fn title(self) -> &'static Regex {
        static TITLES: LazyLock<[Regex; 3]> = LazyLock::new(|| {
            [
                r"balancesheet|statements?of(?:consolidated)?financial(?:position|condition)",
                r"statements?of(?:consolidated)?(?:net)?\(?(?:income|operations|earnings|loss)|incomestatement|consolidated(?:resultsofoperations|income|earnings)",
                r"statements?of(?:consolidated)?cashflow|cashflowsstatement|consolidatedcashflow",
            ]
            .map(|pattern| Regex::new(pattern).expect("patterns are constants, compiled in a test"))
        });
        &TITLES[self as usize]
    }
}

/// Numbers per word at which a page counts as full of numbers.
const FULL_DENSITY: f32 = 0.25;
/// How much of the top is read for a title, in characters of normalised text.
const TITLE_CHARS: usize = 420;
/// What a page without the title may reach at most: a page of a long statement goes on without it.
const UNTITLED: f32 = 0.35;

/// Headings under which tables look like statements and are none.
static NOT_STATEMENTS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"notesto(?:the)?(?:consolidated)?financial|management.?sdiscussion|reportofindependent|schedulei(?:condensed|parent)|criticalaudit|selectedfinancialdata",
    )
    .expect("the pattern is constant, compiled in a test")
});

/// How much `text` looks like each of the three statements, 0 to 1.
///
/// `normalised` is the text in lower case with single spaces; `density` the share of numbers among
/// its words.
pub(crate) fn likeness(normalised: &str, density: f32) -> [f32; 3] {
    let top: String = normalised
        .chars()
        .take(TITLE_CHARS)
        .filter(|c| c.is_ascii_lowercase() || matches!(c, '(' | ')'))
        .collect();
    let plain: String = normalised
        .chars()
        .filter(|c| !matches!(c, ',' | '\'' | '(' | ')'))
        .collect();
    let numbers = (density / FULL_DENSITY).min(1.0);
    let damping = if is_other(&top) { 0.5 } else { 1.0 };
    Statement::ALL.map(|statement| {
        let labels = statement
            .labels()
            .iter()
            .filter(|label| plain.contains(**label))
            .count() as f32;
        let title = if statement.title().is_match(&top) {
            1.0
        } else {
            UNTITLED
        };
        numbers * (labels / statement.enough()).min(1.0) * title * damping
    })
}

/// Whether the top names another part of a filing. `see accompanying notes to the consolidated
/// financial statements` is the footer of a true statement.
fn is_other(top: &str) -> bool {
    let head = &top[..top.len().min(160)];
    NOT_STATEMENTS.find_iter(head).any(|found| {
        let before = &head[..found.start()];
        !(found.as_str().starts_with("notes")
            && ["see", "accompanying", "the"]
                .iter()
                .any(|word| before.ends_with(word)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BALANCE: &str = "acme inc. consolidated balance shee t (in millions) 2022 2021 assets \
        current assets cash and cash equivalents 1 2 inventories 3 4 total current assets 5 6 goodwill 7 8 \
        total assets 9 10 liabilities accounts payable 11 12 total current liabilities 13 14 long-term debt 15 16 \
        retained earnings 17 18 total liabilities 19 20 total liabilities and equity 21 22";

    #[test]
    fn knows_a_balance_sheet_with_a_broken_title() {
        let [balance, income, cash] = likeness(BALANCE, 0.4);
        assert!(balance > 0.95, "{balance}");
        assert!(income < 0.2 && cash < 0.2, "{income} {cash}");
    }

    #[test]
    fn a_note_or_prose_is_no_statement() {
        let note = format!("notes to consolidated financial statements {BALANCE}");
        assert!(likeness(&note, 0.4)[0] < 0.6);
        assert!(likeness(BALANCE, 0.02)[0] < 0.1);
        let footer =
            format!("see accompanying notes to consolidated financial statements {BALANCE}");
        assert!(likeness(&footer, 0.4)[0] > 0.95);
        assert_eq!(likeness("", 0.0), [0.0; 3]);
    }
}
