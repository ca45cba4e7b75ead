//! Texts as vectors: by a sentence encoder made for it, or by what a language model has in mind after reading.
//!
//! Vectors of one embedder can be compared with each other only. Must not know what the texts are.

mod encoder;
mod hidden;

pub use encoder::SentenceEncoder;
pub use hidden::HiddenStates;

use crate::EngineError;

/// Turns texts into vectors of length 1.
pub trait Embedder: Send + Sync {
    /// The model's name, under which what was learned from its vectors is kept.
    fn name(&self) -> &str;

    /// Numbers of a vector.
    fn width(&self) -> usize;

    /// A vector of each text, `[text][width]`. Of a text longer than the model reads, its beginning.
    ///
    /// # Errors
    /// Where the model fails, or a text holds nothing to read.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EngineError>;
}

/// The mean of `rows` of `width` numbers, brought to length 1.
fn mean_direction(rows: &[f32], width: usize) -> Vec<f32> {
    let mut mean = vec![0.0_f32; width];
    for row in rows.chunks_exact(width) {
        for (sum, value) in mean.iter_mut().zip(row) {
            *sum += value;
        }
    }
    let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        mean.iter_mut().for_each(|x| *x /= length);
    }
    mean
}
