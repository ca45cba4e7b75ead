//! The files of an export: rows of each side, and the folder they grow in.
//!
//! Must not know where examples come from.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::ExportError;
use crate::example::Example;
use crate::form::{Form, line};
use crate::split::SplitName;
use crate::table::TableWriter;
use crate::write::{ExportOptions, FileFormat};

/// The files of all sides.
pub(crate) struct Files<'a> {
    folder: &'a Path,
    options: &'a ExportOptions,
    sides: BTreeMap<SplitName, Side>,
    /// Queries and documents beside qrels.
    queries: Option<BufWriter<File>>,
    corpus: Option<BufWriter<File>>,
}

struct Side {
    path: PathBuf,
    lines: BufWriter<File>,
    table: Option<TableWriter>,
    qrels: Option<BufWriter<File>>,
    rows: usize,
}

impl<'a> Files<'a> {
    pub(crate) fn new(folder: &'a Path, options: &'a ExportOptions) -> Files<'a> {
        Files {
            folder,
            options,
            sides: BTreeMap::new(),
            queries: None,
            corpus: None,
        }
    }

    pub(crate) fn add(
        &mut self,
        split: SplitName,
        example: &Example,
        rows: Vec<Vec<Value>>,
    ) -> Result<(), ExportError> {
        let form = self.options.form;
        if form == Form::Qrels {
            self.add_texts(example)?;
        }
        if !self.sides.contains_key(&split) {
            let side = self.open(split)?;
            self.sides.insert(split, side);
        }
        let Some(side) = self.sides.get_mut(&split) else {
            return Ok(());
        };
        for row in rows {
            write_line(&mut side.lines, &line(form, &row), &side.path)?;
            if let Some(qrels) = &mut side.qrels {
                let word = |value: &Value| one_word(value.as_str().unwrap_or_default());
                writeln!(qrels, "{} 0 {} {}", word(&row[0]), word(&row[1]), row[2])
                    .map_err(ExportError::io(&side.path))?;
            }
            if let Some(table) = &mut side.table {
                table.add(row)?;
            }
            side.rows += 1;
        }
        Ok(())
    }

    fn open(&self, split: SplitName) -> Result<Side, ExportError> {
        let path = self.folder.join(format!("{}.jsonl", split.name()));
        let named = |ending: &str| self.folder.join(format!("{}.{ending}", split.name()));
        Ok(Side {
            lines: create(&path)?,
            table: match self.options.format {
                FileFormat::Both => {
                    Some(TableWriter::create(&named("parquet"), self.options.form)?)
                }
                FileFormat::Jsonl => None,
            },
            qrels: match self.options.form {
                Form::Qrels => Some(create(&named("qrels"))?),
                _ => None,
            },
            path,
            rows: 0,
        })
    }

    fn add_texts(&mut self, example: &Example) -> Result<(), ExportError> {
        let path = self.folder.join("queries.jsonl");
        if self.queries.is_none() {
            self.queries = Some(create(&path)?);
        }
        if let Some(queries) = &mut self.queries {
            let query = json!({ "_id": one_word(&example.place), "text": example.question });
            write_line(queries, &query, &path)?;
        }
        let path = self.folder.join("corpus.jsonl");
        if self.corpus.is_none() {
            self.corpus = Some(create(&path)?);
        }
        if let Some(corpus) = &mut self.corpus {
            for (index, text) in example.candidates.iter().enumerate() {
                let name = one_word(&example.candidate_name(index));
                write_line(corpus, &json!({ "_id": name, "text": text }), &path)?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<BTreeMap<String, usize>, ExportError> {
        let folder = self.folder;
        let mut rows = BTreeMap::new();
        for (split, mut side) in self.sides {
            close(side.lines, &side.path)?;
            if let Some(qrels) = side.qrels.take() {
                close(qrels, &side.path)?;
            }
            if let Some(table) = side.table.take() {
                table.finish()?;
            }
            rows.insert(split.name().to_owned(), side.rows);
        }
        for file in [self.queries, self.corpus].into_iter().flatten() {
            close(file, folder)?;
        }
        Ok(rows)
    }
}

/// Names in TREC files are words.
fn one_word(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join("_")
}

fn create(path: &Path) -> Result<BufWriter<File>, ExportError> {
    Ok(BufWriter::new(
        File::create(path).map_err(ExportError::io(path))?,
    ))
}

fn write_line(out: &mut impl Write, value: &Value, path: &Path) -> Result<(), ExportError> {
    serde_json::to_writer(&mut *out, value)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .map_err(ExportError::io(path))
}

fn close(out: BufWriter<File>, path: &Path) -> Result<(), ExportError> {
    out.into_inner()
        .map_err(|error| error.into_error())
        .and_then(|file| file.sync_all())
        .map_err(ExportError::io(path))
}

/// A folder beside the wanted one, gone again unless it takes its place.
pub(crate) struct Staging {
    pub(crate) path: PathBuf,
}

impl Staging {
    pub(crate) fn new(out: &Path) -> Result<Staging, ExportError> {
        let name = out
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        fs::create_dir_all(&parent).map_err(ExportError::io(&parent))?;
        let path = parent.join(format!(".{name}.part-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path).map_err(ExportError::io(&path))?;
        }
        fs::create_dir(&path).map_err(ExportError::io(&path))?;
        Ok(Staging { path })
    }

    pub(crate) fn take_place(self, out: &Path) -> Result<(), ExportError> {
        if out.exists() {
            // Checked before: it is empty, or an export that may go.
            fs::remove_dir_all(out).map_err(ExportError::io(out))?;
        }
        fs::rename(&self.path, out).map_err(ExportError::io(out))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Renamed away it is not there any more; else it is of no use.
        let _ = fs::remove_dir_all(&self.path);
    }
}
