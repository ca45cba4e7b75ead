//! Jobs: work that outlives the request that asked for it.
//!
//! A job is taken under a lease. Whoever took it and died loses it when the lease runs out, and it is
//! taken again until its attempts are used up; then it is dead and says why. So a job must be
//! safe to run twice.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rows::{maybe_text, on_pool, readable, text, words};
use crate::store::Pool;
use crate::{Store, StoreError, new_id, now_ms};

words! {
    /// How far a job is.
    JobState {
        /// To be done.
        Waiting = "waiting",
        /// Taken.
        Running = "running",
        /// Done, with a result.
        Done = "done",
        /// Given up.
        Dead = "dead",
        /// Cancelled.
        Cancelled = "cancelled",
    }
}

/// A job to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    /// What kind of work.
    pub kind: String,
    /// What it needs to know.
    pub payload: Value,
    /// Jobs of one key are one job, as long as it is kept.
    pub dedup_key: Option<String>,
    /// How often it is tried.
    pub attempts_max: i64,
}

/// A job as kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// See [`NewJob::kind`].
    pub kind: String,
    /// See [`NewJob::payload`].
    pub payload: Value,
    /// See [`NewJob::dedup_key`].
    pub dedup_key: Option<String>,
    /// How far it is.
    pub state: JobState,
    /// How often it was taken.
    pub attempts: i64,
    /// See [`NewJob::attempts_max`].
    pub attempts_max: i64,
    /// Share done, 0 to 1.
    pub progress: f64,
    /// What came of it.
    pub result: Option<Value>,
    /// The last failure.
    pub error: Option<String>,
    /// Not to be taken before.
    pub run_after_ms: i64,
    /// Until when it is its taker's.
    pub lease_ms: Option<i64>,
    /// When it was asked for.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
}

readable!(Job {
    id, kind, dedup_key, attempts, attempts_max, progress, error, run_after_ms, lease_ms, created_ms, updated_ms,
} json { payload } maybe_json { result } word { state });

