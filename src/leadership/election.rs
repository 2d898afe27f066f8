//! Getting a Lease, keeping it, and giving it back.

use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Elected;
use super::record::{self, Seen, Step};
use crate::controllers::chain;

/// The times of an election, all of which follow from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long stand-bys wait for the holder to renew the Lease.
    pub lease: Duration,
    /// How long the holder works on without having renewed it. What is left of the Lease's time is for writes that are
    /// on their way already.
    pub deadline: Duration,
    /// How often the holder renews it, and a stand-by looks at it.
    pub retry: Duration,
}

impl Times {
    /// The shortest Lease, whose times still make sense in whole seconds of the Lease.
    pub const SHORTEST: Duration = Duration::from_secs(3);

    /// The times for Leases of this duration, which is rounded down to whole seconds.
    pub fn of(lease: Duration) -> Self {
        let lease = Duration::from_secs(lease.max(Self::SHORTEST).as_secs());
        Self { lease, deadline: lease * 2 / 3, retry: lease / 8 }
    }
}

/// Tells this process from all others, also from an earlier one of the same pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    /// The name of the pod, if it is known, and something by chance.
    pub fn new(pod: Option<&str>) -> Self {
        // Its keys come from the system's source of randomness.
        let chance = RandomState::new().build_hasher().finish();
        Self(format!("{}_{chance:016x}", pod.unwrap_or("ecr-operator")))
    }
}

/// Why a replica no longer holds the Lease that it had.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Somebody else has it.
    #[error("the Lease is held by {0}")]
    Taken(String),
    /// Somebody freed it.
    #[error("somebody took the holder out of the Lease")]
    Freed,
    /// Somebody deleted it.
    #[error("the Lease was deleted")]
    Deleted,
    /// It could not be renewed.
    #[error("the Lease could not be renewed in time: {0}")]
    NotRenewed(String),
}

/// One that wants a Lease.
#[derive(Clone, Debug)]
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    times: Times,
}

/// A Lease that this process holds, and until when it may rely on that.
struct Held {
    lease: Lease,
    until: Instant,
}

impl Candidate {
    /// One that wants the Lease of this name. `api` must not be fenced: the Lease is written to open the fence.
    pub fn new(api: Api<Lease>, name: &str, identity: Identity, times: Times) -> Self {
        Self { api, name: name.to_owned(), identity: identity.0, times }
    }

    /// Takes part in the election until `stop`, and gives the Lease back then. An error says that the Lease was held and
    /// lost: the fence is closed for good, and nothing is left to do but to end the process.
    pub async fn run(self, elected: Elected, stop: CancellationToken) -> Result<(), Lost> {
        tracing::info!(lease = self.name, identity = self.identity, "waiting for the lease");
        let acquired = tokio::select! {
            held = self.acquire() => held,
            () = stop.cancelled() => return Ok(()),
        };
        elected.fence.open_until(acquired.until);
        elected.leads.send_replace(true);
        tracing::info!(lease = self.name, identity = self.identity, "leads");
        let mut held = acquired;
        let lost = loop {
            tokio::select! {
                () = sleep(self.times.retry) => {}
                () = stop.cancelled() => {
                    elected.fence.close();
                    self.release(&held.lease).await;
                    return Ok(());
                }
            }
            // Not in the select above: a renewal that is under way when the stop comes is not given up half done.
            match self.renew(held).await {
                Ok(renewed) => held = renewed,
                Err(lost) => break lost,
            }
            elected.fence.open_until(held.until);
        };
        elected.fence.close();
        Err(lost)
    }

    /// Waits until the Lease is free, and takes it.
    async fn acquire(&self) -> Held {
        let mut before = None;
        let mut complained = false;
        loop {
            let wait = match self.try_to_acquire(&mut before).await {
                Ok(Some(held)) => return held,
                Ok(None) => {
                    complained = false;
                    self.until_next_look(before.as_ref())
                }
                Err(error) => {
                    // Once, not with every try.
                    if !complained {
                        tracing::warn!(lease = self.name, error, "the lease can't be read or taken; trying on");
                    }
                    complained = true;
                    self.times.retry
                }
            };
            sleep(wait).await;
        }
    }

    /// Until the next regular look, or until the Lease runs out if that is sooner.
    fn until_next_look(&self, seen: Option<&Seen>) -> Duration {
        let now = Instant::now();
        match seen.map(|seen| seen.step(now)) {
            Some(Step::WaitUntil(end)) => self.times.retry.min(end - now),
            // Somebody else was faster: who it was shows at the next look.
            Some(Step::Take) | None => self.times.retry / 4,
        }
    }

