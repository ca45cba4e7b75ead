//! The Kaggle submission: `sample_id,target_index`, five rows a sample, best first.

use std::collections::HashMap;
use std::io::{Read, Write};

/// Rows a sample.
pub const ROWS: usize = 5;

/// Writes the header.
///
/// # Errors
/// Where `out` cannot be written.
pub fn write_header(out: &mut impl Write) -> std::io::Result<()> {
    out.write_all(b"sample_id,target_index\n")
}

/// Writes the first five of a ranking.
///
/// # Errors
/// Where the ranking has fewer than five or repeats one: the server counts rows. And where `out`
/// cannot be written.
pub fn write_sample(out: &mut impl Write, id: &str, ranking: &[usize]) -> std::io::Result<()> {
    let first = ranking.get(..ROWS).ok_or_else(|| {
        std::io::Error::other(format!(
            "{id:?} ranks {} candidates, a submission needs {ROWS}",
            ranking.len()
        ))
    })?;
    if (1..ROWS).any(|place| first[..place].contains(&first[place])) {
        return Err(std::io::Error::other(format!(
            "{id:?} ranks a candidate twice"
        )));
    }
    let mut csv = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(out);
    for index in first {
        csv.write_record([id, &index.to_string()])?;
    }
    csv.flush()
}

/// Reads a submission back: samples in the order in which they first come, with their rows in order.
///
/// # Errors
/// What is wrong with which line: another header, no index, a sample without exactly five rows.
pub fn read(from: impl Read) -> Result<Vec<(String, Vec<usize>)>, String> {
    let mut csv = csv::ReaderBuilder::new().from_reader(from);
    let headers = csv.headers().map_err(|error| error.to_string())?;
    if headers.iter().ne(["sample_id", "target_index"]) {
        return Err("line 1: the header is not sample_id,target_index".to_owned());
    }
    let mut samples: Vec<(String, Vec<usize>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for record in csv.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let index = record[1].trim();
        let index: usize = index
            .parse()
            .map_err(|_| format!("line {line}: {index:?} is no index"))?;
        let place = *places.entry(record[0].to_owned()).or_insert_with(|| {
            samples.push((record[0].to_owned(), Vec::new()));
            samples.len() - 1
        });
        samples[place].1.push(index);
    }
    match samples.iter().find(|(_, rows)| rows.len() != ROWS) {
        Some((id, rows)) => Err(format!("{id:?} has {} rows instead of {ROWS}", rows.len())),
        None => Ok(samples),
    }
}
