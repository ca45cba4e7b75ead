//! Keeps time and the trace, passes every step on as it happens, and knows whether anybody still waits.

use std::time::Instant;

use footnote_engine::CancellationToken;

use crate::{AgentError, Event, Removed, Step, Trace};

/// Tells and keeps the steps of one question.
pub(super) struct Recorder<'a> {
    tell: &'a mut dyn FnMut(Event),
    cancel: &'a CancellationToken,
    start: Instant,
    last: Instant,
    /// The trace so far.
    pub(super) trace: Trace,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        tell: &'a mut dyn FnMut(Event),
        cancel: &'a CancellationToken,
    ) -> Recorder<'a> {
        let now = Instant::now();
        Recorder {
            tell,
            cancel,
            start: now,
            last: now,
            trace: Trace::default(),
        }
    }

    /// Whether to go on.
    pub(super) fn go_on(&self) -> Result<(), AgentError> {
        if self.cancel.is_cancelled() {
            return Err(AgentError::Cancelled);
        }
        Ok(())
    }

    /// What ends the question early.
    pub(super) fn cancel(&self) -> &CancellationToken {
        self.cancel
    }

    /// A step is done; it took the time since the step before.
    pub(super) fn step(&mut self, step: Step) {
        let now = Instant::now();
        let event = Event {
            at_ms: millis(now - self.start),
            took_ms: millis(now - self.last),
            step,
        };
        self.last = now;
        self.trace.events.push(event.clone());
        (self.tell)(event);
    }

    /// A piece of text arrived; told, not kept.
    pub(super) fn token(&mut self, text: String) {
        let at_ms = millis(self.start.elapsed());
        (self.tell)(Event {
            at_ms,
            took_ms: 0.0,
            step: Step::Token { text },
        });
    }

    /// The end; told, not kept (an answer holds its own trace).
    pub(super) fn last(&mut self, step: Step) {
        let now = Instant::now();
        (self.tell)(Event {
            at_ms: millis(now - self.start),
            took_ms: millis(now - self.last),
            step,
        });
    }

    /// What was not let through.
    pub(super) fn removed(&self) -> Vec<Removed> {
        let removed = |event: &Event| match &event.step {
            Step::Removed { text, reason } => Some(Removed {
                text: text.clone(),
                reason: reason.clone(),
            }),
            _ => None,
        };
        self.trace.events.iter().filter_map(removed).collect()
    }

    /// The trace with its total time.
    pub(super) fn finish(&mut self) -> Trace {
        let mut trace = std::mem::take(&mut self.trace);
        trace.total_ms = millis(self.start.elapsed());
        trace
    }
}

fn millis(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}
