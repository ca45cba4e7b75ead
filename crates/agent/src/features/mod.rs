//! What the passage rankers measure, of a question and of a filing.
//!
//! Knows words, tables of financial vocabulary and the shapes of filings; must not know how
//! candidates are found or how the measures are weighed.

pub(crate) mod concept;
mod question;
pub(crate) mod statement;
pub mod text;
pub(crate) mod unit;
mod vocabulary;

pub use question::{Looked, understand};
pub use statement::Statement;
pub use unit::{Unit, units_of};
