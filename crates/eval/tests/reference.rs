//! The metrics against an independent implementation, `ranx` in Python, on random data.
//!
//! `FOOTNOTE_TEST_PYTHON` names a Python that has it; else `python3` is tried.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use footnote_eval::{Task, score};
use serde_json::Value;

/// Prints one JSON object: metric to a list of values, questions sorted by id.
const REFERENCE: &str = r#"
import json, sys
from ranx import Qrels, Run, evaluate
qrels, run = {}, {}
for line in open(sys.argv[1]):
    q, _, d, g = line.split()
    qrels.setdefault(q, {})[d] = int(g)
for line in open(sys.argv[2]):
    q, _, d, _, s, _ = line.split()
    run.setdefault(q, {})[d] = float(s)
names = {"ndcg@%d": "ndcg_burges@%d", "ndcg_linear@%d": "ndcg@%d", "map@%d": "map@%d", "mrr@%d": "mrr@%d",
         "recall@%d": "recall@%d"}
out = {}
order = sorted(qrels)
for k in (5, 10):
    for ours, theirs in names.items():
        r = Run(run)
        evaluate(Qrels(qrels), r, [theirs % k, "precision@1"], make_comparable=True)
        out[ours % k] = [float(r.scores[theirs % k][q]) for q in order]
print(json.dumps(out))
"#;

fn python() -> Option<OsString> {
    let python = std::env::var_os("FOOTNOTE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let found = Command::new(&python)
        .args(["-c", "import ranx"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        footnote_testkit::skip(
            module_path!(),
            "no Python with ranx; FOOTNOTE_TEST_PYTHON names one",
        );
    }
    found.then_some(python)
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn equal_to_ranx_on_random_data() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (qrels, run) = (folder.path().join("d.qrels"), folder.path().join("p.run"));
    let mut random = Random(7);
    let (mut judged, mut ranked) = (String::new(), String::new());
    for question in 0..150 {
        let candidates = 6 + random.below(40);
        // ranx leaves a question without a relevant document undefined, so each has one.
        let sure = random.below(candidates);
        for document in 0..candidates {
            let grade = if document == sure {
                1
            } else {
                random.below(9).saturating_sub(5)
            };
            judged.push_str(&format!("q{question:03} 0 d{document} {grade}\n"));
        }
        // A run of unjudged documents too, without equal scores, not always long.
        let mut documents: Vec<u64> = (0..candidates + 5).collect();
        for place in (1..documents.len()).rev() {
            let other = random.below(place as u64 + 1) as usize;
            documents.swap(place, other);
        }
        let keep = 1 + random.below(documents.len() as u64) as usize;
        for (place, document) in documents.iter().take(keep).enumerate() {
            let score = 100.0 - place as f64 - random.below(900) as f64 / 1000.0;
            ranked.push_str(&format!(
                "q{question:03} Q0 d{document} {place} {score} t\n"
            ));
        }
    }
    fs::write(&qrels, judged).unwrap();
    fs::write(&run, ranked).unwrap();
    let output = Command::new(python)
        .arg("-c")
        .arg(REFERENCE)
        .args([&qrels, &run])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = score(Task::Passages, &qrels, &run).unwrap();
    assert_eq!(ours.invalid, 0, "{:?}", ours.notes);
    let mut compared = 0;
    for (metric, values) in theirs.as_object().unwrap() {
        let ours = ours.values(metric).unwrap();
        for (question, value) in values.as_array().unwrap().iter().enumerate() {
            let (a, b) = (ours[question], value.as_f64().unwrap());
            assert!((a - b).abs() < 1e-12, "{metric} of {question}: {a} and {b}");
            compared += 1;
        }
    }
    assert_eq!(compared, 150 * 10);
}
