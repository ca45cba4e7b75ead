//! Who may do what.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{GROWTH, Server, server};

fn footnote(server: &Server, args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_footnote"))
        .args(args)
        .env("FOOTNOTE_HOME", &server.home)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

fn with(
    server: &Server,
    key: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> crate::harness::Reply {
    let bearer = format!("Bearer {key}");
    server.send(
        method,
        path,
        &[
            ("authorization", &bearer),
            ("content-type", "application/json"),
        ],
        if method == "GET" {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        },
    )
}

#[test]
fn a_key_opens_what_its_scopes_say_and_nobody_sees_anothers_questions() {
    let Some(server) = server("keys", &["--keys", "on"]) else {
        return;
    };
    let make = |name: &str, scopes: &str| {
        let made = footnote(
            &server,
            &["keys", "create", name, "--scopes", scopes, "--json"],
        );
        (
            made["key"].as_str().unwrap().to_owned(),
            made["id"].as_str().unwrap().to_owned(),
        )
    };
    let (ann, _) = make("ann", "search,ask");
    let (bob, _) = make("bob", "ask");
    let (root, _) = make("root", "admin");
    let (old, old_id) = make("old", "ask");
    footnote(&server, &["keys", "revoke", &old_id]);
    let expired = footnote(
        &server,
        &["keys", "create", "expired", "--days", "0", "--json"],
    );

    let search = json!({ "query": "net sales" });
    let nobody = server.post("/v1/search", &search);
    assert_eq!(nobody.expect(401)["code"], "unauthorized");
    assert_eq!(nobody.headers["www-authenticate"], "Bearer");
    for bad in [
        old.as_str(),
        expired["key"].as_str().unwrap(),
        "fn_guess",
        "",
    ] {
        assert_eq!(
            with(&server, bad, "POST", "/v1/search", &search).status,
            401,
            "{bad}"
        );
    }
    assert_eq!(
        with(&server, &ann, "POST", "/v1/search", &search).status,
        200
    );
    let refused = with(&server, &bob, "POST", "/v1/search", &search).expect(403);
    assert!(
        refused["message"].as_str().unwrap().contains("search"),
        "{refused}"
    );
    assert_eq!(
        with(
            &server,
            &ann,
            "POST",
            "/v1/exports",
            &json!({ "form": "sft", "sources": ["corpus"] })
        )
        .status,
        403
    );
    assert_eq!(server.send("POST", "/mcp", &[], b"{}".to_vec()).status, 401);

    let answer = with(
        &server,
        &ann,
        "POST",
        "/v1/answers",
        &json!({ "question": GROWTH }),
    )
    .expect(200);
    let id = answer["id"].as_str().unwrap();
    let trace = format!("/v1/traces/{id}");
    assert_eq!(with(&server, &ann, "GET", &trace, &Value::Null).status, 200);
    assert_eq!(with(&server, &bob, "GET", &trace, &Value::Null).status, 404);
    assert_eq!(
        with(
            &server,
            &bob,
            "GET",
            &format!("/v1/answers/{id}/events"),
            &Value::Null
        )
        .status,
        404
    );
    let judged = json!({ "trace_id": id, "verdict": "right" });
    assert_eq!(
        with(&server, &bob, "POST", "/v1/feedback", &judged).status,
        404
    );
    let list = |key: &str| {
        with(&server, key, "GET", "/v1/traces", &Value::Null).expect(200)["traces"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((list(&ann), list(&bob), list(&root)), (1, 0, 1));
    assert_eq!(
        with(&server, &ann, "GET", "/metrics", &Value::Null).status,
        403
    );
    assert_eq!(
        with(&server, &root, "GET", "/metrics", &Value::Null).status,
        200
    );
    // Health and the page need no key, and neither the log nor the database has one in the clear.
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/").status, 200);
    let database = std::fs::read(server.home.join("footnote.db")).unwrap();
    let journal = std::fs::read(server.home.join("footnote.db-wal")).unwrap_or_default();
    let holds = |bytes: &[u8], text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    for key in [&ann, &bob, &root] {
        assert!(
            !holds(&database, key) && !holds(&journal, key) && !server.log().contains(key.as_str())
        );
    }
}

#[test]
fn without_keys_no_other_sites_page_gets_through() {
    let Some(server) = server("other sites", &[]) else {
        return;
    };
    let port = server.addr.rsplit(':').next().unwrap();
    let body = json!({ "query": "net sales" }).to_string().into_bytes();
    let search = |name: &str, value: &str| {
        server.send(
            "POST",
            "/v1/search",
            &[("content-type", "application/json"), (name, value)],
            body.clone(),
        )
    };
    assert_eq!(
        search("origin", "https://evil.example").expect(403)["code"],
        "forbidden"
    );
    assert_eq!(search("origin", "null").status, 403);
    assert_eq!(
        search("origin", &format!("http://localhost:{port}")).status,
        200
    );
    // A name of the attacker's that resolves to this machine.
    assert_eq!(
        search("host", &format!("evil.example:{port}")).expect(403)["code"],
        "forbidden"
    );
    let (kind, upload) = crate::harness::upload(&[("a.html", b"<html>x</html>")]);
    let forged = server.send(
        "POST",
        "/v1/imports",
        &[("content-type", &kind), ("origin", "https://evil.example")],
        upload,
    );
    assert_eq!(forged.status, 403);
}

#[test]
fn a_public_address_is_never_served_without_keys_and_wrong_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_footnote"))
            .arg("serve")
            .args(args)
            .env("FOOTNOTE_HOME", folder.path())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, said) = run(&["--addr", "0.0.0.0:0", "--keys", "off"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("keys create"), "{said}");
    std::fs::write(
        folder.path().join("footnote.toml"),
        "answers = 2\ncolour = \"red\"\n",
    )
    .unwrap();
    let (code, said) = run(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("colour"), "{said}");
    std::fs::write(
        folder.path().join("footnote.toml"),
        "answers = 2\ndatabase = \"postgres://ann:s3cret@db/x\"\n",
    )
    .unwrap();
    let shown = Command::new(env!("CARGO_BIN_EXE_footnote"))
        .args(["config", "show", "--answers-waiting", "3"])
        .env("FOOTNOTE_HOME", folder.path())
        .env("FOOTNOTE_REQUESTS", "9")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for line in [
        "answers = 2",
        "answers_waiting = 3",
        "requests = 9",
        "postgres://ann@db/x",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn spans_go_to_a_collector_where_one_is_configured_and_logs_are_json_without_secrets() {
    let Some(folder) = crate::harness::home("spans", true) else {
        return;
    };
    let collector = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.server_addr());
    let mut command =
        crate::harness::command(folder.path(), &["--log-format", "json", "--keys", "on"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    let mut server = crate::harness::spawn(command, folder.path());
    let refused = server.send(
        "POST",
        "/v1/search",
        &[
            ("authorization", "Bearer fn_a_secret_that_is_wrong"),
            ("content-type", "application/json"),
            ("x-request-id", "looked-for"),
        ],
        json!({ "query": "a confidential query" })
            .to_string()
            .into_bytes(),
    );
    assert_eq!(refused.status, 401);
    let sent = std::thread::scope(|scope| {
        let received = scope.spawn(|| {
            let mut request = collector
                .recv_timeout(crate::harness::PATIENCE)
                .unwrap()
                .unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(request.as_reader(), &mut bytes).unwrap();
            let path = request.url().to_owned();
            request.respond(tiny_http::Response::empty(200)).unwrap();
            (path, bytes)
        });
        assert!(server.stop());
        received.join().unwrap()
    });
    assert_eq!(sent.0, "/v1/traces");
    let holds = |text: &str| {
        sent.1
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(holds("looked-for") && holds("/v1/search"));
    assert!(!holds("secret") && !holds("confidential"));
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("looked-for"))
        .unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["http.status"], 401);
    assert!(
        !log.contains("secret") && !log.contains("confidential"),
        "{log}"
    );
}
