//! Does writing away from a weaker reading make answers more often right? The smallest honest experiment.
//!
//! `cargo bench --profile dev -p footnote-eval --bench contrast -- CORPUS MODEL.gguf QUESTIONS` asks FinanceBench's development
//! questions whose answer is a figure, with a part of their evidence page as the context, and has the model write up to 40
//! tokens: plainly, away from a reading without the context (CAD), away from the same reading with evidence heads or random
//! heads moved to one of four targets (SoftPAG's interpolation; zero at u = 1 by entropy is DeCoRe). It prints the table that
//! `evals/results/contrast.md` quotes. Questions are development questions only; nothing is chosen from it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a bench is a program whose output is its result, and fails by panicking"
)]

mod pages;

use std::time::Instant;

use footnote_agent::rank::passage::shown;
use footnote_engine::compress::EvidenceHeads;
use footnote_engine::{
    Contrast, GenerateRequest, LanguageModel, LocalModel, LocalOptions, Message, Prompt, Role,
    Target, Weak,
};
use footnote_eval::evidence::key_lines;
use footnote_eval::{difference, interval, read_page_questions};
use footnote_filings::Accession;
use pages::Given;

/// Characters of context, and tokens of an answer.
const CONTEXT_CHARS: usize = 1_500;
const ANSWER_TOKENS: usize = 40;

struct Case {
    company: String,
    question: String,
    context: String,
    /// A figure that a right answer names: of the key lines, as they are written.
    figures: Vec<String>,
}

fn main() {
    let Some(given) = pages::given("contrast") else {
        return;
    };
    let most = given
        .words
        .first()
        .map_or(usize::MAX, |most| most.parse().unwrap());
    let path = &given.model;
    let heads = EvidenceHeads::known(&path.file_stem().unwrap().to_string_lossy())
        .expect("evidence heads of this model");
    let model = LocalModel::open(path, LocalOptions::default()).unwrap();
    let mut cases = cases(&given);
    cases.truncate(most);
    let clusters: Vec<Option<&str>> = cases.iter().map(|c| Some(c.company.as_str())).collect();

    let chosen: Vec<(usize, usize)> = heads.heads.iter().map(|h| (h.layer, h.head)).collect();
    let config = model.config();
    // As many, of the same layers, drawn by number.
    let random: Vec<(usize, usize)> = chosen
        .iter()
        .enumerate()
        .map(|(at, (layer, head))| (*layer, (head + 1 + at * 5) % config.heads))
        .collect();
    let moved = |heads: &[(usize, usize)], target, u, weight, by_entropy| Contrast {
        weak: Weak::Heads {
            heads: heads.to_vec(),
            target,
            u,
        },
        weight,
        by_entropy,
        plausible: 0.1,
    };
    let mut settings: Vec<(String, Option<Contrast>)> = vec![("plain".to_owned(), None)];
    for target in [
        Target::Identity,
        Target::Zero,
        Target::Sink,
        Target::Uniform,
    ] {
        for u in [0.5, 1.0] {
            let name = format!("evidence heads to {target:?}, u {u}, w 1");
            settings.push((name, Some(moved(&chosen, target, u, 1.0, false))));
        }
        let name = format!("random heads to {target:?}, u 1, w 1");
        settings.push((name, Some(moved(&random, target, 1.0, 1.0, false))));
    }
    settings.push((
        "evidence heads to Zero, u 1, by entropy (DeCoRe)".to_owned(),
        Some(moved(&chosen, Target::Zero, 1.0, 1.0, true)),
    ));
    let plain = answers(&model, &cases, None);
    println!(
        "{} questions, heads {chosen:?}, random {random:?}",
        cases.len()
    );
    println!(
        "| reading | figure named | interval | less plain | p | answers that changed | s an answer |"
    );
    println!("|---|---|---|---|---|---|---|");
    let base = right(&cases, &plain);
    let row = |name: &str, said: &[String], seconds: f64| {
        let scores = right(&cases, said);
        let (mean, less) = (
            interval(&scores, &clusters),
            difference(&scores, &base, &clusters),
        );
        let changed = said.iter().zip(&plain).filter(|(a, b)| a != b).count();
        println!(
            "| {name} | {:.3} | {:.3} to {:.3} | {:+.3} ({:+.3} to {:+.3}) | {:.3} | {changed} | {seconds:.2} |",
            mean.mean, mean.ci95[0], mean.ci95[1], less.mean, less.ci95[0], less.ci95[1], less.p
        );
    };
    for (name, contrast) in settings {
        let begun = Instant::now();
        let said = answers(&model, &cases, contrast.as_ref());
        row(
            &name,
            &said,
            begun.elapsed().as_secs_f64() / cases.len() as f64,
        );
    }
    let begun = Instant::now();
    let said: Vec<String> = cases
        .iter()
        .map(|case| {
            let contrast = Contrast {
                weak: Weak::Prompt(prompt(&case.question, None)),
                weight: 1.0,
                by_entropy: false,
                plausible: 0.1,
            };
            answer(&model, case, Some(&contrast))
        })
        .collect();
    row(
        "without the context, w 1 (CAD)",
        &said,
        begun.elapsed().as_secs_f64() / cases.len() as f64,
    );
}

fn prompt(question: &str, context: Option<&str>) -> Prompt {
    let context = context.map_or_else(String::new, |text| format!("{text}\n\n"));
    Prompt::Chat(vec![Message::new(
        Role::User,
        format!(
            "{context}Question: {question}\nQuote the line of the page that holds the figures for the answer, word for word."
        ),
    )])
}

fn answer(model: &LocalModel, case: &Case, contrast: Option<&Contrast>) -> String {
    let mut request =
        GenerateRequest::new(prompt(&case.question, Some(&case.context)), ANSWER_TOKENS);
    request.contrast = contrast.cloned();
    model.generate(request).unwrap().complete().unwrap().text
}

fn answers(model: &LocalModel, cases: &[Case], contrast: Option<&Contrast>) -> Vec<String> {
    cases
        .iter()
        .map(|case| answer(model, case, contrast))
        .collect()
}

/// Whether each text names a figure of the key lines.
fn right(cases: &[Case], said: &[String]) -> Vec<f64> {
    cases
        .iter()
        .zip(said)
        .map(|(case, said)| f64::from(u8::from(case.figures.iter().any(|f| said.contains(f)))))
        .collect()
}

fn cases(given: &Given) -> Vec<Case> {
    let mut cases = Vec::new();
    for question in read_page_questions(&given.questions).unwrap() {
        let question = question.unwrap();
        let (Some(doc), Some(relevant), Some(answer)) =
            (&question.doc, &question.relevant_pages, &question.answer)
        else {
            continue;
        };
        let document: Accession = doc.parse().unwrap();
        let key = format!(
            "{answer} {}",
            question.justification.as_deref().unwrap_or_default()
        );
        for page in relevant.iter().take(1) {
            let text = pages::text(&given.corpus, &document, *page);
            let context = shown(&question.question, &text, CONTEXT_CHARS);
            let figures: Vec<String> = key_lines(&text, &key)
                .iter()
                .filter(|line| context.contains(*line))
                .flat_map(|line| line.split_whitespace())
                .map(|word| word.trim_matches(|c: char| !c.is_ascii_digit()).to_owned())
                .filter(|word| word.len() >= 5 && word.contains(','))
                .collect();
            if !figures.is_empty() {
                cases.push(Case {
                    company: question.company.clone().unwrap_or_default(),
                    question: question.question.clone(),
                    context,
                    figures,
                });
            }
        }
    }
    cases
}
