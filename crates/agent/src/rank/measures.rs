//! The measures of a candidate for a question, and how they are taken.
//!
//! Few and general on purpose: the weights are fitted on a few dozen questions and must hold for
//! companies that none of them is about.

use std::collections::HashMap;

use footnote_filings::DocType;
use serde::{Deserialize, Serialize};

use crate::features::text::{Term, term};
use crate::features::{Looked, Statement, Unit};

/// BM25's saturation and length correction (k1, b), in their usual middle.
const K1: f32 = 1.2;
const B: f32 = 0.6;
/// Numbers per word at which a candidate counts as full of numbers.
const FULL_DENSITY: f32 = 0.3;
/// A word in more than this part of all candidates tells nothing.
const COMMON: f32 = 0.6;
/// How much a synonym weighs beside a word of the question.
const SYNONYM: f32 = 0.4;

macro_rules! measures {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// One measure of a candidate; most lie between 0 and 1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Measure { $($(#[$doc])* $name,)* }

        /// All measures with the words a reason is given in.
        pub const MEASURES: &[(Measure, &str)] = &[$((Measure::$name, $text),)*];
    };
}

measures! {
    /// The annual report where no quarter and no day is asked.
    AnnualReport "annual report",
    /// A kind of document that the question names.
    NamedKind "the kind of document asked for",
    /// Earnings material where the question speaks its language.
    EarningsTalk "earnings material",
    /// A current report where the question speaks of an event.
    EventTalk "a current report",
    /// A quarterly report where no quarter is asked.
    UnaskedQuarterly "quarterly report",
    /// Of the fiscal year asked.
    SameYear "the fiscal year asked",
    /// Of the year after.
    YearAfter "the year after",
    /// Of the year before.
    YearBefore "the year before",
    /// Further away: a quarter for each year, at most 1.
    FarYear "another year",
    /// Of the quarter asked.
    SameQuarter "the quarter asked",
    /// Of another quarter.
    OtherQuarter "another quarter",
    /// Dated within a week of the day asked (half: within a month).
    NearDate "dated about the day asked",
    /// How high its kind stands in the order of kinds, when one is given.
    KindRank "a kind of document ranked high",
    /// BM25 of the question's words, as a share of the best.
    Words "the question's words",
    /// BM25 of line items its terms stand for, as a share of the best.
    LineItems "line items",
    /// BM25 of words that go with its topics, as a share of the best.
    Topics "words of the topic",
    /// BM25 of all of these together, as a share of the best.
    AllWords "words and synonyms",
    /// Share of the question's word pairs that occur.
    Pairs "word pairs of the question",
    /// Share of words found in heading lines, weighed by rarity.
    Headings "a heading",
    /// A statement that the question names.
    NamedStatement "the statement named",
    /// A statement that its terms need, where none is named.
    NeededStatement "the statement needed",
    /// A statement both named and needed.
    NamedAndNeeded "the statement named and needed",
    /// A statement nobody asked for.
    IdleStatement "another statement",
    /// In an item where the topic is at home.
    Item "the right item",
    /// Early in an annual report, when the business is asked about.
    EarlyBusiness "the description of the business",
    /// Under an item of a current report.
    CurrentItem "an item of a current report",
    /// Names the year asked near its top, as columns do, when a figure is asked for.
    YearShown "a column of the year asked",
    /// Full of numbers, when a figure is asked for.
    Figures "figures",
    /// In the last tenth of a long filing: exhibits and signatures.
    Late "the end of the filing",
    /// Holds an XBRL fact whose concept and period fit.
    Fact "a matching XBRL fact",
}

/// All measures of one candidate, by [`Measure`].
#[derive(Clone, Debug, PartialEq)]
pub struct Measures(pub [f32; MEASURES.len()]);

impl Default for Measures {
    fn default() -> Self {
        Measures([0.0; MEASURES.len()])
    }
}

