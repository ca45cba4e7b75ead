//! The financial statements as tagged tables.
//!
//! Knows which line is which concept and how it is signed; the figures come closed, the markup is
//! the document's.

mod tables;

use anyhow::Result;

pub use tables::{days, lower, results, segments};

use super::company::Company;
use super::figures::Book;
use super::html::{Document, Number, Row, Table, Tagged, Unit, When};

/// How a line relates to time and sign.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Over the period, shown with its own sign.
    Flow,
    /// Over the period, shown with the opposite sign: an outflow tagged as a positive payment.
    Outflow,
    /// On the last day of the period.
    Balance,
    /// On the day before the period.
    OpeningBalance,
    /// Earnings per share, basic or diluted.
    PerShare(bool),
    /// Weighted shares.
    Shares,
    /// A caption.
    Caption,
}

struct Line {
    key: &'static str,
    label: String,
    concept: String,
    kind: Kind,
    total: bool,
}

fn line(kind: Kind, key: &'static str, label: &str, concept: &str) -> Line {
    Line {
        key,
        label: label.to_owned(),
        concept: if concept.contains(':') {
            concept.to_owned()
        } else {
            format!("us-gaap:{concept}")
        },
        kind,
        total: false,
    }
}

fn total(kind: Kind, key: &'static str, label: &str, concept: &str) -> Line {
    Line {
        total: true,
        ..line(kind, key, label, concept)
    }
}

fn caption(label: &str) -> Line {
    line(Kind::Caption, "", label, "")
}

/// The concept behind a line whose name differs from company to company.
fn concept_of(label: &str) -> &'static str {
    match label {
        "Research and development" => "ResearchAndDevelopmentExpense",
        "Advertising and promotion" => "AdvertisingExpense",
        "Taxes other than income taxes" => "TaxesExcludingIncomeAndExciseTaxes",
        "Deferred commissions" => "CapitalizedContractCostNetCurrent",
        "Materials and supplies" => "PublicUtilitiesInventory",
        "Inventories" => "InventoryNet",
        "Accrued trade promotion" => "AccruedMarketingCostsCurrent",
        "Customer advances for construction" => "CustomerAdvancesForConstruction",
        "Customer deposits" => "ContractWithCustomerRefundLiabilityCurrent",
        "Deferred revenue" => "ContractWithCustomerLiabilityCurrent",
        "Regulatory assets" => "RegulatoryAssets",
        _ => "FiniteLivedIntangibleAssetsNet",
    }
}

/// The line at the end of the balance: the first and the last amounts carry the dollar sign.
fn takes_dollar(line: &Line, first: bool) -> bool {
    first || line.total || matches!(line.kind, Kind::PerShare(_))
}

/// The table of `lines` over `books`, newest first.
fn statement(
    doc: &mut Document,
    company: &Company,
    heads: Vec<Vec<(String, usize)>>,
    lines: &[Line],
    books: &[&Book],
    scale: &str,
) -> Result<Table> {
    let mut rows = Vec::new();
    let mut first = true;
    for line in lines {
        let label = doc.text(&line.label);
        if line.kind == Kind::Caption {
            rows.push(Row::caption(label, books.len()));
            continue;
        }
        let mut cells = Vec::new();
        for book in books {
            let dollar = takes_dollar(line, first);
            cells.push(Some(cell(doc, company, line, book, dollar)?));
        }
        first = false;
        rows.push(Row {
            label,
            indent: u8::from(!line.total),
            cells,
            total: line.total,
        });
    }
    Ok(Table {
        scale: scale.to_owned(),
        heads,
        rows,
    })
}

fn cell(
    doc: &mut Document,
    company: &Company,
    line: &Line,
    book: &Book,
    dollar: bool,
) -> Result<Number> {
    let during = When::During(book.start, book.end);
    let scale = company.scale;
    let mut tagged = Tagged {
        concept: &line.concept,
        when: during,
        dimension: None,
        unit: Unit::Usd,
        decimals: scale.decimals(),
        scale: scale.exponent(),
        negative: false,
        shown: String::new(),
    };
    let mut bracketed = false;
    match line.kind {
        Kind::PerShare(diluted) => {
            let cents = book.eps_cents(diluted)?;
            tagged.unit = Unit::UsdPerShare;
            tagged.decimals = "2";
            tagged.scale = 0;
            tagged.negative = cents < 0;
            tagged.shown = format!("{}.{:02}", cents.abs() / 100, cents.abs() % 100);
            bracketed = cents < 0;
        }
        Kind::Shares => {
            tagged.unit = Unit::Shares;
            tagged.shown = scale.show(book.get(line.key)?);
        }
        _ => {
            let amount = book.get(line.key)?;
            tagged.negative = amount < 0;
            tagged.shown = scale.show(amount);
            bracketed = match line.kind {
                Kind::Outflow => amount > 0,
                _ => amount < 0,
            };
            match line.kind {
                Kind::Balance => tagged.when = When::At(book.end),
                Kind::OpeningBalance => {
                    tagged.when = When::At(book.start.yesterday().unwrap_or(book.start));
                }
                _ => {}
            }
        }
    }
    Ok(Number {
        dollar: dollar && line.kind != Kind::Shares,
        bracketed,
        percent: false,
        inner: doc.number(&tagged),
    })
}

