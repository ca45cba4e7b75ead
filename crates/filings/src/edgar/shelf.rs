//! Where fetched documents lie: `DIR/<cik>/<accession>/<file>` and `DIR/manifest.jsonl` beside them.
//!
//! A document appears whole or not at all (temporary file, then rename), and its manifest line is
//! written after it, so a run killed at any moment loses nothing: a document without a line gets
//! one, a line without its document is dropped. One run at a time per folder. No network here.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::listing::Exhibit;
use crate::FilingsError;

const MANIFEST: &str = "manifest.jsonl";
/// A manifest beyond this is no manifest of ours: about 400,000 documents.
const MOST_MANIFEST_BYTES: u64 = 256 * 1024 * 1024;

/// The folder.
pub(super) struct Shelf {
    root: PathBuf,
    /// Size by path below the root, for every document that the manifest lists and that is there.
    listed: BTreeMap<String, u64>,
    manifest: File,
}

/// A document that is there.
pub(super) struct Held {
    pub bytes: u64,
    pub sha256: String,
}

impl Shelf {
    /// Opens or makes the folder and brings its manifest in step with what is there.
    pub(super) fn open(root: &Path) -> Result<Shelf, FilingsError> {
        fs::create_dir_all(root).map_err(|source| io(root, source))?;
        let path = root.join(MANIFEST);
        let mut listed = BTreeMap::new();
        let mut kept: BTreeMap<String, (usize, String)> = BTreeMap::new();
        let mut dropped = false;
        if path.exists() {
            let size = fs::metadata(&path)
                .map_err(|source| io(&path, source))?
                .len();
            if size > MOST_MANIFEST_BYTES {
                return Err(unreadable(&path, format!("{size} bytes are too many")));
            }
            let text = fs::read(&path).map_err(|source| io(&path, source))?;
            let whole = text.last().is_none_or(|last| *last == b'\n');
            let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
            for (at, line) in lines.iter().enumerate() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let record: Result<Value, _> = serde_json::from_slice(line);
                let Ok(record) = record else {
                    // Only the last line can have been cut by a killed run.
                    if at + 1 == lines.len() && !whole {
                        dropped = true;
                        continue;
                    }
                    return Err(unreadable(&path, format!("line {} is no JSON", at + 1)));
                };
                let (Some(file), Some(bytes)) = (record["file"].as_str(), record["bytes"].as_u64())
                else {
                    return Err(unreadable(
                        &path,
                        format!("line {} has no file or bytes", at + 1),
                    ));
                };
                let there = fs::metadata(root.join(file)).is_ok_and(|meta| meta.len() == bytes);
                if there {
                    listed.insert(file.to_owned(), bytes);
                    let line = String::from_utf8_lossy(line).into_owned();
                    dropped |= kept.insert(file.to_owned(), (at, line)).is_some();
                } else {
                    dropped = true;
                }
            }
            dropped |= !whole;
        }
        if dropped {
            let mut lines: Vec<(usize, String)> = kept.into_values().collect();
            lines.sort();
            let mut text = String::new();
            for (_, line) in lines {
                text.push_str(&line);
                text.push('\n');
            }
            write_whole(&path, text.as_bytes())?;
        }
        let manifest = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| io(&path, source))?;
        Ok(Shelf {
            root: root.to_owned(),
            listed,
            manifest,
        })
    }

    /// The size of `file` if the manifest lists it and it is there.
    pub(super) fn size_of_listed(&self, file: &str) -> Option<u64> {
        self.listed.get(file).copied()
    }

    /// A document that is there but was never listed: a run was killed between the two.
    pub(super) fn unlisted(&self, file: &str) -> Result<Option<Held>, FilingsError> {
        let path = self.root.join(file);
        if !path.is_file() {
            return Ok(None);
        }
        let mut reader = File::open(&path).map_err(|source| io(&path, source))?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = reader
                .read(&mut buffer)
                .map_err(|source| io(&path, source))?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            hash.update(&buffer[..read]);
        }
        Ok(Some(Held {
            bytes,
            sha256: hex(&hash.finalize()),
        }))
    }

    /// Puts a document in its place.
    pub(super) fn put(&self, file: &str, body: &[u8]) -> Result<Held, FilingsError> {
        write_whole(&self.root.join(file), body)?;
        Ok(Held {
            bytes: body.len() as u64,
            sha256: hex(&Sha256::digest(body)),
        })
    }

    /// Lists a document that is in its place.
    pub(super) fn list(
        &mut self,
        file: &str,
        bytes: u64,
        record: &Value,
    ) -> Result<(), FilingsError> {
        let line = format!("{record}\n");
        self.manifest
            .write_all(line.as_bytes())
            .map_err(|source| io(&self.root.join(MANIFEST), source))?;
        self.listed.insert(file.to_owned(), bytes);
        Ok(())
    }

    /// The exhibits of a filing, if an earlier run found out what they are.
    pub(super) fn exhibits(&self, folder: &str) -> Option<Vec<Exhibit>> {
        let text = fs::read(self.exhibits_path(folder)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Remembers the exhibits of a filing.
    pub(super) fn put_exhibits(
        &self,
        folder: &str,
        exhibits: &[Exhibit],
    ) -> Result<(), FilingsError> {
        let text = serde_json::to_vec(exhibits).unwrap_or_default();
        write_whole(&self.exhibits_path(folder), &text)
    }

    fn exhibits_path(&self, folder: &str) -> PathBuf {
        self.root.join(folder).join(".exhibits.json")
    }
}

/// Writes `body` so that `path` is either as before or whole.
fn write_whole(path: &Path, body: &[u8]) -> Result<(), FilingsError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|source| io(folder, source))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The same name every time: what a killed run left is overwritten, not collected.
    let part = folder.join(format!(".{name}.part"));
    let mut file = File::create(&part).map_err(|source| io(&part, source))?;
    file.write_all(body)
        .and_then(|()| file.sync_all())
        .map_err(|source| io(&part, source))?;
    fs::rename(&part, path).map_err(|source| io(path, source))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io(path: &Path, source: std::io::Error) -> FilingsError {
    FilingsError::Io {
        path: path.to_owned(),
        source,
    }
}

