//! `footnote export`: real forms from datasets, folders that prove themselves, and what is wrong named.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn footnote(home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_footnote"))
        .args(args)
        .env("FOOTNOTE_HOME", home)
        .env("FOOTNOTE_OFFLINE", "1")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

const TYPES: [&str; 5] = ["DEF14A", "10-K", "10-Q", "8-K", "Earnings"];

fn prompt(question: &str) -> String {
    let list: Vec<String> = TYPES
        .iter()
        .enumerate()
        .map(|(at, kind)| format!("[Document Index {at}] {kind}"))
        .collect();
    format!(
        "Rank the following financial document types by relevance to answer the question. Provide your ranking as a \
         list of indices from most relevant to least relevant.\n\nQuestion: {question}\n\nDocument Types to rank:\n{}\n\n\
         Your response must be a list of indices in exact list format (e.g., [4, 2, 1, 0, 3]), ranking every index from 0 \
         to 4 by most relevant document type index to least relevant document type index.",
        list.join("\n\n")
    )
}

/// Ten invented companies, each asked the same three questions and one of its own.
fn dataset(folder: &Path) -> PathBuf {
    let companies = [
        "Aquillon",
        "Brantham",
        "Cindervale",
        "Dornwick",
        "Eskmoor",
        "Foxholt",
        "Garrick",
        "Hollin",
        "Istead",
        "Jarrow",
    ];
    let own = [
        "ship fewer boilers",
        "close its Leeds plant",
        "recall the Mark II pump",
        "raise the price of valves",
        "insure its turbines twice",
        "hire four hundred welders",
        "buy a foundry in Ghent",
        "repay the 2031 notes",
        "stop making kettles",
        "lease its headquarters",
    ];
    let mut lines = Vec::new();
    for (company, own) in companies.iter().zip(own) {
        for (number, question) in [
            format!("How did analysts question the outlook for {company}’s sales?"),
            format!("Who sits on the compensation committee of {company}?"),
            format!("What risk factors does {company} name in its annual report?"),
            format!("Why did {company} {own}?"),
        ]
        .iter()
        .enumerate()
        {
            let best = [4, 0, 1, 3][number];
            let qrel: Value = (0..5)
                .map(|at| (at.to_string(), json!(if at == best { 3 } else { at % 2 })))
                .collect::<serde_json::Map<_, _>>()
                .into();
            let record = json!({
                "uuid": format!("{company}-{number}"),
                "messages": [{"role": "user", "content": prompt(question)}],
                "qrel": qrel,
            });
            lines.push(record.to_string());
        }
    }
    // The same once more, and what is no record.
    lines.push(lines[0].clone());
    let path = folder.join("dev.jsonl");
    fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn rows(folder: &Path) -> Vec<(String, Value)> {
    ["train", "validation", "test"]
        .iter()
        .flat_map(|split| {
            let text =
                fs::read_to_string(folder.join(format!("{split}.jsonl"))).unwrap_or_default();
            text.lines()
                .map(|line| ((*split).to_owned(), serde_json::from_str(line).unwrap()))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_form_is_written_and_proves_itself() {
    let home = tempfile::tempdir().unwrap();
    let data = dataset(home.path());
    for form in ["sft", "preferences", "rft", "rerank", "qrels"] {
        let out = home.path().join("out").join(form);
        let (from, to) = (data.to_str().unwrap(), out.to_str().unwrap());
        let args = ["export", form, "--from", from, "--out", to, "--test", "0.3"];
        let done = footnote(home.path(), &args);
        assert!(done.status.success(), "{form}: {}", said(&done));
        let manifest: Value =
            serde_json::from_str(&fs::read_to_string(out.join("manifest.json")).unwrap()).unwrap();
        assert_eq!(manifest["counts"]["doubles"], 1, "{form}");
        let checked = footnote(home.path(), &["export", "check", to]);
        assert!(checked.status.success(), "{form}: {}", said(&checked));
        let rows = rows(&out);
        assert!(rows.len() > 10, "{form}: {} rows", rows.len());
        let mut sides = std::collections::HashMap::new();
        for (split, row) in &rows {
            for key in ["company", "template"] {
                let value = row["metadata"][key].as_str().unwrap().to_owned();
                let side = sides.entry((key, value)).or_insert_with(|| split.clone());
                assert_eq!(side, split, "{form}: {key} on two sides");
            }
        }
        assert!(rows.iter().any(|(split, _)| split == "test"), "{form}");
        // A second time it is refused, and then replaced by the very same.
        let before = fs::read(out.join("train.jsonl")).unwrap();
        let again = footnote(home.path(), &args);
        assert_eq!(again.status.code(), Some(1));
        assert!(said(&again).contains("--overwrite"), "{}", said(&again));
        let mut args = args.to_vec();
        args.push("--overwrite");
        assert!(footnote(home.path(), &args).status.success());
        assert_eq!(fs::read(out.join("train.jsonl")).unwrap(), before, "{form}");
    }
    let sft = rows(&home.path().join("out/sft"));
    let (_, row) = sft
        .iter()
        .find(|(_, row)| row["id"] == "Aquillon-1")
        .unwrap_or(&sft[0]);
    let messages = row["messages"].as_array().unwrap();
    assert_eq!(messages[1]["role"], "assistant");
    let order: Vec<usize> = serde_json::from_str(messages[1]["content"].as_str().unwrap()).unwrap();
    assert_eq!(order.len(), 5);
}

#[test]
fn what_was_tampered_with_is_named() {
    let home = tempfile::tempdir().unwrap();
    let data = dataset(home.path());
    let out = home.path().join("sft");
    let (from, to) = (data.to_str().unwrap(), out.to_str().unwrap());
    let args = [
        "export",
        "sft",
        "--from",
        from,
        "--out",
        to,
        "--test",
        "0.3",
        "--overwrite",
    ];
    let tamper = |file: &str, change: &dyn Fn(String) -> String| {
        assert!(footnote(home.path(), &args).status.success());
        let path = out.join(file);
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
        let checked = footnote(home.path(), &["export", "check", to, "--json"]);
        assert_eq!(checked.status.code(), Some(1), "{}", said(&checked));
        let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
        report["defects"].to_string()
    };
    let moved = tamper("test.jsonl", &|text| {
        let train = fs::read_to_string(out.join("train.jsonl")).unwrap();
        text + train.lines().next().unwrap() + "\n"
    });
    assert!(
        moved.contains("SHA-256") && moved.contains("two sides") | moved.contains("on 2 sides"),
        "{moved}"
    );
    assert!(
        moved.contains("the same row as train.jsonl line 1"),
        "{moved}"
    );
    let cut = tamper("train.jsonl", &|text| text[..text.len() - 20].to_owned());
    assert!(cut.contains("train.jsonl line"), "{cut}");
    let silent = tamper("train.jsonl", &|text| text.replacen("assistant", "user", 1));
    assert!(silent.contains("not the assistant's"), "{silent}");
    assert!(silent.contains("train.parquet"), "{silent}");
}

#[test]
fn bad_records_are_named_and_the_rest_is_exported() {
    let home = tempfile::tempdir().unwrap();
    let data = dataset(home.path());
    let mut text = fs::read_to_string(&data).unwrap();
    text.push_str("\n{\"uuid\": \"broken\"\n");
    let stray = json!({
        "uuid": "stray",
        "messages": [{"role": "user", "content": prompt("What of Kelmscott?")}],
        "qrel": {"9": 1},
    });
    text.push_str(&stray.to_string());
    fs::write(&data, text).unwrap();
    let out = home.path().join("rft");
    let (from, to) = (data.to_str().unwrap(), out.to_str().unwrap());
    let done = footnote(home.path(), &["export", "rft", "--from", from, "--out", to]);
    assert_eq!(done.status.code(), Some(3), "{}", said(&done));
    assert!(
        said(&done).contains("42"),
        "the line is named: {}",
        said(&done)
    );
    assert!(out.join("grader.py").is_file());
    // What is there and no export is never replaced.
    let taken = home.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("thesis.txt"), "x").unwrap();
    let to = taken.to_str().unwrap();
    let refused = footnote(
        home.path(),
        &["export", "rft", "--from", from, "--out", to, "--overwrite"],
    );
    assert_eq!(refused.status.code(), Some(1));
    assert!(taken.join("thesis.txt").is_file());
    for (args, wanted) in [
        (["export", "sft", "--from", "/nowhere.jsonl"], "nowhere"),
        (["export", "sft", "--from", "feedback"], "no store"),
        (["export", "rerank", "--from", "corpus"], "corpus import"),
        (
            ["export", "preferences", "--from", "run:/nowhere"],
            "no run",
        ),
    ] {
        let out = home.path().join("none");
        let mut args = args.to_vec();
        args.extend(["--out", out.to_str().unwrap()]);
        let refused = footnote(home.path(), &args);
        assert_eq!(refused.status.code(), Some(1));
        assert!(said(&refused).contains(wanted), "{}", said(&refused));
        assert!(!out.exists(), "nothing half made is left");
    }
}

/// The forms as their real consumers read them.
#[test]
fn python_reads_what_was_written() {
    let python = std::env::var("FOOTNOTE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args(["-c", "import pandas, pyarrow"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        footnote_testkit::skip(
            module_path!(),
            "no Python with pandas and pyarrow; FOOTNOTE_TEST_PYTHON names one",
        );
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let data = dataset(home.path());
    for form in ["sft", "preferences", "rft", "rerank"] {
        let out = home.path().join(form);
        let (from, to) = (data.to_str().unwrap(), out.to_str().unwrap());
        let done = footnote(home.path(), &["export", form, "--from", from, "--out", to]);
        assert!(done.status.success(), "{}", said(&done));
    }
    let script = r#"
import json, sys, pandas as pd
base = sys.argv[1]
for form, lists in [("sft", ["messages"]), ("preferences", ["prompt", "chosen", "rejected"]), ("rft", ["messages"]),
                    ("rerank", ["positive", "negative"])]:
    table = pd.read_parquet(f"{base}/{form}/train.parquet")
    lines = [json.loads(line) for line in open(f"{base}/{form}/train.jsonl")]
    assert len(table) == len(lines) > 0, form
    for (_, row), line in zip(table.iterrows(), lines):
        assert row["id"] == line["id"]
        assert json.loads(row["metadata"]) == line["metadata"]
        for name in lists:
            got = [dict(x) if isinstance(x, dict) else x for x in row[name]]
            assert got == line[name], (form, name, got, line[name])
sys.path.insert(0, f"{base}/rft")
import grader
line = json.loads(open(f"{base}/rft/train.jsonl").readline())
best = sorted(line["qrel"], key=lambda i: -line["qrel"][i])
assert grader.grade({"output_text": "[" + ", ".join(best) + "]"}, line) == 1.0
assert grader.grade({"output_text": "none"}, line) == 0.0
try:
    import datasets
    loaded = datasets.load_dataset("parquet", data_files=f"{base}/sft/train.parquet", split="train")
    assert loaded[0]["messages"][-1]["role"] == "assistant"
    print("datasets too")
except ImportError:
    pass
"#;
    let run = Command::new(&python)
        .args(["-c", script, home.path().to_str().unwrap()])
        .env("HF_DATASETS_CACHE", home.path().join("cache"))
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", said(&run));
}
