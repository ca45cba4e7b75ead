//! `GET /v1/traces`: what was asked and how it was answered; one's own, or all for an administrator.

use axum::extract::State;
use footnote_store::{Feedback, Trace};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Caller, Scope};
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::openapi::Errors;
use crate::state::App;

/// Traces of a page.
const PAGE_MAX: i64 = 200;

/// Which page.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many, 200 at most.
    #[serde(default = "fifty")]
    pub limit: i64,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: String,
}

fn fifty() -> i64 {
    50
}

impl PageQuery {
    /// # Errors
    /// 422 for a limit outside 1 to 200.
    pub fn check(&self) -> Result<(), ApiError> {
        if (1..=PAGE_MAX).contains(&self.limit) {
            return Ok(());
        }
        Err(ApiError::invalid(format!("limit is 1 to {PAGE_MAX}")))
    }

    /// The cursor after a page whose last item is `last`.
    pub fn next(&self, count: usize, last: Option<&str>) -> Option<String> {
        let full = i64::try_from(count).is_ok_and(|count| count == self.limit);
        last.filter(|_| full).map(str::to_owned)
    }
}

/// A trace in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct TraceLine {
    /// Its name.
    pub id: String,
    /// `api`, `chat`, `mcp`, `ask`, `eval:RUN`.
    pub origin: String,
    /// The question.
    pub question: String,
    /// The answer's text.
    pub answer: String,
    /// The model.
    pub model: String,
    /// From question to answer.
    pub total_ms: f64,
    /// When, in milliseconds since 1970.
    pub created_ms: i64,
}

/// A page of traces, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct TracePage {
    /// The traces.
    pub traces: Vec<TraceLine>,
    /// For the next page; none on the last.
    pub next_cursor: Option<String>,
}

/// A trace, whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct TraceReply {
    /// Its name.
    pub id: String,
    /// Where it was asked.
    pub origin: String,
    /// The question.
    pub question: String,
    /// The model.
    pub model: String,
    /// The answer, as POST /v1/answers gives it, without its events.
    #[schema(value_type = Object)]
    pub answer: Value,
    /// Every step.
    #[schema(value_type = Vec<Object>)]
    pub events: Value,
    /// Prompt tokens over all calls.
    pub tokens_in: i64,
    /// Tokens written over all calls.
    pub tokens_out: i64,
    /// From question to answer.
    pub total_ms: f64,
    /// When, in milliseconds since 1970.
    pub created_ms: i64,
    /// What readers think of it.
    pub feedback: Vec<FeedbackShown>,
}

/// Feedback as shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeedbackShown {
    /// Its name.
    pub id: String,
    /// -1 wrong, 0 neither, 1 right.
    pub rating: i64,
    /// What the answer should have been.
    pub correction: Option<String>,
    /// The passage that answers better.
    pub better_passage: Option<String>,
    /// Anything else.
    pub comment: Option<String>,
    /// When, in milliseconds since 1970.
    pub created_ms: i64,
}

impl From<Feedback> for FeedbackShown {
    fn from(feedback: Feedback) -> FeedbackShown {
        FeedbackShown {
            id: feedback.id,
            rating: feedback.rating,
            correction: feedback.correction,
            better_passage: feedback.better_passage,
            comment: feedback.comment,
            created_ms: feedback.created_ms,
        }
    }
}

/// List traces.
#[utoipa::path(
    get, path = "/v1/traces", tag = "answers", params(PageQuery),
    responses((status = 200, body = TracePage), Errors)
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<TracePage>, ApiError> {
    caller.need(Scope::Ask)?;
    query.check()?;
    let traces = app
        .store
        .traces_before(caller.lists(), &query.cursor, query.limit)
        .await?;
    let next_cursor = query.next(traces.len(), traces.last().map(|trace| trace.id.as_str()));
    let line = |trace: Trace| TraceLine {
        answer: trace.answer["text"].as_str().unwrap_or_default().to_owned(),
        id: trace.id,
        origin: trace.origin,
        question: trace.question,
        model: trace.model,
        total_ms: trace.total_ms,
        created_ms: trace.created_ms,
    };
    Ok(axum::Json(TracePage {
        traces: traces.into_iter().map(line).collect(),
        next_cursor,
    }))
}

/// The trace of that name, if it is the caller's to see.
///
/// # Errors
/// 404 otherwise, so that nobody learns which names there are.
pub async fn mine(app: &App, caller: &Caller, id: &str) -> Result<Trace, ApiError> {
    let trace = app.store.trace(id).await?;
    if caller.owns(trace.owner.as_deref()) {
        return Ok(trace);
    }
    Err(ApiError::not_found("trace", id))
}

/// Show a trace.
#[utoipa::path(
    get, path = "/v1/traces/{id}", tag = "answers",
    params(("id" = String, Path, description = "The trace, which is the answer's id")),
    responses((status = 200, body = TraceReply), Errors)
)]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<TraceReply>, ApiError> {
    caller.need(Scope::Ask)?;
    let trace = mine(&app, &caller, &id).await?;
    let feedback = app.store.feedback_on(&trace.id).await?;
    Ok(axum::Json(TraceReply {
        id: trace.id,
        origin: trace.origin,
        question: trace.question,
        model: trace.model,
        answer: trace.answer,
        events: trace.events,
        tokens_in: trace.tokens_in,
        tokens_out: trace.tokens_out,
        total_ms: trace.total_ms,
        created_ms: trace.created_ms,
        feedback: feedback.into_iter().map(FeedbackShown::from).collect(),
    }))
}
