//! `/healthz`, `/readyz` and `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use crate::auth::{Caller, Scope};
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::state::App;

/// The open ones.
pub fn router() -> Router<App> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
}

/// Whether questions can be answered: the database answers, the corpus is there, the server is not stopping.
async fn ready(State(app): State<App>) -> Response {
    let database = app.store.ping().await;
    let corpus = app.corpus.with(|_| Ok(())).await;
    let stopping = app.stopping.is_cancelled();
    let word = |good: bool, bad: &'static str| if good { "ok" } else { bad };
    let body = json!({
        "database": word(database.is_ok(), "does not answer"),
        "corpus": word(corpus.is_ok(), "missing or unreadable; import filings"),
        "model": app.models.answering.name(),
        "stopping": stopping,
    });
    let status = if database.is_ok() && corpus.is_ok() && !stopping {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(body)).into_response()
}

/// Metrics in Prometheus' text form.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses((status = 200, body = String, content_type = "text/plain"), Errors)
)]
pub async fn metrics(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    caller.need(Scope::Admin)?;
    let gauge = |name: &'static str, value: usize| metrics::gauge!(name).set(value as f64);
    let limits = &app.settings.limits;
    gauge(
        "footnote_requests_in_hand",
        limits.requests - app.places.free().min(limits.requests),
    );
    let asked = limits.answers + limits.answers_waiting - app.asked.available_permits();
    let answering = limits.answers - app.answering.available_permits();
    gauge("footnote_answers_running", answering);
    gauge("footnote_answers_waiting", asked.saturating_sub(answering));
    for (state, count) in app.store.job_counts().await? {
        metrics::gauge!("footnote_jobs", "state" => state.word()).set(count as f64);
    }
    // Without a corpus there is nothing to count, and /readyz says so.
    if let Ok(stats) = app.corpus.with(|corpus| Ok(corpus.stats()?)).await {
        gauge("footnote_corpus_filings", stats.filings);
        gauge("footnote_corpus_passages", stats.passages);
        metrics::gauge!("footnote_index_bytes").set(stats.index_bytes as f64);
    }
    for (name, model) in &app.models.chat {
        let Some(load) = model.load() else { continue };
        let gauge = |metric: &'static str, value: usize| {
            metrics::gauge!(metric, "model" => name.clone()).set(value as f64);
        };
        gauge("footnote_model_running", load.running);
        gauge("footnote_model_waiting", load.waiting);
        gauge("footnote_cache_bytes", load.cache_bytes);
        gauge("footnote_kept_cache_bytes", load.kept_bytes);
    }
    if let Some(bytes) = resident_bytes() {
        metrics::gauge!("footnote_resident_bytes").set(bytes as f64);
    }
    let text = app.metrics.render();
    Ok((
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response())
}

/// Memory of this process, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
