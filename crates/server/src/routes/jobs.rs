//! Jobs over HTTP: asked for, watched, cancelled, tried again, their files fetched.

use std::convert::Infallible;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest as _, Multipart, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use footnote_store::{Job, JobState, NewJob, new_id, now_ms};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

use super::requests::{EvaluationRequest, ExportRequest, ImportPayload, ImportRequest, is_name};
use super::traces::PageQuery;
use crate::auth::{Caller, Scope, hash_of};
use crate::error::{ApiError, ErrorCode};
use crate::extract::{Path, Query, parse, require_json};
use crate::jobs::time_left_ms;
use crate::openapi::Errors;
use crate::state::App;

/// How often a job is tried.
const ATTEMPTS_MAX: i64 = 3;
/// Files of one upload.
const FILES_MAX: usize = 1_000;
/// Bytes of a request that carries records.
const RECORDS_BYTES_MAX: usize = 64 << 20;
/// Between two looks at a watched job.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// A job as shown.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct JobShown {
    /// Its name.
    pub id: String,
    /// `import`, `evaluation` or `export`.
    pub kind: String,
    /// `waiting`, `running`, `done`, `dead` (given up) or `cancelled`.
    #[schema(value_type = String)]
    pub state: JobState,
    /// How many jobs are taken before it, while it waits.
    pub queue_position: Option<i64>,
    /// What is being done.
    pub stage: String,
    /// Things done.
    pub done: i64,
    /// Of so many, where that is known.
    pub total: Option<i64>,
    /// Milliseconds left by the pace so far, where that can be said.
    pub time_left_ms: Option<i64>,
    /// How often it was begun.
    pub attempts: i64,
    /// How often it may be begun.
    pub attempts_max: i64,
    /// Why the last try failed.
    pub error: Option<String>,
    /// What came of it; `files` in it are fetched with GET /v1/jobs/{id}/files/{name}.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
}

/// A page of jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobShown>,
    /// For the next page; none on the last.
    pub next_cursor: Option<String>,
}

async fn shown(app: &App, job: Job) -> Result<JobShown, ApiError> {
    Ok(JobShown {
        queue_position: app.store.jobs_ahead(&job).await?,
        time_left_ms: time_left_ms(&job, now_ms()),
        id: job.id,
        kind: job.kind,
        state: job.state,
        stage: job.stage,
        done: job.items_done,
        total: job.items_total,
        attempts: job.attempts,
        attempts_max: job.attempts_max,
        error: job.error,
        result: job.result,
        created_ms: job.created_ms,
        updated_ms: job.updated_ms,
    })
}

/// A key that makes a repeated request the same request.
fn idempotency(
    headers: &HeaderMap,
    caller: &Caller,
    kind: &str,
) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if !(1..=200).contains(&key.len()) {
        return Err(ApiError::invalid(
            "Idempotency-Key is 1 to 200 readable characters",
        ));
    }
    let owner = caller.key.as_deref().unwrap_or_default();
    Ok(Some(format!("{owner}/{kind}/{key}")))
}

async fn add(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    kind: &'static str,
    payload: Value,
    request_hash: String,
) -> Result<Response, ApiError> {
    if !app.workshop.knows(kind) {
        return Err(ApiError::unavailable(
            format!("this server runs no {kind} jobs"),
            "no handler",
        ));
    }
    let dedup_key = idempotency(headers, caller, kind)?;
    let job = app
        .store
        .add_job(&NewJob {
            kind: kind.to_owned(),
            payload,
            dedup_key,
            request_hash: Some(request_hash.clone()),
            owner: caller.key.clone(),
            attempts_max: ATTEMPTS_MAX,
        })
        .await?;
    if job.request_hash.as_deref() != Some(&request_hash) {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            "this Idempotency-Key was used for another request",
        ));
    }
    app.workshop.wake();
    let location = format!("/v1/jobs/{}", job.id);
    let body = axum::Json(shown(app, job).await?);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], body).into_response())
}

async fn large_body(app: &App, request: Request) -> Result<axum::body::Bytes, ApiError> {
    let patience = app.settings.limits.body_timeout * 4;
    crate::extract::read(request.into_body(), RECORDS_BYTES_MAX, patience).await
}