fn unreadable(path: &Path, reason: String) -> FilingsError {
    FilingsError::Unreadable {
        path: path.display().to_string(),
        reason,
        mend: "take the line out, or fetch into an empty folder".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(file: &str, bytes: u64) -> Value {
        json!({"file": file, "bytes": bytes})
    }

    #[test]
    fn a_killed_run_is_mended_when_the_folder_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let mut shelf = Shelf::open(root).unwrap();
        for file in ["1/a/x.htm", "1/a/y.htm", "1/a/z.htm"] {
            let held = shelf.put(file, b"0123456789").unwrap();
            shelf
                .list(file, held.bytes, &record(file, held.bytes))
                .unwrap();
        }
        shelf.put("1/b/late.htm", b"unlisted").unwrap();
        drop(shelf);
        // One document lost, one overwritten by something shorter, the last line cut.
        fs::remove_file(root.join("1/a/x.htm")).unwrap();
        fs::write(root.join("1/a/y.htm"), b"short").unwrap();
        let mut manifest = OpenOptions::new()
            .append(true)
            .open(root.join(MANIFEST))
            .unwrap();
        manifest.write_all(b"{\"file\":\"1/b/la").unwrap();

        let shelf = Shelf::open(root).unwrap();
        assert_eq!(shelf.size_of_listed("1/a/x.htm"), None);
        assert_eq!(shelf.size_of_listed("1/a/y.htm"), None);
        assert_eq!(shelf.size_of_listed("1/a/z.htm"), Some(10));
        assert_eq!(shelf.unlisted("1/b/late.htm").unwrap().unwrap().bytes, 8);
        let text = fs::read_to_string(root.join(MANIFEST)).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn a_spoilt_line_in_the_middle_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST), "{}\nnot json\n").unwrap();
        let Err(error) = Shelf::open(folder.path()) else {
            panic!("opened");
        };
        assert!(error.to_string().contains("line 1 has no file"), "{error}");
        fs::write(folder.path().join(MANIFEST), "not json\n{}\n").unwrap();
        let Err(error) = Shelf::open(folder.path()) else {
            panic!("opened");
        };
        assert!(error.to_string().contains("line 1 is no JSON"), "{error}");
    }
}
