//! The service's settings: a flag goes before its variable, a variable before the file, the file before the default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use footnote_engine::device::DeviceChoice;
use footnote_server::{Limits, Settings, is_private};
use footnote_store::Location;
use serde::{Deserialize, Serialize};

use crate::args::{ConfigCommand, KeysMode, LogFormat, ServeArgs};
use crate::commands::{Context, Usage};
use crate::output::Outcome;

/// The largest settings file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The settings file: every key may be left out, none may be unknown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    addr: Option<SocketAddr>,
    database: Option<String>,
    model: Option<String>,
    device: Option<DeviceChoice>,
    keys: Option<KeysMode>,
    #[serde(default)]
    hosts: Vec<String>,
    retention_days: Option<u32>,
    log_format: Option<LogFormat>,
    edgar_user_agent: Option<String>,
    answers: Option<usize>,
    answers_waiting: Option<usize>,
    requests: Option<usize>,
    requests_per_key: Option<usize>,
    upload_bytes: Option<u64>,
    answer_seconds: Option<u64>,
    drain_seconds: Option<u64>,
}

/// The settings in force.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    pub addr: SocketAddr,
    #[serde(skip)]
    pub location: Location,
    /// Without a password.
    pub database: String,
    pub model: Option<String>,
    pub device: DeviceChoice,
    pub keys: KeysMode,
    pub hosts: Vec<String>,
    pub retention_days: Option<u32>,
    pub log_format: LogFormat,
    pub edgar_user_agent: Option<String>,
    pub answers: usize,
    pub answers_waiting: usize,
    pub requests: usize,
    pub requests_per_key: usize,
    pub upload_bytes: u64,
    pub answer_seconds: u64,
    pub drain_seconds: u64,
    #[serde(skip)]
    sources: BTreeMap<&'static str, &'static str>,
}

