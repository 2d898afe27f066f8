//! Whose turn it is to copy. The first in the queue that there is room for: who waits for a registry that is busy keeps nobody
//! from his turn who wants nothing of it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::CopyLimits;

/// The turns that are taken, and the queue.
pub(super) struct Turns {
    limits: CopyLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    all: usize,
    from: HashMap<Arc<str>, usize>,
    to: HashMap<Arc<str>, usize>,
    long: usize,
    long_from: HashMap<Arc<str>, usize>,
    queue: VecDeque<Waiting>,
}

struct Waiting {
    route: Route,
    turn: oneshot::Sender<Turn>,
}

/// From where to where.
#[derive(Clone)]
struct Route {
    from: Arc<str>,
    to: Arc<str>,
}

/// A turn. It is over when this is dropped.
pub(super) struct Turn {
    turns: Arc<Turns>,
    route: Route,
    /// It counts as long.
    is_long: AtomicBool,
}

impl Turns {
    pub(super) fn new(limits: CopyLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Waits for a turn. None only if the queue were lost.
    pub(super) async fn take(self: &Arc<Self>, from: &str, to: &str) -> Option<Turn> {
        let (turn, receiver) = oneshot::channel();
        let route = Route { from: from.into(), to: to.into() };
        self.lock().queue.push_back(Waiting { route, turn });
        self.admit();
        receiver.await.ok()
    }

    /// Gives turns to all in the queue that there is room for.
    fn admit(self: &Arc<Self>) {
        loop {
            let Some(Waiting { route, turn }) = self.lock().next(&self.limits) else { return };
            // Who went away meanwhile gives it back at once.
            drop(turn.send(Turn { turns: self.clone(), route, is_long: AtomicBool::new(false) }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the first from the queue that there is room for, and counts it.
    fn next(&mut self, limits: &CopyLimits) -> Option<Waiting> {
        self.queue.retain(|waiting| !waiting.turn.is_closed());
        if self.all >= limits.at_once.max(1) {
            return None;
        }
        let fits = |route: &Route| {
            count(&self.from, &route.from) < limits.from_one.max(1) && count(&self.to, &route.to) < limits.to_one.max(1)
        };
        let first = self.queue.iter().position(|waiting| fits(&waiting.route))?;
        let waiting = self.queue.remove(first)?;
        self.add(&waiting.route);
        Some(waiting)
    }

    fn add(&mut self, route: &Route) {
        self.all += 1;
        *self.from.entry(route.from.clone()).or_default() += 1;
        *self.to.entry(route.to.clone()).or_default() += 1;
    }

    fn remove(&mut self, route: &Route) {
        self.all = self.all.saturating_sub(1);
        less(&mut self.from, &route.from);
        less(&mut self.to, &route.to);
    }
}

impl Turn {
    /// Counts the turn among the long ones, if there is room among these.
    pub(super) fn lengthen(&self) -> bool {
        let limits = &self.turns.limits;
        {
            let mut state = self.turns.lock();
            let is_full = state.long >= limits.at_once.max(1)
                || count(&state.long_from, &self.route.from) >= limits.long_from_one();
            if is_full {
                return false;
            }
            state.long += 1;
            *state.long_from.entry(self.route.from.clone()).or_default() += 1;
            state.remove(&self.route);
            self.is_long.store(true, Ordering::Relaxed);
        }
        self.turns.admit();
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.turns.lock();
            if self.is_long.load(Ordering::Relaxed) {
                state.long = state.long.saturating_sub(1);
                less(&mut state.long_from, &self.route.from);
            } else {
                state.remove(&self.route);
            }
        }
        self.turns.admit();
    }
}

fn count(counts: &HashMap<Arc<str>, usize>, key: &str) -> usize {
    counts.get(key).copied().unwrap_or_default()
}

/// One less; what nobody uses is forgotten.
fn less(counts: &mut HashMap<Arc<str>, usize>, key: &Arc<str>) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn turns() -> Arc<Turns> {
        Turns::new(CopyLimits { at_once: 4, from_one: 2, to_one: 3, long_after: Duration::from_secs(60) })
    }

    fn is_empty(turns: &Turns) -> bool {
        let State { all, from, to, long, long_from, queue } = &*turns.lock();
        *all + *long + queue.len() == 0 && from.is_empty() && to.is_empty() && long_from.is_empty()
    }

    /// The turn that is given at once, if one is.
    async fn now(turns: &Arc<Turns>, from: &str, to: &str) -> Option<Turn> {
        let mut take = Box::pin(turns.take(from, to));
        match futures::poll!(&mut take) {
            std::task::Poll::Ready(turn) => turn,
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_busy_registry_keeps_nobody_else_from_a_turn() {
        let turns = turns();
        let taken = [now(&turns, "dead", "x").await, now(&turns, "dead", "x").await];
        assert!(taken.iter().all(Option::is_some));
        let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(turns.take("dead", "x"))).collect();
        for take in &mut waiting {
            assert!(futures::poll!(take).is_pending());
        }
        let other = now(&turns, "a", "x").await;
        assert!(other.is_some());
        assert!(now(&turns, "b", "x").await.is_none(), "x has all that it takes");
        assert!(now(&turns, "b", "y").await.is_some());
        drop((taken, other, waiting));
        assert!(is_empty(&turns));
    }

    #[tokio::test]
    async fn the_first_in_the_queue_comes_first() {
        let turns = turns();
        let taken = [now(&turns, "a", "x").await, now(&turns, "a", "y").await];
        let mut first = Box::pin(turns.take("a", "x"));
        let mut second = Box::pin(turns.take("a", "x"));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        let [one, _other] = taken;
        drop(one);
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut first).is_ready());
    }

    #[tokio::test]
    async fn who_goes_away_gives_back_a_turn_that_was_not_taken() {
        let turns = turns();
        let taken = [now(&turns, "a", "x").await, now(&turns, "a", "x").await];
        let mut gone = Box::pin(turns.take("a", "x"));
        assert!(futures::poll!(&mut gone).is_pending());
        drop(taken);
        // It has its turn by now, and never hears of it.
        drop(gone);
        assert!(is_empty(&turns));
    }

    #[tokio::test]
    async fn long_turns_count_apart_and_leave_room_to_other_sources() {
        let turns = turns();
        let mut taken = Vec::new();
        for _ in 0..2 {
            let turn = now(&turns, "a", "x").await.expect("room");
            assert!(turn.lengthen());
            taken.push(turn);
        }
        let third = now(&turns, "a", "x").await.expect("the others are long");
        assert!(!third.lengthen(), "half of the long ones may be from one source");
        let other = now(&turns, "b", "x").await.expect("room");
        assert!(other.lengthen());
        drop((taken, third, other));
        assert!(is_empty(&turns));
    }
}
