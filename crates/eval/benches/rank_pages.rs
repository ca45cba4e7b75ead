//! Which ranker finds the evidence among the pages of the right document, and how long does it take?
//!
//! `cargo bench --profile dev -p footnote-eval --bench rank_pages -- CORPUS MODEL.gguf [WHAT…] [retrieve] [N]` takes each
//! FinanceBench development question, or every Nth, the 20 best pages of its document by BM25 (with `retrieve`, as `retrieve`
//! finds them), and orders them by WHAT: `heads`, the attention of all heads and of the best ones, chosen on half of the
//! companies and measured on the other, over many halvings, alone and beside the order as found; `shipped`, the rankers that
//! come along; `together`, the attention to all pages in one prompt, the best last and the best first; `judges`, the likelihood
//! of the question and yes or no. It prints the table that `evals/results/compression.md` quotes, and the heads that all
//! questions choose.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a bench is a program whose output is its result, and fails by panicking"
)]

mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use footnote_agent::rank::passage::attention::{Paid, SHOWN_CHARS, paid, request};
use footnote_agent::rank::passage::{
    Choice, Judging, ModelJudge, Models, PassageRanker, beside, order, shown,
};
use footnote_agent::retrieve::Retriever;
use footnote_engine::{Attention, AttentionRequest, LanguageModel, LocalModel, LocalOptions};
use footnote_eval::metrics::{ndcg_linear, recall};
use footnote_eval::{difference, interval, read_page_questions};
use footnote_filings::Accession;
use pages::Given;

/// Pages that are ordered.
const CANDIDATES: usize = 20;
/// The layers that are read, and of their heads how many are chosen.
const LAYERS: usize = 14;
const HEADS: usize = 8;
/// What the rank as found may weigh beside the heads; which of these is chosen with them.
const WEIGHTS: [f32; 4] = [0.0, 0.2, 0.4, 0.6];
/// Halvings of the companies, whose results are averaged: one says more of the halving than of the heads.
const HALVINGS: u64 = 20;
/// Deviations below the mean at which a token's share counts as noise (in-context re-ranking).
const OUTLIER: f32 = 2.0;

struct Case {
    question: String,
    company: String,
    /// Best first as found.
    texts: Vec<String>,
    grades: Vec<u32>,
    relevant: usize,
}

/// What was seen of a question's pages, by head and page.
struct Seen {
    paid: Vec<Vec<Paid>>,
    /// In-context re-ranking's sum over a page's tokens.
    summed: Vec<Vec<f32>>,
}

/// A line of the table: nDCG@10 and recall@5 of each question, and seconds a question.
struct Row {
    name: String,
    measured: Vec<(f64, f64)>,
    seconds: f64,
}

impl Case {
    /// nDCG@10 and recall@5 with everything relevant counted, also what is not among the candidates.
    fn measure(&self, ranking: &[usize]) -> (f64, f64) {
        let mut grades = self.grades.clone();
        let missing = self.relevant - grades.iter().filter(|grade| **grade > 0).count();
        grades.extend(std::iter::repeat_n(1, missing));
        let mut whole = ranking.to_vec();
        whole.extend(self.grades.len()..grades.len());
        (ndcg_linear(&grades, &whole, 10), recall(&grades, &whole, 5))
    }

    fn texts(&self) -> Vec<&str> {
        self.texts.iter().map(String::as_str).collect()
    }
}

