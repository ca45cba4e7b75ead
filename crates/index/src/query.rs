//! From words and filters to a tantivy query.
//!
//! Any text is valid: there is no query syntax but double quotes, and nothing in a text can make
//! an error. This module must not know of files or of what is stored.

use std::collections::HashMap;
use std::ops::Bound;

use tantivy::query::{
    Bm25StatisticsProvider, BooleanQuery, BoostQuery, ConstScoreQuery, Occur, PhraseQuery, Query,
    RangeQuery, TermQuery, TermSetQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{Searcher, Term};

use crate::schema::{Fields, Unit, date_time};
use crate::tokenizer;
use crate::{Filter, IndexError, SearchQuery};

/// Longer input is cut here; the words beyond would not be among those that count anyway.
const LONGEST_TEXT: usize = 100_000;

/// At most this many different words are searched, those that tell most (rare in the corpus,
/// frequent in the text). A question has a dozen; a pasted page has hundreds.
const MOST_TERMS: usize = 64;

/// At most this many phrases, and words in each.
const MOST_PHRASES: usize = 8;
const LONGEST_PHRASE: usize = 32;

/// Up to this many scored clauses the union is left to skip by block maxima.
const CLAUSES_WORTH_SKIPPING: usize = 8;

/// From this many values a filter is looked up as a set.
const SET_FROM: usize = 16;

/// How much a match in the context and in the section path counts beside one in the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boosts {
    pub context: f32,
    pub section: f32,
}

/// The text of a query, taken apart.
#[derive(Debug, Default, PartialEq)]
struct Words {
    plain: String,
    phrases: Vec<String>,
}

/// Parts in double quotes (straight or curly) are phrases; a quote without its partner is nothing.
fn take_apart(text: &str) -> Words {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    let mut words = Words::default();
    let mut rest = text;
    let quote = |c: char| matches!(c, '"' | '“' | '”');
    while let Some((before, inside, after)) = rest.split_once(quote).and_then(|(before, after)| {
        let (inside, after) = after.split_once(quote)?;
        Some((before, inside, after))
    }) {
        words.plain.push_str(before);
        words.plain.push(' ');
        if words.phrases.len() < MOST_PHRASES {
            words.phrases.push(inside.to_owned());
        } else {
            words.plain.push_str(inside);
            words.plain.push(' ');
        }
        rest = after;
    }
    words.plain.push_str(rest);
    words
}

/// Statistics of one kind of unit: tantivy counts every document, but catalogue entries have no
/// text, and pages are fewer than passages.
pub(crate) struct UnitStatistics<'a> {
    pub searcher: &'a Searcher,
    pub units: u64,
    pub passages: u64,
    /// Fields that only documents of this unit have.
    pub own: Field,
}

impl UnitStatistics<'_> {
    /// Scales a count over passages to one over units.
    fn scale(&self, field: Field, count: u64) -> u64 {
        if field == self.own || self.units == self.passages || self.passages == 0 {
            return count;
        }
        count.saturating_mul(self.units).div_ceil(self.passages)
    }
}

impl Bm25StatisticsProvider for UnitStatistics<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        let total = Bm25StatisticsProvider::total_num_tokens(self.searcher, field)?;
        Ok(self.scale(field, total).max(1))
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.units.max(1))
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        let count = self.searcher.doc_freq(term)?;
        Ok(self.scale(term.field(), count).min(self.units.max(1)))
    }
}

