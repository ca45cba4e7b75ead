//! The store by its contract, on SQLite always and on a real Postgres where one answers or `FOOTNOTE_TEST_POSTGRES`
//! names one: concurrent writers, a killed writer, schemas brought up to date twice.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use footnote_store::{
    BlockingStore, EvalCall, EvalItem, ItemState, JobProgress, JobState, Location, NewEvalRun,
    NewFeedback, NewJob, NewKey, NewMessage, NewTrace, Speaker, Store, StoreError, new_id, now_ms,
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

/// Where a Postgres for tests usually answers.
const USUAL_SERVER: &str = "postgres://postgres@127.0.0.1:5432/postgres";

/// A fresh database of each kind that this machine has.
async fn stores(test: &str) -> Vec<(tempfile::TempDir, Location, Store)> {
    let folder = tempfile::tempdir().unwrap();
    let file = Location::file(folder.path().join("a/b/footnote.db"));
    let store = Store::open(&file).await.unwrap();
    let mut all = vec![(folder, file, store)];
    let named = std::env::var("FOOTNOTE_TEST_POSTGRES").ok();
    let server = named.as_deref().unwrap_or(USUAL_SERVER);
    let mut connection = match PgConnection::connect(server).await {
        Ok(connection) => connection,
        Err(error) if named.is_none() => {
            footnote_testkit::skip(
                &format!("{test} on Postgres"),
                &format!(
                    "none answers at {USUAL_SERVER} ({error}); FOOTNOTE_TEST_POSTGRES names another"
                ),
            );
            return all;
        }
        Err(error) => panic!("{server}: {error}"),
    };
    let database = format!("footnote_{}", new_id());
    sqlx::query(sqlx::AssertSqlSafe(format!("create database {database}")))
        .execute(&mut connection)
        .await
        .unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    let location: Location = format!("{base}/{database}").parse().unwrap();
    let store = Store::open(&location).await.unwrap();
    all.push((tempfile::tempdir().unwrap(), location, store));
    all
}

fn run(id: &str, items_total: i64) -> NewEvalRun {
    NewEvalRun {
        id: id.to_owned(),
        suite: "s".to_owned(),
        suite_hash: "h".to_owned(),
        task: "doc-types".to_owned(),
        dataset: "d.jsonl".to_owned(),
        dataset_hash: "hh".to_owned(),
        ranker: "fixed".to_owned(),
        model: String::new(),
        cache: "full".to_owned(),
        compression: "none".to_owned(),
        config: json!({"parallel": 2}),
        items_total,
    }
}

fn item(run_id: &str, row_no: i64) -> EvalItem {
    EvalItem {
        run_id: run_id.to_owned(),
        row_no,
        question_id: format!("q{row_no}"),
        question: "What was \0 revenue? é".to_owned(),
        state: ItemState::Done,
        result: json!({"ranking": [1, 0], "text": "a\0b"}),
        error: None,
        time_ms: 1.5,
        tokens_in: 10,
        tokens_out: 2,
        trace_id: None,
        finished_ms: now_ms(),
    }
}

fn call(prompt: &str) -> EvalCall {
    EvalCall {
        prompt: prompt.to_owned(),
        output: "[1, 0]".to_owned(),
        time_ms: 1.0,
        tokens_in: 10,
        tokens_out: 2,
    }
}

fn trace() -> NewTrace {
    NewTrace {
        origin: "ask".to_owned(),
        owner: None,
        question: "What?".to_owned(),
        model: "m".to_owned(),
        answer: json!({"text": "7.4%"}),
        events: json!([{"event": "scope"}]),
        tokens_in: 1,
        tokens_out: 2,
        total_ms: 3.5,
    }
}

