//! The client of served models, against a server on the loopback that answers as real ones do, well
//! and badly. `FOOTNOTE_TEST_OPENAI` names a real one (`openai:URL#NAME`) to run the same against.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails must fail")]

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use footnote_engine::compress::{Draft, GAP};
use footnote_engine::{
    EngineError, FinishReason, GenerateRequest, Grammar, LanguageModel, LoadedModel, Message,
    Prompt, RemoteModel, RemoteOptions, Role,
};
use serde_json::{Value, json};

/// A server that gives the prepared answers one after another: status, content type, body.
fn server(answers: Vec<(u16, &'static str)>) -> (String, Receiver<(String, Value)>) {
    let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", server.server_addr());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for (status, body) in answers {
            let Ok(mut request) = server.recv() else {
                return;
            };
            let mut text = String::new();
            request.as_reader().read_to_string(&mut text).unwrap();
            let sent = serde_json::from_str(&text).unwrap_or(Value::Null);
            sender.send((request.url().to_owned(), sent)).ok();
            let response = tiny_http::Response::from_string(body).with_status_code(status);
            request.respond(response).ok();
        }
    });
    (url, receiver)
}

const MODELS: (u16, &str) = (200, r#"{"data":[{"id":"m","max_model_len":4096}]}"#);

const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n\
    : a comment\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"Net \"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"sales\"},\"finish_reason\":null}]}\n\n\
    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n\
    data: [DONE]\n\n";

fn connect(url: &str) -> Result<RemoteModel, EngineError> {
    let mut options = RemoteOptions::parse(&format!("openai:{url}#m")).unwrap();
    options.timeout = Duration::from_secs(20);
    options.key = Some("secret-key".to_owned());
    RemoteModel::connect(options)
}

fn question() -> GenerateRequest {
    let chat = Prompt::Chat(vec![Message::new(Role::User, "What grew?")]);
    GenerateRequest::new(chat, 2)
}

#[test]
fn a_stream_becomes_text_and_usage() {
    let (url, seen) = server(vec![MODELS, (200, STREAM)]);
    let model = connect(&url).unwrap();
    assert_eq!(model.context_tokens(), 4096);
    let completion = model.generate(question()).unwrap().complete().unwrap();
    assert_eq!(completion.text, "Net sales");
    assert_eq!(completion.finish, FinishReason::Length);
    assert_eq!(
        (completion.usage.tokens_in, completion.usage.tokens_out),
        (9, 2)
    );
    let (path, _) = seen.recv().unwrap();
    assert_eq!(path, "/v1/models");
    let (path, sent) = seen.recv().unwrap();
    assert_eq!(path, "/v1/chat/completions");
    assert_eq!(sent["messages"][0]["content"], "What grew?");
    assert_eq!(sent["max_tokens"], 2);
}

#[test]
fn a_long_prompt_is_sent_as_what_a_local_draft_keeps() {
    let path = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let drafting = LoadedModel::open(&path, None).unwrap();
    let draft = Draft::new(drafting, None).unwrap();
    let (url, seen) = server(vec![MODELS, (200, STREAM)]);
    let model = connect(&url).unwrap().with_draft(draft);
    let filler = "Net sales of the valves segment rose by 1,234 thousand in the quarter. ";
    let source = "Source: Aquillon 10-K 2024, Item 7.";
    let chat = vec![
        Message::new(Role::System, "Be brief."),
        Message::new(
            Role::User,
            format!(
                "{}\n{source}\n{}\n\nWhat grew?",
                filler.repeat(20),
                filler.repeat(20)
            ),
        ),
    ];
    let mut request = GenerateRequest::new(Prompt::Chat(chat), 2);
    request.compress = "specpc:200".parse().unwrap();
    request.protect = vec![source.to_owned()];
    let usage = model.generate(request).unwrap().complete().unwrap().usage;
    assert_eq!(usage.tokens_kept, 9, "as the server counts");
    assert!(
        usage.tokens_in > 600 && usage.compress_ms > 0.0,
        "{usage:?}"
    );
    let sent = seen.iter().nth(1).unwrap().1;
    assert_eq!(sent["messages"][0]["content"], "Be brief.");
    let text = sent["messages"][1]["content"].as_str().unwrap();
    assert!(text.contains(GAP) && text.contains(source), "{text}");
    assert!(text.ends_with("What grew?"), "{text}");
    assert!(text.len() < 1_500, "{text}");
}

#[test]
fn a_schema_is_sent_in_the_form_the_server_knows() {
    let refusal = (
        422,
        r#"{"detail":"type: Input should be 'text' or 'json_object'"}"#,
    );
    let (url, seen) = server(vec![MODELS, refusal, (200, STREAM), (200, STREAM)]);
    let model = connect(&url).unwrap();
    let mut request = question();
    request.grammar = Some(Grammar::JsonSchema(json!({"type": "object"})));
    for _ in 0..2 {
        model.generate(request.clone()).unwrap().complete().unwrap();
    }
    let forms: Vec<Value> = seen
        .iter()
        .skip(1)
        .take(3)
        .map(|(_, sent)| sent["response_format"]["type"].clone())
        .collect();
    assert_eq!(forms, ["json_schema", "json_object", "json_object"]);
}

#[test]
fn letters_are_scored_by_the_likeliest_tokens() {
    let body = r#"{"choices":[{"logprobs":{"content":[{"top_logprobs":[
        {"token":"A","logprob":-0.5},{"token":" A","logprob":-2.0},{"token":"B","logprob":-1.5}]}]}}]}"#;
    let (url, _seen) = server(vec![
        MODELS,
        (200, body),
        (200, r#"{"choices":[{"logprobs":null}]}"#),
    ]);
    let model = connect(&url).unwrap();
    let letters = ["A", "B", "C"].map(str::to_owned);
    let chat = Prompt::Chat(vec![Message::new(Role::User, "Which?")]);
    let scores = model.score(chat.clone(), &letters).unwrap();
    let a = ((-0.5_f64).exp() + (-2.0_f64).exp()).ln();
    assert!((scores[0].0 - a).abs() < 1e-12 && scores[1].0 == -1.5);
    assert!(scores[2].0 < scores[1].0);
    let error = model.score(chat, &letters).unwrap_err().to_string();
    assert!(error.contains("no probabilities"), "{error}");
}

