//! The 8-Ks: results with their press release as exhibit 99.1, and a change of officers.

use anyhow::Result;
use jiff::ToSpan;
use jiff::civil::{Date, Weekday};

use super::company::{Books, Company, long_date};
use super::figures::Book;
use super::html::{Document, When};
use super::parts::{self, Cover, notice, plain, prose};
use super::statements;

/// `day`, or the Monday after a weekend: EDGAR takes filings on weekdays.
pub fn weekday(day: Date) -> Date {
    match day.weekday() {
        Weekday::Saturday => day.saturating_add(2.days()),
        Weekday::Sunday => day.saturating_add(1.day()),
        _ => day,
    }
}

/// Day of the results.
pub fn results_day(company: &Company) -> Date {
    weekday(company.end_of(company.last_year).saturating_add(40.days()))
}

fn start(company: &Company, day: Date) -> Result<Document> {
    let mut doc = Document::new(
        company.dialect,
        &company.cik_digits(),
        &company.prefix(),
        day,
        company.name,
    );
    parts::cover(
        &mut doc,
        company,
        &Cover {
            form: "8-K",
            during: When::During(day, day),
            day,
            focus: None,
            shares: None,
            float: None,
        },
    )?;
    doc.page_break();
    Ok(doc)
}

/// The 8-K that furnishes the results: Items 2.02 and 9.01.
pub fn results(company: &Company, books: &Books) -> Result<String> {
    let day = results_day(company);
    let mut doc = start(company, day)?;
    doc.heading(
        2,
        "Item 2.02    Results of Operations and Financial Condition.",
    );
    plain(
        &mut doc,
        &format!(
            "On {}, {} issued a press release announcing its results for the fourth quarter and fiscal year \
             ended {}. A copy is furnished as Exhibit 99.1. The information in this Item 2.02 is furnished \
             and not filed.",
            long_date(day),
            company.name,
            long_date(books.years[3].end)
        ),
    );
    exhibits(&mut doc, Some("Press release of the company"));
    parts::signatures(&mut doc, company, day, &["cfo"])?;
    Ok(doc.finish(&format!("{} 8-K", company.prefix())))
}

fn exhibits(doc: &mut Document, release: Option<&str>) {
    doc.heading(2, "Item 9.01    Financial Statements and Exhibits.");
    plain(doc, "(d) Exhibits.");
    if let Some(release) = release {
        plain(doc, &format!("99.1    {release}"));
    }
    plain(doc, "104    Cover Page Interactive Data File");
}

/// The 8-K on the chief financial officer's departure: Items 5.02 and 9.01.
pub fn departure(company: &Company, books: &Books) -> Result<String> {
    let mut doc = start(company, company.departure)?;
    doc.heading(
        2,
        "Item 5.02    Departure of Directors or Certain Officers; Election of Directors; Appointment of \
         Certain Officers; Compensatory Arrangements of Certain Officers.",
    );
    let filler = parts::filler(
        company,
        company.last_year,
        &books.years[3],
        &books.years[2],
        &format!("fiscal {}", company.last_year),
    );
    prose(&mut doc, &company.section("departure", &filler)?, 3);
    exhibits(&mut doc, None);
    parts::signatures(&mut doc, company, company.departure, &["gc"])?;
    Ok(doc.finish(&format!("{} 8-K", company.prefix())))
}

/// Exhibit 99.1, plain HTML without XBRL.
pub fn release(company: &Company, books: &Books) -> Result<String> {
    let [quarter, quarter_before] = &books.fourth_quarter;
    let mut doc = Document::new(
        company.dialect,
        &company.cik_digits(),
        &company.prefix(),
        quarter.end,
        company.name,
    );
    let year = company.last_year;
    doc.paragraph("<b>Exhibit 99.1</b>");
    let said = doc.text(&notice(company));
    doc.centred(&said, 8, true);
    doc.centred(
        &format!(
            "{} Reports Fourth Quarter and Fiscal {year} Results",
            company.short
        ),
        14,
        true,
    );
    let filler = parts::filler(
        company,
        year,
        quarter,
        quarter_before,
        &format!("the fourth quarter of fiscal {year}"),
    );
    let [_, town, region, _] = company.address;
    plain(
        &mut doc,
        &format!(
            "{}, {region}, {} \u{2014} {} ({}: {}) today reported results for the quarter and the year ended \
             {}.",
            town.to_uppercase(),
            long_date(results_day(company)),
            company.name,
            company.word("exchange")?,
            company.ticker,
            long_date(quarter.end)
        ),
    );
    prose(&mut doc, &company.section("release", &filler)?, 3);
    let whole = parts::filler(
        company,
        year,
        &books.years[3],
        &books.years[2],
        &format!("fiscal {year}"),
    );
    doc.heading(3, &format!("Outlook for Fiscal {}", year + 1));
    prose(&mut doc, &company.section("outlook", &whole)?, 3);
    doc.heading(3, &format!("About {}", company.short));
    prose(&mut doc, &company.section("about", &whole)?, 3);
    doc.page_break();
    // The tables of a release carry no tags: the same builder on a scratch document, tags taken off.
    let four: [&Book; 4] = [quarter, quarter_before, &books.years[3], &books.years[2]];
    let days = statements::days(&four);
    let heads = vec![
        vec![
            ("Three months ended".to_owned(), 2),
            ("Fiscal year ended".to_owned(), 2),
        ],
        days.into_iter().map(|day| (day, 1)).collect(),
    ];
    doc.heading(
        3,
        "Condensed Consolidated Statements of Operations (Unaudited)",
    );
    untagged(&mut doc, company, |scratch| {
        statements::income(scratch, company, heads, &four)
    })?;
    let two: [&Book; 2] = [&books.years[3], &books.years[2]];
    doc.heading(3, "Condensed Consolidated Balance Sheets (Unaudited)");
    untagged(&mut doc, company, |scratch| {
        let heads = statements::heads("As of", &statements::days(&two));
        statements::balance(scratch, company, heads, &two)
    })?;
    doc.heading(3, "Segment Results (Unaudited)");
    untagged(&mut doc, company, |scratch| {
        let heads = statements::heads("Three months ended", &statements::days(&four[..2]));
        statements::segments(scratch, company, heads, &four[..2])
    })?;
    plain(&mut doc, &notice(company));
    Ok(doc.finish("Exhibit 99.1"))
}

/// Writes a statement without its XBRL tags.
fn untagged(
    doc: &mut Document,
    company: &Company,
    build: impl FnOnce(&mut Document) -> Result<super::html::Table>,
) -> Result<()> {
    let mut scratch = Document::new(
        company.dialect,
        &company.cik_digits(),
        &company.prefix(),
        company.departure,
        "",
    );
    let mut table = build(&mut scratch)?;
    for cell in table
        .rows
        .iter_mut()
        .flat_map(|row| row.cells.iter_mut().flatten())
    {
        if let (Some(open), Some(close)) = (cell.inner.find('>'), cell.inner.rfind('<')) {
            cell.inner = cell.inner[open + 1..close].to_owned();
        }
    }
    doc.table(&table);
    Ok(())
}
