//! Models on a device beside the same models on the processor. The device is the interpreter of launch plans, which runs
//! the GPU's own kernels as C++, or a GPU (`tiny::devices`).

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails must fail")]

mod tiny;

use std::path::Path;

use footnote_engine::cache::{Cache, CachePolicy, Window};
use footnote_engine::kernels::Bits;
use footnote_engine::{
    Decoder, LoadedModel, Mode, Origin, Outputs, PerplexityOptions, Perturbation, Scratch, Step,
    Target, greedy, perplexity,
};
use tiny::devices::{apart, distance, on_device, on_processor, pass, read, step};

/// The same file twice: on the processor, and on an interpreter with passes of `rows` tokens.
fn both(path: &Path, rows: usize) -> (LoadedModel, LoadedModel) {
    (on_processor(path), on_device(path, rows, 256 << 20))
}

/// Every family and both kinds of halves, over more than one page, in chunks of odd sizes and then token by token.
#[test]
fn a_device_says_what_the_processor_says() {
    for kind in ["llama", "qwen2", "qwen3"] {
        let folder = tempfile::tempdir().unwrap();
        let weights = tiny::weights(kind);
        tiny::write_folder(folder.path(), kind, &weights);
        let gguf = folder.path().join("tiny.gguf");
        tiny::write_gguf(&gguf, kind, &weights);
        for path in [folder.path(), &gguf] {
            let (host, device) = both(path, 64);
            let tokens: Vec<u32> = (0..150).map(|i| i * 7 % tiny::VOCAB as u32).collect();
            let mut host_cache = host.decoder.full_cache().unwrap();
            let mut cache = device.decoder.full_cache().unwrap();
            let mut at = 0;
            for (size, origin) in [
                (61, Origin::Prompt),
                (64, Origin::Prompt),
                (19, Origin::Prompt),
                (1, Origin::Written),
                (4, Origin::Written),
                (1, Origin::Written),
            ] {
                let chunk = &tokens[at..at + size];
                let wanted = read(&host.decoder, &mut host_cache, chunk, origin);
                let got = read(&device.decoder, &mut cache, chunk, origin);
                let apart = apart(&got, &wanted);
                // The processor rounds inputs to 8 bits or BF16, a device's prompts to a half.
                assert!(
                    apart < 2e-2,
                    "{kind} {}: {apart} from token {at}",
                    path.display()
                );
                at += size;
            }
        }
    }
}

/// Caches of codes beside the processor's: keys and values, inputs, latents, differences, and these in the joint basis; over
/// several groups, in chunks that begin and end within them, and then token by token over the end of one.
#[test]
fn caches_of_codes_say_what_the_processors_say() {
    // With the wider ones inputs are wider than keys and values together.
    let cases = [
        ("qwen3", tiny::HIDDEN, Bits::Half),
        ("qwen2", 160, Bits::Half),
        ("llama", 160, Bits::Two),
        ("qwen2", tiny::HIDDEN, Bits::Two),
    ];
    for (kind, hidden, bits) in cases {
        let folder = tempfile::tempdir().unwrap();
        tiny::write_folder(folder.path(), kind, &tiny::weights_of(kind, hidden));
        let (host, device) = both(folder.path(), 300);
        let tokens: Vec<u32> = (0..400).map(|i| i * 7 % tiny::VOCAB as u32).collect();
        let outlier = false;
        let policies = [
            CachePolicy::Kv(bits),
            CachePolicy::KvRotated(bits),
            CachePolicy::XQuant { bits, outlier },
            CachePolicy::XQuantCl(bits),
        ];
        for policy in policies {
            let mut all = (Vec::new(), Vec::new(), Vec::new());
            let mut full_cache = host.decoder.full_cache().unwrap();
            let mut host_cache = host.decoder.cache(policy).unwrap();
            let mut cache = device.decoder.cache(policy).unwrap();
            let mut at = 0;
            for (size, origin) in [
                (70, Origin::Prompt),
                (30, Origin::Prompt),
                (270, Origin::Prompt),
                (1, Origin::Written),
                (12, Origin::Written),
                (1, Origin::Written),
                (1, Origin::Written),
                (5, Origin::Written),
            ] {
                let chunk = &tokens[at..at + size];
                let full = read(&host.decoder, &mut full_cache, chunk, origin);
                let wanted = read(&host.decoder, &mut host_cache, chunk, origin);
                let got = read(&device.decoder, &mut cache, chunk, origin);
                let off = distance(&got, &wanted);
                // Nothing is coded yet, or nothing ever: only roundings differ.
                if bits == Bits::Half || at + size <= 128 {
                    assert!(
                        off < 2e-2,
                        "{kind} of {hidden}, {policy}: {off} from token {at}"
                    );
                } else {
                    all.0.extend(full);
                    all.1.extend(wanted);
                    all.2.extend(got);
                }
                at += size;
            }
            // Now and then the code of a value differs, which is little beside what all codes lose.
            if bits != Bits::Half {
                let (off, lost) = (distance(&all.2, &all.1), distance(&all.0, &all.1));
                assert!(
                    off < 0.75 * lost,
                    "{kind} of {hidden}, {policy}: {off} beside {lost}"
                );
            }
            assert_eq!(cache.len(), host_cache.len());
        }
    }
}

