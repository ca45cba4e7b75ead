//! `footnote eval` as its user meets it: runs killed and resumed, suites with slips, bad input named, reports
//! that need nothing else.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use footnote_eval::finagentbench::{ParsedPrompt, PromptKind, Record, RecordForm, write_record};
use footnote_store::{BlockingStore, Location};
use serde_json::Value;
use tempfile::TempDir;

struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_footnote"))
            .env("FOOTNOTE_HOME", self.path("home"))
            .env("FOOTNOTE_OFFLINE", "1")
            .env_remove("FOOTNOTE_DATA")
            .env_remove("FOOTNOTE_MODEL")
            .stdin(Stdio::null())
            .args(arguments)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn says(&self, arguments: &[&str], code: i32, words: &[&str]) -> String {
        let output = self.run(arguments);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
        for word in words {
            assert!(
                out.contains(word) || err.contains(word),
                "no {word:?} in: {out}\n{err}"
            );
        }
        out
    }

    /// Questions of document types; every fourth id is the one before it again.
    fn dataset(&self, name: &str, count: usize) -> String {
        let mut bytes = Vec::new();
        for number in 0..count {
            let kinds = ["DEF14A", "10-K", "10-Q", "8-K", "Earnings"];
            let record = Record {
                id: format!("q{}", if number % 4 == 3 { number - 1 } else { number }),
                prompt: ParsedPrompt {
                    kind: PromptKind::Documents,
                    question: format!("Question <b>{number}</b> | about `revenue`?"),
                    candidates: kinds.map(str::to_owned).to_vec(),
                },
                grades: Some((0..5).map(|kind| (kind + number as u32) % 3).collect()),
                company: Some(format!("Company {}", number % 5)),
                category: Some(["Guidance", "Risks"][number % 2].to_owned()),
                line: 0,
            };
            write_record(&mut bytes, &record, RecordForm::Dev).unwrap();
        }
        self.write(name, bytes)
    }

    fn suite(&self, name: &str, rest: &str) -> String {
        let text = format!(
            "name = \"test\"\ntask = \"doc-types\"\ndatasets = [\"d.jsonl\"]\nrankers = [\"fixed\"]\n{rest}"
        );
        self.write(name, text)
    }

    fn rows(&self, run: &str) -> Vec<i64> {
        let db = BlockingStore::open(&Location::file(self.path(run).join("run.db"))).unwrap();
        let runs = db.wait(db.store().runs()).unwrap();
        assert_eq!(runs.len(), 1);
        let rows = db.wait(db.store().rows_done(&runs[0].id)).unwrap();
        rows.into_iter().collect()
    }
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_run_aborted_between_questions_goes_on_and_repeats_none() {
    let bench = Bench::new();
    bench.dataset("d.jsonl", 61);
    let suite = bench.suite("s.toml", "parallel = 3\n");
    let out = bench.path("run").display().to_string();
    let start = |more: &[&str]| {
        let mut arguments = vec!["eval", "run", &suite, "--out", &out, "--json"];
        arguments.extend(more);
        bench.run(&arguments)
    };
    // The process dies without a goodbye, as by kill -9, after 7 and again after 11 more.
    let killed = start(&["--abort-after", "7"]);
    assert_eq!(killed.status.code(), None, "{killed:?}");
    let first = bench.rows("run").len();
    assert!((7..=9).contains(&first), "{first}");
    bench.says(
        &["eval", "run", &suite, "--out", &out],
        1,
        &["--resume", "run"],
    );
    assert_eq!(
        start(&["--resume", "--abort-after", "11"]).status.code(),
        None
    );
    let second = bench.rows("run").len();
    assert!((first + 11..=first + 13).contains(&second), "{second}");
    // A limit ends it in an orderly way, done in part.
    let limited = start(&["--resume", "--limit", "5"]);
    assert_eq!(limited.status.code(), Some(3));
    let told: Value = serde_json::from_slice(&limited.stdout).unwrap();
    assert_eq!(told[0]["done_now"], 5);
    let whole = start(&["--resume"]);
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    let told: Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(told[0]["done"], 61);
    assert_eq!(told[0]["done_now"], 61 - (second as u64 + 5));
    assert_eq!(bench.rows("run"), (0..61).collect::<Vec<i64>>());
    // Nothing is left to do, and nothing is done.
    let again = start(&["--resume"]);
    let told: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(told[0]["done_now"], 0);

    // Its predictions are what the ranker gives, a line for each line.
    let predictions = PathBuf::from(told[0]["predictions"].as_str().unwrap());
    let other = bench.path("p.jsonl");
    let dataset = bench.path("d.jsonl").display().to_string();
    bench.says(
        &[
            "rank",
            "doc-types",
            "--dataset",
            &dataset,
            "--ranker",
            "fixed",
            "--out",
            &other.display().to_string(),
        ],
        0,
        &[],
    );
    assert_eq!(lines(&predictions), lines(&other));
}

