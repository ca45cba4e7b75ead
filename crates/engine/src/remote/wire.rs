//! What servers send, as far as it is read.

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub(super) struct ModelList {
    #[serde(default)]
    pub(super) data: Vec<Listed>,
}

/// A model as servers list it; each server has its own word for the context.
#[derive(Deserialize)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) max_model_len: Option<usize>,
    pub(super) context_length: Option<usize>,
    pub(super) context_window: Option<usize>,
    pub(super) meta: Option<Meta>,
}

#[derive(Deserialize)]
pub(super) struct Meta {
    pub(super) n_ctx: Option<usize>,
}

impl Listed {
    pub(super) fn context(&self) -> Option<usize> {
        self.max_model_len
            .or(self.context_length)
            .or(self.context_window)
            .or(self.meta.as_ref().and_then(|meta| meta.n_ctx))
            .filter(|tokens| *tokens > 0)
    }
}

#[derive(Deserialize)]
pub(super) struct Event {
    #[serde(default)]
    pub(super) choices: Vec<EventChoice>,
    pub(super) usage: Option<EventUsage>,
    pub(super) error: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct EventChoice {
    #[serde(default)]
    pub(super) delta: Delta,
    pub(super) finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct Delta {
    pub(super) content: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct EventUsage {
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
}

#[derive(Deserialize)]
pub(super) struct Scored {
    pub(super) choices: Vec<ScoredChoice>,
}

#[derive(Deserialize)]
pub(super) struct ScoredChoice {
    pub(super) logprobs: Option<LogProbabilities>,
}

#[derive(Deserialize)]
pub(super) struct LogProbabilities {
    #[serde(default)]
    pub(super) content: Vec<ScoredToken>,
}

#[derive(Deserialize)]
pub(super) struct ScoredToken {
    #[serde(default)]
    pub(super) top_logprobs: Vec<TopToken>,
}

#[derive(Deserialize)]
pub(super) struct TopToken {
    pub(super) token: String,
    pub(super) logprob: f64,
}
