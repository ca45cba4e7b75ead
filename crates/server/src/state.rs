//! What all routes share.

use std::ops::Deref;
use std::sync::Arc;

use footnote_agent::DocTypeRanker;
use footnote_engine::{CancellationToken, LanguageModel};
use footnote_store::Store;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

use crate::auth::KeyCache;
use crate::corpus::CorpusHandle;
use crate::jobs::Workshop;
use crate::limits::Places;
use crate::live::Registry;
use crate::settings::Settings;

/// The models of the service: one that answers, and those that `/v1/chat/completions` offers by name.
#[derive(Clone)]
pub struct Models {
    /// Writes answers.
    pub answering: Arc<dyn LanguageModel>,
    /// Orders the kinds of documents.
    pub doc_types: Arc<dyn DocTypeRanker>,
    /// All that can be chatted with, by the name they are asked for.
    pub chat: Vec<(String, Arc<dyn LanguageModel>)>,
}

/// What all routes share; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The inside of [`App`].
pub struct Shared {
    /// How the service runs.
    pub settings: Settings,
    /// What is remembered.
    pub store: Store,
    /// The filings.
    pub corpus: Arc<CorpusHandle>,
    /// The models.
    pub models: Models,
    /// The background work.
    pub workshop: Workshop,
    /// Looked-up keys.
    pub keys: KeyCache,
    /// Places of requests.
    pub places: Places,
    /// Answers in the making.
    pub lives: Registry,
    /// Places of questions that are being answered.
    pub answering: Arc<Semaphore>,
    /// Places of questions that wait or are being answered.
    pub asked: Arc<Semaphore>,
    /// Places of searches.
    pub searching: Arc<Semaphore>,
    /// The metrics as text.
    pub metrics: PrometheusHandle,
    /// Set when the service shuts down.
    pub stopping: CancellationToken,
}

impl App {
    /// Puts the parts together.
    pub fn new(
        settings: Settings,
        store: Store,
        models: Models,
        workshop: Workshop,
        metrics: PrometheusHandle,
    ) -> App {
        let limits = settings.limits;
        App(Arc::new(Shared {
            corpus: Arc::new(CorpusHandle::new(settings.corpus_dir.clone())),
            keys: KeyCache::default(),
            places: Places::new(limits.requests, limits.requests_per_key),
            lives: Registry::new(limits.replay),
            answering: Arc::new(Semaphore::new(limits.answers)),
            asked: Arc::new(Semaphore::new(limits.answers + limits.answers_waiting)),
            searching: Arc::new(Semaphore::new(limits.searches)),
            stopping: CancellationToken::new(),
            settings,
            store,
            models,
            workshop,
            metrics,
        }))
    }
}