impl Store {
    /// Asks for a job; one of the same key that is kept already is given instead.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn add_job(&self, job: &NewJob) -> Result<Job, StoreError> {
        let now = now_ms();
        on_pool!(self, pool => sqlx::query_as::<_, Job>(
            // The update changes nothing; without it the row that is there would not be returned.
            "insert into jobs (id, kind, payload, dedup_key, state, attempts, attempts_max, progress, run_after_ms,
                 created_ms, updated_ms)
             values ($1, $2, $3, $4, 'waiting', 0, $5, 0.0, $6, $6, $6)
             on conflict (dedup_key) do update set dedup_key = excluded.dedup_key
             returning *"
        )
        .bind(new_id())
        .bind(text(&job.kind))
        .bind(job.payload.to_string())
        .bind(maybe_text(job.dedup_key.as_deref()))
        .bind(job.attempts_max)
        .bind(now)
        .fetch_one(pool)
        .await)
        .map_err(StoreError::query("add a job"))
    }

    /// Takes the next job of a kind for `lease_ms` milliseconds, if there is one. No two takers get
    /// the same.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn take_job(&self, kind: &str, lease_ms: i64) -> Result<Option<Job>, StoreError> {
        let now = now_ms();
        let doing = "take a job";
        // A job whose taker died at its last attempt is dead.
        on_pool!(self, pool => sqlx::query(
            "update jobs set state = 'dead', error = coalesce(error, 'its worker vanished'), lease_ms = null,
                 updated_ms = $2
             where kind = $1 and state = 'running' and lease_ms < $2 and attempts >= attempts_max"
        )
        .bind(text(kind))
        .bind(now)
        .execute(pool)
        .await
        .map(|_| ()))
        .map_err(StoreError::query(doing))?;
        let taken = match self.pool() {
            Pool::Sqlite(pool) => {
                sqlx::query_as::<_, Job>(
                    "update jobs set state = 'running', attempts = attempts + 1, lease_ms = $2 + $3, updated_ms = $2
                     where id = (select id from jobs
                         where kind = $1 and ((state = 'waiting' and run_after_ms <= $2)
                             or (state = 'running' and lease_ms < $2))
                         order by run_after_ms, created_ms, id limit 1)
                     returning *",
                )
                .bind(text(kind))
                .bind(now)
                .bind(lease_ms)
                .fetch_optional(pool)
                .await
            }
            Pool::Postgres(pool) => {
                sqlx::query_as::<_, Job>(
                    "update jobs set state = 'running', attempts = attempts + 1, lease_ms = $2 + $3, updated_ms = $2
                     where id = (select id from jobs
                         where kind = $1 and ((state = 'waiting' and run_after_ms <= $2)
                             or (state = 'running' and lease_ms < $2))
                         order by run_after_ms, created_ms, id limit 1 for update skip locked)
                     returning *",
                )
                .bind(text(kind))
                .bind(now)
                .bind(lease_ms)
                .fetch_optional(pool)
                .await
            }
        };
        taken.map_err(StoreError::query(doing))
    }

    /// Notes how far a taken job is and prolongs its lease. False where it is no longer the
    /// caller's: cancelled, or taken by another after the lease ran out (`attempts` tells).
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn tell_progress(
        &self,
        job: &Job,
        progress: f64,
        lease_ms: i64,
    ) -> Result<bool, StoreError> {
        let now = now_ms();
        let rows = on_pool!(self, pool => sqlx::query(
            "update jobs set progress = $3, lease_ms = $4, updated_ms = $5
             where id = $1 and attempts = $2 and state = 'running'"
        )
        .bind(&job.id)
        .bind(job.attempts)
        .bind(progress.clamp(0.0, 1.0))
        .bind(now.saturating_add(lease_ms))
        .bind(now)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()));
        Ok(rows.map_err(StoreError::query("note a job's progress"))? == 1)
    }

    /// Ends a taken job: with its result, or with its failure, after which it waits `retry_ms` for the
    /// next attempt or is dead. False where it is no longer the caller's.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn end_job(
        &self,
        job: &Job,
        outcome: Result<&Value, &str>,
        retry_ms: i64,
    ) -> Result<bool, StoreError> {
        let now = now_ms();
        let state = match outcome {
            Ok(_) => JobState::Done,
            Err(_) if job.attempts < job.attempts_max => JobState::Waiting,
            Err(_) => JobState::Dead,
        };
        let progress = if outcome.is_ok() { 1.0 } else { job.progress };
        let rows = on_pool!(self, pool => sqlx::query(
            "update jobs set state = $3, result = $4, error = $5, progress = $6, run_after_ms = $7, lease_ms = null,
                 updated_ms = $8
             where id = $1 and attempts = $2 and state = 'running'"
        )
        .bind(&job.id)
        .bind(job.attempts)
        .bind(state.word())
        .bind(outcome.ok().map(Value::to_string))
        .bind(maybe_text(outcome.err()))
        .bind(progress)
        .bind(now.saturating_add(retry_ms))
        .bind(now)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()));
        Ok(rows.map_err(StoreError::query("end a job"))? == 1)
    }

    /// Cancels a job that is waiting or running. False where it is neither.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn cancel_job(&self, id: &str) -> Result<bool, StoreError> {
        let rows = on_pool!(self, pool => sqlx::query(
            "update jobs set state = 'cancelled', lease_ms = null, updated_ms = $2
             where id = $1 and state in ('waiting', 'running')"
        )
        .bind(text(id))
        .bind(now_ms())
        .execute(pool)
        .await
        .map(|done| done.rows_affected()));
        Ok(rows.map_err(StoreError::query("cancel a job"))? == 1)
    }

    /// A job by name.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is none.
    pub async fn job(&self, id: &str) -> Result<Job, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, Job>("select * from jobs where id = $1")
            .bind(text(id))
            .fetch_optional(pool)
            .await)
        .map_err(StoreError::query("read a job"))?
        .ok_or_else(|| StoreError::Missing {
            what: "job",
            id: id.to_owned(),
        })
    }
}
