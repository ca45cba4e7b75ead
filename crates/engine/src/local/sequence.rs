//! One request in progress: what it has read, what it reads next, and what it makes of the logits.
//!
//! Knows requests, grammars and text; must not know weights or how steps are put together.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::Sender;

use super::contrast::Contrasting;
use super::queue::Cancellable;
use crate::cache::{Cache, CachePlan};
use crate::decoder::Perturbation;
use crate::grammar::GrammarState;
use crate::sampling::{Sampler, log_probability};
use crate::text_stream::{CharacterStream, Passed, StopStream};
use crate::tokenizer::Tokenizer;
use crate::{EngineError, FinishReason, GenerateEvent, Usage};

/// The lane of a contrast's weak reading; the model's own is the first.
const WEAK: usize = 1;
/// How many continuations are read side by side, each on its own copy of the prompt's end.
const SCORING_LANES: usize = 16;

/// A request as it waits in the queue.
pub(super) struct Job {
    /// What the model reads; not empty.
    pub(super) prompt: Vec<u32>,
    /// A cache that holds the start of the prompt already.
    pub(super) begun: Option<Cache>,
    /// How its cache is kept.
    pub(super) plan: CachePlan,
    /// What for.
    pub(super) work: Work,
}

impl Job {
    /// Tokens that its first lane will hold at the end, and tokens that its other lanes write besides the prompt's, for
    /// each of them.
    pub(super) fn extent(&self) -> (usize, Vec<usize>) {
        match &self.work {
            Work::Write(writing) => {
                // What a grammar forces comes after the last drawn token, and is not read.
                let whole = (self.prompt.len() + writing.max_tokens).min(writing.context);
                let weak = writing.contrast.as_ref().map(|contrast| {
                    let own = contrast.weak_prompt.as_ref().map_or(0, Vec::len);
                    own + writing.max_tokens
                });
                (whole, weak.into_iter().collect())
            }
            Work::Score(scoring) => {
                let mut longest: Vec<usize> = scoring.continuations.iter().map(Vec::len).collect();
                longest.sort_unstable_by(|a, b| b.cmp(a));
                longest.truncate(SCORING_LANES);
                (self.prompt.len(), longest)
            }
        }
    }

    /// Ends it with an error before it began.
    pub(super) fn refuse(self, error: EngineError) {
        match self.work {
            // A caller who has gone needs no error.
            Work::Write(writing) => drop(writing.sender.try_send(Err(error))),
            Work::Score(mut scoring) => scoring.answer(Err(error)),
        }
    }
}

impl Cancellable for Job {
    fn is_cancelled(&self) -> bool {
        self.work.is_cancelled()
    }
}

/// What a request is for.
pub(super) enum Work {
    /// Writing text.
    Write(Box<Writing>),
    /// Scoring continuations.
    Score(Box<Scoring>),
}

impl Work {
    fn is_cancelled(&self) -> bool {
        match self {
            Work::Write(writing) => writing.sender.is_closed(),
            Work::Score(scoring) => scoring.reply.is_closed(),
        }
    }
}

/// Tells during a pass whether a sequence's caller is still there.
pub(super) struct Watch<'a>(&'a Work);

impl<'a> Watch<'a> {
    /// How the heads of a lane are moved.
    pub(super) fn perturbation(&self, lane: usize) -> Option<&'a Perturbation> {
        match self.0 {
            Work::Write(writing) if lane == WEAK => {
                writing.contrast.as_ref()?.perturbation.as_ref()
            }
            _ => None,
        }
    }

    /// Whether nobody waits any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Tokens to be read on one cache.
pub(super) struct Lane {
    /// Keys and values of what was read.
    pub(super) cache: Cache,
    /// What was read, as long as the cache.
    pub(super) read: Vec<u32>,
    /// What is to be read next, in order.
    pub(super) pending: Vec<u32>,
}

/// Which positions of a lane's pending tokens need logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The last pending token's.
    Last,
    /// Every token's.
    Every,
}

/// What rows of a step are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// Their logits.
    Logits,
    /// The likeliest token alone, among those that the grammar allows.
    Likeliest,
}

