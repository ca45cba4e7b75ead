//! What is known of a page or a passage before any question is asked.
//!
//! A unit is what gets ranked: a whole page of a page corpus (its passages joined); elsewhere one
//! passage, or a table with the parts it was cut into. Units of one filing are built together, since
//! items and table titles carry over.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

use footnote_filings::{Passage, PassageKind};
use regex::Regex;

use super::statement;
use super::text::{self, Term};

/// Parts of a cut table that are ranked together; a longer table is ranked in pieces.
const MAX_TABLE_PARTS: usize = 4;
/// How much of a unit may hold its columns' years, in characters of normalised text.
const COLUMNS_CHARS: usize = 600;
/// A line longer than this is no heading.
const HEADING_CHARS: usize = 90;
/// More item headings than this on one page is a table of contents.
const MAX_ITEMS: usize = 5;
/// How much of the text before a table may hold its title.
const CARRIED_CHARS: usize = 240;

/// A page or a passage, measured.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its passages: a range into the filing's passages in text order.
    pub passages: Range<usize>,
    /// The page, for page corpora.
    pub page: Option<u32>,
    /// Where in the filing it stands, 0 to 1.
    pub position: f32,
    /// Words, numbers included.
    pub length: u32,
    /// Numbers per word.
    pub density: f32,
    /// Likeness to the three primary statements, see [`super::Statement`].
    pub statements: [f32; 3],
    /// Each term and how often it occurs, by term.
    counts: Vec<(Term, u16)>,
    /// Word pairs, sorted.
    pairs: Vec<Term>,
    /// Terms of its heading-like lines, sorted.
    headings: Vec<Term>,
    /// Years named near its top, as a table's columns are.
    pub years: Vec<u16>,
    /// Items it belongs to: `7`, `1a`, `8.01`.
    pub items: BTreeSet<String>,
}

impl Unit {
    /// How often a term occurs.
    pub fn count(&self, term: Term) -> u16 {
        self.counts
            .binary_search_by_key(&term, |entry| entry.0)
            .map_or(0, |at| self.counts[at].1)
    }

    /// The different terms.
    pub fn terms(&self) -> impl Iterator<Item = Term> {
        self.counts.iter().map(|entry| entry.0)
    }

    /// Whether two words stand side by side ([`text::pair`]).
    pub fn has_pair(&self, pair: Term) -> bool {
        self.pairs.binary_search(&pair).is_ok()
    }

    /// Whether a heading-like line has the term.
    pub fn in_headings(&self, term: Term) -> bool {
        self.headings.binary_search(&term).is_ok()
    }
}

static ITEM_LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?im)^[ \t]*(?:part\s+i+\s*[,.\-–—]*\s*)?item\s+(\d{1,2}(?:\.\d\d|[abc])?)\s*[.:\-–—\s]",
    )
    .expect("the pattern is constant, compiled in a test")
});
static ITEM_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\bitem\s+(\d{1,2}(?:\.\d\d|[abc])?)\b")
        .expect("the pattern is constant, compiled in a test")
});

/// Measures all passages of one filing, given in text order.
pub fn units_of(passages: &[Passage]) -> Vec<Unit> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (at, passage) in passages.iter().enumerate() {
        match groups.last_mut() {
            Some(group) if belongs(&passages[group.clone()], passage) => group.end = at + 1,
            _ => groups.push(at..at + 1),
        }
    }
    let mut item = String::new();
    let mut units = Vec::with_capacity(groups.len());
    let count = groups.len();
    for (at, group) in groups.into_iter().enumerate() {
        let members = &passages[group.clone()];
        let text = joined(passages, group.clone());
        let mut unit = measure(&text);
        unit.position = at as f32 / count as f32;
        unit.page = members[0].page;
        unit.passages = group;
        unit.items = items(members, &text, &mut item);
        units.push(unit);
    }
    units
}

