//! Search, filings, errors, and the document that describes them.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::harness::{python, server};

#[test]
fn a_passage_found_stands_in_its_filing_where_it_says() {
    let Some(server) = server("search", &[]) else {
        return;
    };
    let found = server
        .post("/v1/search", &json!({ "query": "net sales", "scope": { "tickers": ["ZZAQ"], "forms": ["10-K"] }, "k": 3 }))
        .expect(200);
    let hits = found["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 3);
    for hit in hits {
        assert_eq!(hit["meta"]["ticker"], "ZZAQ");
        // Where the file lies on the server is nobody's business.
        assert!(!hit["meta"]["source"].as_str().unwrap().contains('/'));
        let (accession, span) = (
            hit["meta"]["accession"].as_str().unwrap(),
            &hit["passage"]["span"],
        );
        let text = server
            .get(&format!(
                "/v1/filings/{accession}/text?start={}&end={}",
                span["start"], span["end"]
            ))
            .expect(200);
        assert_eq!(text["text"], hit["passage"]["text"]);
        assert_eq!(text["more"], false);
    }
    let second = server
        .post("/v1/search", &json!({ "query": "net sales", "scope": { "tickers": ["ZZAQ"], "forms": ["10-K"] }, "k": 2, "offset": 1 }))
        .expect(200);
    assert_eq!(second["hits"][0]["passage"]["id"], hits[1]["passage"]["id"]);
}

#[test]
fn filings_page_without_gaps_and_show_their_sections() {
    let Some(server) = server("filings", &[]) else {
        return;
    };
    let all = server.get("/v1/filings?limit=500").expect(200);
    assert_eq!(all["next_cursor"], Value::Null);
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server
            .get(&format!("/v1/filings?limit=5{cursor}"))
            .expect(200);
        paged.extend(page["filings"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(&paged, all["filings"].as_array().unwrap());
    let annual = server
        .get("/v1/filings?ticker=ZZAQ&form=10-K&year=2024")
        .expect(200);
    let accession = annual["filings"][0]["accession"]
        .as_str()
        .unwrap()
        .to_owned();
    let filing = server.get(&format!("/v1/filings/{accession}")).expect(200);
    let names: Vec<&str> = filing["sections"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|section| section["id"].as_str())
        .collect();
    assert!(names.contains(&"Item 7"), "{names:?}");
    assert_eq!(
        filing["source_url"],
        Value::Null,
        "the sample is not at SEC"
    );
    let section = server
        .get(&format!("/v1/filings/{accession}/text?section=Item%207"))
        .expect(200);
    assert!(
        section["text"].as_str().unwrap().starts_with("Item 7"),
        "{section}"
    );
    let companies = server.get("/v1/companies").expect(200);
    assert!(
        companies
            .as_array()
            .unwrap()
            .iter()
            .any(|company| company["ticker"] == "ZZAQ")
    );
}

#[test]
fn every_mistake_has_its_code_and_its_requests_id() {
    let Some(server) = server("errors", &[]) else {
        return;
    };
    let json_type = [("content-type", "application/json")];
    let long = json!({ "question": "a".repeat(5_000) }).to_string();
    let large = format!("{{\"question\": \"{}\"}}", "a".repeat(2 << 20));
    let deep = "[".repeat(100_000);
    let cases: Vec<(&str, &str, &str, u16, &str)> = vec![
        ("GET", "/nowhere", "", 404, "not_found"),
        ("DELETE", "/v1/search", "", 405, "method_not_allowed"),
        ("GET", "/v1/filings/nothing-there", "", 404, "not_found"),
        (
            "GET",
            "/v1/filings/..%2F..%2Fetc%2Fpasswd",
            "",
            404,
            "not_found",
        ),
        ("GET", "/v1/filings?limit=0", "", 422, "invalid"),
        ("GET", "/v1/filings?limit=x", "", 400, "bad_request"),
        ("GET", "/v1/filings?colour=red", "", 400, "bad_request"),
        ("GET", "/v1/traces/none", "", 404, "not_found"),
        ("GET", "/v1/jobs/none", "", 404, "not_found"),
        ("POST", "/v1/answers", "{", 400, "bad_request"),
        (
            "POST",
            "/v1/answers",
            "{\"question\": \"\"}",
            422,
            "invalid",
        ),
        (
            "POST",
            "/v1/answers",
            "{\"question\": 1}",
            400,
            "bad_request",
        ),
        (
            "POST",
            "/v1/answers",
            "{\"question\": \"x\", \"colour\": 1}",
            400,
            "bad_request",
        ),
        (
            "POST",
            "/v1/answers",
            "{\"question\": \"x\", \"scope\": {\"forms\": [\"nonsense\"]}}",
            422,
            "invalid",
        ),
        ("POST", "/v1/answers", "\u{0}\u{1}", 400, "bad_request"),
        ("POST", "/v1/answers", &deep, 400, "bad_request"),
        ("POST", "/v1/answers", &long, 422, "invalid"),
        ("POST", "/v1/answers", &large, 413, "too_large"),
        (
            "POST",
            "/v1/search",
            "{\"query\": \"x\", \"k\": 100000}",
            422,
            "invalid",
        ),
        (
            "POST",
            "/v1/feedback",
            "{\"trace_id\": \"none\", \"verdict\": \"right\"}",
            404,
            "not_found",
        ),
        (
            "POST",
            "/v1/evaluations",
            "{\"task\": \"doc-types\", \"rankers\": [\"learned:/etc\"], \"records\": [{}]}",
            422,
            "invalid",
        ),
        (
            "POST",
            "/v1/exports",
            "{\"form\": \"sft\", \"sources\": [\"run:/etc\"]}",
            422,
            "invalid",
        ),
        (
            "POST",
            "/v1/imports",
            "{\"tickers\": [\"http://10.0.0.1/\"]}",
            422,
            "invalid",
        ),
        (
            "POST",
            "/v1/chat/completions",
            "{\"model\": \"none\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
            404,
            "not_found",
        ),
    ];
    for (method, path, body, status, code) in cases {
        let headers: &[(&str, &str)] = if method == "POST" { &json_type } else { &[] };
        let reply = server.send(method, path, headers, body.as_bytes().to_vec());
        let shown: String = body.chars().take(80).collect();
        assert_eq!(
            reply.status, status,
            "{method} {path} {shown}: {}",
            reply.text
        );
        let error = reply.json();
        assert_eq!(error["code"], code, "{method} {path} {shown}");
        assert_eq!(
            error["request_id"].as_str().unwrap(),
            reply.headers["x-request-id"].to_str().unwrap()
        );
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let text = server.send(
        "POST",
        "/v1/answers",
        &[("content-type", "text/plain")],
        b"{}".to_vec(),
    );
    assert_eq!(text.expect(415)["code"], "unsupported_media_type");
    let named = server.send(
        "GET",
        "/v1/models",
        &[("x-request-id", "mine-1")],
        Vec::new(),
    );
    assert_eq!(named.headers["x-request-id"], "mine-1");
    let forged = server.send(
        "GET",
        "/v1/models",
        &[("x-request-id", "a b\tc")],
        Vec::new(),
    );
    assert_ne!(forged.headers["x-request-id"], "a b\tc");
}

#[test]
fn a_head_that_is_too_large_is_refused_and_the_next_request_served() {
    let Some(server) = server("large heads", &[]) else {
        return;
    };
    let mut stream = server.connect();
    let head = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "a".repeat(200_000)
    );
    // The server may hang up before all of it is sent.
    let _ = stream.write_all(head.as_bytes());
    let mut reply = String::new();
    let _ = stream.read_to_string(&mut reply);
    assert!(
        reply.is_empty() || reply.starts_with("HTTP/1.1 431"),
        "{reply}"
    );
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn the_document_is_the_one_that_was_reviewed() {
    let path = footnote_testkit::repository().join("crates/server/openapi.json");
    let now = footnote_server::openapi_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        now == reviewed,
        "the API changed: read the difference, then `UPDATE_EXPECT=1 cargo test -p footnote-cli --test service document`"
    );
    let document: Value = serde_json::from_str(&now).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    // Every name that is referred to is defined.
    let mut missing = Vec::new();
    refer(&document, &document, &mut missing);
    assert!(missing.is_empty(), "{missing:?}");
}

fn refer(value: &Value, document: &Value, missing: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(target) = fields.get("$ref").and_then(Value::as_str)
                && document.pointer(target.trim_start_matches('#')).is_none()
            {
                missing.push(target.to_owned());
            }
            fields
                .values()
                .for_each(|value| refer(value, document, missing));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|value| refer(value, document, missing)),
        _ => {}
    }
}

#[test]
fn whatever_a_fuzzer_makes_of_the_document_is_no_fault_of_the_server() {
    let Some(server) = server("fuzzing", &[]) else {
        return;
    };
    let script = r#"
import subprocess, sys
url, = sys.argv[1:]
# Answers are left to their own tests: a fuzzer's hundreds of questions would all be answered.
command = [sys.executable, "-m", "schemathesis.cli", "run", url + "/openapi.json", "--checks", "not_a_server_error",
    "--max-examples", "15", "--seed", "7", "--generation-database", "none", "--request-timeout", "60",
    "--exclude-path", "/v1/answers", "--exclude-path-regex", "events$|chat", "--exclude-path", "/v1/imports"]
done = subprocess.run(command, capture_output=True, text=True)
print(done.stdout[-6000:], done.stderr[-2000:])
sys.exit(done.returncode)
"#;
    python("fuzzing", &["schemathesis"], script, &[&server.url]);
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn an_mcp_client_finds_its_tools_and_gets_checked_answers() {
    let Some(server) = server("mcp", &[]) else {
        return;
    };
    let script = r#"
import asyncio, json, sys
from mcp import ClientSession
try:
    from mcp.client.streamable_http import streamable_http_client as connect
except ImportError:
    from mcp.client.streamable_http import streamablehttp_client as connect

async def main(url):
    async with connect(url) as streams:
        async with ClientSession(*streams[:2]) as session:
            await session.initialize()
            tools = {tool.name for tool in (await session.list_tools()).tools}
            assert tools == {"search", "read_section", "facts", "ask"}, tools
            async def call(name, **given):
                result = await session.call_tool(name, given)
                return bool(getattr(result, "isError", None) or getattr(result, "is_error", None)), result.content[0].text
            bad, text = await call("search", query="net sales", scope={"tickers": ["ZZAQ"]}, k=2)
            hit = json.loads(text)["hits"][0]
            assert not bad and hit["company"].startswith("Aquillon"), text
            bad, text = await call("read_section", accession=hit["accession"])
            assert not bad and json.loads(text)["sections"], text
            bad, text = await call("read_section", accession=hit["accession"], section="Item 7")
            assert not bad and json.loads(text)["text"], text
            bad, text = await call("facts", accession="9999900101-25-000011", concept="Revenue")
            assert not bad and json.loads(text)["of"] > 0, text
            bad, text = await call("ask", question=sys.argv[2])
            assert not bad and "7.4%" in json.loads(text)["text"], text
            bad, text = await call("read_section", accession="../../etc/passwd")
            assert bad and text.startswith("not_found"), text

asyncio.run(main(sys.argv[1] + "/mcp"))
print("done")
"#;
    python(
        "mcp",
        &["mcp"],
        script,
        &[&server.url, crate::harness::GROWTH],
    );
}
