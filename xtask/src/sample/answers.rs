//! Questions over the sample with their right answers and the places that prove them.
//!
//! Values and ratios come from the books, text answers from the prose file; every place named here
//! is looked up in the document before it is written, so an answer can never outlive its evidence.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Document;
use super::company::{Books, Company};
use super::figures::{Book, grouped, permille};
use super::parts;
use super::proxy;
use super::statements::lower;

/// One place that proves an answer: a table cell or a quote.
struct Place {
    role: &'static str,
    section: &'static str,
    proof: Proof,
}

enum Proof {
    /// Row label and cell as shown.
    Cell(String, String),
    /// Words that stand in the document.
    Quote(String),
}

struct Writer<'a> {
    company: &'a Company,
    documents: &'a [Document],
    lines: Vec<String>,
}

/// The answer lines of one company.
pub fn write(company: &Company, books: &Books, documents: &[Document]) -> Result<Vec<String>> {
    let mut writer = Writer {
        company,
        documents,
        lines: Vec::new(),
    };
    writer.values(books)?;
    writer.calculations(books)?;
    writer.pay()?;
    writer.prose(books)?;
    writer.unanswerable()?;
    Ok(writer.lines)
}

impl Writer<'_> {
    fn put(
        &mut self,
        kind: &str,
        question: &str,
        answer: &str,
        value: Option<(f64, &str)>,
        formula: Option<&str>,
        places: &[Place],
    ) -> Result<()> {
        let mut evidence = Vec::new();
        for place in places {
            let document = self.document(place.role)?;
            evidence.push(proof(document, place)?);
        }
        let first = places.first().map(|place| self.document(place.role));
        let first = first.transpose()?;
        let line = json!({
            "id": format!("{}-{:02}", self.company.prefix(), self.lines.len() + 1),
            "kind": kind,
            "question": question.replace('\u{2019}', "'"),
            "company": self.company.name,
            "ticker": self.company.ticker,
            "form": first.map(|document| document.form),
            "fiscal_period": first.map(|document| document.fiscal_period.as_str()),
            "answer": answer,
            "value": value.map(|(value, _)| value),
            "unit": value.map(|(_, unit)| unit),
            "formula": formula,
            "evidence": evidence,
        });
        self.lines.push(super::sorted_line(line));
        Ok(())
    }

    fn document(&self, role: &str) -> Result<&Document> {
        self.documents
            .iter()
            .find(|document| document.role == role)
            .with_context(|| format!("no document has the role {role}"))
    }

    fn values(&mut self, books: &Books) -> Result<()> {
        let company = self.company;
        let scale = company.scale;
        let (last, year) = (&books.years[3], company.last_year);
        let labels = &company.labels;
        let sales = lower(labels.revenue);
        let short = company.short;
        let asked = [
            (
                "10K",
                "Item 8",
                last,
                "revenue",
                labels.revenue,
                format!("What were {short}'s {sales} in fiscal {year}?"),
            ),
            (
                "10K",
                "Item 8",
                last,
                "opinc",
                "Operating income (loss)",
                format!(
                    "What was the operating income of {} for fiscal {year}?",
                    company.name
                ),
            ),
            (
                "10KP",
                "Item 8",
                &books.years[2],
                "ni",
                "Net income (loss)",
                format!(
                    "How much net income did {} report for fiscal {}?",
                    company.ticker,
                    year - 1
                ),
            ),
            (
                "10K",
                "Item 8",
                last,
                "capex",
                "Capital expenditures",
                format!("What did {short} spend on capital expenditures in fiscal {year}?"),
            ),
            (
                "10K",
                "Item 8",
                last,
                "inventory",
                labels.inventory,
                format!(
                    "What balance of {} did {short} carry at the end of fiscal {year}?",
                    lower(labels.inventory)
                ),
            ),
            (
                "10K",
                "Item 8",
                last,
                "seg1",
                company.segments[1],
                format!(
                    "How much did the {} segment of {short} contribute to {sales} in fiscal {year}?",
                    company.segments[1]
                ),
            ),
            (
                "10Q",
                "Part I Item 1",
                &books.third_quarter[0],
                "revenue",
                labels.revenue,
                format!("What were {short}'s {sales} for the third quarter of fiscal {year}?"),
            ),
            (
                "10Q",
                "Part I Item 1",
                &books.nine_months[0],
                "ni",
                "Net income (loss)",
                format!(
                    "What was {short}'s net income for the first nine months of fiscal {year}?"
                ),
            ),
            (
                "EX",
                "",
                &books.fourth_quarter[0],
                "revenue",
                labels.revenue,
                format!(
                    "What {sales} did {short} announce for the fourth quarter of fiscal {year}?"
                ),
            ),
        ];
        for (role, section, book, key, row, question) in asked {
            let amount = book.get(key)?;
            self.put(
                "value",
                &question,
                &scale.spoken(amount),
                Some((scale.units(amount) as f64, "USD")),
                None,
                &[Place {
                    role,
                    section,
                    proof: Proof::Cell(row.to_owned(), scale.show(amount)),
                }],
            )?;
        }
        let cents = last.eps_cents(true)?;
        let shown = format!("{}.{:02}", cents / 100, cents % 100);
        self.put(
            "value",
            &format!("What were diluted earnings per share of {short} for fiscal {year}?"),
            &format!("${shown}"),
            Some((cents as f64 / 100.0, "USD/shares")),
            None,
            &[Place {
                role: "10K",
                section: "Item 8",
                proof: Proof::Cell("Diluted earnings (loss) per share".to_owned(), shown),
            }],
        )
    }

    fn calculations(&mut self, books: &Books) -> Result<()> {
        let company = self.company;
        let scale = company.scale;
        let (now, before) = (&books.years[3], &books.years[2]);
        let year = company.last_year;
        let labels = &company.labels;
        let short = company.short;
        let cell = |book: &Book, key: &str, row: &str| -> Result<Place> {
            Ok(Place {
                role: "10K",
                section: "Item 8",
                proof: Proof::Cell(row.to_owned(), scale.show(book.get(key)?)),
            })
        };
        let revenue = |book: &Book| cell(book, "revenue", labels.revenue);
        let growth = permille(
            now.get("revenue")? - before.get("revenue")?,
            before.get("revenue")?,
        );
        self.put(
            "growth",
            &format!(
                "By what percentage did {short}'s {} grow from fiscal {} to fiscal {year}?",
                lower(labels.revenue),
                year - 1
            ),
            &format!("{:.1}%", growth as f64 / 10.0),
            Some((growth as f64 / 10.0, "percent")),
            Some("(now - before) / before"),
            &[revenue(now)?, revenue(before)?],
        )?;
        let gross = permille(now.get("gross")?, now.get("revenue")?);
        let row = super::statements::gross_label(company);
        self.put(
            "ratio",
            &format!(
                "What share of its fiscal {year} {} was left to {short} as {}?",
                lower(labels.revenue),
                lower(row)
            ),
            &format!("{:.1}%", gross as f64 / 10.0),
            Some((gross as f64 / 10.0, "percent")),
            Some("part / whole"),
            &[cell(now, "gross", row)?, revenue(now)?],
        )?;
        let free = now.get("fcf")?;
        self.put(
            "difference",
            &format!(
                "What was {short}'s free cash flow in fiscal {year}, taken as net cash provided by operating \
                 activities less capital expenditures?"
            ),
            &format!("{}{}", if free < 0 { "-" } else { "" }, scale.spoken(free)),
            Some((scale.units(free) as f64, "USD")),
            Some("a - b"),
            &[
                cell(now, "cfo", "Net cash provided by operating activities")?,
                cell(now, "capex", "Capital expenditures")?,
            ],
        )?;
        let current = permille(now.get("current_assets")?, now.get("current_liabilities")?);
        self.put(
            "ratio",
            &format!(
                "What was the current ratio of {} at the end of fiscal {year}?",
                company.ticker
            ),
            &format!("{:.2}", current as f64 / 1000.0),
            Some(((current as f64 / 10.0).round() / 100.0, "pure")),
            Some("a / b"),
            &[
                cell(now, "current_assets", "Total current assets")?,
                cell(now, "current_liabilities", "Total current liabilities")?,
            ],
        )?;
        let average = (now.get("assets")? + before.get("assets")?) as f64 / 2.0;
        let turns = now.get("revenue")? as f64 / average;
        self.put(
            "ratio",
            &format!(
                "What was the fiscal {year} asset turnover of {short}: {} divided by average total assets?",
                lower(labels.revenue)
            ),
            &format!("{turns:.2}"),
            Some(((turns * 100.0).round() / 100.0, "pure")),
            Some("a / average(b, c)"),
            &[
                revenue(now)?,
                cell(now, "assets", "Total assets")?,
                cell(before, "assets", "Total assets")?,
            ],
        )
    }

    fn pay(&mut self) -> Result<()> {
        let company = self.company;
        let year = company.last_year;
        let ratio = proxy::pay_ratio(company);
        self.put(
            "text",
            &format!(
                "What was the CEO pay ratio that {} disclosed for fiscal {year}?",
                company.short
            ),
            &format!("{ratio} to 1"),
            Some((ratio as f64, "pure")),
            None,
            &[Place {
                role: "PROXY",
                section: "CEO Pay Ratio",
                proof: Proof::Quote(format!("The ratio of the two was {ratio} to 1.")),
            }],
        )?;
        let (name, _, parts) = company.pay[1];
        let total = company.total_pay(1);
        self.put(
            "value",
            &format!("What was the total compensation of {name} in fiscal {year}?"),
            &format!("${}", grouped(total)),
            Some((total as f64, "USD")),
            None,
            &[Place {
                role: "PROXY",
                section: "Summary Compensation Table",
                proof: Proof::Cell(name.to_owned(), grouped(total)),
            }],
        )?;
        self.put(
            "ratio",
            &format!("What share of {name}'s total pay for fiscal {year} was stock awards?"),
            &format!("{:.1}%", permille(parts[1], total) as f64 / 10.0),
            Some((permille(parts[1], total) as f64 / 10.0, "percent")),
            Some("part / whole"),
            &[
                Place {
                    role: "PROXY",
                    section: "Summary Compensation Table",
                    proof: Proof::Cell(name.to_owned(), grouped(parts[1])),
                },
                Place {
                    role: "PROXY",
                    section: "Summary Compensation Table",
                    proof: Proof::Cell(name.to_owned(), grouped(total)),
                },
            ],
        )
    }

    /// The text answers that the prose file lists: `Q: … | A: … | DOC: … | SEC: … | QUOTE: …`.
    fn prose(&mut self, books: &Books) -> Result<()> {
        let company = self.company;
        let filler = parts::filler(
            company,
            company.last_year,
            &books.years[3],
            &books.years[2],
            &format!("fiscal {}", company.last_year),
        );
        for piece in company.section("answers", &filler)? {
            let super::company::Piece::Text(line) = piece else {
                bail!("an answer is one paragraph of fields: {piece:?}");
            };
            let field = |name: &str| -> Result<String> {
                line.split(" | ")
                    .find_map(|part| part.strip_prefix(name))
                    .map(str::to_owned)
                    .with_context(|| format!("no {name} in answer {line:?}"))
            };
            let role = field("DOC: ")?;
            let role = self.document(&role)?.role;
            let section = field("SEC: ")?;
            let section = SECTIONS
                .iter()
                .find(|known| **known == section)
                .with_context(|| format!("section {section:?} is not one of SECTIONS"))?;
            self.put(
                "text",
                &field("Q: ")?,
                &field("A: ")?,
                None,
                None,
                &[Place {
                    role,
                    section,
                    proof: Proof::Quote(field("QUOTE: ")?),
                }],
            )?;
        }
        Ok(())
    }

    fn unanswerable(&mut self) -> Result<()> {
        let company = self.company;
        for question in [
            format!(
                "What were {}'s {} in fiscal 2015?",
                company.short,
                lower(company.labels.revenue)
            ),
            format!("How many patents does {} hold in Australia?", company.short),
        ] {
            self.put(
                "not-answerable",
                &question,
                "not in the filings",
                None,
                None,
                &[],
            )?;
        }
        Ok(())
    }
}

