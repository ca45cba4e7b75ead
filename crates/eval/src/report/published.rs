//! Published figures, kept beside the suites in `evals/published.toml` and compiled in.

use serde::Deserialize;

use crate::{EvalError, Task};

/// A figure that somebody published.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The task.
    pub task: Task,
    /// Whose it is.
    pub system: String,
    /// The metric, by our name for the same formula.
    pub metric: String,
    /// The figure.
    pub value: f64,
    /// Where it stands.
    pub source: String,
    /// Whether it may be set against ours.
    pub comparable: bool,
    /// Why, or why not.
    pub why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    result: Vec<Published>,
}

/// All published figures.
///
/// # Errors
/// Where the file that was compiled in is broken; a test sees to it that it is not.
pub fn published() -> Result<Vec<Published>, EvalError> {
    let text = include_str!("../../../../evals/published.toml");
    let file: File = toml::from_str(text).map_err(|error| EvalError::Unusable {
        path: "evals/published.toml".into(),
        reason: error.to_string(),
    })?;
    Ok(file.result)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_figure_has_its_source() {
        let all = super::published().unwrap();
        assert!(all.len() > 10);
        for figure in all {
            assert!(!figure.source.is_empty() && !figure.why.is_empty());
            assert!((0.0..=1.0).contains(&figure.value), "{figure:?}");
        }
    }
}
