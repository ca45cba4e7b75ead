//! The local engine: a model file on a thread of its own, behind a bounded queue.
//!
//! Callers' threads tokenise, compile grammars and check limits, so a bad request never reaches the
//! model thread; that thread alone runs passes. See `scheduler` for how requests share it.

mod contrast;
mod prefix;
mod queue;
mod scheduler;
mod sequence;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use contrast::Contrasting;
use footnote_device::Device;
use queue::Queue;
use scheduler::{Limits, Scheduler, Told};
use sequence::{Job, Reply, Scoring, Work, Writing, WritingParts};

use crate::attention::{self, Attention, AttentionRequest};
use crate::cache::{Cache, CacheChoice, CachePlan, CachePolicy, Chosen, Window};
use crate::chat::ChatTemplate;
use crate::compress::{self, Draft, EvidenceHeads, Laid, Positions, Wishes};
use crate::config::ModelConfig;
use crate::decoder::{Decoder, Perturbation};
use crate::device::{self, DeviceChoice, DeviceModel, DeviceOptions};
use crate::grammar::GrammarFactory;
use crate::model_file::ModelFile;
use crate::sampling::Sampler;
use crate::text_stream::StopStream;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use crate::{EngineError, GenerateRequest, Generation, LanguageModel, ModelLoad, Prompt, Weak};

/// Contexts longer than this must be asked for: their caches fill the memory of small machines.
const DEFAULT_CONTEXT: usize = 32_768;

/// Longest prompt that is made short without a draft model.
const MOST_COMPRESSED_TOKENS: usize = 1 << 20;

/// How a local model runs.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Longest prompt plus output in tokens; by default the model's own, at most 32,768.
    pub context_tokens: Option<usize>,
    /// Requests that may wait; one more is refused.
    pub queue: usize,
    /// Requests that may be in progress together.
    pub running: usize,
    /// Prompt tokens read in one pass on the processor; on a GPU it is what [`OnDevice::rows`] says.
    pub prefill_chunk: usize,
    /// Prompt tokens read in one pass while another request writes, on the processor; on a GPU it is a quarter of its rows.
    pub shared_chunk: usize,
    /// Bytes of caches kept for prompts that start as an earlier one; 0 keeps none.
    pub prefix_bytes: usize,
    /// How caches are kept where a request does not say.
    pub cache: CacheChoice,
    /// Where passes are made. By default the processor: a library takes no GPU unasked.
    pub device: DeviceChoice,
}

impl Default for LocalOptions {
    fn default() -> LocalOptions {
        LocalOptions {
            context_tokens: None,
            queue: 64,
            running: 4,
            prefill_chunk: 256,
            shared_chunk: 64,
            prefix_bytes: 512 << 20,
            cache: CacheChoice::default(),
            device: DeviceChoice::Cpu,
        }
    }
}

/// A device to run on, and how much of it.
#[derive(Clone)]
pub struct OnDevice {
    /// The device.
    pub device: Arc<dyn Device>,
    /// Bytes for caches at most; by default as many as `contexts` take.
    pub cache_bytes: Option<usize>,
    /// For how many of the longest contexts there is room at most, in full caches; by default all that the model leaves.
    pub contexts: Option<usize>,
    /// Tokens of one pass.
    pub rows: usize,
}

impl OnDevice {
    /// All of a device.
    pub fn new(device: Arc<dyn Device>) -> OnDevice {
        OnDevice {
            device,
            cache_bytes: None,
            contexts: None,
            rows: DeviceOptions::new(0).rows,
        }
    }

    /// The device of this name with room for `contexts` of the longest contexts; nothing stands for the processor.
    ///
    /// # Errors
    /// As [`device::open`].
    pub fn of(choice: DeviceChoice, contexts: usize) -> Result<Option<OnDevice>, EngineError> {
        Ok(device::open(choice)?.map(|device| OnDevice {
            contexts: Some(contexts),
            ..OnDevice::new(device)
        }))
    }
}

/// A model file's parts, loaded and not yet on a thread: for tools that drive the decoder themselves.
pub struct LoadedModel {
    /// The decoder.
    pub decoder: Decoder,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The chat template.
    pub template: ChatTemplate,
}

