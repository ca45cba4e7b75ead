//! Answers as the traces that the store keeps.

use footnote_agent::Answer;
use footnote_server::trace_of;
use footnote_store::{BlockingStore, Location};

use crate::commands::Context;

/// Keeps an answer's trace in the home's database and gives its name.
pub fn keep(answer: &Answer, origin: &str, context: &Context) -> anyhow::Result<String> {
    let trace = trace_of(answer, origin, None)?;
    let store = BlockingStore::open(&Location::file(context.home.database()))?;
    Ok(store.wait(store.store().add_trace(&trace))?)
}