#[tokio::test]
async fn an_item_is_kept_once_and_comes_back_whole() {
    for (_folder, _, store) in stores("items").await {
        store.begin_run(&run("r", 3)).await.unwrap();
        let first = item("r", 1);
        assert!(
            store
                .add_item(&first, &[call("one"), call("two")], Some(&trace()))
                .await
                .unwrap()
        );
        let mut second = first.clone();
        second.result = Value::Null;
        assert!(
            !store
                .add_item(&second, &[call("three")], Some(&trace()))
                .await
                .unwrap()
        );
        let kept = store.items("r", 0, 10).await.unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].result, first.result);
        assert_eq!(kept[0].question, "What was \u{2400} revenue? é");
        // The refused second left no trace behind, the first its own.
        let traces = store.traces_after("", 10).await.unwrap();
        assert_eq!(traces.len(), 1);
        assert_eq!(kept[0].trace_id.as_ref(), Some(&traces[0].id));
        let calls = store.calls("r", 1).await.unwrap();
        assert_eq!(
            calls.iter().map(|c| c.prompt.as_str()).collect::<Vec<_>>(),
            ["one", "two"]
        );
        // Begun again, it is the same run, with what was done.
        let again = store.begin_run(&run("r", 3)).await.unwrap();
        assert_eq!(store.rows_done("r").await.unwrap(), BTreeSet::from([1]));
        assert_eq!(again.finished_ms, None);
        store.finish_run("r").await.unwrap();
        let finished = store.run("r").await.unwrap().finished_ms;
        assert!(finished.is_some());
        assert_eq!(store.runs().await.unwrap().len(), 1);
        // An item of no run is refused, by the database itself.
        assert!(matches!(
            store.add_item(&item("nobody", 0), &[], None).await,
            Err(StoreError::Query { .. })
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_lose_nothing_and_double_nothing() {
    for (_folder, location, store) in stores("many writers").await {
        store.begin_run(&run("r", 40)).await.unwrap();
        // Each writer has an opening of its own, as processes have, and all write every row.
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let location = location.clone();
            writers.spawn(async move {
                let store = Store::open(&location).await.unwrap();
                let mut mine = 0;
                for row in 0..40 {
                    let calls = [call("p"), call("q")];
                    mine +=
                        usize::from(store.add_item(&item("r", row), &calls, None).await.unwrap());
                }
                mine
            });
        }
        let added: usize = writers.join_all().await.into_iter().sum();
        assert_eq!(added, 40);
        assert_eq!(
            store.rows_done("r").await.unwrap(),
            (0..40).collect::<BTreeSet<i64>>()
        );
        for row in 0..40 {
            assert_eq!(store.calls("r", row).await.unwrap().len(), 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn first_openings_at_once_make_one_schema() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::file(folder.path().join("x.db"));
    let mut openings = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let location = location.clone();
        openings.spawn(async move { Store::open(&location).await.map(|_| ()) });
    }
    for opened in openings.join_all().await {
        opened.unwrap();
    }
    let store = Store::open(&location).await.unwrap();
    assert!(store.runs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_schema_is_brought_up_to_date_once() {
    for (_folder, location, store) in stores("schema").await {
        let id = store.add_trace(&trace()).await.unwrap();
        store.close().await;
        let again = Store::open(&location).await.unwrap();
        assert_eq!(again.trace(&id).await.unwrap().answer["text"], "7.4%");
    }
}

#[tokio::test]
async fn what_is_no_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    std::fs::write(&path, "shopping list, and nothing like a database at all").unwrap();
    let error = Store::open(&Location::file(&path))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("notes.db"), "{error}");
}

#[tokio::test]
async fn traces_page_and_feedback_needs_its_trace() {
    for (_folder, _, store) in stores("traces").await {
        let mut names = Vec::new();
        for _ in 0..5 {
            names.push(store.add_trace(&trace()).await.unwrap());
        }
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let page = store.traces_after(&after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            seen.extend(page.into_iter().map(|trace| trace.id));
        }
        names.sort();
        assert_eq!(seen, names);
        let feedback = NewFeedback {
            trace_id: names[0].clone(),
            rating: -1,
            correction: Some("7.5%".to_owned()),
            better_passage: None,
            comment: None,
            author: Some("ann".to_owned()),
        };
        store.add_feedback(&feedback).await.unwrap();
        assert_eq!(
            store.feedback_on(&names[0]).await.unwrap()[0]
                .correction
                .as_deref(),
            Some("7.5%")
        );
        assert_eq!(store.feedback_after("", 10).await.unwrap().len(), 1);
        let lost = NewFeedback {
            trace_id: "nothing".to_owned(),
            ..feedback.clone()
        };
        assert!(matches!(
            store.add_feedback(&lost).await,
            Err(StoreError::Missing { .. })
        ));
        let wild = NewFeedback {
            rating: 5,
            ..feedback
        };
        assert!(matches!(
            store.add_feedback(&wild).await,
            Err(StoreError::Invalid(_))
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_at_once_all_get_a_place() {
    for (_folder, _, store) in stores("conversations").await {
        let talk = store.begin_conversation("3M", Some("ann")).await.unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..8 {
            let (store, id) = (store.clone(), talk.id.clone());
            writers.spawn(async move {
                let message = NewMessage {
                    role: Speaker::User,
                    content: number.to_string(),
                    trace_id: None,
                };
                store.add_message(&id, &message).await.unwrap().position
            });
        }
        let mut places = writers.join_all().await;
        places.sort_unstable();
        assert_eq!(places, (0..8).collect::<Vec<i64>>());
        assert_eq!(store.messages(&talk.id).await.unwrap().len(), 8);
        let message = NewMessage {
            role: Speaker::Assistant,
            content: String::new(),
            trace_id: None,
        };
        assert!(matches!(
            store.add_message("nobody", &message).await,
            Err(StoreError::Missing { .. })
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_has_one_taker_and_a_bounded_number_of_tries() {
    for (_folder, _, store) in stores("jobs").await {
        let new = NewJob {
            kind: "eval".to_owned(),
            payload: json!({"suite": "x"}),
            dedup_key: Some("x".to_owned()),
            request_hash: Some("h".to_owned()),
            owner: Some("ann".to_owned()),
            attempts_max: 2,
        };
        let job = store.add_job(&new).await.unwrap();
        assert_eq!(store.add_job(&new).await.unwrap().id, job.id);
        let mut takers = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let store = store.clone();
            takers.spawn(async move { store.take_job("eval", 60_000).await.unwrap() });
        }
        let taken: Vec<_> = takers.join_all().await.into_iter().flatten().collect();
        assert_eq!(taken.len(), 1);
        let first = &taken[0];
        let half = JobProgress {
            stage: "reading".to_owned(),
            done: 5,
            total: Some(10),
        };
        assert!(store.tell_progress(first, &half, 60_000).await.unwrap());
        let told = store.job(&job.id).await.unwrap();
        assert_eq!((told.items_done, told.items_total), (5, Some(10)));
        assert!(store.end_job(first, Err("disk full"), 0).await.unwrap());
        // What was given back is not the first taker's any more.
        assert!(!store.end_job(first, Ok(&Value::Null), 0).await.unwrap());
        // The second taker vanishes: its lease is over at once, and its tries are used up.
        let second = store.take_job("eval", -1).await.unwrap().unwrap();
        assert_eq!(second.attempts, 2);
        while now_ms() <= second.lease_ms.unwrap() {}
        assert!(store.take_job("eval", 60_000).await.unwrap().is_none());
        assert_eq!(store.job(&job.id).await.unwrap().state, JobState::Dead);
        // A cancelled one tells its worker so.
        let other = NewJob {
            dedup_key: None,
            ..new
        };
        store.add_job(&other).await.unwrap();
        let running = store.take_job("eval", 60_000).await.unwrap().unwrap();
        assert!(store.cancel_job(&running.id).await.unwrap());
        assert!(!store.tell_progress(&running, &half, 60_000).await.unwrap());
        assert!(!store.cancel_job(&running.id).await.unwrap());
        // Tried again, it has as many tries as before, and its first worker is still locked out.
        assert!(store.retry_job(&running.id).await.unwrap());
        assert!(!store.retry_job(&running.id).await.unwrap());
        assert!(!store.end_job(&running, Ok(&Value::Null), 0).await.unwrap());
        let again = store.take_job("eval", 60_000).await.unwrap().unwrap();
        assert_eq!(again.attempts_max - again.attempts, 1);
        // A server that stops in order gives it back, and the try does not count.
        assert!(store.hand_back_job(&again).await.unwrap());
        let again = store.take_job("eval", 60_000).await.unwrap().unwrap();
        assert_eq!(again.attempts_max - again.attempts, 1);
        // A server that starts alone need not wait for the leases of a dead one.
        assert_eq!(store.end_leases().await.unwrap(), 1);
        let third = store.take_job("eval", 60_000).await.unwrap().unwrap();
        assert_eq!(third.id, again.id);
        assert!(store.end_job(&third, Ok(&json!(1)), 0).await.unwrap());
        assert_eq!(
            store.job_counts().await.unwrap(),
            [(JobState::Dead, 1), (JobState::Done, 1)]
        );
    }
}

#[tokio::test]
async fn a_clock_that_goes_back_keeps_no_job_waiting() {
    for (_folder, location, store) in stores("clock").await {
        let job = NewJob {
            kind: "import".to_owned(),
            payload: json!({}),
            dedup_key: None,
            request_hash: None,
            owner: None,
            attempts_max: 3,
        };
        let id = store.add_job(&job).await.unwrap().id;
        // As if it had been asked for tomorrow, before the clock was set right.
        let tomorrow = now_ms() + 86_400_000;
        let set = "update jobs set created_ms = $1, updated_ms = $1, run_after_ms = $1";
        match &location {
            Location::Sqlite(path) => {
                let url = format!("sqlite://{}", path.display());
                let mut file = sqlx::SqliteConnection::connect(&url).await.unwrap();
                sqlx::query(set)
                    .bind(tomorrow)
                    .execute(&mut file)
                    .await
                    .unwrap();
            }
            Location::Postgres(url) => {
                let mut server = PgConnection::connect(url).await.unwrap();
                sqlx::query(set)
                    .bind(tomorrow)
                    .execute(&mut server)
                    .await
                    .unwrap();
            }
        }
        let taken = store.take_job("import", 60_000).await.unwrap().unwrap();
        assert_eq!(taken.id, id);
        // Names go on sorting by when they were made, and a retry that waits still waits.
        assert!(store.end_job(&taken, Err("later"), 60_000).await.unwrap());
        assert!(store.take_job("import", 60_000).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn jobs_are_listed_by_owner_and_know_how_many_are_before_them() {
    for (_folder, _, store) in stores("list").await {
        let mut ids = Vec::new();
        for owner in ["ann", "bob", "ann"] {
            let job = NewJob {
                kind: "import".to_owned(),
                payload: json!({}),
                dedup_key: None,
                request_hash: None,
                owner: Some(owner.to_owned()),
                attempts_max: 3,
            };
            ids.push(store.add_job(&job).await.unwrap().id);
        }
        let last = store.job(&ids[2]).await.unwrap();
        assert_eq!(store.jobs_ahead(&last).await.unwrap(), Some(2));
        let mine = store.jobs_before(Some("ann"), "", 10).await.unwrap();
        let names: Vec<&str> = mine.iter().map(|job| job.id.as_str()).collect();
        assert_eq!(names, [&ids[2], &ids[0]]);
        let page = store.jobs_before(None, &ids[2], 1).await.unwrap();
        assert_eq!(page[0].id, ids[1]);
        assert!(store.cancel_job(&ids[0]).await.unwrap());
        assert_eq!(
            store.forget_jobs(now_ms() + 1).await.unwrap(),
            [ids[0].clone()]
        );
    }
}

#[tokio::test]
async fn a_backup_is_whole_and_never_written_over_something() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Location::file(folder.path().join("a.db")))
        .await
        .unwrap();
    let id = store.add_trace(&trace()).await.unwrap();
    let copy = folder.path().join("b.db");
    store.back_up(&copy).await.unwrap();
    assert!(store.back_up(&copy).await.is_err());
    let opened = Store::open(&Location::file(&copy)).await.unwrap();
    assert_eq!(opened.trace(&id).await.unwrap().question, trace().question);
    assert_eq!(store.forget_traces(now_ms() + 1).await.unwrap(), 1);
    assert!(store.traces_before(None, "", 5).await.unwrap().is_empty());
    assert_eq!(opened.traces_before(None, "", 5).await.unwrap().len(), 1);
    assert!(
        opened
            .traces_before(Some("x"), "", 5)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn only_hashes_of_keys_are_kept_and_a_revoked_one_opens_nothing() {
    for (_folder, _, store) in stores("keys").await {
        let hash = "ab".repeat(32);
        let new = |name: &str, hash: &str, expires_ms| NewKey {
            name: name.to_owned(),
            hash: hash.to_owned(),
            scopes: "ask".to_owned(),
            expires_ms,
        };
        assert!(
            store
                .add_key(&new("laptop", "my-secret-key", None))
                .await
                .is_err()
        );
        let key = store.add_key(&new("laptop", &hash, None)).await.unwrap();
        assert!(store.add_key(&new("twin", &hash, None)).await.is_err());
        let old = "cd".repeat(32);
        store
            .add_key(&new("old", &old, Some(now_ms() - 1)))
            .await
            .unwrap();
        assert!(store.use_key(&old).await.unwrap().is_none());
        assert_eq!(store.use_key(&hash).await.unwrap().unwrap().id, key.id);
        assert!(store.keys().await.unwrap()[0].last_used_ms.is_some());
        assert!(store.revoke_key(&key.id).await.unwrap());
        assert!(!store.revoke_key(&key.id).await.unwrap());
        assert!(store.use_key(&hash).await.unwrap().is_none());
    }
}

/// Not a test by itself: the process that the next test kills.
#[test]
fn a_writer_to_be_killed() {
    let Some(path) = std::env::var_os("FOOTNOTE_STORE_VICTIM") else {
        return;
    };
    let db = BlockingStore::open(&Location::file(path)).unwrap();
    db.wait(db.store().begin_run(&run("r", i64::MAX))).unwrap();
    for row in 0.. {
        let calls = [call("one"), call("two"), call("three")];
        db.wait(db.store().add_item(&item("r", row), &calls, None))
            .unwrap();
        println!("kept {row}");
    }
}

#[test]
fn a_killed_writer_leaves_whole_items_and_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("footnote.db");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_writer_to_be_killed", "--nocapture"])
        .env("FOOTNOTE_STORE_VICTIM", &path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let told = BufReader::new(victim.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .filter(|line| line.contains("kept "))
        .take(25)
        .count();
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(told, 25);
    let db = BlockingStore::open(&Location::file(&path)).unwrap();
    let rows = db.wait(db.store().rows_done("r")).unwrap();
    let count = i64::try_from(rows.len()).unwrap();
    assert!(count >= 25, "{count} of at least 25 told items are there");
    assert_eq!(rows, (0..count).collect::<BTreeSet<i64>>());
    for row in rows {
        assert_eq!(db.wait(db.store().calls("r", row)).unwrap().len(), 3);
    }
    // And the next writer writes.
    let item = item("r", count);
    assert!(db.wait(db.store().add_item(&item, &[], None)).unwrap());
}
