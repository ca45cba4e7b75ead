//! Reads a question as a calculation: which metric or line item, of which periods, set against each
//! other how, and in which unit the answer is wanted. Questions that ask for words give no plan.

use std::sync::LazyLock;

use footnote_filings::FiscalPeriod;
use regex::Regex;

use super::asked::{PERCENT, aim, asks_only_for_figures, places_asked, scale_asked};
use super::catalogue::{
    Item, Metric, Named, StatementKind, in_vocabulary, item_named, longest_name,
};
use super::definition::{Over, Phrase, parse_formula};
use super::formula::{Expr, written};
use super::period::{before, every_year, periods_in};
use crate::answer::FormulaSource;
use crate::{Scale, Unit};

/// A line item to be found, known to the catalogue or only named by the question.
#[derive(Clone, Debug, PartialEq)]
pub enum WantedItem {
    /// Of the catalogue.
    Known(&'static Item),
    /// As the question calls it.
    Named(String),
}

impl WantedItem {
    /// Its name in answers.
    pub fn name(&self) -> &str {
        match self {
            WantedItem::Known(item) => &item.name,
            WantedItem::Named(name) => name,
        }
    }

    /// The statement it stands on.
    pub fn kind(&self) -> StatementKind {
        match self {
            WantedItem::Known(item) => item.kind,
            WantedItem::Named(_) => StatementKind::Any,
        }
    }
}

/// A figure that a plan needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Which line.
    pub item: WantedItem,
    /// Of which period.
    pub period: FiscalPeriod,
}

/// One result of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanStep {
    /// What it computes, e.g. `Quick ratio FY2023`.
    pub name: String,
    /// Over the plan's figures and earlier steps.
    pub expr: Expr,
}

/// What is done with the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Its value at one period.
    Value,
    /// Its mean over periods.
    Average,
    /// Growth from the first to the last period, in percent.
    Growth,
    /// Compound yearly growth.
    Cagr,
    /// Its values at two periods against each other.
    Compare,
}

/// Which way a yes-or-no question points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Has it become better?
    Improved,
    /// Has it become more?
    Rose,
    /// Has it become less?
    Fell,
    /// Is it above zero?
    Positive,
    /// Is there any?
    Any,
}

/// A question read as a calculation.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The metric or item.
    pub name: String,
    /// Its formula in words.
    pub formula: String,
    /// Who gave the formula.
    pub source: FormulaSource,
    /// Whether the formula is more than one line item.
    pub computed: bool,
    /// What is done with it.
    pub aim: Aim,
    /// The figures to be found.
    pub wanted: Vec<Wanted>,
    /// The results, last is the answer; for [`Aim::Compare`] the last three are the earlier value,
    /// the later value and the difference.
    pub steps: Vec<PlanStep>,
    /// The periods, earliest first.
    pub periods: Vec<FiscalPeriod>,
    /// What the metric counts.
    pub unit: Unit,
    /// Digits after the point, where the question asks for a number of them.
    pub places: Option<u32>,
    /// Digits after the point otherwise, where the metric has a custom.
    pub usual_places: u32,
    /// The scale asked for.
    pub scale: Option<Scale>,
    /// Which way a yes-or-no question points.
    pub asks: Option<Asks>,
    /// Whether more of it is better.
    pub more_is_better: Option<bool>,
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// Questions for words, for parts of the company, or for figures that management defines itself.
static WORDS_WANTED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\bwhy\b|\bwhich\b|\bwho(?:se)? (?:is|are|was|were|did|has)\b|\bdrove\b|\bdriv(?:er|ers|en|ing)\b|\breasons?\b|\bsegments?\b|\bregions?\b|\bgeograph|\bcategor|\bguidance\b|\bforecast|\bexpect|\boutlook\b|\badjusted\b|\bnon-?\s?gaap\b|\borganic|\bconstant currency\b|\bexclud|\bcore\b|\bestimate|\blist\b|\bdescribe\b|\bexplain\b|\bsummar|\blargest\b|\bhighest\b|\blowest\b|\bproposal\b|\bagreement\b|\bper customer\b|\bacquisition",
    )
});

/// The escape clause of some questions; it asks for words only if the metric makes no sense.
static ESCAPE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\bif [^.?!]*\b(?:useful|relevant|meaningful|applicable|ask about|outlined)\b[^.?!]*[.?!]?",
    )
});

