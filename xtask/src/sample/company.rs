//! An invented company: who it is, its books by year, and its prose with placeholders to fill.
//!
//! Knows figures and text; must not know markup or forms.

use anyhow::{Context, Result, bail, ensure};
use jiff::civil::{Date, date};

use super::figures::{
    Amounts, Book, FLOWS, OPENING, Scale, balances, close, next_day, part_of_year, percent,
    permille, rest_of_year,
};
use super::html::Dialect;

/// What the statements of a company call their lines.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// `Net sales`, `Revenue`, `Operating revenues`.
    pub revenue: &'static str,
    /// `Cost of sales`, `Cost of revenue`.
    pub cost: &'static str,
    /// The line between cost and selling expense.
    pub rd: &'static str,
    /// Selling, general and administrative, under its name here.
    pub sga: &'static str,
    /// Amortization line.
    pub amort: &'static str,
    /// Inventories, or what stands in their place.
    pub inventory: &'static str,
    /// Deferred revenue, or what stands in its place.
    pub deferred: &'static str,
    /// Intangibles, or what stands in their place.
    pub intangibles: &'static str,
}

/// An invented company.
#[derive(Debug)]
pub struct Company {
    /// Symbol not in use.
    pub ticker: &'static str,
    /// Registered name.
    pub name: &'static str,
    /// What its filings call it.
    pub short: &'static str,
    /// Number outside the range that SEC has assigned.
    pub cik: u64,
    /// GICS sector.
    pub sector: &'static str,
    /// State of incorporation.
    pub state: &'static str,
    /// Street, town, state, postal code of a place that does not exist.
    pub address: [&'static str; 4],
    /// Area code and number from the range kept for fiction.
    pub phone: (&'static str, &'static str),
    /// Month and day of the fiscal year's end.
    pub year_end: (i8, i8),
    /// The latest fiscal year that has an annual report.
    pub last_year: i32,
    /// Unit of its statements.
    pub scale: Scale,
    /// Filing software.
    pub dialect: Dialect,
    /// Names of its statement lines.
    pub labels: Labels,
    /// Names of its three segments.
    pub segments: [&'static str; 3],
    /// XBRL member names of the segments.
    pub members: [&'static str; 3],
    /// Names by role: `ceo`, `cfo`, `newcfo`, `gc`, `chair`, `auditor`, `exchange`.
    pub words: &'static [(&'static str, &'static str)],
    /// Summary compensation: name, title, then salary, stock awards, incentive, other in dollars.
    pub pay: &'static [(&'static str, &'static str, [i64; 4])],
    /// Median employee's total pay in dollars.
    pub median_pay: i64,
    /// Directors: name, age, since, what they did.
    pub directors: &'static [(&'static str, u8, u16, &'static str)],
    /// Day of the annual meeting after the last year.
    pub meeting: Date,
    /// Day the chief financial officer's departure was announced.
    pub departure: Date,
    /// Flows of the four years up to `last_year`.
    pub flows: &'static [(&'static str, [i64; 4])],
    /// Basic and diluted shares of the four years.
    pub shares: [(i64, i64); 4],
    /// Balances on the day before the first of the four years.
    pub opening: &'static [(&'static str, i64)],
    /// The text file with its prose.
    pub prose: &'static str,
}

/// A closed set of books.
pub struct Books {
    /// Four fiscal years, oldest first.
    pub years: Vec<Book>,
    /// First nine months of the last year and of the one before it.
    pub nine_months: [Book; 2],
    /// Third quarter of the last year and of the one before it.
    pub third_quarter: [Book; 2],
    /// Fourth quarter of the last year and of the one before it.
    pub fourth_quarter: [Book; 2],
}

/// A piece of prose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A heading.
    Head(String),
    /// A paragraph.
    Text(String),
    /// A bullet.
    Bullet(String),
    /// The next paragraphs are said by this person.
    Speaker(String),
}

impl Company {
    /// `ZZAQ` in lower case: namespace prefix and file names.
    pub fn prefix(&self) -> String {
        self.ticker.to_ascii_lowercase()
    }

    /// Ten-digit CIK.
    pub fn cik_digits(&self) -> String {
        format!("{:010}", self.cik)
    }

    /// Last day of a fiscal year. A fiscal year is named after the calendar year it ends in.
    pub fn end_of(&self, year: i32) -> Date {
        date(year as i16, self.year_end.0, self.year_end.1)
    }

