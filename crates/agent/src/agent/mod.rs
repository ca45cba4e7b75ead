//! The agent itself: a question through its steps to an answer, every step told as it happens.
//!
//! Three ways lead to an answer. A question for a figure that code recognises is planned as a
//! calculation and its rows are looked up; for other figures the model names cited numbers and a
//! formula, and code computes; everything else is written by the model from numbered lines of the
//! best passages. On all, the checker has the last word. Filing text reaches the model only as lines to choose from,
//! under a grammar, without tools, so nothing written in a filing can change what the agent does.

mod compute;
mod excerpts;
mod explain;
mod named;
mod notes;
mod reading;
mod recorder;
mod say;
mod sources;
mod write;

use std::sync::Arc;

use footnote_engine::compress::{CompressionPolicy, Draft};
use footnote_engine::{
    CancellationToken, FinishReason, GenerateEvent, GenerateRequest, Grammar, LanguageModel,
    Message, Prompt, Role,
};
use footnote_filings::{DocType, FilingMeta, FiscalPeriod};
use footnote_index::{Filter, SearchBackend};

use crate::calc::{plan, wants_figure};
use crate::retrieve::{RankedPassage, Retriever};
use crate::scope::Scope;
use crate::{
    AgentError, Answer, DocTypeRanker, Event, NotFound, PassageShown, Question, Statement, Step,
};
use notes::Notes;
use reading::Reading;
use recorder::Recorder;
use sources::Sources;

/// How much the agent reads and writes for one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Passages retrieved.
    pub passages: usize,
    /// Tokens of excerpts in a prompt.
    pub excerpt_tokens: usize,
    /// Tokens the model may write for an answer.
    pub answer_tokens: usize,
    /// How a draft model shortens the excerpts, which are then cut from [`wide_tokens`](Self::wide_tokens); none leaves it
    /// to the words that they share with the question. `evals/results/compression.md` compares the two.
    pub compress: CompressionPolicy,
    /// Tokens of excerpts before a draft shortens them.
    pub wide_tokens: usize,
    /// Whether to tell what was read of the passages and which of them the question attends to.
    pub explain: bool,
}

impl Default for Settings {
    /// Sized for a model of one or two billion parameters on two CPU cores.
    fn default() -> Self {
        Settings {
            passages: 12,
            excerpt_tokens: 1_300,
            answer_tokens: 320,
            compress: CompressionPolicy::None,
            wide_tokens: 6_000,
            explain: false,
        }
    }
}

/// Answers questions over a corpus with a model. Safe to share between threads.
pub struct Agent {
    backend: Arc<dyn SearchBackend>,
    model: Arc<dyn LanguageModel>,
    doc_types: Arc<dyn DocTypeRanker>,
    draft: Option<Draft>,
    settings: Settings,
}

/// What a part of the agent may use while it works on one question.
struct Work<'a, 'b> {
    model: &'a dyn LanguageModel,
    draft: Option<&'a Draft>,
    settings: Settings,
    question: &'a str,
    sources: Sources<'a>,
    recorder: &'a mut Recorder<'b>,
    notes: Notes,
}

/// What a way to an answer came to.
struct Found {
    statements: Vec<Statement>,
    calculation: Option<crate::Calculation>,
}

impl Agent {
    /// An agent with the usual settings.
    pub fn new(
        backend: Arc<dyn SearchBackend>,
        model: Arc<dyn LanguageModel>,
        doc_types: Arc<dyn DocTypeRanker>,
    ) -> Agent {
        Agent {
            backend,
            model,
            doc_types,
            draft: None,
            settings: Settings::default(),
        }
    }

    /// The same agent with a small model that reads long excerpts first, and whose attention explains.
    #[must_use]
    pub fn with_draft(mut self, draft: Draft) -> Agent {
        self.draft = Some(draft);
        self
    }