/// Start an evaluation.
///
/// The result has the report's figures with intervals. Killed or cancelled, it goes on where it stood.
#[utoipa::path(
    post, path = "/v1/evaluations", tag = "jobs", request_body = EvaluationRequest,
    params(("idempotency-key" = Option<String>, Header, description = "Makes a repeated request the same request")),
    responses((status = 202, body = JobShown), Errors)
)]
pub async fn evaluate(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    caller.need(Scope::Jobs)?;
    require_json(&headers)?;
    let bytes = large_body(&app, request).await?;
    let asked: EvaluationRequest = parse(&bytes)?;
    asked.check()?;
    let payload = serde_json::to_value(&asked).map_err(ApiError::internal)?;
    let hash = hash_of(&payload.to_string());
    add(&app, &caller, &headers, "evaluation", payload, hash).await
}

/// Start an export of fine-tuning data.
#[utoipa::path(
    post, path = "/v1/exports", tag = "jobs", request_body = ExportRequest,
    params(("idempotency-key" = Option<String>, Header, description = "Makes a repeated request the same request")),
    responses((status = 202, body = JobShown), Errors)
)]
pub async fn export(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    caller.need(Scope::Jobs)?;
    require_json(&headers)?;
    let bytes = crate::extract::body_bytes(request, &app).await?;
    let asked: ExportRequest = parse(&bytes)?;
    asked.check()?;
    // Everybody's feedback is in an export, so it is not one key's to take.
    if asked.sources.iter().any(|source| source == "feedback") {
        caller.need(Scope::Admin)?;
    }
    for source in &asked.sources {
        if let Some(job) = source.strip_prefix("evaluation:") {
            mine(&app, &caller, job).await?;
        }
    }
    let payload = serde_json::to_value(&asked).map_err(ApiError::internal)?;
    let hash = hash_of(&payload.to_string());
    add(&app, &caller, &headers, "export", payload, hash).await
}

/// Start an import: of companies' filings from EDGAR (JSON), or of uploaded files (`multipart/form-data`, every part
/// with a file name: EDGAR HTML, page JSON lines, transcripts, `manifest.jsonl`; `.gz` and `.zst` too).
#[utoipa::path(
    post, path = "/v1/imports", tag = "jobs",
    request_body(content((ImportRequest = "application/json"), (Vec<u8> = "multipart/form-data"))),
    params(("idempotency-key" = Option<String>, Header, description = "Makes a repeated request the same request")),
    responses((status = 202, body = JobShown), Errors)
)]
pub async fn import(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    caller.need(Scope::Jobs)?;
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    if !kind.starts_with("multipart/form-data") {
        require_json(&headers)?;
        let bytes = crate::extract::body_bytes(request, &app).await?;
        let asked: ImportRequest = parse(&bytes)?;
        asked.check()?;
        let payload =
            serde_json::to_value(ImportPayload::Edgar(asked)).map_err(ApiError::internal)?;
        let hash = hash_of(&payload.to_string());
        return add(&app, &caller, &headers, "import", payload, hash).await;
    }
    let name = format!("upload-{}", new_id());
    let folder = app.settings.jobs_dir.join(&name);
    let taken = receive(&app, request, &folder).await;
    let (files, hash) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            discard(&folder).await;
            return Err(error);
        }
    };
    let payload = ImportPayload::Upload {
        folder: name.clone(),
        files,
    };
    let payload = serde_json::to_value(payload).map_err(ApiError::internal)?;
    let added = add(&app, &caller, &headers, "import", payload, hash).await;
    // A repeated request has its files already.
    let job = added.as_ref().ok().and_then(job_named);
    let used = match job {
        Some(id) => uses_upload(&app, &id, &name).await,
        None => false,
    };
    if !used {
        discard(&folder).await;
    }
    added
}

/// The job that a reply names.
fn job_named(response: &Response) -> Option<String> {
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    Some(location.rsplit('/').next()?.to_owned())
}

/// Whether a job works on this upload, and not on that of an earlier, same request.
async fn uses_upload(app: &App, job: &str, upload: &str) -> bool {
    match app.store.job(job).await {
        Ok(job) => job.payload["upload"]["folder"] == upload,
        // When in doubt the files stay.
        Err(_) => true,
    }
}

async fn discard(folder: &FilePath) {
    if let Err(error) = tokio::fs::remove_dir_all(folder).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %folder.display(), error.cause = %error, "an upload could not be removed: {error}");
    }
}

