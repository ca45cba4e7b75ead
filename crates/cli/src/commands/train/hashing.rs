//! How a trained ranker names its datasets: file name and SHA-256.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use sha2::{Digest, Sha256};

pub fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

pub fn hash_of(path: &Path) -> anyhow::Result<String> {
    let unreadable = || format!("cannot read {}", path.display());
    let mut hash = Sha256::new();
    io::copy(
        &mut File::open(path).with_context(unreadable)?,
        &mut Hashed(&mut hash),
    )
    .with_context(unreadable)?;
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Lets bytes be copied into a hash.
struct Hashed<'a>(&'a mut Sha256);

impl io::Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
