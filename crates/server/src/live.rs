//! Answers in the making: their events in order, for one listener or several, now or again later.
//!
//! Events stand in a list, and a listener is a place in it: a slow reader costs nothing, and one that was cut off goes
//! on where it stood. When the last listener is gone the work is cancelled, at once or after the time that the asker
//! wished. Must not know how an answer is made.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use footnote_engine::CancellationToken;
use serde_json::Value;
use tokio::sync::watch;

/// Finished answers that are kept for resuming at once.
const KEPT_MAX: usize = 256;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveEvent {
    /// Its type.
    pub name: &'static str,
    /// Its data.
    pub data: Arc<Value>,
}

/// An answer in the making, or a finished one that can still be read.
#[derive(Debug)]
pub struct Live {
    /// Its name, which becomes its trace's.
    pub id: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// Ends the work.
    pub cancel: CancellationToken,
    linger: Duration,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    listeners: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<LiveEvent>,
    ended: Option<Instant>,
}

impl Live {
    fn new(id: String, owner: Option<String>, linger: Duration) -> Live {
        Live {
            id,
            owner,
            cancel: CancellationToken::new(),
            linger,
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            listeners: AtomicUsize::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A list that grows at its end is whole whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event.
    pub fn tell(&self, name: &'static str, data: Value) {
        self.state().events.push(LiveEvent {
            name,
            data: Arc::new(data),
        });
        self.changed.send_replace(());
    }

    /// Adds the last event.
    pub fn end(&self, name: &'static str, data: Value) {
        {
            let mut state = self.state();
            state.events.push(LiveEvent {
                name,
                data: Arc::new(data),
            });
            state.ended = Some(Instant::now());
        }
        self.changed.send_replace(());
    }

    fn has_ended(&self) -> bool {
        self.state().ended.is_some()
    }
}

/// A reader of an answer's events, from a place on.
pub struct Listener {
    live: Arc<Live>,
    next: usize,
    changed: watch::Receiver<()>,
}

impl Listener {
    /// Listens from the event number `from` on.
    pub fn new(live: Arc<Live>, from: usize) -> Listener {
        live.listeners.fetch_add(1, Ordering::SeqCst);
        Listener {
            changed: live.changed.subscribe(),
            live,
            next: from,
        }
    }

    /// The answer.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The next event with its number, or `None` after the last.
    pub async fn next(&mut self) -> Option<(usize, LiveEvent)> {
        loop {
            self.changed.mark_unchanged();
            {
                let state = self.live.state();
                if let Some(event) = state.events.get(self.next) {
                    self.next += 1;
                    return Some((self.next - 1, event.clone()));
                }
                if state.ended.is_some() {
                    return None;
                }
            }
            // The sender lives in `live`, which this holds.
            let _ = self.changed.changed().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let last = self.live.listeners.fetch_sub(1, Ordering::SeqCst) == 1;
        if !last || self.live.has_ended() {
            return;
        }
        if self.live.linger.is_zero() {
            self.live.cancel.cancel();
            return;
        }
        let live = Arc::clone(&self.live);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            live.cancel.cancel();
            return;
        };
        runtime.spawn(async move {
            tokio::time::sleep(live.linger).await;
            if live.listeners.load(Ordering::SeqCst) == 0 {
                live.cancel.cancel();
            }
        });
    }
}

/// All answers in the making and those that ended a little while ago.
#[derive(Debug)]
pub struct Registry {
    lives: Mutex<HashMap<String, Arc<Live>>>,
    kept: Duration,
}

impl Registry {
    /// Keeps ended answers for `kept`.
    pub fn new(kept: Duration) -> Registry {
        Registry {
            lives: Mutex::default(),
            kept,
        }
    }

    /// Begins an answer.
    pub fn begin(&self, id: String, owner: Option<String>, linger: Duration) -> Arc<Live> {
        let live = Arc::new(Live::new(id, owner, linger));
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = |live: &Live| live.state().ended;
        lives.retain(|_, live| ended(live).is_none_or(|at| at.elapsed() < self.kept));
        if lives.len() >= KEPT_MAX {
            let oldest = lives
                .values()
                .filter_map(|live| Some((ended(live)?, live.id.clone())))
                .min();
            if let Some((_, id)) = oldest {
                lives.remove(&id);
            }
        }
        lives.insert(live.id.clone(), Arc::clone(&live));
        live
    }

    /// An answer by name.
    pub fn find(&self, id: &str) -> Option<Arc<Live>> {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.get(id).cloned()
    }

    /// How many are in the making.
    pub fn running(&self) -> usize {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.values().filter(|live| !live.has_ended()).count()
    }

    /// Cancels what is in the making.
    pub fn cancel_all(&self) {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        for live in lives.values().filter(|live| !live.has_ended()) {
            live.cancel.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_listener_that_comes_back_goes_on_where_it_stood() {
        let registry = Registry::new(Duration::from_secs(60));
        let live = registry.begin("a".to_owned(), None, Duration::from_secs(60));
        live.tell("token", json!("x"));
        let mut first = Listener::new(Arc::clone(&live), 0);
        assert_eq!(first.next().await.unwrap().0, 0);
        drop(first);
        assert!(!live.cancel.is_cancelled());
        live.tell("token", json!("y"));
        live.end("answer", json!("z"));
        let mut second = Listener::new(registry.find("a").unwrap(), 1);
        let (number, event) = second.next().await.unwrap();
        assert_eq!((number, event.data.as_str()), (1, Some("y")));
        assert_eq!(second.next().await.unwrap().1.name, "answer");
        assert!(second.next().await.is_none());
        assert_eq!(registry.running(), 0);
    }

    #[tokio::test]
    async fn the_last_one_to_leave_ends_the_work() {
        let registry = Registry::new(Duration::from_secs(60));
        let live = registry.begin("a".to_owned(), None, Duration::ZERO);
        let one = Listener::new(Arc::clone(&live), 0);
        let two = Listener::new(Arc::clone(&live), 0);
        drop(one);
        assert!(!live.cancel.is_cancelled());
        drop(two);
        assert!(live.cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_waiting_listener_is_woken() {
        let registry = Registry::new(Duration::ZERO);
        let live = registry.begin("a".to_owned(), None, Duration::ZERO);
        let mut listener = Listener::new(Arc::clone(&live), 0);
        let waiting =
            tokio::spawn(async move { listener.next().await.map(|(_, event)| event.name) });
        tokio::task::yield_now().await;
        live.end("answer", json!(null));
        assert_eq!(waiting.await.unwrap(), Some("answer"));
        // What ended is forgotten when its time is over.
        registry.begin("b".to_owned(), None, Duration::ZERO);
        assert!(registry.find("a").is_none());
    }
}
