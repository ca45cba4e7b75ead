//! The chunks of one document, looked at before any question is asked.
//!
//! What a chunk is (a table, a speaker's line, a speech, a page number, boilerplate) is told from its
//! text alone, so that records of any writer and passages of the index are treated alike.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use super::text::{Stemmer, pair, without_tags};
use super::vocabulary::BOILERPLATE;
use crate::features::statement::likeness;
use crate::features::text::{Term, for_each_word};
use crate::features::unit::normalise;

/// A line longer than this, in bytes, is no heading.
const HEADING_BYTES: usize = 110;
/// How many words at the end of a chunk may be the title of the table after it.
const LEAD_WORDS: usize = 40;
/// Numbers per word at which a text counts as a table.
const TABLE_DENSITY: f32 = 0.25;
/// Of a very long chunk only this many words are looked at, so that a hostile record cannot stall a
/// run; the longest real chunk has some 50,000.
const MAX_WORDS: usize = 200_000;

/// Who speaks in a chunk of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Speaker {
    /// No call, or nobody named.
    #[default]
    Nobody,
    /// The operator.
    Operator,
    /// Somebody of the company.
    Executive,
    /// Somebody who asks.
    Analyst,
}

/// One chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    /// Its words in order.
    pub words: Vec<Term>,
    /// Each term and how often it occurs, by term.
    counts: Vec<(Term, u32)>,
    /// Neighbouring words, sorted.
    pairs: Vec<Term>,
    /// Terms of its heading-like lines, sorted.
    headings: Vec<Term>,
    /// Terms of the end of the chunk before it, where a table's title stands; empty unless a table.
    pub lead: Vec<Term>,
    /// Numbers among its words.
    pub numbers: u32,
    /// Percent signs and currency marks.
    pub marks: u32,
    /// Question marks.
    pub questions: u32,
    /// It is a table.
    pub table: bool,
    /// It only names who speaks next.
    pub speaker_line: bool,
    /// Who speaks.
    pub speaker: Speaker,
    /// Whether the questions of the call have begun.
    pub in_questions: bool,
    /// Phrases that are the same in every filing, per hundred words, at most 1.
    pub boilerplate: f32,
    /// Looks like a table of contents, 0 to 1.
    pub contents: f32,
    /// Likeness to the three primary statements, its lead read as their title.
    pub statements: [f32; 3],
    /// The item whose heading came last, `7` or `1a`; empty before the first.
    pub item: String,
}

impl Chunk {
    /// How often a term occurs.
    pub fn count(&self, term: Term) -> u32 {
        self.counts
            .binary_search_by_key(&term, |entry| entry.0)
            .map_or(0, |at| self.counts[at].1)
    }

    /// Each different term and its count.
    pub fn counts(&self) -> &[(Term, u32)] {
        &self.counts
    }

    /// Whether two words stand side by side.
    pub fn has_pair(&self, pair: Term) -> bool {
        self.pairs.binary_search(&pair).is_ok()
    }

    /// Whether a heading-like line has the term.
    pub fn in_headings(&self, term: Term) -> bool {
        self.headings.binary_search(&term).is_ok()
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Numbers per word.
    pub fn density(&self) -> f32 {
        self.numbers as f32 / self.words.len().max(1) as f32
    }
}

/// A document's chunks with how many of them hold each term.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    /// In the order given; empty ones keep their place.
    pub chunks: Vec<Chunk>,
    holders: HashMap<Term, u32>,
    /// Chunks with words that are no speaker's lines.
    telling: u32,
    /// Their mean length in words.
    pub average: f32,
    /// Whether it is a call with speakers.
    pub call: bool,
}

impl Document {
    /// Looks at all chunks of one document.
    pub fn new<S: AsRef<str>>(texts: &[S], stemmer: &mut Stemmer) -> Document {
        let mut chunks: Vec<Chunk> = texts
            .iter()
            .map(|text| look(text.as_ref(), stemmer))
            .collect();
        carry(texts, &mut chunks);
        let mut holders: HashMap<Term, u32> = HashMap::new();
        let (mut telling, mut words) = (0u32, 0u64);
        for chunk in chunks.iter().filter(|c| !c.is_empty() && !c.speaker_line) {
            telling += 1;
            words += chunk.words.len() as u64;
            for (term, _) in &chunk.counts {
                *holders.entry(*term).or_default() += 1;
            }
        }
        Document {
            call: chunks.iter().filter(|chunk| chunk.speaker_line).count() >= 4,
            chunks,
            holders,
            telling,
            average: (words as f32 / telling.max(1) as f32).max(1.0),
        }
    }

    /// Rarity of a term among the chunks (Robertson and Spärck Jones, never negative); 0 for a term
    /// that no chunk has.
    pub fn rarity(&self, term: Term) -> f32 {
        let holders = self.holders.get(&term).copied().unwrap_or(0) as f32;
        if holders == 0.0 {
            return 0.0;
        }
        let all = self.telling as f32;
        (1.0 + (all - holders + 0.5) / (holders + 0.5)).ln()
    }
}

