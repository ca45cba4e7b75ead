//! A model that is watched: every call of one question with its prompt, output, time and tokens, and the
//! question's budget kept.
//!
//! The wrapper stands between a ranker or the agent and the model, so neither has to know of
//! evaluation. It must not change what the model reads or writes, except to end it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use footnote_engine::{
    EngineError, GenerateEvent, GenerateRequest, Generation, LanguageModel, Prompt,
};
use footnote_store::EvalCall;
use tokio::sync::mpsc;

use crate::suite::Budget;

/// Events between the model and its caller.
const EVENTS: usize = 64;

/// What one worker's model was asked for the question in hand.
#[derive(Clone)]
pub struct Watch {
    budget: Budget,
    state: Arc<Mutex<State>>,
}

struct State {
    started: Instant,
    calls: Vec<EvalCall>,
    tokens: usize,
    over: Option<String>,
}

impl Watch {
    /// For one worker: it has one question in hand at a time.
    pub(super) fn new(budget: Budget) -> Watch {
        Watch {
            budget,
            state: Arc::new(Mutex::new(State {
                started: Instant::now(),
                calls: Vec::new(),
                tokens: 0,
                over: None,
            })),
        }
    }

    /// The same model, watched.
    pub fn model(&self, model: Arc<dyn LanguageModel>) -> Arc<dyn LanguageModel> {
        Arc::new(Watched {
            model,
            watch: self.clone(),
        })
    }

    /// A new question: its time starts.
    pub(super) fn begin(&self) {
        *self.state() = State {
            started: Instant::now(),
            calls: Vec::new(),
            tokens: 0,
            over: None,
        };
    }

    /// The calls of the question, the time since it began, and which budget it broke.
    pub(super) fn end(&self) -> (Vec<EvalCall>, Duration, Option<String>) {
        let mut state = self.state();
        // A ranker without a model is never stopped, but what it took counts all the same.
        if state.over.is_none() {
            state.over = self.broken(&state);
        }
        let elapsed = state.started.elapsed();
        (std::mem::take(&mut state.calls), elapsed, state.over.take())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; a poisoned state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self, state: &State) -> Option<String> {
        let seconds = state.started.elapsed().as_secs_f64();
        if let Some(limit) = self.budget.seconds.filter(|limit| seconds > *limit) {
            return Some(format!("the question took more than {limit} seconds"));
        }
        (self.budget.tokens)
            .filter(|limit| state.tokens > *limit)
            .map(|limit| format!("the question took more than {limit} tokens"))
    }

    /// An error where the budget is used up.
    fn check(&self) -> Result<(), EngineError> {
        let mut state = self.state();
        if state.over.is_none() {
            state.over = self.broken(&state);
        }
        match &state.over {
            Some(reason) => Err(EngineError::Request(format!(
                "stopped at the suite's budget: {reason}"
            ))),
            None => Ok(()),
        }
    }

    fn note(&self, call: EvalCall) {
        let mut state = self.state();
        let tokens = call.tokens_in.saturating_add(call.tokens_out);
        state.tokens = (state.tokens).saturating_add(usize::try_from(tokens).unwrap_or(0));
        state.calls.push(call);
    }
}

struct Watched {
    model: Arc<dyn LanguageModel>,
    watch: Watch,
}

impl LanguageModel for Watched {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn context_tokens(&self) -> usize {
        self.model.context_tokens()
    }

    fn count_tokens(&self, text: &str) -> Result<usize, EngineError> {
        self.model.count_tokens(text)
    }

    fn generate(&self, mut request: GenerateRequest) -> Result<Generation, EngineError> {
        self.watch.check()?;
        if let Some(limit) = self.watch.budget.tokens {
            let left = limit.saturating_sub(self.watch.state().tokens).max(1);
            request.max_tokens = request.max_tokens.min(left);
        }
        let prompt = readable(&request.prompt);
        let started = Instant::now();
        let inner = self.model.generate(request)?;
        let (sender, receiver) = mpsc::channel(EVENTS);
        let watch = self.watch.clone();
        std::thread::spawn(move || pass_on(inner, &sender, &watch, prompt, started));
        Ok(Generation::new(receiver))
    }

    fn score(
        &self,
        prompt: Prompt,
        continuations: &[String],
    ) -> Result<Vec<(f64, usize)>, EngineError> {
        self.watch.check()?;
        let text = readable(&prompt);
        let started = Instant::now();
        let scores = self.model.score(prompt, continuations)?;
        let shown: Vec<String> = continuations
            .iter()
            .zip(&scores)
            .map(|(text, (log_probability, _))| format!("{text:?} {log_probability:.4}"))
            .collect();
        // A scoring tells no count for its prompt; the tokenizer does, but for the template's few.
        let tokens_in = self.model.count_tokens(&text)?
            + scores.iter().map(|(_, tokens)| tokens).sum::<usize>();
        self.watch.note(EvalCall {
            prompt: text,
            output: shown.join("\n"),
            time_ms: started.elapsed().as_secs_f64() * 1e3,
            tokens_in: i64::try_from(tokens_in).unwrap_or(i64::MAX),
            tokens_out: 0,
        });
        Ok(scores)
    }
}

