//! What is known of a registry's health. Pure: the time comes from outside.

use std::time::{Duration, SystemTime};

/// After so many failures without an answer between them a registry counts as silent: one alone may be anything.
const STRIKES: u32 = 3;
/// Within this time as many refusals without a time make a registry count as one that wants fewer requests: a few are heeded by
/// whoever hears them.
const BURST: Duration = Duration::from_secs(10);
/// How long a registry that does not answer is left alone, at first and at most.
const SILENCE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];
/// How long one is left alone that wants fewer requests and names no time, at first and at most.
const PAUSE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(900)];
/// Somebody is finding out whether it answers again: others come back after this.
const WHILE_PROBED: Duration = Duration::from_secs(15);

/// Whether a registry answers, and whether it wants to be asked.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// How often it could not be reached, or did not answer in time, since it answered last.
    strikes: u32,
    silent: Option<Trouble>,
    /// It wants fewer requests.
    busy: Option<Trouble>,
    /// How often it said so without a time since then.
    refusals: Option<(SystemTime, u32)>,
    /// Somebody is finding out whether it answers again.
    probed: bool,
}

#[derive(Debug)]
struct Trouble {
    times: u32,
    until: SystemTime,
    problem: String,
}

/// Why a registry is not asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It did not answer lately.
    Silent { until: SystemTime, problem: String },
    /// It wants fewer requests.
    Busy { until: SystemTime, problem: String },
}

/// Whether a registry may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Like any other.
    Open,
    /// By this one, to find out whether it answers again.
    Probe,
    Closed(Closed),
}

impl Health {
    /// It answered, whatever it said.
    pub(super) fn answered(&mut self) {
        (self.strikes, self.silent) = (0, None);
    }

    /// It could not be reached, or did not answer in time. What was sent before the last time that this was noticed tells
    /// nothing new.
    pub(super) fn fell_silent(&mut self, problem: &str, now: SystemTime) {
        self.strikes = self.strikes.saturating_add(1);
        let times = match &self.silent {
            Some(known) if now < known.until => return,
            Some(known) => known.times.saturating_add(1),
            None if self.strikes < STRIKES => return,
            None => 1,
        };
        self.silent = Some(Trouble { times, until: now + grown(SILENCE, times), problem: problem.to_owned() });
    }

    /// It wants fewer requests, until a time if it said so.
    pub(super) fn wants_fewer(&mut self, retry_at: Option<SystemTime>, problem: &str, now: SystemTime) {
        if let Some(known) = self.busy.as_mut().filter(|known| now < known.until) {
            known.until = known.until.max(retry_at.unwrap_or(known.until));
            return;
        }
        if retry_at.is_none() && !self.is_burst(now) {
            return;
        }
        self.refusals = None;
        // What is long past counts no more.
        let before = self.busy.as_ref().filter(|known| now < known.until + PAUSE[1]);
        let times = before.map_or(1, |known| known.times.saturating_add(1));
        let until = retry_at.unwrap_or(now + grown(PAUSE, times)).max(now + Duration::from_secs(1));
        self.busy = Some(Trouble { times, until, problem: problem.to_owned() });
    }

    /// Counts a refusal without a time.
    fn is_burst(&mut self, now: SystemTime) -> bool {
        let (since, count) = self.refusals.filter(|(since, _)| now < *since + BURST).unwrap_or((now, 0));
        self.refusals = Some((since, count + 1));
        count + 1 >= STRIKES
    }

    /// Why it is not asked at all now.
    pub(super) fn closed(&self, now: SystemTime) -> Option<Closed> {
        let current = |trouble: &Option<Trouble>| {
            let trouble = trouble.as_ref().filter(|trouble| now < trouble.until)?;
            Some((trouble.until, trouble.problem.clone()))
        };
        let busy = current(&self.busy).map(|(until, problem)| Closed::Busy { until, problem });
        busy.or_else(|| current(&self.silent).map(|(until, problem)| Closed::Silent { until, problem }))
    }

    /// Whether somebody may look at it. Who gets [`Verdict::Probe`] says when it is over.
    pub(super) fn judge(&mut self, now: SystemTime) -> Verdict {
        if let Some(closed) = self.closed(now) {
            return Verdict::Closed(closed);
        }
        match &self.silent {
            None => Verdict::Open,
            Some(silent) if self.probed => {
                let until = now + WHILE_PROBED.max(grown(SILENCE, silent.times));
                Verdict::Closed(Closed::Silent { until, problem: silent.problem.clone() })
            }
            Some(_) => {
                self.probed = true;
                Verdict::Probe
            }
        }
    }

