//! Filings as data: SEC filings, earnings-call transcripts and page corpora in, normalised text
//! with spans, sections, facts and passages out.
//!
//! Readers return a value and its [`Warning`]s: input is hostile and incomplete, and what was
//! doubtful is said, never hidden. This crate must not know of search, models or serving.

pub mod companies;
pub mod edgar;
mod error;
pub mod html;
mod input;
pub mod manifest;
mod meta;
mod pages;
mod passages;
mod reader;
mod sections;
pub mod tokens;
mod transcript;
pub mod types;
mod warning;
pub mod xbrl;

pub use error::FilingsError;
pub use html::{HtmlDocument, read_html};
pub use input::{ReadOptions, open_text};
pub use passages::passages;
pub use reader::{ImportItem, Reading, Readings, expand, read_path};
pub use types::*;
pub use warning::{Warning, WarningCode};
