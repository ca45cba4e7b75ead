//! From a path to decoded text: opening, unpacking, size limits, encodings, and what the text is.
//!
//! Input is hostile: files are recognised by their content and not by their names, a compressed file
//! may unpack to a thousand times its size, and a file named `.htm` may be a picture. Everything that
//! cannot be read is a [`FilingsError`] that names the file and the mend. This module must not know
//! what a section or a passage is.

pub(crate) mod clean;
pub(crate) mod decode;
pub(crate) mod detect;
pub(crate) mod submission;
pub(crate) mod unpack;

use std::path::Path;
use std::sync::Arc;

use crate::FilingsError;
use crate::manifest::ManifestCache;

/// Limits and shared state of reading. Clones share the manifests already read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// The largest single document (HTML, text, a page corpus document), in unpacked bytes.
    pub max_document_bytes: u64,
    /// The longest line of a page corpus, in bytes.
    pub max_line_bytes: usize,
    pub(crate) manifests: Arc<ManifestCache>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            max_document_bytes: 512 << 20,
            max_line_bytes: 32 << 20,
            manifests: Arc::default(),
        }
    }
}

/// A text file as a stream of unpacked bytes: plain, gzip or zstd, by content.
///
/// # Errors
/// [`FilingsError`] that names the file, where it cannot be read or is no text.
pub fn open_text(path: &Path) -> Result<impl std::io::BufRead + Send, FilingsError> {
    Ok(unpack::open(path)?.into_reader())
}

pub(crate) fn unreadable(
    path: impl AsRef<Path>,
    reason: impl Into<String>,
    mend: impl Into<String>,
) -> FilingsError {
    FilingsError::Unreadable {
        path: path.as_ref().display().to_string(),
        reason: reason.into(),
        mend: mend.into(),
    }
}
