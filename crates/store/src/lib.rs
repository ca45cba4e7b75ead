//! What Footnote remembers between commands: evaluation runs, traces, feedback, conversations,
//! jobs and API keys, in SQLite (one file in the home folder) or in Postgres by URL.
//!
//! Rows and `serde_json::Value` go in and out. This crate must not know models, search, prompts
//! or HTTP, and no other crate may know SQL. Both databases get the same statements: text, 64-bit
//! integers and doubles only, numbered parameters, and JSON kept as text. Where the two cannot agree
//! (taking a job) the statement stands twice, side by side.
//!
//! Tables for the server (conversations, jobs, API keys) are kept as small as their contracts; the
//! server's own queries over them come with the server.

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
pub use jobs::{Job, JobState, NewJob};
pub use keys::ApiKey;
pub use location::Location;
pub use runs::{EvalCall, EvalItem, EvalRun, ItemState, NewEvalRun};
pub use store::Store;
pub use traces::{NewTrace, Trace};
pub use wait::BlockingStore;