    /// A word of the company by role.
    pub fn word(&self, role: &str) -> Result<&'static str> {
        self.words
            .iter()
            .find(|(name, _)| *name == role)
            .map(|(_, word)| *word)
            .with_context(|| format!("{} has no {role:?}", self.ticker))
    }

    /// The invented accession number of its `serial`th filing of a calendar year.
    pub fn accession(&self, year: i16, serial: u32) -> String {
        format!("{:010}-{:02}-{serial:06}", self.cik, year % 100)
    }

    /// Total pay of `pay[at]` in dollars.
    pub fn total_pay(&self, at: usize) -> i64 {
        self.pay[at].2.iter().sum()
    }

    /// Closes the books of all periods.
    pub fn books(&self) -> Result<Books> {
        for key in FLOWS {
            ensure!(
                self.flows.iter().any(|(name, _)| *name == key),
                "{} states no {key}",
                self.ticker
            );
        }
        let mut opening: Amounts = self.opening.iter().copied().collect();
        for key in OPENING {
            ensure!(
                opening.contains_key(key),
                "{} opens without {key}",
                self.ticker
            );
        }
        let held = |keys: &[&str]| -> i64 { keys.iter().filter_map(|k| opening.get(k)).sum() };
        let retained = held(&[
            "cash",
            "ar",
            "inventory",
            "prepaid",
            "ppe",
            "goodwill",
            "intangibles",
            "other_assets",
        ]) - held(&[
            "ap",
            "accrued",
            "deferred",
            "current_debt",
            "debt",
            "other_liabilities",
            "capital",
        ]);
        opening.insert("retained", retained);
        opening.insert("treasury", 0);

        let mut years: Vec<Book> = Vec::new();
        let mut parts = Vec::new();
        for at in 0..4 {
            let year = self.last_year - 3 + at as i32;
            let flows: Amounts = self.flows.iter().map(|(k, v)| (*k, v[at])).collect();
            let before = match years.last() {
                Some(book) => balances(book),
                None => opening.clone(),
            };
            let start = next_day(self.end_of(year - 1));
            let end = self.end_of(year);
            if at >= 2 {
                parts.push(self.parts_of_year(start, end, &flows, at, &before)?);
            }
            years.push(close(start, end, &flows, self.shares[at], &before)?);
        }
        let (Some(last), Some(prior)) = (parts.pop(), parts.pop()) else {
            bail!("four years give two with quarters");
        };
        Ok(Books {
            years,
            nine_months: [last.0, prior.0],
            third_quarter: [last.1, prior.1],
            fourth_quarter: [last.2, prior.2],
        })
    }

    fn parts_of_year(
        &self,
        start: Date,
        end: Date,
        flows: &Amounts,
        at: usize,
        before: &Amounts,
    ) -> Result<(Book, Book, Book)> {
        let shares = self.shares[at];
        let months = |count: i8| month_end(start, count);
        let nine = part_of_year(flows, 742);
        let six = part_of_year(&nine, 659);
        let third = rest_of_year(&nine, &six);
        let fourth = rest_of_year(flows, &nine);
        let half = close(start, months(6), &six, shares, before)?;
        let quarter = close(
            next_day(months(6)),
            months(9),
            &third,
            shares,
            &balances(&half),
        )?;
        let nine_months = close(start, months(9), &nine, shares, before)?;
        let last = close(
            next_day(months(9)),
            end,
            &fourth,
            shares,
            &balances(&nine_months),
        )?;
        Ok((nine_months, quarter, last))
    }

    /// The pieces of the prose section called `name`, as they stand for `year`.
    pub fn section(&self, name: &str, filler: &Filler<'_>) -> Result<Vec<Piece>> {
        let marker = format!("[{name}]");
        let mut inside = false;
        let mut found = false;
        let mut pieces = Vec::new();
        for paragraph in self.prose.split("\n\n") {
            // Prose files are typed with straight apostrophes; filings are set with curly ones.
            let mut paragraph = paragraph
                .trim()
                .replace('\n', " ")
                .replace('\'', "\u{2019}");
            if paragraph.starts_with('[') && paragraph.ends_with(']') {
                inside = paragraph == marker;
                found |= inside;
                continue;
            }
            if !inside || paragraph.is_empty() {
                continue;
            }
            if let Some(rest) = paragraph.strip_prefix("@last ") {
                if filler.year != self.last_year {
                    continue;
                }
                paragraph = rest.to_owned();
            } else if let Some(rest) = paragraph.strip_prefix("@before ") {
                if filler.year == self.last_year {
                    continue;
                }
                paragraph = rest.to_owned();
            }
            let filled = filler
                .fill(&paragraph)
                .with_context(|| format!("{} [{name}]", self.ticker))?;
            pieces.push(if let Some(rest) = filled.strip_prefix("# ") {
                Piece::Head(rest.to_owned())
            } else if let Some(rest) = filled.strip_prefix("- ") {
                Piece::Bullet(rest.to_owned())
            } else if let Some(rest) = filled.strip_prefix("> ") {
                Piece::Speaker(rest.to_owned())
            } else {
                Piece::Text(filled)
            });
        }
        ensure!(found, "{} has no prose section [{name}]", self.ticker);
        Ok(pieces)
    }
}

