//! Whole files scored: the clear rule for every kind of bad input.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::path::PathBuf;

use footnote_eval::{Task, score};
use tempfile::TempDir;

struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Files {
        Files {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn write(&self, name: &str, lines: &[&str]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, lines.join("\n")).unwrap();
        path
    }
}

fn record(id: &str, qrel: &str) -> String {
    let prompt = "Rank …\\n\\nQuestion: q?\\n\\nDocument Types to rank:\\n[Document Index 0] DEF14A\\n\\n\
                  [Document Index 1] 10-K\\n\\n[Document Index 2] 10-Q\\n\\nYour response must be …";
    format!(
        r#"{{"uuid":"{id}","messages":[{{"role":"user","content":"{prompt}"}}],"qrel":{qrel}}}"#
    )
}

#[test]
fn perfect_and_reversed_orders() {
    let files = Files::new();
    let dataset = files.write("d", &[&record("a", r#"{"0":0,"1":2,"2":1}"#)]);
    let good = files.write("p", &[r#"{"id":"a","ranking":[1,2,0]}"#]);
    let bad = files.write("q", &[r#"{"id":"a","ranking":[0,2,1]}"#]);
    let good = score(Task::DocTypes, &dataset, &good).unwrap();
    let bad = score(Task::DocTypes, &dataset, &bad).unwrap();
    let report = good.report(Some(&bad)).unwrap();
    assert_eq!(report.metrics["ndcg@5"].mean, 1.0);
    assert_eq!(report.metrics["mrr@5"].mean, 1.0);
    let against = report.against.unwrap();
    assert_eq!(against.metrics["mrr_top@5"].mean, 1.0 / 3.0);
    assert!(against.differences["ndcg@5"].mean > 0.0);
}

#[test]
fn every_bad_prediction_counts_zero_and_is_named() {
    let files = Files::new();
    let ids = ["a", "b", "c", "d", "e", "f"];
    let records: Vec<String> = ids.iter().map(|id| record(id, r#"{"1":1}"#)).collect();
    let dataset = files.write("d", &records.iter().map(String::as_str).collect::<Vec<_>>());
    let predictions = files.write(
        "p",
        &[
            r#"{"id":"a","ranking":[1,0,2]}"#,
            r#"{"id":"b","ranking":"[1, 0, 2]"}"#,
            r#"{"id":"c","ranking":[1,1,2]}"#,
            r#"{"id":"d","ranking":[1],"scores":[null]}"#,
            r#"{"id":"e","ranking":[1,0,2]}"#,
            r#"{"id":"e","ranking":[1,0,2]}"#,
            r#"{"id":"nobody","ranking":[1]}"#,
            r#"{"id":"f","ranking":[1,"#,
        ],
    );
    let scored = score(Task::DocTypes, &dataset, &predictions).unwrap();
    let report = scored.report(None).unwrap();
    assert_eq!((report.n, report.invalid), (6, 5));
    assert!((report.metrics["ndcg@5"].mean - 1.0 / 6.0).abs() < 1e-12);
    let notes = scored.notes.join("\n");
    for named in ["p:2", "p:3", "p:4", "p:6", "p:7", "p:8"] {
        assert!(notes.contains(named), "{named} is not named in\n{notes}");
    }
}

#[test]
fn a_dataset_that_cannot_be_read_whole_is_refused() {
    let files = Files::new();
    let predictions = files.write("p", &[r#"{"id":"a","ranking":[1]}"#]);
    let check = |lines: &[&str], expected: &str| {
        let dataset = files.write("d", lines);
        let error = score(Task::DocTypes, &dataset, &predictions)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&[&record("a", r#"{"1":1}"#), "{broken"], "d:2");
    check(&[&record("a", r#"{"7":1}"#)], "only 3");
    check(&[&record("a", "null")], "no qrel");
    check(&[&record("a", r#"{"1":0}"#)], "positive");
}

#[test]
fn repeated_ids_go_by_line() {
    let files = Files::new();
    let dataset = files.write(
        "d",
        &[&record("a", r#"{"1":1}"#), &record("a", r#"{"2":1}"#)],
    );
    let predictions = files.write(
        "p",
        &[
            r#"{"id":"a","ranking":[1,0,2]}"#,
            r#"{"id":"a","ranking":[2,0,1]}"#,
        ],
    );
    let report = score(Task::DocTypes, &dataset, &predictions)
        .unwrap()
        .report(None)
        .unwrap();
    assert_eq!(report.metrics["top1"].mean, 1.0);
}

#[test]
fn pages_by_document_and_number() {
    let files = Files::new();
    let dataset = files.write(
        "d",
        &[
            r#"{"id":"1","question":"q","company":"C","doc":"X","relevant_pages":[3,4]}"#,
            r#"{"id":"2","question":"q","company":"C","doc":"Y","relevant_pages":[0]}"#,
        ],
    );
    let predictions = files.write(
        "p",
        &[
            r#"{"id":"1","hits":[{"doc":"Y","page":3,"score":3},{"doc":"X","page":4,"score":2.5}]}"#,
            r#"{"id":"2","hits":[{"doc":"Y","page":0,"score":1}]}"#,
        ],
    );
    let report = score(Task::Pages, &dataset, &predictions)
        .unwrap()
        .report(None)
        .unwrap();
    assert_eq!(report.metrics["recall@1"].mean, 0.5);
    assert_eq!(report.metrics["recall@5"].mean, 0.75);
    assert_eq!(report.metrics["mrr@10"].mean, 0.75);
    assert!(report.clustered);
}

/// The constant order's published figures on the shared development questions.
#[test]
fn the_constant_order_scores_as_published() {
    let dataset = footnote_testkit::shared_or_skip!("data/finagentbench/doc_ranking_dev.jsonl");
    let files = Files::new();
    let lines: Vec<String> = footnote_eval::finagentbench::read_records(&dataset)
        .unwrap()
        .map(|record| format!(r#"{{"id":"{}","ranking":[1,4,2,0,3]}}"#, record.unwrap().id))
        .collect();
    let predictions = files.write("p", &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let report = score(Task::DocTypes, &dataset, &predictions)
        .unwrap()
        .report(None)
        .unwrap();
    for (metric, published) in [
        ("ndcg@5", 0.843),
        ("map@5", 0.888),
        ("mrr@5", 0.941),
        ("top1", 0.467),
        ("mrr_top@5", 0.688),
    ] {
        let mean = report.metrics[metric].mean;
        assert!(
            (mean - published).abs() < 6e-4,
            "{metric} {mean} is not {published}"
        );
    }
}
