//! What a first use needs: models fetched, a corpus there. Says what it is about to do, and does
//! nothing twice.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use footnote_agent::{Agent, DocTypeRanker, FixedOrder, LearnedOrder, ModelRanker, Settings};
use footnote_engine::catalogue::Purpose;
use footnote_engine::compress::{Draft, EvidenceHeads};
use footnote_engine::{
    Embedder, HiddenStates, LanguageModel, LocalModel, RemoteModel, RemoteOptions, SentenceEncoder,
    catalogue,
};
use footnote_index::{Corpus, SearchBackend};
use include_dir::{Dir, include_dir};

use crate::commands::{Context, corpus as corpus_commands, engine, models};
use crate::output::human_bytes;

/// Writes answers.
pub const ANSWER_MODEL: &str = "qwen2.5-coder-1.5b";
/// The smaller one of the pair: orders document types, and drafts for the larger.
pub const DRAFT_MODEL: &str = "qwen2.5-coder-0.5b";

/// Turns questions and passages into vectors.
pub const SENTENCE_ENCODER: &str = "all-minilm-l6-v2";
/// What stands before a language model's name where its hidden states are the vectors.
const HIDDEN: &str = "hidden:";

/// Filings of invented companies, so that a first question has something to be answered from.
static SAMPLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../corpora/sample");

/// The corpus, which must be there.
pub fn corpus(context: &Context) -> anyhow::Result<Corpus> {
    let folder = context.home.corpus();
    Corpus::open(&folder).with_context(|| {
        format!(
            "no corpus to read in {}; `footnote corpus import PATH` makes one",
            folder.display()
        )
    })
}

/// The agent, with everything that a first question needs fetched and imported. Where `settings` need a draft model, it is
/// `draft`, or that of the pair where no model was asked for by name.
pub fn agent(
    model: Option<&str>,
    draft: Option<&str>,
    settings: Settings,
    context: &Context,
) -> anyhow::Result<Agent> {
    let minds = minds(model, context)?;
    let corpus: Arc<dyn SearchBackend> = Arc::new(corpus_or_sample(context)?);
    let agent = Agent::new(corpus, minds.answering, minds.doc_types).with_settings(settings);
    let wanted = settings.explain || settings.compress.budget().is_some();
    Ok(match (draft, minds.draft) {
        (Some(name), _) => agent.with_draft(engine::draft(name, None, context)?),
        (None, Some(draft)) if wanted => {
            agent.with_draft(draft.as_draft(EvidenceHeads::known(draft.name()))?)
        }
        (None, None) if wanted && model.is_none() => agent.with_draft(self::draft(context)?),
        // A model that was asked for by name does everything itself.
        _ => agent,
    })
}

/// The draft of the pair, fetched if need be.
pub fn draft(context: &Context) -> anyhow::Result<Draft> {
    let entry = catalogue::find(DRAFT_MODEL)?;
    if !models::is_here(entry, context) {
        models::get(entry, context)?;
    }
    engine::draft(DRAFT_MODEL, None, context)
}

/// The models behind the agent.
pub struct Minds {
    /// Writes answers.
    pub answering: Arc<dyn LanguageModel>,
    /// Orders document types.
    pub doc_types: Arc<dyn DocTypeRanker>,
    /// The smaller model, where it was loaded for them.
    pub draft: Option<Arc<LocalModel>>,
    /// All that are loaded, by the names they are asked for.
    pub loaded: Vec<(String, Arc<dyn LanguageModel>)>,
}