/// The outlier's channel in f16 beside the processor's: in a prompt whose groups are rebuilt, token by token over the end of a
/// group, and with another sequence in one pass. What it changes is what a device changes too.
#[test]
fn the_outlier_channel_is_the_processors() {
    let folder = tempfile::tempdir().unwrap();
    let weights = tiny::with_outliers(tiny::weights_of("qwen2", 160));
    tiny::write_folder(folder.path(), "qwen2", &weights);
    let (host, device) = both(folder.path(), 300);
    let tokens: Vec<u32> = (0..260).map(|i| i * 7 % tiny::VOCAB as u32).collect();
    let bits = Bits::Two;
    let policy = |outlier| CachePolicy::XQuant { bits, outlier };
    let said = |decoder: &Decoder, policy: CachePolicy| -> Vec<Vec<f32>> {
        let mut cache = decoder.cache(policy).unwrap();
        let mut other = decoder.cache(policy).unwrap();
        read(decoder, &mut other, &tokens[..130], Origin::Prompt);
        let mut at = 254;
        let rows = read(decoder, &mut cache, &tokens[..at], Origin::Prompt);
        // The first group sees no codes.
        let mut said = vec![rows[128 * tiny::VOCAB..].to_vec(), Vec::new()];
        for token in &tokens[at..at + 4] {
            said[1].extend(read(decoder, &mut cache, &[*token], Origin::Written));
            at += 1;
        }
        let mut steps =
            [&mut other, &mut cache].map(|cache| step(cache, &tokens[at..=at], Origin::Written));
        said.push(pass(decoder, &mut steps));
        said
    };
    let (with, without) = (
        said(&host.decoder, policy(true)),
        said(&host.decoder, policy(false)),
    );
    let got = said(&device.decoder, policy(true));
    for (part, got) in got.iter().enumerate() {
        let (off, moved) = (
            distance(got, &with[part]),
            distance(&without[part], &with[part]),
        );
        assert!(off < 0.5 * moved, "part {part}: {off} beside {moved}");
    }
}

/// Sixteen query heads to a head of keys, and heads of 96 values.
#[test]
fn other_heads_have_codes_of_keys() {
    for (heads, dim) in [(32, 32), (4, 96)] {
        let folder = tempfile::tempdir().unwrap();
        let weights = tiny::weights_with("qwen3", 160, heads, dim);
        tiny::write_folder(folder.path(), "qwen3", &weights);
        let (host, device) = both(folder.path(), 140);
        let tokens: Vec<u32> = (0..133).map(|i| i * 7 % tiny::VOCAB as u32).collect();
        let (bits, outlier) = (Bits::Half, false);
        for policy in [
            CachePolicy::Kv(bits),
            CachePolicy::XQuant { bits, outlier },
            CachePolicy::XQuantCl(bits),
        ] {
            let mut host_cache = host.decoder.cache(policy).unwrap();
            let mut cache = device.decoder.cache(policy).unwrap();
            for (rows, origin) in [(0..130, Origin::Prompt), (130..133, Origin::Written)] {
                let chunk = &tokens[rows.clone()];
                let wanted = read(&host.decoder, &mut host_cache, chunk, origin);
                let got = read(&device.decoder, &mut cache, chunk, origin);
                let off = distance(&got, &wanted);
                assert!(off < 2e-2, "{heads} of {dim}, {policy}: {off} in {rows:?}");
            }
        }
    }
}

