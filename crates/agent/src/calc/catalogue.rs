//! What analysts call things: line items with the labels that filings give them, and metrics with
//! their textbook formulas over those items.
//!
//! General knowledge of statements only; no company, no filing, no benchmark question. A definition
//! in the question always wins over a formula here.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::Unit;

/// The statement on which a line item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatementKind {
    /// Financial position at a day.
    Balance,
    /// Income over a time.
    Income,
    /// Cash flows over a time.
    CashFlow,
    /// Any table.
    Any,
}

impl StatementKind {
    /// The title under which filings print it, for searches.
    pub fn title(self) -> &'static str {
        match self {
            StatementKind::Balance => "consolidated balance sheets",
            StatementKind::Income => "consolidated statements of income operations earnings",
            StatementKind::CashFlow => "consolidated statements of cash flows",
            StatementKind::Any => "",
        }
    }
}

/// A line of a financial statement.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Its name in answers.
    pub name: String,
    /// How questions and formulas call it (lower case).
    pub asks: Vec<String>,
    /// How filings label it, likeliest first (lower case, without punctuation).
    pub labels: Vec<String>,
    /// Words in a label that make it another line.
    #[serde(default)]
    pub without: Vec<String>,
    /// Where it stands.
    pub kind: StatementKind,
    /// Whether its sign is a matter of presentation (costs, payments): the size counts.
    #[serde(default)]
    pub magnitude: bool,
    /// XBRL concepts of `us-gaap` without their prefix, best first.
    #[serde(default)]
    pub concepts: Vec<String>,
    /// What it counts.
    #[serde(default = "money")]
    pub unit: Unit,
    /// How it follows from other items where no line has it.
    pub otherwise: Option<String>,
}

fn money() -> Unit {
    Unit::Money
}

/// A figure that follows from line items.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name in answers.
    pub name: String,
    /// How questions call it (lower case).
    pub asks: Vec<String>,
    /// Its formula over the items' names.
    pub formula: String,
    /// What it counts.
    pub unit: Unit,
    /// Digits after the point unless the question asks otherwise.
    pub places: u32,
    /// Whether more of it is better, worse, or (not set) neither.
    pub more_is_better: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    item: Vec<Item>,
    metric: Vec<Metric>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    toml::from_str(include_str!("catalogue.toml")).expect("a constant file, read by a test")
});

/// The item that a formula or a question calls `phrase` (any case).
pub fn item_named(phrase: &str) -> Option<&'static Item> {
    let phrase = phrase.trim().to_lowercase();
    let bare = phrase.strip_prefix("the ").unwrap_or(&phrase);
    CATALOGUE
        .item
        .iter()
        .find(|item| item.asks.iter().any(|ask| ask == bare) || item.name.to_lowercase() == bare)
}

/// The metric of this name (any case).
pub fn metric_named(phrase: &str) -> Option<&'static Metric> {
    let phrase = phrase.trim().to_lowercase();
    CATALOGUE
        .metric
        .iter()
        .find(|metric| metric.asks.contains(&phrase))
}

/// Whether a word occurs in the name of any item or metric.
pub(super) fn in_vocabulary(word: &str) -> bool {
    static WORDS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let items = CATALOGUE.item.iter().flat_map(|item| &item.asks);
        let metrics = CATALOGUE.metric.iter().flat_map(|metric| &metric.asks);
        items
            .chain(metrics)
            .flat_map(|ask| ask.split(|c: char| c.is_whitespace() || matches!(c, ',' | '/')))
            .map(str::to_owned)
            .collect()
    });
    WORDS.contains(word)
}

/// What a question names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Named {
    Metric(&'static Metric),
    Item(&'static Item),
}

/// Finds the longest name of a metric in a lower-case question, else of an item, with its place. An
/// item whose name holds the metric's (`cash from operations` in no metric's) wins over it.
pub(super) fn longest_name(lower: &str) -> Option<(Named, usize, usize)> {
    let metric = CATALOGUE.metric.iter().flat_map(|metric| {
        metric
            .asks
            .iter()
            .map(move |ask| (Named::Metric(metric), ask))
    });
    let item = CATALOGUE
        .item
        .iter()
        .flat_map(|item| item.asks.iter().map(move |ask| (Named::Item(item), ask)));
    let (metric, item) = (longest(lower, metric), longest(lower, item));
    match (metric, item) {
        (Some((_, ms, me)), Some((_, is, ie))) if is <= ms && me <= ie && ie - is > me - ms => item,
        (Some(_), _) => metric,
        (None, _) => item,
    }
}

fn longest<'a>(
    lower: &str,
    names: impl Iterator<Item = (Named, &'a String)>,
) -> Option<(Named, usize, usize)> {
    let edge = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
    let mut best: Option<(Named, usize, usize)> = None;
    for (named, name) in names {
        for (start, _) in lower.match_indices(name.as_str()) {
            let end = start + name.len();
            let free =
                edge(lower[..start].chars().next_back()) && edge(lower[end..].chars().next());
            if free && best.is_none_or(|(_, s, e)| end - start > e - s) {
                best = Some((named, start, end));
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::super::definition::parse_formula;
    use super::*;

    #[test]
    fn every_formula_parses_and_names_known_items() {
        let formulas = CATALOGUE.metric.iter().map(|m| m.formula.as_str());
        for formula in formulas.chain(CATALOGUE.item.iter().filter_map(|i| i.otherwise.as_deref()))
        {
            let (_, phrases) = parse_formula(formula).unwrap_or_else(|| panic!("{formula}"));
            for phrase in phrases {
                assert!(item_named(&phrase.name).is_some(), "{formula}: {phrase:?}");
            }
        }
    }

    #[test]
    fn the_longest_name_wins() {
        let name = |question: &str| {
            longest_name(question).map(|(named, ..)| match named {
                Named::Metric(metric) => metric.name.as_str(),
                Named::Item(item) => item.name.as_str(),
            })
        };
        assert_eq!(
            name("what is the fy2017 operating cash flow ratio"),
            Some("Operating cash flow ratio")
        );
        assert_eq!(
            name("what was operating cash flow?"),
            Some("Cash from operating activities")
        );
        assert_eq!(name("unadjusted ebitda % margin"), Some("EBITDA margin"));
        assert_eq!(name("who chairs the board?"), None);
        assert_eq!(name("salesforce's headcount"), None);
    }
}
