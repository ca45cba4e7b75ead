//! Questions that nobody had to label: asked of inline-XBRL facts, whose place is known for certain.
//!
//! A fact names its concept, its period and its place. The passages that hold it answer the question;
//! those that hold the same concept for another period, the rows beside it and the passages around it
//! look alike and do not. A passage that repeats the figure untagged is found and graded too, or left
//! out where that cannot be told. Knows filings and wording; must not know any ranker.

mod cut;
mod draws;
mod headings;
mod record;
mod repeats;
mod reword;
mod wording;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use footnote_filings::{Accession, Fact, FactPeriod, FactValue, Filing, Passage};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub use cut::benchmark_chunks;
pub(crate) use draws::Draws;
pub use headings::{HeadingQuestion, questions_from_headings, without_headings};
pub use record::{LabelledQuestion, chunk_prompt, labelled_questions};
use repeats::{Repeat, Said};
pub use reword::Rewording;

use crate::features::text::{Term, terms};

/// A figure that more passages than this hold is said everywhere: asking for its place is pointless.
const MOST_POSITIVES: usize = 8;
/// Questions about one concept of one filing.
const PER_CONCEPT: usize = 2;
/// Hard negatives listed with a question.
const MOST_NEGATIVES: usize = 12;
/// Share of questions, in percent, that compare two periods.
const CHANGES: usize = 20;
/// Share of questions, in percent, that name the company.
const NAMED: usize = 70;

/// A question made from a fact, with the grades of the filing's passages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyntheticQuestion {
    /// Unique: the filing, and the number of the question in it.
    pub id: String,
    /// The filing.
    pub accession: Accession,
    /// Its company, where known.
    pub company: Option<String>,
    /// What is asked.
    pub question: String,
    /// Name of the template, to split by.
    pub template: String,
    /// Where the words for what is asked came from: `analyst`, `row` or `concept`.
    pub wording: String,
    /// The concept asked for.
    pub concept: String,
    /// The answer in single units (for a comparison, the later one).
    pub answer: Decimal,
    /// Its unit, as XBRL has it.
    pub unit: Option<String>,
    /// Grades by passage index: 2 holds the tagged figure (all of them, for a comparison), 1 repeats it
    /// in words or holds one of two. A passage that is not named has grade 0.
    pub grades: BTreeMap<usize, u8>,
    /// Passages whose grade cannot be told: to be left out of training, neither right nor wrong.
    pub unsure: BTreeSet<usize>,
    /// Passages of grade 0 that look like the answer, the most alike first.
    pub hard_negatives: Vec<HardNegative>,
}

/// A passage that looks like the answer and is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardNegative {
    /// Its index.
    pub passage: usize,
    /// In what it is alike.
    pub why: Likeness,
}

/// In what a hard negative is like the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Likeness {
    /// The same concept in another period, or for a part of the whole.
    OtherContext,
    /// A passage beside one that answers: the neighbouring rows.
    Neighbour,
    /// Another figure of the same period whose concept shares words.
    LikeConcept,
}

/// The facts that say the same: concept, period, dimensions and unit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    concept: String,
    unit: String,
    dimensions: Vec<(String, String)>,
    period: (Option<String>, String),
}

/// A key's facts and the passages they stand in.
struct Asked<'a> {
    fact: &'a Fact,
    value: Decimal,
    passages: BTreeSet<usize>,
}

/// Makes at most `limit` questions from the visible numeric facts of a filing. `passages` are the
/// filing's, or any other cut of its text into candidates; grades count in them. The same arguments
/// give the same questions.
pub fn questions_from_facts(
    filing: &Filing,
    passages: &[Passage],
    seed: u64,
    limit: usize,
) -> Vec<SyntheticQuestion> {
    let asked = askable(filing, passages);
    let said: Vec<Said> = passages.iter().map(Said::new).collect();
    let mut draws = Draws::new(seed, filing.meta.accession.as_str());
    let mut order: Vec<&Key> = asked.keys().collect();
    draws.shuffle(&mut order);
    // Whole figures first: parts (segments, instruments) are many and need their members' names.
    order.sort_by_key(|key| !key.dimensions.is_empty());
    let mut per_concept: HashMap<&str, usize> = HashMap::new();
    let mut questions = Vec::new();
    for key in order {
        if questions.len() >= limit {
            break;
        }
        let used = per_concept.entry(&key.concept).or_default();
        if *used >= PER_CONCEPT {
            continue;
        }
        let maker = Maker {
            filing,
            passages,
            asked: &asked,
            said: &said,
        };
        if let Some(mut question) = maker.make(key, &mut draws) {
            *used += 1;
            question.id = format!("{}#fact-{}", filing.meta.accession, questions.len());
            questions.push(question);
        }
    }
    questions
}

