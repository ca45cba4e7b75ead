//! How much evidence does a compression keep, and how long does finding it take?
//!
//! `cargo bench --profile dev -p footnote-eval --bench evidence -- CORPUS DRAFT.gguf [KEEP]` takes FinanceBench's development
//! questions, puts a thousand characters of each of the 30 best pages of the right document by BM25 into one prompt, in the
//! document's order, and counts what stays of the lines that the answer rests on: by SpecPC's rule, by heads chosen on the
//! other half of the companies, by BM25 chunks, and by what must lose. What the draft saw is kept in KEEP, if named, so that a
//! second run only counts. It prints the tables that `evals/results/compression.md` quotes.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a bench is a program whose output is its result, and fails by panicking"
)]

mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use footnote_agent::rank::passage::shown;
use footnote_engine::compress::{
    Asked, CompressionPolicy, Draft, HeadRow, Selection, WINDOW, compress, ranges_of, select,
};
use footnote_engine::{Heads, LoadedModel, Message, Prompt, Role};
use footnote_eval::evidence::{Choosing, SeenPrompt, choose, halves, key_lines, scales};
use footnote_eval::{difference, interval, read_page_questions};
use footnote_filings::Accession;
use pages::Given;

/// Pages of a prompt, and characters of each.
const PAGES: usize = 30;
const PAGE_CHARS: usize = 1_000;
/// Of how many cases SpecPC is measured on one.
const SPECPC_EVERY: usize = 2;
const BUDGETS: [usize; 2] = [1_024, 2_048];
/// The early exits that are compared: all layers of the draft, and the first of them.
const LAYERS: [usize; 3] = [24, 17, 14];

struct Case {
    id: String,
    company: String,
    tokens: Vec<u32>,
    focus: Range<usize>,
    lines: Vec<Range<usize>>,
}

/// Tokens of a prompt, the heads, and by budget what SpecPC keeps: what is kept of a case beside its scores.
type Kept = (usize, Vec<(usize, usize)>, Option<Vec<Vec<usize>>>);

/// What the draft saw of a case.
struct Seen {
    rows: Vec<HeadRow>,
    /// By budget, what SpecPC keeps; of every second case, since it reads all layers and looks at everything.
    specpc: Option<Vec<Vec<usize>>>,
}

fn main() {
    let Some(given) = pages::given("evidence") else {
        return;
    };
    let draft = Draft::new(LoadedModel::open(&given.model, None).unwrap(), None).unwrap();
    let cases = cases(&given, &draft);
    let lengths: Vec<usize> = cases.iter().map(|case| case.tokens.len()).collect();
    eprintln!(
        "{} prompts of {} to {} tokens",
        cases.len(),
        lengths.iter().min().unwrap(),
        lengths.iter().max().unwrap()
    );
    let keep = given.words.first().map(PathBuf::from);
    let seen: Vec<Seen> = cases
        .iter()
        .enumerate()
        .map(|(at, case)| see(case, &draft, at % SPECPC_EVERY == 0, keep.as_deref()))
        .collect();
    report(&cases, &seen, &draft);
}