impl LoadedModel {
    /// Loads a GGUF file for contexts of up to `context_tokens`.
    ///
    /// # Errors
    /// [`EngineError::Io`] or [`EngineError::ModelFile`], naming the file and the mend.
    pub fn open(path: &Path, context_tokens: Option<usize>) -> Result<LoadedModel, EngineError> {
        LoadedModel::open_on(path, context_tokens, None)
    }

    /// As [`open`](Self::open), its passes made by a device, which then holds the weights.
    ///
    /// # Errors
    /// As [`open`](Self::open), and where the model does not fit on the device.
    pub fn open_on(
        path: &Path,
        context_tokens: Option<usize>,
        device: Option<&OnDevice>,
    ) -> Result<LoadedModel, EngineError> {
        let file = ModelFile::open(path)?;
        let config = ModelConfig::from_file(&file)?;
        let tokenizer = Tokenizer::from_file(&file)?;
        let template = ChatTemplate::from_file(&file, &tokenizer)?;
        let context = match context_tokens {
            Some(wanted) if wanted > config.context => {
                return Err(EngineError::TooLong {
                    tokens: wanted,
                    limit: config.context,
                    mend: "this is the longest context the model was made for".to_string(),
                });
            }
            Some(0) => {
                return Err(EngineError::Request(
                    "a context of 0 tokens holds nothing".to_string(),
                ));
            }
            Some(wanted) => wanted,
            None => config.context.min(DEFAULT_CONTEXT),
        };
        let name = config.name.clone();
        let (decoder, weights_bytes) = match device {
            None => {
                let weights = Weights::load(&file, &config)?;
                let bytes = weights.size_bytes();
                (
                    Decoder::new(config, weights, context).with_file(path),
                    bytes,
                )
            }
            Some(on) => {
                let token = 2 * size_of::<half::f16>() * config.layers * config.kv_width();
                let contexts = on.contexts.map(|contexts| contexts * context * token);
                let options = DeviceOptions {
                    cache_bytes: on.cache_bytes.or(contexts),
                    rows: on.rows,
                    ..DeviceOptions::new(context)
                };
                let model = DeviceModel::load(&on.device, &file, &config, options)?;
                let bytes = model.weights_bytes();
                (Decoder::on_device(Arc::new(model), path), bytes)
            }
        };
        tracing::info!(
            model.path = %path.display(),
            model.name = name,
            model.weights_bytes = weights_bytes,
            model.context_tokens = context,
            "model loaded"
        );
        Ok(LoadedModel {
            decoder,
            tokenizer,
            template,
        })
    }
}

/// A prompt after compression.
struct Shortened {
    tokens: Vec<u32>,
    /// A cache that holds the start of the tokens, where pairs were chosen.
    begun: Option<Cache>,
    /// How many tokens there were.
    whole: usize,
    /// Milliseconds that it took.
    ms: f64,
}

/// A model that runs in this process.
pub struct LocalModel {
    name: String,
    decoder: Arc<Decoder>,
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
    grammars: GrammarFactory,
    queue: Arc<Queue<Job>>,
    told: Arc<Told>,
    cache: CacheChoice,
    /// Policies worked out so far.
    plans: Mutex<HashMap<CachePolicy, CachePlan>>,
    /// Reads long prompts first, for requests that ask for it.
    draft: Option<Draft>,
    thread: Option<JoinHandle<()>>,
}

impl LocalModel {
    /// Loads a GGUF file and starts its thread. The model's name is the file's, without its ending.
    ///
    /// # Errors
    /// [`EngineError::Io`] or [`EngineError::ModelFile`], naming the file and the mend.
    pub fn open(path: &Path, options: LocalOptions) -> Result<LocalModel, EngineError> {
        // One more for prompts that are kept for others that start alike.
        let on = OnDevice::of(options.device, options.running + 1)?;
        let loaded = LoadedModel::open_on(path, options.context_tokens, on.as_ref())?;
        let name = path
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        LocalModel::start(name, loaded, &options)
    }

