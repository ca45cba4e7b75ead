//! What several forms share: the cover page, prose pieces, notices, signatures.

use anyhow::Result;
use jiff::civil::Date;

use super::company::{Company, Filler, Piece, long_date};
use super::html::{Document, Tagged, Unit, When};

/// Said on the cover and at the end of every document of the sample.
pub fn notice(company: &Company) -> String {
    format!(
        "INVENTED FOR TESTING. {} does not exist. This document was written by a program to test \
         software that reads filings; nothing in it was filed with the Securities and Exchange \
         Commission and nothing in it is true.",
        company.name
    )
}

/// Prose into the document: heads at `level`, paragraphs, bullets.
pub fn prose(doc: &mut Document, pieces: &[Piece], level: u8) {
    for piece in pieces {
        match piece {
            Piece::Head(text) => doc.heading(level, text),
            Piece::Text(text) => {
                let inner = doc.text(text);
                doc.paragraph(&inner);
            }
            Piece::Bullet(text) => {
                let inner = doc.text(text);
                doc.bullet(&inner);
            }
            Piece::Speaker(text) => doc.heading(3, text),
        }
    }
}

/// One paragraph of plain text.
pub fn plain(doc: &mut Document, text: &str) {
    let inner = doc.text(text);
    doc.paragraph(&inner);
}

/// What a cover page of a periodic or current report says.
pub struct Cover<'a> {
    /// `10-K`, `10-Q`, `8-K`.
    pub form: &'a str,
    /// What the `dei` facts are about.
    pub during: When,
    /// Last day covered, or the day of the event.
    pub day: Date,
    /// Fiscal year and `FY` or `Q3`; none on an 8-K.
    pub focus: Option<(i32, &'a str)>,
    /// Shares outstanding and the day of the count; none on an 8-K.
    pub shares: Option<(i64, Date)>,
    /// Value of the shares held by others, in dollars, and its day; on a 10-K.
    pub float: Option<(i64, Date)>,
}

