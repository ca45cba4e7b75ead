//! What the benches over FinanceBench's pages share: what they are given, and the pages of a document as text.

use std::path::PathBuf;

use footnote_filings::Accession;
use footnote_index::{Corpus, Filter, SearchBackend, SearchQuery};

/// What a bench is given: a corpus folder and a model file first, then words of its own.
pub struct Given {
    /// The pages.
    pub corpus: Corpus,
    /// The model file.
    pub model: PathBuf,
    /// FinanceBench's development questions.
    pub questions: PathBuf,
    /// What else was said.
    pub words: Vec<String>,
}

/// What the bench of this name is given; says what is missing where it cannot run.
pub fn given(bench: &str) -> Option<Given> {
    // Cargo says `--bench` too.
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let (Some(corpus), Some(model)) = (words.next(), words.next()) else {
        footnote_testkit::skip(bench, "name a corpus folder and a model file");
        return None;
    };
    let Some(questions) = footnote_testkit::shared("data/financebench/questions_dev.jsonl") else {
        footnote_testkit::skip(bench, "no FinanceBench questions beside the checkout");
        return None;
    };
    Some(Given {
        corpus: Corpus::open(&PathBuf::from(corpus)).unwrap(),
        model: PathBuf::from(model),
        questions,
        words: words.collect(),
    })
}

/// The document's best pages for a question by BM25, best first.
#[allow(dead_code, reason = "not every bench searches")]
pub fn best_pages(corpus: &Corpus, document: &Accession, question: &str, limit: usize) -> Vec<u32> {
    let query = SearchQuery {
        text: question.to_owned(),
        filter: only(document),
        limit,
        ..SearchQuery::default()
    };
    let hits = corpus.search_pages(&query).unwrap();
    hits.iter().map(|hit| hit.page).collect()
}

/// A filter that lets one document through.
#[allow(dead_code, reason = "not every bench searches")]
pub fn only(document: &Accession) -> Filter {
    Filter {
        accessions: vec![document.clone()],
        ..Filter::default()
    }
}

/// A page's text.
pub fn text(corpus: &Corpus, document: &Accession, page: u32) -> String {
    let passages = corpus.page_passages(document, page).unwrap();
    let texts: Vec<&str> = passages.iter().map(|p| p.text.as_str()).collect();
    texts.join("\n")
}