struct Patterns {
    role: Regex,
    name: Regex,
    boilerplate: Regex,
    item: Regex,
    page_end: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let regex =
        |pattern: &str| Regex::new(pattern).expect("patterns are constants, compiled in a test");
    Patterns {
        role: regex(
            r"(?i)^[^.?!\n]{2,60}?\s*(?:--|-|–|—|,|\()\s*(executives?|analysts?|attendees?|shareholders?|operator|unknown[^.?!]{0,20}|[^.?!\n]{0,60}(?:officer|president|chairman|director|relations|analyst|ceo|cfo|treasurer|head)[^.?!\n]{0,60})\)?$",
        ),
        name: regex(r"^[A-Z][\w.'’\-]*(?: [A-Z][\w.'’\-]*){1,3}$"),
        boilerplate: regex(BOILERPLATE),
        item: regex(
            r"(?im)^[ \t#*]*(?:part\s+i+\s*[,.\-–—]*\s*)?item\s+(\d{1,2}(?:\.\d\d|[abc])?)\s*[.:\-–—\s]",
        ),
        page_end: regex(r"(?m)[^\d\s,.%)][\s.#|]*\b\d{1,3}\s*(?:##)*\s*$"),
    }
});

/// Looks at one text.
fn look(text: &str, stemmer: &mut Stemmer) -> Chunk {
    let stripped;
    let html = text.contains("<t") || text.contains("<figure");
    let text = if html {
        stripped = without_tags(text);
        stripped.as_str()
    } else {
        text
    };
    let mut chunk = Chunk::default();
    for_each_word(text, |word| {
        if chunk.words.len() < MAX_WORDS {
            chunk.numbers += u32::from(word.starts_with(|c: char| c.is_ascii_digit()));
            chunk.words.push(stemmer.term(word));
        }
    });
    let mut sorted = chunk.words.clone();
    sorted.sort_unstable();
    for term in sorted {
        match chunk.counts.last_mut() {
            Some((last, count)) if *last == term => *count += 1,
            _ => chunk.counts.push((term, 1)),
        }
    }
    chunk.pairs = distinct(
        chunk
            .words
            .windows(2)
            .map(|two| pair(two[0], two[1]))
            .collect(),
    );
    let headings: Vec<Term> = text
        .lines()
        .filter(|line| is_heading(line))
        .flat_map(|line| stemmer.terms(line))
        .collect();
    chunk.headings = distinct(headings);
    chunk.marks = text
        .chars()
        .filter(|c| matches!(c, '%' | '$' | '€'))
        .count() as u32;
    chunk.questions = text.matches('?').count() as u32;
    let cells = text.matches("##").count() + text.matches(" | ").count();
    let words = chunk.words.len();
    chunk.table = words >= 6
        && (html && chunk.density() > 0.15
            || cells * 4 > words
            || cells > 4 && chunk.density() > TABLE_DENSITY);
    let phrases = PATTERNS.boilerplate.find_iter(text).take(50).count() as f32;
    chunk.boilerplate = (phrases * 100.0 / words.max(100) as f32).min(1.0);
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    let ends = PATTERNS.page_end.find_iter(text).take(500).count();
    let items = PATTERNS.item.find_iter(text).take(50).count();
    chunk.contents = if items >= 5 && words < 120 * items
        || lines >= 8 && ends * 10 >= lines * 7 && !money(text)
    {
        1.0
    } else {
        0.0
    };
    let trimmed = text.trim();
    if words <= 14 && !trimmed.contains('\n') {
        chunk.speaker = speaker_of(trimmed);
        chunk.speaker_line = chunk.speaker != Speaker::Nobody;
    }
    chunk
}

/// The end of a text, where the title of the table after it stands.
fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(300);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[from.unwrap_or(text.len())..]
}

fn money(text: &str) -> bool {
    text.contains('$') || text.contains('%')
}

/// Whose line it is; [`Speaker::Nobody`] where it is no speaker's line.
fn speaker_of(line: &str) -> Speaker {
    if line.eq_ignore_ascii_case("operator") {
        return Speaker::Operator;
    }
    let Some(role) = PATTERNS
        .role
        .captures(line)
        .map(|found| found[1].to_lowercase())
    else {
        return Speaker::Nobody;
    };
    match role.as_str() {
        role if role.contains("operator") => Speaker::Operator,
        role if ["analyst", "attendee", "shareholder", "unknown"]
            .iter()
            .any(|word| role.contains(word)) =>
        {
            Speaker::Analyst
        }
        _ => Speaker::Executive,
    }
}

