//! Attention taps on a device beside the same taps on the processor, and prompts made short by a draft on a device. The
//! device is the interpreter of launch plans, or a GPU (`tiny::devices`).

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails must fail")]

mod tiny;

use footnote_engine::compress::{
    Asked, CompressionPolicy, Draft, EvidenceHead, EvidenceHeads, Positions, compress,
};
use footnote_engine::{
    Decoder, GenerateRequest, Heads, LanguageModel, LoadedModel, LocalModel, LocalOptions,
    OnDevice, Prompt, Reduce, Tap, TapConfig,
};
use tiny::devices::{on_device, on_processor, test_device, tiny_file, tokens};

/// The largest difference of a device's scores from the processor's, in the largest score. Keys are f16 on both and
/// queries exact on both; what differs is a layer's input, which a device's products take as f16, as they take it in a
/// prompt's other passes.
const BOUND: f32 = 5e-3;

fn tapped(decoder: &Decoder, tokens: &[u32], config: &TapConfig) -> Vec<Vec<f32>> {
    let shape = decoder.cache_shape();
    let mut tap = Tap::new(config.clone(), shape.heads, shape.layers, tokens.len());
    decoder.tap(tokens, &mut tap).unwrap();
    if let Some(device) = decoder.device() {
        assert_eq!(device.memory().used_bytes(), 0, "all memory comes back");
    }
    tap.into_scores()
}

#[track_caller]
fn close(got: &[Vec<f32>], wanted: &[Vec<f32>], bound: f32, what: &str) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (row, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert_eq!(got.len(), wanted.len(), "{what}");
        let largest = wanted.iter().fold(0.0_f32, |most, x| most.max(*x));
        assert!(largest > 0.0, "{what}: row {row} says nothing");
        for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
            let apart = (got - wanted).abs() / largest;
            assert!(apart <= bound, "{what}: {apart} at {at} of row {row}");
        }
    }
}

fn pooled(first: usize) -> TapConfig {
    TapConfig {
        window: 64,
        weighted: true,
        heads: Heads::From(first),
        reduce: Reduce::Max,
        per_head: false,
    }
}

/// Every way of reading a tap.
fn configs() -> Vec<(&'static str, TapConfig)> {
    let apart = TapConfig {
        weighted: false,
        reduce: Reduce::Sum,
        per_head: true,
        ..pooled(0)
    };
    vec![
        ("the largest of all heads", pooled(0)),
        ("the largest of the last layer's", pooled(1)),
        ("each head's sum", apart.clone()),
        (
            "the sum of all heads",
            TapConfig {
                per_head: false,
                ..apart.clone()
            },
        ),
        (
            "two heads of the first layer",
            TapConfig {
                heads: Heads::Chosen(vec![(0, 3), (0, 1)]),
                ..apart.clone()
            },
        ),
        (
            "a head of each layer",
            TapConfig {
                window: 17,
                heads: Heads::Chosen(vec![(1, 2), (0, 0)]),
                ..apart
            },
        ),
    ]
}

#[test]
fn a_device_scores_as_the_processor_does() {
    for kind in ["llama", "qwen2", "qwen3"] {
        let (_folder, path) = tiny_file(kind);
        let (host, device) = (on_processor(&path), on_device(&path, 256, 64 << 20));
        let tokens = tokens(300, 1);
        for (what, config) in configs() {
            let got = tapped(&device.decoder, &tokens, &config);
            let wanted = tapped(&host.decoder, &tokens, &config);
            close(&got, &wanted, BOUND, &format!("{kind}, {what}"));
        }
    }
}

/// The window lies across passes, and passes across pages.
#[test]
fn passes_of_any_length_score_alike() {
    let (_folder, path) = tiny_file("qwen2");
    let whole = on_device(&path, 512, 64 << 20);
    let tokens = tokens(200, 2);
    let [apart, largest] = [2, 0].map(|at| configs().swap_remove(at).1);
    for rows in [32, 100] {
        let cut = on_device(&path, rows, 64 << 20);
        for config in [&apart, &largest] {
            let got = tapped(&cut.decoder, &tokens, config);
            let wanted = tapped(&whole.decoder, &tokens, config);
            close(&got, &wanted, 1e-6, &format!("passes of {rows}"));
        }
    }
}

#[test]
fn a_prompt_shorter_than_its_window_is_its_window() {
    let (_folder, path) = tiny_file("llama");
    let (host, device) = (on_processor(&path), on_device(&path, 32, 64 << 20));
    for count in [1, 5, 40] {
        let tokens = tokens(count, 3);
        for (what, config) in configs() {
            // The first row of a weighted window counts nothing.
            if count == 1 && config.weighted {
                continue;
            }
            let got = tapped(&device.decoder, &tokens, &config);
            let wanted = tapped(&host.decoder, &tokens, &config);
            close(&got, &wanted, BOUND, &format!("{what} of {count} tokens"));
        }
    }
}