static DEFINED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:^|[.?!]\s+)(?:define|calculate|compute)\s+(?P<n1>[^.?!:]{2,80}?)\s+as:?\s+(?P<d1>.+)|(?:^|[.?!,]\s+)(?P<n2>[^.?!:,]{2,80}?)\s+(?:is|are|can be|should be)\s+(?:defined|calculated|computed)\s+as:?\s+(?P<d2>.+)",
    )
});

/// `…, taken as A less B?` and `…: A divided by B?`
static INLINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^(?P<n>.*?)(?:,\s*(?:taken|measured|computed|calculated|defined|expressed)\s+as:?|:)\s+(?P<d>[^?:]+)\?",
    )
});

static SENTENCE_END: LazyLock<Regex> = LazyLock::new(|| pattern(r"[.?!;](?:\s|$)"));

/// Reads a question as a calculation at the periods it names, or at `default` where it names none.
pub fn plan(question: &str, default: Option<FiscalPeriod>) -> Option<Plan> {
    let text = ESCAPE.replace_all(question, " ");
    let (main, definition) = split_definition(&text);
    let lower = main.to_lowercase().replace('’', "'");
    if WORDS_WANTED.is_match(&lower) {
        return None;
    }
    let named = longest_name(&lower);
    let asked = named.map_or("", |(_, start, end)| &lower[start..end]);
    if !asks_only_for_figures(&main.replace('’', "'"), asked, &in_vocabulary) {
        return None;
    }
    let base = base(&lower, named, definition.as_ref())?;

    let mut periods = periods_in(&main);
    if periods.is_empty() {
        periods = periods_in(&text)
            .into_iter()
            .max_by_key(|p| (p.year, p.quarter))
            .into_iter()
            .collect();
    }
    if periods.is_empty() {
        periods.extend(default);
    }
    periods.sort_by_key(|p| (p.year, p.quarter));
    periods.dedup();
    let last = *periods.last()?;

    let percent_asked = PERCENT.is_match(&lower);
    let (aim, asks) = aim(&lower, periods.len(), percent_asked, base.unit);
    let periods = match aim {
        Aim::Value => vec![last],
        Aim::Average => every_year(&periods),
        Aim::Growth | Aim::Compare if periods.len() == 1 => vec![before(last), last],
        Aim::Growth | Aim::Cagr | Aim::Compare => vec![*periods.first()?, last],
    };
    if periods.len() < 2 && aim != Aim::Value {
        return None;
    }

    let as_percent =
        base.unit == Unit::Percent || (base.computed && percent_asked && base.unit == Unit::Number);
    let mut wanted = Vec::new();
    let mut steps = Vec::new();
    let mut values = Vec::new();
    for &period in &periods {
        let mut expr = at_period(&base.expr, &base.phrases, period, last, &mut wanted);
        if as_percent {
            expr = Expr::Percent(Box::new(expr));
        }
        steps.push(PlanStep {
            name: format!("{} {period}", base.name),
            expr,
        });
        values.push(Expr::Step(steps.len() - 1));
    }
    let unit = if as_percent { Unit::Percent } else { base.unit };
    finish(aim, &base.name, &periods, &mut steps, &values);

    let names: Vec<String> = base.phrases.iter().map(in_words).collect();
    Some(Plan {
        formula: written(&base.expr, &names, &[]),
        name: base.name,
        source: base.source,
        computed: base.computed,
        aim,
        wanted,
        steps,
        periods,
        unit,
        places: places_asked(&lower),
        usual_places: if as_percent { 1 } else { base.places },
        scale: scale_asked(&lower),
        asks,
        more_is_better: base.more_is_better,
    })
}

