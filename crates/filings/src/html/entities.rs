//! Character references (`&amp;`, `&#146;`, `&nbsp`) by the HTML standard's tables.

use html5ever::data::{C1_REPLACEMENTS, NAMED_ENTITIES};

/// The longest name in the standard's table, its semicolon included.
const MAX_NAME: usize = 33;

/// The longest name that is also valid without its semicolon (`Aacute`, `frac12`, …).
const MAX_BARE_NAME: usize = 6;

/// Reads the reference at the start of `text`, which begins with `&`: its length in bytes and the
/// one or two characters it stands for; nothing where the `&` is just text.
pub(crate) fn reference(text: &str) -> (usize, Option<(char, Option<char>)>) {
    let bytes = text.as_bytes();
    match bytes.get(1) {
        Some(b'#') => numeric(bytes),
        Some(next) if next.is_ascii_alphabetic() => named(text),
        _ => (1, None),
    }
}

fn numeric(bytes: &[u8]) -> (usize, Option<(char, Option<char>)>) {
    let hex = matches!(bytes.get(2), Some(b'x' | b'X'));
    let (radix, start) = if hex { (16, 3) } else { (10, 2) };
    let mut at = start;
    let mut code: u32 = 0;
    while let Some(digit) = bytes.get(at).and_then(|b| char::from(*b).to_digit(radix)) {
        code = code.saturating_mul(radix).saturating_add(digit);
        at += 1;
    }
    if at == start {
        return (1, None);
    }
    if bytes.get(at) == Some(&b';') {
        at += 1;
    }
    let windows = code
        .checked_sub(0x80)
        .and_then(|offset| C1_REPLACEMENTS.get(offset as usize).copied().flatten());
    let character = match windows {
        Some(character) => character,
        None if code == 0 => char::REPLACEMENT_CHARACTER,
        None => char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    (at, Some((character, None)))
}

fn named(text: &str) -> (usize, Option<(char, Option<char>)>) {
    let length = text.as_bytes()[1..]
        .iter()
        .take(MAX_NAME)
        .position(|b| !b.is_ascii_alphanumeric())
        .map_or(text.len().min(MAX_NAME + 1), |length| length + 1);
    let whole = text.as_bytes().get(length) == Some(&b';');
    if whole && let Some(characters) = lookup(&text[1..=length]) {
        return (length + 1, Some(characters));
    }
    for end in (2..=length.min(MAX_BARE_NAME + 1)).rev() {
        if let Some(characters) = lookup(&text[1..end]) {
            return (end, Some(characters));
        }
    }
    (1, None)
}

fn lookup(name: &str) -> Option<(char, Option<char>)> {
    // The table also lists every prefix of a name, with no characters.
    let (first, second) = *NAMED_ENTITIES.get(name)?;
    let first = char::from_u32(first).filter(|c| *c != '\0')?;
    Some((first, char::from_u32(second).filter(|c| *c != '\0')))
}