    /// Who was finding out is done, whatever came of it.
    pub(super) fn probe_over(&mut self) {
        self.probed = false;
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_unremarkable(&self, now: SystemTime) -> bool {
        self.silent.is_none() && self.busy.as_ref().is_none_or(|busy| now >= busy.until + PAUSE[1])
    }
}

/// Twice as long each time, up to the longest.
fn grown([first, longest]: [Duration; 2], times: u32) -> Duration {
    first.saturating_mul(1 << times.saturating_sub(1).min(16)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn silent() -> Health {
        let mut health = Health::default();
        for _ in 0..STRIKES {
            health.fell_silent("no answer", at(0));
        }
        health
    }

    /// Refuses requests of several at once, without a time.
    fn refuse(health: &mut Health, second: u64) {
        for _ in 0..STRIKES {
            health.wants_fewer(None, "429", at(second));
        }
    }

    /// Until when it wants to be left alone.
    fn pause(health: &Health, now: u64) -> Option<SystemTime> {
        match health.closed(at(now)) {
            Some(Closed::Busy { until, .. }) => Some(until),
            _ => None,
        }
    }

    fn until(verdict: Verdict) -> SystemTime {
        match verdict {
            Verdict::Closed(Closed::Silent { until, .. } | Closed::Busy { until, .. }) => until,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_registry_that_is_silent_is_left_alone_longer_each_time_and_once_for_all_who_noticed() {
        let mut health = silent();
        assert_eq!(until(health.judge(at(4))), at(5));
        let mut now = 5;
        for expected in [10, 20, 40, 60, 60] {
            health.fell_silent("no answer", at(now));
            health.fell_silent("no answer", at(now + 1));
            assert_eq!(until(health.judge(at(now + 2))), at(now + expected));
            now += expected;
        }
    }

    #[test]
    fn a_failure_between_answers_closes_nothing() {
        let mut health = Health::default();
        for _ in 0..10 {
            health.fell_silent("no answer", at(0));
            health.fell_silent("no answer", at(0));
            assert_eq!(health.judge(at(0)), Verdict::Open);
            health.answered();
        }
    }

    #[test]
    fn one_finds_out_whether_it_answers_again_and_the_others_come_back_later() {
        let mut health = silent();
        assert_eq!(health.judge(at(5)), Verdict::Probe);
        assert_eq!(until(health.judge(at(5))), at(20));
        health.probe_over();
        assert_eq!(health.judge(at(6)), Verdict::Probe);
        health.answered();
        assert_eq!(health.judge(at(6)), Verdict::Open);
    }

    #[test]
    fn a_registry_that_wants_fewer_requests_is_left_alone_for_as_long_as_it_says() {
        let mut health = Health::default();
        health.wants_fewer(Some(at(90)), "429", at(0));
        health.wants_fewer(Some(at(100)), "429", at(1));
        assert_eq!(pause(&health, 99), Some(at(100)));
        // Another's answer, which was on its way, opens nothing.
        health.answered();
        assert_eq!(pause(&health, 99), Some(at(100)));
        assert_eq!((health.closed(at(100)), health.judge(at(100))), (None, Verdict::Open));
    }

    #[test]
    fn a_refusal_now_and_then_closes_nothing() {
        let mut health = Health::default();
        for second in [0, 1, 20, 21, 40, 41] {
            health.wants_fewer(None, "429", at(second));
            assert_eq!(health.judge(at(second)), Verdict::Open);
        }
    }

    #[test]
    fn without_a_time_the_pause_grows_and_is_short_again_after_a_good_while() {
        let mut health = Health::default();
        refuse(&mut health, 0);
        assert_eq!(pause(&health, 1), Some(at(30)));
        refuse(&mut health, 31);
        assert_eq!(pause(&health, 32), Some(at(91)));
        assert!(!health.is_unremarkable(at(100)) && health.is_unremarkable(at(991)));
        refuse(&mut health, 2_000);
        assert_eq!(pause(&health, 2_001), Some(at(2_030)));
    }
}
