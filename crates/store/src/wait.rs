//! The store for callers that are not async: a command, a worker thread.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use crate::{Location, Store, StoreError};

/// A store with a small runtime of its own. Never to be used on an async runtime: there it would
/// block a thread that others need, and tokio panics to say so. May be shared between threads.
pub struct BlockingStore {
    runtime: Runtime,
    store: Store,
}

impl BlockingStore {
    /// As [`Store::open`].
    ///
    /// # Errors
    /// As there, and where the system gives no runtime.
    pub fn open(location: &Location) -> Result<BlockingStore, StoreError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| StoreError::Open {
                location: location.to_string(),
                reason: error.to_string(),
                mend: "close some programs and try again".to_owned(),
            })?;
        let store = runtime.block_on(Store::open(location))?;
        Ok(BlockingStore { runtime, store })
    }

    /// The store, whose calls [`wait`](Self::wait) waits for.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Waits for a call of the store: `db.wait(db.store().trace(id))`.
    pub fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }
}

impl Drop for BlockingStore {
    /// SQLite folds its log back into the file when the last connection closes properly.
    fn drop(&mut self) {
        self.runtime.block_on(self.store.close());
    }
}
