//! Every public format written and read back: the same parts, whatever the texts hold.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;

use footnote_eval::finagentbench::{
    ParsedPrompt, PromptKind, Record, RecordForm, parse_prompt, read_records, write_prompt,
    write_record,
};
use footnote_eval::{read_lines, submission, trec};
use proptest::prelude::*;
use proptest::sample::select;

/// Texts as chunks have them, and the template's own words among them.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9 .,$%()é–]{0,24}",
        1 => select(vec![
            "\n", "\n\n", " ", "[Chunk Index 0]", "[Chunk Index 1] x", "\n[Chunk Index 7] y", "Question: z", "##",
            "<table><tr><td>", "Task:", "[Document Index 1]", "\u{0}", "\"", "\\n",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn record() -> impl Strategy<Value = Record> {
    let parts = (
        any::<bool>(),
        text(),
        prop::collection::vec((text(), 0u32..3), 1..24),
    );
    (
        "[a-z0-9_]{1,12}",
        parts,
        prop::option::of("[A-Z][a-z ]{1,9}"),
    )
        .prop_map(|(id, (chunks, question, candidates), company)| {
            let (candidates, grades): (Vec<String>, Vec<u32>) = candidates.into_iter().unzip();
            Record {
                id,
                prompt: ParsedPrompt {
                    kind: if chunks {
                        PromptKind::Chunks
                    } else {
                        PromptKind::Documents
                    },
                    question,
                    candidates,
                },
                grades: Some(grades),
                company,
                category: None,
                line: 1,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What can be written reads back exactly; what could not be read back is refused.
    #[test]
    fn records_come_back_exactly(record in record()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        for form in [RecordForm::Dev, RecordForm::Eval] {
            let mut bytes = Vec::new();
            if write_record(&mut bytes, &record, form).is_err() {
                prop_assert!(write_prompt(&record.prompt).is_err());
                continue;
            }
            fs::write(&path, &bytes).unwrap();
            let again: Vec<Record> = read_records(&path).unwrap().collect::<Result<_, _>>().unwrap();
            let mut expected = record.clone();
            if form == RecordForm::Eval {
                expected.grades = None;
            }
            prop_assert_eq!(&again, &[expected]);
        }
    }

    #[test]
    fn any_prompt_is_parsed_or_refused(prompt in text(), chunks in text()) {
        let _ = parse_prompt(&prompt);
        let _ = parse_prompt(&format!("Question: {prompt}\nText chunks:{chunks}"));
    }

    #[test]
    fn qrels_and_runs_come_back(
        grades in prop::collection::btree_map("[a-z0-9:#]{1,8}", 0u32..4, 1..20),
        id in "[a-z0-9]{1,8}",
    ) {
        let folder = tempfile::tempdir().unwrap();
        let judged = trec::Judged { id: id.clone(), documents: grades.into_iter().collect() };
        let mut bytes = Vec::new();
        trec::write_qrels(&mut bytes, &judged).unwrap();
        let qrels = folder.path().join("d.qrels");
        fs::write(&qrels, &bytes).unwrap();
        prop_assert_eq!(&trec::read_qrels(&qrels).unwrap(), std::slice::from_ref(&judged));

        let ranking: Vec<String> = judged.documents.iter().rev().map(|(name, _)| name.clone()).collect();
        let mut bytes = Vec::new();
        trec::write_run(&mut bytes, &id, &ranking, "footnote").unwrap();
        let run = folder.path().join("p.run");
        fs::write(&run, &bytes).unwrap();
        let lists = trec::read_run(&run).unwrap().lists;
        prop_assert_eq!(lists.len(), 1);
        prop_assert_eq!(lists[0].ranking.as_ref().unwrap(), &ranking);
    }

    #[test]
    fn submissions_come_back(
        samples in prop::collection::btree_map("[a-z,\" ]{1,8}", Just([4usize, 0, 17, 3, 1]), 1..9),
    ) {
        let mut bytes = Vec::new();
        submission::write_header(&mut bytes).unwrap();
        for (id, ranking) in &samples {
            submission::write_sample(&mut bytes, id, ranking).unwrap();
        }
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(lines, 1 + 5 * samples.len());
        let again = submission::read(bytes.as_slice()).unwrap();
        let expected: Vec<(String, Vec<usize>)> =
            samples.into_iter().map(|(id, ranking)| (id, ranking.to_vec())).collect();
        prop_assert_eq!(again, expected);
    }
}

#[test]
fn the_benchmarks_own_words() {
    let parts = |kind, question: &str, candidates: &[&str]| ParsedPrompt {
        kind,
        question: question.to_owned(),
        candidates: candidates.iter().map(|text| (*text).to_owned()).collect(),
    };
    let chunks = write_prompt(&parts(PromptKind::Chunks, "Q?", &["one", "", "three"])).unwrap();
    expect_test::expect![[r#"
        "Identify the 3 most relevant text chunks for answering this question, then rank them in order of relevance (best first).\nQuestion: Q?\nText chunks:\n[Chunk Index 0] one\n[Chunk Index 1] \n[Chunk Index 2] three\n\nTask: Select and rank the 3 most relevant chunks among the given text chunks(from index 0 to 2).\n- Put the BEST chunk first\n- Put the 2nd best chunk second  \n- Continue until you have ranked your top 3 chunks\nResponse Format: [1st_most_relevant_index, 2nd_most_relevant_index, ..., 3th_most_relevant_index]"
    "#]]
    .assert_debug_eq(&chunks);
}

/// The real development records, byte for byte.
#[test]
fn real_prompts_are_written_back_byte_for_byte() {
    let path = footnote_testkit::shared_or_skip!("data/finagentbench/doc_ranking_dev.jsonl");
    for line in read_lines(&path).unwrap() {
        let record = line.record.unwrap();
        let prompt = record["messages"][0]["content"].as_str().unwrap();
        assert_eq!(
            write_prompt(&parse_prompt(prompt).unwrap()).unwrap(),
            prompt
        );
    }
}

/// Chunks as real filings have them, put into a prompt and taken out again.
#[test]
fn real_chunk_texts_come_back() {
    let path = footnote_testkit::shared_or_skip!("data/finagentbench/chunk_text_samples.jsonl");
    let mut candidates: Vec<String> = read_lines(&path)
        .unwrap()
        .map(|line| line.record.unwrap()["text"].as_str().unwrap().to_owned())
        .collect();
    candidates.insert(3, String::new());
    let parts = ParsedPrompt {
        kind: PromptKind::Chunks,
        question: "What changed?".to_owned(),
        candidates,
    };
    assert_eq!(parse_prompt(&write_prompt(&parts).unwrap()).unwrap(), parts);
}

#[test]
fn a_short_or_repeating_ranking_makes_no_submission() {
    let mut out = Vec::new();
    let error = submission::write_sample(&mut out, "q1", &[1, 2]).unwrap_err();
    assert!(error.to_string().contains("q1"));
    assert!(submission::write_sample(&mut out, "q1", &[1, 2, 3, 4, 1]).is_err());
    let error = submission::read("sample_id,target_index\nq,1\nq,x\n".as_bytes()).unwrap_err();
    assert!(error.contains("line 3"), "{error}");
    let error = submission::read("sample_id,target_index\nq,1\n".as_bytes()).unwrap_err();
    assert!(error.contains("1 rows"), "{error}");
}