fn read(path: &Path, must_be_there: bool) -> anyhow::Result<File> {
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_be_there => {
            return Ok(File::default());
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    if size > FILE_BYTES_MAX {
        return Err(Usage(format!(
            "{} has {size} bytes; that is no settings file",
            path.display()
        ))
        .into());
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).map_err(|error| Usage(format!("{}: {error}", path.display())).into())
}

impl Config {
    /// Puts flags, variables, file and defaults together.
    pub fn load(args: &ServeArgs, context: &Context) -> anyhow::Result<Config> {
        let usual = context.home.config();
        let path = args.config.as_deref().unwrap_or(&usual);
        let file = read(path, args.config.is_some())?;
        let mut sources = BTreeMap::new();
        // clap has put a flag and its variable together already.
        macro_rules! pick {
            ($name:ident, $given:expr, $default:expr) => {{
                let (value, source) = match ($given.clone(), file.$name.clone()) {
                    (Some(value), _) => (value, "flag or variable"),
                    (None, Some(value)) => (value, "file"),
                    (None, None) => ($default, "default"),
                };
                sources.insert(stringify!($name), source);
                value
            }};
            ($name:ident, $given:expr) => {{
                let source = match (&$given, &file.$name) {
                    (Some(_), _) => "flag or variable",
                    (None, Some(_)) => "file",
                    (None, None) => "default",
                };
                sources.insert(stringify!($name), source);
                $given.clone().or(file.$name.clone())
            }};
        }
        let limits = Limits::default();
        let database = pick!(database, args.store.database);
        let location = match database {
            None => Location::file(context.home.database()),
            Some(text) => text
                .parse()
                .map_err(|error: footnote_store::StoreError| Usage(error.to_string()))?,
        };
        // A variable that is set to nothing, as a compose file does it, sets nothing.
        let named: Vec<String> = args
            .host
            .iter()
            .map(|host| host.trim().to_owned())
            .filter(|host| !host.is_empty())
            .collect();
        let user_agent = args
            .edgar_user_agent
            .clone()
            .filter(|text| !text.trim().is_empty());
        let hosts = if named.is_empty() {
            sources.insert(
                "hosts",
                if file.hosts.is_empty() {
                    "default"
                } else {
                    "file"
                },
            );
            file.hosts.clone()
        } else {
            sources.insert("hosts", "flag or variable");
            named
        };
        let config = Config {
            addr: pick!(addr, args.addr, SocketAddr::from(([127, 0, 0, 1], 8080))),
            database: location.to_string(),
            location,
            model: pick!(model, args.model),
            device: pick!(device, context.device, DeviceChoice::default()),
            keys: pick!(keys, args.keys, KeysMode::Auto),
            hosts,
            retention_days: pick!(retention_days, args.retention_days),
            log_format: pick!(log_format, args.log_format, LogFormat::Text),
            edgar_user_agent: pick!(edgar_user_agent, user_agent),
            answers: pick!(answers, args.answers, limits.answers),
            answers_waiting: pick!(
                answers_waiting,
                args.answers_waiting,
                limits.answers_waiting
            ),
            requests: pick!(requests, args.requests, limits.requests),
            requests_per_key: pick!(
                requests_per_key,
                args.requests_per_key,
                limits.requests_per_key
            ),
            upload_bytes: pick!(upload_bytes, args.upload_bytes, limits.upload_bytes),
            answer_seconds: pick!(
                answer_seconds,
                args.answer_seconds,
                limits.answer_timeout.as_secs()
            ),
            drain_seconds: pick!(drain_seconds, args.drain_seconds, limits.drain.as_secs()),
            sources,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let refused = |reason: String| Err(Usage(reason).into());
        for (name, value) in [
            ("answers", self.answers),
            ("requests", self.requests),
            ("requests-per-key", self.requests_per_key),
        ] {
            if !(1..=100_000).contains(&value) {
                return refused(format!("--{name} is 1 to 100,000, not {value}"));
            }
        }
        if self.answers_waiting > 100_000 {
            return refused("--answers-waiting is at most 100,000".to_owned());
        }
        if self.answer_seconds == 0 || self.answer_seconds > 86_400 || self.drain_seconds > 3_600 {
            return refused(
                "--answer-seconds is 1 to 86,400 and --drain-seconds at most 3,600".to_owned(),
            );
        }
        if self.keys == KeysMode::Off && !is_private(self.addr.ip()) {
            return refused(format!(
                "{} can be reached by others, and --keys off would let anybody ask; make a key with `footnote keys \
                 create NAME`, or listen on 127.0.0.1",
                self.addr
            ));
        }
        Ok(())
    }

    /// Whether a key is needed.
    pub fn keys_required(&self) -> bool {
        match self.keys {
            KeysMode::On => true,
            KeysMode::Off => false,
            KeysMode::Auto => !is_private(self.addr.ip()),
        }
    }

    /// As the server takes them.
    pub fn settings(&self, context: &Context) -> Settings {
        let defaults = Limits::default();
        Settings {
            addr: self.addr,
            jobs_dir: context.home.jobs(),
            corpus_dir: context.home.corpus(),
            keys_required: self.keys_required(),
            hosts: self.hosts.clone(),
            retention_days: self.retention_days,
            limits: Limits {
                answers: self.answers,
                answers_waiting: self.answers_waiting,
                requests: self.requests,
                requests_per_key: self.requests_per_key,
                upload_bytes: self.upload_bytes,
                answer_timeout: Duration::from_secs(self.answer_seconds),
                drain: Duration::from_secs(self.drain_seconds),
                ..defaults
            },
        }
    }
}

/// `config show`.
pub fn run(command: &ConfigCommand, context: &Context) -> anyhow::Result<Outcome> {
    let ConfigCommand::Show { serve, json } = command;
    let config = Config::load(serve, context)?;
    if *json {
        context.output.json(&config)?;
        return Ok(Outcome::Done);
    }
    let values = serde_json::to_value(&config)?;
    for (name, value) in values.as_object().into_iter().flatten() {
        if value.is_null() {
            context.output.line(&format!("# {name} is not set"))?;
            continue;
        }
        let source = config
            .sources
            .get(name.as_str())
            .copied()
            .unwrap_or("default");
        context
            .output
            .line(&format!("{:<40} # {source}", format!("{name} = {value}")))?;
    }
    Ok(Outcome::Done)
}
