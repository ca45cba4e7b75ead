//! Cuts HTML source into tags, comments and runs of raw text, borrowing from the source.
//!
//! It follows the tokenizer of the HTML standard as far as text and elements can tell, and a test
//! holds it to `html5ever`'s tokenizer on random input. It exists beside that one because filings
//! are hostile input: `html5ever` compares every attribute of a tag with all before it (quadratic
//! on a tag of a million attributes) and interns every XBRL element name behind a global lock.
//! It must not know what an element means.

use memchr::{memchr, memchr2, memmem};

/// Attributes kept of one tag; filings have at most a dozen, the rest of a hostile tag is dropped.
const MAX_ATTRS: usize = 48;

/// One token; names are as written, in any case.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Token<'a> {
    /// Character data, entities not yet decoded.
    Text(&'a str),
    /// A start tag; its attributes are in [`Lexer::attrs`].
    Start { name: &'a str, self_closing: bool },
    /// An end tag.
    End { name: &'a str },
    /// A comment's inside.
    Comment(&'a str),
}

/// The attributes of one start tag, raw (entities not decoded), first of a name wins.
#[derive(Default, Debug)]
pub(crate) struct Attrs<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Attrs<'a> {
    /// The raw value of attribute `name` (given in lower case).
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// All of them in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        self.0.iter().copied()
    }
}

/// Reads tokens off a source from front to back, in time linear in its length.
pub(crate) struct Lexer<'a> {
    source: &'a str,
    at: usize,
    /// Attributes of the last start tag.
    pub(crate) attrs: Attrs<'a>,
    /// The source ended inside a tag, whose rest is lost.
    pub(crate) cut_in_tag: bool,
    /// A comment was never closed; it was taken to end at its first `>`.
    pub(crate) open_comment: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(source: &'a str) -> Lexer<'a> {
        Lexer {
            source,
            at: 0,
            attrs: Attrs::default(),
            cut_in_tag: false,
            open_comment: false,
        }
    }

    /// The next token, or nothing at the end.
    pub(crate) fn next(&mut self) -> Option<Token<'a>> {
        let bytes = self.source.as_bytes();
        let start = self.at;
        let mut search = start;
        loop {
            let Some(offset) = memchr(b'<', bytes.get(search..)?) else {
                self.at = bytes.len();
                return (start < bytes.len()).then(|| Token::Text(&self.source[start..]));
            };
            let open = search + offset;
            match bytes.get(open + 1) {
                Some(next) if next.is_ascii_alphabetic() || matches!(next, b'/' | b'!' | b'?') => {
                    // `</` before end of file or before nothing tag-like is text or void.
                    if *next == b'/' && bytes.get(open + 2).is_none() {
                        self.at = bytes.len();
                        return Some(Token::Text(&self.source[start..]));
                    }
                    if open > start {
                        self.at = open;
                        return Some(Token::Text(&self.source[start..open]));
                    }
                    return self.markup(open);
                }
                _ => search = open + 1,
            }
        }
    }

    /// Everything up to the end tag of `name`, which is left unread: the inside of an element whose
    /// content is not markup (`script`, `style`, `title`).
    pub(crate) fn raw_text(&mut self, name: &str) -> &'a str {
        let rest = &self.source[self.at..];
        let mut search = 0;
        let end = loop {
            let Some(offset) = memmem::find(&rest.as_bytes()[search..], b"</") else {
                break rest.len();
            };
            let at = search + offset;
            let tail = &rest.as_bytes()[at + 2..];
            let named = tail.len() >= name.len()
                && tail[..name.len()].eq_ignore_ascii_case(name.as_bytes())
                && tail
                    .get(name.len())
                    .is_none_or(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'>'));
            if named {
                break at;
            }
            search = at + 2;
        };
        self.at += end;
        &rest[..end]
    }

    fn markup(&mut self, open: usize) -> Option<Token<'a>> {
        let bytes = self.source.as_bytes();
        match bytes[open + 1] {
            b'!' if bytes[open + 2..].starts_with(b"--") => Some(self.comment(open + 4)),
            b'!' | b'?' => Some(self.bogus_comment(open + 1)),
            b'/' if bytes[open + 2].is_ascii_alphabetic() => self.tag(open + 2, true),
            b'/' if bytes[open + 2] == b'>' => {
                self.at = open + 3;
                Some(Token::Comment(""))
            }
            b'/' => Some(self.bogus_comment(open + 2)),
            _ => self.tag(open + 1, false),
        }
    }

    fn comment(&mut self, inside: usize) -> Token<'a> {
        let rest = &self.source.as_bytes()[inside..];
        for short in [&b">"[..], b"->"] {
            if rest.starts_with(short) {
                self.at = inside + short.len();
                return Token::Comment("");
            }
        }
        if !self.open_comment {
            let mut search = 0;
            while let Some(offset) = memmem::find(&rest[search..], b"--") {
                let end = search + offset;
                let close = match &rest[end + 2..] {
                    [b'>', ..] => 1,
                    [b'!', b'>', ..] => 2,
                    _ => {
                        search = end + 1;
                        continue;
                    }
                };
                self.at = inside + end + 2 + close;
                return Token::Comment(&self.source[inside..inside + end]);
            }
            // The standard would swallow the rest of the filing. Its text matters more.
            self.open_comment = true;
        }
        self.bogus_comment(inside)
    }

    fn bogus_comment(&mut self, inside: usize) -> Token<'a> {
        let rest = &self.source.as_bytes()[inside..];
        let length = memchr(b'>', rest).unwrap_or(rest.len());
        self.at = (inside + length + 1).min(self.source.len());
        Token::Comment(&self.source[inside..inside + length])
    }

    /// Reads a tag whose name starts at `name_at`.
    fn tag(&mut self, name_at: usize, closing: bool) -> Option<Token<'a>> {
        let bytes = self.source.as_bytes();
        self.attrs.0.clear();
        let name_end = bytes[name_at..]
            .iter()
            .position(|b| is_space(*b) || matches!(b, b'/' | b'>'))
            .map_or(bytes.len(), |length| name_at + length);
        let name = &self.source[name_at..name_end];
        let mut at = name_end;
        loop {
            while at < bytes.len() && is_space(bytes[at]) {
                at += 1;
            }
            match bytes.get(at)? {
                b'>' => {
                    self.at = at + 1;
                    return Some(self.tag_token(name, closing, false));
                }
                b'/' if bytes.get(at + 1) == Some(&b'>') => {
                    self.at = at + 2;
                    return Some(self.tag_token(name, closing, true));
                }
                b'/' => at += 1,
                _ => match self.attribute(at) {
                    Some(after) => at = after,
                    None => {
                        self.cut_in_tag = true;
                        self.at = bytes.len();
                        return None;
                    }
                },
            }
            if at >= bytes.len() {
                self.cut_in_tag = true;
                self.at = bytes.len();
                return None;
            }
        }
    }

    fn tag_token(&self, name: &'a str, closing: bool, self_closing: bool) -> Token<'a> {
        if closing {
            Token::End { name }
        } else {
            Token::Start { name, self_closing }
        }
    }

    /// Reads one attribute at `at`, gives the place behind it, or nothing where the source ends
    /// inside it.
    fn attribute(&mut self, at: usize) -> Option<usize> {
        let bytes = self.source.as_bytes();
        // A leading `=` is part of the name.
        let mut name_end = at + 1;
        while !matches!(
            bytes.get(name_end)?,
            b'/' | b'>' | b'=' | b' ' | b'\n' | b'\t' | b'\r' | b'\x0c'
        ) {
            name_end += 1;
        }
        // A name may start inside a character only if `at` did, and `at` follows ASCII.
        let name = &self.source[at..name_end];
        let mut next = name_end;
        while is_space(*bytes.get(next)?) {
            next += 1;
        }
        let value;
        if bytes[next] == b'=' {
            next += 1;
            while is_space(*bytes.get(next)?) {
                next += 1;
            }
            match bytes[next] {
                quote @ (b'"' | b'\'') => {
                    let start = next + 1;
                    let length = memchr(quote, &bytes[start..])?;
                    value = &self.source[start..start + length];
                    next = start + length + 1;
                }
                b'>' => value = "",
                _ => {
                    let start = next;
                    while !(is_space(*bytes.get(next)?) || bytes[next] == b'>') {
                        next += 1;
                    }
                    value = &self.source[start..next];
                }
            }
        } else {
            value = "";
            next = name_end;
        }
        if self.attrs.0.len() < MAX_ATTRS {
            self.attrs.0.push((name, value));
        }
        Some(next)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | b'\r' | b'\x0c')
}

/// Decodes the character references of `raw` into `out`.
pub(crate) fn decode_into(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some(at) = memchr2(b'&', 0, rest.as_bytes()) {
        out.push_str(&rest[..at]);
        if rest.as_bytes()[at] == 0 {
            rest = &rest[at + 1..];
            continue;
        }
        let (length, decoded) = super::entities::reference(&rest[at..]);
        match decoded {
            Some((first, second)) => {
                out.push(first);
                out.extend(second);
                rest = &rest[at + length..];
            }
            None => {
                out.push('&');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
}

/// `raw` with its character references decoded.
pub(crate) fn decode(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    decode_into(raw, &mut out);
    out
}