    /// Starts the thread of a loaded model.
    ///
    /// # Errors
    /// [`EngineError::Request`] where the system gives no thread.
    pub fn start(
        name: String,
        loaded: LoadedModel,
        options: &LocalOptions,
    ) -> Result<LocalModel, EngineError> {
        let decoder = Arc::new(loaded.decoder);
        let tokenizer = Arc::new(loaded.tokenizer);
        let queue = Arc::new(Queue::new(options.queue));
        let told = Arc::new(Told::default());
        let scheduler = Scheduler::new(
            Arc::clone(&decoder),
            Arc::clone(&queue),
            Limits::of(options, decoder.device().map(|device| device.options())),
            Arc::clone(&told),
        );
        let thread = std::thread::Builder::new()
            .name("model".to_string())
            .spawn(move || scheduler.run())
            .map_err(|error| EngineError::Request(format!("no thread for the model: {error}")))?;
        Ok(LocalModel {
            name,
            decoder,
            grammars: GrammarFactory::new(Arc::clone(&tokenizer)),
            tokenizer,
            template: loaded.template,
            queue,
            told,
            cache: options.cache,
            plans: Mutex::default(),
            draft: None,
            thread: Some(thread),
        })
    }

    /// This model as a draft for a larger one, with its evidence heads where they are known.
    ///
    /// # Errors
    /// As [`Draft::new`].
    pub fn as_draft(&self, heads: Option<EvidenceHeads>) -> Result<Draft, EngineError> {
        Draft::of(
            self.name.clone(),
            Arc::clone(&self.decoder),
            Arc::clone(&self.tokenizer),
            self.template.clone(),
            heads,
        )
    }

    /// The same model with `draft` to read long prompts first.
    ///
    /// # Errors
    /// [`EngineError::Request`] where the two have different vocabularies.
    pub fn with_draft(mut self, draft: Draft) -> Result<LocalModel, EngineError> {
        if !self.tokenizer.agrees_with(draft.tokenizer()) {
            return Err(EngineError::Request(format!(
                "the draft model's vocabulary is not that of {}; choose a draft of the same family",
                self.name
            )));
        }
        self.draft = Some(draft);
        Ok(self)
    }

    /// The prompt after compression.
    fn shortened(&self, request: &GenerateRequest) -> Result<Shortened, EngineError> {
        let Some(budget) = request.compress.budget() else {
            let tokens = self.prompt_tokens(&request.prompt)?;
            return Ok(Shortened {
                whole: tokens.len(),
                tokens,
                begun: None,
                ms: 0.0,
            });
        };
        if budget >= self.context_tokens() {
            return Err(EngineError::TooLong {
                tokens: budget,
                limit: self.context_tokens(),
                mend: "ask for a smaller budget than the model's context".to_string(),
            });
        }
        // What is compressed may be longer than what the target reads.
        let limit = match &self.draft {
            Some(draft) if request.compress.needs_draft() => draft.context() + 1,
            _ => MOST_COMPRESSED_TOKENS,
        };
        let prompt = self.prompt_tokens_within(&request.prompt, limit)?;
        let wishes = Wishes {
            protect: &request.protect,
            focus: request.focus.as_deref(),
        };
        let laid = Laid::new(&request.prompt, prompt, &self.tokenizer, wishes)?;
        let draft = self.draft.as_ref();
        let short = compress::compress(request.compress, &laid.asked(), &self.tokenizer, draft)?;
        let prompt = laid.tokens;
        let mut shortened = Shortened {
            whole: prompt.len(),
            tokens: short.kept.iter().map(|at| prompt[*at]).collect(),
            begun: None,
            ms: short.ms,
        };
        if request.positions == Positions::Original && short.kept.len() < prompt.len() {
            let started = Instant::now();
            shortened.begun = Some(self.read_in_place(request, &prompt, &short.kept)?);
            shortened.tokens = prompt;
            shortened.ms += started.elapsed().as_secs_f64() * 1e3;
            return Ok(shortened);
        }
        if let Some(pairs) = request
            .compress
            .pairs()
            .filter(|pairs| shortened.tokens.len() > *pairs)
        {
            let started = Instant::now();
            shortened.begun = Some(self.pruned(request, &shortened.tokens, pairs)?);
            shortened.ms += started.elapsed().as_secs_f64() * 1e3;
        }
        Ok(shortened)
    }

    /// A cache of what is kept of a prompt, read where it stands, ready for the last token. Reads on the calling thread.
    fn read_in_place(
        &self,
        request: &GenerateRequest,
        prompt: &[u32],
        kept: &[usize],
    ) -> Result<Cache, EngineError> {
        let cache = self.chosen_cache(request.cache).policy;
        if cache != CachePolicy::Full || request.compress.pairs().is_some() {
            return Err(EngineError::Request(format!(
                "original positions leave gaps, which neither {cache} nor {} can hold; use the cache `full` and a policy that \
                 keeps tokens, or contiguous positions",
                request.compress
            )));
        }
        if prompt.len() >= self.context_tokens() {
            return Err(self.too_long(prompt.len()));
        }
        self.decoder.read_in_place(prompt, kept)
    }