/// Carries over what a chunk's place tells: the speaker, the item, the title of a table.
fn carry<S: AsRef<str>>(texts: &[S], chunks: &mut [Chunk]) {
    let call = chunks.iter().filter(|chunk| chunk.speaker_line).count() >= 4;
    let mut speaker = Speaker::Nobody;
    let mut asked = false;
    let mut item = String::new();
    for at in 0..chunks.len() {
        if chunks[at].table && at > 0 {
            let before = &chunks[at - 1];
            let from = before.words.len().saturating_sub(LEAD_WORDS);
            chunks[at].lead = if before.table {
                Vec::new()
            } else {
                before.words[from..].to_vec()
            };
        }
        let text = texts[at].as_ref();
        if chunks[at].density() > 0.1 {
            let lead = if at > 0 && chunks[at].table {
                tail(texts[at - 1].as_ref())
            } else {
                ""
            };
            let shown = if text.contains("<t") {
                without_tags(text)
            } else {
                text.replace("##", " ")
            };
            let normalised = normalise(&format!("{lead} {shown}"));
            chunks[at].statements = likeness(&normalised, chunks[at].density());
        }
        let found: Vec<String> = PATTERNS
            .item
            .captures_iter(text)
            .take(6)
            .map(|captures| captures[1].to_lowercase())
            .collect();
        if chunks[at].contents == 0.0
            && let Some(first) = found.first()
        {
            item.clone_from(first);
        }
        chunks[at].item.clone_from(&item);
        if chunks[at].contents == 0.0
            && let Some(last) = found.last()
        {
            item.clone_from(last);
        }
        if !call {
            chunks[at].speaker_line = false;
            chunks[at].speaker = inline_speaker(text);
            continue;
        }
        if chunks[at].speaker_line {
            speaker = chunks[at].speaker;
            asked |= speaker == Speaker::Analyst;
        } else if chunks[at].words.len() <= 4 && PATTERNS.name.is_match(text.trim()) {
            // A name without a role stands for somebody, but nobody knows for whom.
            chunks[at].speaker_line = true;
            speaker = Speaker::Nobody;
        }
        chunks[at].speaker = speaker;
        chunks[at].in_questions = asked;
    }
}

/// `Name, Analyst: …` at the start of a speech.
fn inline_speaker(text: &str) -> Speaker {
    let head: &str = text.lines().next().unwrap_or_default();
    match head.split_once(':') {
        Some((who, _)) if who.len() <= 100 => speaker_of(who.trim()),
        _ => Speaker::Nobody,
    }
}

/// Short, begins like a title, has hardly a digit and no full stop; or marked as one.
fn is_heading(line: &str) -> bool {
    let line = line.trim();
    if line.starts_with('#') && !line.starts_with("##") || line.starts_with("## ") {
        return line.len() <= 2 * HEADING_BYTES;
    }
    (4..=HEADING_BYTES).contains(&line.len())
        && !line.ends_with(['.', ',', ';'])
        && !line.contains("##")
        && line.starts_with(|c: char| c.is_uppercase() || c == '•')
        && line.bytes().filter(u8::is_ascii_digit).count() <= 4
}

fn distinct(mut terms: Vec<Term>) -> Vec<Term> {
    terms.sort_unstable();
    terms.dedup();
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(texts: &[&str]) -> Document {
        Document::new(texts, &mut Stemmer::default())
    }

    #[test]
    fn a_call_has_speakers() {
        let document = document(&[
            "Operator",
            "Welcome to the call.",
            "Ann Lee - Executives",
            "Sales grew.",
            "Operator",
            "The first question.",
            "Bo Roe - Analysts",
            "How is demand?",
            "Ann Lee - Executives",
            "",
            "Strong.",
        ]);
        let speakers: Vec<Speaker> = document.chunks.iter().map(|chunk| chunk.speaker).collect();
        use Speaker::{Analyst, Executive, Operator};
        assert_eq!(
            speakers,
            [
                Operator, Operator, Executive, Executive, Operator, Operator, Analyst, Analyst,
                Executive, Executive, Executive
            ]
        );
        assert!(document.call);
        assert!(document.chunks[0].speaker_line && !document.chunks[1].speaker_line);
        assert!(!document.chunks[3].in_questions && document.chunks[10].in_questions);
        assert!(document.chunks[9].is_empty());
    }

    #[test]
    fn tables_and_contents_are_told_from_prose() {
        let document = document(&[
            "Item 1. Business\nItem 1A. Risk\nItem 2. Places\nItem 3. Law\nItem 5. Market\nItem 7. More",
            "ITEM 7. DISCUSSION\nSales by region were as follows:",
            "##2023##2022\nSales##$##5,000##$##4,000\nCosts##3,000##2,000",
            "In 2023 we sold more than in 2022, by 5 %, for reasons given below in words.",
            "<table><tr><td>Sales</td><td>5,000</td></tr><tr><td>All costs</td><td>3,000</td><td>2,500</td></tr></table>",
        ]);
        let tables: Vec<bool> = document.chunks.iter().map(|chunk| chunk.table).collect();
        assert_eq!(tables, [false, false, true, false, true]);
        assert_eq!(document.chunks[0].contents, 1.0);
        assert_eq!(document.chunks[3].item, "7");
        let region = Stemmer::default().term("region");
        assert!(document.chunks[2].lead.contains(&region));
        assert!(!document.call);
    }

    proptest::proptest! {
        #[test]
        fn any_chunks_keep_their_number(texts in proptest::collection::vec("\\PC{0,60}", 0..8)) {
            let document = Document::new(&texts, &mut Stemmer::default());
            proptest::prop_assert_eq!(document.chunks.len(), texts.len());
        }
    }
}
