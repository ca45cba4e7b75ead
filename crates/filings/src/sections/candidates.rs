//! Lines that may be the heading of an item or part, and how much they look like one.
//!
//! Every line that begins with "Item N" or "Part N" is a candidate; its style, its wording, its
//! neighbours and what follows it are turned into a score. Which candidates are the true headings is
//! decided over all of them together, elsewhere.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::input::detect::prefix;
use crate::types::{Block, BlockKind, Span};

/// What a line claims to head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// `Part II`.
    Part(u8),
    /// `Item 7A`, with the part when the line names it and further numbers when it heads several.
    Item {
        part: Option<u8>,
        numbers: Vec<String>,
    },
    /// A heading with the words of an item and no number.
    Words,
    /// `Signatures`.
    Signatures,
}

/// A line that may be a heading.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) claim: Claim,
    /// The heading, from its first to its last character.
    pub(super) heading: Span,
    /// The heading in one line.
    pub(super) title: String,
    /// The letters behind the number, lower case: filing agents' software breaks words with blanks.
    pub(super) words: String,
    /// How much it looks like a heading, whatever it heads.
    pub(super) looks: f32,
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this module are valid")
}

static ITEM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^[\W_]{0,4}(?:part\s+(?P<part>iv|i{1,3}|[1-4])\b[\s,.:;|—–\-]*)?items?\s*(?P<n>\d{1,2}(?:\.\d{2})?)(?:\s?\(?(?P<l>[a-d])(?:\)|\b))?(?P<more>(?:(?:\s*,\s*(?:and\s+)?|\s+and\s+|\s*&\s*|\s+through\s+)(?:items?\s*)?\d{1,2}\s?(?:[a-d]\b)?)*)(?P<sep>[\s.:;|)\]—–\-]*)",
    )
});
static PART: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)^[\W_]{0,4}part\s+(i\s?v|i(?:\s?i){0,2}|[1-4])(?:$|[\s.,:;|—–\-]+)(.{0,60})$")
});
static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)(\d{1,2})\s?([a-d]\b)?"));
/// What follows the words of a cross reference: `Item 7 of this report`, `Item 1A in our Form 10-K`.
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:of|in|to)\s+(?:this|our|the|its)\s+(?:\d{4}\s+)?(?:annual|quarterly|current|form|report|proxy|registration)|^\s*(?:of|in|to|above|below|and|or|is|are|was|has|have|herein|hereof|contains|under|shall|which|that)\b",
    )
});
static PAGE_AT_END: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:\s|\||\.{2,})\s*(?:[FS]-)?\d{1,3}\s*\|?\s*$"));
static SIGNATURES: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^\W*signatures?(?:\s+page)?\W*$"));

/// Most candidates that are looked at; a text with more has item words in every sentence.
const MAX_CANDIDATES: usize = 4_000;

/// All candidates of a text, in order.
pub(super) fn gather(text: &str, blocks: &[Block]) -> Vec<Candidate> {
    let body = body_size(blocks);
    let mut found: Vec<Candidate> = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        if found.len() >= MAX_CANDIDATES {
            break;
        }
        let Some(inside) = block.span.of(text) else {
            continue;
        };
        let next = blocks[index + 1..].iter().find(|b| !b.span.is_empty());
        match block.kind {
            BlockKind::Table => table_rows(text, block, inside, &mut found),
            BlockKind::PageBreak => {
                // A heading at the top of a page may be taken for a running head.
                for (start, line) in lines(inside) {
                    let at = block.span.start + start;
                    if let Some(mut candidate) = read(text, at, line, block, next, body) {
                        candidate.looks -= 1.5;
                        found.push(candidate);
                    }
                }
            }
            _ => {
                for (start, line) in lines(inside).take(3) {
                    let at = block.span.start + start;
                    if let Some(candidate) = read(text, at, line, block, next, body) {
                        found.push(candidate);
                    }
                }
            }
        }
    }
    penalise_lists(text, &mut found);
    penalise_running_heads(&mut found);
    found
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        (start, line.trim_end())
    })
}

/// The font size that most text has.
fn body_size(blocks: &[Block]) -> Option<f32> {
    let mut sizes: HashMap<u32, usize> = HashMap::new();
    for block in blocks {
        if let Some(size) = block.style.size_pt.filter(|s| s.is_finite() && *s > 0.0)
            && block.kind == BlockKind::Paragraph
        {
            *sizes.entry((size * 10.0) as u32).or_default() += block.span.len();
        }
    }
    sizes
        .into_iter()
        .max_by_key(|(size, bytes)| (*bytes, *size))
        .map(|(size, _)| size as f32 / 10.0)
}