fn main() {
    let Some(given) = pages::given("rank_pages") else {
        return;
    };
    let asked = |word: &str| given.words.iter().any(|other| other == word);
    let every = given.words.iter().find_map(|word| word.parse().ok());
    let cases: Vec<Case> = cases(&given, asked("retrieve"))
        .into_iter()
        .step_by(every.unwrap_or(1_usize).max(1))
        .collect();
    eprintln!("{} questions", cases.len());
    let model = Arc::new(LocalModel::open(&given.model, LocalOptions::default()).unwrap());
    let heads: Vec<(usize, usize)> = (0..LAYERS.min(model.config().layers))
        .flat_map(|layer| (0..model.config().heads).map(move |head| (layer, head)))
        .collect();
    let model: Arc<dyn LanguageModel> = model;

    let found = |case: &Case| (0..case.texts.len()).collect::<Vec<usize>>();
    let mut rows = vec![row("as found", &cases, |case| found(case))];
    if asked("heads") {
        by_attention(&*model, &cases, &heads, &mut rows);
    }
    if asked("shipped") {
        let models = Models {
            language: Some(Arc::clone(&model)),
            embedder: None,
        };
        for name in ["attention", "attention-bm25"] {
            let ranker = Choice::parse(name).unwrap().build(&models).unwrap();
            rows.push(row(&format!("`{name}`"), &cases, |case| {
                order(&ranker.scores(&case.question, &case.texts()).unwrap())
            }));
        }
    }
    if asked("together") {
        for (name, best_last) in [
            ("all heads, one prompt, best last", true),
            ("all heads, one prompt, best first", false),
        ] {
            rows.push(row(name, &cases, |case| together(&*model, case, best_last)));
        }
    }
    if asked("judges") {
        for (name, judging) in [
            ("likelihood", Judging::Likelihood),
            ("yes or no", Judging::YesNo),
        ] {
            let judge = ModelJudge::new(Arc::clone(&model), judging);
            rows.push(row(name, &cases, |case| {
                order(&judge.scores(&case.question, &case.texts()).unwrap())
            }));
        }
    }
    print(&cases, &rows);
}

fn row(name: &str, cases: &[Case], by: impl Fn(&Case) -> Vec<usize>) -> Row {
    let begun = Instant::now();
    let measured = cases.iter().map(|case| case.measure(&by(case))).collect();
    Row {
        name: name.to_owned(),
        measured,
        seconds: begun.elapsed().as_secs_f64() / cases.len() as f64,
    }
}

fn by_attention(
    model: &dyn LanguageModel,
    cases: &[Case],
    heads: &[(usize, usize)],
    rows: &mut Vec<Row>,
) {
    let begun = Instant::now();
    let seen: Vec<Seen> = cases.iter().map(|case| see(model, case, heads)).collect();
    let seconds = begun.elapsed().as_secs_f64() / cases.len() as f64;
    let of_all = |by: &dyn Fn(&Seen, usize, usize) -> f32| {
        let score = |seen: &Seen, page: usize| -> f32 {
            (0..heads.len()).map(|head| by(seen, head, page)).sum()
        };
        let order = |seen: &Seen| {
            let pages = 0..seen.summed[0].len();
            let scores: Vec<f32> = pages.map(|page| score(seen, page)).collect();
            order(&scores)
        };
        cases
            .iter()
            .zip(&seen)
            .map(|(case, seen)| case.measure(&order(seen)))
            .collect()
    };
    rows.push(Row {
        name: "all heads, all tokens (ICR)".to_owned(),
        measured: of_all(&|seen, head, page| seen.summed[head][page]),
        seconds,
    });
    rows.push(Row {
        name: "all heads, best lines".to_owned(),
        measured: of_all(&|seen, head, page| seen.paid[head][page].lines),
        seconds,
    });
    for (name, weights) in [
        ("chosen heads, the other half's", &WEIGHTS[..1]),
        ("chosen heads and the rank as found", &WEIGHTS[..]),
    ] {
        rows.push(Row {
            name: name.to_owned(),
            measured: halved(cases, &seen, heads.len(), weights),
            seconds,
        });
    }
    let all: Vec<usize> = (0..cases.len()).collect();
    let loud = loudness(&seen, &all, heads.len());
    let mut chosen = choose(cases, &seen, &all, &loud);
    chosen.sort_unstable();
    for head in &chosen {
        let ((layer, number), loud) = (heads[*head], loud[*head]);
        println!("({layer}, {number}, {loud:.3}),");
    }
}

