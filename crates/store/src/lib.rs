//! What Footnote remembers between commands: evaluation runs, traces, feedback, conversations,
//! jobs and API keys, in SQLite (one file in the home folder) or in Postgres by URL.
//!
//! Rows and `serde_json::Value` go in and out. This crate must not know models, search, prompts
//! or HTTP, and no other crate may know SQL. Both databases get the same statements: text, 64-bit
//! integers and doubles only, numbered parameters, and JSON kept as text. Where the two cannot agree
//! (taking a job) the statement stands twice, side by side.
//!
//! The schema is meant to be read by people too: plain words, times in milliseconds since 1970.

mod conversations;
mod error;
mod feedback;
mod id;
mod jobs;
mod keys;
mod location;
mod rows;
mod runs;
mod store;
mod traces;
mod wait;

pub use conversations::{Conversation, ConversationMessage, NewMessage, Speaker};
pub use error::StoreError;
pub use feedback::{Feedback, NewFeedback};
pub use id::{new_id, now_ms};
pub use jobs::{Job, JobProgress, JobState, NewJob};
pub use keys::{ApiKey, NewKey};
pub use location::Location;
pub use runs::{EvalCall, EvalItem, EvalRun, ItemState, NewEvalRun};
pub use store::Store;
pub use traces::{NewTrace, Trace};
pub use wait::BlockingStore;
