//! How a fact is asked for: names of what is measured, phrases of time, templates.
//!
//! The wording is varied on purpose: a ranker that only learnt one template has learnt nothing.

use footnote_filings::{Fact, FactPeriod, Filing};
use jiff::civil::Date;

use super::draws::Draws;
use crate::features::concept::concept_words;

/// What analysts say for frequent concepts (the part of a name behind its prefix).
const NAMES: &[(&str, &[&str])] = &[
    (
        "Revenues",
        &["total revenue", "revenues", "sales", "top-line revenue"],
    ),
    (
        "RevenueFromContractWithCustomerExcludingAssessedTax",
        &["revenue", "net sales", "net revenue", "sales"],
    ),
    ("CostOfRevenue", &["cost of revenue", "cost of sales"]),
    (
        "CostOfGoodsAndServicesSold",
        &["cost of sales", "COGS", "cost of goods sold"],
    ),
    ("GrossProfit", &["gross profit", "gross margin in dollars"]),
    (
        "OperatingIncomeLoss",
        &[
            "operating income",
            "operating profit",
            "income from operations",
        ],
    ),
    (
        "NetIncomeLoss",
        &["net income", "net earnings", "bottom-line profit"],
    ),
    (
        "ProfitLoss",
        &[
            "net income including noncontrolling interests",
            "profit for the period",
        ],
    ),
    (
        "EarningsPerShareBasic",
        &["basic earnings per share", "basic EPS"],
    ),
    (
        "EarningsPerShareDiluted",
        &["diluted earnings per share", "diluted EPS"],
    ),
    (
        "ResearchAndDevelopmentExpense",
        &["research and development expense", "R&D spending"],
    ),
    (
        "SellingGeneralAndAdministrativeExpense",
        &[
            "SG&A expense",
            "selling, general and administrative expense",
        ],
    ),
    (
        "IncomeTaxExpenseBenefit",
        &["income tax expense", "the provision for income taxes"],
    ),
    (
        "EffectiveIncomeTaxRateContinuingOperations",
        &["effective tax rate", "tax rate"],
    ),
    ("InterestExpense", &["interest expense", "interest cost"]),
    (
        "DepreciationDepletionAndAmortization",
        &["depreciation and amortization", "D&A"],
    ),
    (
        "ShareBasedCompensation",
        &[
            "stock-based compensation",
            "share-based compensation expense",
        ],
    ),
    (
        "NetCashProvidedByUsedInOperatingActivities",
        &[
            "cash flow from operations",
            "net cash from operating activities",
            "operating cash flow",
        ],
    ),
    (
        "NetCashProvidedByUsedInInvestingActivities",
        &["cash used in investing activities", "investing cash flow"],
    ),
    (
        "NetCashProvidedByUsedInFinancingActivities",
        &["cash used in financing activities", "financing cash flow"],
    ),
    (
        "PaymentsToAcquirePropertyPlantAndEquipment",
        &[
            "capital expenditures",
            "capex",
            "spending on property, plant and equipment",
        ],
    ),
    (
        "PaymentsForRepurchaseOfCommonStock",
        &["share repurchases", "stock buybacks"],
    ),
    ("PaymentsOfDividends", &["dividends paid", "cash dividends"]),
    (
        "PaymentsOfDividendsCommonStock",
        &["dividends paid on common stock", "cash dividends"],
    ),
    (
        "CommonStockDividendsPerShareDeclared",
        &["dividends declared per share", "dividend per share"],
    ),
    (
        "CashAndCashEquivalentsAtCarryingValue",
        &["cash and cash equivalents", "cash"],
    ),
    (
        "AccountsReceivableNetCurrent",
        &["accounts receivable", "net receivables"],
    ),
    ("InventoryNet", &["inventories", "inventory"]),
    ("AssetsCurrent", &["total current assets", "current assets"]),
    ("Assets", &["total assets", "assets"]),
    ("Goodwill", &["goodwill"]),
    (
        "AccountsPayableCurrent",
        &["accounts payable", "trade payables"],
    ),
    (
        "LiabilitiesCurrent",
        &["total current liabilities", "current liabilities"],
    ),
    ("Liabilities", &["total liabilities", "liabilities"]),
    (
        "LongTermDebtNoncurrent",
        &["long-term debt", "noncurrent debt"],
    ),
    ("LongTermDebt", &["long-term debt", "total debt"]),
    (
        "StockholdersEquity",
        &[
            "shareholders' equity",
            "stockholders' equity",
            "book equity",
        ],
    ),
    (
        "RetainedEarningsAccumulatedDeficit",
        &["retained earnings", "accumulated earnings"],
    ),
    (
        "PropertyPlantAndEquipmentNet",
        &["net property, plant and equipment", "net PP&E"],
    ),
    (
        "OperatingLeaseLiability",
        &["operating lease liabilities", "lease obligations"],
    ),
    (
        "WeightedAverageNumberOfDilutedSharesOutstanding",
        &["diluted weighted-average shares", "the diluted share count"],
    ),
];

/// A row label longer than this, in characters, is a sentence.
const LABEL_CHARS: usize = 80;

/// A phrase for what the fact measures, and where it was taken from.
pub(super) fn label(filing: &Filing, fact: &Fact, draws: &mut Draws) -> (String, &'static str) {
    let name = fact.concept.rsplit(':').next().unwrap_or_default();
    let known = NAMES.iter().find(|(concept, _)| *concept == name);
    let row = row_label(filing, fact);
    match (known, row) {
        (Some((_, names)), _) if draws.chance(60) => (draws.of(names).to_owned(), "analyst"),
        (_, Some(row)) if draws.chance(60) => (row, "row"),
        _ => (plain(name), "concept"),
    }
}

