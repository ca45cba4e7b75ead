//! Checks of the repository itself: things that the compiler does not see and a reviewer forgets.
//!
//! Quick and deterministic: it reads the checked-in files, in order, and nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use crate::sample;

/// Longer files are two files.
const MOST_LINES: usize = 700;

/// Files that a newcomer and the tools look for.
const NEEDED: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "LICENSE",
    "deny.toml",
    "corpora/README.md",
    "corpora/sp500.csv",
];

/// A word that no source file may hold, put together here so that this file does not hold it.
struct Banned {
    word: String,
    reason: &'static str,
    /// Only in `.rs` files.
    rust_only: bool,
}

fn banned() -> Vec<Banned> {
    let banned = |parts: &[&str], reason, rust_only| Banned {
        word: parts.concat(),
        reason,
        rust_only,
    };
    vec![
        banned(&["todo", "!("], "an unfinished place", true),
        banned(&["unimplemented", "!("], "an unfinished place", true),
        banned(&["#[ig", "nore"], "a test that does not run", true),
        banned(&["/ro", "ot/"], "a path of one machine", false),
        banned(&["/ho", "me/"], "a path of one machine", false),
        banned(&["/Us", "ers/"], "a path of one machine", false),
        banned(&["/wo", "rk/"], "a path of one machine", false),
        banned(&["index.cra", "tes.io"], "a package registry's host", false),
        banned(
            &["static.cra", "tes.io"],
            "a package registry's host",
            false,
        ),
        banned(&["pyp", "i.org"], "a package registry's host", false),
        banned(
            &["files.python", "hosted.org"],
            "a package registry's host",
            false,
        ),
        banned(
            &["registry.np", "mjs.org"],
            "a package registry's host",
            false,
        ),
    ]
}

/// Checks everything; the error names every finding.
pub fn check(root: &Path) -> Result<usize> {
    let mut findings = Vec::new();
    for needed in NEEDED {
        if !root.join(needed).is_file() {
            findings.push(format!("{needed} is missing"));
        }
    }
    let files = tracked(root)?;
    ensure!(!files.is_empty(), "git lists no files");
    let banned = banned();
    for file in &files {
        // The lock file is cargo's, with the registry's address as cargo writes it.
        if file == Path::new("Cargo.lock") {
            continue;
        }
        // A file that is tracked but deleted in the working tree is not there to be read.
        let Ok(bytes) = fs::read(root.join(file)) else {
            continue;
        };
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        findings.extend(findings_in(file, &text, &banned));
    }
    if let Err(error) = sample::check(root) {
        findings.push(format!("{error:#}"));
    }
    if !findings.is_empty() {
        bail!("{} findings\n  {}", findings.len(), findings.join("\n  "));
    }
    Ok(files.len())
}

/// The files that git knows of or would add, sorted.
fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let git = env::var_os("GIT").unwrap_or_else(|| "git".into());
    let output = Command::new(git)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    ensure!(
        output.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let mut files: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout)
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

fn findings_in(file: &Path, text: &str, banned: &[Banned]) -> Vec<String> {
    let mut findings = Vec::new();
    let name = file.display();
    let rust = file.extension().is_some_and(|end| end == "rs");
    if rust {
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") {
            findings.push(format!(
                "{name}:1: does not open with a module comment (//!)"
            ));
        }
        let lines = text.lines().count();
        if lines > MOST_LINES {
            findings.push(format!("{name}: {lines} lines, more than {MOST_LINES}"));
        }
    }
    for (line, number) in text.lines().zip(1..) {
        for banned in banned {
            if line.contains(&banned.word) && (rust || !banned.rust_only) {
                let (word, reason) = (&banned.word, banned.reason);
                findings.push(format!("{name}:{number}: {word:?}, {reason}"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_finds_what_it_is_for() {
        let banned = banned();
        let check = |file: &str, text: &str| findings_in(Path::new(file), text, &banned).len();
        assert_eq!(check("a.rs", "//! Says what it is.\nfn f() {}\n"), 0);
        assert_eq!(check("a.rs", "fn f() {}\n"), 1);
        assert_eq!(check("a.rs", "// not a module comment\n"), 1);
        let long = format!("//! Long.\n{}", "\n".repeat(MOST_LINES));
        assert_eq!(check("a.rs", &long), 1);
        assert_eq!(check("a.md", &long), 0);
        for rule in &banned {
            let text = format!("//! Module.\nlet x = {}\n", rule.word);
            assert_eq!(check("a.rs", &text), 1, "{}", rule.word);
            assert_eq!(
                check("a.md", &text),
                usize::from(!rule.rust_only),
                "{}",
                rule.word
            );
        }
    }
}
