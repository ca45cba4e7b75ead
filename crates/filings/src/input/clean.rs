//! The one normal form of text that every non-HTML reader writes: `\n` line ends, single spaces,
//! trimmed lines, at most one blank line in a row, no control characters.
//!
//! Must not join or drop lines: what a line means is the reader's to say.

/// Appends `text` to `out` in normal form. Blank lines at either end of `text` are dropped;
/// carriage returns must be gone already ([`unix_lines`]).
pub(crate) fn push_clean(out: &mut String, text: &str) {
    out.reserve(text.len());
    let mut blank = false;
    let start = out.len();
    for line in text.split(['\n', '\u{2028}', '\u{85}']) {
        let line_start = out.len();
        if line_start > start {
            out.push('\n');
            if blank {
                out.push('\n');
            }
        }
        let content_start = out.len();
        push_line(out, line);
        if out.len() == content_start {
            out.truncate(line_start);
            blank = line_start > start;
        } else {
            blank = false;
        }
    }
}

/// Appends one line: inner runs of blanks become one space, the ends are trimmed.
fn push_line(out: &mut String, line: &str) {
    let start = out.len();
    let mut gap = false;
    for c in line.chars() {
        match c {
            ' ' => gap = true,
            '!'..='~' => {
                if gap && out.len() > start {
                    out.push(' ');
                }
                gap = false;
                out.push(c);
            }
            // Soft hyphens, zero-width characters and byte-order marks show nothing.
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => {}
            c if c.is_whitespace() || c.is_control() => gap = true,
            c => {
                if gap && out.len() > start {
                    out.push(' ');
                }
                gap = false;
                out.push(c);
            }
        }
    }
}

/// `text` with `\r\n` and lone `\r` as `\n`, borrowed when there is nothing to do.
pub(crate) fn unix_lines(text: &str) -> std::borrow::Cow<'_, str> {
    if memchr::memchr(b'\r', text.as_bytes()).is_none() {
        return std::borrow::Cow::Borrowed(text);
    }
    std::borrow::Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// `text` in normal form.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::new();
    push_clean(&mut out, &unix_lines(text));
    out
}

/// The greatest character boundary of `text` at or before `at`.
pub(crate) fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The least character boundary of `text` at or after `at`.
pub(crate) fn ceil_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_normal_form() {
        for (raw, normal) in [
            ("", ""),
            (" \n \n", ""),
            ("a\r\nb", "a\nb"),
            ("a\u{a0}\tb  \n\n\n\n c", "a b\n\nc"),
            ("\n\nfirst\n\nsecond\n", "first\n\nsecond"),
            ("zero\u{200b}width\u{0}x", "zerowidth x"),
        ] {
            assert_eq!(clean(raw), normal, "{raw:?}");
        }
        let mut out = String::from("before|");
        push_clean(&mut out, "\n after");
        assert_eq!(out, "before|after");
    }

    proptest::proptest! {
        #[test]
        fn is_idempotent(text in "[ -~\n\r\t\u{a0}é\u{200b}]{0,200}") {
            let once = clean(&text);
            proptest::prop_assert_eq!(clean(&once), once.clone());
            proptest::prop_assert!(!once.contains("\n\n\n"));
            proptest::prop_assert!(!once.contains(&['\t', '\r', '\u{a0}'][..]), "blanks left");
        }
    }
}
