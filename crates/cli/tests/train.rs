//! Rankers learned on one machine, as a modelling team meets them: labelled questions in, a folder out, and what it
//! orders afterwards.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use footnote_eval::finagentbench::{ParsedPrompt, PromptKind, Record, RecordForm, write_record};
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

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_footnote"))
            .env("FOOTNOTE_HOME", self.path("home"))
            .env("FOOTNOTE_OFFLINE", "1")
            .env_remove("FOOTNOTE_MODEL")
            .stdin(Stdio::null())
            .args(arguments)
            .output()
            .unwrap()
    }

    /// What the command prints, and what it says beside.
    #[track_caller]
    fn ends(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
        (out, err)
    }

    /// Invented questions whose best type follows from what they ask about.
    fn questions(&self, name: &str) {
        let kinds = ["DEF14A", "10-K", "10-Q", "8-K", "Earnings"];
        let subjects = [
            ("How does the board set executive pay at", [4, 2, 0, 0, 1]),
            (
                "What guidance did analysts hear on the call of",
                [0, 1, 2, 0, 4],
            ),
            (
                "Which risk factors and segments are described by",
                [0, 4, 2, 1, 0],
            ),
        ];
        let companies = [
            "Aquillon",
            "Brantham",
            "Cindervale",
            "Dornwick",
            "Eskmoor",
            "Foxholt",
        ];
        let mut bytes = Vec::new();
        for (number, (text, grades)) in subjects.iter().enumerate() {
            for company in companies {
                let record = Record {
                    id: format!("{number}-{company}"),
                    prompt: ParsedPrompt {
                        kind: PromptKind::Documents,
                        question: format!("{text} {company}?"),
                        candidates: kinds.map(str::to_owned).to_vec(),
                    },
                    grades: Some(grades.to_vec()),
                    company: Some(company.to_owned()),
                    category: None,
                    line: 0,
                };
                write_record(&mut bytes, &record, RecordForm::Dev).unwrap();
            }
        }
        bytes.extend_from_slice(b"{\"uuid\": \"broken\n");
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Puts the sentence encoder into the home folder, if this machine has it.
    fn has_encoder(&self) -> bool {
        let files = [
            "all-minilm-l6-v2.safetensors",
            "all-minilm-l6-v2.tokenizer.json",
        ];
        let found: Vec<PathBuf> = files
            .iter()
            .filter_map(|file| footnote_testkit::model(file))
            .collect();
        if found.len() < files.len() {
            footnote_testkit::skip(
                module_path!(),
                "no model all-minilm-l6-v2; `footnote models get` fetches it",
            );
            return false;
        }
        let models = self.path("home/models");
        fs::create_dir_all(&models).unwrap();
        for (file, from) in files.iter().zip(found) {
            std::os::unix::fs::symlink(from, models.join(file)).unwrap();
        }
        true
    }

    /// First type of each question.
    fn firsts(&self, predictions: &str) -> Vec<u64> {
        lines(&self.path(predictions))
            .iter()
            .map(|line| line["ranking"][0].as_u64().unwrap())
            .collect()
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
fn words_alone_are_learned_where_no_encoder_can_be_had_and_that_is_said() {
    let bench = Bench::new();
    bench.questions("dev.jsonl");
    let (data, out) = (bench.text("dev.jsonl"), bench.text("ranker"));
    let (_, err) = bench.ends(
        3,
        &["train", "doc-types", "--dataset", &data, "--out", &out],
    );
    assert!(
        err.contains("without the vectors of all-minilm-l6-v2"),
        "{err}"
    );
    assert!(
        err.contains("dev.jsonl:19"),
        "the broken line is named: {err}"
    );

    let ranked = bench.text("p.jsonl");
    let rank = |ranker: &str, more: &[&str]| {
        let mut arguments = vec![
            "rank",
            "doc-types",
            "--dataset",
            &data,
            "--ranker",
            ranker,
            "--out",
            &ranked,
        ];
        arguments.extend(more);
        bench.run(&arguments)
    };
    for ranker in [&format!("learned:{out}"), "nearest", "tfidf-ridge"] {
        let labelled = ["--labelled", data.as_str()];
        let learned = ranker.starts_with("learned");
        let done = rank(ranker, if learned { &[] } else { &labelled });
        assert_eq!(done.status.code(), Some(3), "{ranker}: {done:?}");
        let best: Vec<u64> = [0, 4, 1].iter().flat_map(|kind| [*kind; 6]).collect();
        assert_eq!(bench.firsts("p.jsonl"), best, "{ranker}");
    }
    // A ranker that learns says what it needs.
    let refused = rank("nearest", &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--labelled"));
    let refused = rank("probe:all-minilm-l6-v2", &["--labelled", &data]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("models get all-minilm-l6-v2"));
}

#[test]
fn vectors_are_stacked_and_needed_afterwards() {
    let bench = Bench::new();
    if !bench.has_encoder() {
        return;
    }
    bench.questions("dev.jsonl");
    let (data, out) = (bench.text("dev.jsonl"), bench.text("ranker"));
    let (told, _) = bench.ends(
        3,
        &[
            "train",
            "doc-types",
            "--dataset",
            &data,
            "--out",
            &out,
            "--folds",
            "3",
            "--json",
        ],
    );
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["embedder"], "all-minilm-l6-v2");
    let part = &told["parts"][0];
    assert_eq!(part["order"].as_array().unwrap().last().unwrap(), "learned");
    assert!(
        part["rankers"]["probe:all-minilm-l6-v2"]["ndcg@5"]["mean"]
            .as_f64()
            .unwrap()
            > 0.7
    );
    assert!(part["calibration"]["log_loss"].as_f64().unwrap() > 0.0);

    let (ranked, learned) = (bench.text("p.jsonl"), format!("learned:{out}"));
    let rank = [
        "rank",
        "doc-types",
        "--dataset",
        &data,
        "--ranker",
        &learned,
        "--out",
        &ranked,
    ];
    bench.ends(3, &rank);
    assert_eq!(bench.firsts("p.jsonl")[..6], [0; 6]);
    for line in lines(&bench.path("p.jsonl")) {
        let sum: f64 = line["scores"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p.as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-9, "probabilities: {line}");
    }
    // Without the encoder the ranker cannot read; that is an error with its mend, no other order.
    fs::remove_file(bench.path("home/models/all-minilm-l6-v2.safetensors")).unwrap();
    let (_, err) = bench.ends(1, &rank);
    assert!(err.contains("models get all-minilm-l6-v2"), "{err}");
}

#[test]
fn from_filings_to_a_passage_ranker_and_back() {
    let bench = Bench::new();
    let sample = footnote_testkit::repository().join("corpora/sample");
    bench.ends(0, &["corpus", "import", sample.to_str().unwrap()]);
    let made = bench.text("made");
    bench.ends(
        0,
        &[
            "export",
            "rft",
            "--from",
            "corpus",
            "--split-by",
            "company",
            "--validation",
            "0",
            "--test",
            "0.4",
            "--out",
            &made,
        ],
    );
    let (train, test) = (format!("{made}/train.jsonl"), format!("{made}/test.jsonl"));
    // The encoder reads some ten thousand tokens a question.
    let few: Vec<String> = lines(Path::new(&test))
        .iter()
        .take(12)
        .map(Value::to_string)
        .collect();
    fs::write(&test, few.join("\n")).unwrap();
    let out = bench.text("ranker");
    let (told, _) = bench.ends(
        0,
        &[
            "train",
            "passages",
            "--dataset",
            &train,
            "--out",
            &out,
            "--json",
        ],
    );
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(
        told["training"]["questions"].as_u64().unwrap() >= 3,
        "{told}"
    );
    let ranked = bench.text("p.jsonl");
    let mut rankers = vec![format!("learned:{out}"), "bm25".to_owned()];
    if bench.has_encoder() {
        rankers.extend(["dense".to_owned(), "hybrid-dense".to_owned()]);
    }
    for ranker in rankers {
        bench.ends(
            0,
            &[
                "rank",
                "passages",
                "--dataset",
                &test,
                "--ranker",
                &ranker,
                "--out",
                &ranked,
            ],
        );
        let (scored, _) = bench.ends(
            0,
            &[
                "eval",
                "score",
                "--task",
                "passages",
                "--dataset",
                &test,
                "--predictions",
                &ranked,
                "--json",
            ],
        );
        let scored: Value = serde_json::from_str(&scored).unwrap();
        let ndcg = scored["metrics"]["ndcg@5"]["mean"].as_f64().unwrap();
        assert!(ndcg > 0.2, "{ranker}: {ndcg}");
    }
}
