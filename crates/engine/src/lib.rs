//! Local inference: model files in, text and scores out, on a thread of its own.
//!
//! Callers use [`LanguageModel`]. This crate must not know filings, finance or serving.

mod attention;
mod basis;
pub mod cache;
pub mod catalogue;
mod chat;
pub mod compress;
mod config;
mod decoder;
pub mod device;
mod embed;
mod error;
mod folder;
mod gguf;
mod grammar;
pub mod kernels;
mod local;
mod model;
pub(crate) mod model_file;
mod perplexity;
mod remote;
mod sampling;
mod tap;
mod text_stream;
mod tokenizer;
mod weights;

pub use attention::{Attention, AttentionRequest};
pub use chat::ChatTemplate;
pub use config::{Family, ModelConfig, RopeLayout};
pub use decoder::{Decoder, Origin, Outputs, Perturbation, Scratch, Step, Target};
pub use embed::{Embedder, HiddenStates, SentenceEncoder};
pub use error::EngineError;
pub use local::{LoadedModel, LocalModel, LocalOptions, OnDevice};
pub use model::*;
pub use perplexity::{Mode, PerplexityOptions, PerplexityReport, perplexity};
pub use remote::{RemoteModel, RemoteOptions};
pub use sampling::{greedy, log_probability};
pub use tap::{Heads, Reduce, Tap, TapConfig};
pub use tokenizer::{TokenKind, Tokenizer};
pub use tokio_util::sync::CancellationToken;
