//! Inline-XBRL facts: values, contexts, continuations, and that none is lost or misplaced in real
//! filings.

use std::fmt::Write;

use expect_test::{Expect, expect};
use footnote_filings::{Fact, FactPeriod, FactValue, WarningCode, read_html};
use footnote_testkit::shared_or_skip;
use regex::Regex;

const HEADER: &str = r#"<html xmlns:ix="http://www.xbrl.org/2013/inlineXBRL"><body><div style="display:none"><ix:header>
<ix:hidden><ix:nonNumeric contextRef="d" name="dei:DocumentType" id="h2">10-K</ix:nonNumeric></ix:hidden>
<ix:resources>
<xbrli:context id="d"><xbrli:entity><xbrli:identifier scheme="s">1</xbrli:identifier></xbrli:entity>
<xbrli:period><xbrli:startDate>2023-01-01</xbrli:startDate><xbrli:endDate>2023-12-31</xbrli:endDate></xbrli:period></xbrli:context>
<xbrli:context id="i"><xbrli:entity><xbrli:identifier scheme="s">1</xbrli:identifier><xbrli:segment>
<xbrldi:explicitMember dimension="us-gaap:SegmentAxis">ex:WidgetsMember</xbrldi:explicitMember>
<xbrldi:typedMember dimension="us-gaap:LineAxis"><ex:line>7 &amp; 8</ex:line></xbrldi:typedMember></xbrli:segment></xbrli:entity>
<xbrli:period><xbrli:instant>2023-12-31</xbrli:instant></xbrli:period></xbrli:context>
<xbrli:unit id="usd"><xbrli:measure>iso4217:USD</xbrli:measure></xbrli:unit>
<xbrli:unit id="eps"><xbrli:divide><xbrli:unitNumerator><xbrli:measure>iso4217:USD</xbrli:measure></xbrli:unitNumerator>
<xbrli:unitDenominator><xbrli:measure>xbrli:shares</xbrli:measure></xbrli:unitDenominator></xbrli:divide></xbrli:unit>
</ix:resources></ix:header></div>"#;

fn outline(body: &str) -> String {
    let (document, warnings) = read_html(&format!("{HEADER}{body}</body></html>"));
    let mut out = String::new();
    for fact in &document.facts {
        let value = match &fact.value {
            FactValue::Number(number) => number.to_string(),
            FactValue::Text(text) => format!("{text:?}"),
            FactValue::LongText(parts) => format!("{} long parts", parts.len()),
            FactValue::Nil => "nil".to_owned(),
        };
        let period = match fact.period {
            FactPeriod::Instant(day) => day.to_string(),
            FactPeriod::Duration(..) => "2023".to_owned(),
            FactPeriod::Forever => "forever".to_owned(),
        };
        let shown = fact.span.of(&document.text).expect("spans fit the text");
        let shown: String = shown.chars().take(40).collect();
        let unit = fact.unit.as_deref().unwrap_or("-");
        let hidden = if fact.visible { "" } else { " hidden" };
        write!(out, "{} = {value} {unit} {period}", fact.concept).expect("strings grow");
        for (axis, member) in &fact.dimensions {
            write!(out, " [{axis}: {member}]").expect("strings grow");
        }
        writeln!(out, " at {shown:?}{hidden}").expect("strings grow");
    }
    for warning in warnings {
        writeln!(out, "! {warning}").expect("strings grow");
    }
    out
}

#[track_caller]
fn check(body: &str, expected: Expect) {
    expected.assert_eq(&outline(body));
}

