//! Imports killed at any moment: nothing lost, nothing doubled, the next run resumes.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{filing, query, source, split};
use footnote_filings::Filing;
use footnote_index::{Corpus, Filter, FindingKind, ImportOptions, Importer, SearchBackend};

/// Set for the child process: the corpus folder and the version of the filings to import.
const FOLDER: &str = "FOOTNOTE_CRASH_FOLDER";
const VERSION: &str = "FOOTNOTE_CRASH_VERSION";

fn filings(version: &str) -> Vec<Filing> {
    (0..60)
        .map(|i| {
            let lines: Vec<String> = (0..8)
                .map(|line| format!("common word{i} line{line} of the {version} filing"))
                .collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            filing(&format!("F{i:02}"), "ACME Corp", "10-K", "FY2022", &lines)
        })
        .collect()
}

fn options() -> ImportOptions {
    ImportOptions {
        commit_passages: 40,
        ..ImportOptions::default()
    }
}

/// The import that gets killed. It runs only as a child of the tests below; by itself it has
/// nothing to do.
#[test]
fn child_import() {
    let (Ok(folder), Ok(version)) = (std::env::var(FOLDER), std::env::var(VERSION)) else {
        return;
    };
    let mut importer = Importer::open(Path::new(&folder)).unwrap();
    let sources = [source("test", filings(&version))];
    importer
        .import(sources, &split, &options(), &mut |progress| {
            println!(
                "@{} {} {}",
                progress.imported, progress.unchanged, progress.committed
            );
        })
        .unwrap();
}

/// Runs the import in a child and kills it after its `lines`-th progress line; whether it was
/// still running then.
fn run_and_kill(folder: &Path, version: &str, lines: usize) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_import", "--nocapture"])
        .env(FOLDER, folder)
        .env(VERSION, version)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let seen = stdout
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.contains('@'))
        .take(lines)
        .count();
    // SIGKILL on Unix: no destructor, no flush, no goodbye.
    child.kill().unwrap();
    child.wait().unwrap();
    seen == lines
}

#[test]
fn killed_imports_lose_nothing_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = 11usize;
    for version in ["first", "second"] {
        let mut kills = 0;
        for _ in 0..6 {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            kills += usize::from(run_and_kill(folder.path(), version, 1 + state / 7 % 40));
            let Ok(corpus) = Corpus::open(folder.path()) else {
                // Killed before the index was there: nothing was promised yet.
                assert!(!folder.path().join("index/meta.json").exists());
                continue;
            };
            // What a kill leaves is the state of a commit: every filing whole, in one version.
            for meta in corpus.filings(&Filter::default()).unwrap() {
                let passages = corpus.passages(&meta.accession).unwrap();
                assert_eq!(passages.len(), 8);
                let filing = corpus.filing(&meta.accession).unwrap().unwrap();
                assert_eq!(split(&filing), passages);
            }
            let findings = corpus.check(&mut |_, _| {}).unwrap();
            assert!(
                !findings.iter().any(|finding| finding.kind.is_damage()),
                "{findings:?}"
            );
        }
        assert!(kills > 0, "no import was killed while it ran");

        let mut importer = Importer::open(folder.path()).unwrap();
        let sources = [source("test", filings(version))];
        let report = importer
            .import(sources, &split, &options(), &mut |_| {})
            .unwrap();
        assert_eq!(
            report.unchanged + report.added.len() + report.replaced.len(),
            60
        );
        drop(importer);

        let (whole, expected) = (tempfile::tempdir().unwrap(), filings(version));
        common::import(whole.path(), expected.clone());
        let (killed, whole) = (
            Corpus::open(folder.path()).unwrap(),
            Corpus::open(whole.path()).unwrap(),
        );
        for filing in &expected {
            let name = &filing.meta.accession;
            assert_eq!(killed.filing(name).unwrap().as_ref(), Some(filing));
            assert_eq!(
                killed.passages(name).unwrap(),
                whole.passages(name).unwrap()
            );
        }
        for text in ["common", "word7 line3", version] {
            let deep = footnote_index::SearchQuery {
                limit: 600,
                ..query(text)
            };
            let ids = |corpus: &Corpus| -> Vec<String> {
                let hits = corpus.search(&deep).unwrap();
                let mut ids: Vec<_> = hits.into_iter().map(|hit| hit.passage.id.0).collect();
                ids.sort();
                ids
            };
            assert_eq!(ids(&killed), ids(&whole), "{text}");
        }
        let findings = killed.check(&mut |_, _| {}).unwrap();
        assert!(
            findings
                .iter()
                .all(|finding| finding.kind == FindingKind::Reader),
            "{findings:?}"
        );
    }
}
