//! Formulas over figures: evaluated exactly in decimals, with units, and written out as working.

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::{AgentError, Unit};

/// A formula. Figures and earlier steps are named by their index.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A figure of a filing.
    Figure(usize),
    /// The result of an earlier step.
    Step(usize),
    /// A number that the formula itself contains.
    Constant(Decimal),
    /// `a + b`.
    Add(Box<Expr>, Box<Expr>),
    /// `a - b`.
    Sub(Box<Expr>, Box<Expr>),
    /// `a × b`.
    Mul(Box<Expr>, Box<Expr>),
    /// `a / b`.
    Div(Box<Expr>, Box<Expr>),
    /// The mean.
    Average(Vec<Expr>),
    /// A ratio as hundredths.
    Percent(Box<Expr>),
    /// From `old` to `new`, in hundredths of the size of `old`.
    Growth {
        /// The later value.
        new: Box<Expr>,
        /// The earlier value.
        old: Box<Expr>,
    },
    /// Compound yearly growth from `first` to `last` over `years`, in hundredths.
    Cagr {
        /// The last year's value.
        last: Box<Expr>,
        /// The first year's value.
        first: Box<Expr>,
        /// Years between.
        years: u16,
    },
}

impl Expr {
    /// `self - other`.
    pub fn minus(self, other: Expr) -> Expr {
        Expr::Sub(Box::new(self), Box::new(other))
    }

    /// The figures it takes, each once, in order of first use.
    pub fn figures(&self) -> Vec<usize> {
        let mut found = Vec::new();
        self.visit(&mut |expr| {
            if let Expr::Figure(i) = expr
                && !found.contains(i)
            {
                found.push(*i);
            }
        });
        found
    }

    fn visit(&self, see: &mut dyn FnMut(&Expr)) {
        see(self);
        match self {
            Expr::Figure(_) | Expr::Step(_) | Expr::Constant(_) => {}
            Expr::Add(a, b) | Expr::Sub(a, b) | Expr::Mul(a, b) | Expr::Div(a, b) => {
                a.visit(see);
                b.visit(see);
            }
            Expr::Average(all) => all.iter().for_each(|one| one.visit(see)),
            Expr::Percent(a) => a.visit(see),
            Expr::Growth { new, old } => {
                new.visit(see);
                old.visit(see);
            }
            Expr::Cagr { last, first, .. } => {
                last.visit(see);
                first.visit(see);
            }
        }
    }
}

/// A value in single units with what it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amount {
    /// In single units.
    pub value: Decimal,
    /// What it counts.
    pub unit: Unit,
}

impl Amount {
    /// `value` of `unit`.
    pub fn new(value: Decimal, unit: Unit) -> Amount {
        Amount { value, unit }
    }
}