/// What every head pays every page.
fn see(model: &dyn LanguageModel, case: &Case, heads: &[(usize, usize)]) -> Seen {
    let mut seen = Seen {
        paid: vec![Vec::new(); heads.len()],
        summed: vec![Vec::new(); heads.len()],
    };
    for text in &case.texts {
        let part = shown(&case.question, text, SHOWN_CHARS);
        let request = request(&case.question, &part, Some(heads.to_vec()));
        let attention = model.attend(&request).unwrap();
        assert_eq!(attention.heads, heads);
        let page = attention.parts[0].end..attention.parts.last().unwrap().end;
        for row in 0..heads.len() {
            seen.paid[row].push(paid(&attention, row));
            seen.summed[row].push(summed(&attention, row, &page));
        }
    }
    seen
}

/// The question's shares less those of no question, summed over a page's tokens without outliers.
fn summed(seen: &Attention, row: usize, page: &Range<usize>) -> f32 {
    let (asked, not_asked) = (&seen.shares[0][row], &seen.shares[1][row]);
    let both = asked[page.clone()].iter().zip(&not_asked[page.clone()]);
    let paid: Vec<f32> = both.map(|(asked, not_asked)| asked - not_asked).collect();
    let count = paid.len().max(1) as f32;
    let mean = paid.iter().sum::<f32>() / count;
    let deviation = (paid.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / count).sqrt();
    let kept = paid.iter().filter(|x| **x >= mean - OUTLIER * deviation);
    kept.sum()
}

/// In-context re-ranking as published: all pages in one prompt, the best last, near the question, or first.
fn together(model: &dyn LanguageModel, case: &Case, best_last: bool) -> Vec<usize> {
    let mut at: Vec<usize> = (0..case.texts.len()).collect();
    if best_last {
        at.reverse();
    }
    let part = |page: &usize| {
        let text = shown(&case.question, &case.texts[*page], SHOWN_CHARS);
        format!("{}\n\n", text.trim())
    };
    let first = std::iter::once("Here are passages of a company's filings.\n\n".to_owned());
    let seen = model
        .attend(&AttentionRequest {
            parts: first.chain(at.iter().map(part)).collect(),
            ..request(&case.question, "", None)
        })
        .unwrap();
    let mut scores = vec![0.0; at.len()];
    for (page, tokens) in at.iter().zip(&seen.parts[1..]) {
        scores[*page] = (0..seen.heads.len())
            .map(|row| summed(&seen, row, tokens))
            .sum();
    }
    order(&scores)
}

/// Each question by heads, and a weight of the rank as found, that its company had no part in choosing: the mean over halvings.
fn halved(cases: &[Case], seen: &[Seen], heads: usize, weights: &[f32]) -> Vec<(f64, f64)> {
    let companies: BTreeSet<&str> = cases.iter().map(|case| case.company.as_str()).collect();
    let mut sums = vec![(0.0, 0.0); cases.len()];
    for halving in 0..HALVINGS {
        let mut drawn: Vec<(u64, &str)> = companies
            .iter()
            .map(|company| {
                let mut hasher = DefaultHasher::new();
                (halving, company).hash(&mut hasher);
                (hasher.finish(), *company)
            })
            .collect();
        drawn.sort_unstable();
        let first: BTreeSet<&str> = drawn
            .iter()
            .take(drawn.len() / 2)
            .map(|(_, company)| *company)
            .collect();
        let (one, other): (Vec<usize>, Vec<usize>) =
            (0..cases.len()).partition(|at| first.contains(cases[*at].company.as_str()));
        let mut of_halving = 0.0;
        for (choosing, measured) in [(&one, &other), (&other, &one)] {
            let loud = loudness(seen, choosing, heads);
            let chosen = choose(cases, seen, choosing, &loud);
            let measure = |at: &usize, weight: f32| {
                cases[*at].measure(&ordered(&seen[*at], &chosen, &loud, weight))
            };
            let on_choosing =
                |weight: f32| -> f64 { choosing.iter().map(|at| measure(at, weight).0).sum() };
            let weight = weights
                .iter()
                .copied()
                .max_by(|a, b| on_choosing(*a).total_cmp(&on_choosing(*b)))
                .unwrap_or(0.0);
            for at in measured {
                let (ndcg, recalled) = measure(at, weight);
                sums[*at].0 += ndcg / HALVINGS as f64;
                sums[*at].1 += recalled / HALVINGS as f64;
                of_halving += ndcg / cases.len() as f64;
            }
        }
        eprintln!("halving {halving}: nDCG@10 {of_halving:.3}");
    }
    sums
}

