//! Finds the figures that a calculation needs: XBRL facts where a concept and a period match, else
//! rows by their label. Where labels leave it open, rows are offered for somebody to choose.
//!
//! Must not know prompts; choosing is the caller's.

use std::collections::{BTreeMap, HashSet};

use footnote_filings::{Fact, FactPeriod, FactValue, Filing, FilingMeta, FiscalPeriod, Span};
use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::calc::{Item, StatementKind, Wanted, WantedItem};
use crate::sheet::{Cell, Region, Row, UNLABELLED};
use crate::{ChosenBy, Scale, Unit};

/// A label this good needs no second opinion.
const SURE: f32 = 0.75;

/// Below this a row is not even offered.
const OFFERED: f32 = 0.4;

/// How far a rival with another value must stay behind.
const MARGIN: f32 = 0.06;

/// What a row loses that stands elsewhere, where the filing has the statement it belongs to: it is then
/// a part's, a parent's or an affiliate's figure, never taken without a second opinion.
const ELSEWHERE: f32 = 0.6;

/// Rows a statement has at least.
const MIN_STATEMENT: usize = 8;

/// Rows offered to a chooser at most.
const MAX_OFFERED: usize = 8;

/// A figure found, in one row or as the sum of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its parts; more than one are summed.
    pub parts: Vec<Part>,
    /// In single units, sign as the item wants it.
    pub value: Decimal,
    /// How it was chosen.
    pub chosen_by: ChosenBy,
}

/// One row's or fact's contribution to a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Index of the region it was read from.
    pub region: usize,
    /// The row's label or the fact's concept.
    pub label: String,
    /// The number as written.
    pub written: String,
    /// The scale stated above.
    pub scale: Scale,
    /// Whether it is stated (or the figure needs none).
    pub scale_stated: bool,
    /// In single units.
    pub value: Decimal,
    /// The line in the filing's text.
    pub span: Span,
    /// The words there.
    pub quote: String,
    /// The XBRL concept, for a fact.
    pub concept: Option<String>,
}

/// A row that may be the wanted one.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// What it would contribute.
    pub part: Part,
    /// The statement it stands on.
    pub kind: Option<StatementKind>,
    /// How well it fits, about 0 to 1.3.
    pub score: f32,
}

/// What a search for a figure gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Search {
    /// The figure.
    Found(Figure),
    /// Rows that may be it, best first; somebody has to choose.
    Open(Vec<Candidate>),
    /// Nothing like it.
    Nothing,
}

/// Looks for a wanted figure among rows.
pub fn search_rows(wanted: &Wanted, regions: &[Region], rows: &[Row]) -> Search {
    let mut candidates: Vec<Candidate> = rows
        .iter()
        .filter_map(|row| candidate(wanted, &regions[row.region], row, rows))
        .collect();
    if let Some(own) = own_statement(wanted.item.kind(), rows) {
        for candidate in &mut candidates {
            if candidate.part.region != own {
                candidate.score -= ELSEWHERE;
            }
        }
    }
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let Some(best) = candidates.first() else {
        return components(wanted, regions, rows).map_or(Search::Nothing, Search::Found);
    };
    let rival = candidates
        .iter()
        .find(|c| c.part.value.abs() != best.part.value.abs())
        .map_or(0.0, |c| c.score);
    if best.score >= SURE && best.score - rival >= MARGIN {
        return Search::Found(figure(best.part.clone(), ChosenBy::Label));
    }
    if best.score < SURE
        && let Some(sum) = components(wanted, regions, rows)
    {
        return Search::Found(sum);
    }
    // The same figure often stands in several tables; it is offered once.
    let mut seen = HashSet::new();
    candidates
        .retain(|c| c.score >= OFFERED && seen.insert((c.part.label.to_lowercase(), c.part.value)));
    candidates.truncate(MAX_OFFERED);
    if candidates.is_empty() {
        Search::Nothing
    } else {
        Search::Open(candidates)
    }
}

