//! What can be typed after `export`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// Chats to imitate, as TRL and OpenAI take them
    #[command(after_help = "Examples:\n  \
        footnote export sft --from doc_ranking_dev.jsonl --out data/sft\n  \
        footnote export sft --from feedback --from questions.jsonl --out data/sft")]
    Sft(ExportArgs),
    /// Pairs of a better and a worse answer
    #[command(after_help = "Examples:\n  \
        footnote export preferences --from doc_ranking_dev.jsonl --out data/pairs\n  \
        footnote export preferences --from run:runs/doc-types --from feedback --out data/pairs\n\n\
        From a run the rejected rankings are its rankers' own; from a dataset alone those of the constant order \
        (document types) or BM25 (passages).")]
    Preferences(ExportArgs),
    /// Prompts with the grades of their candidates, and a grader beside them
    #[command(
        after_help = "Example:\n  footnote export rft --from doc_ranking_dev.jsonl --out data/rft"
    )]
    Rft(ExportArgs),
    /// Queries with relevant texts and hard negatives, for re-rankers
    #[command(
        after_help = "Example:\n  footnote export rerank --from corpus --out data/rerank\n\n\
        `corpus` makes questions of the imported filings' inline-XBRL facts, whose place is known for certain; with --reword \
        a model says them in other words, so that a ranker does not learn the templates."
    )]
    Rerank(ExportArgs),
    /// Relevance judgements in TREC's form, with queries and documents
    #[command(
        after_help = "Example:\n  footnote export qrels --from questions.jsonl --out data/qrels"
    )]
    Qrels(ExportArgs),
    /// Prove what an export promises: hashes, shapes, splits, doubles, Parquet equal to JSON lines
    #[command(after_help = "Example:\n  footnote export check data/sft --json")]
    Check(ExportCheckArgs),
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A dataset (JSON lines), `run:DIR` of an evaluation, `feedback`, or `corpus`; may be repeated
    #[arg(long, required = true, value_name = "SOURCE")]
    pub from: Vec<String>,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Files of the rows
    #[arg(long, value_enum, default_value_t = FormatName::Both)]
    pub format: FormatName,
    /// What no two splits share
    #[arg(long, value_enum, default_value_t = SplitByName::Both)]
    pub split_by: SplitByName,
    /// Share of validation
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    pub validation: f64,
    /// Share of test
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    pub test: f64,
    /// Draws the splits, and the questions made from facts
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Have a model say the questions made from facts in other words (slow); names, numbers and dates stay
    #[arg(long, value_name = "M", num_args = 0..=1, default_missing_value = "qwen2.5-coder-1.5b")]
    pub reword: Option<String>,
    /// Replace an export that is there already
    #[arg(long)]
    pub overwrite: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Files of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// JSON lines
    Jsonl,
    /// JSON lines and Parquet
    Both,
}

/// What no two splits share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitByName {
    /// A company
    Company,
    /// A wording of questions
    Template,
    /// Neither; what stands between two splits is left out
    Both,
}

#[derive(Debug, Args)]
pub struct ExportCheckArgs {
    /// The export
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
