//! Shown numbers to values: the numeric transformations of the inline-XBRL registries (versions 1
//! to 5) and of the SEC, then scale and sign.

use rust_decimal::Decimal;

/// The value of `shown` under transformation `format` (without its prefix), times 10 to `scale`,
/// negated if `negative`; nothing where it is no number in that format.
pub(crate) fn number(
    shown: &str,
    format: Option<&str>,
    scale: i32,
    negative: bool,
) -> Option<Decimal> {
    let plain = match format.map(str::to_ascii_lowercase).as_deref() {
        Some("fixed-zero" | "zerodash" | "numdash" | "fixedzero") => Some(Decimal::ZERO),
        Some("numwordsen" | "num-words-en") => words(shown),
        Some(
            "num-comma-decimal"
            | "numcommadecimal"
            | "numcommadot"
            | "numspacecomma"
            | "numdotcomma"
            | "num-comma-decimal-apos",
        ) => digits(shown, ','),
        Some("num-unit-decimal" | "numunitdecimal") => units(shown),
        // num-dot-decimal and its relatives, and no format at all.
        _ => digits(shown, '.'),
    }?;
    let scaled = scaled(plain, scale)?;
    Some(if negative { -scaled } else { scaled })
}

/// Digits with any grouping and one decimal sign. Currency signs, percent signs and parentheses
/// that an agent left inside the element do not count: the sign is the attribute's.
fn digits(shown: &str, decimal: char) -> Option<Decimal> {
    let mut clean = String::with_capacity(shown.len());
    let mut minus = false;
    for character in shown.chars() {
        match character {
            '0'..='9' => clean.push(character),
            _ if character == decimal => clean.push('.'),
            '-' | '−' if clean.is_empty() => minus = true,
            '.' | ',' | '\'' | '’' | ' ' | '$' | '%' | '(' | ')' | '€' | '£' | '¥' => {}
            '—' | '–' | '-' => {}
            _ if character.is_whitespace() => {}
            _ => return None,
        }
    }
    if !clean.bytes().any(|b| b.is_ascii_digit()) {
        // A dash alone is how filings write nothing.
        let dash = shown.trim().chars().all(|c| "—–-−$% ".contains(c));
        return (dash && !shown.trim().is_empty()).then_some(Decimal::ZERO);
    }
    let value = Decimal::from_str_exact(&clean).ok()?;
    Some(if minus { -value } else { value })
}

/// `12 dollars 50 cents`: the first number, then the second as hundredths.
fn units(shown: &str) -> Option<Decimal> {
    let mut parts = shown
        .split(|c: char| !(c.is_ascii_digit() || c == ',' || c == '.'))
        .filter_map(|part| digits(part, '.').filter(|_| part.bytes().any(|b| b.is_ascii_digit())));
    let whole = parts.next()?;
    let hundredths = parts.next().unwrap_or(Decimal::ZERO);
    whole.checked_add(hundredths.checked_div(Decimal::ONE_HUNDRED)?)
}

fn scaled(value: Decimal, scale: i32) -> Option<Decimal> {
    if !(-28..=28).contains(&scale) {
        return None;
    }
    let power = Decimal::from_i128_with_scale(10i128.pow(scale.unsigned_abs()), 0);
    let scaled = if scale >= 0 {
        value.checked_mul(power)?
    } else {
        value.checked_div(power)?
    };
    Some(scaled.normalize())
}

/// Numbers in English words: `none`, `four`, `one hundred and twenty-three thousand`.
fn words(shown: &str) -> Option<Decimal> {
    const ONES: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = [
        "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    ];
    let lower = shown.trim().to_ascii_lowercase();
    if matches!(lower.as_str(), "no" | "none" | "nil" | "zero") {
        return Some(Decimal::ZERO);
    }
    if lower.bytes().all(|b| b.is_ascii_digit() || b == b',') {
        return digits(&lower, '.');
    }
    let (mut total, mut group, mut any) = (0u64, 0u64, false);
    for word in lower.split(|c: char| !c.is_ascii_alphabetic()) {
        let value = match word {
            "" | "and" => continue,
            "a" | "an" => 1,
            "hundred" => {
                group = group.max(1).checked_mul(100)?;
                continue;
            }
            "thousand" | "million" | "billion" | "trillion" => {
                let power: u64 = match word {
                    "thousand" => 1_000,
                    "million" => 1_000_000,
                    "billion" => 1_000_000_000,
                    _ => 1_000_000_000_000,
                };
                total = total.checked_add(group.max(1).checked_mul(power)?)?;
                group = 0;
                any = true;
                continue;
            }
            _ => match ONES.iter().position(|one| *one == word) {
                Some(ones) => ones as u64,
                None => (TENS.iter().position(|ten| *ten == word)? as u64 + 2) * 10,
            },
        };
        group = group.checked_add(value)?;
        any = true;
    }
    any.then(|| total.checked_add(group).map(Decimal::from))
        .flatten()
}
