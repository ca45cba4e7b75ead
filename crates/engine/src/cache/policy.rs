//! The cache policies by name, and the rule by which `auto` picks one.
//!
//! Knows shapes and counts bytes; must not know weights.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::CacheShape;
use crate::kernels::Bits;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CachePolicy {
    /// Rotated keys, and values, in f16.
    #[default]
    Full,
    /// Keys before rotation and without their bias per channel, values per token: KIVI's scheme with
    /// the keys that XQuant compares itself with (KIVI*, arXiv:2508.10395, section 4).
    Kv(Bits),
    /// Keys as attention takes them, rotated and with their bias, per channel; values per token: KIVI's own scheme
    /// (arXiv:2402.02750). A rival to measure against: rotation spreads a large bias over a channel's tokens.
    KvRotated(Bits),
    /// The layer's normed input, or its latents where keys and values are narrower
    /// (XQuant, arXiv:2508.10395, sections 3.1 and 3.3.1).
    XQuant {
        /// Bits of a code.
        bits: Bits,
        /// Whether the first channel of the key latents, which collects the outliers, stays in f16
        /// (appendix B). Without meaning where the input itself is kept.
        outlier: bool,
    },
    /// Differences of the input to the layer before, as it was stored (XQuant-CL, sections 3.2 and
    /// 3.3.2); the first layers in 4 bits.
    XQuantCl(Bits),
}

/// How the name of [`CachePolicy::KvRotated`] ends.
const ROTATED: &str = "+bias";

/// The policies a user can name, all but those with the outlier channel and the rivals for measurements.
pub const POLICIES: [CachePolicy; 12] = [
    CachePolicy::Full,
    CachePolicy::Kv(Bits::Eight),
    CachePolicy::Kv(Bits::Four),
    CachePolicy::Kv(Bits::Three),
    CachePolicy::Kv(Bits::Two),
    xquant(Bits::Eight),
    xquant(Bits::Four),
    xquant(Bits::Three),
    xquant(Bits::Two),
    CachePolicy::XQuantCl(Bits::Four),
    CachePolicy::XQuantCl(Bits::Three),
    CachePolicy::XQuantCl(Bits::Two),
];

const fn xquant(bits: Bits) -> CachePolicy {
    CachePolicy::XQuant {
        bits,
        outlier: false,
    }
}

impl fmt::Display for CachePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CachePolicy::Full => write!(f, "full"),
            CachePolicy::Kv(bits) => write!(f, "kv{}", bits.count()),
            CachePolicy::KvRotated(bits) => write!(f, "kv{}{ROTATED}", bits.count()),
            CachePolicy::XQuant { bits, outlier } => {
                let option = if *outlier { "+outlier" } else { "" };
                write!(f, "xquant{}{option}", bits.count())
            }
            CachePolicy::XQuantCl(bits) => write!(f, "xquant-cl{}", bits.count()),
        }
    }
}

impl FromStr for CachePolicy {
    type Err = String;

    fn from_str(name: &str) -> Result<CachePolicy, String> {
        if let Some(plain) = name.strip_suffix(ROTATED)
            && let Ok(CachePolicy::Kv(bits)) = plain.parse()
        {
            return Ok(CachePolicy::KvRotated(bits));
        }
        let (plain, outlier) = match name.strip_suffix("+outlier") {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let found = POLICIES
            .into_iter()
            .find(|policy| policy.to_string() == plain);
        match (found, outlier) {
            (Some(policy), false) => Ok(policy),
            (Some(CachePolicy::XQuant { bits, .. }), true) => {
                Ok(CachePolicy::XQuant { bits, outlier })
            }
            _ => {
                let names: Vec<String> = POLICIES.iter().map(CachePolicy::to_string).collect();
                Err(format!(
                    "no cache policy is called {name:?}; there are auto, {}, xquant4+outlier (or 3, 2), and to compare with kv4+bias (or 8, 3, 2)",
                    names.join(", ")
                ))
            }
        }
    }
}

/// A policy, or the wish that the engine choose one; by name in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum CacheChoice {
    /// By bytes and expected cost for the model and the longest context.
    Auto,
    /// This one.
    Policy(CachePolicy),
}

impl Default for CacheChoice {
    fn default() -> CacheChoice {
        CacheChoice::Policy(CachePolicy::Full)
    }
}

