//! The way of a question for a figure that no plan covers: the model names figures of the numbered
//! lines and one formula of a closed list, under a grammar that offers nothing else; code computes,
//! with units and scale carried along, and writes the sentence.
//!
//! What the model names is checked before it counts: as many figures as the formula takes, of the
//! periods the question asks about, from lines that have to do with it. What fails goes the way of
//! every other question.

use serde::Deserialize;
use serde_json::json;

use super::excerpts::{Line, cell_shown, one_line};
use super::reading::{Reading, SYSTEM};
use super::say::{in_scale, lower_first, money_places};
use super::write::shared_words;
use super::{Found, Work};
use crate::answer::FormulaSource;
use crate::calc::{Amount, Asks, ClosedFormula, MAX_FIGURES, asks, evaluate, periods_in, written};
use crate::checker::{Evidence, check_statement};
use crate::number::numbers_in;
use crate::sheet::{Cell, Column, Region, Row};
use crate::{
    AgentError, Calculation, ChosenBy, Input, Scale, Show, Statement, Step, Unit, Working,
};

/// Figures offered at most: a grammar of a few hundred words compiles in milliseconds.
const MAX_OFFERED: usize = 320;

/// Tokens for the names of the figures and the formula.
const MAX_TOKENS: usize = 160;

const TASK: &str = "Do not answer in words. Name the figures that the answer needs, as they stand in the lines, and what to do with them: value (state them), sum, difference (first minus second), ratio (first / second), percent (first as a share of second), growth (from the second, earlier, to the first, later), average, largest or smallest (compare all candidates). Mind the period that is asked about. If the lines do not hold the figures, name none. Example: \"By how much did sales rise from 2019 to 2020?\" gives {\"figures\":[\"A2 2020: 120\",\"A2 2019: 100\"],\"formula\":\"difference\"}. Answer as JSON.";

#[derive(Deserialize)]
struct Named {
    figures: Vec<String>,
    formula: String,
}

/// A figure that the model may name.
#[derive(Clone, Debug)]
struct Offered {
    /// How the model names it: the line's id and the figure as shown there.
    id: String,
    /// Index of its line.
    line: usize,
    /// What it is a figure of.
    label: String,
    column: Option<Column>,
    written: String,
    scale: Scale,
    scale_stated: bool,
    decimals: u32,
    amount: Amount,
}

/// Lets the model name figures and a formula, and computes. Nothing where it names none, or what it
/// names does not hold.
pub(super) fn named(
    work: &mut Work<'_, '_>,
    reading: &Reading,
) -> Result<Option<Found>, AgentError> {
    let offered = offered(reading);
    if offered.is_empty() {
        return Ok(None);
    }
    let ids: Vec<&str> = offered.iter().map(|figure| figure.id.as_str()).collect();
    let mut formulas: Vec<&str> = ClosedFormula::ALL
        .into_iter()
        .filter(|formula| formula.asked_by(work.question))
        .map(ClosedFormula::name)
        .collect();
    formulas.push("none");
    let schema = json!({
        "type": "object",
        "properties": {
            "figures": {"type": "array", "maxItems": MAX_FIGURES, "items": {"enum": ids}},
            "formula": {"enum": formulas},
        },
        "required": ["figures", "formula"],
        "additionalProperties": false,
    });
    let user = reading.prompt(work.question, TASK);
    let text = work.generate(SYSTEM, &user, schema, MAX_TOKENS, false)?;
    let Ok(named) = serde_json::from_str::<Named>(&text) else {
        work.recorder.step(Step::Removed {
            text,
            reason: "the list of figures was cut off at its length limit".to_owned(),
        });
        return Ok(None);
    };
    let mut figures: Vec<Offered> = Vec::new();
    for id in &named.figures {
        if let Some(figure) = offered.iter().find(|figure| figure.id == *id)
            && !figures.iter().any(|known| known.id == figure.id)
        {
            figures.push(figure.clone());
        }
    }
    let Some(formula) = ClosedFormula::named(&named.formula) else {
        return Ok(None);
    };
    if figures.is_empty() {
        return Ok(None);
    }
    if let Some(reason) = fault(work.question, reading, formula, &mut figures) {
        work.recorder.step(Step::Removed { text, reason });
        return Ok(None);
    }
    one_unit(&mut figures);
    Ok(said(work, reading, formula, &figures))
}

