//! The model thread: takes requests, puts their tokens together into passes, hands out the logits.
//!
//! A pass takes one token (or the few its grammar forced) of every sequence that writes, and fills
//! up to a token budget with prompts, shared evenly; the budget is smaller while somebody watches a
//! text appear. Which sequence comes first goes round. This module must not know what a request
//! makes of its logits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::LocalOptions;
use super::prefix::PrefixStore;
use super::queue::{Cancellable, Queue};
use super::sequence::{Asks, Job, Lane, Sequence, Wanted};
use crate::EngineError;
use crate::cache::Cache;
use crate::decoder::{Decoder, LOGIT_ROWS, Origin, Outputs, Scratch, Step};
use crate::device::DeviceOptions;
use crate::kernels::GROUP_TOKENS;

/// Bounds of the model thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Sequences in progress.
    pub(super) running: usize,
    /// Prompt tokens of a pass.
    pub(super) prefill_chunk: usize,
    /// Prompt tokens of a pass in which others write.
    pub(super) shared_chunk: usize,
    /// Bytes of kept caches.
    pub(super) prefix_bytes: usize,
    /// Tokens of a pass in all; a device's buffers are for so many.
    pub(super) rows: usize,
    /// Lanes of a pass.
    pub(super) lanes: usize,
    /// Tokens of a group, with whose end a piece of a prompt ends where it can.
    pub(super) group: usize,
}

impl Limits {
    /// As the caller has it, and the device where there is one.
    pub(super) fn of(options: &LocalOptions, device: Option<&DeviceOptions>) -> Limits {
        let limits = Limits {
            running: options.running.max(1),
            prefill_chunk: options.prefill_chunk.max(1),
            shared_chunk: options.shared_chunk.max(1),
            prefix_bytes: options.prefix_bytes,
            rows: usize::MAX,
            lanes: usize::MAX,
            group: 1,
        };
        match device {
            None => limits,
            // Prompts are read in passes long enough that decoding weights costs little beside the products; a quarter of
            // one holds up the others' text little more than their own step.
            Some(device) => Limits {
                prefill_chunk: device.rows,
                shared_chunk: (device.rows / 4).max(1),
                rows: device.rows,
                lanes: device.sequences,
                // The rest of a begun group is read row by row on caches of codes, each row bringing all keys back.
                group: GROUP_TOKENS,
                ..limits
            },
        }
    }
}

/// What the thread tells of itself, for whoever looks.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) running: AtomicUsize,
    pub(super) cache_bytes: AtomicUsize,
    pub(super) kept_bytes: AtomicUsize,
}

/// What a pass gave of the rows that were asked for.
enum Given {
    /// All of them only asked for the likeliest token.
    Tokens(Vec<Option<u32>>),
    Hidden(Vec<f32>),
}

/// The state of the model thread.
pub(super) struct Scheduler {
    decoder: Arc<Decoder>,
    queue: Arc<Queue<Job>>,
    limits: Limits,
    active: Vec<Sequence>,
    /// A request that the device has no pages for yet.
    waiting: Option<Job>,
    kept: PrefixStore,
    scratch: Scratch,
    told: Arc<Told>,
}

