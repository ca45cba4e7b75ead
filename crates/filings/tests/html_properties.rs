//! What holds of every input, however broken: no panic, bounded time, spans that fit.

use std::time::{Duration, Instant};

use footnote_filings::{BlockKind, FactValue, HtmlDocument, WarningCode, read_html};
use proptest::prelude::*;

/// Checks what every reading promises.
#[track_caller]
fn check(source: &str) -> HtmlDocument {
    let (document, _) = read_html(source);
    let text = &document.text;
    let clip = || source.chars().take(600).collect::<String>();
    let mut last = 0;
    for block in &document.blocks {
        let inside = block.span.of(text).expect("on character boundaries");
        assert!(block.span.start >= last, "blocks overlap in {:?}", clip());
        let between = &text[last..block.span.start];
        let parted = between.chars().all(|c| c == '\n');
        assert!(parted, "{between:?} between blocks of {:?}", clip());
        let filled = block.kind == BlockKind::PageBreak || !inside.is_empty();
        assert!(filled, "an empty block in {:?}", clip());
        last = block.span.end;
    }
    let ended = text[last..].chars().all(|c| c == '\n');
    assert!(ended, "text after the blocks of {:?}", clip());
    for line in text.lines() {
        assert_eq!(line.trim(), line, "blanks around a line of {:?}", clip());
        let single = !line.contains("  ") && !line.contains('\u{a0}');
        assert!(single, "blanks in {line:?} of {:?}", clip());
    }
    for fact in &document.facts {
        assert!(
            fact.span.of(text).is_some(),
            "a fact's span in {:?}",
            clip()
        );
        if let FactValue::LongText(parts) = &fact.value {
            assert!(parts.iter().all(|part| part.of(text).is_some()));
        }
    }
    document
}

const TAGS: [&str; 58] = [
    "<p>",
    "</p>",
    "<div>",
    "</div>",
    "<div style='text-align:center;font-weight:bold'>",
    "<b>",
    "</b>",
    "<br>",
    "<br/>",
    "<table>",
    "</table>",
    "<tr>",
    "</tr>",
    "<td>",
    "</td>",
    "<td colspan=3>",
    "<td rowspan='2'>",
    "<td colspan=0>",
    "<hr style='page-break-after:always'>",
    "<!-- PAGEBREAK -->",
    "<pre>",
    "</pre>",
    "<ul>",
    "<li>",
    "</ul>",
    "<sup>",
    "</sup>",
    "<ix:nonFraction name='a:b' contextRef='c' scale='6'>",
    "</ix:nonFraction>",
    "<ix:nonNumeric name='a:c' continuedAt='k'>",
    "</ix:nonNumeric>",
    "<ix:continuation id='k' continuedAt='k'>",
    "</ix:continuation>",
    "<ix:header>",
    "</ix:header>",
    "<ix:resources>",
    "</ix:resources>",
    "<xbrli:context id='c'>",
    "</xbrli:context>",
    "<ix:exclude>",
    "</ix:exclude>",
    "<p style='display:none'>",
    "<font face=Wingdings>",
    "</font>",
    "<a href=\"#x\">",
    "<a name='x'>",
    "</a>",
    "<title>",
    "</title>",
    "<h1>",
    "</h1>",
    "<center>",
    "</center>",
    "<PAGE>",
    "<caption>",
    "<TYPE>",
    "<",
    "<span style='position:relative;top:-3pt'>",
];

const WORDS: [&str; 24] = [
    "word",
    " ",
    "\n",
    "$",
    "1,234",
    ")",
    "(",
    "%",
    "•",
    "1.",
    "(a)",
    "Item 7.",
    "&nbsp;",
    "&amp;",
    "é",
    "—",
    "2023",
    "TABLE OF CONTENTS",
    "\u{a0}",
    "\u{200b}",
    "&#146;",
    "\t",
    "|",
    "12",
];

fn soup() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => proptest::sample::select(TAGS.as_slice()).prop_map(str::to_owned),
        3 => proptest::sample::select(WORDS.as_slice()).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
    ];
    proptest::collection::vec(part, 0..80).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_soup_reads_with_spans_that_fit(source in soup()) {
        check(&source);
    }

    #[test]
    fn reading_the_text_again_changes_no_word(source in soup()) {
        let text = check(&source).text;
        let lines: String = text
            .lines()
            .map(|line| format!("<p>{}</p>", line.replace('&', "&amp;").replace('<', "&lt;")))
            .collect();
        // A bullet may take its text to itself, or a blank before it; no character may change.
        let shown = |text: &str| text.split_whitespace().collect::<String>();
        prop_assert_eq!(shown(&check(&lines).text), shown(&text));
    }
}

#[test]
fn hostile_shapes_take_linear_time_and_space() {
    let shapes: [(&str, String); 10] = [
        ("nested divisions", "<div>".repeat(400_000)),
        ("nested tables", "<table><tr><td>x".repeat(100_000)),
        (
            "nested bold",
            format!("{}x{}", "<b>".repeat(300_000), "</i>".repeat(300_000)),
        ),
        ("attributes", format!("<p {}>x", "a=1 ".repeat(500_000))),
        ("cells", format!("<table><tr>{}", "<td>1".repeat(300_000))),
        (
            "spans",
            format!(
                "<table>{}",
                "<tr><td colspan=999>head<td rowspan=999 colspan=9>x".repeat(20_000)
            ),
        ),
        (
            "facts",
            "<ix:nonNumeric name='a:b' contextRef='c'>word ".repeat(60_000),
        ),
        ("comments", "<!-- x ".repeat(200_000)),
        ("anchors", "<a href=\"#x\" id=\"x\">".repeat(100_000)),
        ("pages", "<PAGE>1\n".repeat(100_000)),
    ];
    for (name, source) in shapes {
        let start = Instant::now();
        let document = check(&source);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "{name} took {took:?}");
        let bound = source.len() * 12 + 1000;
        assert!(
            document.text.len() < bound,
            "{name} grew to {}",
            document.text.len()
        );
    }
}

#[test]
fn endless_nesting_is_said_and_its_text_kept() {
    let (document, warnings) = read_html(&format!("{}inside", "<div><b>".repeat(5000)));
    assert_eq!(document.text, "inside");
    assert_eq!(warnings[0].code, WarningCode::Markup);
}

#[test]
fn a_filing_cut_anywhere_still_reads() {
    let source = "<html><body><p>Alpha <b>beta</b></p><table><tr><td>Sales</td><td>$</td>\
        <td>1,234</td></tr><tr><td>é</td><td colspan=\"2\"><ix:nonFraction name=\"a:b\" \
        contextRef=\"c\">5</ix:nonFraction></td></tr></table>";
    for end in 0..=source.len() {
        if let Some(cut) = source.get(..end) {
            check(cut);
        }
    }
}