#[test]
fn slips_in_a_suite_are_refused_before_anything_is_run() {
    let bench = Bench::new();
    bench.dataset("d.jsonl", 3);
    let out = bench.path("run").display().to_string();
    let check = |rest: &str, code: i32, words: &[&str]| {
        let suite = bench.suite("s.toml", rest);
        bench.says(&["eval", "run", &suite, "--out", &out], code, words);
        assert!(!bench.path("run").exists());
    };
    check("[bugdet]\nseconds = 1\n", 1, &["s.toml:5", "bugdet"]);
    check("cache = [\"full\"]\nparallel = 0\n", 1, &["parallel"]);
    check("models = \"x\"\n", 1, &["s.toml:5"]);
    let suite = bench.write(
        "s.toml",
        "name = \"t\"\ntask = \"doc-types\"\ndatasets = [\"d.jsonl\"]\nrankers = [\"magic\"]\n",
    );
    bench.says(
        &["eval", "run", &suite, "--out", &out],
        2,
        &["magic", "fixed"],
    );
    let suite = bench.write(
        "s.toml",
        "name = \"t\"\ntask = \"doc-types\"\ndatasets = [\"d.jsonl\"]\nrankers = [\"model\"]\nmodels = [\"m\"]\n\
         cache = [\"shoebox\"]\n",
    );
    bench.says(
        &["eval", "run", &suite, "--out", &out],
        2,
        &["shoebox", "full"],
    );
    let suite = bench.suite("s.toml", "");
    fs::remove_file(bench.path("d.jsonl")).unwrap();
    bench.says(&["eval", "run", &suite, "--out", &out], 1, &["d.jsonl"]);
}

/// One broken line deep in a long file: refused as a dataset, named and counted as predictions.
#[test]
fn line_7312_is_named() {
    let bench = Bench::new();
    let dataset = bench.dataset("d.jsonl", 8_000);
    let spoilt = |name: &str, path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let mut all: Vec<&str> = text.lines().collect();
        all[7_311] = "{\"uuid\": \"q73";
        bench.write(name, all.join("\n"))
    };
    let predictions = bench.path("p.jsonl").display().to_string();
    bench.says(
        &[
            "rank",
            "doc-types",
            "--dataset",
            &dataset,
            "--ranker",
            "fixed",
            "--out",
            &predictions,
        ],
        0,
        &[],
    );
    let bad = spoilt("bad.jsonl", Path::new(&dataset));
    let score = |dataset: &str, predictions: &str| {
        [
            "eval",
            "score",
            "--task",
            "doc-types",
            "--dataset",
            dataset,
            "--predictions",
            predictions,
            "--json",
        ]
        .map(str::to_owned)
    };
    let borrowed = |arguments: &[String; 9], code: i32, words: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        bench.says(&arguments, code, words)
    };
    borrowed(&score(&bad, &predictions), 1, &["bad.jsonl:7312"]);
    let whole = borrowed(&score(&dataset, &predictions), 0, &[]);
    let part = spoilt("part.jsonl", Path::new(&predictions));
    let less = borrowed(&score(&dataset, &part), 3, &["part.jsonl:7312"]);
    let (whole, less): (Value, Value) = (
        serde_json::from_str(&whole).unwrap(),
        serde_json::from_str(&less).unwrap(),
    );
    assert_eq!(less["n"], 8_000);
    assert_eq!(less["invalid"], 1);
    let mean = |report: &Value| report["metrics"]["ndcg@5"]["mean"].as_f64().unwrap();
    assert!(mean(&less) < mean(&whole));
    assert_eq!(whole["clustered"], true);
    assert!(whole["groups"]["category Guidance"]["n"] == 4_000);
    // The same lines in a suite: refused before a question is asked.
    fs::rename(bench.path("bad.jsonl"), bench.path("d.jsonl")).unwrap();
    let suite = bench.suite("s.toml", "");
    let out = bench.path("run").display().to_string();
    bench.says(
        &["eval", "run", &suite, "--out", &out],
        1,
        &["d.jsonl:7312"],
    );
}

