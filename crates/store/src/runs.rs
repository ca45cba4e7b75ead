//! Evaluation runs: what was run over what, and every question's outcome with the model calls
//! behind it.
//!
//! A run's name is given by its maker, who derives it from all that the outcome depends on; so the
//! same run started again finds what is done already. An item is written once, with its calls, in
//! one transaction: after a kill it is there whole or not at all.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rows::{maybe_text, on_pool, readable, text, words};
use crate::traces::insert_trace;
use crate::{NewTrace, Store, StoreError, new_id, now_ms};

/// A run to be begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewEvalRun {
    /// Its name; the same for the same work.
    pub id: String,
    /// The suite's name.
    pub suite: String,
    /// SHA-256 of the suite file, in hex.
    pub suite_hash: String,
    /// `doc-types`, `passages`, `pages` or `answers`.
    pub task: String,
    /// The dataset as the suite names it.
    pub dataset: String,
    /// SHA-256 of the dataset file, in hex.
    pub dataset_hash: String,
    /// The ranker.
    pub ranker: String,
    /// The model, empty where none is used.
    pub model: String,
    /// The cache policy.
    pub cache: String,
    /// The compression policy.
    pub compression: String,
    /// Everything else that was set.
    pub config: Value,
    /// How many questions the dataset has.
    pub items_total: i64,
}

/// A run as kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRun {
    /// See [`NewEvalRun::id`].
    pub id: String,
    /// See [`NewEvalRun::suite`].
    pub suite: String,
    /// See [`NewEvalRun::suite_hash`].
    pub suite_hash: String,
    /// See [`NewEvalRun::task`].
    pub task: String,
    /// See [`NewEvalRun::dataset`].
    pub dataset: String,
    /// See [`NewEvalRun::dataset_hash`].
    pub dataset_hash: String,
    /// See [`NewEvalRun::ranker`].
    pub ranker: String,
    /// See [`NewEvalRun::model`].
    pub model: String,
    /// See [`NewEvalRun::cache`].
    pub cache: String,
    /// See [`NewEvalRun::compression`].
    pub compression: String,
    /// See [`NewEvalRun::config`].
    pub config: Value,
    /// See [`NewEvalRun::items_total`].
    pub items_total: i64,
    /// When it was first begun.
    pub started_ms: i64,
    /// When its last question was done.
    pub finished_ms: Option<i64>,
}

readable!(EvalRun {
    id, suite, suite_hash, task, dataset, dataset_hash, ranker, model, cache, compression,
    items_total, started_ms, finished_ms,
} json { config });

words! {
    /// What became of a question.
    ItemState {
        /// It has a result.
        Done = "done",
        /// It failed; the error says why.
        Failed = "failed",
        /// It was stopped at the suite's limit of seconds or tokens.
        OverBudget = "over_budget",
    }
}

/// A question's outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalItem {
    /// The run.
    pub run_id: String,
    /// Its place in the dataset, from 0; ids may repeat there, places do not.
    pub row_no: i64,
    /// The dataset's id.
    pub question_id: String,
    /// The question.
    pub question: String,
    /// What became of it.
    pub state: ItemState,
    /// The prediction line or answer; null where there is none.
    pub result: Value,
    /// Why there is none.
    pub error: Option<String>,
    /// From question to result.
    pub time_ms: f64,
    /// Prompt tokens over all calls.
    pub tokens_in: i64,
    /// Tokens written over all calls.
    pub tokens_out: i64,
    /// The trace, for answers.
    pub trace_id: Option<String>,
    /// When it was done.
    pub finished_ms: i64,
}

readable!(EvalItem {
    run_id, row_no, question_id, question, error, time_ms, tokens_in, tokens_out, trace_id, finished_ms,
} json { result } word { state });

/// A call of a model behind an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalCall {
    /// What the model read.
    pub prompt: String,
    /// What it wrote, or the scores it gave.
    pub output: String,
    /// How long it took.
    pub time_ms: f64,
    /// Tokens read.
    pub tokens_in: i64,
    /// Tokens written.
    pub tokens_out: i64,
}

readable!(EvalCall {
    prompt,
    output,
    time_ms,
    tokens_in,
    tokens_out
});