fn report(cases: &[Case], seen: &[Seen], draft: &Draft) {
    let rows: Vec<Vec<HeadRow>> = seen.iter().map(|seen| seen.rows.clone()).collect();
    let scales = scales(&rows);
    let names: Vec<(usize, usize)> = rows[0].iter().map(|(head, _)| *head).collect();
    let prompts: Vec<SeenPrompt> = cases
        .iter()
        .zip(&rows)
        .map(|(case, rows)| {
            let evidence: BTreeSet<usize> = case.lines.iter().cloned().flatten().collect();
            let company = case.company.clone();
            SeenPrompt::new(
                company,
                rows,
                &scales,
                &case.tokens,
                draft.tokenizer(),
                &evidence,
            )
        })
        .collect();
    let clusters: Vec<Option<&str>> = cases.iter().map(|c| Some(c.company.as_str())).collect();
    let halves = halves(&prompts);
    println!(
        "| policy | C | questions | key lines kept | interval | less bm25 | p | all key lines kept |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (at, budget) in BUDGETS.iter().enumerate() {
        let by = |policy: CompressionPolicy| -> Vec<Vec<usize>> {
            let kept = |case: &Case| {
                compress(policy, &case.asked(), draft.tokenizer(), None)
                    .unwrap()
                    .kept
            };
            cases.iter().map(kept).collect()
        };
        let bm25 = by(CompressionPolicy::Bm25(*budget));
        let every: Vec<usize> = (0..cases.len()).collect();
        let with_specpc: Vec<usize> = every
            .iter()
            .copied()
            .filter(|case| seen[*case].specpc.is_some())
            .collect();
        let by_specpc = with_specpc
            .iter()
            .filter_map(|case| seen[*case].specpc.as_ref())
            .map(|kept| kept[at].clone());
        let mut table: Vec<(String, Vec<Vec<usize>>)> = vec![
            ("bm25".to_owned(), bm25.clone()),
            (
                "truncate".to_owned(),
                by(CompressionPolicy::Truncate(*budget)),
            ),
            ("random".to_owned(), by(CompressionPolicy::Random(*budget))),
        ];
        for layers in LAYERS {
            let choosing = Choosing {
                budgets: BUDGETS.to_vec(),
                a_round: 1,
                most: 8,
                layers,
            };
            let mut kept: Vec<Vec<usize>> = vec![Vec::new(); cases.len()];
            for (train, test) in [(&halves.0, &halves.1), (&halves.1, &halves.0)] {
                let some: Vec<SeenPrompt> = train.iter().map(|at| prompts[*at].clone()).collect();
                let heads = choose(&some, &names, &choosing, &|| {}).heads;
                if at == 0 {
                    let heads: Vec<(usize, usize)> = heads.iter().map(|h| names[*h]).collect();
                    eprintln!("first {layers} layers, one half chooses {heads:?}");
                }
                for case in test {
                    kept[*case] =
                        by_heads(&cases[*case], &rows[*case], &scales, &heads, *budget, draft);
                }
            }
            table.push((format!("chosen heads, first {layers} layers"), kept));
        }
        let line = |name: &str, of: &[usize], kept: &[Vec<usize>]| {
            let some: Vec<&Case> = of.iter().map(|case| &cases[*case]).collect();
            let rival: Vec<Vec<usize>> = of.iter().map(|case| bm25[*case].clone()).collect();
            let clusters: Vec<Option<&str>> = of.iter().map(|case| clusters[*case]).collect();
            let base = shares(&some, &rival).0;
            let (share, whole) = shares(&some, kept);
            let mean = interval(&share, &clusters);
            let less = difference(&share, &base, &clusters);
            println!(
                "| {name} | {budget} | {} | {:.3} | {:.3} to {:.3} | {:+.3} ({:+.3} to {:+.3}) | {:.3} | {:.3} |",
                of.len(),
                mean.mean,
                mean.ci95[0],
                mean.ci95[1],
                less.mean,
                less.ci95[0],
                less.ci95[1],
                less.p,
                whole.iter().sum::<f64>() / whole.len() as f64
            );
        };
        for (name, kept) in &table {
            line(name, &every, kept);
        }
        let kept: Vec<Vec<usize>> = by_specpc.collect();
        line("specpc", &with_specpc, &kept);
        if let Some((name, last)) = table.last() {
            let kept: Vec<Vec<usize>> = with_specpc.iter().map(|c| last[*c].clone()).collect();
            line(&format!("{name}, the same questions"), &with_specpc, &kept);
        }
    }
    for layers in LAYERS {
        let choosing = Choosing {
            budgets: BUDGETS.to_vec(),
            a_round: 1,
            most: 8,
            layers,
        };
        let chosen = choose(&prompts, &names, &choosing, &|| {});
        println!(
            "\nheads chosen on all prompts, first {layers} layers; held-out recall by number {:?}",
            chosen.held_out
        );
        for head in chosen.heads {
            let (layer, number) = names[head];
            println!(
                "[[heads]]\nlayer = {layer}\nhead = {number}\nscale = {}",
                scales[head]
            );
        }
    }
}

/// By question, the share of key tokens kept, and whether every key line is kept whole.
fn shares(cases: &[&Case], kept: &[Vec<usize>]) -> (Vec<f64>, Vec<f64>) {
    cases
        .iter()
        .zip(kept)
        .map(|(case, kept)| {
            let stays = |at: &usize| kept.binary_search(at).is_ok();
            let key: BTreeSet<usize> = case.lines.iter().cloned().flatten().collect();
            let share = key.iter().filter(|at| stays(at)).count() as f64 / key.len() as f64;
            (share, f64::from(u8::from(key.iter().all(stays))))
        })
        .unzip()
}

fn by_heads(
    case: &Case,
    rows: &[HeadRow],
    scales: &[f32],
    heads: &[usize],
    budget: usize,
    draft: &Draft,
) -> Vec<usize> {
    let mut scores = vec![0.0_f32; case.tokens.len()];
    for head in heads {
        for (score, paid) in scores.iter_mut().zip(&rows[*head].1) {
            *score += paid / scales[*head];
        }
    }
    let ends = footnote_engine::compress::pieces(&case.tokens, draft.tokenizer());
    let window = WINDOW.max(case.tokens.len() - case.focus.start);
    footnote_engine::compress::select_pieces(&scores, &ends, budget, window, &[]).unwrap()
}

impl Case {
    fn asked(&self) -> Asked<'_> {
        Asked {
            tokens: &self.tokens,
            protected: &[],
            focus: self.focus.clone(),
            window: WINDOW.max(self.tokens.len() - self.focus.start),
        }
    }
}

