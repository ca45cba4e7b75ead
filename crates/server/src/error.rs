//! What a caller is told when something goes wrong: a code of one table, a sentence, the request's id.
//!
//! Causes inside the house are logged once, here, and never sent: a path or a statement of SQL is nobody's business
//! outside. Every other module returns [`ApiError`] and must not build error responses itself.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use footnote_agent::AgentError;
use footnote_engine::EngineError;
use footnote_index::IndexError;
use footnote_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::request::request_id;

/// Makes the enum of codes, its words, its statuses and its table for the documentation from one list.
macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $word:literal, $status:ident;)*) => {
        /// The codes of errors. A code never changes its meaning; messages may.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode { $($(#[doc = $doc])* $variant),* }

        impl ErrorCode {
            /// All of them, in the table's order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),*];

            /// The word in JSON.
            pub fn word(self) -> &'static str {
                match self { $(ErrorCode::$variant => $word),* }
            }

            /// The HTTP status.
            pub fn status(self) -> StatusCode {
                match self { $(ErrorCode::$variant => StatusCode::$status),* }
            }

            /// What it means and what mends it.
            pub fn meaning(self) -> &'static str {
                match self { $(ErrorCode::$variant => concat!($($doc),*).trim_ascii()),* }
            }
        }
    };
}

codes! {
    /// The request cannot be read: malformed JSON, an unknown field, a value of the wrong type.
    BadRequest = "bad_request", BAD_REQUEST;
    /// No API key, or one that is unknown, revoked or expired. Send `Authorization: Bearer KEY`.
    Unauthorized = "unauthorized", UNAUTHORIZED;
    /// The key is good, but its scopes do not allow this.
    Forbidden = "forbidden", FORBIDDEN;
    /// There is no such thing, or it is not the caller's.
    NotFound = "not_found", NOT_FOUND;
    /// The path is there, the method is not.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The thing is in a state that does not allow this; or an idempotency key was used for another request.
    Conflict = "conflict", CONFLICT;
    /// The answer was there, and is kept no longer or was cancelled. Ask again.
    Gone = "gone", GONE;
    /// The body is larger than the limit that the message names.
    TooLarge = "too_large", PAYLOAD_TOO_LARGE;
    /// The body is not of the content type that this path takes.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE;
    /// The request can be read and makes no sense: an empty question, a limit exceeded, an unknown ranker.
    Invalid = "invalid", UNPROCESSABLE_ENTITY;
    /// More requests than the key or the server may have at once. `Retry-After` says when to come back.
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS;
    /// A fault of the server. It was logged under the request's id.
    Internal = "internal", INTERNAL_SERVER_ERROR;
    /// Something that the request needs is not there now: no corpus, no model, a database that does not answer.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE;
    /// A stage took longer than its limit.
    Timeout = "timeout", GATEWAY_TIMEOUT;
}

/// The body of every error.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A code of the table.
    pub code: ErrorCode,
    /// What is wrong and what mends it, for a person.
    pub message: String,
    /// The request's id, as in the header `x-request-id` and in the log.
    pub request_id: String,
}

/// An error on its way to a caller.
#[derive(Debug)]
pub struct ApiError {
    /// Its code.
    pub code: ErrorCode,
    /// The sentence that is sent.
    pub message: String,
    /// When to come back, for 429 and 503.
    pub retry_after_s: Option<u32>,
    /// What is logged and not sent.
    cause: Option<String>,
}

impl ApiError {
    /// An error that says all there is to say.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError {
            code,
            message: message.into(),
            retry_after_s: None,
            cause: None,
        }
    }

    /// The request makes no sense.
    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::Invalid, message)
    }

    /// There is no such thing.
    pub fn not_found(what: &str, name: &str) -> ApiError {
        // A name from outside may be anything; a message is one readable line.
        let name: String = name.chars().take(100).collect();
        ApiError::new(ErrorCode::NotFound, format!("no {what} {name:?}"))
    }

    /// A fault of ours: the caller is told that there was one, the log what it was.
    pub fn internal(cause: impl std::fmt::Display) -> ApiError {
        ApiError {
            code: ErrorCode::Internal,
            message: "something went wrong inside; the log has it under this request's id"
                .to_owned(),
            retry_after_s: None,
            cause: Some(cause.to_string()),
        }
    }

    /// Something is not there now.
    pub fn unavailable(message: impl Into<String>, cause: impl std::fmt::Display) -> ApiError {
        ApiError {
            code: ErrorCode::Unavailable,
            message: message.into(),
            retry_after_s: Some(5),
            cause: Some(cause.to_string()),
        }
    }

    /// Too many at once.
    pub fn too_many(message: impl Into<String>, retry_after_s: u32) -> ApiError {
        ApiError {
            code: ErrorCode::TooManyRequests,
            message: message.into(),
            retry_after_s: Some(retry_after_s),
            cause: None,
        }
    }

    /// The body that is sent; a cause is logged.
    pub fn body(&self) -> ErrorBody {
        let request_id = request_id();
        if let Some(cause) = &self.cause {
            tracing::error!(
                request.id = request_id,
                error.code = self.code.word(),
                error.cause = cause,
                "a request failed: {cause}"
            );
        }
        ErrorBody {
            code: self.code,
            message: self.message.clone(),
            request_id,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == ErrorCode::Unauthorized {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        match error {
            StoreError::Missing { what, id } => ApiError::not_found(what, &id),
            StoreError::Invalid(reason) => ApiError::invalid(reason),
            other => ApiError::unavailable("the database does not answer; try again", other),
        }
    }
}

impl From<IndexError> for ApiError {
    fn from(error: IndexError) -> ApiError {
        match error {
            IndexError::Absent { .. } => ApiError::unavailable(
                "there is no corpus yet; import filings with POST /v1/imports or `footnote corpus import`",
                error,
            ),
            other => ApiError::unavailable("the corpus cannot be read; the log says why", other),
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> ApiError {
        match error {
            EngineError::Overloaded { .. } | EngineError::Busy { .. } => {
                ApiError::too_many("the model's queue is full; try again", 2)
            }
            EngineError::TooLong { .. } | EngineError::Request(_) | EngineError::Grammar(_) => {
                ApiError::invalid(error.to_string())
            }
            EngineError::Stopped => ApiError::unavailable("the model has stopped", error),
            other => ApiError::internal(other),
        }
    }
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> ApiError {
        match error {
            AgentError::EmptyQuestion | AgentError::QuestionTooLong { .. } => {
                ApiError::invalid(error.to_string())
            }
            AgentError::EmptyCorpus => ApiError::unavailable(error.to_string(), error),
            AgentError::Cancelled => ApiError::new(ErrorCode::Gone, error.to_string()),
            AgentError::Engine(engine) => engine.into(),
            AgentError::Index(index) => index.into(),
            other => ApiError::internal(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_word_a_status_and_a_meaning_and_serialises_as_its_word() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.word());
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert!(code.meaning().ends_with('.'), "{}", code.word());
        }
    }

    #[test]
    fn what_is_inside_stays_inside() {
        let error = ApiError::internal("cannot open /secret/place");
        assert!(
            !serde_json::to_string(&error.body())
                .unwrap()
                .contains("secret")
        );
    }
}
