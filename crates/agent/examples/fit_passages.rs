//! Fits the weights of the passage ranker, and compares it with plain search.
//!
//! `cargo run -p footnote-agent --example fit_passages -- CORPUS QUESTIONS [PAGES]`
//!
//! CORPUS is a corpus folder; PAGES, a page corpus, is imported into it first. QUESTIONS has one
//! `{"question","company","doc","relevant_pages"}` a line; company, document and pages are the key:
//! they are fitted and scored against, never shown to the ranker. Printed are the weights fitted on
//! all questions, and a table: plain BM25 over all pages, BM25 within the right company, the
//! ranker with its built-in weights, and with weights fitted without the company asked about.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use footnote_agent::rank::{LinearRanker, MEASURES, MeasureRanker, Measures};
use footnote_agent::retrieve::Retriever;
use footnote_filings::{ReadOptions, passages, read_path};
use footnote_index::{
    Corpus, Filter, ImportOptions, Importer, Incoming, SearchBackend, SearchQuery, Source,
};
use serde::Deserialize;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How deep rankings are scored.
const DEPTH: usize = 20;
/// Strength of the quadratic penalty on weights.
const PENALTY: f64 = 0.5;
const STEPS: usize = 1_500;

#[derive(Deserialize)]
struct Question {
    question: String,
    company: String,
    doc: String,
    relevant_pages: Vec<u32>,
}

/// A question's candidates with what the key says of them.
struct Example {
    measures: Vec<Measures>,
    relevant: Vec<bool>,
    wanted: usize,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, questions, pages @ ..] = arguments.as_slice() else {
        return Err("usage: fit_passages CORPUS QUESTIONS [PAGES]".into());
    };
    for pages in pages {
        import(Path::new(corpus), Path::new(pages))?;
    }
    let questions: Vec<Question> = std::fs::read_to_string(questions)?
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let corpus = Corpus::open(Path::new(corpus))?;
    let retriever = Retriever::new(&corpus, &Filter::default())?;

    let mut examples = Vec::new();
    let mut times = Vec::new();
    for question in &questions {
        let started = Instant::now();
        let pages = retriever.measured_pages(&question.question)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        let is_key =
            |doc: &str, page: u32| *doc == question.doc && question.relevant_pages.contains(&page);
        examples.push(Example {
            relevant: pages
                .iter()
                .map(|(doc, page, _)| is_key(doc, *page))
                .collect(),
            measures: pages.into_iter().map(|(_, _, measures)| measures).collect(),
            wanted: question.relevant_pages.len(),
        });
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{} questions, a question takes {:.0} ms (median), {:.0} ms (longest)",
        questions.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );

    let fitted = fit(&examples.iter().collect::<Vec<_>>());
    println!("\nweights fitted on all questions:");
    for ((measure, _), weight) in MEASURES.iter().zip(&fitted) {
        println!("    (Measure::{measure:?}, {weight:.2}),");
    }

    println!(
        "\n| ranking | R@1 | R@5 | R@10 | R@20 | MRR@10 | nDCG@10 |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    let plain = |filter: &dyn Fn(&Question) -> Filter| -> Outcome<Vec<Vec<bool>>> {
        let mut rankings = Vec::new();
        for question in &questions {
            let hits = corpus.search_pages(&SearchQuery {
                text: question.question.clone(),
                filter: filter(question),
                limit: DEPTH,
                ..SearchQuery::default()
            })?;
            let right = hits.iter().map(|hit| {
                hit.meta.accession.as_str() == question.doc
                    && question.relevant_pages.contains(&hit.page)
            });
            rankings.push(right.collect());
        }
        Ok(rankings)
    };
    let wanted: Vec<usize> = examples.iter().map(|example| example.wanted).collect();
    row("BM25, all pages", &plain(&|_| Filter::default())?, &wanted);
    let of_company = |question: &Question| Filter {
        companies: vec![question.company.clone()],
        ..Filter::default()
    };
    row("BM25, right company given", &plain(&of_company)?, &wanted);
    let of_document = |question: &Question| Filter {
        accessions: question.doc.parse().into_iter().collect(),
        ..Filter::default()
    };
    row("BM25, right document given", &plain(&of_document)?, &wanted);
    let ranked = |ranker: &dyn Fn(usize) -> LinearRanker| -> Vec<Vec<bool>> {
        examples
            .iter()
            .enumerate()
            .map(|(at, example)| ranking(example, &ranker(at)))
            .collect()
    };
    let built_in = ranked(&|_| LinearRanker::default());
    row("retrieve, built-in weights", &built_in, &wanted);
    let all = LinearRanker::with_weights(fitted);
    row(
        "retrieve, fitted on all",
        &ranked(&|_| all.clone()),
        &wanted,
    );
    let mut companies: Vec<&str> = questions.iter().map(|q| q.company.as_str()).collect();
    companies.sort_unstable();
    companies.dedup();
    let without: Vec<(&str, LinearRanker)> = companies
        .iter()
        .map(|company| {
            let others: Vec<&Example> = examples
                .iter()
                .zip(&questions)
                .filter(|(_, question)| question.company != *company)
                .map(|(example, _)| example)
                .collect();
            (*company, LinearRanker::with_weights(fit(&others)))
        })
        .collect();
    let left_out = ranked(&|at| {
        let company = questions[at].company.as_str();
        let found = without.iter().find(|(name, _)| *name == company);
        found.map_or_else(LinearRanker::default, |(_, ranker)| ranker.clone())
    });
    row("retrieve, company left out", &left_out, &wanted);

    println!("\nquestions whose pages are not all among the first 5, with the built-in weights:");
    for ((question, ranking), wanted) in questions.iter().zip(&built_in).zip(&wanted) {
        let places: Vec<usize> = (0..ranking.len()).filter(|at| ranking[*at]).collect();
        if places.iter().filter(|at| **at < 5).count() < *wanted {
            let words: String = question.question.chars().take(100).collect();
            println!(
                "{} {:?} at {places:?}: {words}",
                question.doc, question.relevant_pages
            );
        }
    }
    Ok(())
}

