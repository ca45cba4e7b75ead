//! Words of filings as search terms.
//!
//! Filings are full of things that a prose tokenizer tears apart: `10-K`, `1,234.5`, `AT&T`,
//! `Q2`, `U.S.`, `EX-99.1`. Here each stays one term; letters are lowercased, accents dropped, and only purely
//! alphabetic words are stemmed (Snowball English), so that a number, a ticker with a digit or a
//! form name is found exactly. Positions count words, for phrases. This module must not know of
//! fields, queries or filings.

use std::collections::HashMap;

use tantivy::tokenizer::{
    AsciiFoldingFilter, LowerCaser, TextAnalyzer, Token, TokenFilter, TokenStream, Tokenizer,
};

/// Name of the chain with stemming, for text.
pub(crate) const STEMMED: &str = "filing_stemmed";
/// Name of the chain without, for names, tickers, forms and periods.
pub(crate) const EXACT: &str = "filing_exact";

/// A term longer than this is no word (a run of base64, a broken table) and is left out.
const LONGEST_TERM: usize = 64;

/// The chain for text: words, accents folded, alphabetic words stemmed.
pub fn stemmed() -> TextAnalyzer {
    TextAnalyzer::builder(FilingTokenizer::default())
        .filter(AsciiFoldingFilter)
        // Folding turns a few lowercase letters into capitals (small capital R into R).
        .filter(LowerCaser)
        .filter(StemWords)
        .build()
}

/// The chain for names: as [`stemmed`], without stemming.
pub fn exact() -> TextAnalyzer {
    TextAnalyzer::builder(FilingTokenizer::default())
        .filter(AsciiFoldingFilter)
        // Folding turns a few lowercase letters into capitals (small capital R into R).
        .filter(LowerCaser)
        .build()
}

/// The terms of `text` with their word positions.
pub fn terms(analyzer: &mut TextAnalyzer, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut stream = analyzer.token_stream(text);
    while let Some(token) = stream.next() {
        found.push((token.position, token.text.clone()));
    }
    found
}

/// Cuts text into lowercase words by the rules at the top of this module.
#[derive(Clone, Default)]
struct FilingTokenizer {
    token: Token,
}

struct FilingTokens<'a> {
    scan: Scan<'a>,
    token: &'a mut Token,
    /// The second half of a word that counts as two (`FY2022`).
    pending: Option<(String, usize, usize)>,
}

impl Tokenizer for FilingTokenizer {
    type TokenStream<'a> = FilingTokens<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> FilingTokens<'a> {
        self.token.reset();
        FilingTokens {
            scan: Scan { text, at: 0 },
            token: &mut self.token,
            pending: None,
        }
    }
}

