//! Files as they come: broken, hostile, mislabelled, wrapped. Each gets a reading or an error that
//! names it, and never takes the others down.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::io::Write;
use std::path::{Path, PathBuf};

use footnote_filings::{
    Filing, FilingsError, ReadOptions, Reading, WarningCode, passages, read_path, tokens,
};
use footnote_testkit::shared_or_skip;

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read_all(path: &Path) -> Vec<Result<Reading, FilingsError>> {
    match read_path(path, &ReadOptions::default()) {
        Ok(readings) => readings.collect(),
        Err(e) => vec![Err(e)],
    }
}

fn check_passages(filing: &Filing) {
    let mut at = 0;
    for passage in passages(filing) {
        assert!(passage.span.start >= at);
        assert!(filing.text[at..passage.span.start].trim().is_empty());
        assert_eq!(passage.span.of(&filing.text), Some(passage.text.as_str()));
        let shown = format!("{}\n{}", passage.lead, passage.text);
        let size = tokens::count(shown.trim_start());
        assert!(size <= 512, "{size} tokens: {}", passage.id.0);
        at = passage.span.end;
    }
    assert!(filing.text[at..].trim().is_empty());
}

const COVER: &str = "<html><body><p>UNITED STATES SECURITIES AND EXCHANGE COMMISSION</p><p>FORM 10-K</p>\
<p>For the fiscal year ended December 31, 2019</p><p>QUILL FEATHER WORKS, INC.</p>\
<p>(Exact name of registrant as specified in its charter)</p>";

#[test]
fn bad_files_are_named() {
    for (name, bytes, message) in [
        ("empty.html", Vec::new(), "is empty"),
        ("blank.html", b"  \n ".to_vec(), "holds no text"),
        (
            "binary.html",
            vec![0x00, 0x01, 0x02, 0xff, 0x00],
            "is binary",
        ),
        ("report.html", b"%PDF-1.4".to_vec(), "is a PDF"),
        (
            "page.html",
            b"<html><p>Hello</p></html>".to_vec(),
            "what form it is",
        ),
        (
            "tags.html",
            b"<html><body><div></div></body></html>".to_vec(),
            "no visible text",
        ),
        (
            "poem.txt",
            b"A poem about trees, and nothing else.".to_vec(),
            "neither a filing nor",
        ),
        (
            "list.jsonl",
            b"{\"file\":\"a.htm\"}\n".to_vec(),
            "is a manifest",
        ),
        ("odd.jsonl", b"{\"id\":1}\n".to_vec(), "no page corpus"),
        (
            "block.html",
            b"<html>Your Request Originates from an Undeclared Automated Tool</html>".to_vec(),
            "blocked",
        ),
    ] {
        let (_folder, path) = file(name, &bytes);
        let readings = read_all(&path);
        assert_eq!(readings.len(), 1, "{name}");
        let error = readings[0].as_ref().unwrap_err().to_string();
        assert!(error.contains(message) && error.contains(name), "{error}");
    }
    let missing = read_path(Path::new("/nowhere/x.html"), &ReadOptions::default());
    assert!(matches!(missing.err(), Some(FilingsError::Io { .. })));
}

#[test]
fn a_bad_line_or_a_returning_document_loses_nothing_else() {
    let line = |doc: &str, page: u32| {
        format!(
            "{{\"doc\":\"{doc}\",\"company\":\"Quill\",\"doc_type\":\"10-K\",\"fiscal_period\":\"FY2020\",\"page\":{page},\"text\":\"Page {page} of {doc}\"}}\n"
        )
    };
    let text = [
        line("A", 0),
        line("A", 1),
        "{\"doc\":\"A\",\"page\":\"two\"}\n".to_owned(),
        line("B", 1),
        line("B", 0),
        line("A", 2),
        line("A", 3),
        line("C", 0),
    ]
    .concat();
    let (_folder, path) = file("pages.jsonl", text.as_bytes());
    let shown: Vec<String> = read_all(&path)
        .into_iter()
        .map(|reading| match reading {
            Ok(reading) => {
                check_passages(&reading.filing);
                let numbers: Vec<u32> = reading.filing.pages.iter().map(|p| p.number).collect();
                format!("{} {numbers:?}", reading.filing.meta.accession)
            }
            Err(e) => {
                let text = e.to_string();
                text[text.find("pages.jsonl").unwrap()..].to_owned()
            }
        })
        .collect();
    assert_eq!(shown.len(), 5, "{shown:#?}");
    assert!(
        shown[0].starts_with("pages.jsonl:3: no page record"),
        "{shown:#?}"
    );
    assert_eq!(shown[1], "A [0, 1]");
    assert_eq!(shown[2], "B [0, 1]");
    assert!(
        shown[3].contains("began at line 1 and comes back"),
        "{shown:#?}"
    );
    assert_eq!(shown[4], "C [0]");
}

