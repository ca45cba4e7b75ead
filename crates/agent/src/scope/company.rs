//! Which companies of the corpus the words of a question name.
//!
//! By rule, not by list: whole names without their legal form, first words of names, exchange
//! symbols, and abbreviations made of the names' own letters (`JnJ`, `AMEX`, `JPM`). The only
//! words listed here are English and financial ones that must not be taken for names.

use std::collections::HashMap;

use footnote_filings::{Cik, FilingMeta, Ticker};

use super::{CompanyMatch, MatchedBy};

/// A company as the corpus (or a list of companies) knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Company {
    /// Every name seen, the most used first; a former name is one of them.
    pub names: Vec<String>,
    /// Exchange symbols, present and former.
    pub tickers: Vec<Ticker>,
    /// SEC's filer number.
    pub cik: Option<Cik>,
}

/// The companies of a corpus, from what is known of its filings.
///
/// Filings belong together by CIK, else by ticker, else by name; so a former name joins the
/// present one wherever the filings carry a number or a symbol.
pub fn companies_of(filings: &[FilingMeta]) -> Vec<Company> {
    let mut groups: Vec<(Company, HashMap<String, usize>)> = Vec::new();
    let mut by_cik: HashMap<Cik, usize> = HashMap::new();
    let mut by_ticker: HashMap<Ticker, usize> = HashMap::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    for filing in filings {
        let name = filing.company.as_deref().map(|n| name_words(n).join(" "));
        let known = filing
            .cik
            .and_then(|cik| by_cik.get(&cik))
            .or_else(|| filing.ticker.as_ref().and_then(|t| by_ticker.get(t)))
            .or_else(|| name.as_ref().and_then(|n| by_name.get(n)));
        let at = match known {
            Some(at) => *at,
            None if filing.company.is_none() && filing.ticker.is_none() => continue,
            None => {
                groups.push((
                    Company {
                        names: Vec::new(),
                        tickers: Vec::new(),
                        cik: None,
                    },
                    HashMap::new(),
                ));
                groups.len() - 1
            }
        };
        let (company, uses) = &mut groups[at];
        if let Some(cik) = filing.cik {
            company.cik.get_or_insert(cik);
            by_cik.entry(cik).or_insert(at);
        }
        if let Some(ticker) = &filing.ticker {
            if !company.tickers.contains(ticker) {
                company.tickers.push(ticker.clone());
            }
            by_ticker.entry(ticker.clone()).or_insert(at);
        }
        if let Some(words) = name {
            by_name.entry(words).or_insert(at);
        }
        if let Some(name) = &filing.company {
            *uses.entry(name.clone()).or_default() += 1;
        }
    }
    groups
        .into_iter()
        .map(|(mut company, uses)| {
            let mut names: Vec<(String, usize)> = uses.into_iter().collect();
            names.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            company.names = names.into_iter().map(|(name, _)| name).collect();
            company
        })
        .collect()
}

/// Legal forms and the like: never what a person says when naming a company.
const LEGAL: &[&str] = &[
    "inc",
    "incorporated",
    "corp",
    "corporation",
    "co",
    "company",
    "companies",
    "ltd",
    "limited",
    "plc",
    "llc",
    "lp",
    "llp",
    "sa",
    "nv",
    "ag",
    "se",
    "the",
    "de",
    "new",
    "com",
    "cl",
    "class",
];

