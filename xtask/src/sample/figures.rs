//! The books of an invented company: yearly inputs in, full sets of figures out.
//!
//! Every balance is rolled forward from the one before by the flows of the period, so that the
//! three statements tie by construction; nothing here knows of HTML or of forms.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use jiff::ToSpan;
use jiff::civil::Date;

/// The unit that a company's statements are shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Whole thousands.
    Thousands,
    /// Whole millions.
    Millions,
    /// Millions with one decimal; amounts are kept in tenths of a million.
    MillionsTenths,
}

impl Scale {
    /// The magnitude of `amount` as a table shows it.
    pub fn show(self, amount: i64) -> String {
        let amount = amount.abs();
        match self {
            Scale::Thousands | Scale::Millions => grouped(amount),
            Scale::MillionsTenths => format!("{}.{}", grouped(amount / 10), amount % 10),
        }
    }

    /// The words above a table.
    pub fn words(self) -> &'static str {
        match self {
            Scale::Thousands => "in thousands",
            Scale::Millions | Scale::MillionsTenths => "in millions",
        }
    }

    /// XBRL `scale`.
    pub fn exponent(self) -> i32 {
        match self {
            Scale::Thousands => 3,
            Scale::Millions | Scale::MillionsTenths => 6,
        }
    }

    /// XBRL `decimals`.
    pub fn decimals(self) -> &'static str {
        match self {
            Scale::Thousands => "-3",
            Scale::Millions => "-6",
            Scale::MillionsTenths => "-5",
        }
    }

    /// `amount` in single dollars (or single shares).
    pub fn units(self, amount: i64) -> i64 {
        match self {
            Scale::Thousands => amount * 1_000,
            Scale::Millions => amount * 1_000_000,
            Scale::MillionsTenths => amount * 100_000,
        }
    }

    /// `amount` as running text says it: `$41.3 million`.
    pub fn spoken(self, amount: i64) -> String {
        let tenths = rounded(self.units(amount.abs()), 100_000);
        if self == Scale::Millions {
            format!("${} million", grouped(tenths / 10))
        } else {
            format!("${}.{} million", grouped(tenths / 10), tenths % 10)
        }
    }
}

