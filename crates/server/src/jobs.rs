//! Background work: jobs of the store's queue, run one at a time of each kind, seen, cancelled and resumed.
//!
//! A job is in the store before its asker is told of it, and its taker holds it under a lease that a heartbeat
//! prolongs; whoever loses the lease is told to stop and cannot write any more. What a kind does is a [`JobHandler`]
//! of the program; this module must not know imports, suites or exports.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use footnote_engine::CancellationToken;
use footnote_store::{Job, JobProgress, JobState, Store};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long a job is its taker's without a heartbeat.
const LEASE_MS: i64 = 30_000;
/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often the queue is looked at where nobody says that something came: another server's jobs, and retries.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Before a failed job is tried again, doubled with every try.
const RETRY_MS: i64 = 2_000;

/// What a job works with.
pub struct JobWork {
    /// The job's name.
    pub id: String,
    /// What was asked.
    pub payload: Value,
    /// A folder of its own, kept from try to try.
    pub folder: PathBuf,
    /// Says that the work must end: cancelled, or the server stops.
    pub cancel: CancellationToken,
    progress: Arc<Mutex<JobProgress>>,
}

impl JobWork {
    /// Says how far the work is; shown to whoever watches within a second.
    pub fn tell(&self, stage: &str, done: usize, total: Option<usize>) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = JobProgress {
            stage: stage.to_owned(),
            done: number(done),
            total: total.map(number),
        };
    }
}

/// Why a try of a job gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum JobFailure {
    /// It stopped because it was told to.
    #[error("stopped")]
    Stopped,
    /// It failed; another try may succeed.
    #[error("{0}")]
    Failed(String),
    /// It failed, and would every time.
    #[error("{0}")]
    Hopeless(String),
}

/// A kind of job.
pub trait JobHandler: Send + Sync {
    /// The kind's word.
    fn kind(&self) -> &'static str;

    /// Does the work, or what is left of it: a job may have been tried before, killed at any point. Blocks.
    ///
    /// # Errors
    /// See [`JobFailure`].
    fn run(&self, work: &JobWork) -> Result<Value, JobFailure>;
}

/// The kinds that this server runs.
#[derive(Clone, Default)]
pub struct Workshop {
    handlers: Vec<Arc<dyn JobHandler>>,
    arrived: Arc<Notify>,
}

impl Workshop {
    /// A workshop of these kinds.
    pub fn new(handlers: Vec<Arc<dyn JobHandler>>) -> Workshop {
        Workshop {
            handlers,
            arrived: Arc::default(),
        }
    }

    /// Whether a kind can be run.
    pub fn knows(&self, kind: &str) -> bool {
        self.handlers.iter().any(|handler| handler.kind() == kind)
    }

    /// Says that a job was added.
    pub fn wake(&self) {
        self.arrived.notify_waiters();
    }

    /// Starts a worker for every kind; they end after `stop`, with what is in hand given back.
    pub fn start(
        &self,
        store: &Store,
        folder: &std::path::Path,
        stop: &CancellationToken,
    ) -> Vec<JoinHandle<()>> {
        let worker = |handler: &Arc<dyn JobHandler>| {
            let worker = Worker {
                handler: Arc::clone(handler),
                store: store.clone(),
                folder: folder.to_owned(),
                arrived: Arc::clone(&self.arrived),
                stop: stop.clone(),
            };
            tokio::spawn(worker.work())
        };
        self.handlers.iter().map(worker).collect()
    }
}

struct Worker {
    handler: Arc<dyn JobHandler>,
    store: Store,
    folder: PathBuf,
    arrived: Arc<Notify>,
    stop: CancellationToken,
}