/// Every figure of every line, a row's by column, a sentence's in order.
fn offered(reading: &Reading) -> Vec<Offered> {
    let mut out: Vec<Offered> = Vec::new();
    for (at, line) in reading.lines.iter().enumerate() {
        match &line.row {
            Some(row) => out.extend(
                row.cells
                    .iter()
                    .filter_map(|cell| of_row(line, at, row, cell)),
            ),
            None => out.extend(of_sentence(line, at)),
        }
    }
    // One name, one figure: a number that stands twice in a line is the same figure to the model.
    let mut names = std::collections::HashSet::new();
    out.retain(|figure| names.insert(figure.id.clone()));
    out.truncate(MAX_OFFERED);
    out
}

fn of_row(line: &Line, at: usize, row: &Row, cell: &Cell) -> Option<Offered> {
    let number = cell.number.as_ref()?;
    let label = match row.label.as_str() {
        "" => row.group.as_str(),
        label => label,
    };
    let lower = format!("{} {}", row.group, row.label).to_lowercase();
    let unit = if number.percent || lower.contains('%') || lower.contains("percent") {
        Unit::Percent
    } else if lower.contains("per share") || lower.contains("per common share") {
        Unit::PerShare
    } else if lower.contains("shares outstanding") || lower.contains("number of shares") {
        Unit::Shares
    } else if number.money || row.scale.is_some_and(|scale| scale != Scale::One) {
        Unit::Money
    } else {
        Unit::Number
    };
    let plain = matches!(unit, Unit::Percent | Unit::PerShare);
    let scale = match number.scale {
        Some(own) => own,
        None if plain => Scale::One,
        None => row.scale.unwrap_or_default(),
    };
    Some(Offered {
        id: format!("{} {}", line.id, cell_shown(cell)),
        line: at,
        label: one_line(label),
        column: cell.column,
        written: one_line(&cell.written),
        scale,
        scale_stated: plain || row.scale.is_some() || number.scale.is_some(),
        decimals: number.decimals,
        amount: Amount::new(number.value.checked_mul(scale.factor())?, unit),
    })
}

fn of_sentence(line: &Line, at: usize) -> Vec<Offered> {
    let of = |number: &crate::NumberInText| {
        let written = one_line(number.span.of(&line.quote)?.trim());
        let unit = if number.percent {
            Unit::Percent
        } else if number.money {
            Unit::Money
        } else {
            Unit::Number
        };
        let scale = number.scale.unwrap_or_default();
        Some(Offered {
            id: format!("{} {written}", line.id),
            line: at,
            label: String::new(),
            column: None,
            written,
            scale,
            scale_stated: true,
            decimals: number.decimals,
            amount: Amount::new(number.value.checked_mul(scale.factor())?, unit),
        })
    };
    // A bare small number of running text is a day, a count of words or a note's number.
    let counts = |number: &crate::NumberInText| {
        !number.bare || number.value.abs() >= rust_decimal::Decimal::ONE_THOUSAND
    };
    numbers_in(&line.quote)
        .iter()
        .filter(|number| !number.is_year() && counts(number))
        .filter_map(of)
        .collect()
}

