//! The tables besides the three statements: segments, and management's comparison of results.

use anyhow::Result;

use super::{Kind, Line, cell, line, scale_words, total};
use crate::sample::company::{Company, long_date};
use crate::sample::figures::{Book, percent, permille};
use crate::sample::html::{Document, Number, Row, Table, Tagged, Unit, When};

/// Sales and operating income by segment, tagged with the segment axis.
pub fn segments(
    doc: &mut Document,
    company: &Company,
    heads: Vec<Vec<(String, usize)>>,
    books: &[&Book],
) -> Result<Table> {
    const SALES: [&str; 3] = ["seg0", "seg1", "seg2"];
    const INCOME: [&str; 3] = ["seg0_income", "seg1_income", "seg2_income"];
    let mut rows = Vec::new();
    let blocks = [
        (
            SALES,
            company.labels.revenue.to_owned(),
            "RevenueFromContractWithCustomerExcludingAssessedTax",
            "revenue",
        ),
        (
            INCOME,
            "Segment operating income (loss)".to_owned(),
            "OperatingIncomeLoss",
            "opinc",
        ),
    ];
    for (keys, title, concept, sum) in blocks {
        let label = doc.text(&format!("{title}:"));
        rows.push(Row::caption(label, books.len()));
        for (at, key) in keys.into_iter().enumerate() {
            let segment = line(Kind::Flow, key, company.segments[at], concept);
            let mut cells = Vec::new();
            for book in books {
                let amount = book.get(key)?;
                let member = format!("{}:{}", company.prefix(), company.members[at]);
                let inner = doc.number(&Tagged {
                    concept: &segment.concept,
                    when: When::During(book.start, book.end),
                    dimension: Some(("us-gaap:StatementBusinessSegmentsAxis", member)),
                    unit: Unit::Usd,
                    decimals: company.scale.decimals(),
                    scale: company.scale.exponent(),
                    negative: amount < 0,
                    shown: company.scale.show(amount),
                });
                cells.push(Some(Number {
                    dollar: at == 0,
                    bracketed: amount < 0,
                    percent: false,
                    inner,
                }));
            }
            rows.push(Row {
                label: doc.text(&segment.label),
                indent: 1,
                cells,
                total: false,
            });
        }
        if sum == "opinc" {
            let corporate = line(
                Kind::Flow,
                "corporate_income",
                "Corporate and unallocated",
                &format!(
                    "{}:CorporateAndUnallocatedOperatingIncome",
                    company.prefix()
                ),
            );
            rows.push(body_row(doc, company, &corporate, books)?);
        }
        let all = total(
            Kind::Flow,
            sum,
            &format!("Total {}", lower(&title)),
            concept,
        );
        rows.push(body_row(doc, company, &all, books)?);
    }
    Ok(Table {
        scale: scale_words(company, false),
        heads,
        rows,
    })
}

fn body_row(doc: &mut Document, company: &Company, line: &Line, books: &[&Book]) -> Result<Row> {
    let mut cells = Vec::new();
    for book in books {
        cells.push(Some(cell(doc, company, line, book, line.total)?));
    }
    Ok(Row {
        label: doc.text(&line.label),
        indent: u8::from(!line.total),
        cells,
        total: line.total,
    })
}

/// `Net sales` as it stands inside a sentence.
pub fn lower(label: &str) -> String {
    let mut letters = label.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// Results side by side with the change and the share of revenue; untagged, as in most MD&As.
pub fn results(
    doc: &Document,
    company: &Company,
    names: [&str; 2],
    now: &Book,
    before: &Book,
) -> Result<Table> {
    let labels = &company.labels;
    let keys = [
        ("revenue", labels.revenue),
        ("cost", labels.cost),
        ("gross", super::gross_label(company)),
        ("rd", labels.rd),
        ("sga", labels.sga),
        ("opinc", "Operating income"),
        ("ni", "Net income"),
    ];
    let mut rows = Vec::new();
    for (key, label) in keys {
        let (new, old) = (now.get(key)?, before.get(key)?);
        let change = permille(new - old, old);
        let amount = |amount: i64| {
            Some(Number {
                dollar: key == "revenue",
                bracketed: amount < 0,
                percent: false,
                inner: company.scale.show(amount),
            })
        };
        let share = |tenths: i64| {
            let shown = percent(tenths);
            Some(Number {
                dollar: false,
                bracketed: tenths < 0,
                percent: true,
                inner: shown.trim_end_matches('%').to_owned(),
            })
        };
        rows.push(Row {
            label: doc.text(label),
            indent: 0,
            cells: vec![
                amount(new),
                amount(old),
                share(change),
                share(permille(new, now.get("revenue")?)),
            ],
            total: matches!(key, "gross" | "opinc" | "ni"),
        });
    }
    Ok(Table {
        scale: format!("(dollars {})", company.scale.words()),
        heads: vec![vec![
            (names[0].to_owned(), 1),
            (names[1].to_owned(), 1),
            ("Change".to_owned(), 1),
            (format!("% of {} {}", lower(labels.revenue), names[0]), 1),
        ]],
        rows,
    })
}

/// Dates as column heads.
pub fn days(books: &[&Book]) -> Vec<String> {
    books.iter().map(|book| long_date(book.end)).collect()
}
