//! The commands of the language model by itself.

use std::fs;

use crate::harness::{Footnote, text};

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
    // The same heads, moved while the model writes.
    let (model, out) = (text(&model), text(&out));
    let mut write = vec![
        "engine",
        "generate",
        "--model",
        &model,
        "--prompt",
        "The Hexham works shipped",
        "--max-tokens",
        "8",
        "--contrast",
        "zero",
    ];
    footnote.run(&write).code(2).says("--contrast-heads");
    write.extend(["--contrast-heads", &out, "--contrast-weight", "0"]);
    let plain = footnote.run(&write[..8]).code(0).out();
    assert_eq!(footnote.run(&write).code(0).out(), plain);
    write[9] = "nothing";
    footnote.run(&write).code(2).says("identity, zero, sink");
}

/// A GPU that cannot be used is an error before anything is loaded, never the processor in silence; `auto` is the processor
/// where there is none.
#[test]
fn a_device_that_is_not_there_is_named() {
    let footnote = Footnote::new();
    let file = text(&footnote.write("model.gguf", b"GGUF"));
    let generate = ["engine", "generate", "--prompt", "x", "--model", &file];
    let on = |device: &str| footnote.run(&[&generate[..], &["--device", device]].concat());
    let run = on("cuda:99").code(1).says("cuda:99 cannot be used");
    if cfg!(not(feature = "cuda")) {
        run.says("--features cuda").says("--device cpu");
    }
    on("cpu").code(1).says("model.gguf");
    for wrong in ["gpu", "cuda:", "CPU"] {
        on(wrong).code(2).says("auto, cpu, cuda:0");
    }
    let words = text(&footnote.write("words.txt", b"Net sales rose by six percent."));
    let scored = footnote
        .command()
        .env("FOOTNOTE_DEVICE", "cuda:99")
        .args(["engine", "perplexity", "--model", &file, "--text", &words])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&scored.stderr);
    assert!(said.contains("cuda:99 cannot be used"), "{said}");
    let shape = ["engine", "bench", "--synthetic", "llama-2-7b"];
    let shaped = |more: &[&str]| footnote.run(&[&shape[..], more].concat());
    shaped(&["--device", "cuda:99"])
        .code(1)
        .says("cuda:99 cannot be used");
    shaped(&["--device", "cpu"]).code(1).says("--floors");
    shaped(&["--model", &file])
        .code(2)
        .says("cannot be used with");
    footnote
        .run(&["engine", "bench"])
        .code(2)
        .says("--synthetic");
    footnote
        .run(&["engine", "bench", "--synthetic", "llama-9"])
        .code(2)
        .says("llama-3.1-8b");
    footnote
        .run(&["engine", "bench", "--pair", "qwen2.5-0.5b"])
        .code(2)
        .says("DRAFT,TARGET");
}

#[test]
fn floors_of_a_shape_need_no_device() {
    let footnote = Footnote::new();
    let shape = ["engine", "bench", "--synthetic", "llama-3.1-8b", "--floors"];
    let few = [
        "--batch",
        "1",
        "--contexts",
        "8192",
        "--caches",
        "full,xquant4",
    ];
    let json = footnote
        .run(&[&shape[..], &few, &["--json"]].concat())
        .code(0)
        .json();
    let cells = json["decode"].as_array().unwrap();
    assert_eq!(cells.len(), 2, "{json}");
    assert!(
        (cells[0]["floor_ms"].as_f64().unwrap() - 5.36).abs() < 0.05,
        "{json}"
    );
    let bytes = |cell: &serde_json::Value| cell["cache_bytes"].as_f64().unwrap();
    assert!(bytes(&cells[0]) > 3.5 * bytes(&cells[1]), "{json}");
    let lines = footnote.run(&[&shape[..], &few].concat()).code(0).out();
    assert!(lines.contains("computed, not measured"), "{lines}");
}
