//! What answers the questions of a suite's cells: rankers, retrieval and the agent, built from their
//! names.
//!
//! Models and the corpus are opened once a cell and shared; rankers are built once a worker, around that
//! worker's watched model.

use std::path::Path;
use std::sync::Arc;

use footnote_agent::rank::passage::{Choice, Models, PassageRanker, order};
use footnote_agent::retrieve::{PageOrder, Retriever};
use footnote_agent::{
    Agent, DescribedOrder, DocTypeRanker, FixedOrder, GeneratedOrder, LearnedOrder, ModelRanker,
    Question, RandomOrder, Settings,
};
use footnote_engine::cache::CacheChoice;
use footnote_engine::compress::{CompressionPolicy, Draft};
use footnote_engine::{Embedder, LanguageModel, LocalModel, LocalOptions, catalogue};
use footnote_eval::{Bench, Cell, OpenCell, Outcome, PageHit, Posed, Task, Watch, Worker};
use footnote_filings::DocType;
use footnote_index::{Corpus, Filter, SearchBackend};
use footnote_server::trace_of;
use serde_json::{Map, Value, json};

use crate::commands::Context;
use crate::setup;

/// The bench of this program.
pub struct Rankers<'a> {
    /// Where models and corpus are.
    pub context: &'a Context,
    /// Models that are loaded already, by name.
    pub loaded: &'a [(String, Arc<dyn LanguageModel>)],
}

/// Whether a ranker asks a language model, or why there is none of this name.
pub fn asks_model(task: Task, ranker: &str) -> Result<bool, String> {
    let doc_types = |none: bool| match ranker {
        "fixed" | "random" | "bm25" => Ok(none),
        "model" | "generated" => Ok(true),
        learned if learned.starts_with("learned:") => Ok(none),
        other => Err(format!(
            "no ranker {other:?} of document types; there are fixed, random, bm25, model, generated and learned:DIR"
        )),
    };
    let passages = |ranker: &str| {
        Choice::parse(ranker)
            .map(|choice| choice.needs_model())
            .map_err(|error| error.to_string())
    };
    match task {
        Task::DocTypes => doc_types(false),
        // The agent asks its model whatever orders the document types.
        Task::Answers => doc_types(true),
        Task::Pages => match PageOrder::parse(ranker) {
            PageOrder::Agent => Ok(false),
            PageOrder::By { ranker, .. } => passages(&ranker),
        },
        Task::Passages => passages(ranker),
    }
}

/// Refuses a policy that this build does not have, before anything is run.
pub fn check_policies(cell: &Cell) -> Result<(), String> {
    if cell.model.is_none() {
        return Ok(());
    }
    cell.cache.parse::<CacheChoice>()?;
    let policy: CompressionPolicy = cell.compression.parse()?;
    if policy.pairs().is_some() || (policy.budget().is_some() && cell.task != Task::Answers) {
        return Err(format!(
            "only answers are read through a compression, and only through one that keeps tokens; not {policy}"
        ));
    }
    Ok(())
}

struct Opened {
    cell: Cell,
    model: Option<Arc<dyn LanguageModel>>,
    corpus: Option<Arc<Corpus>>,
    embedder: Option<Arc<dyn Embedder>>,
    /// Reads excerpts first, where the cell's compression asks for it.
    draft: Option<Draft>,
    compress: CompressionPolicy,
}

impl Bench for Rankers<'_> {
    fn open(&self, cell: &Cell) -> Result<Box<dyn OpenCell>, String> {
        let model = match &cell.model {
            Some(name) => {
                let loaded = self.loaded.iter().find(|(known, _)| known == name);
                Some(match loaded {
                    Some((_, model)) if cell.cache == "full" => Arc::clone(model),
                    _ => open_model(name, cell, self.context)?,
                })
            }
            None => None,
        };
        let corpus = match cell.task {
            Task::Pages | Task::Answers => Some(Arc::new(
                setup::corpus(self.context).map_err(|error| format!("{error:#}"))?,
            )),
            Task::DocTypes | Task::Passages => None,
        };
        // A cell without a model has no policies.
        let compress = match cell.model {
            Some(_) => cell.compression.parse()?,
            None => CompressionPolicy::None,
        };
        let draft = match (cell.task, compress.budget()) {
            (Task::Answers, Some(_)) => {
                Some(setup::draft(self.context).map_err(|error| format!("{error:#}"))?)
            }
            _ => None,
        };
        Ok(Box::new(Opened {
            cell: cell.clone(),
            model,
            corpus,
            embedder: self.embedder_of(cell)?,
            draft,
            compress,
        }))
    }
}