/// Passes a model's events on until it ends, its caller leaves, or the budget is used up. The call is
/// noted before its end is told, so that whoever is told finds it noted.
fn pass_on(
    inner: Generation,
    sender: &mpsc::Sender<Result<GenerateEvent, EngineError>>,
    watch: &Watch,
    prompt: String,
    started: Instant,
) {
    let mut output = String::new();
    let call = |output: &str, tokens_in: usize, tokens_out: usize| {
        watch.note(EvalCall {
            prompt: prompt.clone(),
            output: output.to_owned(),
            time_ms: started.elapsed().as_secs_f64() * 1e3,
            tokens_in: i64::try_from(tokens_in).unwrap_or(i64::MAX),
            tokens_out: i64::try_from(tokens_out).unwrap_or(i64::MAX),
        });
    };
    for event in inner {
        match &event {
            Ok(GenerateEvent::Text(more)) => output.push_str(more),
            Ok(GenerateEvent::Done(_, usage)) => {
                call(&output, usage.tokens_in, usage.tokens_out);
                // Whether the caller still listens makes no difference here.
                let _ = sender.blocking_send(event);
                return;
            }
            Err(_) => {
                call(&output, 0, 0);
                let _ = sender.blocking_send(event);
                return;
            }
        }
        let event = watch.check().map(|()| event).unwrap_or_else(Err);
        let stopped = event.is_err();
        if sender.blocking_send(event).is_err() || stopped {
            call(&output, 0, 0);
            return;
        }
    }
}

/// A prompt for people to read.
fn readable(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Tokens(tokens) => format!("{} tokens", tokens.len()),
        Prompt::Chat(messages) => messages
            .iter()
            .map(|message| {
                format!(
                    "{}: {}",
                    format!("{:?}", message.role).to_lowercase(),
                    message.content
                )
            })
            .collect::<Vec<_>>()
            .join("\n\n"),
    }
}

#[cfg(test)]
mod tests {
    use footnote_engine::{FinishReason, Usage};

    use super::*;

    /// Writes `words` words and takes a token for each.
    struct Chatty(usize);

    impl LanguageModel for Chatty {
        fn name(&self) -> &str {
            "chatty"
        }
        fn context_tokens(&self) -> usize {
            4096
        }
        fn count_tokens(&self, text: &str) -> Result<usize, EngineError> {
            Ok(text.split_whitespace().count())
        }
        fn generate(&self, request: GenerateRequest) -> Result<Generation, EngineError> {
            let (sender, receiver) = mpsc::channel(4096);
            let words = self.0.min(request.max_tokens);
            for _ in 0..words {
                sender
                    .try_send(Ok(GenerateEvent::Text("word ".to_owned())))
                    .unwrap();
            }
            let usage = Usage {
                tokens_in: 7,
                tokens_out: words,
                ..Usage::default()
            };
            sender
                .try_send(Ok(GenerateEvent::Done(FinishReason::End, usage)))
                .unwrap();
            Ok(Generation::new(receiver))
        }
        fn score(&self, _: Prompt, all: &[String]) -> Result<Vec<(f64, usize)>, EngineError> {
            Ok(all.iter().map(|_| (-1.0, 1)).collect())
        }
    }

    fn ask(model: &Arc<dyn LanguageModel>) -> Result<String, EngineError> {
        let request = GenerateRequest::new(Prompt::Text("two words".to_owned()), 100);
        Ok(model.generate(request)?.complete()?.text)
    }

    #[test]
    fn calls_are_kept_question_by_question() {
        let watch = Watch::new(Budget::default());
        let model = watch.model(Arc::new(Chatty(2)));
        watch.begin();
        assert_eq!(ask(&model).unwrap(), "word word ");
        let letters = ["A".to_owned(), "B".to_owned()];
        model
            .score(Prompt::Text("which".to_owned()), &letters)
            .unwrap();
        let (calls, _, over) = watch.end();
        assert_eq!(over, None);
        let tokens: Vec<_> = calls.iter().map(|c| (c.tokens_in, c.tokens_out)).collect();
        assert_eq!(tokens, [(7, 2), (3, 0)]);
        assert_eq!(calls[1].output, "\"A\" -1.0000\n\"B\" -1.0000");
        watch.begin();
        assert!(watch.end().0.is_empty());
    }

    #[test]
    fn a_budget_of_tokens_ends_the_question_and_says_so() {
        let watch = Watch::new(Budget {
            seconds: None,
            tokens: Some(20),
        });
        let model = watch.model(Arc::new(Chatty(50)));
        watch.begin();
        // Cut to what is left, then refused.
        assert_eq!(ask(&model).unwrap().split_whitespace().count(), 20);
        assert!(ask(&model).unwrap_err().to_string().contains("budget"));
        let (calls, _, over) = watch.end();
        assert_eq!(calls.len(), 1);
        assert!(over.unwrap().contains("20 tokens"));
    }

    #[test]
    fn a_budget_of_time_stops_a_model_that_is_writing() {
        let watch = Watch::new(Budget {
            seconds: Some(1e-9),
            tokens: None,
        });
        let model = watch.model(Arc::new(Chatty(50)));
        watch.begin();
        assert!(ask(&model).is_err());
        assert!(watch.end().2.unwrap().contains("seconds"));
    }
}