#[test]
fn trec_files_and_submissions_go_both_ways() {
    let bench = Bench::new();
    let dataset = bench.write("d.qrels", "q1 0 a 2\nq1 0 b 0\nq2 0 c 1\n");
    let run = bench.write(
        "p.run",
        "q1 Q0 b 1 0.5 t\nq1 Q0 a 2 0.9 t\nq2 Q0 c 1 nan t\nq2 Q0 zz 2 0.1 t\nq9 Q0 c 1 1 t\n",
    );
    let arguments = [
        "eval",
        "score",
        "--task",
        "passages",
        "--dataset",
        &dataset,
        "--predictions",
        &run,
        "--json",
    ];
    let report = bench.says(&arguments, 3, &["p.run:3", "finite", "p.run:5", "q9"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["invalid"], 1);
    assert_eq!(report["metrics"]["ndcg@5"]["mean"], 0.5);
    let twice = bench.write("e.qrels", "q1 0 a 2\nq1 0 a 1\n");
    let arguments = [
        "eval",
        "score",
        "--task",
        "passages",
        "--dataset",
        &twice,
        "--predictions",
        &run,
    ];
    bench.says(&arguments, 1, &["e.qrels:2", "twice"]);
    let none = bench.write("f.qrels", "q1 0 a 0\n");
    let arguments = [
        "eval",
        "score",
        "--task",
        "passages",
        "--dataset",
        &none,
        "--predictions",
        &run,
    ];
    bench.says(&arguments, 1, &["f.qrels", "positive"]);

    let predictions = bench.write(
        "p.jsonl",
        "{\"id\":\"a\",\"ranking\":[4,1,0,2,3,5]}\n{\"id\":\"b\",\"ranking\":[1]}\n",
    );
    let csv = bench.path("s.csv").display().to_string();
    bench.says(
        &[
            "eval",
            "convert",
            &predictions,
            "--to",
            "submission",
            "--out",
            &csv,
        ],
        3,
        &["p.jsonl:2", "needs 5"],
    );
    assert_eq!(
        fs::read_to_string(&csv).unwrap(),
        "sample_id,target_index\na,4\na,1\na,0\na,2\na,3\n"
    );
    let back = bench.path("back.jsonl");
    bench.says(
        &[
            "eval",
            "convert",
            &csv,
            "--to",
            "predictions",
            "--out",
            &back.display().to_string(),
        ],
        0,
        &[],
    );
    assert_eq!(
        lines(&back),
        [serde_json::json!({"id": "a", "ranking": [4, 1, 0, 2, 3]})]
    );
    let records = bench.dataset("d.jsonl", 2);
    let qrels = bench.path("out.qrels").display().to_string();
    bench.says(
        &[
            "eval", "convert", &records, "--to", "qrels", "--out", &qrels,
        ],
        0,
        &[],
    );
    assert_eq!(fs::read_to_string(&qrels).unwrap().lines().count(), 10);
}

#[test]
fn a_report_stands_by_itself_and_escapes_what_it_shows() {
    let bench = Bench::new();
    bench.dataset("d.jsonl", 40);
    let suite = bench.suite("s.toml", "");
    let out = bench.path("run").display().to_string();
    bench.says(&["eval", "report", &out], 1, &["eval run"]);
    bench.says(
        &["eval", "run", &suite, "--out", &out, "--limit", "10"],
        3,
        &[],
    );
    bench.says(&["eval", "report", &out], 3, &["10 of 40"]);
    bench.says(&["eval", "run", &suite, "--out", &out, "--resume"], 0, &[]);
    bench.says(&["eval", "report", &out], 0, &["report.md", "report.html"]);
    let html = fs::read_to_string(bench.path("run/report.html")).unwrap();
    assert!(html.contains("<svg") && html.contains("Claude Sonnet 4"));
    assert!(html.contains("Question &lt;b&gt;") && !html.contains("<b>"));
    for outside in ["src=", "href=", "<script", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    let markdown = fs::read_to_string(bench.path("run/report.md")).unwrap();
    for part in [
        "ndcg@5",
        "Published",
        "Worst questions",
        "category Guidance",
    ] {
        assert!(markdown.contains(part), "no {part}");
    }
    // Another dataset of the same name is not the one that was run.
    bench.dataset("d.jsonl", 39);
    bench.says(&["eval", "report", &out], 1, &["SHA-256"]);
}

#[test]
fn the_suites_of_the_repository_are_whole() {
    let folder = footnote_testkit::repository().join("evals");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") && !path.ends_with("published.toml") {
            footnote_eval::Suite::read(&path).unwrap();
            count += 1;
        }
    }
    assert!(count >= 3, "{count}");
}

