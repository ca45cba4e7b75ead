//! The public FinAgentBench record form: one prompt with a question and its numbered candidates.
//!
//! `{"uuid" | "_id", "messages": [{"role": "user", "content": PROMPT}], "qrel": {"0": 1, …}?}`, in
//! the authors' training form with `metadata` beside; the prompt is parsed back exactly. A candidate's text may itself hold a marker, so a marker counts
//! only where its number is the next expected one.

use footnote_agent::doctype::benchmark_prompt;
use std::path::Path;

use serde_json::{Value, json};

use crate::{EvalError, read_lines};

/// Which of the two tasks a prompt sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptKind {
    /// Order the five document types.
    Documents,
    /// Select and order chunks of one document.
    Chunks,
}

/// A prompt taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedPrompt {
    /// Which task.
    pub kind: PromptKind,
    /// The question.
    pub question: String,
    /// The candidates in index order; empty ones keep their place.
    pub candidates: Vec<String>,
}

/// Takes a prompt apart, or says why it is none. Texts come back exactly as they were put in,
/// white space included; a marker counts only at a line's start and where its number is the next one.
///
/// # Errors
/// A sentence naming the part that is missing.
pub fn parse_prompt(prompt: &str) -> Result<ParsedPrompt, String> {
    let template = if prompt.contains("\nText chunks:") {
        &CHUNKS
    } else if prompt.contains("Document Types to rank:") {
        &DOCUMENTS
    } else {
        return Err("the prompt lists neither document types nor text chunks".to_owned());
    };
    let (head, body) = prompt
        .split_once(template.list)
        .ok_or("the prompt has no candidate list")?;
    let (_, question) = head
        .split_once("Question:")
        .ok_or("the prompt has no question")?;

    // The marker at a line's start is the template's; other writers put it anywhere.
    let mut starts = markers(body, &format!("\n{}", template.marker), 1);
    if starts.is_empty() {
        starts = markers(body, template.marker, 0);
    }
    let Some(&(_, last)) = starts.last() else {
        return Err(format!("the prompt has no candidate {}0]", template.marker));
    };
    let end = body
        .rfind(template.ending)
        .filter(|&end| end >= last)
        .unwrap_or(body.len());
    let candidates = starts
        .iter()
        .enumerate()
        .map(|(index, &(_, text))| {
            let (until, between) = match starts.get(index + 1) {
                Some(&(next, _)) => (next, template.between),
                None => (end, ""),
            };
            unpadded(&body[text..until.max(text)], between).to_owned()
        })
        .collect();
    Ok(ParsedPrompt {
        kind: template.kind,
        question: unpadded(question, "").to_owned(),
        candidates,
    })
}

/// Where the candidates' markers stand: `(start of the marker, start of the text)` in order.
fn markers(body: &str, marker: &str, lead: usize) -> Vec<(usize, usize)> {
    let mut starts = Vec::new();
    let mut from = 0;
    while let Some(offset) = body[from..].find(&format!("{marker}{}]", starts.len())) {
        let start = from + offset + lead;
        let text = from + offset + marker.len() + starts.len().to_string().len() + 1;
        starts.push((start, text));
        from = text;
    }
    starts
}

/// A text without what the template puts around it: one space before, `between` behind.
fn unpadded<'a>(text: &'a str, between: &str) -> &'a str {
    let text = text.strip_prefix(' ').unwrap_or(text);
    text.strip_suffix(between).unwrap_or(text)
}

/// The prompt that [`parse_prompt`] takes apart, word for word the benchmark's.
///
/// # Errors
/// Where the prompt would not give the same parts back, because a text looks like the template's
/// own words; nothing is written that cannot be read.
pub fn write_prompt(parts: &ParsedPrompt) -> Result<String, String> {
    let prompt = match parts.kind {
        PromptKind::Documents => benchmark_prompt(&parts.question, &parts.candidates),
        PromptKind::Chunks => chunks_prompt(&parts.question, &parts.candidates),
    };
    if parse_prompt(&prompt).as_ref() == Ok(parts) {
        Ok(prompt)
    } else {
        Err(
            "a text of the record looks like the prompt's own words, so it could not be read back"
                .to_owned(),
        )
    }
}

