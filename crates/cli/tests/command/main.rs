//! The real binary as its user meets it: exit codes, messages that name the thing and the mend,
//! nothing lost, nothing doubled.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod engine;
mod harness;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use harness::{Footnote, sample, text};

#[test]
fn help_shows_examples_and_slips_are_wrong_usage() {
    let footnote = Footnote::new();
    let help = footnote.run(&["ask", "--help"]).code(0);
    assert!(help.out().contains("Example"), "{}", help.out());
    footnote.run(&["--version"]).code(0);
    footnote.run(&["frobnicate"]).code(2);
    footnote.run(&["search", "x", "-k", "0"]).code(2);
    footnote
        .run(&["search", "x", "--form", "10-Z"])
        .code(2)
        .says("10-Z");
    footnote
        .run(&["ask", &"why ".repeat(25_000)])
        .code(2)
        .says("100000");
}

#[test]
fn an_empty_home_names_the_mend_and_stays_offline() {
    let footnote = Footnote::new();
    footnote
        .run(&["ask", "What was revenue?"])
        .code(1)
        .says("models get")
        .says("--offline");
    footnote
        .run(&["search", "revenue"])
        .code(1)
        .says("corpus import");
    footnote
        .run(&["models", "get", "smollm2-135m"])
        .code(1)
        .says("--offline");
    footnote
        .run(&["models", "get", "gpt-9"])
        .code(1)
        .says("smollm2-135m");
    let doctor = footnote.run(&["doctor", "--json"]).code(3).json();
    let mends: Vec<&str> = doctor
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|check| check["mend"].as_str())
        .collect();
    assert!(
        mends.contains(&"footnote models get qwen2.5-coder-1.5b"),
        "{mends:?}"
    );
    assert!(
        mends.iter().any(|mend| mend.contains("corpus import")),
        "{mends:?}"
    );
}

#[test]
fn the_sample_imports_once_and_is_found() {
    let footnote = Footnote::with_sample();
    let again = footnote
        .run(&["corpus", "import", &text(&sample()), "--json"])
        .code(0)
        .json();
    assert_eq!(again["added"], json!([]));
    assert!(again["unchanged"].as_u64().unwrap() > 10);
    let stats = footnote.run(&["corpus", "stats", "--json"]).code(0).json();
    assert_eq!(stats["filings"], again["unchanged"]);
    assert!(stats["facts"].as_u64().unwrap() > 100);
    footnote.run(&["corpus", "check"]).code(0);
    let hits = footnote.run(&[
        "search",
        "net cash provided by operating activities",
        "--json",
    ]);
    let hits = hits.code(0).json();
    let passage = &hits[0]["passage"];
    assert!(
        passage["text"]
            .as_str()
            .unwrap()
            .to_lowercase()
            .contains("operating activities")
    );
    let accession = hits[0]["meta"]["accession"].as_str().unwrap();
    let shown = footnote.run(&["corpus", "show", accession]).code(0).out();
    assert!(shown.contains("confidence"), "{shown}");
    footnote
        .run(&["corpus", "show", "0000000000-00-000000"])
        .code(1)
        .says("no filing");
}

#[test]
fn every_bad_file_is_named_and_the_good_one_goes_in() {
    let footnote = Footnote::new();
    let good = "<html><body><p>FORM 8-K</p><p>Item 2.02 Results of Operations</p>\
                <p>The quarter went well and revenue was $12 million.</p></body></html>";
    footnote.write("in/good_8K_2024-01-02.htm", good);
    footnote.write("in/empty.htm", "");
    footnote.write(
        "in/picture.htm",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\0",
    );
    footnote.write("in/cut.html.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x02");
    footnote.write("in/notes.bin", [0u8, 159, 146, 150].repeat(64));
    footnote.write("in/deep.htm", "<div>".repeat(300_000) + good);
    let run = footnote
        .run(&["corpus", "import", &text(&footnote.path("in"))])
        .code(3);
    for bad in ["empty.htm", "picture.htm", "cut.html.gz", "notes.bin"] {
        assert!(
            run.err().contains(bad),
            "{bad} is not named in {}",
            run.err()
        );
    }
    let hits = footnote
        .run(&["search", "revenue quarter", "--json"])
        .code(0)
        .json();
    assert!(!hits.as_array().unwrap().is_empty());
    footnote
        .run(&["corpus", "import", &text(&footnote.path("nowhere"))])
        .code(1)
        .says("nowhere");
}

#[test]
fn pages_are_retrieved_from_the_question_alone_and_scored() {
    let footnote = Footnote::new();
    let page = |doc: &str, company: &str, page: u32, text: &str| {
        json!({"doc": doc, "company": company, "doc_type": "10-K", "fiscal_period": "FY2022",
               "page": page, "text": text})
        .to_string()
    };
    let pages = [
        page(
            "ZORB_2022_10K",
            "Zorbanex Corporation",
            0,
            "Zorbanex Corporation annual report\ncover page",
        ),
        page(
            "ZORB_2022_10K",
            "Zorbanex Corporation",
            1,
            "Inventories of widgets rose to 417 tons",
        ),
        page(
            "QUIL_2022_10K",
            "Quillfeather Inc",
            0,
            "Quillfeather annual report\ncover page",
        ),
        page(
            "QUIL_2022_10K",
            "Quillfeather Inc",
            1,
            "Inventories of quills fell to 23 tons",
        ),
    ];
    let corpus = footnote.write("pages.jsonl", pages.join("\n"));
    footnote.run(&["corpus", "import", &text(&corpus)]).code(0);
    let question = json!({"id": "q1", "question": "What were Quillfeather's inventories in FY2022?",
        "company": "wrong on purpose", "doc": "QUIL_2022_10K", "relevant_pages": [1]});
    let dataset = footnote.write("q.jsonl", format!("{question}\n{{broken\n"));
    let out = text(&footnote.path("p.jsonl"));
    footnote
        .run(&["retrieve", "--dataset", &text(&dataset), "--out", &out])
        .code(3)
        .says("q.jsonl:2");
    let labelled = footnote.write("labelled.jsonl", question.to_string());
    let score = footnote
        .run(&[
            "eval",
            "score",
            "--task",
            "pages",
            "--dataset",
            &text(&labelled),
            "--predictions",
            &out,
            "--json",
        ])
        .code(0)
        .json();
    assert_eq!(score["metrics"]["recall@1"]["mean"], 1.0, "{score}");
}

