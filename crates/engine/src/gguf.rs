//! The GGUF file's header, read with every count checked against the bytes that are there.
//!
//! Own code rather than candle's reader: that one divides by `general.alignment` unchecked and
//! spends up to 32 bytes of memory on a one-byte array element, so a hostile header could stop the
//! process or fill its memory. Here the header is bounded ([`MAX_HEADER_BYTES`]), an array this
//! engine has no use for is stepped over, and nothing is read outside the file.
//! This module knows bytes; it must not know models.

use std::collections::HashMap;

use crate::model_file::{TensorInfo, Value};

/// Room for the metadata and tensor table. The largest vocabularies in use take about 15 MB.
pub const MAX_HEADER_BYTES: usize = 64 << 20;
/// No model has nearly as many metadata entries or tensors.
const MAX_ENTRIES: u64 = 65_536;
/// Arrays may nest in the format; no real file does.
const MAX_ARRAY_DEPTH: usize = 4;
const MAX_DIMENSIONS: u32 = 4;

type Header = (HashMap<String, Value>, HashMap<String, TensorInfo>);

/// Reads the header of a whole file's bytes.
pub(crate) fn read_header(file: &[u8]) -> Result<Header, String> {
    let mut reader = Reader {
        bytes: &file[..file.len().min(MAX_HEADER_BYTES)],
        at: 0,
        whole: file.len() <= MAX_HEADER_BYTES,
        wide_lengths: true,
    };
    let magic = reader.take(4)?;
    if magic != b"GGUF" {
        return Err("it is not a GGUF file (its first bytes are others)".to_string());
    }
    let version = reader.u32()?;
    match version {
        1 => reader.wide_lengths = false,
        2 | 3 => {}
        _ => return Err(format!("GGUF version {version} is not known")),
    }
    let tensor_count = reader.length()?;
    let entry_count = reader.length()?;
    if tensor_count > MAX_ENTRIES || entry_count > MAX_ENTRIES {
        return Err(format!(
            "its header claims {tensor_count} tensors and {entry_count} metadata entries"
        ));
    }

    let mut metadata = HashMap::new();
    for _ in 0..entry_count {
        let key = reader.string()?;
        let kind = reader.u32()?;
        let value = reader.value(kind, &key)?;
        metadata.insert(key, value);
    }

    let mut tensors = HashMap::new();
    for _ in 0..tensor_count {
        let name = reader.string()?;
        let dimension_count = reader.u32()?;
        if dimension_count > MAX_DIMENSIONS {
            return Err(format!("tensor {name} claims {dimension_count} dimensions"));
        }
        let mut dimensions = Vec::new();
        for _ in 0..dimension_count {
            let dimension = usize::try_from(reader.length()?)
                .map_err(|_| format!("tensor {name} has a dimension beyond this machine"))?;
            dimensions.push(dimension);
        }
        let type_id = reader.u32()?;
        let start = reader.u64()?;
        tensors.insert(
            name.clone(),
            TensorInfo {
                name,
                type_id,
                dimensions,
                part: 0,
                start,
            },
        );
    }

    let alignment = match metadata.get("general.alignment") {
        Some(Value::Unsigned(alignment)) => *alignment,
        Some(Value::Signed(alignment)) => u64::try_from(*alignment).unwrap_or(0),
        _ => 32,
    };
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        return Err(format!("its alignment of {alignment} bytes is not usable"));
    }
    let data_start = (reader.at as u64).next_multiple_of(alignment);
    for tensor in tensors.values_mut() {
        tensor.start = data_start
            .checked_add(tensor.start)
            .ok_or_else(|| format!("tensor {} lies beyond any file", tensor.name))?;
    }
    Ok((metadata, tensors))
}

