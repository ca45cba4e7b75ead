//! Sections of Form 8-K: item numbers such as `Item 2.02`, or `Item 5` before August 2004, in whatever
//! order the company reports them.

use std::collections::HashMap;

use super::candidates::{self, Candidate, Claim};
use super::catalogue::{CURRENT, CURRENT_OLD};
use super::headings;
use crate::types::{Block, Section, Span};
use crate::{Warning, WarningCode};

/// Below this a line that names an item is a mention of it.
const LEAST: f32 = 0.5;

pub(super) fn sections(text: &str, blocks: &[Block], warnings: &mut Vec<Warning>) -> Vec<Section> {
    let candidates = candidates::gather(text, blocks);
    let number = |candidate: &Candidate| match &candidate.claim {
        Claim::Item { numbers, .. } => numbers.first().cloned(),
        _ => None,
    };
    let is_new = candidates
        .iter()
        .filter_map(number)
        .any(|n| CURRENT.contains(&n.as_str()));
    // The best place of each item; the first of equals.
    let mut best: HashMap<String, (f32, usize)> = HashMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let Some(number) = number(candidate) else {
            continue;
        };
        let words = if is_new {
            if !CURRENT.contains(&number.as_str()) {
                continue;
            }
            if candidate.words.chars().any(char::is_alphabetic) {
                1.5
            } else {
                0.5
            }
        } else {
            match CURRENT_OLD.iter().find(|(n, _)| *n == number) {
                Some((_, words))
                    if words
                        .iter()
                        .any(|w| candidate.words.contains(&candidates::fold(w))) =>
                {
                    3.0
                }
                Some(_) => -1.0,
                None => continue,
            }
        };
        let score = candidate.looks + words;
        if score >= LEAST && best.get(&number).is_none_or(|(known, _)| score > *known) {
            best.insert(number, (score, index));
        }
    }
    let mut marks: Vec<(usize, String, f32)> = best
        .into_iter()
        .map(|(number, (score, index))| (index, format!("Item {number}"), score))
        .collect();
    marks.sort_by_key(|(index, _, _)| *index);
    let Some(last) = marks
        .last()
        .map(|(index, _, _)| candidates[*index].heading.start)
    else {
        return Vec::new();
    };
    let signatures = candidates
        .iter()
        .position(|c| c.claim == Claim::Signatures && c.heading.start > last);
    if let Some(index) = signatures {
        marks.push((index, "Signatures".to_owned(), 5.0));
    }
    let mut sections = Vec::new();
    for (at, (index, id, score)) in marks.iter().enumerate() {
        let candidate = &candidates[*index];
        let end = marks
            .get(at + 1)
            .map_or(text.len(), |(next, _, _)| candidates[*next].heading.start);
        let span = Span::new(candidate.heading.start, end);
        let body = text.get(candidate.heading.end..end).unwrap_or_default();
        if body.chars().filter(|c| c.is_alphabetic()).take(3).count() < 3 && id != "Signatures" {
            warnings.push(Warning::at(
                WarningCode::SectionEmpty,
                format!("{id} holds nothing besides its heading"),
                span,
            ));
        }
        let sure = 1.0 / (1.0 + (-(score - 1.0) * 0.8).exp());
        sections.push(Section {
            id: id.clone(),
            title: candidate.title.clone(),
            level: 1,
            path: vec![id.clone()],
            span,
            confidence: (sure * 100.0).round() / 100.0,
        });
        let inside = Span::new(candidate.heading.end.min(end), end);
        sections.extend(headings::nested(
            text,
            blocks,
            inside,
            1,
            std::slice::from_ref(id),
        ));
    }
    sections
}
