//! What a question looks for: statements, words and their synonyms, topics.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::Statement;
use super::text::{self, Term};
use super::vocabulary::{
    BOILERPLATE, CONCEPTS, EARNINGS, EVENTS, FIGURE, ITEMS, STATEMENT_NAMES, STOP_WORDS, TOPICS,
};
use crate::scope::Scope;

/// A question understood; plain data, so that a trace can show why a page was chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// The question without boilerplate, names and periods.
    pub core: String,
    /// Its content words.
    pub words: Vec<String>,
    /// Line items its financial terms stand for.
    pub line_items: Vec<String>,
    /// Words that go with its topics.
    pub topic_words: Vec<String>,
    /// Which statements it names outright, in [`Statement::ALL`]'s order.
    pub named_statements: [bool; 3],
    /// How surely its terms need each statement, 0 to 1.
    pub needed_statements: [f32; 3],
    /// Items of an annual report where its topics are at home.
    pub items: Vec<String>,
    /// Whether it asks for a figure.
    pub wants_figure: bool,
    /// Whether it speaks of what earnings releases report.
    pub earnings_talk: bool,
    /// Whether it speaks of a single event, as current reports do.
    pub event_talk: bool,
    /// Its neighbouring content words.
    #[serde(skip)]
    pub(crate) pairs: Vec<Term>,
}

impl Looked {
    /// Whether any statement is named outright.
    pub fn names_statement(&self) -> bool {
        self.named_statements.contains(&true)
    }

    /// The words of a search for it, most telling first.
    pub fn query(&self) -> String {
        let mut words = self.words.clone();
        words.extend(self.line_items.iter().cloned());
        words.extend(self.topic_words.iter().cloned());
        words.join(" ")
    }
}

/// The tables as compiled patterns.
struct Patterns {
    boilerplate: Vec<Regex>,
    statements: Vec<(Regex, Statement)>,
    concepts: Vec<Regex>,
    topics: Vec<Regex>,
    items: Vec<Regex>,
    earnings: Regex,
    events: Regex,
    figure: Regex,
    stop: Vec<Term>,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let regex =
        |pattern: &str| Regex::new(pattern).expect("patterns are constants, compiled in a test");
    let mut stop = text::terms(STOP_WORDS);
    stop.sort_unstable();
    stop.dedup();
    Patterns {
        boilerplate: BOILERPLATE.iter().map(|p| regex(p)).collect(),
        statements: STATEMENT_NAMES
            .iter()
            .map(|(p, s)| (regex(p), *s))
            .collect(),
        concepts: CONCEPTS.iter().map(|(p, ..)| regex(p)).collect(),
        topics: TOPICS.iter().map(|(p, _)| regex(p)).collect(),
        items: ITEMS.iter().map(|(p, _)| regex(p)).collect(),
        earnings: regex(EARNINGS),
        events: regex(EVENTS),
        figure: regex(FIGURE),
        stop,
    }
});

/// Reads what a question looks for. `scope` tells which of its words name companies and times.
pub fn understand(question: &str, scope: &Scope) -> Looked {
    let patterns = &*PATTERNS;
    let lower = without_names(question, scope)
        .to_lowercase()
        .replace('’', "'");
    let mut named_statements = [false; 3];
    for (pattern, statement) in &patterns.statements {
        named_statements[*statement as usize] |= pattern.is_match(&lower);
    }
    let mut core = lower;
    for pattern in &patterns.boilerplate {
        core = pattern.replace_all(&core, " ").into_owned();
    }
    for (pattern, _) in &patterns.statements {
        core = pattern.replace_all(&core, " ").into_owned();
    }
    core = core.split_whitespace().collect::<Vec<_>>().join(" ");

    let mut needed_statements = [0f32; 3];
    let mut line_items = Vec::new();
    for (pattern, (_, statements, weight, words)) in patterns.concepts.iter().zip(CONCEPTS) {
        if pattern.is_match(&core) {
            for statement in *statements {
                let needed = &mut needed_statements[*statement as usize];
                *needed = needed.max(*weight);
            }
            line_items.extend(content_words(words));
        }
    }
    let mut topic_words = Vec::new();
    for (pattern, (_, words)) in patterns.topics.iter().zip(TOPICS) {
        if pattern.is_match(&core) {
            topic_words.extend(content_words(words));
        }
    }
    let mut items: Vec<String> = Vec::new();
    for (pattern, (_, names)) in patterns.items.iter().zip(ITEMS) {
        if pattern.is_match(&core) {
            items.extend(names.iter().map(|name| (*name).to_owned()));
        }
    }
    items.sort();
    items.dedup();
    let all: Vec<Term> = text::terms(&core);
    let pairs = all
        .windows(2)
        .filter(|two| {
            two.iter()
                .all(|term| patterns.stop.binary_search(term).is_err())
        })
        .map(|two| text::pair(two[0], two[1]))
        .collect();
    Looked {
        words: unique(content_words(&core)),
        line_items: unique(line_items),
        topic_words: unique(topic_words),
        named_statements,
        needed_statements,
        items,
        wants_figure: patterns.figure.is_match(&core)
            || named_statements.contains(&true)
            || needed_statements.iter().any(|needed| *needed >= 0.5),
        event_talk: patterns.events.is_match(&core),
        earnings_talk: patterns.earnings.is_match(&core) && !named_statements.contains(&true),
        pairs,
        core,
    }
}