/// What the draft sees of a case, kept in a folder: names and selections as JSON, scores as f32.
fn see(case: &Case, draft: &Draft, specpc: bool, keep: Option<&Path>) -> Seen {
    let file = |ending: &str| keep.map(|folder| folder.join(format!("{}.{ending}", case.id)));
    let read = |ending: &str| file(ending).and_then(|file| std::fs::read(file).ok());
    if let (Some(names), Some(scores)) = (read("json"), read("f32")) {
        let (tokens, names, specpc): Kept = serde_json::from_slice(&names).unwrap();
        assert_eq!(
            tokens,
            case.tokens.len(),
            "{} was kept of another prompt",
            case.id
        );
        let scores: Vec<f32> = scores
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        let rows = scores.chunks_exact(case.focus.start).map(<[f32]>::to_vec);
        let rows = names.into_iter().zip(rows).collect();
        return Seen { rows, specpc };
    }
    let begun = Instant::now();
    let rows = draft
        .differences(&case.tokens, &case.focus, Heads::From(0))
        .unwrap();
    let of_heads = begun.elapsed().as_secs_f64();
    let window = case.asked().window;
    let specpc = specpc.then(|| {
        let scores = draft.specpc(&case.tokens, window).unwrap();
        let by = |budget: &usize| {
            let selection = Selection {
                budget: *budget,
                window,
                kernel: draft.reach(),
                neighbours: draft.reach(),
            };
            select(&scores, &selection, &[]).unwrap()
        };
        BUDGETS.iter().map(by).collect::<Vec<_>>()
    });
    eprintln!(
        "{}: {} tokens, every head {of_heads:.1} s, then SpecPC {:.1} s",
        case.id,
        case.tokens.len(),
        begun.elapsed().as_secs_f64() - of_heads
    );
    if let (Some(names), Some(scores)) = (file("json"), file("f32")) {
        std::fs::create_dir_all(keep.unwrap()).unwrap();
        let heads: Vec<(usize, usize)> = rows.iter().map(|(head, _)| *head).collect();
        let bytes: Vec<u8> = rows
            .iter()
            .flat_map(|(_, row)| row)
            .flat_map(|x| x.to_le_bytes())
            .collect();
        std::fs::write(scores, bytes).unwrap();
        let seen = serde_json::to_string(&(case.tokens.len(), heads, &specpc)).unwrap();
        std::fs::write(names, seen).unwrap();
    }
    Seen { rows, specpc }
}

fn cases(given: &Given, draft: &Draft) -> Vec<Case> {
    let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
    let mut cases = Vec::new();
    for question in read_page_questions(&given.questions).unwrap() {
        let question = question.unwrap();
        let (Some(doc), Some(relevant), Some(answer)) =
            (&question.doc, &question.relevant_pages, &question.answer)
        else {
            *left_out.entry("no key").or_default() += 1;
            continue;
        };
        let document: Accession = doc.parse().unwrap();
        let mut pages = pages::best_pages(&given.corpus, &document, &question.question, PAGES);
        pages.sort_unstable();
        if !pages.iter().any(|page| relevant.contains(page)) {
            *left_out.entry("evidence not among the pages").or_default() += 1;
            continue;
        }
        let key = format!(
            "{answer} {}",
            question.justification.as_deref().unwrap_or_default()
        );
        let mut prompt = "Here are passages of a company's filings.\n\n".to_owned();
        let mut lines: Vec<String> = Vec::new();
        for page in pages {
            let text = pages::text(&given.corpus, &document, page);
            let mut part = shown(&question.question, &text, PAGE_CHARS);
            if relevant.contains(&page) {
                let key = key_lines(&text, &key);
                // Where the part nearest to the question does not hold them, the part around the first of them does: a
                // compression is measured, not the choice of the part.
                if !key.iter().any(|line| part.contains(line))
                    && let Some(first) = key.first().and_then(|line| text.find(line))
                {
                    part = around(&text, first);
                }
                lines.extend(
                    key.into_iter()
                        .filter(|line| part.contains(line))
                        .map(str::to_owned),
                );
            }
            prompt.push_str(&format!("[{page}] {part}\n\n"));
        }
        prompt.push_str(&format!(
            "Find the passages that help to answer the question.\n\nQuestion: {}",
            question.question
        ));
        let tokens = draft
            .encode(&Prompt::Chat(vec![Message::new(Role::User, prompt)]))
            .unwrap();
        let of = |texts: &[String]| ranges_of(&tokens, draft.tokenizer(), texts);
        let (lines, focus) = (of(&lines), of(std::slice::from_ref(&question.question)));
        let Some(focus) = focus.last().cloned().filter(|_| !lines.is_empty()) else {
            *left_out
                .entry("no line of the pages holds the key")
                .or_default() += 1;
            continue;
        };
        // What the question itself says is no evidence.
        let lines: Vec<_> = lines
            .into_iter()
            .filter(|line| line.end <= focus.start)
            .collect();
        cases.push(Case {
            id: question.id,
            company: question.company.unwrap_or_default(),
            tokens,
            focus,
            lines,
        });
    }
    eprintln!("left out: {left_out:?}");
    cases
}

/// A part of a text of [`PAGE_CHARS`] around a place.
fn around(text: &str, at: usize) -> String {
    let floor = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(at.saturating_sub(PAGE_CHARS / 3));
    text[start..floor((start + PAGE_CHARS).min(text.len()))].to_owned()
}
