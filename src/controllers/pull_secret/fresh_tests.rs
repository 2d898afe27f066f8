use std::collections::BTreeMap;

use k8s_openapi::jiff::SignedDuration;

use super::*;
use crate::api::conditions::Reason;
use crate::controllers::failure::Failure;
use crate::controllers::pull_secret::observe::{Life, SecretState};
use crate::controllers::pull_secret::plan::{Decision, decide, is_better};
use crate::controllers::schedule::{Intervals, Retries};
use crate::ecr::{EcrError, ErrorKind, Minted, Slot, Step};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("in range")
}

fn token(issued_at: Timestamp, life: SignedDuration) -> Token {
    Token { username: "AWS".into(), password: String::new(), issued_at, expires_at: issued_at + life }
}

const HOUR: i64 = 3600;
const NAMESPACES: usize = 1000;
const KEYS: usize = 10;
const INTERVALS: Intervals = Intervals {
    resync: Duration::from_secs(600),
    audit: Duration::from_secs(3600),
    stalled: Duration::from_secs(300),
    longest_backoff: Duration::from_secs(300),
};

#[test]
fn secrets_are_due_in_turns_from_half_of_the_tokens_life_on() {
    let token = token(at(0), SignedDuration::from_hours(12));
    let mut by_turn = BTreeMap::<i64, usize>::new();
    for n in 0..NAMESPACES {
        *by_turn.entry(renew_at(&token, &format!("uid/namespace-{n}")).as_second()).or_default() += 1;
    }
    let (first, last) = (by_turn.keys().next().expect("one"), by_turn.keys().next_back().expect("one"));
    assert!(*first >= 6 * HOUR && *last < 7 * HOUR, "{first} to {last}");
    assert!(by_turn.len() > 50, "they are spread: {by_turn:?}");
    assert!(by_turn.values().all(|count| *count < NAMESPACES / 20), "{by_turn:?}");
}

#[test]
fn a_token_that_lives_for_an_hour_is_renewed_within_it() {
    let token = token(at(0), SignedDuration::from_hours(1));
    for n in 0..100 {
        let due = renew_at(&token, &n.to_string()).as_second();
        assert!((HOUR / 2..HOUR * 7 / 12).contains(&due), "{due}");
    }
}

#[test]
fn nobody_waits_for_longer_than_an_hour_or_not_at_all() {
    assert_eq!(until_due(Some(at(0)), at(10)), Duration::from_secs(1));
    assert_eq!(until_due(Some(at(600)), at(0)), Duration::from_secs(600));
    assert_eq!(until_due(Some(at(100 * HOUR)), at(0)), LONGEST);
    assert_eq!(until_due(None, at(0)), LONGEST);
}

/// One ClusterEcrPullSecret in a thousand namespaces with ten different rights, and AWS.
struct World {
    outages: [(Timestamp, Timestamp); 2],
    slots: Vec<Slot>,
    secrets: Vec<(String, SecretState)>,
    retries: Retries,
    mints: Vec<(usize, Timestamp)>,
    expired: SignedDuration,
    writes: usize,
}

impl World {
    fn new(outages: [i64; 2]) -> Self {
        Self {
            outages: outages.map(|start| (at(start), at(start + 2 * HOUR))),
            slots: (0..KEYS).map(|_| Slot::default()).collect(),
            secrets: (0..NAMESPACES).map(|n| (format!("uid/namespace-{n}"), SecretState::Absent)).collect(),
            retries: Retries::default(),
            mints: Vec::new(),
            expired: SignedDuration::ZERO,
            writes: 0,
        }
    }

    fn mint(&mut self, key: usize, now: Timestamp) -> Result<Minted, EcrError> {
        match self.slots[key].step(now) {
            Step::Use(minted) => return Ok(minted),
            Step::Fail(error) => return Err(error),
            Step::Ask => {}
        }
        let away = self.outages.iter().any(|(start, end)| (*start..*end).contains(&now));
        let answer = if away {
            Err(EcrError { operation: "Test", kind: ErrorKind::Unreachable, message: "away".into() })
        } else {
            self.mints.push((key, now));
            Ok(token(now, SignedDuration::from_hours(12)))
        };
        self.slots[key].answered(answer, now)
    }