/// Rows of a layout table may be headings; a table of contents is many such rows in one table.
fn table_rows(text: &str, block: &Block, inside: &str, found: &mut Vec<Candidate>) {
    let rows: Vec<(usize, &str)> = lines(inside)
        .filter(|(_, row)| {
            let start = prefix(row, 60);
            ITEM.is_match(start) || PART.is_match(start)
        })
        .take(4)
        .collect();
    let row_count = inside.lines().count();
    if rows.len() > 2 || row_count > 40 {
        return;
    }
    for (start, row) in rows {
        if let Some(mut candidate) = read(text, block.span.start + start, row, block, None, None) {
            // Alone in its table it is a heading laid out in cells.
            candidate.looks += if row_count <= 2 { 1.5 } else { -1.0 };
            found.push(candidate);
        }
    }
}

fn part_number(text: &str) -> Option<u8> {
    // Words broken by the filing agent's software: `PART I I`.
    match text.to_ascii_lowercase().replace(' ', "").as_str() {
        "i" | "1" => Some(1),
        "ii" | "2" => Some(2),
        "iii" | "3" => Some(3),
        "iv" | "4" => Some(4),
        _ => None,
    }
}

/// The letters of `text` in lower case.
pub(super) fn fold(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphabetic())
        .flat_map(char::to_lowercase)
        .collect()
}

fn read(
    text: &str,
    at: usize,
    line: &str,
    block: &Block,
    next: Option<&Block>,
    body: Option<f32>,
) -> Option<Candidate> {
    if line.is_empty() {
        return None;
    }
    let mut heading = Span::new(at, at + line.len());
    let style = &block.style;
    let mut looks = 0.0;
    if block.kind == BlockKind::Heading {
        looks += 2.0;
    }
    if style.bold {
        looks += 1.0;
    }
    if style.anchor_target {
        looks += 1.0;
    }
    if style.centered || style.underlined {
        looks += 0.3;
    }
    if style.tag_level.is_some() {
        looks += 1.0;
    }
    if let (Some(size), Some(body)) = (style.size_pt, body)
        && size > body + 0.9
    {
        looks += 0.7;
    }
    if style.internal_link {
        looks -= 2.5;
    }
    let (claim, rest) = claim_of(line, block)?;
    let rest = rest.trim();
    let mut words = fold(prefix(rest, 200));
    let mut title = line.replace(" | ", " ");
    if PAGE_AT_END.is_match(rest) && !rest.is_empty() {
        looks -= 3.0;
    }
    let lower = line.to_lowercase();
    if lower.contains("continued)") || lower.ends_with("continued") {
        looks -= 4.0;
    }
    let letters: Vec<char> = prefix(line, 120)
        .chars()
        .filter(|c| c.is_alphabetic())
        .collect();
    if letters.len() > 5 && letters.iter().all(|c| c.is_uppercase()) {
        looks += 0.7;
    }
    if let Claim::Item { .. } = claim {
        // A heading run into its paragraph ends with its first stop; what follows may say anything.
        let own = prefix(rest, 140);
        let own = own.find(". ").map_or(own, |stop| &own[..stop]);
        if REFERENCE.is_match(own) {
            looks -= 3.0;
        }
        // `item 7` in small letters opens a sentence's continuation, not a section.
        if line.trim_start().starts_with('i') {
            looks -= 2.5;
        }
    }
    if line.len() > 400 {
        // A heading run into its paragraph: the title ends with its first sentence.
        looks -= 1.0;
        let first = line
            .match_indices(['.', '—', ':'])
            .map(|(index, mark)| index + mark.len())
            .find(|index| *index > line.len() - rest.len() + 3);
        let end = first.unwrap_or(80).min(160);
        title = prefix(line, end).to_owned();
        heading = Span::new(at, at + title.len());
        words = fold(&title);
    }
    // The words of a heading may stand in a block of their own below the number.
    if words.chars().count() < 3
        && !matches!(claim, Claim::Part(_) | Claim::Signatures)
        && let Some(next) = next
        && let Some(below) = next.span.of(text)
        && next.span.len() <= 220
        && matches!(next.kind, BlockKind::Heading | BlockKind::Paragraph)
        && !ITEM.is_match(below)
    {
        words = fold(below);
        title = format!("{title} {}", below.replace('\n', " "));
        heading.end = next.span.end;
    }
    Some(Candidate {
        claim,
        heading,
        title: title.split_whitespace().collect::<Vec<_>>().join(" "),
        words,
        looks,
    })
}

