//! A question as the passage rankers see it: content words, word pairs, expansions, kinds.
//!
//! The document is given, so the company's name and the frame of the question ("What did management
//! say about") tell nothing of the place; they go. Reads nothing but the question.

use std::sync::LazyLock;

use regex::Regex;

use super::text::{Stemmer, pair};
use super::vocabulary::{FRAME_WORDS, KINDS, Kind, TOPICS};
use crate::features::text::Term;
use crate::features::{Looked, understand};
use crate::scope::{Company, resolve};

/// A question longer than this is cut, in characters.
const MAX_CHARS: usize = 4_000;

/// A question understood.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Content words, repeated ones once.
    pub words: Vec<Term>,
    /// All of its words but the smallest, names and frame too.
    pub all: Vec<Term>,
    /// Neighbouring content words.
    pub pairs: Vec<Term>,
    /// Words that go with its topics and are none of its own.
    pub expansions: Vec<Term>,
    /// Cues of the kinds it is of.
    pub cues: Vec<Term>,
    /// Years named.
    pub years: Vec<Term>,
    /// The kinds it is of, by [`Kind`].
    pub kinds: [bool; KINDS.len()],
    /// What its financial terms need, see [`Looked`].
    pub looked: Looked,
}

impl Asked {
    /// Whether the question is of a kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.kinds[kind as usize]
    }
}

struct Patterns {
    kinds: Vec<Regex>,
    topics: Vec<Regex>,
    year: Regex,
    possessive: Regex,
    legal: Regex,
    companies: Vec<Company>,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let regex =
        |pattern: &str| Regex::new(pattern).expect("patterns are constants, compiled in a test");
    Patterns {
        kinds: KINDS.iter().map(|(_, pattern, _)| regex(pattern)).collect(),
        topics: TOPICS.iter().map(|(pattern, _)| regex(pattern)).collect(),
        year: regex(r"\b(?:19|20)\d\d\b"),
        // `Acme Works'` and `Acme's`: a run of capitalised words that owns something.
        possessive: regex(
            r"\b(?:[A-Z][\w&.\-]*,? (?:and |of |& )?)*[A-Z][\w&.\-]*(?:['’]s\b|s['’])",
        ),
        legal: regex(
            r"\b(?:[A-Z][\w&.\-]*,? (?:and |of |& )?)+(?:Inc|Corp|Corporation|Company|Companies|Co|Ltd|plc|PLC|Group|Holdings|Trust|Incorporated)\b\.?",
        ),
        companies: footnote_filings::companies::sp500()
            .iter()
            .map(|company| Company {
                names: vec![company.name.clone()],
                tickers: vec![company.ticker.clone()],
                cik: Some(company.cik),
            })
            .collect(),
    }
});

/// Reads a question.
pub(super) fn ask(question: &str, stemmer: &mut Stemmer) -> Asked {
    let patterns = &*PATTERNS;
    let question = match question.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => &question[..end],
        None => question,
    };
    let scope = resolve(question, &patterns.companies);
    let looked = understand(question, &scope);
    let nameless = without_names(question, &scope);
    let lower = nameless.to_lowercase().replace('’', "'");

    let frame: Vec<Term> = stemmer.terms(FRAME_WORDS);
    let sequence = stemmer.terms(&lower);
    let content = |term: &Term| !frame.contains(term);
    let words = unique(sequence.iter().copied().filter(content));
    let pairs = unique(
        sequence
            .windows(2)
            .filter(|two| two.iter().all(content))
            .map(|two| pair(two[0], two[1])),
    );
    let all = unique(
        stemmer
            .terms(question)
            .into_iter()
            .filter(|term| words.contains(term) || !SMALL.with(|small| small.contains(term))),
    );

    let mut kinds = [false; KINDS.len()];
    let mut cues = Vec::new();
    for (at, (pattern, (kind, _, words))) in patterns.kinds.iter().zip(KINDS).enumerate() {
        debug_assert_eq!(*kind as usize, at);
        if pattern.is_match(&lower) {
            kinds[at] = true;
            cues.extend(stemmer.terms(words));
        }
    }
    let mut expansions = Vec::new();
    for (pattern, (_, words)) in patterns.topics.iter().zip(TOPICS) {
        if pattern.is_match(&lower) {
            expansions.extend(stemmer.terms(words));
        }
    }
    for word in looked.line_items.iter().chain(&looked.topic_words) {
        expansions.extend(stemmer.terms(word));
    }
    let fresh = |term: &Term| !words.contains(term) && content(term);
    Asked {
        expansions: unique(expansions.into_iter().filter(fresh)),
        cues: unique(cues.into_iter()),
        years: unique(
            patterns
                .year
                .find_iter(question)
                .map(|year| stemmer.term(year.as_str())),
        ),
        words,
        all,
        pairs,
        kinds,
        looked,
    }
}