    /// A request's contrast, checked.
    fn contrasting(&self, request: &GenerateRequest) -> Result<Option<Contrasting>, EngineError> {
        let Some(contrast) = &request.contrast else {
            return Ok(None);
        };
        let (perturbation, prompt) = match &contrast.weak {
            Weak::Prompt(prompt) => (None, Some(self.prompt_tokens(prompt)?)),
            Weak::Heads { heads, target, u } => {
                let perturbation = Perturbation::new(heads, *target, *u)?;
                let config = self.decoder.config();
                if let Some((layer, head)) = perturbation.foreign(config.layers, config.heads) {
                    return Err(EngineError::Request(format!(
                        "{} has no head {head} in layer {layer}: it has {} layers of {} heads",
                        self.name, config.layers, config.heads
                    )));
                }
                let cache = self.chosen_cache(request.cache).policy;
                if !perturbation.fits(cache) {
                    return Err(EngineError::Request(format!(
                        "the first token's values cannot be read from {cache}; use the cache `full`, or another target"
                    )));
                }
                (Some(perturbation), None)
            }
        };
        Contrasting::new(contrast.clone(), perturbation, prompt).map(Some)
    }

    /// SpecKV: a cache of `pairs` pairs a KV head, ready for the last of `tokens`. Reads on the calling thread.
    fn pruned(
        &self,
        request: &GenerateRequest,
        tokens: &[u32],
        pairs: usize,
    ) -> Result<Cache, EngineError> {
        let policy = request.compress;
        let Some(draft) = &self.draft else {
            return Err(EngineError::Request(format!(
                "{policy} needs a draft model of the same vocabulary (--draft)"
            )));
        };
        let cache = self.chosen_cache(request.cache).policy;
        if cache != CachePolicy::Full {
            return Err(EngineError::Request(format!(
                "{policy} chooses keys and values one by one, and {cache} keeps them in groups; use the cache `full`, or \
                 specpc with {cache}"
            )));
        }
        if pairs <= compress::PAIR_WINDOW {
            return Err(EngineError::Request(format!(
                "{policy} always keeps the last {} tokens; ask for more than that",
                compress::PAIR_WINDOW
            )));
        }
        let most = compress::LOOKAHEAD.min(request.max_tokens);
        let lookahead = draft.lookahead(tokens, most, self.tokenizer.end_tokens())?;
        // What is protected may have moved: it is looked for where it stands now.
        let protected = compress::ranges_of(tokens, &self.tokenizer, &request.protect);
        let selection = compress::PairSelection {
            budget: pairs,
            window: compress::PAIR_WINDOW,
            kernel: compress::PAIR_KERNEL,
        };
        self.decoder
            .read_pruned(tokens, &lookahead, &selection, &protected)
    }

    /// The cache policy of a request that asks for `choice`, or says nothing, and why it is that one.
    pub fn chosen_cache(&self, choice: Option<CacheChoice>) -> Chosen {
        choice
            .unwrap_or(self.cache)
            .resolve(&self.decoder.cache_shape(), self.context_tokens())
    }

    /// What `choice` comes to for this model; worked out once a policy.
    fn plan(&self, choice: Option<CacheChoice>) -> Result<CachePlan, EngineError> {
        let policy = self.chosen_cache(choice).policy;
        // Held while a policy is worked out, so that two requests do not do it twice.
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(&policy) {
            return Ok(plan.clone());
        }
        let plan = self.decoder.cache_plan(policy, Window::Recent)?;
        plans.insert(policy, plan.clone());
        Ok(plan)
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        self.decoder.config()
    }

    /// The model itself, as its thread runs it.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The tokens a prompt becomes. Text of messages, and of [`Prompt::Text`], is data: control
    /// tokens written in it are ordinary text.
    ///
    /// # Errors
    /// [`EngineError::TooLong`] where no room would be left for an output, [`EngineError::Request`]
    /// where there is nothing to read.
    pub fn prompt_tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, EngineError> {
        self.prompt_tokens_within(prompt, self.context_tokens())
    }

