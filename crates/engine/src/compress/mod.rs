//! Long prompts made short: which tokens stay, by policy.
//!
//! SpecPC (arXiv:2506.08373) has a small draft model read the whole prompt, takes its attention to
//! every token as importance, and keeps the best neighbourhoods; with evidence heads only those that find evidence are
//! listened to, and the draft stops after the last of them. The rivals keep chunks by BM25, the two ends, or random pieces.
//! The kept tokens are read by the target one after another, at positions of their own or at their true ones. Must not know
//! requests or chats.

mod draft;
mod heads;
mod policy;
mod prompt;
mod rivals;
mod scores;
mod select;
mod text;

use std::ops::Range;
use std::time::Instant;

pub use draft::{Draft, ShortenRequest, Shortened};
pub use heads::{EvidenceHead, EvidenceHeads, NO_QUESTION};
pub use policy::{CompressionPolicy, Positions};
pub use prompt::pieces;
pub(crate) use prompt::{Laid, Wishes, Written, encode};
pub use scores::HeadRow;
pub use select::{PairSelection, Selection, choose_pairs, select, select_pieces};
pub use text::GAP;

use crate::EngineError;
use crate::tokenizer::Tokenizer;

/// Last tokens that always stay, whose attention is read (section 4.2 of the release's settings).
pub const WINDOW: usize = 64;
/// First layer whose attention counts.
const FIRST_LAYER: usize = 8;
/// Last positions of which SpecKV always keeps the pairs, and whose attention counts beside the lookahead's.
pub const PAIR_WINDOW: usize = 32;
/// SpecKV's pool.
pub const PAIR_KERNEL: usize = 7;
/// Tokens that a draft writes ahead for SpecKV. The paper goes to the answer's whole length; the release's cascade
/// writes 8 to 20.
pub const LOOKAHEAD: usize = 16;
/// Tokens that the cascade's first stage keeps.
pub const PC_TOKENS: usize = 2_048;

/// A prompt that is to be made short.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// All of it.
    pub tokens: &'a [u32],
    /// What stays whatever a policy thinks of it.
    pub protected: &'a [Range<usize>],
    /// What asks.
    pub focus: Range<usize>,
    /// Last tokens that always stay, and whose attention counts.
    pub window: usize,
}

impl<'a> Asked<'a> {
    /// A prompt whose last [`WINDOW`] tokens ask.
    pub fn by_its_end(tokens: &'a [u32]) -> Asked<'a> {
        Asked {
            tokens,
            protected: &[],
            focus: tokens.len().saturating_sub(WINDOW)..tokens.len(),
            window: WINDOW,
        }
    }
}

/// What stays of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Compressed {
    /// Positions that stay, rising.
    pub kept: Vec<usize>,
    /// Milliseconds it took to find them.
    pub ms: f64,
}

/// Finds what stays of a prompt: what is protected, its last tokens, and the best of the rest. A prompt
/// within the budget stays whole and costs nothing.
///
/// # Errors
/// [`EngineError::Request`] where a policy needs a draft and there is none, or the budget is too small for
/// what must stay; [`EngineError::TooLong`] where the draft cannot read the prompt.
pub fn compress(
    policy: CompressionPolicy,
    asked: &Asked<'_>,
    tokenizer: &Tokenizer,
    draft: Option<&Draft>,
) -> Result<Compressed, EngineError> {
    let started = Instant::now();
    let tokens = asked.tokens;
    let whole = || (0..tokens.len()).collect();
    let kept = match policy.budget() {
        None => whole(),
        Some(budget) if tokens.len() <= budget => whole(),
        // Tokens stay; pairs are chosen when the target reads them.
        Some(_) if matches!(policy, CompressionPolicy::SpecKv(_)) => whole(),
        Some(budget) => chosen(policy, budget, asked, tokenizer, draft)?,
    };
    Ok(Compressed {
        kept,
        ms: started.elapsed().as_secs_f64() * 1e3,
    })
}

fn chosen(
    policy: CompressionPolicy,
    budget: usize,
    asked: &Asked<'_>,
    tokenizer: &Tokenizer,
    draft: Option<&Draft>,
) -> Result<Vec<usize>, EngineError> {
    let tokens = asked.tokens;
    let draft = || {
        draft.ok_or_else(|| {
            EngineError::Request(format!(
                "{policy} needs a draft model of the same vocabulary (--draft)"
            ))
        })
    };
    let mut selection = Selection {
        budget,
        window: asked.window,
        kernel: 1,
        neighbours: 1,
    };
    let scores = match policy {
        CompressionPolicy::SpecPc(_) | CompressionPolicy::SpecKvPc(_) => {
            let draft = draft()?;
            if let CompressionPolicy::SpecKvPc(pairs) = policy {
                selection.budget = PC_TOKENS.max(2 * pairs);
            }
            selection.kernel = draft.reach();
            selection.neighbours = draft.reach();
            draft.specpc(tokens, asked.window)?
        }
        CompressionPolicy::SpecPcHeads(_) => {
            let scores = draft()?.evidence(tokens, &asked.focus)?;
            let window = asked.window.max(tokens.len() - asked.focus.start);
            let ends = pieces(tokens, tokenizer);
            return select_pieces(&scores, &ends, budget, window, asked.protected);
        }
        CompressionPolicy::Bm25(_) => rivals::bm25(tokens, &tokens[asked.focus.clone()], tokenizer),
        CompressionPolicy::Random(_) => rivals::random(tokens.len()),
        _ => rivals::ends(tokens.len()),
    };
    if tokens.len() <= selection.budget {
        return Ok((0..tokens.len()).collect());
    }
    select(&scores, &selection, asked.protected)
}

/// Ranges of tokens that write any of `texts`, wherever they stand in the prompt.
pub fn ranges_of(tokens: &[u32], tokenizer: &Tokenizer, texts: &[String]) -> Vec<Range<usize>> {
    Written::new(tokens, tokenizer).every(texts)
}
