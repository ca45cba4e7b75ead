//! What a policy keeps of each layer of a given model: decided once, shared by all sequences.
//!
//! Knows shapes and bases; must not know requests.

use std::sync::Arc;

use super::{CachePolicy, CacheShape};
use crate::EngineError;
use crate::basis::{Bases, JointBases};
use crate::kernels::{Bits, GROUP_TOKENS, LaneTable, Values, group_of};

/// Layers that the closed loop keeps at [`EARLY_BITS`]; the last of them is the base the accumulator
/// starts from (XQuant, arXiv:2508.10395, section 4.3).
const EARLY_LAYERS: usize = 3;
/// Bits of those layers.
const EARLY_BITS: Bits = Bits::Four;

/// Which tokens are read in full precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Window {
    /// Each group of [`GROUP_TOKENS`] tokens by its own tokens, coded by all later ones: as a
    /// sequence is read and written.
    #[default]
    Recent,
    /// None of a whole group, not even by its own tokens: as perplexities of quantised caches are
    /// published ("all tokens quantised").
    None,
}

/// What is kept of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Keys per channel, values per token; as they are, or as latents.
    Pair { bits: Bits, latent: bool },
    /// The normed input per token. `base` starts the accumulator.
    Input { bits: Bits, base: bool },
    /// The input's difference to the accumulator, per token; as it is, or in the joint basis.
    Delta { bits: Bits, joint: bool },
}

/// What a policy keeps of each layer; nothing where it is full.
pub(crate) fn keeps(policy: CachePolicy, shape: &CacheShape) -> Vec<Keep> {
    let input = shape.keeps_input();
    match policy {
        CachePolicy::Full => Vec::new(),
        CachePolicy::Kv(bits) | CachePolicy::KvRotated(bits) => vec![
            Keep::Pair {
                bits,
                latent: false
            };
            shape.layers
        ],
        CachePolicy::XQuant { bits, .. } if input => {
            vec![Keep::Input { bits, base: false }; shape.layers]
        }
        CachePolicy::XQuant { bits, .. } => {
            vec![Keep::Pair { bits, latent: true }; shape.layers]
        }
        CachePolicy::XQuantCl(bits) => (0..shape.layers)
            .map(|layer| {
                // With quantisation off the early layers have none either.
                let early = if bits == Bits::Half { bits } else { EARLY_BITS };
                if layer >= EARLY_LAYERS {
                    Keep::Delta {
                        bits,
                        joint: !input,
                    }
                } else if layer + 1 == EARLY_LAYERS || input {
                    Keep::Input {
                        bits: early,
                        base: layer + 1 == EARLY_LAYERS,
                    }
                } else {
                    Keep::Pair {
                        bits: early,
                        latent: true,
                    }
                }
            })
            .collect(),
    }
}

/// A policy worked out for a model.
pub struct Plan {
    pub(crate) policy: CachePolicy,
    pub(crate) shape: CacheShape,
    pub(crate) layers: Vec<Keep>,
    pub(crate) window: Window,
    pub(crate) outlier: bool,
    /// How the accumulator is kept between layers.
    pub(super) accumulator: Bits,
    pub(super) lanes: Arc<LaneTable>,
    pub(crate) bases: Option<Arc<Bases>>,
    pub(crate) joint: Option<Arc<JointBases>>,
}

/// What a plan needs of the model, made when it is first needed.
pub struct PlanParts<'a> {
    /// Angles, laid out for rebuilding keys: of the model and not of a policy, and megabytes for a long context.
    pub lanes: &'a dyn Fn() -> Arc<LaneTable>,
    /// The same with every angle zero, for keys that are rotated already.
    pub still: &'a dyn Fn() -> Arc<LaneTable>,
    /// Bases of keys and values.
    pub bases: &'a dyn Fn() -> Result<Arc<Bases>, EngineError>,
    /// Joint bases of the input.
    pub joint: &'a dyn Fn() -> Result<Arc<JointBases>, EngineError>,
}

impl Plan {
    /// Works out a policy other than full.
    ///
    /// # Errors
    /// Where the bases cannot be had, or the model's widths do not divide into groups.
    pub fn new(
        policy: CachePolicy,
        shape: CacheShape,
        window: Window,
        parts: &PlanParts<'_>,
    ) -> Result<Plan, EngineError> {
        for width in [shape.hidden, shape.kv_width()] {
            if group_of(width, GROUP_TOKENS).is_none() {
                return Err(EngineError::Request(format!(
                    "the cache policy {policy} needs widths that are multiples of 16, not {width}; use `full`"
                )));
            }
        }
        let layers = keeps(policy, &shape);
        let needs = |wanted: fn(&Keep) -> bool| layers.iter().any(wanted);
        let bases = if needs(|keep| matches!(keep, Keep::Pair { latent: true, .. })) {
            Some((parts.bases)()?)
        } else {
            None
        };
        let joint = if needs(|keep| matches!(keep, Keep::Delta { joint: true, .. })) {
            Some((parts.joint)()?)
        } else {
            None
        };
        Ok(Plan {
            policy,
            shape,
            window,
            outlier: matches!(policy, CachePolicy::XQuant { outlier: true, .. }),
            accumulator: Bits::Half,
            lanes: match policy {
                CachePolicy::KvRotated(_) => (parts.still)(),
                _ => (parts.lanes)(),
            },
            bases,
            joint,
            layers,
        })
    }

    /// The same plan with the closed loop's accumulator kept in `bits` between layers.
    #[must_use]
    pub fn with_accumulator(mut self, bits: Bits) -> Plan {
        self.accumulator = bits;
        self
    }

    /// The policy it works out.
    pub fn policy(&self) -> CachePolicy {
        self.policy
    }

    /// Bytes of the bases, which all sequences of the model share.
    pub fn bases_bytes(&self) -> usize {
        self.bases.as_ref().map_or(0, |bases| bases.size_bytes())
            + self.joint.as_ref().map_or(0, |joint| joint.size_bytes())
    }

    /// Whether codes are made of keys that are rotated and have their bias.
    pub(super) fn rotated_keys(&self) -> bool {
        matches!(self.policy, CachePolicy::KvRotated(_))
    }

    /// Which values attention weighs in `layer`.
    pub(super) fn values(&self, layer: usize) -> Values {
        match self.layers[layer] {
            Keep::Pair { latent: true, .. } => Values::Shared(self.shape.kv_width()),
            _ => Values::Heads,
        }
    }

    /// Whether `layer` is encoded from the layer's input.
    pub(super) fn keeps_input(&self, layer: usize) -> bool {
        !matches!(self.layers[layer], Keep::Pair { .. })
    }
}
