//! How many megabytes of EDGAR HTML a second does one core read? Over all of the shared filings;
//! `cargo bench -p footnote-filings --bench html_reader`.

#![expect(clippy::print_stdout, reason = "the figure is what a bench is for")]

use std::time::{Duration, Instant};

use footnote_filings::read_html;

fn main() {
    let Some(folder) = footnote_testkit::shared("data/filings_html") else {
        footnote_testkit::skip("html_reader", "no data/filings_html beside the checkout");
        return;
    };
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the entry can be read").path();
        if path.extension().is_some_and(|extension| extension == "zst") {
            let packed = std::fs::read(&path).expect("the file can be read");
            let bytes = zstd::decode_all(packed.as_slice()).expect("the file can be unpacked");
            sources.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    let bytes: usize = sources.iter().map(String::len).sum();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let facts: usize = sources
            .iter()
            .map(|source| read_html(source).0.facts.len())
            .sum();
        best = best.min(start.elapsed());
        assert!(facts > 0, "inline-XBRL filings have facts");
    }
    println!(
        "{} documents, {:.1} MB, best of 5: {:.3} s, {:.1} MB/s on one core",
        sources.len(),
        bytes as f64 / 1e6,
        best.as_secs_f64(),
        bytes as f64 / 1e6 / best.as_secs_f64()
    );
}
