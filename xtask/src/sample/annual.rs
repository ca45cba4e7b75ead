//! The 10-K: cover, contents, Items 1 to 16, statements, notes, signatures.

use anyhow::Result;
use jiff::ToSpan;
use jiff::civil::Date;

use super::company::{Books, Company, Filler, long_date};
use super::figures::Book;
use super::html::{Document, Number, Row, Table, Tagged, Unit, When};
use super::parts::{self, Cover, plain, prose};
use super::statements;

/// The items in order: number, title.
const ITEMS: [(&str, &str); 23] = [
    ("1", "Business"),
    ("1A", "Risk Factors"),
    ("1B", "Unresolved Staff Comments"),
    ("1C", "Cybersecurity"),
    ("2", "Properties"),
    ("3", "Legal Proceedings"),
    ("4", "Mine Safety Disclosures"),
    (
        "5",
        "Market for Registrant\u{2019}s Common Equity, Related Stockholder Matters and Issuer Purchases of Equity Securities",
    ),
    ("6", "[Reserved]"),
    (
        "7",
        "Management\u{2019}s Discussion and Analysis of Financial Condition and Results of Operations",
    ),
    (
        "7A",
        "Quantitative and Qualitative Disclosures About Market Risk",
    ),
    ("8", "Financial Statements and Supplementary Data"),
    (
        "9",
        "Changes in and Disagreements With Accountants on Accounting and Financial Disclosure",
    ),
    ("9A", "Controls and Procedures"),
    ("9B", "Other Information"),
    (
        "9C",
        "Disclosure Regarding Foreign Jurisdictions that Prevent Inspections",
    ),
    (
        "10",
        "Directors, Executive Officers and Corporate Governance",
    ),
    ("11", "Executive Compensation"),
    (
        "12",
        "Security Ownership of Certain Beneficial Owners and Management and Related Stockholder Matters",
    ),
    (
        "13",
        "Certain Relationships and Related Transactions, and Director Independence",
    ),
    ("14", "Principal Accountant Fees and Services"),
    ("15", "Exhibits and Financial Statement Schedules"),
    ("16", "Form 10-K Summary"),
];

/// The part that begins with an item.
fn part_before(item: &str) -> Option<&'static str> {
    match item {
        "1" => Some("PART I"),
        "5" => Some("PART II"),
        "10" => Some("PART III"),
        "15" => Some("PART IV"),
        _ => None,
    }
}

/// The day the report on `year` was filed.
pub fn filed(company: &Company, year: i32) -> Date {
    super::current::weekday(company.end_of(year).saturating_add(52.days()))
}

