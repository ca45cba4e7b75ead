//! Which ranker finds the evidence among the pages of the right document, and how long does it take?
//!
//! `cargo bench --profile dev -p footnote-eval --bench rank_pages -- CORPUS MODEL.gguf [judges] [order] [N]` takes each FinanceBench
//! development question, or every Nth, its document's 20 best pages by BM25, and orders them: as BM25 does, by the attention of all heads
//! and of chosen ones (chosen on half of the companies, measured on the other), and with `judges` by the likelihood of the
//! question and by yes or no. It prints the table that `evals/results/compression.md` quotes.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a bench is a program whose output is its result, and fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use footnote_agent::rank::passage::attention::{SHOWN_CHARS, joined, relevance, request};
use footnote_agent::rank::passage::{Judging, ModelJudge, PassageRanker, order, shown};
use footnote_engine::{Attention, LanguageModel, LocalModel, LocalOptions};
use footnote_eval::metrics::{ndcg_linear, recall};
use footnote_eval::{difference, interval, read_page_questions};
use footnote_filings::Accession;
use footnote_index::{Corpus, Filter, SearchBackend, SearchQuery};

/// Pages that are ordered.
const CANDIDATES: usize = 20;
/// The most heads that are chosen.
const HEADS_MAX: usize = 8;
/// The heads that a choice is made among: the best by themselves.
const POOL: usize = 64;

struct Case {
    question: String,
    company: String,
    /// Best by BM25 first.
    texts: Vec<String>,
    grades: Vec<u32>,
    relevant: usize,
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
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let (Some(corpus), Some(model)) = (arguments.first(), arguments.get(1)) else {
        footnote_testkit::skip("rank_pages", "name a corpus folder and a model file");
        return;
    };
    let Some(questions) = footnote_testkit::shared("data/financebench/questions_dev.jsonl") else {
        footnote_testkit::skip(
            "rank_pages",
            "no FinanceBench questions beside the checkout",
        );
        return;
    };
    let corpus = Corpus::open(&PathBuf::from(corpus)).unwrap();
    let every = arguments
        .iter()
        .find_map(|argument| argument.parse::<usize>().ok());
    let cases: Vec<Case> = cases(&corpus, &questions)
        .into_iter()
        .step_by(every.unwrap_or(1).max(1))
        .collect();
    eprintln!("{} questions", cases.len());
    let model: Arc<dyn LanguageModel> =
        Arc::new(LocalModel::open(&PathBuf::from(model), LocalOptions::default()).unwrap());
    let clusters: Vec<Option<&str>> = cases
        .iter()
        .map(|case| Some(case.company.as_str()))
        .collect();

    let bm25: Vec<Vec<usize>> = cases
        .iter()
        .map(|case| (0..case.texts.len()).collect())
        .collect();
    let begun = Instant::now();
    let seen: Vec<Attention> = cases
        .iter()
        .map(|case| read(&*model, case, false))
        .collect();
    let attention_s = begun.elapsed().as_secs_f64() / cases.len() as f64;
    let heads = seen[0].heads.clone();
    let by_head: Vec<Vec<Vec<f32>>> = seen
        .iter()
        .map(|seen| (0..heads.len()).map(|row| relevance(seen, row)).collect())
        .collect();
    let all_of = |scores: &[Vec<f32>], keep: &dyn Fn(usize) -> bool| -> Vec<f32> {
        let mut sum = vec![0.0; scores[0].len()];
        for (_, scores) in scores.iter().enumerate().filter(|(row, _)| keep(*row)) {
            sum.iter_mut()
                .zip(scores)
                .for_each(|(sum, score)| *sum += score);
        }
        sum
    };
    let layers = heads.iter().map(|(layer, _)| layer + 1).max().unwrap_or(1);
    let middle = |row: usize| (layers / 2..layers * 5 / 6).contains(&heads[row].0);
    let mut rows: Vec<(String, Vec<Vec<usize>>, f64)> = vec![("BM25".to_owned(), bm25, 0.0)];
    rows.push((
        "attention, all heads".to_owned(),
        by_head
            .iter()
            .map(|scores| order(&all_of(scores, &|_| true)))
            .collect(),
        attention_s,
    ));
    rows.push((
        format!("attention, layers {} to {}", layers / 2, layers * 5 / 6 - 1),
        by_head
            .iter()
            .map(|scores| order(&all_of(scores, &middle)))
            .collect(),
        attention_s,
    ));
    // Two halves of the companies: what is chosen on one is measured on the other.
    let mut chosen_orders: Vec<Vec<usize>> = vec![Vec::new(); cases.len()];
    let half = |case: &Case| case.company.bytes().map(usize::from).sum::<usize>() % 2;
    for side in 0..2 {
        let train: Vec<usize> = (0..cases.len())
            .filter(|at| half(&cases[*at]) != side)
            .collect();
        let chosen = choose(&cases, &seen, &train, heads.len());
        println!(
            "chosen on half {}: {:?}",
            1 - side,
            chosen.iter().map(|row| heads[*row]).collect::<Vec<_>>()
        );
        for at in (0..cases.len()).filter(|at| half(&cases[*at]) == side) {
            chosen_orders[at] = order(&joined(&seen[at], &chosen));
        }
    }
    rows.push((
        "attention, chosen heads (other half)".to_owned(),
        chosen_orders,
        attention_s,
    ));
    let asked = |word: &str| arguments.iter().any(|argument| argument == word);
    if asked("order") {
        // The same passages the other way round: does their place in the prompt decide?
        let reversed = cases
            .iter()
            .map(|case| {
                let seen = read(&*model, case, true);
                let scores: Vec<Vec<f32>> =
                    (0..heads.len()).map(|row| relevance(&seen, row)).collect();
                order(&all_of(&scores, &|_| true))
            })
            .collect();
        rows.push((
            "attention, all heads, best first".to_owned(),
            reversed,
            attention_s,
        ));
    }
    if asked("judges") {
        for (name, judging) in [
            ("likelihood", Judging::Likelihood),
            ("yes or no", Judging::YesNo),
        ] {
            let judge = ModelJudge::new(Arc::clone(&model), judging);
            let begun = Instant::now();
            let orders = cases
                .iter()
                .map(|case| {
                    let texts: Vec<&str> = case.texts.iter().map(String::as_str).collect();
                    order(&judge.scores(&case.question, &texts).unwrap())
                })
                .collect();
            rows.push((
                name.to_owned(),
                orders,
                begun.elapsed().as_secs_f64() / cases.len() as f64,
            ));
        }
    }
    println!(
        "| ranker | nDCG@10 | interval | less BM25 | p | recall@5 | interval | s a question |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let measured = |orders: &[Vec<usize>]| -> (Vec<f64>, Vec<f64>) {
        cases
            .iter()
            .zip(orders)
            .map(|(case, order)| case.measure(order))
            .unzip()
    };
    let base = measured(&rows[0].1).0;
    for (name, orders, seconds) in &rows {
        let (ndcg, recalled) = measured(orders);
        let (n, r) = (interval(&ndcg, &clusters), interval(&recalled, &clusters));
        let less = difference(&ndcg, &base, &clusters);
        println!(
            "| {name} | {:.3} | {:.3} to {:.3} | {:+.3} ({:+.3} to {:+.3}) | {:.3} | {:.3} | {:.3} to {:.3} | {seconds:.1} |",
            n.mean,
            n.ci95[0],
            n.ci95[1],
            less.mean,
            less.ci95[0],
            less.ci95[1],
            less.p,
            r.mean,
            r.ci95[0],
            r.ci95[1]
        );
    }
}

