//! Answers as the traces that the store keeps.

use footnote_agent::Answer;
use footnote_store::{BlockingStore, Location, NewTrace};
use serde_json::json;

use crate::commands::Context;

/// An answer as a trace; `origin` says who asked.
pub fn trace_of(answer: &Answer, origin: &str) -> Result<NewTrace, serde_json::Error> {
    let events = serde_json::to_value(&answer.trace.events)?;
    // The events have a column of their own.
    let mut bare = serde_json::to_value(answer)?;
    bare["trace"]["events"] = json!([]);
    let tokens = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    Ok(NewTrace {
        origin: origin.to_owned(),
        owner: None,
        question: answer.question.clone(),
        model: answer.trace.model.clone(),
        answer: bare,
        events,
        tokens_in: tokens(answer.trace.tokens_in),
        tokens_out: tokens(answer.trace.tokens_out),
        total_ms: answer.trace.total_ms,
    })
}

/// Keeps an answer's trace in the home's database and gives its name.
pub fn keep(answer: &Answer, origin: &str, context: &Context) -> anyhow::Result<String> {
    let trace = trace_of(answer, origin)?;
    let store = BlockingStore::open(&Location::file(context.home.database()))?;
    Ok(store.wait(store.store().add_trace(&trace))?)
}