/// The sections that text answers may name; empty where the document has none.
const SECTIONS: [&str; 17] = [
    "",
    "Item 1",
    "Item 1A",
    "Item 1C",
    "Item 2",
    "Item 3",
    "Item 5",
    "Item 7",
    "Item 7A",
    "Item 8",
    "Item 9A",
    "Item 5.02",
    "Part I Item 2",
    "Part II Item 1",
    "Corporate Governance",
    "Compensation Discussion and Analysis",
    "Proposal 3: Ratification of the Independent Auditor",
];

/// The evidence record, after a look that it stands in the document.
fn proof(document: &Document, place: &Place) -> Result<Value> {
    let text = visible_text(&document.text);
    let section = Some(place.section).filter(|section| !section.is_empty());
    let (quote, row, cell) = match &place.proof {
        Proof::Quote(quote) => {
            ensure!(
                text.contains(quote),
                "{} does not say {quote:?}",
                document.file
            );
            (Some(quote), None, None)
        }
        Proof::Cell(row, cell) => {
            let stands = text.match_indices(row.as_str()).any(|(at, _)| {
                // The cells of a row follow its label; 300 characters hold four of them.
                let rest: String = text[at + row.len()..].chars().take(300).collect();
                rest.split([' ', '(', ')', '$', '%'])
                    .any(|word| word == cell)
            });
            ensure!(stands, "{} has no row {row:?} with {cell:?}", document.file);
            (None, Some(row), Some(cell))
        }
    };
    Ok(json!({
        "file": document.file,
        "accession": document.accession,
        "section": section,
        "quote": quote,
        "row": row,
        "cell": cell,
    }))
}

/// The document's words without tags, single-spaced: enough to look a quote up.
fn visible_text(markup: &str) -> String {
    let mut text = String::with_capacity(markup.len() / 2);
    let mut inside = false;
    for c in markup.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            _ if !inside => text.push(c),
            _ => {}
        }
    }
    for (reference, c) in [
        ("&#8217;", "\u{2019}"),
        ("&#8220;", "\u{201c}"),
        ("&#8221;", "\u{201d}"),
        ("&#8212;", "\u{2014}"),
        ("&#160;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ] {
        text = text.replace(reference, c);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_text_drops_tags_and_reads_references() {
        assert_eq!(
            visible_text("<p>Tom&#8217;s&#160;<b>net  sales</b></p>"),
            "Tom\u{2019}s net sales"
        );
    }
}
