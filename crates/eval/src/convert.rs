//! From one public format to another, line by line.
//!
//! What a file is follows from its name (`.run`, `.trec`, `.csv`) or, for JSON lines, from each record's own
//! fields. A page is named `DOCUMENT:PAGE` in TREC files, a chunk or document type by its index. The rule for bad
//! input is the scorer's: labels must be whole, so a bad line refuses the file; a bad prediction is left
//! out and named.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::finagentbench::record_of;
use crate::{EvalError, PagePrediction, financebench, read_lines, submission, trec};

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// TREC judgements, from a dataset with labels.
    Qrels,
    /// A TREC run, from predictions.
    Run,
    /// The Kaggle submission, from predictions.
    Submission,
    /// Predictions as JSON lines, from a run or a submission.
    Predictions,
    /// FinanceBench questions in the flat form, from the public one.
    Questions,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Records written.
    pub records: usize,
    /// Records left out, named with file and line.
    pub notes: Vec<String>,
}

/// Converts `from`, writing to `out`.
///
/// # Errors
/// Where a file cannot be read or written, a label is unusable, or the file cannot become this form.
pub fn convert(from: &Path, to: Form, out: &mut impl Write) -> Result<Converted, EvalError> {
    let mut work = Work {
        from: from.to_owned(),
        to,
        out,
        done: Converted::default(),
    };
    if to == Form::Submission {
        submission::write_header(work.out).map_err(|source| work.unwritable(source))?;
    }
    let csv = (from.extension()).is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    if trec::is_run(from) {
        work.run()?;
    } else if csv {
        work.submission()?;
    } else if trec::is_qrels(from) {
        return Err(work.impossible("TREC judgements"));
    } else {
        work.lines()?;
    }
    Ok(work.done)
}

struct Work<'a, W> {
    from: PathBuf,
    to: Form,
    out: &'a mut W,
    done: Converted,
}

impl<W: Write> Work<'_, W> {
    fn unwritable(&self, source: std::io::Error) -> EvalError {
        EvalError::Unusable {
            path: self.from.clone(),
            reason: source.to_string(),
        }
    }

    fn impossible(&self, what: &str) -> EvalError {
        EvalError::Unusable {
            path: self.from.clone(),
            reason: format!("{what} cannot become {:?}", self.to).to_lowercase(),
        }
    }

    fn line(&mut self, record: &Value) -> Result<(), EvalError> {
        self.done.records += 1;
        writeln!(self.out, "{record}").map_err(|source| self.unwritable(source))
    }

    fn run(&mut self) -> Result<(), EvalError> {
        if self.to != Form::Predictions {
            return Err(self.impossible("a TREC run"));
        }
        let run = trec::read_run(&self.from)?;
        self.done.notes = run.notes;
        for list in run.lists {
            match list.ranking {
                Ok(names) => {
                    let record = prediction(&list.id, &names);
                    self.line(&record)?;
                }
                Err(reason) => self.leave_out(list.line, &reason),
            }
        }
        Ok(())
    }

    fn submission(&mut self) -> Result<(), EvalError> {
        if self.to != Form::Predictions {
            return Err(self.impossible("a submission"));
        }
        let path = self.from.clone();
        let file = File::open(&path).map_err(|source| EvalError::Io {
            path: path.clone(),
            source,
        })?;
        let samples =
            submission::read(file).map_err(|reason| EvalError::Unusable { path, reason })?;
        for (id, ranking) in samples {
            self.line(&json!({ "id": id, "ranking": ranking }))?;
        }
        Ok(())
    }

    fn lines(&mut self) -> Result<(), EvalError> {
        let labels = matches!(self.to, Form::Qrels | Form::Questions);
        let from = self.from.clone();
        for line in read_lines(&from)? {
            let written = line.record.and_then(|value| self.record(value));
            match written {
                Ok(()) => self.done.records += 1,
                Err(reason) if labels => {
                    return Err(EvalError::Dataset {
                        path: self.from.clone(),
                        line: line.number,
                        reason,
                    });
                }
                Err(reason) => self.leave_out(line.number, &reason),
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, line: usize, reason: &str) {
        self.done.notes.push(format!(
            "{}:{line}: left out: {reason}",
            self.from.display()
        ));
    }

    fn record(&mut self, value: Value) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        match self.to {
            Form::Qrels => trec::write_qrels(self.out, &judged(value)?).map_err(text),
            Form::Questions => {
                let question = financebench::question(value)?;
                financebench::write_questions(self.out, &[question]).map_err(text)
            }
            Form::Run => {
                let (id, names) = ranked_names(&value)?;
                trec::write_run(self.out, &id, &names, "footnote").map_err(text)
            }
            Form::Submission => {
                let (id, names) = ranked_names(&value)?;
                let ranking: Vec<usize> = names
                    .iter()
                    .map(|name| name.parse().map_err(|_| format!("{name:?} is no index")))
                    .collect::<Result<_, _>>()?;
                submission::write_sample(self.out, &id, &ranking).map_err(text)
            }
            Form::Predictions => Err("already JSON lines: nothing to convert".to_owned()),
        }
    }
}

