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
    /// Of the request that asked for it: the same key with another request is a mistake.
    pub request_hash: Option<String>,
    /// Whose it is: the API key that asked, where there was one.
    pub owner: Option<String>,
    /// How often it is tried.
    pub attempts_max: i64,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// What is being done, in a word or two.
    pub stage: String,
    /// Things done.
    pub done: i64,
    /// Of so many, where that is known.
    pub total: Option<i64>,
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
    /// See [`NewJob::request_hash`].
    pub request_hash: Option<String>,
    /// See [`NewJob::owner`].
    pub owner: Option<String>,
    /// How far it is.
    pub state: JobState,
    /// How often it was taken.
    pub attempts: i64,
    /// See [`NewJob::attempts_max`].
    pub attempts_max: i64,
    /// See [`JobProgress::stage`].
    pub stage: String,
    /// See [`JobProgress::done`].
    pub items_done: i64,
    /// See [`JobProgress::total`].
    pub items_total: Option<i64>,
    /// What came of it.
    pub result: Option<Value>,
    /// The last failure.
    pub error: Option<String>,
    /// Not to be taken before.
    pub run_after_ms: i64,
    /// Until when it is its taker's.
    pub lease_ms: Option<i64>,
    /// When it was last taken.
    pub started_ms: Option<i64>,
    /// When it was asked for.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
}

