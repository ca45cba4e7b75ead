//! OpenAI's form, with OpenAI's own client where there is one.

use serde_json::{Value, json};

use crate::harness::{GROWTH, python, server};

#[test]
fn a_schema_is_kept_to_and_a_stream_says_the_same_as_a_whole() {
    let Some(server) = server("chat", &[]) else {
        return;
    };
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["form", "pages"],
        "properties": { "form": { "enum": ["10-K", "10-Q"] }, "pages": { "type": "integer", "minimum": 1, "maximum": 9 } },
    });
    let mut request = json!({
        "model": "smollm2-135m", "temperature": 0, "max_tokens": 60,
        "messages": [{ "role": "user", "content": "Name a form and its pages as JSON." }],
        "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": schema, "strict": true } },
        "some_field_of_another_server": true,
    });
    let whole = server.post("/v1/chat/completions", &request).expect(200);
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(
        ["10-K", "10-Q"].contains(&value["form"].as_str().unwrap()),
        "{value}"
    );
    assert!(
        (1..=9).contains(&value["pages"].as_i64().unwrap()),
        "{value}"
    );
    assert!(whole["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    request["stream"] = json!(true);
    request["stream_options"] = json!({ "include_usage": true });
    let reply = server.post("/v1/chat/completions", &request);
    let chunks: Vec<&str> = reply
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    assert_eq!(chunks.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> = chunks[..chunks.len() - 1]
        .iter()
        .map(|chunk| serde_json::from_str(chunk).unwrap())
        .collect();
    let streamed: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(streamed, text);
    assert_eq!(chunks.last().unwrap()["usage"], whole["usage"]);
    let metrics = server.get("/metrics").text;
    let kept = metrics
        .lines()
        .find(|line| line.starts_with("footnote_kept_cache_bytes"))
        .unwrap();
    assert!(
        kept.contains("smollm2-135m") && !kept.ends_with(" 0"),
        "{kept}"
    );
    // A mistake is in the form that OpenAI's clients read.
    request["messages"] = json!([{ "role": "wizard", "content": "x" }]);
    let error = server.post("/v1/chat/completions", &request).expect(422);
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("wizard"),
        "{error}"
    );
}

#[test]
fn the_agent_answers_as_a_model_with_its_footnotes_beside() {
    let Some(server) = server("agent as a model", &[]) else {
        return;
    };
    let request = json!({ "model": "footnote-agent", "messages": [
        { "role": "system", "content": "You are terse." }, { "role": "user", "content": GROWTH },
    ]});
    let reply = server.post("/v1/chat/completions", &request).expect(200);
    let content = reply["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(
        content.contains("7.4%") && content.contains("[1] Aquillon"),
        "{content}"
    );
    assert_eq!(reply["footnote"]["footnotes"][0]["verified"], true);
    assert_eq!(reply["footnote"]["trace_kept"], true);
}

#[test]
fn openais_own_client_works_unchanged() {
    let Some(server) = server("OpenAI's client", &[]) else {
        return;
    };
    let script = r#"
import sys
from openai import OpenAI, NotFoundError
client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
names = [model.id for model in client.models.list()]
assert names[0] == "footnote-agent" and "smollm2-135m" in names, names
said = [{"role": "user", "content": "Say hello."}]
whole = client.chat.completions.create(model="smollm2-135m", messages=said, temperature=0, max_tokens=12, seed=1)
assert whole.choices[0].message.content and whole.usage.completion_tokens > 0
streamed = client.chat.completions.create(model="smollm2-135m", messages=said, temperature=0, max_tokens=12, seed=1, stream=True)
text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
assert text == whole.choices[0].message.content, (text, whole)
answer = client.chat.completions.create(model="footnote-agent", messages=[{"role": "user", "content": sys.argv[2]}])
assert "7.4%" in answer.choices[0].message.content, answer
assert answer.model_extra["footnote"]["footnotes"][0]["verified"], answer
stream = client.chat.completions.create(model="footnote-agent", messages=[{"role": "user", "content": sys.argv[2]}], stream=True)
text, extra = "", None
for chunk in stream:
    if chunk.choices: text += chunk.choices[0].delta.content or ""
    extra = (chunk.model_extra or {}).get("footnote") or extra
assert "7.4%" in text and extra["footnotes"], (text, extra)
try:
    client.chat.completions.create(model="gpt-9", messages=said)
    raise SystemExit("an unknown model was taken")
except NotFoundError as error:
    assert "gpt-9" in str(error), error
"#;
    python(
        "OpenAI's client",
        &["openai"],
        script,
        &[&server.url, GROWTH],
    );
}
