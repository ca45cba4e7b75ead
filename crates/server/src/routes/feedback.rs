//! `POST /v1/feedback`: what a reader thinks of an answer.

use axum::extract::State;
use axum::http::StatusCode;
use footnote_filings::PassageId;
use footnote_store::NewFeedback;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::traces::mine;
use crate::auth::{Caller, Scope};
use crate::error::ApiError;
use crate::extract::Json;
use crate::openapi::Errors;
use crate::state::App;

/// Characters of a correction or a comment.
const TEXT_CHARS_MAX: usize = 10_000;

/// A reader's judgement.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The answer is right.
    Right,
    /// The answer is wrong.
    Wrong,
}

/// Feedback; at least one of its fields beside the trace.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedbackRequest {
    /// The answer's id.
    pub trace_id: String,
    /// Right or wrong.
    pub verdict: Option<Verdict>,
    /// What the answer should have been.
    pub correction: Option<String>,
    /// The passage that answers better, by its id.
    pub better_passage: Option<String>,
    /// Anything else.
    pub comment: Option<String>,
}

/// Feedback was kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeedbackReply {
    /// Its name.
    pub id: String,
}

/// Judge an answer.
#[utoipa::path(
    post, path = "/v1/feedback", tag = "answers", request_body = FeedbackRequest,
    responses((status = 201, body = FeedbackReply), Errors)
)]
pub async fn give(
    State(app): State<App>,
    caller: Caller,
    Json(request): Json<FeedbackRequest>,
) -> Result<(StatusCode, axum::Json<FeedbackReply>), ApiError> {
    caller.need(Scope::Ask)?;
    for text in [&request.correction, &request.comment]
        .into_iter()
        .flatten()
    {
        if text.chars().count() > TEXT_CHARS_MAX {
            return Err(ApiError::invalid(format!(
                "a text has at most {TEXT_CHARS_MAX} characters"
            )));
        }
    }
    if let Some(passage) = &request.better_passage
        && (passage.len() > 256 || PassageId(passage.clone()).parts().is_none())
    {
        return Err(ApiError::invalid(
            "better_passage is no passage id; they are like 0000320193-23-000106#1000-2000",
        ));
    }
    let said = [
        &request.correction,
        &request.comment,
        &request.better_passage,
    ];
    if request.verdict.is_none() && said.iter().all(|text| text.is_none()) {
        return Err(ApiError::invalid(
            "give at least one of verdict, correction, better_passage and comment",
        ));
    }
    mine(&app, &caller, &request.trace_id).await?;
    let id = app
        .store
        .add_feedback(&NewFeedback {
            trace_id: request.trace_id,
            rating: match request.verdict {
                Some(Verdict::Right) => 1,
                Some(Verdict::Wrong) => -1,
                None => 0,
            },
            correction: request.correction,
            better_passage: request.better_passage,
            comment: request.comment,
            author: caller.key,
        })
        .await?;
    Ok((StatusCode::CREATED, axum::Json(FeedbackReply { id })))
}
