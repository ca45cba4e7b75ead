//! Decides which candidates are the true headings of a form with a fixed order of items.
//!
//! A filing names each item many times: in the table of contents, in cross references, in running
//! heads. The true headings are the ones that, taken together, look most like headings and stand in the
//! form's order with text between them: the best chain over all candidates, found by dynamic
//! programming. A strong heading that fits no chain is kept as out of order.

use super::candidates::{Candidate, Claim, fold};
use super::catalogue::Item;

/// A candidate taken as the heading of the item at `first` of the catalogue, and of further ones up to
/// `last` where it names them ("Items 1 and 2"); its place in the order is that of the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Chosen {
    pub(super) candidate: usize,
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) score: f32,
    pub(super) in_order: bool,
}

/// Below this a line is no heading, whatever the company it keeps.
const LEAST: f32 = 1.0;
/// A heading this strong counts even out of order.
const STRONG: f32 = 5.0;
/// Headings by words alone must look good.
const WORDS_ONLY_COST: f32 = 2.5;

/// What a candidate can head, with its score.
fn options(index: usize, candidate: &Candidate, form: &[Item]) -> Vec<Chosen> {
    let chosen = |first, last, score| Chosen {
        candidate: index,
        first,
        last,
        score,
        in_order: true,
    };
    let has_words = |item: &Item| {
        item.words
            .iter()
            .any(|words| candidate.words.contains(&fold(words)))
    };
    match &candidate.claim {
        Claim::Part(part) => form
            .iter()
            .position(|item| item.number.is_empty() && item.part == *part)
            .map(|at| chosen(at, at, candidate.looks + 0.5))
            .into_iter()
            .collect(),
        Claim::Item { part, numbers } => {
            let mut found = Vec::new();
            for (at, item) in form.iter().enumerate() {
                if item.number != numbers[0] || item.number.is_empty() {
                    continue;
                }
                if part.is_some_and(|part| part != item.part) {
                    continue;
                }
                let last = numbers[1..]
                    .iter()
                    .filter_map(|number| {
                        form.iter()
                            .position(|i| i.number == number && i.part >= item.part)
                    })
                    .filter(|last| *last > at)
                    .max()
                    .unwrap_or(at);
                let wordless = candidate
                    .words
                    .chars()
                    .filter(|c| c.is_alphabetic())
                    .count()
                    < 3;
                let words = if has_words(item) {
                    3.0
                } else if wordless {
                    0.5
                } else {
                    -2.0
                };
                found.push(chosen(at, last, candidate.looks + words));
            }
            found
        }
        Claim::Words => form
            .iter()
            .enumerate()
            .filter(|(_, item)| !item.number.is_empty() && is_title(&candidate.words, item))
            .map(|(at, _)| chosen(at, at, candidate.looks + 3.0 - WORDS_ONLY_COST))
            .collect(),
        Claim::Signatures => Vec::new(),
    }
}

/// Whether a heading without a number is nothing but an item's title.
fn is_title(words: &str, item: &Item) -> bool {
    item.words.iter().any(|title| {
        let title = fold(title);
        // Long titles are told by their beginning, short ones must be all there is.
        if title.len() >= 11 {
            words.starts_with(&title) && words.len() <= title.len() + 80
        } else {
            words == title || (words == "properties" && title == "propert")
        }
    })
}

/// What the text between two headings adds: a table of contents has none.
fn gap_bonus(gap: usize) -> f32 {
    (1.0 + gap as f32 / 80.0).ln().min(3.0) * 0.5
}

/// The headings of `form` among `candidates`, in the order of the text.
pub(super) fn choose(candidates: &[Candidate], form: &[Item], text_len: usize) -> Vec<Chosen> {
    let mut all: Vec<Chosen> = candidates
        .iter()
        .enumerate()
        .flat_map(|(index, candidate)| options(index, candidate, form))
        .filter(|chosen| chosen.score >= LEAST)
        .collect();
    // Titles without numbers are for filings that number nothing; beside numbered headings they are
    // the statements' and notes' own.
    let numbered = all
        .iter()
        .filter(|c| matches!(candidates[c.candidate].claim, Claim::Item { .. }) && c.score >= 3.0)
        .map(|c| c.first)
        .collect::<std::collections::HashSet<_>>();
    all.retain(|c| candidates[c.candidate].claim != Claim::Words || !numbered.contains(&c.first));
    if numbered.len() * 2 > form.len() {
        all.retain(|c| candidates[c.candidate].claim != Claim::Words);
    }
    let start = |c: &Chosen| candidates[c.candidate].heading.start;
    let end = |c: &Chosen| candidates[c.candidate].heading.end;
    let mut best: Vec<(f32, Option<usize>)> = Vec::with_capacity(all.len());
    for (index, this) in all.iter().enumerate() {
        let mut value = (this.score, None);
        for (before, previous) in all[..index].iter().enumerate() {
            if previous.first < this.first && end(previous) <= start(this) {
                let gap = start(this) - end(previous);
                let total = best[before].0 + gap_bonus(gap) + this.score;
                if total > value.0 {
                    value = (total, Some(before));
                }
            }
        }
        best.push(value);
    }
    let last = (0..all.len()).max_by(|a, b| {
        let value = |i: usize| best[i].0 + gap_bonus(text_len.saturating_sub(end(&all[i])));
        value(*a).total_cmp(&value(*b))
    });
    let mut chain = Vec::new();
    let mut at = last;
    while let Some(index) = at {
        chain.push(all[index]);
        at = best[index].1;
    }
    chain.reverse();
    add_strays(&all, candidates, &mut chain);
    chain
}

/// Adds strong headings of items that the chain has not: companies do shuffle items.
fn add_strays(all: &[Chosen], candidates: &[Candidate], chain: &mut Vec<Chosen>) {
    let mut strays: Vec<Chosen> = all
        .iter()
        .filter(|c| {
            c.score >= STRONG
                && matches!(candidates[c.candidate].claim, Claim::Item { .. })
                && !chain.iter().any(|taken| {
                    taken.candidate == c.candidate
                        || (taken.first <= c.first && c.first <= taken.last)
                })
        })
        .copied()
        .collect();
    strays.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then(a.candidate.cmp(&b.candidate))
    });
    for mut stray in strays {
        let taken = chain
            .iter()
            .any(|t| t.first == stray.first || t.candidate == stray.candidate);
        if !taken {
            stray.in_order = false;
            chain.push(stray);
        }
    }
    chain.sort_by_key(|c| candidates[c.candidate].heading.start);
}

/// The catalogue places of all items that a chosen heading names.
pub(super) fn named(chosen: &Chosen, candidate: &Candidate, form: &[Item]) -> Vec<usize> {
    let Claim::Item { numbers, .. } = &candidate.claim else {
        return vec![chosen.first];
    };
    (chosen.first..=chosen.last)
        .filter(|at| *at == chosen.first || numbers.iter().any(|n| n == form[*at].number))
        .collect()
}

/// 0 to 1 from a score: a plain bold heading with the item's words has about 6.
pub(super) fn confidence(chosen: &Chosen) -> f32 {
    let sure = 1.0 / (1.0 + (-(chosen.score - 2.0) * 0.8).exp());
    let sure = if chosen.in_order { sure } else { sure * 0.7 };
    (sure * 100.0).round() / 100.0
}