    /// The same agent with other settings.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Agent {
        self.settings = settings;
        self
    }

    /// Answers a question, telling each step to `tell` as it happens; the last event is
    /// [`Step::Answer`] or [`Step::Error`].
    ///
    /// # Errors
    /// A question that is empty or too long, an empty corpus, a failing model or index. A question
    /// that the filings do not answer is no error: see [`Answer::not_found`].
    pub fn ask(
        &self,
        question: &Question,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Answer, AgentError> {
        self.ask_until(question, &CancellationToken::new(), tell)
    }

    /// As [`ask`](Self::ask), until `cancel` says that nobody waits for the answer any more: the model's
    /// slot is then free at once, and between two calls of the model the next step is not begun.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and [`AgentError::Cancelled`].
    pub fn ask_until(
        &self,
        question: &Question,
        cancel: &CancellationToken,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Answer, AgentError> {
        let mut recorder = Recorder::new(tell, cancel);
        let answer = self.retrieve_and_answer(question, &mut recorder);
        Self::told(answer, &mut recorder)
    }

    /// Answers from the given passages alone (and the pages and tables they are cut from): nothing
    /// is searched. For evaluation with known evidence, and for callers with their own retrieval.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_over(
        &self,
        question: &Question,
        passages: &[RankedPassage],
        tell: &mut dyn FnMut(Event),
    ) -> Result<Answer, AgentError> {
        let cancel = CancellationToken::new();
        let mut recorder = Recorder::new(tell, &cancel);
        let answer = question.check().and_then(|()| {
            let metas: Vec<FilingMeta> = passages.iter().map(|p| p.hit.meta.clone()).collect();
            let latest = latest_period(&metas);
            self.answer(
                question,
                passages,
                &[],
                latest,
                NotFound::default(),
                &mut recorder,
            )
        });
        Self::told(answer, &mut recorder)
    }

    fn told(
        answer: Result<Answer, AgentError>,
        recorder: &mut Recorder<'_>,
    ) -> Result<Answer, AgentError> {
        match &answer {
            Ok(answer) => recorder.last(Step::Answer {
                answer: Box::new(answer.clone()),
            }),
            Err(error) => recorder.last(Step::Error {
                message: error.to_string(),
            }),
        }
        answer
    }

    fn retrieve_and_answer(
        &self,
        question: &Question,
        recorder: &mut Recorder<'_>,
    ) -> Result<Answer, AgentError> {
        question.check()?;
        let filter = Filter {
            tickers: question.scope.tickers.clone(),
            forms: question.scope.forms.clone(),
            years: question.scope.years.clone(),
            ..Filter::default()
        };
        let retriever = Retriever::new(self.backend.as_ref(), &filter)?;
        let limited = filter != Filter::default();
        if retriever.filings().is_empty() {
            if limited && !self.backend.filings(&Filter::default())?.is_empty() {
                let searched = NotFound {
                    reason: "the corpus has no filing of the ticker, form and year asked for"
                        .to_owned(),
                    companies: question
                        .scope
                        .tickers
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                    periods: question
                        .scope
                        .years
                        .iter()
                        .map(|y| format!("FY{y}"))
                        .collect(),
                    forms: question
                        .scope
                        .forms
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                    ..NotFound::default()
                };
                return Ok(self.nothing(question, searched, recorder));
            }
            return Err(AgentError::EmptyCorpus);
        }
        let scope = retriever.scope(&question.text);
        let mine = filings_in_scope(retriever.filings(), &scope);
        let mut searched = NotFound {
            companies: scope
                .likely_companies()
                .filter_map(|c| c.names.first().cloned())
                .collect(),
            periods: scope.periods.iter().map(|p| p.period.to_string()).collect(),
            forms: scope
                .doc_types
                .iter()
                .map(|d| d.doc_type.to_string())
                .collect(),
            filings: mine.len(),
            ..NotFound::default()
        };
        if searched.forms.is_empty() {
            searched.forms = question
                .scope
                .forms
                .iter()
                .map(ToString::to_string)
                .collect();
        }
        recorder.step(Step::Scope {
            companies: searched.companies.clone(),
            periods: searched.periods.clone(),
            forms: searched.forms.clone(),
            filings: mine.len(),
        });
        if let Some(reason) = period_missing(&scope, &mine) {
            searched.reason = reason;
            return Ok(self.nothing(question, searched, recorder));
        }
        recorder.go_on()?;
        let ranking = self.doc_types.rank(&question.text)?;
        recorder.trace.doc_type_ranker = ranking.ranker.clone();
        let order: Vec<DocType> = ranking.order.clone();
        recorder.step(Step::DocTypes { ranking });

        recorder.go_on()?;
        let passages =
            retriever.passages(&question.text, &scope, Some(&order), self.settings.passages)?;
        searched.queries = vec![question.text.clone()];
        searched.passages = passages.len();
        recorder.step(Step::Passages {
            queries: searched.queries.clone(),
            passages: passages.iter().map(shown).collect(),
        });
        if scope.companies.is_empty()
            && question.scope.tickers.is_empty()
            && let Some(name) = unknown_name(&question.text, &passages)
        {
            searched.reason = format!("no filing of the corpus is about {name}");
            return Ok(self.nothing(question, searched, recorder));
        }
        let latest = latest_period(&mine);
        self.answer(question, &passages, &mine, latest, searched, recorder)
    }

    fn answer(
        &self,
        question: &Question,
        passages: &[RankedPassage],
        filings: &[FilingMeta],
        latest: Option<FiscalPeriod>,
        mut searched: NotFound,
        recorder: &mut Recorder<'_>,
    ) -> Result<Answer, AgentError> {
        recorder.trace.model = self.model.name().to_owned();
        searched.passages = passages.len();
        if passages.is_empty() {
            searched.reason = "no passage of the corpus fits the question".to_owned();
            return Ok(self.nothing(question, searched, recorder));
        }
        let mut work = Work {
            model: self.model.as_ref(),
            draft: self.draft.as_ref(),
            settings: self.settings,
            question: &question.text,
            sources: Sources::new(self.backend.as_ref(), passages)?,
            recorder,
            notes: Notes::default(),
        };
        let mut found = None;
        if let Some(plan) = plan(&question.text, latest) {
            found = compute::compute(&mut work, &plan, filings)?;
        }
        let found = match found {
            Some(found) => found,
            None => read_and_say(&mut work)?,
        };
        let footnotes = work.notes.finish(&mut work.sources)?;
        for footnote in &footnotes {
            recorder.step(Step::Citation {
                footnote: footnote.clone(),
            });
        }
        if found.statements.is_empty() {
            searched.reason =
                "the passages found do not answer the question, or the answer did not hold against them"
                    .to_owned();
            return Ok(self.nothing(question, searched, recorder));
        }
        let statements = notes::recheck(found.statements, &footnotes);
        Ok(Answer {
            question: question.text.clone(),
            text: notes::text_of(&statements),
            statements,
            footnotes,
            calculation: found.calculation,
            not_found: None,
            removed: recorder.removed(),
            trace: recorder.finish(),
        })
    }

    fn nothing(
        &self,
        question: &Question,
        searched: NotFound,
        recorder: &mut Recorder<'_>,
    ) -> Answer {
        recorder.trace.model = self.model.name().to_owned();
        Answer {
            question: question.text.clone(),
            text: format!("Not found in the filings: {}.", searched.reason),
            statements: Vec::new(),
            footnotes: Vec::new(),
            calculation: None,
            not_found: Some(searched),
            removed: recorder.removed(),
            trace: recorder.finish(),
        }
    }
}

