//! Prompts made short, and texts written away from a weaker reading, with a real model that is its own draft.
//!
//! Everything runs on SmolLM2-135M; without its file the tests say that they are skipped.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails must fail")]

use std::path::Path;

use footnote_engine::compress::{Draft, GAP, Positions, ShortenRequest, ranges_of};
use footnote_engine::{
    Contrast, FinishReason, GenerateRequest, Grammar, LanguageModel, LoadedModel, LocalModel,
    LocalOptions, Message, Prompt, Role, Target, Weak,
};
use footnote_testkit::model_or_skip;

const FILING: &str = "Net sales increased 6% or $21.3 billion during 2024 compared to 2023. The \
    increase was due primarily to higher net sales of Services, iPhone and Mac.";

fn open(path: &Path) -> LocalModel {
    LocalModel::open(path, LocalOptions::default()).unwrap()
}

fn text(text: &str, max_tokens: usize) -> GenerateRequest {
    GenerateRequest::new(Prompt::Text(text.to_string()), max_tokens)
}

/// A model that is its own draft.
fn drafted(path: &Path) -> LocalModel {
    let drafting = LoadedModel::open(path, None).unwrap();
    let draft = Draft::new(drafting, None).unwrap();
    open(path).with_draft(draft).unwrap()
}

#[test]
fn kept_tokens_may_stand_where_they_stood() {
    let path = model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let model = drafted(&path);
    let long = format!("{}\n\nWhat rose?", [FILING; 9].join("\n"));
    let ask = |policy: &str, positions, cache: Option<&str>| {
        let mut request = text(&long, 6);
        request.compress = policy.parse().unwrap();
        request.positions = positions;
        request.cache = cache.map(|name| name.parse().unwrap());
        model
            .generate(request)
            .and_then(|running| running.complete())
    };
    let whole = ask("none", Positions::Contiguous, None).unwrap();
    let original = ask("specpc:160", Positions::Original, None).unwrap();
    assert_eq!(original.usage.tokens_in, whole.usage.tokens_in);
    assert_eq!(original.usage.tokens_kept, 160);
    assert!(original.usage.cache_bytes < whole.usage.cache_bytes);
    // Where nothing is left out, nothing changes.
    let all = ask("specpc:4000", Positions::Original, None).unwrap();
    assert_eq!(all.text, whole.text);
    let error = ask("specpc:160", Positions::Original, Some("xquant4")).unwrap_err();
    assert!(error.to_string().contains("xquant4"), "{error}");
}

/// The template's own tokens and the system message stay, whatever the draft thinks of them.
#[test]
fn a_chat_keeps_its_template_and_its_instructions() {
    let path = model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let model = drafted(&path);
    let draft = model.as_draft(None).unwrap();
    let rules = "Answer in one word and never guess.";
    let messages = vec![
        Message::new(Role::System, rules),
        Message::new(Role::User, [FILING; 12].join("\n")),
        Message::new(Role::Assistant, "Understood."),
        Message::new(Role::User, format!("{FILING}\n\nWhat rose by 6%?")),
    ];
    let short = draft
        .shorten(&ShortenRequest {
            messages: messages.clone(),
            policy: "specpc:200".parse().unwrap(),
            protect: vec!["iPhone and Mac.".to_owned()],
            focus: Some("What rose by 6%?".to_owned()),
        })
        .unwrap();
    assert_eq!(short.tokens_kept, 200);
    assert_eq!(short.messages.len(), 4);
    assert_eq!(short.messages[0].content, rules);
    assert!(short.messages[3].content.ends_with("What rose by 6%?"));
    assert!(short.messages[1].content.contains(GAP));
    assert!(short.messages[1].content.contains("iPhone and Mac."));
    for (message, spans) in messages.iter().zip(&short.spans) {
        for span in spans {
            let kept = &message.content[span.clone()];
            assert_eq!(kept, kept.trim(), "whole words");
        }
    }
    // What stays whole is sent as it is.
    let whole = draft
        .shorten(&ShortenRequest {
            messages: messages.clone(),
            policy: "specpc:4000".parse().unwrap(),
            protect: Vec::new(),
            focus: None,
        })
        .unwrap();
    assert_eq!(whole.messages, messages);
    let wrong = draft.shorten(&ShortenRequest {
        messages,
        policy: "speckv:200".parse().unwrap(),
        protect: Vec::new(),
        focus: None,
    });
    assert!(wrong.unwrap_err().to_string().contains("leaves no text"));
}

fn against(heads: &[(usize, usize)], target: Target, u: f32, weight: f32) -> Contrast {
    Contrast {
        weak: Weak::Heads {
            heads: heads.to_vec(),
            target,
            u,
        },
        weight,
        by_entropy: false,
        plausible: 0.1,
    }
}