/// The question with the words that name companies, periods and dates blotted out.
fn without_names(question: &str, scope: &Scope) -> String {
    let mut bytes = question.as_bytes().to_vec();
    let spans = scope
        .companies
        .iter()
        .filter(|company| company.score >= 0.5)
        .map(|company| (company.at, company.words.len()))
        .chain(scope.dates.iter().map(|date| (date.at, date.words.len())))
        .chain(scope.periods.iter().map(|p| (p.at, p.words.len())));
    for (at, length) in spans {
        if let Some(part) = bytes.get_mut(at..at + length) {
            part.fill(b' ');
        }
    }
    // Spans lie on character boundaries of the question, so this loses nothing.
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    // A company named once is often named again.
    for company in scope
        .likely_companies()
        .filter(|company| company.score >= 0.5)
    {
        for name in std::iter::once(&company.words).chain(&company.names) {
            if name.len() > 2 {
                text = text.replace(name.as_str(), " ");
            }
        }
    }
    text
}

fn content_words(text: &str) -> Vec<String> {
    text::words(text)
        .into_iter()
        .filter(|word| word.len() > 1 && PATTERNS.stop.binary_search(&text::term(word)).is_err())
        .collect()
}

fn unique(words: Vec<String>) -> Vec<String> {
    let mut seen: Vec<Term> = Vec::new();
    words
        .into_iter()
        .filter(|word| {
            let term = text::term(word);
            let new = !seen.contains(&term);
            seen.push(term);
            new
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{Company, resolve};

    fn looked(question: &str) -> Looked {
        let company = Company {
            names: vec!["Acme Works, Inc.".to_owned()],
            tickers: vec!["ACME".parse().unwrap()],
            cik: None,
        };
        understand(question, &resolve(question, &[company]))
    }

    #[test]
    fn boilerplate_and_names_go() {
        let table = [
            (
                "You are an investment banker and your only resource(s) to answer the following question is (are): \
                 the statement of financial position and the cash flow statement. Here's the question: what is the \
                 FY2015 operating cash flow ratio for Acme Works? Operating cash flow ratio is defined as: cash from \
                 operations / total current liabilities. Round your answer to two decimal places.",
                "operating cash flow ratio operations current liabilities",
                [true, false, true],
            ),
            (
                "What is Acme Works's FY2021 net working capital? Answer in USD millions. Respond to the question by \
                 assuming the perspective of an investment analyst who can only use the details shown within the \
                 balance sheet.",
                "net working capital",
                [true, false, false],
            ),
            (
                "Does Acme Works have an improving gross margin profile as of FY2022? If gross margin is not a useful \
                 metric for a company like this, then state that and explain why.",
                "improving gross margin profile",
                [false, false, false],
            ),
            (
                "Looking at VaR, did the risk that ACME faced in Q2 2023 decrease?",
                "looking var risk faced decrease",
                [false, false, false],
            ),
        ];
        for (question, words, statements) in table {
            let looked = looked(question);
            assert_eq!(looked.words.join(" "), words);
            assert_eq!(looked.named_statements, statements, "{question}");
        }
    }

    #[test]
    fn terms_bring_their_statements_and_line_items() {
        let dpo = looked("What is the DPO of Acme Works for FY2020?");
        assert_eq!(dpo.needed_statements, [1.0, 1.0, 0.0]);
        assert!(dpo.line_items.iter().any(|word| word == "payable"));
        let capex = looked("How much capex did Acme Works have?");
        assert_eq!(capex.needed_statements, [0.0, 0.0, 0.9]);
        assert!(capex.wants_figure);
        let legal = looked("Any legal battles at Acme Works?");
        assert_eq!(legal.items, ["3"]);
        assert!(legal.topic_words.contains(&"litigation".to_owned()));
        let adjusted = looked("Acme Works adjusted EBITDA");
        assert!(adjusted.earnings_talk);
        assert!(!looked("unadjusted income").earnings_talk);
    }

    #[test]
    fn a_very_long_or_odd_question_is_survived() {
        looked(&"if is not useful ".repeat(5_000));
        looked("’’’ é 3M’s \u{0}");
        looked("");
    }
}
