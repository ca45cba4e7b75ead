//! From a path to filings: opens, recognises, reads, names, divides into sections.
//!
//! One bad file never loses the others: everything that can go wrong with one is its own error. Must
//! not know how an index stores what comes out.

mod expand;

use crate::input::clean::ceil_boundary;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::html;
use crate::input::detect::{self, Kind};
use crate::input::submission;
use crate::input::unpack::{self, Unpacked};
use crate::input::{ReadOptions, decode, unreadable};
use crate::manifest::ManifestEntry;
use crate::meta::{self, Known, Origin};
use crate::pages::{self, PageFilings};
use crate::sections;
use crate::transcript;
use crate::types::{Filing, Form};
use crate::{FilingsError, Warning, WarningCode};

pub use expand::{ImportItem, expand};

/// A filing with what was doubtful about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The filing.
    pub filing: Filing,
    /// What the readers doubted, in the order of reading.
    pub warnings: Vec<Warning>,
}

/// The filings of one file, in its order; an item that is an error does not end the rest.
pub type Readings = Box<dyn Iterator<Item = Result<Reading, FilingsError>> + Send>;

/// Reads a file: one filing, several for a full submission with exhibits, one per document of a page
/// corpus (which streams).
///
/// # Errors
/// When the file cannot be opened or is nothing that can be read; what is wrong with one of several
/// filings comes as an item.
pub fn read_path(path: &Path, options: &ReadOptions) -> Result<Readings, FilingsError> {
    let unpacked = unpack::open(path)?;
    if pages::is_page_corpus(unpacked.head()) {
        return Ok(Box::new(PageFilings::new(unpacked.into_stream(), options)));
    }
    let readings = read_document(path, unpacked, options)?;
    Ok(Box::new(readings.into_iter()))
}

/// Everything about a document's surroundings that its own text does not say.
struct Surroundings<'a> {
    path: &'a Path,
    source: String,
    entry: Option<&'a ManifestEntry>,
    header: Option<Known>,
    exhibit: Option<&'a Form>,
    sha256: String,
}

fn read_document(
    path: &Path,
    unpacked: Unpacked,
    options: &ReadOptions,
) -> Result<Vec<Result<Reading, FilingsError>>, FilingsError> {
    if unpacked.head().trim_ascii_start().starts_with(b"{") {
        let refusal = if memchr::memmem::find(unpacked.head(), b"\"file\"").is_some() {
            (
                "is a manifest or a list, no filing",
                "import the folder it describes",
            )
        } else {
            (
                "is JSON, but no page corpus",
                "page records are one per line and have the fields doc, page and text",
            )
        };
        return Err(unreadable(path, refusal.0, refusal.1));
    }
    let bytes = unpacked.read_document(options.max_document_bytes)?;
    let sha256 = meta::hex(&Sha256::digest(&bytes));
    let (entry, mut warnings) = options.manifests.lookup(path)?;
    if let Some(entry) = &entry {
        warnings.extend(
            entry
                .doubts
                .iter()
                .map(|doubt| Warning::new(WarningCode::MetaMissing, doubt)),
        );
        if entry
            .sha256
            .as_ref()
            .is_some_and(|stated| !stated.eq_ignore_ascii_case(&sha256))
        {
            warnings.push(Warning::new(
                WarningCode::ManifestDisagrees,
                "the file is not the one the manifest describes: its SHA-256 differs",
            ));
        }
    }
    let (text, encoding) = decode::decode(bytes);
    warnings.extend(encoding);
    let kind = match detect::detect(&text) {
        Ok(Kind::PlainFiling | Kind::Transcript) if entry.as_ref().is_some_and(|e| e.is_call) => {
            Kind::Transcript
        }
        Ok(kind) => kind,
        // A manifest that names the form vouches for a text that does not say what it is.
        Err(refusal) => match entry.as_ref() {
            Some(entry) if entry.is_call && is_plain(&text) => Kind::Transcript,
            Some(entry) if entry.form.is_some() && is_plain(&text) => Kind::PlainFiling,
            _ => return Err(unreadable(path, refusal.reason, refusal.mend)),
        },
    };
    let source = entry
        .as_ref()
        .and_then(|e| e.url.clone())
        .unwrap_or_else(|| path.display().to_string());
    let around = Surroundings {
        path,
        source,
        entry: entry.as_ref(),
        header: None,
        exhibit: None,
        sha256,
    };
    Ok(match kind {
        Kind::Submission => read_submission(&text, &around, &warnings),
        Kind::Transcript => vec![read_call(&text, around, warnings)],
        Kind::Html | Kind::PlainFiling => vec![read_filing(&text, kind, around, warnings)],
    })
}

/// Text that is no markup, no JSON and not empty.
fn is_plain(text: &str) -> bool {
    let start = text.trim_start();
    !start.is_empty() && !start.starts_with(['{', '[', '<'])
}