impl Measures {
    /// One of them.
    pub fn get(&self, measure: Measure) -> f32 {
        self.0[measure as usize]
    }

    /// Sets one of them.
    pub fn set(&mut self, measure: Measure, value: f32) {
        self.0[measure as usize] = value;
    }
}

/// What is measured of a whole filing and holds for each of its candidates.
#[derive(Clone, Debug, Default)]
pub struct FilingMeasures {
    /// The measures, those of passages still 0.
    pub measures: Measures,
    /// Its kind.
    pub doc_type: Option<DocType>,
}

/// The candidates of one question; rarity of words and the best BM25 are taken over them.
pub struct Pool<'a> {
    looked: &'a Looked,
    year: Option<u16>,
    candidates: Vec<(&'a Unit, &'a FilingMeasures, usize)>,
}

/// A set of query words, their weights and rarities.
struct Query(Vec<(Term, f32)>);

impl<'a> Pool<'a> {
    /// An empty pool for a question about a year.
    pub fn new(looked: &'a Looked, year: Option<u16>) -> Pool<'a> {
        Pool {
            looked,
            year,
            candidates: Vec::new(),
        }
    }

    /// Adds all units of one filing.
    pub fn add(&mut self, units: &'a [Unit], filing: &'a FilingMeasures) {
        let count = units.len();
        self.candidates
            .extend(units.iter().map(|unit| (unit, filing, count)));
    }

    /// Measures every candidate, in the order they were added. `facts` gives the fit of the best
    /// XBRL fact of the candidate at an index, 0 where there is none.
    pub fn measure(&self, facts: impl Fn(usize) -> f32) -> Vec<Measures> {
        let looked = self.looked;
        let words = self.query(looked.words.iter().map(|w| (w.as_str(), 1.0)), COMMON);
        let line_items = self.query(looked.line_items.iter().map(|w| (w.as_str(), 1.0)), 1.0);
        let topics = self.query(looked.topic_words.iter().map(|w| (w.as_str(), 1.0)), 1.0);
        let synonyms = looked.line_items.iter().chain(&looked.topic_words);
        let all = self.query(
            looked
                .words
                .iter()
                .map(|w| (w.as_str(), 1.0))
                .chain(synonyms.map(|w| (w.as_str(), SYNONYM))),
            COMMON,
        );
        let headed = self.query(
            looked
                .words
                .iter()
                .map(|w| (w.as_str(), 1.0))
                .chain(looked.topic_words.iter().map(|w| (w.as_str(), SYNONYM))),
            COMMON,
        );
        let scores = [&words, &line_items, &topics, &all].map(|query| self.bm25(query));
        self.candidates
            .iter()
            .enumerate()
            .map(|(at, (unit, filing, count))| {
                let mut m = filing.measures.clone();
                m.set(Measure::Words, scores[0][at]);
                m.set(Measure::LineItems, scores[1][at]);
                m.set(Measure::Topics, scores[2][at]);
                m.set(Measure::AllWords, scores[3][at]);
                let pairs = looked.pairs.iter().filter(|p| unit.has_pair(**p)).count();
                m.set(
                    Measure::Pairs,
                    pairs as f32 / looked.pairs.len().max(1) as f32,
                );
                m.set(
                    Measure::Headings,
                    headed.share(|term| unit.in_headings(term)),
                );
                self.statements(unit, &mut m);
                let shown = self.year.is_some_and(|year| unit.years.contains(&year));
                if shown && looked.wants_figure {
                    m.set(Measure::YearShown, 1.0);
                }
                place(looked, unit, filing, *count, &mut m);
                m.set(Measure::Fact, facts(at));
                m
            })
            .collect()
    }

    /// Weighs words by their rarity among the candidates; repeated words keep their largest weight.
    fn query<'w>(&self, words: impl Iterator<Item = (&'w str, f32)>, common: f32) -> Query {
        let mut weights: HashMap<Term, f32> = HashMap::new();
        for (word, weight) in words {
            let known = weights.entry(term(word)).or_default();
            *known = known.max(weight);
        }
        let count = self.candidates.len() as f32;
        let mut terms: Vec<(Term, f32)> = weights
            .into_iter()
            .filter_map(|(term, weight)| {
                let holders = self
                    .candidates
                    .iter()
                    .filter(|c| c.0.count(term) > 0)
                    .count() as f32;
                let telling = holders > 0.0 && holders <= common * count;
                let rarity = (1.0 + (count - holders + 0.5) / (holders + 0.5)).ln();
                telling.then_some((term, weight * rarity))
            })
            .collect();
        // A map's order is random: sums of floats must not depend on it.
        terms.sort_by_key(|entry| entry.0);
        Query(terms)
    }

    /// BM25 of every candidate as a share of the best one's.
    fn bm25(&self, query: &Query) -> Vec<f32> {
        let total: f32 = self.candidates.iter().map(|c| c.0.length as f32).sum();
        let average = (total / self.candidates.len().max(1) as f32).max(1.0);
        let mut scores: Vec<f32> = self
            .candidates
            .iter()
            .map(|(unit, ..)| {
                let length = K1 * (1.0 - B + B * unit.length as f32 / average);
                query
                    .0
                    .iter()
                    .map(|(term, weight)| {
                        let count = f32::from(unit.count(*term));
                        weight * count * (K1 + 1.0) / (count + length)
                    })
                    .sum()
            })
            .collect();
        let best = scores.iter().copied().fold(0.0, f32::max);
        if best > 0.0 {
            for score in &mut scores {
                *score /= best;
            }
        }
        scores
    }

    fn statements(&self, unit: &Unit, m: &mut Measures) {
        let looked = self.looked;
        let best = |fit: &dyn Fn(usize) -> f32| {
            Statement::ALL
                .iter()
                .map(|s| fit(*s as usize) * unit.statements[*s as usize])
                .fold(0.0, f32::max)
        };
        let named = |at: usize| f32::from(u8::from(looked.named_statements[at]));
        let needed = |at: usize| looked.needed_statements[at];
        m.set(Measure::NamedStatement, best(&named));
        if !looked.names_statement() {
            m.set(Measure::NeededStatement, best(&needed));
        }
        m.set(
            Measure::NamedAndNeeded,
            best(&|at| named(at).min(needed(at))),
        );
        m.set(
            Measure::IdleStatement,
            best(&|at| 1.0 - named(at).max(needed(at))),
        );
    }
}

