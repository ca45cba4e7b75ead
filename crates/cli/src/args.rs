//! What can be typed: the commands, their flags and their help.
//!
//! Only shapes and texts; what a command does is in `commands`.

mod bench;
mod eval;
mod export;
mod serve;
mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use footnote_engine::Target;
use footnote_engine::cache::CacheChoice;
use footnote_engine::compress::{CompressionPolicy, Positions};
use footnote_engine::device::DeviceChoice;

pub use bench::{BenchArgs, PairName, Part};
pub use eval::{ConvertArgs, EvalCommand, FormName, ReportArgs, RunArgs, ScoreArgs, TaskName};
pub use export::{ExportArgs, ExportCheckArgs, ExportCommand, FormatName, SplitByName};
pub use serve::{
    BackupArgs, ConfigCommand, KeysCommand, KeysMode, LogFormat, ServeArgs, StoreArgs,
};
pub use train::TrainDocTypesArgs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "footnote",
    version,
    about = "Answers questions over SEC filings, with footnotes checked against the filings",
    long_about = "Footnote answers questions over SEC filings. A model that runs in this process picks the \
                  kind of filing, then the passage, and answers; every footnote is checked against the \
                  filing by the program.\n\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done in part (what failed is named on \
                  standard error).",
    after_help = "Examples:\n  \
                  footnote ask \"What was Zephyr's revenue growth in fiscal 2024?\"\n  \
                  footnote corpus import ~/filings\n  \
                  footnote corpus get --ticker AAPL,MSFT --forms 10-K,10-Q --since 2022\n  \
                  footnote doctor",
    propagate_version = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Folder for everything Footnote keeps: models, corpus, index
    #[arg(long, global = true, env = "FOOTNOTE_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Never use the network; what would need it fails and says so
    #[arg(
        long,
        global = true,
        env = "FOOTNOTE_OFFLINE",
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub offline: bool,
    /// Where local models run: auto takes the first GPU where this build and machine have one [default: auto]
    #[arg(
        long,
        global = true,
        env = "FOOTNOTE_DEVICE",
        value_name = "auto|cpu|cuda:N"
    )]
    pub device: Option<DeviceChoice>,
    /// No progress bars and no step lines on standard error
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask a question; the answer carries footnotes into the filings
    Ask(AskArgs),
    /// Search passages by words, with filters
    Search(SearchArgs),
    /// The filings that questions are answered from
    #[command(subcommand)]
    Corpus(CorpusCommand),
    /// The language models
    #[command(subcommand)]
    Models(ModelsCommand),
    /// The language model by itself
    #[command(subcommand)]
    Engine(EngineCommand),
    /// Rank pages of the imported corpus for each question of a dataset
    Retrieve(RetrieveArgs),
    /// Rank the candidates of a FinAgentBench dataset
    #[command(subcommand)]
    Rank(RankCommand),
    /// Fit a ranker on labelled records
    #[command(subcommand)]
    Train(TrainCommand),
    /// Run, score and report evaluations
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Write fine-tuning data: from datasets, runs, feedback and facts, split without leakage
    #[command(subcommand)]
    Export(ExportCommand),
    /// Serve analysts over HTTP: the page, the API, jobs, OpenAI's form, MCP
    Serve(Box<ServeArgs>),
    /// The API keys of the service
    #[command(subcommand)]
    Keys(KeysCommand),
    /// The service's settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write a copy of the database, whole while the service runs
    Backup(BackupArgs),
    /// Say what is set up, what is missing, and the command that mends it
    Doctor(JsonFlag),
}

/// For commands whose only flag is the output form.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  footnote doctor --json")]
pub struct JsonFlag {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Which filings to look in.
#[derive(Debug, Default, Args)]
pub struct ScopeArgs {
    /// Only these companies, by ticker (comma-separated)
    #[arg(long, value_delimiter = ',', value_name = "T")]
    pub ticker: Vec<String>,
    /// Only these forms: 10-K, 10-Q, 8-K, DEF14A, earnings (comma-separated)
    #[arg(long, value_delimiter = ',', value_name = "F")]
    pub form: Vec<String>,
    /// Only these fiscal years (comma-separated)
    #[arg(long, value_delimiter = ',', value_name = "Y")]
    pub year: Vec<u16>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    footnote ask \"What was the operating margin of Zephyr in fiscal 2024?\"\n  \
    footnote ask --explain \"Why did Aquillon's backlog change?\"\n  \
    footnote ask --ticker AAPL --year 2023 --json \"How much did Apple spend on R&D?\" | jq .statements")]
