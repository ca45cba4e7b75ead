//! What users said of answers becomes chats and pairs.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use footnote_export::{
    ExportOptions, FileFormat, Form, Source, SplitBy, Surroundings, check, export,
};
use footnote_store::{BlockingStore, Location, NewFeedback, NewTrace};
use serde_json::{Value, json};

fn trace(question: &str, answer: Value) -> NewTrace {
    NewTrace {
        origin: "api".to_owned(),
        owner: None,
        question: question.to_owned(),
        model: "m".to_owned(),
        answer,
        events: json!([]),
        tokens_in: 1,
        tokens_out: 1,
        total_ms: 1.0,
    }
}

#[test]
fn praise_is_imitated_and_corrections_are_preferred() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlockingStore::open(&Location::file(folder.path().join("f.db"))).unwrap();
    let judge = |question: &str, answer: Value, rating: i64, correction: Option<&str>| {
        let id = store
            .wait(store.store().add_trace(&trace(question, answer)))
            .unwrap();
        let feedback = NewFeedback {
            trace_id: id,
            rating,
            correction: correction.map(str::to_owned),
            better_passage: None,
            comment: None,
            author: None,
        };
        store.wait(store.store().add_feedback(&feedback)).unwrap();
    };
    let said = |text: &str| json!({ "text": text });
    judge(
        "What did Aquillon earn in 2024?",
        said("$12 million. [1]"),
        1,
        None,
    );
    judge(
        "Who audits Brantham?",
        said("Foxholt LLP. [1]"),
        -1,
        Some("Garrick & Co."),
    );
    judge(
        "Why did Cindervale close its works?",
        said("It did not. [1]"),
        -1,
        None,
    );
    judge("Where is Dornwick?", json!({ "not_found": {} }), 1, None);

    let around = Surroundings {
        store: Some(&store),
        corpus: None,
        seed: 1,
        reword: None,
    };
    let options = |form| ExportOptions {
        form,
        format: FileFormat::Both,
        split_by: SplitBy::Both,
        validation: 0.0,
        test: 0.0,
        seed: 1,
        overwrite: false,
    };
    let rows = |form: Form| -> Vec<Value> {
        let out = folder.path().join(form.name());
        let exported = export(
            &[Source::Feedback],
            &out,
            &options(form),
            &around,
            &mut || (),
        )
        .unwrap();
        assert_eq!(exported.defects.len(), 1, "an answer without text is named");
        assert!(exported.defects[0].reason.contains("holds no answer"));
        assert_eq!(check(&out).unwrap().defects, Vec::<String>::new());
        std::fs::read_to_string(out.join("train.jsonl"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let chats = rows(Form::Sft);
    let mut answers: Vec<&str> = chats
        .iter()
        .map(|row| row["messages"][1]["content"].as_str().unwrap())
        .collect();
    // Within a millisecond names are in no order.
    answers.sort_unstable();
    assert_eq!(answers, ["$12 million. [1]", "Garrick & Co."]);
    let pairs = rows(Form::Preferences);
    assert_eq!(pairs.len(), 1, "only a correction says what is better");
    assert_eq!(pairs[0]["chosen"][0]["content"], "Garrick & Co.");
    assert_eq!(pairs[0]["rejected"][0]["content"], "Foxholt LLP. [1]");
}
