//! A language model on any server that speaks OpenAI's chat completions: vLLM, llama.cpp, or a cloud's.
//!
//! Output schemas become `response_format`; probabilities come from `top_logprobs`, so only
//! continuations of one token can be scored. Grammars other than schemas, and choices about the
//! local engine's caches, are refused by name rather than left out. The server is not trusted:
//! what it sends is bounded. Must not know what is asked.

mod wire;

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc::Sender;

use self::wire::{Event, Listed, ModelList, Scored};
use crate::compress::{CompressionPolicy, Draft, Positions, ShortenRequest};
use crate::{
    EngineError, FinishReason, GenerateEvent, GenerateRequest, Generation, Grammar, LanguageModel,
    Message, Prompt, Role, Usage,
};

/// Contexts of servers that do not say theirs.
const DEFAULT_CONTEXT: usize = 8192;
/// Bytes of text a token has at least, on average: a careful guess where the tokenizer is not known.
const BYTES_A_TOKEN: usize = 3;
/// The longest line of a stream, and the longest answer that is no stream.
const MOST_BYTES: u64 = 8 << 20;
/// The most bytes of an error's text that are shown.
const ERROR_BYTES: u64 = 2000;
/// Alternatives a server gives for a token.
const TOP_LOGPROBS: usize = 20;

/// Where a model is served.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// The API's root, such as `http://127.0.0.1:8000/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// Sent as a bearer token; in no message and no log.
    pub key: Option<String>,
    /// Longest prompt plus output in tokens, where the server does not say.
    pub context_tokens: Option<usize>,
    /// How long to wait for a connection, and for each next piece of an answer.
    pub timeout: Duration,
}

impl RemoteOptions {
    /// Reads `openai:URL#NAME`; the key is `OPENAI_API_KEY`, where that is set.
    ///
    /// # Errors
    /// [`EngineError::UnknownModel`] where a part is missing or the URL is not HTTP.
    pub fn parse(name: &str) -> Result<RemoteOptions, EngineError> {
        let refuse = || EngineError::UnknownModel {
            name: name.chars().take(200).collect(),
            mend: "a served model is written openai:URL#NAME, such as \
                   openai:http://127.0.0.1:8000/v1#qwen2.5"
                .to_string(),
        };
        let (url, model) = name
            .strip_prefix("openai:")
            .and_then(|rest| rest.split_once('#'))
            .ok_or_else(refuse)?;
        let served = url.starts_with("http://") || url.starts_with("https://");
        if !served || model.is_empty() {
            return Err(refuse());
        }
        Ok(RemoteOptions {
            url: url.trim_end_matches('/').to_string(),
            model: model.to_string(),
            key: std::env::var("OPENAI_API_KEY")
                .ok()
                .filter(|key| !key.is_empty()),
            context_tokens: None,
            timeout: Duration::from_secs(120),
        })
    }
}

/// A model behind an OpenAI-compatible server.
pub struct RemoteModel {
    options: RemoteOptions,
    name: String,
    context: usize,
    agent: ureq::Agent,
    /// Makes long prompts short before they are sent.
    draft: Option<Draft>,
    /// Whether the server takes schemas in llama.cpp's older form only.
    older_schemas: AtomicBool,
}

impl RemoteModel {
    /// Asks the server for its models; that of `options` must be among them, unless it lists none.
    ///
    /// # Errors
    /// [`EngineError::Remote`] where the server does not answer, or does not have the model.
    pub fn connect(options: RemoteOptions) -> Result<RemoteModel, EngineError> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_connect(Some(options.timeout))
            .timeout_recv_response(Some(options.timeout))
            .timeout_per_read(Some(options.timeout))
            .http_status_as_error(false)
            .user_agent(concat!("footnote/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let mut model = RemoteModel {
            name: format!("openai:{}#{}", options.url, options.model),
            context: options.context_tokens.unwrap_or(DEFAULT_CONTEXT),
            options,
            agent,
            draft: None,
            older_schemas: AtomicBool::new(false),
        };
        let listed = model.models()?;
        let found = listed.iter().find(|entry| entry.id == model.options.model);
        match found {
            Some(entry) => {
                if let (None, Some(said)) = (model.options.context_tokens, entry.context()) {
                    model.context = said;
                }
            }
            None if listed.is_empty() => {}
            None => {
                let names: Vec<&str> = listed
                    .iter()
                    .take(8)
                    .map(|entry| entry.id.as_str())
                    .collect();
                return Err(model.error(format!(
                    "it has no model {:?}; it has {}",
                    model.options.model,
                    names.join(", ")
                )));
            }
        }
        Ok(model)
    }

