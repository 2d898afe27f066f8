//! What stands in a Lease, and what follows from it. No I/O.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use tokio::time::Instant;

/// A Lease as it was seen, and since when it has been so.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) lease: Lease,
    since: Instant,
}

/// What is to be done about a Lease.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// It is free.
    Take,
    /// Another holds it at least until then, if it does not change before.
    WaitUntil(Instant),
}

impl Seen {
    /// A Lease that was read at `now`. What was seen before tells since when it has been so.
    pub(super) fn new(lease: Lease, before: Option<&Self>, now: Instant) -> Self {
        let since = match before {
            // Labels and annotations, which anybody may write, keep nobody's Lease alive.
            Some(before) if before.lease.spec == lease.spec => before.since,
            _ => now,
        };
        Self { lease, since }
    }

    /// What to do about it. Only one's own clock counts: what the holder wrote into `renewTime` is not looked at.
    pub(super) fn step(&self, now: Instant) -> Step {
        if self.holder().is_none() {
            return Step::Take;
        }
        let seconds = self.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let end = self.since + Duration::from_secs(seconds.max(0).unsigned_abs().into());
        if now < end { Step::WaitUntil(end) } else { Step::Take }
    }

    /// Who holds it.
    pub(super) fn holder(&self) -> Option<&str> {
        holder(&self.lease)
    }
}

/// Who holds a Lease.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// A new Lease that `identity` holds.
pub(super) fn created(name: &str, identity: &str, duration: Duration, now: Timestamp) -> Lease {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    taken(&Lease { metadata, spec: None }, identity, duration, now)
}

/// The Lease, held by `identity` from now on.
pub(super) fn taken(lease: &Lease, identity: &str, duration: Duration, now: Timestamp) -> Lease {
    changed(lease, |spec| {
        // The first holder is no transition.
        let transitions = spec.acquire_time.as_ref().map(|_| spec.lease_transitions.unwrap_or_default() + 1);
        spec.holder_identity = Some(identity.to_owned());
        spec.acquire_time = Some(MicroTime(now));
        spec.renew_time = Some(MicroTime(now));
        spec.lease_duration_seconds = Some(seconds(duration));
        spec.lease_transitions = Some(transitions.unwrap_or_default());
    })
}

/// The Lease, held on by whom it names.
pub(super) fn renewed(lease: &Lease, duration: Duration, now: Timestamp) -> Lease {
    changed(lease, |spec| {
        spec.renew_time = Some(MicroTime(now));
        spec.lease_duration_seconds = Some(seconds(duration));
    })
}

/// The Lease, free for anybody. `acquireTime` stays, so that the next holder counts as a transition.
pub(super) fn released(lease: &Lease, now: Timestamp) -> Lease {
    changed(lease, |spec| {
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(now));
        spec.lease_duration_seconds = Some(1);
    })
}

/// With the resource version that was seen: the API server refuses it if somebody else was faster.
fn changed(lease: &Lease, change: impl FnOnce(&mut LeaseSpec)) -> Lease {
    let mut lease = lease.clone();
    change(lease.spec.get_or_insert_default());
    lease
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(12);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn held(by: &str, second: i64) -> Lease {
        created("it", by, DURATION, at(second))
    }

    fn spec(lease: &Lease) -> &LeaseSpec {
        lease.spec.as_ref().expect("there")
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_over_when_it_has_not_changed_for_its_duration() {
        let start = Instant::now();
        let seen = Seen::new(held("other", 0), None, start);
        assert_eq!(seen.step(start), Step::WaitUntil(start + DURATION));
        let seen = Seen::new(held("other", 0), Some(&seen), start + DURATION);
        assert_eq!(seen.step(start + DURATION), Step::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_starts_the_wait_anew_whatever_the_holders_clock_says() {
        let start = Instant::now();
        let seen = Seen::new(held("other", 1_000_000), None, start);
        let later = start + DURATION;
        // The holder's clock went back.
        let seen = Seen::new(renewed(&seen.lease, DURATION, at(5)), Some(&seen), later);
        assert_eq!(seen.step(later), Step::WaitUntil(later + DURATION));
    }

    #[tokio::test(start_paused = true)]
    async fn an_annotation_keeps_no_lease_alive() {
        let start = Instant::now();
        let seen = Seen::new(held("other", 0), None, start);
        let mut annotated = held("other", 0);
        annotated.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into());
        annotated.metadata.resource_version = Some("2".to_owned());
        let seen = Seen::new(annotated, Some(&seen), start + DURATION);
        assert_eq!(seen.step(start + DURATION), Step::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_nobody_holds_is_taken_at_once() {
        let now = Instant::now();
        let emptied = Lease {
            spec: Some(LeaseSpec { holder_identity: Some(String::new()), ..LeaseSpec::default() }),
            ..Lease::default()
        };
        for lease in [Lease::default(), released(&held("other", 0), at(1)), emptied] {
            assert_eq!(Seen::new(lease, None, now).step(now), Step::Take);
        }
    }

    #[test]
    fn transitions_count_changes_of_the_holder() {
        let first = held("a", 0);
        assert_eq!(spec(&first).lease_transitions, Some(0));
        let second = taken(&first, "b", DURATION, at(20));
        assert_eq!((spec(&second).lease_transitions, holder(&second)), (Some(1), Some("b")));
        let third = taken(&released(&renewed(&second, DURATION, at(25)), at(30)), "a", DURATION, at(31));
        assert_eq!((spec(&third).lease_transitions, holder(&third)), (Some(2), Some("a")));
    }

    #[test]
    fn every_change_keeps_the_version_that_was_seen() {
        let mut lease = held("a", 0);
        lease.metadata.resource_version = Some("7".to_owned());
        for changed in [taken(&lease, "b", DURATION, at(1)), renewed(&lease, DURATION, at(1)), released(&lease, at(1))]
        {
            assert_eq!(changed.metadata.resource_version.as_deref(), Some("7"));
        }
    }
}