#[test]
fn a_contrast_with_itself_changes_nothing_and_with_worse_heads_does() {
    let model = open(&model_or_skip!("smollm2-135m-instruct-q4_1.gguf"));
    let ask = |contrast: Option<Contrast>, cache: &str| {
        let mut request = text(FILING, 24);
        request.contrast = contrast;
        request.cache = Some(cache.parse().unwrap());
        model
            .generate(request)
            .and_then(|running| running.complete())
    };
    let every: Vec<(usize, usize)> = (8..24).flat_map(|l| (0..9).map(move |h| (l, h))).collect();
    for cache in ["full", "xquant4"] {
        let plain = ask(None, cache).unwrap().text;
        for (u, weight) in [(0.0, 2.0), (1.0, 0.0)] {
            let same = ask(Some(against(&every, Target::Zero, u, weight)), cache).unwrap();
            assert_eq!(same.text, plain, "{cache}, u {u}, weight {weight}");
        }
    }
    let plain = ask(None, "full").unwrap().text;
    let targets = [
        Target::Identity,
        Target::Zero,
        Target::Sink,
        Target::Uniform,
    ];
    let written: Vec<String> = targets
        .iter()
        .map(|target| {
            ask(Some(against(&every, *target, 1.0, 4.0)), "full")
                .unwrap()
                .text
        })
        .collect();
    assert!(written.iter().any(|text| *text != plain), "{written:?}");
    // Away from the same text without its context.
    let mut without = against(&every, Target::Zero, 1.0, 1.0);
    without.weak = Weak::Prompt(Prompt::Text("The increase".to_owned()));
    ask(Some(without), "full").unwrap();
    for (contrast, wanted) in [
        (against(&[], Target::Zero, 1.0, 1.0), "at least one head"),
        (
            against(&[(99, 0)], Target::Zero, 1.0, 1.0),
            "no head 0 in layer 99",
        ),
        (against(&every, Target::Zero, 2.0, 1.0), "from 0 to 1"),
        (against(&every, Target::Zero, 1.0, -1.0), "weight"),
    ] {
        let error = ask(Some(contrast), "full").unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let error = ask(Some(against(&every, Target::Sink, 1.0, 1.0)), "xquant4").unwrap_err();
    assert!(error.to_string().contains("xquant4"), "{error}");
}

/// A contrast obeys a grammar and other requests run beside it.
#[test]
fn a_contrast_obeys_its_grammar() {
    let model = open(&model_or_skip!("smollm2-135m-instruct-q4_1.gguf"));
    let question = format!("{FILING} How much did net sales increase?");
    let chat = Prompt::Chat(vec![Message::new(Role::User, question)]);
    let mut request = GenerateRequest::new(chat, 40);
    request.contrast = Some(against(&[(12, 3), (15, 4)], Target::Identity, 0.5, 1.0));
    request.grammar = Some(Grammar::Regex("[0-9]{1,3} percent".to_owned()));
    let beside = model.generate(text(FILING, 12)).unwrap();
    let written = model.generate(request).unwrap().complete().unwrap();
    assert_eq!(written.finish, FinishReason::End);
    assert!(written.text.ends_with(" percent"), "{}", written.text);
    let alone = model.generate(text(FILING, 12)).unwrap();
    assert_eq!(
        beside.complete().unwrap().text,
        alone.complete().unwrap().text
    );
}

#[test]
fn a_long_prompt_is_read_as_what_its_draft_keeps() {
    let path = model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
    let model = drafted(&path);
    let header = "Source: Aquillon 10-K 2024, Item 7.";
    let long = format!(
        "{FILING}\n{header}\n{}\nWhat rose?",
        [FILING; 14].join("\n")
    );
    let ask = |policy: &str, protect: &[&str]| {
        let mut request = text(&long, 4);
        request.compress = policy.parse().unwrap();
        request.protect = protect.iter().map(|text| (*text).to_string()).collect();
        model
            .generate(request)
            .and_then(|running| running.complete())
    };
    let whole = ask("none", &[]).unwrap().usage;
    assert_eq!(whole.tokens_in, whole.tokens_kept);
    for policy in ["specpc:160", "bm25:160", "truncate:160", "random:160"] {
        let usage = ask(policy, &[header]).unwrap().usage;
        assert_eq!(
            (usage.tokens_in, usage.tokens_kept),
            (whole.tokens_in, 160),
            "{policy}"
        );
        assert_eq!(
            ask(policy, &[]).unwrap().text,
            ask(policy, &[]).unwrap().text,
            "{policy}"
        );
    }
    // Within the budget nothing is done at all.
    let usage = ask("specpc:4000", &[]).unwrap().usage;
    assert_eq!(usage.tokens_kept, whole.tokens_in);
    for (policy, protect, wanted) in [
        ("specpc:40", &[][..], "budget of 40"),
        ("specpc:100", &[FILING][..], "protect less"),
        ("specpc-heads:160", &[][..], "engine heads"),
        ("specpc:9000", &[][..], "smaller budget"),
    ] {
        let error = ask(policy, protect).unwrap_err().to_string();
        assert!(error.contains(wanted), "{policy}: {error}");
    }
    let plain = open(&path);
    let mut request = text(&long, 4);
    request.compress = "specpc:160".parse().unwrap();
    let error = plain.generate(request).err().unwrap().to_string();
    assert!(error.contains("--draft"), "{error}");
}

#[test]
fn protected_texts_are_found_wherever_they_stand() {
    let model = open(&model_or_skip!("smollm2-135m-instruct-q4_1.gguf"));
    let tokens = model
        .tokenizer()
        .encode(&format!("{FILING} Keep this. {FILING} Keep this."))
        .unwrap();
    let ranges = ranges_of(
        &tokens,
        model.tokenizer(),
        &[
            "Keep this.".to_string(),
            "nowhere".to_string(),
            String::new(),
        ],
    );
    assert_eq!(ranges.len(), 2);
    for range in ranges {
        assert!(
            model
                .tokenizer()
                .decode(&tokens[range])
                .contains("Keep this.")
        );
    }
}
