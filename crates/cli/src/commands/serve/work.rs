//! What the service's jobs do: the same as `corpus import` and `get`, `eval run` and `export`, in the job's folder.
//!
//! Every one bears to be killed and run again: an import is idempotent, an evaluation resumes, an export is written
//! beside and renamed. Messages name files as the asker knows them, never where they lie on the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use footnote_engine::LanguageModel;
use footnote_eval::{RunOptions, Suite, Task, database, run_suite, score, write_report};
use footnote_export::{
    ExportOptions, FileFormat, Form, Source as ExportSource, SplitBy, Surroundings,
};
use footnote_filings::edgar::{self, Endpoints, FetchRequest};
use footnote_filings::{Form as FilingForm, ReadOptions, expand, passages};
use footnote_index::{ImportOptions, ImportReport, Importer, IndexError, SearchBackend, Source};
use footnote_server::{
    EvaluationRequest, EvaluationTask, ExportForm, ExportRequest, ImportPayload, ImportRequest,
    JobFailure, JobHandler, JobWork,
};
use footnote_store::{BlockingStore, Location};
use serde_json::{Value, json};

use crate::commands::Context;
use crate::commands::eval::bench::{Rankers, asks_model, check_policies};
use crate::setup;

/// Failures and warnings that a result names; the rest is counted.
const NAMED: usize = 100;

fn payload<T: serde::de::DeserializeOwned>(work: &JobWork) -> Result<T, JobFailure> {
    serde_json::from_value(work.payload.clone())
        .map_err(|error| JobFailure::Hopeless(format!("the job is not of this version: {error}")))
}

fn failed(error: impl std::fmt::Display) -> JobFailure {
    JobFailure::Failed(error.to_string())
}

fn go_on(work: &JobWork) -> Result<(), JobFailure> {
    if work.cancel.is_cancelled() {
        return Err(JobFailure::Stopped);
    }
    Ok(())
}

/// Imports uploads and companies' filings.
pub struct Import {
    pub context: Context,
    pub user_agent: Option<String>,
    pub edgar_url: Option<String>,
}

impl JobHandler for Import {
    fn kind(&self) -> &'static str {
        "import"
    }

    fn run(&self, work: &JobWork) -> Result<Value, JobFailure> {
        // Kept before the upload is removed, in case that the end of the job could not be written.
        let kept = work.folder.join("result.json");
        if let Ok(text) = std::fs::read_to_string(&kept) {
            return serde_json::from_str(&text).map_err(failed);
        }
        let payload: ImportPayload = payload(work)?;
        let result = self.imported(&payload, work)?;
        put(&kept, &result.to_string())?;
        if let ImportPayload::Upload { folder, .. } = &payload {
            let folder = self.context.home.jobs().join(folder);
            if let Err(error) = std::fs::remove_dir_all(&folder) {
                tracing::warn!(path = %folder.display(), error.cause = %error, "an upload could not be removed: {error}");
            }
        }
        Ok(result)
    }
}

impl Import {
    fn imported(&self, payload: &ImportPayload, work: &JobWork) -> Result<Value, JobFailure> {
        let (paths, mut left_out) = match payload {
            ImportPayload::Upload { folder, files } => {
                let folder = self.context.home.jobs().join(folder);
                (
                    files.iter().map(|file| folder.join(file)).collect(),
                    Vec::new(),
                )
            }
            ImportPayload::Edgar(request) => self.fetch(request, work)?,
        };
        go_on(work)?;
        let report = self.import(&paths, work)?;
        left_out.extend(report.failed.iter().map(|failure| self.named(failure)));
        let taken = report.added.len() + report.replaced.len() + report.unchanged;
        if taken == 0 {
            let why = left_out
                .first()
                .cloned()
                .unwrap_or_else(|| "there was no filing in it".to_owned());
            return Err(JobFailure::Hopeless(format!(
                "nothing could be imported: {why}"
            )));
        }
        Ok(json!({
            "added": report.added.len(),
            "replaced": report.replaced.len(),
            "unchanged": report.unchanged,
            "passages": report.passages,
            "facts": report.facts,
            "accessions": report.added.iter().chain(&report.replaced).take(NAMED).collect::<Vec<_>>(),
            "left_out_count": left_out.len(),
            "left_out": left_out.iter().take(NAMED).collect::<Vec<_>>(),
            "warning_count": report.warnings.len(),
            "warnings": report.warnings.iter().take(NAMED).map(|(accession, warning)| json!({
                "accession": accession, "code": warning.code, "message": warning.message,
            })).collect::<Vec<_>>(),
        }))
    }

