//! JSON lines, one record at a time: files may be larger than memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use crate::EvalError;

/// Longest line that is read: the largest real chunk record has some megabytes.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// A line of a JSON lines file.
#[derive(Debug)]
pub struct Line {
    /// Its number, from 1; blank lines are counted but not given.
    pub number: usize,
    /// Its record, or why there is none.
    pub record: Result<Value, String>,
}

/// The non-blank lines of a file.
///
/// # Errors
/// Where the file cannot be opened; a read error later ends the lines with an `Err` record.
pub fn read_lines(path: &Path) -> Result<impl Iterator<Item = Line>, EvalError> {
    let file = File::open(path).map_err(|source| EvalError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut number = 0;
    let mut ended = false;
    Ok(std::iter::from_fn(move || {
        while !ended {
            let mut bytes = Vec::new();
            number += 1;
            match (&mut reader)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut bytes)
            {
                Ok(0) => break,
                Ok(read) if read as u64 == LINE_BYTES_MAX => {
                    ended = true;
                    let record = Err(format!("longer than {LINE_BYTES_MAX} bytes"));
                    return Some(Line { number, record });
                }
                Ok(_) => {}
                Err(error) => {
                    ended = true;
                    return Some(Line {
                        number,
                        record: Err(error.to_string()),
                    });
                }
            }
            let start = if number == 1 && bytes.starts_with(b"\xEF\xBB\xBF") {
                3
            } else {
                0
            };
            let line = bytes[start..].trim_ascii();
            if line.is_empty() {
                continue;
            }
            let record = serde_json::from_slice(line).map_err(|error| error.to_string());
            return Some(Line { number, record });
        }
        None
    }))
}
