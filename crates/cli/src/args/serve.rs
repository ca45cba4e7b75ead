//! Flags of `serve`, `keys`, `config` and `backup`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

/// Whether keys are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeysMode {
    /// On a public address, not on loopback
    Auto,
    /// Always
    On,
    /// Never; refused on a public address
    Off,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Where the database is.
#[derive(Clone, Debug, Default, Args)]
pub struct StoreArgs {
    /// The database: postgres://USER@HOST/DATABASE, or a SQLite file (default: HOME/footnote.db)
    #[arg(long, env = "FOOTNOTE_DATABASE", value_name = "URL")]
    pub database: Option<String>,
}

#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "Examples:\n  \
    footnote serve\n  \
    footnote serve --addr 0.0.0.0:8080 --host footnote.bank.example --log-format json\n  \
    footnote serve --database postgres://footnote@db/footnote --model openai:http://vllm:8000/v1#qwen2.5-32b\n\n\
    Every flag can be set by its variable or in HOME/footnote.toml; a flag goes before a variable, a variable before the file. \
    `footnote config show` prints what is in force.")]
pub struct ServeArgs {
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, env = "FOOTNOTE_ADDR", value_name = "IP:PORT")]
    pub addr: Option<SocketAddr>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// The model that answers: a catalogue name, a path, or openai:URL#NAME
    #[arg(long, env = "FOOTNOTE_MODEL", value_name = "M")]
    pub model: Option<String>,
    /// Whether API keys are needed [default: auto]
    #[arg(long, env = "FOOTNOTE_KEYS", value_enum)]
    pub keys: Option<KeysMode>,
    /// Host names under which the service is reached, beside loopback's (comma-separated)
    #[arg(
        long,
        env = "FOOTNOTE_HOSTS",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub host: Vec<String>,
    /// Days that traces and ended jobs are kept [default: for ever]
    #[arg(long, env = "FOOTNOTE_RETENTION_DAYS", value_name = "N")]
    pub retention_days: Option<u32>,
    /// The log's form [default: text]
    #[arg(long, env = "FOOTNOTE_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// Name and address that SEC demands for imports from EDGAR
    #[arg(long, env = "FOOTNOTE_EDGAR_USER_AGENT", value_name = "TEXT")]
    pub edgar_user_agent: Option<String>,
    /// Questions answered at once [default: 4]
    #[arg(long, env = "FOOTNOTE_ANSWERS", value_name = "N")]
    pub answers: Option<usize>,
    /// Questions that may wait beside them [default: 64]
    #[arg(long, env = "FOOTNOTE_ANSWERS_WAITING", value_name = "N")]
    pub answers_waiting: Option<usize>,
    /// Requests at once, all callers together [default: 256]
    #[arg(long, env = "FOOTNOTE_REQUESTS", value_name = "N")]
    pub requests: Option<usize>,
    /// Requests at once of one key [default: 128]
    #[arg(long, env = "FOOTNOTE_REQUESTS_PER_KEY", value_name = "N")]
    pub requests_per_key: Option<usize>,
    /// Bytes of an uploaded set of files [default: 536870912]
    #[arg(long, env = "FOOTNOTE_UPLOAD_BYTES", value_name = "N")]
    pub upload_bytes: Option<u64>,
    /// Seconds that an answer may take [default: 600]
    #[arg(long, env = "FOOTNOTE_ANSWER_SECONDS", value_name = "N")]
    pub answer_seconds: Option<u64>,
    /// Seconds that a shutdown waits for what is in hand [default: 20]
    #[arg(long, env = "FOOTNOTE_DRAIN_SECONDS", value_name = "N")]
    pub drain_seconds: Option<u64>,
    /// The settings file [default: HOME/footnote.toml]
    #[arg(long, env = "FOOTNOTE_CONFIG", value_name = "F")]
    pub config: Option<PathBuf>,
    /// SEC's servers, for a mirror or a test
    #[arg(long, hide = true, env = "FOOTNOTE_EDGAR_URL", value_name = "URL")]
    pub edgar_url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key; it is shown once and kept as its hash
    #[command(
        after_help = "Examples:\n  footnote keys create analysts --scopes search,ask\n  footnote keys create nightly --scopes jobs --days 90"
    )]
    Create {
        /// What the key is for
        name: String,
        /// What it may do: search, ask, jobs, admin (comma-separated)
        #[arg(long, value_delimiter = ',', default_value = "search,ask")]
        scopes: Vec<String>,
        /// Days until it expires [default: never]
        #[arg(long, value_name = "N")]
        days: Option<u32>,
        #[command(flatten)]
        store: StoreArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The keys, without what opens
    #[command(after_help = "Example:\n  footnote keys list --json")]
    List {
        #[command(flatten)]
        store: StoreArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key; it stops working within five seconds
    #[command(after_help = "Example:\n  footnote keys revoke 0198c0ffee…")]
    Revoke {
        /// The key's id, as `keys list` shows it
        id: String,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the settings in force and where each comes from, secrets left out
    #[command(after_help = "Example:\n  footnote config show --json")]
    Show {
        #[command(flatten)]
        serve: Box<ServeArgs>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  footnote backup ~/backups/footnote-$(date +%F).db")]
pub struct BackupArgs {
    /// The new file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub store: StoreArgs,
}
