//! The contract between Footnote and a language model, whatever runs it.
//!
//! Callers know prompts, grammars and policies; they must not know tensors, devices or servers.
//! Implementations: the local engine (`local`) and any OpenAI-compatible server (`remote`).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::EngineError;
use crate::attention::{Attention, AttentionRequest};
use crate::cache::CacheChoice;
use crate::compress::{CompressionPolicy, Positions};
use crate::decoder::Target;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The asker.
    User,
    /// The model.
    Assistant,
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who.
    pub role: Role,
    /// What.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Message {
        Message {
            role,
            content: content.into(),
        }
    }
}

/// What the model reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Prompt {
    /// Messages, set by the model's own chat template with the assistant's turn opened. The text of
    /// a message is data: control tokens written in it are read as ordinary text.
    Chat(Vec<Message>),
    /// Text as it is, without template.
    Text(String),
    /// Token ids as they are.
    Tokens(Vec<u32>),
}

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    /// Nucleus: smallest set of tokens whose probabilities reach this; 1 is off.
    pub top_p: f32,
    /// Only the k likeliest; 0 is off.
    pub top_k: usize,
    /// The same seed, prompt and model give the same text.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            seed: 0,
        }
    }
}

/// What the output must look like; enforced token by token, not asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Grammar {
    /// A JSON document of this schema.
    JsonSchema(Value),
    /// A grammar in llguidance's Lark dialect.
    Lark(String),
    /// A regular expression over the whole output.
    Regex(String),
}

/// What a text is written away from, as a trial: see `evals/results/contrast.md` for what it is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contrast {
    /// The weaker reading.
    pub weak: Weak,
    /// How far logits are pushed from the weak ones; 0 is off.
    pub weight: f32,
    /// Whether the weight counts by the entropy of what the model says, in nats, so that a sure model is left alone.
    pub by_entropy: bool,
    /// Only tokens of at least this share of the likeliest one's probability may be written.
    pub plausible: f32,
}

/// A weaker reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Weak {
    /// The same prompt, read alike; while writing, chosen heads give `(1 − u)` of what they would and `u` of `target`.
    Heads {
        /// As layer and query head.
        heads: Vec<(usize, usize)>,
        /// What they attend to instead.
        target: Target,
        /// How far they are moved, 0 to 1.
        u: f32,
    },
    /// Another prompt: the same without its context.
    Prompt(Prompt),
}

/// A request for text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// What the model reads.
    pub prompt: Prompt,
    /// At most this many new tokens.
    pub max_tokens: usize,
    /// How they are drawn.
    pub sampling: Sampling,
    /// The output ends before the first of these.
    pub stop: Vec<String>,
    /// What it must look like.
    pub grammar: Option<Grammar>,
    /// How the context is kept; by default as the model was started. Servers know no such choice.
    #[serde(default)]
    pub cache: Option<CacheChoice>,
    /// How a long prompt is made short before it is read.
    #[serde(default)]
    pub compress: CompressionPolicy,
    /// Texts of the prompt that stay whatever a compression thinks of them: instructions, the question,
    /// where a passage comes from.
    #[serde(default)]
    pub protect: Vec<String>,
    /// What asks: a text of the prompt, whose attention to the rest counts; by default its last paragraph.
    #[serde(default)]
    pub focus: Option<String>,
    /// Where kept tokens stand when they are read.
    #[serde(default)]
    pub positions: Positions,
    /// What the text is written away from.
    #[serde(default)]
    pub contrast: Option<Contrast>,
}

impl GenerateRequest {
    /// A greedy request without grammar.
    pub fn new(prompt: Prompt, max_tokens: usize) -> GenerateRequest {
        GenerateRequest {
            prompt,
            max_tokens,
            sampling: Sampling::default(),
            stop: Vec::new(),
            grammar: None,
            cache: None,
            compress: CompressionPolicy::None,
            protect: Vec::new(),
            focus: None,
            positions: Positions::Contiguous,
            contrast: None,
        }
    }
}

/// Why the output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinishReason {
    /// The model's end token, or the grammar's only end.
    End,
    /// A stop text.
    Stop,
    /// `max_tokens`, or the model's context was full.
    Length,
    /// The caller went away.
    Cancelled,
}

/// What a generation cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub tokens_in: usize,
    /// Of these, tokens read (after compression) or found in a kept prefix.
    pub tokens_kept: usize,
    /// Tokens written.
    pub tokens_out: usize,
    /// From the request's start on the model thread to its first token, with the time that compressing
    /// the prompt took.
    pub ttft_ms: f64,
    /// Of that, what compressing the prompt took.
    pub compress_ms: f64,
    /// Prompt tokens read per second.
    pub prefill_tok_s: f64,
    /// New tokens per second after the first.
    pub decode_tok_s: f64,
    /// Bytes of the sequence's cache at the end.
    pub cache_bytes: usize,
    /// Bytes a full cache of as many tokens would take.
    pub cache_bytes_full: usize,
}

