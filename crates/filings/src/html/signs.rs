//! Signs and short texts that mean something by themselves: bullets, item numbers, invisible
//! characters, the pictures of symbol fonts.

/// Zero-width signs and soft hyphens, which only hide words from search.
pub(crate) fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}'
    )
}

/// Whether `text` is a list bullet and nothing else.
pub(crate) fn is_bullet(text: &str) -> bool {
    matches!(
        text,
        "•" | "●"
            | "○"
            | "▪"
            | "■"
            | "◦"
            | "·"
            | "–"
            | "—"
            | "-"
            | "*"
            | "➢"
            | "✓"
            | "✔"
            | "►"
            | "▶"
            | "»"
            | "o"
            | "☐"
            | "☒"
            | "☑"
            | "□"
            | "◆"
            | "♦"
            | "❖"
    )
}

/// The Unicode character that Wingdings draws for a letter, where filings use it.
pub(crate) fn wingding(character: char) -> char {
    match character {
        'l' | '\u{9f}' => '●',
        'n' | '\u{a7}' => '▪',
        'o' | 'q' | '\u{a8}' => '☐',
        'x' | '\u{fd}' => '☒',
        '\u{fe}' => '☑',
        '\u{fc}' => '✓',
        '\u{d8}' => '➢',
        'v' => '❖',
        'u' => '◆',
        '\u{e8}' | '\u{f0}' => '►',
        _ => character,
    }
}

/// Whether `text` is what stands before an item of a list: a bullet, `(a)`, `1.`, `(12)`, `iv.`.
pub(crate) fn is_marker(text: &str) -> bool {
    if is_bullet(text) {
        return true;
    }
    if text.len() > 6 || !text.is_ascii() {
        return false;
    }
    let inner = text.trim_start_matches('(').trim_end_matches([')', '.']);
    let closed = text.ends_with([')', '.']);
    closed
        && !inner.is_empty()
        && ((inner.len() <= 2 && inner.bytes().all(|b| b.is_ascii_digit()))
            || (inner.len() <= 4 && inner.bytes().all(|b| b"ivxIVX".contains(&b)))
            || (inner.len() == 1 && inner.as_bytes()[0].is_ascii_alphabetic()))
}

/// Whether `text` is the number of an item, part or note without its title.
pub(crate) fn is_item_number(text: &str) -> bool {
    if text.len() > 20 || !text.is_ascii() {
        return false;
    }
    let mut words = text.split_ascii_whitespace();
    let (Some(word), Some(number), None) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let named = [
        "item", "part", "note", "section", "article", "proposal", "exhibit", "appendix", "annex",
        "schedule",
    ]
    .iter()
    .any(|name| word.eq_ignore_ascii_case(name));
    let number = number.trim_end_matches(['.', ':', '-', ')']);
    named
        && number.len() <= 8
        && number
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"().".contains(&b))
}