/// Computes a formula.
///
/// # Errors
/// [`AgentError::Calculation`]: division by zero, units that do not go together, an index that names
/// nothing, a compound growth between values of different sign, a value beyond 28 digits.
pub fn evaluate(expr: &Expr, figures: &[Amount], steps: &[Amount]) -> Result<Amount, AgentError> {
    let of = |expr: &Expr| evaluate(expr, figures, steps);
    let too_large = || fault(expr, "the value is too large");
    match expr {
        Expr::Figure(i) => figures
            .get(*i)
            .copied()
            .ok_or_else(|| fault(expr, "a figure is missing")),
        Expr::Step(i) => steps
            .get(*i)
            .copied()
            .ok_or_else(|| fault(expr, "a step is missing")),
        Expr::Constant(value) => Ok(Amount::new(*value, Unit::Number)),
        Expr::Add(a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            let unit = sum_unit(expr, a, b)?;
            let value = a.value.checked_add(b.value).ok_or_else(too_large)?;
            Ok(Amount::new(value, unit))
        }
        Expr::Sub(a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            let unit = sum_unit(expr, a, b)?;
            let value = a.value.checked_sub(b.value).ok_or_else(too_large)?;
            Ok(Amount::new(value, unit))
        }
        Expr::Mul(a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            let unit = match (a.unit, b.unit) {
                (Unit::Number, other) | (other, Unit::Number) => other,
                (Unit::PerShare, Unit::Shares) | (Unit::Shares, Unit::PerShare) => Unit::Money,
                _ => return Err(mismatch(expr, a, b)),
            };
            let value = a.value.checked_mul(b.value).ok_or_else(too_large)?;
            Ok(Amount::new(value, unit))
        }
        Expr::Div(a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            let unit = match (a.unit, b.unit) {
                (a, b) if a == b => Unit::Number,
                (a, Unit::Number) => a,
                (Unit::Money, Unit::Shares) => Unit::PerShare,
                (Unit::Money, Unit::PerShare) => Unit::Shares,
                (Unit::Number, _) => Unit::Number,
                _ => return Err(mismatch(expr, a, b)),
            };
            Ok(Amount::new(quotient(expr, a.value, b.value)?, unit))
        }
        Expr::Average(all) => {
            let mut total: Option<Amount> = None;
            for one in all {
                let one = of(one)?;
                total = Some(match total {
                    None => one,
                    Some(sum) => Amount::new(
                        sum.value.checked_add(one.value).ok_or_else(too_large)?,
                        sum_unit(expr, sum, one)?,
                    ),
                });
            }
            let sum = total.ok_or_else(|| fault(expr, "an average of nothing"))?;
            let mean = quotient(expr, sum.value, Decimal::from(all.len()))?;
            Ok(Amount::new(mean, sum.unit))
        }
        Expr::Percent(inner) => {
            let inner = of(inner)?;
            match inner.unit {
                Unit::Percent => Ok(inner),
                Unit::Number => {
                    let value = inner.value.checked_mul(Decimal::ONE_HUNDRED);
                    Ok(Amount::new(value.ok_or_else(too_large)?, Unit::Percent))
                }
                _ => Err(fault(expr, "only a ratio can be shown as a percentage")),
            }
        }
        Expr::Growth { new, old } => {
            let (new, old) = (of(new)?, of(old)?);
            sum_unit(expr, new, old)?;
            let change = new.value.checked_sub(old.value).ok_or_else(too_large)?;
            let ratio = quotient(expr, change, old.value.abs())?;
            let value = ratio.checked_mul(Decimal::ONE_HUNDRED);
            Ok(Amount::new(value.ok_or_else(too_large)?, Unit::Percent))
        }
        Expr::Cagr { last, first, years } => {
            let (last, first) = (of(last)?, of(first)?);
            sum_unit(expr, last, first)?;
            let ratio = quotient(expr, last.value, first.value)?;
            let root = root(ratio, *years)
                .ok_or_else(|| fault(expr, "compound growth needs two values of one sign"))?;
            Ok(Amount::new(
                (root - Decimal::ONE) * Decimal::ONE_HUNDRED,
                Unit::Percent,
            ))
        }
    }
}

fn quotient(expr: &Expr, a: Decimal, b: Decimal) -> Result<Decimal, AgentError> {
    if b.is_zero() {
        return Err(fault(expr, "division by zero"));
    }
    a.checked_div(b)
        .ok_or_else(|| fault(expr, "the value is too large"))
}

/// The `n`-th root. Through `f64`, whose 15 digits are more than any filing's figures have.
fn root(value: Decimal, n: u16) -> Option<Decimal> {
    if n == 0 || value <= Decimal::ZERO {
        return None;
    }
    let root = value.to_f64()?.powf(1.0 / f64::from(n));
    let root = Decimal::from_f64_retain(root)?;
    Some(root.round_dp_with_strategy(12, RoundingStrategy::MidpointAwayFromZero))
}

fn sum_unit(expr: &Expr, a: Amount, b: Amount) -> Result<Unit, AgentError> {
    match (a.unit, b.unit) {
        (a, b) if a == b => Ok(a),
        (Unit::Number, other) | (other, Unit::Number) => Ok(other),
        _ => Err(mismatch(expr, a, b)),
    }
}

fn mismatch(expr: &Expr, a: Amount, b: Amount) -> AgentError {
    fault(
        expr,
        &format!("{:?} and {:?} do not go together", a.unit, b.unit).to_lowercase(),
    )
}