impl Worker {
    async fn work(self) {
        while !self.stop.is_cancelled() {
            // Listened for before the queue is looked at, so that nothing comes in between unheard.
            let arrived = self.arrived.notified();
            match self.store.take_job(self.handler.kind(), LEASE_MS).await {
                Ok(Some(job)) => {
                    self.run(job).await;
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(error.cause = %error, "the queue cannot be read: {error}");
                }
            }
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    async fn run(&self, job: Job) {
        let progress = Arc::new(Mutex::new(JobProgress {
            stage: "starting".to_owned(),
            done: job.items_done,
            total: job.items_total,
        }));
        let work = JobWork {
            folder: self.folder.join(&job.id),
            id: job.id.clone(),
            payload: job.payload.clone(),
            cancel: self.stop.child_token(),
            progress: Arc::clone(&progress),
        };
        let cancel = work.cancel.clone();
        tracing::info!(
            job.id = job.id,
            job.kind = job.kind,
            job.attempt = job.attempts,
            "a {} job begins",
            job.kind
        );
        let handler = Arc::clone(&self.handler);
        let mut thread = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&work.folder).map_err(|error| {
                JobFailure::Failed(format!("cannot make the job's folder: {error}"))
            })?;
            handler.run(&work)
        });
        let mut mine = true;
        let outcome = loop {
            tokio::select! {
                outcome = &mut thread => break outcome,
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            let now = progress
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            match self.store.tell_progress(&job, &now, LEASE_MS).await {
                Ok(true) => {}
                Ok(false) => {
                    mine = false;
                    cancel.cancel();
                }
                // A database that is away comes back; the lease is longer than a hiccup.
                Err(error) => {
                    tracing::warn!(job.id = job.id, error.cause = %error, "a heartbeat was lost: {error}")
                }
            }
        };
        let outcome = outcome.unwrap_or_else(|panic| {
            Err(JobFailure::Failed(format!("the job broke down: {panic}")))
        });
        if !mine {
            tracing::info!(job.id = job.id, "a job was cancelled or taken over");
            return;
        }
        let last = progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        self.end(&job, outcome, &last).await;
    }

    /// Writes how a job ended, as often as it takes: a result that was worked for is not lost to a database that is
    /// away for a moment.
    async fn end(&self, job: &Job, outcome: Result<Value, JobFailure>, last: &JobProgress) {
        let mut wait = Duration::from_millis(200);
        loop {
            let written = self.write_end(job, &outcome, last).await;
            let Err(error) = written else {
                return;
            };
            tracing::error!(job.id = job.id, error.cause = %error, "a job's end cannot be written: {error}");
            if self.stop.is_cancelled() {
                // It runs again after the restart; jobs bear that.
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(10));
        }
    }

    async fn write_end(
        &self,
        job: &Job,
        outcome: &Result<Value, JobFailure>,
        last: &JobProgress,
    ) -> Result<(), footnote_store::StoreError> {
        self.store.tell_progress(job, last, LEASE_MS).await?;
        let state = match outcome {
            Ok(result) => {
                self.store.end_job(job, Ok(result), 0).await?;
                "done"
            }
            Err(JobFailure::Stopped) => {
                self.store.hand_back_job(job).await?;
                "handed_back"
            }
            Err(JobFailure::Failed(reason)) => {
                let wait = RETRY_MS << job.attempts.clamp(0, 8);
                self.store.end_job(job, Err(reason), wait).await?;
                "failed"
            }
            Err(JobFailure::Hopeless(reason)) => {
                let last_try = Job {
                    attempts_max: job.attempts,
                    ..job.clone()
                };
                self.store.end_job(&last_try, Err(reason), 0).await?;
                "failed"
            }
        };
        metrics::counter!("footnote_jobs_total", "kind" => job.kind.clone(), "outcome" => state)
            .increment(1);
        tracing::info!(
            job.id = job.id,
            job.kind = job.kind,
            job.outcome = state,
            "a {} job ended: {state}",
            job.kind
        );
        Ok(())
    }
}

/// Milliseconds left, by the pace so far, where that can be said.
pub fn time_left_ms(job: &Job, now_ms: i64) -> Option<i64> {
    let total = job.items_total?;
    let started = job.started_ms?;
    if job.state != JobState::Running || job.items_done <= 0 || total < job.items_done {
        return None;
    }
    let elapsed = now_ms
        .checked_sub(started)
        .filter(|elapsed| *elapsed >= 0)?;
    elapsed
        .checked_mul(total - job.items_done)
        .map(|left| left / job.items_done)
}
