//! An example before it takes a form: a question, what was to be ranked or answered, and what is known
//! about it.
//!
//! Must not know forms or files.

use serde::{Deserialize, Serialize};

/// What an example teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// The order of the five document types.
    DocTypes,
    /// The order of a document's chunks.
    Passages,
    /// An answer.
    Answers,
}

/// A ranking that somebody gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Who: the ranker and its run.
    pub by: String,
    /// Candidate indices, best first.
    pub ranking: Vec<usize>,
}

/// An example.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Its name in its source.
    pub id: String,
    /// What it teaches.
    pub task: Task,
    /// Where it stands: the source, and the line, question or trace in it.
    pub place: String,
    /// The question.
    pub question: String,
    /// The whole prompt, where its source has one.
    pub prompt: Option<String>,
    /// What was to be ranked; empty for answers.
    pub candidates: Vec<String>,
    /// Grades of the candidates.
    pub grades: Option<Vec<u32>>,
    /// Rankings that were given.
    pub given: Vec<Ranked>,
    /// The right answer.
    pub answer: Option<String>,
    /// An answer that was given and is not right.
    pub wrong_answer: Option<String>,
    /// Pages or documents that hold the answer, for qrels where there are no candidates.
    pub relevant: Vec<String>,
    /// Whom it is about, where known.
    pub company: Option<String>,
    /// The question's category, where known.
    pub category: Option<String>,
}

impl Example {
    /// The best order by the grades: higher first, equal ones by index.
    pub fn best_order(&self) -> Option<Vec<usize>> {
        let grades = self.grades.as_ref()?;
        let mut order: Vec<usize> = (0..grades.len()).collect();
        order.sort_by_key(|at| (std::cmp::Reverse(grades[*at]), *at));
        Some(order)
    }

    /// Whether any candidate is relevant.
    pub fn has_positive(&self) -> bool {
        self.grades
            .as_ref()
            .is_some_and(|grades| grades.iter().any(|grade| *grade > 0))
    }

    /// Candidates named `id:index`, so that ids that repeat over documents stay apart.
    pub fn candidate_name(&self, index: usize) -> String {
        format!("{}:{index}", self.place)
    }
}