fn fault(expr: &Expr, reason: &str) -> AgentError {
    let what = match expr {
        Expr::Figure(_) | Expr::Step(_) | Expr::Constant(_) => "the figure",
        Expr::Add(..) => "the sum",
        Expr::Sub(..) => "the difference",
        Expr::Mul(..) => "the product",
        Expr::Div(..) => "the ratio",
        Expr::Average(_) => "the average",
        Expr::Percent(_) => "the percentage",
        Expr::Growth { .. } => "the growth",
        Expr::Cagr { .. } => "the compound growth",
    };
    AgentError::Calculation {
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}

/// How tightly an operator binds, for brackets.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Bind {
    Sum,
    Product,
    Atom,
}

/// Writes a formula with names (or numbers) for its figures and earlier steps.
pub fn written(expr: &Expr, figures: &[String], steps: &[String]) -> String {
    write(expr, figures, steps).0
}

fn write(expr: &Expr, figures: &[String], steps: &[String]) -> (String, Bind) {
    let name = |names: &[String], i: usize| names.get(i).cloned().unwrap_or_else(|| "?".into());
    let inside = |expr: &Expr, least: Bind| {
        let (text, bind) = write(expr, figures, steps);
        let negative = least > Bind::Sum && text.starts_with('-');
        if bind < least || negative {
            format!("({text})")
        } else {
            text
        }
    };
    match expr {
        Expr::Figure(i) => (name(figures, *i), Bind::Atom),
        Expr::Step(i) => (name(steps, *i), Bind::Atom),
        Expr::Constant(value) => (value.normalize().to_string(), Bind::Atom),
        Expr::Add(a, b) => {
            let text = format!("{} + {}", inside(a, Bind::Sum), inside(b, Bind::Sum));
            (text, Bind::Sum)
        }
        Expr::Sub(a, b) => {
            let text = format!("{} - {}", inside(a, Bind::Sum), inside(b, Bind::Product));
            (text, Bind::Sum)
        }
        Expr::Mul(a, b) => {
            let text = format!(
                "{} × {}",
                inside(a, Bind::Product),
                inside(b, Bind::Product)
            );
            (text, Bind::Product)
        }
        Expr::Div(a, b) => {
            let text = format!("{} / {}", inside(a, Bind::Product), inside(b, Bind::Atom));
            (text, Bind::Product)
        }
        Expr::Average(all) => {
            let parts: Vec<String> = all.iter().map(|one| inside(one, Bind::Sum)).collect();
            (format!("average({})", parts.join(", ")), Bind::Atom)
        }
        Expr::Percent(inner) => (
            format!("{} × 100", inside(inner, Bind::Product)),
            Bind::Product,
        ),
        Expr::Growth { new, old } => {
            let (new, old_sum) = (inside(new, Bind::Sum), inside(old, Bind::Product));
            (
                format!("({new} - {old_sum}) / {} × 100", inside(old, Bind::Atom)),
                Bind::Product,
            )
        }
        Expr::Cagr { last, first, years } => (
            format!(
                "(({} / {})^(1/{years}) - 1) × 100",
                inside(last, Bind::Product),
                inside(first, Bind::Atom)
            ),
            Bind::Product,
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::number::round;

    fn figure(i: usize) -> Box<Expr> {
        Box::new(Expr::Figure(i))
    }

    fn money(values: &[i64]) -> Vec<Amount> {
        values
            .iter()
            .map(|&v| Amount::new(Decimal::from(v), Unit::Money))
            .collect()
    }

    #[test]
    fn computes_the_closed_list() {
        let ratio = Expr::Div(figure(0), figure(1));
        let table = [
            (ratio.clone(), vec![2912853, 3527457], "0.83", Unit::Number),
            (
                Expr::Percent(Box::new(ratio.clone())),
                vec![6098, 17606],
                "34.64",
                Unit::Percent,
            ),
            (
                Expr::Growth {
                    new: figure(0),
                    old: figure(1),
                },
                vec![9497578, 4713500],
                "101.50",
                Unit::Percent,
            ),
            (
                Expr::Growth {
                    new: figure(0),
                    old: figure(1),
                },
                vec![-50, -100],
                "50",
                Unit::Percent,
            ),
            (
                Expr::Cagr {
                    last: figure(0),
                    first: figure(1),
                    years: 2,
                },
                vec![65984, 65398],
                "0.45",
                Unit::Percent,
            ),
            (
                Expr::Average(vec![Expr::Figure(0), Expr::Figure(1)]),
                vec![3, 4],
                "3.50",
                Unit::Money,
            ),
            (
                Expr::Figure(0).minus(Expr::Figure(1)),
                vec![19815, 13997],
                "5818",
                Unit::Money,
            ),
        ];
        for (expr, values, expected, unit) in table {
            let amount = evaluate(&expr, &money(&values), &[]).unwrap();
            assert_eq!(
                round(amount.value, 2),
                expected.parse().unwrap(),
                "{expr:?}"
            );
            assert_eq!(amount.unit, unit, "{expr:?}");
        }
    }

    #[test]
    fn says_why_there_is_no_result() {
        let ratio = Expr::Div(figure(0), figure(1));
        let error = evaluate(&ratio, &money(&[1, 0]), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot compute the ratio: division by zero"
        );
        let mixed = [
            Amount::new(Decimal::ONE, Unit::Money),
            Amount::new(Decimal::ONE, Unit::Percent),
        ];
        let sum = Expr::Add(figure(0), figure(1));
        let error = evaluate(&sum, &mixed, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot compute the sum: money and percent do not go together"
        );
        let cagr = Expr::Cagr {
            last: figure(0),
            first: figure(1),
            years: 2,
        };
        assert!(evaluate(&cagr, &money(&[-1, 1]), &[]).is_err());
        assert!(evaluate(&Expr::Figure(7), &[], &[]).is_err());
        let huge = Amount::new(Decimal::MAX, Unit::Money);
        assert!(evaluate(&sum, &[huge, huge], &[]).is_err());
    }

    #[test]
    fn shares_and_money_make_per_share() {
        let figures = [
            Amount::new(Decimal::from(100), Unit::Money),
            Amount::new(Decimal::from(40), Unit::Shares),
        ];
        let amount = evaluate(&Expr::Div(figure(0), figure(1)), &figures, &[]).unwrap();
        assert_eq!(amount, Amount::new(Decimal::new(25, 1), Unit::PerShare));
    }

    #[test]
    fn writes_the_working_with_the_brackets_it_needs() {
        let names: Vec<String> = ["5,308", "992", "(1,221)", "4,476"]
            .map(String::from)
            .to_vec();
        let top = Expr::Figure(0).minus(Expr::Add(figure(1), figure(2)));
        let quick = Expr::Div(Box::new(top), figure(3));
        assert_eq!(
            written(&quick, &names, &[]),
            "(5,308 - (992 + (1,221))) / 4,476"
        );
        let growth = Expr::Growth {
            new: figure(0),
            old: figure(1),
        };
        assert_eq!(written(&growth, &names, &[]), "(5,308 - 992) / 992 × 100");
        let negative = Expr::Mul(Box::new(Expr::Constant(Decimal::from(365))), figure(0));
        assert_eq!(written(&negative, &["-5".into()], &[]), "365 × (-5)");
    }

    proptest! {
        #[test]
        fn growth_undoes_itself(old in 1_i64..10_i64.pow(12), new in 1_i64..10_i64.pow(12)) {
            let growth = Expr::Growth { new: figure(0), old: figure(1) };
            let percent = evaluate(&growth, &money(&[new, old]), &[]).unwrap().value;
            let back = Decimal::from(old) * (Decimal::ONE + percent / Decimal::ONE_HUNDRED);
            prop_assert_eq!(round(back, 4), Decimal::from(new));
        }

        #[test]
        fn scale_does_not_change_a_ratio(a in 1_i64..10_i64.pow(9), b in 1_i64..10_i64.pow(9)) {
            let ratio = Expr::Div(figure(0), figure(1));
            let plain = evaluate(&ratio, &money(&[a, b]), &[]).unwrap();
            let scaled = evaluate(&ratio, &money(&[a * 1_000_000, b * 1_000_000]), &[]).unwrap();
            prop_assert_eq!(round(plain.value, 20), round(scaled.value, 20));
        }
    }
}
