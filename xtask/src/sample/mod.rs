//! The sample corpus: four invented companies' filings, their manifest, and questions whose right
//! answers are known because the generator made them.
//!
//! The same code always gives the same bytes, so the checked-in files can be compared with it.

mod annual;
mod answers;
mod call;
mod companies;
mod company;
mod current;
mod figures;
mod html;
mod parts;
mod proxy;
mod quarterly;
mod statements;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use jiff::civil::Date;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use company::{Books, Company};

/// Where the sample stands in the repository.
pub const FOLDER: &str = "corpora/sample";

/// The sample must stay small enough to be checked in.
const MOST_BYTES: usize = 1_500_000;

/// A document of the sample.
struct Document {
    file: String,
    /// Short name used by the questions: `10K`, `10KP`, `10Q`, `8K202`, `EX`, `8K502`, `PROXY`, `CALL`.
    role: &'static str,
    form: &'static str,
    accession: String,
    fiscal_year: i32,
    fiscal_period: String,
    period_end: Date,
    filed: Option<Date>,
    text: String,
}

/// All files of the sample by name.
pub fn generate() -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut manifest = String::new();
    let mut questions = String::new();
    for company in companies::ALL {
        let books = company
            .books()
            .with_context(|| format!("books of {}", company.ticker))?;
        let documents = documents(company, &books)
            .with_context(|| format!("documents of {}", company.ticker))?;
        for line in answers::write(company, &books, &documents)
            .with_context(|| format!("answers of {}", company.ticker))?
        {
            questions.push_str(&line);
            questions.push('\n');
        }
        for document in documents {
            manifest.push_str(&record(company, &document));
            manifest.push('\n');
            files.insert(document.file, document.text);
        }
    }
    files.insert("manifest.jsonl".to_owned(), manifest);
    files.insert("answers.jsonl".to_owned(), questions);
    let bytes: usize = files.values().map(String::len).sum();
    ensure!(bytes <= MOST_BYTES, "the sample has grown to {bytes} bytes");
    Ok(files)
}

fn record(company: &Company, document: &Document) -> String {
    sorted_line(json!({
        "file": document.file,
        "form": document.form,
        "company": company.name,
        "ticker": company.ticker,
        "cik": company.cik_digits(),
        "fiscal_year": document.fiscal_year,
        "fiscal_period": document.fiscal_period,
        "period_end": document.period_end.to_string(),
        "sector": company.sector,
        "inline_xbrl": document.text.contains("<ix:header>"),
        "gold": false,
        "source": "invented for testing",
        "source_file": null,
        "accession": document.accession,
        "filed": document.filed.map(|day| day.to_string()),
        "url": null,
        "bytes": document.text.len(),
        "sha256": hex(&Sha256::digest(document.text.as_bytes())),
    }))
}