impl Work<'_, '_> {
    /// Asks the model for a JSON document of a schema.
    pub(super) fn generate(
        &mut self,
        system: &str,
        user: &str,
        schema: serde_json::Value,
        max_tokens: usize,
        stream: bool,
    ) -> Result<String, AgentError> {
        let prompt = Prompt::Chat(vec![
            Message::new(Role::System, system),
            Message::new(Role::User, user),
        ]);
        let mut request = GenerateRequest::new(prompt, max_tokens);
        request.grammar = Some(Grammar::JsonSchema(schema));
        let mut text = String::new();
        self.recorder.go_on()?;
        let mut generation = self.model.generate(request)?;
        while let Some(event) = generation.next_unless(self.recorder.cancel()) {
            match event? {
                GenerateEvent::Text(more) => {
                    text.push_str(&more);
                    if stream {
                        self.recorder.token(more);
                    }
                }
                GenerateEvent::Done(finish, usage) => {
                    let trace = &mut self.recorder.trace;
                    trace.model_calls += 1;
                    trace.tokens_in += usage.tokens_in;
                    trace.tokens_out += usage.tokens_out;
                    if finish == FinishReason::Cancelled {
                        return Err(footnote_engine::EngineError::Stopped.into());
                    }
                    return Ok(text);
                }
            }
        }
        self.recorder.go_on()?;
        Err(footnote_engine::EngineError::Stopped.into())
    }
}

