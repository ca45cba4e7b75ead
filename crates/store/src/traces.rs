//! Traces: what was asked, what was answered, and every step between.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rows::{on_pool, readable, text};
use crate::{Store, StoreError, new_id};

/// A trace to be kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTrace {
    /// Where it comes from: `ask`, `api`, `eval:RUN`, ….
    pub origin: String,
    /// Whose it is: the API key that asked, where there was one.
    pub owner: Option<String>,
    /// The question.
    pub question: String,
    /// The model that answered.
    pub model: String,
    /// The answer as JSON.
    pub answer: Value,
    /// The steps as a JSON list.
    pub events: Value,
    /// Prompt tokens over all calls.
    pub tokens_in: i64,
    /// Tokens written over all calls.
    pub tokens_out: i64,
    /// From question to answer.
    pub total_ms: f64,
}

/// A trace as kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Its name.
    pub id: String,
    /// See [`NewTrace::origin`].
    pub origin: String,
    /// See [`NewTrace::owner`].
    pub owner: Option<String>,
    /// See [`NewTrace::question`].
    pub question: String,
    /// See [`NewTrace::model`].
    pub model: String,
    /// See [`NewTrace::answer`].
    pub answer: Value,
    /// See [`NewTrace::events`].
    pub events: Value,
    /// See [`NewTrace::tokens_in`].
    pub tokens_in: i64,
    /// See [`NewTrace::tokens_out`].
    pub tokens_out: i64,
    /// See [`NewTrace::total_ms`].
    pub total_ms: f64,
    /// When it was kept.
    pub created_ms: i64,
}

readable!(Trace {
    id, origin, owner, question, model, tokens_in, tokens_out, total_ms, created_ms,
} json { answer, events });

/// The statement that keeps a trace, alone or within a transaction of either database.
macro_rules! insert_trace {
    ($executor:expr, $id:expr, $trace:expr) => {
        sqlx::query(
            "insert into traces (id, origin, question, model, answer, events, tokens_in, tokens_out, total_ms,
                 created_ms, owner)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind($id)
        .bind(crate::rows::text(&$trace.origin))
        .bind(crate::rows::text(&$trace.question))
        .bind(crate::rows::text(&$trace.model))
        .bind($trace.answer.to_string())
        .bind($trace.events.to_string())
        .bind($trace.tokens_in)
        .bind($trace.tokens_out)
        .bind($trace.total_ms)
        .bind(crate::now_ms())
        .bind(crate::rows::maybe_text($trace.owner.as_deref()))
        .execute($executor)
        .await
    };
}

pub(crate) use insert_trace;

impl Store {
    /// Keeps a trace and gives its name.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn add_trace(&self, trace: &NewTrace) -> Result<String, StoreError> {
        let id = new_id();
        self.add_trace_named(&id, trace).await?;
        Ok(id)
    }

    /// Keeps a trace under a name of [`new_id`] that the caller has told already.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn add_trace_named(&self, id: &str, trace: &NewTrace) -> Result<(), StoreError> {
        on_pool!(self, pool => insert_trace!(pool, id, trace).map(|_| ()))
            .map_err(StoreError::query("keep a trace"))
    }

    /// At most `limit` traces kept before the one named `before` (empty: from the last), newest first;
    /// of one owner where one is given.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn traces_before(
        &self,
        owner: Option<&str>,
        before: &str,
        limit: i64,
    ) -> Result<Vec<Trace>, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, Trace>(
            "select * from traces where ($1 = '' or id < $1) and ($2 = '' or owner = $2)
             order by id desc limit $3"
        )
        .bind(text(before))
        .bind(text(owner.unwrap_or_default()))
        .bind(limit)
        .fetch_all(pool)
        .await)
        .map_err(StoreError::query("list traces"))
    }

    /// Forgets the traces (with their feedback) kept before `before_ms`; gives how many.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn forget_traces(&self, before_ms: i64) -> Result<u64, StoreError> {
        on_pool!(self, pool => sqlx::query("delete from traces where created_ms < $1")
            .bind(before_ms)
            .execute(pool)
            .await
            .map(|done| done.rows_affected()))
        .map_err(StoreError::query("forget old traces"))
    }

    /// A trace by name.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is none.
    pub async fn trace(&self, id: &str) -> Result<Trace, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, Trace>("select * from traces where id = $1")
            .bind(text(id))
            .fetch_optional(pool)
            .await)
        .map_err(StoreError::query("read a trace"))?
        .ok_or_else(|| StoreError::Missing {
            what: "trace",
            id: id.to_owned(),
        })
    }

    /// At most `limit` traces kept after the one named `after` (empty: from the first), oldest first:
    /// a reader of all pages through with the last name it got.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn traces_after(&self, after: &str, limit: i64) -> Result<Vec<Trace>, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, Trace>(
            "select * from traces where id > $1 order by id limit $2"
        )
        .bind(text(after))
        .bind(limit)
        .fetch_all(pool)
        .await)
        .map_err(StoreError::query("list traces"))
    }
}