/// Tokens that are written together may end one group and begin the next, beside other sequences whose tokens do not.
#[test]
fn tokens_written_together_go_on_in_the_next_group() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_folder(folder.path(), "llama", &tiny::weights_of("llama", 160));
    let (host, device) = both(folder.path(), 260);
    let tokens: Vec<u32> = (0..262).map(|i| i * 7 % tiny::VOCAB as u32).collect();
    let (bits, outlier) = (Bits::Half, false);
    for policy in [
        CachePolicy::Kv(bits),
        CachePolicy::XQuant { bits, outlier },
        CachePolicy::XQuantCl(bits),
    ] {
        let said = |decoder: &Decoder| {
            let mut caches = [254, 128, 20].map(|read_before| {
                let mut cache = decoder.cache(policy).unwrap();
                let tokens = &tokens[..read_before];
                read(decoder, &mut cache, tokens, Origin::Prompt);
                cache
            });
            let mut said = Vec::new();
            for count in [4, 1] {
                let mut steps = caches.each_mut().map(|cache| {
                    let at = cache.len();
                    step(cache, &tokens[at..at + count], Origin::Written)
                });
                said.push(pass(decoder, &mut steps));
            }
            said
        };
        for (got, wanted) in said(&device.decoder).iter().zip(&said(&host.decoder)) {
            let off = distance(got, wanted);
            assert!(off < 2e-2, "{policy}: {off}");
        }
    }
}

/// However a text is cut, a cache of codes holds the same: what a token sees depends on its position alone.
#[test]
fn chunks_of_codes_make_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_folder(folder.path(), "llama", &tiny::weights_of("llama", 160));
    let (_, device) = both(folder.path(), 320);
    let tokens: Vec<u32> = (0..300).map(|i| i * 13 % tiny::VOCAB as u32).collect();
    let bits = Bits::Half;
    let outlier = true;
    for policy in [
        CachePolicy::Kv(bits),
        CachePolicy::XQuant { bits, outlier },
        CachePolicy::XQuantCl(bits),
    ] {
        let last = |sizes: &[usize]| {
            let mut cache = device.decoder.cache(policy).unwrap();
            let mut at = 0;
            for size in sizes {
                read(
                    &device.decoder,
                    &mut cache,
                    &tokens[at..at + size],
                    Origin::Prompt,
                );
                at += size;
            }
            read(&device.decoder, &mut cache, &[5], Origin::Written)
        };
        let whole = last(&[300]);
        for sizes in [&[128, 172][..], &[100, 60, 140], &[1, 299], &[127, 2, 171]] {
            let apart = apart(&last(sizes), &whole);
            assert!(apart < 2e-2, "{policy} in {sizes:?}: {apart}");
        }
    }
}

/// Sequences of different lengths and origins in one pass give what each gives alone.
#[test]
fn a_pass_of_many_is_many_passes() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_folder(folder.path(), "qwen2", &tiny::weights("qwen2"));
    let (_, device) = both(folder.path(), 256);
    let decoder = &device.decoder;
    let tokens = |count: u32, seed: u32| -> Vec<u32> {
        (0..count).map(|i| (i * 11 + seed * 5) % 300).collect()
    };
    // What each has read, what it reads next, and whence.
    let cases = [
        (130, 1, Origin::Written),
        (0, 40, Origin::Prompt),
        (5, 1, Origin::Written),
        (127, 3, Origin::Written),
        (128, 70, Origin::Prompt),
    ];
    let prepared = || -> Vec<Cache> {
        cases
            .iter()
            .zip(1..)
            .map(|((before, ..), seed)| {
                let mut cache = decoder.full_cache().unwrap();
                if *before > 0 {
                    read(decoder, &mut cache, &tokens(*before, seed), Origin::Prompt);
                }
                cache
            })
            .collect()
    };
    let next: Vec<Vec<u32>> = cases
        .iter()
        .zip(1..)
        .map(|((_, count, _), seed)| tokens(*count, seed + 50))
        .collect();
    let alone: Vec<Vec<f32>> = prepared()
        .iter_mut()
        .zip(&cases)
        .zip(&next)
        .map(|((cache, (.., origin)), next)| read(decoder, cache, next, *origin))
        .collect();
    let mut caches = prepared();
    let mut steps: Vec<Step<'_>> = caches
        .iter_mut()
        .zip(&cases)
        .zip(&next)
        .map(|((cache, (.., origin)), next)| Step {
            tokens: next,
            origin: *origin,
            cache,
            outputs: Outputs::Every,
            perturbation: None,
        })
        .collect();
    let together = pass(decoder, &mut steps);
    let mut at = 0;
    for (index, alone) in alone.iter().enumerate() {
        let part = &together[at..at + alone.len()];
        at += alone.len();
        // Written tokens to the bit; the library's products may sum in another order.
        let bound = if cases[index].2 == Origin::Written {
            0.0
        } else {
            1e-5
        };
        let apart = apart(part, alone);
        assert!(apart <= bound, "sequence {index}: {apart}");
    }
}

