//! Real transcripts and page corpora, read whole: speakers, parts, limits, coverage.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::path::Path;

use footnote_filings::{Filing, ReadOptions, Reading, passages, read_path, tokens};
use footnote_testkit::shared_or_skip;

fn read_one(path: &Path) -> Reading {
    let mut readings = read_path(path, &ReadOptions::default()).unwrap();
    let reading = readings.next().unwrap().unwrap();
    assert!(readings.next().is_none());
    reading
}

/// Every non-blank byte lies in exactly one passage, spans are whole characters, sizes keep the limit.
fn check_passages(filing: &Filing) -> usize {
    let found = passages(filing);
    let mut at = 0;
    for passage in &found {
        assert!(passage.span.start >= at, "{} overlaps", passage.id.0);
        assert!(
            filing.text[at..passage.span.start].trim().is_empty(),
            "{}: {:?} is in no passage",
            filing.meta.accession,
            &filing.text[at..passage.span.start]
        );
        assert_eq!(passage.span.of(&filing.text), Some(passage.text.as_str()));
        let shown = if passage.lead.is_empty() {
            passage.text.clone()
        } else {
            format!("{}\n{}", passage.lead, passage.text)
        };
        let size = tokens::count(&shown);
        assert!(size <= 512, "{} has {size} tokens", passage.id.0);
        at = passage.span.end;
    }
    assert!(filing.text[at..].trim().is_empty());
    found.len()
}

#[test]
fn every_layout_of_transcript_gives_its_speakers_and_parts() {
    let folder = shared_or_skip!("data/transcripts");
    // File, most-heard speaker with a lower bound of turns, whether questions are found.
    for (name, speaker, turns, questions) in [
        ("NEE_q2_2020_e21.txt", "Rebecca", 5, true),
        ("HSY_q3_2020_e21.txt", "Melissa Poole", 3, true),
        ("COP_q3_2020_e21.txt", "Ryan Lance", 5, true),
        ("XRAY_q2_2020_e21.txt", "Don Casey", 10, true),
        ("SNOW_q2_2025_mf.txt", "Sridhar Ramaswamy", 10, true),
        ("TSLA_q4_2025_mf.txt", "Elon Musk", 20, true),
        ("BAC_q3_2025_cp.txt", "Alastair Borthwick", 15, true),
        ("SPG_q4_2025_cp.txt", "David Simon", 20, true),
        ("WFC_q3_2021.txt", "", 0, false),
    ] {
        let reading = read_one(&folder.join(name));
        let filing = &reading.filing;
        check_passages(filing);
        let heard = filing
            .turns
            .iter()
            .filter(|t| t.speaker.as_deref().is_some_and(|s| s.starts_with(speaker)))
            .count();
        assert!(heard >= turns, "{name}: {speaker} has {heard} turns");
        let found = filing
            .sections
            .iter()
            .any(|s| s.id == "Questions and Answers" && s.span.len() > 2_000);
        assert_eq!(found, questions, "{name}: {:?}", filing.sections);
        assert!(
            filing.sections.iter().any(|s| s.id == "Prepared Remarks"),
            "{name}"
        );
        if name.ends_with("_mf.txt") {
            let notices = filing.sections.last().unwrap();
            assert_eq!(notices.id, "Publisher's Notices");
            assert!(
                filing
                    .turns
                    .iter()
                    .all(|t| t.span.end <= notices.span.start)
            );
        }
        assert_eq!(filing.meta.form.as_str(), "EARNINGS CALL");
        assert!(filing.meta.fiscal_period.is_some(), "{name}");
    }
}

#[test]
fn page_corpora_stream_whole() {
    for (path, documents, pages) in [
        (shared_or_skip!("data/proxy_pages/pages.jsonl.zst"), 8, 943),
        (
            shared_or_skip!("data/financebench/pages.jsonl.zst"),
            266,
            39_866,
        ),
    ] {
        let started = std::time::Instant::now();
        let mut seen = (0, 0, 0);
        let mut reading_time = std::time::Duration::ZERO;
        let mut readings = read_path(&path, &ReadOptions::default()).unwrap();
        loop {
            let before = std::time::Instant::now();
            let Some(reading) = readings.next() else {
                break;
            };
            reading_time += before.elapsed();
            let filing = reading.unwrap().filing;
            seen.0 += 1;
            seen.1 += filing.pages.len();
            // Checking costs a second count of all tokens; every tenth document proves as much.
            seen.2 += if seen.0 % 10 == 0 {
                check_passages(&filing)
            } else {
                passages(&filing).len()
            };
        }
        println!(
            "{}: {} documents, {} pages, {} passages, read {reading_time:?}, all {:?}",
            path.display(),
            seen.0,
            seen.1,
            seen.2,
            started.elapsed()
        );
        assert_eq!((seen.0, seen.1), (documents, pages));
    }
}