/// A cursor over the header that never leaves it.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether `bytes` is the whole file, which decides what an early end means.
    whole: bool,
    /// Lengths are 64 bits wide since version 2.
    wide_lengths: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let bytes = self
            .at
            .checked_add(count)
            .and_then(|end| self.bytes.get(self.at..end));
        match bytes {
            Some(bytes) => {
                self.at += count;
                Ok(bytes)
            }
            None if self.whole => Err(format!(
                "the file is cut short: its header needs {count} bytes at byte {}, the file has {}",
                self.at,
                self.bytes.len()
            )),
            None => Err(format!(
                "its header is longer than {MAX_HEADER_BYTES} bytes"
            )),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Result<u64, String> {
        if self.wide_lengths {
            self.u64()
        } else {
            self.u32().map(u64::from)
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let length = self.length()?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.array::<1>()?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.array()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array()?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.array()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.array()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.string()?),
            9 => self.array_value(key)?,
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            _ => return Err(format!("metadata entry {key} is of unknown type {kind}")),
        })
    }

    fn array_value(&mut self, key: &str) -> Result<Value, String> {
        let kind = self.u32()?;
        let count = self.length()?;
        match kind {
            8 => {
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(self.string()?);
                }
                Ok(Value::Texts(texts))
            }
            5 => {
                let size = usize::try_from(count)
                    .unwrap_or(usize::MAX)
                    .saturating_mul(4);
                let (words, _) = self.take(size)?.as_chunks::<4>();
                Ok(Value::Integers(
                    words.iter().map(|word| i32::from_le_bytes(*word)).collect(),
                ))
            }
            _ => {
                self.step_over(kind, count, key, 0)?;
                Ok(Value::Skipped(count))
            }
        }
    }

    fn step_over(&mut self, kind: u32, count: u64, key: &str, depth: usize) -> Result<(), String> {
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                for _ in 0..count {
                    self.string()?;
                }
                return Ok(());
            }
            9 if depth < MAX_ARRAY_DEPTH => {
                for _ in 0..count {
                    let kind = self.u32()?;
                    let inner = self.length()?;
                    self.step_over(kind, inner, key, depth + 1)?;
                }
                return Ok(());
            }
            _ => {
                return Err(format!(
                    "metadata entry {key} holds an unknown or too deep array"
                ));
            }
        };
        let bytes = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .saturating_mul(size);
        self.take(bytes).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header builder in the format's own words.
    fn header(version: u32, tensors: u64, entries: u64) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes
    }

    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }

    fn entry(bytes: &mut Vec<u8>, key: &str, kind: u32, value: &[u8]) {
        text(bytes, key);
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
    }

    fn valid() -> Vec<u8> {
        let mut bytes = header(3, 1, 3);
        entry(&mut bytes, "general.alignment", 4, &64u32.to_le_bytes());
        entry(&mut bytes, "a.flag", 7, &[1]);
        let mut array = 8u32.to_le_bytes().to_vec();
        array.extend(2u64.to_le_bytes());
        text(&mut array, "one");
        text(&mut array, "");
        entry(&mut bytes, "a.list", 9, &array);
        text(&mut bytes, "t");
        bytes.extend(2u32.to_le_bytes());
        bytes.extend(8u64.to_le_bytes());
        bytes.extend(3u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(32u64.to_le_bytes());
        bytes
    }

    #[test]
    fn reads_a_header() {
        let bytes = valid();
        let (metadata, tensors) = read_header(&bytes).unwrap();
        assert_eq!(metadata["a.flag"], Value::Bool(true));
        assert_eq!(
            metadata["a.list"],
            Value::Texts(vec!["one".to_string(), String::new()])
        );
        let tensor = &tensors["t"];
        assert_eq!(tensor.dimensions, [8, 3]);
        assert_eq!(tensor.start, bytes.len().next_multiple_of(64) as u64 + 32);
    }

    #[test]
    fn names_what_is_wrong() {
        let mut absurd_array = header(3, 0, 1);
        let mut array = 4u32.to_le_bytes().to_vec();
        array.extend(u64::MAX.to_le_bytes());
        entry(&mut absurd_array, "k", 9, &array);
        let mut no_alignment = header(3, 0, 1);
        entry(
            &mut no_alignment,
            "general.alignment",
            4,
            &0u32.to_le_bytes(),
        );
        let mut deep = header(3, 0, 1);
        let mut nested = Vec::new();
        for _ in 0..100 {
            nested.extend(9u32.to_le_bytes());
            nested.extend(1u64.to_le_bytes());
        }
        entry(&mut deep, "k", 9, &nested);
        let mut long_key = header(3, 0, 1);
        long_key.extend(u64::MAX.to_le_bytes());

        for (bytes, expected) in [
            (b"".to_vec(), "cut short"),
            (b"GGML\0\0\0\0".to_vec(), "not a GGUF file"),
            (header(9, 0, 0), "version 9"),
            (
                header(3, u64::MAX, 0),
                "claims 18446744073709551615 tensors",
            ),
            (header(3, 0, 60_000), "cut short"),
            (absurd_array, "cut short"),
            (no_alignment, "alignment of 0"),
            (deep, "too deep"),
            (long_key, "cut short"),
        ] {
            let reason = read_header(&bytes).unwrap_err();
            assert!(reason.contains(expected), "{reason:?} lacks {expected:?}");
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = valid();
        for end in 0..bytes.len() {
            assert!(read_header(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    proptest! {
        /// Damage anywhere gives a value or an error, never a panic or a large allocation.
        #[test]
        fn damage_is_survived(at in 0usize..200, byte: u8, end in 0usize..400) {
            let mut bytes = valid();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(end.max(1));
            let _ = read_header(&bytes);
        }
    }
}
