//! The public FinAgentBench record form: one prompt with a question and its numbered candidates.
//!
//! `{"uuid" | "_id", "messages": [{"role": "user", "content": PROMPT}], "qrel": {"0": 1, …}?}`; the
//! prompt is parsed back exactly. A candidate's text may itself hold a marker, so a marker counts
//! only where its number is the next expected one.

use std::path::Path;

use serde_json::Value;

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

/// Takes a prompt apart, or says why it is none.
///
/// # Errors
/// A sentence naming the part that is missing.
pub fn parse_prompt(prompt: &str) -> Result<ParsedPrompt, String> {
    let (kind, list, marker) = if prompt.contains("\nText chunks:") {
        (PromptKind::Chunks, "\nText chunks:", "[Chunk Index ")
    } else if prompt.contains("Document Types to rank:") {
        (
            PromptKind::Documents,
            "Document Types to rank:",
            "[Document Index ",
        )
    } else {
        return Err("the prompt lists neither document types nor text chunks".to_owned());
    };
    let (head, body) = prompt
        .split_once(list)
        .ok_or("the prompt has no candidate list")?;
    let (_, question) = head
        .split_once("Question:")
        .ok_or("the prompt has no question")?;

    let mut starts = Vec::new();
    let mut from = 0;
    while let Some(offset) = body[from..].find(&format!("{marker}{}]", starts.len())) {
        let start = from + offset;
        let text = start + marker.len() + starts.len().to_string().len() + 1;
        starts.push((start, text));
        from = text;
    }
    if starts.is_empty() {
        return Err(format!("the prompt has no candidate {marker}0]"));
    }
    let ending = match kind {
        PromptKind::Chunks => "\n\nTask:",
        PromptKind::Documents => "\n\nYour response",
    };
    let end = body
        .rfind(ending)
        .filter(|&end| end >= from)
        .unwrap_or(body.len());
    let candidates = starts
        .iter()
        .enumerate()
        .map(|(index, &(_, text))| {
            let until = starts.get(index + 1).map_or(end, |next| next.0);
            body[text..until.max(text)].trim().to_owned()
        })
        .collect();
    Ok(ParsedPrompt {
        kind,
        question: question.trim().to_owned(),
        candidates,
    })
}

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
            .and_then(|value| record(&value))
            .map_err(|reason| EvalError::Dataset {
                path: path.clone(),
                line: line.number,
                reason,
            })
    }))
}

fn record(value: &Value) -> Result<Record, String> {
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
    Ok(Record { id, prompt, grades })
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
        }
    }
}
