//! What the passage rankers measure, of a question and of a filing.
//!
//! Knows words, tables of financial vocabulary and the shapes of filings; must not know how
//! candidates are found or how the measures are weighed.

mod question;
mod statement;
pub mod text;
mod unit;
mod vocabulary;

pub use question::{Looked, understand};
pub use statement::Statement;
pub use unit::{Unit, units_of};
