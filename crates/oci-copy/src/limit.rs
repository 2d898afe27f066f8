//! How much is asked of a registry at once.
//!
//! Each registry has its own limits, and they follow it: they grow by one for every full round of quick answers, and are
//! halved when it says 429 or 503 (additive increase, multiplicative decrease, as TCP does it). So a copy finds out by
//! itself what a registry takes, and is never what makes it refuse for long.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Between which numbers a limit moves, and where it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) start: usize,
    pub(crate) max: usize,
}

impl Bounds {
    /// From a limit that a configuration gives: it is where nothing is exceeded, and half of it is the start.
    pub(crate) fn up_to(max: usize) -> Self {
        let max = max.clamp(1, 4096);
        Self { start: max.div_ceil(2), max }
    }

    /// From a limit that leaves enough to others: it is the start, too.
    pub(crate) fn all_of(max: usize) -> Self {
        let max = max.clamp(1, 4096);
        Self { start: max, max }
    }
}

/// The number that may be in flight, as the answers so far suggest it.
#[derive(Debug)]
struct Aimd {
    bounds: Bounds,
    limit: f64,
    quickest: Option<Duration>,
    cut_at: Option<Instant>,
}

impl Aimd {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, limit: bounds.start as f64, quickest: None, cut_at: None }
    }

    fn limit(&self) -> usize {
        // Never below one: a limit of nothing would never learn that the registry is well again.
        (self.limit as usize).clamp(1, self.bounds.max)
    }

    /// An answer came. A quick one lets the limit grow; one that took much longer than the quickest tells of a queue at
    /// the other end, and takes back what was gained above the start.
    fn answered(&mut self, took: Duration) {
        let quickest = *self.quickest.get_or_insert(took);
        // It forgets slowly: a path that became longer is not congestion for ever.
        let quickest = took.min(quickest + quickest / 256);
        self.quickest = Some(quickest);
        if took <= quickest * 4 + Duration::from_millis(50) {
            self.grow();
        } else if took > quickest * 16 + Duration::from_millis(500) && self.limit > self.bounds.start as f64 {
            self.limit -= 1.0 / self.limit;
        }
    }

    fn grow(&mut self) {
        self.limit = (self.limit + 1.0 / self.limit).min(self.bounds.max as f64);
    }

    /// The registry said that it is too much. What was sent before the last cut tells nothing new.
    fn overloaded(&mut self, sent: Instant, now: Instant) {
        if self.cut_at.is_none_or(|cut| sent > cut) {
            self.limit = (self.limit / 2.0).max(1.0);
            self.cut_at = Some(now);
        }
    }
}

/// Limits what is in flight to a registry.
pub(crate) struct Limiter {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    aimd: Aimd,
    /// Permits that exist, in use or not.
    issued: usize,
    /// The registry asked for a pause.
    paused_until: Option<Instant>,
}

impl Limiter {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        let aimd = Aimd::new(bounds);
        let issued = aimd.limit();
        let state = State { aimd, issued, paused_until: None };
        Arc::new(Self { permits: Arc::new(Semaphore::new(issued)), state: Mutex::new(state) })
    }

    /// Waits for its turn, and until a pause that the registry asked for is over.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Permit {
        // The semaphore is never closed, and without a permit nothing would be limited, which is no harm.
        let permit = self.permits.clone().acquire_owned().await.ok();
        loop {
            let until = self.lock().paused_until.filter(|until| *until > Instant::now());
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => break,
            }
        }
        Permit { limiter: self.clone(), permit, sent: Instant::now() }
    }

    /// Nothing more is sent for so long.
    pub(crate) fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        if state.paused_until.is_none_or(|old| old < until) {
            state.paused_until = Some(until);
        }
    }

    /// The registry said that it is too much, in answer to what was sent then.
    pub(crate) fn overloaded(&self, sent: Instant) {
        self.lock().aimd.overloaded(sent, Instant::now());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn limit(&self) -> usize {
        self.lock().aimd.limit()
    }
}

/// One thing in flight.
pub(crate) struct Permit {
    limiter: Arc<Limiter>,
    permit: Option<OwnedSemaphorePermit>,
    pub(crate) sent: Instant,
}

impl Permit {
    /// The registry answered, and not that it is too much.
    pub(crate) fn answered(&self) {
        self.answered_within(self.sent.elapsed());
    }

    /// The same of the last of several tries, which took so long by itself.
    pub(crate) fn answered_within(&self, took: Duration) {
        self.limiter.lock().aimd.answered(took);
    }

    /// It went well, and how long it took tells nothing.
    pub(crate) fn succeeded(&self) {
        self.limiter.lock().aimd.grow();
    }
}