/// `12345` as `12,345`.
pub fn grouped(number: i64) -> String {
    let digits = number.abs().to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `number / by`, rounded half away from zero.
pub fn rounded(number: i64, by: i64) -> i64 {
    let half = by.abs() / 2;
    let magnitude = (number.abs() + half) / by.abs();
    if (number < 0) == (by < 0) {
        magnitude
    } else {
        -magnitude
    }
}

/// `part` of `whole` in tenths of a percent.
pub fn permille(part: i64, whole: i64) -> i64 {
    rounded(part * 1000, whole)
}

/// Tenths of a percent as `7.4%`, without sign.
pub fn percent(tenths: i64) -> String {
    format!("{}.{}%", tenths.abs() / 10, tenths.abs() % 10)
}

/// The flows of a period, by name; see [`FLOWS`].
pub type Amounts = BTreeMap<&'static str, i64>;

/// The flows that an author states for each fiscal year. `d_` lines are increases of a balance.
pub const FLOWS: [&str; 25] = [
    "seg0",
    "seg1",
    "seg2",
    "cost",
    "rd",
    "sga",
    "amort",
    "interest",
    "other",
    "tax",
    "dep",
    "sbc",
    "d_ar",
    "d_inventory",
    "d_prepaid",
    "d_ap",
    "d_accrued",
    "d_deferred",
    "capex",
    "borrow",
    "repay",
    "dividends",
    "buyback",
    "seg0_income",
    "seg1_income",
];

/// The balances that an author states for the day before the first year.
pub const OPENING: [&str; 15] = [
    "cash",
    "ar",
    "inventory",
    "prepaid",
    "ppe",
    "goodwill",
    "intangibles",
    "other_assets",
    "ap",
    "accrued",
    "deferred",
    "current_debt",
    "debt",
    "other_liabilities",
    "capital",
];

/// One period of a company: its flows and totals, and the balances on its last day.
#[derive(Clone, Debug)]
pub struct Book {
    /// First day.
    pub start: Date,
    /// Last day.
    pub end: Date,
    /// Everything by name: flows, totals, balances, shares.
    amounts: Amounts,
}

impl Book {
    /// The amount called `key`.
    pub fn get(&self, key: &str) -> Result<i64> {
        self.amounts
            .get(key)
            .copied()
            .with_context(|| format!("no amount is called {key:?}"))
    }

    /// Earnings per share in cents.
    pub fn eps_cents(&self, diluted: bool) -> Result<i64> {
        let shares = self.get(if diluted { "diluted" } else { "basic" })?;
        Ok(rounded(self.get("ni")? * 100, shares))
    }
}

/// The first day after `date`.
pub fn next_day(date: Date) -> Date {
    date.saturating_add(1.day())
}

/// Closes a period: `flows` between `start` and `end` on top of the balances `before`.
pub fn close(
    start: Date,
    end: Date,
    flows: &Amounts,
    shares: (i64, i64),
    before: &Amounts,
) -> Result<Book> {
    let flow = |key: &str| {
        flows
            .get(key)
            .copied()
            .with_context(|| format!("no flow {key:?} for the period to {end}"))
    };
    let held = |key: &str| {
        before
            .get(key)
            .copied()
            .with_context(|| format!("no balance {key:?} before {start}"))
    };
    let mut all = flows.clone();
    let revenue = flow("seg0")? + flow("seg1")? + flow("seg2")?;
    let gross = revenue - flow("cost")?;
    let opinc = gross - flow("rd")? - flow("sga")? - flow("amort")?;
    let pretax = opinc - flow("interest")? + flow("other")?;
    let ni = pretax - flow("tax")?;
    let cfo = ni + flow("dep")? + flow("amort")? + flow("sbc")?
        - flow("d_ar")?
        - flow("d_inventory")?
        - flow("d_prepaid")?
        + flow("d_ap")?
        + flow("d_accrued")?
        + flow("d_deferred")?;
    let cfi = -flow("capex")?;
    let cff = flow("borrow")? - flow("repay")? - flow("dividends")? - flow("buyback")?;
    let opening_cash = held("cash")?;
    let balances = [
        ("cash", opening_cash + cfo + cfi + cff),
        ("ar", held("ar")? + flow("d_ar")?),
        ("inventory", held("inventory")? + flow("d_inventory")?),
        ("prepaid", held("prepaid")? + flow("d_prepaid")?),
        ("ppe", held("ppe")? + flow("capex")? - flow("dep")?),
        ("goodwill", held("goodwill")?),
        ("intangibles", held("intangibles")? - flow("amort")?),
        ("other_assets", held("other_assets")?),
        ("ap", held("ap")? + flow("d_ap")?),
        ("accrued", held("accrued")? + flow("d_accrued")?),
        ("deferred", held("deferred")? + flow("d_deferred")?),
        ("current_debt", held("current_debt")?),
        ("debt", held("debt")? + flow("borrow")? - flow("repay")?),
        ("other_liabilities", held("other_liabilities")?),
        ("capital", held("capital")? + flow("sbc")?),
        ("retained", held("retained")? + ni - flow("dividends")?),
        ("treasury", held("treasury")? - flow("buyback")?),
    ];
    all.extend(balances);
    let sum = |keys: &[&str]| -> i64 { keys.iter().filter_map(|key| all.get(key)).sum() };
    let current_assets = sum(&["cash", "ar", "inventory", "prepaid"]);
    let assets = current_assets + sum(&["ppe", "goodwill", "intangibles", "other_assets"]);
    let current_liabilities = sum(&["ap", "accrued", "deferred", "current_debt"]);
    let liabilities = current_liabilities + sum(&["debt", "other_liabilities"]);
    let equity = sum(&["capital", "retained", "treasury"]);
    ensure!(
        assets == liabilities + equity,
        "the balance sheet of {end} is off by {}",
        assets - liabilities - equity
    );
    let total_debt = sum(&["current_debt", "debt"]);
    all.extend([
        ("revenue", revenue),
        ("gross", gross),
        ("opinc", opinc),
        ("pretax", pretax),
        ("ni", ni),
        ("cfo", cfo),
        ("cfi", cfi),
        ("cff", cff),
        ("net_change", cfo + cfi + cff),
        ("opening_cash", opening_cash),
        ("fcf", cfo + cfi),
        ("current_assets", current_assets),
        ("assets", assets),
        ("current_liabilities", current_liabilities),
        ("liabilities", liabilities),
        ("equity", equity),
        ("liabilities_and_equity", liabilities + equity),
        ("total_debt", total_debt),
        ("basic", shares.0),
        ("diluted", shares.1),
    ]);
    let segment_income = [flow("seg0_income")?, flow("seg1_income")?];
    // The third segment and the corporate office share what the first two leave of the profit.
    let corporate = -rounded(revenue * 3, 100);
    all.insert("corporate_income", corporate);
    all.insert(
        "seg2_income",
        opinc - corporate - segment_income[0] - segment_income[1],
    );
    Ok(Book {
        start,
        end,
        amounts: all,
    })
}

/// The flows of a part of a year: about `thousandths` of each line, no two lines quite alike.
pub fn part_of_year(year: &Amounts, thousandths: i64) -> Amounts {
    year.iter()
        .enumerate()
        .map(|(at, (key, amount))| {
            // A fixed wobble of up to 0.7 %, smaller than any margin the statements show.
            let wobble = (at as i64 * 7) % 15 - 7;
            (*key, rounded(amount * (thousandths + wobble), 1000))
        })
        .collect()
}

/// `all` less `part`, line by line: a fourth quarter from a year and its first nine months.
pub fn rest_of_year(all: &Amounts, part: &Amounts) -> Amounts {
    all.iter()
        .map(|(key, amount)| (*key, amount - part.get(key).copied().unwrap_or(0)))
        .collect()
}

/// The balances of `book`, to open the next period with.
pub fn balances(book: &Book) -> Amounts {
    book.amounts.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_statements_show_them() {
        assert_eq!(Scale::Thousands.show(1_234_567), "1,234,567");
        assert_eq!(Scale::MillionsTenths.show(-12_345), "1,234.5");
        assert_eq!(Scale::Thousands.spoken(412_649), "$412.6 million");
        assert_eq!(Scale::Millions.spoken(2781), "$2,781 million");
        assert_eq!(percent(permille(-25, 1000)), "2.5%");
        assert_eq!(rounded(-5, 2), -3);
        assert_eq!(rounded(5, 2), 3);
        assert_eq!(grouped(100), "100");
    }
}
