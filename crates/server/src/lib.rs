//! Footnote over HTTP: questions, search, filings, jobs, OpenAI's form, MCP and the page.
//!
//! The only crate that knows HTTP. It must not know tensors or SQL, nor what a job does: the program hands it models,
//! a store and job handlers. A request is checked against limits and keys before anything is done for it, and nothing
//! that a request says is ever a path, an address or markup.
//!
//! - `routes` has a module a domain; `openapi` describes them; `error` is the one table of codes.
//! - `answering` and `live` make an answer out of a question, for listeners that may leave and come back.
//! - `jobs` runs the store's queue.
//! - `serve` listens and drains.

#![allow(
    unused_qualifications,
    reason = "utoipa's macro qualifies the names that it is given"
)]

mod answering;
mod auth;
mod corpus;
mod error;
mod extract;
mod jobs;
mod limits;
mod live;
mod mcp;
mod openapi;
mod page;
mod request;
mod routes;
mod serve;
mod settings;
mod state;

pub use answering::trace_of;
pub use auth::{Scope, create_key, hash_of};
pub use error::{ApiError, ErrorBody, ErrorCode};
pub use jobs::{JobFailure, JobHandler, JobWork, Workshop};
pub use openapi::json as openapi_json;
pub use routes::requests::{
    EvaluationRequest, EvaluationTask, ExportForm, ExportRequest, ImportPayload, ImportRequest,
};
pub use serve::serve;
pub use settings::{Limits, Settings, is_private};
pub use state::{App, Models};