pub struct AskArgs {
    /// The question
    #[arg(value_name = "QUESTION")]
    pub question: String,
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// The model that answers: a catalogue name, the path of a GGUF file or of a safetensors folder, or openai:URL#NAME
    #[arg(long, value_name = "M", env = "FOOTNOTE_MODEL")]
    pub model: Option<String>,
    /// How a draft model shortens long excerpts before they are read: none, specpc-heads:C, specpc:C, bm25:C
    #[arg(long, default_value = "none", value_name = "POLICY")]
    pub compress: CompressionPolicy,
    /// The draft model: a catalogue name or a path; by default the smaller one of the pair
    #[arg(long, value_name = "D")]
    pub draft: Option<String>,
    /// Say what was read of each passage, and which passages the question attends to, by which heads
    #[arg(long)]
    pub explain: bool,
    /// Print the answer with its whole trace as JSON
    #[arg(long, conflicts_with = "stream")]
    pub json: bool,
    /// Print each event as a JSON line when it happens
    #[arg(long)]
    pub stream: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    footnote search \"supply chain risk\" --form 10-K -k 5\n  \
    footnote search '\"net sales\" by segment' --ticker AAPL --json")]
pub struct SearchArgs {
    /// Words; a part in double quotes is a phrase
    #[arg(value_name = "QUERY")]
    pub query: String,
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// How many passages
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub k: u16,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum CorpusCommand {
    /// Import EDGAR HTML, page JSON lines and transcripts (.gz and .zst too); manifest.jsonl is used when beside them
    #[command(
        after_help = "Examples:\n  footnote corpus import ~/filings\n  footnote corpus import pages.jsonl.zst transcripts/"
    )]
    Import {
        /// Files and folders
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Import again what is there unchanged (after an update of Footnote's readers)
        #[arg(long)]
        force: bool,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Download filings from SEC EDGAR and import them
    #[command(
        after_help = "Example:\n  footnote corpus get --ticker AAPL,MSFT --forms 10-K,10-Q,8-K,DEF14A --since 2022 --user-agent \"Jane Doe jane@example.com\""
    )]
    Get(GetArgs),
    /// What the corpus holds
    #[command(after_help = "Example:\n  footnote corpus stats --json")]
    Stats(JsonFlag),
    /// Verify the corpus against its index and show the readers' warnings
    #[command(after_help = "Example:\n  footnote corpus check")]
    Check(JsonFlag),
    /// Show a filing: its sections, or the text of one
    #[command(
        after_help = "Examples:\n  footnote corpus show 0000320193-23-000106\n  footnote corpus show AMD_2022_10K --section \"Item 7\""
    )]
    Show {
        /// The filing's accession (see `footnote search --json`)
        accession: String,
        /// Only this section's text
        #[arg(long, value_name = "ID")]
        section: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// Companies by ticker (comma-separated)
    #[arg(long, required = true, value_delimiter = ',', value_name = "T")]
    pub ticker: Vec<String>,
    /// Forms (comma-separated)
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10-K,10-Q,8-K,DEF14A",
        value_name = "F"
    )]
    pub forms: Vec<String>,
    /// Only filings made on this day or later: 2022, 2022-06 or 2022-06-30
    #[arg(long, value_name = "DAY", default_value = "2020")]
    pub since: String,
    /// Name and address that SEC demands, e.g. "Jane Doe jane@example.com"
    #[arg(long, env = "FOOTNOTE_EDGAR_USER_AGENT", value_name = "TEXT")]
    pub user_agent: Option<String>,
    /// Where to keep the downloaded files (default: HOME/edgar)
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// SEC's servers, for a mirror or a test
    #[arg(long, hide = true, env = "FOOTNOTE_EDGAR_URL", value_name = "URL")]
    pub edgar_url: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// The catalogue, and which models are here
    #[command(after_help = "Example:\n  footnote models list --json")]
    List(JsonFlag),
    /// Fetch a model (resumable, verified)
    #[command(after_help = "Example:\n  footnote models get smollm2-135m")]
    Get {
        /// Catalogue name
        name: String,
    },
    /// Print the path of a model's file
    #[command(after_help = "Example:\n  footnote models path qwen2.5-coder-1.5b")]
    Path {
        /// Catalogue name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum EngineCommand {
    /// Continue a prompt
    #[command(after_help = "Examples:\n  \
        footnote engine generate --model smollm2-135m --prompt \"The 10-K is\" --max-tokens 20\n  \
        footnote engine generate --model qwen2.5-coder-0.5b --chat --prompt-file question.txt --json\n  \
        footnote engine generate --model qwen2.5-coder-1.5b --draft qwen2.5-coder-0.5b --compress specpc:1024 --prompt-file long.txt\n  \
        footnote engine generate --model openai:http://127.0.0.1:8000/v1#qwen2.5 --prompt \"The 10-K is\"\n  \
        footnote engine generate --model openai:http://127.0.0.1:8000/v1#qwen2.5 --draft qwen2.5-coder-0.5b --compress specpc:1024 --prompt-file long.txt")]
    Generate(Box<GenerateArgs>),
    /// Make a long prompt short as text, for reading or for another model
    #[command(after_help = "Example:\n  \
        footnote engine compress --draft qwen2.5-coder-0.5b --compress specpc:1024 --prompt-file long.txt > short.txt\n\n\
        What stays are whole words; [\u{2026}] stands where something was left out. With --json also where each stretch stands in the file.")]
    Compress(CompressArgs),
    /// Measure prefill and decode speed, of a model or of a large model's shape with made-up weights
    #[command(after_help = "Examples:\n  \
        footnote engine bench --model smollm2-135m --prompt-tokens 1024 --gen-tokens 64 --json\n  \
        footnote engine bench --device cuda:0 --synthetic llama-3.1-8b --batch 1,8,32 --contexts 1024,8192,32768\n  \
        footnote engine bench --device cuda:0 --pair qwen2.5-0.5b,qwen2.5-14b --prompts 8192,32768\n  \
        footnote engine bench --synthetic llama-2-7b --floors")]
    Bench(Box<BenchArgs>),
    /// Score a text under a cache policy beside the full cache
    #[command(after_help = "Examples:\n  \
        footnote engine perplexity --model qwen2.5-coder-0.5b --text pages.jsonl.zst --cache xquant4 --json\n  \
        footnote engine perplexity --model smollm2-135m --text report.txt --cache kv4 --mode decode --max-tokens 2048")]
    Perplexity(PerplexityArgs),
    /// Hide sentences in long prompts and see whether a compression keeps them
    #[command(
        after_help = "Example:\n  footnote engine needle --draft qwen2.5-coder-0.5b --lengths 4096,8192 --compress specpc:1024 --json"
    )]
    Needle(NeedleArgs),
    /// Find the heads of a draft model that keep evidence best, for specpc-heads
    #[command(
        after_help = "Example:\n  footnote engine heads --model qwen2.5-coder-0.5b --data labelled.jsonl --out heads.toml\n\n\
        A line is {\"question\",\"passages\":[TEXT,…],\"relevant\":[INDEX,…],\"evidence\":[LINE,…]?,\"group\":COMPANY?}. Half of the groups \
        choose, the other half measure."
    )]
    Heads(HeadsArgs),
}