#[test]
fn bad_servers_are_named_and_the_key_is_not() {
    let cases: [(u16, &str, &str); 6] = [
        (401, r#"{"error":"bad key"}"#, "OPENAI_API_KEY"),
        (500, "oops", "status 500"),
        (429, "busy", "busy"),
        (200, "data: {not json}\n\n", "not readable"),
        (
            200,
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
            "without saying why",
        ),
        (
            200,
            "data: {\"error\":{\"message\":\"out of memory\"}}\n\n",
            "out of memory",
        ),
    ];
    for (status, body, wanted) in cases {
        let (url, _seen) = server(vec![MODELS, (status, body)]);
        let model = connect(&url).unwrap();
        let outcome = model
            .generate(question())
            .and_then(|running| running.complete());
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
        assert!(!error.contains("secret-key"), "{error}");
    }
    let (url, _seen) = server(vec![(200, r#"{"data":[{"id":"other"}]}"#)]);
    let error = connect(&url).err().unwrap().to_string();
    assert!(
        error.contains("no model \"m\"") && error.contains("other"),
        "{error}"
    );
    let error = connect("http://127.0.0.1:9/v1").err().unwrap().to_string();
    assert!(error.contains("does not answer"), "{error}");
}

#[test]
fn what_a_server_cannot_do_is_refused() {
    let (url, _seen) = server(vec![MODELS]);
    let model = connect(&url).unwrap();
    let mut grammar = question();
    grammar.grammar = Some(Grammar::Regex("a+".to_owned()));
    assert!(matches!(
        model.generate(grammar),
        Err(EngineError::Grammar(_))
    ));
    let mut cache = question();
    cache.cache = Some("kv4".parse().unwrap());
    assert!(
        model
            .generate(cache)
            .err()
            .unwrap()
            .to_string()
            .contains("cache policy")
    );
    let tokens = GenerateRequest::new(Prompt::Tokens(vec![1, 2]), 4);
    assert!(model.generate(tokens).is_err());
    for wrong in [
        "openai:",
        "openai:ftp://x#m",
        "openai:http://x",
        "openai:http://x#",
    ] {
        assert!(RemoteOptions::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_real_server_writes_text_and_keeps_to_a_schema() {
    let Ok(name) = std::env::var("FOOTNOTE_TEST_OPENAI") else {
        footnote_testkit::skip(
            module_path!(),
            "FOOTNOTE_TEST_OPENAI names no server (openai:URL#NAME)",
        );
        return;
    };
    let model = RemoteModel::connect(RemoteOptions::parse(&name).unwrap()).unwrap();
    let mut request = question();
    request.max_tokens = 24;
    let completion = model.generate(request.clone()).unwrap().complete().unwrap();
    assert!(!completion.text.is_empty() && completion.usage.tokens_out > 0);
    request.max_tokens = 60;
    request.grammar = Some(Grammar::JsonSchema(json!({
        "type": "object",
        "properties": {"answer": {"enum": ["yes", "no"]}},
        "required": ["answer"],
        "additionalProperties": false,
    })));
    let completion = model.generate(request).unwrap().complete().unwrap();
    let value: Value = serde_json::from_str(&completion.text).unwrap();
    assert!(
        value["answer"] == "yes" || value["answer"] == "no",
        "{value}"
    );
}
