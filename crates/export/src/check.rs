//! What an export promises, proven from its files alone.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use footnote_eval::{file_hash, read_lines};
use serde::Serialize;
use serde_json::Value;

use crate::ExportError;
use crate::form::{Form, Kind};
use crate::manifest::{self, Manifest};
use crate::near::{DOUBLE, Seen, hash};
use crate::split::{SplitName, leaks};
use crate::table;

/// Defects that are named; the rest is counted.
const MOST_NAMED: usize = 200;
/// A manifest is some kilobytes.
const MANIFEST_BYTES: u64 = 16 << 20;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Rows read.
    pub rows: usize,
    /// What is wrong, the first two hundred.
    pub defects: Vec<String>,
    /// How much is wrong.
    pub defect_count: usize,
}

impl Checked {
    fn defect(&mut self, text: impl Into<String>) {
        self.defect_count += 1;
        if self.defects.len() < MOST_NAMED {
            self.defects.push(text.into());
        }
    }
}

/// Checks the export in `folder`: its files and their hashes, every row's shape, the split, doubles, and
/// that Parquet says what the JSON lines say.
///
/// # Errors
/// Where there is no export, or a file cannot be read at all.
pub fn check(folder: &Path) -> Result<Checked, ExportError> {
    let manifest = read_manifest(folder)?;
    let mut found = Checked::default();
    for (name, hash) in &manifest.files {
        // A manifest that came from elsewhere must not lead out of its folder.
        if name.contains(['/', '\\']) || name.starts_with("..") {
            found.defect(format!(
                "{}: it names a file elsewhere: {name}",
                manifest::FILE
            ));
            continue;
        }
        let path = folder.join(name);
        if !path.is_file() {
            found.defect(format!("{name}: it is missing"));
        } else if file_hash(&path)? != *hash {
            found.defect(format!("{name}: its SHA-256 is not the manifest's"));
        }
    }
    let mut rows: Vec<(SplitName, String, String)> = Vec::new();
    let mut contents: HashMap<u64, String> = HashMap::new();
    let mut near = Seen::new(DOUBLE);
    let mut questions: Vec<(SplitName, String)> = Vec::new();
    for split in SplitName::ALL {
        let name = format!("{}.jsonl", split.name());
        let path = folder.join(&name);
        let promised = manifest.rows.get(split.name()).copied().unwrap_or(0);
        if !path.is_file() {
            if promised > 0 {
                found.defect(format!("{name}: it is missing"));
            }
            continue;
        }
        let mut seen_questions = HashSet::new();
        let mut line_hashes = Vec::new();
        for line in read_lines(&path)? {
            let place = format!("{name} line {}", line.number);
            let record = match line.record {
                Ok(record) => record,
                Err(reason) => {
                    found.defect(format!("{place}: {reason}"));
                    continue;
                }
            };
            line_hashes.push(hash(&record.to_string()));
            found.rows += 1;
            if let Some(reason) = misshapen(manifest.form, &record) {
                found.defect(format!("{place}: {reason}"));
                continue;
            }
            let about = &record["metadata"];
            let word = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
            rows.push((split, word("company"), word("template")));
            let content = content_hash(&record);
            if let Some(earlier) = contents.insert(content, place.clone()) {
                found.defect(format!("{place}: the same row as {earlier}"));
            }
            let question = word("question");
            let by_question = about["task"].as_str() != Some("passages");
            if by_question && seen_questions.insert(hash(&question)) {
                for other in near.add(&question) {
                    if questions[other].0 != split {
                        found.defect(format!(
                            "{place}: nearly the question of {}",
                            questions[other].1
                        ));
                    }
                }
                questions.push((split, place));
            }
        }
        if line_hashes.len() != promised {
            found.defect(format!(
                "{name}: {} rows, the manifest says {promised}",
                line_hashes.len()
            ));
        }
        compare_table(folder, split, &manifest, &line_hashes, &mut found);
    }
    let placed = rows
        .iter()
        .map(|(split, company, template)| (*split, company.as_str(), template.as_str()));
    for leak in leaks(placed, manifest.split_by) {
        found.defect(leak);
    }
    Ok(found)
}

