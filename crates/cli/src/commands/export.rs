//! `export`: fine-tuning data, and the check of it.

use footnote_agent::synthetic::Rewording;
use footnote_export::{
    ExportOptions, FileFormat, Form, Source, SplitBy, Surroundings, check, export,
};
use footnote_index::{Corpus, SearchBackend};
use footnote_store::{BlockingStore, Location};

use crate::args::{ExportArgs, ExportCheckArgs, ExportCommand, FormatName, SplitByName};
use crate::commands::{Context, Usage};
use crate::output::Outcome;
use crate::setup;

pub fn run(command: &ExportCommand, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        ExportCommand::Sft(args) => write(Form::Sft, args, context),
        ExportCommand::Preferences(args) => write(Form::Preferences, args, context),
        ExportCommand::Rft(args) => write(Form::Rft, args, context),
        ExportCommand::Rerank(args) => write(Form::Rerank, args, context),
        ExportCommand::Qrels(args) => write(Form::Qrels, args, context),
        ExportCommand::Check(args) => prove(args, context),
    }
}

fn write(form: Form, args: &ExportArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let sources: Vec<Source> = args.from.iter().map(|from| Source::parse(from)).collect();
    // Opened only where a source needs them.
    let database = context.home.database();
    let store = if sources.contains(&Source::Feedback) && database.is_file() {
        Some(BlockingStore::open(&Location::file(&database))?)
    } else {
        None
    };
    let corpus: Option<Corpus> = if sources.contains(&Source::Corpus) {
        Some(setup::corpus(context)?)
    } else {
        None
    };
    let options = ExportOptions {
        form,
        format: match args.format {
            FormatName::Jsonl => FileFormat::Jsonl,
            FormatName::Both => FileFormat::Both,
        },
        split_by: match args.split_by {
            SplitByName::Company => SplitBy::Company,
            SplitByName::Template => SplitBy::Template,
            SplitByName::Both => SplitBy::Both,
        },
        validation: args.validation,
        test: args.test,
        seed: args.seed,
        overwrite: args.overwrite,
    };
    let rewording = match &args.reword {
        Some(_) if corpus.is_none() => {
            return Err(Usage(
                "--reword is for questions made from facts: give --from corpus".to_owned(),
            )
            .into());
        }
        Some(model) => Some(Rewording::new(
            setup::language_model(Some(model), context)?,
            args.seed,
        )),
        None => None,
    };
    let around = Surroundings {
        reword: rewording.as_ref(),
        store: store.as_ref(),
        corpus: corpus.as_ref().map(|corpus| corpus as &dyn SearchBackend),
        seed: args.seed,
    };
    let bar = output.items_bar("reading twice", 0);
    let exported = export(&sources, &args.out, &options, &around, &mut || bar.inc(1))?;
    bar.finish_and_clear();
    for defect in &exported.defects {
        output.warning(&format!("left out: {}: {}", defect.source, defect.reason));
    }
    let manifest = &exported.manifest;
    if args.json {
        output.json(&exported)?;
    } else {
        let rows: Vec<String> = manifest
            .rows
            .iter()
            .map(|(split, rows)| format!("{rows} {split}"))
            .collect();
        let counts = &manifest.counts;
        output.line(&format!(
            "{}: {} rows ({})",
            args.out.display(),
            form,
            rows.join(", ")
        ))?;
        output.line(&format!(
            "of {} examples: {} doubles and {} near doubles left out, {} between two splits; {} companies, {} wordings",
            counts.examples,
            counts.doubles,
            counts.near_doubles,
            counts.between_sides,
            counts.companies,
            counts.wordings
        ))?;
        if let Some(words) = &manifest.reworded {
            output.line(&format!(
                "{} questions in the words of {}, {} in the template's",
                words.reworded, words.model, words.kept
            ))?;
        }
        for (reason, count) in &counts.unfit {
            output.line(&format!("  {count} left out: {reason}"))?;
        }
    }
    let defects: usize = manifest.sources.iter().map(|source| source.defects).sum();
    Ok(if defects == 0 {
        Outcome::Done
    } else {
        Outcome::Partly
    })
}

fn prove(args: &ExportCheckArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let checked = check(&args.folder)?;
    if args.json {
        output.json(&checked)?;
    } else {
        for defect in &checked.defects {
            output.line(defect)?;
        }
        output.line(&format!(
            "{}: {} rows, {} defects",
            args.folder.display(),
            checked.rows,
            checked.defect_count
        ))?;
    }
    if checked.defect_count > 0 {
        anyhow::bail!(
            "{} does not hold what it promises ({} defects)",
            args.folder.display(),
            checked.defect_count
        );
    }
    Ok(Outcome::Done)
}