    /// A failure without the server's folders in it.
    fn named(&self, failure: &footnote_index::Failure) -> String {
        let jobs = format!("{}/", self.context.home.jobs().display());
        let edgar = format!("{}/", self.context.home.edgar().display());
        let message = failure.message.replace(&jobs, "").replace(&edgar, "");
        let source = failure.source.replace(&jobs, "").replace(&edgar, "");
        // What is left of an upload's place is its own folder's name.
        let file = |text: &str| match text.split_once('/') {
            Some((first, rest)) if first.starts_with("upload-") => rest.to_owned(),
            _ => text.to_owned(),
        };
        let (message, source) = (file(&message), file(&source));
        if source.is_empty() || message.contains(&source) {
            message
        } else {
            format!("{source}: {message}")
        }
    }

    fn fetch(
        &self,
        request: &ImportRequest,
        work: &JobWork,
    ) -> Result<(Vec<PathBuf>, Vec<String>), JobFailure> {
        if self.context.offline {
            return Err(JobFailure::Hopeless(
                "this server was started with --offline; upload the files instead".to_owned(),
            ));
        }
        edgar::check_user_agent(self.user_agent.as_deref()).map_err(|error| {
            JobFailure::Hopeless(format!(
                "{error}; the server takes it from --edgar-user-agent"
            ))
        })?;
        let folder = self.context.home.edgar();
        let forms = request
            .forms
            .iter()
            .map(|form| FilingForm::new(form))
            .collect();
        let mut fetch = FetchRequest::new(
            request.tickers.clone(),
            forms,
            request.since,
            folder.clone(),
        );
        fetch.user_agent.clone_from(&self.user_agent);
        if let Some(url) = &self.edgar_url {
            let url = url.trim_end_matches('/').to_owned();
            fetch.endpoints = Endpoints {
                www: url.clone(),
                data: url,
            };
        }
        let (mut planned, mut number) = (None, 0);
        let report = edgar::fetch(&fetch, &mut |progress| {
            match progress {
                edgar::Progress::Planned { filings } => planned = Some(filings),
                edgar::Progress::Filing { number: at, .. } => number = at.saturating_sub(1),
                _ => {}
            }
            work.tell("fetching from EDGAR", number, planned);
        })
        .map_err(failed)?;
        let left_out = report
            .failed
            .iter()
            .map(|failed| format!("{}: {}", failed.item, failed.error))
            .collect();
        if report.fetched.is_empty() && report.already_there == 0 {
            return Err(JobFailure::Failed(
                "nothing could be fetched from EDGAR".to_owned(),
            ));
        }
        Ok((vec![folder], left_out))
    }