fn read_manifest(folder: &Path) -> Result<Manifest, ExportError> {
    let path = folder.join(manifest::FILE);
    let refuse = |reason: String| {
        ExportError::unusable(
            folder.display().to_string(),
            reason,
            "give a folder that `footnote export` wrote",
        )
    };
    let size = match std::fs::metadata(&path) {
        Ok(found) => found.len(),
        Err(_) => return Err(refuse("it holds no manifest.json".to_owned())),
    };
    if size > MANIFEST_BYTES {
        return Err(refuse(format!("its manifest has {size} bytes")));
    }
    let text = std::fs::read_to_string(&path).map_err(ExportError::io(&path))?;
    let manifest: Manifest = serde_json::from_str(&text)
        .map_err(|error| refuse(format!("its manifest is not readable: {error}")))?;
    if manifest.version != manifest::VERSION {
        return Err(refuse(format!(
            "its manifest is of version {}",
            manifest.version
        )));
    }
    Ok(manifest)
}

/// Everything but the row's name and metadata.
fn content_hash(record: &Value) -> u64 {
    let content: Vec<String> = record
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !matches!(name.as_str(), "id" | "metadata"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    hash(&content.join("\n"))
}

/// Why a row is not of its form, if it is not.
fn misshapen(form: Form, record: &Value) -> Option<String> {
    let Some(fields) = record.as_object() else {
        return Some("it is no object".to_owned());
    };
    for (name, kind) in form.columns() {
        let Some(value) = fields.get(*name) else {
            return Some(format!("it has no {name}"));
        };
        let fits = match kind {
            Kind::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Kind::Integer => value.is_i64() || value.is_u64(),
            Kind::Json => value.is_object(),
            Kind::Texts => value
                .as_array()
                .is_some_and(|texts| !texts.is_empty() && texts.iter().all(Value::is_string)),
            Kind::Messages => value
                .as_array()
                .is_some_and(|messages| !messages.is_empty() && messages.iter().all(is_message)),
        };
        if !fits {
            return Some(format!("its {name} is not what it should be"));
        }
    }
    if let Some(foreign) = fields
        .keys()
        .find(|key| !form.columns().iter().any(|(name, _)| name == key))
    {
        return Some(format!("it has a field that this form does not: {foreign}"));
    }
    let last_role = |name: &str| {
        fields[name]
            .as_array()
            .and_then(|messages| messages.last())
            .and_then(|message| message["role"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    match form {
        Form::Sft if last_role("messages") != "assistant" => {
            Some("its last message is not the assistant's".to_owned())
        }
        Form::Preferences if fields["chosen"] == fields["rejected"] => {
            Some("what is chosen is what is rejected".to_owned())
        }
        Form::Preferences
            if last_role("chosen") != "assistant" || last_role("rejected") != "assistant" =>
        {
            Some("what is chosen or rejected is not the assistant's".to_owned())
        }
        Form::Rft => {
            let grades = fields["qrel"].as_object();
            let good = grades.is_some_and(|grades| {
                grades.keys().all(|index| index.parse::<usize>().is_ok())
                    && grades.values().all(Value::is_u64)
                    && grades.values().any(|grade| grade.as_u64() > Some(0))
            });
            (!good).then(|| "its qrel does not grade candidates".to_owned())
        }
        Form::Rerank => {
            let texts = |name: &str| {
                fields[name]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect::<HashSet<_>>()
            };
            let both = texts("positive").intersection(&texts("negative")).count();
            (both > 0).then(|| "a text is both positive and negative".to_owned())
        }
        _ => None,
    }
}

fn is_message(message: &Value) -> bool {
    let role = message["role"].as_str().unwrap_or_default();
    matches!(role, "system" | "user" | "assistant")
        && message["content"]
            .as_str()
            .is_some_and(|content| !content.is_empty())
}

/// Whether the Parquet file of a side says what its JSON lines say.
fn compare_table(
    folder: &Path,
    split: SplitName,
    manifest: &Manifest,
    lines: &[u64],
    found: &mut Checked,
) {
    let name = format!("{}.parquet", split.name());
    let path = folder.join(&name);
    if !path.is_file() {
        return;
    }
    let mut at = 0;
    let mut different = 0;
    let read = table::read(&path, manifest.form, &mut |row| {
        if lines.get(at) != Some(&hash(&row.to_string())) {
            different += 1;
        }
        at += 1;
    });
    match read {
        Err(error) => found.defect(format!("{name}: {error}")),
        Ok(()) if at != lines.len() => {
            found.defect(format!(
                "{name}: {at} rows beside {} JSON lines",
                lines.len()
            ));
        }
        Ok(()) if different > 0 => {
            found.defect(format!(
                "{name}: {different} rows differ from the JSON lines"
            ));
        }
        Ok(()) => {}
    }
}