/// Answers over the sample corpus with a real, small model: kept with prompts, traces and times, stopped at
/// the budget, scored.
#[test]
fn answers_are_kept_with_their_prompts_and_traces() {
    let model = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let bench = Bench::new();
    let sample = footnote_testkit::repository().join("corpora/sample");
    bench.says(&["corpus", "import", &sample.display().to_string()], 0, &[]);
    bench.write(
        "d.jsonl",
        "{\"id\":\"1\",\"question\":\"What was Aquillon's revenue growth in fiscal 2024?\",\"company\":\"Aquillon\",\
         \"doc\":\"A_2024_10K\",\"relevant_pages\":[1],\"answer\":\"7.4%\",\"question_type\":\"metrics-generated\"}\n\
         {\"id\":\"2\",\"question\":\"Which risks does Aquillon name?\",\"company\":\"Aquillon\",\"answer\":\"Many.\"}\n",
    );
    let suite = |budget: &str| {
        bench.write(
            "s.toml",
            format!(
                "name = \"a\"\ntask = \"answers\"\ndatasets = [\"d.jsonl\"]\nrankers = [\"fixed\"]\nmodels = [\"{}\"]\n\
                 parallel = 2\n[budget]\n{budget}\n",
                model.display()
            ),
        )
    };
    let out = bench.path("run").display().to_string();
    bench.says(
        &["eval", "run", &suite("seconds = 600"), "--out", &out],
        0,
        &[],
    );
    let db = BlockingStore::open(&Location::file(bench.path("run/run.db"))).unwrap();
    let run = db.wait(db.store().runs()).unwrap().remove(0);
    let items = db.wait(db.store().items(&run.id, 0, 10)).unwrap();
    assert_eq!(items.len(), 2);
    for item in &items {
        let trace = db
            .wait(db.store().trace(item.trace_id.as_ref().unwrap()))
            .unwrap();
        assert!(!trace.events.as_array().unwrap().is_empty());
    }
    let calls = db.wait(db.store().calls(&run.id, 1)).unwrap();
    assert!(!calls.is_empty() && calls[0].prompt.contains("Which risks"));
    assert!(items[1].tokens_in > 0);
    drop(db);
    let predictions = fs::read_dir(bench.path("run/predictions"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let dataset = bench.path("d.jsonl").display().to_string();
    let report = bench.says(
        &[
            "eval",
            "score",
            "--task",
            "answers",
            "--dataset",
            &dataset,
            "--predictions",
            &predictions.display().to_string(),
            "--json",
        ],
        0,
        &[],
    );
    let report: Value = serde_json::from_str(&report).unwrap();
    // The growth is computed by the program, whatever the model.
    assert_eq!(
        report["groups"]["kind number"]["metrics"]["strict"]["mean"],
        1.0
    );
    assert!(report["metrics"]["seconds"]["mean"].as_f64().unwrap() > 0.0);
    bench.says(&["eval", "report", &out], 0, &[]);

    // Ten tokens are not enough for the second question, and it says so.
    let out = bench.path("tight").display().to_string();
    bench.says(
        &["eval", "run", &suite("tokens = 10"), "--out", &out],
        3,
        &["1 questions without a result"],
    );
    let db = BlockingStore::open(&Location::file(bench.path("tight/run.db"))).unwrap();
    let run = db.wait(db.store().runs()).unwrap().remove(0);
    let items = db.wait(db.store().items(&run.id, 1, 1)).unwrap();
    assert_eq!(items[0].state, footnote_store::ItemState::OverBudget);
    assert!(items[0].error.as_ref().unwrap().contains("10 tokens"));
}
