//! Questions from a filing's own headings: what stands under a heading answers the question after it.
//!
//! The way of TREC CAR (Dietz et al. 2017): the heading is taken out of the text and asked for, so that
//! only what is said below it can be matched. Unlike facts these questions are about matters told in
//! words: risks, pay, markets. The same matter told elsewhere in the filing counts as wrong here, which
//! is sometimes unjust; a ranker must not be judged on these questions alone.

use std::collections::BTreeMap;

use footnote_filings::{BlockKind, Filing, Passage, Span};
use serde::{Deserialize, Serialize};

use super::draws::Draws;
use crate::features::text::words;

/// Words a heading must and may have.
const HEADING_WORDS: std::ops::RangeInclusive<usize> = 2..=14;
/// Words that must stand under it.
const LEAST_WORDS: usize = 60;
/// Words of it that make another chunk partly relevant.
const PART_WORDS: usize = 40;
/// More chunks than this under one heading are a chapter, not an answer.
const MOST_CHUNKS: usize = 6;

/// A question made from a heading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadingQuestion {
    /// What is asked.
    pub question: String,
    /// The heading; its text is to be blanked in the candidates.
    pub heading: Span,
    /// Grades by chunk index: 2 holds most of what stands under the heading, 1 another part of it.
    pub grades: BTreeMap<usize, u8>,
}

const TEMPLATES: &[&str] = &[
    "What does {company} disclose about {heading}?",
    "How does {company} describe {heading}?",
    "What is said about {heading} at {company}?",
    "How does {heading} affect {company}?",
    "What did {company}'s management say about {heading}?",
    "{heading}",
];
const RISKS: &[&str] = &[
    "What risks does {company} see in {heading}?",
    "How could {heading} affect {company}'s business?",
    "What exposure does {company} have: {heading}?",
];
const PAY: &[&str] = &[
    "How does {company} handle {heading}?",
    "What does the proxy statement of {company} say about {heading}?",
    "What applies at {company} for {heading}?",
];

/// Makes at most `limit` questions from the headings of a filing whose text is cut into `chunks`.
pub fn questions_from_headings(
    filing: &Filing,
    chunks: &[Passage],
    seed: u64,
    limit: usize,
) -> Vec<HeadingQuestion> {
    let mut draws = Draws::new(seed, filing.meta.accession.as_str());
    let headings: Vec<Span> = filing
        .blocks
        .iter()
        .filter(|block| block.kind == BlockKind::Heading)
        .map(|block| block.span)
        .collect();
    let mut made: Vec<HeadingQuestion> = Vec::new();
    let mut order: Vec<usize> = (0..headings.len()).collect();
    draws.shuffle(&mut order);
    for at in order {
        if made.len() >= limit {
            break;
        }
        let heading = headings[at];
        let end = headings
            .get(at + 1)
            .map_or(filing.text.len(), |next| next.start);
        if end <= heading.end {
            continue;
        }
        let body = Span::new(heading.end, end);
        if let Some(question) = make(filing, chunks, heading, body, &mut draws) {
            made.push(question);
        }
    }
    made.sort_by_key(|question| question.heading.start);
    made
}

fn make(
    filing: &Filing,
    chunks: &[Passage],
    heading: Span,
    body: Span,
    draws: &mut Draws,
) -> Option<HeadingQuestion> {
    let title = heading
        .of(&filing.text)?
        .trim()
        .trim_end_matches([':', '.']);
    let lower = title.to_lowercase();
    let generic = [
        "item ",
        "part ",
        "note ",
        "table of",
        "overview",
        "general",
        "continued",
        "exhibit",
        "(in ",
        "signature",
    ];
    if !HEADING_WORDS.contains(&words(title).len())
        || generic.iter().any(|word| lower.starts_with(word))
        || lower.contains("consolidated statements")
    {
        return None;
    }
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for (at, chunk) in chunks.iter().enumerate() {
        let start = chunk.span.start.max(body.start);
        let end = chunk.span.end.min(body.end);
        if start < end {
            let held = words(Span::new(start, end).of(&filing.text)?).len();
            if held >= PART_WORDS {
                parts.push((at, held));
            }
        }
    }
    let most = parts.iter().map(|part| part.1).max()?;
    if most < LEAST_WORDS || parts.len() > MOST_CHUNKS {
        return None;
    }
    let mut grades = BTreeMap::new();
    for (at, held) in &parts {
        let main = *held == most && !grades.values().any(|grade| *grade == 2);
        grades.insert(*at, if main { 2 } else { 1 });
    }
    let risk = filing.sections.iter().any(|section| {
        section.span.contains(heading) && section.id.to_lowercase().ends_with("item 1a")
    });
    let proxy = filing.meta.doc_type == Some(footnote_filings::DocType::Def14a);
    let templates = match (risk, proxy) {
        (true, _) => RISKS,
        (_, true) if draws.chance(60) => PAY,
        _ => TEMPLATES,
    };
    let shouted = !title.chars().any(char::is_lowercase);
    let asked = if shouted {
        title.to_lowercase()
    } else {
        title.to_owned()
    };
    let company = filing.meta.company.as_deref().unwrap_or("the company");
    let question = draws
        .of(templates)
        .replace("{heading}", &asked)
        .replace("{company}", company);
    Some(HeadingQuestion {
        question,
        heading,
        grades,
    })
}

/// The chunks' texts with the headings asked for taken out.
pub fn without_headings(
    filing: &Filing,
    chunks: &[Passage],
    asked: &[HeadingQuestion],
) -> Vec<String> {
    chunks
        .iter()
        .map(|chunk| {
            let mut text = chunk.text.clone();
            for question in asked.iter().filter(|q| chunk.span.contains(q.heading)) {
                if let Some(heading) = question.heading.of(&filing.text) {
                    text = text.replacen(heading.trim(), "", 1);
                }
            }
            text
        })
        .collect()
}
