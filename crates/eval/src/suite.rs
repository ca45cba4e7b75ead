//! Suites: what is to be run over what, as a TOML file.
//!
//! A suite is the product of its lists (datasets × rankers × models × cache policies × compression
//! policies); a ranker that asks no model is run once and not once a model. Unknown keys are refused with
//! their line, because a misspelt `bugdet` would otherwise be an unlimited one. Names of rankers, models and
//! policies are only carried here: whoever runs the suite knows what they mean, and refuses the others before
//! anything is run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{EvalError, Task};

/// The largest suite file.
const SUITE_BYTES_MAX: u64 = 1 << 20;
/// The most cells of a suite: more is a slip, not a plan.
const CELLS_MAX: usize = 1_000;

/// A suite file's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its name in reports.
    pub name: String,
    /// What is asked.
    pub task: Task,
    /// Dataset files, relative to the data folder.
    pub datasets: Vec<String>,
    /// Rankers; for answers the ranker of document types that the agent uses.
    pub rankers: Vec<String>,
    /// Models: catalogue names or paths.
    #[serde(default)]
    pub models: Vec<String>,
    /// Cache policies.
    #[serde(default = "full")]
    pub cache: Vec<String>,
    /// Compression policies.
    #[serde(default = "none")]
    pub compression: Vec<String>,
    /// Questions asked at the same time.
    #[serde(default = "one")]
    pub parallel: usize,
    /// How many pages are kept, for the task `pages`.
    #[serde(default = "twenty")]
    pub k: usize,
    /// What a question may cost.
    #[serde(default)]
    pub budget: Budget,
}

/// What a question may cost; without a limit, anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Seconds from question to result. Checked between a model's tokens and calls.
    pub seconds: Option<f64>,
    /// Tokens read and written over all calls of a model.
    pub tokens: Option<usize>,
}

fn full() -> Vec<String> {
    vec!["full".to_owned()]
}

fn none() -> Vec<String> {
    vec!["none".to_owned()]
}

fn one() -> usize {
    1
}

fn twenty() -> usize {
    20
}

/// One combination of a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// What is asked.
    pub task: Task,
    /// The dataset as the suite names it.
    pub dataset: String,
    /// Where it is.
    pub dataset_path: PathBuf,
    /// The ranker.
    pub ranker: String,
    /// The model, where the ranker or the agent asks one.
    pub model: Option<String>,
    /// The cache policy.
    pub cache: String,
    /// The compression policy.
    pub compression: String,
    /// How many pages are kept.
    pub k: usize,
    /// What a question may cost.
    pub budget: Budget,
}

impl Suite {
    /// Reads a suite, with the SHA-256 of the file in hex.
    ///
    /// # Errors
    /// What is wrong with it, with file and line.
    pub fn read(path: &Path) -> Result<(Suite, String), EvalError> {
        let unreadable = |source| EvalError::Io {
            path: path.to_owned(),
            source,
        };
        let unusable = |reason: String| EvalError::Unusable {
            path: path.to_owned(),
            reason,
        };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > SUITE_BYTES_MAX {
            return Err(unusable(format!("{size} bytes are no suite")));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let suite: Suite = toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            EvalError::Dataset {
                path: path.to_owned(),
                line: 1 + text[..at.min(text.len())].matches('\n').count(),
                reason: error.message().to_owned(),
            }
        })?;
        suite.check().map_err(unusable)?;
        Ok((suite, hex(&Sha256::digest(text.as_bytes()))))
    }

    fn check(&self) -> Result<(), String> {
        for (name, list) in [
            ("datasets", &self.datasets),
            ("rankers", &self.rankers),
            ("cache", &self.cache),
            ("compression", &self.compression),
        ] {
            if list.is_empty() {
                return Err(format!("{name} is empty: there is nothing to run"));
            }
        }
        for list in [
            &self.datasets,
            &self.rankers,
            &self.models,
            &self.cache,
            &self.compression,
        ] {
            let mut seen = BTreeSet::new();
            if let Some(twice) = list.iter().find(|name| !seen.insert(name.as_str())) {
                return Err(format!("{twice:?} is listed twice"));
            }
        }
        if !(1..=64).contains(&self.parallel) {
            return Err(format!("parallel is {}, not 1 to 64", self.parallel));
        }
        if !(1..=1_000).contains(&self.k) {
            return Err(format!("k is {}, not 1 to 1000", self.k));
        }
        if let Some(seconds) = self.budget.seconds
            && !(seconds.is_finite() && seconds > 0.0)
        {
            return Err(format!("a budget of {seconds} seconds is none"));
        }
        Ok(())
    }

    /// The combinations, in order. `asks_model` says of a ranker whether it asks a model, or why it
    /// cannot be run.
    ///
    /// # Errors
    /// Its refusals; rankers that ask a model where the suite names none; too many combinations.
    pub fn cells(
        &self,
        data: &Path,
        asks_model: impl Fn(&str) -> Result<bool, String>,
    ) -> Result<Vec<Cell>, String> {
        let mut cells = Vec::new();
        for dataset in &self.datasets {
            for ranker in &self.rankers {
                let cell = |model: Option<&String>, cache: &str, compression: &str| Cell {
                    task: self.task,
                    dataset: dataset.clone(),
                    dataset_path: data.join(dataset),
                    ranker: ranker.clone(),
                    model: model.cloned(),
                    cache: cache.to_owned(),
                    compression: compression.to_owned(),
                    k: self.k,
                    budget: self.budget,
                };
                if !asks_model(ranker)? {
                    cells.push(cell(None, "", ""));
                    continue;
                }
                if self.models.is_empty() {
                    return Err(format!("{ranker:?} asks a model, and models is empty"));
                }
                for model in &self.models {
                    for cache in &self.cache {
                        for compression in &self.compression {
                            cells.push(cell(Some(model), cache, compression));
                        }
                    }
                }
            }
        }
        if cells.len() > CELLS_MAX {
            return Err(format!(
                "{} combinations; at most {CELLS_MAX} are run",
                cells.len()
            ));
        }
        Ok(cells)
    }
}