    /// The same model with a local `draft` that makes long prompts short, as text, before they are sent. Any draft will
    /// do: what it keeps is whole words.
    #[must_use]
    pub fn with_draft(mut self, draft: Draft) -> RemoteModel {
        self.draft = Some(draft);
        self
    }

    /// The prompt as it is sent; with its tokens before and the time it took, where it was made short.
    fn shortened(
        &self,
        request: &GenerateRequest,
    ) -> Result<(Prompt, Option<(usize, f64)>), EngineError> {
        if request.compress == CompressionPolicy::None {
            return Ok((request.prompt.clone(), None));
        }
        if request.positions != Positions::Contiguous {
            return Err(EngineError::Request(
                "a served model reads text: kept tokens cannot stand at their original positions"
                    .to_string(),
            ));
        }
        let Some(draft) = &self.draft else {
            return Err(EngineError::Request(format!(
                "{} for a served model needs a local draft model that reads the prompt first (--draft)",
                request.compress
            )));
        };
        let messages = match &request.prompt {
            Prompt::Chat(messages) => messages.clone(),
            Prompt::Text(text) => vec![Message::new(Role::User, text.clone())],
            Prompt::Tokens(_) => {
                return Err(EngineError::Request(
                    "a served model takes text, not token ids".to_string(),
                ));
            }
        };
        let short = draft.shorten(&ShortenRequest {
            messages,
            policy: request.compress,
            protect: request.protect.clone(),
            focus: request.focus.clone(),
        })?;
        Ok((
            Prompt::Chat(short.messages),
            Some((short.tokens_in, short.ms)),
        ))
    }

    fn models(&self) -> Result<Vec<Listed>, EngineError> {
        let mut request = self.agent.get(format!("{}/models", self.options.url));
        if let Some(key) = &self.options.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let response = request
            .call()
            .map_err(|error| self.error(format!("it does not answer ({error})")))?;
        let body = self.body(response)?;
        let list: ModelList = serde_json::from_str(&body)
            .map_err(|error| self.error(format!("its list of models is not readable ({error})")))?;
        Ok(list.data)
    }

    fn error(&self, reason: String) -> EngineError {
        EngineError::Remote {
            url: self.options.url.clone(),
            reason,
        }
    }

    /// The text of a good answer, or what the server said against the request.
    fn body(&self, response: ureq::http::Response<ureq::Body>) -> Result<String, EngineError> {
        let status = response.status();
        let most = if status.is_success() {
            MOST_BYTES
        } else {
            ERROR_BYTES
        };
        let mut bytes = Vec::new();
        response
            .into_body()
            .into_reader()
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(|error| self.error(format!("its answer broke off ({error})")))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        Err(self.refusal(status.as_u16(), &text))
    }

    fn refusal(&self, status: u16, text: &str) -> EngineError {
        let said: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String = said.chars().take(400).collect();
        match status {
            429 | 503 => EngineError::Busy {
                url: self.options.url.clone(),
            },
            401 | 403 => self.error(format!(
                "it refuses the key (status {status}); set OPENAI_API_KEY. It says: {said}"
            )),
            _ => self.error(format!("it answers with status {status}: {said}")),
        }
    }

    fn post(&self, body: &Value) -> Result<ureq::http::Response<ureq::Body>, EngineError> {
        let mut request = self
            .agent
            .post(format!("{}/chat/completions", self.options.url));
        if let Some(key) = &self.options.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        request
            .send_json(body)
            .map_err(|error| self.error(format!("it does not answer ({error})")))
    }

    /// Posts a completion; where the server does not know the schema form, once more in the older one.
    fn complete(
        &self,
        body: &mut Map<String, Value>,
        schema: Option<&Value>,
    ) -> Result<ureq::http::Response<ureq::Body>, EngineError> {
        let Some(schema) = schema else {
            return self.post(&Value::Object(body.clone()));
        };
        let standard = json!({
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": schema, "strict": true},
        });
        let older = json!({"type": "json_object", "schema": schema});
        if !self.older_schemas.load(Ordering::Relaxed) {
            body.insert("response_format".to_string(), standard);
            let response = self.post(&Value::Object(body.clone()))?;
            // llama.cpp's Python server tells of a form it does not know with a 500.
            if !matches!(response.status().as_u16(), 400 | 422 | 500) {
                return Ok(response);
            }
        }
        body.insert("response_format".to_string(), older);
        let response = self.post(&Value::Object(body.clone()))?;
        if response.status().is_success() {
            self.older_schemas.store(true, Ordering::Relaxed);
        }
        Ok(response)
    }