/// Whether a passage is part of the unit before it: of the same page, or the rest of a table that
/// had to be cut (such a rest repeats the column heads as its lead).
fn belongs(unit: &[Passage], passage: &Passage) -> bool {
    let (Some(first), Some(last)) = (unit.first(), unit.last()) else {
        return false;
    };
    if passage.page.is_some() {
        return first.page == passage.page;
    }
    let tables = last.kind == PassageKind::Table && passage.kind == PassageKind::Table;
    let adjoining = passage.span.start.saturating_sub(last.span.end) <= 2;
    let rest = tables && adjoining && !passage.lead.is_empty();
    rest && passage.section_path == last.section_path && unit.len() < MAX_TABLE_PARTS
}

/// The unit's text; a table gets the end of the text before it, where its title stands when the
/// splitter parted them.
fn joined(passages: &[Passage], group: Range<usize>) -> String {
    let members = &passages[group.clone()];
    let first = &members[0];
    let mut text = String::new();
    let parted = first.kind == PassageKind::Table && first.page.is_none() && first.lead.is_empty();
    if parted && group.start > 0 {
        let before = &passages[group.start - 1].text;
        let skip = before.chars().count().saturating_sub(CARRIED_CHARS);
        text.extend(before.chars().skip(skip));
        text.push('\n');
    }
    for (at, passage) in members.iter().enumerate() {
        // On a page the lead repeats what the passage before already showed.
        if at == 0 && !passage.lead.is_empty() {
            text.push_str(&passage.lead);
            text.push('\n');
        }
        text.push_str(&passage.text);
        text.push('\n');
    }
    text
}

/// The items a unit belongs to: from its section path, else from item headings at line starts,
/// carried on from page to page in `running`.
fn items(members: &[Passage], text: &str, running: &mut String) -> BTreeSet<String> {
    let named: BTreeSet<String> = members
        .iter()
        .flat_map(|passage| &passage.section_path)
        .filter_map(|name| Some(ITEM_NAME.captures(name)?[1].to_lowercase()))
        .collect();
    if !named.is_empty() {
        return named;
    }
    let found: Vec<String> = ITEM_LINE
        .captures_iter(text)
        .map(|captures| captures[1].to_lowercase())
        .collect();
    let mut items = BTreeSet::from([running.clone()]);
    if found.len() <= MAX_ITEMS
        && let Some(last) = found.last()
    {
        running.clone_from(last);
        items.extend(found);
    }
    items.remove("");
    items
}

/// Counts and looks at one text.
fn measure(text: &str) -> Unit {
    let mut terms: Vec<Term> = Vec::new();
    let mut pairs: Vec<Term> = Vec::new();
    let mut previous: Option<Term> = None;
    let (mut length, mut numbers) = (0u32, 0u32);
    text::for_each_word(text, |word| {
        length += 1;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            numbers += 1;
            return;
        }
        let term = text::term(word);
        terms.push(term);
        if let Some(before) = previous {
            pairs.push(text::pair(before, term));
        }
        previous = Some(term);
    });
    terms.sort_unstable();
    let mut counts: Vec<(Term, u16)> = Vec::new();
    for term in terms {
        match counts.last_mut() {
            Some((last, count)) if *last == term => *count = count.saturating_add(1),
            _ => counts.push((term, 1)),
        }
    }
    let normalised = normalise(text);
    let density = numbers as f32 / length.max(1) as f32;
    Unit {
        passages: 0..0,
        page: None,
        position: 0.0,
        length,
        density,
        statements: statement::likeness(&normalised, density),
        counts,
        pairs: sorted(pairs),
        headings: sorted(
            text.lines()
                .filter(is_heading)
                .flat_map(text::terms)
                .collect(),
        ),
        years: years(&normalised),
        items: BTreeSet::new(),
    }
}

