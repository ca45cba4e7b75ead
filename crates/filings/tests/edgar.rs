//! `edgar::fetch` against a server on this machine that speaks EDGAR's shapes (invented content):
//! what lands on disk, what a second run asks for, and what every kind of bad answer leads to.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, like the tests themselves"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use footnote_filings::Form;
use footnote_filings::edgar::{
    Clock, Endpoints, FetchReport, FetchRequest, Pacer, Progress, fetch_at, parse_since,
};
use serde_json::{Value, json};
use tiny_http::{Header, Response, Server};

/// A clock that moves only when somebody sleeps.
#[derive(Default)]
struct Manual(Mutex<Duration>);

impl Clock for Manual {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, wait: Duration) {
        *self.0.lock().unwrap() += wait;
    }
}

/// One answer: status, headers, body.
#[derive(Clone)]
struct Answer(u16, Vec<(&'static str, &'static str)>, Vec<u8>);

fn ok(body: impl Into<Vec<u8>>) -> Answer {
    Answer(200, Vec::new(), body.into())
}

fn status(code: u16) -> Answer {
    Answer(code, Vec::new(), b"busy".to_vec())
}

/// Answers by path; the last of a path's answers is given again and again.
type Pages = BTreeMap<String, Vec<Answer>>;

struct Edgar {
    base: String,
    server: Arc<Server>,
    asked: Arc<Mutex<Vec<String>>>,
    agents: Arc<Mutex<Vec<String>>>,
    worker: Option<JoinHandle<()>>,
}

