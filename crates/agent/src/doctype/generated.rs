//! Kinds of document in the order that the local model writes down, asked in the benchmark's own words: what published
//! results do, with a grammar in place of the parsing of prose.

use std::sync::Arc;

use footnote_engine::{GenerateRequest, Grammar, LanguageModel, Message, Prompt, Role};
use footnote_filings::DocType;

use super::{DocTypeRanker, DocTypeRanking};
use crate::AgentError;

/// Tokens of a list of five numbers, with room to spare.
const LIST_TOKENS: usize = 40;

/// FinAgentBench's prompt for a question and its kinds, word for word (arXiv:2508.14052).
pub fn benchmark_prompt(question: &str, kinds: &[String]) -> String {
    let list: Vec<String> = kinds
        .iter()
        .enumerate()
        .map(|(index, kind)| format!("[Document Index {index}] {kind}"))
        .collect();
    format!(
        "Rank the following financial document types by relevance to answer the question. Provide your ranking \
         as a list of indices from most relevant to least relevant.\n\nQuestion: {question}\n\nDocument Types to \
         rank:\n{}\n\nYour response must be a list of indices in exact list format (e.g., [4, 2, 1, 0, 3]), ranking \
         every index from 0 to {} by most relevant document type index to least relevant document type index.",
        list.join("\n\n"),
        kinds.len().saturating_sub(1)
    )
}

/// Orders kinds by what the model writes.
pub struct GeneratedOrder {
    model: Arc<dyn LanguageModel>,
}

impl GeneratedOrder {
    /// A ranker that asks `model`.
    pub fn new(model: Arc<dyn LanguageModel>) -> GeneratedOrder {
        GeneratedOrder { model }
    }
}

/// Every order of five, as alternatives: the model can write nothing else.
fn grammar() -> String {
    let mut orders = Vec::new();
    let mut order = Vec::new();
    permute(&mut order, &mut orders);
    format!("start: {}", orders.join(" | "))
}

fn permute(order: &mut Vec<usize>, orders: &mut Vec<String>) {
    if order.len() == 5 {
        let list: Vec<String> = order.iter().map(ToString::to_string).collect();
        orders.push(format!("\"[{}]\"", list.join(", ")));
        return;
    }
    for kind in 0..5 {
        if !order.contains(&kind) {
            order.push(kind);
            permute(order, orders);
            order.pop();
        }
    }
}

impl DocTypeRanker for GeneratedOrder {
    fn name(&self) -> &str {
        "generated"
    }

    fn rank(&self, question: &str) -> Result<DocTypeRanking, AgentError> {
        let kinds: Vec<String> = DocType::ALL
            .iter()
            .map(|kind| kind.name().to_owned())
            .collect();
        let prompt = benchmark_prompt(question, &kinds);
        let mut request = GenerateRequest::new(
            Prompt::Chat(vec![Message::new(Role::User, prompt)]),
            LIST_TOKENS,
        );
        request.grammar = Some(Grammar::Lark(grammar()));
        let written = self.model.generate(request)?.complete()?.text;
        let order: Vec<usize> = serde_json::from_str(&written).map_err(|error| {
            // A served model may not hold to a grammar.
            AgentError::ModelOutput {
                model: self.model.name().to_owned(),
                reason: format!("{written:?} is no order of the five kinds ({error})"),
            }
        })?;
        let mut scores = [0.0; 5];
        for (place, kind) in order.iter().enumerate() {
            match scores.get_mut(*kind) {
                Some(score) if *score == 0.0 => *score = 1.0 / (place as f64 + 1.0),
                _ => {
                    return Err(AgentError::ModelOutput {
                        model: self.model.name().to_owned(),
                        reason: format!("{written:?} is no order of the five kinds"),
                    });
                }
            }
        }
        Ok(DocTypeRanking::from_scores(self.name(), scores))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_has_every_order_once() {
        let grammar = grammar();
        let orders: std::collections::HashSet<&str> =
            grammar.trim_start_matches("start: ").split(" | ").collect();
        assert_eq!(orders.len(), 120);
        assert!(orders.contains("\"[4, 2, 1, 0, 3]\""));
    }

    #[test]
    fn a_real_model_writes_an_order() {
        let path = footnote_testkit::model_or_skip!("smollm2-135m-instruct-q4_1.gguf");
        let model =
            footnote_engine::LocalModel::open(&path, footnote_engine::LocalOptions::default())
                .unwrap();
        let ranking = GeneratedOrder::new(Arc::new(model))
            .rank("How is the chief executive paid?")
            .unwrap();
        let mut order = ranking.order.clone();
        order.sort();
        assert_eq!(order, DocType::ALL);
    }
}