    /// What a reconcile does, and how long it is until the next.
    fn reconcile(&mut self, now: Timestamp) -> Duration {
        let mut late = false;
        let mut next = None::<Timestamp>;
        for n in 0..self.secrets.len() {
            let rights = (n % KEYS).to_string();
            let decision = decide(&self.secrets[n].1, &rights, now);
            let present = match &decision {
                Decision::Keep(life) => Some(life.clone()),
                Decision::Update { present, .. } => present.clone(),
                _ => None,
            };
            let mut life = present.clone();
            if !matches!(decision, Decision::Keep(_)) {
                match self.mint(n % KEYS, now) {
                    Ok(minted) => {
                        late |= minted.late.is_some();
                        if is_better(minted.token.expires_at, minted.late.is_some(), present.as_ref()) {
                            self.take_note_of_expiry(n, now);
                            self.writes += 1;
                            let renew_at = renew_at(&minted.token, &self.secrets[n].0);
                            life = Some(Life { rights, expires_at: minted.token.expires_at, renew_at });
                        }
                    }
                    Err(_) => late = true,
                }
            }
            if let Some(life) = life {
                next = Some(next.map_or(life.renew_at, |next| next.min(life.renew_at)));
                self.secrets[n].1 = SecretState::Ours(life);
            }
        }
        if late {
            let failure = Failure::transient(Reason::Unreachable, "away");
            return self.retries.failed("uid", &failure, &INTERVALS, now);
        }
        self.retries.succeeded("uid");
        until_due(next, now)
    }

    fn take_note_of_expiry(&mut self, n: usize, now: Timestamp) {
        if let SecretState::Ours(life) = &self.secrets[n].1
            && life.expires_at < now
        {
            self.expired += life.expires_at.duration_until(now);
        }
    }
}

#[test]
fn in_a_week_with_two_outages_no_secret_is_ever_expired_and_no_key_is_minted_twice_in_six_hours() {
    let week = at(7 * 24 * HOUR);
    let mut worlds = Vec::new();
    // Outages that begin as the renewals do, amid them, and before.
    for outages in [[6 * HOUR - 1, 100 * HOUR], [30 * HOUR + 1800, 90 * HOUR], [47 * HOUR, 125 * HOUR]] {
        let mut world = World::new(outages);
        let mut now = at(0);
        while now < week {
            now += SignedDuration::try_from(world.reconcile(now)).expect("in range");
        }
        for n in 0..NAMESPACES {
            world.take_note_of_expiry(n, week);
        }
        worlds.push(world);
    }
    report(&worlds);
    for world in worlds {
        assert_eq!(world.expired, SignedDuration::ZERO, "{:?}", world.outages);
        for key in 0..KEYS {
            let times: Vec<_> = world.mints.iter().filter(|(of, _)| *of == key).map(|(_, time)| *time).collect();
            assert!((20..=28).contains(&times.len()), "{} tokens in a week", times.len());
            assert_eq!(most_in_six_hours(&times), 1, "{times:?}");
        }
        let most = NAMESPACES * 28;
        assert!(
            world.writes <= most,
            "{} writes, and a write for each token of each namespace is {most}",
            world.writes
        );
    }
}

/// How many of these times, in order, are within the six hours that have the most.
fn most_in_six_hours(times: &[Timestamp]) -> usize {
    let within = |first: &Timestamp| {
        let later = times.iter().filter(|time| *time >= first);
        later.filter(|time| first.duration_until(**time) < SignedDuration::from_hours(6)).count()
    };
    times.iter().map(within).max().unwrap_or_default()
}

/// `make bench-pull-secrets` has its figures of the weeks from here.
fn report(worlds: &[World]) {
    let Some(path) = std::env::var_os("SIMULATED_WEEK") else { return };
    let most = |key: Option<usize>| {
        let busiest = worlds.iter().map(|world| {
            let mints = world.mints.iter().filter(|(of, _)| key.is_none_or(|key| key == *of));
            most_in_six_hours(&mints.map(|(_, time)| *time).collect::<Vec<_>>())
        });
        busiest.max()
    };
    let expired = worlds.iter().map(|world| world.expired.as_secs()).sum::<i64>();
    let figures = serde_json::json!({
        "weeks": worlds.len(),
        "simulated_days": 7 * worlds.len(),
        "namespaces": NAMESPACES,
        "keys": KEYS,
        "expired_secret_seconds": expired,
        "tokens_6h": most(None),
        "tokens_6h_per_key": (0..KEYS).filter_map(|key| most(Some(key))).max(),
    });
    std::fs::write(path, figures.to_string()).expect("the figures are written");
}
