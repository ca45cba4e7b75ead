//! `POST /v1/answers`: a question in, its answer as JSON or its steps as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use footnote_agent::{AskedScope, Question};
use footnote_filings::DocType;
use futures::Stream;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::answering::{self, AnswerReply};
use crate::auth::{Caller, Scope};
use crate::error::{ApiError, ErrorCode};
use crate::extract::{Json, Path};
use crate::live::Listener;
use crate::openapi::Errors;
use crate::state::App;

/// Longest time that an answer goes on without a listener.
const RESUMABLE_MAX_S: u32 = 300;
/// Tickers, forms or years in a scope.
const SCOPE_MAX: usize = 100;

/// A question.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerRequest {
    /// In plain words, 4,000 characters at most.
    #[schema(
        example = "What was Aquillon's revenue growth in fiscal 2024?",
        max_length = 4000
    )]
    pub question: String,
    /// Where to look; what it leaves open is read from the question.
    #[serde(default)]
    pub scope: AskedScope,
    /// Seconds that the work goes on when nobody listens any more, so that a cut connection can be resumed with
    /// `Last-Event-ID`. By default it ends at once.
    #[serde(default)]
    #[schema(maximum = 300)]
    pub resumable_s: u32,
}

/// Refuses a scope that no corpus has.
///
/// # Errors
/// 422, naming what is wrong.
pub fn check_scope(scope: &AskedScope) -> Result<(), ApiError> {
    for form in &scope.forms {
        form.as_str()
            .parse::<DocType>()
            .map_err(|error| ApiError::invalid(error.to_string()))?;
    }
    let longest = scope
        .tickers
        .len()
        .max(scope.forms.len())
        .max(scope.years.len());
    if longest > SCOPE_MAX {
        return Err(ApiError::invalid(format!(
            "a scope has at most {SCOPE_MAX} tickers, forms or years"
        )));
    }
    Ok(())
}

/// Ask a question.
///
/// With `Accept: text/event-stream` the steps come as they happen. Every event's data is JSON and its id is
/// `ANSWER-NUMBER`. The types: `accepted` (the answer's id, how many questions wait before it), `scope`, `doc_types`,
/// `passages`, `plan`, `figure`, `evidence`, `token` (what the model writes, not yet checked), `citation`, `removed`
/// (what did not hold against the filings), and last `answer` (as this route's JSON) or `error` (as any error's body).
/// A client that goes away ends the work, unless `resumable_s` says otherwise.
#[utoipa::path(
    post, path = "/v1/answers", tag = "answers", request_body = AnswerRequest,
    params(("last-event-id" = Option<String>, Header, description = "The last event received of an earlier answer: its later events are sent, and the body is not looked at")),
    responses(
        (status = 200, description = "The answer, or its events", content(
            (AnswerReply = "application/json"), (String = "text/event-stream")
        )),
        Errors
    )
)]
pub async fn ask(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(request): Json<AnswerRequest>,
) -> Result<Response, ApiError> {
    caller.need(Scope::Ask)?;
    let streamed = accepts_events(&headers);
    if streamed && let Some(last) = last_event(&headers) {
        return resume(&app, &caller, last).await;
    }
    check_scope(&request.scope)?;
    if request.resumable_s > RESUMABLE_MAX_S {
        return Err(ApiError::invalid(format!(
            "resumable_s is at most {RESUMABLE_MAX_S}"
        )));
    }
    let question = Question {
        text: request.question,
        scope: request.scope,
    };
    let linger = Duration::from_secs(u64::from(request.resumable_s));
    let listener = answering::begin(&app, &caller, question, "api", linger)?;
    if streamed {
        return Ok(sse(listener));
    }
    let answer = wait(listener).await?;
    Ok(axum::Json(answer).into_response())
}

/// Resume the events of an answer.
///
/// From the event after `Last-Event-ID` on, or from the first. A finished answer can be read for ten minutes; after
/// that, or after a restart, its last event still comes from the kept trace.
#[utoipa::path(
    get, path = "/v1/answers/{id}/events", tag = "answers",
    params(("id" = String, Path, description = "The answer"), ("last-event-id" = Option<String>, Header, description = "The last event received")),
    responses((status = 200, description = "Events as of POST /v1/answers", content((String = "text/event-stream"))), Errors)
)]
pub async fn events(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    caller.need(Scope::Ask)?;
    let from = match last_event(&headers) {
        Some((of, from)) if of == id => from,
        _ => 0,
    };
    resume(&app, &caller, (id, from)).await
}

