//! What can be typed after `footnote eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Metrics with confidence intervals, and paired differences to another run
    #[command(
        after_help = "Examples:\n  footnote eval score --task pages --dataset questions.jsonl --predictions p.jsonl --against bm25.jsonl --json\n  \
        footnote eval score --task passages --dataset d.qrels --predictions p.run\n\n\
        A dataset ending in .qrels or .qrel and predictions ending in .run or .trec are read as TREC files."
    )]
    Score(ScoreArgs),
    /// Run a suite: every dataset, ranker, model and policy it names; can be killed and resumed
    #[command(
        after_help = "Examples:\n  footnote eval run evals/doc-types.toml --data ~/data --out runs/doc-types\n  \
        footnote eval run evals/doc-types.toml --data ~/data --out runs/doc-types --resume"
    )]
    Run(RunArgs),
    /// Write a run's report, as Markdown and as one HTML page
    #[command(after_help = "Example:\n  footnote eval report runs/doc-types")]
    Report(ReportArgs),
    /// Convert labels or predictions between the public formats
    #[command(
        after_help = "Examples:\n  footnote eval convert predictions.jsonl --to submission --out submission.csv\n  \
        footnote eval convert dev.jsonl --to qrels --out dev.qrels"
    )]
    Convert(ConvertArgs),
}

#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// What was predicted
    #[arg(long, value_enum)]
    pub task: TaskName,
    /// The dataset with its labels
    #[arg(long, value_name = "F")]
    pub dataset: PathBuf,
    /// The predictions
    #[arg(long, value_name = "P")]
    pub predictions: PathBuf,
    /// Another run over the same dataset to compare with
    #[arg(long, value_name = "P2")]
    pub against: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Tasks that can be scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TaskName {
    /// Order of the five document types
    DocTypes,
    /// Order of a document's chunks
    Passages,
    /// Pages of a corpus
    Pages,
    /// Answers, by figures or words and a strict rule
    Answers,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The suite
    #[arg(value_name = "SUITE.toml")]
    pub suite: PathBuf,
    /// The folder for outcomes, prompts, outputs and the report
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The folder that the suite's datasets are in (default: the suite's own)
    #[arg(long, value_name = "DIR", env = "FOOTNOTE_DATA")]
    pub data: Option<PathBuf>,
    /// Go on with the run that the folder holds
    #[arg(long)]
    pub resume: bool,
    /// Ask at most this many questions now; `--resume` goes on
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Abort the process after this many questions (to test resuming)
    #[arg(long, hide = true, value_name = "N")]
    pub abort_after: Option<usize>,
    /// Print what was run as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The folder of `eval run --out`
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The folder that the datasets are in now, if they have moved
    #[arg(long, value_name = "DIR", env = "FOOTNOTE_DATA")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// JSON lines, a TREC run (.run, .trec) or a submission (.csv)
    #[arg(value_name = "FILE")]
    pub from: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    pub to: FormName,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Formats that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormName {
    /// TREC judgements
    Qrels,
    /// A TREC run
    Run,
    /// The Kaggle submission, five rows a sample
    Submission,
    /// Predictions as JSON lines
    Predictions,
    /// FinanceBench questions in the flat form
    Questions,
}
