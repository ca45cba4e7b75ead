//! A prompt as compression sees it: tokens, what must stay, what asks, and where each of its texts stands.
//!
//! Must not know models or policies.

use std::ops::Range;

use crate::tokenizer::Tokenizer;
use crate::{ChatTemplate, EngineError, Prompt, Role};

/// The longest stretch at a prompt's end that counts as what asks, in tokens.
const FOCUS_MOST: usize = 256;

/// The longest piece that stays or goes as a whole, in tokens: a row of a table, a sentence.
const PIECE_MOST: usize = 48;

/// A prompt laid out.
pub(crate) struct Laid {
    /// All of it, template included.
    pub(crate) tokens: Vec<u32>,
    /// What stays whatever a policy thinks of it: the template's own tokens, system messages, what the caller protects.
    pub(crate) protected: Vec<Range<usize>>,
    /// What asks, and whether the caller said so: else a message's last paragraph.
    pub(crate) focus: Range<usize>,
    pub(crate) focus_named: bool,
    written: Written,
    /// The bytes of each message's text, or of the one text; none of a prompt of tokens.
    texts: Vec<Range<usize>>,
}

/// What a caller says of a prompt that is made short.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wishes<'a> {
    pub(crate) protect: &'a [String],
    pub(crate) focus: Option<&'a str>,
}

impl Laid {
    /// Lays out the tokens that a prompt became.
    pub(crate) fn new(
        prompt: &Prompt,
        tokens: Vec<u32>,
        tokenizer: &Tokenizer,
        wishes: Wishes<'_>,
    ) -> Result<Laid, EngineError> {
        let written = Written::new(&tokens, tokenizer);
        let texts: Vec<&str> = match prompt {
            Prompt::Chat(messages) => messages.iter().map(|m| m.content.as_str()).collect(),
            Prompt::Text(text) => vec![text],
            Prompt::Tokens(_) => Vec::new(),
        };
        let found = written.in_order(&texts).ok_or_else(|| {
            EngineError::Request(
                "the template changes the messages' texts, so this prompt cannot be made short"
                    .to_string(),
            )
        })?;
        let mut protected = written.every(wishes.protect);
        if let Prompt::Chat(messages) = prompt {
            let mut from = 0;
            for (message, bytes) in messages.iter().zip(&found) {
                let stands = written.tokens(bytes);
                protected.push(from..stands.start);
                if message.role == Role::System {
                    protected.push(stands.clone());
                }
                from = stands.end;
            }
            protected.push(from..tokens.len());
        }
        let last = texts.last().zip(found.last());
        let named = match wishes.focus {
            None => None,
            Some(text) => Some(written.last(text).ok_or_else(|| {
                EngineError::Request("what asks (`focus`) does not stand in the prompt".to_string())
            })?),
        };
        let focus = match (&named, last) {
            (Some(bytes), _) => written.tokens(bytes),
            (None, Some((text, bytes))) if !bytes.is_empty() => {
                let paragraph = last_paragraph(text).trim().len();
                written.tokens(&(bytes.end - paragraph..bytes.end))
            }
            _ => 0..tokens.len(),
        };
        Ok(Laid {
            focus: focus.start.max(focus.end.saturating_sub(FOCUS_MOST))..focus.end,
            focus_named: named.is_some(),
            tokens,
            protected,
            written,
            texts: found,
        })
    }

    /// The bytes of each text that tokens `stays` names write whole: byte ranges of the trimmed text, whole words only.
    pub(crate) fn spans(&self, stays: &[bool]) -> Vec<Vec<Range<usize>>> {
        let spans = |bytes: &Range<usize>| {
            let text = std::str::from_utf8(&self.written.bytes[bytes.clone()]).unwrap_or_default();
            super::text::whole_words(text, |at| stays[self.written.owner[bytes.start + at]])
        };
        self.texts.iter().map(spans).collect()
    }
}

/// The tokens of messages or text, with the template where there is one.
pub(crate) fn encode(
    prompt: &Prompt,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Vec<u32>, EngineError> {
    Ok(match prompt {
        Prompt::Chat(messages) => template.encode(messages, tokenizer)?,
        Prompt::Text(text) => {
            let mut tokens: Vec<u32> = tokenizer.begin_token().into_iter().collect();
            tokens.extend(tokenizer.encode(text)?);
            tokens
        }
        Prompt::Tokens(tokens) => tokens.clone(),
    })
}

/// Where a prompt's pieces end: its lines, long ones in parts of [`PIECE_MOST`] tokens.
pub fn pieces(tokens: &[u32], tokenizer: &Tokenizer) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut start = 0;
    for (at, token) in tokens.iter().enumerate() {
        if at + 1 - start == PIECE_MOST || tokenizer.bytes(*token).contains(&b'\n') {
            ends.push(at + 1);
            start = at + 1;
        }
    }
    if start < tokens.len() {
        ends.push(tokens.len());
    }
    ends
}

/// What follows the last empty line.
fn last_paragraph(text: &str) -> &str {
    let text = text.trim_end();
    text.rfind("\n\n").map_or(text, |at| &text[at..])
}

/// What tokens write, and which token writes each byte.
pub(crate) struct Written {
    bytes: Vec<u8>,
    owner: Vec<usize>,
}

impl Written {
    pub(crate) fn new(tokens: &[u32], tokenizer: &Tokenizer) -> Written {
        let (mut bytes, mut owner) = (Vec::new(), Vec::new());
        for (at, token) in tokens.iter().enumerate() {
            bytes.extend_from_slice(tokenizer.bytes(*token));
            owner.resize(bytes.len(), at);
        }
        Written { bytes, owner }
    }

    /// The tokens that write a range of bytes, in whole or in part.
    pub(crate) fn tokens(&self, bytes: &Range<usize>) -> Range<usize> {
        match bytes.is_empty() {
            true => {
                let at = self.owner.get(bytes.start).copied();
                let at = at.unwrap_or_else(|| self.owner.last().map_or(0, |last| last + 1));
                at..at
            }
            false => self.owner[bytes.start]..self.owner[bytes.end - 1] + 1,
        }
    }

    /// The bytes of each text without the white space around it, one after another; none where they do not stand in
    /// that order.
    pub(crate) fn in_order(&self, texts: &[&str]) -> Option<Vec<Range<usize>>> {
        let mut from = 0;
        texts
            .iter()
            .map(|text| {
                let text = text.trim();
                let start = from + memchr::memmem::find(&self.bytes[from..], text.as_bytes())?;
                from = start + text.len();
                Some(start..from)
            })
            .collect()
    }

    /// The tokens of any of `texts`, wherever they stand.
    pub(crate) fn every(&self, texts: &[String]) -> Vec<Range<usize>> {
        let texts = texts.iter().map(|text| text.trim());
        texts
            .filter(|text| !text.is_empty())
            .flat_map(|text| {
                memchr::memmem::find_iter(&self.bytes, text.as_bytes())
                    .map(move |start| self.tokens(&(start..start + text.len())))
            })
            .collect()
    }

    /// The bytes where `text` stands last.
    fn last(&self, text: &str) -> Option<Range<usize>> {
        let text = text.trim();
        let start = memchr::memmem::rfind(&self.bytes, text.as_bytes())?;
        (!text.is_empty()).then_some(start..start + text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_is_the_last_paragraph() {
        assert_eq!(last_paragraph("One.\n\nTwo.\n\nWhy?\n").trim(), "Why?");
        assert_eq!(last_paragraph("Why?"), "Why?");
        assert_eq!(last_paragraph(""), "");
    }
}
