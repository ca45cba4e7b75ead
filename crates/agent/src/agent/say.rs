//! The result of a calculation in words, with its working and its footnotes.

use rust_decimal::Decimal;

use super::compute::Resolved;
use super::{Found, Work};
use crate::calc::{Aim, Amount, Asks, Expr, Plan, written};
use crate::checker::{Evidence, check_statement};
use crate::number::{grouped, round};
use crate::{Calculation, Input, Scale, Show, Statement, Step, Unit, Working};

/// Cites the figures, writes the working and the statement.
pub(super) fn say(
    work: &mut Work<'_, '_>,
    plan: &Plan,
    found: &[Resolved],
    steps: &[Amount],
) -> Option<Found> {
    let scale = found
        .iter()
        .flat_map(|f| f.figure.parts.iter().map(|p| p.scale))
        .max()
        .unwrap_or_default();
    let mut inputs = Vec::new();
    let mut names = Vec::new();
    let mut evidence = Vec::new();
    for (wanted, resolved) in plan.wanted.iter().zip(found) {
        let mut parts = Vec::new();
        for (part, region) in resolved.figure.parts.iter().zip(&resolved.regions) {
            let n = work
                .notes
                .cite(region, part.span, &part.quote, part.concept.as_deref());
            let input = Input {
                item: wanted.item.name().to_owned(),
                period: wanted.period.to_string(),
                label: part.label.clone(),
                written: part.written.clone(),
                scale: part.scale,
                value: part.value,
                unit: resolved.unit,
                footnote: n,
                chosen_by: resolved.figure.chosen_by,
            };
            work.recorder.step(Step::Figure {
                input: input.clone(),
            });
            evidence.push(Evidence {
                quote: part.quote.clone(),
                scale: part.scale,
            });
            inputs.push(input);
            parts.push(in_scale(part.value, scale));
        }
        names.push(match &resolved.formula {
            Some(formula) => format!("({})", written(formula, &parts, &[])),
            None if parts.len() > 1 => format!("({})", parts.join(" + ")),
            None => parts.pop().unwrap_or_default(),
        });
    }

    let places = |amount: &Amount, show_scale: Scale| match amount.unit {
        Unit::Money => money_places(amount.value, show_scale, scale),
        Unit::Percent => 1,
        Unit::PerShare => 2,
        Unit::Shares => 1,
        _ => plan.usual_places.max(2),
    };
    let last = steps.len() - 1;
    let shows: Vec<Show> = steps
        .iter()
        .enumerate()
        .map(|(at, amount)| {
            let show_scale = match amount.unit {
                Unit::Money | Unit::Shares => plan.scale.unwrap_or(scale),
                _ => Scale::One,
            };
            let asked = (at == last || amount.unit == steps[last].unit)
                .then_some(plan.places)
                .flatten();
            Show {
                unit: amount.unit,
                scale: show_scale,
                places: asked.unwrap_or_else(|| places(amount, show_scale)),
            }
        })
        .collect();
    let shown: Vec<String> = steps
        .iter()
        .zip(&shows)
        .map(|(amount, show)| show.write(amount.value))
        .collect();
    let unit = if plan.unit == Unit::Days {
        Unit::Days
    } else {
        steps[last].unit
    };
    let result_show = Show {
        unit,
        ..shows[last]
    };
    let mut shown = shown;
    shown[last] = result_show.write(steps[last].value);

    let text = sentence(plan, found, steps, &shown);
    let mut results = shown.clone();
    results.push(in_points(plan, steps[last].value, shows[last]));
    let given = format!(
        "{} {}",
        work.question,
        plan.periods
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    );
    let verdict = check_statement(&text, &evidence, &format!("{given} {text}"), &results);
    let mut footnotes: Vec<usize> = inputs.iter().map(|input| input.footnote).collect();
    footnotes.sort_unstable();
    footnotes.dedup();
    let in_money = matches!(steps[last].unit, Unit::Money | Unit::Shares);
    let no_scale = in_money
        && found
            .iter()
            .any(|f| f.figure.parts.iter().any(|p| !p.scale_stated));
    let doubt = match verdict.faults.first() {
        None if no_scale => {
            Some("the filing does not state beside the figures whether they are in thousands or millions".to_owned())
        }
        fault => fault.cloned(),
    };
    let statement = Statement {
        text,
        footnotes,
        verified: doubt.is_none(),
        doubt,
    };
    let step_names: Vec<String> = steps
        .iter()
        .zip(&shows)
        .map(|(amount, show)| grouped(amount.value / show.scale.factor(), show.places))
        .collect();
    let working = plan
        .steps
        .iter()
        .enumerate()
        .filter(|(at, step)| *at == last || !matches!(step.expr, Expr::Figure(_)))
        .map(|(at, step)| Working {
            name: step.name.clone(),
            expression: written(&step.expr, &names, &step_names),
            value: steps[at].value,
            shown: shown[at].clone(),
        })
        .collect();
    Some(Found {
        statements: vec![statement],
        calculation: Some(Calculation {
            name: plan.name.clone(),
            formula: plan.formula.clone(),
            formula_from: plan.source,
            inputs,
            steps: working,
            result: steps[last].value,
            unit,
            shown: shown[last].clone(),
        }),
    })
}

