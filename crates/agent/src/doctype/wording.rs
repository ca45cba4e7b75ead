//! What a question says, apart from whom it asks about: cue words of finance and word counts.
//!
//! Names and numbers are masked first, so that a ranker learns what is asked and not which company's
//! questions were in its training data. Must not know grades or weights.

use std::collections::HashSet;

/// A kind of thing that questions ask about, and pieces of words that speak of it.
pub struct Cue {
    /// Its name, as saved rankers list it.
    pub name: &'static str,
    pieces: &'static [&'static str],
}

/// The cues, in the order of a saved ranker's weights. Pieces that end in a space match whole words.
pub const CUES: &[Cue] = &[
    cue(
        "pay",
        &[
            "compensat",
            "incentive",
            "award",
            "equity",
            "bonus",
            "salary",
            "pay ",
            "clawback",
            "recoup",
        ],
    ),
    cue(
        "board",
        &[
            "director",
            "board",
            "governance",
            "committee",
            "proxy",
            "vote",
            "say-on-pay",
            "shareholder",
        ],
    ),
    cue(
        "outlook",
        &[
            "guidance", "outlook", "expect", "forecast", "project", "target",
        ],
    ),
    cue(
        "analysts",
        &["analyst", "investor", "question", "asked", "q&a", "call"],
    ),
    cue("quarter", &["quarter"]),
    cue("year", &["annual", "fiscal", "year"]),
    cue(
        "risk",
        &["risk", "depend", "concentrat", "exposure", "scenario"],
    ),
    cue(
        "management",
        &[
            "management",
            "leadership",
            "executive",
            "leader",
            "said",
            "say",
        ],
    ),
    cue("event", &["announce", "event", "agreement", "acqui"]),
    cue(
        "figures",
        &[
            "revenue",
            "margin",
            "profit",
            "cash",
            "debt",
            "liquid",
            "tax",
            "ratio",
            "segment",
            "earnings per",
            "eps",
        ],
    ),
    cue(
        "operations",
        &["metric", "customer", "engagement", "volume", "store"],
    ),
    cue("market", &["market", "compet", "industry", "innovation"]),
    cue("returns", &["dividend", "repurchase", "buyback"]),
    cue(
        "economy",
        &["macro", "inflation", "interest", "currency", "econom"],
    ),
];

const fn cue(name: &'static str, pieces: &'static [&'static str]) -> Cue {
    Cue { name, pieces }
}

/// Capitalised words that are no names.
const NO_NAMES: [&str; 24] = [
    "capex", "esg", "q&a", "eps", "fy", "ceo", "cfo", "coo", "gaap", "non-gaap", "sec", "ebitda",
    "ebit", "roe", "roa", "ai", "r&d", "m&a", "ipo", "u.s.", "us", "fx", "i", "form",
];

/// The question in lower case with names as `company` and digits as `0`, and a space at its end.
pub fn masked(question: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut in_name = false;
    for (at, word) in question.split_whitespace().enumerate() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let owner = bare.strip_suffix("'s").or(bare.strip_suffix("’s"));
        let capital = bare.chars().next().is_some_and(char::is_uppercase);
        let known = NO_NAMES.contains(&bare.to_lowercase().as_str());
        // The first word of a sentence is a name only where it owns something.
        let name = capital && !known && (at > 0 || owner.is_some());
        let joins = in_name && matches!(word, "&" | "and" | "of") && next_is_capital(question, at);
        if name || joins {
            if !in_name {
                out.push("company".to_owned());
            }
            let ends = owner.is_some() || word.ends_with([',', '?', '.', '’', '\'']);
            in_name = joins || !ends;
            continue;
        }
        in_name = false;
        let lower = word.to_lowercase();
        let lower = lower.trim_matches(|c: char| !c.is_alphanumeric());
        if lower.is_empty() {
            continue;
        }
        let mut clean = String::with_capacity(lower.len());
        for c in lower.chars() {
            match c.is_ascii_digit() {
                true if clean.ends_with('0') => {}
                true => clean.push('0'),
                false => clean.push(c),
            }
        }
        out.push(clean);
    }
    let mut text = out.join(" ");
    text.push(' ');
    text
}

