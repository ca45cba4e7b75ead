//! What the HTML reader makes of the constructs that EDGAR filings are built of.

use std::fmt::Write;

use expect_test::{Expect, expect};
use footnote_filings::{BlockKind, read_html};

/// The document as one line a block: kind, looks, text.
fn outline(source: &str) -> String {
    let (document, warnings) = read_html(source);
    let mut out = String::new();
    for block in &document.blocks {
        let style = block.style;
        let kind = match block.kind {
            BlockKind::Paragraph => "p",
            BlockKind::Heading => "h",
            BlockKind::ListItem => "li",
            BlockKind::Table => "table",
            BlockKind::PageBreak => "page",
            BlockKind::Speaker => "speaker",
        };
        let mut looks = String::new();
        for (sign, has) in [
            ('b', style.bold),
            ('i', style.italic),
            ('u', style.underlined),
            ('c', style.centered),
            ('L', style.internal_link),
            ('A', style.anchor_target),
        ] {
            if has {
                looks.push(sign);
            }
        }
        let text = block.span.of(&document.text).expect("spans fit the text");
        let text = text.replace('\n', "\n    ");
        writeln!(out, "{}", format!("{kind}[{looks}] {text}").trim_end()).expect("strings grow");
    }
    for warning in warnings {
        writeln!(out, "! {warning}").expect("strings grow");
    }
    out
}

#[track_caller]
fn check(source: &str, expected: Expect) {
    expected.assert_eq(&outline(source));
}