/// What a line claims, and the text behind the number.
fn claim_of<'a>(line: &'a str, block: &Block) -> Option<(Claim, &'a str)> {
    if let Some(found) = ITEM.captures(line) {
        let whole = found.get(0)?;
        let rest = &line[whole.end()..];
        let number = found.name("n")?.as_str();
        let letter = found.name("l").map_or("", |l| l.as_str());
        let separator = found.name("sep").map_or("", |s| s.as_str());
        // `Items` of something else: "Item 4 million".
        if separator.is_empty() && !rest.is_empty() {
            return None;
        }
        let mut numbers = vec![format!("{number}{}", letter.to_ascii_uppercase())];
        if let Some(more) = found.name("more") {
            for further in NUMBER.captures_iter(more.as_str()) {
                let letter = further.get(2).map_or("", |l| l.as_str());
                numbers.push(format!("{}{}", &further[1], letter.to_ascii_uppercase()));
            }
            if more.as_str().to_lowercase().contains("through") {
                numbers = through(&numbers);
            }
        }
        let part = found.name("part").and_then(|p| part_number(p.as_str()));
        return Some((Claim::Item { part, numbers }, rest));
    }
    if line.len() <= 90
        && let Some(found) = PART.captures(line)
    {
        let part = part_number(&found[1])?;
        let rest = found.get(2).map_or("", |m| m.as_str());
        // "Part I of this report" and "Part II, Item 5" are no part headings.
        let plain = rest.is_empty()
            || rest.to_lowercase().contains("information")
            || rest.bytes().all(|b| !b.is_ascii_lowercase());
        return plain.then_some((Claim::Part(part), rest));
    }
    if SIGNATURES.is_match(line) && block.kind != BlockKind::Table {
        return Some((Claim::Signatures, ""));
    }
    if block.kind == BlockKind::Heading && line.len() <= 140 {
        return Some((Claim::Words, line));
    }
    None
}

/// `10 through 14` as its five numbers.
fn through(numbers: &[String]) -> Vec<String> {
    let ends: Vec<u32> = numbers.iter().filter_map(|n| n.parse().ok()).collect();
    match ends.as_slice() {
        [first, last] if first < last && last - first <= 12 => {
            (*first..=*last).map(|n| n.to_string()).collect()
        }
        _ => numbers.to_vec(),
    }
}

/// Lines of a table of contents follow each other with nothing but page numbers between.
fn penalise_lists(text: &str, candidates: &mut [Candidate]) {
    let items: Vec<usize> = (0..candidates.len())
        .filter(|i| matches!(candidates[*i].claim, Claim::Item { .. }))
        .collect();
    let mut run = Vec::new();
    let mut listed = Vec::new();
    for pair in items.windows(2) {
        let between = text
            .get(candidates[pair[0]].heading.end..candidates[pair[1]].heading.start)
            .unwrap_or_default();
        let letters = between.chars().filter(|c| c.is_alphabetic()).count();
        if letters <= 12 && between.len() <= 40 {
            if run.is_empty() {
                run.push(pair[0]);
            }
            run.push(pair[1]);
        } else {
            if run.len() >= 3 {
                listed.append(&mut run);
            }
            run.clear();
        }
    }
    if run.len() >= 3 {
        listed.append(&mut run);
    }
    for index in listed {
        // At the end of a filing several items may share one paragraph below their headings.
        let is_early = candidates[index].heading.start < text.len() / 5;
        candidates[index].looks -= if is_early { 3.5 } else { 1.5 };
    }
}

/// The same line again and again is a running head: only its first place may be the section's.
fn penalise_running_heads(candidates: &mut [Candidate]) {
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        if candidate.claim != Claim::Words && candidate.looks > 0.0 {
            places
                .entry(candidate.title.to_lowercase())
                .or_default()
                .push(index);
        }
    }
    for indices in places.values().filter(|indices| indices.len() >= 3) {
        for index in &indices[1..] {
            candidates[*index].looks -= 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Style;

    fn claim(line: &str) -> Option<Claim> {
        let block = Block {
            kind: BlockKind::Paragraph,
            span: Span::new(0, line.len()),
            style: Style::default(),
        };
        claim_of(line, &block).map(|(claim, _)| claim)
    }

    fn item(numbers: &[&str]) -> Option<Claim> {
        Some(Claim::Item {
            part: None,
            numbers: numbers.iter().map(|n| (*n).to_owned()).collect(),
        })
    }

    #[test]
    fn reads_every_way_of_numbering() {
        for (line, expected) in [
            ("Item 7. Management's Discussion", item(&["7"])),
            ("ITEM 1A: RISK FACTORS", item(&["1A"])),
            ("Item 7(a) — Market risk", item(&["7A"])),
            ("Item 1 | Business", item(&["1"])),
            ("Items 1 and 2. Business and Properties", item(&["1", "2"])),
            ("Items 1, 1A and 2", item(&["1", "1A", "2"])),
            (
                "Items 10 through 14.",
                item(&["10", "11", "12", "13", "14"]),
            ),
            ("Item 5.02 Departure of Directors", item(&["5.02"])),
            ("PART II", Some(Claim::Part(2))),
            ("Part I. Financial Information", Some(Claim::Part(1))),
            ("PART 1 — FINANCIAL INFORMATION", Some(Claim::Part(1))),
            ("Part III of this report is omitted", None),
            ("SIGNATURES", Some(Claim::Signatures)),
            ("partially offset by", None),
            ("Itemized deductions", None),
        ] {
            assert_eq!(claim(line), expected, "{line}");
        }
        assert_eq!(
            claim("Part II, Item 5. Market"),
            Some(Claim::Item {
                part: Some(2),
                numbers: vec!["5".to_owned()]
            })
        );
    }
}