fn next_is_capital(question: &str, at: usize) -> bool {
    question
        .split_whitespace()
        .nth(at + 1)
        .and_then(|word| word.chars().next())
        .is_some_and(char::is_uppercase)
}

/// Who a question asks about: its first name, for keeping a company's questions together; none where
/// it names nobody.
pub fn company(question: &str) -> Option<String> {
    let mut words = question
        .split_whitespace()
        .enumerate()
        .skip_while(|(at, word)| {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            let owner = bare.ends_with("'s") || bare.ends_with("’s");
            let capital = bare.chars().next().is_some_and(char::is_uppercase);
            let known = NO_NAMES.contains(&bare.to_lowercase().as_str());
            let article = bare.eq_ignore_ascii_case("the");
            !capital || known || article || (*at == 0 && !owner)
        });
    let (_, first) = words.next()?;
    let first = first.trim_matches(|c: char| !c.is_alphanumeric());
    let first = first
        .strip_suffix("'s")
        .or(first.strip_suffix("’s"))
        .unwrap_or(first);
    Some(first.to_lowercase())
}

/// 1 for each cue that a masked question speaks of, else 0.
pub fn cues(masked: &str) -> Vec<f64> {
    CUES.iter()
        .map(|cue| {
            f64::from(u8::from(
                cue.pieces.iter().any(|piece| masked.contains(piece)),
            ))
        })
        .collect()
}

/// Words and pairs of neighbours of a masked question, repeated as they occur.
pub fn terms(masked: &str) -> Vec<String> {
    let words: Vec<&str> = masked.split_whitespace().collect();
    let pairs = words.windows(2).map(|pair| pair.join(" "));
    words
        .iter()
        .map(|word| (*word).to_owned())
        .chain(pairs)
        .collect()
}

/// Template of each masked question: questions that share three fifths of their words, or are linked by
/// such, have one number.
pub fn templates(masked: &[String]) -> Vec<usize> {
    let sets: Vec<HashSet<&str>> = masked
        .iter()
        .map(|text| {
            text.split_whitespace()
                .filter(|word| *word != "company")
                .collect()
        })
        .collect();
    let mut root: Vec<usize> = (0..sets.len()).collect();
    for later in 0..sets.len() {
        for earlier in 0..later {
            if similar(&sets[later], &sets[earlier]) {
                let (a, b) = (find(&root, later), find(&root, earlier));
                root[a.max(b)] = a.min(b);
            }
        }
    }
    (0..sets.len()).map(|at| find(&root, at)).collect()
}

fn find(root: &[usize], mut at: usize) -> usize {
    while root[at] != at {
        at = root[at];
    }
    at
}

fn similar(a: &HashSet<&str>, b: &HashSet<&str>) -> bool {
    let shared = a.intersection(b).count();
    let all = a.len() + b.len() - shared;
    all > 0 && shared * 5 >= all * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_masked() {
        let cases = [
            (
                "How has Zephyr Robotics' revenue grown since 2021?",
                "how has company revenue grown since 0 ",
                Some("zephyr"),
            ),
            (
                "What did Procter & Gamble's CEO say about CapEx?",
                "what did company ceo say about capex ",
                Some("procter"),
            ),
            (
                "Aquillon's margin in Q3?",
                "company margin in company ",
                Some("aquillon"),
            ),
            (
                "What is the dividend policy?",
                "what is the dividend policy ",
                None,
            ),
        ];
        for (question, want, who) in cases {
            assert_eq!(masked(question), want);
            assert_eq!(company(question).as_deref(), who, "{question}");
        }
    }

    #[test]
    fn one_wording_over_two_companies_is_one_template() {
        let texts: Vec<String> = [
            "What risks does Aquillon face from its suppliers?",
            "What risks does Brantham Foods face from its suppliers?",
            "Who sits on the audit committee?",
        ]
        .iter()
        .map(|text| masked(text))
        .collect();
        assert_eq!(templates(&texts), [0, 0, 2]);
    }
}
