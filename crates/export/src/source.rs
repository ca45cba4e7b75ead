//! Where examples come from: datasets, evaluation runs, feedback, and the facts of a corpus.
//!
//! A source is read as often as asked, the same each time, one example after another. A bad record is
//! given as an error by name and never ends the others. Must not know forms.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use footnote_agent::synthetic::{Rewording, chunk_prompt, labelled_questions};
use footnote_eval::finagentbench::{PromptKind, Record, read_records, write_prompt};
use footnote_eval::financebench::{Question, read_questions};
use footnote_eval::read_lines;
use footnote_index::{Filter, SearchBackend};
use footnote_store::{BlockingStore, Feedback, Location};
use serde_json::Value;

use crate::ExportError;
use crate::example::{Example, Ranked, Task};

/// Questions made of one filing's facts, and as many of its headings.
const PER_FILING: usize = 24;
/// Rows read from the store at once.
const PAGE: i64 = 500;

/// A source of examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A dataset: FinAgentBench document types or chunks, or FinanceBench-like questions.
    Dataset(PathBuf),
    /// The folder of an evaluation run.
    Run(PathBuf),
    /// What users said of answers.
    Feedback,
    /// Questions made from the inline-XBRL facts of the imported filings.
    Corpus,
}

impl Source {
    /// Reads `feedback`, `corpus`, `run:DIR` or a path.
    pub fn parse(text: &str) -> Source {
        match text {
            "feedback" => Source::Feedback,
            "corpus" => Source::Corpus,
            text => match text.strip_prefix("run:") {
                Some(folder) => Source::Run(PathBuf::from(folder)),
                None => Source::Dataset(PathBuf::from(text)),
            },
        }
    }

    /// The file whose hash names the source, where it is one.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Source::Dataset(path) => Some(path.clone()),
            Source::Run(folder) => Some(folder.join("run.db")),
            Source::Feedback | Source::Corpus => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| {
            path.file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        };
        match self {
            Source::Dataset(path) => f.write_str(&name(path)),
            Source::Run(folder) => write!(f, "run:{}", name(folder)),
            Source::Feedback => f.write_str("feedback"),
            Source::Corpus => f.write_str("corpus"),
        }
    }
}

/// What sources other than files are read from.
pub struct Surroundings<'a> {
    /// The store with traces and feedback.
    pub store: Option<&'a BlockingStore>,
    /// The imported filings.
    pub corpus: Option<&'a dyn SearchBackend>,
    /// Draws the questions made from facts.
    pub seed: u64,
    /// Says the questions made from facts in other words, where that is asked for.
    pub reword: Option<&'a Rewording>,
}

/// Takes an example, or why there is none.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(Result<Example, String>) -> Result<(), ExportError>;

impl Source {
    /// Gives every example to `visit`, in the same order each time.
    ///
    /// # Errors
    /// Where the source as a whole cannot be read, and what `visit` gives.
    pub(crate) fn read(
        &self,
        around: &Surroundings<'_>,
        visit: Visit<'_>,
    ) -> Result<(), ExportError> {
        match self {
            Source::Dataset(path) => read_dataset(path, &self.to_string(), visit),
            Source::Run(folder) => read_run(folder, &self.to_string(), visit),
            Source::Feedback => read_feedback(around, visit),
            Source::Corpus => read_corpus(around, visit),
        }
    }
}

/// Whether a dataset's first record has messages, or a question of its own.
fn has_messages(path: &Path) -> Result<bool, ExportError> {
    for line in read_lines(path)? {
        if let Ok(record) = line.record {
            return Ok(record.get("messages").is_some());
        }
    }
    Err(ExportError::unusable(
        path.display().to_string(),
        "it holds no record",
        "give a FinAgentBench or FinanceBench dataset as JSON lines",
    ))
}

