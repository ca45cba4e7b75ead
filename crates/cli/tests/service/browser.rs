//! The page in a real browser: headless Chromium through its driver.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{GROWTH, Server, record, server, until};

/// Chromium behind its driver.
struct Browser {
    session: String,
    child: Child,
}

impl Browser {
    /// Starts one, or says that there is none.
    fn open(test: &str) -> Option<Browser> {
        let started = Command::new("chromedriver")
            .args(["--port=0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = started else {
            footnote_testkit::skip(test, "no chromedriver (Debian: chromium-driver)");
            return None;
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                let line = line.unwrap();
                let port: String = line.rsplit(' ').next()?.trim_end_matches('.').to_owned();
                (line.contains("successfully on port")).then_some(port)
            })
            .unwrap();
        // The rest of what it says must not fill its pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let mut browser = Browser {
            session: format!("http://127.0.0.1:{port}/session"),
            child,
        };
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1300,900"] },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let session = browser.call("POST", "", &capabilities);
        let id = session["sessionId"].as_str().unwrap().to_owned();
        browser.session.push('/');
        browser.session.push_str(&id);
        Some(browser)
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.attempt(method, path, body)
            .unwrap_or_else(|value| panic!("{method} {path}: {value}"))
    }

    /// What the driver gives, or what it says against it.
    fn attempt(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let url = format!("{}{path}", self.session);
        let mut response = if method == "GET" {
            agent.get(&url).call().unwrap()
        } else {
            agent.post(&url).send(body.to_string()).unwrap()
        };
        let text = response.body_mut().read_to_string().unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        match response.status().is_success() {
            true => Ok(value["value"].clone()),
            false => Err(value),
        }
    }

    fn go(&self, url: &str) {
        self.call("POST", "/url", &json!({ "url": url }));
    }

    /// What a script gives.
    #[track_caller]
    fn run(&self, script: &str) -> Value {
        self.call(
            "POST",
            "/execute/sync",
            &json!({ "script": script, "args": [] }),
        )
    }

    /// Waits until an expression of the page is true, and gives it.
    #[track_caller]
    fn until(&self, expression: &str) -> Value {
        until(expression, || {
            let value = self.run(&format!("return ({expression}) || null"));
            (!value.is_null()).then_some(value)
        })
    }

    fn element(&self, selector: &str) -> String {
        let found = self.call(
            "POST",
            "/element",
            &json!({ "using": "css selector", "value": selector }),
        );
        found
            .as_object()
            .unwrap()
            .values()
            .next()
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A real click, which fails where something lies above. A list that was drawn anew between finding and clicking is
    /// looked at again, as a person would.
    #[track_caller]
    fn click(&self, selector: &str) {
        until(selector, || {
            let path = format!("/element/{}/click", self.element(selector));
            match self.attempt("POST", &path, &json!({})) {
                Ok(_) => Some(()),
                Err(value) if value["value"]["error"] == "stale element reference" => None,
                Err(value) => panic!("a click on {selector}: {value}"),
            }
        });
    }

    /// Real keys.
    fn keys(&self, selector: &str, text: &str) {
        self.call(
            "POST",
            &format!("/element/{}/value", self.element(selector)),
            &json!({ "text": text }),
        );
    }

    /// Where `FOOTNOTE_SCREENSHOTS` names a folder, a picture to be looked at.
    fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("FOOTNOTE_SCREENSHOTS") else {
            return;
        };
        let data = self.call("GET", "/screenshot", &Value::Null);
        let path = std::path::Path::new(&folder).join(format!("{name}.png.base64"));
        std::fs::write(path, data.as_str().unwrap()).unwrap();
    }

    /// What the browser complained about: scripts that failed, content that the policy refused.
    fn complaints(&self) -> Vec<String> {
        let log = self.call("POST", "/se/log", &json!({ "type": "browser" }));
        log.as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let _ = agent.delete(&self.session).call();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn both(test: &str, args: &[&str]) -> Option<(Server, Browser)> {
    let server = server(test, args)?;
    let browser = Browser::open(test)?;
    Some((server, browser))
}

#[test]
fn a_question_is_asked_by_keyboard_and_its_footnote_shows_the_quote_in_the_filing() {
    let Some((server, browser)) = both("the page", &[]) else {
        return;
    };
    browser.go(&server.url);
    browser.keys("#question", GROWTH);
    browser.keys("#question", "\u{e009}\u{e007}");
    browser.until("!document.getElementById('answer').hidden");
    let text = browser.run("return document.querySelector('.answer-text').textContent");
    assert!(text.as_str().unwrap().contains("7.4%"), "{text}");
    let ranking = browser.run("return document.querySelectorAll('#ranking tbody tr').length");
    assert_eq!(ranking, 5);
    browser.click(".answer-text sup button");
    let quote = browser.until("document.querySelector('#source mark')?.textContent");
    assert!(quote.as_str().unwrap().contains("2,781"), "{quote}");
    assert_eq!(
        browser.run("return document.activeElement.id"),
        "source-title"
    );
    browser.picture("answer");
    browser.keys("#source-text", "\u{e00c}");
    browser.until("document.getElementById('source').hidden");
    browser.click(".feedback .right");
    browser.until("document.querySelector('.feedback [role=status]').textContent.includes('kept')");
    // The history has it, and opens it again.
    browser.go(&format!("{}/#history", server.url));
    browser.until("document.querySelector('#history a')");
    browser.picture("history");
    browser.click("#history a");
    browser.until("location.hash.startsWith('#ask/') && document.querySelector('.answer-text')?.textContent.includes('7.4%')");
    browser.go(&format!("{}/#search", server.url));
    browser.keys("#query", "net sales growth\u{e007}");
    browser.until("document.querySelectorAll('#hits li').length > 3");
    browser.click("#hits .hit");
    browser.until("document.querySelector('#source mark')?.textContent.length > 20");
    browser.picture("search");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn markup_in_a_filing_is_text_on_the_page() {
    let Some((server, browser)) = both("markup", &[]) else {
        return;
    };
    let text = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script> Vexley Corporation sells kites.";
    let line = json!({ "doc": "VEXLEY_2023_10K", "company": "<b>Vexley</b> Corporation", "doc_type": "10-K",
        "fiscal_period": "FY2023", "page": 0, "text": text });
    let (kind, body) = crate::harness::upload(&[("vexley.jsonl", line.to_string().as_bytes())]);
    server
        .send("POST", "/v1/imports", &[("content-type", &kind)], body)
        .expect(202);
    until("it is found", || {
        let found = server
            .post("/v1/search", &json!({ "query": "Vexley kites" }))
            .expect(200);
        found.to_string().contains("VEXLEY").then_some(())
    });
    browser.go(&format!("{}/#search", server.url));
    browser.keys("#query", "Vexley kites\u{e007}");
    browser.until("document.querySelector('#hits')?.textContent.includes('<script>')");
    browser.click("#hits .hit");
    browser.until("document.querySelector('#source mark')?.textContent.includes('<img')");
    assert_eq!(browser.run("return [window.hacked ?? null, document.querySelectorAll('#hits img, #source img, #source script').length]"), json!([null, 0]));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_job_is_watched_and_cancelled_on_the_page_and_two_runs_stand_side_by_side() {
    let Some((server, browser)) = both("jobs on the page", &[]) else {
        return;
    };
    let evaluation = |name: &str, ranker: &str, count: usize| {
        json!({ "name": name, "task": "doc-types", "rankers": [ranker], "models": if ranker == "model" { json!(["smollm2-135m"]) } else { json!([]) },
                "records": (0..count).map(record).collect::<Vec<_>>() })
    };
    for (name, ranker) in [("first run", "fixed"), ("second run", "random")] {
        let job = server
            .post("/v1/evaluations", &evaluation(name, ranker, 8))
            .expect(202);
        let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
        until("it is done", || {
            (server.get(&path).expect(200)["state"] == "done").then_some(())
        });
    }
    let long = server
        .post("/v1/evaluations", &evaluation("long", "model", 400))
        .expect(202);
    browser.go(&format!("{}/#jobs", server.url));
    browser.until("document.querySelector('#jobs progress')");
    browser.picture("jobs");
    browser.click("#jobs .cancel");
    browser.until("document.querySelector('#jobs li').textContent.includes('cancelled')");
    let state = server
        .get(&format!("/v1/jobs/{}", long["id"].as_str().unwrap()))
        .expect(200);
    assert_eq!(state["state"], "cancelled");
    browser.go(&format!("{}/#evaluations", server.url));
    browser.until("document.getElementById('run-b').options.length === 3");
    browser.run("const b = document.getElementById('run-b'); b.value = b.options[2].value; b.dispatchEvent(new Event('change'))");
    browser.until("document.querySelectorAll('#runs table').length === 2 && document.querySelectorAll('#runs svg circle').length >= 2");
    browser.picture("evaluations");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_key_is_asked_for_where_one_is_needed_and_a_long_answer_can_be_stopped() {
    let Some((server, browser)) = both("keys on the page", &["--keys", "on"]) else {
        return;
    };
    browser.go(&server.url);
    browser.until("!document.getElementById('key-form').hidden");
    browser.picture("key");
    let made = Command::new(env!("CARGO_BIN_EXE_footnote"))
        .args(["keys", "create", "page", "--scopes", "search,ask"])
        .env("FOOTNOTE_HOME", &server.home)
        .output()
        .unwrap();
    let key = String::from_utf8(made.stdout).unwrap();
    browser.keys("#key", key.trim());
    browser.click("#key-form button");
    browser.until("document.getElementById('key-form').hidden && document.querySelectorAll('#tickers option').length > 1");
    browser.keys("#question", "Describe the business of Aquillon Thermal Systems, its products and the risks that it names.");
    browser.click("#ask");
    // Early, so that a fast machine has not answered yet.
    browser.until("document.querySelectorAll('#steps li').length >= 1");
    browser.click("#stop");
    browser.until(
        "document.getElementById('stop').hidden && !document.getElementById('ask').disabled",
    );
    // Not only here: the server has nothing in hand any more.
    let made = Command::new(env!("CARGO_BIN_EXE_footnote"))
        .args(["keys", "create", "operator", "--scopes", "admin"])
        .env("FOOTNOTE_HOME", &server.home)
        .output()
        .unwrap();
    let bearer = format!("Bearer {}", String::from_utf8(made.stdout).unwrap().trim());
    until("the server stopped too", || {
        let metrics = server.send("GET", "/metrics", &[("authorization", &bearer)], Vec::new());
        metrics
            .text
            .contains("footnote_answers_running 0")
            .then_some(())
    });
    browser.run("document.getElementById('question').value = ''");
    browser.keys("#question", GROWTH);
    browser.click("#ask");
    browser.until("document.querySelector('.answer-text')?.textContent.includes('7.4%')");
}
