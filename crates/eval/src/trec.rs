//! TREC's two files: qrels (`QUESTION 0 DOCUMENT GRADE`) and runs (`QUESTION Q0 DOCUMENT RANK SCORE
//! TAG`), parted by white space.
//!
//! As trec_eval has it, the order of a run is by score downwards, equal scores by document name
//! downwards, and the rank column is not read; a negative grade counts as 0. A qrels file with a bad
//! line is refused, a bad line of a run spoils its question, and is named.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use crate::EvalError;

/// Longest line that is read.
const LINE_BYTES_MAX: usize = 1 << 16;

/// A question's judged documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The question.
    pub id: String,
    /// Document and grade, in the file's order.
    pub documents: Vec<(String, u32)>,
}

/// A run file.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The questions in the order in which they first come.
    pub lists: Vec<RunList>,
    /// Lines of no question, named.
    pub notes: Vec<String>,
}

/// A question's ranked documents.
#[derive(Clone, Debug, PartialEq)]
pub struct RunList {
    /// The question.
    pub id: String,
    /// Its first line, or the line that spoils it.
    pub line: usize,
    /// Documents best first, or why there are none.
    pub ranking: Result<Vec<String>, String>,
}

/// Whether a file's name says that it is qrels.
pub fn is_qrels(path: &Path) -> bool {
    has_ending(path, &["qrels", "qrel"])
}

/// Whether a file's name says that it is a run.
pub fn is_run(path: &Path) -> bool {
    has_ending(path, &["run", "trec"])
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| endings.iter().any(|e| ending.eq_ignore_ascii_case(e)))
}

/// Reads qrels.
///
/// # Errors
/// A line that is not four columns, whose grade is no whole number up to 30, or that judges a
/// document twice; named with file and line.
pub fn read_qrels(path: &Path) -> Result<Vec<Judged>, EvalError> {
    let mut questions: Vec<Judged> = Vec::new();
    let mut places: HashMap<String, (usize, HashMap<String, ()>)> = HashMap::new();
    for_lines(path, |number, line| {
        let bad = |reason: String| EvalError::Dataset {
            path: path.to_owned(),
            line: number,
            reason,
        };
        let line = line.map_err(bad)?;
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [id, _, document, grade] = columns[..] else {
            return Err(bad(format!(
                "{} columns instead of QUESTION 0 DOCUMENT GRADE",
                columns.len()
            )));
        };
        let grade: i64 = grade
            .parse()
            .ok()
            .filter(|grade| (-30..=30).contains(grade))
            .ok_or_else(|| bad(format!("grade {grade:?} is no whole number up to 30")))?;
        let (place, seen) = places.entry(id.to_owned()).or_insert_with(|| {
            questions.push(Judged {
                id: id.to_owned(),
                documents: Vec::new(),
            });
            (questions.len() - 1, HashMap::new())
        });
        if seen.insert(document.to_owned(), ()).is_some() {
            return Err(bad(format!("{document:?} is judged twice for {id:?}")));
        }
        let grade = u32::try_from(grade.max(0)).unwrap_or(0);
        questions[*place]
            .documents
            .push((document.to_owned(), grade));
        Ok(())
    })?;
    Ok(questions)
}

/// Reads a run.
///
/// # Errors
/// Where the file cannot be read.
pub fn read_run(path: &Path) -> Result<Run, EvalError> {
    struct Open {
        id: String,
        line: usize,
        scored: Vec<(f64, String)>,
        spoilt: Option<String>,
    }
    let mut open: Vec<Open> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut notes = Vec::new();
    for_lines(path, |number, line| {
        let columns: Vec<&str> = match &line {
            Ok(line) => line.split_whitespace().collect(),
            Err(_) => Vec::new(),
        };
        let (Some(id), Ok(_)) = (columns.first(), &line) else {
            let reason = line.err().unwrap_or_default();
            notes.push(format!("{}:{number}: left out: {reason}", path.display()));
            return Ok(());
        };
        let place = *places.entry((*id).to_owned()).or_insert_with(|| {
            open.push(Open {
                id: (*id).to_owned(),
                line: number,
                scored: Vec::new(),
                spoilt: None,
            });
            open.len() - 1
        });
        let list = &mut open[place];
        let spoil = match columns[..] {
            [_, _, document, _, score, _] => match score.parse::<f64>() {
                Ok(score) if score.is_finite() => {
                    if list.scored.iter().any(|(_, known)| known == document) {
                        Some(format!("{document:?} is ranked twice"))
                    } else {
                        list.scored.push((score, document.to_owned()));
                        None
                    }
                }
                _ => Some(format!("score {score:?} is no finite number")),
            },
            _ => Some(format!(
                "{} columns instead of QUESTION Q0 DOCUMENT RANK SCORE TAG",
                columns.len()
            )),
        };
        if list.spoilt.is_none() && spoil.is_some() {
            list.line = number;
            list.spoilt = spoil;
        }
        Ok(())
    })?;
    let lists = open.into_iter().map(|mut list| {
        list.scored
            .sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| b.1.cmp(&a.1)));
        RunList {
            id: list.id,
            line: list.line,
            ranking: match list.spoilt {
                Some(reason) => Err(reason),
                None => Ok(list.scored.into_iter().map(|(_, name)| name).collect()),
            },
        }
    });
    Ok(Run {
        lists: lists.collect(),
        notes,
    })
}

/// A name as a TREC column: white space would part it.
fn column(name: &str) -> std::io::Result<&str> {
    if name.is_empty() || name.contains(char::is_whitespace) {
        let reason = format!("{name:?} cannot be a column of a TREC file");
        return Err(std::io::Error::other(reason));
    }
    Ok(name)
}

/// Writes a question's judgements.
///
/// # Errors
/// Where `out` cannot be written, or a name holds white space.
pub fn write_qrels(out: &mut impl Write, question: &Judged) -> std::io::Result<()> {
    let id = column(&question.id)?;
    for (document, grade) in &question.documents {
        writeln!(out, "{id} 0 {} {grade}", column(document)?)?;
    }
    Ok(())
}

/// Writes a question's ranking, best first. Scores are the place counted from the end, so that every
/// reader sorts it back into the same order.
///
/// # Errors
/// As [`write_qrels`].
pub fn write_run(
    out: &mut impl Write,
    id: &str,
    ranking: &[String],
    tag: &str,
) -> std::io::Result<()> {
    let (id, tag) = (column(id)?, column(tag)?);
    for (place, document) in ranking.iter().enumerate() {
        let score = ranking.len() - place;
        writeln!(
            out,
            "{id} Q0 {} {} {score} {tag}",
            column(document)?,
            place + 1
        )?;
    }
    Ok(())
}

/// Calls `each` for every line that is not blank, with its number from 1.
fn for_lines(
    path: &Path,
    mut each: impl FnMut(usize, Result<String, String>) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let unreadable = |source| EvalError::Io {
        path: path.to_owned(),
        source,
    };
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?);
    let mut bytes = Vec::new();
    let mut number = 0;
    loop {
        bytes.clear();
        number += 1;
        let read = std::io::Read::take(&mut reader, LINE_BYTES_MAX as u64)
            .read_until(b'\n', &mut bytes)
            .map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        if read == LINE_BYTES_MAX {
            return Err(EvalError::Dataset {
                path: path.to_owned(),
                line: number,
                reason: format!("longer than {LINE_BYTES_MAX} bytes: no TREC file"),
            });
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string());
        if text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
            continue;
        }
        each(number, text.map(str::to_owned))?;
    }
}
