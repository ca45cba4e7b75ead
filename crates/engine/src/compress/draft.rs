//! A small model that reads long prompts for a larger one of the same vocabulary.
//!
//! Must not know requests, or what the larger model does with what stays.

use std::ops::Range;
use std::sync::Arc;

use super::heads::{EvidenceHeads, NO_QUESTION};
use super::prompt::{Laid, Wishes, encode};
use super::scores::{self, HeadRow};
use super::{Asked, CompressionPolicy, WINDOW, compress, text};
use crate::attention::{self, Attention, AttentionRequest};
use crate::cache::Cache;
use crate::config::Family;
use crate::decoder::{Decoder, Origin, Outputs, Scratch, Step};
use crate::local::LoadedModel;
use crate::sampling::greedy;
use crate::tap::Heads;
use crate::tokenizer::Tokenizer;
use crate::{ChatTemplate, EngineError, Message, Prompt, Role};

/// Tokens that a draft reads in one pass while it writes ahead.
const READ_TOKENS: usize = 512;

/// How far back the tokens of a long prompt look when a draft reads it for its evidence heads, besides its first tokens:
/// about a page. What asks looks at everything. It halves the time and finds evidence no worse
/// (`evals/results/compression.md`).
const BAND: Option<usize> = Some(256);

/// A draft model.
#[derive(Clone)]
pub struct Draft {
    name: String,
    decoder: Arc<Decoder>,
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
    heads: Option<Arc<EvidenceHeads>>,
}

/// A prompt to be made short as text.
#[derive(Clone, Debug, PartialEq)]
pub struct ShortenRequest {
    /// The messages.
    pub messages: Vec<Message>,
    /// How.
    pub policy: CompressionPolicy,
    /// Texts of the messages that stay.
    pub protect: Vec<String>,
    /// What asks: a text of the messages; by default the last paragraph.
    pub focus: Option<String>,
}

/// A prompt made short, as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Shortened {
    /// The messages, whole words only, with [`GAP`](super::GAP) where something was left out.
    pub messages: Vec<Message>,
    /// What stays of each message's own text, as byte ranges of it.
    pub spans: Vec<Vec<Range<usize>>>,
    /// Tokens of the whole prompt, by the draft's vocabulary.
    pub tokens_in: usize,
    /// Tokens that stay, template included; gap marks are not among them.
    pub tokens_kept: usize,
    /// Milliseconds it took.
    pub ms: f64,
}

impl Draft {
    /// A draft model, with its evidence heads where there are some.
    ///
    /// # Errors
    /// [`EngineError::Request`] where a head is not the model's.
    pub fn new(model: LoadedModel, heads: Option<EvidenceHeads>) -> Result<Draft, EngineError> {
        Draft::of(
            model.decoder.config().name.clone(),
            Arc::new(model.decoder),
            Arc::new(model.tokenizer),
            model.template,
            heads,
        )
    }

    pub(crate) fn of(
        name: String,
        decoder: Arc<Decoder>,
        tokenizer: Arc<Tokenizer>,
        template: ChatTemplate,
        heads: Option<EvidenceHeads>,
    ) -> Result<Draft, EngineError> {
        if let Some(heads) = &heads {
            heads.check(decoder.config())?;
        }
        Ok(Draft {
            name,
            decoder,
            tokenizer,
            template,
            heads: heads.map(Arc::new),
        })
    }

    /// Longest prompt it reads, in tokens.
    pub fn context(&self) -> usize {
        self.decoder.context()
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Its evidence heads.
    pub fn heads(&self) -> Option<&EvidenceHeads> {
        self.heads.as_deref()
    }

    /// The name of its model, as its file has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How much the ends of a prompt attend to its parts.
    ///
    /// # Errors
    /// [`EngineError::TooLong`] where it cannot read so much.
    pub fn attend(&self, request: &AttentionRequest) -> Result<Attention, EngineError> {
        attention::attend(&self.decoder, &self.tokenizer, &self.template, request)
    }

    /// The tokens of a prompt, with the template where there is one.
    ///
    /// # Errors
    /// Where the template cannot set it.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, EngineError> {
        encode(prompt, &self.tokenizer, &self.template)
    }

    /// Makes a prompt short as text, for people and for models that read text. System messages stay whole.
    ///
    /// # Errors
    /// As [`compress`]; [`EngineError::Request`] for a policy that keeps pairs of a cache and no text.
    pub fn shorten(&self, request: &ShortenRequest) -> Result<Shortened, EngineError> {
        if request.policy.pairs().is_some() {
            return Err(EngineError::Request(format!(
                "{} chooses what a cache keeps and leaves no text; use specpc, specpc-heads or bm25",
                request.policy
            )));
        }
        let prompt = Prompt::Chat(request.messages.clone());
        let wishes = Wishes {
            protect: &request.protect,
            focus: request.focus.as_deref(),
        };
        let laid = Laid::new(&prompt, self.encode(&prompt)?, &self.tokenizer, wishes)?;
        let short = compress(request.policy, &laid.asked(), &self.tokenizer, Some(self))?;
        let mut stays = vec![false; laid.tokens.len()];
        for at in &short.kept {
            stays[*at] = true;
        }
        let mut messages = Vec::new();
        let mut spans = Vec::new();
        for (message, kept) in request.messages.iter().zip(laid.spans(&stays)) {
            let content = &message.content;
            if message.role == Role::System || short.kept.len() == laid.tokens.len() {
                messages.push(message.clone());
                spans.push(std::iter::once(0..content.len()).collect());
                continue;
            }
            let before = content.len() - content.trim_start().len();
            messages.push(Message::new(
                message.role,
                text::joined(content.trim(), &kept),
            ));
            let moved = kept.into_iter();
            spans.push(
                moved
                    .map(|span| span.start + before..span.end + before)
                    .collect(),
            );
        }
        Ok(Shortened {
            messages,
            spans,
            tokens_in: laid.tokens.len(),
            tokens_kept: short.kept.len(),
            ms: short.ms,
        })
    }

