//! Jobs: imports, evaluations and exports, asked for, watched, cancelled, repeated and killed.

use std::collections::BTreeSet;

use footnote_store::{BlockingStore, Location, now_ms};
use serde_json::{Value, json};

use crate::harness::{GROWTH, Server, home, record, server, start, until, upload};

fn evaluation(records: usize, ranker: &str) -> Value {
    let models = if ranker == "model" {
        json!(["smollm2-135m"])
    } else {
        json!([])
    };
    json!({ "name": "valves", "task": "doc-types", "rankers": [ranker], "models": models,
            "records": (0..records).map(record).collect::<Vec<_>>() })
}

/// Waits until a job is in one of these states.
#[track_caller]
fn wait(server: &Server, id: &str, states: &[&str]) -> Value {
    until(&format!("job {id} is {states:?}"), || {
        let job = server.get(&format!("/v1/jobs/{id}")).expect(200);
        states
            .contains(&job["state"].as_str().unwrap())
            .then_some(job)
    })
}

fn id_of(job: &Value) -> String {
    job["id"].as_str().unwrap().to_owned()
}

#[test]
fn uploaded_filings_are_imported_once_and_can_be_asked_about() {
    let Some(folder) = home("imports", false) else {
        return;
    };
    let server = start(folder.path(), &[]);
    // Without a corpus the server runs, and says what is missing.
    assert_eq!(server.get("/readyz").status, 503);
    assert_eq!(
        server
            .post("/v1/search", &json!({ "query": "x" }))
            .expect(503)["code"],
        "unavailable"
    );
    let sample = footnote_testkit::repository().join("corpora/sample");
    let manifest = std::fs::read_to_string(sample.join("manifest.jsonl")).unwrap_or_default();
    let mut names: Vec<String> = std::fs::read_dir(&sample)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("_10K_"))
        .collect();
    names.sort();
    let mut files: Vec<(&str, Vec<u8>)> = names
        .iter()
        .map(|name| (name.as_str(), std::fs::read(sample.join(name)).unwrap()))
        .collect();
    files.push(("manifest.jsonl", manifest.into_bytes()));
    files.push(("broken.jsonl", b"{\"doc\": 7}\n".to_vec()));
    let borrowed: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_slice()))
        .collect();
    let (kind, body) = upload(&borrowed);
    let headers = [
        ("content-type", kind.as_str()),
        ("idempotency-key", "first"),
    ];
    let job = server
        .send("POST", "/v1/imports", &headers, body.clone())
        .expect(202);
    let id = id_of(&job);
    // Sent again it is the same job, and something else under its key is a mistake.
    assert_eq!(
        id_of(
            &server
                .send("POST", "/v1/imports", &headers, body)
                .expect(202)
        ),
        id
    );
    let (_, other) = upload(&[("a.html", b"<html></html>")]);
    assert_eq!(
        server
            .send("POST", "/v1/imports", &headers, other)
            .expect(409)["code"],
        "conflict"
    );
    let events = server
        .events("GET", &format!("/v1/jobs/{id}/events"), &[], &Value::Null)
        .rest();
    assert_eq!(events.last().unwrap().name, "end");
    let done = &events.last().unwrap().data;
    assert_eq!(done["state"], "done", "{done}");
    assert!(done["result"]["added"].as_u64().unwrap() >= 4, "{done}");
    // The bad one is named, by its name and not its place, and lost nobody else.
    let left_out = done["result"]["left_out"].to_string();
    assert!(
        left_out.contains("broken.jsonl") && !left_out.contains("upload-"),
        "{left_out}"
    );
    assert!(
        !left_out.contains(folder.path().to_str().unwrap()),
        "{left_out}"
    );
    until("the server is ready", || {
        (server.get("/readyz").status == 200).then_some(())
    });
    let answer = until("the filing can be asked about", || {
        let answer = server
            .post("/v1/answers", &json!({ "question": GROWTH }))
            .expect(200);
        answer["text"]
            .as_str()
            .unwrap()
            .contains("7.4%")
            .then_some(answer)
    });
    assert_eq!(answer["footnotes"][0]["verified"], true);
    for bad in ["../x.html", ".hidden", "a/b.html", ""] {
        let (kind, body) = upload(&[(bad, b"x")]);
        let refused = server.send("POST", "/v1/imports", &[("content-type", &kind)], body);
        assert!(
            [400, 422].contains(&refused.status),
            "{bad}: {}",
            refused.text
        );
    }
    // What was refused leaves nothing behind, and what was imported stands in the corpus.
    let uploads = std::fs::read_dir(folder.path().join("jobs"))
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("upload-")
        })
        .count();
    assert_eq!(uploads, 0);
}