impl Rankers<'_> {
    /// The embedder that a cell's ranker asks, if any.
    fn embedder_of(&self, cell: &Cell) -> Result<Option<Arc<dyn Embedder>>, String> {
        let text = |error: footnote_agent::AgentError| error.to_string();
        let name = match (cell.task, cell.ranker.strip_prefix("learned:")) {
            (Task::DocTypes | Task::Answers, Some(folder)) => {
                let learned = LearnedOrder::open(Path::new(folder)).map_err(text)?;
                learned.embedder().map(str::to_owned)
            }
            (Task::Passages | Task::Pages, _) => {
                let ranker = match PageOrder::parse(&cell.ranker) {
                    PageOrder::Agent => None,
                    PageOrder::By { ranker, .. } => Some(Choice::parse(&ranker).map_err(text)?),
                };
                let needed = ranker.is_some_and(|choice| choice.needs_embedder());
                needed.then(|| setup::SENTENCE_ENCODER.to_owned())
            }
            _ => None,
        };
        let opened = name.map(|name| setup::embedder(&name, self.context));
        opened.transpose().map_err(|error| format!("{error:#}"))
    }
}

fn open_model(
    name: &str,
    cell: &Cell,
    context: &Context,
) -> Result<Arc<dyn LanguageModel>, String> {
    let path =
        catalogue::resolve(name, &context.home.models()).map_err(|error| error.to_string())?;
    let options = LocalOptions {
        cache: cell.cache.parse()?,
        ..context.local_options()
    };
    let model = LocalModel::open(&path, options).map_err(|error| error.to_string())?;
    Ok(Arc::new(model))
}

impl Opened {
    fn watched(&self, watch: &Watch) -> Result<Arc<dyn LanguageModel>, String> {
        let model = self.model.as_ref().ok_or("the suite names no model")?;
        Ok(watch.model(Arc::clone(model)))
    }

    fn corpus(&self) -> Result<&Arc<Corpus>, String> {
        self.corpus.as_ref().ok_or_else(|| "no corpus".to_owned())
    }

    fn doc_types(&self, watch: &Watch) -> Result<Box<dyn DocTypeRanker>, String> {
        Ok(match self.cell.ranker.as_str() {
            "fixed" => Box::new(FixedOrder::default()),
            "random" => Box::new(RandomOrder(0)),
            "bm25" => Box::new(DescribedOrder),
            "generated" => Box::new(GeneratedOrder::new(self.watched(watch)?)),
            learned if learned.starts_with("learned:") => {
                let folder = learned.trim_start_matches("learned:");
                let mut ranker =
                    LearnedOrder::open(Path::new(folder)).map_err(|error| error.to_string())?;
                if let Some(embedder) = &self.embedder {
                    ranker = ranker
                        .with_embedder(Arc::clone(embedder))
                        .map_err(|error| error.to_string())?;
                }
                Box::new(ranker)
            }
            _ => {
                Box::new(ModelRanker::new(self.watched(watch)?).map_err(|error| error.to_string())?)
            }
        })
    }
}

impl Opened {
    fn passages(&self, name: &str, watch: &Watch) -> Result<Box<dyn PassageRanker>, String> {
        let choice = Choice::parse(name).map_err(|error| error.to_string())?;
        let mut models = Models {
            language: None,
            embedder: self.embedder.clone(),
        };
        if choice.needs_model() {
            models.language = Some(self.watched(watch)?);
        }
        choice.build(&models).map_err(|error| error.to_string())
    }
}