    fn messages(&self, prompt: &Prompt) -> Result<Value, EngineError> {
        match prompt {
            Prompt::Chat(messages) => Ok(json!(messages)),
            Prompt::Text(text) => Ok(json!([{"role": "user", "content": text}])),
            Prompt::Tokens(_) => Err(EngineError::Request(
                "a served model takes text, not token ids".to_string(),
            )),
        }
    }

    fn check_length(&self, prompt: &Prompt) -> Result<usize, EngineError> {
        let bytes: usize = match prompt {
            Prompt::Chat(messages) => messages.iter().map(|message| message.content.len()).sum(),
            Prompt::Text(text) => text.len(),
            Prompt::Tokens(tokens) => tokens.len() * BYTES_A_TOKEN,
        };
        // Even tokens of twice the usual length would not fit.
        let least = bytes / (4 * BYTES_A_TOKEN);
        if least > self.context {
            return Err(EngineError::TooLong {
                tokens: least,
                limit: self.context,
                mend: "shorten the prompt or serve the model with a longer context".to_string(),
            });
        }
        Ok(bytes.div_ceil(BYTES_A_TOKEN))
    }
}

impl LanguageModel for RemoteModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn context_tokens(&self) -> usize {
        self.context
    }

    fn count_tokens(&self, text: &str) -> Result<usize, EngineError> {
        Ok(text.len().div_ceil(BYTES_A_TOKEN))
    }

    fn generate(&self, request: GenerateRequest) -> Result<Generation, EngineError> {
        if request.max_tokens == 0 {
            return Err(EngineError::Request(
                "max_tokens is 0; ask for at least 1".to_string(),
            ));
        }
        if request.cache.is_some() {
            return Err(EngineError::Request(
                "a served model keeps its context as its server likes: no cache policy can be asked for"
                    .to_string(),
            ));
        }
        if request.contrast.is_some() {
            return Err(EngineError::Request(
                "a served model does not show its heads: only a local model's text can be written away from a weaker one"
                    .to_string(),
            ));
        }
        let schema = match &request.grammar {
            None => None,
            Some(Grammar::JsonSchema(schema)) => Some(schema.clone()),
            Some(_) => {
                return Err(EngineError::Grammar(
                    "a served model takes JSON schemas only".to_string(),
                ));
            }
        };
        let (prompt, shortened) = self.shortened(&request)?;
        let guessed = self.check_length(&prompt)?;
        let mut body = Map::new();
        body.insert("model".to_string(), json!(self.options.model));
        body.insert("messages".to_string(), self.messages(&prompt)?);
        body.insert("max_tokens".to_string(), json!(request.max_tokens));
        body.insert(
            "temperature".to_string(),
            json!(request.sampling.temperature),
        );
        body.insert("top_p".to_string(), json!(request.sampling.top_p));
        body.insert("seed".to_string(), json!(request.sampling.seed));
        body.insert("stream".to_string(), json!(true));
        body.insert("stream_options".to_string(), json!({"include_usage": true}));
        if !request.stop.is_empty() {
            body.insert("stop".to_string(), json!(request.stop));
        }
        let started = Instant::now();
        let response = self.complete(&mut body, schema.as_ref())?;
        if !response.status().is_success() {
            return Err(self
                .body(response)
                .err()
                .unwrap_or_else(|| self.error("it refuses the request".to_string())));
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(64);
        let stream = Stream {
            reader: BufReader::new(response.into_body().into_reader()),
            url: self.options.url.clone(),
            sender,
            started,
            whole_prompt: shortened.map(|(tokens, _)| tokens),
            usage: Usage {
                tokens_in: guessed,
                tokens_kept: guessed,
                compress_ms: shortened.map_or(0.0, |(_, ms)| ms),
                ..Usage::default()
            },
        };
        std::thread::Builder::new()
            .name("served-model".to_string())
            .spawn(move || stream.run())
            .map_err(|error| EngineError::Request(format!("no thread for the answer: {error}")))?;
        Ok(Generation::new(receiver))
    }

    fn score(
        &self,
        prompt: Prompt,
        continuations: &[String],
    ) -> Result<Vec<(f64, usize)>, EngineError> {
        self.check_length(&prompt)?;
        let mut body = Map::new();
        body.insert("model".to_string(), json!(self.options.model));
        body.insert("messages".to_string(), self.messages(&prompt)?);
        body.insert("max_tokens".to_string(), json!(1));
        body.insert("temperature".to_string(), json!(0));
        body.insert("logprobs".to_string(), json!(true));
        body.insert("top_logprobs".to_string(), json!(TOP_LOGPROBS));
        let text = self.body(self.complete(&mut body, None)?)?;
        let answer: Scored = serde_json::from_str(&text)
            .map_err(|error| self.error(format!("its answer is not readable ({error})")))?;
        let top = answer
            .choices
            .into_iter()
            .next()
            .and_then(|choice| choice.logprobs)
            .and_then(|logprobs| logprobs.content.into_iter().next())
            .map(|token| token.top_logprobs)
            .filter(|top| !top.is_empty())
            .ok_or_else(|| {
                self.error(
                    "it gives no probabilities (top_logprobs), which ranking by this model needs"
                        .to_string(),
                )
            })?;
        let least = top
            .iter()
            .map(|token| token.logprob)
            .fold(f64::INFINITY, f64::min);
        Ok(continuations
            .iter()
            .map(|continuation| {
                // A letter is a token with or without the space before it; what is not among the
                // likeliest is at most as likely as the last of them.
                let sum: f64 = top
                    .iter()
                    .filter(|token| token.token.trim() == continuation.trim())
                    .map(|token| token.logprob.exp())
                    .sum();
                let score = if sum > 0.0 { sum.ln() } else { least - 1.0 };
                (score, 1)
            })
            .collect())
    }
}