/// The ways of a question that no plan answers: the model names figures and a formula where the
/// question is for one, else it writes from the lines.
fn read_and_say(work: &mut Work<'_, '_>) -> Result<Found, AgentError> {
    let reading = Reading::new(work)?;
    if wants_figure(work.question)
        && let Some(found) = named::named(work, &reading)?
    {
        return Ok(found);
    }
    write::write(work, &reading)
}

fn shown(passage: &RankedPassage) -> PassageShown {
    PassageShown {
        id: passage.hit.passage.id.clone(),
        accession: passage.hit.meta.accession.clone(),
        doc_type: passage.hit.meta.doc_type,
        page: passage.hit.passage.page,
        section_path: passage.hit.passage.section_path.clone(),
        score: passage.score,
        why: passage.why.clone(),
    }
}

/// The filings of the company the question is most likely about; all where it names none.
fn filings_in_scope(filings: &[FilingMeta], scope: &Scope) -> Vec<FilingMeta> {
    let Some(company) = scope.companies.first() else {
        return filings.to_vec();
    };
    filings
        .iter()
        .filter(|meta| company.is_filer_of(meta))
        .cloned()
        .collect()
}

/// The last fiscal year of an annual report, else the last period of any filing.
fn latest_period(filings: &[FilingMeta]) -> Option<FiscalPeriod> {
    let latest = |kind: Option<DocType>| {
        filings
            .iter()
            .filter(|meta| kind.is_none() || meta.doc_type == kind)
            .filter_map(|meta| meta.fiscal_period)
            .max_by_key(|p| (p.year, p.quarter))
    };
    latest(Some(DocType::TenK)).or_else(|| latest(None))
}

/// Why the company's filings cannot hold the period asked about, if they cannot: a report shows a
/// few years back, never years ahead.
fn period_missing(scope: &Scope, filings: &[FilingMeta]) -> Option<String> {
    let anchor = scope.anchor?;
    let company = scope.companies.first()?.names.first()?;
    let years: Vec<u16> = filings
        .iter()
        .filter_map(|meta| {
            let filed = meta.filed.or(meta.period_end).map(|day| day.year() as u16);
            meta.fiscal_period.map(|p| p.year).max(filed)
        })
        .collect();
    let (first, last) = (years.iter().min()?, years.iter().max()?);
    let outside = anchor.year > last + 1 || anchor.year + 5 < *first;
    outside.then(|| {
        format!("the corpus has filings of {company} for {first} to {last}, not for {anchor}")
    })
}

/// A name in the question that none of the passages found knows, when no company was recognised.
fn unknown_name(question: &str, passages: &[RankedPassage]) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    let mut sentence_start = true;
    for word in question.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let bare = bare
            .strip_suffix("'s")
            .or(bare.strip_suffix("’s"))
            .unwrap_or(bare);
        let capital = bare.chars().next().is_some_and(char::is_uppercase);
        let name = capital
            && !sentence_start
            && bare.len() >= 3
            && bare
                .chars()
                .all(|c| c.is_alphabetic() || c == '-' || c == '&')
            && bare.chars().any(char::is_lowercase);
        if name {
            names.push(bare);
        }
        sentence_start =
            word.ends_with(['.', '?', '!', ':']) || (sentence_start && bare.is_empty());
    }
    let known = |name: &str| {
        passages.iter().any(|p| {
            let company = p.hit.meta.company.as_deref().unwrap_or_default();
            company.contains(name) || p.hit.passage.text.contains(name)
        })
    };
    (!names.is_empty() && !names.iter().any(|name| known(name))).then(|| names.join(" "))
}
