//! The bases in which keys and values have their latents: singular vectors of the projections.
//!
//! XQuant for grouped queries (arXiv:2508.10395, section 3.3.1 and appendix B) keeps `X·U_k` and
//! `X·U_v` of the full-rank decompositions `W = U·Σ·Bᵀ`. Since `X·U_k·Σ = K·B` and codes per channel do
//! not depend on the channel's scale, keys are kept as `K·B` and come back by `Bᵀ`; values are kept as
//! `V·B·Σ⁻¹` and come back by `Σ·Bᵀ`. So U is never stored where K and V are at hand. Must not know
//! caches.

use std::path::Path;

use nalgebra::{DMatrix, SymmetricEigen};
use sha2::{Digest, Sha256};

use crate::EngineError;
use crate::kernels::{Mix, QuantMatrix, parallel};
use crate::weights::{LayerWeights, Weights};

/// Singular values below this share of the largest carry nothing.
const NEGLIGIBLE: f64 = 1e-6;

/// One layer's bases.
pub struct LayerBasis {
    /// `B` of the keys, `[kv][kv]`, a row for each channel; column 0 belongs to the largest singular value.
    pub keys: Vec<f32>,
    /// `B·Σ⁻¹` of the values, `[kv][kv]`: rows of values times it are their latents.
    pub to_values: Mix,
    /// `Σ·Bᵀ` of the values, `[kv][kv]`: latents times it are values.
    pub from_values: Mix,
}

/// One layer's joint basis of inputs, for closed-loop differences with grouped queries.
pub struct JointBasis {
    /// `U` of `[W_k | W_v]`, `[hidden][2 kv]`.
    pub to_latents: Mix,
    /// `Uᵀ`, `[2 kv][hidden]`.
    pub from_latents: Mix,
}

/// Bases of all layers.
pub struct Bases {
    /// First layer first.
    pub layers: Vec<LayerBasis>,
}

/// Joint bases of all layers.
pub struct JointBases {
    /// First layer first.
    pub layers: Vec<JointBasis>,
}

impl Bases {
    /// Decomposes the key and value projections of all layers.
    ///
    /// # Errors
    /// [`EngineError::Weights`] where a decomposition does not converge.
    pub fn compute(weights: &Weights) -> Result<Bases, EngineError> {
        Ok(Bases::of(parts(weights)?))
    }

    fn of(parts: Vec<Parts>) -> Bases {
        Bases {
            layers: parts.into_iter().map(Parts::into_layer).collect(),
        }
    }

    /// Reads the bases kept beside the model file, or computes them and keeps them there. Where the
    /// folder cannot be written they are computed each time, and a warning is logged.
    ///
    /// # Errors
    /// As [`compute`](Self::compute).
    pub fn beside(model: &Path, weights: &Weights) -> Result<Bases, EngineError> {
        let path = model.with_extension("bases.safetensors");
        let fingerprint = fingerprint(weights);
        match stored::read(&path, &fingerprint, weights) {
            Ok(Some(bases)) => return Ok(bases),
            Ok(None) => {}
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "the kept bases are not of this model: computing them anew");
            }
        }
        let parts = parts(weights)?;
        if let Err(reason) = stored::write(&path, &fingerprint, &parts) {
            tracing::warn!(path = %path.display(), reason, "the bases could not be kept: they are computed again next time");
        }
        Ok(Bases::of(parts))
    }

    /// Bytes of memory they take.
    pub fn size_bytes(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| {
                size_of::<f32>() * layer.keys.len()
                    + layer.to_values.size_bytes()
                    + layer.from_values.size_bytes()
            })
            .sum()
    }
}

