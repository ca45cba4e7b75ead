//! The real binary with a home of its own for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A home of its own for each test.
pub struct Footnote {
    dir: TempDir,
}

impl Footnote {
    pub fn new() -> Footnote {
        Footnote {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_footnote"));
        command
            .env("FOOTNOTE_HOME", self.path("home"))
            .env("FOOTNOTE_OFFLINE", "1")
            .env_remove("FOOTNOTE_MODEL")
            .env_remove("FOOTNOTE_DEVICE")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        Run(self.command().args(arguments).output().unwrap())
    }

    /// Imports the sample corpus from the checkout.
    pub fn with_sample() -> Footnote {
        let footnote = Footnote::new();
        footnote
            .run(&["corpus", "import", &text(&sample())])
            .code(0);
        footnote
    }
}

pub struct Run(Output);

impl Run {
    #[track_caller]
    pub fn code(self, expected: i32) -> Run {
        assert_eq!(
            self.0.status.code(),
            Some(expected),
            "{}\n{}",
            self.out(),
            self.err()
        );
        self
    }

    #[track_caller]
    pub fn says(self, expected: &str) -> Run {
        assert!(
            self.err().contains(expected),
            "no {expected:?} in: {}",
            self.err()
        );
        self
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.0.stdout).unwrap_or_else(|error| {
            panic!("{error} in {}\n{}", self.out(), self.err());
        })
    }
}

pub fn text(path: &Path) -> String {
    path.display().to_string()
}

pub fn sample() -> PathBuf {
    footnote_testkit::repository().join("corpora/sample")
}
