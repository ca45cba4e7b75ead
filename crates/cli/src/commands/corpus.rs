//! `corpus import|stats|check|show`: the filings that questions are answered from.

use std::collections::BTreeMap;
use std::path::Path;

use footnote_filings::{Accession, ReadOptions, expand, passages};
use footnote_index::{FindingKind, ImportOptions, ImportReport, Importer, SearchBackend, Source};
use serde_json::json;

use crate::args::{CorpusCommand, JsonFlag};
use crate::commands::{Context, Usage, edgar};
use crate::output::{Outcome, Output, human_bytes};
use crate::setup;

/// Warnings of one kind that are printed before the rest is only counted; all are kept.
const WARNINGS_SHOWN: usize = 3;

pub fn run(command: &CorpusCommand, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        CorpusCommand::Import { paths, force, json } => {
            import_command(paths, *force, *json, context)
        }
        CorpusCommand::Get(args) => edgar::get(args, context),
        CorpusCommand::Stats(flag) => stats(flag, context),
        CorpusCommand::Check(flag) => check(flag, context),
        CorpusCommand::Show {
            accession,
            section,
            json,
        } => show(accession, section.as_deref(), *json, context),
    }
}

fn import_command<P: AsRef<Path>>(
    paths: &[P],
    force: bool,
    as_json: bool,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let imported = import(paths, force, context)?;
    let outcome = report(&imported, as_json, &context.output)?;
    if imported.failed.is_empty() || !imported.added.is_empty() || imported.unchanged > 0 {
        return Ok(outcome);
    }
    anyhow::bail!("nothing could be imported");
}

