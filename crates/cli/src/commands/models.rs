//! `models list|get|path`, and the fetch with its bar that a first `ask` uses too.

use std::path::PathBuf;

use anyhow::bail;
use footnote_engine::catalogue::{self, CATALOGUE, CatalogueEntry, FetchOptions};
use serde::Serialize;

use crate::args::ModelsCommand;
use crate::commands::Context;
use crate::output::{Outcome, human_bytes};

/// A catalogue entry as `models list --json` prints it.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    about: &'static str,
    licence: &'static str,
    size_bytes: u64,
    path: PathBuf,
    here: bool,
}

pub fn run(command: &ModelsCommand, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    match command {
        ModelsCommand::List(flag) => {
            let listed: Vec<Listed> = CATALOGUE
                .iter()
                .map(|entry| listed(entry, context))
                .collect();
            if flag.json {
                output.json(&listed)?;
            } else {
                for model in &listed {
                    let here = if model.here { "here" } else { "    " };
                    let size = human_bytes(model.size_bytes);
                    let (name, about) = (model.name, model.about);
                    output.line(&format!("{here}  {name:<20} {size:>10}  {about}"))?;
                }
            }
        }
        ModelsCommand::Get { name } => {
            let path = get(catalogue::find(name)?, context)?;
            output.line(&path.display().to_string())?;
        }
        ModelsCommand::Path { name } => {
            let path = catalogue::resolve(name, &context.home.models())?;
            output.line(&path.display().to_string())?;
        }
    }
    Ok(Outcome::Done)
}

fn listed(entry: &CatalogueEntry, context: &Context) -> Listed {
    let path = context.home.models().join(entry.file);
    Listed {
        name: entry.name,
        about: entry.about,
        licence: entry.licence,
        size_bytes: entry.size_bytes,
        here: is_here(entry, context),
        path,
    }
}

/// Whether all files of a model are here.
pub fn is_here(entry: &CatalogueEntry, context: &Context) -> bool {
    let dir = context.home.models();
    entry.files().all(|file| dir.join(file).is_file())
}

/// Fetches a model, or verifies the file that is there.
pub fn get(entry: &CatalogueEntry, context: &Context) -> anyhow::Result<PathBuf> {
    let dir = context.home.models();
    let here = is_here(entry, context);
    if !here && context.offline {
        bail!(
            "{} is not here and --offline forbids fetching it; run `footnote models get {}` with a network",
            entry.name,
            entry.name
        );
    }
    if !here {
        context.output.step(&format!(
            "fetching {} ({}) into {}",
            entry.name,
            human_bytes(entry.size_bytes),
            dir.display()
        ));
    }
    let bar = context.output.bytes_bar(entry.name, entry.size_bytes);
    let fetched = catalogue::fetch(entry, &dir, &FetchOptions::default(), |progress| {
        bar.set_message(format!("{}: {}", entry.name, progress.step));
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.done_bytes);
    });
    bar.finish_and_clear();
    Ok(fetched?)
}