#[test]
fn numbers_with_scale_sign_and_format() {
    let cells: String = [
        (r#"scale="6" format="ixt:num-dot-decimal" decimals="-6""#, "1,234.5"),
        (r#"scale="3" sign="-" format="ixt:num-dot-decimal""#, "265"),
        (r#"format="ixt:num-comma-decimal""#, "1.234,5"),
        (r#"format="ixt:fixed-zero""#, "—"),
        (r#"format="ixt-sec:numwordsen""#, "twenty-three thousand and four"),
        (r#"scale="-2" format="ixt:num-dot-decimal""#, "5.25"),
        (r#"xsi:nil="true""#, ""),
        (r#"format="ixt:num-dot-decimal""#, "n/a"),
    ]
    .iter()
    .map(|(attributes, shown)| {
        format!(
            r#"<tr><td>row</td><td>$</td><td><ix:nonFraction contextRef="d" unitRef="usd" name="ex:N" {attributes}>{shown}</ix:nonFraction></td></tr>"#
        )
    })
    .collect();
    check(
        &format!("<table>{cells}</table>"),
        expect![[r#"
            dei:DocumentType = "10-K" - 2023 at "" hidden
            ex:N = 1234500000 USD 2023 at "1,234.5"
            ex:N = -265000 USD 2023 at "265"
            ex:N = 1234.5 USD 2023 at "1.234,5"
            ex:N = 0 USD 2023 at "—"
            ex:N = 23004 USD 2023 at "twenty-three thousand and four"
            ex:N = 0.0525 USD 2023 at "5.25"
            ex:N = nil USD 2023 at ""
            ex:N = "n/a" USD 2023 at "n/a"
            ! fact-value: ex:N shows "n/a", which is no number in format num-dot-decimal
        "#]],
    );
}

#[test]
fn contexts_units_and_facts_inside_facts() {
    check(
        r#"<p><ix:nonNumeric contextRef="d" name="ex:Policy">Sales were <ix:nonFraction contextRef="i" unitRef="usd" name="ex:Sales" scale="6">
        5</ix:nonFraction> million, or $<ix:nonFraction contextRef="d" unitRef="eps" name="ex:Eps">1.20</ix:nonFraction> a share</ix:nonNumeric>.</p>
        <p><ix:fraction contextRef="d" unitRef="usd" name="ex:Half"><ix:numerator>1</ix:numerator>/<ix:denominator>2</ix:denominator></ix:fraction>
        <ix:nonFraction contextRef="x" unitRef="y" name="ex:Lost">3</ix:nonFraction>
        <span style="-sec-ix-hidden:h2">FORM 10-K</span></p>"#,
        expect![[r#"
            dei:DocumentType = "10-K" - 2023 at "FORM 10-K" hidden
            ex:Policy = "Sales were 5 million, or $1.20 a share" - 2023 at "Sales were 5 million, or $1.20 a share"
            ex:Sales = 5000000 USD 2023-12-31 [us-gaap:SegmentAxis: ex:WidgetsMember] [us-gaap:LineAxis: 7 & 8] at "5"
            ex:Eps = 1.2 USD/shares 2023 at "1.20"
            ex:Half = 0.5 USD 2023 at "1/2"
            ex:Lost = 3 - forever at "3"
            ! fact-unresolved: ex:Lost names context "x", which is not defined; its period is unknown
            ! fact-unresolved: ex:Lost names unit "y", which is not defined
        "#]],
    );
}

#[test]
fn continuations_are_joined_and_circles_end() {
    let body = format!(
        r#"<p><ix:nonNumeric contextRef="d" name="ex:Note" continuedAt="a">one</ix:nonNumeric></p><p>between</p>
        <p><ix:continuation id="a" continuedAt="b">two</ix:continuation></p>
        <p><ix:continuation id="b" continuedAt="a">three</ix:continuation></p>
        <p><ix:nonNumeric contextRef="d" name="ex:Gone" continuedAt="zzz">alone<ix:exclude> 17</ix:exclude> here</ix:nonNumeric></p>
        <ix:nonNumeric contextRef="d" name="ex:Long" continuedAt="c"><p>{}</p><table><tr><td>a</td><td>1</td></tr></table></ix:nonNumeric>
        <p><ix:continuation id="c">end</ix:continuation></p>"#,
        "word ".repeat(500)
    );
    check(
        &body,
        expect![[r#"
            dei:DocumentType = "10-K" - 2023 at "" hidden
            ex:Note = "one two three" - 2023 at "one"
            ex:Gone = "alone here" - 2023 at "alone 17 here"
            ex:Long = 2 long parts - 2023 at "word word word word word word word word "
            ! fact-continuation: ex:Note continues at "a", which it or another fact has taken already
            ! fact-continuation: ex:Gone continues at "zzz", which is not there
        "#]],
    );
    let (document, _) = read_html(&format!("{HEADER}{body}"));
    let long = document.facts.last().expect("the last fact");
    let FactValue::LongText(parts) = &long.value else {
        panic!("{:?}", long.value)
    };
    let texts: Vec<_> = parts.iter().map(|part| part.of(&document.text)).collect();
    assert!(texts[0].expect("a span").ends_with("word\na | 1"));
    assert_eq!(texts[1], Some("end"));
}

#[test]
fn words_become_values() {
    let cases = [
        (
            "ixt:date-monthname-day-year-en",
            "July 1, 2023",
            "2023-07-01",
        ),
        ("ixt:datemonthdayyearen", "Dec. 31, 2018", "2018-12-31"),
        ("ixt:date-day-month-year", "31.12.18", "2018-12-31"),
        ("ixt:date-monthname-day-en", "December 30", "--12-30"),
        ("ixt-sec:boolballotbox", "☒", "true"),
        ("ixt-sec:boolballotbox", "☐", "false"),
        ("ixt-sec:duryear", "5", "P5Y"),
        ("ixt-sec:duryear", "2.5", "P2Y6M"),
        ("ixt-sec:durwordsen", "five years", "P5Y"),
        ("ixt-sec:durmonth", "18", "P18M"),
        (
            "ixt-sec:exchnameen",
            "The Nasdaq Stock Market LLC",
            "NASDAQ",
        ),
        ("ixt-sec:stateprovnameen", "California", "CA"),
    ];
    for (format, shown, expected) in cases {
        let (document, warnings) = read_html(&format!(
            r#"{HEADER}<p><ix:nonNumeric contextRef="d" name="ex:W" format="{format}">{shown}</ix:nonNumeric></p>"#
        ));
        let fact = document.facts.last().expect("one fact");
        let value = FactValue::Text(expected.to_owned());
        assert_eq!(fact.value, value, "{format} {shown}");
        assert!(warnings.is_empty(), "{format} {shown}: {warnings:?}");
    }
}

#[test]
fn every_warning_names_its_fact_and_place() {
    let (_, warnings) = read_html(&format!(
        r#"{HEADER}<ix:nonFraction contextRef="nope" name="ex:A">1</ix:nonFraction>"#
    ));
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].code, WarningCode::FactUnresolved);
    assert!(warnings[0].message.contains("ex:A") && warnings[0].span.is_some());
}

/// The shared filings, unpacked, by name.
fn filings(folder: &std::path::Path) -> Vec<(String, String)> {
    let mut filings = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the entry can be read").path();
        if path.extension().is_some_and(|extension| extension == "zst") {
            let packed = std::fs::read(&path).expect("the file can be read");
            let bytes = zstd::decode_all(packed.as_slice()).expect("the file can be unpacked");
            let name = path.file_name().expect("a name").to_string_lossy();
            filings.push((
                name.into_owned(),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
    }
    filings.sort();
    filings
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// Counted by pattern over the source, without the reader's lexer: every `ix:nonFraction` and
/// `ix:nonNumeric` is a fact, each visible number stands at its span, and its value has its digits.
#[test]
fn no_fact_of_a_real_filing_is_lost_or_misplaced() {
    let folder = shared_or_skip!("data/filings_html");
    let element = Regex::new(r"(?s)<ix:(nonFraction|nonNumeric)\s([^>]*?)(/?)>([^<]*)");
    let element = element.expect("a pattern");
    let name = Regex::new(r#"\bname="([^"]*)""#).expect("a pattern");
    let hidden_tag = Regex::new(r"(?s)</?ix:hidden[\s>]").expect("a pattern");
    let (mut numbers, mut files) = (0, 0);
    for (file, source) in filings(&folder) {
        let (document, warnings) = read_html(&source);
        assert_eq!(warnings, [], "{file}");
        let hidden: Vec<usize> = hidden_tag
            .find_iter(&source)
            .map(|tag| tag.start())
            .collect();
        let expected: Vec<_> = element.captures_iter(&source).collect();
        assert_eq!(document.facts.len(), expected.len(), "{file}");
        files += usize::from(!expected.is_empty());
        for (fact, expected) in document.facts.iter().zip(&expected) {
            let at = expected.get(0).expect("the match").start();
            let in_hidden = hidden.iter().take_while(|place| **place < at).count() % 2 == 1;
            let attributes = &expected[2];
            let concept = name.captures(attributes).map(|found| found[1].to_owned());
            assert_eq!(Some(&fact.concept), concept.as_ref(), "{file}");
            if &expected[1] == "nonFraction" && !in_hidden {
                numbers += 1;
                check_number(fact, attributes, &expected[4], &document.text, &file);
            }
        }
    }
    assert!(files == 0 || numbers > 15_000, "{numbers} in {files} files");
}

#[track_caller]
fn check_number(fact: &Fact, attributes: &str, inside: &str, text: &str, file: &str) {
    let what = format!("{file} {}", fact.concept);
    assert!(fact.visible && fact.unit.is_some(), "{what}");
    let shown = fact.span.of(text).expect("spans fit the text");
    // Where another element comes first, the text right inside this one is empty.
    if !inside.trim().is_empty() && !inside.contains('&') {
        let inside = inside.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(shown, inside, "{what}");
    }
    if attributes.contains("xsi:nil=\"true\"") {
        assert_eq!(fact.value, FactValue::Nil, "{what}");
        return;
    }
    let FactValue::Number(number) = &fact.value else {
        panic!("{what}: {:?} is no number", fact.value);
    };
    if !attributes.contains("numwordsen") {
        let significant = |text: &str| digits(text).trim_matches('0').to_owned();
        assert_eq!(
            significant(&number.to_string()),
            significant(shown),
            "{what}"
        );
    }
    let negative = attributes.contains("sign=\"-\"") && !number.is_zero();
    assert_eq!(
        number.is_sign_negative() && !number.is_zero(),
        negative,
        "{what}"
    );
}
