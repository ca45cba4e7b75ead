//! `POST /v1/chat/completions` and `GET /v1/models` in OpenAI's form, so that its clients work unchanged.
//!
//! A model's name gives the bare engine; `footnote-agent` gives the agent, whose answer carries its footnotes in the
//! extension field `footnote`. Fields that this server does not know are ignored, as OpenAI's clients expect.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use footnote_agent::{AskedScope, Question};
use footnote_engine::{
    FinishReason, GenerateEvent, GenerateRequest, Generation, Grammar, LanguageModel, Message,
    Prompt, Role, Sampling,
};
use footnote_store::{new_id, now_ms};
use futures::Stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::answers::{check_scope, error_of};
use crate::answering;
use crate::auth::{Caller, Scope};
use crate::error::{ApiError, ErrorCode};
use crate::extract::Json;
use crate::live::Listener;
use crate::openapi::Errors;
use crate::state::App;

/// The agent's name among the models.
pub const AGENT: &str = "footnote-agent";
/// Messages of a request.
const MESSAGES_MAX: usize = 1_000;
/// Stop texts of a request.
const STOPS_MAX: usize = 16;

/// What a message says.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Content {
    /// Text.
    Text(String),
    /// Parts; only those of type `text` are taken.
    Parts(Vec<ContentPart>),
}

/// A part of a message.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ContentPart {
    /// `text`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    #[serde(default)]
    pub text: String,
}

/// A message.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ChatMessage {
    /// `system`, `developer`, `user` or `assistant`.
    pub role: String,
    /// What it says.
    pub content: Option<Content>,
}

/// Texts that end the output.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Stop {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// What the output must look like.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For `json_schema`: an object whose field `schema` is the schema.
    #[schema(value_type = Option<Object>)]
    pub json_schema: Option<Value>,
}

/// What a stream holds besides text.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
pub struct StreamOptions {
    /// A last chunk with the usage.
    #[serde(default)]
    pub include_usage: bool,
}

/// A chat to be continued.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ChatRequest {
    /// A name of GET /v1/models.
    #[schema(example = "footnote-agent")]
    pub model: String,
    /// The chat so far.
    pub messages: Vec<ChatMessage>,
    /// Tokens that may be written.
    pub max_tokens: Option<usize>,
    /// The newer name of `max_tokens`.
    pub max_completion_tokens: Option<usize>,
    /// 0 is greedy; 1 by default.
    pub temperature: Option<f32>,
    /// Nucleus.
    pub top_p: Option<f32>,
    /// Seed of the draw.
    pub seed: Option<i64>,
    /// Texts that end the output.
    pub stop: Option<Stop>,
    /// Chunks as they come.
    #[serde(default)]
    pub stream: bool,
    /// What the stream holds besides.
    pub stream_options: Option<StreamOptions>,
    /// What the output must look like; enforced token by token.
    pub response_format: Option<ResponseFormat>,
    /// Only 1.
    pub n: Option<u32>,
    /// Extension: where `footnote-agent` looks.
    pub scope: Option<AskedScope>,
}

/// A model in OpenAI's form.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelLine {
    /// Its name.
    pub id: String,
    /// `model`.
    pub object: &'static str,
    /// Unknown: 0.
    pub created: i64,
    /// `footnote`.
    pub owned_by: &'static str,
    /// Longest prompt plus output in tokens; none for the agent, which chooses its prompts itself.
    pub context_tokens: Option<usize>,
}

/// The models in OpenAI's form.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    /// `list`.
    pub object: &'static str,
    /// The models.
    pub data: Vec<ModelLine>,
}

/// List the models.
#[utoipa::path(
    get, path = "/v1/models", tag = "openai",
    responses((status = 200, body = ModelList), Errors)
)]
pub async fn models(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<ModelList>, ApiError> {
    caller.need(Scope::Ask)?;
    let line = |id: &str, context_tokens| ModelLine {
        id: id.to_owned(),
        object: "model",
        created: 0,
        owned_by: "footnote",
        context_tokens,
    };
    let mut data = vec![line(AGENT, None)];
    for (name, model) in &app.models.chat {
        data.push(line(name, Some(model.context_tokens())));
    }
    Ok(axum::Json(ModelList {
        object: "list",
        data,
    }))
}

impl ChatMessage {
    fn text(&self) -> Result<String, ApiError> {
        match &self.content {
            None => Ok(String::new()),
            Some(Content::Text(text)) => Ok(text.clone()),
            Some(Content::Parts(parts)) => {
                let mut texts = Vec::new();
                for part in parts {
                    if part.kind != "text" {
                        return Err(ApiError::invalid("only parts of type text are taken"));
                    }
                    texts.push(part.text.as_str());
                }
                Ok(texts.join("\n"))
            }
        }
    }

    fn message(&self) -> Result<Message, ApiError> {
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => {
                let shown: String = other.chars().take(50).collect();
                return Err(ApiError::invalid(format!(
                    "no role {shown:?}; there are system, developer, user and assistant"
                )));
            }
        };
        Ok(Message::new(role, self.text()?))
    }
}

