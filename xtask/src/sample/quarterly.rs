//! The 10-Q of the third quarter: three and nine months, condensed statements, Parts I and II.

use anyhow::Result;
use jiff::ToSpan;
use jiff::civil::Date;

use super::annual;
use super::company::{Books, Company, long_date};
use super::figures::Book;
use super::html::{Dialect, Document, When};
use super::parts::{self, Cover, plain, prose};
use super::statements;

/// Part, number, title.
const ITEMS: [(&str, &str, &str); 11] = [
    ("I", "1", "Financial Statements"),
    (
        "I",
        "2",
        "Management\u{2019}s Discussion and Analysis of Financial Condition and Results of Operations",
    ),
    (
        "I",
        "3",
        "Quantitative and Qualitative Disclosures About Market Risk",
    ),
    ("I", "4", "Controls and Procedures"),
    ("II", "1", "Legal Proceedings"),
    ("II", "1A", "Risk Factors"),
    (
        "II",
        "2",
        "Unregistered Sales of Equity Securities and Use of Proceeds",
    ),
    ("II", "3", "Defaults Upon Senior Securities"),
    ("II", "4", "Mine Safety Disclosures"),
    ("II", "5", "Other Information"),
    ("II", "6", "Exhibits"),
];

/// Day of filing.
pub fn filed(books: &Books) -> Date {
    super::current::weekday(books.third_quarter[0].end.saturating_add(36.days()))
}

/// The quarterly report.
pub fn write(company: &Company, books: &Books) -> Result<String> {
    let quarter = &books.third_quarter[0];
    let year_to_date = &books.nine_months[0];
    let during = When::During(year_to_date.start, year_to_date.end);
    let mut doc = Document::new(
        company.dialect,
        &company.cik_digits(),
        &company.prefix(),
        quarter.end,
        &format!("{}  |  Quarterly Report", company.name),
    );
    let period = format!("the third quarter of fiscal {}", company.last_year);
    let filler = parts::filler(
        company,
        company.last_year,
        quarter,
        &books.third_quarter[1],
        &period,
    );
    let shares = company.scale.units(quarter.get("basic")?) + 977;
    parts::cover(
        &mut doc,
        company,
        &Cover {
            form: "10-Q",
            during,
            day: quarter.end,
            focus: Some((company.last_year, "Q3")),
            shares: Some((shares, filed(books).saturating_sub(8.days()))),
            float: None,
        },
    )?;
    doc.page_break();
    let mut lines = Vec::new();
    for (part, item, title) in ITEMS {
        if item == "1" {
            let name = if part == "I" {
                "PART I. FINANCIAL INFORMATION"
            } else {
                "PART II. OTHER INFORMATION"
            };
            lines.push((anchor(part, item), String::new(), name.to_owned()));
        }
        lines.push((
            anchor(part, item),
            format!("Item {item}."),
            title.to_owned(),
        ));
    }
    doc.contents(&lines);
    doc.page_break();
    for (part, item, title) in ITEMS {
        if item == "1" {
            doc.heading(
                1,
                if part == "I" {
                    "PART I. FINANCIAL INFORMATION"
                } else {
                    "PART II. OTHER INFORMATION"
                },
            );
        }
        doc.anchor(&anchor(part, item));
        doc.heading(
            2,
            &match company.dialect {
                Dialect::Spans => format!("Item {item}.  {title}"),
                Dialect::Paragraphs => format!("ITEM {item}. {}", title.to_uppercase()),
            },
        );
        match (part, item) {
            ("I", "1") => financials(&mut doc, company, books)?,
            ("I", "2") => annual::discussion(&mut doc, company, &filler)?,
            ("I", "3") => plain(
                &mut doc,
                "There were no material changes from the market risks described in Item 7A of our last annual \
                 report on Form 10-K.",
            ),
            ("I", "4") => plain(
                &mut doc,
                &format!(
                    "Our disclosure controls and procedures were effective as of {}. No change in internal \
                     control over financial reporting during the quarter has materially affected it.",
                    long_date(quarter.end)
                ),
            ),
            ("II", "1") => prose(&mut doc, &company.section("legal", &filler)?, 3),
            ("II", "1A") => plain(
                &mut doc,
                "There were no material changes from the risk factors in Item 1A of our last annual report on \
                 Form 10-K.",
            ),
            ("II", "4") => plain(&mut doc, "Not applicable."),
            ("II", "6") => plain(
                &mut doc,
                "31.1 and 31.2, certifications; 101, Inline XBRL documents.",
            ),
            _ => plain(&mut doc, "None."),
        }
    }
    parts::signatures(&mut doc, company, filed(books), &["cfo"])?;
    let name = format!("{}-{}", company.prefix(), quarter.end.strftime("%Y%m%d"));
    Ok(doc.finish(&name))
}

fn anchor(part: &str, item: &str) -> String {
    format!(
        "part{}item{}",
        part.to_ascii_lowercase(),
        item.to_ascii_lowercase()
    )
}

fn financials(doc: &mut Document, company: &Company, books: &Books) -> Result<()> {
    let [quarter, quarter_before] = &books.third_quarter;
    let [nine, nine_before] = &books.nine_months;
    let day = long_date(quarter.end);
    let day_before = long_date(quarter_before.end);
    let heads = vec![
        vec![
            ("Three months ended".to_owned(), 2),
            ("Nine months ended".to_owned(), 2),
        ],
        [&day, &day_before, &day, &day_before]
            .into_iter()
            .map(|day| (day.clone(), 1))
            .collect(),
    ];
    doc.heading(
        3,
        "Condensed Consolidated Statements of Operations (Unaudited)",
    );
    let four: [&Book; 4] = [quarter, quarter_before, nine, nine_before];
    let table = statements::income(doc, company, heads, &four)?;
    doc.table(&table);
    doc.heading(3, "Condensed Consolidated Balance Sheets (Unaudited)");
    let balance: [&Book; 2] = [nine, &books.years[2]];
    let table = statements::balance(
        doc,
        company,
        statements::heads("As of", &statements::days(&balance)),
        &balance,
    )?;
    doc.table(&table);
    doc.heading(
        3,
        "Condensed Consolidated Statements of Cash Flows (Unaudited)",
    );
    let two: [&Book; 2] = [nine, nine_before];
    let heads = statements::heads("Nine months ended", &statements::days(&two));
    let table = statements::cash_flows(doc, company, heads, &two)?;
    doc.table(&table);
    doc.heading(3, "Notes to Condensed Consolidated Financial Statements");
    plain(
        doc,
        "These statements do not hold all that annual statements do and should be read with the last annual \
         report on Form 10-K.",
    );
    let two: [&Book; 2] = [quarter, quarter_before];
    let heads = statements::heads("Three months ended", &statements::days(&two));
    let table = statements::segments(doc, company, heads, &two)?;
    doc.table(&table);
    Ok(())
}
