//! `serve`: models, store and job handlers put together, then the server until a signal ends it.

pub mod config;
mod log;
mod work;

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use footnote_server::{App, Models, Workshop, serve};
use footnote_store::{Location, Store};
use tokio::net::TcpListener;

use crate::args::ServeArgs;
use crate::commands::Context;
use crate::output::{Outcome, Output};
use crate::setup;
use config::Config;

/// Bounds of the histograms, in seconds: from a look-up to the longest answer.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0,
];

pub fn run(args: &ServeArgs, context: &Context) -> anyhow::Result<Outcome> {
    let config = Config::load(args, context)?;
    let context = &Context {
        device: Some(config.device),
        ..context.clone()
    };
    let _spans = log::start(config.log_format)?;
    std::fs::create_dir_all(context.home.root())
        .with_context(|| format!("cannot make {}", context.home.root().display()))?;
    let lock = match &config.location {
        Location::Sqlite(_) => Some(only_one(context)?),
        Location::Postgres(_) => None,
    };
    let minds = setup::minds(config.model.as_deref(), context)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the system gives no threads")?;
    let served = runtime.block_on(async {
        let store = Store::open(&config.location).await?;
        if config.keys_required() && store.keys().await?.is_empty() {
            context.output.warning(
                "no API key exists yet, so every request will be refused; `footnote keys create NAME` makes one",
            );
        }
        if lock.is_some() {
            // This process is the only one: whoever ran a job before is gone.
            let ended = store.end_leases().await?;
            if ended > 0 {
                tracing::info!(jobs = ended, "{ended} jobs of the last run go on");
            }
        }
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .context("the metrics cannot be started")?
            .install_recorder()
            .context("the metrics cannot be started")?;
        let quiet = Context {
            output: Output::new(true),
            ..context.clone()
        };
        let workshop = Workshop::new(vec![
            Arc::new(work::Import {
                context: quiet.clone(),
                user_agent: config.edgar_user_agent.clone(),
                edgar_url: args.edgar_url.clone(),
            }),
            Arc::new(work::Evaluation {
                context: quiet.clone(),
                loaded: minds.loaded.clone(),
            }),
            Arc::new(work::Export {
                context: quiet,
                location: config.location.clone(),
            }),
        ]);
        let models = Models {
            answering: minds.answering,
            doc_types: minds.doc_types,
            chat: minds.loaded,
        };
        let app = App::new(config.settings(context), store, models, workshop, metrics);
        let listener = TcpListener::bind(config.addr)
            .await
            .with_context(|| format!("cannot listen on {}; another program may, or the address is not this machine's", config.addr))?;
        let ended = ended()?;
        let addr = listener.local_addr().context("the listener has no address")?;
        context.output.line(&format!("listening on http://{addr}"))?;
        serve(app, listener, ended).await.context("the listener failed")
    });
    drop(lock);
    served?;
    context.output.step("stopped");
    Ok(Outcome::Done)
}

/// Listens for whoever ends the process in order, from now on: a signal that comes before the first request must not
/// find nobody listening, for it would end the process at once.
#[cfg(unix)]
fn ended() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).context("the system's signals cannot be listened for");
    let mut interrupted = listen(SignalKind::interrupt())?;
    let mut terminated = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}

/// Listens for whoever ends the process in order.
#[cfg(not(unix))]
fn ended() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// Two services on one SQLite file would both take the jobs of the other for orphans.
fn only_one(context: &Context) -> anyhow::Result<File> {
    let path = context.home.service_lock();
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => bail!(
            "another `footnote serve` runs on {}; stop it, or give this one a --home of its own, or both a Postgres database",
            context.home.root().display()
        ),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}
