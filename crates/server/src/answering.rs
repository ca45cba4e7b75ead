//! One question from its acceptance to its answer, on a thread of its own, told as events.
//!
//! The trace is kept before the answer is told: what a caller has seen can be looked up, whatever happens next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footnote_agent::{Agent, AgentError, Answer, Event, Question, Step};
use footnote_index::SearchBackend;
use footnote_store::{NewTrace, new_id};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{ApiError, ErrorCode};
use crate::live::{Listener, Live};
use crate::request::request_id;
use crate::state::App;

/// An answer as `POST /v1/answers` gives it.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnswerReply {
    /// The answer's name, which is its trace's too.
    pub id: String,
    /// Whether the trace is kept. Where it is not (the database did not answer), the answer still stands, but it cannot
    /// be looked up or judged later.
    pub trace_kept: bool,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
}

/// Accepts a question and begins to answer it.
///
/// # Errors
/// A question that makes no sense, or no place for it.
pub fn begin(
    app: &App,
    caller: &Caller,
    question: Question,
    origin: &'static str,
    linger: Duration,
) -> Result<Listener, ApiError> {
    question.check()?;
    if app.stopping.is_cancelled() {
        return Err(ApiError::unavailable(
            "the server is shutting down; ask again in a moment",
            "shutdown",
        ));
    }
    let place = Arc::clone(&app.asked).try_acquire_owned().map_err(|_| {
        let limits = &app.settings.limits;
        ApiError::too_many(
            format!(
                "{} questions are being answered and {} wait already; try again",
                limits.answers, limits.answers_waiting
            ),
            10,
        )
    })?;
    let live = app.lives.begin(new_id(), caller.key.clone(), linger);
    let listener = Listener::new(Arc::clone(&live), 0);
    let app = app.clone();
    let request_id = request_id();
    tokio::spawn(async move {
        let ended = answer(&app, &live, question, origin, place).await;
        if let Err(error) = ended {
            metrics::counter!("footnote_answers_total", "outcome" => error.code.word())
                .increment(1);
            // This task outlives its request; the id is still the one to look for.
            let mut body = error.body();
            body.request_id = request_id;
            live.end("error", serde_json::to_value(body).unwrap_or_default());
        }
    });
    Ok(listener)
}

async fn answer(
    app: &App,
    live: &Arc<Live>,
    question: Question,
    origin: &'static str,
    _place: OwnedSemaphorePermit,
) -> Result<(), ApiError> {
    let limits = app.settings.limits;
    let gone = || {
        ApiError::new(
            ErrorCode::Gone,
            "nobody waited for the answer any more; it was cancelled",
        )
    };
    live.tell(
        "accepted",
        json!({ "id": live.id, "waiting": app.lives.running().saturating_sub(1) }),
    );
    let asked = Instant::now();
    let turn = Arc::clone(&app.answering).acquire_owned();
    let turn = tokio::select! {
        turn = tokio::time::timeout(limits.queue_timeout, turn) => turn,
        () = live.cancel.cancelled() => return Err(gone()),
    };
    let turn = turn.map_err(|_| {
        let mut error = ApiError::new(
            ErrorCode::Timeout,
            format!(
                "the question waited {:?} for its turn; try again",
                limits.queue_timeout
            ),
        );
        error.retry_after_s = Some(30);
        error
    })?;
    let turn = turn.map_err(ApiError::internal)?;
    metrics::histogram!("footnote_answer_wait_seconds").record(asked.elapsed().as_secs_f64());
    let (worker, told) = (app.clone(), Arc::clone(live));
    let mut thread = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        run(&worker, &told, &question)
    });
    let outcome = tokio::select! {
        outcome = &mut thread => outcome,
        () = tokio::time::sleep(limits.answer_timeout) => {
            live.cancel.cancel();
            // It ends between two tokens; its place is free then and not before.
            let _ = thread.await;
            return Err(ApiError::new(
                ErrorCode::Timeout,
                format!("the answer took longer than {:?}", limits.answer_timeout),
            ));
        }
    };
    let answer = match outcome.map_err(ApiError::internal)? {
        Ok(answer) => answer,
        Err(AgentError::Cancelled) => return Err(gone()),
        Err(error) => return Err(error.into()),
    };
    metrics::histogram!("footnote_answer_seconds").record(answer.trace.total_ms / 1e3);
    metrics::counter!("footnote_tokens_total", "direction" => "in")
        .increment(answer.trace.tokens_in as u64);
    metrics::counter!("footnote_tokens_total", "direction" => "out")
        .increment(answer.trace.tokens_out as u64);
    let outcome = if answer.not_found.is_some() {
        "not_found"
    } else {
        "answered"
    };
    metrics::counter!("footnote_answers_total", "outcome" => outcome).increment(1);
    let trace = trace_of(&answer, origin, live.owner.clone()).map_err(ApiError::internal)?;
    let kept = app.store.add_trace_named(&live.id, &trace).await;
    if let Err(error) = &kept {
        tracing::error!(answer.id = live.id, error.cause = %error, "a trace could not be kept: {error}");
    }
    let reply = AnswerReply {
        id: live.id.clone(),
        trace_kept: kept.is_ok(),
        answer,
    };
    live.end(
        "answer",
        serde_json::to_value(reply).map_err(ApiError::internal)?,
    );
    Ok(())
}

