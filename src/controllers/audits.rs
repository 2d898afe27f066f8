//! When an object is compared with what only a call for itself shows: tags, lifecycle policy, repository policy.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::schedule::share;

/// When each object was compared in full last. What is not known is spread over one interval from the start of the
/// program, so that a restart costs nothing at once.
#[derive(Debug)]
pub struct Audits {
    started: Timestamp,
    interval: Duration,
    last: Mutex<HashMap<String, Timestamp>>,
}

impl Audits {
    /// Nothing is known yet.
    pub fn new(interval: Duration, now: Timestamp) -> Self {
        Self { started: now, interval, last: Mutex::default() }
    }

    /// When the object with this UID is due.
    pub fn due_at(&self, uid: &str) -> Timestamp {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).get(uid).copied();
        // From half an interval to a whole one: what was created together does not stay together.
        let (from, least) = last.map_or((self.started, 0.0), |last| (last, 0.5));
        let turn = from.as_second().unsigned_abs();
        from + self.interval.mul_f64(least + (1.0 - least) * share(uid, turn))
    }

    /// The object was compared in full.
    pub fn done(&self, uid: &str, now: Timestamp) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), now);
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn after_a_start_objects_are_spread_over_an_interval() {
        let audits = Audits::new(HOUR, at(1000));
        let due: Vec<i64> = (0..1000).map(|n| audits.due_at(&format!("uid-{n}")).as_second()).collect();
        assert!(due.iter().all(|due| (1000..=4600).contains(due)));
        let early = due.iter().filter(|due| **due < 2800).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the first half");
        assert_eq!(audits.due_at("uid-1"), audits.due_at("uid-1"));
    }

    #[test]
    fn after_a_look_the_next_is_due_between_half_an_interval_and_a_whole_one() {
        let audits = Audits::new(HOUR, at(0));
        for n in 0..1000 {
            let uid = format!("uid-{n}");
            audits.done(&uid, at(10_000));
            assert!((11_800..=13_600).contains(&audits.due_at(&uid).as_second()));
        }
    }
}