impl Store {
    /// Begins a run, or finds it begun already; the kept one is returned.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn begin_run(&self, run: &NewEvalRun) -> Result<EvalRun, StoreError> {
        let doing = "begin an evaluation run";
        on_pool!(self, pool => sqlx::query(
            "insert into eval_runs (id, suite, suite_hash, task, dataset, dataset_hash, ranker, model, cache,
                 compression, config, items_total, started_ms)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             on conflict (id) do nothing",
        )
        .bind(text(&run.id))
        .bind(text(&run.suite))
        .bind(text(&run.suite_hash))
        .bind(text(&run.task))
        .bind(text(&run.dataset))
        .bind(text(&run.dataset_hash))
        .bind(text(&run.ranker))
        .bind(text(&run.model))
        .bind(text(&run.cache))
        .bind(text(&run.compression))
        .bind(run.config.to_string())
        .bind(run.items_total)
        .bind(now_ms())
        .execute(pool)
        .await
        .map(|_| ()))
        .map_err(StoreError::query(doing))?;
        self.run(&run.id).await
    }

    /// A run by name.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is none.
    pub async fn run(&self, id: &str) -> Result<EvalRun, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, EvalRun>("select * from eval_runs where id = $1")
            .bind(text(id))
            .fetch_optional(pool)
            .await)
        .map_err(StoreError::query("read an evaluation run"))?
        .ok_or_else(|| StoreError::Missing {
            what: "evaluation run",
            id: id.to_owned(),
        })
    }

    /// All runs, oldest first.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn runs(&self) -> Result<Vec<EvalRun>, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, EvalRun>(
            "select * from eval_runs order by started_ms, id"
        )
        .fetch_all(pool)
        .await)
        .map_err(StoreError::query("list evaluation runs"))
    }

    /// Notes that a run is complete.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn finish_run(&self, id: &str) -> Result<(), StoreError> {
        on_pool!(self, pool => sqlx::query(
            "update eval_runs set finished_ms = coalesce(finished_ms, $2) where id = $1"
        )
        .bind(text(id))
        .bind(now_ms())
        .execute(pool)
        .await
        .map(|_| ()))
        .map_err(StoreError::query("finish an evaluation run"))
    }

    /// Keeps an item with its calls and, for answers, its trace, which the item then names. False where
    /// the item is there already: the first stays, and nothing of the second is kept.
    ///
    /// # Errors
    /// Where the database refuses, or the run is not there.
    pub async fn add_item(
        &self,
        item: &EvalItem,
        calls: &[EvalCall],
        trace: Option<&NewTrace>,
    ) -> Result<bool, StoreError> {
        let trace_id = trace.map(|_| new_id());
        let added = on_pool!(self, pool => async {
            let mut transaction = pool.begin().await?;
            let done = sqlx::query(
                "insert into eval_items (run_id, row_no, question_id, question, state, result, error, time_ms,
                     tokens_in, tokens_out, trace_id, finished_ms)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
                 on conflict (run_id, row_no) do nothing",
            )
            .bind(text(&item.run_id))
            .bind(item.row_no)
            .bind(text(&item.question_id))
            .bind(text(&item.question))
            .bind(item.state.word())
            .bind(item.result.to_string())
            .bind(maybe_text(item.error.as_deref()))
            .bind(item.time_ms)
            .bind(item.tokens_in)
            .bind(item.tokens_out)
            .bind(trace_id.clone().or_else(|| maybe_text(item.trace_id.as_deref())))
            .bind(item.finished_ms)
            .execute(&mut *transaction)
            .await?;
            if done.rows_affected() == 0 {
                return Ok::<bool, sqlx::Error>(false);
            }
            for (number, call) in (0i64..).zip(calls) {
                sqlx::query(
                    "insert into eval_calls (run_id, row_no, call_no, prompt, output, time_ms, tokens_in, tokens_out)
                     values ($1, $2, $3, $4, $5, $6, $7, $8)",
                )
                .bind(text(&item.run_id))
                .bind(item.row_no)
                .bind(number)
                .bind(text(&call.prompt))
                .bind(text(&call.output))
                .bind(call.time_ms)
                .bind(call.tokens_in)
                .bind(call.tokens_out)
                .execute(&mut *transaction)
                .await?;
            }
            if let (Some(trace), Some(id)) = (trace, &trace_id) {
                insert_trace!(&mut *transaction, id, trace)?;
            }
            transaction.commit().await?;
            Ok(true)
        }
        .await);
        added.map_err(StoreError::query("keep an evaluated question"))
    }

    /// The rows of a run that have an outcome.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn rows_done(&self, run_id: &str) -> Result<BTreeSet<i64>, StoreError> {
        let rows: Vec<(i64,)> = on_pool!(self, pool => sqlx::query_as(
            "select row_no from eval_items where run_id = $1"
        )
        .bind(text(run_id))
        .fetch_all(pool)
        .await)
        .map_err(StoreError::query("list evaluated questions"))?;
        Ok(rows.into_iter().map(|(row,)| row).collect())
    }

    /// At most `limit` items of a run from row `from` on, by row.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn items(
        &self,
        run_id: &str,
        from: i64,
        limit: i64,
    ) -> Result<Vec<EvalItem>, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, EvalItem>(
            "select * from eval_items where run_id = $1 and row_no >= $2 order by row_no limit $3"
        )
        .bind(text(run_id))
        .bind(from)
        .bind(limit)
        .fetch_all(pool)
        .await)
        .map_err(StoreError::query("read evaluated questions"))
    }

    /// The model calls behind an item, in order.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn calls(&self, run_id: &str, row_no: i64) -> Result<Vec<EvalCall>, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, EvalCall>(
            "select prompt, output, time_ms, tokens_in, tokens_out from eval_calls
             where run_id = $1 and row_no = $2 order by call_no"
        )
        .bind(text(run_id))
        .bind(row_no)
        .fetch_all(pool)
        .await)
        .map_err(StoreError::query("read model calls"))
    }
}