/// The agent's work, on a thread that may block.
fn run(app: &App, live: &Live, question: &Question) -> Result<Answer, AgentError> {
    let corpus = app.corpus.get()?;
    let agent = Agent::new(
        corpus as Arc<dyn SearchBackend>,
        Arc::clone(&app.models.answering),
        Arc::clone(&app.models.doc_types),
    );
    agent.ask_until(question, &live.cancel, &mut |event: Event| {
        // The end is told once the trace is kept.
        if !matches!(event.step, Step::Answer { .. } | Step::Error { .. }) {
            let (name, data) = shown(&event);
            metrics::histogram!("footnote_stage_seconds", "stage" => name)
                .record(event.took_ms / 1e3);
            live.tell(name, data);
        }
    })
}

/// An agent's step as an event's type and data.
fn shown(event: &Event) -> (&'static str, Value) {
    let name = match &event.step {
        Step::Scope { .. } => "scope",
        Step::DocTypes { .. } => "doc_types",
        Step::Passages { .. } => "passages",
        Step::Plan { .. } => "plan",
        Step::Figure { .. } => "figure",
        Step::Shortened { .. } => "shortened",
        Step::Explained { .. } => "explained",
        Step::Evidence { .. } => "evidence",
        Step::Token { .. } => "token",
        Step::Citation { .. } => "citation",
        Step::Removed { .. } => "removed",
        Step::Answer { .. } => "answer",
        Step::Error { .. } => "error",
    };
    (name, serde_json::to_value(event).unwrap_or_default())
}

/// An answer as the trace that the store keeps; `origin` says where it was asked.
///
/// # Errors
/// Where it is no JSON (a number that is none).
pub fn trace_of(
    answer: &Answer,
    origin: &str,
    owner: Option<String>,
) -> Result<NewTrace, serde_json::Error> {
    let events = serde_json::to_value(&answer.trace.events)?;
    // The events have a column of their own.
    let mut bare = serde_json::to_value(answer)?;
    bare["trace"]["events"] = json!([]);
    let tokens = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    Ok(NewTrace {
        origin: origin.to_owned(),
        owner,
        question: answer.question.clone(),
        model: answer.trace.model.clone(),
        answer: bare,
        events,
        tokens_in: tokens(answer.trace.tokens_in),
        tokens_out: tokens(answer.trace.tokens_out),
        total_ms: answer.trace.total_ms,
    })
}
