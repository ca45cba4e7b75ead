//! What happens to every request: an id, a span in the log, a count in the metrics, safe headers.
//!
//! Must not know what any route does.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use footnote_store::new_id;
use tracing::Instrument as _;

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The header that carries a request's id both ways.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request in hand; empty outside of one.
pub fn request_id() -> String {
    REQUEST_ID.try_with(Clone::clone).unwrap_or_default()
}

/// A caller's own id, where it is one that may stand in logs and headers.
fn given(request: &Request) -> Option<String> {
    let text = request.headers().get(HEADER)?.to_str().ok()?;
    let fits = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    fits.then(|| text.to_owned())
}

/// The middleware.
pub async fn watch(request: Request, next: Next) -> Response {
    let id = given(&request).unwrap_or_else(new_id);
    // The pattern and not the path: a path may hold anything, and a metric needs few different labels.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let method = request.method().clone();
    let span =
        tracing::info_span!("request", request.id = id, http.method = %method, http.route = route);
    let started = Instant::now();
    let work = async {
        let mut response = next.run(request).await;
        let status = response.status().as_u16();
        let took = started.elapsed();
        metrics::counter!(
            "footnote_requests_total",
            "method" => method.to_string(), "route" => route.clone(), "status" => status.to_string()
        )
        .increment(1);
        metrics::histogram!("footnote_request_seconds", "route" => route.clone())
            .record(took.as_secs_f64());
        tracing::info!(
            http.status = status,
            duration_ms = took.as_secs_f64() * 1e3,
            "{method} {route} gave {status}"
        );
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&request_id()) {
            headers.insert(HEADER, value);
        }
        for (name, value) in [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_FRAME_OPTIONS, "DENY"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // What a route does not say otherwise is nobody's to keep.
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        response
    };
    REQUEST_ID.scope(id, work.instrument(span)).await
}