    fn import(&self, paths: &[PathBuf], work: &JobWork) -> Result<ImportReport, JobFailure> {
        let mut unreadable = Vec::new();
        let mut items = Vec::new();
        for item in expand(paths) {
            match item {
                Ok(item) => items.push(item),
                Err(error) => unreadable.push(footnote_index::Failure {
                    source: String::new(),
                    message: error.to_string(),
                }),
            }
        }
        let total = items.len();
        work.tell("importing", 0, Some(total));
        let mut importer = loop {
            match Importer::open(&self.context.home.corpus()) {
                Ok(importer) => break importer,
                // Somebody imports at the command line; that ends.
                Err(IndexError::Locked { .. }) if !work.cancel.is_cancelled() => {
                    work.tell("waiting for another import", 0, Some(total));
                    std::thread::sleep(Duration::from_millis(500));
                }
                Err(IndexError::Locked { .. }) => return Err(JobFailure::Stopped),
                Err(error) => return Err(failed(error)),
            }
        };
        let reading = ReadOptions::default();
        let cancel = work.cancel.clone();
        // What was begun is committed whole; what was not is found new by the next try.
        let sources = items
            .into_iter()
            .take_while(move |_| !cancel.is_cancelled())
            .map(move |item| Source::file(item, reading.clone()));
        let report = importer.import(
            sources,
            &passages,
            &ImportOptions::default(),
            &mut |progress| {
                work.tell("importing", progress.sources_done, Some(total));
            },
        );
        let mut report = report.map_err(failed)?;
        go_on(work)?;
        report.failed.extend(unreadable);
        Ok(report)
    }
}

/// Runs evaluations.
pub struct Evaluation {
    pub context: Context,
    pub loaded: Vec<(String, Arc<dyn LanguageModel>)>,
}

fn task_of(task: EvaluationTask) -> Task {
    match task {
        EvaluationTask::DocTypes => Task::DocTypes,
        EvaluationTask::Passages => Task::Passages,
        EvaluationTask::Pages => Task::Pages,
        EvaluationTask::Answers => Task::Answers,
    }
}

/// Writes a file whole or not at all.
fn put(path: &Path, text: &str) -> Result<(), JobFailure> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| failed(format!("the job's files cannot be written: {error}")))
}

impl JobHandler for Evaluation {
    fn kind(&self) -> &'static str {
        "evaluation"
    }

    fn run(&self, work: &JobWork) -> Result<Value, JobFailure> {
        let request: EvaluationRequest = payload(work)?;
        let folder = work.folder.join("run");
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut lines = String::new();
        for record in &request.records {
            lines.push_str(&record.to_string());
            lines.push('\n');
        }
        put(&folder.join("dataset.jsonl"), &lines)?;
        let suite = suite_of(&request)?;
        put(&folder.join("suite.toml"), &suite)?;
        // What is wrong with the request is so at every try.
        let hopeless = |error: String| {
            JobFailure::Hopeless(error.replace(&format!("{}/", folder.display()), ""))
        };
        let (suite, hash) =
            Suite::read(&folder.join("suite.toml")).map_err(|error| hopeless(error.to_string()))?;
        let cells = suite
            .cells(&folder, |ranker| asks_model(suite.task, ranker))
            .map_err(hopeless)?;
        for cell in &cells {
            check_policies(cell).map_err(hopeless)?;
        }
        let total = request.records.len() * cells.len();
        let done_before = |label: &str| {
            cells
                .iter()
                .take_while(|cell| cell.label() != label)
                .count()
        };
        let options = RunOptions {
            resume: database(&folder).exists(),
            stop: work.cancel.clone(),
            ..RunOptions::default()
        };
        let bench = Rankers {
            context: &self.context,
            loaded: &self.loaded,
        };
        let runs = run_suite(
            (&suite, &hash),
            &cells,
            &bench,
            &folder,
            &options,
            &|cell, progress| {
                let label = cell.label();
                let done = done_before(&label) * request.records.len() + progress.done;
                work.tell(&label, done, Some(total));
            },
        )
        .map_err(|error| hopeless(error.to_string()))?;
        go_on(work)?;
        work.tell("scoring", total, Some(total));
        let mut cells = Vec::new();
        for run in &runs {
            let scored = score(run.cell.task, &run.cell.dataset_path, &run.predictions)
                .and_then(|score| score.report(None))
                .map_err(|error| hopeless(error.to_string()))?;
            cells
                .push(json!({ "label": run.cell.label(), "failed": run.failed, "report": scored }));
        }
        let files = collect(&folder, &work.folder.join("out"), &runs)?;
        Ok(
            json!({ "name": request.name, "task": suite.task.name(), "questions": request.records.len(), "cells": cells, "files": files }),
        )
    }
}