/// Ends of different lengths, one of them longer than a pass; windows that are the ends, and one that reaches back; with a
/// band and without. A band that no block divides shows that it is counted from the same tokens however passes are cut.
#[test]
fn a_beginning_is_read_once_for_all_its_ends() {
    let (_folder, path) = tiny_file("llama");
    let host = on_processor(&path);
    let beginning = tokens(460, 4);
    let (long, short) = (tokens(45, 5), tokens(7, 6));
    let sums = TapConfig {
        window: 0,
        ..configs().swap_remove(2).1
    };
    let back = TapConfig {
        window: 30,
        ..pooled(1)
    };
    let read = |decoder: &Decoder, band| {
        let configs = [sums.clone(), back.clone()];
        let taps = decoder
            .tap_ends(&beginning, &[&long, &short], &configs, band)
            .unwrap();
        let scores = taps.into_iter().flatten().map(Tap::into_scores);
        scores.collect::<Vec<_>>()
    };
    for rows in [32, 300] {
        let device = on_device(&path, rows, 64 << 20);
        for band in [None, Some(10), Some(300)] {
            let (got, wanted) = (read(&device.decoder, band), read(&host.decoder, band));
            assert_eq!(got.len(), 4);
            for (at, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
                let what = format!("tap {at}, band {band:?}, passes of {rows}");
                close(got, wanted, BOUND, &what);
            }
            // An end says the same whatever ends were read before it.
            let alone = device
                .decoder
                .tap_ends(&beginning, &[&short], std::slice::from_ref(&sums), band)
                .unwrap();
            let alone = alone.into_iter().flatten().map(Tap::into_scores).next();
            close(&got[2], &alone.unwrap(), 1e-6, "the short end alone");
        }
    }
}

/// What there is no room for is refused before anything is read, and nothing is lost by it.
#[test]
fn a_prompt_that_does_not_fit_is_refused() {
    let (_folder, path) = tiny_file("llama");
    let on = OnDevice {
        rows: 64,
        // Three slabs, each of which holds a page of both layers, or an open page of codes.
        cache_bytes: Some(288 << 10),
        ..OnDevice::new(test_device(1 << 30))
    };
    let device = LoadedModel::open_on(&path, None, Some(&on)).unwrap();
    let decoder = &device.decoder;
    let shape = decoder.cache_shape();
    let error = |count: u32, window| {
        let tokens = tokens(count, 7);
        let config = TapConfig {
            window,
            ..pooled(0)
        };
        let mut tap = Tap::new(config, shape.heads, shape.layers, tokens.len());
        let error = decoder.tap(&tokens, &mut tap).unwrap_err().to_string();
        let memory = decoder.device().unwrap().memory();
        assert_eq!(memory.used_bytes(), 0, "{error}");
        error
    };
    for (count, window, mend) in [
        (400, 64, "give it a shorter text"),
        (300, 64, "ask for less at once"),
        (200, 200, "ask a shorter question"),
    ] {
        let error = error(count, window);
        assert!(error.contains(mend), "{error}");
    }
}

fn draft(model: LoadedModel, heads: bool) -> Draft {
    let head = |layer, head, scale| EvidenceHead { layer, head, scale };
    let heads = heads.then(|| EvidenceHeads {
        model: "tiny".to_owned(),
        found_on: "nothing".to_owned(),
        prompts: 0,
        budgets: vec![160],
        recall: 0.0,
        recall_all_heads: 0.0,
        heads: vec![head(0, 2, 0.5), head(1, 1, 0.3)],
    });
    Draft::new(model, heads).unwrap()
}

/// A draft on a device keeps what it keeps on the processor.
#[test]
fn the_same_tokens_stay() {
    for (kind, policy) in [
        ("qwen2", "specpc:200"),
        ("llama", "specpc:160"),
        ("qwen2", "specpc-heads:200"),
        ("qwen3", "specpc-heads:160"),
    ] {
        let (_folder, path) = tiny_file(kind);
        let prompt = tokens(440, 8);
        let asked = Asked {
            focus: 400..430,
            ..Asked::by_its_end(&prompt)
        };
        let policy: CompressionPolicy = policy.parse().unwrap();
        let kept = |model: LoadedModel| {
            let tokenizer = on_processor(&path).tokenizer;
            let draft = draft(model, true);
            compress(policy, &asked, &tokenizer, Some(&draft))
                .unwrap()
                .kept
        };
        let by_device = kept(on_device(&path, 128, 64 << 20));
        assert!(by_device.len() <= policy.budget().unwrap());
        assert!(by_device.len() > asked.window);
        assert_eq!(by_device, kept(on_processor(&path)), "{kind}, {policy}");
    }
}

/// A model and its draft, both on devices: what is written after a prompt made short is what is written after the tokens
/// that stay.
#[test]
fn a_prompt_made_short_is_answered_on_a_device() {
    let (_folder, path) = tiny_file("qwen2");
    let options = LocalOptions::default();
    let model =
        LocalModel::start("tiny".to_owned(), on_device(&path, 512, 64 << 20), &options).unwrap();
    let model = model
        .with_draft(draft(on_device(&path, 128, 64 << 20), false))
        .unwrap();
    let prompt = tokens(400, 9);
    let ask = |prompt: &[u32], compress: &str, positions| {
        let mut request = GenerateRequest::new(Prompt::Tokens(prompt.to_vec()), 12);
        request.compress = compress.parse().unwrap();
        request.positions = positions;
        model
            .generate(request)
            .and_then(|running| running.complete())
    };
    let policy: CompressionPolicy = "specpc:160".parse().unwrap();
    let short = ask(&prompt, "specpc:160", Positions::Contiguous).unwrap();
    assert_eq!((short.usage.tokens_in, short.usage.tokens_kept), (400, 160));
    let alone = draft(on_processor(&path), false);
    let asked = Asked::by_its_end(&prompt);
    let kept = compress(policy, &asked, model.tokenizer(), Some(&alone))
        .unwrap()
        .kept;
    let kept: Vec<u32> = kept.iter().map(|at| prompt[*at]).collect();
    let plain = ask(&kept, "none", Positions::Contiguous).unwrap();
    assert_eq!(
        (&short.text, short.usage.tokens_out),
        (&plain.text, plain.usage.tokens_out)
    );
    let original = ask(&prompt, "specpc:160", Positions::Original).unwrap();
    assert_eq!(original.usage.tokens_kept, 160);
}