impl JointBases {
    /// Decomposes `[W_k | W_v]` of all layers.
    ///
    /// # Errors
    /// As [`Bases::compute`].
    pub fn compute(weights: &Weights) -> Result<JointBases, EngineError> {
        let layers = each_layer(&weights.layers, |layer| {
            let sources = [&layer.key.weight, &layer.value.weight];
            let joint = decompose(&sources)?;
            let hidden = layer.key.weight.cols();
            let rank = joint.sigma.len();
            let weights = stacked(&sources);
            let mut basis = joint.basis;
            for (mut column, sigma) in basis.column_iter_mut().zip(&joint.sigma) {
                column *= inverse(*sigma);
            }
            // [hidden][2 kv], and its transpose.
            let latents = weights.tr_mul(&basis);
            Some(JointBasis {
                to_latents: Mix::new(&flat(&latents), hidden, rank),
                from_latents: Mix::new(&flat(&latents.transpose()), rank, hidden),
            })
        })?;
        Ok(JointBases { layers })
    }

    /// Bytes of memory they take.
    pub fn size_bytes(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| layer.to_latents.size_bytes() + layer.from_latents.size_bytes())
            .sum()
    }
}

/// What is kept of one layer on disk.
struct Parts {
    keys: Vec<f32>,
    values: Vec<f32>,
    sigma: Vec<f32>,
}

impl Parts {
    fn into_layer(self) -> LayerBasis {
        let width = self.sigma.len();
        let mut to = self.values.clone();
        for row in to.chunks_exact_mut(width) {
            for (element, sigma) in row.iter_mut().zip(&self.sigma) {
                *element *= inverse(f64::from(*sigma)) as f32;
            }
        }
        let mut from = vec![0.0; width * width];
        for (c, row) in self.values.chunks_exact(width).enumerate() {
            for (j, element) in row.iter().enumerate() {
                from[j * width + c] = element * self.sigma[j];
            }
        }
        LayerBasis {
            keys: self.keys,
            to_values: Mix::new(&to, width, width),
            from_values: Mix::new(&from, width, width),
        }
    }
}

fn parts(weights: &Weights) -> Result<Vec<Parts>, EngineError> {
    each_layer(&weights.layers, |layer| {
        let keys = decompose(&[&layer.key.weight])?;
        let values = decompose(&[&layer.value.weight])?;
        Some(Parts {
            keys: flat(&keys.basis),
            values: flat(&values.basis),
            sigma: values.sigma.iter().map(|sigma| *sigma as f32).collect(),
        })
    })
}

struct Decomposition {
    /// Singular vectors as columns, by falling singular value.
    basis: DMatrix<f64>,
    /// Singular values; 0 for negligible ones.
    sigma: Vec<f64>,
}

/// The right singular vectors and singular values of the mathematical weights (inputs by outputs),
/// from the outputs' Gram matrix.
fn decompose(sources: &[&QuantMatrix]) -> Option<Decomposition> {
    let weights = stacked(sources);
    let gram = &weights * weights.transpose();
    let eigen = SymmetricEigen::try_new(gram, f64::EPSILON, 0)?;
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let sigma: Vec<f64> = order
        .iter()
        .map(|at| eigen.eigenvalues[*at].max(0.0).sqrt())
        .collect();
    let least = sigma.first().copied().unwrap_or(0.0) * NEGLIGIBLE;
    Some(Decomposition {
        basis: DMatrix::from_fn(order.len(), order.len(), |row, column| {
            eigen.eigenvectors[(row, order[column])]
        }),
        sigma: sigma
            .into_iter()
            .map(|sigma| if sigma < least { 0.0 } else { sigma })
            .collect(),
    })
}

/// The matrices' rows (outputs) one below the other.
fn stacked(sources: &[&QuantMatrix]) -> DMatrix<f64> {
    let cols = sources.first().map_or(0, |matrix| matrix.cols());
    let rows: usize = sources.iter().map(|matrix| matrix.rows()).sum();
    let mut flat = Vec::with_capacity(rows * cols);
    let mut row = vec![0.0; cols];
    for matrix in sources {
        for index in 0..matrix.rows() {
            matrix.dequantize_row(index, &mut row);
            flat.extend(row.iter().map(|value| f64::from(*value)));
        }
    }
    DMatrix::from_row_slice(rows, cols, &flat)
}