/// A stream of events as it is read.
struct Stream<R> {
    reader: BufReader<R>,
    url: String,
    sender: Sender<Result<GenerateEvent, EngineError>>,
    started: Instant,
    /// Tokens of the prompt before it was made short, by the draft's vocabulary.
    whole_prompt: Option<usize>,
    usage: Usage,
}

impl<R: Read> Stream<R> {
    /// Passes the text on until the end, an error, or the caller's going away, which drops the
    /// connection and with it the server's work.
    fn run(mut self) {
        let outcome = self.read();
        let last = match outcome {
            Ok(Some(finish)) => Ok(GenerateEvent::Done(finish, self.usage)),
            Ok(None) => return,
            Err(reason) => Err(EngineError::Remote {
                url: self.url.clone(),
                reason,
            }),
        };
        // A caller who has gone needs no end.
        let _ = self.sender.blocking_send(last);
    }

    fn read(&mut self) -> Result<Option<FinishReason>, String> {
        let mut finish = None;
        let mut first: Option<Instant> = None;
        let mut pieces = 0_usize;
        loop {
            let mut line = Vec::new();
            let read = (&mut self.reader)
                .take(MOST_BYTES)
                .read_until(b'\n', &mut line)
                .map_err(|error| format!("its answer broke off ({error})"))?;
            if read as u64 == MOST_BYTES {
                return Err("it sends a line without end".to_string());
            }
            let line = String::from_utf8_lossy(&line);
            let data = line.trim().strip_prefix("data:").map(str::trim);
            if read == 0 || data == Some("[DONE]") {
                break;
            }
            let Some(data) = data else {
                continue;
            };
            let event: Event = serde_json::from_str(data)
                .map_err(|error| format!("an event of its answer is not readable ({error})"))?;
            if let Some(error) = event.error {
                return Err(format!("it says: {error}").chars().take(400).collect());
            }
            if let Some(usage) = event.usage {
                self.usage.tokens_in = self.whole_prompt.unwrap_or(usage.prompt_tokens);
                self.usage.tokens_kept = usage.prompt_tokens;
                self.usage.tokens_out = usage.completion_tokens;
            }
            let Some(choice) = event.choices.into_iter().next() else {
                continue;
            };
            if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
                first.get_or_insert_with(|| {
                    self.usage.ttft_ms =
                        self.started.elapsed().as_secs_f64() * 1e3 + self.usage.compress_ms;
                    Instant::now()
                });
                pieces += 1;
                let sent = self.sender.blocking_send(Ok(GenerateEvent::Text(text)));
                if sent.is_err() {
                    return Ok(None);
                }
            }
            if let Some(reason) = choice.finish_reason {
                finish = Some(match reason.as_str() {
                    "length" => FinishReason::Length,
                    _ => FinishReason::End,
                });
            }
        }
        if self.usage.tokens_out == 0 {
            self.usage.tokens_out = pieces;
        }
        if let Some(first) = first {
            let seconds = first.elapsed().as_secs_f64();
            let after_first = self.usage.tokens_out.saturating_sub(1);
            if seconds > 0.0 {
                self.usage.decode_tok_s = after_first as f64 / seconds;
            }
            self.usage.prefill_tok_s =
                self.usage.tokens_kept as f64 / (self.usage.ttft_ms / 1e3).max(1e-9);
        }
        match finish {
            Some(finish) => Ok(Some(finish)),
            None => Err("its answer ended without saying why".to_string()),
        }
    }
}
