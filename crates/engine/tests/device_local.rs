//! Requests to a model on a device: admission by free pages, waiting, refusal, and memory that comes back. The device is
//! the interpreter of launch plans, or a GPU (`tiny::devices`).

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails must fail")]

mod tiny;

use footnote_engine::cache::CacheChoice;
use footnote_engine::device::PageLayout;
use footnote_engine::{
    EngineError, GenerateRequest, Grammar, LanguageModel, LoadedModel, LocalModel, LocalOptions,
    OnDevice, Prompt,
};
use tiny::devices::test_device;

/// A tiny model with device memory for caches of `pages` full pages.
fn model(pages: usize, prefix_bytes: usize) -> LocalModel {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_folder(folder.path(), "llama", &tiny::weights("llama"));
    let shape = LoadedModel::open(folder.path(), None)
        .unwrap()
        .decoder
        .cache_shape();
    // Memory is divided into slabs that hold one open page of codes, which is less than two full pages.
    let page = PageLayout::full(shape).page_bytes / 2 * 3;
    let on = OnDevice {
        cache_bytes: Some(pages * page),
        rows: 256,
        ..OnDevice::new(test_device(1 << 30))
    };
    let loaded = LoadedModel::open_on(folder.path(), None, Some(&on)).unwrap();
    let options = LocalOptions {
        prefix_bytes,
        ..LocalOptions::default()
    };
    LocalModel::start("tiny".into(), loaded, &options).unwrap()
}

fn request(tokens: u32, seed: u32, most: usize) -> GenerateRequest {
    let tokens = (0..tokens).map(|i| (i * 7 + seed) % 26).collect();
    GenerateRequest::new(Prompt::Tokens(tokens), most)
}

fn used(model: &LocalModel) -> usize {
    let load = model.load().unwrap();
    load.cache_bytes + load.kept_bytes
}

/// More requests than there are pages for: those that find none wait for others to end, and every one is answered as it is
/// alone.
#[test]
fn requests_wait_for_pages() {
    let model = model(5, 0);
    let alone: Vec<String> = (0..4)
        .map(|seed| {
            model
                .generate(request(200, seed, 20))
                .unwrap()
                .complete()
                .unwrap()
                .text
        })
        .collect();
    // Two pages each, and five in all.
    let running: Vec<_> = (0..4)
        .map(|seed| model.generate(request(200, seed, 20)).unwrap())
        .collect();
    for (generation, alone) in running.into_iter().zip(alone) {
        assert_eq!(generation.complete().unwrap().text, alone);
    }
}

/// What could never fit is refused by name, and does not keep others from being served.
#[test]
fn what_never_fits_is_refused() {
    let model = model(2, 0);
    let error = model
        .generate(request(300, 1, 50))
        .unwrap()
        .complete()
        .unwrap_err();
    assert!(
        matches!(error, EngineError::TooLong { limit: 256, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("MB for caches"), "{error}");
    model
        .generate(request(200, 1, 20))
        .unwrap()
        .complete()
        .unwrap();
}

/// Kept prefixes serve later prompts, and make room for requests that need their pages.
#[test]
fn kept_prefixes_go_first() {
    let model = model(4, 1 << 30);
    let first = model
        .generate(request(200, 1, 8))
        .unwrap()
        .complete()
        .unwrap();
    assert!(used(&model) > 0, "the prefix is kept");
    let again = model
        .generate(request(200, 1, 8))
        .unwrap()
        .complete()
        .unwrap();
    assert_eq!(again.text, first.text);
    // Needs all four pages.
    model
        .generate(request(400, 2, 50))
        .unwrap()
        .complete()
        .unwrap();
}

/// Where caches have all that the model left, what a policy needs of each layer comes out of that.
#[test]
fn policies_are_made_from_the_caches_memory() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_folder(folder.path(), "qwen2", &tiny::weights_of("qwen2", 160));
    let on = OnDevice {
        rows: 256,
        ..OnDevice::new(test_device(400 << 20))
    };
    let loaded = LoadedModel::open_on(folder.path(), None, Some(&on)).unwrap();
    let model = LocalModel::start("tiny".into(), loaded, &LocalOptions::default()).unwrap();
    for policy in ["xquant4", "xquant-cl4", "full"] {
        let mut request = request(200, 3, 4);
        request.cache = Some(policy.parse::<CacheChoice>().unwrap());
        model.generate(request).unwrap().complete().unwrap();
    }
}

/// Policies of different page sizes share the memory, and a request that is dropped gives its pages back.
#[test]
fn policies_share_the_memory() {
    let model = model(12, 0);
    let answers = |policy: &str| {
        let mut request = request(300, 3, 12);
        request.cache = Some(policy.parse::<CacheChoice>().unwrap());
        model.generate(request)
    };
    let policies = ["full", "kv4", "xquant4", "full"];
    let running: Vec<_> = policies
        .iter()
        .map(|policy| answers(policy).unwrap())
        .collect();
    let texts: Vec<_> = running
        .into_iter()
        .map(|generation| generation.complete().unwrap())
        .collect();
    assert_eq!(texts[0].text, texts[3].text);
    assert!(texts[1].usage.cache_bytes < texts[0].usage.cache_bytes);
    drop(answers("kv4").unwrap());
    let scored = model
        .score(Prompt::Tokens(vec![1, 2, 3]), &["a".into(), "ab b".into()])
        .unwrap();
    assert_eq!(scored.len(), 2);
}

/// The likeliest tokens that a device finds are those that a choice among all logits finds, with a grammar and without, in one
/// pass with requests of other kinds.
#[test]
fn greedy_answers_are_those_of_all_logits() {
    let model = model(12, 0);
    let grammar = || Some(Grammar::Regex("[b-y]{3}a[m-z]{4}".to_string()));
    let of_kind = |seed: u32, grammar: Option<Grammar>, temperature: f32| {
        let mut request = request(40, seed, 8);
        request.grammar = grammar;
        request.sampling.temperature = temperature;
        request
    };
    // So cold that only the likeliest is ever drawn, of all logits.
    let cold = 1e-6;
    let texts = |requests: Vec<GenerateRequest>| -> Vec<String> {
        let running: Vec<_> = requests
            .into_iter()
            .map(|request| model.generate(request).unwrap())
            .collect();
        running
            .into_iter()
            .map(|generation| generation.complete().unwrap().text)
            .collect()
    };
    let seeds = 0..3;
    for grammar in [&|| None as Option<Grammar>, &grammar as &dyn Fn() -> _] {
        let all = |temperature| {
            texts(
                seeds
                    .clone()
                    .map(|seed| of_kind(seed, grammar(), temperature))
                    .collect(),
            )
        };
        let greedy = all(0.0);
        assert_eq!(greedy, all(cold));
        if grammar().is_some() {
            for text in &greedy {
                assert!(text.len() == 8 && text.as_bytes()[3] == b'a', "{text}");
            }
        }
    }
    let mixed = texts(vec![
        of_kind(0, grammar(), 0.0),
        of_kind(0, None, cold),
        of_kind(0, None, 0.0),
    ]);
    assert_eq!(mixed[1], mixed[2]);
    assert_eq!(mixed[0].as_bytes()[3], b'a');
}
