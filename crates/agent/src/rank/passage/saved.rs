//! Learned rankers in folders: one small JSON file with the numbers and what they were fitted on.
//!
//! A folder may come from anywhere, so everything in it is checked before it is believed.

use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::features::FEATURES;
use super::fit::CrossValidation;
use super::scorer::Scorer;
use crate::AgentError;

/// The file's name in its folder.
const FILE: &str = "passages.json";
/// What the file says it is.
const FORMAT: &str = "footnote passage ranker 1";
/// A larger file is none of ours.
const MOST_BYTES: u64 = 16 << 20;

/// The ranker that comes with the program.
const BUILT_IN: &str = include_str!("builtin.json");

/// What a ranker was fitted on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Names of the datasets.
    pub datasets: Vec<String>,
    /// SHA-256 of their bytes, in order.
    pub sha256: Vec<String>,
    /// Questions learned from.
    pub questions: usize,
    /// Chunks of these.
    pub chunks: usize,
    /// Questions left out, because nothing or everything was relevant or a line was broken.
    pub left_out: usize,
    /// The seed of the folds.
    pub seed: u64,
    /// How it did on held-out groups.
    pub cross_validation: CrossValidation,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    features: Vec<String>,
    scorer: Scorer,
    training: Training,
}

/// Writes a ranker into a folder, which is made if need be.
///
/// # Errors
/// Where the folder cannot be written.
pub fn save(folder: &Path, scorer: &Scorer, training: &Training) -> Result<(), AgentError> {
    let unwritable = |reason: &dyn std::fmt::Display| {
        refused(
            &folder.display().to_string(),
            reason,
            "name a folder that can be written",
        )
    };
    let file = File {
        format: FORMAT.to_owned(),
        features: FEATURES
            .iter()
            .map(|(_, name)| (*name).to_owned())
            .collect(),
        scorer: scorer.clone(),
        training: training.clone(),
    };
    let text = serde_json::to_string(&file).map_err(|error| unwritable(&error))?;
    std::fs::create_dir_all(folder).map_err(|error| unwritable(&error))?;
    let partial = folder.join(format!("{FILE}.partial"));
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, folder.join(FILE)))
        .map_err(|error| unwritable(&error))
}

/// Reads a ranker from a folder.
///
/// # Errors
/// Where the folder holds none, or a broken one, or one of another version.
pub fn load(folder: &Path) -> Result<(Scorer, Training), AgentError> {
    let path = folder.join(FILE);
    let name = path.display().to_string();
    let mend = "make one by `footnote train passages --dataset F.jsonl --out DIR`";
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| refused(&name, &error, mend))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(refused(
            &name,
            &format!("it has more than {MOST_BYTES} bytes"),
            mend,
        ));
    }
    parse(&text).map_err(|reason| refused(&name, &reason, mend))
}

/// The ranker that comes with the program, and what it was fitted on.
pub fn built_in() -> &'static (Scorer, Training) {
    static PARSED: LazyLock<(Scorer, Training)> =
        LazyLock::new(|| parse(BUILT_IN).expect("a test reads the embedded builtin.json"));
    &PARSED
}

/// The built-in weights: where fitting starts from, and what it is drawn to.
pub fn starting_weights() -> Vec<f32> {
    built_in().0.linear.clone()
}

fn parse(text: &str) -> Result<(Scorer, Training), String> {
    let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if file.format != FORMAT {
        return Err(format!(
            "it says it is {:?}, and {FORMAT:?} is read",
            file.format
        ));
    }
    let known = FEATURES.iter().map(|(_, name)| *name);
    if !file.features.iter().map(String::as_str).eq(known) {
        return Err("it was fitted on other features than this version measures".to_owned());
    }
    file.scorer.check()?;
    Ok((file.scorer, file.training))
}

fn refused(ranker: &str, reason: &dyn std::fmt::Display, mend: &str) -> AgentError {
    AgentError::PassageRanker {
        ranker: ranker.to_owned(),
        reason: reason.to_string(),
        mend: mend.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_ranker_is_whole() {
        assert_eq!(built_in().0.check(), Ok(()));
    }

    #[test]
    fn what_is_saved_comes_back_and_what_is_broken_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (scorer, training) = built_in();
        save(folder.path(), scorer, training).unwrap();
        assert_eq!(
            load(folder.path()).unwrap(),
            (scorer.clone(), training.clone())
        );
        let path = folder.path().join(FILE);
        let whole = std::fs::read_to_string(&path).unwrap();
        for (broken, says) in [
            (String::new(), "EOF"),
            (whole.replace("ranker 1", "ranker 9"), "ranker 9"),
            (whole.replacen("Words", "Birds", 1), "other features"),
            (
                whole.replacen("\"linear\":[", "\"linear\":[1,", 1),
                "weights",
            ),
            (whole.replacen("\"linear\":[", "\"linear\":[1e999,", 1), ""),
            (
                whole.replacen("\"trees\":[", "\"trees\":[[[0,0.5,0,0]],", 1),
                "",
            ),
        ] {
            std::fs::write(&path, &broken).unwrap();
            let error = load(folder.path()).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(FILE), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("footnote train passages"), "{error}");
    }
}
