//! Importing: twice, changed, broken, beside searches.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{accession, filing, import, import_with, query, source, split};
use footnote_filings::{Filing, FilingsError};
use footnote_index::{
    Corpus, Filter, FindingKind, ImportOptions, Importer, IndexError, SearchBackend, Source,
};

fn one(accession: &str, text: &[&str]) -> Filing {
    filing(accession, "ACME Corp", "10-K", "FY2022", text)
}

/// Every file below a folder with its bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push((path.display().to_string(), std::fs::read(&path).unwrap())),
            }
        }
    }
    found.sort();
    found
}

fn damage(corpus: &Corpus) -> Vec<String> {
    let findings = corpus.check(&mut |_, _| {}).unwrap();
    let damage = findings
        .into_iter()
        .filter(|finding| finding.kind != FindingKind::Reader);
    damage.map(|finding| finding.message).collect()
}

#[test]
fn the_same_file_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let filings = || vec![one("A", &["alpha beta", "gamma"]), one("B", &["delta"])];
    let first = import(folder.path(), filings());
    assert_eq!(
        (first.added.len(), first.passages, first.warnings.len()),
        (2, 3, 2)
    );
    let corpus = Corpus::open(folder.path()).unwrap();
    let before = (
        corpus.search(&query("alpha")).unwrap(),
        files(&folder.path().join("filings")),
    );

    let mut elsewhere = filings();
    elsewhere[0].meta.source = "another/path".to_owned();
    let second = import(folder.path(), elsewhere);
    assert_eq!(
        (second.added.len(), second.replaced.len(), second.unchanged),
        (0, 0, 2)
    );
    corpus.refresh().unwrap();
    let after = (
        corpus.search(&query("alpha")).unwrap(),
        files(&folder.path().join("filings")),
    );
    assert_eq!(before, after);
    assert_eq!(corpus.stats().unwrap().passages, 3);

    let forced = ImportOptions {
        force: true,
        ..ImportOptions::default()
    };
    let third = import_with(folder.path(), filings(), &forced);
    assert_eq!(third.replaced.len(), 2);
    corpus.refresh().unwrap();
    assert_eq!(corpus.search(&query("alpha")).unwrap().len(), 1);
    assert!(damage(&corpus).is_empty());
}

#[test]
fn a_changed_file_replaces_its_passages_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    import(
        folder.path(),
        vec![one("A", &["alpha beta", "gamma"]), one("B", &["delta"])],
    );
    let corpus = Corpus::open(folder.path()).unwrap();
    let old = corpus.passages(&accession("A")).unwrap();

    let report = import(folder.path(), vec![one("A", &["alpha epsilon"])]);
    assert_eq!(
        (report.added.len(), report.replaced.as_slice()),
        (0, &[accession("A")][..])
    );
    // Before the refresh the reader may still see the old state, but only whole.
    assert!(corpus.filing(&accession("A")).unwrap().is_some());
    corpus.refresh().unwrap();
    assert_eq!(
        corpus.passages(&accession("A")).unwrap(),
        split(&one("A", &["alpha epsilon"]))
    );
    assert!(corpus.passage(&old[1].id).unwrap().is_none());
    assert!(corpus.search(&query("gamma")).unwrap().is_empty());
    assert_eq!(corpus.search(&query("delta")).unwrap().len(), 1);
    // `B` is not in the second import and stays; the old file of `A` is gone.
    assert_eq!(corpus.filings(&Filter::default()).unwrap().len(), 2);
    assert!(damage(&corpus).is_empty());
    assert_eq!(files(&folder.path().join("filings")).len(), 2);

    let mut renamed = one("A", &["alpha epsilon"]);
    renamed.meta.company = Some("Renamed Inc".to_owned());
    assert_eq!(import(folder.path(), vec![renamed]).replaced.len(), 1);

    let mut importer = Importer::open(folder.path()).unwrap();
    assert_eq!(
        importer
            .remove(&[accession("A"), accession("NONE")])
            .unwrap(),
        1
    );
    drop(importer);
    corpus.refresh().unwrap();
    assert!(corpus.filing(&accession("A")).unwrap().is_none());
    assert_eq!(files(&folder.path().join("filings")).len(), 1);
}