fn read_submission(
    text: &str,
    around: &Surroundings<'_>,
    warnings: &[Warning],
) -> Vec<Result<Reading, FilingsError>> {
    let (header, documents) = submission::split(text);
    if documents.is_empty() {
        return vec![Err(unreadable(
            around.path,
            "is a submission without a document that can be read",
            "fetch the full submission again",
        ))];
    }
    documents
        .iter()
        .enumerate()
        .map(|(index, document)| {
            let mut warnings = warnings.to_vec();
            if document.truncated {
                warnings.push(Warning::new(
                    WarningCode::Markup,
                    "the submission ends inside this document",
                ));
            }
            let primary = index == 0;
            let mut known = Known::from(&header);
            if !primary {
                known.form = Some(document.form.clone());
            }
            let around = Surroundings {
                path: around.path,
                source: around.source.clone(),
                entry: around.entry.filter(|_| primary),
                header: Some(known),
                exhibit: (!primary).then_some(&document.form),
                sha256: meta::hex(&Sha256::digest(document.text.as_bytes())),
            };
            let kind = match detect::detect(document.text) {
                Ok(Kind::Html) => Kind::Html,
                Ok(_) => Kind::PlainFiling,
                Err(_) if is_plain(document.text) => Kind::PlainFiling,
                Err(refusal) => {
                    let name = document.file.unwrap_or(document.form.as_str());
                    let place = format!("{} ({name})", around.path.display());
                    return Err(unreadable(place, refusal.reason, refusal.mend));
                }
            };
            read_filing(document.text, kind, around, warnings)
        })
        .collect()
}

fn read_filing(
    source: &str,
    kind: Kind,
    around: Surroundings<'_>,
    mut warnings: Vec<Warning>,
) -> Result<Reading, FilingsError> {
    if kind == Kind::Html && is_cut_short(source) {
        warnings.push(Warning::new(
            WarningCode::Markup,
            "the document has no end tag: it may have been cut short",
        ));
    }
    let (body, doubts) = html::read_html(source);
    warnings.extend(doubts);
    if body.text.trim().is_empty() {
        return Err(unreadable(
            around.path,
            "has markup but no visible text",
            "fetch it again, or import the document that holds the text",
        ));
    }
    let stated = around.entry.map(Known::from);
    let facts = meta::from_facts(&body.facts);
    let form = stated
        .as_ref()
        .and_then(|known| known.form.clone())
        .or_else(|| around.exhibit.cloned())
        .or_else(|| around.header.as_ref().and_then(|known| known.form.clone()))
        .or_else(|| facts.form.clone())
        .or_else(|| exhibit_in_name(around.path));
    let cover = meta::from_cover(&body.text, form.as_ref());
    let mut known: Vec<Known> = around.header.into_iter().collect();
    known.push(facts);
    known.push(Known {
        form: exhibit_in_name(around.path),
        ..Known::default()
    });
    known.push(cover);
    let path = around.path.to_string_lossy();
    let origin = Origin {
        source: around.source,
        path: &path,
        exhibit: around.exhibit,
        sha256: around.sha256,
    };
    let meta = meta::merge(origin, stated.as_ref(), &known, &mut warnings).ok_or_else(|| {
        unreadable(
            around.path,
            "says nowhere what form it is",
            "name its form in a manifest.jsonl beside it: {\"file\":\"…\",\"form\":\"10-K\"}",
        )
    })?;
    let (sections, doubts) = sections::find(&meta.form, &body.text, &body.blocks);
    warnings.extend(doubts);
    Ok(Reading {
        filing: Filing {
            meta,
            text: body.text,
            blocks: body.blocks,
            sections,
            facts: body.facts,
            pages: Vec::new(),
            turns: Vec::new(),
        },
        warnings,
    })
}

/// A press release does not say "EX-99.1" on its face; its file name does.
fn exhibit_in_name(path: &Path) -> Option<Form> {
    meta::form_in_name(&path.to_string_lossy()).filter(|form| form.as_str().starts_with("EX-"))
}

fn read_call(
    source: &str,
    around: Surroundings<'_>,
    mut warnings: Vec<Warning>,
) -> Result<Reading, FilingsError> {
    let call = transcript::read(source);
    warnings.extend(call.warnings);
    let stated = around.entry.map(Known::from);
    let path = around.path.to_string_lossy();
    let origin = Origin {
        source: around.source,
        path: &path,
        exhibit: None,
        sha256: around.sha256,
    };
    let known = [Known::from(&call.header)];
    let meta = meta::merge(origin, stated.as_ref(), &known, &mut warnings)
        .ok_or_else(|| unreadable(around.path, "has no usable name", "rename the file"))?;
    Ok(Reading {
        filing: Filing {
            meta,
            text: call.text,
            blocks: call.blocks,
            sections: call.sections,
            facts: Vec::new(),
            pages: Vec::new(),
            turns: call.turns,
        },
        warnings,
    })
}

/// An HTML document that opens and never closes.
fn is_cut_short(source: &str) -> bool {
    let opening = detect::prefix(source, 4 << 10).to_ascii_lowercase();
    let tail_start = ceil_boundary(source, source.len().saturating_sub(4 << 10));
    let tail = source[tail_start..].to_ascii_lowercase();
    opening.contains("<html") && !tail.contains("</html") && !tail.contains("</body")
}
