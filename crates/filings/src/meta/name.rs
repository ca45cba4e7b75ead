//! What a file's name tells: a stable name for the corpus, and the form as a last resort.

use std::fmt::Write;
use std::sync::LazyLock;

use regex::Regex;

use crate::input::unpack::unpacked_name;
use crate::types::{Accession, Form};

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// `text` as an [`Accession`]: what is not allowed becomes a hyphen.
pub(crate) fn slug(text: &str) -> Option<Accession> {
    let mut out = String::new();
    for c in text.chars() {
        let allowed = c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '&');
        if allowed {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
        if out.len() == 120 {
            break;
        }
    }
    while out.contains("..") {
        out = out.replace("..", ".");
    }
    out.trim_matches(|c| matches!(c, '-' | '.')).parse().ok()
}

/// The name of a file that has no accession number: its stem as a slug. Names of nothing but other
/// scripts' letters fall back on a hash of the name.
pub(super) fn from_path(path: &str) -> Option<Accession> {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let stem = unpacked_name(file);
    let stem = [".html", ".htm", ".txt", ".xhtml", ".jsonl"]
        .iter()
        .find_map(|extension| {
            let cut = stem.len().checked_sub(extension.len())?;
            stem.get(cut..)?
                .eq_ignore_ascii_case(extension)
                .then(|| &stem[..cut])
        })
        .unwrap_or(stem);
    // Names like `primary-document.html` say nothing; the folder does.
    let generic = [
        "primary-document",
        "primary_doc",
        "index",
        "filing",
        "full-submission",
    ]
    .iter()
    .any(|name| stem.eq_ignore_ascii_case(name));
    let folder = path.rsplit(['/', '\\']).nth(1).filter(|_| generic);
    let named = match folder {
        Some(folder) => slug(&format!("{folder}-{stem}")),
        None => slug(stem),
    };
    named.or_else(|| {
        use sha2::Digest;
        format!(
            "file-{}",
            &hex(&sha2::Sha256::digest(stem.as_bytes()))[..12]
        )
        .parse()
        .ok()
    })
}

/// The form that a file's or document's name states: `AMD_10K_FY2023`, `CBT_DEF14A_2024`, `ex99-1`.
pub(crate) fn form_in_name(path: &str) -> Option<Form> {
    static EXHIBIT: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?i)(?:^|[^a-z]|\d)ex(?:hibit)?[-_]?99[-_.]?(\d)?").expect("a valid pattern")
    });
    static FORM: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?i)(?:^|[^a-z0-9]|d\d)(?:(10-?k(?:405)?|10-?q|8-?k)|(def[ _-]?14a)|earnings)(?:[^a-z0-9]|$)",
        )
        .expect("a valid pattern")
    });
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    if let Some(found) = EXHIBIT.captures(file) {
        let number = found.get(1).map_or("1", |n| n.as_str());
        return Some(Form::new(&format!("EX-99.{number}")));
    }
    let found = FORM.captures(file)?;
    let name = match (found.get(1), found.get(2)) {
        (Some(name), _) => {
            let bare = name.as_str().to_ascii_uppercase().replace('-', "");
            let (number, rest) = bare.split_at(bare.find(['K', 'Q'])?);
            format!("{number}-{rest}")
        }
        (_, Some(_)) => "DEF 14A".to_owned(),
        _ => "EARNINGS CALL".to_owned(),
    };
    Some(Form::new(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_files() {
        for (path, name) in [
            ("data/AMD_10K_FY2023.html.zst", "AMD_10K_FY2023"),
            ("a b (1).htm", "a-b-1"),
            ("QLL-23/primary-document.html", "QLL-23-primary-document"),
            ("..evil...txt", "evil"),
        ] {
            assert_eq!(from_path(path).unwrap().as_str(), name, "{path}");
        }
        assert!(
            from_path("данные.html")
                .unwrap()
                .as_str()
                .starts_with("file-")
        );
    }

    #[test]
    fn finds_the_form_in_a_name() {
        for (path, form) in [
            ("AMD_10K_FY2023.html", Some("10-K")),
            ("X_10Q_2018Q2.html", Some("10-Q")),
            ("CBT_DEF14A_2024-03-07.html", Some("DEF 14A")),
            ("BKE_8K_EX99-1_2024.html", Some("EX-99.1")),
            ("q3-ex991.htm", Some("EX-99.1")),
            ("tm2312345d1_8k.htm", Some("8-K")),
            ("AMCOR_2022_8K_dated-2022", Some("8-K")),
            ("notes.txt", None),
        ] {
            assert_eq!(form_in_name(path), form.map(Form::new), "{path}");
        }
    }
}