/// Adds the steps that set the periods' values against each other.
fn finish(
    aim: Aim,
    name: &str,
    periods: &[FiscalPeriod],
    steps: &mut Vec<PlanStep>,
    values: &[Expr],
) {
    let (Some(first), Some(last)) = (values.first().cloned(), values.last().cloned()) else {
        return;
    };
    let span = match periods {
        [from, .., to] => format!("{from} to {to}"),
        _ => String::new(),
    };
    match aim {
        Aim::Value => {}
        Aim::Average => steps.push(PlanStep {
            name: format!("{name}, average {span}"),
            expr: Expr::Average(values.to_vec()),
        }),
        Aim::Growth => steps.push(PlanStep {
            name: format!("{name}, growth {span}"),
            expr: Expr::Growth {
                new: Box::new(last),
                old: Box::new(first),
            },
        }),
        Aim::Cagr => steps.push(PlanStep {
            name: format!("{name}, compound annual growth {span}"),
            expr: Expr::Cagr {
                last: Box::new(last),
                first: Box::new(first),
                years: periods[periods.len() - 1].year - periods[0].year,
            },
        }),
        Aim::Compare => steps.push(PlanStep {
            name: format!("{name}, change {span}"),
            expr: last.minus(first),
        }),
    }
}

/// The metric or item a question is about.
struct Base {
    name: String,
    expr: Expr,
    phrases: Vec<Phrase>,
    source: FormulaSource,
    computed: bool,
    unit: Unit,
    places: u32,
    more_is_better: Option<bool>,
}

/// A definition in the question: the name, and what it is said to be.
struct Definition {
    name: String,
    body: String,
}

fn split_definition(text: &str) -> (String, Option<Definition>) {
    let Some(found) = DEFINED.captures(text) else {
        return inline_definition(text).unwrap_or_else(|| (text.to_owned(), None));
    };
    let (Some(name), Some(body)) = (
        found.name("n1").or(found.name("n2")),
        found.name("d1").or(found.name("d2")),
    ) else {
        return (text.to_owned(), None);
    };
    let end = SENTENCE_END
        .find(body.as_str())
        .map_or(body.end(), |stop| body.start() + stop.start());
    let definition = Definition {
        name: name.as_str().trim().to_lowercase(),
        body: text[body.start()..end].to_owned(),
    };
    let main = format!("{}. {}", &text[..name.start()], &text[end..]);
    (main, Some(definition))
}

/// A definition that goes straight on from the question; only if it reads as a formula of known items.
fn inline_definition(text: &str) -> Option<(String, Option<Definition>)> {
    let found = INLINE.captures(text)?;
    let (before, body) = (found.name("n")?, found.name("d")?);
    let (expr, phrases) = parse_formula(body.as_str())?;
    let known = phrases
        .iter()
        .all(|phrase| item_named(&phrase.name).is_some());
    let (_, start, end) = longest_name(&before.as_str().to_lowercase())?;
    let name = before.as_str().to_lowercase().get(start..end)?.to_owned();
    if matches!(expr, Expr::Figure(_)) || !known {
        return None;
    }
    let main = format!("{}?{}", before.as_str(), &text[found.get(0)?.end()..]);
    let body = body.as_str().to_owned();
    Some((main, Some(Definition { name, body })))
}

fn base(
    lower: &str,
    named: Option<(Named, usize, usize)>,
    definition: Option<&Definition>,
) -> Option<Base> {
    if let Some(definition) = definition
        && let Some(base) = defined(lower, named, definition)
    {
        return Some(base);
    }
    match named? {
        (Named::Metric(metric), ..) => {
            let (expr, phrases) = parse_formula(&metric.formula)?;
            Some(Base {
                name: metric.name.clone(),
                expr,
                phrases,
                source: FormulaSource::Catalogue,
                computed: true,
                unit: metric.unit,
                places: metric.places,
                more_is_better: metric.more_is_better,
            })
        }
        (Named::Item(item), ..) => Some(Base {
            name: item.name.clone(),
            expr: Expr::Figure(0),
            phrases: vec![Phrase {
                name: item.name.to_lowercase(),
                over: Over::One,
                periods: Vec::new(),
            }],
            source: FormulaSource::Catalogue,
            computed: false,
            unit: item.unit,
            places: 0,
            more_is_better: None,
        }),
    }
}