/// The region of the company's own statement of a kind: the first that is about as long as the longest.
/// Summaries are shorter; parents' and affiliates' statements come later.
fn own_statement(kind: StatementKind, rows: &[Row]) -> Option<usize> {
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    let of_kind = rows
        .iter()
        .filter(|row| row.kind == Some(kind) && kind != StatementKind::Any);
    for row in of_kind {
        *sizes.entry(row.region).or_default() += 1;
    }
    let longest = *sizes.values().max()?;
    let whole = |size: usize| size >= MIN_STATEMENT && size * 5 >= longest * 3;
    sizes
        .into_iter()
        .find(|(_, size)| whole(*size))
        .map(|(region, _)| region)
}

/// A figure of one part.
pub fn figure(part: Part, chosen_by: ChosenBy) -> Figure {
    Figure {
        value: part.value,
        parts: vec![part],
        chosen_by,
    }
}

fn candidate(wanted: &Wanted, region: &Region, row: &Row, rows: &[Row]) -> Option<Candidate> {
    let fit = match &wanted.item {
        WantedItem::Known(item) => label_fit(&item.labels, &item.without, &row.label)
            .max(label_fit(&item.labels, &item.without, &grouped_label(item, row)) - 0.02),
        WantedItem::Named(name) => label_fit(&[words_of(name).join(" ")], &[], &row.label),
    };
    if fit <= 0.0 {
        return None;
    }
    let cell = row.cell_at(wanted.period, &region.meta)?;
    let part = part(wanted, row, cell, region)?;
    let statement = match (wanted.item.kind(), row.kind) {
        (StatementKind::Any, _) => 0.0,
        (wanted, Some(kind)) if wanted == kind => 0.2,
        (_, Some(_)) => -0.4,
        (_, None) => -0.1,
    };
    let part = match &wanted.item {
        WantedItem::Known(item) if item.name == "Income tax expense" => {
            tax_as_cost(part, region, row, rows, wanted.period)
        }
        _ => part,
    };
    let own_year = f32::from(u8::from(region.meta.fiscal_period == Some(wanted.period))) * 0.05;
    Some(Candidate {
        part,
        kind: row.kind,
        score: fit + statement + own_year,
    })
}

/// Filings print tax as a cost (`Provision 411`) or as what it does to income (`(411)`, a benefit
/// without brackets). The statement's own sum tells which: income before tax plus the number as
/// written is the income after it only in the second case. The figure becomes a cost.
fn tax_as_cost(
    mut part: Part,
    region: &Region,
    row: &Row,
    rows: &[Row],
    period: FiscalPeriod,
) -> Part {
    let value = |row: &Row| {
        let cell = row.cell_at(period, &region.meta)?;
        cell.number.as_ref().map(|n| n.value)
    };
    let here: Vec<&Row> = rows.iter().filter(|r| r.region == row.region).collect();
    let Some(written) = value(row) else {
        return part;
    };
    let before = here
        .iter()
        .rev()
        .filter(|r| r.span.end <= row.span.start)
        .find(|r| r.label.to_lowercase().contains("before"))
        .and_then(|r| value(r));
    let Some(before) = before else {
        return part;
    };
    let sum = before + written;
    let adds_up = |income: Decimal| (income.abs() - sum.abs()).abs() <= Decimal::ONE;
    let added = here
        .iter()
        .filter(|r| r.span.start >= row.span.end)
        .take(4)
        .filter_map(|r| value(r))
        .any(adds_up);
    if added {
        part.value = -part.value;
    }
    part
}

/// `Diluted` under `Earnings per share` only means something with its heading.
fn grouped_label(item: &Item, row: &Row) -> String {
    match item.unit {
        Unit::PerShare | Unit::Shares => format!("{} {}", row.group, row.label),
        _ => String::new(),
    }
}

