//! The export itself: two readings of the sources, one folder.
//!
//! The first reading finds doubles and parts the examples, the second writes their rows. Everything
//! goes to a folder beside the wanted one, which gets its name last: a crash leaves nothing that
//! looks whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use footnote_agent::doctype::wording;
use footnote_agent::rank::passage::{Choice, Models};
use footnote_eval::file_hash;
use serde::Serialize;
use serde_json::{Value, json};

use crate::ExportError;
use crate::card::{GRADER, card};
use crate::example::{Example, Task};
use crate::files::{Files, Staging};
use crate::form::{Form, Maker};
use crate::manifest::{self, Counts, Manifest, Reworded, SourceRecord};
use crate::near::{DOUBLE, Seen, hash, mix};
use crate::source::{Source, Surroundings};
use crate::split::{Keys, Shares, SplitBy, SplitName, leaks, part};

/// Defects that are named; the rest is counted.
const MOST_NAMED: usize = 1000;

/// Which files hold the rows. JSON lines are always written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileFormat {
    /// JSON lines alone.
    Jsonl,
    /// Parquet beside them.
    #[default]
    Both,
}

/// How to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The form of the rows.
    pub form: Form,
    /// Which files.
    pub format: FileFormat,
    /// What no two sides share.
    pub split_by: SplitBy,
    /// Share of validation, 0 to 1.
    pub validation: f64,
    /// Share of test.
    pub test: f64,
    /// Draws the sides, and questions made from facts.
    pub seed: u64,
    /// Whether an export that is there already may go.
    pub overwrite: bool,
}

/// A record that gave no example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// The source.
    pub source: String,
    /// Which record, and what is wrong with it.
    pub reason: String,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exported {
    /// The manifest that was written.
    pub manifest: Manifest,
    /// Records that gave no example, the first thousand.
    pub defects: Vec<Defect>,
}

