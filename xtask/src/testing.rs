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

/// The compiler of kernels for GPUs, which runs without one.
const NVRTC_REQUIREMENTS: &str = "crates/device/tests/requirements.txt";

/// Everything as it is built by default, in which the engine's tests ask for devices' emulator, so that its tests run too; and what
/// needs the feature `cuda` besides, as cargo leaves tests out without a word whose features are off.
const SUITES: [&[&str]; 2] = [
    &["--workspace"],
    &[
        "--package",
        "footnote-device",
        "--features",
        "cuda,emulator",
        "--lib",
        "--test",
        "compile",
        "--test",
        "gpu",
    ],
];

/// Runs the suites; gives the number of tests that were skipped.
pub fn run(root: &Path) -> Result<usize> {
    let cargo = || {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["test", "--locked"]).current_dir(root);
        cargo
    };
    for suite in SUITES {
        let built = cargo()
            .args(suite)
            .arg("--no-run")
            .status()
            .context("cannot run cargo")?;
        ensure!(built.success(), "the tests do not build");
    }
    fetch_model(root)?;
    let python = match std::env::var_os("FOOTNOTE_TEST_PYTHON") {
        None => python(root, "test-python", REQUIREMENTS),
        Some(_) => None,
    };
    let nvrtc = match std::env::var_os("FOOTNOTE_NVRTC") {
        None => nvrtc(root),
        Some(_) => None,
    };
    let mut skipped = 0;
    for arguments in SUITES {
        let mut suite = cargo();
        suite.args(arguments);
        suite.envs(python.iter().map(|python| ("FOOTNOTE_TEST_PYTHON", python)));
        suite.envs(nvrtc.iter().map(|folder| ("FOOTNOTE_NVRTC", folder)));
        skipped += run_suite(suite)?;
    }
    Ok(skipped)
}

/// Runs one suite, passing on what it says; gives the number of tests that were skipped.
fn run_suite(mut suite: Command) -> Result<usize> {
    let mut suite = suite
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
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

/// A Python with some packages, in a folder of the target folder. Without it the tests that need them say that they are
/// skipped.
fn python(root: &Path, folder: &str, requirements: &str) -> Option<PathBuf> {
    let folder = target(root).join(folder);
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
            .arg(root.join(requirements))
            .status()
            .is_ok_and(|status| status.success());
    if !installed {
        crate::say(&format!(
            "the packages of {requirements} could not be installed: the tests that need them will be skipped"
        ));
        return None;
    }
    Some(python)
}

/// The folder of NVRTC's library, of its Python package.
fn nvrtc(root: &Path) -> Option<PathBuf> {
    let python = python(root, "test-nvrtc", NVRTC_REQUIREMENTS)?;
    let asked = Command::new(python)
        .args([
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
        ])
        .output()
        .ok()?;
    let packages = String::from_utf8(asked.stdout).ok()?;
    let folder = Path::new(packages.trim()).join("nvidia/cu13/lib");
    folder.is_dir().then_some(folder)
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