#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Catalogue name, or path of a GGUF file or of a safetensors folder
    #[arg(long)]
    pub model: String,
    /// The prompt
    #[arg(
        long,
        required_unless_present = "prompt_file",
        conflicts_with = "prompt_file"
    )]
    pub prompt: Option<String>,
    /// A file with the prompt
    #[arg(long, value_name = "F")]
    pub prompt_file: Option<PathBuf>,
    /// Set the prompt as a user's message in the model's chat template
    #[arg(long)]
    pub chat: bool,
    /// At most this many new tokens
    #[arg(long, default_value_t = 256)]
    pub max_tokens: usize,
    /// 0 is greedy
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
    /// Smallest set of tokens whose probabilities reach this
    #[arg(long, default_value_t = 1.0)]
    pub top_p: f32,
    /// Only the k likeliest tokens; 0 is off
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Seed of the draw
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// End before this text (may be repeated)
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// A file with a JSON schema that the output must obey
    #[arg(long, value_name = "F", conflicts_with_all = ["grammar", "regex"])]
    pub json_schema: Option<PathBuf>,
    /// A file with a grammar (llguidance's Lark) that the output must obey
    #[arg(long, value_name = "F", conflicts_with = "regex")]
    pub grammar: Option<PathBuf>,
    /// A regular expression that the whole output must match
    #[arg(long)]
    pub regex: Option<String>,
    /// How the context is kept: full, kv8|4|3|2, xquant8|4|3|2, xquant-cl4|3|2, or auto
    #[arg(long, default_value = "full", value_name = "POLICY")]
    pub cache: CacheChoice,
    /// A small model of the same vocabulary that reads long prompts first
    #[arg(long, value_name = "D")]
    pub draft: Option<String>,
    /// How a long prompt is made short: none, specpc:C, specpc-heads:C, speckv:C, speckv-pc:C, bm25:C, truncate:C,
    /// random:C
    #[arg(long, default_value = "none", value_name = "POLICY")]
    pub compress: CompressionPolicy,
    /// The draft's evidence heads, for specpc-heads
    #[arg(long, value_name = "H.toml")]
    pub heads: Option<PathBuf>,
    /// Text of the prompt that must stay (may be repeated)
    #[arg(long, value_name = "TEXT")]
    pub protect: Vec<String>,
    /// Text of the prompt that asks, such as the question; by default its last paragraph
    #[arg(long, value_name = "TEXT")]
    pub focus: Option<String>,
    /// Write away from a weaker reading whose evidence heads attend to this instead: identity, zero, sink or uniform (a
    /// trial: evals/results/contrast.md)
    #[arg(long, value_name = "TARGET")]
    pub contrast: Option<Target>,
    /// The model's own evidence heads, for --contrast
    #[arg(long, value_name = "H.toml", requires = "contrast")]
    pub contrast_heads: Option<PathBuf>,
    /// How far those heads are moved, 0 to 1
    #[arg(long, default_value_t = 1.0, requires = "contrast")]
    pub contrast_u: f32,
    /// How far the text is pushed from the weaker reading; 0 is off
    #[arg(long, default_value_t = 1.0, requires = "contrast")]
    pub contrast_weight: f32,
    /// Where kept tokens stand when they are read: contiguous or original
    #[arg(long, default_value = "contiguous", value_name = "WHERE")]
    pub positions: Positions,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CompressArgs {
    /// A file with the prompt: text whose last paragraph asks
    #[arg(long, value_name = "F")]
    pub prompt_file: PathBuf,
    /// The model that reads it: a catalogue name or a path
    #[arg(long, value_name = "D")]
    pub draft: String,
    /// What chooses the text that stays: specpc:C, specpc-heads:C, bm25:C, truncate:C, random:C
    #[arg(long, default_value = "specpc:1024", value_name = "POLICY")]
    pub compress: CompressionPolicy,
    /// The draft's evidence heads, for specpc-heads
    #[arg(long, value_name = "H.toml")]
    pub heads: Option<PathBuf>,
    /// Text that must stay, such as a passage's header (may be repeated)
    #[arg(long, value_name = "TEXT")]
    pub protect: Vec<String>,
    /// Text of the prompt that asks; by default its last paragraph
    #[arg(long, value_name = "TEXT")]
    pub focus: Option<String>,
    /// Print JSON: the text, and what stays as byte ranges of the file
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct HeadsArgs {
    /// The draft model: a catalogue name or a path
    #[arg(long, value_name = "M")]
    pub model: String,
    /// Labelled prompts as JSON lines
    #[arg(long, value_name = "F")]
    pub data: PathBuf,
    /// The file of heads to write
    #[arg(long, value_name = "H.toml")]
    pub out: PathBuf,
    /// Tokens that stay of a prompt; of several the mean counts
    #[arg(long, value_delimiter = ',', default_value = "1024,2048", value_parser = clap::value_parser!(u32).range(128..=32_768))]
    pub budget: Vec<u32>,
    /// Longest prompt; passages without evidence go from the end until it fits
    #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(256..=32_768))]
    pub max_tokens: u32,
    /// Heads taken a round, each scored together with those of the rounds before
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub a_round: u32,
    /// Only heads of the first so many layers: the draft stops after the last one's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub layers: Option<u32>,
    /// At most this many heads
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub most: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct NeedleArgs {
    /// The model whose attention chooses: a catalogue name or a path
    #[arg(long, value_name = "D")]
    pub draft: String,
    /// Lengths of the haystacks, in tokens
    #[arg(long, value_delimiter = ',', default_value = "4096", value_name = "N")]
    pub lengths: Vec<usize>,
    /// Where the needle stands, from 0 (the start) to 1
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0,0.25,0.5,0.75,1",
        value_name = "SHARE"
    )]
    pub depths: Vec<f64>,
    /// Needles a length and depth
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// What chooses the tokens that stay
    #[arg(long, default_value = "specpc:1024", value_name = "POLICY")]
    pub compress: CompressionPolicy,
    /// The draft's evidence heads, for specpc-heads
    #[arg(long, value_name = "H.toml")]
    pub heads: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PerplexityArgs {
    /// Catalogue name, or path of a GGUF file or of a safetensors folder
    #[arg(long)]
    pub model: String,
    /// Text to score: any text file, or page JSON lines; plain, .gz or .zst
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// How the context is kept: full, kv8|4|3|2, xquant8|4|3|2, xquant-cl4|3|2, or auto
    #[arg(long, default_value = "full", value_name = "POLICY")]
    pub cache: CacheChoice,
    /// As a prompt with all tokens quantised, or token by token with the recent ones in full precision
    #[arg(long, value_enum, default_value_t = ModeName::Prefill)]
    pub mode: ModeName,
    /// Tokens of one context
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(2..=131_072))]
    pub window: u32,
    /// At most this many tokens of the text
    #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    pub max_tokens: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeName {
    /// As a prompt, all tokens quantised
    Prefill,
    /// Token by token through the window of recent tokens
    Decode,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  footnote retrieve --dataset questions.jsonl --out predictions.jsonl\n  \
    footnote retrieve --dataset questions.jsonl --ranker agent+dense --out predictions.jsonl\n\n\
    A dataset line is {\"id\",\"question\"}; other fields are ignored. An output line is \
    {\"id\",\"hits\":[{\"doc\",\"page\",\"score\"},…]}."
)]
pub struct RetrieveArgs {
    /// Questions as JSON lines
    #[arg(long, value_name = "Q.jsonl")]
    pub dataset: PathBuf,
    /// Where to write the ranked pages
    #[arg(long, value_name = "P.jsonl")]
    pub out: PathBuf,
    /// Who orders the pages: agent, a passage ranker over the agent's best, or agent+NAME for both fused by rank
    #[arg(long, value_name = "NAME", default_value = "agent")]
    pub ranker: String,
    /// How many of the agent's best a passage ranker orders
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub depth: u16,
    /// The model of a model ranker: a catalogue name, a path, or openai:URL#NAME
    #[arg(long, value_name = "M", env = "FOOTNOTE_MODEL")]
    pub model: Option<String>,
    /// Pages per question
    #[arg(short, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub k: u16,
}

