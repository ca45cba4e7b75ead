//! Words as the rankers see them: lower case, lightly stemmed, hashed.
//!
//! The index has its own tokenizer; this one only has to treat questions and passages alike.

/// A stemmed word, hashed (32-bit FNV-1a: with some 100,000 words in play a clash is rare and costs
/// one wrong count).
pub type Term = u32;

/// The stem of a lower-case word: plurals and the endings `-ing`, `-ed`, `-e` go.
pub fn stem(word: &str) -> &str {
    if word.len() <= 3 || !word.bytes().all(|b| b.is_ascii_lowercase()) {
        return word;
    }
    let mut stem = word;
    if stem.ends_with("sses") {
        stem = &stem[..stem.len() - 2];
    } else if stem.len() > 4 && stem.ends_with("ies") {
        // `companies` and `company` meet at `compan`.
        stem = &stem[..stem.len() - 3];
    } else if stem.ends_with('s') && !["ss", "us", "is"].iter().any(|end| stem.ends_with(end)) {
        stem = &stem[..stem.len() - 1];
    }
    for ending in ["ing", "ed"] {
        if let Some(head) = stem.strip_suffix(ending)
            && head.len() >= 4
        {
            stem = head;
            break;
        }
    }
    if stem.len() > 4 {
        stem = stem.strip_suffix(['e', 'y']).unwrap_or(stem);
    }
    stem
}

fn hash(word: &str) -> Term {
    word.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// The term of one lower-case word.
pub fn term(word: &str) -> Term {
    hash(stem(word))
}

/// Every word of `text` in order: runs of letters, and numbers with their commas and points.
/// `each` gets the word in lower case.
pub fn for_each_word(text: &str, mut each: impl FnMut(&str)) {
    let mut word = String::new();
    let mut number = false;
    for c in text.chars() {
        let digit = c.is_ascii_digit();
        let goes_on = if word.is_empty() {
            false
        } else if number {
            digit || c == ',' || c == '.'
        } else {
            c.is_alphabetic()
        };
        if !goes_on && !word.is_empty() {
            each(word.trim_end_matches([',', '.']));
            word.clear();
        }
        if goes_on || digit || c.is_alphabetic() {
            if word.is_empty() {
                number = digit;
            }
            if c.is_ascii() {
                word.push(c.to_ascii_lowercase());
            } else {
                word.extend(c.to_lowercase());
            }
        }
    }
    if !word.is_empty() {
        each(word.trim_end_matches([',', '.']));
    }
}

/// The lower-case words of a text that start with a letter.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for_each_word(text, |word| {
        if word.starts_with(char::is_alphabetic) {
            words.push(word.to_owned());
        }
    });
    words
}

/// The terms of a text's words, numbers left out.
pub fn terms(text: &str) -> Vec<Term> {
    let mut terms = Vec::new();
    for_each_word(text, |word| {
        if word.starts_with(char::is_alphabetic) {
            terms.push(term(word));
        }
    });
    terms
}

/// The term of two words in a row.
pub fn pair(first: Term, second: Term) -> Term {
    first.rotate_left(7).wrapping_mul(0x9e37_79b1) ^ second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_forms_meet() {
        for (a, b) in [
            ("companies", "company"),
            ("liabilities", "liability"),
            ("inventories", "inventory"),
            ("expenses", "expense"),
            ("operating", "operated"),
            ("losses", "loss"),
            ("purchases", "purchased"),
        ] {
            assert_eq!(stem(a), stem(b), "{a} {b}");
        }
        assert_ne!(stem("asset"), stem("assess"));
        assert_eq!(stem("gas"), "gas");
    }

    #[test]
    fn splits_words_from_numbers() {
        let mut found = Vec::new();
        for_each_word("Q2’23: $1,234.5, net-sales (3M) É.", |word| {
            found.push(word.to_owned())
        });
        assert_eq!(
            found,
            ["q", "2", "23", "1,234.5", "net", "sales", "3", "m", "é"]
        );
    }
}
