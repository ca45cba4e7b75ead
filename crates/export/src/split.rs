//! Which examples train, which validate and which test, so that no company and no wording is on two
//! sides.
//!
//! Companies are dealt out in an order drawn by the seed until each side has its share of the examples,
//! wordings that several companies share likewise; an example whose company and wording fell on
//! different sides is left out and counted. A wording of one company follows it. Must not know forms or files.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::near::{Seen, Unions, WORDING, hash, mix};

/// A side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitName {
    /// To learn from.
    Train,
    /// To choose settings by.
    Validation,
    /// To measure with.
    Test,
}

impl SplitName {
    /// All sides.
    pub const ALL: [SplitName; 3] = [SplitName::Train, SplitName::Validation, SplitName::Test];

    /// Its name in file names.
    pub fn name(self) -> &'static str {
        match self {
            SplitName::Train => "train",
            SplitName::Validation => "validation",
            SplitName::Test => "test",
        }
    }
}

/// What must not be on two sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitBy {
    /// Companies.
    Company,
    /// Wordings.
    Template,
    /// Neither; examples on two sides are left out.
    #[default]
    Both,
}

/// What an example is parted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Its company, or a name of its own.
    pub company: String,
    /// Its question with names and numbers masked.
    pub masked: String,
}

/// How large the held-out sides are.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Of validation, 0 to 1.
    pub validation: f64,
    /// Of test.
    pub test: f64,
}

/// A side, or none, for each example, and the number of its wording.
pub struct Parted {
    /// `None` where company and wording fell on different sides.
    pub sides: Vec<Option<SplitName>>,
    /// Number of each example's wording.
    pub templates: Vec<usize>,
}

/// Parts the examples.
pub fn part(keys: &[Keys], by: SplitBy, shares: Shares, seed: u64) -> Parted {
    let templates = templates(keys);
    let mut companies_of: HashMap<usize, HashSet<&str>> = HashMap::new();
    for (key, template) in keys.iter().zip(&templates) {
        companies_of
            .entry(*template)
            .or_default()
            .insert(&key.company);
    }
    let companies = deal(keys.iter().map(|key| key.company.as_str()), shares, seed);
    // The wording's first example names it. Only wordings that could leak are dealt.
    let name = |template: usize| keys[template].masked.as_str();
    let wordings = deal(
        templates
            .iter()
            .filter(|template| by == SplitBy::Template || companies_of[template].len() > 1)
            .map(|template| name(*template)),
        shares,
        seed,
    );
    let company_side = |company: &str| companies.get(company).copied();
    let template_side = |template: usize| wordings.get(name(template)).copied();
    let sides = keys
        .iter()
        .zip(&templates)
        .map(|(key, template)| match by {
            SplitBy::Company => company_side(&key.company),
            SplitBy::Template => template_side(*template),
            SplitBy::Both if companies_of[template].len() == 1 => company_side(&key.company),
            SplitBy::Both => {
                let side = company_side(&key.company);
                side.filter(|_| side == template_side(*template))
            }
        })
        .collect();
    Parted { sides, templates }
}

/// A side for each key, in an order drawn by the seed: test first until it has its share, then
/// validation.
fn deal<'a>(
    keys: impl Iterator<Item = &'a str>,
    shares: Shares,
    seed: u64,
) -> HashMap<&'a str, SplitName> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    let mut drawn: Vec<(&str, usize)> = counts.into_iter().collect();
    drawn.sort_by_key(|(key, _)| (mix(hash(key) ^ mix(seed)), *key));
    let test = (shares.test * total as f64).round() as usize;
    let held_out = test + (shares.validation * total as f64).round() as usize;
    let mut dealt = 0;
    drawn
        .into_iter()
        .map(|(key, count)| {
            // A key goes where its middle falls, so that one with many examples overfills neither.
            let middle = dealt + count / 2;
            dealt += count;
            let side = if middle < test {
                SplitName::Test
            } else if middle < held_out {
                SplitName::Validation
            } else {
                SplitName::Train
            };
            (key, side)
        })
        .collect()
}

/// Number of each example's wording: that of the first example worded alike.
fn templates(keys: &[Keys]) -> Vec<usize> {
    let mut known: HashMap<&str, usize> = HashMap::new();
    let mut seen = Seen::new(WORDING);
    // The distinct wordings, each by the first example that has it.
    let mut firsts = Vec::new();
    let mut likes = Vec::new();
    let of: Vec<usize> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| {
            *known.entry(&key.masked).or_insert_with(|| {
                let plain: Vec<&str> = key
                    .masked
                    .split_whitespace()
                    .filter(|word| !matches!(*word, "company" | "0"))
                    .collect();
                likes.push(seen.add(&plain.join(" ")));
                firsts.push(at);
                firsts.len() - 1
            })
        })
        .collect();
    let mut unions = Unions::new(firsts.len());
    for (wording, like) in likes.iter().enumerate() {
        for other in like {
            unions.join(wording, *other);
        }
    }
    of.into_iter()
        .map(|wording| firsts[unions.root(wording)])
        .collect()
}

/// Companies and wordings that stand on two sides: none, or the split leaks. `rows` are sides with the
/// company and wording of each example.
pub fn leaks<'a>(
    rows: impl Iterator<Item = (SplitName, &'a str, &'a str)>,
    by: SplitBy,
) -> Vec<String> {
    let mut sides: BTreeMap<(&str, String), HashSet<SplitName>> = BTreeMap::new();
    for (side, company, template) in rows {
        for (kind, key) in [("company", company), ("wording", template)] {
            let matters = match by {
                SplitBy::Both => true,
                SplitBy::Company => kind == "company",
                SplitBy::Template => kind == "wording",
            };
            if matters {
                sides
                    .entry((kind, key.to_owned()))
                    .or_default()
                    .insert(side);
            }
        }
    }
    sides
        .into_iter()
        .filter(|(_, sides)| sides.len() > 1)
        .map(|((kind, key), sides)| format!("{kind} {key:?} stands on {} sides", sides.len()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the questions, no company and no wording is on two sides, and the same seed parts alike.
        #[test]
        fn nothing_leaks(
            drawn in prop::collection::vec((0_u8..9, 0_u8..14), 1..80),
            seed in any::<u64>(),
            by in prop::sample::select(vec![SplitBy::Company, SplitBy::Template, SplitBy::Both]),
        ) {
            let keys: Vec<Keys> = drawn
                .iter()
                .map(|(company, wording)| Keys {
                    company: format!("c{company}"),
                    masked: format!("w{wording} x{wording} y{wording} of company in 0"),
                })
                .collect();
            let shares = Shares { validation: 0.2, test: 0.3 };
            let parted = part(&keys, by, shares, seed);
            let names: Vec<String> = parted.templates.iter().map(usize::to_string).collect();
            let rows = parted.sides.iter().zip(&keys).zip(&names).filter_map(|((side, key), name)| {
                side.map(|side| (side, key.company.as_str(), name.as_str()))
            });
            prop_assert!(leaks(rows, by).is_empty());
            prop_assert_eq!(&part(&keys, by, shares, seed).sides, &parted.sides);
            if by != SplitBy::Both {
                prop_assert!(parted.sides.iter().all(Option::is_some));
            }
        }
    }

    #[test]
    fn a_leak_is_seen() {
        let rows = [(SplitName::Train, "a", "w1"), (SplitName::Test, "a", "w2")];
        assert_eq!(leaks(rows.into_iter(), SplitBy::Both).len(), 1);
        assert!(leaks(rows.into_iter(), SplitBy::Template).is_empty());
    }
}