#[derive(Debug, Subcommand)]
pub enum RankCommand {
    /// Order the five document types for each question
    #[command(
        after_help = "Examples:\n  footnote rank doc-types --dataset dev.jsonl --ranker model --out predictions.jsonl\n  \
        footnote rank doc-types --dataset dev.jsonl --ranker learned:my-ranker --out predictions.jsonl\n\n\
        Rankers: fixed, random, bm25, model, generated, learned:DIR; and, with labelled questions (--labelled), nearest, \
        tfidf-ridge, examples (the nearest shown to the model), probe:all-minilm-l6-v2 and probe:hidden:M (a linear probe over \
        the sentence encoder's or a local model's vectors)."
    )]
    DocTypes(RankArgs),
    /// Order the chunks of each question's document
    #[command(
        after_help = "Examples:\n  footnote rank passages --dataset chunks.jsonl --out predictions.jsonl\n  \
        footnote rank passages --dataset chunks.jsonl --ranker learned:my-ranker --out predictions.jsonl\n\n\
        Rankers: bm25, bm25-sections, lexical, hybrid, dense, hybrid-dense, model-yesno, model-likelihood, attention, attention-bm25, cascade, \
        learned:DIR.\n\
        Line N of the output belongs to line N of the dataset, since ids may repeat there."
    )]
    Passages(RankPassagesArgs),
}

