//! The DEF 14A of the annual meeting after the last fiscal year.

use anyhow::Result;
use jiff::ToSpan;
use jiff::civil::Date;

use super::company::{Books, Company, long_date};
use super::figures::{grouped, rounded};
use super::html::{Document, Number, Row, Table, Tagged, Unit, When};
use super::parts::{self, notice, plain, prose};

/// Day of filing: five weeks before the meeting.
pub fn filed(company: &Company) -> Date {
    super::current::weekday(company.meeting.saturating_sub(36.days()))
}

/// `147` of `147 to 1`.
pub fn pay_ratio(company: &Company) -> i64 {
    rounded(company.total_pay(0), company.median_pay)
}

/// The proxy statement.
pub fn write(company: &Company, books: &Books) -> Result<String> {
    let year = company.last_year;
    let now = &books.years[3];
    let during = When::During(now.start, now.end);
    let mut doc = Document::new(
        company.dialect,
        &company.cik_digits(),
        &company.prefix(),
        now.end,
        &format!("{} Proxy Statement", company.name),
    );
    doc.hide("dei:DocumentType", during, "DEF 14A");
    doc.hide("dei:AmendmentFlag", during, "false");
    doc.hide("dei:EntityCentralIndexKey", during, &company.cik_digits());
    let said = doc.text(&notice(company));
    doc.centred(&said, 8, true);
    doc.centred("UNITED STATES", 10, true);
    doc.centred("SECURITIES AND EXCHANGE COMMISSION", 10, true);
    doc.centred("SCHEDULE 14A", 12, true);
    doc.centred(
        "Proxy Statement Pursuant to Section 14(a) of the Securities Exchange Act of 1934",
        10,
        false,
    );
    plain(
        &mut doc,
        "Filed by the Registrant \u{2612}   Filed by a Party other than the Registrant \u{2610}",
    );
    plain(&mut doc, "\u{2612}   Definitive Proxy Statement");
    let name = doc.text(company.name);
    let name = doc.tag("dei:EntityRegistrantName", during, None, &name);
    doc.centred(&name, 14, true);
    doc.centred("(Name of Registrant as Specified In Its Charter)", 8, false);
    doc.page_break();
    let filler = parts::filler(
        company,
        year,
        now,
        &books.years[2],
        &format!("fiscal {year}"),
    );
    doc.heading(1, "NOTICE OF ANNUAL MEETING OF SHAREHOLDERS");
    plain(
        &mut doc,
        &format!(
            "The annual meeting of shareholders of {} will be held on {}, at 9:00 a.m. local time, at {}, {}, \
             {}. Holders of record at the close of business on {} may vote.",
            company.name,
            long_date(company.meeting),
            company.address[0],
            company.address[1],
            company.address[2],
            long_date(company.meeting.saturating_sub(58.days()))
        ),
    );
    for item in [
        "Proposal 1: election of the directors named in this proxy statement",
        "Proposal 2: advisory vote to approve the compensation of the named executive officers",
        "Proposal 3: ratification of the appointment of the independent auditor",
    ] {
        doc.bullet(item);
    }
    let lines: Vec<(String, String, String)> = SECTIONS
        .iter()
        .map(|(anchor, title)| ((*anchor).to_owned(), (*title).to_owned(), String::new()))
        .collect();
    doc.contents(&lines);
    doc.page_break();
    for (anchor, title) in SECTIONS {
        doc.anchor(anchor);
        doc.heading(2, &title.to_uppercase());
        match anchor {
            "election" => election(&mut doc, company),
            "governance" => prose(&mut doc, &company.section("governance", &filler)?, 3),
            "cda" => prose(&mut doc, &company.section("compensation", &filler)?, 3),
            "sct" => summary_table(&mut doc, company)?,
            "ratio" => ratio(&mut doc, company)?,
            "pvp" => performance(&mut doc, company, during)?,
            "sayonpay" => plain(
                &mut doc,
                "The board recommends a vote FOR the advisory resolution to approve the compensation of the \
                 named executive officers as told in this proxy statement. The vote does not bind the board.",
            ),
            "auditor" => prose(&mut doc, &company.section("auditfees", &filler)?, 3),
            _ => ownership(&mut doc, company),
        }
    }
    plain(&mut doc, &notice(company));
    Ok(doc.finish("DEF 14A"))
}

