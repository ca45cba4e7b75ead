//! Models on a device and on the processor, and what they say of the same tokens.
//!
//! The device is the interpreter of launch plans, which runs the GPU's own kernels as C++; with `FOOTNOTE_TEST_DEVICE=cuda:0`
//! and the feature `cuda` it is that GPU.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use footnote_device::Device;
use footnote_device::emulator::Emulator;
use footnote_engine::cache::Cache;
use footnote_engine::device::open;
use footnote_engine::{Decoder, LoadedModel, OnDevice, Origin, Outputs, Scratch, Step};
use tempfile::TempDir;

/// A device; an interpreter has so many bytes of memory.
pub fn test_device(bytes: usize) -> Arc<dyn Device> {
    match std::env::var("FOOTNOTE_TEST_DEVICE") {
        Ok(name) => open(name.parse().unwrap())
            .unwrap()
            .expect("a GPU, not the processor"),
        Err(_) => Arc::new(Emulator::new(bytes)),
    }
}

/// A model on a device, with passes of `rows` tokens and `cache_bytes` for caches.
pub fn on_device(path: &Path, rows: usize, cache_bytes: usize) -> LoadedModel {
    let on = OnDevice {
        rows,
        cache_bytes: Some(cache_bytes),
        ..OnDevice::new(test_device(4 << 30))
    };
    LoadedModel::open_on(path, None, Some(&on)).unwrap()
}

pub fn on_processor(path: &Path) -> LoadedModel {
    LoadedModel::open(path, None).unwrap()
}

/// A tiny model of a family as a file of f32, which the processor multiplies as it is.
pub fn tiny_file(kind: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    super::write_gguf(&path, kind, &super::weights(kind));
    (folder, path)
}

/// Tokens that look random and are the same every time.
pub fn tokens(count: u32, seed: u32) -> Vec<u32> {
    (0..count)
        .map(|at| (at * 7 + at * at % 13 + seed * 31) % super::VOCAB as u32)
        .collect()
}

/// Logits of the asked rows of a pass.
pub fn pass(decoder: &Decoder, steps: &mut [Step<'_>]) -> Vec<f32> {
    let rows = decoder
        .forward(steps, &mut Scratch::default(), &|| true)
        .unwrap()
        .unwrap();
    decoder.logits(&rows).unwrap()
}

/// Tokens to read on a cache, each of them asked for.
pub fn step<'a>(cache: &'a mut Cache, tokens: &'a [u32], origin: Origin) -> Step<'a> {
    Step {
        tokens,
        origin,
        cache,
        outputs: Outputs::Every,
        perturbation: None,
    }
}

/// Logits of tokens that are read on a cache.
pub fn read(decoder: &Decoder, cache: &mut Cache, tokens: &[u32], origin: Origin) -> Vec<f32> {
    pass(decoder, &mut [step(cache, tokens, origin)])
}

/// Largest difference over the largest value.
pub fn apart(got: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(got.len(), wanted.len());
    let largest = wanted.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let differences = got.iter().zip(wanted).map(|(g, w)| (g - w).abs());
    differences.fold(0.0_f32, |most, x| {
        if x.is_nan() {
            f32::INFINITY
        } else {
            most.max(x)
        }
    }) / largest
}

/// Length of the difference over the length of what is wanted.
pub fn distance(got: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(got.len(), wanted.len());
    let square = |x: f32| f64::from(x).powi(2);
    let difference: f64 = got.iter().zip(wanted).map(|(g, w)| square(g - w)).sum();
    let length: f64 = wanted.iter().map(|w| square(*w)).sum();
    (difference / length).sqrt() as f32
}