/// The prompt's order: the best last, near the question, or first. Gives scores in the order of BM25.
fn read(model: &dyn LanguageModel, case: &Case, best_first: bool) -> Attention {
    let mut texts: Vec<&str> = case.texts.iter().map(String::as_str).collect();
    if !best_first {
        texts.reverse();
    }
    let mut seen = model
        .attend(&request(&case.question, &texts, None, true))
        .unwrap();
    if !best_first {
        seen.parts[1..].reverse();
    }
    seen
}

/// Greedy forward selection by nDCG@10 over the training cases, until nothing is gained.
fn choose(cases: &[Case], seen: &[Attention], train: &[usize], heads: usize) -> Vec<usize> {
    let quality = |rows: &[usize]| {
        let sum: f64 = train
            .iter()
            .map(|at| cases[*at].measure(&order(&joined(&seen[*at], rows))).0)
            .sum();
        sum / train.len() as f64
    };
    let mut alone: Vec<(usize, f64)> = (0..heads).map(|row| (row, quality(&[row]))).collect();
    alone.sort_by(|a, b| b.1.total_cmp(&a.1));
    let pool: Vec<usize> = alone.iter().take(POOL).map(|(row, _)| *row).collect();
    let (mut chosen, mut best): (Vec<usize>, f64) = (Vec::new(), 0.0);
    while chosen.len() < HEADS_MAX {
        let with = |row: usize| {
            let mut rows = chosen.clone();
            rows.push(row);
            (row, quality(&rows))
        };
        let next = pool
            .iter()
            .filter(|row| !chosen.contains(row))
            .map(|row| with(*row))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        match next {
            // Less than this is noise of thirty questions.
            Some((row, quality)) if quality > best + 0.005 => {
                chosen.push(row);
                best = quality;
            }
            _ => break,
        }
    }
    chosen
}

fn cases(corpus: &Corpus, questions: &std::path::Path) -> Vec<Case> {
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    let mut cases = Vec::new();
    for question in read_page_questions(questions).unwrap() {
        let question = question.unwrap();
        let (Some(doc), Some(relevant)) = (&question.doc, &question.relevant_pages) else {
            *skipped.entry("no key").or_default() += 1;
            continue;
        };
        let accession: Accession = doc.parse().unwrap();
        let query = SearchQuery {
            text: question.question.clone(),
            filter: Filter {
                accessions: vec![accession.clone()],
                ..Filter::default()
            },
            limit: CANDIDATES,
            ..SearchQuery::default()
        };
        let hits = corpus.search_pages(&query).unwrap();
        if hits.is_empty() {
            *skipped.entry("no page found").or_default() += 1;
            continue;
        }
        let mut texts = Vec::new();
        for hit in &hits {
            let passages = corpus.page_passages(&accession, hit.page).unwrap();
            let text: Vec<&str> = passages
                .iter()
                .map(|passage| passage.text.as_str())
                .collect();
            texts.push(shown(&question.question, &text.join("\n"), SHOWN_CHARS));
        }
        cases.push(Case {
            grades: hits
                .iter()
                .map(|hit| u32::from(relevant.contains(&hit.page)))
                .collect(),
            relevant: relevant.len(),
            company: question.company.clone().unwrap_or_default(),
            question: question.question,
            texts,
        });
    }
    eprintln!("left out: {skipped:?}");
    cases
}