#[test]
fn white_space_entities_and_hidden_text() {
    check(
        "<html><head><title> A  title</title><style>p{}</style></head><body>
         <p>AT&amp;T&#146;s&nbsp; net\u{a0}\u{2009}sales<br>rose &#x2014; <b>much</b>.</p>
         <p>one<br><br>two</p><p style='display:none'>no</p><div hidden>no</div>
         <script>if (a < b) no()</script><p>x&#8203;y so\u{ad}ft</p></body></html>",
        expect![[r#"
            p[] AT&T’s net sales rose — much.
            p[] one
            p[] two
            p[] xy soft
        "#]],
    );
}

#[test]
fn split_cells_are_joined_and_heads_stand_over_their_columns() {
    check(
        r#"<table>
        <tr><td colspan="3"></td><td colspan="9">Year Ended</td><td colspan="3"></td></tr>
        <tr><td colspan="3">(in millions)</td><td colspan="3">2023</td><td colspan="3"></td><td colspan="3">2022</td><td colspan="3">% Change</td></tr>
        <tr><td colspan="3">Net sales</td><td>$</td><td>1,234</td><td></td><td colspan="3"></td><td>$</td><td>(1,000</td><td>)</td><td colspan="2">23</td><td>%</td></tr>
        <tr><td colspan="3">Costs<sup>1</sup></td><td colspan="2">56<sup>2</sup></td><td></td><td colspan="3">&nbsp;</td><td colspan="2">—</td><td></td><td colspan="2">(4.5</td><td>)%</td></tr>
        </table>"#,
        expect![[r#"
            table[] | Year Ended | Year Ended
                (in millions) | 2023 | 2022 | % Change
                Net sales | $1,234 | $(1,000) | 23%
                Costs (1) | 56 (2) | — | (4.5)%
        "#]],
    );
}

#[test]
fn columns_hold_where_some_rows_have_a_currency_cell_and_some_not() {
    check(
        r#"<table>
        <tr><td></td><td></td><td colspan="2">Basic</td><td></td><td></td><td colspan="2">Diluted</td><td></td></tr>
        <tr><td>Earnings</td><td></td><td>$</td><td>4.12</td><td></td><td></td><td>$</td><td>4.01</td><td></td></tr>
        <tr><td>Shares</td><td></td><td></td><td>100</td><td></td><td></td><td></td><td>(105</td><td>)</td></tr>
        <tr><td>Only diluted</td><td></td><td></td><td></td><td></td><td></td><td></td><td>7</td><td></td></tr>
        </table>"#,
        expect![[r#"
            table[] | Basic | Diluted
                Earnings | $4.12 | $4.01
                Shares | 100 | (105)
                Only diluted | | 7
        "#]],
    );
}

#[test]
fn labels_that_reach_down_are_repeated() {
    check(
        r#"<table><tr><td>Name</td><td>Year</td><td>Salary</td></tr>
        <tr><td rowspan="2">Ada Example, CEO</td><td>2023</td><td>1,000</td></tr>
        <tr><td>2022</td><td>900</td></tr><tr><td>Bob Sample</td><td>2023</td><td>500</td></tr></table>"#,
        expect![[r#"
            table[] Name | Year | Salary
                Ada Example, CEO | 2023 | 1,000
                Ada Example, CEO | 2022 | 900
                Bob Sample | 2023 | 500
        "#]],
    );
}

#[test]
fn tables_that_only_arrange_text_are_no_tables() {
    check(
        r##"<table><tr><td>•</td><td>first point</td></tr><tr><td>•</td><td>second point</td></tr></table>
        <table><tr><td><b>Item 7.</b></td><td><b>Management's Discussion</b></td></tr></table>
        <table><tr><td>A single cell of prose.</td></tr></table>
        <table><tr><td><table><tr><td>a</td><td>1</td></tr><tr><td>b</td><td>2</td></tr></table></td><td>beside</td></tr></table>
        <table><tr><td><a href="#i1">Item 1.</a></td><td>Business</td><td>3</td></tr></table><p id="i1"><b>Item 1. Business</b></p>"##,
        expect![[r#"
            li[] • first point
            li[] • second point
            h[b] Item 7. Management's Discussion
            p[] A single cell of prose.
            table[] a | 1
                b | 2
            p[] beside
            table[L] Item 1. | Business | 3
            h[bA] Item 1. Business
        "#]],
    );
}

#[test]
fn headings_are_told_by_their_looks() {
    check(
        r#"<p>Body text of the usual size that is here so that most of the letters have it.</p>
        <div style="text-align:center"><span style="font-weight:700">Overview</span></div>
        <p style="font:italic bold 10pt/120% 'Times New Roman', serif">Liquidity</p>
        <p><u>Cash flows</u></p><p>RISK FACTORS</p><h5>Old heading</h5>
        <p><b>A bold run-in.</b> Then prose.</p>
        <p><b>Heading above a line break</b><br>Prose below it.</p>"#,
        expect![[r#"
            p[] Body text of the usual size that is here so that most of the letters have it.
            h[bc] Overview
            h[bi] Liquidity
            h[u] Cash flows
            h[] RISK FACTORS
            h[b] Old heading
            p[] A bold run-in. Then prose.
            h[b] Heading above a line break
            p[] Prose below it.
        "#]],
    );
}

#[test]
fn page_furniture_goes_into_the_page_break() {
    let mut source = String::new();
    for page in 1..=4 {
        write!(
            source,
            "<p>Prose of page {page} goes on</p><div>Example Corp. | 10-K | {page}</div>
             <hr style='page-break-after:always'/><div><a href='#toc'>Table of Contents</a></div>"
        )
        .expect("strings grow");
    }
    check(
        &source,
        expect![[r#"
            p[] Prose of page 1 goes on
            page[] Example Corp. | 10-K | 1
                Table of Contents
            p[] Prose of page 2 goes on
            page[] Example Corp. | 10-K | 2
                Table of Contents
            p[] Prose of page 3 goes on
            page[] Example Corp. | 10-K | 3
                Table of Contents
            p[] Prose of page 4 goes on
            page[] Example Corp. | 10-K | 4
                Table of Contents
        "#]],
    );
}

#[test]
fn an_item_that_opens_a_page_is_not_furniture() {
    check(
        r##"<p><a href="#a">Item 5. Other</a></p><!-- PAGEBREAK --><p>Prose.</p><p>12</p><!-- PAGEBREAK -->
        <p><a name="a"></a><b>Item 5. Other</b></p>"##,
        expect![[r#"
            p[L] Item 5. Other
            page[]
            p[] Prose.
            page[] 12
            h[bA] Item 5. Other
        "#]],
    );
}

#[test]
fn typewriter_pages_in_edgar_wrapping() {
    check(
        "<DOCUMENT>\n<TYPE>8-K\n<SEQUENCE>1\n<FILENAME>a.txt\n<TEXT>\n<PAGE>\n\
         \u{20}                     FORM 8-K\n\n   ITEM 5. OTHER EVENTS\n\n   On May 1 the company\nsaid so &amp; more.\n\n\
         <TABLE>\n<CAPTION>\n                     1999      1998\n<S>                  <C>       <C>\n\
         Sales..............  $ 1,200   $   900\nCosts                   (800)     (700)\n</TABLE>\n\n\
         \u{20}                     - 2 -\n<PAGE>\nmore text\n</TEXT>\n</DOCUMENT>",
        expect![[r#"
            page[]
            h[c] FORM 8-K
            h[] ITEM 5. OTHER EVENTS
            p[] On May 1 the company said so & more.
            table[] 1999 | 1998
                Sales | $1,200 | $900
                Costs | (800) | (700)
            page[] - 2 -
            p[] more text
        "#]],
    );
}

#[test]
fn old_markup_without_end_tags() {
    check(
        "<HTML><BODY><P align=center><FONT size=2>TITLE<P>one <B>bold<P>two
         <TABLE><TR><TD>a<TD>1<TR><TD>b<TD>2</TABLE><UL><LI>x<LI>y</UL>end",
        expect![[r#"
            h[c] TITLE
            p[] one bold
            p[] two
            table[] a | 1
                b | 2
            li[] x
            li[] y
            p[] end
        "#]],
    );
}

#[test]
fn bullets_set_apart_by_margins_and_symbol_fonts() {
    check(
        "<div><span>•</span><span style='padding-left:10pt'>point</span></div>
         <div><font face='Wingdings'>x</font> checked <font style=\"font-family:'Wingdings',sans-serif\">&#168;</font> not</div>
         <div>•</div><div>bullet in its own block</div><div><span>1.</span><span>To elect</span></div>
         <div>(408) 996-1010</div>",
        expect![[r#"
            li[] • point
            li[] ☒ checked ☐ not
            li[] • bullet in its own block
            li[] 1. To elect
            p[] (408) 996-1010
        "#]],
    );
}

#[test]
fn damage_is_said() {
    check(
        "<p>text</p><!-- never closed <p>goes on</p><p class=\"cut",
        expect![[r#"
            p[] text
            p[] goes on
            ! markup: the file ends inside a tag; it is probably cut short
            ! markup: a comment is never closed; it was taken to end at its first '>'
        "#]],
    );
}
