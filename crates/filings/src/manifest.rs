//! `manifest.jsonl`: what is known of the files of a folder, one JSON record a line.
//!
//! A manifest is written by whoever collected the files (a person, `corpus get`); its values win over
//! what a file says of itself, and a disagreement is a warning. Unknown fields are ignored. This module
//! must not open the files that a manifest describes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use jiff::civil::Date;
use regex::Regex;
use serde::Deserialize;

use crate::types::{Accession, Cik, FiscalPeriod, Form, Ticker};
use crate::{FilingsError, Warning, WarningCode};

/// The file's name in every folder.
pub const MANIFEST_NAME: &str = "manifest.jsonl";

/// No real manifest comes near this; a larger one is refused rather than held in memory.
const MAX_BYTES: u64 = 256 << 20;

/// What a manifest says of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManifestEntry {
    /// Name in the corpus.
    pub accession: Option<Accession>,
    /// Company name.
    pub company: Option<String>,
    /// Exchange symbol.
    pub ticker: Option<Ticker>,
    /// SEC's filer number.
    pub cik: Option<Cik>,
    /// The form; a transcript's manifest may leave it out.
    pub form: Option<Form>,
    /// Fiscal year or quarter covered.
    pub fiscal_period: Option<FiscalPeriod>,
    /// A fiscal year without a quarter, as some manifests of quarterly reports give it.
    pub fiscal_year: Option<u16>,
    /// Last day covered, or the day of the event or call.
    pub period_end: Option<Date>,
    /// Day of filing.
    pub filed: Option<Date>,
    /// Where it was fetched from.
    pub url: Option<String>,
    /// SHA-256 of the unpacked bytes, hex.
    pub sha256: Option<String>,
    /// Whether the record describes an earnings call (it says so, or how its speakers are laid out).
    pub is_call: bool,
    /// Fields that were there and could not be understood, as sentences.
    pub doubts: Vec<String>,
}

/// A manifest record as written; everything is optional and of any type, so that one odd value never
/// loses the rest.
#[derive(Deserialize)]
struct Record {
    #[serde(alias = "path", alias = "file_name")]
    file: String,
    #[serde(flatten)]
    fields: HashMap<String, serde_json::Value>,
}

impl Record {
    /// The first of `names` that has a value, as text.
    fn text(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| match self.fields.get(*name)? {
            serde_json::Value::String(text) if !text.trim().is_empty() => {
                Some(text.trim().to_owned())
            }
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }

    fn into_entry(self) -> (String, ManifestEntry) {
        let mut doubts = Vec::new();
        let form = self
            .text(&["form", "form_type", "doc_type"])
            .map(|text| form_of(&text));
        let fiscal = self.text(&["fiscal_period", "period"]);
        let day = parsed(
            &mut doubts,
            "period_end",
            self.text(&[
                "period_end",
                "report_date",
                "period_of_report",
                "date",
                "call_date",
            ]),
        );
        // Page corpora put a date where others have a period.
        let fiscal_day = fiscal.as_deref().and_then(|text| text.parse::<Date>().ok());
        let fiscal_year: Option<u16> =
            parsed(&mut doubts, "fiscal_year", self.text(&["fiscal_year"]));
        let quarter = self
            .text(&["fiscal_quarter", "quarter"])
            .and_then(|text| text.trim_start_matches(['Q', 'q']).parse::<u8>().ok())
            .filter(|quarter| (1..=4).contains(quarter));
        let fiscal_period = match (fiscal_day, fiscal) {
            (None, Some(text)) if text.starts_with(['Q', 'F']) && text.len() == 2 => {
                period_of(fiscal_year, &text)
            }
            (None, Some(text)) => parsed(&mut doubts, "fiscal_period", Some(text)),
            _ => match (fiscal_year, quarter) {
                (Some(year), Some(quarter)) => Some(FiscalPeriod::quarter(year, quarter)),
                _ => None,
            },
        };
        let accession = parsed(
            &mut doubts,
            "accession",
            self.text(&["accession", "accession_number"]),
        )
        .or_else(|| {
            self.text(&["url", "source_url", "source_file"])
                .and_then(|text| accession_in(&text))
        });
        let entry = ManifestEntry {
            accession,
            company: self.text(&["company", "company_name", "name"]),
            ticker: parsed(&mut doubts, "ticker", self.text(&["ticker", "symbol"])),
            cik: parsed(&mut doubts, "cik", self.text(&["cik"])),
            is_call: self.fields.contains_key("speaker_names")
                || form.as_ref().is_some_and(|f| f.as_str() == "EARNINGS CALL"),
            form,
            fiscal_period,
            fiscal_year,
            period_end: day.or(fiscal_day),
            filed: parsed(
                &mut doubts,
                "filed",
                self.text(&["filed", "filing_date", "filed_date", "date_filed"]),
            ),
            url: self
                .text(&["url", "source_url"])
                .filter(|url| url.starts_with("http")),
            sha256: self.text(&["sha256"]),
            doubts,
        };
        (self.file, entry)
    }
}

/// `value` parsed, or a doubt written down.
fn parsed<T: std::str::FromStr>(
    doubts: &mut Vec<String>,
    field: &str,
    value: Option<String>,
) -> Option<T> {
    let value = value?;
    let parsed = value.parse().ok();
    if parsed.is_none() {
        let shown: String = value.chars().take(64).collect();
        doubts.push(format!("the manifest's {field} {shown:?} cannot be read"));
    }
    parsed
}

/// `FY` and `Q3` beside a fiscal year.
fn period_of(year: Option<u16>, focus: &str) -> Option<FiscalPeriod> {
    let year = year?;
    match focus.as_bytes() {
        b"FY" => Some(FiscalPeriod::year(year)),
        [b'Q', digit @ b'1'..=b'4'] => Some(FiscalPeriod::quarter(year, digit - b'0')),
        _ => None,
    }
}

/// A manifest's form may carry the parent's: `8-K EX-99.1` is the exhibit.
fn form_of(text: &str) -> Form {
    match text
        .split_whitespace()
        .find(|word| word.to_ascii_uppercase().starts_with("EX-"))
    {
        Some(exhibit) => Form::new(exhibit),
        None => Form::new(text),
    }
}

/// SEC's accession number in an EDGAR path or file name, in either of its two spellings
/// (`0000320193-23-000106`, or 18 digits as a folder of the archive).
pub(crate) fn accession_in(text: &str) -> Option<Accession> {
    static DASHED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?:^|[^0-9])(\d{10}-\d{2}-\d{6})(?:[^0-9]|$)").expect("a valid pattern")
    });
    static PLAIN: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?:^|/)(\d{10})(\d{2})(\d{6})(?:/|\.|-index|$)").expect("a valid pattern")
    });
    if let Some(found) = DASHED.captures(text) {
        return found[1].parse().ok();
    }
    let found = PLAIN.captures(text)?;
    format!("{}-{}-{}", &found[1], &found[2], &found[3])
        .parse()
        .ok()
}

