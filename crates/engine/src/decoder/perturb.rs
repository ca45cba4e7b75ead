//! Chosen heads made worse on purpose, so that what the model says without them can be held against what it says.
//!
//! The interpolation of SoftPAG (arXiv:2506.10978, eq. 7), `A ← (1 − u)·A + u·T`, applied to what a head gives: its output
//! is linear in its attention, so no map is formed. `T` is the identity (each token attends to itself), nothing (DeCoRe,
//! arXiv:2410.18860, at `u` = 1), the first token (where heads rest that have nothing to say), or all tokens alike. Must not
//! know sampling.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Decoder, Scratch};
use crate::EngineError;
use crate::cache::{Cache, CachePolicy, LayerView};

/// What chosen heads attend to instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Each token itself.
    Identity,
    /// Nothing.
    Zero,
    /// The first token.
    Sink,
    /// All tokens before it and itself, alike.
    Uniform,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(name: &str) -> Result<Target, String> {
        match name {
            "identity" => Ok(Target::Identity),
            "zero" => Ok(Target::Zero),
            "sink" => Ok(Target::Sink),
            "uniform" => Ok(Target::Uniform),
            _ => Err(format!(
                "heads are moved to identity, zero, sink or uniform, not {name:?}"
            )),
        }
    }
}

/// Heads, and how far they are moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Perturbation {
    by_layer: BTreeMap<usize, Vec<usize>>,
    target: Target,
    u: f32,
}

impl Perturbation {
    /// `heads` as layer and query head; `u` from 0, where nothing changes, to 1.
    ///
    /// # Errors
    /// [`EngineError::Request`] where `u` is out of range or there is no head.
    pub fn new(
        heads: &[(usize, usize)],
        target: Target,
        u: f32,
    ) -> Result<Perturbation, EngineError> {
        if !(0.0..=1.0).contains(&u) {
            return Err(EngineError::Request(format!(
                "heads are moved by u from 0 to 1, not {u}"
            )));
        }
        if heads.is_empty() {
            return Err(EngineError::Request(
                "a contrast needs at least one head to move".to_string(),
            ));
        }
        let mut by_layer: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (layer, head) in heads {
            by_layer.entry(*layer).or_default().push(*head);
        }
        for heads in by_layer.values_mut() {
            heads.sort_unstable();
            heads.dedup();
        }
        Ok(Perturbation {
            by_layer,
            target,
            u,
        })
    }

    /// The query heads of a layer that are moved, in order.
    pub(crate) fn heads_of(&self, layer: usize) -> &[usize] {
        self.by_layer.get(&layer).map_or(&[], Vec::as_slice)
    }

    /// What they attend to instead.
    pub(crate) fn target(&self) -> Target {
        self.target
    }

    /// How far they are moved.
    pub(crate) fn u(&self) -> f32 {
        self.u
    }

    /// Whether it can be applied to what a cache of `policy` keeps.
    pub(crate) fn fits(&self, policy: CachePolicy) -> bool {
        self.target != Target::Sink || policy == CachePolicy::Full
    }

    /// The first head that a model of `layers` layers of `heads` heads does not have.
    pub(crate) fn foreign(&self, layers: usize, heads: usize) -> Option<(usize, usize)> {
        self.by_layer
            .iter()
            .flat_map(|(layer, of)| of.iter().map(|head| (*layer, *head)))
            .find(|(layer, head)| *layer >= layers || *head >= heads)
    }
}