/// A JSON line with its keys in order of their names, whatever map the features of a build give.
fn sorted_line(mut record: Value) -> String {
    record.sort_all_objects();
    record.to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn documents(company: &Company, books: &Books) -> Result<Vec<Document>> {
    let last = company.last_year;
    let ticker = company.ticker;
    let mut all = Vec::new();
    for (at, role) in [(2, "10KP"), (3, "10K")] {
        let year = last - 3 + at as i32;
        let filed = annual::filed(company, year);
        all.push(Document {
            file: format!("{ticker}_10K_FY{year}.htm"),
            role,
            form: "10-K",
            accession: company.accession(filed.year(), 11),
            fiscal_year: year,
            fiscal_period: format!("FY{year}"),
            period_end: company.end_of(year),
            filed: Some(filed),
            text: annual::write(company, books, at)?,
        });
    }
    let filed = quarterly::filed(books);
    all.push(Document {
        file: format!("{ticker}_10Q_{last}Q3.htm"),
        role: "10Q",
        form: "10-Q",
        accession: company.accession(filed.year(), 34),
        fiscal_year: last,
        fiscal_period: format!("{last}Q3"),
        period_end: books.third_quarter[0].end,
        filed: Some(filed),
        text: quarterly::write(company, books)?,
    });
    let day = current::results_day(company);
    let results = company.accession(day.year(), 6);
    all.push(Document {
        file: format!("{ticker}_8K_{day}.htm"),
        role: "8K202",
        form: "8-K",
        accession: results.clone(),
        fiscal_year: last,
        fiscal_period: format!("{last}Q4"),
        period_end: day,
        filed: Some(day),
        text: current::results(company, books)?,
    });
    all.push(Document {
        file: format!("{ticker}_8K_EX99-1_{day}.htm"),
        role: "EX",
        form: "EX-99.1",
        accession: format!("{results}/ex99-1.htm"),
        fiscal_year: last,
        fiscal_period: format!("{last}Q4"),
        period_end: day,
        filed: Some(day),
        text: current::release(company, books)?,
    });
    let day = company.departure;
    all.push(Document {
        file: format!("{ticker}_8K_{day}.htm"),
        role: "8K502",
        form: "8-K",
        accession: company.accession(day.year(), 15),
        fiscal_year: last + 1,
        fiscal_period: format!("FY{}", last + 1),
        period_end: day,
        filed: Some(day),
        text: current::departure(company, books)?,
    });
    let filed = proxy::filed(company);
    all.push(Document {
        file: format!("{ticker}_DEF14A_{}.htm", company.meeting),
        role: "PROXY",
        form: "DEF 14A",
        accession: company.accession(filed.year(), 21),
        fiscal_year: last,
        fiscal_period: format!("FY{last}"),
        period_end: company.end_of(last),
        filed: Some(filed),
        text: proxy::write(company, books)?,
    });
    all.push(Document {
        file: format!("{ticker}_CALL_{last}Q4.txt"),
        role: "CALL",
        form: "EARNINGS CALL",
        accession: format!("{ticker}_CALL_{last}Q4"),
        fiscal_year: last,
        fiscal_period: format!("{last}Q4"),
        period_end: current::results_day(company),
        filed: None,
        text: call::write(company, books)?,
    });
    Ok(all)
}

/// Writes the sample below `root`; files that no longer belong are removed.
pub fn write(root: &Path) -> Result<usize> {
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {FOLDER}"))?;
    let files = generate()?;
    for name in listing(&folder)? {
        if !files.contains_key(&name) {
            fs::remove_file(folder.join(&name)).with_context(|| format!("cannot remove {name}"))?;
        }
    }
    for (name, text) in &files {
        fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(files.len())
}

/// Fails where the checked-in sample is not what the generator makes.
pub fn check(root: &Path) -> Result<()> {
    let differences = differences(root)?;
    if let Some(first) = differences.first() {
        bail!(
            "{} files of {FOLDER} are not what the generator makes, first {first}; `cargo xtask \
             sample-corpus` writes them",
            differences.len()
        );
    }
    Ok(())
}

fn differences(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(FOLDER);
    let files = generate()?;
    let mut wrong: Vec<String> = files
        .iter()
        .filter(|(name, text)| fs::read(folder.join(name)).ok().as_deref() != Some(text.as_bytes()))
        .map(|(name, _)| name.clone())
        .collect();
    if folder.is_dir() {
        wrong.extend(
            listing(&folder)?
                .into_iter()
                .filter(|name| !files.contains_key(name)),
        );
    }
    Ok(wrong)
}

fn listing(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {FOLDER}"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Besides this, the generator itself fails where a balance sheet does not balance, a
    /// placeholder is unknown, or an answer's evidence does not stand in its document.
    #[test]
    fn checked_in_sample_is_what_the_generator_makes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert_eq!(differences(&root).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn every_document_says_that_it_is_invented_and_every_form_is_there() {
        let files = generate().unwrap();
        let manifest = &files["manifest.jsonl"];
        let mut forms = BTreeMap::new();
        for line in manifest.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let file = record["file"].as_str().unwrap();
            let text = &files[file];
            assert!(text.contains("INVENTED FOR TESTING"), "{file}");
            assert!(!text.contains("@@"), "{file} has an unfilled page number");
            assert_eq!(record["bytes"].as_u64().unwrap() as usize, text.len());
            *forms
                .entry(record["form"].as_str().unwrap().to_owned())
                .or_insert(0) += 1;
        }
        let forms: Vec<(String, i32)> = forms.into_iter().collect();
        let expected = [
            ("10-K", 8),
            ("10-Q", 4),
            ("8-K", 8),
            ("DEF 14A", 4),
            ("EARNINGS CALL", 4),
            ("EX-99.1", 4),
        ];
        assert_eq!(
            forms,
            expected.map(|(form, count)| (form.to_owned(), count))
        );
    }

    #[test]
    fn inline_xbrl_is_well_nested() {
        for (name, text) in generate().unwrap() {
            let mut open = Vec::new();
            for tag in text
                .split('<')
                .skip(1)
                .filter_map(|rest| rest.split('>').next())
            {
                let word = tag.split([' ', '/']).next().unwrap_or_default();
                if let Some(closed) = tag.strip_prefix('/') {
                    if closed.contains(':') {
                        assert_eq!(open.pop(), Some(closed.to_owned()), "{name}");
                    }
                } else if word.contains(':') && !tag.ends_with('/') {
                    open.push(word.to_owned());
                }
            }
            assert_eq!(open, Vec::<String>::new(), "{name}");
        }
    }
}
