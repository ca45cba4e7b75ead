//! Where Footnote keeps what it keeps: one folder, its parts named here and nowhere else.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The folder behind `--home` and `FOOTNOTE_HOME`.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// `given`, or the user's data folder.
    pub fn new(given: Option<PathBuf>) -> anyhow::Result<Home> {
        if let Some(path) = given {
            if path.as_os_str().is_empty() {
                bail!("--home is empty; give a folder, or unset FOOTNOTE_HOME");
            }
            return Ok(Home(path));
        }
        let data = match std::env::var_os("XDG_DATA_HOME").filter(|value| !value.is_empty()) {
            Some(data) => PathBuf::from(data),
            None => {
                let user = std::env::var_os("HOME")
                    .filter(|value| !value.is_empty())
                    .context("HOME is not set; say with --home where Footnote may keep its data")?;
                Path::new(&user).join(".local/share")
            }
        };
        Ok(Home(data.join("footnote")))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Model files.
    pub fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    /// The imported filings and their index.
    pub fn corpus(&self) -> PathBuf {
        self.0.join("corpus")
    }

    /// The document-type ranker that the user trained, if any.
    pub fn doc_type_ranker(&self) -> PathBuf {
        self.0.join("doc-types")
    }

    /// Traces, feedback, jobs and keys.
    pub fn database(&self) -> PathBuf {
        self.0.join("footnote.db")
    }

    /// Files of the service's jobs.
    pub fn jobs(&self) -> PathBuf {
        self.0.join("jobs")
    }

    /// The service's settings, if the user wrote any.
    pub fn config(&self) -> PathBuf {
        self.0.join("footnote.toml")
    }

    /// Held while a service runs on this folder's database.
    pub fn service_lock(&self) -> PathBuf {
        self.0.join("serve.lock")
    }

    /// Files downloaded from EDGAR.
    pub fn edgar(&self) -> PathBuf {
        self.0.join("edgar")
    }

    /// The sample corpus, unpacked from the binary.
    pub fn sample(&self) -> PathBuf {
        self.0.join("sample")
    }
}