/// First words of many companies' names: alone they say little.
const GENERIC: &[&str] = &[
    "advanced",
    "air",
    "alliance",
    "american",
    "applied",
    "arch",
    "atlantic",
    "bank",
    "best",
    "block",
    "brown",
    "capital",
    "center",
    "central",
    "charter",
    "church",
    "citizens",
    "consolidated",
    "constellation",
    "core",
    "data",
    "delta",
    "digital",
    "discover",
    "dollar",
    "dominion",
    "eastern",
    "edison",
    "electronic",
    "energy",
    "enterprise",
    "entergy",
    "equity",
    "essex",
    "extra",
    "federal",
    "fifth",
    "first",
    "foot",
    "franklin",
    "gap",
    "general",
    "global",
    "globe",
    "great",
    "health",
    "home",
    "host",
    "international",
    "key",
    "live",
    "loews",
    "marathon",
    "market",
    "martin",
    "match",
    "mid",
    "molson",
    "monster",
    "motor",
    "national",
    "news",
    "northern",
    "old",
    "pacific",
    "packaging",
    "paramount",
    "philip",
    "pioneer",
    "public",
    "quest",
    "raymond",
    "regions",
    "republic",
    "royal",
    "simon",
    "southern",
    "southwest",
    "standard",
    "stanley",
    "state",
    "sun",
    "target",
    "texas",
    "tractor",
    "truist",
    "union",
    "united",
    "universal",
    "us",
    "visa",
    "warner",
    "waste",
    "wells",
    "west",
    "western",
    "williams",
    "public",
    "progressive",
    "principal",
    "prudential",
    "ball",
];

/// Upper-case words of financial prose that are no company's symbol when they stand in a question.
const NOT_SYMBOLS: &[&str] = &[
    "A", "ABS", "AGM", "AI", "ALL", "AM", "AN", "AND", "API", "ARE", "AS", "AT", "BE", "CAGR",
    "CAPEX", "CCC", "CD", "CEO", "CET", "CFO", "COGS", "COO", "CTO", "DA", "DCF", "DEF", "DIO",
    "DO", "DPO", "DSO", "EBIT", "EBITDA", "EBITDAR", "EPS", "ESG", "ETF", "EU", "EV", "EX", "FCF",
    "FX", "FY", "GAAP", "GDP", "HAS", "HR", "IFRS", "IN", "IPO", "IS", "IT", "KPI", "LIBOR", "LTM",
    "NET", "NOT", "NOW", "NYSE", "OCF", "OF", "ON", "OPEX", "OR", "PE", "PL", "PPE", "PPNE", "PP",
    "QOQ", "RD", "ROA", "ROCE", "ROE", "ROI", "ROIC", "RPO", "SEC", "SGA", "SO", "SOFR", "TAM",
    "TO", "TSR", "TTM", "UK", "US", "USA", "USD", "VAR", "VS", "YOY", "YTD", "K", "Q", "I", "II",
    "III", "M", "B",
];

/// A word of the question.
#[derive(Debug)]
struct Word {
    /// In lower case, without a possessive.
    text: String,
    /// As written, without a possessive.
    written: String,
    start: usize,
    end: usize,
}

