//! `cargo xtask test`: fetches the small test model, runs the whole suite, and says what it could
//! not run.
//!
//! Tests that miss real data or a model say so on standard error past the harness's capture; this
//! chore counts them, so that a green run without data does not look like a full one.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The smallest model of the catalogue.
const TEST_MODEL: &str = "smollm2-135m";

/// What the tests with other people's clients need.
const REQUIREMENTS: &str = "evals/test-requirements.txt";

/// Runs the suite; gives the number of tests that were skipped.
pub fn run(root: &Path) -> Result<usize> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(&cargo)
        .args(["test", "--workspace", "--locked", "--no-run"])
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    ensure!(built.success(), "the tests do not build");
    fetch_model(root)?;
    let mut suite = Command::new(cargo);
    suite
        .args(["test", "--workspace", "--locked"])
        .current_dir(root)
        .stderr(Stdio::piped());
    if std::env::var_os("FOOTNOTE_TEST_PYTHON").is_none()
        && let Some(python) = python(root)
    {
        suite.env("FOOTNOTE_TEST_PYTHON", python);
    }
    let mut suite = suite.spawn().context("cannot run cargo")?;
    let stderr = suite.stderr.take().context("cargo has no standard error")?;
    let mut skipped = 0;
    let mut out = std::io::stderr().lock();
    for line in BufReader::new(stderr).split(b'\n') {
        let line = line.context("cannot read what cargo says")?;
        skipped += usize::from(is_skip(&line));
        out.write_all(&line)
            .and_then(|()| out.write_all(b"\n"))
            .context("cannot pass on what cargo says")?;
    }
    let status = suite.wait().context("cargo was lost")?;
    ensure!(status.success(), "the tests failed");
    Ok(skipped)
}

/// A Python with the clients that the service is tested with, in the target folder. Without it those tests say that
/// they are skipped.
fn python(root: &Path) -> Option<PathBuf> {
    let folder = target(root).join("test-python");
    let python = folder.join("bin/python");
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&folder)
        .status();
    let installed = made.is_ok_and(|status| status.success())
        && Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ])
            .arg(root.join(REQUIREMENTS))
            .status()
            .is_ok_and(|status| status.success());
    if !installed {
        crate::say(&format!(
            "the packages of {REQUIREMENTS} could not be installed: the tests that need them will be skipped"
        ));
        return None;
    }
    Some(python)
}

fn target(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => root.join(target),
        None => root.join("target"),
    }
}

/// The model that tests run on. Without it the suite still runs, and says which tests it skipped.
fn fetch_model(root: &Path) -> Result<()> {
    // The suite's own build made the binary; `cargo run` would build the libraries once more with
    // other features.
    let fetched = Command::new(target(root).join("debug/footnote"))
        .args(["models", "get", TEST_MODEL])
        .status()
        .context("cannot run the footnote binary that the suite built")?;
    if !fetched.success() {
        crate::say(&format!(
            "{TEST_MODEL} could not be fetched: the tests that need it will be skipped"
        ));
    }
    Ok(())
}

fn is_skip(line: &[u8]) -> bool {
    // The harness may have left half a line of its own before it.
    line.windows(8).any(|word| word == b"SKIPPED ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_are_counted_by_the_words_of_the_testkit() {
        assert!(is_skip(b"SKIPPED engine::tests: no model x.gguf"));
        assert!(is_skip(b"test a ... SKIPPED b: no data"));
        assert!(!is_skip(b"   Compiling skipped v0.1.0"));
    }
}
