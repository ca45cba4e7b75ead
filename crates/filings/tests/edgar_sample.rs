//! The checked-in sample corpus through the readers: every document with its metadata, every tagged
//! number, and every answer's evidence in the section where the answer says it stands.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, like the tests themselves"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use footnote_filings::{FactPeriod, FactValue, Filing, ReadOptions, Section, expand, read_path};
use rust_decimal::Decimal;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpora/sample")
}

/// All filings of the sample by file name; a warning of any reader fails the test.
fn sample() -> BTreeMap<String, Filing> {
    let options = ReadOptions::default();
    let mut filings = BTreeMap::new();
    for item in expand(&[folder()]) {
        let path = item.unwrap().path;
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut readings = read_path(&path, &options).unwrap();
        let reading = readings.next().unwrap().unwrap();
        assert!(readings.next().is_none(), "{file} holds one filing");
        assert!(
            reading.warnings.is_empty(),
            "{file}: {:?}",
            reading.warnings
        );
        filings.insert(file, reading.filing);
    }
    filings
}

fn lines(name: &str) -> Vec<Value> {
    fs::read_to_string(folder().join(name))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The text of the section called `id`, in whatever case the filing writes it.
fn section<'a>(filing: &'a Filing, id: &str) -> Option<&'a str> {
    let named = |section: &&Section| section.id.eq_ignore_ascii_case(id);
    filing.sections.iter().find(named)?.span.of(&filing.text)
}

fn single_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn manifest_and_documents_agree() {
    let filings = sample();
    let manifest = lines("manifest.jsonl");
    assert_eq!(manifest.len(), filings.len());
    for record in manifest {
        let file = record["file"].as_str().unwrap();
        let meta = &filings[file].meta;
        assert_eq!(meta.accession.as_str(), record["accession"], "{file}");
        assert_eq!(meta.form.as_str(), record["form"], "{file}");
        assert_eq!(
            meta.ticker.as_ref().unwrap().as_str(),
            record["ticker"],
            "{file}"
        );
        assert_eq!(meta.sha256, record["sha256"], "{file}");
        assert_eq!(
            meta.fiscal_period.unwrap().to_string(),
            record["fiscal_period"],
            "{file}"
        );
    }
}

#[test]
fn every_tagged_number_is_a_fact() {
    for (file, filing) in sample() {
        let markup = fs::read_to_string(folder().join(&file)).unwrap();
        let tagged = markup.matches("<ix:nonFraction ").count();
        let numbers = filing
            .facts
            .iter()
            .filter(|fact| matches!(fact.value, FactValue::Number(_)))
            .count();
        assert_eq!(numbers, tagged, "{file}");
    }
}

/// The balance sheet through tags, scales and signs: what the reader says must still balance.
#[test]
fn facts_of_a_balance_sheet_balance() {
    let mut sheets = 0;
    for (file, filing) in sample() {
        let mut sums: BTreeMap<String, [Option<Decimal>; 3]> = BTreeMap::new();
        for fact in &filing.facts {
            let at = match fact.concept.as_str() {
                "us-gaap:Assets" => 0,
                "us-gaap:Liabilities" => 1,
                "us-gaap:StockholdersEquity" => 2,
                _ => continue,
            };
            let (FactPeriod::Instant(day), FactValue::Number(value)) = (fact.period, &fact.value)
            else {
                panic!("{file}: {fact:?}");
            };
            sums.entry(day.to_string()).or_default()[at] = Some(*value);
        }
        for (day, [assets, liabilities, equity]) in sums {
            assert_eq!(
                assets,
                Some(liabilities.unwrap() + equity.unwrap()),
                "{file} {day}"
            );
            sheets += 1;
        }
    }
    assert_eq!(sheets, 24, "two in each of eight 10-Ks and four 10-Qs");
}

#[test]
fn a_text_block_over_a_page_break_is_one_fact() {
    let filings = sample();
    let fact = filings["ZZCM_10K_FY2024.htm"]
        .facts
        .iter()
        .find(|fact| fact.concept == "us-gaap:SignificantAccountingPoliciesTextBlock")
        .unwrap();
    let FactValue::Text(text) = &fact.value else {
        panic!("{fact:?}");
    };
    assert!(
        text.contains("all wholly owned"),
        "the part before the break"
    );
    assert!(
        text.contains("Customer lists are amortized over 15 to 20 years"),
        "the part after it"
    );
    assert!(
        !text.contains("Table of Contents"),
        "not the running header between them"
    );
}

#[test]
fn evidence_stands_in_its_section() {
    let filings = sample();
    let mut seen = 0;
    for answer in lines("answers.jsonl") {
        let id = answer["id"].as_str().unwrap();
        let evidence = answer["evidence"].as_array().unwrap();
        assert_eq!(
            evidence.is_empty(),
            answer["kind"] == "not-answerable",
            "{id}"
        );
        for place in evidence {
            let filing = &filings[place["file"].as_str().unwrap()];
            let text = match place["section"].as_str() {
                Some(name) => {
                    section(filing, name).unwrap_or_else(|| panic!("{id}: no section {name}"))
                }
                None => &filing.text,
            };
            let stands = match (&place["quote"], &place["row"], &place["cell"]) {
                (Value::String(quote), _, _) => single_spaced(text).contains(quote),
                (_, Value::String(row), Value::String(cell)) => text
                    .lines()
                    .any(|line| line.contains(row.as_str()) && line.contains(cell.as_str())),
                _ => panic!("{id}: neither quote nor cell"),
            };
            assert!(stands, "{id}: {place}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

/// Values from statements must also come out of the tags, scaled and signed.
#[test]
fn values_from_statements_are_facts() {
    let filings = sample();
    let mut seen = 0;
    for answer in lines("answers.jsonl") {
        let place = &answer["evidence"][0];
        if answer["kind"] != "value" || !matches!(answer["form"].as_str(), Some("10-K" | "10-Q")) {
            continue;
        }
        let wanted: Decimal = answer["value"].to_string().parse().unwrap();
        let filing = &filings[place["file"].as_str().unwrap()];
        let found = filing
            .facts
            .iter()
            .any(|fact| matches!(fact.value, FactValue::Number(value) if value == wanted));
        assert!(found, "{answer}");
        seen += 1;
    }
    assert_eq!(seen, 36, "nine of each company");
}
