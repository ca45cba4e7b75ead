//! Reading a request, with errors of our own table instead of the framework's.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio_util::bytes::BytesMut;

use crate::error::{ApiError, ErrorCode};
use crate::state::App;

/// A JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Json<T>, ApiError> {
        require_json(request.headers())?;
        let bytes = body_bytes(request, app).await?;
        parse(&bytes).map(Json)
    }
}

/// # Errors
/// 415 where the body is not said to be JSON.
pub fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::UnsupportedMediaType,
        "send the body as JSON, with `Content-Type: application/json`",
    ))
}

/// The whole body within the limits of size and time.
pub async fn body_bytes(request: Request, app: &App) -> Result<Bytes, ApiError> {
    let limits = &app.settings.limits;
    read(request.into_body(), limits.body_bytes, limits.body_timeout).await
}

/// A whole body of at most `most` bytes within `patience`.
///
/// What is too large is read on for a while and thrown away: a client that is still sending when the connection is
/// closed sees a broken pipe and not the reason.
pub async fn read(body: Body, most: usize, patience: Duration) -> Result<Bytes, ApiError> {
    let reading = async {
        let mut bytes = BytesMut::new();
        let mut over = 0;
        let mut parts = body.into_data_stream();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|_| {
                ApiError::new(ErrorCode::BadRequest, "the body broke off before its end")
            })?;
            if over == 0 && bytes.len() + part.len() <= most {
                bytes.extend_from_slice(&part);
                continue;
            }
            over += part.len();
            if over > most.saturating_mul(8) {
                break;
            }
        }
        if over > 0 {
            return Err(ApiError::new(
                ErrorCode::TooLarge,
                format!(
                    "the body is larger than {most} bytes; large texts are uploaded with POST /v1/imports"
                ),
            ));
        }
        Ok(bytes.freeze())
    };
    tokio::time::timeout(patience, reading).await.map_err(|_| {
        ApiError::new(
            ErrorCode::Timeout,
            format!("the body did not arrive within {patience:?}"),
        )
    })?
}

/// Bytes as JSON of a type.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bad = |reason: String| {
        ApiError::new(
            ErrorCode::BadRequest,
            format!("the body is no valid request: {reason}"),
        )
    };
    // serde_json itself refuses what is nested deeper than 128 levels.
    serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))
}

/// The query string.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Query<T>, ApiError> {
        axum::extract::Query::<T>::from_request_parts(parts, app)
            .await
            .map(|query| Query(query.0))
            .map_err(|error: QueryRejection| {
                ApiError::new(ErrorCode::BadRequest, error.body_text())
            })
    }
}

/// The names in the path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Path<T>, ApiError> {
        axum::extract::Path::<T>::from_request_parts(parts, app)
            .await
            .map(|path| Path(path.0))
            .map_err(|error: PathRejection| ApiError::new(ErrorCode::BadRequest, error.body_text()))
    }
}