/// What arrives while a model writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GenerateEvent {
    /// More text, whole characters only.
    Text(String),
    /// The end.
    Done(FinishReason, Usage),
}

/// A finished generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The whole text.
    pub text: String,
    /// Why it ended.
    pub finish: FinishReason,
    /// What it cost.
    pub usage: Usage,
}

/// A running generation: an iterator of events that ends after `Done`. Dropping it cancels the
/// work and frees its slot at once.
pub struct Generation {
    receiver: tokio::sync::mpsc::Receiver<Result<GenerateEvent, EngineError>>,
}

impl Generation {
    /// Wraps the receiving end; the model's side sends `Done` or an error last.
    pub fn new(
        receiver: tokio::sync::mpsc::Receiver<Result<GenerateEvent, EngineError>>,
    ) -> Generation {
        Generation { receiver }
    }

    /// The next event, for callers on an async runtime.
    pub async fn next_async(&mut self) -> Option<Result<GenerateEvent, EngineError>> {
        self.receiver.recv().await
    }

    /// The next event, or `None` as soon as `cancel` says so; the work is then cancelled as by dropping.
    /// Blocks the calling thread, so never on an async runtime.
    pub fn next_unless(
        &mut self,
        cancel: &CancellationToken,
    ) -> Option<Result<GenerateEvent, EngineError>> {
        let event = pollster::block_on(cancel.run_until_cancelled(self.receiver.recv()));
        if event.is_none() {
            self.receiver.close();
        }
        event.flatten()
    }

    /// Waits for the end and joins the text.
    ///
    /// # Errors
    /// The first error of the model, or [`EngineError::Stopped`] where the stream broke off.
    pub fn complete(self) -> Result<Completion, EngineError> {
        let mut text = String::new();
        for event in self {
            match event? {
                GenerateEvent::Text(more) => text.push_str(&more),
                GenerateEvent::Done(finish, usage) => {
                    return Ok(Completion {
                        text,
                        finish,
                        usage,
                    });
                }
            }
        }
        Err(EngineError::Stopped)
    }
}

impl Iterator for Generation {
    type Item = Result<GenerateEvent, EngineError>;

    /// The next event; blocks the calling thread, so never on an async runtime.
    fn next(&mut self) -> Option<Self::Item> {
        self.receiver.blocking_recv()
    }
}

/// What a model does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelLoad {
    /// Requests in progress.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Bytes of the caches of requests in progress; blocks that two of them share count twice.
    pub cache_bytes: usize,
    /// Bytes of caches kept for prompts that start as an earlier one.
    pub kept_bytes: usize,
}

/// A language model that can be asked from any thread.
pub trait LanguageModel: Send + Sync {
    /// The name it is known by in traces.
    fn name(&self) -> &str;

    /// The longest prompt plus output, in tokens.
    fn context_tokens(&self) -> usize;

    /// What it does at the moment, where it can tell: a served model cannot.
    fn load(&self) -> Option<ModelLoad> {
        None
    }

    /// How many tokens `text` is, without template or special tokens.
    ///
    /// # Errors
    /// Where the model cannot be reached.
    fn count_tokens(&self, text: &str) -> Result<usize, EngineError>;

    /// How much the ends of a prompt attend to its parts. Reads on the calling thread.
    ///
    /// # Errors
    /// Where this model cannot tell (a served one), or the prompt is too long.
    fn attend(&self, request: &AttentionRequest) -> Result<Attention, EngineError> {
        let _ = request;
        Err(EngineError::Request(format!(
            "{} does not tell its attention; only a local model does",
            self.name()
        )))
    }

    /// Starts writing. Returns at once: with a stream, or with [`EngineError::Overloaded`] where
    /// the queue is full, or with what is wrong with the request.
    ///
    /// # Errors
    /// As above; errors while writing arrive in the stream.
    fn generate(&self, request: GenerateRequest) -> Result<Generation, EngineError>;

    /// Natural-log probability of each continuation after the same prompt, summed over its tokens,
    /// with its token count: `[continuation] -> (log probability, tokens)`. The prompt is read once.
    ///
    /// # Errors
    /// As [`generate`](Self::generate); also where this model cannot give probabilities.
    fn score(
        &self,
        prompt: Prompt,
        continuations: &[String],
    ) -> Result<Vec<(f64, usize)>, EngineError>;
}