impl fmt::Display for CacheChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CacheChoice::Auto => write!(f, "auto"),
            CacheChoice::Policy(policy) => policy.fmt(f),
        }
    }
}

impl From<CacheChoice> for String {
    fn from(choice: CacheChoice) -> String {
        choice.to_string()
    }
}

impl TryFrom<String> for CacheChoice {
    type Error = String;

    fn try_from(name: String) -> Result<CacheChoice, String> {
        name.parse()
    }
}

impl FromStr for CacheChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<CacheChoice, String> {
        match name {
            "auto" => Ok(CacheChoice::Auto),
            name => name.parse().map(CacheChoice::Policy),
        }
    }
}

/// What was chosen, and why, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The policy.
    pub policy: CachePolicy,
    /// The reason, where there was a choice.
    pub reason: String,
}

/// Bytes of a full cache below which nothing is gained by quantising it.
const SMALL_CACHE_BYTES: usize = 256 << 20;

impl CacheChoice {
    /// The policy for contexts of up to `context` tokens.
    ///
    /// The rule: a full cache while it is small; else XQuant of the input at 4 bits where the input is
    /// no wider than keys and values together, since it is then the smallest at 4 bits; else keys and
    /// values at 4 bits, since latents take the same bytes and must be brought back for every token
    /// written. Closed loop is never chosen: its accumulator moves more bytes than it saves
    /// unless memory alone counts.
    pub fn resolve(self, shape: &CacheShape, context: usize) -> Chosen {
        let full = shape.full_bytes_per_token() * context;
        match self {
            CacheChoice::Policy(policy) => Chosen {
                policy,
                reason: "as asked".to_string(),
            },
            CacheChoice::Auto if full <= SMALL_CACHE_BYTES => Chosen {
                policy: CachePolicy::Full,
                reason: format!(
                    "full takes {} MB for {context} tokens, which is small",
                    full >> 20
                ),
            },
            CacheChoice::Auto if shape.keeps_input() => Chosen {
                policy: xquant(Bits::Four),
                reason: format!(
                    "full would take {} MB for {context} tokens, and the input ({} values) is no wider than keys and values ({})",
                    full >> 20,
                    shape.hidden,
                    2 * shape.kv_width()
                ),
            },
            CacheChoice::Auto => Chosen {
                policy: CachePolicy::Kv(Bits::Four),
                reason: format!(
                    "full would take {} MB for {context} tokens; latents take the bytes of quantised keys and values and cost more to read",
                    full >> 20
                ),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::HeadShape;

    #[test]
    fn names_are_read_back() {
        for policy in POLICIES {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        let outlier = CachePolicy::XQuant {
            bits: Bits::Two,
            outlier: true,
        };
        assert_eq!("xquant2+outlier".parse(), Ok(outlier));
        assert_eq!(outlier.to_string(), "xquant2+outlier");
        let rival = CachePolicy::KvRotated(Bits::Three);
        assert_eq!("kv3+bias".parse(), Ok(rival));
        assert_eq!(rival.to_string(), "kv3+bias");
        for wrong in [
            "",
            "kv5",
            "xquant",
            "kv4+outlier",
            "xquant4+bias",
            "xquant-cl8",
            "FULL",
            "kv16",
        ] {
            let error = wrong.parse::<CachePolicy>().unwrap_err();
            assert!(error.contains("xquant-cl2"), "{error}");
        }
        assert_eq!("auto".parse(), Ok(CacheChoice::Auto));
    }

    #[test]
    fn auto_chooses_by_bytes_and_shape() {
        let shape = |heads, kv_heads, head_dim, hidden| CacheShape {
            layers: 24,
            hidden,
            heads: HeadShape {
                heads,
                kv_heads,
                head_dim,
            },
        };
        let choose = |shape: CacheShape, context| CacheChoice::Auto.resolve(&shape, context).policy;
        let half_billion = shape(14, 2, 64, 896);
        assert_eq!(choose(half_billion, 4096), CachePolicy::Full);
        assert_eq!(choose(half_billion, 32_768), CachePolicy::Kv(Bits::Four));
        let multi_head = shape(32, 32, 64, 2048);
        assert_eq!(choose(multi_head, 8192), xquant(Bits::Four));
    }
}