/// Imports files and folders; what fails is in the report, with the paths that could not be opened.
pub fn import<P: AsRef<Path>>(
    paths: &[P],
    force: bool,
    context: &Context,
) -> anyhow::Result<ImportReport> {
    let mut unreadable = Vec::new();
    let mut items = Vec::new();
    for item in expand(paths) {
        match item {
            Ok(item) => items.push(item),
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    if items.is_empty() && unreadable.is_empty() {
        return Err(Usage("there is no file to import below the given paths".to_owned()).into());
    }
    let mut importer = Importer::open(&context.home.corpus())?;
    let total: u64 = items.iter().map(|item| item.size_bytes).sum();
    let bar = context.output.bytes_bar("importing", total);
    let reading = ReadOptions::default();
    let sources = items
        .into_iter()
        .map(move |item| Source::file(item, reading.clone()));
    let options = ImportOptions {
        force,
        ..ImportOptions::default()
    };
    let imported = importer.import(sources, &passages, &options, &mut |progress| {
        bar.set_position(progress.bytes_done);
        bar.set_message(format!(
            "importing: {} filings",
            progress.imported + progress.unchanged
        ));
    });
    bar.finish_and_clear();
    let mut imported = imported?;
    imported.failed.extend(
        unreadable
            .into_iter()
            .map(|message| footnote_index::Failure {
                source: String::new(),
                message,
            }),
    );
    Ok(imported)
}

/// Says what an import did; every failed item by name.
pub fn report(imported: &ImportReport, as_json: bool, output: &Output) -> anyhow::Result<Outcome> {
    let mut shown: BTreeMap<String, usize> = BTreeMap::new();
    for (accession, warning) in &imported.warnings {
        let count = shown.entry(warning.code.to_string()).or_default();
        *count += 1;
        if *count <= WARNINGS_SHOWN {
            output.warning(&format!("{accession}: {warning}"));
        }
    }
    for (code, count) in shown.iter().filter(|(_, count)| **count > WARNINGS_SHOWN) {
        output.warning(&format!(
            "{} more {code} warnings; `footnote corpus check` shows all",
            count - WARNINGS_SHOWN
        ));
    }
    for failure in &imported.failed {
        // Readers name the file themselves; only where they do not is the source put before.
        let named = failure.source.is_empty() || failure.message.contains(&failure.source);
        let place = if named {
            String::new()
        } else {
            format!("{}: ", failure.source)
        };
        output.warning(&format!("left out: {place}{}", failure.message));
    }
    if as_json {
        output.json(&json!({
            "added": imported.added,
            "replaced": imported.replaced,
            "unchanged": imported.unchanged,
            "passages": imported.passages,
            "facts": imported.facts,
            "failed": imported.failed.iter().map(|failure| json!({
                "source": failure.source,
                "message": failure.message,
            })).collect::<Vec<_>>(),
            "warnings": imported.warnings.iter().map(|(accession, warning)| json!({
                "accession": accession,
                "code": warning.code,
                "message": warning.message,
            })).collect::<Vec<_>>(),
        }))?;
    } else {
        output.line(&format!(
            "{} filings added, {} replaced, {} unchanged, {} items left out; {} passages and {} facts added",
            imported.added.len(),
            imported.replaced.len(),
            imported.unchanged,
            imported.failed.len(),
            imported.passages,
            imported.facts
        ))?;
    }
    Ok(if imported.failed.is_empty() {
        Outcome::Done
    } else {
        Outcome::Partly
    })
}

fn stats(flag: &JsonFlag, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let stats = setup::corpus(context)?.stats()?;
    if flag.json {
        output.json(&stats)?;
        return Ok(Outcome::Done);
    }
    output.line(&format!(
        "{} filings of {} companies, {} passages, {} pages, {} facts",
        stats.filings,
        stats.by_company.len(),
        stats.passages,
        stats.pages,
        stats.facts
    ))?;
    output.line(&format!(
        "{} of text; on disk {} of filings and {} of index; {} reader's warnings",
        human_bytes(stats.text_bytes),
        human_bytes(stats.filings_bytes),
        human_bytes(stats.index_bytes),
        stats.warnings
    ))?;
    for (form, count) in &stats.by_form {
        output.line(&format!("{count:>7}  {form}"))?;
    }
    let years: Vec<String> = stats
        .by_year
        .iter()
        .map(|(year, count)| format!("{year}: {count}"))
        .collect();
    output.line(&format!("by year: {}", years.join(", ")))?;
    Ok(Outcome::Done)
}

fn check(flag: &JsonFlag, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let corpus = setup::corpus(context)?;
    let bar = output.items_bar("checking", 0);
    let findings = corpus.check(&mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let findings = findings?;
    let damage = findings
        .iter()
        .filter(|finding| finding.kind.is_damage())
        .count();
    if flag.json {
        output.json(&findings)?;
    } else {
        for finding in &findings {
            let of = finding.accession.as_ref().map_or("-", Accession::as_str);
            let what = match finding.kind {
                FindingKind::Reader => "warning",
                kind if kind.is_damage() => "DAMAGE",
                _ => "note",
            };
            output.line(&format!("{what}  {of}  {}", finding.message))?;
        }
        output.line(&format!(
            "{damage} filings or passages damaged, {} notes and warnings",
            findings.len() - damage
        ))?;
    }
    if damage > 0 {
        output.warning("import the damaged filings again: `footnote corpus import PATH`");
    }
    Ok(if damage > 0 {
        Outcome::Partly
    } else {
        Outcome::Done
    })
}

fn show(
    accession: &str,
    section: Option<&str>,
    as_json: bool,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let accession: Accession = accession
        .parse()
        .map_err(|error| Usage(format!("{error}")))?;
    let filing = setup::corpus(context)?.filing(&accession)?.ok_or_else(|| {
        anyhow::anyhow!("no filing {accession}; `footnote search` and `footnote corpus stats` show what there is")
    })?;
    let Some(wanted) = section else {
        if as_json {
            output.json(&json!({
                "meta": filing.meta,
                "sections": filing.sections,
                "text_bytes": filing.text.len(),
                "pages": filing.pages.len(),
                "facts": filing.facts.len(),
                "turns": filing.turns.len(),
            }))?;
            return Ok(Outcome::Done);
        }
        let meta = &filing.meta;
        let company = meta.company.as_deref().unwrap_or("unknown company");
        let period = meta
            .fiscal_period
            .map_or(String::new(), |period| format!(", {period}"));
        output.line(&format!("{accession}: {company}, {}{period}", meta.form))?;
        for section in &filing.sections {
            output.line(&format!(
                "{:indent$}{}  {:?}  bytes {} to {}, confidence {:.2}",
                "",
                section.id,
                section.title,
                section.span.start,
                section.span.end,
                section.confidence,
                indent = 2 * usize::from(section.level)
            ))?;
        }
        if filing.sections.is_empty() {
            output.line(&filing.text)?;
        }
        return Ok(Outcome::Done);
    };
    let same = |id: &str| id.eq_ignore_ascii_case(wanted.trim());
    let found = filing
        .sections
        .iter()
        .find(|section| same(&section.id) || same(&section.title) || same(&section.path.join(" ")));
    let Some(found) = found else {
        let ids: Vec<&str> = filing
            .sections
            .iter()
            .map(|section| section.id.as_str())
            .collect();
        anyhow::bail!(
            "{accession} has no section {wanted:?}; it has {}",
            ids.join(", ")
        );
    };
    let text = found.span.of(&filing.text).unwrap_or_default();
    if as_json {
        output.json(&json!({ "section": found, "text": text }))?;
    } else {
        output.line(text)?;
    }
    Ok(Outcome::Done)
}
