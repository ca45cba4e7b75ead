//! Retrieval over real filings: floors a little under what was measured, so that a change which
//! loses pages is seen. Skipped, and said so, where the shared data is not beside the checkout.
#![expect(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use footnote_agent::features::Statement;
use footnote_agent::retrieve::Retriever;
use footnote_filings::{ReadOptions, passages, read_path};
use footnote_index::{Corpus, Filter, ImportOptions, Importer, Incoming, Source};
use footnote_testkit::shared_or_skip;
use serde::Deserialize;

#[derive(Deserialize)]
struct Question {
    question: String,
    company: String,
    doc: String,
    relevant_pages: Vec<u32>,
}

/// Imports what `keep` lets through of a file.
fn import(corpus: &Path, path: PathBuf, keep: fn(&str) -> bool) {
    let source = Source {
        name: path.display().to_string(),
        bytes: 0,
        read: Box::new(move || {
            let readings = read_path(&path, &ReadOptions::default()).unwrap();
            Box::new(readings.filter_map(move |reading| {
                let reading = reading.unwrap();
                let company = reading.filing.meta.company.clone().unwrap_or_default();
                keep(&company).then_some(Ok(Incoming {
                    filing: reading.filing,
                    warnings: reading.warnings,
                }))
            }))
        }),
    };
    let report = Importer::open(corpus)
        .unwrap()
        .import([source], &passages, &ImportOptions::default(), &mut |_| {})
        .unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
}

#[test]
fn finds_the_pages_of_real_questions_from_the_question_alone() {
    let pages = shared_or_skip!("data/financebench/pages.jsonl.zst");
    let questions = shared_or_skip!("data/financebench/questions_dev.jsonl");
    // Two companies with all their forms keep the test fast; the example fit_passages scores all.
    let keep = |company: &str| company == "Amcor" || company == "MGM Resorts";
    let folder = tempfile::tempdir().unwrap();
    import(folder.path(), pages, keep);
    let corpus = Corpus::open(folder.path()).unwrap();
    let retriever = Retriever::new(&corpus, &Filter::default()).unwrap();
    let questions: Vec<Question> = std::fs::read_to_string(questions)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Question>(line).unwrap())
        .filter(|question| keep(&question.company))
        .collect();
    assert!(questions.len() >= 10);
    let started = Instant::now();
    let (mut at_5, mut at_20) = (0.0, 0.0);
    for question in &questions {
        let hits = retriever.pages(&question.question, 20).unwrap();
        let share = |k: usize| {
            let found = hits.iter().take(k).filter(|hit| {
                hit.doc == question.doc && question.relevant_pages.contains(&hit.page)
            });
            found.count() as f64 / question.relevant_pages.len() as f64
        };
        at_5 += share(5);
        at_20 += share(20);
    }
    let count = questions.len() as f64;
    let seconds = started.elapsed().as_secs_f64() / count;
    let (at_5, at_20) = (at_5 / count, at_20 / count);
    assert!(at_5 >= 0.75, "recall at 5 is {at_5:.3}");
    assert!(at_20 >= 0.88, "recall at 20 is {at_20:.3}");
    assert!(seconds < 1.0, "a question took {seconds:.2} s");
}

#[test]
fn finds_the_statement_and_its_facts_in_an_html_filing() {
    let html = shared_or_skip!("data/filings_html/AMD_10K_FY2023.html.zst");
    let folder = tempfile::tempdir().unwrap();
    import(folder.path(), html, |_| true);
    let corpus = Corpus::open(folder.path()).unwrap();
    let retriever = Retriever::new(&corpus, &Filter::default()).unwrap();
    let filing = &retriever.filings()[0];
    let company = filing.company.clone().unwrap();
    let year = filing.fiscal_period.unwrap().year;
    let question = format!("What were {company}'s total current liabilities in FY{year}?");
    let scope = retriever.scope(&question);
    assert_eq!(scope.companies[0].score, 1.0);
    let found = retriever.passages(&question, &scope, None, 5).unwrap();
    // The balance sheet is longer than a passage: its parts come together, in text order.
    let part = found[..2]
        .iter()
        .find(|p| {
            p.hit
                .passage
                .text
                .to_lowercase()
                .contains("total current liabilities")
        })
        .unwrap_or_else(|| panic!("{:?}", found[0].hit.passage));
    assert!(part.why.contains("statement"), "{}", part.why);
    let facts: Vec<&str> = part.facts.iter().map(|f| f.concept.as_str()).collect();
    assert!(facts.contains(&"us-gaap:LiabilitiesCurrent"), "{facts:?}");
    let looked = footnote_agent::features::understand(&question, &scope);
    assert_eq!(
        looked.needed_statements[Statement::BalanceSheet as usize],
        1.0
    );
}