/// Why the figures named cannot answer the question by the formula; sets earlier and later figures
/// in their order.
fn fault(
    question: &str,
    reading: &Reading,
    formula: ClosedFormula,
    figures: &mut [Offered],
) -> Option<String> {
    if !formula.takes().contains(&figures.len()) {
        return Some(format!(
            "{} does not take {} figures",
            formula.name(),
            figures.len()
        ));
    }
    if formula.compares_periods()
        && let (Some(first), Some(second)) = (figures[0].column, figures[1].column)
        && first.year < second.year
    {
        figures.swap(0, 1);
    }
    let periods = periods_in(question);
    let years: Vec<u16> = periods.iter().map(|period| period.year).collect();
    for figure in figures.iter() {
        let line = &reading.lines[figure.line];
        let region = &reading.regions[line.region];
        if let Some(column) = figure.column
            && !years.is_empty()
        {
            let year = column.year - u16::from(is_late(line.row.as_ref(), region));
            let before = formula.compares_periods() || formula == ClosedFormula::Growth;
            let fits = years
                .iter()
                .any(|&asked| year == asked || (before && year + 1 == asked));
            let between = formula == ClosedFormula::Average
                && years.iter().min() <= Some(&year)
                && Some(&year) <= years.iter().max();
            if !fits && !between {
                return Some(format!(
                    "{} is of {}, which the question does not ask about",
                    figure.written, column.year
                ));
            }
        }
    }
    let unlike = figures
        .iter()
        .any(|f| (f.amount.unit == Unit::Percent) != (figures[0].amount.unit == Unit::Percent));
    if unlike && formula != ClosedFormula::Value {
        return Some("shares and amounts cannot be reckoned together".to_owned());
    }
    if matches!(formula, ClosedFormula::Largest | ClosedFormula::Smallest) {
        let first = &figures[0];
        let apart = figures[1..].iter().all(|f| f.line != first.line);
        let one_column = figures.iter().all(|f| f.column == first.column);
        let one_region = figures
            .iter()
            .all(|f| reading.lines[f.line].region == reading.lines[first.line].region);
        if !apart || !one_column || !one_region {
            return Some("only figures of one column of one table can be compared".to_owned());
        }
        return None;
    }
    let about = |figure: &Offered| {
        let line = &reading.lines[figure.line];
        let group = line.row.as_ref().map_or("", |row| row.group.as_str());
        let text = format!(
            "{} {group} {}",
            line.quote, reading.regions[line.region].lead
        );
        shared_words(&text, question) > 0
    };
    let fits = match formula {
        ClosedFormula::Value => figures.iter().all(about),
        _ => figures.iter().any(about),
    };
    (!fits).then(|| "the lines named have nothing to do with the question".to_owned())
}

/// Whether a table's columns carry the calendar year after the fiscal one.
fn is_late(row: Option<&Row>, region: &Region) -> bool {
    match (
        region.meta.fiscal_period,
        row.and_then(|row| row.latest_year),
    ) {
        (Some(own), Some(latest)) => latest == own.year + 1,
        _ => false,
    }
}

/// Rows of one table count one thing, though only the first and the last carry the currency's mark.
fn one_unit(figures: &mut [Offered]) {
    let money = figures.iter().any(|f| f.amount.unit == Unit::Money);
    if money {
        for figure in figures.iter_mut().filter(|f| f.amount.unit == Unit::Number) {
            figure.amount.unit = Unit::Money;
        }
    }
}