impl Drop for Permit {
    /// The number of permits follows the limit here, where one is free.
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut state = self.limiter.lock();
        let limit = state.aimd.limit();
        if state.issued > limit {
            permit.forget();
            state.issued -= 1;
        } else if state.issued < limit {
            self.limiter.permits.add_permits(limit - state.issued);
            state.issued = limit;
        }
    }
}

/// So many a second, and a short burst of them.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    burst: u32,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        Self { interval: Duration::from_secs(1) / per_second, burst: per_second / 2, next: Mutex::new(None) }
    }

    /// Waits for its turn.
    pub(crate) async fn wait(&self) {
        let at = self.reserve(Instant::now());
        tokio::time::sleep_until(at).await;
    }

    /// When the next one may go.
    fn reserve(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = self.interval * self.burst;
        let theirs = match *next {
            Some(next) if next + saved > now => next,
            // It has been quiet: what may come at once is a burst, not all that was not used.
            _ => now.checked_sub(saved).unwrap_or(now),
        };
        *next = Some(theirs + self.interval);
        theirs.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test(start_paused = true)]
    async fn quick_answers_let_the_limit_grow_by_one_a_round_up_to_its_maximum() {
        let limiter = Limiter::new(Bounds::up_to(8));
        assert_eq!(limiter.limit(), 4);
        for _ in 0..200 {
            let permit = limiter.acquire().await;
            tokio::time::advance(Duration::from_millis(20)).await;
            permit.answered();
        }
        assert_eq!(limiter.limit(), 8);
        let held: Vec<_> = futures::future::join_all((0..8).map(|_| limiter.acquire())).await;
        let mut ninth = Box::pin(limiter.acquire());
        assert!(futures::poll!(&mut ninth).is_pending());
        drop(held);
        assert!(futures::poll!(&mut ninth).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_halves_the_limit_once_for_all_that_was_in_flight() {
        let limiter = Limiter::new(Bounds::up_to(32));
        let held: Vec<_> = futures::future::join_all((0..16).map(|_| limiter.acquire())).await;
        tokio::time::advance(Duration::from_millis(20)).await;
        for permit in &held {
            limiter.overloaded(permit.sent);
        }
        assert_eq!(limiter.limit(), 8);
        drop(held);
        let held: Vec<_> = futures::future::join_all((0..8).map(|_| limiter.acquire())).await;
        assert!(futures::poll!(Box::pin(limiter.acquire())).is_pending());
        tokio::time::advance(Duration::from_millis(20)).await;
        limiter.overloaded(held[0].sent + Duration::from_millis(1));
        assert_eq!(limiter.limit(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everything_back_until_it_is_over() {
        let limiter = Limiter::new(Bounds::up_to(8));
        limiter.pause(Duration::from_secs(7));
        limiter.pause(Duration::from_secs(3));
        let start = Instant::now();
        limiter.acquire().await;
        assert_eq!(start.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_lets_a_burst_through_and_then_one_an_interval() {
        let pace = Pace::new(10);
        let start = Instant::now();
        let waits: Vec<_> = (0..30).map(|_| pace.reserve(start) - start).collect();
        assert_eq!(waits.iter().filter(|wait| wait.is_zero()).count(), 6);
        assert_eq!(waits[29], Duration::from_millis(2400));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..30).filter(|_| pace.reserve(later) == later).count(), 6);
    }

    proptest! {
        #[test]
        fn a_limit_stays_between_one_and_its_maximum(
            max in 1_usize..100,
            answers in prop::collection::vec((any::<bool>(), 0_u64..10_000), 0..500),
        ) {
            let mut aimd = Aimd::new(Bounds::up_to(max));
            let mut now = Instant::now();
            for (good, millis) in answers {
                let sent = now;
                now += Duration::from_millis(millis);
                if good { aimd.answered(now - sent) } else { aimd.overloaded(now, now) }
                prop_assert!((1..=max).contains(&aimd.limit()));
            }
        }

        #[test]
        fn no_second_sees_more_than_the_pace_and_its_burst(rate in 1_u32..50, gaps in prop::collection::vec(0_u64..300, 1..200)) {
            let pace = Pace::new(rate);
            let mut now = Instant::now();
            let mut sent = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                sent.push(pace.reserve(now));
            }
            sent.sort();
            for (at, first) in sent.iter().enumerate() {
                let within = sent[at..].iter().take_while(|other| **other < *first + Duration::from_secs(1)).count();
                prop_assert!(within <= (rate + rate / 2 + 1) as usize, "{within}");
            }
        }
    }
}
