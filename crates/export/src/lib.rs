//! Fine-tuning data with provenance: from datasets, evaluation runs, users' feedback and inline-XBRL
//! facts, in the forms that trainers read, split so that nothing leaks.
//!
//! [`export`] reads its sources twice: once for the keys by which examples are parted and doubles are
//! found, once to write; so a dataset may be larger than memory. [`check`](fn@check) proves of any such
//! folder what [`export`] promises. This crate must not know HTTP, models or SQL.

mod card;
mod check;
mod error;
mod example;
mod files;
mod form;
mod manifest;
mod near;
mod source;
mod split;
mod table;
mod write;

pub use check::{Checked, check};
pub use error::ExportError;
pub use example::{Example, Ranked, Task};
pub use form::Form;
pub use manifest::{Counts, Manifest, Reworded, SourceRecord};
pub use source::{Source, Surroundings};
pub use split::{SplitBy, SplitName};
pub use write::{Defect, ExportOptions, Exported, FileFormat, export};