#[test]
fn endless_nesting_and_cut_ends_are_read_with_a_warning() {
    let deep = format!("{COVER}{}deep text", "<div>".repeat(200_000));
    let (_folder, path) = file("deep.html", deep.as_bytes());
    let readings = read_all(&path);
    let reading = readings[0].as_ref().unwrap();
    assert!(reading.filing.text.contains("deep text"));
    assert!(
        reading
            .warnings
            .iter()
            .any(|w| w.code == WarningCode::Markup)
    );
    check_passages(&reading.filing);
}

#[test]
fn a_large_document_stays_within_bounds() {
    // 200 MB of rows, packed to next to nothing.
    let row =
        "<tr><td>Net sales of quills and feathers</td><td>1,234</td><td>5,678</td></tr>".repeat(64);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large_10K.html.zst");
    let mut encoder = zstd::Encoder::new(std::fs::File::create(&path).unwrap(), 1).unwrap();
    encoder.write_all(COVER.as_bytes()).unwrap();
    encoder.write_all(b"<table>").unwrap();
    let mut written = 0;
    while written < 200 << 20 {
        encoder.write_all(row.as_bytes()).unwrap();
        written += row.len();
    }
    encoder.write_all(b"</table></body></html>").unwrap();
    encoder.finish().unwrap();
    let mut small = ReadOptions::default();
    small.max_document_bytes = 64 << 20;
    let error = read_path(&path, &small).err().unwrap().to_string();
    assert!(error.contains("larger than 64 MiB"), "{error}");
}

#[test]
fn windows_1252_is_read_and_said() {
    let mut bytes = COVER.as_bytes().to_vec();
    bytes.extend_from_slice(
        b"<p>Item 1. Business</p><p>The company\x92s quills \x97 all of them.</p></body></html>",
    );
    let (_folder, path) = file("old.htm", &bytes);
    let readings = read_all(&path);
    let reading = readings[0].as_ref().unwrap();
    assert!(reading.filing.text.contains("company’s quills — all"));
    assert!(
        reading
            .warnings
            .iter()
            .any(|w| w.code == WarningCode::Encoding)
    );
    assert_eq!(
        reading.filing.meta.company.as_deref(),
        Some("QUILL FEATHER WORKS, INC.")
    );
    assert_eq!(
        reading.filing.meta.fiscal_period.unwrap().to_string(),
        "FY2019"
    );
}

#[test]
fn a_manifest_wins_and_its_disagreement_is_a_warning() {
    let (folder, path) = file(
        "q.htm",
        format!("{COVER}<p>Text.</p></body></html>").as_bytes(),
    );
    std::fs::write(
        folder.path().join("manifest.jsonl"),
        "{\"file\":\"q.htm\",\"form\":\"10-Q\",\"company\":\"Quill Feather Works\",\"accession\":\"0000012345-20-000007\",\"sha256\":\"00\",\"extra\":{}}\n",
    )
    .unwrap();
    let readings = read_all(&path);
    let reading = readings[0].as_ref().unwrap();
    assert_eq!(reading.filing.meta.form.as_str(), "10-Q");
    assert_eq!(
        reading.filing.meta.accession.as_str(),
        "0000012345-20-000007"
    );
    let said: Vec<&str> = reading
        .warnings
        .iter()
        .filter(|w| w.code == WarningCode::ManifestDisagrees)
        .map(|w| w.message.as_str())
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].contains("SHA-256") && said[1].starts_with("form:"),
        "{said:?}"
    );
}

#[test]
fn a_full_submission_gives_its_documents() {
    let text = "<SEC-DOCUMENT>0000012345-01-500001.txt : 20011002\n<SEC-HEADER>\nACCESSION NUMBER:\t\t0000012345-01-500001\nCONFORMED SUBMISSION TYPE:\t8-K\nCONFORMED PERIOD OF REPORT:\t20011001\nFILED AS OF DATE:\t\t20011002\nCOMPANY CONFORMED NAME:\t\t\tQUILL CO\nCENTRAL INDEX KEY:\t\t\t0000012345\n</SEC-HEADER>\n<DOCUMENT>\n<TYPE>8-K\n<SEQUENCE>1\n<TEXT>\n                SECURITIES AND EXCHANGE COMMISSION\n                           FORM 8-K\n\nITEM 5.   OTHER EVENTS\n\nThe Company announced results. See exhibit 99.1, which tells of\nquills.\n\n                 SIGNATURES\n\nQuill Co\n</TEXT>\n</DOCUMENT>\n<DOCUMENT>\n<TYPE>EX-99.1\n<SEQUENCE>2\n<TEXT>\n<HTML><BODY><P>Quill reports its third quarter</P></BODY></HTML>\n</TEXT>\n</DOCUMENT>\n</SEC-DOCUMENT>\n";
    let (_folder, path) = file("0000012345-01-500001.txt", text.as_bytes());
    let readings: Vec<Filing> = read_all(&path)
        .into_iter()
        .map(|r| r.unwrap().filing)
        .collect();
    let seen: Vec<(String, String, Option<String>)> = readings
        .iter()
        .map(|f| {
            (
                f.meta.accession.to_string(),
                f.meta.form.to_string(),
                f.meta.period_end.map(|d| d.to_string()),
            )
        })
        .collect();
    let day = Some("2001-10-01".to_owned());
    assert_eq!(
        seen,
        [
            (
                "0000012345-01-500001".to_owned(),
                "8-K".to_owned(),
                day.clone()
            ),
            (
                "0000012345-01-500001/ex-99.1".to_owned(),
                "EX-99.1".to_owned(),
                day
            )
        ]
    );
    let ids: Vec<&str> = readings[0].sections.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["Item 5", "Signatures"]);
}