fn chunks_prompt(question: &str, chunks: &[String]) -> String {
    let k = chunks.len().min(10);
    let list: Vec<String> = chunks
        .iter()
        .enumerate()
        .map(|(index, chunk)| format!("[Chunk Index {index}] {chunk}"))
        .collect();
    // Two spaces end the third line of the task: the benchmark's own, kept to the letter.
    format!(
        "Identify the {k} most relevant text chunks for answering this question, then rank them in order of \
         relevance (best first).\nQuestion: {question}\nText chunks:\n{}\n\nTask: Select and rank the {k} most \
         relevant chunks among the given text chunks(from index 0 to {}).\n- Put the BEST chunk first\n- Put the 2nd \
         best chunk second  \n- Continue until you have ranked your top {k} chunks\nResponse Format: \
         [1st_most_relevant_index, 2nd_most_relevant_index, ..., {k}th_most_relevant_index]",
        list.join("\n"),
        chunks.len().saturating_sub(1)
    )
}

struct Template {
    kind: PromptKind,
    /// What opens the candidate list.
    list: &'static str,
    marker: &'static str,
    /// What stands behind a candidate that is not the last.
    between: &'static str,
    /// What stands behind the last.
    ending: &'static str,
}

const CHUNKS: Template = Template {
    kind: PromptKind::Chunks,
    list: "\nText chunks:",
    marker: "[Chunk Index ",
    between: "\n",
    ending: "\n\nTask:",
};

const DOCUMENTS: Template = Template {
    kind: PromptKind::Documents,
    list: "\n\nDocument Types to rank:",
    marker: "[Document Index ",
    between: "\n\n",
    ending: "\n\nYour response",
};

/// A dataset line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `uuid` or `_id`; not unique in chunk files.
    pub id: String,
    /// The prompt taken apart.
    pub prompt: ParsedPrompt,
    /// Grade of every candidate, where the record is labelled; candidates that the qrel does not
    /// name have grade 0.
    pub grades: Option<Vec<u32>>,
    /// The company, where the record's metadata name one.
    pub company: Option<String>,
    /// The question's category, where the record's metadata name one.
    pub category: Option<String>,
    /// Its line in the file it was read from, from 1.
    pub line: usize,
}

/// Which of the public forms a record is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordForm {
    /// `uuid`, and the labels.
    Dev,
    /// `_id`, without labels.
    Eval,
}