fn part(wanted: &Wanted, row: &Row, cell: &Cell, region: &Region) -> Option<Part> {
    let per_share = words_of(&row.label)
        .windows(2)
        .any(|w| w == ["per", "share"]);
    let (unit, magnitude) = match &wanted.item {
        WantedItem::Known(item) => (item.unit, item.magnitude),
        WantedItem::Named(_) => (Unit::Money, false),
    };
    let plain =
        per_share || unit == Unit::PerShare || cell.number.as_ref().is_some_and(|n| n.percent);
    let scale = if plain {
        Scale::One
    } else {
        row.scale.unwrap_or(Scale::One)
    };
    let mut value = match &cell.number {
        Some(number) => number.absolute(scale)?,
        None => Decimal::ZERO,
    };
    let label = row.label.to_lowercase();
    let names_loss = (label.starts_with("net loss") || label.starts_with("loss"))
        && !label.contains("income")
        && !label.contains("earnings");
    if magnitude {
        value = value.abs();
    } else if names_loss && value.is_sign_positive() {
        value = -value;
    }
    let row = row.clone().quoted(region);
    Some(Part {
        region: row.region,
        label: if row.label.is_empty() {
            row.group.clone()
        } else {
            row.label.clone()
        },
        written: cell.written.clone(),
        scale,
        scale_stated: plain || row.scale.is_some(),
        value,
        span: row.span,
        quote: row.quote,
        concept: None,
    })
}

/// How well a row's label is one of an item's, 0 to 1.
fn label_fit(names: &[String], without: &[String], label: &str) -> f32 {
    let said = words_of(label);
    if said.is_empty() {
        return 0.0;
    }
    let mut best: f32 = 0.0;
    for (rank, name) in names.iter().enumerate() {
        let named: Vec<&str> = name.split(' ').collect();
        let early = 0.004 * rank.min(20) as f32;
        let fit = if said.iter().map(String::as_str).eq(named.iter().copied()) {
            1.0 - early
        } else {
            let holds = named.iter().all(|word| said.iter().any(|s| s == word));
            if !holds {
                continue;
            }
            let extra: Vec<&String> = said
                .iter()
                .filter(|word| !named.contains(&word.as_str()))
                .collect();
            if extra.iter().any(|word| without.contains(*word)) {
                continue;
            }
            let filler = |word: &str| {
                matches!(
                    word,
                    "net"
                        | "total"
                        | "the"
                        | "of"
                        | "and"
                        | "consolidated"
                        | "company"
                        | "a"
                        | "in"
                )
            };
            let weight: f32 = extra
                .iter()
                .map(|w| if filler(w) { 0.02 } else { 0.07 })
                .sum();
            let starts = said.iter().zip(&named).all(|(a, b)| a == b);
            (if starts { 0.88 } else { 0.78 }) - weight - early
        };
        best = best.max(fit);
    }
    best.max(0.0)
}

/// Lower-case words of letters; figures, marks and single letters of footnotes fall away.
fn words_of(label: &str) -> Vec<String> {
    let lower = label.to_lowercase().replace(['’', '\''], "");
    lower
        .split(|c: char| !c.is_alphanumeric() && c != '&')
        .filter(|word| !word.is_empty() && !word.bytes().all(|b| b.is_ascii_digit()))
        .filter(|word| (word.len() > 1 || *word == "a") && *word != UNLABELLED)
        .map(|word| {
            if word == "&" {
                "and".to_owned()
            } else {
                word.to_owned()
            }
        })
        .collect()
}

/// Inventories given only in kinds, under a heading that has no figure of its own.
fn components(wanted: &Wanted, regions: &[Region], rows: &[Row]) -> Option<Figure> {
    const KINDS: [&str; 7] = [
        "raw material",
        "work in process",
        "work-in-process",
        "work in progress",
        "finished goods",
        "finished products",
        "supplies",
    ];
    let WantedItem::Known(item) = &wanted.item else {
        return None;
    };
    if item.name != "Inventories" {
        return None;
    }
    let parts: Vec<Part> = rows
        .iter()
        .filter(|row| row.kind == Some(StatementKind::Balance))
        .filter(|row| row.group.to_lowercase().starts_with("inventor"))
        .filter(|row| {
            KINDS
                .iter()
                .any(|kind| row.label.to_lowercase().contains(kind))
        })
        .filter_map(|row| {
            let region = &regions[row.region];
            part(
                wanted,
                row,
                row.cell_at(wanted.period, &region.meta)?,
                region,
            )
        })
        .collect();
    let region = parts.first()?.region;
    let parts: Vec<Part> = parts.into_iter().filter(|p| p.region == region).collect();
    Some(Figure {
        value: parts.iter().map(|p| p.value).sum(),
        parts,
        chosen_by: ChosenBy::Label,
    })
}

