//! The EDGAR HTML reader: filings as browsers show them, as normalised text with blocks and
//! inline-XBRL facts.
//!
//! Takes any source from HTML 3.2 of the nineties and typewriter text in `<PRE>` to XHTML with
//! inline XBRL, and never fails: what was doubtful is a [`Warning`]. One pass over tokens, no tree,
//! no recursion, memory linear in the source. It must not know of files, encodings, forms or
//! sections.
//!
//! The text: UTF-8, one block a line and a table one line a row (`label | cell | cell`), white
//! space collapsed, hidden elements left out. Blocks are in order, do not overlap, and are parted
//! by newlines; a page break takes the page number and running heads beside it into its span, and
//! has an empty span where there were none.

mod builder;
mod entities;
mod finish;
pub(crate) mod frame;
mod grid;
pub(crate) mod lexer;
#[cfg(test)]
mod lexer_tests;
mod plain;
mod style;
mod table;
pub(crate) mod tags;

use crate::types::{Block, Fact};
use crate::{Warning, xbrl};

/// An HTML document read whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HtmlDocument {
    /// Normalised text.
    pub text: String,
    /// Its structure.
    pub blocks: Vec<Block>,
    /// Its inline-XBRL facts in document order.
    pub facts: Vec<Fact>,
    /// The `<title>`, if it says anything.
    pub title: Option<String>,
}

/// Reads an HTML, XHTML or EDGAR plain-text document.
pub fn read_html(source: &str) -> (HtmlDocument, Vec<Warning>) {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let built = builder::Builder::new(source).run();
    let mut warnings = built.warnings;
    let blocks = finish::blocks(&built.frame);
    let facts = xbrl::facts(built.recorder, &built.frame, &built.hidden, &mut warnings);
    let document = HtmlDocument {
        text: built.frame.text,
        blocks,
        facts,
        title: built.title,
    };
    (document, warnings)
}