const SECTIONS: [(&str, &str); 9] = [
    ("election", "Proposal 1: Election of Directors"),
    ("governance", "Corporate Governance"),
    ("cda", "Compensation Discussion and Analysis"),
    ("sct", "Summary Compensation Table"),
    ("ratio", "CEO Pay Ratio"),
    ("pvp", "Pay Versus Performance"),
    (
        "sayonpay",
        "Proposal 2: Advisory Vote on Executive Compensation",
    ),
    (
        "auditor",
        "Proposal 3: Ratification of the Independent Auditor",
    ),
    (
        "ownership",
        "Stock Ownership of Directors and Executive Officers",
    ),
];

fn election(doc: &mut Document, company: &Company) {
    plain(
        doc,
        &format!(
            "The board proposes the election of {} directors for a term of one year and recommends a vote FOR \
             each of them.",
            company.directors.len()
        ),
    );
    for (name, age, since, life) in company.directors {
        doc.heading(3, name);
        plain(doc, &format!("Age {age}. Director since {since}. {life}"));
    }
}

fn dollars(amount: i64) -> Option<Number> {
    Some(Number {
        dollar: true,
        ..Number::plain(grouped(amount))
    })
}

fn summary_table(doc: &mut Document, company: &Company) -> Result<()> {
    let heads = [
        "Salary",
        "Stock Awards",
        "Incentive Plan",
        "All Other",
        "Total",
    ];
    let mut rows = Vec::new();
    for (at, (name, title, parts)) in company.pay.iter().enumerate() {
        rows.push(Row {
            label: doc.text(&format!("{name}, {title}, {}", company.last_year)),
            indent: 0,
            cells: parts
                .iter()
                .map(|part| dollars(*part))
                .chain([dollars(company.total_pay(at))])
                .collect(),
            total: false,
        });
    }
    doc.table(&Table {
        scale: "(in dollars)".to_owned(),
        heads: vec![heads.iter().map(|head| ((*head).to_owned(), 1)).collect()],
        rows,
    });
    Ok(())
}

fn ratio(doc: &mut Document, company: &Company) -> Result<()> {
    plain(
        doc,
        &format!(
            "For fiscal {}, the annual total compensation of our median employee, other than the chief \
             executive officer, was ${}. The annual total compensation of our chief executive officer, {}, as \
             reported in the Summary Compensation Table, was ${}. The ratio of the two was {} to 1.",
            company.last_year,
            grouped(company.median_pay),
            company.word("ceo")?,
            grouped(company.total_pay(0)),
            pay_ratio(company)
        ),
    );
    plain(
        doc,
        "The median employee was found from base wages of all full-time and part-time employees on the last day \
         of the third fiscal quarter; the ratio is a reasonable estimate made as Item 402(u) of Regulation S-K \
         allows.",
    );
    Ok(())
}

fn performance(doc: &mut Document, company: &Company, during: When) -> Result<()> {
    let total = company.total_pay(0);
    let inner = doc.number(&Tagged {
        concept: "ecd:PeoTotalCompAmt",
        when: during,
        dimension: None,
        unit: Unit::Usd,
        decimals: "0",
        scale: 0,
        negative: false,
        shown: grouped(total),
    });
    let paid = doc.number(&Tagged {
        concept: "ecd:PeoActuallyPaidCompAmt",
        when: during,
        dimension: None,
        unit: Unit::Usd,
        decimals: "0",
        scale: 0,
        negative: false,
        shown: grouped(total * 9 / 10),
    });
    doc.table(&Table {
        scale: String::new(),
        heads: vec![vec![
            ("Summary Compensation Table total for CEO".to_owned(), 1),
            ("Compensation actually paid to CEO".to_owned(), 1),
        ]],
        rows: vec![Row {
            label: company.last_year.to_string(),
            indent: 0,
            cells: [inner, paid]
                .into_iter()
                .map(|inner| {
                    Some(Number {
                        dollar: true,
                        ..Number::plain(inner)
                    })
                })
                .collect(),
            total: false,
        }],
    });
    Ok(())
}

fn ownership(doc: &mut Document, company: &Company) {
    let mut rows = Vec::new();
    for (at, (name, _, since, _)) in company.directors.iter().enumerate() {
        let shares = i64::from(*since) * 17 + 9_311 * (at as i64 + 1);
        rows.push(Row {
            label: doc.text(name),
            indent: 0,
            cells: vec![Some(Number::plain(grouped(shares)))],
            total: false,
        });
    }
    plain(
        doc,
        "No director or executive officer owned 1% or more of the shares outstanding on the record date.",
    );
    doc.table(&Table {
        scale: String::new(),
        heads: vec![vec![("Shares owned".to_owned(), 1)]],
        rows,
    });
}