#[derive(Debug, Args)]
pub struct RankPassagesArgs {
    /// The dataset in FinAgentBench's chunk form
    #[arg(long, value_name = "F.jsonl")]
    pub dataset: PathBuf,
    /// Which ranker
    #[arg(long, value_name = "NAME", default_value = "lexical")]
    pub ranker: String,
    /// The model of a model ranker: a catalogue name, a path, or openai:URL#NAME
    #[arg(long, value_name = "M", env = "FOOTNOTE_MODEL")]
    pub model: Option<String>,
    /// Where to write the predictions
    #[arg(long, value_name = "P.jsonl")]
    pub out: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum TrainCommand {
    /// Fit a passage ranker on labelled records
    #[command(
        after_help = "Example:\n  footnote train passages --dataset chunks_dev.jsonl --out my-ranker\n  \
        footnote rank passages --dataset chunks_eval.jsonl --ranker learned:my-ranker --out p.jsonl"
    )]
    Passages(TrainPassagesArgs),
    /// Fit a ranker of document types on labelled questions; `ask` uses it when it is in the home folder
    #[command(
        after_help = "Example:\n  footnote train doc-types --dataset dev.jsonl --out my-ranker\n  \
        footnote rank doc-types --dataset eval.jsonl --ranker learned:my-ranker --out p.jsonl\n\n\
        Without --out the ranker is written to HOME/doc-types, where `ask` finds it."
    )]
    DocTypes(TrainDocTypesArgs),
}