fn read_dataset(path: &Path, name: &str, visit: Visit<'_>) -> Result<(), ExportError> {
    if has_messages(path)? {
        for record in read_records(path)? {
            visit(
                record
                    .map_err(|error| error.to_string())
                    .and_then(|record| of_record(record, name)),
            )?;
        }
    } else {
        for question in read_questions(path)? {
            visit(
                question
                    .map(|question| of_question(question, name))
                    .map_err(|error| error.to_string()),
            )?;
        }
    }
    Ok(())
}

fn of_record(record: Record, source: &str) -> Result<Example, String> {
    let place = format!("{source}#{}", record.line);
    let prompt = write_prompt(&record.prompt).map_err(|reason| format!("{place}: {reason}"))?;
    Ok(Example {
        id: record.id,
        task: match record.prompt.kind {
            PromptKind::Documents => Task::DocTypes,
            PromptKind::Chunks => Task::Passages,
        },
        place,
        question: record.prompt.question,
        prompt: Some(prompt),
        candidates: record.prompt.candidates,
        grades: record.grades,
        given: Vec::new(),
        answer: None,
        wrong_answer: None,
        relevant: Vec::new(),
        company: record.company,
        category: record.category,
    })
}

fn of_question(question: Question, source: &str) -> Example {
    let doc = question.doc.unwrap_or_default();
    Example {
        place: format!("{source}#{}", question.line),
        relevant: question
            .relevant_pages
            .unwrap_or_default()
            .into_iter()
            .map(|page| format!("{doc}#{page}"))
            .collect(),
        id: question.id,
        task: Task::Answers,
        question: question.question,
        prompt: None,
        candidates: Vec::new(),
        grades: None,
        given: Vec::new(),
        answer: question.answer,
        wrong_answer: None,
        company: question.company,
        category: question.question_type,
    }
}

/// The questions of a run's datasets, with every ranking or answer that its cells gave.
fn read_run(folder: &Path, name: &str, visit: Visit<'_>) -> Result<(), ExportError> {
    let database = folder.join("run.db");
    if !database.is_file() {
        return Err(ExportError::unusable(
            folder.display().to_string(),
            "no run here",
            "`footnote eval run SUITE.toml --out DIR` makes one",
        ));
    }
    let store = BlockingStore::open(&Location::file(&database))?;
    let mut by_dataset: Vec<(PathBuf, Vec<(String, String)>)> = Vec::new();
    for run in store.wait(store.store().runs())? {
        let path = PathBuf::from(
            run.config["cell"]["dataset_path"]
                .as_str()
                .unwrap_or(&run.dataset),
        );
        let who = match run.model.as_str() {
            "" => run.ranker.clone(),
            model => format!("{} with {model}", run.ranker),
        };
        match by_dataset.iter_mut().find(|(known, _)| *known == path) {
            Some((_, runs)) => runs.push((run.id, who)),
            None => by_dataset.push((path, vec![(run.id, who)])),
        }
    }
    for (path, runs) in by_dataset {
        let mut results: HashMap<usize, Vec<(String, Value)>> = HashMap::new();
        for (id, who) in &runs {
            let mut from = 0;
            loop {
                let items = store.wait(store.store().items(id, from, PAGE))?;
                let Some(last) = items.last() else {
                    break;
                };
                from = last.row_no + 1;
                for item in items {
                    let row = usize::try_from(item.row_no).unwrap_or(usize::MAX);
                    results
                        .entry(row)
                        .or_default()
                        .push((who.clone(), item.result));
                }
            }
        }
        let mut row = 0;
        let place = format!("{name}/{}", Source::Dataset(path.clone()));
        read_dataset(&path, &place, &mut |example| {
            let given = results.remove(&row).unwrap_or_default();
            row += 1;
            visit(example.map(|example| with_results(example, given)))
        })?;
    }
    Ok(())
}

fn with_results(mut example: Example, given: Vec<(String, Value)>) -> Example {
    for (by, result) in given {
        let ranking: Option<Vec<usize>> = result["ranking"].as_array().map(|ranking| {
            ranking
                .iter()
                .filter_map(Value::as_u64)
                .filter_map(|index| usize::try_from(index).ok())
                .collect()
        });
        if let Some(ranking) = ranking {
            example.given.push(Ranked { by, ranking });
        }
    }
    example
}

