//! How much the end of a prompt attends to each of its parts, for alternative ends after the same beginning.
//!
//! In-context re-ranking (Chen et al. 2024, arXiv:2410.02642) reads passages and a question once and takes the
//! attention from the question back to each passage as its relevance, less what a content-free question would give:
//! no token is written. The beginning is read once and every end after it. Must not know what the parts are.

use std::ops::Range;

use crate::compress::Written;
use crate::decoder::Decoder;
use crate::tap::{Heads, Reduce, TapConfig};
use crate::tokenizer::Tokenizer;
use crate::{ChatTemplate, EngineError, Message, Role};

/// What is read.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionRequest {
    /// Texts of a user's message, one after another, the same before every end.
    pub parts: Vec<String>,
    /// Alternative ends of the message; each is followed by the template's opening of the answer.
    pub ends: Vec<String>,
    /// Heads that count, as layer and query head; all where there are none.
    pub heads: Option<Vec<(usize, usize)>>,
    /// Whether heads stay apart.
    pub per_head: bool,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// The tokens of each part.
    pub parts: Vec<Range<usize>>,
    /// The heads of separate rows; one row for all where they were not kept apart.
    pub heads: Vec<(usize, usize)>,
    /// `[end][row][token]`: the mean over the end's tokens of the share that goes to the token, summed over heads
    /// where they were not kept apart.
    pub shares: Vec<Vec<Vec<f32>>>,
}

/// Reads the parts and every end.
pub(crate) fn attend(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    request: &AttentionRequest,
) -> Result<Attention, EngineError> {
    if request.ends.iter().any(|end| end.trim().is_empty()) || request.ends.is_empty() {
        return Err(EngineError::Request(
            "an end of the prompt is empty, so nothing can attend".to_string(),
        ));
    }
    let beginning = request.parts.concat();
    let prompts = request
        .ends
        .iter()
        .map(|end| {
            let message = Message::new(Role::User, format!("{beginning}{end}"));
            template.encode(&[message], tokenizer)
        })
        .collect::<Result<Vec<Vec<u32>>, EngineError>>()?;
    let shared = shared_start(&prompts);
    let Some(parts) = ranges_in_order(&prompts[0][..shared], tokenizer, &request.parts) else {
        return Err(EngineError::Request(
            "the parts do not stand in the prompt as they were given".to_string(),
        ));
    };
    let config = TapConfig {
        // Each end is its own window.
        window: 0,
        weighted: false,
        heads: match &request.heads {
            Some(heads) => Heads::Chosen(heads.clone()),
            None => Heads::From(0),
        },
        reduce: Reduce::Sum,
        per_head: request.per_head,
    };
    let ends: Vec<&[u32]> = prompts.iter().map(|prompt| &prompt[shared..]).collect();
    let taps = decoder.tap_ends(&prompts[0][..shared], &ends, &[config], None)?;
    let taps: Vec<_> = taps.into_iter().flatten().collect();
    let heads = taps
        .first()
        .map_or_else(Vec::new, |tap| tap.heads().to_vec());
    let shares = taps
        .into_iter()
        .zip(&ends)
        .map(|(tap, end)| {
            let mut rows = tap.into_scores();
            for share in rows.iter_mut().flatten() {
                *share /= end.len() as f32;
            }
            rows
        })
        .collect();
    Ok(Attention {
        parts,
        heads,
        shares,
    })
}

/// The longest common start that leaves every prompt at least one token.
fn shared_start(prompts: &[Vec<u32>]) -> usize {
    let shortest = prompts.iter().map(Vec::len).min().unwrap_or(0);
    let first = &prompts[0];
    let differs = (0..shortest).find(|at| prompts.iter().any(|prompt| prompt[*at] != first[*at]));
    differs.unwrap_or(shortest).min(shortest.saturating_sub(1))
}

/// The tokens that write each text, one text after another; a token that writes the end of one and the start of the
/// next belongs to the first. `None` where they do not stand there in that order.
fn ranges_in_order(
    tokens: &[u32],
    tokenizer: &Tokenizer,
    texts: &[String],
) -> Option<Vec<Range<usize>>> {
    let written = Written::new(tokens, tokenizer);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for bytes in written.in_order(&texts)? {
        let from = ranges.last().map_or(0, |last| last.end);
        let range = written.tokens(&bytes);
        ranges.push(match bytes.is_empty() {
            true => from..from,
            false => range.start.max(from)..range.end.max(from),
        });
    }
    Some(ranges)
}