/// Column heads: one row that says what the dates are, one with the dates.
pub fn heads(over: &str, days: &[String]) -> Vec<Vec<(String, usize)>> {
    vec![
        vec![(over.to_owned(), days.len())],
        days.iter().map(|day| (day.clone(), 1)).collect(),
    ]
}

fn scale_words(company: &Company, shares: bool) -> String {
    if shares {
        format!("({}, except per share amounts)", company.scale.words())
    } else {
        format!("({})", company.scale.words())
    }
}

/// The income statement.
pub fn income(
    doc: &mut Document,
    company: &Company,
    heads: Vec<Vec<(String, usize)>>,
    books: &[&Book],
) -> Result<Table> {
    let labels = &company.labels;
    let per_share = |what| format!("{what} earnings (loss) per share");
    let lines = [
        line(
            Kind::Flow,
            "revenue",
            labels.revenue,
            "RevenueFromContractWithCustomerExcludingAssessedTax",
        ),
        line(Kind::Flow, "cost", labels.cost, "CostOfRevenue"),
        total(Kind::Flow, "gross", gross_label(company), "GrossProfit"),
        line(Kind::Flow, "rd", labels.rd, concept_of(labels.rd)),
        line(
            Kind::Flow,
            "sga",
            labels.sga,
            "SellingGeneralAndAdministrativeExpense",
        ),
        line(
            Kind::Flow,
            "amort",
            labels.amort,
            "AmortizationOfIntangibleAssets",
        ),
        total(
            Kind::Flow,
            "opinc",
            "Operating income (loss)",
            "OperatingIncomeLoss",
        ),
        line(
            Kind::Outflow,
            "interest",
            "Interest expense",
            "InterestExpense",
        ),
        line(
            Kind::Flow,
            "other",
            "Other income, net",
            "OtherNonoperatingIncomeExpense",
        ),
        total(
            Kind::Flow,
            "pretax",
            "Income (loss) before income taxes",
            "IncomeLossFromContinuingOperationsBeforeIncomeTaxesExtraordinaryItemsNoncontrollingInterest",
        ),
        line(
            Kind::Outflow,
            "tax",
            "Provision for income taxes",
            "IncomeTaxExpenseBenefit",
        ),
        total(Kind::Flow, "ni", "Net income (loss)", "NetIncomeLoss"),
        line(
            Kind::PerShare(false),
            "",
            &per_share("Basic"),
            "EarningsPerShareBasic",
        ),
        line(
            Kind::PerShare(true),
            "",
            &per_share("Diluted"),
            "EarningsPerShareDiluted",
        ),
        caption("Weighted average shares outstanding:"),
        line(
            Kind::Shares,
            "basic",
            "Basic",
            "WeightedAverageNumberOfSharesOutstandingBasic",
        ),
        line(
            Kind::Shares,
            "diluted",
            "Diluted",
            "WeightedAverageNumberOfDilutedSharesOutstanding",
        ),
    ];
    let scale = scale_words(company, true);
    statement(doc, company, heads, &lines, books, &scale)
}

/// What the company calls sales less their cost.
pub fn gross_label(company: &Company) -> &'static str {
    if company.sector == "Utilities" {
        "Revenues less operation, maintenance and depreciation"
    } else {
        "Gross profit"
    }
}

/// The balance sheet.
pub fn balance(
    doc: &mut Document,
    company: &Company,
    heads: Vec<Vec<(String, usize)>>,
    books: &[&Book],
) -> Result<Table> {
    let labels = &company.labels;
    let held = |key, label: &str, concept: &str| line(Kind::Balance, key, label, concept);
    let sum = |key, label: &str, concept: &str| total(Kind::Balance, key, label, concept);
    let lines = [
        caption("ASSETS"),
        caption("Current assets:"),
        held(
            "cash",
            "Cash and cash equivalents",
            "CashAndCashEquivalentsAtCarryingValue",
        ),
        held(
            "ar",
            "Accounts receivable, net",
            "AccountsReceivableNetCurrent",
        ),
        held("inventory", labels.inventory, concept_of(labels.inventory)),
        held(
            "prepaid",
            "Prepaid expenses and other current assets",
            "PrepaidExpenseAndOtherAssetsCurrent",
        ),
        sum("current_assets", "Total current assets", "AssetsCurrent"),
        held(
            "ppe",
            "Property, plant and equipment, net",
            "PropertyPlantAndEquipmentNet",
        ),
        held("goodwill", "Goodwill", "Goodwill"),
        held(
            "intangibles",
            labels.intangibles,
            concept_of(labels.intangibles),
        ),
        held("other_assets", "Other assets", "OtherAssetsNoncurrent"),
        sum("assets", "Total assets", "Assets"),
        caption("LIABILITIES AND SHAREHOLDERS\u{2019} EQUITY"),
        caption("Current liabilities:"),
        held("ap", "Accounts payable", "AccountsPayableCurrent"),
        held(
            "accrued",
            "Accrued liabilities",
            "AccruedLiabilitiesCurrent",
        ),
        held("deferred", labels.deferred, concept_of(labels.deferred)),
        held(
            "current_debt",
            "Current portion of long-term debt",
            "LongTermDebtCurrent",
        ),
        sum(
            "current_liabilities",
            "Total current liabilities",
            "LiabilitiesCurrent",
        ),
        held(
            "debt",
            "Long-term debt, less current portion",
            "LongTermDebtNoncurrent",
        ),
        held(
            "other_liabilities",
            "Other long-term liabilities",
            "OtherLiabilitiesNoncurrent",
        ),
        sum("liabilities", "Total liabilities", "Liabilities"),
        caption("Shareholders\u{2019} equity:"),
        held(
            "capital",
            "Common stock and additional paid-in capital",
            "CommonStocksIncludingAdditionalPaidInCapital",
        ),
        held(
            "retained",
            "Retained earnings (accumulated deficit)",
            "RetainedEarningsAccumulatedDeficit",
        ),
        // A concept of the company's own: us-gaap has the cost as a positive value only.
        line(
            Kind::Balance,
            "treasury",
            "Treasury stock, at cost",
            &format!("{}:TreasuryStockAtCost", company.prefix()),
        ),
        sum(
            "equity",
            "Total shareholders\u{2019} equity",
            "StockholdersEquity",
        ),
        sum(
            "liabilities_and_equity",
            "Total liabilities and shareholders\u{2019} equity",
            "LiabilitiesAndStockholdersEquity",
        ),
    ];
    let scale = scale_words(company, false);
    statement(doc, company, heads, &lines, books, &scale)
}