readable!(Job {
    id, kind, dedup_key, request_hash, owner, attempts, attempts_max, stage, items_done, items_total, error,
    run_after_ms, lease_ms, started_ms, created_ms, updated_ms,
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
                 created_ms, updated_ms, request_hash, owner)
             values ($1, $2, $3, $4, 'waiting', 0, $5, 0.0, $6, $6, $6, $7, $8)
             on conflict (dedup_key) do update set dedup_key = excluded.dedup_key
             returning *"
        )
        .bind(new_id())
        .bind(text(&job.kind))
        .bind(job.payload.to_string())
        .bind(maybe_text(job.dedup_key.as_deref()))
        .bind(job.attempts_max)
        .bind(now)
        .bind(maybe_text(job.request_hash.as_deref()))
        .bind(maybe_text(job.owner.as_deref()))
        .fetch_one(pool)
        .await)
        .map_err(StoreError::query("add a job"))
    }

    /// Takes the next job of a kind for `lease_ms` milliseconds, if there is one. No two takers get
    /// the same. A job that was last touched in the future (the clock went back) is not waited for.
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
                    "update jobs set state = 'running', attempts = attempts + 1, lease_ms = $2 + $3,
                         started_ms = $2, updated_ms = $2
                     where id = (select id from jobs
                         where kind = $1 and ((state = 'waiting' and (run_after_ms <= $2 or updated_ms > $2))
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
                    "update jobs set state = 'running', attempts = attempts + 1, lease_ms = $2 + $3,
                         started_ms = $2, updated_ms = $2
                     where id = (select id from jobs
                         where kind = $1 and ((state = 'waiting' and (run_after_ms <= $2 or updated_ms > $2))
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
        progress: &JobProgress,
        lease_ms: i64,
    ) -> Result<bool, StoreError> {
        let now = now_ms();
        let rows = on_pool!(self, pool => sqlx::query(
            "update jobs set stage = $3, items_done = $6, items_total = $7, lease_ms = $4, updated_ms = $5
             where id = $1 and attempts = $2 and state = 'running'"
        )
        .bind(&job.id)
        .bind(job.attempts)
        .bind(text(&progress.stage))
        .bind(now.saturating_add(lease_ms))
        .bind(now)
        .bind(progress.done)
        .bind(progress.total)
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
        let rows = on_pool!(self, pool => sqlx::query(
            "update jobs set state = $3, result = $4, error = $5, run_after_ms = $6, lease_ms = null, updated_ms = $7
             where id = $1 and attempts = $2 and state = 'running'"
        )
        .bind(&job.id)
        .bind(job.attempts)
        .bind(state.word())
        .bind(outcome.ok().map(Value::to_string))
        .bind(maybe_text(outcome.err()))
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

    /// Gives a taken job back untouched, for a worker that stops in order: it waits again, and the
    /// try does not count. False where it is no longer the caller's.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn hand_back_job(&self, job: &Job) -> Result<bool, StoreError> {
        let rows = on_pool!(self, pool => sqlx::query(
            "update jobs set state = 'waiting', attempts_max = attempts_max + 1, lease_ms = null, updated_ms = $3
             where id = $1 and attempts = $2 and state = 'running'"
        )
        .bind(&job.id)
        .bind(job.attempts)
        .bind(now_ms())
        .execute(pool)
        .await
        .map(|done| done.rows_affected()));
        Ok(rows.map_err(StoreError::query("hand back a job"))? == 1)
    }

    /// Ends the leases of all running jobs, for a server that has just started and is the store's only one: whoever
    /// ran them is gone, and waiting for the leases to run out would be waiting for nobody. Gives how many.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn end_leases(&self) -> Result<u64, StoreError> {
        on_pool!(self, pool => sqlx::query("update jobs set lease_ms = 0 where state = 'running'")
            .execute(pool)
            .await
            .map(|done| done.rows_affected()))
        .map_err(StoreError::query("end leases"))
    }

    /// Lets a dead or cancelled job be tried again from where it stood, with all its tries. False where it is
    /// neither.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn retry_job(&self, id: &str) -> Result<bool, StoreError> {
        // The count of tries goes on, so that a worker that was cancelled and has not noticed yet
        // cannot write into the new try.
        let rows = on_pool!(self, pool => sqlx::query(
            "update jobs set state = 'waiting', attempts_max = attempts_max + attempts, error = null, run_after_ms = $2,
                 updated_ms = $2
             where id = $1 and state in ('dead', 'cancelled')"
        )
        .bind(text(id))
        .bind(now_ms())
        .execute(pool)
        .await
        .map(|done| done.rows_affected()));
        Ok(rows.map_err(StoreError::query("retry a job"))? == 1)
    }

    /// How many waiting jobs are taken before this one, if it waits.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn jobs_ahead(&self, job: &Job) -> Result<Option<i64>, StoreError> {
        if job.state != JobState::Waiting {
            return Ok(None);
        }
        let row: Result<(i64,), sqlx::Error> = on_pool!(self, pool => sqlx::query_as(
            "select count(*) from jobs where kind = $4 and state = 'waiting'
                 and (run_after_ms < $1 or (run_after_ms = $1 and (created_ms < $2 or (created_ms = $2 and id < $3))))"
        )
        .bind(job.run_after_ms)
        .bind(job.created_ms)
        .bind(&job.id)
        .bind(text(&job.kind))
        .fetch_one(pool)
        .await);
        Ok(Some(row.map_err(StoreError::query("count jobs"))?.0))
    }

    /// At most `limit` jobs asked for before the one named `before` (empty: from the last), newest first;
    /// of one owner where one is given.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn jobs_before(
        &self,
        owner: Option<&str>,
        before: &str,
        limit: i64,
    ) -> Result<Vec<Job>, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, Job>(
            "select * from jobs where ($1 = '' or id < $1) and ($2 = '' or owner = $2)
             order by id desc limit $3"
        )
        .bind(text(before))
        .bind(text(owner.unwrap_or_default()))
        .bind(limit)
        .fetch_all(pool)
        .await)
        .map_err(StoreError::query("list jobs"))
    }

    /// How many jobs there are in each state.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn job_counts(&self) -> Result<Vec<(JobState, i64)>, StoreError> {
        let rows: Result<Vec<(String, i64)>, sqlx::Error> = on_pool!(self, pool => sqlx::query_as(
            "select state, count(*) from jobs group by state order by state"
        )
        .fetch_all(pool)
        .await);
        rows.map_err(StoreError::query("count jobs"))?
            .into_iter()
            .map(|(state, count)| {
                let state =
                    crate::rows::word("state", state).map_err(StoreError::query("count jobs"))?;
                Ok((state, count))
            })
            .collect()
    }

    /// Forgets the jobs that ended before `before_ms`; gives their names, so that their files can go too.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn forget_jobs(&self, before_ms: i64) -> Result<Vec<String>, StoreError> {
        let rows: Result<Vec<(String,)>, sqlx::Error> = on_pool!(self, pool => sqlx::query_as(
            "delete from jobs where updated_ms < $1 and state in ('done', 'dead', 'cancelled') returning id"
        )
        .bind(before_ms)
        .fetch_all(pool)
        .await);
        let rows = rows.map_err(StoreError::query("forget old jobs"))?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }
}