/// Exports the examples of `sources` to `out`. `progress` is told of every example read.
///
/// # Errors
/// Where a source as a whole cannot be read, `out` holds something else, nothing is left to write, or
/// writing fails.
pub fn export(
    sources: &[Source],
    out: &Path,
    options: &ExportOptions,
    around: &Surroundings<'_>,
    progress: &mut dyn FnMut(),
) -> Result<Exported, ExportError> {
    let shares = Shares {
        validation: options.validation,
        test: options.test,
    };
    let held_out = shares.validation + shares.test;
    if !(0.0..=1.0).contains(&shares.validation) || shares.test < 0.0 || held_out >= 1.0 {
        return Err(ExportError::unusable(
            "the split",
            format!(
                "validation {} and test {} leave nothing to train on",
                shares.validation, shares.test
            ),
            "give shares that add up to less than 1",
        ));
    }
    refuse_taken(out, options.overwrite)?;
    let mut first = FirstReading::default();
    for source in sources {
        first.read(source, around, progress)?;
    }
    let parted = part(&first.keys, options.split_by, shares, options.seed);
    let staging = Staging::new(out)?;
    let mut files = Files::new(&staging.path, options);
    let baseline = Choice::parse("bm25")
        .and_then(|choice| choice.build(&Models::default()))
        .map_err(|error| ExportError::unusable("bm25", error.to_string(), "report this"))?;
    let maker = Maker {
        form: options.form,
        baseline: baseline.as_ref(),
    };
    let mut counts = first.counts.clone();
    let mut written: Vec<(SplitName, String, String)> = Vec::new();
    let (mut number, mut kept) = (0, 0);
    for source in sources {
        source.read(around, &mut |example| {
            let Ok(example) = example else {
                return Ok(());
            };
            progress();
            let keep = first.keep.get(number).copied().unwrap_or(false);
            number += 1;
            if !keep {
                return Ok(());
            }
            let (key, template) = (&first.keys[kept], parted.templates[kept]);
            let side = parted.sides[kept];
            kept += 1;
            let Some(side) = side else {
                counts.between_sides += 1;
                return Ok(());
            };
            let wording = format!("w{template}");
            let metadata = metadata(&example, key, &wording);
            match maker.rows(&example, &metadata) {
                Ok(rows) => {
                    written.push((side, key.company.clone(), wording));
                    files.add(side, &example, rows)
                }
                Err(reason) => {
                    *counts.unfit.entry(reason).or_default() += 1;
                    Ok(())
                }
            }
        })?;
    }
    if number != first.keep.len() {
        return Err(ExportError::unusable(
            "the sources",
            "they changed while they were read",
            "export again",
        ));
    }
    counts.companies = distinct(written.iter().map(|(_, company, _)| company));
    counts.wordings = distinct(written.iter().map(|(_, _, wording)| wording));
    let rows = files.finish()?;
    if rows.is_empty() {
        let reasons: Vec<String> = counts
            .unfit
            .iter()
            .map(|(reason, count)| format!("{count}: {reason}"))
            .collect();
        return Err(ExportError::unusable(
            options.form.name(),
            format!(
                "nothing to export from {} examples ({})",
                counts.examples,
                reasons.join("; ")
            ),
            "choose another form or source",
        ));
    }
    let leaking = leaks(
        written
            .iter()
            .map(|(side, company, wording)| (*side, company.as_str(), wording.as_str())),
        options.split_by,
    );
    if let Some(leak) = leaking.first() {
        return Err(ExportError::unusable(
            "the split",
            leak.clone(),
            "report this",
        ));
    }
    let mut manifest = Manifest {
        version: manifest::VERSION,
        made_by: concat!("footnote ", env!("CARGO_PKG_VERSION")).to_owned(),
        form: options.form,
        seed: options.seed,
        split_by: options.split_by,
        sources: first.sources,
        counts,
        reworded: around.reword.map(|rewording| {
            let (reworded, kept) = rewording.counts();
            Reworded {
                model: rewording.model().to_owned(),
                reworded,
                kept,
            }
        }),
        files: BTreeMap::new(),
        rows,
        licence_note: licence_note(sources),
    };
    if options.form == Form::Rft {
        put(&staging.path.join("grader.py"), GRADER.as_bytes())?;
    }
    put(&staging.path.join("README.md"), card(&manifest).as_bytes())?;
    for entry in fs::read_dir(&staging.path).map_err(ExportError::io(&staging.path))? {
        let entry = entry.map_err(ExportError::io(&staging.path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        manifest.files.insert(name, file_hash(&entry.path())?);
    }
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    put(&staging.path.join(manifest::FILE), text.as_bytes())?;
    staging.take_place(out)?;
    Ok(Exported {
        manifest,
        defects: first.defects,
    })
}

/// What the first reading finds.
#[derive(Default)]
struct FirstReading {
    /// For every example whether it stays, doubles gone.
    keep: Vec<bool>,
    /// Keys of those that stay.
    keys: Vec<Keys>,
    counts: Counts,
    sources: Vec<SourceRecord>,
    defects: Vec<Defect>,
    exact: HashSet<u64>,
    /// Questions so far, by document where they are of one.
    near: HashMap<u64, Seen>,
}

impl FirstReading {
    fn read(
        &mut self,
        source: &Source,
        around: &Surroundings<'_>,
        progress: &mut dyn FnMut(),
    ) -> Result<(), ExportError> {
        let name = source.to_string();
        let mut record = SourceRecord {
            sha256: match source.file().filter(|path| path.is_file()) {
                Some(path) => Some(file_hash(&path)?),
                None => None,
            },
            name: name.clone(),
            examples: 0,
            defects: 0,
        };
        source.read(around, &mut |example| {
            progress();
            match example {
                Ok(example) => {
                    record.examples += 1;
                    self.take(&example);
                }
                Err(reason) => {
                    record.defects += 1;
                    if self.defects.len() < MOST_NAMED {
                        self.defects.push(Defect {
                            source: name.clone(),
                            reason,
                        });
                    }
                }
            }
            Ok(())
        })?;
        self.sources.push(record);
        Ok(())
    }

    fn take(&mut self, example: &Example) {
        self.counts.examples += 1;
        let fingerprint = example
            .candidates
            .iter()
            .chain(&example.answer)
            .fold(hash(&example.question), |key, text| {
                mix(key ^ hash(text)).rotate_left(5)
            });
        let new = self.exact.insert(fingerprint);
        // The same question of two documents is two examples.
        let document = match example.task {
            Task::Passages => example
                .candidates
                .iter()
                .fold(1, |key: u64, text| mix(key ^ hash(text)).rotate_left(5)),
            _ => 0,
        };
        let near = self
            .near
            .entry(document)
            .or_insert_with(|| Seen::new(DOUBLE));
        let keep = if !new {
            self.counts.doubles += 1;
            false
        } else if near.add(&example.question).is_empty() {
            true
        } else {
            self.counts.near_doubles += 1;
            false
        };
        self.keep.push(keep);
        if keep {
            let company = example
                .company
                .clone()
                .map(|company| company.to_lowercase())
                .or_else(|| wording::company(&example.question))
                .unwrap_or_else(|| format!("unknown, {}", example.place));
            self.keys.push(Keys {
                company,
                masked: wording::masked(&example.question),
            });
        }
    }
}

fn metadata(example: &Example, key: &Keys, wording: &str) -> Value {
    let mut metadata = json!({
        "task": example.task,
        "source": example.place,
        "question": example.question,
        "company": key.company,
        "template": wording,
    });
    if let Some(category) = &example.category {
        metadata["category"] = json!(category);
    }
    metadata
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    fs::write(path, bytes).map_err(ExportError::io(path))
}

fn distinct<'a>(texts: impl Iterator<Item = &'a String>) -> usize {
    texts.collect::<HashSet<_>>().len()
}

fn licence_note(sources: &[Source]) -> String {
    let mut notes = Vec::new();
    if sources
        .iter()
        .any(|source| matches!(source, Source::Dataset(_) | Source::Run(_)))
    {
        notes.push(
            "The datasets' terms of use are not known to this program: ask their makers before rows made from them \
             are passed on.",
        );
    }
    if sources.contains(&Source::Corpus) {
        notes.push("Questions from facts quote filings at the SEC, which are public.");
    }
    if sources.contains(&Source::Feedback) {
        notes.push("Feedback holds what users wrote: ask them before it leaves the house.");
    }
    notes.join(" ")
}

/// Refuses to write over anything but an export, and over that only where it is wanted.
fn refuse_taken(out: &Path, overwrite: bool) -> Result<(), ExportError> {
    let taken = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(ExportError::io(out)(error)),
    };
    if !taken {
        return Ok(());
    }
    let is_export = out.join(manifest::FILE).is_file();
    match (is_export, overwrite) {
        (true, true) => Ok(()),
        (true, false) => Err(ExportError::unusable(
            out.display().to_string(),
            "it holds an export already",
            "give another folder, or --overwrite",
        )),
        (false, _) => Err(ExportError::unusable(
            out.display().to_string(),
            "it holds files that are no export",
            "give another folder",
        )),
    }
}

impl SplitBy {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            SplitBy::Company => "company",
            SplitBy::Template => "template",
            SplitBy::Both => "both",
        }
    }
}
