//! Listening, and stopping: connections in, requests drained within a bounded time.
//!
//! The loop is our own and not axum's because a header that comes too slowly must be cut off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::routes;
use crate::state::App;

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Between two looks for what is too old.
const RETENTION_EVERY: Duration = Duration::from_secs(3_600);

/// Between two foldings of the metrics' samples.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves until `stop` resolves, then drains: no new connection, answers and jobs in hand get `limits.drain`, what is
/// left then is cancelled (jobs go back to the queue).
///
/// # Errors
/// Where the listener fails.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let limits = app.settings.limits;
    let workers = app
        .workshop
        .start(&app.store, &app.settings.jobs_dir, &app.stopping);
    let sweeper = tokio::spawn(forget(app.clone()));
    let metrics = app.metrics.clone();
    let upkeep = tokio::spawn(async move {
        // Samples are gathered until somebody folds them into their buckets; nobody may ever scrape.
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            metrics.run_upkeep();
        }
    });
    let router = routes::router(app.clone());
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .max_header_list_size(64 << 10)
        .max_concurrent_streams(Some(128));
    let mut stop = std::pin::pin!(stop);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = &mut stop => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a peer that left at once: neither ends the service.
                tracing::warn!(error.cause = %error, "a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Small events must not wait for each other.
        let _ = stream.set_nodelay(true);
        let service = router.clone().map_request(
            move |mut request: hyper::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(ConnectInfo(Peer(peer)));
                request.map(axum::body::Body::new)
            },
        );
        let connection =
            builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(error.cause = %error, "a connection ended early: {error}");
            }
        });
    }
    drop(listener);
    tracing::info!("stopping: no new connections; waiting for what is in hand");
    app.stopping.cancel();
    let drained = async {
        graceful.shutdown().await;
        for worker in workers {
            let _ = worker.await;
        }
    };
    if tokio::time::timeout(limits.drain, drained).await.is_err() {
        tracing::warn!(
            "what was in hand took longer than {:?}; it is cancelled",
            limits.drain
        );
        app.lives.cancel_all();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    sweeper.abort();
    upkeep.abort();
    app.store.close().await;
    Ok(())
}

/// Forgets what is older than the retention, now and every hour.
async fn forget(app: App) {
    let Some(days) = app.settings.retention_days else {
        return;
    };
    loop {
        let before = footnote_store::now_ms() - i64::from(days) * 86_400_000;
        match app.store.forget_traces(before).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(
                count,
                "{count} traces older than {days} days were forgotten"
            ),
            Err(error) => {
                tracing::error!(error.cause = %error, "old traces could not be forgotten: {error}")
            }
        }
        match app.store.forget_jobs(before).await {
            Ok(ids) => {
                for id in ids {
                    let folder = app.settings.jobs_dir.join(&id);
                    if let Err(error) = tokio::fs::remove_dir_all(&folder).await
                        && error.kind() != std::io::ErrorKind::NotFound
                    {
                        tracing::warn!(job.id = id, error.cause = %error, "a job's files could not be removed: {error}");
                    }
                }
            }
            Err(error) => {
                tracing::error!(error.cause = %error, "old jobs could not be forgotten: {error}")
            }
        }
        forget_uploads(&app.settings.jobs_dir, days).await;
        tokio::time::sleep(RETENTION_EVERY).await;
    }
}

/// Removes uploads whose job never came to its end.
async fn forget_uploads(folder: &std::path::Path, days: u32) {
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else {
        return;
    };
    let age = Duration::from_secs(u64::from(days) * 86_400);
    while let Ok(Some(entry)) = entries.next_entry().await {
        let upload = entry.file_name().to_string_lossy().starts_with("upload-");
        let modified = entry
            .metadata()
            .await
            .and_then(|metadata| metadata.modified());
        let old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|since| since > age));
        if upload
            && old
            && let Err(error) = tokio::fs::remove_dir_all(entry.path()).await
        {
            tracing::warn!(path = %entry.path().display(), error.cause = %error, "an old upload could not be removed: {error}");
        }
    }
}
