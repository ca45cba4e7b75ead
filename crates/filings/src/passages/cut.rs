//! Cuts a stretch of text that is too long by itself: at sentence ends, else at cells, else at blanks,
//! else between characters, in parts of about equal size.

use crate::input::clean::ceil_boundary;
use crate::input::clean::floor_boundary;
use crate::tokens;
use crate::types::Span;

/// Parts of `span`, in order and without gaps, each of about `limit` tokens or fewer.
pub(super) fn cut(text: &str, span: Span, limit: usize) -> Vec<Span> {
    let mut atoms = Vec::new();
    split(text, span, limit, Boundary::Sentence, &mut atoms);
    balance(&atoms, limit)
}

/// Groups `atoms` (span and tokens) into runs of about equal size, none over `limit` unless a single
/// atom is.
pub(super) fn balance(atoms: &[(Span, usize)], limit: usize) -> Vec<Span> {
    let total: usize = atoms.iter().map(|(_, tokens)| tokens).sum();
    let parts = total.div_ceil(limit.max(1)).max(1);
    let target = total.div_ceil(parts);
    let mut spans: Vec<Span> = Vec::with_capacity(parts);
    let mut size = 0;
    for (span, tokens) in atoms {
        // Closing at whichever side of the target is nearer keeps the last part from being a crumb.
        let closes = size + tokens > limit || (size + tokens / 2 > target && size > 0);
        match spans.last_mut() {
            Some(last) if !closes => {
                last.end = span.end;
                size += tokens;
            }
            _ => {
                spans.push(*span);
                size = *tokens;
            }
        }
    }
    spans
}

#[derive(Clone, Copy)]
enum Boundary {
    Sentence,
    Cell,
    Blank,
    Character,
}

/// Splits `span` into atoms at `boundary`; atoms over the limit are split at the next finer one. Atoms
/// begin with the blank before their first word, as tokens do.
fn split(text: &str, span: Span, limit: usize, boundary: Boundary, atoms: &mut Vec<(Span, usize)>) {
    let Some(inside) = span.of(text) else { return };
    let finer = match boundary {
        Boundary::Sentence => Boundary::Cell,
        Boundary::Cell => Boundary::Blank,
        Boundary::Blank => Boundary::Character,
        Boundary::Character => {
            characters(text, span, limit, atoms);
            return;
        }
    };
    let mut start = 0;
    let mut ends = boundaries(inside, boundary);
    ends.push(inside.len());
    for end in ends {
        if end <= start {
            continue;
        }
        let piece = Span::new(span.start + start, span.start + end);
        let size = tokens::count(&inside[start..end]);
        if size <= limit {
            atoms.push((piece, size));
        } else {
            split(text, piece, limit, finer, atoms);
        }
        start = end;
    }
}

fn boundaries(text: &str, boundary: Boundary) -> Vec<usize> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    for at in memchr::memchr2_iter(b' ', b'\n', bytes) {
        if at == 0 {
            continue;
        }
        let before = bytes[at - 1];
        let fits = match boundary {
            Boundary::Sentence => {
                bytes[at] == b'\n'
                    || (matches!(before, b'.' | b'?' | b'!' | b';' | b')' | b'"')
                        && text[at + 1..].starts_with(|c: char| {
                            c.is_uppercase() || matches!(c, '“' | '"' | '(' | '•')
                        }))
            }
            Boundary::Cell => bytes[at..].starts_with(b" | "),
            Boundary::Blank | Boundary::Character => true,
        };
        if fits {
            found.push(at);
        }
    }
    found
}

/// No blank in sight: pieces of so few bytes that they cannot be over the limit. A token is at least
/// one byte, but composing characters may lengthen a text up to threefold.
fn characters(text: &str, span: Span, limit: usize, atoms: &mut Vec<(Span, usize)>) {
    let step = (limit / 3).max(1);
    let mut start = span.start;
    while start < span.end {
        let mut end = floor_boundary(text, start + step).min(span.end);
        if end <= start {
            end = ceil_boundary(text, start + 1).min(span.end);
        }
        atoms.push((Span::new(start, end), end - start));
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_sentences_before_words_before_characters() {
        let text = "One two three four. Five six seven eight. Nine ten eleven twelve.";
        let spans = cut(text, Span::new(0, text.len()), 6);
        let parts: Vec<_> = spans.iter().map(|s| s.of(text).unwrap().trim()).collect();
        assert_eq!(
            parts,
            [
                "One two three four.",
                "Five six seven eight.",
                "Nine ten eleven twelve."
            ]
        );
        let words = "alpha beta gamma delta epsilon zeta";
        assert!(cut(words, Span::new(0, words.len()), 3).len() >= 3);
        let solid = "x7".repeat(300);
        let spans = cut(&solid, Span::new(0, solid.len()), 50);
        assert!(spans.len() > 5);
        assert_eq!(spans[0].start, 0);
        assert_eq!(spans.last().unwrap().end, solid.len());
    }

    proptest::proptest! {
        #[test]
        fn parts_cover_without_gap(text in "[a-zé.| \n0-9]{1,400}", limit in 1usize..40) {
            let spans = cut(&text, Span::new(0, text.len()), limit);
            let mut at = 0;
            for span in spans {
                proptest::prop_assert_eq!(span.start, at);
                proptest::prop_assert!(span.of(&text).is_some());
                at = span.end;
            }
            proptest::prop_assert_eq!(at, text.len());
        }
    }
}