fn inverse(sigma: f64) -> f64 {
    if sigma > 0.0 { 1.0 / sigma } else { 0.0 }
}

/// Row after row.
fn flat(matrix: &DMatrix<f64>) -> Vec<f32> {
    matrix
        .row_iter()
        .flat_map(|row| row.iter().map(|value| *value as f32).collect::<Vec<_>>())
        .collect()
}

/// `work` on every layer, on all threads.
fn each_layer<T: Send + Sync>(
    layers: &[LayerWeights],
    work: impl Fn(&LayerWeights) -> Option<T> + Sync,
) -> Result<Vec<T>, EngineError> {
    let done: Vec<std::sync::OnceLock<Option<T>>> =
        layers.iter().map(|_| std::sync::OnceLock::new()).collect();
    parallel(layers.len(), |index| {
        done[index].get_or_init(|| work(&layers[index]));
    });
    done.into_iter()
        .enumerate()
        .map(|(index, part)| {
            part.into_inner().flatten().ok_or_else(|| {
                EngineError::Weights(format!(
                    "the key and value projections of layer {index} have no decomposition: are they numbers?"
                ))
            })
        })
        .collect()
}

/// Tells models apart by their key and value projections.
fn fingerprint(weights: &Weights) -> String {
    let mut hash = Sha256::new();
    for layer in &weights.layers {
        for matrix in [&layer.key.weight, &layer.value.weight] {
            matrix.hash_into(&mut |bytes| hash.update(bytes));
        }
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The file beside the model.
mod stored {
    use std::collections::HashMap;
    use std::path::Path;

    use safetensors::tensor::{Dtype, SafeTensors, TensorView};

    use super::{Bases, Parts};
    use crate::weights::Weights;

    /// Bounds what is read into memory.
    const MOST_BYTES: u64 = 4 << 30;

    pub(super) fn read(
        path: &Path,
        fingerprint: &str,
        weights: &Weights,
    ) -> Result<Option<Bases>, String> {
        let size = match std::fs::metadata(path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if size > MOST_BYTES {
            return Err(format!("it has {size} bytes"));
        }
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let text = |error: safetensors::SafeTensorError| error.to_string();
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(text)?;
        let said = header
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get("weights_sha256").cloned());
        if said.as_deref() != Some(fingerprint) {
            return Err("it was made from other weights".to_string());
        }
        let file = SafeTensors::deserialize(&bytes).map_err(text)?;
        let floats = |name: String, count: usize| -> Result<Vec<f32>, String> {
            let tensor = file.tensor(&name).map_err(text)?;
            if tensor.dtype() != Dtype::F32 || tensor.data().len() != count * size_of::<f32>() {
                return Err(format!("tensor {name} is of another shape"));
            }
            Ok(tensor
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect())
        };
        let layers = weights.layers.iter().enumerate().map(|(index, layer)| {
            let width = layer.key.weight.rows();
            Ok(Parts {
                keys: floats(format!("{index}.keys"), width * width)?,
                values: floats(format!("{index}.values"), width * width)?,
                sigma: floats(format!("{index}.sigma"), width)?,
            }
            .into_layer())
        });
        Ok(Some(Bases {
            layers: layers.collect::<Result<_, String>>()?,
        }))
    }

    /// Written beside and renamed, so that a crash leaves no half of a file.
    pub(super) fn write(path: &Path, fingerprint: &str, parts: &[Parts]) -> Result<(), String> {
        let bytes = |values: &[f32]| -> Vec<u8> {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        };
        let mut data = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let width = part.sigma.len();
            data.push((
                format!("{index}.keys"),
                vec![width, width],
                bytes(&part.keys),
            ));
            data.push((
                format!("{index}.values"),
                vec![width, width],
                bytes(&part.values),
            ));
            data.push((format!("{index}.sigma"), vec![width], bytes(&part.sigma)));
        }
        let views = data
            .iter()
            .map(|(name, shape, bytes)| {
                TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.clone(), view))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        let about = HashMap::from([("weights_sha256".to_string(), fingerprint.to_string())]);
        let file = safetensors::serialize(views, Some(about)).map_err(|error| error.to_string())?;
        let unfinished = path.with_extension(format!("part-{}", std::process::id()));
        std::fs::write(&unfinished, file)
            .and_then(|()| std::fs::rename(&unfinished, path))
            .map_err(|error| {
                // What could not be written is of no use.
                let _ = std::fs::remove_file(&unfinished);
                error.to_string()
            })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::GgmlDType;

    use super::*;

    fn matrix(rows: usize, cols: usize, seed: u64) -> QuantMatrix {
        let mut state = seed;
        let bytes: Vec<u8> = (0..rows * cols)
            .flat_map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) as f32 / (1 << 23) as f32 - 1.0).to_le_bytes()
            })
            .collect();
        QuantMatrix::from_ggml(GgmlDType::F32, rows, cols, &bytes).unwrap()
    }

    /// `X·U_k·Σ·Bᵀ = X·W_k`, with the latents as they are kept: `K·B` and `V·B·Σ⁻¹`.
    #[test]
    fn latents_come_back_as_keys_and_values() {
        let (kv, hidden) = (48, 96);
        let weights = matrix(kv, hidden, 3);
        let found = decompose(&[&weights]).unwrap();
        let gram = found.basis.tr_mul(&found.basis);
        assert!(
            (gram - DMatrix::<f64>::identity(kv, kv)).norm() < 1e-10,
            "B is orthogonal"
        );
        assert!(
            found.sigma.windows(2).all(|pair| pair[0] >= pair[1]),
            "by falling value"
        );
        // U = W·B·Σ⁻¹ is orthonormal, and W = U·Σ·Bᵀ.
        let mathematical = stacked(&[&weights]).transpose();
        let sigma = DMatrix::from_diagonal(&nalgebra::DVector::from_vec(found.sigma.clone()));
        let u = &mathematical * &found.basis * sigma.clone().try_inverse().unwrap();
        assert!((u.tr_mul(&u) - DMatrix::<f64>::identity(kv, kv)).norm() < 1e-9);
        assert!((&u * &sigma * found.basis.transpose() - &mathematical).norm() < 1e-9);
        let layer = Parts {
            keys: flat(&found.basis),
            values: flat(&found.basis),
            sigma: found.sigma.iter().map(|sigma| *sigma as f32).collect(),
        }
        .into_layer();
        let values: Vec<f32> = (0..3 * kv)
            .map(|i| ((i * 37) % 41) as f32 / 20.0 - 1.0)
            .collect();
        let (mut latents, mut back) = (vec![0.0; 3 * kv], vec![0.0; 3 * kv]);
        layer.to_values.apply(&values, 0..kv, &mut latents, kv);
        layer.from_values.apply(&latents, 0..kv, &mut back, kv);
        for (back, value) in back.iter().zip(&values) {
            assert!((back - value).abs() < 1e-4, "{back} for {value}");
        }
    }

    #[test]
    fn a_projection_of_lower_rank_is_survived() {
        let row: Vec<f32> = (0..64).map(|i| (i % 7) as f32 - 3.0).collect();
        let bytes: Vec<u8> = (0..32)
            .flat_map(|k| row.iter().map(move |x| x * (k % 3) as f32))
            .flat_map(f32::to_le_bytes)
            .collect();
        let weights = QuantMatrix::from_ggml(GgmlDType::F32, 32, 64, &bytes).unwrap();
        let found = decompose(&[&weights]).unwrap();
        assert_eq!(found.sigma.iter().filter(|sigma| **sigma > 0.0).count(), 1);
        assert!(found.sigma.iter().all(|sigma| inverse(*sigma).is_finite()));
    }
}
