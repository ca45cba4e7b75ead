//! SpecKV on a device beside the processor's: which pairs stay, what is said from them, and whose memory they take. The
//! device is the interpreter of launch plans, or a GPU (`tiny::devices`).

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails must fail")]

mod tiny;

use std::ops::Range;
use std::path::Path;

use footnote_engine::cache::{Cache, CacheChoice};
use footnote_engine::compress::{Draft, PairSelection};
use footnote_engine::device::PageLayout;
use footnote_engine::{
    Completion, Contrast, Decoder, EngineError, GenerateRequest, Grammar, LanguageModel,
    LoadedModel, LocalModel, LocalOptions, Origin, Prompt, Weak,
};
use tiny::devices::{apart, on_device, on_processor, read, tiny_file, tokens};

/// The largest difference of a device's logits from the processor's, in the largest logit: as for any prompt.
const BOUND: f32 = 2e-2;

/// The logits of a prompt's last token and of what is written after it, read as a request reads them.
fn say(decoder: &Decoder, cache: &mut Cache, last: u32) -> Vec<f32> {
    let mut all = read(decoder, cache, &[last], Origin::Prompt);
    for token in [7, 250, 31] {
        all.extend(read(decoder, cache, &[token], Origin::Written));
    }
    all
}

fn selection(budget: usize) -> PairSelection {
    PairSelection {
        budget,
        window: 16,
        kernel: 7,
    }
}

fn pruned(decoder: &Decoder, prompt: &[u32], budget: usize, protected: Range<usize>) -> Cache {
    decoder
        .read_pruned(prompt, &[5, 120, 9], &selection(budget), &[protected])
        .unwrap()
}

/// Every family, in passes that end within pages, with pairs over more than one page; what is read after them stands at
/// its true position.
#[test]
fn pairs_that_stay_say_what_the_processors_say() {
    // Prompts of whose pairs none is so near the edge that roundings decide whether it stays.
    for (kind, seed, budget) in [("llama", 2, 150), ("qwen2", 1, 60), ("qwen3", 3, 129)] {
        let (_folder, path) = tiny_file(kind);
        let (host, device) = (on_processor(&path), on_device(&path, 100, 64 << 20));
        let prompt = tokens(330, seed);
        let last = *prompt.last().unwrap();
        let [mut wanted, mut got] =
            [&host, &device].map(|model| pruned(&model.decoder, &prompt, budget, 40..48));
        for cache in [&wanted, &got] {
            assert!(cache.is_pruned());
            assert_eq!((cache.len(), cache.position()), (budget, 329), "{kind}");
        }
        let wanted = say(&host.decoder, &mut wanted, last);
        let off = apart(&say(&device.decoder, &mut got, last), &wanted);
        assert!(off < BOUND, "{kind}: {off}");
        assert_eq!((got.len(), got.position()), (budget + 4, 333), "{kind}");
        // As far from what the whole prompt says that the bound would show it.
        let mut whole = host.decoder.full_cache().unwrap();
        read(&host.decoder, &mut whole, &prompt[..329], Origin::Prompt);
        let lost = apart(&say(&host.decoder, &mut whole, last), &wanted);
        assert!(lost > 5.0 * BOUND, "{kind}: {lost}");
    }
}

#[test]
fn pairs_of_all_positions_are_the_whole_cache() {
    for kind in ["llama", "qwen2", "qwen3"] {
        let (_folder, path) = tiny_file(kind);
        let device = on_device(&path, 128, 64 << 20);
        let prompt = tokens(300, 2);
        let last = *prompt.last().unwrap();
        let mut all = pruned(&device.decoder, &prompt, 299, 0..1);
        assert!(!all.is_pruned());
        assert_eq!(all.len(), 299);
        let mut whole = device.decoder.full_cache().unwrap();
        for chunk in prompt[..299].chunks(128) {
            read(&device.decoder, &mut whole, chunk, Origin::Prompt);
        }
        let wanted = say(&device.decoder, &mut whole, last);
        let off = apart(&say(&device.decoder, &mut all, last), &wanted);
        assert!(off < 1e-5, "{kind}: {off}");
    }
}

/// Only the pages of what stays are held; forks share them until they write, go back and forth, and all comes back.
#[test]
fn what_stays_is_all_that_is_held() {
    let (_folder, path) = tiny_file("qwen2");
    let device = on_device(&path, 256, 64 << 20);
    let decoder = &device.decoder;
    let memory = decoder.device().unwrap().memory();
    let page = PageLayout::full(decoder.cache_shape()).page_bytes;
    let prompt = tokens(400, 3);
    let mut cache = pruned(decoder, &prompt, 200, 0..4);
    assert_eq!((cache.bytes(), memory.used_bytes()), (2 * page, 2 * page));
    let mut fork = cache.fork();
    let straight = read(decoder, &mut cache, &[7, 8, 9], Origin::Written);
    let other = read(decoder, &mut fork, &[9, 8, 7], Origin::Written);
    assert!(apart(&other, &straight) > BOUND);
    assert_eq!(memory.used_bytes(), 3 * page, "the first page is shared");
    fork.truncate(200);
    assert_eq!((fork.len(), fork.position()), (200, 399));
    let again = read(decoder, &mut fork, &[7, 8, 9], Origin::Written);
    assert_eq!(again, straight);
    drop((cache, fork));
    assert_eq!(memory.used_bytes(), 0);
}