impl Decoder {
    /// Moves what the chosen heads of a layer gave for the rows `range`, which `cache` has just attended for.
    pub(super) fn perturb(
        &self,
        perturbation: &Perturbation,
        view: &LayerView<'_>,
        cache: &mut Cache,
        range: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let heads = perturbation.heads_of(view.index);
        if heads.is_empty() {
            return;
        }
        let shape = self.heads;
        let (dim, group) = (shape.head_dim, shape.heads / shape.kv_heads);
        let (query_width, kv_width) = (shape.heads * dim, shape.kv_heads * dim);
        // What replaces each row's heads, by query head or by KV head.
        let all_alike = (perturbation.target == Target::Uniform).then(|| {
            // Queries of zeros find all keys equal.
            let mut out = vec![0.0; range.len() * query_width];
            cache.attend(view, &vec![0.0; range.len() * query_width], &mut out);
            out
        });
        let first = match (perturbation.target, &*cache) {
            (Target::Sink, Cache::Full(cache)) => cache.first_values(view.index),
            _ => None,
        };
        for (at, row) in range.enumerate() {
            let own = &scratch.values[row * kv_width..][..kv_width];
            let attended = &mut scratch.attended[row * query_width..][..query_width];
            for head in heads {
                let kv = head / group * dim..(head / group + 1) * dim;
                let target = match perturbation.target {
                    Target::Identity => Some(&own[kv]),
                    Target::Zero => None,
                    // Of an empty cache the token itself is the first.
                    Target::Sink => Some(first.as_ref().map_or(&own[kv.clone()], |v| &v[kv])),
                    Target::Uniform => all_alike
                        .as_ref()
                        .map(|rows| &rows[at * query_width + head * dim..][..dim]),
                };
                for (i, value) in attended[head * dim..][..dim].iter_mut().enumerate() {
                    let target = target.map_or(0.0, |target| target[i]);
                    *value = (1.0 - perturbation.u) * *value + perturbation.u * target;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoadedModel;
    use crate::decoder::{Origin, Run};

    /// What a moved head gives, beside its definition; the other heads give what they gave.
    #[test]
    fn a_moved_head_gives_its_target() {
        let Some(path) = footnote_testkit::model("smollm2-135m-instruct-q4_1.gguf") else {
            footnote_testkit::skip(module_path!(), "no model smollm2-135m");
            return;
        };
        let decoder = LoadedModel::open(&path, None).unwrap().decoder;
        let (shape, count, moved) = (decoder.heads, 5, 4);
        let (dim, group) = (shape.head_dim, shape.heads / shape.kv_heads);
        let mut cache = decoder.host_cache();
        let mut scratch = Scratch::default();
        scratch.resize(count, &decoder.config);
        let rows = scratch.stream.chunks_exact_mut(decoder.config.hidden);
        for (token, row) in [100, 2000, 345, 77, 9000].into_iter().zip(rows) {
            decoder.weights().embedding.dequantize_row(token, row);
        }
        let positions: Vec<usize> = (0..count).collect();
        let runs = [Run {
            rows: 0..count,
            form: Origin::Prompt.form(),
        }];
        decoder.project(0, &positions, &runs, &mut scratch);
        let view = decoder.view(0);
        cache.write(&view, &decoder.rows(0, &(0..count), &scratch));
        cache.attend(&view, &scratch.queries, &mut scratch.attended);
        let plain = scratch.attended.clone();
        let value = |row: usize, at: usize| {
            f64::from(scratch.values[(row * shape.kv_heads + moved / group) * dim + at])
        };
        let values: Vec<Vec<f64>> = (0..count)
            .map(|row| (0..dim).map(|at| value(row, at)).collect())
            .collect();
        for target in [
            Target::Identity,
            Target::Zero,
            Target::Sink,
            Target::Uniform,
        ] {
            for u in [0.25_f32, 1.0] {
                let perturbation = Perturbation::new(&[(0, moved)], target, u).unwrap();
                scratch.attended.clone_from(&plain);
                decoder.perturb(&perturbation, &view, &mut cache, 0..count, &mut scratch);
                for (at, (got, was)) in scratch.attended.iter().zip(&plain).enumerate() {
                    let (row, head) = (at / dim / shape.heads, at / dim % shape.heads);
                    if head != moved {
                        assert_eq!(got, was, "head {head} stays");
                        continue;
                    }
                    let at = at % dim;
                    let wanted = match target {
                        Target::Identity => values[row][at],
                        Target::Zero => 0.0,
                        Target::Sink => values[0][at],
                        Target::Uniform => {
                            let sum: f64 = values[..=row].iter().map(|row| row[at]).sum();
                            sum / (row + 1) as f64
                        }
                    };
                    let wanted = f64::from(1.0 - u) * f64::from(*was) + f64::from(u) * wanted;
                    let apart = (f64::from(*got) - wanted).abs();
                    // Kept values are in f16.
                    assert!(
                        apart < 2e-3 * (1.0 + wanted.abs()),
                        "{target:?} {u}: {got} for {wanted}"
                    );
                }
            }
        }
    }
}
