//! The compression policies by name.
//!
//! Must not know how they work.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a long prompt is made short before the model reads it; the number is the budget in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum CompressionPolicy {
    /// Not at all.
    #[default]
    None,
    /// SpecPC: what a draft model's attention says matters (arXiv:2506.08373).
    SpecPc(usize),
    /// SpecPC by the draft's heads that best find evidence.
    SpecPcHeads(usize),
    /// SpecKV: the target reads all and keeps the pairs that a draft's continuation attends to, so many a KV head.
    SpecKv(usize),
    /// SpecPC to [`PC_TOKENS`](super::PC_TOKENS), then SpecKV.
    SpecKvPc(usize),
    /// The chunks with the best BM25 score for the prompt's end: a rival.
    Bm25(usize),
    /// The start and the end: a rival.
    Truncate(usize),
    /// Pieces drawn at random, the same each time: a rival.
    Random(usize),
}

/// Where kept tokens stand when the target reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// One after another, as SpecPC does.
    #[default]
    Contiguous,
    /// Where they stood in the whole prompt, as SpecPrefill (arXiv:2502.02789) does.
    Original,
}

impl FromStr for Positions {
    type Err = String;

    fn from_str(name: &str) -> Result<Positions, String> {
        match name {
            "contiguous" => Ok(Positions::Contiguous),
            "original" => Ok(Positions::Original),
            _ => Err(format!(
                "kept tokens stand contiguous or original, not {name:?}"
            )),
        }
    }
}

impl CompressionPolicy {
    /// Tokens that stay, at most; none where all do.
    pub fn budget(self) -> Option<usize> {
        match self {
            CompressionPolicy::None => None,
            CompressionPolicy::SpecPc(budget)
            | CompressionPolicy::SpecPcHeads(budget)
            | CompressionPolicy::SpecKv(budget)
            | CompressionPolicy::SpecKvPc(budget)
            | CompressionPolicy::Bm25(budget)
            | CompressionPolicy::Truncate(budget)
            | CompressionPolicy::Random(budget) => Some(budget),
        }
    }

    /// Whether a draft model reads the prompt first.
    pub fn needs_draft(self) -> bool {
        matches!(
            self,
            CompressionPolicy::SpecPc(_)
                | CompressionPolicy::SpecPcHeads(_)
                | CompressionPolicy::SpecKv(_)
                | CompressionPolicy::SpecKvPc(_)
        )
    }

    /// How many pairs every KV head keeps, where the target's cache is pruned.
    pub fn pairs(self) -> Option<usize> {
        match self {
            CompressionPolicy::SpecKv(budget) | CompressionPolicy::SpecKvPc(budget) => Some(budget),
            _ => None,
        }
    }
}

impl fmt::Display for CompressionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            CompressionPolicy::None => return f.write_str("none"),
            CompressionPolicy::SpecPc(_) => "specpc",
            CompressionPolicy::SpecPcHeads(_) => "specpc-heads",
            CompressionPolicy::SpecKv(_) => "speckv",
            CompressionPolicy::SpecKvPc(_) => "speckv-pc",
            CompressionPolicy::Bm25(_) => "bm25",
            CompressionPolicy::Truncate(_) => "truncate",
            CompressionPolicy::Random(_) => "random",
        };
        write!(f, "{name}:{}", self.budget().unwrap_or(0))
    }
}

impl From<CompressionPolicy> for String {
    fn from(policy: CompressionPolicy) -> String {
        policy.to_string()
    }
}

impl TryFrom<String> for CompressionPolicy {
    type Error = String;

    fn try_from(name: String) -> Result<CompressionPolicy, String> {
        name.parse()
    }
}

impl FromStr for CompressionPolicy {
    type Err = String;

    fn from_str(name: &str) -> Result<CompressionPolicy, String> {
        if name == "none" {
            return Ok(CompressionPolicy::None);
        }
        let refuse = || {
            format!(
                "no compression policy is called {name:?}; there are none, specpc:C, specpc-heads:C, speckv:C, speckv-pc:C, \
                 bm25:C, truncate:C and random:C, where C is how many tokens stay"
            )
        };
        let (kind, budget) = name.split_once(':').ok_or_else(refuse)?;
        let budget: usize = budget
            .parse()
            .ok()
            .filter(|budget| (1..=1 << 20).contains(budget))
            .ok_or_else(refuse)?;
        match kind {
            "specpc" => Ok(CompressionPolicy::SpecPc(budget)),
            "specpc-heads" => Ok(CompressionPolicy::SpecPcHeads(budget)),
            "bm25" => Ok(CompressionPolicy::Bm25(budget)),
            "truncate" => Ok(CompressionPolicy::Truncate(budget)),
            "random" => Ok(CompressionPolicy::Random(budget)),
            "speckv" => Ok(CompressionPolicy::SpecKv(budget)),
            "speckv-pc" => Ok(CompressionPolicy::SpecKvPc(budget)),
            _ => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for name in [
            "none",
            "specpc:1024",
            "specpc-heads:2048",
            "speckv:256",
            "speckv-pc:512",
            "bm25:512",
            "truncate:64",
            "random:9",
        ] {
            let policy: CompressionPolicy = name.parse().unwrap();
            assert_eq!(policy.to_string(), name);
        }
        for (wrong, wanted) in [
            ("specpc", "C is how many"),
            ("specpc:0", "C is how many"),
            ("specpc:-1", "C is how many"),
            ("zip:100", "truncate:C"),
        ] {
            let error = wrong.parse::<CompressionPolicy>().unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
