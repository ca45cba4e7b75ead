//! The way of every other question: the model names the lines that hold the evidence, then says in
//! a sentence what they say. It never writes a quote: the quotes are the lines it named.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::json;

use super::excerpts::{Line, one_line};
use super::reading::{Reading, SYSTEM};
use super::{Found, Work};
use crate::checker::{Evidence, check_statement};
use crate::number::numbers_in;
use crate::{AgentError, Statement, Step};

/// Statements in one answer.
const MAX_STATEMENTS: usize = 3;

/// Characters of one statement.
const MAX_TEXT: usize = 360;

/// Lines cited by one statement.
const MAX_LINES: usize = 3;

const TASK: &str = "Answer the question from the lines. First name the lines that hold the evidence, then write one short sentence that answers the question from them, with every number exactly as it stands in the lines. Write no number that is not in the lines. Answer as JSON.";

#[derive(Deserialize)]
struct Written {
    statements: Vec<WrittenStatement>,
}

#[derive(Deserialize)]
struct WrittenStatement {
    lines: Vec<String>,
    text: String,
}

/// Writes an answer; no statements where the model finds none or none holds.
pub(super) fn write(work: &mut Work<'_, '_>, reading: &Reading) -> Result<Found, AgentError> {
    let nothing = Found {
        statements: Vec::new(),
        calculation: None,
    };
    let shown = &reading.lines;
    if shown.is_empty() {
        return Ok(nothing);
    }
    let user = reading.prompt(work.question, TASK);
    let ids: Vec<&str> = shown.iter().map(|line| line.id.as_str()).collect();
    let schema = json!({
        "type": "object",
        "properties": {"statements": {
            "type": "array",
            // A small model that may give nothing gives nothing: it must name its best lines, and
            // whether they answer is checked afterwards.
            "minItems": 1,
            "maxItems": MAX_STATEMENTS,
            "items": {
                "type": "object",
                "properties": {
                    "lines": {
                        "type": "array",
                        "items": {"enum": ids},
                        "minItems": 1,
                        "maxItems": MAX_LINES,
                    },
                    "text": {"type": "string", "minLength": 2, "maxLength": MAX_TEXT},
                },
                "required": ["lines", "text"],
                "additionalProperties": false,
            },
        }},
        "required": ["statements"],
        "additionalProperties": false,
    });
    let tokens = work.settings.answer_tokens;
    let text = work.generate(SYSTEM, &user, schema, tokens, true)?;
    let Ok(written) = serde_json::from_str::<Written>(&text) else {
        // Cut off by the token limit: nothing of it can be trusted to be whole.
        work.recorder.step(Step::Removed {
            text,
            reason: "the answer was cut off at its length limit".to_owned(),
        });
        return Ok(nothing);
    };
    let mut statements = Vec::new();
    for one in written.statements {
        let mut cited: Vec<&Line> = Vec::new();
        for id in &one.lines {
            if let Some(line) = shown.iter().find(|line| line.id == *id)
                && !cited.contains(&line)
            {
                cited.push(line);
            }
        }
        if let Some(statement) = checked(work, reading, &cited, &whole(&one.text)) {
            let said = statements
                .iter()
                .any(|s: &Statement| s.text == statement.text);
            if !said {
                statements.push(statement);
            }
        }
    }
    Ok(Found {
        statements,
        calculation: None,
    })
}

/// The text, with an ellipsis where the length limit cut it.
fn whole(text: &str) -> String {
    let text = text.trim();
    let ended = text.ends_with(['.', '!', '?', '”', '"']);
    if !ended && text.chars().count() + 8 >= MAX_TEXT {
        format!("{}…", text.trim_end_matches(','))
    } else {
        text.to_owned()
    }
}

/// Checks one statement; where it does not hold but its lines are about the question, the lines
/// themselves are the answer, as quotations.
fn checked(
    work: &mut Work<'_, '_>,
    reading: &Reading,
    cited: &[&Line],
    text: &str,
) -> Option<Statement> {
    let evidence: Vec<Evidence> = cited
        .iter()
        .map(|line| Evidence {
            quote: line.quote.clone(),
            scale: line.scale,
        })
        .collect();
    let given = reading.given(work.question, cited);
    work.recorder.step(Step::Evidence {
        lines: cited.iter().map(|line| line.quote.clone()).collect(),
    });
    let verdict = check_statement(text, &evidence, &given, &[]);
    let text = if verdict.holds() {
        match verdict.scale_left_out {
            Some(scale) => format!("{} (amounts in {scale})", text.trim_end_matches('.')) + ".",
            None => text.to_owned(),
        }
    } else {
        work.recorder.step(Step::Removed {
            text: text.to_owned(),
            reason: verdict.faults.join("; "),
        });
        let nearest = cited.iter().max_by_key(|line| {
            shared_words(&line.quote, text) + shared_words(&line.quote, work.question)
        })?;
        if shared_words(&nearest.quote, work.question) < MIN_SHARED_WORDS {
            return None;
        }
        let quote = one_line(&nearest.quote);
        let scale = match nearest.scale {
            crate::Scale::One => String::new(),
            scale => format!(" (in {scale})"),
        };
        return Some(Statement {
            text: format!("The filing says: “{quote}”{scale}"),
            footnotes: vec![reading.cite(work, nearest)],
            verified: true,
            doubt: None,
        });
    };
    let footnotes = telling(cited, &text, &given)
        .iter()
        .map(|line| reading.cite(work, line))
        .collect();
    Some(Statement {
        text,
        footnotes,
        verified: true,
        doubt: None,
    })
}

/// The cited lines that share a word or a number with the statement, where it holds by them alone;
/// else all: a small model cites neighbours that say nothing of the matter.
fn telling<'l>(cited: &[&'l Line], text: &str, given: &str) -> Vec<&'l Line> {
    let figures = numbers_in(text);
    let shares = |line: &&&Line| {
        let written = numbers_in(&line.quote);
        shared_words(&line.quote, text) > 0
            || figures
                .iter()
                .any(|f| written.iter().any(|w| w.value.abs() == f.value.abs()))
    };
    let kept: Vec<&Line> = cited.iter().filter(shares).copied().collect();
    let evidence: Vec<Evidence> = kept
        .iter()
        .map(|line| Evidence {
            quote: line.quote.clone(),
            scale: line.scale,
        })
        .collect();
    if check_statement(text, &evidence, given, &[]).holds() {
        kept
    } else {
        cited.to_vec()
    }
}

/// A line that shares fewer words with the question is no answer to it.
const MIN_SHARED_WORDS: usize = 2;

/// How many different words of four letters and more two texts share.
pub(super) fn shared_words(a: &str, b: &str) -> usize {
    let words = |text: &str| -> HashSet<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| word.chars().count() >= 4)
            .map(str::to_lowercase)
            .collect()
    };
    words(a).intersection(&words(b)).count()
}