fn full(error: std::io::Error) -> ApiError {
    ApiError::unavailable("the upload cannot be written; the disk may be full", error)
}

/// A new file of an upload.
async fn begin_file(
    folder: &FilePath,
    name: &str,
    files: &[String],
) -> Result<tokio::fs::File, ApiError> {
    if !is_name(name) {
        let shown: String = name.chars().take(100).collect();
        return Err(ApiError::invalid(format!(
            "{shown:?} is no file name that is taken (letters, digits, hyphens, underscores, dots)"
        )));
    }
    if files.iter().any(|file| file == name) || files.len() >= FILES_MAX {
        return Err(ApiError::invalid(format!(
            "an upload has at most {FILES_MAX} files, each name once"
        )));
    }
    tokio::fs::File::create_new(folder.join(name))
        .await
        .map_err(full)
}

/// Writes the parts of an upload to files that are on the disk when this returns; gives their names and a hash of all.
async fn receive(
    app: &App,
    request: Request,
    folder: &FilePath,
) -> Result<(Vec<String>, String), ApiError> {
    let broken = |error: axum::extract::multipart::MultipartError| {
        ApiError::new(
            ErrorCode::BadRequest,
            format!("the upload is broken: {}", error.body_text()),
        )
    };
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| ApiError::new(ErrorCode::BadRequest, error.body_text()))?;
    tokio::fs::create_dir_all(folder).await.map_err(full)?;
    let most = app.settings.limits.upload_bytes;
    let patience = app.settings.limits.body_timeout;
    let mut files: Vec<String> = Vec::new();
    let mut bytes = 0u64;
    let mut hash = Sha256::new();
    // After a failure the rest is read and thrown away, so that the client hears the reason and not a broken pipe.
    let mut failure: Option<ApiError> = None;
    while let Some(mut part) = parts.next_field().await.map_err(broken)? {
        let name = part.file_name().unwrap_or_default().to_owned();
        let mut file = None;
        if failure.is_none() {
            match begin_file(folder, &name, &files).await {
                Ok(begun) => file = Some(begun),
                Err(error) => failure = Some(error),
            }
        }
        hash.update(name.as_bytes());
        loop {
            let chunk = tokio::time::timeout(patience, part.chunk())
                .await
                .map_err(|_| ApiError::new(ErrorCode::Timeout, "the upload stopped coming"))?
                .map_err(broken)?;
            let Some(chunk) = chunk else { break };
            bytes += chunk.len() as u64;
            if bytes > most {
                return Err(ApiError::new(
                    ErrorCode::TooLarge,
                    format!(
                        "an upload has at most {most} bytes; import larger sets with `footnote corpus import`"
                    ),
                ));
            }
            hash.update(&chunk);
            if let Some(open) = &mut file
                && let Err(error) = open.write_all(&chunk).await
            {
                failure = Some(full(error));
                file = None;
            }
        }
        if let Some(open) = &mut file {
            // Written and flushed before it is acknowledged; a file's last write is told of only here.
            let kept = match open.flush().await {
                Ok(()) => open.sync_all().await,
                failed => failed,
            };
            match kept {
                Ok(()) => files.push(name),
                Err(error) => failure = Some(full(error)),
            }
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    if files.is_empty() {
        return Err(ApiError::invalid("the upload has no file"));
    }
    let hash = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok((files, hash))
}

/// The job of that name, if it is the caller's to see.
async fn mine(app: &App, caller: &Caller, id: &str) -> Result<Job, ApiError> {
    let job = app.store.job(id).await?;
    if caller.owns(job.owner.as_deref()) {
        return Ok(job);
    }
    Err(ApiError::not_found("job", id))
}

/// List jobs.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", params(PageQuery),
    responses((status = 200, body = JobPage), Errors)
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<JobPage>, ApiError> {
    caller.need(Scope::Jobs)?;
    query.check()?;
    let jobs = app
        .store
        .jobs_before(caller.lists(), &query.cursor, query.limit)
        .await?;
    let next_cursor = query.next(jobs.len(), jobs.last().map(|job| job.id.as_str()));
    let mut page = Vec::new();
    for job in jobs {
        page.push(shown(&app, job).await?);
    }
    Ok(axum::Json(JobPage {
        jobs: page,
        next_cursor,
    }))
}

/// Show a job.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses((status = 200, body = JobShown), Errors)
)]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<JobShown>, ApiError> {
    caller.need(Scope::Jobs)?;
    let job = mine(&app, &caller, &id).await?;
    Ok(axum::Json(shown(&app, job).await?))
}

