//! The corpus as the service sees it: perhaps not there yet, perhaps replaced while running.
//!
//! Opened when first needed and kept; where it is missing, every use looks again, so that an import makes it appear
//! without a restart. A corpus whose folder vanished is closed and looked for again.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use footnote_index::{Corpus, IndexError};

use crate::error::ApiError;

/// A corpus folder and what is open of it.
pub struct CorpusHandle {
    folder: PathBuf,
    open: RwLock<Option<Arc<Corpus>>>,
}

impl CorpusHandle {
    /// The corpus below `folder`, not opened yet.
    pub fn new(folder: PathBuf) -> CorpusHandle {
        CorpusHandle {
            folder,
            open: RwLock::default(),
        }
    }

    /// The corpus. Touches the disk: never on the async runtime.
    ///
    /// # Errors
    /// Where there is none, or it cannot be read.
    pub fn get(&self) -> Result<Arc<Corpus>, IndexError> {
        {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(corpus) = open.as_ref()
                && self.folder.is_dir()
            {
                return Ok(Arc::clone(corpus));
            }
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        *open = None;
        let corpus = Arc::new(Corpus::open(&self.folder)?);
        *open = Some(Arc::clone(&corpus));
        Ok(corpus)
    }

    /// Runs `work` with the corpus on a thread that may block.
    ///
    /// # Errors
    /// As [`get`](Self::get), and what `work` gives.
    pub async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Corpus) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let handle = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&*handle.get()?));
        done.await.map_err(ApiError::internal)?
    }
}
