//! `retrieve`: pages of the imported corpus ranked for each question of a dataset.
//!
//! Only `id` and `question` of a record are ever read: the answer key in the same line stays
//! unread, so that a score over these predictions means something.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use footnote_agent::rank::passage::PassageRanker;
use footnote_agent::retrieve::{PageOrder, Retriever};
use footnote_eval::{PageHit, PagePrediction, read_lines};
use footnote_index::Filter;
use serde::Deserialize;

use crate::args::RetrieveArgs;
use crate::commands::{Context, Usage, rank};
use crate::output::Outcome;
use crate::setup;

#[derive(Deserialize)]
struct Asked {
    id: String,
    question: String,
}

pub fn run(args: &RetrieveArgs, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let corpus = setup::corpus(context)?;
    let retriever = Retriever::new(&corpus, &Filter::default())?;
    let ranker = match PageOrder::parse(&args.ranker) {
        PageOrder::Agent => None,
        PageOrder::By {
            ranker,
            beside_agent,
        } => Some((
            rank::passages::ranker(&ranker, args.model.as_deref(), context)?,
            beside_agent,
        )),
    };
    let lines: Vec<_> = read_lines(&args.dataset)?.collect();
    if lines.is_empty() {
        return Err(Usage(format!("{} holds no question", args.dataset.display())).into());
    }
    let mut out = Written::create(&args.out)?;
    let bar = output.items_bar("questions", lines.len() as u64);
    let mut failed = 0usize;
    for line in lines {
        let place = format!("{}:{}", args.dataset.display(), line.number);
        let asked = line
            .record
            .and_then(|value| serde_json::from_value::<Asked>(value).map_err(|e| e.to_string()));
        let outcome = asked.map_err(anyhow::Error::msg).and_then(|asked| {
            let (k, depth) = (usize::from(args.k), usize::from(args.depth));
            let pages = match &ranker {
                None => retriever.pages(&asked.question, k)?,
                Some((ranker, beside)) => {
                    let ranker: &dyn PassageRanker = ranker.as_ref();
                    retriever.pages_by(&asked.question, k, depth, ranker, *beside)?
                }
            };
            let hits = pages
                .into_iter()
                .map(|page| PageHit {
                    doc: page.doc,
                    page: page.page,
                    score: f64::from(page.score),
                })
                .collect();
            out.line(&PagePrediction { id: asked.id, hits })
        });
        if let Err(error) = outcome {
            failed += 1;
            output.warning(&format!("{place}: left out: {error:#}"));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    out.finish()?;
    Ok(if failed == 0 {
        Outcome::Done
    } else {
        Outcome::Partly
    })
}

/// A result file that appears under its name only when it is whole.
pub struct Written {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
}

impl Written {
    /// Starts writing beside `path`.
    pub fn create(path: &Path) -> anyhow::Result<Written> {
        let mut name = path.file_name().context("--out names no file")?.to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let file = File::create(&partial)
            .with_context(|| format!("cannot write {}", partial.display()))?;
        Ok(Written {
            path: path.to_owned(),
            partial,
            file: BufWriter::new(file),
        })
    }

    /// One more JSON line.
    pub fn line(&mut self, record: &impl serde::Serialize) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.file, record)?;
        self.file.write_all(b"\n")?;
        Ok(())
    }

    /// Gives the file its name.
    pub fn finish(self) -> anyhow::Result<()> {
        let file = self
            .file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&self.partial, &self.path)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}