impl Cell {
    /// A name for people: what differs between cells.
    pub fn label(&self) -> String {
        let parts = [
            Some(self.ranker.as_str()),
            self.model.as_deref(),
            Some(self.cache.as_str()).filter(|cache| !matches!(*cache, "" | "full")),
            Some(self.compression.as_str()).filter(|policy| !matches!(*policy, "" | "none")),
        ];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        parts.join(" · ")
    }

    /// The run's name in the store: the same whenever the outcome must be the same. Where the data
    /// lies and what else the suite holds do not enter, so a suite that grows keeps what is done.
    pub fn run_id(&self, dataset_hash: &str) -> String {
        let all = json!({
            "version": 1,
            "task": self.task,
            "dataset": dataset_hash,
            "ranker": self.ranker,
            "model": self.model,
            "cache": self.cache,
            "compression": self.compression,
            "k": self.k,
            "budget": self.budget,
        });
        hex(&Sha256::digest(all.to_string().as_bytes()))[..32].to_owned()
    }
}

/// SHA-256 of a file in hex, read in pieces.
///
/// # Errors
/// Where it cannot be read.
pub fn file_hash(path: &Path) -> Result<String, EvalError> {
    let unreadable = |source| EvalError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = std::io::Read::read(&mut file, &mut buffer).map_err(unreadable)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Suite, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.toml");
        std::fs::write(&path, text).unwrap();
        Suite::read(&path)
            .map(|(suite, _)| suite)
            .map_err(|error| error.to_string())
    }

    const GOOD: &str = "name = \"x\"\ntask = \"passages\"\ndatasets = [\"a\", \"b\"]\nrankers = [\"bm25\", \"model\"]\n\
                        models = [\"m\", \"n\"]\ncache = [\"full\", \"kv4\"]\n[budget]\nseconds = 5\n";

    #[test]
    fn a_matrix_without_needless_repeats() {
        let suite = read(GOOD).unwrap();
        let cells = suite
            .cells(Path::new("data"), |ranker| Ok(ranker == "model"))
            .unwrap();
        assert_eq!(cells.len(), 2 * (1 + 2 * 2));
        assert_eq!(cells[0].label(), "bm25");
        assert_eq!(cells[2].label(), "model · m · kv4");
        let ids: BTreeSet<String> = cells
            .iter()
            .map(|cell| cell.run_id(&cell.dataset))
            .collect();
        assert_eq!(ids.len(), cells.len());
        assert!(
            suite
                .cells(Path::new(""), |_| Err("no such".into()))
                .is_err()
        );
    }

    #[test]
    fn slips_are_named_with_their_line() {
        let error = read(&GOOD.replace("[budget]", "[bugdet]")).unwrap_err();
        assert!(
            error.contains("s.toml:7") && error.contains("bugdet"),
            "{error}"
        );
        let error = read(&GOOD.replace("passages", "passage")).unwrap_err();
        assert!(error.contains("s.toml:2"), "{error}");
        let error = read(&GOOD.replace("\"n\"", "\"m\"")).unwrap_err();
        assert!(error.contains("twice"), "{error}");
        let error = read(&GOOD.replace("seconds = 5", "seconds = -5")).unwrap_err();
        assert!(error.contains("-5"), "{error}");
        assert!(read("name = ").unwrap_err().contains("s.toml:1"));
    }
}
