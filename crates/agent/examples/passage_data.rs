//! Labelled questions of every filing below some paths, in FinAgentBench's chunk form.
//!
//! `cargo run --release -p footnote-agent --example passage_data -- OUT.jsonl SEED LIMIT PATH...`
#![expect(clippy::print_stdout, reason = "an example prints its report")]

use std::io::Write;

use footnote_agent::synthetic::labelled_questions;
use footnote_filings::{ReadOptions, expand, read_path};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, seed, limit, paths @ ..] = arguments.as_slice() else {
        return Err("usage: passage_data OUT.jsonl SEED LIMIT PATH...".into());
    };
    let (seed, limit): (u64, usize) = (seed.parse()?, limit.parse()?);
    let mut file = std::io::BufWriter::new(std::fs::File::create(out)?);
    let (mut filings, mut questions) = (0, 0);
    for item in expand(paths) {
        for reading in read_path(&item?.path, &ReadOptions::default())? {
            let Ok(reading) = reading else { continue };
            filings += 1;
            for question in labelled_questions(&reading.filing, seed, limit) {
                serde_json::to_writer(&mut file, &question.chunk_record())?;
                file.write_all(b"\n")?;
                questions += 1;
            }
        }
    }
    file.flush()?;
    println!("{questions} questions of {filings} filings");
    Ok(())
}