/// The manifest of one folder.
#[derive(Debug, Default)]
pub struct Manifest {
    entries: HashMap<String, ManifestEntry>,
    warnings: Vec<Warning>,
}

impl Manifest {
    /// Reads `path`, a `manifest.jsonl`. Lines that are no record are warnings.
    ///
    /// # Errors
    /// When the file cannot be read or is implausibly large.
    pub fn read(path: &Path) -> Result<Manifest, FilingsError> {
        let io_error = |source| FilingsError::Io {
            path: path.to_path_buf(),
            source,
        };
        let bytes = std::fs::metadata(path).map_err(io_error)?.len();
        if bytes > MAX_BYTES {
            return Err(FilingsError::Unreadable {
                path: path.display().to_string(),
                reason: format!("is larger than {} MiB", MAX_BYTES >> 20),
                mend: "split the folder and its manifest".to_owned(),
            });
        }
        let text = std::fs::read(path).map_err(io_error)?;
        Ok(Manifest::parse(&String::from_utf8_lossy(&text)))
    }

    /// Reads the text of a manifest.
    pub fn parse(text: &str) -> Manifest {
        let mut manifest = Manifest::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() {
                continue;
            }
            match serde_json::from_str::<Record>(line) {
                Ok(record) => {
                    let (file, entry) = record.into_entry();
                    manifest.entries.insert(file, entry);
                }
                Err(e) => manifest.warnings.push(Warning::new(
                    WarningCode::RecordSkipped,
                    format!("{MANIFEST_NAME}:{}: no record with a file: {e}", number + 1),
                )),
            }
        }
        manifest
    }

    /// What is said of the file `name` (a path relative to the manifest's folder), with or without its
    /// packing extension.
    pub fn entry(&self, name: &str) -> Option<&ManifestEntry> {
        let bare = crate::input::unpack::unpacked_name(name);
        self.entries
            .get(name)
            .or_else(|| self.entries.get(bare))
            .or_else(|| {
                [".zst", ".gz"]
                    .iter()
                    .find_map(|packing| self.entries.get(&format!("{bare}{packing}")))
            })
    }

    /// Lines of the manifest that could not be used.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// Manifests read so far, by path; one that changed on disk is read again.
#[derive(Debug, Default)]
pub(crate) struct ManifestCache {
    read: Mutex<HashMap<PathBuf, Cached>>,
}

type Stamp = (Option<SystemTime>, u64);

#[derive(Debug)]
struct Cached {
    stamp: Stamp,
    manifest: Arc<Manifest>,
}