impl ChatRequest {
    fn generate(&self, most_tokens: usize) -> Result<GenerateRequest, ApiError> {
        let messages = self
            .messages
            .iter()
            .map(ChatMessage::message)
            .collect::<Result<Vec<_>, _>>()?;
        let wanted = self.max_completion_tokens.or(self.max_tokens);
        if wanted == Some(0) {
            return Err(ApiError::invalid("max_tokens is at least 1"));
        }
        let mut request = GenerateRequest::new(
            Prompt::Chat(messages),
            wanted.unwrap_or(most_tokens).min(most_tokens),
        );
        let within = |name: &str, value: Option<f32>, default: f32, most: f32| match value {
            None => Ok(default),
            Some(value) if (0.0..=most).contains(&value) => Ok(value),
            Some(_) => Err(ApiError::invalid(format!("{name} is 0 to {most}"))),
        };
        let temperature = within("temperature", self.temperature, 1.0, 2.0)?;
        let top_p = within("top_p", self.top_p, 1.0, 1.0)?;
        request.sampling = Sampling {
            temperature,
            top_p: if top_p > 0.0 {
                top_p
            } else {
                f32::MIN_POSITIVE
            },
            top_k: 0,
            // Without a seed two draws should differ.
            seed: self.seed.unwrap_or_else(now_ms).cast_unsigned(),
        };
        request.stop = match self.stop.clone() {
            None => Vec::new(),
            Some(Stop::One(text)) => vec![text],
            Some(Stop::Several(texts)) => texts,
        };
        if request.stop.len() > STOPS_MAX || request.stop.iter().any(String::is_empty) {
            return Err(ApiError::invalid(format!(
                "stop has at most {STOPS_MAX} texts, none empty"
            )));
        }
        request.grammar = match &self.response_format {
            None => None,
            Some(format) => match format.kind.as_str() {
                "text" => None,
                "json_object" => Some(Grammar::JsonSchema(json!({ "type": "object" }))),
                "json_schema" => {
                    let schema = format
                        .json_schema
                        .as_ref()
                        .and_then(|named| named.get("schema"));
                    let schema = schema.ok_or_else(|| {
                        ApiError::invalid("response_format.json_schema.schema is missing")
                    })?;
                    Some(Grammar::JsonSchema(schema.clone()))
                }
                _ => {
                    return Err(ApiError::invalid(
                        "response_format.type is text, json_object or json_schema",
                    ));
                }
            },
        };
        Ok(request)
    }
}

/// Continue a chat, in OpenAI's form.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "openai", request_body = ChatRequest,
    responses(
        (status = 200, description = "A `chat.completion`, or `chat.completion.chunk`s", content(
            (Object = "application/json"), (String = "text/event-stream")
        )),
        Errors
    )
)]
pub async fn complete(
    State(app): State<App>,
    caller: Caller,
    Json(request): Json<ChatRequest>,
) -> Response {
    match start(&app, &caller, request).await {
        Ok(response) => response,
        Err(error) => in_openai_form(&error),
    }
}

/// An error in the form that OpenAI's clients read, with our own fields beside it.
fn in_openai_form(error: &ApiError) -> Response {
    let body = error.body();
    let mut response = (
        error.code.status(),
        axum::Json(json!({
            "error": { "message": body.message, "type": body.code.word(), "code": body.code.word(), "param": null },
            "code": body.code.word(), "message": body.message, "request_id": body.request_id,
        })),
    )
        .into_response();
    if let Some(seconds) = error.retry_after_s {
        response
            .headers_mut()
            .insert(axum::http::header::RETRY_AFTER, seconds.into());
    }
    response
}