/// Writes a dataset line.
///
/// # Errors
/// Where the prompt cannot be written so that it can be read, the dev form lacks its labels, or
/// `out` cannot be written.
pub fn write_record(
    out: &mut impl std::io::Write,
    record: &Record,
    form: RecordForm,
) -> std::io::Result<()> {
    let prompt = write_prompt(&record.prompt).map_err(std::io::Error::other)?;
    let messages = json!([{ "role": "user", "content": prompt }]);
    let mut line = match form {
        RecordForm::Eval => json!({ "_id": record.id, "messages": messages }),
        RecordForm::Dev => {
            let Some(grades) = &record.grades else {
                let reason = format!("{:?} has no labels for the dev form", record.id);
                return Err(std::io::Error::other(reason));
            };
            let qrel: serde_json::Map<String, Value> = grades
                .iter()
                .enumerate()
                .map(|(index, grade)| (index.to_string(), json!(grade)))
                .collect();
            json!({ "uuid": record.id, "messages": messages, "qrel": qrel })
        }
    };
    let mut metadata = serde_json::Map::new();
    for (key, value) in [("company", &record.company), ("category", &record.category)] {
        if let Some(value) = value {
            metadata.insert(key.to_owned(), json!(value));
        }
    }
    if !metadata.is_empty() {
        line["metadata"] = Value::Object(metadata);
    }
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// Reads a dataset line by line; the file may be larger than memory.
///
/// # Errors
/// Where the file cannot be opened. A bad line is an `Err` item that names file and line.
pub fn read_records(
    path: &Path,
) -> Result<impl Iterator<Item = Result<Record, EvalError>>, EvalError> {
    let lines = read_lines(path)?;
    let path = path.to_owned();
    Ok(lines.map(move |line| {
        line.record
            .and_then(|value| record_of(&value, line.number))
            .map_err(|reason| EvalError::Dataset {
                path: path.clone(),
                line: line.number,
                reason,
            })
    }))
}

pub(crate) fn record_of(value: &Value, line: usize) -> Result<Record, String> {
    let id = ["uuid", "_id", "id"]
        .iter()
        .find_map(|key| value.get(key)?.as_str())
        .ok_or("no uuid and no _id")?
        .to_owned();
    let messages = value
        .get("messages")
        .and_then(Value::as_array)
        .ok_or("no messages")?;
    let content = messages
        .iter()
        .rev()
        .find(|message| message.get("role").and_then(Value::as_str) == Some("user"))
        .and_then(|message| message.get("content")?.as_str())
        .ok_or("no user message")?;
    let prompt = parse_prompt(content)?;
    let grades = match value.get("qrel") {
        None | Some(Value::Null) => None,
        Some(qrel) => Some(grades(qrel, prompt.candidates.len())?),
    };
    let metadata = |key: &str| {
        let metadata = value.get("metadata")?;
        let word = metadata.get(key)?.as_str()?;
        (!word.is_empty()).then(|| word.to_owned())
    };
    Ok(Record {
        id,
        prompt,
        grades,
        company: metadata("company"),
        category: metadata("category"),
        line,
    })
}

fn grades(qrel: &Value, candidates: usize) -> Result<Vec<u32>, String> {
    let map = qrel.as_object().ok_or("qrel is no object")?;
    let mut grades = vec![0; candidates];
    for (key, value) in map {
        let index: usize = key
            .parse()
            .map_err(|_| format!("qrel key {key:?} is no index"))?;
        let slot = grades.get_mut(index).ok_or_else(|| {
            format!("qrel names candidate {index}, but there are only {candidates}")
        })?;
        *slot =
            value.as_u64().filter(|&grade| grade <= 30).ok_or_else(|| {
                format!("grade of candidate {index} is no whole number from 0 to 30")
            })? as u32;
    }
    Ok(grades)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_prompt_with_a_marker_inside_a_chunk_and_an_empty_chunk() {
        let prompt = "Identify the 2 most relevant …\nQuestion: What is it?\nText chunks:\n\
                      [Chunk Index 0] see [Chunk Index 7] and [Chunk Index 0]\n[Chunk Index 1] \n\
                      [Chunk Index 2] last\n\nTask: Select …";
        let parsed = parse_prompt(prompt).unwrap();
        assert_eq!(parsed.kind, PromptKind::Chunks);
        assert_eq!(parsed.question, "What is it?");
        assert_eq!(
            parsed.candidates,
            ["see [Chunk Index 7] and [Chunk Index 0]", "", "last"].map(str::to_owned)
        );
    }

    #[test]
    fn a_prompt_without_candidates_says_so() {
        assert!(parse_prompt("Question: x").unwrap_err().contains("neither"));
    }

    #[test]
    fn real_records_give_their_five_types() {
        let path = footnote_testkit::shared_or_skip!("data/finagentbench/doc_ranking_dev.jsonl");
        let records: Vec<Record> = read_records(&path)
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(records.len(), 270);
        for record in &records {
            assert_eq!(
                record.prompt.candidates,
                ["DEF14A", "10-K", "10-Q", "8-K", "Earnings"].map(str::to_owned)
            );
            assert!(
                record
                    .grades
                    .as_ref()
                    .is_some_and(|grades| grades.len() == 5)
            );
            assert!(!record.prompt.question.is_empty());
            let written = write_prompt(&record.prompt).unwrap();
            assert_eq!(parse_prompt(&written).unwrap(), record.prompt);
        }
    }
}