/// The facts worth asking for, by key, with the passages that hold them.
fn askable<'a>(filing: &'a Filing, passages: &[Passage]) -> BTreeMap<Key, Asked<'a>> {
    let mut asked: BTreeMap<Key, Asked<'a>> = BTreeMap::new();
    for fact in &filing.facts {
        let FactValue::Number(value) = fact.value else {
            continue;
        };
        let cover = fact.concept.starts_with("dei:");
        if !fact.visible || fact.span.is_empty() || value.is_zero() || cover {
            continue;
        }
        let Some(at) = holder(passages, fact) else {
            continue;
        };
        let period = match fact.period {
            FactPeriod::Forever => continue,
            FactPeriod::Instant(day) => (None, day.to_string()),
            FactPeriod::Duration(from, to) => (Some(from.to_string()), to.to_string()),
        };
        let key = Key {
            concept: fact.concept.clone(),
            unit: fact.unit.clone().unwrap_or_default(),
            dimensions: fact.dimensions.clone(),
            period,
        };
        let entry = asked.entry(key).or_insert_with(|| Asked {
            fact,
            value,
            passages: BTreeSet::new(),
        });
        // The most exact of several roundings is the answer; all of them answer.
        if fact.decimals.unwrap_or(i32::MAX) > entry.fact.decimals.unwrap_or(i32::MAX) {
            entry.fact = fact;
            entry.value = value;
        }
        entry.passages.insert(at);
    }
    asked
}

/// The passage that holds a fact; passages are in text order.
fn holder(passages: &[Passage], fact: &Fact) -> Option<usize> {
    let after = passages.partition_point(|passage| passage.span.start <= fact.span.start);
    let at = after.checked_sub(1)?;
    passages[at].span.contains(fact.span).then_some(at)
}

struct Maker<'a> {
    filing: &'a Filing,
    passages: &'a [Passage],
    asked: &'a BTreeMap<Key, Asked<'a>>,
    said: &'a [Said],
}

