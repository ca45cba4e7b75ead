//! What a decoded text is: EDGAR HTML, a full submission, a plain-text filing, a transcript, or
//! something that must be refused by name.
//!
//! Looks at content; the file name only breaks ties. Must not parse anything: that is the readers' work.

use crate::input::clean::floor_boundary;
use std::sync::LazyLock;

use regex::Regex;

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTML or inline XBRL.
    Html,
    /// A full submission with its SGML wrapping.
    Submission,
    /// A filing typed as plain text.
    PlainFiling,
    /// An earnings call.
    Transcript,
}

/// Why a text is refused: what it is, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What it is.
    pub(crate) reason: &'static str,
    /// What the user can do.
    pub(crate) mend: &'static str,
}

const fn refuse<T>(reason: &'static str, mend: &'static str) -> Result<T, Refusal> {
    Err(Refusal { reason, mend })
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this module are valid")
}

static HTML_TAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)<(?:!doctype html|html|head|body|div|p|table|font|center|span|ix:header)[\s>/]")
});
static INDEX_PAGE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)EDGAR Filing Documents for|<title>[^<]*EDGAR Filing (?:Detail|Index)|id=.formDiv.",
    )
});
static FILING_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)securities and exchange\s+commission|schedule\s+14a|form\s+(?:10-?[kq]|8-?k)\b|\bexhibit\s+(?:99|13)\b",
    )
});
static CALL_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:operator|earnings call|conference call|prepared remarks|our (?:first|second|third|fourth)[- ]quarter|quarter|non-gaap|year[- ]over[- ]year|q&a|guidance|good (?:morning|afternoon)|call over to|outlook)\b",
    )
});

/// Tells what `text` is, or why it is nothing that can be read.
pub(crate) fn detect(text: &str) -> Result<Kind, Refusal> {
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if start.is_empty() {
        return refuse("holds no text", "fetch it again");
    }
    let head = prefix(start, 64 << 10);
    let opening = prefix(head, 4 << 10);
    if opening.starts_with("-----BEGIN PRIVACY-ENHANCED MESSAGE")
        || [
            "<SEC-DOCUMENT>",
            "<SEC-HEADER>",
            "<IMS-DOCUMENT>",
            "<IMS-HEADER>",
            "<SUBMISSION>",
        ]
        .iter()
        .any(|tag| opening.contains(tag))
        || (start.starts_with("<DOCUMENT>") && opening.contains("<TYPE>"))
    {
        return Ok(Kind::Submission);
    }
    if start.starts_with(['{', '[']) {
        return refuse(
            "is JSON, but no page corpus",
            "page records are one per line and have the fields doc, page and text",
        );
    }
    if [
        "Undeclared Automated Tool",
        "Request Rate Threshold Exceeded",
    ]
    .iter()
    .any(|words| head.contains(words))
    {
        return refuse(
            "is SEC's notice that a download was blocked, not a filing",
            "fetch it again with `footnote corpus get`, which keeps SEC's limits",
        );
    }
    if HTML_TAG.is_match(head) {
        if INDEX_PAGE.is_match(opening)
            || (INDEX_PAGE.is_match(head) && head.contains("/Archives/edgar/data/"))
        {
            return refuse(
                "is EDGAR's \"Filing Detail\" index page, not the filing",
                "import the primary document that the page links to",
            );
        }
        return Ok(Kind::Html);
    }
    if start.starts_with("<?xml") || start.starts_with("<xbrl") {
        return refuse(
            "is XML without a readable text",
            "import the HTML document of the filing",
        );
    }
    if FILING_WORDS.is_match(prefix(head, 16 << 10)) {
        return Ok(Kind::PlainFiling);
    }
    if is_call(head) {
        return Ok(Kind::Transcript);
    }
    refuse(
        "is text, but neither a filing nor a transcript",
        "name its form in a manifest.jsonl beside it",
    )
}

/// Calls speak of quarters, operators and guidance every few sentences.
fn is_call(head: &str) -> bool {
    let hits = CALL_WORDS.find_iter(head).count();
    let sentences = head.matches(['.', '?', '!']).count();
    sentences >= 1 && hits >= 3 && hits * 4_000 >= head.len()
}

/// The longest start of `text` of at most `bytes` bytes that ends between characters.
pub(crate) fn prefix(text: &str, bytes: usize) -> &str {
    &text[..floor_boundary(text, bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_kinds_apart() {
        for (text, kind) in [
            (
                "<?xml version='1.0'?><html><body>10-K</body></html>",
                Kind::Html,
            ),
            ("\u{feff}\n<div>FORM 8-K</div>", Kind::Html),
            (
                "<SEC-DOCUMENT>0000950124-01-503539.txt : 20011002",
                Kind::Submission,
            ),
            ("<DOCUMENT>\n<TYPE>10-K\n<TEXT>\n", Kind::Submission),
            (
                "        SECURITIES AND EXCHANGE COMMISSION\n FORM 10-K",
                Kind::PlainFiling,
            ),
            (
                "Operator\n\nGood morning. Welcome to the earnings call for the third quarter.",
                Kind::Transcript,
            ),
        ] {
            assert_eq!(detect(text), Ok(kind), "{text}");
        }
    }

    #[test]
    fn refuses_by_name() {
        for (text, reason) in [
            (" \n\t ", "no text"),
            ("{\"a\": 1}", "no page corpus"),
            (
                "<html><title>EDGAR Filing Documents for 0001-20-1</title>",
                "index page",
            ),
            (
                "<html>Your Request Originates from an Undeclared Automated Tool",
                "blocked",
            ),
            ("<?xml version='1.0'?><feed></feed>", "XML"),
            ("A poem about trees.", "neither"),
        ] {
            let refusal = detect(text).unwrap_err();
            assert!(refusal.reason.contains(reason), "{text}: {refusal:?}");
        }
    }
}