#[derive(Debug, Args)]
pub struct TrainPassagesArgs {
    /// Labelled records in FinAgentBench's chunk form (may be repeated)
    #[arg(long, required = true, value_name = "F.jsonl")]
    pub dataset: Vec<PathBuf>,
    /// The folder to write the ranker into
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Folds of the cross-validation, by company or document
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=20))]
    pub folds: u8,
    /// At most this many boosted trees; 0 for a weighted sum alone
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u16).range(0..=2_000))]
    pub trees: u16,
    /// How strongly weights are drawn to the built-in ones
    #[arg(long, default_value_t = 0.01)]
    pub penalty: f64,
    /// Seed of the folds
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RankArgs {
    /// The dataset in FinAgentBench's form
    #[arg(long, value_name = "F.jsonl")]
    pub dataset: PathBuf,
    /// Which ranker
    #[arg(long, value_name = "NAME")]
    pub ranker: String,
    /// The model of a model ranker: a catalogue name, a path, or openai:URL#NAME
    #[arg(long, value_name = "M", env = "FOOTNOTE_MODEL")]
    pub model: Option<String>,
    /// Labelled questions in the same form, for rankers that learn from them (may be repeated)
    #[arg(long, value_name = "L.jsonl")]
    pub labelled: Vec<PathBuf>,
    /// Where to write the predictions
    #[arg(long, value_name = "P.jsonl")]
    pub out: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn clap_accepts_its_own_definition() {
        super::Cli::command().debug_assert();
    }
}