impl TokenStream for FilingTokens<'_> {
    fn advance(&mut self) -> bool {
        if let Some((text, from, to)) = self.pending.take() {
            self.token.position = self.token.position.wrapping_add(1);
            self.token.text = text;
            self.token.offset_from = from;
            self.token.offset_to = to;
            return true;
        }
        loop {
            self.token.text.clear();
            let Some(from) = self.scan.next_word(&mut self.token.text) else {
                return false;
            };
            self.token.position = self.token.position.wrapping_add(1);
            self.token.offset_from = from;
            self.token.offset_to = self.scan.at;
            if self.token.text.len() > LONGEST_TERM {
                continue;
            }
            if let Some(year) = fiscal_year(&self.token.text) {
                self.pending = Some((year, from + 2, self.scan.at));
                self.token.text.truncate(2);
                self.token.offset_to = from + 2;
            }
            return true;
        }
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// `fy2022` and `fy22` are the words `fy` and `2022`, so that `fiscal 2022` finds them.
fn fiscal_year(word: &str) -> Option<String> {
    let digits = word.strip_prefix("fy")?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match digits.len() {
        4 => Some(digits.to_owned()),
        2 => Some(format!("20{digits}")),
        _ => None,
    }
}

/// A place in a text that moves word by word.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl Scan<'_> {
    /// Appends the next word, lowercased, to `word`; where it began, or nothing at the end.
    fn next_word(&mut self, word: &mut String) -> Option<usize> {
        while let Some(c) = self.peek() {
            if c.is_alphanumeric() {
                break;
            }
            self.at += c.len_utf8();
        }
        let start = self.at;
        if self.peek()?.is_ascii_digit() {
            self.number(word);
        } else {
            self.word(word);
        }
        Some(start)
    }

    /// A number with its digit groups joined and one decimal point kept, and what sticks to it:
    /// `1,234.5`, `10-K`, `2Q23`, `1.5x`.
    fn number(&mut self, word: &mut String) {
        let mut digits = self.digits(word);
        let mut grouped = false;
        while digits <= 3
            && self.peek() == Some(',')
            && digits_ahead(&self.text[self.at + 1..]) == 3
        {
            self.at += 1;
            self.digits(word);
            grouped = true;
        }
        if self.peek() == Some('.') && digits_ahead(&self.text[self.at + 1..]) > 0 {
            word.push('.');
            self.at += 1;
            self.digits(word);
            digits = usize::MAX;
        }
        if self.peek().is_some_and(char::is_alphanumeric) {
            self.alphanumeric(word);
        } else if !grouped && digits <= 2 && self.peek() == Some('-') && self.is_form_letter() {
            self.at += 1;
            self.alphanumeric(word);
        }
    }

    /// After `10-`: a single letter, or a letter and digits, that ends there (`K`, `K405`, `Q`).
    fn is_form_letter(&self) -> bool {
        let rest = &self.text.as_bytes()[self.at + 1..];
        let run = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric())
            .count();
        (1..=6).contains(&run)
            && rest[0].is_ascii_alphabetic()
            && (run == 1 || rest[1].is_ascii_digit())
    }

    /// A word that begins with a letter, with what belongs to it: `AT&T`, `don't`, `U.S.`, `S-1`.
    fn word(&mut self, word: &mut String) {
        let start = self.at;
        let mut run = self.alphanumeric(word);
        let first = &self.text[start..self.at];
        if first == "US" {
            word.clear();
            word.push_str("u.s");
        }
        if run == 1 && self.abbreviation(word) {
            return;
        }
        let form_prefix =
            first.len() <= 2 && first.bytes().all(|b| b.is_ascii_alphabetic()) && first != "US";
        if form_prefix && self.peek() == Some('-') {
            let digits = digits_ahead(&self.text[self.at + 1..]);
            if (1..=3).contains(&digits) {
                self.at += 1;
                self.number(word);
                return;
            }
        }
        while let Some(connector @ ('&' | '\'' | '’')) = self.peek() {
            let rest = &self.text[self.at + connector.len_utf8()..];
            let ahead = rest.chars().take_while(|c| c.is_alphanumeric()).count();
            if ahead == 0 {
                return;
            }
            if connector == '&' {
                // `AT&T`, `SG&A`; in `Johnson&Johnson` two names were run together.
                if run > 3 && ahead > 3 {
                    return;
                }
                word.push('&');
                self.at += 1;
                run = self.alphanumeric(word);
            } else {
                self.at += connector.len_utf8();
                if ahead == 1 && rest.starts_with(['s', 'S']) {
                    self.at += 1;
                    return;
                }
                run += self.alphanumeric(word);
            }
        }
    }

    /// After one letter: `.S.A` of `U.S.A.`, joined without dots; `U.S.` itself stays apart from
    /// the pronoun.
    fn abbreviation(&mut self, word: &mut String) -> bool {
        let mut letters = 1;
        while self.peek() == Some('.') {
            let mut rest = self.text[self.at + 1..].chars();
            match (rest.next(), rest.next()) {
                (Some(letter), after)
                    if letter.is_alphabetic() && !after.is_some_and(char::is_alphanumeric) =>
                {
                    self.at += 1 + letter.len_utf8();
                    word.extend(letter.to_lowercase());
                    letters += 1;
                }
                _ => break,
            }
        }
        if word == "us" && letters == 2 {
            word.clear();
            word.push_str("u.s");
        }
        letters > 1
    }

    /// Appends a run of letters and digits; how many characters.
    fn alphanumeric(&mut self, word: &mut String) -> usize {
        let mut run = 0;
        while let Some(c) = self.peek() {
            if c.is_ascii_alphanumeric() {
                word.push(c.to_ascii_lowercase());
            } else if c.is_alphanumeric() {
                word.extend(c.to_lowercase());
            } else {
                break;
            }
            self.at += c.len_utf8();
            run += 1;
        }
        run
    }

    /// Appends a run of ASCII digits; how many.
    fn digits(&mut self, word: &mut String) -> usize {
        let run = digits_ahead(&self.text[self.at..]);
        word.push_str(&self.text[self.at..self.at + run]);
        self.at += run;
        run
    }

    fn peek(&self) -> Option<char> {
        let first = *self.text.as_bytes().get(self.at)?;
        if first.is_ascii() {
            return Some(first as char);
        }
        self.text[self.at..].chars().next()
    }
}

fn digits_ahead(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Stems purely alphabetic words.
#[derive(Clone)]
struct StemWords;

impl TokenFilter for StemWords {
    type Tokenizer<T: Tokenizer> = StemmingTokenizer<T>;

    fn transform<T: Tokenizer>(self, inner: T) -> StemmingTokenizer<T> {
        StemmingTokenizer {
            inner,
            stems: Stems {
                stemmer: frostem::Stemmer::new(frostem::Algorithm::English),
                known: HashMap::new(),
            },
        }
    }
}

#[derive(Clone)]
struct StemmingTokenizer<T> {
    inner: T,
    stems: Stems,
}

/// Stems with a memory: a filing says the same few thousand words again and again, and looking
/// one up is several times cheaper than stemming it.
#[derive(Clone)]
struct Stems {
    stemmer: frostem::Stemmer,
    known: HashMap<String, String>,
}

/// Beyond this many words the memory starts anew, so that hostile text cannot fill it.
const STEMS_KEPT: usize = 30_000;

impl Stems {
    fn apply(&mut self, word: &mut String) {
        if word.len() < 3 || !word.bytes().all(|b| b.is_ascii_lowercase()) {
            return;
        }
        if let Some(stem) = self.known.get(word.as_str()) {
            word.clear();
            word.push_str(stem);
            return;
        }
        let stem = self.stemmer.stem(word).into_owned();
        if self.known.len() >= STEMS_KEPT {
            self.known.clear();
        }
        self.known
            .insert(std::mem::replace(word, stem.clone()), stem);
    }
}

struct StemmedTokens<'a, T> {
    inner: T,
    stems: &'a mut Stems,
}