/// The statement of cash flows.
pub fn cash_flows(
    doc: &mut Document,
    company: &Company,
    heads: Vec<Vec<(String, usize)>>,
    books: &[&Book],
) -> Result<Table> {
    let labels = &company.labels;
    let flow = |key, label: &str, concept: &str| line(Kind::Flow, key, label, concept);
    let out = |key, label: &str, concept: &str| line(Kind::Outflow, key, label, concept);
    let lines = [
        caption("Operating activities:"),
        flow("ni", "Net income (loss)", "NetIncomeLoss"),
        flow("dep", "Depreciation", "Depreciation"),
        flow("amort", labels.amort, "AmortizationOfIntangibleAssets"),
        flow("sbc", "Share-based compensation", "ShareBasedCompensation"),
        caption("Changes in operating assets and liabilities:"),
        out(
            "d_ar",
            "Accounts receivable",
            "IncreaseDecreaseInAccountsReceivable",
        ),
        out(
            "d_inventory",
            labels.inventory,
            "IncreaseDecreaseInInventories",
        ),
        out(
            "d_prepaid",
            "Prepaid expenses and other",
            "IncreaseDecreaseInPrepaidDeferredExpenseAndOtherAssets",
        ),
        flow(
            "d_ap",
            "Accounts payable",
            "IncreaseDecreaseInAccountsPayable",
        ),
        flow(
            "d_accrued",
            "Accrued liabilities",
            "IncreaseDecreaseInAccruedLiabilities",
        ),
        flow(
            "d_deferred",
            labels.deferred,
            "IncreaseDecreaseInContractWithCustomerLiability",
        ),
        total(
            Kind::Flow,
            "cfo",
            "Net cash provided by operating activities",
            "NetCashProvidedByUsedInOperatingActivities",
        ),
        caption("Investing activities:"),
        out(
            "capex",
            "Capital expenditures",
            "PaymentsToAcquirePropertyPlantAndEquipment",
        ),
        total(
            Kind::Flow,
            "cfi",
            "Net cash used in investing activities",
            "NetCashProvidedByUsedInInvestingActivities",
        ),
        caption("Financing activities:"),
        flow(
            "borrow",
            "Proceeds from long-term debt",
            "ProceedsFromIssuanceOfLongTermDebt",
        ),
        out(
            "repay",
            "Repayments of long-term debt",
            "RepaymentsOfLongTermDebt",
        ),
        out("dividends", "Dividends paid", "PaymentsOfDividends"),
        out(
            "buyback",
            "Repurchases of common stock",
            "PaymentsForRepurchaseOfCommonStock",
        ),
        total(
            Kind::Flow,
            "cff",
            "Net cash provided by (used in) financing activities",
            "NetCashProvidedByUsedInFinancingActivities",
        ),
        line(
            Kind::Flow,
            "net_change",
            "Net increase (decrease) in cash and cash equivalents",
            "CashCashEquivalentsRestrictedCashAndRestrictedCashEquivalentsPeriodIncreaseDecreaseIncludingExchangeRateEffect",
        ),
        line(
            Kind::OpeningBalance,
            "opening_cash",
            "Cash and cash equivalents, beginning of period",
            "CashAndCashEquivalentsAtCarryingValue",
        ),
        total(
            Kind::Balance,
            "cash",
            "Cash and cash equivalents, end of period",
            "CashAndCashEquivalentsAtCarryingValue",
        ),
    ];
    let scale = scale_words(company, false);
    statement(doc, company, heads, &lines, books, &scale)
}