/// The sentence, its working and footnotes; nothing where the formula has no result.
fn said(
    work: &mut Work<'_, '_>,
    reading: &Reading,
    formula: ClosedFormula,
    figures: &[Offered],
) -> Option<Found> {
    let lines: Vec<&Line> = figures.iter().map(|f| &reading.lines[f.line]).collect();
    if formula == ClosedFormula::Value && lines.iter().any(|line| line.row.is_none()) {
        // A sentence says more than its number: the way of words quotes it.
        return None;
    }
    let scale = figures.iter().map(|f| f.scale).max().unwrap_or_default();
    let amounts: Vec<Amount> = figures.iter().map(|f| f.amount).collect();
    let terms: Vec<String> = figures
        .iter()
        .map(|f| in_scale(f.amount.value, scale_in(scale, f.amount.unit)))
        .collect();
    let (result, expression) = match formula.expr(figures.len()) {
        Some(expr) => match evaluate(&expr, &amounts, &[]) {
            Ok(amount) => (amount, written(&expr, &terms, &[])),
            Err(error) => {
                tracing::info!("the calculation has no result: {error}");
                return None;
            }
        },
        None => (
            *picked(formula, &amounts)?,
            format!("{} of {}", formula.name(), terms.join("; ")),
        ),
    };
    let shown = shown(result, scale, figures);
    let text = sentence(work.question, reading, formula, figures, result, &shown);

    work.recorder.step(Step::Evidence {
        lines: lines.iter().map(|line| line.quote.clone()).collect(),
    });
    let mut inputs = Vec::new();
    for (figure, line) in figures.iter().zip(&lines) {
        let input = Input {
            item: figure.label.clone(),
            period: figure.column.map_or(String::new(), period),
            label: figure.label.clone(),
            written: figure.written.clone(),
            scale: figure.scale,
            value: figure.amount.value,
            unit: figure.amount.unit,
            footnote: reading.cite(work, line),
            chosen_by: ChosenBy::Model,
        };
        work.recorder.step(Step::Figure {
            input: input.clone(),
        });
        inputs.push(input);
    }
    let evidence: Vec<Evidence> = lines
        .iter()
        .map(|line| Evidence {
            quote: line.quote.clone(),
            scale: line.scale,
        })
        .collect();
    let given = format!("{} {text}", reading.given(work.question, &lines));
    let verdict = check_statement(&text, &evidence, &given, std::slice::from_ref(&shown));
    let no_scale = figures
        .iter()
        .any(|f| f.amount.unit == Unit::Money && !f.scale_stated);
    let doubt = match verdict.faults.first() {
        None if no_scale => Some(
            "the filing does not state beside the figures whether they are in thousands or millions"
                .to_owned(),
        ),
        fault => fault.cloned(),
    };
    let mut footnotes: Vec<usize> = inputs.iter().map(|input| input.footnote).collect();
    footnotes.sort_unstable();
    footnotes.dedup();
    let statement = Statement {
        text,
        footnotes,
        verified: doubt.is_none(),
        doubt,
    };
    let calculation = (formula != ClosedFormula::Value).then(|| Calculation {
        name: capital(formula.name()),
        formula: formula_in_words(formula, figures),
        formula_from: FormulaSource::Model,
        inputs,
        steps: vec![Working {
            name: capital(formula.name()),
            expression,
            value: result.value,
            shown: shown.clone(),
        }],
        result: result.value,
        unit: result.unit,
        shown,
    });
    Some(Found {
        statements: vec![statement],
        calculation,
    })
}

/// The figure that a picking formula picks; of [`ClosedFormula::Value`] the first.
fn picked(formula: ClosedFormula, amounts: &[Amount]) -> Option<&Amount> {
    match formula {
        ClosedFormula::Largest => amounts.iter().max_by_key(|amount| amount.value),
        ClosedFormula::Smallest => amounts.iter().min_by_key(|amount| amount.value),
        _ => amounts.first(),
    }
}

/// The scale that amounts of a unit are written in.
fn scale_in(scale: Scale, unit: Unit) -> Scale {
    match unit {
        Unit::Money | Unit::Shares => scale,
        _ => Scale::One,
    }
}

fn shown(result: Amount, scale: Scale, figures: &[Offered]) -> String {
    let show_scale = scale_in(scale, result.unit);
    let digits = figures.iter().map(|f| f.decimals).max().unwrap_or(0);
    let places = match result.unit {
        Unit::Money => money_places(result.value, show_scale, scale).max(digits.min(2)),
        Unit::Percent => digits.clamp(1, 2),
        Unit::PerShare => 2,
        Unit::Shares => digits.min(1),
        Unit::Days | Unit::Number if figures.iter().any(|f| f.amount.value == result.value) => {
            digits
        }
        Unit::Days | Unit::Number => 2,
    };
    Show {
        unit: result.unit,
        scale: show_scale,
        places,
    }
    .write(result.value)
}

/// A figure with its unit, as the sentence writes it.
fn figure_shown(figure: &Offered) -> String {
    Show {
        unit: figure.amount.unit,
        scale: scale_in(figure.scale, figure.amount.unit),
        places: figure.decimals,
    }
    .write(figure.amount.value)
}

fn period(column: Column) -> String {
    match column.months {
        Some(months) if months != 12 => format!("{} ({months} months)", column.year),
        _ => column.year.to_string(),
    }
}