/// The cover page.
pub fn cover(doc: &mut Document, company: &Company, cover: &Cover<'_>) -> Result<()> {
    let during = cover.during;
    doc.hide("dei:EntityCentralIndexKey", during, &company.cik_digits());
    doc.hide("dei:AmendmentFlag", during, "false");
    let (month, day) = company.year_end;
    doc.hide(
        "dei:CurrentFiscalYearEndDate",
        during,
        &format!("--{month:02}-{day:02}"),
    );
    if let Some((year, focus)) = cover.focus {
        doc.hide("dei:DocumentFiscalYearFocus", during, &year.to_string());
        doc.hide("dei:DocumentFiscalPeriodFocus", during, focus);
    }
    let warning = doc.text(&notice(company));
    doc.centred(&warning, 8, true);
    doc.centred("UNITED STATES", 12, true);
    doc.centred("SECURITIES AND EXCHANGE COMMISSION", 12, true);
    doc.centred("Washington, D.C. 20549", 10, false);
    let form = doc.tag("dei:DocumentType", during, None, cover.form);
    doc.centred(&format!("FORM {form}"), 14, true);
    let shown = doc.text(&long_date(cover.day));
    let day = doc.tag(
        "dei:DocumentPeriodEndDate",
        during,
        Some("ixt:date-monthname-day-year-en"),
        &shown,
    );
    match cover.form {
        "8-K" => {
            doc.centred("CURRENT REPORT", 10, true);
            doc.centred(
                "Pursuant to Section 13 or 15(d) of the Securities Exchange Act of 1934",
                10,
                true,
            );
            doc.centred(
                &format!("Date of report (date of earliest event reported): {day}"),
                10,
                false,
            );
        }
        form => {
            let (kind, span, concept) = if form == "10-K" {
                ("ANNUAL", "fiscal year", "dei:DocumentAnnualReport")
            } else {
                (
                    "QUARTERLY",
                    "quarterly period",
                    "dei:DocumentQuarterlyReport",
                )
            };
            let mark = doc.tag(concept, during, Some("ixt-sec:boolballotbox"), "&#9746;");
            doc.paragraph(&format!(
                "{mark}&#160;&#160;<b>{kind} REPORT PURSUANT TO SECTION 13 OR 15(d) OF THE SECURITIES \
                 EXCHANGE ACT OF 1934</b>"
            ));
            doc.centred(&format!("For the {span} ended {day}"), 10, true);
            doc.centred("OR", 10, false);
            let blank = doc.tag(
                "dei:DocumentTransitionReport",
                during,
                Some("ixt-sec:boolballotbox"),
                "&#9744;",
            );
            doc.paragraph(&format!(
                "{blank}&#160;&#160;<b>TRANSITION REPORT PURSUANT TO SECTION 13 OR 15(d) OF THE SECURITIES \
                 EXCHANGE ACT OF 1934</b> for the transition period from ________ to ________"
            ));
        }
    }
    let number = format!("999-{:05}", company.cik % 100_000);
    let file = doc.tag("dei:EntityFileNumber", during, None, &number);
    doc.centred(&format!("Commission file number {file}"), 9, false);
    let name = doc.text(company.name);
    let name = doc.tag("dei:EntityRegistrantName", during, None, &name);
    doc.centred(&name, 16, true);
    doc.centred(
        "(Exact name of registrant as specified in its charter)",
        8,
        false,
    );
    let state = doc.tag(
        "dei:EntityIncorporationStateCountryCode",
        during,
        Some("ixt-sec:stateprovnameen"),
        company.state,
    );
    let tax = format!("99-{:07}", company.cik % 10_000_000);
    let tax = doc.tag("dei:EntityTaxIdentificationNumber", during, None, &tax);
    let [street, town, region, code] = company.address;
    let street = doc.tag("dei:EntityAddressAddressLine1", during, None, street);
    let town = doc.tag("dei:EntityAddressCityOrTown", during, None, town);
    let region = doc.tag(
        "dei:EntityAddressStateOrProvince",
        during,
        Some("ixt-sec:stateprovnameen"),
        region,
    );
    let code = doc.tag("dei:EntityAddressPostalZipCode", during, None, code);
    let area = doc.tag("dei:CityAreaCode", during, None, company.phone.0);
    let phone = doc.tag("dei:LocalPhoneNumber", during, None, company.phone.1);
    doc.raw(&format!(
        "<table style=\"width:100%\"><tr><td style=\"text-align:center\">{state}</td><td \
         style=\"text-align:center\">{tax}</td></tr><tr><td style=\"text-align:center\">(State or other \
         jurisdiction of incorporation)</td><td style=\"text-align:center\">(I.R.S. Employer \
         Identification No.)</td></tr><tr><td style=\"text-align:center\">{street}, {town}, {region}</td>\
         <td style=\"text-align:center\">{code}</td></tr><tr><td style=\"text-align:center\">(Address of \
         principal executive offices)</td><td style=\"text-align:center\">(Zip Code)</td></tr></table>\n"
    ));
    doc.centred(
        &format!("Registrant&#8217;s telephone number, including area code: ({area}) {phone}"),
        9,
        false,
    );
    doc.paragraph("Securities registered pursuant to Section 12(b) of the Act:");
    let class = doc.tag(
        "dei:Security12bTitle",
        during,
        None,
        "Common stock, par value $0.01 per share",
    );
    let symbol = doc.tag("dei:TradingSymbol", during, None, company.ticker);
    let venue = company.word("exchange")?;
    let venue = doc.tag(
        "dei:SecurityExchangeName",
        during,
        Some("ixt-sec:exchnameen"),
        venue,
    );
    doc.raw(&format!(
        "<table style=\"width:100%\"><tr><td style=\"text-align:center\"><b>Title of each class</b></td><td \
         style=\"text-align:center\"><b>Trading Symbol(s)</b></td><td style=\"text-align:center\"><b>Name of \
         each exchange on which registered</b></td></tr><tr><td style=\"text-align:center\">{class}</td><td \
         style=\"text-align:center\">{symbol}</td><td style=\"text-align:center\">{venue}</td></tr></table>\n"
    ));
    if let Some((dollars, day)) = cover.float {
        let value = doc.number(&Tagged {
            concept: "dei:EntityPublicFloat",
            when: When::At(day),
            dimension: None,
            unit: Unit::Usd,
            decimals: "-8",
            scale: 9,
            negative: false,
            shown: format!("{}.{}", dollars / 1_000_000_000, dollars / 100_000_000 % 10),
        });
        doc.paragraph(&format!(
            "The aggregate market value of the common stock held by non-affiliates on {}, the last business \
             day of the registrant&#8217;s second fiscal quarter, was approximately ${value} billion.",
            long_date(day)
        ));
    }
    if let Some((shares, day)) = cover.shares {
        let count = doc.number(&Tagged {
            concept: "dei:EntityCommonStockSharesOutstanding",
            when: When::At(day),
            dimension: None,
            unit: Unit::Shares,
            decimals: "INF",
            scale: 0,
            negative: false,
            shown: super::figures::grouped(shares),
        });
        doc.paragraph(&format!(
            "As of {}, the registrant had {count} shares of common stock outstanding.",
            long_date(day)
        ));
    }
    if cover.form == "8-K" {
        doc.paragraph(
            "Check the appropriate box below if the Form 8-K filing is intended to simultaneously satisfy the \
             filing obligation of the registrant under any of the following provisions:",
        );
        for (concept, what) in [
            (
                "dei:WrittenCommunications",
                "Written communications pursuant to Rule 425 under the Securities Act",
            ),
            (
                "dei:SolicitingMaterial",
                "Soliciting material pursuant to Rule 14a-12 under the Exchange Act",
            ),
        ] {
            let mark = doc.tag(concept, during, Some("ixt-sec:boolballotbox"), "&#9744;");
            doc.paragraph(&format!("{mark}&#160;&#160;{what}"));
        }
    }
    Ok(())
}

/// The signature block.
pub fn signatures(doc: &mut Document, company: &Company, day: Date, roles: &[&str]) -> Result<()> {
    doc.anchor("signatures");
    doc.centred("SIGNATURES", 11, true);
    plain(
        doc,
        "Pursuant to the requirements of the Securities Exchange Act of 1934, the registrant has duly caused \
         this report to be signed on its behalf by the undersigned, thereunto duly authorized.",
    );
    let name = doc.text(company.name);
    doc.paragraph(&format!("<b>{name}</b>"));
    for role in roles {
        let title = match *role {
            "ceo" => "Chief Executive Officer",
            "cfo" => "Chief Financial Officer",
            _ => "General Counsel",
        };
        plain(
            doc,
            &format!(
                "Date: {}    By: /s/ {}    {title}",
                long_date(day),
                company.word(role)?
            ),
        );
    }
    let last = notice(company);
    plain(doc, &last);
    Ok(())
}

/// The filler of a company's prose for a period.
pub fn filler<'a>(
    company: &'a Company,
    year: i32,
    now: &'a super::figures::Book,
    before: &'a super::figures::Book,
    period: &str,
) -> Filler<'a> {
    Filler {
        company,
        year,
        now,
        before,
        period: period.to_owned(),
    }
}