/// The query for `query` over the units `unit`, whose text is in `text`; none where the text holds
/// no word.
pub(crate) fn scored(
    fields: &Fields,
    statistics: &UnitStatistics<'_>,
    query: &SearchQuery,
    unit: Unit,
    text: Field,
    boosts: Boosts,
) -> Result<Option<Box<dyn Query>>, IndexError> {
    let words = take_apart(&query.text);
    let mut musts: Vec<(Occur, Box<dyn Query>)> = Vec::new();
    for phrase in &words.phrases {
        if let Some(phrase) = phrase_query(phrase, &[text, fields.section]) {
            musts.push((Occur::Must, phrase));
        }
    }

    let mut weights = weigh(&mut tokenizer::stemmed(), &words.plain, &query.expansions);
    drop_stopwords(&mut weights, tokenizer::stemmed);
    let mut shoulds = Vec::new();
    for (term, weight) in most_telling(statistics, text, weights)? {
        shoulds.push(term_clause(text, &term, weight));
        if boosts.section > 0.0 {
            shoulds.push(term_clause(fields.section, &term, weight * boosts.section));
        }
    }
    if boosts.context > 0.0 {
        let mut weights = weigh(&mut tokenizer::exact(), &words.plain, &[]);
        drop_stopwords(&mut weights, tokenizer::exact);
        for (term, weight) in most_telling(statistics, fields.context, weights)? {
            shoulds.push(term_clause(fields.context, &term, weight * boosts.context));
        }
    }

    if shoulds.is_empty() && musts.is_empty() {
        return Ok(None);
    }
    let clauses = shoulds.len();
    if !shoulds.is_empty() {
        let occur = if musts.is_empty() {
            Occur::Must
        } else {
            Occur::Should
        };
        musts.push((occur, Box::new(BooleanQuery::new(shoulds))));
    }
    let mut restricting = filter_clauses(fields, &query.filter);
    // Context and section belong to every passage; only the first of a page stands for the page.
    // For passages the clause says nothing new, but with it tantivy scores the whole union instead
    // of skipping by block maxima, which for a question's dozens of clauses takes a quarter less
    // time on average and half at the 99th percentile (`benches/corpus.rs`).
    if unit == Unit::Page || clauses > CLAUSES_WORTH_SKIPPING {
        restricting.push(Box::new(TermQuery::new(
            fields.unit_term(unit),
            IndexRecordOption::Basic,
        )));
    }
    for clause in restricting {
        musts.push((Occur::Must, Box::new(ConstScoreQuery::new(clause, 0.0))));
    }
    if musts.len() == 1 {
        return Ok(musts.pop().map(|(_, only)| only));
    }
    Ok(Some(Box::new(BooleanQuery::new(musts))))
}

/// The query for the units of one kind that pass a filter, without scores.
pub(crate) fn unscored(fields: &Fields, unit: Unit, filter: &Filter) -> Box<dyn Query> {
    let mut clauses = filter_clauses(fields, filter);
    clauses.push(Box::new(TermQuery::new(
        fields.unit_term(unit),
        IndexRecordOption::Basic,
    )));
    Box::new(BooleanQuery::intersection(clauses))
}

fn term_clause(field: Field, term: &str, weight: f32) -> (Occur, Box<dyn Query>) {
    let term = TermQuery::new(
        Term::from_field_text(field, term),
        IndexRecordOption::WithFreqs,
    );
    if weight == 1.0 {
        return (Occur::Should, Box::new(term));
    }
    (
        Occur::Should,
        Box::new(BoostQuery::new(Box::new(term), weight)),
    )
}

/// Each different word with its weight: how often the text has it, plus the expansions' weights.
fn weigh(
    analyzer: &mut tantivy::tokenizer::TextAnalyzer,
    plain: &str,
    expansions: &[(String, f32)],
) -> HashMap<String, f32> {
    let mut weights: HashMap<String, f32> = HashMap::new();
    for (_, term) in tokenizer::terms(analyzer, plain) {
        *weights.entry(term).or_default() += 1.0;
    }
    for (text, weight) in expansions {
        if !weight.is_finite() || *weight <= 0.0 {
            continue;
        }
        let text = take_apart(text);
        for (_, term) in tokenizer::terms(analyzer, &text.plain) {
            *weights.entry(term).or_default() += weight;
        }
    }
    weights
}

/// Leaves out words that say nothing, unless the text has no other.
fn drop_stopwords(
    weights: &mut HashMap<String, f32>,
    analyzer: fn() -> tantivy::tokenizer::TextAnalyzer,
) {
    let mut stopwords = std::collections::HashSet::new();
    for (_, term) in tokenizer::terms(&mut analyzer(), STOPWORDS) {
        stopwords.insert(term);
    }
    if weights.keys().all(|term| stopwords.contains(term)) {
        return;
    }
    weights.retain(|term, _| !stopwords.contains(term));
}

/// Function words, and what questions are made of. All are in the index, for phrases; leaving them
/// out of questions was decided by measurement (as for the boosts, with context 2): recall at 10
/// is 0.31 with all words, 0.36 without the commonest twenty, 0.41 without these.
const STOPWORDS: &str = "a an and are as at be been but by for from had has have if in into is it its \
    of on or such that the their then there these they this to was were will with \
    what which who whom whose when where why how does do did can could would should please";