    async fn try_to_acquire(&self, before: &mut Option<Seen>) -> Result<Option<Held>, String> {
        let found = self.request(self.api.get_opt(&self.name)).await?;
        let Some(lease) = found else {
            *before = None;
            return self.take(|now| record::created(&self.name, &self.identity, self.times.lease, now), true).await;
        };
        let seen = Seen::new(lease, before.as_ref(), Instant::now());
        let step = seen.step(Instant::now());
        let seen = before.insert(seen);
        match step {
            Step::WaitUntil(_) => Ok(None),
            Step::Take => {
                if let Some(holder) = seen.holder() {
                    tracing::info!(lease = self.name, holder, "the holder has not renewed the lease: taking it over");
                }
                self.take(|now| record::taken(&seen.lease, &self.identity, self.times.lease, now), false).await
            }
        }
    }

    /// Writes the Lease with this process as its holder. None if somebody else was faster.
    async fn take(&self, lease: impl FnOnce(Timestamp) -> Lease, create: bool) -> Result<Option<Held>, String> {
        let until = Instant::now() + self.times.deadline;
        let lease = lease(Timestamp::now());
        let written = if create {
            self.request(unless(&[CONFLICT], self.api.create(&PostParams::default(), &lease))).await?
        } else {
            self.replace(&lease).await?
        };
        Ok(written.map(|lease| Held { lease, until }))
    }

    /// Writes into the Lease that it is still held; tries until it is too late.
    async fn renew(&self, mut held: Held) -> Result<Held, Lost> {
        let mut problem = "this process was stopped, or did not get to it".to_owned();
        loop {
            let now = Instant::now();
            if now >= held.until {
                return Err(Lost::NotRenewed(problem));
            }
            let lease = record::renewed(&held.lease, self.times.lease, Timestamp::now());
            let error = match timeout_at(held.until, self.replace(&lease)).await {
                Ok(Ok(Some(lease))) => return Ok(Held { lease, until: now + self.times.deadline }),
                Ok(Ok(None)) => match timeout_at(held.until, self.still_held()).await {
                    Ok(Ok(Ok(lease))) => {
                        held.lease = lease;
                        continue;
                    }
                    Ok(Ok(Err(lost))) => return Err(lost),
                    Ok(Err(error)) => error,
                    Err(_) => continue,
                },
                Ok(Err(error)) => error,
                Err(_) => continue,
            };
            tracing::warn!(lease = self.name, error, "the lease could not be renewed; trying on");
            problem = error;
            sleep_until((now + self.times.retry / 2).min(held.until)).await;
        }
    }

    /// The Lease as it stands now, after a write was refused because it had changed. A write of our own whose answer got
    /// lost changes it too.
    async fn still_held(&self) -> Result<Result<Lease, Lost>, String> {
        Ok(match self.request(self.api.get_opt(&self.name)).await? {
            None => Err(Lost::Deleted),
            Some(lease) => match record::holder(&lease) {
                Some(holder) if holder == self.identity => Ok(lease),
                Some(holder) => Err(Lost::Taken(holder.to_owned())),
                None => Err(Lost::Freed),
            },
        })
    }

    /// Frees the Lease, so that nobody has to wait for its end.
    async fn release(&self, lease: &Lease) {
        let lease = record::released(lease, Timestamp::now());
        match self.replace(&lease).await {
            Ok(Some(_)) => tracing::info!(lease = self.name, "gave the lease back"),
            Ok(None) => tracing::warn!(lease = self.name, "the lease was no longer as it was left, and was let be"),
            Err(error) => tracing::warn!(lease = self.name, error, "the lease could not be given back; it runs out"),
        }
    }

    /// Writes the Lease. None if it is no longer the version that was seen.
    async fn replace(&self, lease: &Lease) -> Result<Option<Lease>, String> {
        let parameters = PostParams::default();
        let write = self.api.replace(&self.name, &parameters, lease);
        self.request(unless(&[CONFLICT, NOT_FOUND], write)).await
    }

    /// Waits for an answer no longer than for the next try.
    async fn request<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
        // Half of the deadline: then there is time for another try, on another connection.
        let limit = self.times.deadline / 2;
        match timeout(limit, request).await {
            Ok(answer) => answer.map_err(|error| chain(&error)),
            Err(_) => Err(format!("no answer from the API server within {limit:?}")),
        }
    }
}

const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;

/// The outcome of a write: none where the API server refuses it with one of these codes.
async fn unless<T>(codes: &[u16], write: impl Future<Output = kube::Result<T>>) -> kube::Result<Option<T>> {
    match write.await {
        Err(kube::Error::Api(status)) if codes.contains(&status.code) => Ok(None),
        other => other.map(Some),
    }
}
