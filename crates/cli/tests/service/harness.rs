//! A server of one's own for a test, and a plain client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http;

/// The small model's file in the models folder.
const MODEL_FILE: &str = "smollm2-135m-instruct-q4_1.gguf";
/// Far longer than anything takes, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// A question that code computes from the sample's figures.
pub const GROWTH: &str = "What was Aquillon's revenue growth in fiscal 2024?";

/// A running server; killed when dropped.
pub struct Server {
    pub url: String,
    pub addr: String,
    pub home: PathBuf,
    child: Child,
    log: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

/// A reply.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The JSON of a reply that must have this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }
}

/// The sample corpus, imported once for all tests of a run, where a run's files are kept.
fn corpus() -> &'static Path {
    static CORPUS: OnceLock<PathBuf> = OnceLock::new();
    CORPUS.get_or_init(|| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // What earlier runs left goes; one that still runs keeps its own.
        for entry in std::fs::read_dir(kept).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(process) = name.strip_prefix("sample-home-")
                && !Path::new("/proc").join(process).is_dir()
            {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let folder = kept.join(format!("sample-home-{}", std::process::id()));
        let sample = footnote_testkit::repository().join("corpora/sample");
        let imported = Command::new(env!("CARGO_BIN_EXE_footnote"))
            .arg("--home")
            .arg(&folder)
            .args(["corpus", "import"])
            .arg(sample)
            .output()
            .unwrap();
        assert!(imported.status.success(), "{imported:?}");
        folder
    })
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A home with the model, and with the sample corpus if wished; `None` (said aloud) without the model.
pub fn home(test: &str, with_corpus: bool) -> Option<tempfile::TempDir> {
    let Some(model) = footnote_testkit::model(MODEL_FILE) else {
        footnote_testkit::skip(
            test,
            "no smollm2-135m; `footnote models get smollm2-135m` fetches it",
        );
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    std::fs::create_dir_all(&models).unwrap();
    std::os::unix::fs::symlink(model, models.join(MODEL_FILE)).unwrap();
    if with_corpus {
        copy(&corpus().join("corpus"), &folder.path().join("corpus"));
    }
    Some(folder)
}

/// A server on the sample corpus, or `None`, said aloud.
pub fn server(test: &str, args: &[&str]) -> Option<Server> {
    let folder = home(test, true)?;
    let mut server = start(folder.path(), args);
    server._folder = Some(folder);
    Some(server)
}

/// The command of a server on `home`, to be changed before it is spawned.
pub fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_footnote"));
    command
        .args(["serve", "--addr", "127.0.0.1:0", "--model", "smollm2-135m"])
        .args(args)
        .env("FOOTNOTE_HOME", home)
        .env("FOOTNOTE_OFFLINE", "1")
        .env_remove("FOOTNOTE_LOG");
    command
}

/// Starts a server on `home` and waits until it listens.
pub fn start(home: &Path, args: &[&str]) -> Server {
    spawn(command(home, args), home)
}

/// Starts a server's command and waits until it listens.
pub fn spawn(mut command: Command, home: &Path) -> Server {
    let log = home.join("log.txt");
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&log)
        .unwrap();
    let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line
        .trim()
        .strip_prefix("listening on ")
        .unwrap_or_else(|| {
            panic!(
                "the server did not start: {line:?}\n{}",
                std::fs::read_to_string(&log).unwrap()
            )
        });
    Server {
        url: url.to_owned(),
        addr: url.trim_start_matches("http://").to_owned(),
        home: home.to_owned(),
        child,
        log,
        _folder: None,
    }
}

