//! Where tests find what the repository may not hold: real filings, labelled questions, model files.
//!
//! Real data stands beside the checkout in `../shared` (or where `FOOTNOTE_SHARED` says), models in
//! Footnote's own home. A test that finds its input missing calls [`skip`] and returns: a skip is
//! printed past the test harness's capture, so that a run without data never looks like a full one.
//! This crate knows paths only; it must not know any other crate of the workspace.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The root of this checkout.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .map_or_else(|| here.to_path_buf(), Path::to_path_buf)
}

/// `relative` below the shared data folder, if it is there.
pub fn shared(relative: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("FOOTNOTE_SHARED") {
        Some(root) => PathBuf::from(root),
        None => repository().join("../shared"),
    };
    let path = root.join(relative);
    path.exists().then_some(path)
}

/// The GGUF or safetensors file of a catalogue model, if it has been fetched: `FOOTNOTE_HOME` or the
/// default home is searched for `models/{file}`.
pub fn model(file: &str) -> Option<PathBuf> {
    let home = match std::env::var_os("FOOTNOTE_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".local/share/footnote"),
    };
    let path = home.join("models").join(file);
    path.exists().then_some(path)
}

/// Says on the process's own standard error (the harness captures only the `print` macros) that a
/// test did not run, and why.
pub fn skip(test: &str, reason: &str) {
    let mut stderr = std::io::stderr().lock();
    // A closed standard error must not fail a test that was not going to run.
    let _ = writeln!(stderr, "SKIPPED {test}: {reason}");
}

/// The shared path, or a printed skip and `return` from the calling test.
#[macro_export]
macro_rules! shared_or_skip {
    ($relative:expr) => {
        match $crate::shared($relative) {
            Some(path) => path,
            None => {
                $crate::skip(
                    module_path!(),
                    concat!("no ", $relative, " beside the checkout"),
                );
                return;
            }
        }
    };
}

/// The model file, or a printed skip and `return` from the calling test.
#[macro_export]
macro_rules! model_or_skip {
    ($file:expr) => {
        match $crate::model($file) {
            Some(path) => path,
            None => {
                $crate::skip(
                    module_path!(),
                    concat!("no model ", $file, "; `footnote models get` fetches it"),
                );
                return;
            }
        }
    };
}
