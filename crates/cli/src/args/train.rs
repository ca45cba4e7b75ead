//! What can be typed after `footnote train doc-types`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct TrainDocTypesArgs {
    /// Labelled questions in FinAgentBench's document form (may be repeated)
    #[arg(long, required = true, value_name = "F.jsonl")]
    pub dataset: Vec<PathBuf>,
    /// The folder to write the ranker into (default: HOME/doc-types)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// An embedder whose vectors a probe reads, stacked on the cues of `learned`: all-minilm-l6-v2, or hidden:M for a
    /// local model's states; none for words alone. May be repeated: the first is stacked, the others are compared
    #[arg(long, value_name = "E", default_value = "all-minilm-l6-v2")]
    pub embed: Vec<String>,
    /// Folds of the cross-validations, by company and by wording
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(2..=50))]
    pub folds: u8,
    /// Seed of the folds
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Also write each question's ranking by the fold that did not see its company
    #[arg(long, value_name = "P.jsonl")]
    pub predictions: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