impl Query {
    /// Share of the weight of all words that have a property.
    fn share(&self, has: impl Fn(Term) -> bool) -> f32 {
        let total: f32 = self.0.iter().map(|entry| entry.1).sum();
        let held: f32 = self.0.iter().filter(|e| has(e.0)).map(|e| e.1).sum();
        if total > 0.0 { held / total } else { 0.0 }
    }
}

/// Measures of where in its filing a candidate stands.
fn place(looked: &Looked, unit: &Unit, filing: &FilingMeasures, count: usize, m: &mut Measures) {
    let annual = filing.doc_type == Some(DocType::TenK);
    let yes = |condition: bool| if condition { 1.0 } else { 0.0 };
    let item = annual && looked.items.iter().any(|item| unit.items.contains(item));
    m.set(Measure::Item, yes(item));
    if annual && looked.items.iter().any(|item| item == "1") {
        m.set(Measure::EarlyBusiness, (1.0 - 5.0 * unit.position).max(0.0));
    }
    let current = filing.doc_type == Some(DocType::EightK)
        && unit.items.iter().any(|item| item.contains('.'));
    m.set(Measure::CurrentItem, yes(current));
    if looked.wants_figure {
        m.set(Measure::Figures, (unit.density / FULL_DENSITY).min(1.0));
    }
    m.set(Measure::Late, yes(count > 40 && unit.position > 0.9));
}