#[test]
fn cover_pages_tell_what_the_manifest_tells() {
    let folder = shared_or_skip!("data/filings_html");
    let manifest = std::fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    let alone = tempfile::tempdir().unwrap();
    let (mut agree, mut all) = (0, 0);
    let mut odd = Vec::new();
    for line in manifest.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = record["file"].as_str().unwrap();
        if name.contains("INDEX") {
            continue;
        }
        let path = alone.path().join(name);
        std::fs::copy(folder.join(name), &path).unwrap();
        let readings = read_all(&path);
        let filing = &readings[0].as_ref().unwrap().filing;
        check_passages(filing);
        let meta = &filing.meta;
        let mut compare = |field: &str, wanted: Option<String>, found: Option<String>| {
            let Some(wanted) = wanted else { return };
            all += 1;
            if found.as_ref() == Some(&wanted) {
                agree += 1;
            } else {
                odd.push(format!("{name}: {field} {found:?}, manifest {wanted:?}"));
            }
        };
        let text = |field: &str| record[field].as_str().map(str::to_owned);
        compare(
            "form",
            text("form").map(|f| f.split(' ').next_back().unwrap().replace("14A", "DEF 14A")),
            Some(meta.form.to_string()),
        );
        compare("cik", text("cik"), meta.cik.map(|c| c.to_string()));
        compare(
            "period end",
            text("period_end"),
            meta.period_end.map(|d| d.to_string()),
        );
        compare(
            "fiscal year",
            record["fiscal_year"].as_u64().map(|y| y.to_string()),
            meta.fiscal_period.map(|p| p.year.to_string()),
        );
    }
    println!("cover pages: {agree} of {all} values as in the manifest; {odd:#?}");
    // What the manifest's maker added by hand stands in no cover page.
    assert!(agree * 100 >= all * 88, "{odd:#?}");
}

/// A filing of random blocks.
fn any_filing() -> impl proptest::strategy::Strategy<Value = Filing> {
    use footnote_filings::{Block, BlockKind, FilingMeta, Form, Section, Span, Style};
    use proptest::prelude::*;
    let block = (
        prop_oneof![
            4 => Just(BlockKind::Paragraph),
            2 => Just(BlockKind::Heading),
            2 => Just(BlockKind::Table),
            1 => Just(BlockKind::PageBreak),
        ],
        "[A-Za-zé0-9 ,.|$%]{1,60}",
        1usize..60,
        any::<bool>(),
    );
    proptest::collection::vec(block, 1..40).prop_map(|parts| {
        let mut text = String::new();
        let mut blocks = Vec::new();
        let mut starts = Vec::new();
        for (kind, words, times, begins) in parts {
            if !text.is_empty() {
                text.push('\n');
            }
            let start = text.len();
            let joint = if kind == BlockKind::Table { "\n" } else { " " };
            let times = if kind == BlockKind::Heading { 1 } else { times };
            text.push_str(&vec![words; times].join(joint));
            let span = Span::new(start, text.len());
            if begins {
                starts.push(start);
            }
            blocks.push(Block {
                kind,
                span,
                style: Style::default(),
            });
        }
        let sections = starts
            .iter()
            .enumerate()
            .map(|(index, start)| Section {
                id: format!("Item {index}"),
                title: String::new(),
                level: 1,
                path: vec![format!("Item {index}")],
                span: Span::new(*start, starts.get(index + 1).copied().unwrap_or(text.len())),
                confidence: 1.0,
            })
            .collect();
        Filing {
            meta: FilingMeta {
                accession: "x".parse().unwrap(),
                company: None,
                ticker: None,
                cik: None,
                form: Form::new("10-K"),
                doc_type: None,
                fiscal_period: None,
                period_end: None,
                filed: None,
                source: String::new(),
                sha256: String::new(),
            },
            text,
            blocks,
            sections,
            facts: Vec::new(),
            pages: Vec::new(),
            turns: Vec::new(),
        }
    })
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn passages_cover_every_filing(filing in any_filing()) {
        check_passages(&filing);
    }

    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let (_folder, path) = file("x_10K.html", &[COVER.as_bytes(), &bytes].concat());
        for reading in read_all(&path).into_iter().flatten() {
            check_passages(&reading.filing);
        }
    }
}