impl OpenCell for Opened {
    fn worker(&self, watch: &Watch) -> Result<Box<dyn Worker + '_>, String> {
        Ok(match self.cell.task {
            Task::DocTypes => Box::new(DocTypes(self.doc_types(watch)?)),
            Task::Passages => Box::new(Passages(self.passages(&self.cell.ranker, watch)?)),
            Task::Pages => {
                let retriever = Retriever::new(self.corpus()?.as_ref(), &Filter::default())
                    .map_err(|error| error.to_string())?;
                let by = match PageOrder::parse(&self.cell.ranker) {
                    PageOrder::Agent => None,
                    PageOrder::By {
                        ranker,
                        beside_agent,
                    } => Some((self.passages(&ranker, watch)?, beside_agent)),
                };
                Box::new(Pages {
                    retriever,
                    by,
                    k: self.cell.k,
                })
            }
            Task::Answers => {
                let corpus: Arc<dyn SearchBackend> = Arc::clone(self.corpus()?) as _;
                let ranker = Arc::from(self.doc_types(watch)?);
                let settings = Settings {
                    compress: self.compress,
                    ..Settings::default()
                };
                let mut agent =
                    Agent::new(corpus, self.watched(watch)?, ranker).with_settings(settings);
                if let Some(draft) = &self.draft {
                    agent = agent.with_draft(draft.clone());
                }
                Box::new(Answers(agent))
            }
        })
    }
}

struct DocTypes(Box<dyn DocTypeRanker>);

impl Worker for DocTypes {
    fn answer(&mut self, question: &Posed) -> Result<Outcome, String> {
        // The benchmark always lists the five in this order; another list would get another answer.
        if question.candidates.len() != DocType::ALL.len() {
            return Err(format!(
                "{} candidates, not the five document types",
                question.candidates.len()
            ));
        }
        let ranking = (self.0)
            .rank(&question.question)
            .map_err(|error| error.to_string())?;
        let order: Vec<usize> = ranking.order.iter().map(|kind| kind.index()).collect();
        let scores: Vec<f64> = order.iter().map(|&index| ranking.scores[index]).collect();
        Ok(fields(json!({ "ranking": order, "scores": scores })))
    }
}

struct Passages(Box<dyn PassageRanker>);

impl Worker for Passages {
    fn answer(&mut self, question: &Posed) -> Result<Outcome, String> {
        let texts: Vec<&str> = question.candidates.iter().map(String::as_str).collect();
        let scores = (self.0)
            .scores(&question.question, &texts)
            .map_err(|error| error.to_string())?;
        let order = order(&scores);
        let scores: Vec<f32> = order.iter().map(|&index| scores[index]).collect();
        Ok(fields(json!({ "ranking": order, "scores": scores })))
    }
}

struct Pages<'a> {
    retriever: Retriever<'a>,
    /// Who orders what was found anew, and whether beside retrieval's order.
    by: Option<(Box<dyn PassageRanker>, bool)>,
    k: usize,
}

impl Worker for Pages<'_> {
    fn answer(&mut self, question: &Posed) -> Result<Outcome, String> {
        let (text, k) = (&question.question, self.k);
        let pages = match &self.by {
            None => self
                .retriever
                .pages(text, k)
                .map_err(|error| error.to_string()),
            Some((ranker, beside)) => self
                .retriever
                .pages_by(text, k, k, ranker.as_ref(), *beside)
                .map_err(|error| error.to_string()),
        };
        let hits: Vec<PageHit> = pages?
            .into_iter()
            .map(|page| PageHit {
                doc: page.doc,
                page: page.page,
                score: f64::from(page.score),
            })
            .collect();
        Ok(fields(json!({ "hits": hits })))
    }
}

struct Answers(Agent);

impl Worker for Answers {
    fn answer(&mut self, question: &Posed) -> Result<Outcome, String> {
        let text = |error: footnote_agent::AgentError| error.to_string();
        let asked = Question::new(&question.question).map_err(text)?;
        let answer = self.0.ask(&asked, &mut |_| {}).map_err(text)?;
        let unwritable = |error: serde_json::Error| error.to_string();
        let whole = serde_json::to_value(&answer).map_err(unwritable)?;
        let trace = trace_of(&answer, "eval", None).map_err(unwritable)?;
        let mut outcome = fields(json!({ "answer": whole }));
        outcome.trace = Some(trace);
        Ok(outcome)
    }
}

fn fields(value: Value) -> Outcome {
    let prediction = match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    Outcome {
        prediction,
        trace: None,
    }
}