/// The annual report of `company` on the year at `books.years[at]`.
pub fn write(company: &Company, books: &Books, at: usize) -> Result<String> {
    let now = &books.years[at];
    let before = &books.years[at - 1];
    let year = company.last_year - 3 + at as i32;
    let during = When::During(now.start, now.end);
    let header = format!("{}  |  {} Form 10-K", company.name, year);
    let mut doc = Document::new(
        company.dialect,
        &company.cik_digits(),
        &company.prefix(),
        now.end,
        &header,
    );
    let filler = parts::filler(company, year, now, before, &format!("fiscal {year}"));
    let count_day = filed(company, year).saturating_sub(10.days());
    let shares = company.scale.units(now.get("basic")?) + 1_841;
    parts::cover(
        &mut doc,
        company,
        &Cover {
            form: "10-K",
            during,
            day: now.end,
            focus: Some((year, "FY")),
            shares: Some((shares, count_day)),
            float: Some((
                shares * 37,
                now.start.saturating_add(6.months()).saturating_sub(1.day()),
            )),
        },
    )?;
    plain(
        &mut doc,
        "Indicate by check mark if the registrant is a well-known seasoned issuer, as defined in Rule 405 of \
         the Securities Act. Yes \u{2612} No \u{2610}",
    );
    doc.centred("DOCUMENTS INCORPORATED BY REFERENCE", 9, true);
    let portions = doc.text(&format!(
        "Portions of the registrant\u{2019}s definitive proxy statement for its {} annual meeting of \
         shareholders are incorporated by reference into Part III.",
        year + 1
    ));
    let portions = doc.tag(
        "dei:DocumentsIncorporatedByReferenceTextBlock",
        during,
        None,
        &portions,
    );
    doc.paragraph(&portions);
    doc.page_break();
    contents(&mut doc);
    doc.page_break();
    doc.heading(3, "Forward-Looking Statements");
    plain(
        &mut doc,
        &format!(
            "This report holds statements about the future. {} bases them on what it knew when it wrote them \
             and does not promise to bring them up to date. Item 1A, \u{201c}Risk Factors,\u{201d} and Item 7, \
             \u{201c}Management\u{2019}s Discussion and Analysis of Financial Condition and Results of \
             Operations,\u{201d} name the main reasons why results may differ.",
            company.short
        ),
    );
    for (item, title) in ITEMS {
        if let Some(part) = part_before(item) {
            doc.page_break();
            doc.heading(1, part);
        }
        doc.anchor(&anchor(item));
        let heading = match company.dialect {
            super::html::Dialect::Spans => format!("Item {item}.  {title}"),
            super::html::Dialect::Paragraphs => {
                format!("ITEM {item}. {}", title.to_uppercase())
            }
        };
        doc.heading(2, &heading);
        body(&mut doc, company, books, at, &filler, item)?;
    }
    parts::signatures(&mut doc, company, filed(company, year), &["ceo", "cfo"])?;
    let name = format!("{}-{}", company.prefix(), now.end.strftime("%Y%m%d"));
    Ok(doc.finish(&name))
}

fn anchor(item: &str) -> String {
    format!("item{}", item.to_ascii_lowercase())
}

fn contents(doc: &mut Document) {
    let mut lines = Vec::new();
    for (item, title) in ITEMS {
        if let Some(part) = part_before(item) {
            lines.push((anchor(item), String::new(), part.to_owned()));
        }
        lines.push((anchor(item), format!("Item {item}."), title.to_owned()));
    }
    lines.push((
        "signatures".to_owned(),
        String::new(),
        "Signatures".to_owned(),
    ));
    doc.contents(&lines);
}

fn body(
    doc: &mut Document,
    company: &Company,
    books: &Books,
    at: usize,
    filler: &Filler<'_>,
    item: &str,
) -> Result<()> {
    let section = |name: &str| company.section(name, filler);
    match item {
        "1" => prose(doc, &section("business")?, 3),
        "1A" => {
            plain(
                doc,
                "The following risks could harm our business, financial condition or results. They should be \
                 read with Item 7 and with the notes in Item 8.",
            );
            prose(doc, &section("risks")?, 4);
        }
        "1B" | "9B" => plain(doc, "None."),
        "1C" => prose(doc, &section("cyber")?, 3),
        "2" => prose(doc, &section("properties")?, 3),
        "3" => prose(doc, &section("legal")?, 3),
        "4" | "6" | "9C" => plain(doc, "Not applicable."),
        "5" => prose(doc, &section("market")?, 3),
        "7" => discussion(doc, company, filler)?,
        "7A" => prose(doc, &section("marketrisk")?, 3),
        "8" => financials(doc, company, books, at, filler)?,
        "9" => plain(
            doc,
            "There were no changes of, or disagreements with, accountants.",
        ),
        "9A" => {
            doc.heading(3, "Disclosure Controls and Procedures");
            plain(
                doc,
                &format!(
                    "Our chief executive officer and chief financial officer concluded that our disclosure \
                     controls and procedures were effective as of {}.",
                    long_date(company.end_of(filler.year))
                ),
            );
            doc.heading(
                3,
                "Report of Management on Internal Control Over Financial Reporting",
            );
            prose(doc, &section("controls")?, 3);
        }
        "10" | "11" | "12" | "13" | "14" => plain(
            doc,
            &format!(
                "The information required by this item is incorporated by reference to the definitive proxy \
                 statement for the {} annual meeting of shareholders.",
                filler.year + 1
            ),
        ),
        "15" => exhibits(doc, company)?,
        _ => plain(doc, "None."),
    }
    Ok(())
}

