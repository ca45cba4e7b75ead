//! Sections of real filings against the gold lists: every prescribed heading at its place, none from a
//! table of contents, and nested titles of one filing.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::HashMap;
use std::path::Path;

use footnote_filings::{Filing, ReadOptions, Section, read_path};
use footnote_testkit::shared_or_skip;

fn read_one(path: &Path) -> Filing {
    let mut readings = read_path(path, &ReadOptions::default()).unwrap();
    readings.next().unwrap().unwrap().filing
}

/// `part2item1a` and `1A` as the ids that the sectioner gives.
fn id_of(form: &str, identifier: &str) -> String {
    if form == "10-Q" {
        let rest = identifier.strip_prefix("part").unwrap();
        let (part, item) = rest.split_once("item").unwrap();
        let part = if part == "1" { "I" } else { "II" };
        return format!("Part {part} Item {}", item.to_uppercase());
    }
    format!("Item {identifier}")
}

fn letters(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Whether a section begins with its own heading.
fn begins_with_heading(filing: &Filing, section: &Section) -> bool {
    let item = letters(section.id.rsplit("Item ").next().unwrap());
    let start: String = letters(section.span.of(&filing.text).unwrap())
        .chars()
        .take(40)
        .collect();
    start.starts_with(&format!("item{item}")) || start.starts_with(&format!("items{item}"))
}

#[test]
fn gold_headings_are_found_at_their_places() {
    let folder = shared_or_skip!("data/filings_html");
    let gold = std::fs::read_to_string(folder.join("gold_headings.jsonl")).unwrap();
    let (mut right, mut all) = (0, 0);
    let mut misses = Vec::new();
    for line in gold.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let file = record["file"].as_str().unwrap();
        let form = record["form"].as_str().unwrap();
        let filing = read_one(&folder.join(file));
        let top: Vec<&Section> = filing
            .sections
            .iter()
            .filter(|s| s.level == 1 && s.id.contains("Item "))
            .collect();
        let gold: Vec<(String, usize, Option<&str>)> = record["sections"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| {
                (
                    id_of(form, s["identifier"].as_str().unwrap()),
                    usize::try_from(s["character_count"].as_u64().unwrap()).unwrap(),
                    s["text"].as_str(),
                )
            })
            .collect();
        let gold_total: usize = gold.iter().map(|(_, count, _)| count).sum();
        let found_total: usize = top.iter().map(|s| s.span.len()).sum();
        let mut at = 0;
        for (id, count, text) in &gold {
            all += 1;
            let found = top.iter().find(|s| s.id == *id);
            let verdict = match found {
                None if *count == 0 => Ok(()),
                None => Err("not found".to_owned()),
                Some(s) if *count == 0 => Err(format!("found {:?}, gold has none", s.title)),
                Some(s) if s.span.start < at => Err("out of order".to_owned()),
                Some(s) if !begins_with_heading(&filing, s) => Err(format!("begins {:?}", s.title)),
                Some(s) => {
                    at = s.span.start;
                    // Counts are of HTML source: a table's markup weighs ten times its text. A wrong
                    // place is off by far more than that.
                    // The gold list knows neither item 16 nor signatures: its last item runs to the end.
                    let is_last = gold.last().is_some_and(|(last, _, _)| last == id);
                    let end = if is_last {
                        filing.text.len()
                    } else {
                        s.span.end
                    };
                    let share = (end - s.span.start) as f64 / found_total as f64;
                    let gold_share = *count as f64 / gold_total as f64;
                    let ratio = (share / gold_share).max(gold_share / share);
                    let same_text = text.is_none_or(|text| {
                        let wanted: String = letters(text).chars().skip(60).take(200).collect();
                        letters(s.span.of(&filing.text).unwrap()).contains(&wanted)
                    });
                    if ratio > 10.0 && share.max(gold_share) > 0.02 {
                        Err(format!("has {share:.3} of the text, gold {gold_share:.3}"))
                    } else if !same_text {
                        Err("has other text".to_owned())
                    } else {
                        Ok(())
                    }
                }
            };
            match verdict {
                Ok(()) => right += 1,
                Err(reason) => misses.push(format!("{file}: {id} {reason}")),
            }
        }
        // No second place for an item, and none in a list of links.
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for section in &top {
            *counts.entry(section.id.as_str()).or_default() += 1;
            let block = filing.blocks.iter().find(|b| {
                b.span.contains(footnote_filings::Span::new(
                    section.span.start,
                    section.span.start + 1,
                ))
            });
            assert!(
                !block.is_some_and(|b| b.style.internal_link),
                "{file}: {} stands in a table of contents",
                section.id
            );
        }
        assert!(counts.values().all(|n| *n == 1), "{file}: {counts:?}");
    }
    println!(
        "gold headings: {right} of {all} right ({:.2} %)",
        100.0 * f64::from(right) / f64::from(all)
    );
    for miss in &misses {
        println!("  {miss}");
    }
    assert!(f64::from(right) >= 0.97 * f64::from(all), "{misses:#?}");
}

#[test]
fn nested_titles_of_a_quarterly_report() {
    let path = shared_or_skip!("data/filings_html/AAPL_10Q_2023Q3.html.zst");
    let gold = std::fs::read_to_string(path.with_file_name("gold_headings.jsonl")).unwrap();
    let record: serde_json::Value = gold
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|r| r["titles"].is_array() && r["file"] == "AAPL_10Q_2023Q3.html.zst")
        .unwrap();
    let filing = read_one(&path);
    let found: Vec<String> = filing.sections.iter().map(|s| letters(&s.title)).collect();
    let titles: Vec<&str> = record["titles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["text_content"].as_str().unwrap())
        .collect();
    let missed: Vec<&&str> = titles
        .iter()
        .filter(|title| !found.contains(&letters(title)))
        .collect();
    println!(
        "nested titles: {} of {} found, {} sections; missed {missed:?}",
        titles.len() - missed.len(),
        titles.len(),
        found.len()
    );
    assert!(missed.len() * 10 <= titles.len(), "{missed:#?}");
}

#[test]
fn spans_nest_and_stay_in_order() {
    let folder = shared_or_skip!("data/filings_html");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".zst") {
            continue;
        }
        if name.contains("INDEX") {
            let error = read_path(&path, &ReadOptions::default()).err().unwrap();
            assert!(error.to_string().contains("Filing Detail"), "{error}");
            continue;
        }
        let filing = read_one(&path);
        assert!(!filing.sections.is_empty(), "{name}");
        for pair in filing.sections.windows(2) {
            assert!(pair[0].span.start <= pair[1].span.start, "{name}: {pair:?}");
            assert!(
                pair[1].span.start >= pair[0].span.end || pair[0].span.contains(pair[1].span),
                "{name}: {pair:?}"
            );
        }
        for section in &filing.sections {
            assert_eq!(section.path.last(), Some(&section.id), "{name}");
            assert!(section.span.of(&filing.text).is_some());
            assert!((0.0..=1.0).contains(&section.confidence));
        }
    }
}
