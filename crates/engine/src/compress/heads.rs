//! Heads of a draft model that find evidence, as a file: which ones, how loud each is, and on what they were found.
//!
//! Retrieval heads (QRHead, arXiv:2506.09944) chosen one after another by what they add (HeadHunter, arXiv:2506.10978,
//! section 4), scored as in-context re-ranking does (arXiv:2410.02642): what the question attends to, less what a
//! question without content attends to. Must not know prompts or files.

use serde::{Deserialize, Serialize};

use super::scores::HeadRow;
use crate::EngineError;
use crate::config::ModelConfig;

/// What a question without content is.
pub const NO_QUESTION: &str = "N/A";

/// Sets that come with Footnote, by how a model's file is named.
const KNOWN: &[(&str, &str)] = &[(
    "qwen2.5-coder-0.5b",
    include_str!("known/qwen2.5-coder-0.5b.toml"),
)];

/// One head.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceHead {
    /// Its layer, from 0.
    pub layer: usize,
    /// Its number among the query heads of the layer, from 0.
    pub head: usize,
    /// The attention that it pays to all of a prompt more for a question than for none, on average where it was found: its
    /// scores are divided by this, so that a loud head does not decide alone.
    pub scale: f32,
}

/// Heads that find evidence, and what is known of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceHeads {
    /// The model that they are of: a name of the catalogue, or a file's.
    pub model: String,
    /// On what they were found.
    pub found_on: String,
    /// Prompts that chose them.
    pub prompts: usize,
    /// Budgets at which they were chosen, in tokens.
    pub budgets: Vec<usize>,
    /// Share of evidence tokens that stays, on prompts that did not choose them.
    pub recall: f64,
    /// The same by SpecPC's rule over all heads.
    pub recall_all_heads: f64,
    /// The heads.
    pub heads: Vec<EvidenceHead>,
}

impl EvidenceHeads {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<EvidenceHeads, String> {
        let found: EvidenceHeads = toml::from_str(text).map_err(|error| error.to_string())?;
        if found.heads.is_empty() {
            return Err("it names no heads".to_string());
        }
        if let Some(head) = found
            .heads
            .iter()
            .find(|head| !(head.scale > 0.0 && head.scale.is_finite()))
        {
            return Err(format!(
                "head {} of layer {} has the scale {}; it must be above 0",
                head.head, head.layer, head.scale
            ));
        }
        Ok(found)
    }

    /// The file's text.
    ///
    /// # Errors
    /// Where TOML cannot hold it.
    pub fn text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }

    /// The heads that come with Footnote for a model of the catalogue, by how the model's file is named.
    pub fn known(file: &str) -> Option<EvidenceHeads> {
        let text = KNOWN.iter().find(|(name, _)| file.starts_with(name))?.1;
        EvidenceHeads::parse(text).ok()
    }

    /// One score a token from the heads' own, which may be of fewer tokens: each by its scale, added up.
    pub fn joined(&self, rows: &[HeadRow], tokens: usize) -> Vec<f32> {
        let mut scores = vec![0.0_f32; tokens];
        for ((layer, head), row) in rows {
            let known = self
                .heads
                .iter()
                .find(|h| (h.layer, h.head) == (*layer, *head));
            let Some(known) = known else { continue };
            for (score, paid) in scores.iter_mut().zip(row) {
                *score += paid / known.scale;
            }
        }
        scores
    }

    pub(crate) fn check(&self, config: &ModelConfig) -> Result<(), EngineError> {
        let foreign = self
            .heads
            .iter()
            .find(|head| head.layer >= config.layers || head.head >= config.heads);
        match foreign {
            None => Ok(()),
            Some(head) => Err(EngineError::Request(format!(
                "the draft has no head {} in layer {}: it has {} layers of {} heads",
                head.head, head.layer, config.layers, config.heads
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_that_come_along_are_read_and_written_back() {
        for (name, text) in KNOWN {
            let heads = EvidenceHeads::parse(text).unwrap();
            assert_eq!(heads.model, *name);
            assert_eq!(EvidenceHeads::parse(&heads.text().unwrap()).unwrap(), heads);
            let file = format!("{name}-instruct-q4_k_m");
            assert_eq!(EvidenceHeads::known(&file), Some(heads));
        }
        assert_eq!(EvidenceHeads::known("smollm2-135m"), None);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let (_, good) = KNOWN[0];
        for (wrong, word) in [
            (good.replace("scale = 0.9092176", "scale = 0.0"), "above 0"),
            (good.replace("scale = 0.9092176", "scale = nan"), "above 0"),
            (good.replace("prompts = 44", "prompts = -1"), "prompts"),
            (good.replace("[[heads]]", "[[tails]]"), "tails"),
        ] {
            let said = EvidenceHeads::parse(&wrong).unwrap_err();
            assert!(said.contains(word), "{said}");
        }
    }
}