impl ManifestCache {
    /// What the manifest beside `file`, or in the folder above (which then names `folder/file`), says
    /// of it. Doubts about the manifest itself come along once per reading of the manifest.
    pub(crate) fn lookup(
        &self,
        file: &Path,
    ) -> Result<(Option<ManifestEntry>, Vec<Warning>), FilingsError> {
        let Some(mut name) = file.file_name().map(|n| n.to_string_lossy().into_owned()) else {
            return Ok((None, Vec::new()));
        };
        let mut warnings = Vec::new();
        let mut folder = file.parent();
        for _ in 0..3 {
            let Some(at) = folder else { break };
            let path = at.join(MANIFEST_NAME);
            if let Ok(metadata) = std::fs::metadata(&path) {
                let stamp = (metadata.modified().ok(), metadata.len());
                let manifest = self.manifest(&path, stamp, &mut warnings)?;
                if let Some(entry) = manifest.entry(&name) {
                    return Ok((Some(entry.clone()), warnings));
                }
            }
            let Some(folder_name) = at.file_name() else {
                break;
            };
            name = format!("{}/{name}", folder_name.to_string_lossy());
            folder = at.parent();
        }
        Ok((None, warnings))
    }

    fn manifest(
        &self,
        path: &Path,
        stamp: Stamp,
        warnings: &mut Vec<Warning>,
    ) -> Result<Arc<Manifest>, FilingsError> {
        // A panic elsewhere while holding the lock cannot leave a map half written.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = read.get(path)
            && cached.stamp == stamp
        {
            return Ok(Arc::clone(&cached.manifest));
        }
        let manifest = Arc::new(Manifest::read(path)?);
        warnings.extend_from_slice(manifest.warnings());
        read.insert(
            path.to_path_buf(),
            Cached {
                stamp,
                manifest: Arc::clone(&manifest),
            },
        );
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_shape_of_record() {
        let manifest = Manifest::parse(
            r#"{"file":"a.html.zst","form":"10-Q","company":"Quill Co","ticker":"QLL","cik":"0000012345","fiscal_year":2023,"period_end":"2023-06-30","sector":"paper","source_file":"10-Q/QLL/0000012345-23-000077/primary-document.html"}
{"file":"call.txt","company":"Quill Co","fiscal_period":"2021Q3","date":null,"speaker_names":false}

not json
{"file":"x/press.htm","form":"8-K EX-99.1","url":"https://www.sec.gov/Archives/edgar/data/12345/000001234523000078/press.htm","fiscal_year":2024,"fiscal_period":"Q2","filing_date":"2024-05-02"}
{"file":"odd.htm","cik":"none","fiscal_year":"soon"}
"#,
        );
        let quarterly = manifest.entry("a.html").unwrap();
        assert_eq!(quarterly.fiscal_year, Some(2023));
        assert_eq!(quarterly.cik, Some(Cik(12345)));
        assert_eq!(
            quarterly.accession.as_ref().unwrap().as_str(),
            "0000012345-23-000077"
        );
        let call = manifest.entry("call.txt.gz").unwrap();
        assert!(call.is_call);
        assert_eq!(call.fiscal_period, Some(FiscalPeriod::quarter(2021, 3)));
        let exhibit = manifest.entry("x/press.htm").unwrap();
        assert_eq!(exhibit.form, Some(Form::new("EX-99.1")));
        assert_eq!(exhibit.fiscal_period, Some(FiscalPeriod::quarter(2024, 2)));
        assert_eq!(
            exhibit.accession.as_ref().unwrap().as_str(),
            "0000012345-23-000078"
        );
        assert_eq!(manifest.entry("odd.htm").unwrap().doubts.len(), 2);
        assert_eq!(manifest.warnings().len(), 1);
        assert!(manifest.warnings()[0].message.contains("manifest.jsonl:4"));
    }

    #[test]
    fn finds_the_record_in_the_folder_above_and_notices_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("QLL");
        std::fs::create_dir(&below).unwrap();
        let manifest = folder.path().join(MANIFEST_NAME);
        std::fs::write(&manifest, "{\"file\":\"QLL/a.htm\",\"form\":\"10-K\"}\n").unwrap();
        let cache = ManifestCache::default();
        let file = below.join("a.htm");
        let (entry, _) = cache.lookup(&file).unwrap();
        assert_eq!(entry.unwrap().form, Some(Form::new("10-K")));
        std::fs::write(&manifest, "{\"file\":\"QLL/a.htm\",\"form\":\"10-K/A\"}\n").unwrap();
        let (entry, _) = cache.lookup(&file).unwrap();
        assert_eq!(entry.unwrap().form, Some(Form::new("10-K/A")));
        assert_eq!(cache.lookup(&below.join("b.htm")).unwrap().0, None);
    }
}