/// Words: letters, digits and inner `&`; `'s` at the end goes, `and` and `&` alone become `and`.
fn words_of(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    let ends = text.char_indices().map(Some).chain([None]);
    for next in ends {
        let (at, inside) = match next {
            Some((at, c)) => (at, c.is_alphanumeric() || c == '&'),
            None => (text.len(), false),
        };
        match (start, inside) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                let written = &text[from..at];
                // What follows an apostrophe: a possessive `s` is no word of its own.
                let possessive = written.eq_ignore_ascii_case("s")
                    && text[..from].ends_with(['\'', '’'])
                    && !words.is_empty();
                if !possessive {
                    let lower = written.to_lowercase();
                    words.push(Word {
                        text: if lower == "&" {
                            "and".to_owned()
                        } else {
                            lower
                        },
                        written: written.to_owned(),
                        start: from,
                        end: at,
                    });
                }
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// The words of a company's name that people say: lower case, no legal form.
pub(crate) fn name_words(name: &str) -> Vec<String> {
    // What stands in brackets or behind a slash (`/DE/`) is the registry's, not the name's.
    let name = name.split(['(', '/']).next().unwrap_or(name);
    let words: Vec<String> = words_of(name).into_iter().map(|word| word.text).collect();
    let mut kept: Vec<String> = words
        .iter()
        .filter(|word| !LEGAL.contains(&word.as_str()))
        .cloned()
        .collect();
    while kept.last().is_some_and(|word| word == "and") {
        kept.pop();
    }
    if kept.is_empty() { words } else { kept }
}

/// Finds the companies that the question names, best first.
pub(super) fn find(question: &str, companies: &[Company]) -> Vec<CompanyMatch> {
    let words = words_of(question);
    // In a question all in lower case a small initial says nothing.
    let cased = words
        .iter()
        .skip(1)
        .any(|word| word.written.chars().any(char::is_uppercase));
    let mut found: Vec<(CompanyMatch, usize)> = Vec::new();
    for company in companies {
        let mut best: Option<(f32, usize, usize, MatchedBy)> = None;
        let mut offer = |score: f32, from: usize, to: usize, by: MatchedBy| {
            if best.is_none_or(|(other, ..)| score > other) {
                best = Some((score, words[from].start, words[to - 1].end, by));
            }
        };
        for name in &company.names {
            let name = name_words(name);
            for at in 0..words.len() {
                if let Some((score, length, by)) = named_at(&words[at..], &name, cased) {
                    offer(score, at, at + length, by);
                }
            }
        }
        for ticker in &company.tickers {
            for (at, word) in words.iter().enumerate() {
                if let Some(score) = symbol(question, word, ticker) {
                    offer(score, at, at + 1, MatchedBy::Ticker);
                }
            }
        }
        if let Some((score, start, end, by)) = best {
            let matched = CompanyMatch {
                names: company.names.clone(),
                tickers: company.tickers.clone(),
                cik: company.cik,
                score,
                words: question[start..end].to_owned(),
                by,
                at: start,
            };
            found.push((matched, end));
        }
    }
    // `American` is not a company where `American Express` is: the longer words win.
    let spans: Vec<(usize, usize, f32)> = found
        .iter()
        .map(|(company, end)| (company.at, *end, company.score))
        .collect();
    let mut kept: Vec<CompanyMatch> = found
        .into_iter()
        .filter(|(company, end)| {
            !spans.iter().any(|(start, stop, score)| {
                *start <= company.at
                    && end <= stop
                    && stop - start > end - company.at
                    && *score >= company.score
            })
        })
        .map(|(company, _)| company)
        .collect();
    kept.sort_by(|a, b| {
        let names = || a.names.cmp(&b.names);
        b.score
            .total_cmp(&a.score)
            .then(a.at.cmp(&b.at))
            .then_with(names)
    });
    kept
}

/// Whether the words begin with this name in one of its shapes: score, number of words, shape.
fn named_at(words: &[Word], name: &[String], cased: bool) -> Option<(f32, usize, MatchedBy)> {
    let first = words.first()?;
    let capital = first.written.chars().next().is_some_and(char::is_uppercase);
    let digit = first.written.starts_with(|c: char| c.is_ascii_digit());
    let shared = words
        .iter()
        .zip(name)
        .take_while(|(word, part)| same_word(&word.text, part))
        .count();
    let proper = capital || digit || !cased || first.text.contains('&');
    if shared == name.len() {
        // A name that is an English word needs its capital, wherever capitals are used.
        return match (proper, name.len()) {
            (true, 1) if GENERIC.contains(&name[0].as_str()) => {
                capital.then_some((0.9, 1, MatchedBy::Name))
            }
            (true, count) | (false, count @ 2..) => Some((1.0, count, MatchedBy::Name)),
            (false, _) => None,
        };
    }
    if shared >= 1 && proper {
        let generic = shared == 1 && GENERIC.contains(&name[0].as_str());
        let dangling = words[shared - 1].text == "and";
        if !dangling && (capital || !generic) {
            let score = if generic {
                0.35
            } else {
                0.8 + 0.02 * shared.min(5) as f32
            };
            return Some((score, shared, MatchedBy::ShortName));
        }
    }
    let (score, length) = abbreviation(words, name)?;
    Some((score, length, MatchedBy::Abbreviation))
}

/// Equal, or equal but for an `s` that lost its apostrophe.
fn same_word(word: &str, part: &str) -> bool {
    word == part || (part.len() > 3 && word.strip_suffix('s') == Some(part))
}

/// A word that is no symbol of finance and looks like an abbreviation, made of this name's letters.
fn abbreviation(words: &[Word], name: &[String]) -> Option<(f32, usize)> {
    let word = words.first()?;
    let upper = word.written.chars().filter(|c| c.is_uppercase()).count();
    let letters: String = word.text.chars().filter(|c| *c != '&').collect();
    let plain = letters.to_uppercase();
    let fits =
        (2..=8).contains(&letters.chars().count()) && letters.chars().all(char::is_alphabetic);
    if !fits || NOT_SYMBOLS.contains(&plain.as_str()) {
        return None;
    }
    // The head of one long word: `JPM` of `jpmorgan`, `Pepsi` of `pepsico`.
    let first = name.first()?;
    let tail = first
        .chars()
        .count()
        .saturating_sub(letters.chars().count());
    if first.starts_with(&letters) && tail > 0 {
        if upper >= 3 && letters.len() >= 3 {
            return Some((0.7, 1));
        }
        if upper >= 1 && letters.len() >= 4 && tail <= 3 {
            return Some((0.7, 1));
        }
    }
    if upper < 2 || name.len() < 2 {
        return None;
    }
    let chars: Vec<char> = letters.chars().collect();
    let two = chars.len() == 2;
    covers(&chars, name).then_some((if two { 0.5 } else { 0.75 }, 1))
}

/// Whether `letters` are heads of all the words of `name`, one after the other; small words may be
/// skipped, and `and` may be an `n`.
fn covers(letters: &[char], name: &[String]) -> bool {
    let Some((word, rest)) = name.split_first() else {
        return letters.is_empty();
    };
    let small = ["and", "of", "the", "for"].contains(&word.as_str());
    if small && covers(letters, rest) {
        return true;
    }
    if word == "and" && letters.first() == Some(&'n') && covers(&letters[1..], rest) {
        return true;
    }
    letters
        .iter()
        .zip(word.chars())
        .take_while(|(letter, part)| **letter == *part)
        .enumerate()
        .any(|(taken, _)| covers(&letters[taken + 1..], rest))
}

/// Whether the word is this exchange symbol, and how sure that is.
fn symbol(question: &str, word: &Word, ticker: &Ticker) -> Option<f32> {
    let text = ticker.as_str();
    // `BRK-B` is two words of the question.
    let head = text.split('-').next().unwrap_or(text);
    if word.written != head {
        return None;
    }
    let marked = question[..word.start].ends_with('$')
        || question[..word.start].trim_end().ends_with(':')
        || (question[..word.start].ends_with('(') && question[word.end..].starts_with(')'));
    match (marked, head.len()) {
        (true, _) => Some(0.95),
        (false, _) if NOT_SYMBOLS.contains(&head) => None,
        (false, 1) => None,
        (false, 2) => Some(0.65),
        (false, _) => Some(0.85),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn companies() -> Vec<Company> {
        [
            (&["Johnson & Johnson"][..], "JNJ"),
            (&["Johnson Controls International plc"], "JCI"),
            (&["American Express Company"], "AXP"),
            (&["American Water Works Company, Inc."], "AWK"),
            (&["American Airlines Group Inc."], "AAL"),
            (&["Block, Inc.", "Square, Inc."], "SQ"),
            (&["JPMorgan Chase & Co."], "JPM"),
            (&["PepsiCo, Inc."], "PEP"),
            (&["3M Company"], "MMM"),
            (&["The Coca-Cola Company"], "KO"),
            (&["MGM Resorts International"], "MGM"),
            (&["Best Buy Co., Inc."], "BBY"),
            (&["Foot Locker, Inc."], "FL"),
            (&["Corning Incorporated"], "GLW"),
            (&["Procter & Gamble Co"], "PG"),
            (&["Bank of America Corp /DE/"], "BAC"),
            (&["Target Corporation"], "TGT"),
            (&["Visa Inc."], "V"),
            (&["General Mills, Inc."], "GIS"),
        ]
        .iter()
        .map(|(names, ticker)| Company {
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            tickers: vec![ticker.parse().unwrap()],
            cik: None,
        })
        .collect()
    }

    #[test]
    fn finds_companies_by_the_ways_people_name_them() {
        let table = [
            ("How much did JnJ spend?", "JNJ Abbreviation"),
            ("Did J&J's sales rise?", "JNJ Abbreviation"),
            ("What did Johnson & Johnson pay?", "JNJ Name"),
            ("what did johnson and johnson pay?", "JNJ Name"),
            ("Does AMEX have an improving margin?", "AXP Abbreviation"),
            ("American Express's customer deposits", "AXP Name"),
            ("American Water Works's FY2021 EBITDA", "AWK Name"),
            ("Block's (formerly known as Square) ratio", "SQ Name"),
            ("What did Square earn in 2016?", "SQ Name"),
            ("What is the block of shares of Corning’s plan?", "GLW Name"),
            ("Which of JPM's segments grew?", "JPM Ticker"),
            ("Did Pepsi pay dividends?", "PEP Abbreviation"),
            ("What is 3M's capex?", "MMM Name"),
            ("Coca Cola's ROA", "KO Name"),
            ("MGM's EBITDAR", "MGM Ticker"),
            ("Did Best Buy close stores?", "BBY Name"),
            ("the best way to buy a block", ""),
            ("what did johnson & johnson pay?", "JNJ Name"),
            ("Footlocker directors", ""),
            ("BofA's loans", "BAC Abbreviation"),
            ("P&G's brands", "PG Abbreviation"),
            ("the target of the program", ""),
            ("Target's store count", "TGT Name"),
            ("Visa (V) revenue", "V Ticker"),
            ("SEC filings in USD for FY2022 by GAAP", ""),
            ("What was revenue?", ""),
        ];
        let companies = companies();
        for (question, expected) in table {
            let found = find(question, &companies);
            let shown = found.first().map_or(String::new(), |company| {
                let ticker = &company.tickers[0];
                format!("{ticker} {:?}", company.by)
            });
            assert_eq!(shown, expected, "{question}: {found:?}");
        }
    }

    #[test]
    fn keeps_doubt_and_several_companies() {
        let companies = companies();
        let tickers = |question: &str| -> Vec<String> {
            find(question, &companies)
                .iter()
                .map(|c| c.tickers[0].to_string())
                .collect()
        };
        assert_eq!(tickers("American revenue"), ["AAL", "AXP", "AWK"]);
        assert_eq!(tickers("Compare Coca-Cola with PepsiCo"), ["KO", "PEP"]);
        assert_eq!(tickers("American Express dividends"), ["AXP"]);
    }

    #[test]
    fn groups_filings_by_what_identifies_the_filer() {
        let filing = |company: &str, ticker: Option<&str>, cik: Option<&str>| FilingMeta {
            accession: "X_1".parse().unwrap(),
            company: Some(company.to_owned()),
            ticker: ticker.map(|t| t.parse().unwrap()),
            cik: cik.map(|c| c.parse().unwrap()),
            form: footnote_filings::Form::new("10-K"),
            doc_type: None,
            fiscal_period: None,
            period_end: None,
            filed: None,
            source: String::new(),
            sha256: String::new(),
        };
        let companies = companies_of(&[
            filing("SQUARE, INC.", Some("SQ"), Some("1512673")),
            filing("Block, Inc.", Some("XYZ"), Some("1512673")),
            filing("Block, Inc.", None, Some("1512673")),
            filing("Adobe", None, None),
            filing("ADOBE INC.", None, None),
        ]);
        assert_eq!(companies.len(), 2);
        assert_eq!(companies[0].names, ["Block, Inc.", "SQUARE, INC."]);
        assert_eq!(companies[0].tickers.len(), 2);
        assert_eq!(companies[1].names.len(), 2);
    }
}