/// A sequence while a pass reads it.
pub(super) struct Parts<'a> {
    pub(super) lanes: &'a mut [Lane],
    pub(super) watch: Watch<'a>,
    /// What its output must look like, which may be asked meanwhile what can come next.
    pub(super) grammar: Option<&'a mut GrammarState>,
}

/// A request in progress.
pub(super) struct Sequence {
    /// What it reads on; one lane, or several while continuations are scored.
    pub(super) lanes: Vec<Lane>,
    work: Work,
    /// What its output must look like.
    grammar: Option<GrammarState>,
    finished: bool,
}

impl Sequence {
    /// Starts a job on `cache`, which may hold the start of its prompt already.
    pub(super) fn start(mut job: Job, cache: Cache) -> Sequence {
        if let Work::Write(writing) = &mut job.work {
            writing.started = Instant::now();
            writing.usage.tokens_in = writing.whole_prompt;
            writing.usage.tokens_kept = job.prompt.len() - (cache.position() - cache.len());
            writing.usage.compress_ms = writing.compress_ms;
            writing.prompt_read = job.prompt.len() - cache.position();
        }
        let (weak, grammar) = match &mut job.work {
            Work::Write(writing) => (writing.contrast.as_mut(), writing.grammar.take()),
            Work::Score(_) => (None, None),
        };
        // The weak prompt's own cache is as empty as a fresh one.
        let weak = weak.and_then(|contrast| contrast.weak_prompt.take());
        let weak = weak.map(|prompt| Lane {
            cache: cache.emptied(),
            read: Vec::new(),
            pending: prompt,
        });
        let pending = job.prompt.split_off(cache.position());
        let mut lanes = vec![Lane {
            cache,
            read: job.prompt,
            pending,
        }];
        lanes.extend(weak);
        Sequence {
            lanes,
            work: job.work,
            grammar,
            finished: false,
        }
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.work.is_cancelled()
    }