/// What each head pays the pages of a question altogether: the mean over questions.
fn loudness(seen: &[Seen], of: &[usize], heads: usize) -> Vec<f32> {
    (0..heads)
        .map(|head| {
            let all = of.iter().flat_map(|at| &seen[*at].paid[head]);
            let sum: f32 = all.map(|paid| paid.tokens.abs()).sum();
            (sum / of.len() as f32).max(f32::MIN_POSITIVE)
        })
        .collect()
}

fn ordered(seen: &Seen, chosen: &[usize], loud: &[f32], weight: f32) -> Vec<usize> {
    let score = |page: usize| {
        let by = |head: &usize| seen.paid[*head][page].tokens / loud[*head];
        chosen.iter().map(by).sum::<f32>()
    };
    let as_found: Vec<usize> = (0..seen.summed[0].len()).collect();
    let scores: Vec<f32> = as_found.iter().map(|page| score(*page)).collect();
    order(&beside(&scores, &as_found, weight))
}

/// The heads that order the pages of these questions best by themselves.
fn choose(cases: &[Case], seen: &[Seen], of: &[usize], loud: &[f32]) -> Vec<usize> {
    let mut alone: Vec<(f64, usize)> = (0..loud.len())
        .map(|head| {
            let order = |at: &usize| ordered(&seen[*at], &[head], loud, 0.0);
            let ndcg = |at: &usize| cases[*at].measure(&order(at)).0;
            (of.iter().map(ndcg).sum(), head)
        })
        .collect();
    alone.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    alone.iter().take(HEADS).map(|(_, head)| *head).collect()
}

fn print(cases: &[Case], rows: &[Row]) {
    let clusters: Vec<Option<&str>> = cases.iter().map(|c| Some(c.company.as_str())).collect();
    println!(
        "| ranker | nDCG@10 | interval | less as found | p | recall@5 | interval | s a question |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let split = |row: &Row| -> (Vec<f64>, Vec<f64>) { row.measured.iter().copied().unzip() };
    let base = split(&rows[0]).0;
    for row in rows {
        let (ndcg, recalled) = split(row);
        let (n, r) = (interval(&ndcg, &clusters), interval(&recalled, &clusters));
        let less = difference(&ndcg, &base, &clusters);
        println!(
            "| {} | {:.3} | {:.3} to {:.3} | {:+.3} ({:+.3} to {:+.3}) | {:.3} | {:.3} | {:.3} to {:.3} | {:.1} |",
            row.name,
            n.mean,
            n.ci95[0],
            n.ci95[1],
            less.mean,
            less.ci95[0],
            less.ci95[1],
            less.p,
            r.mean,
            r.ci95[0],
            r.ci95[1],
            row.seconds
        );
    }
}

fn cases(given: &Given, by_retrieve: bool) -> Vec<Case> {
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    let mut cases = Vec::new();
    for question in read_page_questions(&given.questions).unwrap() {
        let question = question.unwrap();
        let (Some(doc), Some(relevant)) = (&question.doc, &question.relevant_pages) else {
            *skipped.entry("no key").or_default() += 1;
            continue;
        };
        let document: Accession = doc.parse().unwrap();
        let found: Vec<u32> = if by_retrieve {
            let retriever = Retriever::new(&given.corpus, &pages::only(&document)).unwrap();
            let hits = retriever.pages(&question.question, CANDIDATES).unwrap();
            hits.iter().map(|hit| hit.page).collect()
        } else {
            pages::best_pages(&given.corpus, &document, &question.question, CANDIDATES)
        };
        if found.is_empty() {
            *skipped.entry("no page found").or_default() += 1;
            continue;
        }
        cases.push(Case {
            grades: found
                .iter()
                .map(|page| u32::from(relevant.contains(page)))
                .collect(),
            relevant: relevant.len(),
            company: question.company.clone().unwrap_or_default(),
            texts: found
                .iter()
                .map(|page| pages::text(&given.corpus, &document, *page))
                .collect(),
            question: question.question,
        });
    }
    eprintln!("left out: {skipped:?}");
    cases
}