/// Closes the queue when the thread ends, however it ends, so that nobody waits for it in vain.
struct CloseAtEnd(Arc<Queue<Job>>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Scheduler {
    pub(super) fn new(
        decoder: Arc<Decoder>,
        queue: Arc<Queue<Job>>,
        limits: Limits,
        told: Arc<Told>,
    ) -> Scheduler {
        Scheduler {
            decoder,
            queue,
            kept: PrefixStore::new(limits.prefix_bytes),
            limits,
            active: Vec::new(),
            waiting: None,
            scratch: Scratch::default(),
            told,
        }
    }

    /// Works until the queue is closed. Requests in progress then end: their streams break off.
    pub(super) fn run(mut self) {
        let _close = CloseAtEnd(Arc::clone(&self.queue));
        while self.admit() {
            self.pass();
            self.retire();
            if !self.active.is_empty() {
                self.active.rotate_left(1);
            }
        }
    }

    /// Starts waiting requests while there is room; sleeps where there is nothing to do. False when
    /// the queue was closed.
    fn admit(&mut self) -> bool {
        self.retire();
        self.tell();
        while self.active.len() < self.limits.running {
            let job = match self.waiting.take() {
                // Nobody overtakes a request that waits for pages.
                Some(job) if job.is_cancelled() => continue,
                Some(job) => job,
                None if self.active.is_empty() => match self.queue.next() {
                    Some(job) => job,
                    None => return false,
                },
                None => match self.queue.next_now() {
                    Some(job) => job,
                    None => break,
                },
            };
            self.waiting = self.start(job);
            if self.waiting.is_some() {
                break;
            }
        }
        self.tell();
        !self.queue.is_closed()
    }

    /// Starts a request; gives it back where it must wait for others to end.
    fn start(&mut self, mut job: Job) -> Option<Job> {
        let policy = job.plan.policy();
        let mut cache = match job.begun.take() {
            Some(begun) => begun,
            None => match self.kept.find(&job.prompt, policy) {
                Some(kept) => kept,
                None => job.plan.empty(),
            },
        };
        if let Cache::Device(cache) = &mut cache {
            let (tokens, others) = job.extent();
            let wanted = cache.wanted(tokens, &others);
            // Kept prefixes are the first to go.
            while !cache.reserve(wanted) {
                if self.kept.drop_oldest() {
                    continue;
                }
                if !cache.could_hold(wanted) || self.active.is_empty() {
                    let error = cache.refusal(tokens, wanted);
                    job.refuse(error);
                    return None;
                }
                // What a begun cache holds was read for this request alone.
                job.begun = Some(Cache::Device(cache.fork()));
                return Some(job);
            }
        }
        self.active.push(Sequence::start(job, cache));
        None
    }

    /// Takes out what has ended or lost its caller, and keeps its cache for later prompts.
    fn retire(&mut self) {
        let mut index = 0;
        while index < self.active.len() {
            let sequence = &self.active[index];
            if !sequence.is_finished() && !sequence.is_cancelled() {
                index += 1;
                continue;
            }
            if let Some((tokens, cache)) = self.active.remove(index).into_kept() {
                self.kept.keep(tokens, cache);
            }
            // Only here do they change, and counting them takes a walk over their blocks.
            let kept_bytes = self.kept.bytes();
            self.told.kept_bytes.store(kept_bytes, Ordering::Relaxed);
        }
    }

    fn tell(&self) {
        let lanes = self.active.iter().flat_map(|sequence| &sequence.lanes);
        let cache_bytes = lanes.map(|lane| lane.cache.bytes()).sum();
        self.told
            .running
            .store(self.active.len(), Ordering::Relaxed);
        self.told.cache_bytes.store(cache_bytes, Ordering::Relaxed);
    }

    /// One pass over the model.
    fn pass(&mut self) {
        let takes = self.plan();
        let mut steps = Vec::new();
        let mut places = Vec::new();
        let (mut watch, mut grammars) = (Vec::new(), Vec::new());
        let mut asks_tokens = true;
        for (index, (sequence, takes)) in self.active.iter_mut().zip(&takes).enumerate() {
            let wanted = sequence.wanted();
            let asks = sequence.asks();
            let origin = if sequence.is_writing() {
                Origin::Written
            } else {
                Origin::Prompt
            };
            let parts = sequence.parts();
            for (lane_index, (lane, take)) in parts.lanes.iter_mut().zip(takes).enumerate() {
                if *take == 0 {
                    continue;
                }
                let outputs = match wanted {
                    Wanted::Every => Outputs::Every,
                    Wanted::Last if *take == lane.pending.len() => Outputs::Last,
                    Wanted::Last => Outputs::None,
                };
                let Lane {
                    cache,
                    read,
                    pending,
                } = lane;
                let rows = match outputs {
                    Outputs::None => 0..0,
                    Outputs::Last => read.len() + take - 1..read.len() + take,
                    Outputs::Every => read.len()..read.len() + take,
                };
                asks_tokens &= rows.is_empty() || asks == Asks::Likeliest;
                places.extend(rows.map(|position| (index, lane_index, position)));
                steps.push(Step {
                    tokens: &pending[..*take],
                    origin,
                    cache,
                    outputs,
                    perturbation: parts.watch.perturbation(lane_index),
                });
            }
            watch.push(parts.watch);
            grammars.push(parts.grammar);
        }
        let queue = &self.queue;
        let keep_going = || !queue.is_closed() && watch.iter().any(|watch| !watch.is_cancelled());
        let mut unmasked = Vec::new();
        let read = match asks_tokens {
            true => {
                // Asked while a device is at the pass.
                let mut masks = || {
                    let masks = places.iter().map(|(index, ..)| {
                        let mask = grammars[*index].as_mut().map(|grammar| grammar.mask());
                        mask.transpose().unwrap_or_else(|error| {
                            unmasked.push((*index, error));
                            None
                        })
                    });
                    masks.collect()
                };
                self.decoder
                    .forward_likeliest(&mut steps, &mut self.scratch, &keep_going, &mut masks)
                    .map(|tokens| tokens.map(Given::Tokens))
            }
            false => self
                .decoder
                .forward(&mut steps, &mut self.scratch, &keep_going)
                .map(|hidden| hidden.map(Given::Hidden)),
        };
        drop((steps, watch, grammars));
        let given = match read {
            Ok(Some(given)) => given,
            Ok(None) => return,
            Err(error) => return self.fail(&error),
        };
        for (sequence, takes) in self.active.iter_mut().zip(&takes) {
            for (lane, take) in sequence.lanes.iter_mut().zip(takes) {
                lane.read.extend(lane.pending.drain(..*take));
            }
        }
        for (index, error) in unmasked {
            self.active[index].fail(error);
        }
        match given {
            Given::Tokens(tokens) => {
                for (token, (sequence, lane, _)) in tokens.into_iter().zip(places) {
                    self.active[sequence].take_likeliest(lane, token);
                }
            }
            Given::Hidden(hidden) => {
                if let Err(error) = self.hand_out(&hidden, &places) {
                    return self.fail(&error);
                }
            }
        }
        for sequence in &mut self.active {
            sequence.settle();
        }
    }

    /// Gives sequences the logits of the rows that a pass gave: `places` are each row's sequence, lane and position.
    fn hand_out(
        &mut self,
        hidden: &[f32],
        places: &[(usize, usize, usize)],
    ) -> Result<(), EngineError> {
        let width = self.decoder.config().hidden;
        let vocab = self.decoder.config().vocab;
        let chunks = hidden.chunks(LOGIT_ROWS * width);
        for (rows, places) in chunks.zip(places.chunks(LOGIT_ROWS)) {
            let mut logits = self.decoder.logits(rows)?;
            let of_rows = logits.chunks_exact_mut(vocab).zip(places);
            for (logits, (sequence, lane, position)) in of_rows {
                self.active[*sequence].take_logits(*lane, *position, logits);
            }
        }
        Ok(())
    }

    /// Ends all requests: the pass that they shared failed.
    fn fail(&mut self, error: &EngineError) {
        tracing::error!(error = %error, "a pass failed");
        for sequence in &mut self.active {
            sequence.fail(EngineError::Request(error.to_string()));
        }
    }

    /// How many pending tokens every lane of every sequence reads in the next pass.
    fn plan(&self) -> Vec<Vec<usize>> {
        let someone_writes = self.active.iter().any(Sequence::is_writing);
        let mut budget = if someone_writes {
            self.limits.shared_chunk
        } else {
            self.limits.prefill_chunk
        }
        .max(1);
        let mut readers: usize = self
            .active
            .iter()
            .filter(|sequence| !sequence.is_writing())
            .map(|sequence| sequence.lanes.len())
            .sum();
        let (mut rows, mut room) = (self.limits.rows, self.limits.lanes);
        let mut takes = Vec::new();
        for sequence in &self.active {
            let mut lanes = Vec::new();
            for lane in &sequence.lanes {
                // What a pass has no room for is read in the next one, which begins with another sequence.
                let most = if room == 0 { 0 } else { rows };
                let take = if sequence.is_writing() {
                    // One token, and those a grammar forced: all at once, in pieces if very many.
                    let piece = self.limits.prefill_chunk.max(1);
                    lane.pending.len().min(piece).min(most)
                } else {
                    // An even share of what is left; what one does not use, the next ones get.
                    let share = budget.div_ceil(readers.max(1));
                    readers -= 1;
                    let take = lane.pending.len().min(share).min(budget).min(most);
                    let take = match take < lane.pending.len() {
                        true => to_group_end(lane.cache.len(), take, self.limits.group),
                        false => take,
                    };
                    budget -= take;
                    take
                };
                rows -= take;
                room -= usize::from(take > 0);
                lanes.push(take);
            }
            takes.push(lanes);
        }
        takes
    }
}

/// Tokens of a piece of `take` after `held` ones, less those behind the last group's end in it, if one ends there.
fn to_group_end(held: usize, take: usize, group: usize) -> usize {
    let behind = (held + take) % group;
    if behind < take { take - behind } else { take }
}

#[cfg(test)]
mod tests {
    use super::to_group_end;

    #[test]
    fn pieces_end_with_a_group_where_they_can() {
        assert_eq!(to_group_end(0, 512, 128), 512);
        assert_eq!(to_group_end(0, 170, 128), 128);
        assert_eq!(to_group_end(100, 170, 128), 156);
        assert_eq!(to_group_end(100, 20, 128), 20, "no group ends there");
        assert_eq!(to_group_end(100, 28, 128), 28);
        assert_eq!(to_group_end(7, 9, 1), 9, "without groups");
        assert_eq!(to_group_end(7, 0, 128), 0);
    }
}
