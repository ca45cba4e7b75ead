//! The real binary as its user meets it: exit codes, messages that name the thing and the mend,
//! nothing lost, nothing doubled.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A home of its own for each test.
struct Footnote {
    dir: TempDir,
}

impl Footnote {
    fn new() -> Footnote {
        Footnote {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_footnote"));
        command
            .env("FOOTNOTE_HOME", self.path("home"))
            .env("FOOTNOTE_OFFLINE", "1")
            .env_remove("FOOTNOTE_MODEL")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run(self.command().args(arguments).output().unwrap())
    }

    /// Imports the sample corpus from the checkout.
    fn with_sample() -> Footnote {
        let footnote = Footnote::new();
        footnote
            .run(&["corpus", "import", &text(&sample())])
            .code(0);
        footnote
    }
}

struct Run(Output);

impl Run {
    #[track_caller]
    fn code(self, expected: i32) -> Run {
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
    fn says(self, expected: &str) -> Run {
        assert!(
            self.err().contains(expected),
            "no {expected:?} in: {}",
            self.err()
        );
        self
    }

    fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    fn err(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.0.stdout).unwrap_or_else(|error| {
            panic!("{error} in {}\n{}", self.out(), self.err());
        })
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn sample() -> PathBuf {
    footnote_testkit::repository().join("corpora/sample")
}

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

#[test]
fn a_model_file_that_is_none_is_named() {
    let footnote = Footnote::new();
    let bad = footnote.write(
        "model.gguf",
        b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f",
    );
    let run = footnote.run(&[
        "engine",
        "generate",
        "--model",
        &text(&bad),
        "--prompt",
        "x",
    ]);
    run.code(1).says("model.gguf");
    let model = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let whole = fs::read(model).unwrap();
    let cut = footnote.write("cut.gguf", &whole[..whole.len() / 2]);
    footnote
        .run(&[
            "engine",
            "generate",
            "--model",
            &text(&cut),
            "--prompt",
            "x",
        ])
        .code(1)
        .says("cut.gguf");
}

#[test]
fn a_small_model_writes_what_the_grammar_allows() {
    let model = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let footnote = Footnote::new();
    let run = footnote.run(&[
        "engine",
        "generate",
        "--model",
        &text(&model),
        "--prompt",
        "The sky is",
        "--regex",
        "(blue|green)",
        "--json",
    ]);
    let json = run.code(0).json();
    assert!(
        ["blue", "green"].contains(&json["text"].as_str().unwrap()),
        "{json}"
    );
    assert!(json["cache"]["bytes"].as_u64().unwrap() > 0);
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
    footnote
        .run(&["ask", question, "--compress", "speckv:600"])
        .code(2)
        .says("keeps pairs");
}

#[test]
fn a_prompt_is_made_short_as_text() {
    let model = text(&footnote_testkit::model_or_skip!(
        "smollm2-135m-instruct-q4_1.gguf"
    ));
    let footnote = Footnote::new();
    let straw = "Depreciation is charged over 12 years on a straight-line basis. ";
    let prompt = format!(
        "{}\nNote 7: Foxholt.\n{}\n\nWhat does note 7 say?",
        straw.repeat(30),
        straw.repeat(30)
    );
    let path = text(&footnote.write("long.txt", prompt.as_bytes()));
    let arguments = [
        "engine",
        "compress",
        "--draft",
        &model,
        "--prompt-file",
        &path,
        "--compress",
        "bm25:200",
        "--protect",
        "Note 7: Foxholt.",
    ];
    let plain = footnote.run(&arguments).code(0).out();
    assert!(
        plain.contains("[…]") && plain.contains("Note 7: Foxholt."),
        "{plain}"
    );
    assert!(
        plain.trim_end().ends_with("What does note 7 say?"),
        "{plain}"
    );
    let short = footnote
        .run(&[&arguments[..], &["--json"]].concat())
        .code(0)
        .json();
    assert_eq!(short["tokens_kept"], 200, "{short}");
    let mut words = String::new();
    for span in short["spans"].as_array().unwrap() {
        let (start, end) = (span[0].as_u64().unwrap(), span[1].as_u64().unwrap());
        words.push_str(&prompt[start as usize..end as usize]);
    }
    let bare = |text: &str| -> String { text.replace("[…]", "").split_whitespace().collect() };
    assert_eq!(bare(short["text"].as_str().unwrap()), bare(&words));
    let mut pairs = arguments.to_vec();
    pairs[7] = "speckv:200";
    footnote.run(&pairs).code(1).says("leaves no text");
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

#[test]
fn a_text_is_scored_under_a_cache_policy() {
    let model = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let footnote = Footnote::new();
    let page =
        serde_json::json!({ "text": "Net sales rose by six percent in the year. ".repeat(40) });
    let pages = footnote.write("pages.jsonl", format!("{page}\n").as_bytes());
    let run = |policy: &str, mode: &str| {
        footnote.run(&[
            "engine",
            "perplexity",
            "--model",
            &text(&model),
            "--text",
            &text(&pages),
            "--cache",
            policy,
            "--mode",
            mode,
            "--max-tokens",
            "200",
            "--json",
        ])
    };
    for (policy, mode) in [("xquant4", "prefill"), ("kv4", "decode")] {
        let json = run(policy, mode).code(0).json();
        assert_eq!(
            (&json["cache"], &json["mode"]),
            (&policy.into(), &mode.into())
        );
        let number = |name: &str| json[name].as_f64().unwrap();
        assert!(number("ppl") > 1.0 && number("mean_kl") >= 0.0, "{json}");
        assert!(
            (number("ppl") / number("ppl_full") - 1.0).abs() < 0.5,
            "{json}"
        );
        let (bytes, full) = (
            number("cache_bytes_per_token"),
            number("cache_bytes_per_token_full"),
        );
        assert!(bytes * 3.0 < full, "{json}");
    }
    run("kv5", "prefill").code(2).says("xquant-cl2");
    let broken = footnote.write("broken.jsonl", b"{\"page\": 1}\n");
    footnote
        .run(&[
            "engine",
            "perplexity",
            "--model",
            &text(&model),
            "--text",
            &text(&broken),
        ])
        .code(1)
        .says("broken.jsonl line 1");
}

#[test]
fn hidden_sentences_are_looked_for_in_what_stays() {
    let model = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let footnote = Footnote::new();
    let draft = text(&model);
    let needle = |policy: &str| {
        footnote.run(&[
            "engine",
            "needle",
            "--draft",
            &draft,
            "--lengths",
            "600",
            "--depths",
            "0.5",
            "--repeat",
            "1",
            "--compress",
            policy,
            "--json",
        ])
    };
    let ends = needle("truncate:200").code(0).json();
    assert_eq!(ends["retention"], 0.0, "the middle is cut out: {ends}");
    let found = &needle("specpc:300").code(0).json()["needles"][0];
    assert_eq!(found["kept"], 300);
    assert!(found["length"].as_u64().unwrap() > 550, "{found}");
    needle("specpc:20").code(1).says("budget of 20");
    needle("speckv:300").code(2).says("specpc:300");
}

/// A long prompt whose code stands at its beginning, answered from so many pairs a head.
#[test]
fn pairs_of_the_targets_cache_are_let_go_of() {
    let model = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let footnote = Footnote::new();
    let straw =
        "Depreciation is charged on a straight-line basis over the useful life of the plant. ";
    let prompt = format!(
        "{}The vault code of Foxholt is 48213. {}\nThe vault code of Foxholt is",
        straw.repeat(4),
        straw.repeat(40)
    );
    let path = footnote.write("long.txt", prompt.as_bytes());
    let run = |policy: &str, more: &[&str]| {
        let (model, path) = (text(&model), text(&path));
        let mut arguments = vec![
            "engine",
            "generate",
            "--model",
            &model,
            "--draft",
            &model,
            "--prompt-file",
            &path,
            "--max-tokens",
            "6",
            "--compress",
            policy,
            "--json",
        ];
        arguments.extend(more);
        footnote.run(&arguments)
    };
    let dense = run("none", &[]).code(0).json();
    let whole = dense["tokens_in"].as_u64().unwrap();
    assert!(whole > 600, "{dense}");
    let said = dense["text"].as_str().unwrap();
    for policy in ["speckv:256", "speckv-pc:256"] {
        let pruned = run(policy, &[]).code(0).json();
        assert_eq!(pruned["tokens_in"], whole, "{policy}");
        // The pairs, and the prompt's last token.
        assert_eq!(pruned["tokens_kept"], 257, "{policy}");
        assert!(
            pruned["cache"]["bytes"].as_u64() < dense["cache"]["bytes"].as_u64(),
            "{pruned}"
        );
        assert_eq!(
            pruned["text"].as_str().unwrap(),
            said,
            "{policy}: the code's pairs stay"
        );
    }
    // A budget that holds the whole prompt lets go of nothing.
    let roomy = run("speckv:4000", &[]).code(0).json();
    assert_eq!(
        (&roomy["tokens_kept"], &roomy["text"]),
        (&dense["tokens_in"], &dense["text"])
    );
    run("speckv:256", &["--cache", "kv4"])
        .code(1)
        .says("use the cache `full`");
    run("speckv:20", &[]).code(1).says("last 32 tokens");
}

#[test]
fn heads_that_keep_evidence_are_found_and_used() {
    let model = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let footnote = Footnote::new();
    let lines: Vec<String> = (0..4)
        .map(|at| {
            let code = 4000 + at * 37;
            let evidence = format!("The Hexham works shipped {code} pumps.");
            let filler = "Depreciation is charged on a straight-line basis over the useful life of the plant. ".repeat(5);
            serde_json::json!({
                "question": "How many pumps did the Hexham works ship?",
                "passages": [filler, format!("{filler}{evidence}"), filler],
                "relevant": [1],
                "evidence": [evidence],
                "group": format!("company {at}"),
            })
            .to_string()
        })
        .chain(["{\"question\": \"no passages\"}".to_owned()])
        .collect();
    let data = footnote.write("labelled.jsonl", lines.join("\n").as_bytes());
    let out = data.with_file_name("heads.toml");
    let found = footnote.run(&[
        "engine",
        "heads",
        "--model",
        &text(&model),
        "--data",
        &text(&data),
        "--out",
        &text(&out),
        "--budget",
        "128,160",
        "--most",
        "2",
        "--json",
    ]);
    // The line without passages is named, and the rest goes on.
    let report = found.code(3).says("line 5").json();
    assert_eq!(report["prompts"], 4, "{report}");
    let heads = fs::read_to_string(&out).unwrap();
    assert!(
        heads.contains("[[heads]]") && heads.contains("found_on"),
        "{heads}"
    );
    let used = footnote.run(&[
        "engine",
        "needle",
        "--draft",
        &text(&model),
        "--lengths",
        "400",
        "--depths",
        "0.5",
        "--repeat",
        "1",
        "--compress",
        "specpc-heads:200",
        "--heads",
        &text(&out),
        "--json",
    ]);
    assert_eq!(used.code(0).json()["needles"][0]["kept"], 200);
}