/// Years among the first words.
fn years(normalised: &str) -> Vec<u16> {
    let top: String = normalised.chars().take(COLUMNS_CHARS).collect();
    let mut years: Vec<u16> = top
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| digits.len() == 4)
        .filter_map(|digits| digits.parse().ok())
        .filter(|year| (1990..=2060).contains(year))
        .collect();
    years.sort_unstable();
    years.dedup();
    years
}

fn sorted(mut terms: Vec<Term>) -> Vec<Term> {
    terms.sort_unstable();
    terms.dedup();
    terms
}

/// Lower case, single spaces, straight quotes.
pub(crate) fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() {
            if !out.ends_with(' ') && !out.is_empty() {
                out.push(' ');
            }
        } else if c == '’' {
            out.push('\'');
        } else if c.is_ascii() {
            out.push(c.to_ascii_lowercase());
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

/// Short, begins like a title, has hardly a digit and no full stop.
fn is_heading(line: &&str) -> bool {
    let line = line.trim();
    (4..=HEADING_CHARS).contains(&line.len())
        && !line.ends_with(['.', ',', ';'])
        && line
            .chars()
            .next()
            .is_some_and(|c| c.is_uppercase() || matches!(c, '•' | '('))
        && line.bytes().filter(u8::is_ascii_digit).count() <= 4
}

#[cfg(test)]
mod tests {
    use footnote_filings::{PassageId, Span};

    use super::*;

    fn passage(page: Option<u32>, path: &[&str], text: &str) -> Passage {
        let accession = "ACME_2022_10K".parse().unwrap();
        let span = Span::new(0, text.len());
        Passage {
            id: PassageId::new(&accession, span),
            accession,
            section_path: path.iter().map(|s| (*s).to_owned()).collect(),
            span,
            kind: PassageKind::Page,
            page,
            lead: String::new(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn parts_of_a_page_are_one_unit_and_items_carry_over() {
        let units = units_of(&[
            passage(Some(0), &[], "Item 3. Legal Proceedings\nWe are sued."),
            passage(Some(0), &[], "By many."),
            passage(Some(1), &[], "And by more, for 1,000 reasons."),
            passage(Some(2), &[], "ITEM 5. Market\nNone"),
        ]);
        assert_eq!(units.len(), 3);
        assert_eq!(units[0].passages, 0..2);
        assert_eq!(units[0].count(text::term("many")), 1);
        assert!(units[1].items.contains("3"));
        assert!(units[2].items.contains("3") && units[2].items.contains("5"));
        assert!(units[0].in_headings(text::term("proceedings")));
        assert!(!units[1].in_headings(text::term("reasons")));
        assert!(units[0].has_pair(text::pair(text::term("legal"), text::term("proceeding"))));
        assert!(units[1].density > 0.1 && units[0].density > 0.0);
    }

    #[test]
    fn years_are_read_near_the_top() {
        let text = format!(
            "Years ended June 30, 2022 2021\nSales 2,020 1999.5 {}2015",
            "x ".repeat(400)
        );
        let units = units_of(&[passage(Some(0), &[], &text)]);
        assert_eq!(units[0].years, [1999, 2021, 2022]);
    }

    #[test]
    fn sections_count_more_than_lines() {
        let units = units_of(&[
            passage(
                None,
                &["Part I", "Item 1A"],
                "Item 7. is discussed elsewhere",
            ),
            passage(None, &["Item 8.01"], "Other events"),
        ]);
        assert_eq!(units.len(), 2);
        assert_eq!(units[0].items.iter().collect::<Vec<_>>(), ["1a"]);
        assert_eq!(units[1].items.iter().collect::<Vec<_>>(), ["8.01"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_measured(text in "\\PC{0,200}", more in "[ -~\n]{0,200}") {
            let units = units_of(&[passage(None, &[], &text), passage(None, &[], &more)]);
            proptest::prop_assert_eq!(units.len(), 2);
            for unit in units {
                proptest::prop_assert!((0.0..=1.0).contains(&unit.density));
            }
        }
    }
}