impl<T: Tokenizer> Tokenizer for StemmingTokenizer<T> {
    type TokenStream<'a> = StemmedTokens<'a, T::TokenStream<'a>>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        StemmedTokens {
            inner: self.inner.token_stream(text),
            stems: &mut self.stems,
        }
    }
}

impl<T: TokenStream> TokenStream for StemmedTokens<'_, T> {
    fn advance(&mut self) -> bool {
        if !self.inner.advance() {
            return false;
        }
        self.stems.apply(&mut self.inner.token_mut().text);
        true
    }

    fn token(&self) -> &Token {
        self.inner.token()
    }

    fn token_mut(&mut self) -> &mut Token {
        self.inner.token_mut()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, wanted: &str) {
        let found: Vec<String> = terms(&mut stemmed(), text)
            .into_iter()
            .map(|(_, term)| term)
            .collect();
        assert_eq!(found.join(" "), wanted, "{text:?}");
    }

    #[test]
    fn what_filings_write() {
        for (text, wanted) in [
            ("Form 10-K for fiscal 2022", "form 10k for fiscal 2022"),
            ("10-K, 10-K/A, 10K, 8-K12B, 20-F", "10k 10k a 10k 8k12b 20f"),
            ("DEF 14A and EX-99.1, S-1", "def 14a and ex99.1 s1"),
            ("$1,234.5 (1,234) 12,345,678", "1234.5 1234 12345678"),
            ("2019,2020 and 1,23", "2019 2020 and 1 23"),
            ("12.31.2023", "12.31 2023"),
            ("AT&T's R&D; SG&A", "at&t r&d sg&a"),
            ("Johnson&Johnson", "johnson johnson"),
            ("Q2 2023, 2Q23, FY22 FY2021", "q2 2023 2q23 fy 2022 fy 2021"),
            (
                "in the U.S. and US, not us. U.K. N.A.",
                "in the u.s and u.s not us uk na",
            ),
            (
                "the company's shareholders' rights",
                "the compani sharehold right",
            ),
            ("don't O’Reilly Lowe’s", "dont oreilli low"),
            (
                "BRK-B 3M long-term 2019-2020 COVID-19",
                "brk b 3m long term 2019 2020 covid 19",
            ),
            ("5.2% 1.5x $5.2bn 2nd.", "5.2 1.5x 5.2bn 2nd"),
            ("Nestlé", "nestl"),
            ("a.b end.Start 3.", "ab end start 3"),
            ("", ""),
            ("— $ % …", ""),
        ] {
            check(text, wanted);
        }
    }

    #[test]
    fn a_word_too_long_is_left_out_and_keeps_its_position() {
        let found = terms(
            &mut exact(),
            &format!("a {} b", "x".repeat(LONGEST_TERM + 1)),
        );
        assert_eq!(found, [(0, "a".to_owned()), (2, "b".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_text_gives_lowercase_words_at_rising_positions(text in "\\PC{0,200}") {
            let mut last = None;
            for (position, term) in terms(&mut stemmed(), &text) {
                prop_assert!(!term.is_empty() && term.len() <= LONGEST_TERM * 4);
                prop_assert!(!term.bytes().any(|b| b.is_ascii_uppercase()));
                prop_assert!(last.is_none_or(|last| last < position));
                last = Some(position);
            }
        }

        #[test]
        fn numbers_survive_in_any_dress(
            number in 0u64..10_000_000_000,
            cents in proptest::option::of(0u8..100),
            dress in 0usize..6,
        ) {
            let plain = match cents {
                Some(cents) => format!("{number}.{cents:02}"),
                None => number.to_string(),
            };
            let mut grouped = String::new();
            let digits = number.to_string();
            for (i, c) in digits.chars().enumerate() {
                if i > 0 && (digits.len() - i).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(c);
            }
            if let Some(cents) = cents {
                grouped.push_str(&format!(".{cents:02}"));
            }
            let dressed = match dress {
                0 => format!("net sales were ${grouped}."),
                1 => format!("Sales | ({grouped}) | 12"),
                2 => format!("{grouped}%"),
                3 => format!("US${grouped}, and"),
                4 => format!("—{grouped};"),
                _ => plain.clone(),
            };
            let found = terms(&mut stemmed(), &dressed);
            prop_assert!(found.iter().any(|(_, term)| *term == plain), "{dressed} gave {found:?}");
        }
    }
}
