//! Folders of safetensors: the same weights as a GGUF file give the same logits, and what is wrong in
//! a folder is named.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails must fail")]

mod tiny;

use std::fs;
use std::path::Path;

use footnote_engine::{EngineError, LoadedModel, Origin, Outputs, Scratch, Step};
use tiny::{weights, write_folder, write_gguf};

fn logits(path: &Path) -> Vec<f32> {
    let model = LoadedModel::open(path, None).unwrap();
    assert_eq!(model.tokenizer.encode("abc").unwrap(), [26, 2]);
    assert_eq!(model.tokenizer.end_tokens()[0], 27);
    let tokens: Vec<u32> = (0..40).map(|i| (i * 7) % 26).collect();
    let mut cache = model.decoder.full_cache().unwrap();
    let mut steps = [Step {
        tokens: &tokens,
        origin: Origin::Prompt,
        cache: &mut cache,
        outputs: Outputs::Every,
        perturbation: None,
    }];
    let rows = model
        .decoder
        .forward(&mut steps, &mut Scratch::default(), &|| true)
        .unwrap()
        .unwrap();
    model.decoder.logits(&rows).unwrap()
}

#[test]
fn a_folder_says_what_the_same_weights_in_gguf_say() {
    for kind in ["llama", "qwen2", "qwen3"] {
        let weights = weights(kind);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.gguf");
        write_gguf(&file, kind, &weights);
        let hub = folder.path().join("hub");
        fs::create_dir(&hub).unwrap();
        write_folder(&hub, kind, &weights);
        let (one, other) = (logits(&file), logits(&hub));
        assert!(one.iter().any(|x| x.abs() > 0.1));
        for (one, other) in one.iter().zip(&other) {
            assert!((one - other).abs() < 1e-3, "{kind}: {one} and {other}");
        }
    }
}

#[test]
fn what_is_wrong_in_a_folder_is_named() {
    let weights = weights("qwen2");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let error = |what: &str| match LoadedModel::open(path, None) {
        Err(error @ (EngineError::ModelFile { .. } | EngineError::Io { .. })) => error.to_string(),
        Err(error) => panic!("{what}: {error}"),
        Ok(_) => panic!("{what} was taken"),
    };
    assert!(error("an empty folder").contains("config.json"));
    let bend = |file: &str, from: &str, to: &str| {
        write_folder(path, "qwen2", &weights);
        let text = fs::read_to_string(path.join(file)).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(path.join(file), text.replace(from, to)).unwrap();
    };
    bend("config.json", "\"qwen2\"", "\"mamba\"");
    assert!(error("another kind").contains("mamba"));
    bend("config.json", "\"vocab_size\":300", "\"vocab_size\":12");
    assert!(error("a small vocabulary").contains("beyond"));
    bend("tokenizer.json", "BPE", "Unigram");
    assert!(error("another tokenizer").contains("BPE"));
    bend(
        "model.safetensors.index.json",
        "model-00001-of",
        "../model-00001-of",
    );
    assert!(error("a way out").contains("elsewhere"));
    bend("config.json", "\"hidden_size\":64", "\"hidden_size\":128");
    assert!(error("another width").contains("shape"));
    write_folder(path, "qwen2", &weights);
    let part = path.join("model-00002-of-00002.safetensors");
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    assert!(error("half a part").contains("model-00002-of-00002.safetensors"));
}
