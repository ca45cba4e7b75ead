//! How long does a corpus take to import, how much memory, and how long does a search in it take?
//!
//! `cargo bench -p footnote-index --bench corpus -- [PATH...]` imports the paths (the shared real
//! data where there is any) into a new corpus in a temporary folder, imports them again, and asks
//! the shared FinanceBench questions. It prints what `evals/results` quotes.
//! `FOOTNOTE_BENCH_CORPUS` names a folder to keep the corpus in; a second run then finds it there.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench is a program whose output is its result, and fails by panicking"
)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use footnote_filings::{ReadOptions, expand, passages};
use footnote_index::{
    Corpus, Filter, ImportOptions, ImportReport, Importer, SearchBackend, SearchQuery, Source,
};

#[derive(serde::Deserialize)]
struct Question {
    question: String,
    company: String,
    doc: String,
    relevant_pages: Vec<u32>,
}

fn main() {
    let mut paths: Vec<PathBuf> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .map(PathBuf::from)
        .collect();
    if paths.is_empty() {
        let shared = [
            "data/financebench/pages.jsonl.zst",
            "data/proxy_pages/pages.jsonl.zst",
            "data/filings_html",
            "data/transcripts",
        ];
        paths.extend(shared.into_iter().filter_map(footnote_testkit::shared));
    }
    if paths.is_empty() {
        footnote_testkit::skip(
            "corpus",
            "no paths given and no shared data beside the checkout",
        );
        return;
    }
    let kept = std::env::var_os("FOOTNOTE_BENCH_CORPUS").map(PathBuf::from);
    let folder = tempfile::tempdir().unwrap();
    let folder = kept.as_deref().unwrap_or(folder.path());

    println!("| import of | filings | passages | facts | failed | s | CPU s | peak RSS MB |");
    println!("|---|---|---|---|---|---|---|---|");
    for path in &paths {
        let (begun, cpu) = (Instant::now(), process_cpu_seconds());
        let report = import(folder, path);
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "| {} | {} | {} | {} | {} | {seconds:.1} | {:.1} | {} |",
            path.display(),
            report.added.len(),
            report.passages,
            report.facts,
            report.failed.len(),
            process_cpu_seconds() - cpu,
            peak_megabytes(),
        );
        for failure in &report.failed {
            println!("|   left out: {} {} |", failure.source, failure.message);
        }
    }
    let begun = Instant::now();
    let mut unchanged = 0;
    for path in &paths {
        let report = import(folder, path);
        unchanged += report.unchanged;
        assert!(report.added.is_empty() && report.replaced.is_empty());
    }
    println!(
        "\nimported again: {unchanged} unchanged, {:.1} s",
        begun.elapsed().as_secs_f64()
    );

    let begun = Instant::now();
    let corpus = Corpus::open(folder).unwrap();
    let stats = corpus.stats().unwrap();
    println!(
        "opened and counted in {:.0} ms: {} filings, {} pages, {} passages, {} MB of text, \
         index {} MB, filings {} MB",
        begun.elapsed().as_secs_f64() * 1e3,
        stats.filings,
        stats.pages,
        stats.passages,
        stats.text_bytes >> 20,
        stats.index_bytes >> 20,
        stats.filings_bytes >> 20,
    );
    search(&corpus);
}

fn import(folder: &std::path::Path, path: &PathBuf) -> ImportReport {
    let options = ReadOptions::default();
    let sources: Vec<Source> = expand(&[path])
        .into_iter()
        .map(|item| Source::file(item.unwrap(), options.clone()))
        .collect();
    let mut importer = Importer::open(folder).unwrap();
    importer
        .import(sources, &passages, &ImportOptions::default(), &mut |_| {})
        .unwrap()
}