    /// What a pass needs of it, side by side.
    pub(super) fn parts(&mut self) -> Parts<'_> {
        Parts {
            lanes: &mut self.lanes,
            watch: Watch(&self.work),
            grammar: self.grammar.as_mut(),
        }
    }

    /// Whether its answer was sent.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether it has begun to write: its steps are short, and somebody watches.
    pub(super) fn is_writing(&self) -> bool {
        match &self.work {
            Work::Write(writing) => writing.first_token.is_some(),
            Work::Score(_) => false,
        }
    }

    /// Which logits its lanes need.
    pub(super) fn wanted(&self) -> Wanted {
        match &self.work {
            Work::Score(scoring) if scoring.base.is_some() => Wanted::Every,
            _ => Wanted::Last,
        }
    }

    /// Ends it with an error.
    pub(super) fn fail(&mut self, error: EngineError) {
        self.finished = true;
        match &mut self.work {
            // A caller who has gone needs no error.
            Work::Write(writing) => drop(writing.sender.try_send(Err(error))),
            Work::Score(scoring) => scoring.answer(Err(error)),
        }
    }

    /// The tokens and cache worth keeping for a later prompt.
    pub(super) fn into_kept(mut self) -> Option<(Vec<u32>, Cache)> {
        if let Work::Score(scoring) = &mut self.work
            && let Some((read, cache)) = scoring.base.take()
        {
            return Some((read, cache));
        }
        if self.lanes.is_empty() {
            return None;
        }
        let lane = self.lanes.swap_remove(0);
        Some((lane.read, lane.cache))
    }

    /// What its wanted rows of a step are for.
    pub(super) fn asks(&self) -> Asks {
        match &self.work {
            Work::Write(writing) if writing.contrast.is_none() && writing.sampler.is_greedy() => {
                Asks::Likeliest
            }
            _ => Asks::Logits,
        }
    }

    /// Takes the likeliest token after what lane `lane` has read, if there is one. As for
    /// [`take_logits`](Self::take_logits).
    pub(super) fn take_likeliest(&mut self, lane: usize, token: Option<u32>) {
        let Work::Write(writing) = &mut self.work else {
            return;
        };
        if self.finished {
            return;
        }
        let lane = &mut self.lanes[lane];
        match writing.write(token, lane, self.grammar.as_mut()) {
            Ok(Some(finish)) => {
                writing.finish(finish, &lane.cache);
                self.finished = true;
            }
            Ok(None) => {}
            Err(error) => self.fail(error),
        }
    }

    /// Takes the logits after token `position` of what lane `lane` has read. Must be called for
    /// every wanted row of a step in order, and [`settle`](Self::settle) once after them.
    pub(super) fn take_logits(&mut self, lane: usize, position: usize, logits: &mut [f32]) {
        if self.finished {
            return;
        }
        let outcome = match &mut self.work {
            Work::Write(writing) => {
                if let Some(contrast) = &mut writing.contrast {
                    contrast.hold(lane, logits);
                    return;
                }
                let lane = &mut self.lanes[lane];
                let grammar = self.grammar.as_mut();
                writing.advance(logits, None, lane, grammar).map(|over| {
                    if let Some(finish) = over {
                        writing.finish(finish, &lane.cache);
                        self.finished = true;
                    }
                })
            }
            Work::Score(scoring) => {
                scoring.take_logits(lane, position, logits);
                Ok(())
            }
        };
        if let Err(error) = outcome {
            self.fail(error);
        }
    }

    /// Once both readings of a contrast are there, the next token; the weak one begins where the model's own prompt was
    /// read.
    fn settle_contrast(
        writing: &mut Writing,
        lanes: &mut Vec<Lane>,
        grammar: Option<&mut GrammarState>,
    ) -> Result<bool, EngineError> {
        let Some(contrast) = &mut writing.contrast else {
            return Ok(false);
        };
        if contrast.waits_for_weak() && lanes.len() == WEAK {
            // The prompt's last token is read once more, by the weak reading.
            let strong = &lanes[0];
            let mut cache = strong.cache.fork();
            let held = cache.len();
            cache.truncate(held - 1);
            let again = strong.read.len() - (held - cache.len());
            lanes.push(Lane {
                cache,
                read: strong.read[..again].to_vec(),
                pending: strong.read[again..].to_vec(),
            });
            return Ok(false);
        }
        let Some((mut strong, weak)) = contrast.take() else {
            return Ok(false);
        };
        let over = writing.advance(&mut strong, Some(&weak), &mut lanes[0], grammar)?;
        if let Some(finish) = over {
            writing.finish(finish, &lanes[0].cache);
            return Ok(true);
        }
        lanes[WEAK].pending = lanes[0].pending.clone();
        Ok(false)
    }

    /// After a step's logits: a scoring request whose lanes are done gets its next ones or ends; a contrast draws its next
    /// token.
    pub(super) fn settle(&mut self) {
        if self.finished {
            return;
        }
        let scoring = match &mut self.work {
            Work::Score(scoring) => scoring,
            Work::Write(writing) => {
                let grammar = self.grammar.as_mut();
                match Sequence::settle_contrast(writing, &mut self.lanes, grammar) {
                    Ok(over) => self.finished = over,
                    Err(error) => self.fail(error),
                }
                return;
            }
        };
        if self.lanes.iter().any(|lane| !lane.pending.is_empty()) {
            return;
        }
        if scoring.base.is_none()
            && let Some(prompt) = self.lanes.pop()
        {
            scoring.base = Some((prompt.read, prompt.cache));
        }
        self.lanes = scoring.next_lanes();
        if self.lanes.is_empty() {
            let scores = scoring.scores();
            scoring.answer(Ok(scores));
            self.finished = true;
        }
    }
}

/// A text being written.
pub(super) struct Writing {
    sender: Sender<Result<GenerateEvent, EngineError>>,
    tokenizer: Arc<Tokenizer>,
    sampler: Sampler,
    /// Until it is begun.
    grammar: Option<GrammarState>,
    characters: CharacterStream,
    stops: StopStream,
    max_tokens: usize,
    context: usize,
    usage: Usage,
    started: Instant,
    /// Prompt tokens that had to be read.
    prompt_read: usize,
    first_token: Option<Instant>,
    /// Tokens of the prompt before compression.
    whole_prompt: usize,
    /// What compressing it took.
    compress_ms: f64,
    /// What it is written away from.
    contrast: Option<Contrasting>,
}