/// What there is no room for, or no way to choose, is refused by name, and nothing is lost by it.
#[test]
fn what_does_not_fit_is_refused() {
    let (_folder, path) = tiny_file("llama");
    // Six slabs, each of which holds a page of both layers.
    let device = on_device(&path, 64, 576 << 10);
    let memory = device.decoder.device().unwrap().memory();
    let refused = |count: u32, budget: usize, protected: Range<usize>| {
        let prompt = tokens(count, 4);
        let read = device
            .decoder
            .read_pruned(&prompt, &[1], &selection(budget), &[protected]);
        let error = read.err().expect("a refusal");
        assert_eq!(memory.used_bytes(), 0, "{error}");
        error
    };
    // Four pages of the prompt's, and three of what stays.
    let error = refused(500, 130, 0..1);
    assert!(
        matches!(error, EngineError::TooLong { limit: 384, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("shorter text"), "{error}");
    // These would fit, but not with what scores are worked out in.
    let error = refused(380, 130, 0..1).to_string();
    assert!(error.contains("ask for less at once"), "{error}");
    let error = refused(200, 60, 0..100).to_string();
    assert!(error.contains("a budget of 60"), "{error}");
}

/// A model with memory for caches of so many full pages on a device, or on the processor.
fn started(path: &Path, pages: Option<usize>) -> LocalModel {
    // Memory is divided into slabs that hold one open page of codes, which is less than two full pages.
    let shape = on_processor(path).decoder.cache_shape();
    let slab = PageLayout::full(shape).page_bytes / 2 * 3;
    let model = match pages {
        Some(pages) => on_device(path, 256, pages * slab),
        None => on_processor(path),
    };
    LocalModel::start("tiny".to_owned(), model, &LocalOptions::default()).unwrap()
}

fn drafted(model: LocalModel, draft: LoadedModel) -> LocalModel {
    let draft = Draft::new(draft, None).unwrap();
    model.with_draft(draft).unwrap()
}

fn request(prompt: &[u32], compress: &str) -> GenerateRequest {
    let mut request = GenerateRequest::new(Prompt::Tokens(prompt.to_vec()), 12);
    // Most of the tiny models' tokens stand for no text.
    request.grammar = Some(Grammar::Regex("[a-z]{8}".to_owned()));
    request.compress = compress.parse().unwrap();
    request
}

fn answer(model: &LocalModel, request: GenerateRequest) -> Result<Completion, EngineError> {
    model
        .generate(request)
        .and_then(|running| running.complete())
}

/// Greedily, a model writes on a device what it writes on the processor, and something else than without SpecKV.
#[test]
fn answers_are_those_of_the_processor() {
    // Prompts whose answers hang on what is let go of, and on no rounding.
    for (kind, seed) in [("llama", 1), ("qwen2", 24), ("qwen3", 1)] {
        let (_folder, path) = tiny_file(kind);
        let host = drafted(started(&path, None), on_processor(&path));
        let draft = on_device(&path, 128, 64 << 20);
        let device = drafted(started(&path, Some(64)), draft);
        let prompt = tokens(300, seed);
        // Away from another prompt, whose lane begins empty.
        let away = |model: &LocalModel| {
            let mut request = request(&prompt, "speckv:150");
            request.contrast = Some(Contrast {
                weak: Weak::Prompt(Prompt::Tokens(tokens(30, 6))),
                weight: 0.5,
                by_entropy: false,
                plausible: 0.1,
            });
            answer(model, request).unwrap()
        };
        let plain = answer(&device, request(&prompt, "none")).unwrap();
        for policy in ["speckv:100", "speckv-pc:150"] {
            let got = answer(&device, request(&prompt, policy)).unwrap();
            let wanted = answer(&host, request(&prompt, policy)).unwrap();
            assert_eq!(got.text, wanted.text, "{kind}, {policy}");
            let usage = |answer: &Completion| {
                let usage = &answer.usage;
                (usage.tokens_in, usage.tokens_kept, usage.tokens_out)
            };
            assert_eq!(usage(&got), usage(&wanted), "{kind}, {policy}");
            assert!(!got.text.is_empty() && got.text != plain.text, "{kind}");
            assert!(got.usage.cache_bytes < plain.usage.cache_bytes, "{kind}");
        }
        assert_eq!(away(&device).text, away(&host).text, "{kind}");
        // What was let go of is missing to every other prompt: nothing of it was kept.
        let again = answer(&device, request(&prompt, "none")).unwrap();
        assert_eq!(again.text, plain.text, "{kind}");
        let mut coded = request(&prompt, "speckv:100");
        coded.cache = Some("kv4".parse::<CacheChoice>().unwrap());
        let error = answer(&device, coded).unwrap_err().to_string();
        assert!(error.contains("kv4 keeps them in groups"), "{error}");
    }
}

/// Requests hold the pages of what stays and no more, so that several find room where their whole prompts would not.
#[test]
fn requests_hold_what_stays() {
    let (_folder, path) = tiny_file("qwen2");
    // To read one takes three pages for its prompt, up to two for what stays, and two for its windows; beside two others'.
    let model = drafted(started(&path, Some(9)), on_processor(&path));
    let ask = |seed: u32| request(&tokens(260, seed), "speckv:100");
    let alone: Vec<String> = (0..3)
        .map(|seed| answer(&model, ask(seed)).unwrap().text)
        .collect();
    let running: Vec<_> = (0..3)
        .map(|seed| model.generate(ask(seed)).unwrap())
        .collect();
    for (generation, alone) in running.into_iter().zip(alone) {
        assert_eq!(generation.complete().unwrap().text, alone);
    }
    // By the time that another is answered, those have ended: no prefix of theirs is kept.
    answer(&model, ask(3)).unwrap();
    assert_eq!(model.load().unwrap().kept_bytes, 0);
}