thread_local! {
    /// Words too small to look for even in the plainest ranking.
    static SMALL: Vec<Term> = Stemmer::default().terms(
        "a an the of in on at to for and or is are was were be has have had do does did what which who how that this it its as by from with s",
    );
}

/// The question without company names: those of the S&P 500 list, and what is written like one.
fn without_names(question: &str, scope: &crate::scope::Scope) -> String {
    let mut text = question.to_owned();
    for company in scope
        .likely_companies()
        .filter(|company| company.score >= 0.5)
    {
        if company.words.len() > 2 {
            text = text.replace(company.words.as_str(), " ");
        }
    }
    let text = PATTERNS.legal.replace_all(&text, " ");
    let first = text.find(|c: char| c.is_alphabetic()).unwrap_or(0);
    PATTERNS
        .possessive
        .replace_all(&text, |found: &regex::Captures| {
            let whole = &found[0];
            // `What's` opens a question and is no name.
            let opens = found.get(0).is_some_and(|m| m.start() <= first) && !whole.contains(' ');
            if opens {
                whole.to_owned()
            } else {
                " ".to_owned()
            }
        })
        .into_owned()
}

fn unique(terms: impl Iterator<Item = Term>) -> Vec<Term> {
    let mut seen = Vec::new();
    for term in terms {
        if !seen.contains(&term) {
            seen.push(term);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(question: &str) -> Vec<String> {
        let mut stemmer = Stemmer::default();
        let asked = ask(question, &mut stemmer);
        // Back from terms to words, through the question's own words.
        let mut known: Vec<(Term, String)> = Vec::new();
        for word in crate::features::text::words(question) {
            known.push((stemmer.term(&word), word));
        }
        asked
            .words
            .iter()
            .filter_map(|term| Some(known.iter().find(|(t, _)| t == term)?.1.clone()))
            .collect()
    }

    #[test]
    fn names_and_frames_go_and_the_matter_stays() {
        for (question, wanted) in [
            (
                "What did Acme Works, Inc.’s leadership say about Acme Works, Inc.’s dividend policy?",
                "dividend policy",
            ),
            (
                "How does Acme Works manage equity award burn rate?",
                "acme works equity award burn rate",
            ),
            (
                "What guidance was offered on Acme's inventory targets?",
                "guidance inventory targets",
            ),
            (
                "What questions were asked about customer engagement metrics?",
                "customer engagement metrics",
            ),
        ] {
            assert_eq!(words(question).join(" "), wanted, "{question}");
        }
    }

    #[test]
    fn kinds_and_topics_are_seen() {
        let mut stemmer = Stemmer::default();
        let asked = ask(
            "What guidance did analysts doubt on the dividend in 2024?",
            &mut stemmer,
        );
        assert!(asked.is(Kind::Guidance) && asked.is(Kind::Analysts) && !asked.is(Kind::Risk));
        let payout = stemmer.term("payout");
        assert!(asked.expansions.contains(&payout));
        assert_eq!(asked.years, [stemmer.term("2024")]);
    }

    #[test]
    fn odd_questions_are_survived() {
        let mut stemmer = Stemmer::default();
        for question in ["", "???", "’s ’s", &"Why Acme's ".repeat(3_000), "\u{0}é"] {
            ask(question, &mut stemmer);
        }
    }
}
