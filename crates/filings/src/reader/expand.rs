//! Which files below the given paths are to be imported.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::FilingsError;
use crate::input::unpack::{self, unpacked_name};
use crate::pages;

/// Deeper folders are a loop or a mistake.
const MAX_DEPTH: usize = 32;

/// A file to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportItem {
    /// The file.
    pub path: PathBuf,
    /// Its size on disk, for progress.
    pub size_bytes: u64,
}

/// The files named by `paths` and those below the folders among them, folders in the order of their
/// names, each file once. What stands beside filings (manifests, document lists, answer keys, READMEs,
/// other JSON) is left out of folders; a file that is named itself is always tried.
pub fn expand<P: AsRef<Path>>(paths: &[P]) -> Vec<Result<ImportItem, FilingsError>> {
    let mut seen = HashSet::new();
    let mut items = Vec::new();
    for path in paths {
        visit(path.as_ref(), 0, &mut seen, &mut items);
    }
    items
}

fn visit(
    path: &Path,
    depth: usize,
    seen: &mut HashSet<PathBuf>,
    items: &mut Vec<Result<ImportItem, FilingsError>>,
) {
    let failed = |source| FilingsError::Io {
        path: path.to_path_buf(),
        source,
    };
    // The true path stops circles of links and a file named twice.
    let metadata = std::fs::metadata(path);
    let (metadata, canonical) = match metadata.and_then(|m| Ok((m, path.canonicalize()?))) {
        Ok(found) => found,
        Err(e) => {
            items.push(Err(failed(e)));
            return;
        }
    };
    if !seen.insert(canonical) {
        return;
    }
    if metadata.is_file() {
        items.push(Ok(ImportItem {
            path: path.to_path_buf(),
            size_bytes: metadata.len(),
        }));
        return;
    }
    if !metadata.is_dir() {
        items.push(Err(failed(ErrorKind::Unsupported.into())));
        return;
    }
    if depth == MAX_DEPTH {
        items.push(Err(failed(ErrorKind::Unsupported.into())));
        return;
    }
    let names = std::fs::read_dir(path).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()
    });
    match names {
        Ok(mut names) => {
            names.sort();
            for below in names {
                if below.is_dir() && !is_hidden(&below) || is_wanted(&below) {
                    visit(&below, depth + 1, seen, items);
                }
            }
        }
        Err(e) => items.push(Err(failed(e))),
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_none_or(|name| name.to_string_lossy().starts_with('.'))
}

/// Whether a file found in a folder may be a filing.
fn is_wanted(path: &Path) -> bool {
    if is_hidden(path) || !path.is_file() {
        return false;
    }
    let Some(name) = path.file_name().map(|n| n.to_string_lossy().to_lowercase()) else {
        return false;
    };
    let name = unpacked_name(&name);
    let beside = [
        "readme",
        "license",
        "licence",
        "notice",
        "copying",
        "changelog",
        "gold",
        "manifest.",
        "docs.json",
        "questions",
    ]
    .iter()
    .any(|start| name.starts_with(start));
    let other = [
        ".md", ".json", ".toml", ".csv", ".py", ".sh", ".tmp", ".part", ".lock", ".sha256", ".xsd",
    ]
    .iter()
    .any(|end| name.ends_with(end));
    if beside || other {
        return false;
    }
    if name.ends_with(".jsonl") || name.ends_with(".ndjson") {
        // Data sets lie beside corpora; an unreadable file is wanted so that its error is seen.
        return unpack::open(path).map_or(true, |file| pages::is_page_corpus(file.head()));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_folders_and_leaves_side_files_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("b/deep")).unwrap();
        for (name, text) in [
            ("manifest.jsonl", "{\"file\":\"a.htm\"}"),
            ("README.md", "about"),
            ("gold_headings.jsonl", "{}"),
            (".hidden", "x"),
            ("a.htm", "<html>"),
            (
                "b/deep/pages.jsonl",
                "{\"doc\":\"d\",\"page\":0,\"text\":\"t\"}",
            ),
            ("b/ranking.jsonl", "{\"id\":1}"),
            ("b/call.txt", "Operator"),
        ] {
            std::fs::write(root.join(name), text).unwrap();
        }
        let items = expand(&[
            root.to_path_buf(),
            root.join("a.htm"),
            root.join("none.htm"),
        ]);
        let found: Vec<String> = items
            .iter()
            .map(|item| match item {
                Ok(item) => item.path.strip_prefix(root).unwrap().display().to_string(),
                Err(e) => format!("error {}", e.to_string().contains("none.htm")),
            })
            .collect();
        assert_eq!(
            found,
            ["a.htm", "b/call.txt", "b/deep/pages.jsonl", "error true"]
        );
        // Named itself, a side file is tried.
        assert!(expand(&[root.join("manifest.jsonl")])[0].is_ok());
    }
}