impl Edgar {
    fn start(mut pages: Pages) -> Edgar {
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let base = format!("http://{}", server.server_addr().to_ip().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let agents = Arc::new(Mutex::new(Vec::new()));
        let worker = std::thread::spawn({
            let (server, asked, agents) = (server.clone(), asked.clone(), agents.clone());
            move || {
                while let Ok(request) = server.recv() {
                    let path = request.url().to_owned();
                    let agent = request
                        .headers()
                        .iter()
                        .find(|header| header.field.equiv("User-Agent"))
                        .map(|header| header.value.to_string());
                    agents.lock().unwrap().extend(agent);
                    let answer = match pages.get_mut(&path) {
                        Some(answers) if answers.len() > 1 => answers.remove(0),
                        Some(answers) => answers[0].clone(),
                        None => status(404),
                    };
                    asked.lock().unwrap().push(path);
                    let mut response = Response::from_data(answer.2).with_status_code(answer.0);
                    for (name, value) in answer.1 {
                        response.add_header(Header::from_bytes(name, value).unwrap());
                    }
                    // The client may have hung up on an error page.
                    let _ = request.respond(response);
                }
            }
        });
        Edgar {
            base,
            server,
            asked,
            agents,
            worker: Some(worker),
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for Edgar {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(worker) = self.worker.take() {
            worker.join().unwrap();
        }
    }
}

fn columns(rows: &[(&str, &str, &str, &str)]) -> Value {
    let column = |pick: fn(&(&str, &str, &str, &str)) -> String| -> Vec<String> {
        rows.iter().map(pick).collect()
    };
    json!({
        "accessionNumber": column(|row| row.0.to_owned()),
        "filingDate": column(|row| row.1.to_owned()),
        "reportDate": column(|row| row.1.to_owned()),
        "form": column(|row| row.2.to_owned()),
        "primaryDocument": column(|row| row.3.to_owned()),
        "isInlineXBRL": rows.iter().map(|row| u8::from(row.2 == "10-K")).collect::<Vec<_>>(),
        "items": column(|_| String::new()),
    })
}

const ANNUAL: &str = "/Archives/edgar/data/9999911111/999991111123000011/zz-10k.htm";
const CURRENT: &str = "/Archives/edgar/data/9999911111/999991111123000012/zz-8k.htm";
const INDEX: &str =
    "/Archives/edgar/data/9999911111/999991111123000012/9999911111-23-000012-index.htm";
const RELEASE: &str = "/Archives/edgar/data/9999911111/999991111123000012/zz-ex991.htm";
const OLD: &str = "/Archives/edgar/data/9999911111/999991111118000003/old10k.htm";
const TICKERS: &str = "/files/company_tickers.json";
const SUBMISSIONS: &str = "/submissions/CIK9999911111.json";
const OLDER: &str = "/submissions/CIK9999911111-submissions-001.json";

/// A whole invented company: a 10-K, an 8-K with a release, a form nobody asked for, older pages.
fn company() -> Pages {
    let submissions = json!({
        "cik": "9999911111",
        "name": "Zelkova Example Works",
        "tickers": ["ZZTE"],
        "sicDescription": "Invented Goods",
        "filings": {
            "recent": columns(&[
                ("9999911111-23-000012", "2023-05-02", "8-K", "zz-8k.htm"),
                ("9999911111-23-000011", "2023-02-20", "10-K", "zz-10k.htm"),
                ("9999911111-23-000010", "2023-02-19", "4", "form4.xml"),
            ]),
            "files": [
                {"name": "CIK9999911111-submissions-001.json", "filingFrom": "2010-01-01", "filingTo": "2018-12-31"},
                {"name": "CIK9999911111-submissions-002.json", "filingFrom": "1994-01-01", "filingTo": "2009-12-31"},
            ],
        },
    });
    let index = r#"<table><tr><td>1</td><td>8-K</td><td><a href="/ix?doc=/Archives/x/zz-8k.htm">zz-8k.htm</a></td><td>8-K</td><td>1</td></tr>
        <tr><td>2</td><td>RELEASE</td><td><a href="/Archives/x/zz-ex991.htm">zz-ex991.htm</a></td><td>EX-99.1</td><td>1</td></tr></table>"#;
    let older = columns(&[
        ("9999911111-18-000003", "2018-03-01", "10-K", "old10k.htm"),
        ("9999911111-10-000001", "2010-03-01", "10-K", "older10k.htm"),
    ]);
    let tickers =
        json!({"0": {"cik_str": 9_999_911_111_u64, "ticker": "ZZTE", "title": "Zelkova"}});
    [
        (TICKERS, ok(tickers.to_string())),
        (SUBMISSIONS, ok(submissions.to_string())),
        (OLDER, ok(older.to_string())),
        (ANNUAL, ok("<html>annual report</html>")),
        (CURRENT, ok("<html>current report</html>")),
        (INDEX, ok(index)),
        (RELEASE, ok("<html>release</html>")),
        (OLD, ok("<html>old annual report</html>")),
    ]
    .into_iter()
    .map(|(path, answer)| (path.to_owned(), vec![answer]))
    .collect()
}

fn request(base: &str, dir: &Path, since: &str) -> FetchRequest {
    let mut request = FetchRequest::new(
        vec!["zzte".to_owned()],
        vec![Form::new("10-K"), Form::new("8-K")],
        parse_since(since).unwrap(),
        dir.to_owned(),
    );
    request.user_agent = Some("Test Suite test@example.com".to_owned());
    request.endpoints = Endpoints {
        www: base.to_owned(),
        data: base.to_owned(),
    };
    request
}

fn run(request: &FetchRequest) -> (FetchReport, Vec<Progress>, Duration) {
    let clock = Arc::new(Manual::default());
    let pacer = Pacer::new(clock.clone());
    let mut seen = Vec::new();
    let report = fetch_at(request, &pacer, &mut |step| seen.push(step)).unwrap();
    (report, seen, clock.now())
}

fn manifest(dir: &Path) -> Vec<Value> {
    fs::read_to_string(dir.join("manifest.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn failures(report: &FetchReport) -> Vec<String> {
    report
        .failed
        .iter()
        .map(|failed| format!("{}: {}", failed.item, failed.error))
        .collect()
}

#[test]
fn fetches_documents_and_exhibits_and_a_second_run_only_looks_at_the_lists() {
    let edgar = Edgar::start(company());
    let folder = tempfile::tempdir().unwrap();
    let request = request(&edgar.base, folder.path(), "2018");
    let (report, seen, clock) = run(&request);
    assert_eq!(failures(&report), Vec::<String>::new());
    assert_eq!(
        report.fetched,
        [
            "9999911111/9999911111-23-000012/zz-8k.htm",
            "9999911111/9999911111-23-000012/zz-ex991.htm",
            "9999911111/9999911111-23-000011/zz-10k.htm",
            "9999911111/9999911111-18-000003/old10k.htm",
        ]
    );
    assert!(seen.contains(&Progress::Planned { filings: 3 }));
    assert_eq!(
        edgar.asked(),
        [
            TICKERS,
            SUBMISSIONS,
            OLDER,
            CURRENT,
            INDEX,
            RELEASE,
            ANNUAL,
            OLD
        ],
        "the page that ends before 2018 and the form 4 are left alone"
    );
    // Eight requests: the first starts at once, each of the others a tenth of a second later.
    assert_eq!(clock, Duration::from_millis(700));
    let agents = edgar.agents.lock().unwrap().clone();
    assert!(
        agents
            .iter()
            .all(|agent| agent == "Test Suite test@example.com"),
        "{agents:?}"
    );

    let lines = manifest(folder.path());
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[1],
        json!({
            "file": "9999911111/9999911111-23-000012/zz-ex991.htm",
            "form": "EX-99.1",
            "company": "Zelkova Example Works",
            "ticker": "ZZTE",
            "cik": "9999911111",
            "fiscal_year": null,
            "period_end": "2023-05-02",
            "sector": "Invented Goods",
            "inline_xbrl": false,
            "gold": false,
            "source": "SEC EDGAR",
            "source_file": "zz-ex991.htm",
            "bytes": 20,
            "sha256": "f6fc8f3a9d9f6969b92ccd5c31c8c65f39038523c60af0a7387ff91cd5e501f5",
            "accession": "9999911111-23-000012/zz-ex991.htm",
            "filed": "2023-05-02",
            "url": format!("{}{RELEASE}", edgar.base),
        })
    );
    assert_eq!(lines[2]["inline_xbrl"], true);

    let (again, _, _) = run(&request);
    assert_eq!((again.fetched.len(), again.already_there), (0, 4));
    assert_eq!(edgar.asked(), [TICKERS, SUBMISSIONS, OLDER]);
    assert_eq!(manifest(folder.path()).len(), 4);

    // A document lost since comes back, alone, and the manifest does not double it.
    let annual = "9999911111/9999911111-23-000011/zz-10k.htm";
    fs::remove_file(folder.path().join(annual)).unwrap();
    let (mended, _, _) = run(&request);
    assert_eq!(mended.fetched, [annual]);
    assert_eq!(edgar.asked(), [TICKERS, SUBMISSIONS, OLDER, ANNUAL]);
    assert_eq!(manifest(folder.path()).len(), 4);
}

#[test]
fn a_document_left_unlisted_by_a_killed_run_is_listed_without_fetching_it() {
    let edgar = Edgar::start(company());
    let folder = tempfile::tempdir().unwrap();
    let request = request(&edgar.base, folder.path(), "2023");
    run(&request);
    edgar.asked();
    // The state of a run killed between the rename and the end of the manifest line.
    let path = folder.path().join("manifest.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 40]).unwrap();
    let part = "9999911111/9999911111-23-000011/.zz-10k.htm.part";
    fs::write(folder.path().join(part), "ha").unwrap();
    let (report, _, _) = run(&request);
    assert_eq!((report.fetched.len(), report.already_there), (0, 3));
    assert_eq!(edgar.asked(), [TICKERS, SUBMISSIONS]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn waits_as_long_as_the_server_says_and_backs_off_where_it_says_nothing() {
    let mut pages = company();
    pages.insert(
        ANNUAL.to_owned(),
        vec![
            Answer(429, vec![("Retry-After", "37")], Vec::new()),
            status(503),
            status(500),
            ok("<html>annual report</html>"),
        ],
    );
    let edgar = Edgar::start(pages);
    let folder = tempfile::tempdir().unwrap();
    let (report, seen, clock) = run(&request(&edgar.base, folder.path(), "2023"));
    assert_eq!(failures(&report), Vec::<String>::new());
    let waits: Vec<u64> = seen
        .iter()
        .filter_map(|step| match step {
            Progress::Waiting { wait, .. } => Some(wait.as_secs()),
            _ => None,
        })
        .collect();
    assert_eq!(waits, [37, 2, 4]);
    assert!(clock >= Duration::from_secs(43));
}

#[test]
fn one_bad_item_never_loses_the_others() {
    let mut pages = company();
    pages.insert(ANNUAL.to_owned(), vec![status(500)]);
    pages.insert(OLDER.to_owned(), vec![ok("{\"accessionNumber\": [")]);
    pages.insert(INDEX.to_owned(), vec![status(404)]);
    let names =
        r#"{"directory":{"item":[{"name":"zz-ex991.htm"},{"name":"../../evil-ex99.htm"}]}}"#;
    pages.insert(
        "/Archives/edgar/data/9999911111/999991111123000012/index.json".to_owned(),
        vec![ok(names)],
    );
    let edgar = Edgar::start(pages);
    let folder = tempfile::tempdir().unwrap();
    let mut request = request(&edgar.base, folder.path(), "2018");
    request.companies = ["NOSUCH", "a b", "ZZTE", "CIK9999922222"]
        .map(str::to_owned)
        .to_vec();
    let (report, _, _) = run(&request);
    assert_eq!(
        report.fetched,
        [
            "9999911111/9999911111-23-000012/zz-8k.htm",
            "9999911111/9999911111-23-000012/zz-ex991.htm",
        ]
    );
    let failures = failures(&report);
    for part in [
        "NOSUCH: ",
        "SEC knows no ticker NOSUCH",
        "\"a b\" is no ticker",
        "older filings of CIK9999911111: ",
        "not what EDGAR sends here",
        "CIK9999922222: ",
        "not found (status 404)",
        "ZZTE 10-K of 2023-02-20 (zz-10k.htm): ",
        "status 500, 5 times",
    ] {
        assert!(
            failures.iter().any(|failure| failure.contains(part)),
            "{part}: {failures:#?}"
        );
    }
    assert_eq!(failures.len(), 5, "{failures:#?}");
    assert_eq!(report.doubts.len(), 1, "{:?}", report.doubts);
    assert!(report.doubts[0].contains("guessed from their file names"));
}

#[test]
fn a_refusal_is_explained_and_ends_the_asking() {
    let mut pages = company();
    pages.insert(CURRENT.to_owned(), vec![status(403)]);
    let edgar = Edgar::start(pages);
    let folder = tempfile::tempdir().unwrap();
    let (report, _, _) = run(&request(&edgar.base, folder.path(), "2023"));
    let failures = failures(&report);
    assert!(
        failures[0].contains("SEC refuses without a contact User-Agent"),
        "{failures:#?}"
    );
    assert_eq!(
        failures.len(),
        3,
        "main document, exhibits, the 10-K: {failures:#?}"
    );
    assert!(failures[2].contains("not tried"), "{failures:#?}");
    assert_eq!(edgar.asked(), [TICKERS, SUBMISSIONS, CURRENT]);
}

#[test]
fn without_a_contact_nothing_is_asked() {
    let edgar = Edgar::start(company());
    let folder = tempfile::tempdir().unwrap();
    let mut request = request(&edgar.base, folder.path(), "2023");
    request.user_agent = None;
    let pacer = Pacer::new(Arc::new(Manual::default()));
    let error = fetch_at(&request, &pacer, &mut |_| {})
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no contact is set") && error.contains("--user-agent"),
        "{error}"
    );
    request.user_agent = Some("a@example.com".to_owned());
    request.forms.clear();
    assert!(fetch_at(&request, &pacer, &mut |_| {}).is_err());
    assert!(edgar.asked().is_empty());
}

/// A server that promises more bytes than it sends, then one whole answer.
#[test]
fn a_body_cut_short_is_asked_for_again_and_never_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let recent = columns(&[("9999911111-23-000011", "2023-02-20", "10-K", "zz-10k.htm")]);
        let submissions = json!({
            "cik": 9_999_911_111_u64,
            "name": "Zelkova Example Works",
            "filings": {"recent": recent},
        })
        .to_string();
        let whole = "<html>annual report</html>";
        for (body, length) in [
            (submissions.as_str(), submissions.len()),
            ("<html>annual", whole.len()),
            (whole, whole.len()),
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).unwrap() > 0);
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let mut request = request(&base, folder.path(), "2023");
    request.companies = vec!["CIK9999911111".to_owned()];
    let (report, seen, _) = run(&request);
    server.join().unwrap();
    assert_eq!(failures(&report), Vec::<String>::new());
    assert_eq!(report.fetched.len(), 1);
    let cut_short = |step: &Progress| matches!(step, Progress::Waiting { reason, .. } if reason.contains("cut short"));
    assert!(seen.iter().any(cut_short), "{seen:?}");
    let path = folder.path().join(&report.fetched[0]);
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        "<html>annual report</html>"
    );
}

#[test]
fn since_is_a_year_a_month_or_a_day() {
    for (text, day) in [
        ("2022", "2022-01-01"),
        ("2022-06", "2022-06-01"),
        ("2022-06-30", "2022-06-30"),
    ] {
        assert_eq!(parse_since(text).unwrap().to_string(), day);
    }
    for bad in ["", "22", "2022-13", "last year"] {
        assert!(parse_since(bad).is_err(), "{bad}");
    }
}