#[test]
fn what_fails_is_named_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let failing =
        |name: &str, read: Box<dyn FnOnce() -> footnote_filings::Readings + Send>| Source {
            name: name.to_owned(),
            bytes: 1,
            read,
        };
    let unreadable = || FilingsError::Unreadable {
        path: "half.html".to_owned(),
        reason: "the file is empty".to_owned(),
        mend: "fetch it again".to_owned(),
    };
    let sources = vec![
        source("good", vec![one("A", &["alpha"])]),
        failing(
            "half",
            Box::new(move || Box::new(std::iter::once(Err(unreadable())))),
        ),
        failing("panics", Box::new(|| panic!("at once"))),
        failing(
            "panics later",
            Box::new(|| Box::new(std::iter::from_fn(|| panic!("later")))),
        ),
        source("twin", vec![one("A", &["another alpha"])]),
        source("also good", vec![one("B", &["beta"])]),
    ];
    let options = ImportOptions {
        threads: 1,
        ..ImportOptions::default()
    };
    let mut importer = Importer::open(folder.path()).unwrap();
    let mut last = None;
    let report = importer
        .import(sources, &split, &options, &mut |progress| {
            last = Some(progress.clone())
        })
        .unwrap();
    let mut failed: Vec<_> = report
        .failed
        .iter()
        .map(|f| (f.source.as_str(), &f.message))
        .collect();
    failed.sort();
    let parts = [
        ("half", "the file is empty; fetch it again"),
        ("panics", "at once"),
        ("panics later", "later"),
        ("twin", "A was already given by good"),
    ];
    assert_eq!(failed.len(), parts.len(), "{failed:?}");
    for ((source, message), (wanted, part)) in failed.into_iter().zip(parts) {
        assert!(
            source == wanted && message.contains(part),
            "{source}: {message}"
        );
    }
    assert_eq!(report.added.len(), 2);
    let last = last.unwrap();
    assert_eq!(
        (last.sources_done, last.sources_total, last.failed),
        (6, Some(6), 4)
    );
    assert_eq!((last.imported, last.committed), (2, 2));
}

#[test]
fn a_second_importer_is_refused_and_a_missing_corpus_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Corpus::open(folder.path()).err().unwrap().to_string();
    assert!(missing.contains("corpus import"), "{missing}");
    let importer = Importer::open(folder.path()).unwrap();
    assert!(matches!(
        Importer::open(folder.path()),
        Err(IndexError::Locked { .. })
    ));
    // An import that has committed nothing yet is an empty corpus, not a broken one.
    let corpus = Corpus::open(folder.path()).unwrap();
    assert!(corpus.search(&query("alpha")).unwrap().is_empty());
    assert!(corpus.search_pages(&query("alpha")).unwrap().is_empty());
    drop(importer);
    Importer::open(folder.path()).unwrap();
}

#[test]
fn damage_is_found_named_and_mended_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let filings = || vec![one("A", &["alpha"]), one("B", &["beta"])];
    import(folder.path(), filings());
    let stored = files(&folder.path().join("filings"));
    std::fs::write(&stored[0].0, b"not what was written").unwrap();
    std::fs::remove_file(&stored[1].0).unwrap();
    let stray = Path::new(&stored[0].0).with_file_name("0000.json.zst");
    std::fs::write(&stray, b"stray").unwrap();
    let corpus = Corpus::open(folder.path()).unwrap();
    let mut kinds: Vec<FindingKind> = corpus
        .check(&mut |_, _| {})
        .unwrap()
        .into_iter()
        .map(|finding| finding.kind)
        .collect();
    kinds.sort();
    let wanted = [
        FindingKind::FilingMissing,
        FindingKind::FilingDamaged,
        FindingKind::Orphan,
    ];
    assert_eq!(kinds, wanted);

    let forced = ImportOptions {
        force: true,
        ..ImportOptions::default()
    };
    let report = import_with(folder.path(), filings(), &forced);
    assert_eq!(report.collected, 1);
    let corpus = Corpus::open(folder.path()).unwrap();
    assert!(damage(&corpus).is_empty());

    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    for message in [
        Corpus::open(folder.path()).err().unwrap().to_string(),
        Importer::open(folder.path()).err().unwrap().to_string(),
    ] {
        assert!(message.contains("corpus import"), "{message}");
    }
}

/// Two versions of every filing are imported over and over while a searcher looks: it must always
/// see each filing once, and all of it in one version.
#[test]
fn searches_go_on_during_imports_and_see_whole_filings() {
    let folder = tempfile::tempdir().unwrap();
    let version = |word: &str| -> Vec<Filing> {
        (0..10)
            .map(|i| {
                let text = format!("common {word}");
                one(&format!("F{i:02}"), &[text.as_str(); 5])
            })
            .collect()
    };
    import(folder.path(), version("old"));
    let corpus = Corpus::open(folder.path()).unwrap();
    let done = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                corpus.refresh().unwrap();
                let all = footnote_index::SearchQuery {
                    limit: 500,
                    ..query("common")
                };
                let hits = corpus.search(&all).unwrap();
                assert_eq!(hits.len(), 50);
                for pair in hits.iter().filter(|hit| hit.passage.span.start == 0) {
                    let name = &pair.passage.accession;
                    let passages = corpus.passages(name).unwrap();
                    assert_eq!(passages.len(), 5);
                    assert!(passages.iter().all(|p| p.text == passages[0].text));
                    assert!(corpus.filing(name).unwrap().is_some());
                }
                rounds += 1;
            }
            rounds
        });
        let options = ImportOptions {
            commit_passages: 20,
            ..ImportOptions::default()
        };
        for word in ["new", "newer", "newest"] {
            import_with(folder.path(), version(word), &options);
        }
        done.store(true, Ordering::Relaxed);
        looking.join().unwrap()
    });
    assert!(rounds > 0);
    corpus.refresh().unwrap();
    assert_eq!(corpus.search(&query("newest")).unwrap().len(), 10);
    assert!(corpus.search(&query("newer")).unwrap().is_empty());
    assert!(damage(&corpus).is_empty());
}
