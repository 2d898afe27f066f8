//! How many mirrors look and copy at once: in all, from one source, and to one registry.
//!
//! Who waits for one registry holds nothing that mirrors of others need, and who is held up by one gives back after a while
//! what is for all. A source that does not answer is asked by one mirror at a time until it does; one that wants fewer
//! requests is left alone by all.

mod health;
mod turns;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::Timestamp;
use oci_copy::{Error, ErrorKind, Guard, TransportProblem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::api::conditions::Reason;
use crate::controllers::failure::{Failure, Retry};
use crate::controllers::report::cut;
use health::{Closed, Health, Verdict};
use turns::{Turn, Turns};

/// How many mirrors find out at once what they need before they ask their source.
const PREPARING: usize = 64;
/// How many mirrors look at their sources and destinations at once.
const LOOKS: usize = 64;
/// The same at one source.
const LOOKS_AT_ONE: usize = 8;
/// How many mirrors of one source have begun and are not done. The others wait with nothing in hand: what a mirror has seen and
/// wants to copy is some hundred kilobytes where it selects many tags, and there may be thousands of mirrors.
const BEGUN_AT_ONE: usize = 32;
/// Who copies for longer than this counts no more among them.
const BEGUN_FOR: Duration = Duration::from_secs(20);
/// Who takes longer than this is held up by somebody, and counts no more among all.
const PATIENCE: Duration = Duration::from_secs(10);
/// What one mirror was told is part of what others say, up to so many bytes.
const LONGEST_PROBLEM: usize = 200;
/// Registries that nobody uses and nothing is to be remembered of are forgotten when there are more than these.
const MANY_HOSTS: usize = 256;

/// How many images are copied at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyLimits {
    /// In all.
    pub at_once: usize,
    /// From one source registry.
    pub from_one: usize,
    /// To one destination registry.
    pub to_one: usize,
    /// Copies that take longer than this count separately: as many again may go on.
    pub long_after: Duration,
}

impl CopyLimits {
    /// How many long copies may go on from one source: one that is slow leaves something to others.
    fn long_from_one(&self) -> usize {
        self.at_once.div_ceil(2).max(1)
    }

    /// How many copies go on at most, long ones included.
    pub(super) fn most(&self) -> usize {
        self.at_once.max(1).saturating_mul(2)
    }

    /// How many of them from one source.
    pub(super) fn most_from_one(&self) -> usize {
        self.from_one.max(1).saturating_add(self.long_from_one()).min(self.most())
    }
}

/// The limits and what they are applied to.
pub(super) struct Limits {
    settings: CopyLimits,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    preparing: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    copies: Arc<Turns>,
}

/// One registry.
struct Host {
    health: Mutex<Health>,
    begun: Arc<Semaphore>,
    looks: Arc<Semaphore>,
}

/// A look that is going on.
pub(super) struct Look {
    source: Option<(Option<OwnedSemaphorePermit>, Option<Probe>)>,
    _all: AbortOnDropHandle<()>,
}

impl Look {
    /// The source has been looked at: what is left to look at are the destinations.
    pub(super) fn leave_source(&mut self) {
        self.source = None;
    }
}

/// What a mirror holds that has begun, until it is done.
pub(super) struct Begun {
    _permit: AbortOnDropHandle<()>,
}

/// A look that finds out whether a registry answers again.
struct Probe(Arc<Host>);

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.health().probe_over();
    }
}

/// A permit that goes back when this is dropped, or earlier.
pub(super) struct Preparing {
    _permit: AbortOnDropHandle<()>,
}

/// The turn of a copy that is going on.
pub(super) struct Place {
    _turn: Option<Arc<Turn>>,
    _timer: Option<AbortOnDropHandle<()>>,
}

impl Limits {
    pub(super) fn new(settings: CopyLimits) -> Self {
        Self {
            settings,
            hosts: Mutex::default(),
            preparing: semaphore(PREPARING),
            looks: semaphore(LOOKS),
            copies: Turns::new(settings),
        }
    }

    /// How many copies of one mirror wait or go on at once. The next comes after others' who wait for the same registry.
    pub(super) fn of_one_mirror(&self) -> usize {
        self.settings.from_one.max(1)
    }

    /// Waits for the turn to prepare.
    pub(super) async fn prepare(&self) -> Preparing {
        Preparing { _permit: given_back_after(PATIENCE, acquire(&self.preparing).await) }
    }