/// What a text needs besides its prompt.
pub(super) struct WritingParts {
    /// Where events go; has room for all of them.
    pub(super) sender: Sender<Result<GenerateEvent, EngineError>>,
    /// The model's tokenizer.
    pub(super) tokenizer: Arc<Tokenizer>,
    /// Draws tokens.
    pub(super) sampler: Sampler,
    /// What the output must look like.
    pub(super) grammar: Option<GrammarState>,
    /// Texts that end it.
    pub(super) stops: StopStream,
    /// Most tokens to write.
    pub(super) max_tokens: usize,
    /// Tokens of the prompt before compression.
    pub(super) whole_prompt: usize,
    /// Milliseconds that compressing it took.
    pub(super) compress_ms: f64,
    /// Most tokens to read and write.
    pub(super) context: usize,
    /// What it is written away from.
    pub(super) contrast: Option<Contrasting>,
}

impl Writing {
    pub(super) fn new(parts: WritingParts) -> Writing {
        Writing {
            sender: parts.sender,
            tokenizer: parts.tokenizer,
            sampler: parts.sampler,
            grammar: parts.grammar,
            characters: CharacterStream::default(),
            stops: parts.stops,
            max_tokens: parts.max_tokens,
            context: parts.context,
            usage: Usage::default(),
            started: Instant::now(),
            prompt_read: 0,
            first_token: None,
            whole_prompt: parts.whole_prompt,
            compress_ms: parts.compress_ms,
            contrast: parts.contrast,
        }
    }

    /// Draws the next token and writes it; `Some` where the text ends. `weak` are the logits of a contrast's weak reading.
    fn advance(
        &mut self,
        logits: &mut [f32],
        weak: Option<&[f32]>,
        lane: &mut Lane,
        mut grammar: Option<&mut GrammarState>,
    ) -> Result<Option<FinishReason>, EngineError> {
        if let Some(grammar) = &mut grammar {
            grammar.mask()?.apply(logits);
        }
        if let (Some(contrast), Some(weak)) = (&self.contrast, weak) {
            contrast.apply(logits, weak);
        }
        let token = self.sampler.draw(logits);
        self.write(token, lane, grammar)
    }

    /// Writes the next token, if there is one, and those the grammar forces after it; `Some` where the text ends.
    fn write(
        &mut self,
        token: Option<u32>,
        lane: &mut Lane,
        mut grammar: Option<&mut GrammarState>,
    ) -> Result<Option<FinishReason>, EngineError> {
        if self.first_token.is_none() {
            let now = Instant::now();
            let elapsed = now - self.started;
            self.first_token = Some(now);
            self.usage.ttft_ms = elapsed.as_secs_f64() * 1e3 + self.compress_ms;
            self.usage.prefill_tok_s = self.prompt_read as f64 / elapsed.as_secs_f64().max(1e-9);
        }
        let Some(token) = token else {
            return Err(match grammar {
                Some(_) => EngineError::Grammar("no token can continue the output".to_string()),
                None => EngineError::Weights(
                    "the model gave no numbers to choose from; its file may be damaged".to_string(),
                ),
            });
        };
        if self.tokenizer.end_tokens().contains(&token) {
            return Ok(Some(FinishReason::End));
        }
        let mut tokens = vec![token];
        if let Some(grammar) = &mut grammar {
            grammar.accept(token)?;
            tokens.extend(grammar.forced());
        }
        for token in &tokens {
            if self.tokenizer.end_tokens().contains(token) {
                return Ok(Some(FinishReason::End));
            }
            self.usage.tokens_out += 1;
            lane.pending.push(*token);
            let text = self.characters.push(self.tokenizer.bytes(*token));
            match self.stops.push(&text) {
                Passed::Text(text) => self.send(text),
                Passed::Stopped(text) => {
                    self.send(text);
                    return Ok(Some(FinishReason::Stop));
                }
            }
            if self.usage.tokens_out >= self.max_tokens
                || lane.read.len() + lane.pending.len() >= self.context
            {
                let over = grammar.is_some_and(|grammar| grammar.is_over());
                // The last token the grammar had room for was also the last one allowed.
                return Ok(Some(if over && Some(token) == tokens.last() {
                    FinishReason::End
                } else {
                    FinishReason::Length
                }));
            }
        }
        if grammar.is_some_and(|grammar| grammar.is_over()) {
            return Ok(Some(FinishReason::End));
        }
        Ok(None)
    }