/// The models behind the agent, fetched if need be.
pub fn minds(model: Option<&str>, context: &Context) -> anyhow::Result<Minds> {
    announce(model, context)?;
    let answering = language_model(model, context)?;
    let named = |name: &str| {
        catalogue::find(name)
            .map_or(name, |entry| entry.name)
            .to_owned()
    };
    let mut loaded = vec![(named(model.unwrap_or(ANSWER_MODEL)), Arc::clone(&answering))];
    let trained = context.home.doc_type_ranker();
    if trained.is_dir() {
        return Ok(Minds {
            answering,
            doc_types: Arc::new(learned_order(&trained, context)?),
            draft: None,
            loaded,
        });
    }
    // The smaller model of the pair orders the document types; a model that was asked for by name
    // does everything itself.
    let draft = match model {
        None => Some(engine::open(DRAFT_MODEL, context)?),
        Some(_) => None,
    };
    let ranking: Arc<dyn LanguageModel> = match &draft {
        Some(draft) => {
            let draft: Arc<dyn LanguageModel> = Arc::clone(draft) as _;
            loaded.push((named(DRAFT_MODEL), Arc::clone(&draft)));
            draft
        }
        None => Arc::clone(&answering),
    };
    let doc_types: Arc<dyn DocTypeRanker> = match ModelRanker::new(ranking) {
        Ok(ranker) => Arc::new(ranker),
        Err(error) if model.is_some_and(is_served) => {
            context.output.step(&format!(
                "document types in a fixed order: {error}; `footnote train doc-types` makes a ranker that needs no model"
            ));
            Arc::new(FixedOrder::default())
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Minds {
        answering,
        doc_types,
        draft,
        loaded,
    })
}

/// Whether a model's name is that of a served one.
pub fn is_served(name: &str) -> bool {
    name.starts_with("openai:")
}

/// A served model. Offline only one on this machine.
pub fn served_model(name: &str, context: &Context) -> anyhow::Result<RemoteModel> {
    let options = RemoteOptions::parse(name)?;
    let host = options.url.split("//").nth(1).unwrap_or_default();
    let here = ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| {
        host.split('/').next().is_some_and(|host| {
            host.strip_prefix(local)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
    });
    if context.offline && !here {
        bail!(
            "{} is not on this machine, and --offline forbids the network",
            options.url
        );
    }
    Ok(RemoteModel::connect(options)?)
}

/// The ranker of document types by a model's own scores.
pub fn doc_type_ranker(
    model: Option<&str>,
    context: &Context,
) -> anyhow::Result<Box<dyn DocTypeRanker>> {
    let model = language_model(Some(model.unwrap_or(DRAFT_MODEL)), context)?;
    Ok(Box::new(ModelRanker::new(model)?))
}

/// A ranker of document types that `train` wrote, with the embedder that it needs.
pub fn learned_order(folder: &Path, context: &Context) -> anyhow::Result<LearnedOrder> {
    let learned = LearnedOrder::open(folder)?;
    match learned.embedder().map(str::to_owned) {
        None => Ok(learned),
        Some(name) => Ok(learned.with_embedder(embedder(&name, context)?)?),
    }
}

/// An embedder by name, fetched if need be: the sentence encoder, or `hidden:M` for the states of a local
/// language model.
pub fn embedder(name: &str, context: &Context) -> anyhow::Result<Arc<dyn Embedder>> {
    if let Some(model) = name.strip_prefix(HIDDEN) {
        return Ok(Arc::new(HiddenStates::new(
            model,
            engine::open(model, context)?,
        )));
    }
    let entry = catalogue::find(name)?;
    if entry.purpose != Purpose::Embed {
        bail!("{name} writes text; `{HIDDEN}{name}` takes its hidden states as vectors");
    }
    if !models::is_here(entry, context) {
        models::get(entry, context)?;
    }
    let dir = context.home.models();
    let tokenizer = entry.beside.first().map_or(entry.file, |words| words.file);
    let encoder = SentenceEncoder::open(entry.name, &dir.join(entry.file), &dir.join(tokenizer))?;
    Ok(Arc::new(encoder))
}

/// A model by name, fetched if need be; without a name the one that writes answers.
pub fn language_model(
    name: Option<&str>,
    context: &Context,
) -> anyhow::Result<Arc<dyn LanguageModel>> {
    match name {
        Some(name) if is_served(name) => Ok(Arc::new(served_model(name, context)?)),
        name => Ok(engine::open(name.unwrap_or(ANSWER_MODEL), context)?),
    }
}

/// Says what a first use fetches, and fetches it.
fn announce(model: Option<&str>, context: &Context) -> anyhow::Result<()> {
    let names = match model {
        None => vec![ANSWER_MODEL, DRAFT_MODEL],
        Some(name) => vec![name],
    };
    let missing: Vec<_> = names
        .iter()
        .filter_map(|name| catalogue::find(name).ok())
        .filter(|entry| !models::is_here(entry, context))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let total = missing.iter().map(|entry| entry.size_bytes).sum();
    let listed: Vec<&str> = missing.iter().map(|entry| entry.name).collect();
    if context.offline {
        bail!(
            "{} must be fetched first ({}) and --offline forbids it; run `footnote models get {}` with a network",
            listed.join(" and "),
            human_bytes(total),
            listed[0]
        );
    }
    context.output.step(&format!(
        "First use: fetching {} ({} in all) into {}. This happens once, and can be interrupted.",
        listed.join(" and "),
        human_bytes(total),
        context.home.models().display()
    ));
    for entry in missing {
        models::get(entry, context)?;
    }
    Ok(())
}

/// The corpus that is there, or else the sample, imported now.
fn corpus_or_sample(context: &Context) -> anyhow::Result<Corpus> {
    match Corpus::open(&context.home.corpus()) {
        Err(footnote_index::IndexError::Absent { .. }) => {}
        opened => return Ok(opened?),
    }
    let folder = context.home.sample();
    context.output.step(
        "The corpus is empty: importing the sample, filings of four invented companies. \
         `footnote corpus import PATH` and `footnote corpus get --ticker T` add real ones.",
    );
    // Half an unpacking that was killed is only written over.
    fs::create_dir_all(&folder)
        .and_then(|()| SAMPLE.extract(&folder))
        .with_context(|| format!("cannot write {}", folder.display()))?;
    let imported = corpus_commands::import(&[&folder], false, context)?;
    if let Some(failure) = imported.failed.first() {
        bail!("the sample could not be imported: {}", failure.message);
    }
    Ok(Corpus::open(&context.home.corpus())?)
}