async fn start(app: &App, caller: &Caller, request: ChatRequest) -> Result<Response, ApiError> {
    caller.need(Scope::Ask)?;
    if request.messages.is_empty() || request.messages.len() > MESSAGES_MAX {
        return Err(ApiError::invalid(format!(
            "messages has 1 to {MESSAGES_MAX} entries"
        )));
    }
    if request.n.is_some_and(|n| n != 1) {
        return Err(ApiError::invalid("n is 1; ask several times instead"));
    }
    let frame = Frame {
        id: format!("chatcmpl-{}", new_id()),
        created: now_ms() / 1_000,
        model: request.model.clone(),
        usage: request.stream_options.unwrap_or_default().include_usage,
    };
    if request.model == AGENT {
        return agent(app, caller, request, frame).await;
    }
    let named = app
        .models
        .chat
        .iter()
        .find(|(name, _)| *name == request.model);
    let Some((_, model)) = named else {
        return Err(ApiError::not_found("model", &request.model));
    };
    let generate = request.generate(app.settings.limits.chat_tokens)?;
    let model: Arc<dyn LanguageModel> = Arc::clone(model);
    // Tokenising a long prompt is work.
    let begun = tokio::task::spawn_blocking(move || model.generate(generate)).await;
    let mut generation = begun.map_err(ApiError::internal)??;
    let deadline = Instant::now() + app.settings.limits.answer_timeout;
    if request.stream {
        // What cannot be begun is an error with a status, not a stream that starts well.
        let chunks = Chunks {
            frame,
            generation,
            deadline,
            state: ChunkState::Opening,
        };
        return Ok(stream(chunks.events()));
    }
    let mut text = String::new();
    loop {
        match next(&mut generation, deadline).await? {
            GenerateEvent::Text(more) => text.push_str(&more),
            GenerateEvent::Done(finish, usage) => {
                count(usage.tokens_in, usage.tokens_out);
                let body = frame.completion(
                    &text,
                    finish_word(finish),
                    usage.tokens_in,
                    usage.tokens_out,
                    None,
                );
                return Ok(axum::Json(body).into_response());
            }
        }
    }
}

fn count(tokens_in: usize, tokens_out: usize) {
    metrics::counter!("footnote_tokens_total", "direction" => "in").increment(tokens_in as u64);
    metrics::counter!("footnote_tokens_total", "direction" => "out").increment(tokens_out as u64);
}

async fn next(generation: &mut Generation, deadline: Instant) -> Result<GenerateEvent, ApiError> {
    match tokio::time::timeout_at(deadline, generation.next_async()).await {
        Err(_) => Err(ApiError::new(ErrorCode::Timeout, "the model took too long")),
        Ok(None) => Err(ApiError::unavailable(
            "the model has stopped",
            "the stream broke off",
        )),
        Ok(Some(event)) => Ok(event?),
    }
}

fn finish_word(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Length => "length",
        FinishReason::End | FinishReason::Stop | FinishReason::Cancelled => "stop",
    }
}

fn stream(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response();
    response.headers_mut().insert(
        "x-accel-buffering",
        axum::http::HeaderValue::from_static("no"),
    );
    response
}

/// What every message of a reply says of itself.
struct Frame {
    id: String,
    created: i64,
    model: String,
    usage: bool,
}

impl Frame {
    fn completion(
        &self,
        text: &str,
        finish: &str,
        tokens_in: usize,
        tokens_out: usize,
        footnote: Option<Value>,
    ) -> Value {
        let mut body = json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": [{
                "index": 0, "finish_reason": finish, "logprobs": null,
                "message": { "role": "assistant", "content": text, "refusal": null },
            }],
            "usage": usage(tokens_in, tokens_out),
        });
        if let Some(footnote) = footnote {
            body["footnote"] = footnote;
        }
        body
    }

    fn chunk(&self, delta: Value, finish: Option<&str>) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish, "logprobs": null }],
        })
    }

    fn usage_chunk(&self, tokens_in: usize, tokens_out: usize) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": [], "usage": usage(tokens_in, tokens_out),
        })
    }
}

