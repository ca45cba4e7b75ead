//! Questions: as JSON, as events, resumed, judged, given up.

use serde_json::{Value, json};

use crate::harness::{GROWTH, assert_quoted, server, start, until};

#[test]
fn an_answer_is_checked_kept_and_judged() {
    let Some(server) = server("answers", &[]) else {
        return;
    };
    let answer = server
        .post("/v1/answers", &json!({ "question": GROWTH }))
        .expect(200);
    assert!(
        answer["text"].as_str().unwrap().contains("7.4%"),
        "{answer}"
    );
    assert_eq!(answer["trace_kept"], true);
    let footnote = &answer["footnotes"][0];
    assert_eq!(footnote["verified"], true);
    assert_quoted(&server, footnote);
    let id = answer["id"].as_str().unwrap();
    let judged = server
        .post("/v1/feedback", &json!({ "trace_id": id, "verdict": "wrong", "correction": "7.5%", "better_passage": footnote["passage"] }))
        .expect(201);
    let trace = server.get(&format!("/v1/traces/{id}")).expect(200);
    assert_eq!(trace["question"], GROWTH);
    assert_eq!(trace["feedback"][0]["id"], judged["id"]);
    assert_eq!(trace["feedback"][0]["rating"], -1);
    assert_eq!(trace["feedback"][0]["better_passage"], footnote["passage"]);
    let list = server.get("/v1/traces?limit=1").expect(200);
    assert_eq!(list["traces"][0]["id"], id);
    let nothing = json!({ "trace_id": id });
    assert_eq!(server.post("/v1/feedback", &nothing).status, 422);
}

#[test]
fn what_the_filings_do_not_say_is_not_said() {
    let Some(server) = server("not found", &[]) else {
        return;
    };
    let question = "What was Zorbulon's revenue in fiscal 2024?";
    let answer = server
        .post("/v1/answers", &json!({ "question": question }))
        .expect(200);
    assert!(answer["not_found"].is_object(), "{answer}");
    assert_eq!(answer["statements"], json!([]));
}

#[test]
fn a_cut_stream_goes_on_after_the_last_event_even_over_a_restart() {
    let Some(mut first) = server("resuming", &[]) else {
        return;
    };
    let question = json!({ "question": GROWTH });
    let all = first.events("POST", "/v1/answers", &[], &question).rest();
    let names: Vec<&str> = all.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names[..4],
        ["accepted", "scope", "doc_types", "passages"],
        "{names:?}"
    );
    assert_eq!(names.last(), Some(&"answer"));
    assert!(names.contains(&"citation"), "{names:?}");
    let seen = &all[2].id;
    let rest = first
        .events("POST", "/v1/answers", &[("last-event-id", seen)], &question)
        .rest();
    assert_eq!(rest, all[3..]);
    let id = all[0].data["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/answers/{id}/events");
    assert_eq!(first.events("GET", &path, &[], &Value::Null).rest(), all);
    assert!(first.stop(), "{}", first.log());
    let second = start(&first.home, &[]);
    let after = second
        .events("GET", &path, &[("last-event-id", seen)], &Value::Null)
        .rest();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].name, "answer");
    assert_eq!(after[0].data["text"], all.last().unwrap().data["text"]);
    let mut unknown = second.events("GET", "/v1/answers/never-asked/events", &[], &Value::Null);
    assert_eq!(unknown.status, 410);
    assert!(unknown.body().contains("gone"));
}

/// A question that the model writes at length about.
const LONG: &str = "Describe the business of Aquillon Thermal Systems and the risks that it names.";

#[test]
fn whoever_leaves_frees_the_place_at_once() {
    let Some(server) = server("leaving", &["--answers", "1", "--answers-waiting", "1"]) else {
        return;
    };
    let long = json!({ "question": LONG });
    let mut running = server.events("POST", "/v1/answers", &[], &long);
    assert_eq!(running.next().unwrap().name, "accepted");
    until("the first question runs", || {
        (server.metric("footnote_answers_running") == 1.0).then_some(())
    });
    let waiting = server.events("POST", "/v1/answers", &[], &json!({ "question": GROWTH }));
    assert_eq!(waiting.status, 200);
    let refused = server.post("/v1/answers", &json!({ "question": GROWTH }));
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert_eq!(refused.headers["retry-after"], "10");
    // The one that runs and the one that waits both leave; their places are free.
    drop(running);
    drop(waiting);
    let answer = until("a place is free", || {
        let reply = server.post("/v1/answers", &json!({ "question": GROWTH }));
        (reply.status == 200).then(|| reply.json())
    });
    assert!(answer["text"].as_str().unwrap().contains("7.4%"));
    let traces = server.get("/v1/traces").expect(200);
    assert_eq!(traces["traces"].as_array().unwrap().len(), 1, "{traces}");
}

#[test]
fn an_answer_that_may_be_resumed_goes_on_without_a_listener() {
    let Some(server) = server("lingering", &[]) else {
        return;
    };
    let mut stream = server.events(
        "POST",
        "/v1/answers",
        &[],
        &json!({ "question": GROWTH, "resumable_s": 60 }),
    );
    let first = stream.next().unwrap();
    drop(stream);
    let id = first.data["id"].as_str().unwrap().to_owned();
    let rest = server
        .events(
            "GET",
            &format!("/v1/answers/{id}/events"),
            &[("last-event-id", &first.id)],
            &Value::Null,
        )
        .rest();
    assert_eq!(rest.last().unwrap().name, "answer");
    // Whoever says so ends it at once, though it might linger.
    let mut long = server.events(
        "POST",
        "/v1/answers",
        &[],
        &json!({ "question": LONG, "resumable_s": 300 }),
    );
    let id = long.next().unwrap().data["id"].as_str().unwrap().to_owned();
    assert_eq!(
        server
            .post(&format!("/v1/answers/{id}/cancel"), &json!({}))
            .status,
        204
    );
    let last = long.rest().pop().unwrap();
    assert_eq!(
        (last.name.as_str(), &last.data["code"]),
        ("error", &json!("gone"))
    );
    assert_eq!(
        server.post("/v1/answers/none/cancel", &json!({})).status,
        404
    );
}

#[test]
fn sixty_four_at_once_are_all_answered() {
    let Some(server) = server("sixty-four", &[]) else {
        return;
    };
    let server = &server;
    let years = [2022, 2023, 2024];
    let companies = ["Aquillon", "Carrowmere"];
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..64)
            .map(|number| {
                let question = format!(
                    "What was {}'s revenue in fiscal {}?",
                    companies[number % 2],
                    years[number % 3]
                );
                scope.spawn(move || {
                    server
                        .post("/v1/answers", &json!({ "question": question }))
                        .expect(200)
                })
            })
            .collect();
        asked
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut ids: Vec<&str> = answers
        .iter()
        .map(|answer| answer["id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 64);
    // The same question has the same answer, whatever else is being answered.
    for pair in (0..6).map(|first| [&answers[first], &answers[first + 6], &answers[first + 12]]) {
        assert!(
            pair.iter().all(|answer| answer["text"] == pair[0]["text"]),
            "{pair:?}"
        );
    }
}