#[test]
fn an_evaluation_is_reported_with_intervals_and_its_files_can_be_fetched() {
    let Some(server) = server("evaluations", &[]) else {
        return;
    };
    let job = server
        .post("/v1/evaluations", &evaluation(12, "fixed"))
        .expect(202);
    let done = wait(&server, &id_of(&job), &["done", "dead"]);
    assert_eq!(done["state"], "done", "{done}");
    let report = &done["result"]["cells"][0]["report"];
    assert_eq!(report["n"], 12);
    let ndcg = &report["metrics"]["ndcg@5"];
    assert!(
        ndcg["mean"].as_f64().unwrap() > 0.5 && ndcg["ci95"].is_array(),
        "{report}"
    );
    let files: Vec<&str> = done["result"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(files.contains(&"report.md"), "{files:?}");
    let fetched = server.get(&format!("/v1/jobs/{}/files/report.md", id_of(&job)));
    assert_eq!(fetched.status, 200);
    assert!(fetched.text.contains("valves"));
    for bad in ["..%2Frun%2Frun.db", "run.db", "..", "report.md%00"] {
        assert_eq!(
            server
                .get(&format!("/v1/jobs/{}/files/{bad}", id_of(&job)))
                .status,
            404,
            "{bad}"
        );
    }
    let wrong = json!({ "task": "doc-types", "rankers": ["nonsense"], "records": [record(0)] });
    let dead = wait(
        &server,
        &id_of(&server.post("/v1/evaluations", &wrong).expect(202)),
        &["done", "dead"],
    );
    assert_eq!(dead["state"], "dead");
    assert_eq!(
        dead["attempts"], 1,
        "what would fail every time is not tried again"
    );
    assert!(
        dead["error"].as_str().unwrap().contains("nonsense"),
        "{dead}"
    );
}

#[test]
fn a_cancelled_job_stops_where_it_is_and_goes_on_from_there() {
    let Some(server) = server("cancelling", &[]) else {
        return;
    };
    let job = server
        .post("/v1/evaluations", &evaluation(60, "model"))
        .expect(202);
    let id = id_of(&job);
    let behind = server
        .post("/v1/evaluations", &evaluation(3, "fixed"))
        .expect(202);
    let position = server
        .get(&format!("/v1/jobs/{}", id_of(&behind)))
        .expect(200);
    assert!(
        position["state"] != "waiting" || position["queue_position"].is_u64(),
        "{position}"
    );
    until("some questions are done", || {
        let job = server.get(&format!("/v1/jobs/{id}")).expect(200);
        (job["done"].as_u64().unwrap() > 0).then_some(())
    });
    let cancelled = server
        .post(&format!("/v1/jobs/{id}/cancel"), &json!({}))
        .expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!(
        server
            .post(&format!("/v1/jobs/{id}/cancel"), &json!({}))
            .expect(409)["code"],
        "conflict"
    );
    // Its place is free for the next one.
    assert_eq!(wait(&server, &id_of(&behind), &["done"])["state"], "done");
    assert_eq!(
        server.get(&format!("/v1/jobs/{id}")).expect(200)["state"],
        "cancelled"
    );
    server
        .post(&format!("/v1/jobs/{id}/retry"), &json!({}))
        .expect(200);
    let done = wait(&server, &id, &["done", "dead"]);
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(done["result"]["cells"][0]["report"]["n"], 60);
    assert_eq!(done["result"]["cells"][0]["failed"], 0);
}

#[test]
fn a_killed_evaluation_goes_on_where_it_stood_and_asks_nothing_twice() {
    let Some(mut first) = server("killed evaluations", &[]) else {
        return;
    };
    let id = id_of(
        &first
            .post("/v1/evaluations", &evaluation(60, "model"))
            .expect(202),
    );
    let before = until("some questions are done", || {
        let job = first.get(&format!("/v1/jobs/{id}")).expect(200);
        job["done"].as_u64().filter(|done| (3..60).contains(done))
    });
    first.kill();
    let killed_ms = now_ms();
    let second = start(&first.home, &[]);
    let done = wait(&second, &id, &["done", "dead"]);
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(done["attempts"], 2);
    assert_eq!(done["result"]["cells"][0]["failed"], 0);
    let file = done["result"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .find(|name| name.ends_with(".jsonl"))
        .unwrap()
        .to_owned();
    let predictions = second.get(&format!("/v1/jobs/{id}/files/{file}")).text;
    let ids: BTreeSet<String> = predictions
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!((ids.len(), predictions.lines().count()), (60, 60));
    // What was done before the kill has its time from before: it was not asked again.
    let database = second.home.join(format!("jobs/{id}/run/run.db"));
    let store = BlockingStore::open(&Location::file(database)).unwrap();
    let run = store.wait(store.store().runs()).unwrap().remove(0);
    let items = store.wait(store.store().items(&run.id, -1, 100)).unwrap();
    assert_eq!(items.len(), 60);
    let first_try = items
        .iter()
        .filter(|item| item.finished_ms <= killed_ms)
        .count() as u64;
    assert!((before..60).contains(&first_try), "{first_try} of {before}");
}

#[test]
fn feedback_becomes_training_data_without_leaving_the_house() {
    let Some(server) = server("exports", &[]) else {
        return;
    };
    for (question, verdict) in [
        (GROWTH, "right"),
        ("What was Carrowmere's revenue in fiscal 2024?", "right"),
        ("What was Carrowmere's revenue in fiscal 2023?", "wrong"),
    ] {
        let answer = server
            .post("/v1/answers", &json!({ "question": question }))
            .expect(200);
        let mut judged = json!({ "trace_id": answer["id"], "verdict": verdict });
        if verdict == "wrong" {
            judged["correction"] = json!("2,078.4 million");
        }
        server.post("/v1/feedback", &judged).expect(201);
    }
    let asked = json!({ "form": "sft", "sources": ["feedback"], "validation": 0.0, "test": 0.0 });
    let job = server.post("/v1/exports", &asked).expect(202);
    let done = wait(&server, &id_of(&job), &["done", "dead"]);
    assert_eq!(done["state"], "done", "{done}");
    let files: Vec<&str> = done["result"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let rows = files
        .iter()
        .find(|name| name.ends_with("train.jsonl"))
        .unwrap();
    let text = server
        .get(&format!("/v1/jobs/{}/files/{rows}", id_of(&job)))
        .text;
    assert!(text.contains("Aquillon"), "{text}");
}

#[test]
fn a_stopping_server_gives_its_job_back_and_ends_in_order() {
    let Some(mut first) = server("stopping", &["--drain-seconds", "60"]) else {
        return;
    };
    let id = id_of(
        &first
            .post("/v1/evaluations", &evaluation(80, "model"))
            .expect(202),
    );
    until("it runs", || {
        (first.get(&format!("/v1/jobs/{id}")).expect(200)["done"].as_u64() > Some(0)).then_some(())
    });
    assert!(first.stop(), "{}", first.log());
    assert!(first.log().contains("handed_back"), "{}", first.log());
    let second = start(&first.home, &[]);
    let done = wait(&second, &id, &["done", "dead"]);
    assert_eq!(done["state"], "done", "{done}");
}