#[test]
fn a_fixed_order_is_ranked_and_scored() {
    let dataset = footnote_testkit::shared_or_skip!("data/finagentbench/doc_ranking_dev.jsonl");
    let footnote = Footnote::new();
    let (dataset, out) = (text(&dataset), text(&footnote.path("p.jsonl")));
    footnote
        .run(&[
            "rank",
            "doc-types",
            "--dataset",
            &dataset,
            "--ranker",
            "fixed",
            "--out",
            &out,
        ])
        .code(0);
    let score = footnote
        .run(&[
            "eval",
            "score",
            "--task",
            "doc-types",
            "--dataset",
            &dataset,
            "--predictions",
            &out,
            "--json",
        ])
        .code(0)
        .json();
    assert_eq!(score["n"], 270);
    assert!((score["metrics"]["ndcg@5"]["mean"].as_f64().unwrap() - 0.843).abs() < 6e-4);
    footnote
        .run(&[
            "rank",
            "doc-types",
            "--dataset",
            &dataset,
            "--ranker",
            "oracle",
            "--out",
            &out,
        ])
        .code(2)
        .says("oracle");
}

/// The smallest model understands little, but what it gets through must still be true.
#[test]
fn an_answer_of_the_smallest_model_has_only_footnotes_that_hold() {
    let model = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let footnote = Footnote::with_sample();
    let answers = fs::read_to_string(sample().join("answers.jsonl")).unwrap();
    let first: Value = serde_json::from_str(answers.lines().next().unwrap()).unwrap();
    let question = first["question"].as_str().unwrap();
    let answer = footnote
        .run(&["ask", question, "--model", &text(&model), "--json"])
        .code(0)
        .json();
    for cited in answer["footnotes"].as_array().unwrap() {
        let accession = cited["accession"].as_str().unwrap();
        let span = &cited["span"];
        let stats = footnote
            .run(&["corpus", "show", accession, "--json"])
            .code(0)
            .json();
        assert!(
            span["end"].as_u64() <= stats["text_bytes"].as_u64(),
            "{cited}"
        );
        assert_eq!(cited["verified"], true, "{cited}");
    }
}

/// What was read, and what the question attends to, is told beside the answer; a draft may shorten what is read.
#[test]
fn an_answer_is_explained() {
    let model = text(&footnote_testkit::model_or_skip!(
        "smollm2-135m-instruct-q4_1.gguf"
    ));
    let footnote = Footnote::with_sample();
    let question = "Why did Aquillon's backlog change?";
    let told = footnote
        .run(&["ask", question, "--model", &model, "--explain"])
        .code(0);
    assert!(told.out().contains("by smollm2"), "{}", told.out());
    assert!(told.out().contains(" lines read"), "{}", told.out());
    let shortened = footnote.run(&[
        "ask",
        question,
        "--model",
        &model,
        "--draft",
        &model,
        "--compress",
        "specpc:600",
        "--explain",
        "--json",
    ]);
    let answer = shortened.code(0).json();
    let events = answer["trace"]["events"].as_array().unwrap();
    let event = |name: &str| events.iter().find(|event| event["event"] == name).unwrap();
    let short = event("shortened");
    assert_eq!(short["policy"], "specpc:600");
    assert_eq!(short["tokens_kept"], 600, "{short}");
    let explained = event("explained");
    let passages = explained["passages"].as_array().unwrap();
    let lines = || {
        passages
            .iter()
            .flat_map(|passage| passage["lines"].as_array().unwrap())
    };
    let kept = lines().filter(|line| line["kept"] == true).count();
    assert_eq!(short["lines_kept"], kept, "{short}");
    assert!(kept > 0 && kept < lines().count(), "{kept}");
    let named = |passage: &Value| passage["heads"].as_array().unwrap().len();
    assert!(passages.iter().all(|passage| named(passage) <= 3));
    footnote
        .run(&[
            "ask",
            question,
            "--model",
            &model,
            "--compress",
            "specpc:600",
        ])
        .code(2)
        .says("--draft");
    // Chunks are of a draft's tokens too.
    footnote
        .run(&["ask", question, "--model", &model, "--compress", "bm25:600"])
        .code(2)
        .says("--draft");
    footnote
        .run(&["ask", question, "--compress", "speckv:600"])
        .code(2)
        .says("keeps pairs");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let footnote = Footnote::with_sample();
    let mut child = footnote
        .command()
        .args(["search", "the company", "-k", "500", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("panicked"));
}

#[test]
fn a_model_folder_that_is_a_file_is_explained() {
    let footnote = Footnote::new();
    let mut file = fs::File::create(footnote.path("home")).unwrap();
    file.write_all(b"not a folder").unwrap();
    footnote
        .run(&["corpus", "import", &text(&sample())])
        .code(1)
        .says("home");
}