/// Whole groups by their codes alone, as perplexities of quantised caches are published: the same losses and divergences as
/// on the processor, which are not those of recent tokens read exactly.
#[test]
fn whole_groups_are_read_by_their_codes() {
    let bits = Bits::Two;
    let outlier = false;
    for (kind, hidden) in [("qwen2", 160), ("llama", tiny::HIDDEN)] {
        let folder = tempfile::tempdir().unwrap();
        tiny::write_folder(folder.path(), kind, &tiny::weights_of(kind, hidden));
        // Passes of one group on each of two caches.
        let (host, device) = both(folder.path(), 260);
        let tokens: Vec<u32> = (0..460).map(|i| i * 13 % tiny::VOCAB as u32).collect();
        for policy in [
            CachePolicy::Kv(bits),
            CachePolicy::XQuant { bits, outlier },
            CachePolicy::XQuantCl(bits),
        ] {
            let measured = |decoder: &Decoder, mode| {
                let options = PerplexityOptions {
                    policy,
                    mode,
                    window: 330,
                };
                perplexity(decoder, &tokens, &options, &mut |_| {}).unwrap()
            };
            let wanted = measured(&host.decoder, Mode::Prefill);
            let got = measured(&device.decoder, Mode::Prefill);
            let recent = measured(&host.decoder, Mode::Decode);
            let name = format!("{kind} of {hidden}, {policy}");
            assert_eq!(got.tokens, wanted.tokens);
            let near = |got: f64, wanted: f64, bound: f64| (got / wanted - 1.0).abs() < bound;
            assert!(near(got.ppl_full, wanted.ppl_full, 1e-2), "{name}");
            assert!(
                near(got.mean_kl, wanted.mean_kl, 0.1),
                "{name}: {} beside {}",
                got.mean_kl,
                wanted.mean_kl
            );
            assert!(
                !near(recent.mean_kl, wanted.mean_kl, 0.2),
                "{name}: {} could be either",
                recent.mean_kl
            );
        }
    }
}

/// A cache that is read so takes prompts from the start of a group only, and says so.
#[test]
fn whole_groups_are_read_from_their_start() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_folder(folder.path(), "llama", &tiny::weights("llama"));
    let (_, device) = both(folder.path(), 256);
    let (bits, outlier) = (Bits::Four, false);
    let plan = |window| {
        let policy = CachePolicy::XQuant { bits, outlier };
        device.decoder.cache_plan(policy, window).unwrap()
    };
    // What a policy needs of each layer is on the device once.
    let free = || {
        let model = device.decoder.device().unwrap();
        model.device().memory().unwrap().free
    };
    let before = free();
    plan(Window::Recent);
    let after = free();
    let mut cache = plan(Window::None).empty();
    assert!(after < before);
    assert_eq!(free(), after);
    let mut step = |tokens: &[u32], origin| {
        let mut steps = [Step {
            tokens,
            origin,
            cache: &mut cache,
            outputs: Outputs::Last,
            perturbation: None,
        }];
        let read = device
            .decoder
            .forward(&mut steps, &mut Scratch::default(), &|| true);
        read.err().map(|error| error.to_string())
    };
    assert_eq!(step(&[1; 100], Origin::Prompt), None);
    for origin in [Origin::Prompt, Origin::Written] {
        let error = step(&[1; 2], origin).unwrap();
        assert!(error.contains("from the start of a group"), "{error}");
    }
}