/// Answers that users judged: praised ones, and criticised ones with their corrections.
fn read_feedback(around: &Surroundings<'_>, visit: Visit<'_>) -> Result<(), ExportError> {
    let Some(store) = around.store else {
        return Err(ExportError::unusable(
            "feedback",
            "there is no store yet",
            "feedback comes in through the service (`footnote serve`)",
        ));
    };
    let mut after = String::new();
    loop {
        let page = store.wait(store.store().feedback_after(&after, PAGE))?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after.clone_from(&last.id);
        for feedback in page {
            match store.wait(store.store().trace(&feedback.trace_id)) {
                Ok(trace) => {
                    visit(of_feedback(&feedback, trace.question, &trace.answer))?;
                }
                Err(error) => visit(Err(format!("feedback {}: {error}", feedback.id)))?,
            }
        }
    }
}

fn of_feedback(feedback: &Feedback, question: String, answer: &Value) -> Result<Example, String> {
    let given = answer["text"]
        .as_str()
        .or(answer.as_str())
        .filter(|text| !text.is_empty())
        .ok_or_else(|| format!("feedback {}: its trace holds no answer", feedback.id))?
        .to_owned();
    let (right, wrong) = match (&feedback.correction, feedback.rating) {
        (Some(correction), _) if !correction.trim().is_empty() => {
            (Some(correction.clone()), Some(given))
        }
        (_, 1) => (Some(given), None),
        _ => (None, Some(given)),
    };
    Ok(Example {
        id: feedback.id.clone(),
        task: Task::Answers,
        place: format!("feedback#{}", feedback.id),
        question,
        prompt: None,
        candidates: Vec::new(),
        grades: None,
        given: Vec::new(),
        answer: right,
        wrong_answer: wrong,
        relevant: Vec::new(),
        company: None,
        category: None,
    })
}

/// Questions whose answer's place is known for certain, over the chunks of their filing.
fn read_corpus(around: &Surroundings<'_>, visit: Visit<'_>) -> Result<(), ExportError> {
    let Some(corpus) = around.corpus else {
        return Err(ExportError::unusable(
            "corpus",
            "no filing is imported",
            "`footnote corpus import PATH` imports some",
        ));
    };
    for meta in corpus.filings(&Filter::default())? {
        let Some(filing) = corpus.filing(&meta.accession)? else {
            visit(Err(format!("{}: its text is not there", meta.accession)))?;
            continue;
        };
        for mut question in labelled_questions(&filing, around.seed, PER_FILING) {
            if let Some(rewording) = around.reword {
                match rewording.reword(&question.question) {
                    Ok(other) => question.question = other,
                    Err(error) => {
                        visit(Err(format!("{}: {error}", question.id)))?;
                        continue;
                    }
                }
            }
            let candidates: Vec<String> = question
                .chunks
                .iter()
                .enumerate()
                .map(|(at, text)| {
                    // What can be graded neither way counts neither way.
                    if question.unsure.contains(&at) {
                        String::new()
                    } else {
                        text.clone()
                    }
                })
                .collect();
            let texts: Vec<&str> = candidates.iter().map(String::as_str).collect();
            visit(Ok(Example {
                prompt: Some(chunk_prompt(&question.question, &texts)),
                grades: Some(
                    (0..candidates.len())
                        .map(|at| question.grades.get(&at).copied().map_or(0, u32::from))
                        .collect(),
                ),
                place: format!("corpus#{}", question.id),
                id: question.id,
                task: Task::Passages,
                question: question.question,
                candidates,
                given: Vec::new(),
                answer: None,
                wrong_answer: None,
                relevant: Vec::new(),
                company: Some(question.group),
                category: Some(question.source),
            }))?;
        }
    }
    Ok(())
}