    fn prompt_tokens_within(&self, prompt: &Prompt, limit: usize) -> Result<Vec<u32>, EngineError> {
        let too_long = |tokens| EngineError::TooLong {
            tokens,
            limit,
            mend: "shorten the prompt or choose a model with a longer context".to_string(),
        };
        let characters: usize = match prompt {
            Prompt::Chat(messages) => messages.iter().map(|message| message.content.len()).sum(),
            Prompt::Text(text) => text.len(),
            Prompt::Tokens(_) => 0,
        };
        // Even if every token were the longest there is, this would not fit: say so before the
        // tokenizer works through megabytes.
        let least = characters / self.tokenizer.longest_token_bytes().max(1);
        if least > limit {
            return Err(too_long(least));
        }
        let tokens = compress::encode(prompt, &self.tokenizer, &self.template)?;
        let vocab = self.decoder.config().vocab;
        if let Some(foreign) = tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(EngineError::Request(format!(
                "token {foreign} is outside the vocabulary of {vocab} tokens"
            )));
        }
        if tokens.is_empty() {
            return Err(EngineError::Request("the prompt is empty".to_string()));
        }
        if tokens.len() >= limit {
            return Err(too_long(tokens.len()));
        }
        Ok(tokens)
    }

    fn too_long(&self, tokens: usize) -> EngineError {
        EngineError::TooLong {
            tokens,
            limit: self.context_tokens(),
            mend: "shorten the prompt or choose a model with a longer context".to_string(),
        }
    }
}

impl LanguageModel for LocalModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn context_tokens(&self) -> usize {
        self.decoder.context()
    }

    fn load(&self) -> Option<ModelLoad> {
        Some(ModelLoad {
            running: self.told.running.load(Ordering::Relaxed),
            waiting: self.queue.waiting(),
            cache_bytes: self.told.cache_bytes.load(Ordering::Relaxed),
            kept_bytes: self.told.kept_bytes.load(Ordering::Relaxed),
        })
    }

    fn attend(&self, request: &AttentionRequest) -> Result<Attention, EngineError> {
        attention::attend(&self.decoder, &self.tokenizer, &self.template, request)
    }

    fn count_tokens(&self, text: &str) -> Result<usize, EngineError> {
        Ok(self.tokenizer.encode(text)?.len())
    }

    fn generate(&self, request: GenerateRequest) -> Result<Generation, EngineError> {
        if request.max_tokens == 0 {
            return Err(EngineError::Request(
                "max_tokens is 0; ask for at least 1".to_string(),
            ));
        }
        let contrast = self.contrasting(&request)?;
        let short = self.shortened(&request)?;
        let max_tokens = request.max_tokens.min(self.context_tokens());
        let grammar = match &request.grammar {
            Some(grammar) => Some(self.grammars.start(grammar)?),
            None => None,
        };
        // One event a token, the held-back rest and the end: the model thread never waits for a
        // slow reader.
        let (sender, receiver) = tokio::sync::mpsc::channel(max_tokens + 2);
        self.queue.submit(Job {
            prompt: short.tokens,
            begun: short.begun,
            plan: self.plan(request.cache)?,
            work: Work::Write(Box::new(Writing::new(WritingParts {
                sender,
                tokenizer: Arc::clone(&self.tokenizer),
                sampler: Sampler::new(request.sampling)?,
                grammar,
                stops: StopStream::new(&request.stop),
                max_tokens,
                whole_prompt: short.whole,
                compress_ms: short.ms,
                context: self.context_tokens(),
                contrast,
            }))),
        })?;
        Ok(Generation::new(receiver))
    }

    fn score(
        &self,
        prompt: Prompt,
        continuations: &[String],
    ) -> Result<Vec<(f64, usize)>, EngineError> {
        let prompt = self.prompt_tokens(&prompt)?;
        let continuations = continuations
            .iter()
            .map(|text| self.tokenizer.encode(text))
            .collect::<Result<Vec<_>, EngineError>>()?;
        let longest = continuations.iter().map(Vec::len).max().unwrap_or(0);
        if prompt.len() + longest > self.context_tokens() {
            return Err(self.too_long(prompt.len() + longest));
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.queue.submit(Job {
            prompt,
            begun: None,
            plan: self.plan(None)?,
            work: Work::Score(Box::new(Scoring::new(continuations, Reply::new(sender)))),
        })?;
        receiver.blocking_recv().map_err(|_| EngineError::Stopped)?
    }
}

impl Drop for LocalModel {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there; its callers got `Stopped`.
            let _ = thread.join();
        }
    }
}