fn capital(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// What a figure is of, for the sentence; a figure of running text has no name.
fn thing(figure: &Offered) -> String {
    let label = figure.label.trim_end_matches([':', ',', '.']);
    if label.is_empty() {
        "the figure".to_owned()
    } else {
        label.to_owned()
    }
}

fn formula_in_words(formula: ClosedFormula, figures: &[Offered]) -> String {
    let mut names: Vec<String> = Vec::new();
    for figure in figures {
        let name = match figure.column {
            Some(column) => format!("{} {}", lower_first(&thing(figure)), period(column)),
            None => lower_first(&thing(figure)),
        };
        names.push(name);
    }
    match formula.expr(figures.len()) {
        Some(expr) => written(&expr, &names, &[]),
        None => format!("{} of {}", formula.name(), names.join("; ")),
    }
}

/// The answer in words.
fn sentence(
    question: &str,
    reading: &Reading,
    formula: ClosedFormula,
    figures: &[Offered],
    result: Amount,
    shown: &str,
) -> String {
    let region = &reading.regions[reading.lines[figures[0].line].region];
    let company = region
        .meta
        .company
        .clone()
        .unwrap_or_else(|| "the company".to_owned());
    let of = |figure: &Offered| {
        let when = figure
            .column
            .map_or(String::new(), |column| format!(" in {}", period(column)));
        format!("{}{when}", figure_shown(figure))
    };
    // `net sales ($120 in 2020)`, or only the amount where it has no name.
    let described = |figure: &Offered| {
        if figure.label.is_empty() {
            of(figure)
        } else {
            format!("{} ({})", lower_first(&thing(figure)), of(figure))
        }
    };
    let first = &figures[0];
    match formula {
        ClosedFormula::Value => {
            let each: Vec<String> = figures
                .iter()
                .map(|f| format!("{} {}", thing(f), of(f)))
                .collect();
            format!("{company}: {}.", each.join("; "))
        }
        ClosedFormula::Sum | ClosedFormula::Average => {
            let names: Vec<String> = figures.iter().map(described).collect();
            let verb = match formula {
                ClosedFormula::Sum => "come to",
                _ => "average",
            };
            format!("{company}: {} {verb} {shown}.", names.join(" and "))
        }
        ClosedFormula::Difference | ClosedFormula::Growth => {
            let second = &figures[1];
            let over_time = first.column.map(|c| c.year) != second.column.map(|c| c.year);
            let rose = !result.value.is_sign_negative() && !result.value.is_zero();
            if formula == ClosedFormula::Growth || over_time {
                let plain = shown.trim_start_matches('-');
                let change = match (result.unit, formula) {
                    (Unit::Percent, ClosedFormula::Difference) => {
                        format!("{} percentage points", plain.trim_end_matches('%'))
                    }
                    _ => plain.to_owned(),
                };
                let verb = match (result.value.is_zero(), rose) {
                    (true, _) => "did not change".to_owned(),
                    (_, true) => format!("rose by {change}"),
                    (_, false) => format!("fell by {change}"),
                };
                let start = match asks(&question.to_lowercase()) {
                    Some(Asks::Rose) if rose => "Yes: ",
                    Some(Asks::Fell) if !rose && !result.value.is_zero() => "Yes: ",
                    Some(Asks::Rose | Asks::Fell) => "No: ",
                    _ => "",
                };
                format!(
                    "{start}{company}: {} {verb}, from {} to {}.",
                    lower_first(&thing(first)),
                    of(second),
                    of(first)
                )
            } else {
                format!(
                    "{company}: {} less {} is {shown}.",
                    described(first),
                    described(second)
                )
            }
        }
        ClosedFormula::Ratio => format!(
            "{company}: {} over {} is {shown}.",
            described(first),
            described(&figures[1])
        ),
        ClosedFormula::Percent => format!(
            "{company}: {} was {shown} of {}.",
            described(first),
            described(&figures[1])
        ),
        ClosedFormula::Largest | ClosedFormula::Smallest => {
            let best = figures
                .iter()
                .find(|f| f.amount.value == result.value)
                .unwrap_or(first);
            let others: Vec<String> = figures
                .iter()
                .filter(|f| f.id != best.id)
                .map(|f| format!("{} {}", thing(f), figure_shown(f)))
                .collect();
            let word = match formula {
                ClosedFormula::Largest => "highest",
                _ => "lowest",
            };
            format!(
                "{company}: {} is the {word} of the {} compared, {} (the others: {}).",
                thing(best),
                figures.len(),
                of(best),
                others.join(", ")
            )
        }
    }
}
