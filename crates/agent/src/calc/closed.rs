//! The formulas that a model may name over figures it has cited: a closed list, so that a grammar
//! can hold it to them, and each one something that code computes.
//!
//! Must not know how figures were found or what the result is called.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use regex::Regex;

use super::formula::Expr;

/// A formula over figures in the order they are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedFormula {
    /// The figures as they stand.
    Value,
    /// All together.
    Sum,
    /// The first less the second.
    Difference,
    /// The first over the second.
    Ratio,
    /// The first in hundredths of the second.
    Percent,
    /// From the second (earlier) to the first (later), in hundredths of the second.
    Growth,
    /// The mean.
    Average,
    /// The one that is largest.
    Largest,
    /// The one that is smallest.
    Smallest,
}

impl ClosedFormula {
    /// All, in the order a prompt lists them.
    pub const ALL: [ClosedFormula; 9] = [
        ClosedFormula::Value,
        ClosedFormula::Sum,
        ClosedFormula::Difference,
        ClosedFormula::Ratio,
        ClosedFormula::Percent,
        ClosedFormula::Growth,
        ClosedFormula::Average,
        ClosedFormula::Largest,
        ClosedFormula::Smallest,
    ];

    /// The name a model writes.
    pub fn name(self) -> &'static str {
        match self {
            ClosedFormula::Value => "value",
            ClosedFormula::Sum => "sum",
            ClosedFormula::Difference => "difference",
            ClosedFormula::Ratio => "ratio",
            ClosedFormula::Percent => "percent",
            ClosedFormula::Growth => "growth",
            ClosedFormula::Average => "average",
            ClosedFormula::Largest => "largest",
            ClosedFormula::Smallest => "smallest",
        }
    }

    /// The formula of that name.
    pub fn named(name: &str) -> Option<ClosedFormula> {
        ClosedFormula::ALL
            .into_iter()
            .find(|formula| formula.name() == name)
    }

    /// How many figures it takes.
    pub fn takes(self) -> RangeInclusive<usize> {
        match self {
            ClosedFormula::Value => 1..=4,
            ClosedFormula::Sum | ClosedFormula::Average => 2..=MAX_FIGURES,
            ClosedFormula::Largest | ClosedFormula::Smallest => 2..=MAX_FIGURES,
            ClosedFormula::Difference
            | ClosedFormula::Ratio
            | ClosedFormula::Percent
            | ClosedFormula::Growth => 2..=2,
        }
    }

    /// Whether a question can be meant so: it has a word for what the formula does. A plain value can
    /// answer any question.
    pub fn asked_by(self, question: &str) -> bool {
        let pattern = match self {
            ClosedFormula::Value => return true,
            ClosedFormula::Sum => &SUM,
            ClosedFormula::Difference => &CHANGE,
            ClosedFormula::Growth => &GROWTH,
            ClosedFormula::Ratio => &RATIO,
            ClosedFormula::Percent => &SHARE,
            ClosedFormula::Average => &MEAN,
            ClosedFormula::Largest => &MOST,
            ClosedFormula::Smallest => &LEAST,
        };
        pattern.is_match(question)
    }

    /// Whether it sets two figures of one thing against each other over time.
    pub fn compares_periods(self) -> bool {
        matches!(self, ClosedFormula::Difference | ClosedFormula::Growth)
    }

    /// The computation over `count` figures; nothing for those that only pick.
    pub fn expr(self, count: usize) -> Option<Expr> {
        let figure = |at| Box::new(Expr::Figure(at));
        Some(match self {
            ClosedFormula::Value | ClosedFormula::Largest | ClosedFormula::Smallest => return None,
            ClosedFormula::Sum => (1..count).fold(Expr::Figure(0), |sum, at| {
                Expr::Add(Box::new(sum), figure(at))
            }),
            ClosedFormula::Difference => Expr::Sub(figure(0), figure(1)),
            ClosedFormula::Ratio => Expr::Div(figure(0), figure(1)),
            ClosedFormula::Percent => Expr::Percent(Box::new(Expr::Div(figure(0), figure(1)))),
            ClosedFormula::Growth => Expr::Growth {
                new: figure(0),
                old: figure(1),
            },
            ClosedFormula::Average => Expr::Average((0..count).map(Expr::Figure).collect()),
        })
    }
}

fn pattern(words: &str) -> Regex {
    Regex::new(&format!(r"(?i)\b(?:{words})")).expect("a constant pattern")
}

static SUM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"total|sum\b|combined|together|in all\b|aggregate|overall|cumulative")
});
static CHANGE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"by how|increas|decreas|chang|differ|ris[ei]|rose\b|f[ae]ll|grow|grew|compar|less\b|declin|improv|rais|higher|lower|drop|reduc|exce",
    )
});
static GROWTH: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"grow|grew|percent|increas|decreas|chang|ris[ei]|rose\b|f[ae]ll|declin|year[- ]over|yoy\b",
    )
});
static RATIO: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"ratio\b|times\b|coverage|turnover|multiple|divided|relative to|per\b|intens|leverage")
});
static SHARE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"percent|share of|proportion|portion|fraction|margin|contribut|represent|how much of|rate\b",
    )
});
static MEAN: LazyLock<Regex> = LazyLock::new(|| pattern(r"average|mean\b|typical"));
static MOST: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:high|larg|bigg|great|strong|fast)est\b|most\b|best\b|top\b|primar|main\b|dominant|major",
    )
});
static LEAST: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:low|small|weak|slow|poor)est\b|least\b|worst\b|bottom\b"));

/// Figures of one formula at most.
pub const MAX_FIGURES: usize = 8;

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::super::formula::{Amount, evaluate, written};
    use super::*;
    use crate::Unit;

    #[test]
    fn every_formula_is_found_by_its_name_and_computes() {
        let figures = [120, 100, 20].map(|v| Amount::new(Decimal::from(v), Unit::Money));
        let names = ["120", "100", "20"].map(str::to_owned);
        let mut shown = Vec::new();
        for formula in ClosedFormula::ALL {
            assert_eq!(ClosedFormula::named(formula.name()), Some(formula));
            let count = (*formula.takes().end()).min(3);
            if let Some(expr) = formula.expr(count) {
                let amount = evaluate(&expr, &figures[..count], &[]).unwrap();
                shown.push(format!(
                    "{} = {} {:?}",
                    written(&expr, &names, &[]),
                    amount.value.normalize(),
                    amount.unit
                ));
            }
        }
        expect_test::expect![[r#"
            120 + 100 + 20 = 240 Money
            120 - 100 = 20 Money
            120 / 100 = 1.2 Number
            120 / 100 × 100 = 120 Percent
            (120 - 100) / 100 × 100 = 20 Percent
            average(120, 100, 20) = 80 Money"#]]
        .assert_eq(&shown.join("\n"));
        assert_eq!(ClosedFormula::named("median"), None);
    }

    #[test]
    fn a_question_must_have_a_word_for_what_is_computed() {
        let meant = |question: &str| {
            let names: Vec<&str> = ClosedFormula::ALL
                .into_iter()
                .filter(|formula| formula.asked_by(question))
                .map(ClosedFormula::name)
                .collect();
            names.join(" ")
        };
        assert_eq!(meant("What was the backlog at the end of 2024?"), "value");
        assert_eq!(
            meant("Which segment had the highest net sales?"),
            "value largest"
        );
        assert_eq!(
            meant("By how much did the credit line rise?"),
            "value difference growth"
        );
        assert_eq!(meant("What is the interest coverage ratio?"), "value ratio");
    }
}