/// A prediction record: indices or pages where all names are such.
fn prediction(id: &str, names: &[String]) -> Value {
    let indices: Option<Vec<usize>> = names.iter().map(|name| name.parse().ok()).collect();
    if let Some(indices) = indices {
        return json!({ "id": id, "ranking": indices });
    }
    let pages: Option<Vec<(&str, u32)>> = names
        .iter()
        .map(|name| {
            let (doc, page) = name.rsplit_once(':')?;
            Some((doc, page.parse().ok()?))
        })
        .collect();
    match pages {
        Some(pages) => {
            let hits: Vec<Value> = (pages.iter().enumerate())
                .map(|(place, (doc, page))| {
                    json!({ "doc": doc, "page": page, "score": pages.len() - place })
                })
                .collect();
            json!({ "id": id, "hits": hits })
        }
        None => json!({ "id": id, "ranking": names }),
    }
}

fn judged(value: Value) -> Result<trec::Judged, String> {
    if value.get("messages").is_some() {
        let record = record_of(&value, 0)?;
        let grades = record.grades.ok_or("no qrel: there are no labels")?;
        return Ok(trec::Judged {
            id: record.id,
            documents: (grades.into_iter().enumerate())
                .map(|(index, grade)| (index.to_string(), grade))
                .collect(),
        });
    }
    let question = financebench::question(value)?;
    let doc = question.doc.ok_or("no doc: there are no labels")?;
    let pages = question
        .relevant_pages
        .ok_or("no relevant_pages: there are no labels")?;
    Ok(trec::Judged {
        id: question.id,
        documents: pages
            .into_iter()
            .map(|page| (format!("{doc}:{page}"), 1))
            .collect(),
    })
}

fn ranked_names(value: &Value) -> Result<(String, Vec<String>), String> {
    let id = value.get("id").and_then(Value::as_str).ok_or("no id")?;
    if value.get("hits").is_some() {
        let pages: PagePrediction =
            serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
        let names = pages
            .hits
            .iter()
            .map(|hit| format!("{}:{}", hit.doc, hit.page));
        return Ok((id.to_owned(), names.collect()));
    }
    let ranking = value
        .get("ranking")
        .ok_or("no ranking and no hits: no prediction")?
        .as_array()
        .ok_or("the ranking is no list of indices")?;
    let names = ranking.iter().map(|index| match index {
        Value::Number(number) if number.is_u64() => Ok(number.to_string()),
        Value::String(name) => Ok(name.clone()),
        other => Err(format!("{other} is no index")),
    });
    Ok((id.to_owned(), names.collect::<Result<_, _>>()?))
}