impl Server {
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = if method == "POST" {
            agent.run(request.body(body).unwrap()).unwrap()
        } else {
            agent.run(request.body(()).unwrap()).unwrap()
        };
        Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.body_mut().read_to_string().unwrap(),
        }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], Vec::new())
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string().into_bytes(),
        )
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text;
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .unwrap_or(0.0)
    }

    /// A raw connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A stream of events that stays open until it is dropped.
    pub fn events(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Events {
        let mut stream = self.connect();
        let body = if method == "GET" {
            String::new()
        } else {
            body.to_string()
        };
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.addr,
            body.len()
        );
        if method != "GET" {
            head.push_str("content-type: application/json\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream
            .write_all(format!("{head}\r\n{body}").as_bytes())
            .unwrap();
        let mut events = Events {
            reader: BufReader::new(stream),
            status: 0,
        };
        let status = events.line().unwrap();
        events.status = status.split(' ').nth(1).unwrap().parse().unwrap();
        while events.line().is_some_and(|line| !line.is_empty()) {}
        events
    }

    /// Kills the process at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends the process in order; gives whether it said that all is well.
    pub fn stop(&mut self) -> bool {
        let signalled = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(signalled.success());
        self.child.wait().unwrap().success()
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An open stream of events.
pub struct Events {
    reader: BufReader<TcpStream>,
    pub status: u16,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

impl Events {
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// All that is left, until the server ends the stream.
    pub fn rest(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// What stands in the body of an error.
    pub fn body(&mut self) -> String {
        let mut text = String::new();
        let _ = self.reader.read_to_string(&mut text);
        text
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let (mut id, mut name, mut data) = (String::new(), String::new(), String::new());
        loop {
            let line = self.line()?;
            // Sizes of chunks stand between; no field looks like one.
            if let Some(value) = line.strip_prefix("id: ") {
                id = value.to_owned();
            } else if let Some(value) = line.strip_prefix("event: ") {
                name = value.to_owned();
            } else if let Some(value) = line.strip_prefix("data: ") {
                data = value.to_owned();
            } else if line.is_empty() && !data.is_empty() {
                let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
                return Some(Event { id, name, data });
            }
        }
    }
}

/// Asks until it is so.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::yield_now();
    }
}

/// Runs a Python script against a server, or says that it cannot: `FOOTNOTE_TEST_PYTHON` names a Python with the
/// packages.
pub fn python(test: &str, packages: &[&str], script: &str, args: &[&str]) -> Option<String> {
    let python = std::env::var("FOOTNOTE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python)
        .args(["-c", &format!("import {}", packages.join(", "))])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        footnote_testkit::skip(
            test,
            &format!(
                "no Python with {}; FOOTNOTE_TEST_PYTHON names one",
                packages.join(" and ")
            ),
        );
        return None;
    }
    // Some clients leave caches where they run.
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(&python)
        .current_dir(folder.path())
        .args(["-c", script])
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(said)
}

/// A multipart body of files.
pub fn upload(files: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, bytes) in files {
        body.extend_from_slice(
            format!("--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    ("multipart/form-data; boundary=edge".to_owned(), body)
}

const TYPES: [&str; 5] = ["DEF14A", "10-K", "10-Q", "8-K", "Earnings"];

/// A FinAgentBench record of an invented question.
pub fn record(number: usize) -> Value {
    let list: Vec<String> = TYPES
        .iter()
        .enumerate()
        .map(|(at, kind)| format!("[Document Index {at}] {kind}"))
        .collect();
    let prompt = format!(
        "Rank the following financial document types by relevance to answer the question. Provide your ranking as a \
         list of indices from most relevant to least relevant.\n\nQuestion: How many valves did works number {number} sell?\n\n\
         Document Types to rank:\n{}\n\n\
         Your response must be a list of indices in exact list format (e.g., [4, 2, 1, 0, 3]), ranking every index from 0 \
         to 4 by most relevant document type index to least relevant document type index.",
        list.join("\n\n")
    );
    json!({ "_id": format!("q{number}"), "messages": [{ "role": "user", "content": prompt }],
            "qrel": { "0": 0, "1": 4, "2": 3, "3": 1, "4": 2 } })
}

/// Asserts that a footnote's quote stands in its filing where it says.
#[track_caller]
pub fn assert_quoted(server: &Server, footnote: &Value) {
    let (accession, span) = (footnote["accession"].as_str().unwrap(), &footnote["span"]);
    let text = server
        .get(&format!(
            "/v1/filings/{accession}/text?start={}&end={}",
            span["start"], span["end"]
        ))
        .expect(200);
    assert_eq!(text["text"], footnote["quote"]);
}
