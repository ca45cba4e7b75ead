//! The page at `/`: three static files, with a policy that lets nothing else in.
//!
//! The script asks the same routes as anybody; texts reach the document as text nodes only.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::state::App;

const HTML: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/app.js");
const STYLE: &str = include_str!("page/style.css");
const DOCS_HTML: &str = include_str!("page/docs.html");
const DOCS_SCRIPT: &str = include_str!("page/docs.js");

/// What the page may load and where it may send: itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page's files.
pub fn router() -> Router<App> {
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", HTML)))
        .route(
            "/docs",
            get(async || file("text/html; charset=utf-8", DOCS_HTML)),
        )
        .route(
            "/assets/app.js",
            get(async || file("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route(
            "/assets/docs.js",
            get(async || file("text/javascript; charset=utf-8", DOCS_SCRIPT)),
        )
        .route(
            "/assets/style.css",
            get(async || file("text/css; charset=utf-8", STYLE)),
        )
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    // A new version of the binary is a new page at once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