/// Heads moved on purpose beside the processor's: every target, for prompts and written tokens, on caches of all kinds, and
/// beside a sequence whose heads are left alone.
#[test]
fn moved_heads_give_what_the_processors_give() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_folder(folder.path(), "qwen2", &tiny::weights_of("qwen2", 160));
    let (host, device) = both(folder.path(), 400);
    let tokens: Vec<u32> = (0..150).map(|i| i * 7 % tiny::VOCAB as u32).collect();
    let bits = Bits::Half;
    let outlier = false;
    let policies = [
        CachePolicy::Full,
        CachePolicy::Kv(bits),
        CachePolicy::XQuant { bits, outlier },
        CachePolicy::XQuantCl(bits),
    ];
    for policy in policies {
        for target in [
            Target::Identity,
            Target::Zero,
            Target::Sink,
            Target::Uniform,
        ] {
            let moved = Perturbation::new(&[(0, 1), (1, 0), (1, 3)], target, 0.75).unwrap();
            // A cache with moved heads and one without, in the same passes.
            let read_both = |decoder: &Decoder| -> [Vec<f32>; 2] {
                let mut caches = [(); 2].map(|()| decoder.cache(policy).unwrap());
                let mut said = [Vec::new(), Vec::new()];
                for (part, origin) in [
                    (0..100, Origin::Prompt),
                    (100..145, Origin::Prompt),
                    (145..146, Origin::Written),
                    (146..150, Origin::Written),
                ] {
                    let mut steps: Vec<Step<'_>> = caches
                        .iter_mut()
                        .zip([None, Some(&moved)])
                        .map(|(cache, perturbation)| Step {
                            tokens: &tokens[part.clone()],
                            origin,
                            cache,
                            outputs: Outputs::Every,
                            perturbation,
                        })
                        .collect();
                    let logits = pass(decoder, &mut steps);
                    for (said, logits) in said.iter_mut().zip(logits.chunks(logits.len() / 2)) {
                        said.extend_from_slice(logits);
                    }
                }
                said
            };
            let (wanted, got) = (read_both(&host.decoder), read_both(&device.decoder));
            for (got, wanted) in got.iter().zip(&wanted) {
                let off = distance(got, wanted);
                assert!(off < 2e-2, "{policy}, {target:?}: {off}");
            }
            let moves = distance(&got[1], &got[0]);
            assert!(moves > 0.1, "{policy}, {target:?} moves by {moves}");
        }
    }
}

/// Forks share pages until they write; what one writes the other does not see, and all memory comes back.
#[test]
fn forks_share_pages_until_they_write() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_folder(folder.path(), "llama", &tiny::weights("llama"));
    let (_, device) = both(folder.path(), 256);
    let decoder = &device.decoder;
    let model = decoder.device().unwrap();
    let tokens: Vec<u32> = (0..200).collect();
    let mut cache = decoder.full_cache().unwrap();
    read(decoder, &mut cache, &tokens, Origin::Prompt);
    let page = cache.bytes() / 2;
    let mut fork = cache.fork();
    let straight = read(decoder, &mut cache, &[7, 8, 9], Origin::Written);
    let other = read(decoder, &mut fork, &[9, 8, 7], Origin::Written);
    assert_ne!(straight, other);
    let mut seen = std::collections::HashSet::new();
    assert_eq!(cache.bytes_besides(&mut seen), 2 * page);
    assert_eq!(
        fork.bytes_besides(&mut seen),
        page,
        "the first page is shared"
    );
    // Back, and the same way again.
    fork.truncate(200);
    assert_eq!(
        read(decoder, &mut fork, &[7, 8, 9], Origin::Written),
        straight
    );
    drop((cache, fork));
    assert_eq!(model.memory().used_bytes(), 0);
    assert_eq!(decoder.cache(CachePolicy::Full).unwrap().len(), 0);
}

/// Real models of codes write the same tokens, greedily: a few on the interpreter, and 200 on a GPU.
#[test]
fn real_models_write_the_same_tokens() {
    let count = match std::env::var("FOOTNOTE_TEST_DEVICE") {
        Ok(_) => 200,
        Err(_) => 2,
    };
    for name in [
        "smollm2-135m-instruct-q4_1",
        "qwen2.5-coder-0.5b-instruct-q4_k_m",
    ] {
        let Some(path) = footnote_testkit::model(&format!("{name}.gguf")) else {
            footnote_testkit::skip(
                module_path!(),
                &format!("no model {name}; `footnote models get` fetches it"),
            );
            continue;
        };
        let (host, device) = both(&path, 32);
        let prompt = host.tokenizer.encode("The capital of France is").unwrap();
        let write = |decoder: &Decoder| -> Vec<u32> {
            let mut cache = decoder.full_cache().unwrap();
            let vocab = decoder.config().vocab;
            let logits = read(decoder, &mut cache, &prompt, Origin::Prompt);
            let mut written = vec![greedy(&logits[logits.len() - vocab..]).unwrap()];
            while written.len() < count {
                let last = &written[written.len() - 1..];
                let logits = read(decoder, &mut cache, last, Origin::Written);
                written.push(greedy(&logits).unwrap());
            }
            written
        };
        assert_eq!(write(&device.decoder), write(&host.decoder), "{name}");
    }
}