/// The words by falling telling power, at most [`MOST_TERMS`], in an order that does not depend on
/// how a map was filled.
fn most_telling(
    statistics: &UnitStatistics<'_>,
    field: Field,
    weights: HashMap<String, f32>,
) -> Result<Vec<(String, f32)>, IndexError> {
    let units = statistics.units.max(1) as f32;
    let mut ranked = Vec::with_capacity(weights.len());
    for (term, weight) in weights {
        let count = statistics.doc_freq(&Term::from_field_text(field, &term))?;
        if count > 0 {
            let telling = weight * (1.0 + units / (count as f32 + 0.5)).ln();
            ranked.push((telling, term, weight));
        }
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    ranked.truncate(MOST_TERMS);
    Ok(ranked
        .into_iter()
        .map(|(_, term, weight)| (term, weight))
        .collect())
}

/// A phrase that must stand in one of the fields.
fn phrase_query(phrase: &str, fields: &[Field]) -> Option<Box<dyn Query>> {
    let mut words = tokenizer::terms(&mut tokenizer::stemmed(), phrase);
    words.truncate(LONGEST_PHRASE);
    let in_field = |field: Field| -> Option<Box<dyn Query>> {
        let mut terms: Vec<(usize, Term)> = words
            .iter()
            .map(|(position, word)| (*position, Term::from_field_text(field, word)))
            .collect();
        match terms.len() {
            0 => None,
            1 => terms.pop().map(|(_, only)| -> Box<dyn Query> {
                Box::new(TermQuery::new(only, IndexRecordOption::WithFreqs))
            }),
            _ => Some(Box::new(PhraseQuery::new_with_offset(terms))),
        }
    };
    let alternatives: Vec<Box<dyn Query>> = fields.iter().copied().filter_map(in_field).collect();
    match alternatives.is_empty() {
        true => None,
        false => Some(Box::new(BooleanQuery::union(alternatives))),
    }
}

/// One clause a list of the filter that is not empty.
fn filter_clauses(fields: &Fields, filter: &Filter) -> Vec<Box<dyn Query>> {
    fn texts<T>(field: Field, values: &[T], text: impl Fn(&T) -> String) -> Vec<Term> {
        values
            .iter()
            .map(|value| Term::from_field_text(field, &text(value)))
            .collect()
    }
    let lists = [
        texts(fields.ticker, &filter.tickers, |t| t.to_string()),
        filter
            .ciks
            .iter()
            .map(|cik| Term::from_field_u64(fields.cik, cik.0))
            .collect(),
        texts(fields.company, &filter.companies, |c| c.clone()),
        texts(fields.form, &filter.forms, |f| f.to_string()),
        texts(fields.doc_type, &filter.doc_types, |d| d.name().to_owned()),
        filter
            .years
            .iter()
            .map(|year| Term::from_field_u64(fields.year, u64::from(*year)))
            .collect(),
        texts(fields.period, &filter.periods, |p| p.to_string()),
        texts(fields.accession, &filter.accessions, |a| a.to_string()),
    ];
    let mut clauses: Vec<Box<dyn Query>> = Vec::new();
    for mut terms in lists {
        let clause: Box<dyn Query> = match terms.len() {
            0 => continue,
            1 => Box::new(TermQuery::new(terms.remove(0), IndexRecordOption::Basic)),
            n if n >= SET_FROM => Box::new(TermSetQuery::new(terms)),
            _ => Box::new(BooleanQuery::new_multiterms_query(terms)),
        };
        clauses.push(clause);
    }
    if filter.since.is_some() || filter.until.is_some() {
        let bound = |date: Option<jiff::civil::Date>| match date {
            Some(date) => Bound::Included(Term::from_field_date(fields.date, date_time(date))),
            None => Bound::Unbounded,
        };
        clauses.push(Box::new(RangeQuery::new(
            bound(filter.since),
            bound(filter.until),
        )));
    }
    clauses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_make_phrases_and_never_errors() {
        let check = |text: &str, plain: &str, phrases: &[&str]| {
            let words = take_apart(text);
            assert_eq!(
                words.plain.split_whitespace().collect::<Vec<_>>().join(" "),
                plain
            );
            assert_eq!(words.phrases, phrases);
        };
        check("net \"total sales\" 2022", "net 2022", &["total sales"]);
        check("“risk factors” only", "only", &["risk factors"]);
        check("an open \" quote", "an open \" quote", &[]);
        check("\"\"", "", &[""]);
        check("", "", &[]);
        let many = "\"a b\" ".repeat(MOST_PHRASES + 2);
        assert_eq!(take_apart(&many).phrases.len(), MOST_PHRASES);
        assert!(take_apart(&"é".repeat(LONGEST_TEXT)).plain.len() <= LONGEST_TEXT);
    }
}