/// Cancel an answer in the making: its model slot is free at once, whoever listens.
#[utoipa::path(
    post, path = "/v1/answers/{id}/cancel", tag = "answers",
    params(("id" = String, Path, description = "The answer")),
    responses((status = 204, description = "Cancelled, or ended already"), Errors)
)]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    caller.need(Scope::Ask)?;
    let live = app.lives.find(&id);
    let Some(live) = live.filter(|live| caller.owns(live.owner.as_deref())) else {
        return Err(ApiError::not_found("answer", &id));
    };
    live.cancel.cancel();
    Ok(StatusCode::NO_CONTENT)
}

async fn resume(
    app: &App,
    caller: &Caller,
    (id, from): (String, usize),
) -> Result<Response, ApiError> {
    if let Some(live) = app.lives.find(&id) {
        if !caller.owns(live.owner.as_deref()) {
            return Err(ApiError::not_found("answer", &id));
        }
        return Ok(sse(Listener::new(live, from)));
    }
    // A trace is kept before its answer is told, so what is not there was never finished.
    let kept = app.store.trace(&id).await;
    match kept {
        Ok(trace) if caller.owns(trace.owner.as_deref()) => {
            let live = app.lives.begin(id.clone(), trace.owner, Duration::ZERO);
            let mut data = trace.answer;
            data["id"] = Value::String(id);
            data["trace_kept"] = Value::Bool(true);
            data["trace"]["events"] = trace.events;
            live.end("answer", data);
            Ok(sse(Listener::new(Arc::clone(&live), 0)))
        }
        Ok(_) => Err(ApiError::not_found("answer", &id)),
        Err(footnote_store::StoreError::Missing { .. }) => Err(ApiError::new(
            ErrorCode::Gone,
            "the answer was never finished, or is kept no longer; ask again",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Whether the caller wants events.
pub fn accepts_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|kind| {
            kind.trim()
                .to_ascii_lowercase()
                .starts_with("text/event-stream")
        })
}

/// The answer and the number after the last event that the caller has.
fn last_event(headers: &HeaderMap) -> Option<(String, usize)> {
    let text = headers.get("last-event-id")?.to_str().ok()?;
    let (id, number) = text.rsplit_once('-')?;
    let next = number.parse::<usize>().ok()?.checked_add(1)?;
    Some((id.to_owned(), next))
}

fn sse(listener: Listener) -> Response {
    let mut response = Sse::new(events_of(listener))
        .keep_alive(
            KeepAlive::new()
                .interval(Duration::from_secs(15))
                .text("waiting"),
        )
        .into_response();
    // Proxies that buffer would turn steps into one lump at the end.
    response.headers_mut().insert(
        "x-accel-buffering",
        axum::http::HeaderValue::from_static("no"),
    );
    response
}

fn events_of(listener: Listener) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold(listener, async |mut listener| {
        let (number, event) = listener.next().await?;
        let sent = Event::default()
            .id(format!("{}-{number}", listener.live().id))
            .event(event.name)
            .data(event.data.to_string());
        Some((Ok(sent), listener))
    })
}

/// Waits for the end of an answer, as JSON of [`AnswerReply`].
///
/// # Errors
/// What the answer's last event says.
pub async fn wait(mut listener: Listener) -> Result<Value, ApiError> {
    while let Some((_, event)) = listener.next().await {
        match event.name {
            "answer" => return Ok(Value::clone(&event.data)),
            "error" => return Err(error_of(&event.data)),
            _ => {}
        }
    }
    Err(ApiError::internal("an answer ended without its last event"))
}

/// An `error` event as the error that it is.
pub fn error_of(data: &Value) -> ApiError {
    let word = data["code"].as_str().unwrap_or_default();
    let code = ErrorCode::ALL
        .iter()
        .find(|code| code.word() == word)
        .copied()
        .unwrap_or(ErrorCode::Internal);
    ApiError::new(code, data["message"].as_str().unwrap_or_default())
}