fn search(corpus: &Corpus) {
    let Some(file) = footnote_testkit::shared("data/financebench/questions_dev.jsonl") else {
        footnote_testkit::skip("search", "no questions beside the checkout");
        return;
    };
    let questions: Vec<Question> = std::fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let companies = |question: &Question| Filter {
        companies: vec![question.company.clone()],
        ..Filter::default()
    };
    let documents = |question: &Question| Filter {
        accessions: vec![question.doc.parse().unwrap()],
        ..Filter::default()
    };
    println!(
        "\n| {} questions | recall@5 | @10 | MRR@10 | p50 ms | p99 ms | mean CPU ms |",
        questions.len()
    );
    println!("|---|---|---|---|---|---|---|");
    type Pool<'a> = (&'a str, &'a dyn Fn(&Question) -> Filter);
    let pools: [Pool; 3] = [
        ("whole corpus", &|_| Filter::default()),
        ("right company given", &companies),
        ("right document given", &documents),
    ];
    for pages in [true, false] {
        for (pool, filter) in pools {
            let (mut times, mut sums) = (Vec::new(), [0.0f64; 3]);
            let mut cpu = Duration::ZERO;
            for round in 0..6 {
                // The first round finds the files cold and is not timed.
                let before = thread_cpu();
                for question in &questions {
                    let query = SearchQuery {
                        text: question.question.clone(),
                        filter: filter(question),
                        limit: 20,
                        ..SearchQuery::default()
                    };
                    let begun = Instant::now();
                    let ranked = ranked_pages(corpus, &query, pages);
                    if round > 0 {
                        times.push(begun.elapsed());
                    }
                    if round == 0 {
                        for (sum, value) in sums.iter_mut().zip(measures(question, &ranked)) {
                            *sum += value / questions.len() as f64;
                        }
                    }
                }
                if round > 0 {
                    cpu += thread_cpu() - before;
                }
            }
            println!(
                "| {}, {pool} | {:.3} | {:.3} | {:.3} | {:.1} | {:.1} | {:.1} |",
                if pages { "pages" } else { "passages" },
                sums[0],
                sums[1],
                sums[2],
                percentile(&mut times, 0.5),
                percentile(&mut times, 0.99),
                cpu.as_secs_f64() * 1e3 / times.len() as f64,
            );
        }
    }
}

/// The pages of the best hits, each once, best first.
fn ranked_pages(corpus: &Corpus, query: &SearchQuery, pages: bool) -> Vec<(String, u32)> {
    let mut ranked: Vec<(String, u32)> = Vec::new();
    let mut enter = |accession: String, page: Option<u32>| {
        let place = (accession, page.unwrap_or(u32::MAX));
        if !ranked.contains(&place) {
            ranked.push(place);
        }
    };
    if pages {
        for hit in corpus.search_pages(query).unwrap() {
            enter(hit.meta.accession.to_string(), Some(hit.page));
        }
    } else {
        for hit in corpus.search(query).unwrap() {
            enter(hit.passage.accession.to_string(), hit.passage.page);
        }
    }
    ranked
}

/// Recall at 5 and 10 and reciprocal rank within 10.
fn measures(question: &Question, ranked: &[(String, u32)]) -> [f64; 3] {
    let relevant = |place: &(String, u32)| {
        place.0 == question.doc && question.relevant_pages.contains(&place.1)
    };
    let recall = |k: usize| {
        let found = ranked
            .iter()
            .take(k)
            .filter(|place| relevant(place))
            .count();
        found as f64 / question.relevant_pages.len() as f64
    };
    let first = ranked.iter().take(10).position(relevant);
    [
        recall(5),
        recall(10),
        first.map_or(0.0, |rank| 1.0 / (rank + 1) as f64),
    ]
}

fn percentile(times: &mut [Duration], part: f64) -> f64 {
    times.sort();
    let at = ((times.len() - 1) as f64 * part).round() as usize;
    times[at].as_secs_f64() * 1e3
}

/// The most memory that was ever resident, in megabytes; 0 where the system does not say.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}

/// What the calling thread has spent computing, which a busy machine does not change; zero where
/// the system does not say.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// The same for all threads of the process.
fn process_cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in brackets, may hold spaces; user and system time are the 12th and 13th after it.
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // Linux counts these in hundredths of a second on every architecture we build for.
    ticks as f64 / 100.0
}
