//! What users think of answers.

use serde::{Deserialize, Serialize};

use crate::rows::{maybe_text, on_pool, readable, text};
use crate::{Store, StoreError, new_id, now_ms};

/// Feedback to be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFeedback {
    /// The trace of the answer.
    pub trace_id: String,
    /// -1 bad, 0 neither, 1 good.
    pub rating: i64,
    /// What the answer should have been.
    pub correction: Option<String>,
    /// The passage that answers better, by its id.
    pub better_passage: Option<String>,
    /// Anything else.
    pub comment: Option<String>,
    /// Who says so.
    pub author: Option<String>,
}

/// Feedback as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// Its name.
    pub id: String,
    /// See [`NewFeedback::trace_id`].
    pub trace_id: String,
    /// See [`NewFeedback::rating`].
    pub rating: i64,
    /// See [`NewFeedback::correction`].
    pub correction: Option<String>,
    /// See [`NewFeedback::better_passage`].
    pub better_passage: Option<String>,
    /// See [`NewFeedback::comment`].
    pub comment: Option<String>,
    /// See [`NewFeedback::author`].
    pub author: Option<String>,
    /// When it was given.
    pub created_ms: i64,
}

readable!(Feedback {
    id,
    trace_id,
    rating,
    correction,
    better_passage,
    comment,
    author,
    created_ms
});

impl Store {
    /// Keeps feedback and gives its name.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where the trace is not there; a rating outside -1 to 1.
    pub async fn add_feedback(&self, feedback: &NewFeedback) -> Result<String, StoreError> {
        if !(-1..=1).contains(&feedback.rating) {
            return Err(StoreError::Invalid(format!(
                "a rating is -1, 0 or 1, not {}",
                feedback.rating
            )));
        }
        self.trace(&feedback.trace_id).await?;
        let id = new_id();
        on_pool!(self, pool => sqlx::query(
            "insert into feedback (id, trace_id, rating, correction, comment, author, created_ms, better_passage)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&id)
        .bind(text(&feedback.trace_id))
        .bind(feedback.rating)
        .bind(maybe_text(feedback.correction.as_deref()))
        .bind(maybe_text(feedback.comment.as_deref()))
        .bind(maybe_text(feedback.author.as_deref()))
        .bind(now_ms())
        .bind(maybe_text(feedback.better_passage.as_deref()))
        .execute(pool)
        .await
        .map(|_| ()))
        .map_err(StoreError::query("keep feedback"))?;
        Ok(id)
    }

    /// At most `limit` pieces of feedback given after the one named `after`, oldest first.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn feedback_after(
        &self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Feedback>, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, Feedback>(
            "select * from feedback where id > $1 order by id limit $2"
        )
        .bind(text(after))
        .bind(limit)
        .fetch_all(pool)
        .await)
        .map_err(StoreError::query("list feedback"))
    }

    /// The feedback on one answer, oldest first.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn feedback_on(&self, trace_id: &str) -> Result<Vec<Feedback>, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, Feedback>(
            "select * from feedback where trace_id = $1 order by id"
        )
        .bind(text(trace_id))
        .fetch_all(pool)
        .await)
        .map_err(StoreError::query("list feedback"))
    }
}