/// The last day of the `count`th month of a year that begins on `start`.
fn month_end(start: Date, count: i8) -> Date {
    let months = i16::from(start.month()) - 1 + i16::from(count);
    let first = date(start.year() + months / 12, (months % 12) as i8 + 1, 1);
    first.yesterday().unwrap_or(first)
}

/// `December 31, 2024`.
pub fn long_date(day: Date) -> String {
    day.strftime("%B %-d, %Y").to_string()
}

/// Fills the placeholders of prose from a period and the one before it.
pub struct Filler<'a> {
    /// The company.
    pub company: &'a Company,
    /// Fiscal year of the document.
    pub year: i32,
    /// The period spoken of.
    pub now: &'a Book,
    /// The same period a year before.
    pub before: &'a Book,
    /// What the text calls the period: `fiscal 2024`.
    pub period: String,
}

impl Filler<'_> {
    /// `text` with every `{placeholder}` replaced; an unknown one is an error.
    pub fn fill(&self, text: &str) -> Result<String> {
        let mut out = String::with_capacity(text.len() + 64);
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..]
                .find('}')
                .with_context(|| format!("unclosed placeholder in {text:?}"))?;
            out.push_str(&rest[..open]);
            out.push_str(&self.value(&rest[open + 1..open + close])?);
            rest = &rest[open + close + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, name: &str) -> Result<String> {
        let scale = self.company.scale;
        let company = self.company;
        if let Some((kind, key)) = name.split_once(':') {
            let change =
                |key: &str| -> Result<i64> { Ok(self.now.get(key)? - self.before.get(key)?) };
            return Ok(match kind {
                "m" => scale.spoken(self.now.get(key)?),
                "m1" => scale.spoken(self.before.get(key)?),
                "g" => percent(permille(change(key)?, self.before.get(key)?)),
                "w" if change(key)? >= 0 => "increased".to_owned(),
                "w" => "decreased".to_owned(),
                "d" => scale.spoken(change(key)?),
                "r" | "r1" => {
                    let book = if kind == "r" { self.now } else { self.before };
                    let (part, whole) = key.split_once('/').context("a ratio needs a slash")?;
                    percent(permille(book.get(part)?, book.get(whole)?))
                }
                _ => bail!("unknown placeholder {{{name}}}"),
            });
        }
        let cents = |cents: i64| format!("${}.{:02}", cents / 100, cents % 100);
        Ok(match name {
            "name" => company.name.to_owned(),
            "short" => company.short.to_owned(),
            "fy" => self.year.to_string(),
            "fy1" => (self.year - 1).to_string(),
            "fynext" => (self.year + 1).to_string(),
            "fye" => long_date(company.end_of(self.year)),
            "fye1" => long_date(company.end_of(self.year - 1)),
            "period" => self.period.clone(),
            "end" => long_date(self.now.end),
            "seg0" => company.segments[0].to_owned(),
            "seg1" => company.segments[1].to_owned(),
            "seg2" => company.segments[2].to_owned(),
            "town" => company.address[1].to_owned(),
            "state" => company.address[2].to_owned(),
            "departure" => long_date(company.departure),
            "eps" => cents(self.now.eps_cents(true)?),
            "eps1" => cents(self.before.eps_cents(true)?),
            role => company.word(role)?.to_owned(),
        })
    }
}
