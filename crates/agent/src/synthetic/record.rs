//! Questions as lines of a dataset: FinAgentBench's chunk form, and pairs for re-rankers.

use std::collections::{BTreeMap, BTreeSet};

use footnote_filings::Filing;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Likeness, SyntheticQuestion, benchmark_chunks, questions_from_facts, questions_from_headings,
    without_headings,
};

/// How many chunks the benchmark's prompt asks for, where there are as many.
const ASKED: usize = 10;

/// A labelled question over the chunks of one filing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledQuestion {
    /// Unique.
    pub id: String,
    /// The company, else the filing: what splits must not part.
    pub group: String,
    /// How it was made: `fact` or `heading`.
    pub source: String,
    /// What is asked.
    pub question: String,
    /// The chunks in the filing's order.
    pub chunks: Vec<String>,
    /// Grades by index; the others have 0.
    pub grades: BTreeMap<usize, u8>,
    /// Chunks whose grade cannot be told.
    pub unsure: BTreeSet<usize>,
    /// Wrong chunks that look right.
    pub hard_negatives: Vec<(usize, Likeness)>,
}

impl LabelledQuestion {
    /// As a line of a FinAgentBench chunk file. Chunks whose grade cannot be told are empty there, so
    /// that they count neither way and every index holds.
    pub fn chunk_record(&self) -> Value {
        let chunks: Vec<&str> = self
            .chunks
            .iter()
            .enumerate()
            .map(|(at, text)| {
                if self.unsure.contains(&at) {
                    ""
                } else {
                    text.as_str()
                }
            })
            .collect();
        let qrel: BTreeMap<String, u8> = (0..chunks.len())
            .map(|at| (at.to_string(), self.grades.get(&at).copied().unwrap_or(0)))
            .collect();
        json!({
            "uuid": self.id,
            "messages": [{ "role": "user", "content": chunk_prompt(&self.question, &chunks) }],
            "qrel": qrel,
            "metadata": { "company": self.group, "source": self.source, "task_type": "chunk_ranking" },
        })
    }

    /// As a query with positives and hard negatives, the form that re-rankers are trained on.
    pub fn rerank_record(&self) -> Value {
        let text = |at: &usize| self.chunks.get(*at).cloned().unwrap_or_default();
        let positives: Vec<String> = self.grades.keys().map(text).collect();
        let negatives: Vec<String> = self.hard_negatives.iter().map(|(at, _)| text(at)).collect();
        json!({ "id": self.id, "query": self.question, "positives": positives, "negatives": negatives })
    }
}

/// The benchmark's own prompt for chunk ranking.
pub fn chunk_prompt(question: &str, chunks: &[&str]) -> String {
    let k = chunks.len().min(ASKED);
    let mut prompt = format!(
        "Identify the {k} most relevant text chunks for answering this question, then rank them in order \
         of relevance (best first).\nQuestion: {question}\nText chunks:\n"
    );
    for (at, chunk) in chunks.iter().enumerate() {
        prompt.push_str(&format!("[Chunk Index {at}] {chunk}\n"));
    }
    let last = chunks.len().saturating_sub(1);
    prompt.push_str(&format!(
        "\nTask: Select and rank the {k} most relevant chunks among the given text chunks(from index 0 to {last}).\n\
         - Put the BEST chunk first\n- Put the 2nd best chunk second  \n\
         - Continue until you have ranked your top {k} chunks\n\
         Response Format: [1st_most_relevant_index, 2nd_most_relevant_index, ..., {k}th_most_relevant_index]"
    ));
    prompt
}

/// Labelled questions of a filing: at most `limit` from its facts and `limit` from its headings.
pub fn labelled_questions(filing: &Filing, seed: u64, limit: usize) -> Vec<LabelledQuestion> {
    let chunks = benchmark_chunks(filing);
    let texts: Vec<String> = chunks.iter().map(|chunk| chunk.text.clone()).collect();
    let group = filing
        .meta
        .company
        .clone()
        .unwrap_or_else(|| filing.meta.accession.to_string());
    let facts = questions_from_facts(filing, &chunks, seed, limit);
    let headings = questions_from_headings(filing, &chunks, seed, limit);
    let blanked = without_headings(filing, &chunks, &headings);
    let of_facts = facts
        .into_iter()
        .map(|question: SyntheticQuestion| LabelledQuestion {
            id: question.id,
            group: group.clone(),
            source: "fact".to_owned(),
            question: question.question,
            chunks: texts.clone(),
            grades: question.grades,
            unsure: question.unsure,
            hard_negatives: question
                .hard_negatives
                .iter()
                .map(|negative| (negative.passage, negative.why))
                .collect(),
        });
    let of_headings = headings
        .into_iter()
        .enumerate()
        .map(|(at, question)| LabelledQuestion {
            id: format!("{}#heading-{at}", filing.meta.accession),
            group: group.clone(),
            source: "heading".to_owned(),
            question: question.question,
            chunks: blanked.clone(),
            grades: question.grades,
            unsure: BTreeSet::new(),
            hard_negatives: Vec::new(),
        });
    of_facts.chain(of_headings).collect()
}
