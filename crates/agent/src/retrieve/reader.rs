//! Reads whole filings from the index and keeps the last few measured.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use footnote_filings::{Fact, FilingMeta, Passage};
use footnote_index::{IndexError, SearchBackend};

use crate::features::{Unit, units_of};

/// How many filings stay in memory: a few megabytes each.
const KEPT: usize = 24;

/// A filing read and measured.
pub(super) struct ReadFiling {
    pub passages: Vec<Passage>,
    pub units: Vec<Unit>,
    pub facts: Vec<Fact>,
}

/// The last filings read, newest last; keyed by name and content.
#[derive(Default)]
pub(super) struct Reader {
    kept: Mutex<VecDeque<(String, Arc<ReadFiling>)>>,
}

impl Reader {
    /// A filing's passages, measured.
    pub(super) fn read(
        &self,
        backend: &dyn SearchBackend,
        meta: &FilingMeta,
    ) -> Result<Arc<ReadFiling>, IndexError> {
        let key = format!("{} {}", meta.accession, meta.sha256);
        // A panic elsewhere cannot leave this list half changed.
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut kept = lock();
            if let Some(at) = kept.iter().position(|(other, _)| *other == key)
                && let Some(entry) = kept.remove(at)
            {
                let read = Arc::clone(&entry.1);
                kept.push_back(entry);
                return Ok(read);
            }
        }
        let passages = backend.passages(&meta.accession)?;
        let read = Arc::new(ReadFiling {
            units: units_of(&passages),
            facts: backend.facts(&meta.accession)?,
            passages,
        });
        let mut kept = lock();
        kept.push_back((key, Arc::clone(&read)));
        while kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(read)
    }
}