/// Item 7, and Item 2 of a 10-Q.
pub fn discussion(doc: &mut Document, company: &Company, filler: &Filler<'_>) -> Result<()> {
    doc.heading(3, "Overview");
    prose(doc, &company.section("overview", filler)?, 4);
    doc.heading(3, "Results of Operations");
    let names = [
        capital(&filler.period),
        capital(
            &filler
                .period
                .replace(&filler.year.to_string(), &(filler.year - 1).to_string()),
        ),
    ];
    let table = statements::results(
        doc,
        company,
        [&names[0], &names[1]],
        filler.now,
        filler.before,
    )?;
    doc.table(&table);
    prose(doc, &company.section("results", filler)?, 4);
    doc.heading(3, "Liquidity and Capital Resources");
    prose(doc, &company.section("liquidity", filler)?, 4);
    doc.heading(3, "Critical Accounting Estimates");
    prose(doc, &company.section("estimates", filler)?, 4);
    Ok(())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

fn financials(
    doc: &mut Document,
    company: &Company,
    books: &Books,
    at: usize,
    filler: &Filler<'_>,
) -> Result<()> {
    let now = &books.years[at];
    let two: Vec<&Book> = vec![now, &books.years[at - 1]];
    let income_years: Vec<&Book> = if at >= 3 {
        vec![now, &books.years[at - 1], &books.years[at - 2]]
    } else {
        two.clone()
    };
    doc.heading(3, "Report of Independent Registered Public Accounting Firm");
    plain(
        doc,
        &format!(
            "To the shareholders and the board of directors of {}: In our opinion, the consolidated financial \
             statements present fairly, in all material respects, the financial position of the company as of \
             {} and {}, in conformity with accounting principles generally accepted in the United States. \
             {}",
            company.name,
            long_date(now.end),
            long_date(books.years[at - 1].end),
            filler.fill("/s/ {auditor}, auditor of the company since 2014.")?
        ),
    );
    let spans = statements::days(&income_years);
    doc.page_break();
    doc.heading(3, "Consolidated Statements of Operations");
    let heads = statements::heads("Fiscal year ended", &spans);
    let table = statements::income(doc, company, heads.clone(), &income_years)?;
    doc.table(&table);
    plain(
        doc,
        "See accompanying notes to consolidated financial statements.",
    );
    doc.page_break();
    doc.heading(3, "Consolidated Balance Sheets");
    let table = statements::balance(
        doc,
        company,
        statements::heads("As of", &statements::days(&two)),
        &two,
    )?;
    doc.table(&table);
    plain(
        doc,
        "See accompanying notes to consolidated financial statements.",
    );
    doc.page_break();
    doc.heading(3, "Consolidated Statements of Cash Flows");
    let table = statements::cash_flows(
        doc,
        company,
        statements::heads("Fiscal year ended", &statements::days(&two)),
        &two,
    )?;
    doc.table(&table);
    plain(
        doc,
        "See accompanying notes to consolidated financial statements.",
    );
    doc.page_break();
    notes(doc, company, filler, &two)
}

/// The notes: policies over a page break as one text block, segments, debt, taxes, the rest.
fn notes(doc: &mut Document, company: &Company, filler: &Filler<'_>, two: &[&Book]) -> Result<()> {
    let now = two[0];
    let during = When::During(now.start, now.end);
    doc.heading(3, "Notes to Consolidated Financial Statements");
    doc.heading(3, "Note 1. Summary of Significant Accounting Policies");
    let policies = company.section("policies", filler)?;
    let half = policies.len() / 2;
    let id = doc.begin_block("us-gaap:SignificantAccountingPoliciesTextBlock", during);
    prose(doc, &policies[..half], 4);
    doc.continue_block(&id);
    prose(doc, &policies[half..], 4);
    doc.end_continued();
    doc.heading(3, "Note 2. Segment Information");
    plain(
        doc,
        &format!(
            "The company reports three segments: {}, {} and {}. The chief executive officer, who decides on \
             resources, judges them by operating income.",
            company.segments[0], company.segments[1], company.segments[2]
        ),
    );
    let table = statements::segments(
        doc,
        company,
        statements::heads("Fiscal year ended", &statements::days(two)),
        two,
    )?;
    doc.table(&table);
    doc.heading(3, "Note 3. Long-Term Debt");
    debt(doc, company, two)?;
    prose(doc, &company.section("debt", filler)?, 4);
    doc.heading(3, "Note 4. Income Taxes");
    taxes(doc, two)?;
    doc.heading(3, "Note 5. Commitments and Contingencies");
    prose(doc, &company.section("contingencies", filler)?, 4);
    doc.heading(3, "Note 6. Subsequent Events");
    prose(doc, &company.section("subsequent", filler)?, 4);
    Ok(())
}

/// An untagged amount cell.
fn amount(company: &Company, value: i64, dollar: bool) -> Option<Number> {
    Some(Number {
        dollar,
        bracketed: value < 0,
        percent: false,
        inner: company.scale.show(value),
    })
}

fn debt(doc: &mut Document, company: &Company, two: &[&Book]) -> Result<()> {
    let mut rows = Vec::new();
    for (label, key, total) in [
        ("Total long-term debt", "total_debt", false),
        ("Less: current portion", "current_debt", false),
        ("Long-term debt, less current portion", "debt", true),
    ] {
        let mut cells = Vec::new();
        for book in two {
            cells.push(amount(company, book.get(key)?, true));
        }
        rows.push(Row {
            label: doc.text(label),
            indent: 0,
            cells,
            total,
        });
    }
    doc.table(&Table {
        scale: format!("({})", company.scale.words()),
        heads: statements::heads("As of", &statements::days(two)),
        rows,
    });
    Ok(())
}

fn taxes(doc: &mut Document, two: &[&Book]) -> Result<()> {
    let mut cells = Vec::new();
    for book in two {
        let rate = super::figures::permille(book.get("tax")?, book.get("pretax")?);
        let inner = doc.number(&Tagged {
            concept: "us-gaap:EffectiveIncomeTaxRateContinuingOperations",
            when: When::During(book.start, book.end),
            dimension: None,
            unit: Unit::Pure,
            decimals: "3",
            scale: -2,
            negative: rate < 0,
            shown: format!("{}.{}", rate.abs() / 10, rate.abs() % 10),
        });
        cells.push(Some(Number {
            percent: true,
            bracketed: rate < 0,
            ..Number::plain(inner)
        }));
    }
    plain(
        doc,
        "The effective income tax rate differed from the federal statutory rate of 21.0% mainly because of \
         state taxes and credits.",
    );
    doc.table(&Table {
        scale: String::new(),
        heads: statements::heads("Fiscal year ended", &statements::days(two)),
        rows: vec![Row {
            label: "Effective income tax rate".to_owned(),
            indent: 0,
            cells,
            total: false,
        }],
    });
    Ok(())
}

fn exhibits(doc: &mut Document, company: &Company) -> Result<()> {
    plain(
        doc,
        "(a) The financial statements listed under Item 8 are filed as part of this report. Schedules are left \
         out because they do not apply. (b) Exhibits:",
    );
    for (number, what) in [
        ("3.1", "Restated certificate of incorporation"),
        ("10.1", "Credit agreement (see Note 3)"),
        ("21.1", "Subsidiaries of the registrant"),
        ("31.1", "Certification of the chief executive officer"),
        ("31.2", "Certification of the chief financial officer"),
        ("101", "Inline XBRL documents"),
    ] {
        let line = doc.text(&format!("{number}    {what}"));
        doc.bullet(&line);
    }
    plain(
        doc,
        &format!(
            "{} will send a copy of any exhibit on request.",
            company.short
        ),
    );
    Ok(())
}