    fn send(&self, text: String) {
        if !text.is_empty() {
            // The channel has room for one event a token and two more; a caller who has gone is
            // noticed before the next step.
            let _ = self.sender.try_send(Ok(GenerateEvent::Text(text)));
        }
    }

    fn finish(&mut self, finish: FinishReason, cache: &Cache) {
        if finish != FinishReason::Stop {
            let mut rest = self.stops.finish();
            if finish == FinishReason::End
                && let Passed::Text(last) = self.stops.push(&self.characters.finish())
            {
                rest.push_str(&last);
                rest.push_str(&self.stops.finish());
            }
            self.send(rest);
        }
        if let Some(first) = self.first_token {
            let seconds = first.elapsed().as_secs_f64();
            let after_first = self.usage.tokens_out.saturating_sub(1);
            if after_first > 0 && seconds > 0.0 {
                self.usage.decode_tok_s = after_first as f64 / seconds;
            }
        }
        self.usage.cache_bytes = cache.bytes();
        self.usage.cache_bytes_full = cache.full_bytes_per_token() * cache.position();
        let _ = self
            .sender
            .try_send(Ok(GenerateEvent::Done(finish, self.usage)));
    }
}

/// Sum of log probabilities and number of tokens, per continuation.
pub(super) type Scores = Vec<(f64, usize)>;

/// Continuations being scored after one prompt.
pub(super) struct Scoring {
    continuations: Vec<Vec<u32>>,
    sums: Vec<f64>,
    /// The prompt's tokens and cache, once read.
    base: Option<(Vec<u32>, Cache)>,
    /// Which continuation each lane reads.
    lanes: Vec<usize>,
    /// The next continuation without a lane.
    next: usize,
    reply: Reply,
}

/// Where scores go, once.
pub(super) struct Reply(Option<tokio::sync::oneshot::Sender<Result<Scores, EngineError>>>);

impl Reply {
    pub(super) fn new(sender: tokio::sync::oneshot::Sender<Result<Scores, EngineError>>) -> Reply {
        Reply(Some(sender))
    }

    fn is_closed(&self) -> bool {
        self.0.as_ref().is_none_or(|sender| sender.is_closed())
    }
}

impl Scoring {
    pub(super) fn new(continuations: Vec<Vec<u32>>, reply: Reply) -> Scoring {
        Scoring {
            sums: vec![0.0; continuations.len()],
            continuations,
            base: None,
            lanes: Vec::new(),
            next: 0,
            reply,
        }
    }

    /// `position` counts from the continuation's first token; from the prompt's end before.
    fn take_logits(&mut self, lane: usize, position: usize, logits: &[f32]) {
        match &self.base {
            None => {
                for (tokens, sum) in self.continuations.iter().zip(&mut self.sums) {
                    if let Some(first) = tokens.first() {
                        *sum += log_probability(logits, *first);
                    }
                }
            }
            Some((prompt, _)) => {
                let index = self.lanes[lane];
                let next = position + 1 - prompt.len();
                self.sums[index] += log_probability(logits, self.continuations[index][next]);
            }
        }
    }

    /// Lanes for the next continuations of more than one token; none when all are done.
    fn next_lanes(&mut self) -> Vec<Lane> {
        self.lanes.clear();
        let mut lanes = Vec::new();
        let Some((prompt, cache)) = &self.base else {
            return lanes;
        };
        while lanes.len() < SCORING_LANES && self.next < self.continuations.len() {
            let tokens = &self.continuations[self.next];
            if tokens.len() > 1 {
                self.lanes.push(self.next);
                lanes.push(Lane {
                    cache: cache.fork(),
                    read: prompt.clone(),
                    // The last token is only asked for, never read.
                    pending: tokens[..tokens.len() - 1].to_vec(),
                });
            }
            self.next += 1;
        }
        lanes
    }

    fn scores(&self) -> Scores {
        self.sums
            .iter()
            .zip(&self.continuations)
            .map(|(sum, tokens)| (*sum, tokens.len()))
            .collect()
    }

    fn answer(&mut self, scores: Result<Scores, EngineError>) {
        if let Some(sender) = self.reply.0.take() {
            // A caller who has gone needs no answer.
            let _ = sender.send(scores);
        }
    }
}