fn usage(tokens_in: usize, tokens_out: usize) -> Value {
    json!({ "prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out })
}

fn data(value: &Value) -> Event {
    Event::default().data(value.to_string())
}

fn done() -> Event {
    Event::default().data("[DONE]")
}

fn error_event(error: &ApiError) -> Event {
    let body = error.body();
    data(&json!({ "error": {
        "message": body.message, "type": body.code.word(), "code": body.code.word(), "param": null,
    }}))
}

/// A bare model's stream.
struct Chunks {
    frame: Frame,
    generation: Generation,
    deadline: Instant,
    state: ChunkState,
}

enum ChunkState {
    Opening,
    Writing,
    Usage(usize, usize),
    Closing,
    Over,
}

impl Chunks {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        futures::stream::unfold(self, async |mut chunks| {
            let event = chunks.next().await?;
            Some((Ok(event), chunks))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        match self.state {
            ChunkState::Opening => {
                self.state = ChunkState::Writing;
                Some(data(
                    &self
                        .frame
                        .chunk(json!({ "role": "assistant", "content": "" }), None),
                ))
            }
            ChunkState::Writing => match next(&mut self.generation, self.deadline).await {
                Ok(GenerateEvent::Text(text)) => {
                    Some(data(&self.frame.chunk(json!({ "content": text }), None)))
                }
                Ok(GenerateEvent::Done(finish, usage)) => {
                    count(usage.tokens_in, usage.tokens_out);
                    self.state = if self.frame.usage {
                        ChunkState::Usage(usage.tokens_in, usage.tokens_out)
                    } else {
                        ChunkState::Closing
                    };
                    Some(data(
                        &self.frame.chunk(json!({}), Some(finish_word(finish))),
                    ))
                }
                Err(error) => {
                    self.state = ChunkState::Closing;
                    Some(error_event(&error))
                }
            },
            ChunkState::Usage(tokens_in, tokens_out) => {
                self.state = ChunkState::Closing;
                Some(data(&self.frame.usage_chunk(tokens_in, tokens_out)))
            }
            ChunkState::Closing => {
                self.state = ChunkState::Over;
                Some(done())
            }
            ChunkState::Over => None,
        }
    }
}

/// The agent behind the same form: the last user's message is the question.
async fn agent(
    app: &App,
    caller: &Caller,
    request: ChatRequest,
    frame: Frame,
) -> Result<Response, ApiError> {
    let last = request
        .messages
        .iter()
        .rev()
        .find(|message| message.role == "user");
    let last = last.ok_or_else(|| ApiError::invalid("there is no message of the user"))?;
    let scope = request.scope.clone().unwrap_or_default();
    check_scope(&scope)?;
    let question = Question {
        text: last.text()?,
        scope,
    };
    let listener = answering::begin(app, caller, question, "chat", Duration::ZERO)?;
    if request.stream {
        return Ok(stream(agent_events(listener, frame)));
    }
    let answer = super::answers::wait(listener).await?;
    let (tokens_in, tokens_out) = tokens_of(&answer);
    let text = text_of(&answer);
    Ok(axum::Json(frame.completion(
        &text,
        "stop",
        tokens_in,
        tokens_out,
        Some(extension(&answer)),
    ))
    .into_response())
}

fn tokens_of(answer: &Value) -> (usize, usize) {
    let count = |name: &str| {
        answer["trace"][name]
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(0)
    };
    (count("tokens_in"), count("tokens_out"))
}

/// The answer with its footnotes below it, so that a client that knows nothing of the extension shows them too.
fn text_of(answer: &Value) -> String {
    let mut text = answer["text"].as_str().unwrap_or_default().to_owned();
    for footnote in answer["footnotes"].as_array().into_iter().flatten() {
        let field = |name: &str| footnote[name].as_str().unwrap_or_default();
        text.push_str(&format!(
            "\n[{}] {} {} {}: \"{}\"",
            footnote["n"],
            field("company"),
            field("form"),
            field("accession"),
            field("quote").replace('\n', " / ")
        ));
    }
    text
}

fn extension(answer: &Value) -> Value {
    json!({
        "id": answer["id"], "trace_kept": answer["trace_kept"], "text": answer["text"],
        "statements": answer["statements"], "footnotes": answer["footnotes"],
        "calculation": answer["calculation"], "not_found": answer["not_found"],
    })
}

/// The agent's stream: what the model writes is not yet checked, so only the checked answer is sent as text.
fn agent_events(
    listener: Listener,
    frame: Frame,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    struct State {
        listener: Listener,
        frame: Frame,
        ready: std::collections::VecDeque<Event>,
        over: bool,
    }
    let opening = data(&frame.chunk(json!({ "role": "assistant", "content": "" }), None));
    let state = State {
        listener,
        frame,
        ready: [opening].into(),
        over: false,
    };
    futures::stream::unfold(state, async |mut state| {
        loop {
            if let Some(event) = state.ready.pop_front() {
                return Some((Ok(event), state));
            }
            if state.over {
                return None;
            }
            let Some((_, event)) = state.listener.next().await else {
                state.over = true;
                state.ready.push_back(done());
                continue;
            };
            match event.name {
                "answer" => {
                    let text = text_of(&event.data);
                    state
                        .ready
                        .push_back(data(&state.frame.chunk(json!({ "content": text }), None)));
                    let mut last = state.frame.chunk(json!({}), Some("stop"));
                    last["footnote"] = extension(&event.data);
                    state.ready.push_back(data(&last));
                    if state.frame.usage {
                        let (tokens_in, tokens_out) = tokens_of(&event.data);
                        state
                            .ready
                            .push_back(data(&state.frame.usage_chunk(tokens_in, tokens_out)));
                    }
                }
                "error" => state.ready.push_back(error_event(&error_of(&event.data))),
                _ => {}
            }
        }
    })
}
