//! The lexer against `html5ever`'s tokenizer, which follows the standard to the letter.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{
    BufferQueue, TagKind, Token as Reference, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};
use proptest::prelude::*;

use super::lexer::{Lexer, Token, decode};

/// A tag or text with everything that the reader looks at.
#[derive(Debug, PartialEq)]
enum Seen {
    Text(String),
    Start(String, bool, Vec<(String, String)>),
    End(String),
}

fn push_text(seen: &mut Vec<Seen>, text: &str) {
    if let Some(Seen::Text(last)) = seen.last_mut() {
        last.push_str(text);
    } else if !text.is_empty() {
        seen.push(Seen::Text(text.to_owned()));
    }
}

fn ours(source: &str) -> (Vec<Seen>, bool) {
    let mut lexer = Lexer::new(source);
    let mut seen = Vec::new();
    while let Some(token) = lexer.next() {
        match token {
            Token::Text(raw) => push_text(&mut seen, &decode(raw)),
            Token::Start { name, self_closing } => {
                let mut attrs: Vec<(String, String)> = Vec::new();
                for (name, value) in lexer.attrs.iter() {
                    let name = name.to_ascii_lowercase();
                    if !attrs.iter().any(|(known, _)| *known == name) {
                        attrs.push((name, decode(value)));
                    }
                }
                seen.push(Seen::Start(name.to_ascii_lowercase(), self_closing, attrs));
            }
            Token::End { name } => seen.push(Seen::End(name.to_ascii_lowercase())),
            Token::Comment(_) => {}
        }
    }
    (seen, lexer.open_comment)
}

struct Sink(RefCell<Vec<Seen>>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Reference, _line: u64) -> TokenSinkResult<()> {
        let mut seen = self.0.borrow_mut();
        match token {
            Reference::CharacterTokens(text) => push_text(&mut seen, &text),
            Reference::TagToken(tag) => {
                let name = tag.name.to_string();
                seen.push(match tag.kind {
                    TagKind::StartTag => Seen::Start(
                        name,
                        tag.self_closing,
                        tag.attrs
                            .iter()
                            .map(|a| (a.name.local.to_string(), a.value.to_string()))
                            .collect(),
                    ),
                    TagKind::EndTag => Seen::End(name),
                });
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

fn reference(source: &str) -> Vec<Seen> {
    let queue = BufferQueue::default();
    queue.push_back(StrTendril::from_slice(source));
    let options = TokenizerOpts {
        discard_bom: false,
        ..TokenizerOpts::default()
    };
    let tokenizer = Tokenizer::new(Sink(RefCell::new(Vec::new())), options);
    let _ = tokenizer.feed(&queue);
    tokenizer.end();
    tokenizer.sink.0.into_inner()
}

#[track_caller]
fn check(source: &str) {
    let (seen, open_comment) = ours(source);
    // There the standard drops the rest of the document, and we do not.
    if !open_comment {
        assert_eq!(seen, reference(source), "{source:?}");
    }
}

#[test]
fn agrees_with_the_standard_on_the_odd_cases() {
    for source in [
        "a < b <c>d</c > e",
        "<p a=1 b='2' c=\"3\" d e = 5 a=6>x",
        "<p a=1/2 b=/>x",
        "<br/><br /><br / ><a href=x/>",
        "<!DOCTYPE html><!-- a -- b --> c <!--> d <!---> e <!----!> f <!----> g",
        "<?xml version='1.0'?>t</>u</ v>w<//x>y",
        "<ix:nonFraction name=\"us-gaap:Revenues\">1</ix:nonFraction>",
        "AT&T &amp; &ampx &notit; &#146;&#x92;&#0;&#1114112;&nbsp&copy;&bogus;&#;&#x;",
        "<p =a=b>x<p a=\"un>closed",
        "cut<",
        "cut</",
        "cut</p",
        "<![CDATA[x]]>y",
        "<a\u{e9} b\u{e9}=\u{e9}>\u{e9}</a\u{e9}>",
    ] {
        check(source);
    }
}

#[test]
fn an_open_comment_does_not_swallow_the_filing() {
    let (seen, open_comment) = ours("a<!-- b > c <p>d");
    assert!(open_comment);
    assert_eq!(seen.len(), 3, "{seen:?}");
}

proptest! {
    #[test]
    fn agrees_with_the_standard_on_soup(
        parts in proptest::collection::vec(prop_oneof![
            Just("<"), Just(">"), Just("</"), Just("/>"), Just("<!--"), Just("-->"), Just("<p"),
            Just("<td "), Just("</td>"), Just("a"), Just("="), Just("\""), Just("'"), Just(" "),
            Just("&"), Just("&amp;"), Just("#"), Just("x"), Just("1"), Just(";"), Just("/"),
            Just("!"), Just("?"), Just("-"), Just("é"), Just("\n"), Just("ix:b"),
        ], 0..40)
    ) {
        check(&parts.concat());
    }
}
