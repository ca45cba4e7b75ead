//! The routes, one module a domain, and how they hang together.

pub mod answers;
pub mod chat;
pub mod feedback;
pub mod filings;
pub mod health;
pub mod jobs;
pub mod requests;
pub mod search;
pub mod traces;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, ErrorCode};
use crate::state::App;
use crate::{auth, limits, mcp, openapi, page, request};

/// The documented routes, without what stands before them.
pub fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(answers::ask))
        .routes(routes!(answers::events))
        .routes(routes!(answers::cancel))
        .routes(routes!(search::search))
        .routes(routes!(search::companies))
        .routes(routes!(filings::list))
        .routes(routes!(filings::show))
        .routes(routes!(filings::text))
        .routes(routes!(traces::list))
        .routes(routes!(traces::show))
        .routes(routes!(feedback::give))
        .routes(routes!(jobs::evaluate))
        .routes(routes!(jobs::export))
        .routes(routes!(jobs::import))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::events))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::file))
        .routes(routes!(chat::complete))
        .routes(routes!(chat::models))
        .routes(routes!(health::metrics))
}

/// Everything that the service answers.
pub fn router(app: App) -> Router {
    let (api, document) = documented().split_for_parts();
    let guarded = api
        .nest_service("/mcp", mcp::service(&app))
        .layer(from_fn_with_state(app.clone(), limits::place))
        .layer(from_fn_with_state(app.clone(), auth::check));
    let open = Router::new()
        .merge(health::router())
        .merge(page::router())
        .merge(openapi::router(&document));
    open.merge(guarded)
        .fallback(async || {
            ApiError::new(
                ErrorCode::NotFound,
                "there is nothing at this path; /openapi.json lists what there is",
            )
        })
        .method_not_allowed_fallback(async || {
            ApiError::new(
                ErrorCode::MethodNotAllowed,
                "this path does not take this method; /openapi.json lists what there is",
            )
        })
        .layer(CatchPanicLayer::custom(
            |_: Box<dyn std::any::Any + Send>| {
                axum::response::IntoResponse::into_response(ApiError::internal(
                    "a handler panicked",
                ))
            },
        ))
        // Bodies are bounded where they are read, each by its own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(request::watch))
        .with_state(app)
}