/// Watch a job.
///
/// Events `progress` whenever something changed and last `end`, each with the job as its data.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses((status = 200, description = "Events", content((String = "text/event-stream"))), Errors)
)]
pub async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    caller.need(Scope::Jobs)?;
    let first = mine(&app, &caller, &id).await?;
    let state = Watched {
        app,
        id,
        next: Some(first),
        last: None,
        ended: false,
    };
    let events = futures::stream::unfold(state, async |mut watched| {
        let event = watched.next().await?;
        Some((Ok::<Event, Infallible>(event), watched))
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response())
}

struct Watched {
    app: App,
    id: String,
    next: Option<Job>,
    last: Option<JobShown>,
    ended: bool,
}

impl Watched {
    /// The next event; none after the end, or when the server stops.
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        loop {
            let job = match self.next.take() {
                Some(job) => job,
                None => {
                    tokio::select! {
                        () = tokio::time::sleep(WATCH_EVERY) => {}
                        () = self.app.stopping.cancelled() => return None,
                    }
                    match self.app.store.job(&self.id).await {
                        Ok(job) => job,
                        Err(footnote_store::StoreError::Missing { .. }) => return None,
                        // A database that is away comes back.
                        Err(_) => continue,
                    }
                }
            };
            let ended = !matches!(job.state, JobState::Waiting | JobState::Running);
            let Ok(now) = shown(&self.app, job).await else {
                continue;
            };
            // The heartbeat alone is no news.
            let news = self.last.as_ref().is_none_or(|last| {
                JobShown {
                    updated_ms: now.updated_ms,
                    time_left_ms: now.time_left_ms,
                    ..last.clone()
                } != now
            });
            if !news && !ended {
                continue;
            }
            self.ended = ended;
            let data = serde_json::to_string(&now).unwrap_or_default();
            let id = now.updated_ms.to_string();
            self.last = Some(now);
            let name = if ended { "end" } else { "progress" };
            return Some(Event::default().id(id).event(name).data(data));
        }
    }
}

/// Cancel a job.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses((status = 200, body = JobShown), Errors)
)]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<JobShown>, ApiError> {
    caller.need(Scope::Jobs)?;
    let job = mine(&app, &caller, &id).await?;
    if !app.store.cancel_job(&job.id).await? {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!("the job is {} already", job.state.word()),
        ));
    }
    Ok(axum::Json(
        shown(&app, mine(&app, &caller, &id).await?).await?,
    ))
}

/// Try a failed or cancelled job again, from where it stood.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses((status = 200, body = JobShown), Errors)
)]
pub async fn retry(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<JobShown>, ApiError> {
    caller.need(Scope::Jobs)?;
    let job = mine(&app, &caller, &id).await?;
    if !app.store.retry_job(&job.id).await? {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "the job is {}; only a dead or cancelled one can be tried again",
                job.state.word()
            ),
        ));
    }
    app.workshop.wake();
    Ok(axum::Json(
        shown(&app, mine(&app, &caller, &id).await?).await?,
    ))
}

/// Fetch a file that a job made.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/files/{name}", tag = "jobs",
    params(("id" = String, Path, description = "The job"), ("name" = String, Path, description = "A name of `result.files`")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), Errors)
)]
pub async fn file(
    State(app): State<App>,
    caller: Caller,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    caller.need(Scope::Jobs)?;
    let job = mine(&app, &caller, &id).await?;
    let listed = job
        .result
        .as_ref()
        .and_then(|result| result["files"].as_array());
    let is_listed = listed.is_some_and(|files| files.iter().any(|file| file == name.as_str()));
    // Only what the job says that it made, and only where jobs make things: a name is never a path.
    if !is_listed || !is_name(&name) || !is_name(&job.id) {
        return Err(ApiError::not_found("file", &name));
    }
    let path: PathBuf = app.settings.jobs_dir.join(&job.id).join("out").join(&name);
    let file = tokio::fs::File::open(&path)
        .await
        .map_err(|_| ApiError::not_found("file", &name))?;
    let disposition = format!("attachment; filename=\"{name}\"");
    Ok((
        [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_DISPOSITION, disposition),
        ],
        Body::from_stream(ReaderStream::new(file)),
    )
        .into_response())
}
