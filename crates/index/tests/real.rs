//! Real filings through the real readers: everything imports, and nothing in the corpus is wrong.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;

use footnote_filings::{ReadOptions, expand, passages};
use footnote_index::{
    Corpus, Filter, ImportOptions, ImportReport, Importer, SearchBackend, SearchQuery, Source,
};
use footnote_testkit::shared_or_skip;

fn import(folder: &Path, path: &Path) -> ImportReport {
    let options = ReadOptions::default();
    let sources: Vec<Source> = expand(&[path])
        .into_iter()
        .map(|item| Source::file(item.unwrap(), options.clone()))
        .collect();
    Importer::open(folder)
        .unwrap()
        .import(sources, &passages, &ImportOptions::default(), &mut |_| {})
        .unwrap()
}

#[test]
fn real_filings_are_whole_in_the_corpus() {
    let html = shared_or_skip!("data/filings_html");
    let calls = shared_or_skip!("data/transcripts");
    let proxies = shared_or_skip!("data/proxy_pages");
    let folder = tempfile::tempdir().unwrap();
    let (mut filings, mut warnings) = (0, 0);
    for path in [&html, &calls, &proxies] {
        let report = import(folder.path(), path);
        filings += report.added.len();
        warnings += report.warnings.len();
    }
    let corpus = Corpus::open(folder.path()).unwrap();
    let stats = corpus.stats().unwrap();
    assert_eq!((stats.filings, stats.warnings), (filings, warnings));
    assert!(
        filings > 30 && stats.facts > 10_000 && stats.pages > 500,
        "{stats:?}"
    );
    let findings = corpus.check(&mut |_, _| {}).unwrap();
    let damage: Vec<_> = findings.iter().filter(|f| f.kind.is_damage()).collect();
    assert!(damage.is_empty(), "{damage:?}");
    assert_eq!(findings.len(), warnings);

    for path in [&html, &calls, &proxies] {
        let again = import(folder.path(), path);
        assert_eq!((again.added.len(), again.replaced.len()), (0, 0));
    }

    // Every filing is found by what it is and by the words of one of its passages.
    for meta in corpus.filings(&Filter::default()).unwrap() {
        let own = corpus.passages(&meta.accession).unwrap();
        let Some(longest) = own.iter().max_by_key(|passage| passage.text.len()) else {
            continue;
        };
        let query = SearchQuery {
            text: longest.text.replace(['"', '“', '”'], " "),
            filter: Filter {
                forms: vec![meta.form.clone()],
                accessions: vec![meta.accession.clone()],
                ..Filter::default()
            },
            limit: 5,
            ..SearchQuery::default()
        };
        let hits = corpus.search(&query).unwrap();
        assert!(
            hits.iter().any(|hit| hit.passage.id == longest.id),
            "{} is not among the best for its own words",
            longest.id
        );
    }
}