impl Maker<'_> {
    fn make(&self, key: &Key, draws: &mut Draws) -> Option<SyntheticQuestion> {
        let asked = &self.asked[key];
        let (mut label, wording) = wording::label(self.filing, asked.fact, draws);
        if let Some(member) = key.dimensions.first() {
            // One part is a question people ask; a cell of a cube is not.
            if key.dimensions.len() > 1 {
                return None;
            }
            let words = crate::features::concept::concept_words(&member.1);
            let name: Vec<&str> = words
                .iter()
                .map(String::as_str)
                .filter(|word| *word != "member" && *word != "segment")
                .collect();
            if name.is_empty() {
                return None;
            }
            label = format!("{label} ({})", name.join(" "));
        }
        let period = wording::period(self.filing, asked.fact.period, draws)?;
        let label_terms = content(&label);
        if label_terms.is_empty() {
            return None;
        }
        let other = draws
            .chance(CHANGES)
            .then(|| self.earlier(key, asked.fact))
            .flatten()
            .and_then(|other| {
                Some((
                    other,
                    wording::period(self.filing, other.fact.period, draws)?,
                ))
            })
            .filter(|(_, phrase)| *phrase != period);

        let mut grades = BTreeMap::new();
        let mut unsure = BTreeSet::new();
        self.grade(asked, &label_terms, &mut grades, &mut unsure);
        if let Some((other, _)) = &other {
            let mut others = BTreeMap::new();
            self.grade(other, &label_terms, &mut others, &mut unsure);
            grades = both(&grades, &others);
        }
        unsure.retain(|at| !grades.contains_key(at));
        if grades.len() > MOST_POSITIVES || !grades.values().any(|grade| *grade == 2) {
            return None;
        }

        let company = self.filing.meta.company.as_deref();
        let (question, template) = wording::question(
            asked.fact,
            &label,
            company.filter(|_| draws.chance(NAMED)),
            &period,
            other.as_ref().map(|(_, phrase)| phrase.as_str()),
            draws,
        );
        Some(SyntheticQuestion {
            id: String::new(),
            accession: self.filing.meta.accession.clone(),
            company: self.filing.meta.company.clone(),
            question,
            template,
            wording: wording.to_owned(),
            concept: key.concept.clone(),
            answer: asked.value,
            unit: asked.fact.unit.clone(),
            hard_negatives: self.hard_negatives(key, &grades, &unsure),
            grades,
            unsure,
        })
    }

    /// Grades the passages that hold or repeat one figure.
    fn grade(
        &self,
        asked: &Asked,
        label: &[Term],
        grades: &mut BTreeMap<usize, u8>,
        unsure: &mut BTreeSet<usize>,
    ) {
        for at in 0..self.passages.len() {
            if asked.passages.contains(&at) {
                grades.insert(at, 2);
                continue;
            }
            match self.said[at].repeats(asked.value, label) {
                Some(Repeat::Says) => {
                    grades.insert(at, 1);
                }
                Some(Repeat::Unsure) => {
                    unsure.insert(at);
                }
                None => {}
            }
        }
    }

    /// The same figure a year or a quarter before: the nearest earlier one of the same length.
    fn earlier(&self, key: &Key, fact: &Fact) -> Option<&Asked<'_>> {
        let length = |period: FactPeriod| match period {
            FactPeriod::Duration(from, to) => (to - from).get_days(),
            _ => 0,
        };
        self.asked
            .iter()
            .filter(|(other, asked)| {
                other.concept == key.concept
                    && other.unit == key.unit
                    && other.dimensions == key.dimensions
                    && other.period.0.is_some() == key.period.0.is_some()
                    && other.period.1 < key.period.1
                    && (length(asked.fact.period) - length(fact.period)).abs() <= 7
            })
            .max_by(|a, b| a.0.period.1.cmp(&b.0.period.1))
            .map(|(_, asked)| asked)
    }

    /// Passages that look like the answer, nearest kind first, in text order within a kind.
    fn hard_negatives(
        &self,
        key: &Key,
        grades: &BTreeMap<usize, u8>,
        unsure: &BTreeSet<usize>,
    ) -> Vec<HardNegative> {
        let mut found: BTreeMap<usize, Likeness> = BTreeMap::new();
        let mut add = |at: usize, why: Likeness| {
            if !grades.contains_key(&at) && !unsure.contains(&at) {
                let known = found.entry(at).or_insert(why);
                *known = (*known).min(why);
            }
        };
        let words: BTreeSet<String> = crate::features::concept::telling_words(&key.concept)
            .into_iter()
            .collect();
        for (other, asked) in self.asked {
            let why = if other.concept == key.concept {
                Likeness::OtherContext
            } else if other.period == key.period
                && crate::features::concept::telling_words(&other.concept)
                    .iter()
                    .filter(|word| words.contains(*word))
                    .count()
                    >= 2
            {
                Likeness::LikeConcept
            } else {
                continue;
            };
            for at in &asked.passages {
                add(*at, why);
            }
        }
        for at in grades.keys() {
            for beside in [at.checked_sub(1), Some(at + 1)].into_iter().flatten() {
                if beside < self.passages.len() {
                    add(beside, Likeness::Neighbour);
                }
            }
        }
        let mut negatives: Vec<HardNegative> = found
            .into_iter()
            .map(|(passage, why)| HardNegative { passage, why })
            .collect();
        negatives.sort_by_key(|negative| (negative.why, negative.passage));
        negatives.truncate(MOST_NEGATIVES);
        negatives
    }
}

/// Grades for a comparison: both figures 2 (or 1, where only repeated), one of them 1.
fn both(first: &BTreeMap<usize, u8>, second: &BTreeMap<usize, u8>) -> BTreeMap<usize, u8> {
    let all: BTreeSet<usize> = first.keys().chain(second.keys()).copied().collect();
    all.into_iter()
        .map(|at| {
            let grade = match (first.get(&at), second.get(&at)) {
                (Some(a), Some(b)) => *a.max(b),
                _ => 1,
            };
            (at, grade)
        })
        .collect()
}

/// The terms of a label that say something.
fn content(label: &str) -> Vec<Term> {
    const SMALL: &[&str] = &[
        "the", "of", "and", "to", "in", "for", "by", "on", "total", "net", "from", "or", "a", "at",
    ];
    let words = crate::features::text::words(label);
    let kept: Vec<String> = words
        .into_iter()
        .filter(|word| !SMALL.contains(&word.as_str()))
        .collect();
    terms(&kept.join(" "))
}