/// A figure as the working writes it: in the common scale, with the digits it has.
pub(super) fn in_scale(value: Decimal, scale: Scale) -> String {
    let scaled = (value / scale.factor()).normalize();
    grouped(scaled, scaled.scale().min(4))
}

/// Whole numbers in the table's own scale; in a larger one, enough digits for three figures.
pub(super) fn money_places(value: Decimal, show: Scale, table: Scale) -> u32 {
    if table == Scale::One && show == Scale::One {
        return if round(value, 0) == value { 0 } else { 2 };
    }
    let scaled = (value / show.factor()).abs();
    if show <= table || scaled >= Decimal::ONE_HUNDRED {
        let exact = show == table && round(scaled, 0) != scaled;
        u32::from(exact)
    } else if scaled >= Decimal::TEN {
        1
    } else {
        2
    }
}

/// A difference of percentages is in percentage points.
fn in_points(plan: &Plan, change: Decimal, show: Show) -> String {
    match plan.unit {
        Unit::Percent => format!("{} percentage points", grouped(change.abs(), show.places)),
        _ => show.write(change.abs()),
    }
}

/// The answer in words.
fn sentence(plan: &Plan, found: &[Resolved], steps: &[Amount], shown: &[String]) -> String {
    let company = found
        .first()
        .and_then(|f| f.regions.first())
        .and_then(|region| region.meta.company.clone())
        .unwrap_or_else(|| "the company".to_owned());
    let owner = if company.ends_with('s') {
        format!("{company}'")
    } else {
        format!("{company}'s")
    };
    let name = lower_first(&plan.name);
    let last = steps.len() - 1;
    let (first_period, last_period) = match (plan.periods.first(), plan.periods.last()) {
        (Some(first), Some(last)) => (first.to_string(), last.to_string()),
        _ => (String::new(), String::new()),
    };
    let result = &shown[last];
    let value = steps[last].value;
    let plain = result.trim_start_matches('-');
    match plan.aim {
        Aim::Value => {
            let start = match plan.asks {
                Some(Asks::Positive) if value > Decimal::ZERO => "Yes: ",
                Some(Asks::Positive) => "No: ",
                Some(Asks::Any) if !plan.computed && value.is_zero() => "No: ",
                Some(Asks::Any) if !plan.computed => "Yes: ",
                _ => "",
            };
            let positive = match plan.asks {
                Some(Asks::Positive) if value <= Decimal::ZERO => ", so it was not positive",
                _ => "",
            };
            format!("{start}{owner} {name} for {last_period} was {result}{positive}.")
        }
        Aim::Average => {
            format!("{owner} {name} averaged {result} over {first_period} to {last_period}.")
        }
        Aim::Growth => {
            let verb = if value.is_sign_negative() {
                "fell"
            } else {
                "grew"
            };
            format!(
                "{owner} {name} {verb} by {plain}, from {} in {first_period} to {} in {last_period}.",
                shown[0],
                shown[last - 1],
            )
        }
        Aim::Cagr => {
            let verb = if value.is_sign_negative() {
                "fell"
            } else {
                "grew"
            };
            format!(
                "{owner} {name} {verb} by {plain} a year (compound), from {} in {first_period} to {} in {last_period}.",
                shown[0],
                shown[last - 1],
            )
        }
        Aim::Compare => {
            let rose = value > Decimal::ZERO;
            let change = match plan.unit {
                Unit::Percent => format!("{} percentage points", plain.trim_end_matches('%')),
                _ => plain.to_owned(),
            };
            let moved = if value.is_zero() {
                "it did not change".to_owned()
            } else {
                format!("it {} by {change}", if rose { "rose" } else { "fell" })
            };
            let better = plan.more_is_better.map_or(rose, |more| more == rose);
            let answer = match plan.asks {
                Some(Asks::Improved) => Some(better && !value.is_zero()),
                Some(Asks::Rose) => Some(rose),
                Some(Asks::Fell) => Some(!rose && !value.is_zero()),
                Some(Asks::Positive | Asks::Any) | None => None,
            };
            let start = match answer {
                Some(true) => "Yes: ",
                Some(false) => "No: ",
                None => "",
            };
            format!(
                "{start}{owner} {name} was {} in {first_period} and {} in {last_period}: {moved}.",
                shown[0], shown[1],
            )
        }
    }
}

/// `Quick ratio` inside a sentence; `EBITDA margin` stays.
pub(super) fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => name.to_owned(),
    }
}