    /// Waits until a mirror of this source may begin. `must_wait` is what is done first if it can't begin at once.
    pub(super) async fn begin(&self, source: &str, must_wait: impl Future<Output = ()>) -> Begun {
        let begun = self.host(source).begun.clone();
        let permit = match begun.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                must_wait.await;
                acquire(&begun).await
            }
        };
        Begun { _permit: given_back_after(BEGUN_FOR, permit) }
    }

    /// Waits for the turn to look at a source.
    pub(super) async fn look(&self, source: &str) -> Result<Look, Failure> {
        let host = self.host(source);
        let one = acquire(&host.looks).await;
        let verdict = host.health().judge(SystemTime::now());
        let probe = match verdict {
            Verdict::Closed(closed) => return Err(failure(source, closed)),
            Verdict::Probe => Some(Probe(host)),
            Verdict::Open => None,
        };
        let all = acquire(&self.looks).await;
        Ok(Look { source: Some((one, probe)), _all: given_back_after(PATIENCE, all) })
    }

    /// Waits for the turn to copy from one registry to another.
    pub(super) async fn copy(&self, source: &str, destination: &str) -> Result<Place, Failure> {
        let turn = self.copies.take(source, destination).await.map(Arc::new);
        if let Some(closed) = self.closed(source) {
            return Err(closed);
        }
        let timer = turn.as_ref().map(|turn| {
            let counting = count_as_long(self.settings.long_after, Arc::downgrade(turn));
            AbortOnDropHandle::new(tokio::spawn(counting))
        });
        Ok(Place { _turn: turn, _timer: timer })
    }

    /// Why a source is not asked now.
    pub(super) fn closed(&self, source: &str) -> Option<Failure> {
        let closed = self.host(source).health().closed(SystemTime::now())?;
        Some(failure(source, closed))
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(name) {
            return host.clone();
        }
        if hosts.len() >= MANY_HOSTS {
            let now = SystemTime::now();
            hosts.retain(|_, host| {
                Arc::strong_count(host) > 1 || host.is_in_use() || !host.health().is_unremarkable(now)
            });
        }
        let host =
            Arc::new(Host { health: Mutex::default(), begun: semaphore(BEGUN_AT_ONE), looks: semaphore(LOOKS_AT_ONE) });
        hosts.insert(name.to_owned(), host.clone());
        host
    }
}

impl Host {
    /// Whether somebody has, or waits for, one of its permits.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.looks) > 1 || Arc::strong_count(&self.begun) > 1
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)))
}

/// None only if the semaphore were closed, which none is.
async fn acquire(permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    permits.clone().acquire_owned().await.ok()
}

fn given_back_after(patience: Duration, permit: Option<OwnedSemaphorePermit>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::time::sleep(patience).await;
        drop(permit);
    }))
}

/// Counts a copy that takes long among the long ones, as soon as there is room among these.
async fn count_as_long(after: Duration, turn: Weak<Turn>) {
    let mut wait = after;
    loop {
        tokio::time::sleep(wait).await;
        match turn.upgrade() {
            Some(turn) if !turn.lengthen() => wait = after / 4,
            _ => return,
        }
    }
}

fn failure(source: &str, closed: Closed) -> Failure {
    let (reason, until, message) = match closed {
        // Without the time, which is near: every mirror of the source would write it again and again.
        Closed::Silent { until, problem } => (
            Reason::Unreachable,
            until,
            format!(
                "{source} did not answer lately, and one mirror at a time finds out whether it does again: {problem}"
            ),
        ),
        Closed::Busy { until, problem } => (
            Reason::RateLimited,
            until,
            format!("{source} wants fewer requests and is left alone until {}: {problem}", whole_second(until)),
        ),
    };
    Failure { reason, message, retry: Timestamp::try_from(until).map_or(Retry::Backoff, Retry::At) }
}

/// A time as people read it.
pub(super) fn whole_second(time: SystemTime) -> Timestamp {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::MAX);
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Hears how a mirror's source answers.
pub(super) struct SourceGuard {
    pub(super) limits: Arc<Limits>,
    pub(super) source: String,
}

impl SourceGuard {
    /// Of other registries, the destinations, nothing is to be learnt here.
    fn host(&self, name: &str) -> Option<Arc<Host>> {
        (name == self.source).then(|| self.limits.host(name))
    }
}

impl Guard for SourceGuard {
    fn admit(&self, host: &str) -> Result<(), oci_copy::Closed> {
        let closed = self.host(host).and_then(|host| host.health().closed(SystemTime::now()));
        match closed {
            None => Ok(()),
            Some(Closed::Silent { until, problem }) => {
                let problem = format!("it did not answer lately: {problem}");
                Err(oci_copy::Closed { kind: ErrorKind::Unreachable, until, problem })
            }
            Some(Closed::Busy { until, problem }) => {
                let problem = format!("it wants fewer requests until {}: {problem}", whole_second(until));
                Err(oci_copy::Closed { kind: ErrorKind::RateLimited, until, problem })
            }
        }
    }

    fn answered(&self, host: &str) {
        if let Some(host) = self.host(host) {
            host.health().answered();
        }
    }

    fn failed(&self, host: &str, error: &Error) {
        let Some(host) = self.host(host) else { return };
        let (now, problem) = (SystemTime::now(), cut(&error.to_string(), LONGEST_PROBLEM));
        match error {
            _ if error.kind() == ErrorKind::RateLimited => {
                host.health().wants_fewer(error.retry_at(), &problem, now);
            }
            // A connection that breaks may be a matter of what was asked for.
            Error::Transport { problem: TransportProblem::Broken, .. } => {}
            _ => host.health().fell_silent(&problem, now),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