/// Looks for a wanted figure among a filing's XBRL facts: a concept of the item, without dimensions,
/// of the fiscal period. Facts that stand visibly in the text come first; a hidden one is no footnote.
pub fn search_facts(wanted: &Wanted, filing: &Filing, region: usize) -> Option<Figure> {
    let WantedItem::Known(item) = &wanted.item else {
        return None;
    };
    let end = fiscal_end(&filing.meta, wanted.period)?;
    item.concepts.iter().find_map(|concept| {
        let fact = filing.facts.iter().find(|fact| {
            fact.visible
                && !fact.span.is_empty()
                && fact.dimensions.is_empty()
                && fact
                    .concept
                    .split_once(':')
                    .is_some_and(|(ns, name)| ns == "us-gaap" && name == concept)
                && covers(fact, item.kind, wanted.period, end)
        })?;
        let FactValue::Number(value) = &fact.value else {
            return None;
        };
        let line = line_around(&filing.text, fact.span)?;
        let quote = line.of(&filing.text)?.to_owned();
        let label = quote
            .split(" | ")
            .next()
            .filter(|label| label.chars().any(char::is_alphabetic))
            .unwrap_or(concept)
            .trim()
            .to_owned();
        let part = Part {
            region,
            label,
            written: fact.span.of(&filing.text)?.trim().to_owned(),
            scale: scale_of(fact, &filing.text),
            scale_stated: true,
            value: if item.magnitude { value.abs() } else { *value },
            span: line,
            quote,
            concept: Some(fact.concept.clone()),
        };
        Some(figure(part, ChosenBy::Fact))
    })
}

/// The last day of a fiscal period, counted back from the filing's own period end.
fn fiscal_end(meta: &FilingMeta, period: FiscalPeriod) -> Option<Date> {
    let (own, end) = (meta.fiscal_period?, meta.period_end?);
    let same_quarter =
        own.quarter == period.quarter || own.quarter == Some(4) && period.quarter.is_none();
    let back = i32::from(own.year) - i32::from(period.year);
    (same_quarter && (0..=5).contains(&back))
        .then(|| end.checked_sub(back.years()).ok())
        .flatten()
}

fn covers(fact: &Fact, kind: StatementKind, period: FiscalPeriod, end: Date) -> bool {
    let near = |day: Date| (day - end).get_days().abs() <= 10;
    match fact.period {
        FactPeriod::Instant(day) => kind == StatementKind::Balance && near(day),
        FactPeriod::Duration(from, to) => {
            let days = (to - from).get_days();
            let long_enough = match period.quarter {
                None => (340..=385).contains(&days),
                Some(_) => (75..=105).contains(&days),
            };
            kind != StatementKind::Balance && near(to) && long_enough
        }
        FactPeriod::Forever => false,
    }
}

/// The scale between the digits shown and the fact's value.
fn scale_of(fact: &Fact, text: &str) -> Scale {
    let shown = fact
        .span
        .of(text)
        .and_then(|t| crate::numbers_in(t).into_iter().next());
    let (Some(shown), FactValue::Number(value)) = (shown, &fact.value) else {
        return Scale::One;
    };
    Scale::ALL
        .into_iter()
        .find(|scale| shown.value.abs() * scale.factor() == value.abs())
        .unwrap_or(Scale::One)
}

/// The line of the text in which a span lies.
fn line_around(text: &str, span: Span) -> Option<Span> {
    let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let end = text
        .get(span.end..)?
        .find('\n')
        .map_or(text.len(), |at| span.end + at);
    Some(Span::new(start, end))
}
