//! Where the parts of a corpus lie on disk, its format version, and the import lock.
//!
//! ```text
//! corpus.json    {"format": 1}
//! lock           held by a running import, with its process id
//! index/         tantivy
//! filings/ab/…   each filing whole, named by the SHA-256 of the file
//! ```
//! This module must not know what stands in the index or in a filing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::IndexError;

/// The version of schema and files that this program writes and reads.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct FormatFile {
    format: u32,
}

/// The paths of one corpus.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub root: PathBuf,
}

impl Layout {
    pub fn new(root: &Path) -> Layout {
        Layout {
            root: root.to_path_buf(),
        }
    }

    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    pub fn filings(&self) -> PathBuf {
        self.root.join("filings")
    }

    fn format_file(&self) -> PathBuf {
        self.root.join("corpus.json")
    }

    /// Checks the format version; false where there is no corpus yet.
    pub fn check_format(&self) -> Result<bool, IndexError> {
        let path = self.format_file();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Without a version file nothing of ours can be below; something else's files must
                // not be taken for a corpus, nor overwritten by one.
                if self.index().exists() {
                    return Err(IndexError::damaged(&path, "the format file is missing"));
                }
                return Ok(false);
            }
            Err(error) => return Err(IndexError::io(&path)(error)),
        };
        match serde_json::from_slice::<FormatFile>(&bytes) {
            Ok(FormatFile { format: FORMAT }) => Ok(true),
            Ok(FormatFile { format }) => Err(IndexError::damaged(
                &path,
                format!("the corpus has format {format}, this program knows format {FORMAT}"),
            )),
            Err(error) => Err(IndexError::damaged(&path, format!("unreadable: {error}"))),
        }
    }

    /// Makes the folders and the format file of a new corpus.
    pub fn create(&self) -> Result<(), IndexError> {
        for folder in [self.root.clone(), self.filings()] {
            fs::create_dir_all(&folder).map_err(IndexError::io(&folder))?;
        }
        let content = serde_json::to_vec(&FormatFile { format: FORMAT }).unwrap_or_default();
        write_whole(&self.format_file(), &content)?;
        sync(&self.format_file())?;
        sync(&self.root)
    }

    /// Takes the import lock. The system lets go of it when the process ends, however it ends, so
    /// a lock file left by a killed import blocks nobody.
    pub fn lock(&self) -> Result<File, IndexError> {
        fs::create_dir_all(&self.root).map_err(IndexError::io(&self.root))?;
        let path = self.root.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(IndexError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The id is a courtesy of the message; the lock holds without it.
                let _ = file.read_to_string(&mut holder);
                return Err(IndexError::Locked {
                    path,
                    holder: holder.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(IndexError::io(&path)(error)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(IndexError::io(&path))?;
        Ok(file)
    }
}

/// Prefix of files not yet complete; collected by the next import when a crash leaves one.
pub(crate) const TEMPORARY: &str = "tmp-";

/// Writes a file so that whoever sees its name sees all of it, and a killed process leaves nothing
/// under that name. Only [`sync`] makes it outlast a power cut.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), IndexError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!("{TEMPORARY}{}-{name}", std::process::id()));
    fs::write(&temporary, bytes).map_err(IndexError::io(&temporary))?;
    fs::rename(&temporary, path).map_err(IndexError::io(path))
}

/// Waits until a file, or the names in a folder, are on the disk.
pub(crate) fn sync(path: &Path) -> Result<(), IndexError> {
    // Elsewhere a folder cannot be opened as a file, and renames are durable by themselves.
    if cfg!(not(unix)) && path.is_dir() {
        return Ok(());
    }
    let file = File::open(path).map_err(IndexError::io(path))?;
    file.sync_all().map_err(IndexError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_import_is_refused_by_name_and_a_dead_ones_lock_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        let held = layout.lock().unwrap();
        match layout.lock() {
            Err(IndexError::Locked { holder, .. }) => {
                assert_eq!(holder, Some(std::process::id()));
            }
            other => panic!("{other:?}"),
        }
        drop(held);
        assert!(folder.path().join("lock").exists());
        layout.lock().unwrap();
    }

    #[test]
    fn another_format_is_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        assert!(!layout.check_format().unwrap());
        layout.create().unwrap();
        assert!(layout.check_format().unwrap());
        for (content, part) in [("{\"format\":99}", "format 99"), ("nonsense", "unreadable")] {
            fs::write(layout.format_file(), content).unwrap();
            let message = layout.check_format().unwrap_err().to_string();
            assert!(
                message.contains(part) && message.contains("corpus import"),
                "{message}"
            );
        }
        fs::remove_file(layout.format_file()).unwrap();
        fs::create_dir(layout.index()).unwrap();
        assert!(layout.check_format().is_err());
    }
}