    /// What the draft would write after `tokens`, greedily: at most `most` tokens, none after an end.
    ///
    /// # Errors
    /// [`EngineError::TooLong`] where it cannot read so much.
    pub fn lookahead(
        &self,
        tokens: &[u32],
        most: usize,
        ends: &[u32],
    ) -> Result<Vec<u32>, EngineError> {
        if tokens.len() + most > self.context() {
            return Err(EngineError::TooLong {
                tokens: tokens.len() + most,
                limit: self.context(),
                mend: "the draft model cannot read so long a prompt".to_string(),
            });
        }
        let mut cache = self.decoder.full_cache()?;
        let mut scratch = Scratch::default();
        let mut written: Vec<u32> = Vec::new();
        let mut rows = Vec::new();
        for chunk in tokens.chunks(READ_TOKENS.min(self.decoder.longest_pass())) {
            rows = self.read(chunk, Origin::Prompt, &mut cache, &mut scratch)?;
        }
        while written.len() < most {
            let logits = self.decoder.logits(&rows)?;
            let Some(token) = greedy(&logits).filter(|token| !ends.contains(token)) else {
                break;
            };
            written.push(token);
            if written.len() < most {
                rows = self.read(&[token], Origin::Written, &mut cache, &mut scratch)?;
            }
        }
        Ok(written)
    }

    /// The last token's row.
    fn read(
        &self,
        tokens: &[u32],
        origin: Origin,
        cache: &mut Cache,
        scratch: &mut Scratch,
    ) -> Result<Vec<f32>, EngineError> {
        let mut steps = [Step {
            tokens,
            origin,
            cache,
            outputs: Outputs::Last,
            perturbation: None,
        }];
        let rows = self.decoder.forward(&mut steps, scratch, &|| true)?;
        rows.ok_or(EngineError::Stopped)
    }

    /// Importance of every token by SpecPC's rule, from the last `window` tokens.
    ///
    /// # Errors
    /// [`EngineError::TooLong`] where the draft cannot read the prompt.
    pub fn specpc(&self, tokens: &[u32], window: usize) -> Result<Vec<f32>, EngineError> {
        scores::specpc(&self.decoder, tokens, window)
    }

    /// Importance by the evidence heads, of the tokens before `focus`: what they pay for the question more than for none,
    /// each head by its own scale.
    pub(super) fn evidence(
        &self,
        tokens: &[u32],
        focus: &Range<usize>,
    ) -> Result<Vec<f32>, EngineError> {
        let Some(heads) = &self.heads else {
            return Err(EngineError::Request(
                "specpc-heads needs the draft's evidence heads; `footnote engine heads` finds them, and --heads FILE \
                 names them"
                    .to_string(),
            ));
        };
        let chosen: Vec<(usize, usize)> = heads.heads.iter().map(|h| (h.layer, h.head)).collect();
        let rows = self.differences(tokens, focus, Heads::Chosen(chosen))?;
        Ok(heads.joined(&rows, tokens.len()))
    }

    /// What each of `heads` pays the tokens before `focus`: the mean over the end's tokens, for the question less for none.
    ///
    /// # Errors
    /// [`EngineError::TooLong`] where the draft cannot read the prompt.
    pub fn differences(
        &self,
        tokens: &[u32],
        focus: &Range<usize>,
        heads: Heads,
    ) -> Result<Vec<HeadRow>, EngineError> {
        let mut free = self.tokenizer.encode(NO_QUESTION)?;
        free.extend_from_slice(&tokens[focus.end..]);
        let (beginning, asked) = tokens.split_at(focus.start);
        scores::differences(&self.decoder, beginning, asked, &free, heads, BAND)
    }

    /// SpecPC's released sizes of pool and neighbourhood.
    pub fn reach(&self) -> usize {
        match self.decoder.config().family {
            Family::Llama => 32,
            Family::Qwen2 | Family::Qwen3 => 64,
        }
    }
}

impl Laid {
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            tokens: &self.tokens,
            protected: &self.protected,
            focus: self.focus.clone(),
            window: match self.focus_named {
                true => WINDOW.max(self.tokens.len() - self.focus.start),
                false => WINDOW,
            },
        }
    }
}
