//! Filings kept whole beside the index: one zstd file each, named by its own SHA-256.
//!
//! A file is written and made durable before the commit that names it, and removed after the last
//! commit that did, so that a name found in the index is always good. This module must not know of tantivy.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use footnote_filings::{Filing, Warning};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::IndexError;
use crate::layout::{TEMPORARY, sync, write_whole};

/// A filing with what its reader doubted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredFiling {
    /// The filing.
    pub filing: Filing,
    /// The reader's doubts about it.
    pub warnings: Vec<Warning>,
}

/// zstd's own default: slower levels gain a few percent for several times the time.
const LEVEL: i32 = 3;

/// No filing unpacks to more; a damaged or hostile file must not fill the memory.
const LARGEST: u64 = 2 << 30;

/// A file below the folder of filings.
pub(crate) struct BlobFile {
    /// The name the index would call it by; none where it is incomplete or not ours.
    pub name: Option<String>,
    pub path: PathBuf,
    pub bytes: u64,
}

/// The folder of whole filings.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    pub fn new(folder: PathBuf) -> Blobs {
        Blobs { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        let shelf = name.get(..2).unwrap_or("00");
        self.folder.join(shelf).join(format!("{name}.json.zst"))
    }

    /// Writes a filing and gives its name, which no commit may use before [`Blobs::sync`].
    pub fn write(&self, stored: &StoredFiling) -> Result<String, IndexError> {
        let encode = || {
            let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
            serde_json::to_writer(&mut encoder, stored)?;
            encoder.finish()
        };
        let bytes = encode().map_err(IndexError::io(&self.folder))?;
        let name = hex(&bytes);
        let path = self.path(&name);
        // A damaged file of this name is written anew: a forced import mends it.
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(name);
        }
        let shelf = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(shelf).map_err(IndexError::io(shelf))?;
        write_whole(&path, &bytes)?;
        Ok(name)
    }

    /// Makes files durable, all at once because the disk then needs to be waited for only a little
    /// longer than for one.
    pub fn sync(&self, names: &[String]) -> Result<(), IndexError> {
        let mut shelves = BTreeSet::new();
        for name in names {
            let path = self.path(name);
            sync(&path)?;
            shelves.extend(path.parent().map(Path::to_path_buf));
        }
        for shelf in &shelves {
            sync(shelf)?;
        }
        match shelves.is_empty() {
            true => Ok(()),
            false => sync(&self.folder),
        }
    }

    /// Reads a filing and checks it against its name; none where the file is gone.
    pub fn read(&self, name: &str) -> Result<Option<StoredFiling>, IndexError> {
        let path = self.path(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(IndexError::io(&path)(error)),
        };
        if hex(&bytes) != name {
            return Err(IndexError::damaged(
                &path,
                "the file's hash is not its name",
            ));
        }
        let mut json = Vec::new();
        let decoder =
            zstd::Decoder::with_buffer(bytes.as_slice()).map_err(IndexError::io(&path))?;
        std::io::Read::read_to_end(&mut std::io::Read::take(decoder, LARGEST), &mut json)
            .map_err(IndexError::io(&path))?;
        serde_json::from_slice(&json)
            .map(Some)
            .map_err(|error| IndexError::damaged(&path, format!("not a stored filing: {error}")))
    }

    /// Every file in the folder, those that a crash left incomplete too.
    pub fn list(&self) -> Result<Vec<BlobFile>, IndexError> {
        let mut files = Vec::new();
        let shelves = match fs::read_dir(&self.folder) {
            Ok(shelves) => shelves,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(files);
            }
            Err(error) => return Err(IndexError::io(&self.folder)(error)),
        };
        for shelf in shelves {
            let shelf = shelf.map_err(IndexError::io(&self.folder))?.path();
            if !shelf.is_dir() {
                continue;
            }
            for file in fs::read_dir(&shelf).map_err(IndexError::io(&shelf))? {
                let file = file.map_err(IndexError::io(&shelf))?;
                let name = file.file_name().to_string_lossy().into_owned();
                let whole = name.strip_suffix(".json.zst");
                let whole = whole.filter(|name| !name.starts_with(TEMPORARY));
                files.push(BlobFile {
                    name: whole.map(str::to_owned),
                    path: file.path(),
                    // An import may remove a file between the listing and the look.
                    bytes: file.metadata().map_or(0, |metadata| metadata.len()),
                });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Removes what no commit names; how many files. Only under the import lock.
    pub fn collect(&self, named: &HashSet<String>) -> Result<usize, IndexError> {
        let mut removed = 0;
        for file in self.list()? {
            if !file.name.is_some_and(|name| named.contains(&name)) {
                fs::remove_file(&file.path).map_err(IndexError::io(&file.path))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The filings read last, so that showing the footnotes of one answer reads each filing once.
#[derive(Default)]
pub(crate) struct FilingCache {
    kept: Mutex<VecDeque<(String, Arc<StoredFiling>)>>,
}

/// Filings kept; a large one with all its facts takes some ten megabytes.
const FILINGS_KEPT: usize = 8;

impl FilingCache {
    pub fn get(&self, name: &str) -> Option<Arc<StoredFiling>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| known == name)?;
        let entry = kept.remove(at)?;
        let stored = entry.1.clone();
        kept.push_back(entry);
        Some(stored)
    }

    pub fn put(&self, name: &str, stored: Arc<StoredFiling>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= FILINGS_KEPT {
            kept.pop_front();
        }
        kept.push_back((name.to_owned(), stored));
    }
}
