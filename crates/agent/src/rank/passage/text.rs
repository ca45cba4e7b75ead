//! Words of chunks and questions: cut, stemmed (Snowball English), hashed.
//!
//! Chunks carry the marks of several writers: `##` between the cells of a table, HTML tables, figure
//! captions in attributes, Markdown headings. All of them are reduced to words here.

use std::collections::HashMap;

use crate::features::text::{Term, for_each_word};

pub(super) use crate::features::text::pair;

/// Beyond this many words the memory starts anew, so that hostile text cannot fill it.
const KEPT: usize = 50_000;

/// Stems with a memory: filings say the same few thousand words again and again.
pub(super) struct Stemmer {
    stemmer: frostem::Stemmer,
    known: HashMap<String, Term>,
}

impl Default for Stemmer {
    fn default() -> Self {
        Stemmer {
            stemmer: frostem::Stemmer::new(frostem::Algorithm::English),
            known: HashMap::new(),
        }
    }
}

impl Stemmer {
    /// The term of one lower-case word.
    pub(super) fn term(&mut self, word: &str) -> Term {
        if let Some(term) = self.known.get(word) {
            return *term;
        }
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        let plain = word.len() > 2 && word.bytes().all(|b| b.is_ascii_lowercase());
        let term = if plain {
            hash(&self.stemmer.stem(word))
        } else {
            hash(word)
        };
        self.known.insert(word.to_owned(), term);
        term
    }

    /// The terms of a text in order, numbers too.
    pub(super) fn terms(&mut self, text: &str) -> Vec<Term> {
        let mut terms = Vec::new();
        for_each_word(text, |word| terms.push(self.term(word)));
        terms
    }
}

/// 32-bit FNV-1a: with some 10,000 different words in a document a clash is rare and costs one
/// wrong count.
fn hash(word: &str) -> Term {
    word.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// The text without HTML tags; the description of a figure stays. Not a parser: what does not look
/// like a tag is text.
pub(super) fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let opens = tail[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
        match tail.find('>') {
            Some(end) if opens && end <= 4_000 => {
                if tail.starts_with("<figure")
                    && let Some(from) = tail[..end].find('"')
                {
                    out.push_str(tail[from..end].trim_matches(['"', '/', ' ']));
                }
                out.push(if tail.starts_with("<tr") || tail.starts_with("</tr") {
                    '\n'
                } else {
                    ' '
                });
                rest = &tail[end + 1..];
            }
            _ => {
                out.push('<');
                rest = &tail[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_and_captions_stay() {
        let words = |text: &str| {
            without_tags(text)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            words("<table><tr><td colspan=\"3\">Net</td><td>5</td></tr></table>"),
            "Net 5"
        );
        assert_eq!(
            words("<figure description=\"A logo\" /> text"),
            "A logo text"
        );
        assert_eq!(words("a < b and c<5> 3 <"), "a < b and c<5> 3 <");
    }

    #[test]
    fn word_forms_meet() {
        let mut stemmer = Stemmer::default();
        assert_eq!(stemmer.term("compensation"), stemmer.term("compensated"));
        assert_eq!(stemmer.term("dividends"), stemmer.term("dividend"));
        assert_ne!(stemmer.term("2023"), stemmer.term("2024"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in "[<>/a-z\"= é]{0,80}") {
            without_tags(&text);
        }
    }
}
