//! FinanceBench questions: the question, and the answer key that only a scorer reads.
//!
//! Two forms are read: the public one (`financebench_id`, `doc_name`, `evidence` with
//! `evidence_page_num` counted from 0), and the flat one that Footnote writes (`id`, `doc`,
//! `relevant_pages`). Fields that nobody needs are ignored.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{EvalError, read_lines};

/// A question. `doc`, `relevant_pages`, `answer` and `justification` are the answer key: a ranker or
/// the agent never reads them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Its name.
    pub id: String,
    /// The question.
    pub question: String,
    /// The company, used only to cluster the bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    /// The document that holds the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// Its pages that hold the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relevant_pages: Option<Vec<u32>>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Why it is the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// `metrics-generated`, `domain-relevant` or `novel-generated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question_type: Option<String>,
    /// Its line in the file it was read from, from 1.
    #[serde(skip)]
    pub line: usize,
}

#[derive(Deserialize)]
struct PublicQuestion {
    financebench_id: String,
    question: String,
    company: Option<String>,
    doc_name: Option<String>,
    #[serde(default)]
    evidence: Vec<PublicEvidence>,
    answer: Option<String>,
    justification: Option<String>,
    question_type: Option<String>,
}

#[derive(Deserialize)]
struct PublicEvidence {
    #[serde(alias = "doc_name")]
    evidence_doc_name: Option<String>,
    evidence_page_num: u32,
}

/// Reads a question file line by line.
///
/// # Errors
/// Where the file cannot be opened. A bad line is an `Err` item that names file and line.
pub fn read_questions(
    path: &Path,
) -> Result<impl Iterator<Item = Result<Question, EvalError>>, EvalError> {
    let lines = read_lines(path)?;
    let path = path.to_owned();
    Ok(lines.map(move |line| {
        line.record
            .and_then(question)
            .map(|mut question| {
                question.line = line.number;
                question
            })
            .map_err(|reason| EvalError::Dataset {
                path: path.clone(),
                line: line.number,
                reason,
            })
    }))
}

pub(crate) fn question(value: Value) -> Result<Question, String> {
    if value.get("financebench_id").is_none() {
        return serde_json::from_value(value).map_err(|error| error.to_string());
    }
    let public: PublicQuestion =
        serde_json::from_value(value).map_err(|error| error.to_string())?;
    let mut pages: Vec<u32> = Vec::new();
    for evidence in &public.evidence {
        if evidence.evidence_doc_name.is_some() && evidence.evidence_doc_name != public.doc_name {
            return Err("the evidence lies in another document than doc_name".to_owned());
        }
        if !pages.contains(&evidence.evidence_page_num) {
            pages.push(evidence.evidence_page_num);
        }
    }
    Ok(Question {
        id: public.financebench_id,
        question: public.question,
        company: public.company,
        doc: public.doc_name,
        relevant_pages: (!pages.is_empty()).then_some(pages),
        answer: public.answer,
        justification: public.justification,
        question_type: public.question_type,
        line: 0,
    })
}

/// Writes questions in the flat form.
///
/// # Errors
/// Where `out` cannot be written.
pub fn write_questions(out: &mut impl Write, questions: &[Question]) -> std::io::Result<()> {
    for question in questions {
        serde_json::to_writer(&mut *out, question)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The form that a document's name says it is (`AMD_2022_10K`).
pub fn doc_type(doc: &str) -> Option<&'static str> {
    let upper = doc.to_ascii_uppercase();
    let parts = || upper.split('_').rev();
    let known = [
        ("10K", "10-K"),
        ("ANNUALREPORT", "10-K"),
        ("10Q", "10-Q"),
        ("8K", "8-K"),
        ("EARNINGS", "Earnings"),
        ("DEF14A", "DEF14A"),
    ];
    known
        .iter()
        .find(|(word, _)| parts().any(|part| part == *word))
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let public = serde_json::json!({
            "financebench_id": "f1", "question": "q?", "company": "C", "doc_name": "C_2022_10K", "answer": "7",
            "question_type": "novel-generated", "extra": [1],
            "evidence": [{"evidence_page_num": 3}, {"evidence_page_num": 3, "doc_name": "C_2022_10K"},
                {"evidence_page_num": 9}],
        });
        let from_public = question(public).unwrap();
        assert_eq!(from_public.relevant_pages, Some(vec![3, 9]));
        let mut flat = Vec::new();
        write_questions(&mut flat, std::slice::from_ref(&from_public)).unwrap();
        let again = question(serde_json::from_slice(&flat).unwrap()).unwrap();
        assert_eq!(again, from_public);
        assert!(question(serde_json::json!({"id": "x"})).is_err());
    }

    #[test]
    fn forms_by_the_documents_name() {
        assert_eq!(doc_type("AMD_2022_annualreport"), Some("10-K"));
        assert_eq!(doc_type("PEPSICO_2023_8K_dated-2023-05-05"), Some("8-K"));
        assert_eq!(doc_type("PEPSICO_2023Q1_EARNINGS"), Some("Earnings"));
        assert_eq!(doc_type("NOTES"), None);
    }
}