/// A concept's name as plain words: `NetIncomeLoss` as `net income loss`.
fn plain(name: &str) -> String {
    let words = concept_words(name);
    let dropped = [
        "noncurrent",
        "current",
        "net",
        "loss",
        "benefit",
        "carrying",
        "value",
        "at",
    ];
    let keep = |word: &&String| words.len() <= 3 || !dropped.contains(&word.as_str());
    let kept: Vec<&str> = words.iter().filter(keep).map(String::as_str).collect();
    kept.join(" ")
}

/// The first cell of the table row that the fact stands in.
fn row_label(filing: &Filing, fact: &Fact) -> Option<String> {
    let before = filing.text.get(..fact.span.start)?;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let (cell, _) = filing.text.get(start..)?.split_once(" | ")?;
    let fits = start + cell.len() <= fact.span.start && cell.chars().count() <= LABEL_CHARS;
    let letters = cell.chars().filter(|c| c.is_alphabetic()).count();
    let cell = cell.trim().trim_end_matches([':', '.']);
    (fits && letters >= 4 && letters * 2 > cell.len()).then(|| decapitalised(cell))
}

/// `Total assets` as `total assets`, `R&D expense` as it is.
fn decapitalised(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            let rest = &text[first.len_utf8()..];
            first.to_lowercase().chain(rest.chars()).collect()
        }
        _ => text.to_owned(),
    }
}

/// A phrase for the time a fact is about; none for a stretch that people have no word for.
pub(super) fn period(filing: &Filing, period: FactPeriod, draws: &mut Draws) -> Option<String> {
    let day = |date: Date| date.strftime("%B %-d, %Y").to_string();
    match period {
        FactPeriod::Forever => None,
        FactPeriod::Instant(date) => Some(match draws.below(3) {
            0 => format!("as of {}", day(date)),
            1 => format!("at {}", day(date)),
            _ => format!("at the end of {}", date.strftime("%B %Y")),
        }),
        FactPeriod::Duration(from, to) => {
            let days = (to - from).get_days() + 1;
            let months = match days {
                80..=100 => "three months",
                170..=190 => "six months",
                260..=285 => "nine months",
                350..=380 => "year",
                _ => return None,
            };
            let whole_year = months == "year";
            let fiscal = filing.meta.fiscal_period.filter(|fiscal| {
                fiscal.quarter.is_none() && whole_year && filing.meta.period_end == Some(to)
            });
            Some(match (draws.below(3), fiscal) {
                (0, Some(fiscal)) => format!("in fiscal {}", fiscal.year),
                (1, _) if whole_year && to.month() == 12 => format!("in {}", to.year()),
                (1, _) if months == "three months" => format!("in the quarter ended {}", day(to)),
                _ => format!("for the {months} ended {}", day(to)),
            })
        }
    }
}

const MONEY: &[&str] = &[
    "How much {label} did {company} report {period}?",
    "What was {company}'s {label} {period}?",
    "What {label} did {company} record {period}?",
    "How high was {label} at {company} {period}?",
    "What amount of {label} does {company} disclose {period}?",
    "{company} {label} {period}",
    "State the {label} of {company} {period}.",
];
const BALANCE: &[&str] = &[
    "What was {company}'s {label} {period}?",
    "How much {label} did {company} have {period}?",
    "What balance of {label} did {company} report {period}?",
    "{company} {label} {period}",
    "What did {label} stand at {period} for {company}?",
];
const COUNT: &[&str] = &[
    "What was {company}'s {label} {period}?",
    "What figure does {company} give for {label} {period}?",
    "What {label} did {company} report {period}?",
    "{company} {label} {period}",
];
const CHANGE: &[&str] = &[
    "How did {company}'s {label} develop from {other} to {period}?",
    "By how much did {label} at {company} change: {other} against {period}?",
    "Compare {company}'s {label} {period} with {other}.",
    "What trend does {company}'s {label} show, {other} compared with {period}?",
];

/// The question, and the name of its template.
pub(super) fn question(
    fact: &Fact,
    label: &str,
    company: Option<&str>,
    period: &str,
    other: Option<&str>,
    draws: &mut Draws,
) -> (String, String) {
    let money = fact.unit.as_deref().is_some_and(|unit| unit.len() == 3);
    let (name, templates) = match (other, money, fact.period) {
        (Some(_), ..) => ("change", CHANGE),
        (None, true, FactPeriod::Instant(_)) => ("balance", BALANCE),
        (None, true, _) => ("money", MONEY),
        _ => ("count", COUNT),
    };
    let at = draws.below(templates.len());
    let text = templates[at]
        .replace("{label}", label)
        .replace("{period}", period)
        .replace("{other}", other.unwrap_or_default())
        .replace("{company}", company.unwrap_or("the company"));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut chars = text.chars();
    let first: String = chars
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    (first + chars.as_str(), format!("{name}-{at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_like_words() {
        assert_eq!(plain("IncomeTaxesPaidNet"), "income taxes paid");
        assert_eq!(plain("Goodwill"), "goodwill");
        assert_eq!(decapitalised("Total assets"), "total assets");
        assert_eq!(decapitalised("R&D"), "R&D");
    }
}