fn import(corpus: &Path, pages: &Path) -> Outcome<()> {
    let path = pages.to_owned();
    let source = Source {
        name: pages.display().to_string(),
        bytes: std::fs::metadata(pages)?.len(),
        read: Box::new(move || match read_path(&path, &ReadOptions::default()) {
            Ok(readings) => Box::new(readings.map(|reading| {
                reading.map(|reading| Incoming {
                    filing: reading.filing,
                    warnings: reading.warnings,
                })
            })),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }),
    };
    let started = Instant::now();
    let mut importer = Importer::open(corpus)?;
    let report = importer.import([source], &passages, &ImportOptions::default(), &mut |_| {})?;
    println!(
        "imported {} filings, {} passages in {:.0} s, {} failed",
        report.added.len(),
        report.passages,
        started.elapsed().as_secs_f64(),
        report.failed.len()
    );
    Ok(())
}

/// Which of the first [`DEPTH`] candidates are relevant; short rankings are padded.
fn ranking(example: &Example, ranker: &LinearRanker) -> Vec<bool> {
    let scores = ranker.scores(&example.measures);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order
        .iter()
        .take(DEPTH)
        .map(|at| example.relevant[*at])
        .collect()
}

/// Weights that make each question's relevant pages likely under a softmax over its candidates.
fn fit(examples: &[&Example]) -> [f32; MEASURES.len()] {
    const N: usize = MEASURES.len();
    let (mut weights, mut mean, mut square) = ([0f64; N], [0f64; N], [0f64; N]);
    for step in 1..=STEPS {
        let mut gradient = weights.map(|weight| PENALTY * weight);
        for example in examples {
            let right = example.relevant.iter().filter(|r| **r).count() as f64;
            if right == 0.0 {
                continue;
            }
            let score = |m: &Measures| -> f64 {
                m.0.iter()
                    .zip(&weights)
                    .map(|(value, weight)| f64::from(*value) * weight)
                    .sum()
            };
            let scores: Vec<f64> = example.measures.iter().map(score).collect();
            let top = scores.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = scores.iter().map(|score| (score - top).exp()).sum();
            for ((m, score), relevant) in
                example.measures.iter().zip(&scores).zip(&example.relevant)
            {
                let target = if *relevant { 1.0 / right } else { 0.0 };
                let error = (score - top).exp() / total - target;
                if error.abs() > 1e-9 {
                    for (slope, value) in gradient.iter_mut().zip(&m.0) {
                        *slope += error * f64::from(*value);
                    }
                }
            }
        }
        // Adam with a step that shrinks to a tenth.
        let rate = 0.05 * (1.0 - 0.9 * step as f64 / STEPS as f64);
        for at in 0..N {
            mean[at] = 0.9 * mean[at] + 0.1 * gradient[at];
            square[at] = 0.999 * square[at] + 0.001 * gradient[at] * gradient[at];
            let mean = mean[at] / (1.0 - 0.9f64.powi(step as i32));
            let square = square[at] / (1.0 - 0.999f64.powi(step as i32));
            weights[at] -= rate * mean / (square.sqrt() + 1e-8);
        }
    }
    weights.map(|weight| weight as f32)
}

/// Means of the six metrics over questions, with 95 % bootstrap intervals.
fn row(name: &str, rankings: &[Vec<bool>], wanted: &[usize]) {
    let each: Vec<[f64; 6]> = rankings
        .iter()
        .zip(wanted)
        .map(|(ranking, wanted)| metrics(ranking, *wanted))
        .collect();
    let mut cells = String::new();
    for metric in 0..6 {
        let values: Vec<f64> = each.iter().map(|m| m[metric]).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let (low, high) = interval(&values);
        cells.push_str(&format!(" {mean:.3} [{low:.2}, {high:.2}] |"));
    }
    println!("| {name} |{cells}");
}

fn metrics(ranking: &[bool], wanted: usize) -> [f64; 6] {
    let hits = |k: usize| ranking.iter().take(k).filter(|r| **r).count() as f64 / wanted as f64;
    let first = ranking.iter().take(10).position(|r| *r);
    let gain = |at: usize| 1.0 / (at as f64 + 2.0).log2();
    let dcg: f64 = (0..ranking.len().min(10))
        .filter(|at| ranking[*at])
        .map(gain)
        .sum();
    let ideal: f64 = (0..wanted.min(10)).map(gain).sum();
    [
        hits(1),
        hits(5),
        hits(10),
        hits(20),
        first.map_or(0.0, |at| 1.0 / (at as f64 + 1.0)),
        dcg / ideal,
    ]
}

/// 95 % percentile interval of the mean over 10,000 resamples, with a fixed seed.
fn interval(values: &[f64]) -> (f64, f64) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut means: Vec<f64> = (0..10_000)
        .map(|_| {
            let sum: f64 = (0..values.len())
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    values[(state % values.len() as u64) as usize]
                })
                .sum();
            sum / values.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    (means[250], means[9_750])
}