fn suite_of(request: &EvaluationRequest) -> Result<String, JobFailure> {
    let or = |list: &[String], default: &str| {
        if list.is_empty() {
            vec![default.to_owned()]
        } else {
            list.to_vec()
        }
    };
    let mut suite = json!({
        "name": request.name,
        "task": task_of(request.task).name(),
        "datasets": ["dataset.jsonl"],
        "rankers": request.rankers,
        "models": request.models,
        "cache": or(&request.cache, "full"),
    });
    if let Some(seconds) = request.budget_seconds {
        suite["budget"] = json!({ "seconds": seconds });
    }
    toml::to_string(&suite).map_err(|error| JobFailure::Hopeless(error.to_string()))
}

/// Puts what the asker may fetch into `out` under plain names.
fn collect(
    folder: &Path,
    out: &Path,
    runs: &[footnote_eval::CellRun],
) -> Result<Vec<String>, JobFailure> {
    std::fs::create_dir_all(out).map_err(failed)?;
    let report = write_report(folder, None).map_err(failed)?;
    let mut files = vec![report.markdown, report.html];
    files.extend(runs.iter().map(|run| run.predictions.clone()));
    let mut names = Vec::new();
    for file in files {
        let name = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let Some(name) = name else { continue };
        std::fs::copy(&file, out.join(&name)).map_err(failed)?;
        names.push(name);
    }
    Ok(names)
}

/// Writes fine-tuning data.
pub struct Export {
    pub context: Context,
    pub location: Location,
}

impl JobHandler for Export {
    fn kind(&self) -> &'static str {
        "export"
    }

    fn run(&self, work: &JobWork) -> Result<Value, JobFailure> {
        let request: ExportRequest = payload(work)?;
        let sources: Vec<ExportSource> = request
            .sources
            .iter()
            .map(|source| match source.strip_prefix("evaluation:") {
                Some(job) => ExportSource::Run(self.context.home.jobs().join(job).join("run")),
                None => ExportSource::parse(source),
            })
            .collect();
        let store = if sources.contains(&ExportSource::Feedback) {
            Some(BlockingStore::open(&self.location).map_err(failed)?)
        } else {
            None
        };
        let corpus = if sources.contains(&ExportSource::Corpus) {
            Some(
                setup::corpus(&self.context)
                    .map_err(|error| JobFailure::Failed(format!("{error:#}")))?,
            )
        } else {
            None
        };
        let options = ExportOptions {
            form: match request.form {
                ExportForm::Sft => Form::Sft,
                ExportForm::Preferences => Form::Preferences,
                ExportForm::Rft => Form::Rft,
                ExportForm::Rerank => Form::Rerank,
                ExportForm::Qrels => Form::Qrels,
            },
            format: FileFormat::Both,
            split_by: SplitBy::Both,
            validation: request.validation,
            test: request.test,
            seed: request.seed,
            overwrite: true,
        };
        let around = Surroundings {
            store: store.as_ref(),
            corpus: corpus.as_ref().map(|corpus| corpus as &dyn SearchBackend),
            seed: request.seed,
            reword: None,
        };
        let mut read = 0;
        let out = work.folder.join("out");
        work.tell("reading", 0, None);
        let exported = footnote_export::export(&sources, &out, &options, &around, &mut || {
            read += 1;
            work.tell("reading twice", read, None);
        })
        .map_err(|error| {
            let folder = format!("{}/", work.folder.display());
            JobFailure::Hopeless(error.to_string().replace(&folder, ""))
        })?;
        go_on(work)?;
        let mut files: Vec<String> = std::fs::read_dir(&out)
            .map_err(failed)?
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .collect();
        files.sort();
        Ok(json!({
            "manifest": exported.manifest,
            "defects": exported.defects.iter().take(NAMED).collect::<Vec<_>>(),
            "files": files,
        }))
    }
}
