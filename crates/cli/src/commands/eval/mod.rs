//! `eval`: suites run, predictions scored and converted, reports written; one module a command.

pub mod bench;
mod run;
mod score;

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::Context as _;
use footnote_eval::Form;

use crate::args::{ConvertArgs, EvalCommand, FormName, ReportArgs};
use crate::commands::Context;
use crate::output::Outcome;

pub fn run(command: &EvalCommand, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        EvalCommand::Score(args) => score::run(args, context),
        EvalCommand::Run(args) => run::run(args, context),
        EvalCommand::Report(args) => report(args, context),
        EvalCommand::Convert(args) => convert(args, context),
    }
}

fn report(args: &ReportArgs, context: &Context) -> anyhow::Result<Outcome> {
    let written = footnote_eval::write_report(&args.folder, args.data.as_deref())?;
    for note in &written.notes {
        context.output.warning(note);
    }
    context
        .output
        .line(&written.markdown.display().to_string())?;
    context.output.line(&written.html.display().to_string())?;
    Ok(if written.notes.is_empty() {
        Outcome::Done
    } else {
        Outcome::Partly
    })
}

fn convert(args: &ConvertArgs, context: &Context) -> anyhow::Result<Outcome> {
    let form = match args.to {
        FormName::Qrels => Form::Qrels,
        FormName::Run => Form::Run,
        FormName::Submission => Form::Submission,
        FormName::Predictions => Form::Predictions,
        FormName::Questions => Form::Questions,
    };
    let mut name = args
        .out
        .file_name()
        .context("--out names no file")?
        .to_owned();
    name.push(".partial");
    let partial = args.out.with_file_name(name);
    let unwritable = || format!("cannot write {}", partial.display());
    let mut out = BufWriter::new(File::create(&partial).with_context(unwritable)?);
    let converted = footnote_eval::convert(&args.from, form, &mut out)?;
    out.flush().with_context(unwritable)?;
    out.get_ref().sync_all().with_context(unwritable)?;
    std::fs::rename(&partial, &args.out)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    for note in &converted.notes {
        context.output.warning(note);
    }
    context.output.step(&format!(
        "{} records written to {}",
        converted.records,
        args.out.display()
    ));
    Ok(if converted.notes.is_empty() {
        Outcome::Done
    } else {
        Outcome::Partly
    })
}