/// The question's own formula: of the very thing asked for, or of a part of its name
/// (`EBITDA less capex`, with EBITDA defined).
fn defined(
    lower: &str,
    named: Option<(Named, usize, usize)>,
    definition: &Definition,
) -> Option<Base> {
    let metric: Option<&Metric> = match named {
        Some((Named::Metric(metric), ..)) => Some(metric),
        _ => None,
    };
    let term = definition.name.trim_start_matches("the ");
    let asked = named.map_or("", |(_, start, end)| &lower[start..end]);
    let whole = match asked.find(term) {
        Some(_) if asked.len() > term.len() => {
            asked.replace(term, &format!("({})", definition.body))
        }
        _ => definition.body.clone(),
    };
    let (expr, phrases) = parse_formula(&whole).or_else(|| parse_formula(&definition.body))?;
    if matches!(expr, Expr::Figure(_)) {
        return None;
    }
    let is_money = !matches!(expr, Expr::Div(..) | Expr::Mul(..));
    Some(Base {
        name: metric.map_or_else(|| capital(term), |m| m.name.clone()),
        unit: match metric {
            Some(metric) => metric.unit,
            None if is_money => Unit::Money,
            None => Unit::Number,
        },
        places: metric.map_or(if is_money { 0 } else { 2 }, |m| m.places),
        more_is_better: metric.and_then(|m| m.more_is_better),
        expr,
        phrases,
        source: FormulaSource::Question,
        computed: true,
    })
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

fn in_words(phrase: &Phrase) -> String {
    let name =
        item_named(&phrase.name).map_or_else(|| phrase.name.clone(), |i| i.name.to_lowercase());
    match phrase.over {
        Over::One => name,
        Over::Average => format!("average {name}"),
        Over::Change => format!("change in {name}"),
    }
}

/// The formula at one period: every phrase becomes the figures it needs there.
fn at_period(
    expr: &Expr,
    phrases: &[Phrase],
    period: FiscalPeriod,
    main: FiscalPeriod,
    wanted: &mut Vec<Wanted>,
) -> Expr {
    let mut figure = |phrase: &Phrase, period: FiscalPeriod| {
        let item = match item_named(&phrase.name) {
            Some(item) => WantedItem::Known(item),
            None => WantedItem::Named(phrase.name.clone()),
        };
        let one = Wanted { item, period };
        let at = match wanted.iter().position(|known| *known == one) {
            Some(at) => at,
            None => {
                wanted.push(one);
                wanted.len() - 1
            }
        };
        Expr::Figure(at)
    };
    replace(expr, &mut |i| {
        let phrase = &phrases[i];
        // A period written into the formula moves along when the metric is taken at another one.
        let moved = |p: FiscalPeriod| FiscalPeriod {
            year: (p.year + period.year).saturating_sub(main.year),
            quarter: p.quarter,
        };
        let (first, last) = match phrase.periods.as_slice() {
            [] => (before(period), period),
            [one] => (before(moved(*one)), moved(*one)),
            [first, .., last] => (moved(*first), moved(*last)),
        };
        match phrase.over {
            Over::One => figure(phrase, last),
            Over::Average => Expr::Average(vec![figure(phrase, first), figure(phrase, last)]),
            Over::Change => figure(phrase, last).minus(figure(phrase, first)),
        }
    })
}

fn replace(expr: &Expr, leaf: &mut dyn FnMut(usize) -> Expr) -> Expr {
    let mut both = |a: &Expr, b: &Expr| (Box::new(replace(a, leaf)), Box::new(replace(b, leaf)));
    match expr {
        Expr::Add(a, b) => {
            let (a, b) = both(a, b);
            Expr::Add(a, b)
        }
        Expr::Sub(a, b) => {
            let (a, b) = both(a, b);
            Expr::Sub(a, b)
        }
        Expr::Mul(a, b) => {
            let (a, b) = both(a, b);
            Expr::Mul(a, b)
        }
        Expr::Div(a, b) => {
            let (a, b) = both(a, b);
            Expr::Div(a, b)
        }
        Expr::Figure(i) => leaf(*i),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(question: &str, expected: Expect) {
        let shown = match plan(question, Some(FiscalPeriod::year(2030))) {
            None => "no plan".to_owned(),
            Some(plan) => {
                let figures: Vec<String> = plan
                    .wanted
                    .iter()
                    .map(|w| format!("{}@{}", w.item.name(), w.period))
                    .collect();
                let steps: Vec<String> = plan.steps.iter().map(|s| s.name.clone()).collect();
                let results: Vec<String> = steps.iter().map(|s| format!("<{s}>")).collect();
                let last = plan.steps.last().unwrap();
                format!(
                    "{} = {}\n{:?} {:?} places {:?} scale {:?} asks {:?}\n{}",
                    plan.name,
                    plan.formula,
                    plan.aim,
                    plan.unit,
                    plan.places,
                    plan.scale,
                    plan.asks,
                    written(&last.expr, &figures, &results),
                )
            }
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn reads_questions_as_calculations() {
        check(
            "What is the FY2017 operating cash flow ratio for Acme? Operating cash flow ratio is defined as: cash from operations / total current liabilities. Round your answer to two decimal places.",
            expect![[r#"
                Operating cash flow ratio = cash from operating activities / total current liabilities
                Value Number places Some(2) scale None asks None
                Cash from operating activities@FY2017 / Total current liabilities@FY2017"#]],
        );
        check(
            "What is the FY2021 inventory turnover ratio of Acme? Inventory turnover is defined as: (FY2021 COGS) / (average inventory between FY2020 and FY2021).",
            expect![[r#"
                Inventory turnover = cost of goods sold / average inventories
                Value Number places None scale None asks None
                Cost of goods sold@FY2021 / average(Inventories@FY2020, Inventories@FY2021)"#]],
        );
        check(
            "Does Acme have an improving operating margin profile as of FY2022? If operating margin is not a useful metric for a company like this, then state that and explain why.",
            expect![[r#"
                Operating margin = operating income / revenue
                Compare Percent places None scale None asks Some(Improved)
                <Operating margin FY2022> - <Operating margin FY2021>"#]],
        );
        check(
            "What is the FY2018 - FY2020 3 year average of capex as a % of revenue for Acme? Answer in units of percents and round to one decimal place.",
            expect![[r#"
                Capital expenditures as a share of revenue = capital expenditures / revenue
                Average Percent places Some(1) scale None asks None
                average(<Capital expenditures as a share of revenue FY2018>, <Capital expenditures as a share of revenue FY2019>, <Capital expenditures as a share of revenue FY2020>)"#]],
        );
        check(
            "What is Acme's FY2022 unadjusted EBITDA less capex? Define unadjusted EBITDA as unadjusted operating income + depreciation and amortization [from cash flow statement]. Answer in USD millions.",
            expect![[r#"
                EBITDA less capital expenditures = operating income + depreciation and amortization - capital expenditures
                Value Money places None scale Some(Million) asks None
                Operating income@FY2022 + Depreciation and amortization@FY2022 - Capital expenditures@FY2022"#]],
        );
        check(
            "What is Acme's 2 year total revenue CAGR from FY2020 to FY2022 (in units of percents)?",
            expect![[r#"
                Revenue = revenue
                Cagr Money places None scale None asks None
                ((<Revenue FY2022> / <Revenue FY2020>)^(1/2) - 1) × 100"#]],
        );
        check(
            "What is Acme's year-over-year change in unadjusted operating income from FY2015 to FY2016 (in units of percents and round to one decimal place)?",
            expect![[r#"
                Operating income = operating income
                Growth Money places Some(1) scale None asks None
                (<Operating income FY2016> - <Operating income FY2015>) / <Operating income FY2015> × 100"#]],
        );
        check(
            "How much total assets did Acme have? Answer in USD billions.",
            expect![[r#"
            Total assets = total assets
            Value Money places None scale Some(Billion) asks None
            Total assets@FY2030"#]],
        );
        check(
            "Does Acme have positive working capital based on FY2022 data?",
            expect![[r#"
            Working capital = total current assets - total current liabilities
            Value Money places None scale None asks Some(Positive)
            Total current assets@FY2022 - Total current liabilities@FY2022"#]],
        );
        check(
            "What was Acme's revenue in the second quarter of fiscal 2023?",
            expect![[r#"
            Revenue = revenue
            Value Money places None scale None asks None
            Revenue@2023Q2"#]],
        );
    }

    #[test]
    fn questions_for_words_give_no_plan() {
        for question in [
            "What return on equity did Acme ask for in Ohio in August 2023?",
            "What would Acme's inventories have been under first-in, first-out in 2023?",
            "What does Acme's assistant cost in gross margin in 2024?",
            "What share of its fiscal 2024 net sales was left to Acme as gross profit?",
            "What was Acme's net income for the first nine months of fiscal 2024?",
            "What drove operating margin change as of FY2022 for Acme?",
            "Which segment had the highest net income in 2022?",
            "What was Acme's adjusted EBITDA for FY 2023?",
            "Who is the chief executive?",
            "",
        ] {
            assert_eq!(plan(question, None), None, "{question}");
        }
    }
}
