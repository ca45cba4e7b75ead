//! Rows as a Parquet file, and back.
//!
//! Texts are UTF-8 strings, messages lists of `{role, content}`, JSON values (metadata, qrels) strings of
//! JSON, as `datasets` and pandas read them. Must not know what rows are of.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::parser::parse_message_type;
use serde_json::{Map, Value, json};

use crate::ExportError;
use crate::form::{Form, Kind, Row};

/// A row group is written once its texts reach this.
const GROUP_BYTES: usize = 16 << 20;

/// A Parquet file being written.
pub(crate) struct TableWriter {
    path: PathBuf,
    form: Form,
    file: SerializedFileWriter<File>,
    rows: Vec<Row>,
    bytes: usize,
}

fn schema(form: Form) -> String {
    let columns: Vec<String> = form
        .columns()
        .iter()
        .map(|(name, kind)| match kind {
            Kind::Text | Kind::Json => format!("required binary {name} (STRING);"),
            Kind::Integer => format!("required int64 {name};"),
            Kind::Texts => format!(
                "required group {name} (LIST) {{ repeated group list {{ required binary element (STRING); }} }}"
            ),
            Kind::Messages => format!(
                "required group {name} (LIST) {{ repeated group list {{ required group element {{ \
                 required binary role (STRING); required binary content (STRING); }} }} }}"
            ),
        })
        .collect();
    format!("message {form} {{ {} }}", columns.join(" "))
}

impl TableWriter {
    pub(crate) fn create(path: &Path, form: Form) -> Result<TableWriter, ExportError> {
        let schema = parse_message_type(&schema(form)).map_err(ExportError::parquet(path))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let file = File::create(path).map_err(ExportError::io(path))?;
        Ok(TableWriter {
            path: path.to_path_buf(),
            form,
            file: SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))
                .map_err(ExportError::parquet(path))?,
            rows: Vec::new(),
            bytes: 0,
        })
    }

    pub(crate) fn add(&mut self, row: Row) -> Result<(), ExportError> {
        self.bytes += row.iter().map(size).sum::<usize>();
        self.rows.push(row);
        if self.bytes >= GROUP_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let path = self.path.clone();
        let failed = ExportError::parquet(&path);
        let mut group = self.file.next_row_group().map_err(&failed)?;
        for (at, (_, kind)) in self.form.columns().iter().enumerate() {
            let cells = self.rows.iter().map(|row| &row[at]);
            let columns: Vec<Column> = match kind {
                Kind::Text => vec![Column::flat(cells.map(text).collect())],
                Kind::Json => vec![Column::flat(cells.map(|cell| cell.to_string()).collect())],
                Kind::Texts => vec![Column::lists(cells.map(|cell| list(cell, text)))],
                Kind::Messages => ["role", "content"]
                    .into_iter()
                    .map(|part| {
                        Column::lists(
                            self.rows
                                .iter()
                                .map(|row| list(&row[at], |message| text(&message[part]))),
                        )
                    })
                    .collect(),
                Kind::Integer => {
                    let numbers: Vec<i64> = cells.map(|cell| cell.as_i64().unwrap_or(0)).collect();
                    if let Some(mut column) = group.next_column().map_err(&failed)? {
                        column
                            .typed::<Int64Type>()
                            .write_batch(&numbers, None, None)
                            .map_err(&failed)?;
                        column.close().map_err(&failed)?;
                    }
                    continue;
                }
            };
            for Column { values, levels } in columns {
                let Some(mut column) = group.next_column().map_err(&failed)? else {
                    continue;
                };
                let (definitions, repetitions) = match &levels {
                    Some((definitions, repetitions)) => {
                        (Some(definitions.as_slice()), Some(repetitions.as_slice()))
                    }
                    None => (None, None),
                };
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&values, definitions, repetitions)
                    .map_err(&failed)?;
                column.close().map_err(&failed)?;
            }
        }
        group.close().map_err(&failed)?;
        self.rows.clear();
        self.bytes = 0;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(), ExportError> {
        self.flush()?;
        let path = self.path;
        self.file.close().map_err(ExportError::parquet(&path))?;
        Ok(())
    }
}

/// One leaf column of a row group: its values, and for lists where each begins.
struct Column {
    values: Vec<ByteArray>,
    /// Definition and repetition levels.
    levels: Option<(Vec<i16>, Vec<i16>)>,
}

impl Column {
    fn flat(texts: Vec<String>) -> Column {
        Column {
            values: texts
                .into_iter()
                .map(|text| ByteArray::from(text.into_bytes()))
                .collect(),
            levels: None,
        }
    }

    fn lists(lists: impl Iterator<Item = Vec<String>>) -> Column {
        let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
        for list in lists {
            if list.is_empty() {
                definitions.push(0);
                repetitions.push(0);
            }
            for (place, text) in list.into_iter().enumerate() {
                definitions.push(1);
                repetitions.push(i16::from(place > 0));
                values.push(ByteArray::from(text.into_bytes()));
            }
        }
        Column {
            values,
            levels: Some((definitions, repetitions)),
        }
    }
}

fn text(cell: &Value) -> String {
    cell.as_str().unwrap_or_default().to_owned()
}

fn list(cell: &Value, part: impl Fn(&Value) -> String) -> Vec<String> {
    cell.as_array().into_iter().flatten().map(part).collect()
}

/// Bytes of texts in a value, about.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum::<usize>() + 16 * fields.len(),
        _ => 8,
    }
}

/// Gives each row of a Parquet file to `visit` as the JSON line it should equal.
pub(crate) fn read(
    path: &Path,
    form: Form,
    visit: &mut dyn FnMut(Value),
) -> Result<(), ExportError> {
    let failed = ExportError::parquet(path);
    let file = File::open(path).map_err(ExportError::io(path))?;
    let reader = SerializedFileReader::new(file).map_err(&failed)?;
    for row in reader.get_row_iter(None).map_err(&failed)? {
        let row = row.map_err(&failed)?;
        let mut line = Map::new();
        for (name, field) in row.get_column_iter() {
            let kind = form.columns().iter().find(|(column, _)| column == name);
            let value = match (kind, field) {
                (Some((_, Kind::Json)), Field::Str(json)) => {
                    serde_json::from_str(json).unwrap_or(Value::Null)
                }
                _ => value_of(field),
            };
            line.insert(name.clone(), value);
        }
        visit(Value::Object(line));
    }
    Ok(())
}

fn value_of(field: &Field) -> Value {
    match field {
        Field::Str(text) => json!(text),
        Field::Long(number) => json!(number),
        Field::ListInternal(list) => list.elements().iter().map(value_of).collect(),
        Field::Group(row) => {
            // A list's inner group is the element itself.
            row.get_column_iter()
                .map(|(name, field)| (name.clone(), value_of(field)))
                .collect::<Map<_, _>>()
                .into()
        }
        _ => Value::Null,
    }
}
