//! What a ledger knows and decides, by its steps, and against a registry that counts.

use super::*;
use proptest::prelude::*;

const WINDOW: Duration = Duration::from_secs(21_600);

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + second)
}

/// One who asks in a round of its own, so that nothing adds up.
fn who(name: &str) -> Claimant {
    static ROUNDS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let round = ROUNDS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Claimant { name: name.into(), is_new: false, round }
}

fn new(name: &str) -> Claimant {
    Claimant { is_new: true, ..who(name) }
}

fn ledger(limit: u64, remaining: u64, floor: Floor) -> Ledger {
    let mut ledger = Ledger::new(floor);
    tell(&mut ledger, limit, remaining, 0);
    ledger
}

/// An answer to a request that was sent a moment before.
fn tell(ledger: &mut Ledger, limit: u64, remaining: u64, second: u64) {
    let sent = at(second) - Duration::from_millis(1);
    ledger.observe(Told { limit: Some(limit), remaining, window: Some(WINDOW), sent }, at(second));
}

fn shortage(result: Result<(), Shortage>) -> Shortage {
    result.expect_err("it is not enough")
}

const NO_FLOOR: Floor = Floor { pulls: 0, percent: 0 };

#[test]
fn without_headers_everything_is_free() {
    let mut ledger = Ledger::new(Floor { pulls: 10, percent: 0 });
    assert_eq!(ledger.free(), None);
    ledger.reserve(&who("a"), 1_000_000, at(0)).unwrap();
}

#[test]
fn a_registry_that_stops_telling_of_a_budget_has_none() {
    let mut ledger = ledger(100, 0, NO_FLOOR);
    shortage(ledger.reserve(&who("a"), 1, at(1)));
    ledger.unlimited(at(0) - Duration::from_secs(1));
    assert_eq!(ledger.free(), Some(0), "an answer to what was asked before tells nothing");
    ledger.unlimited(at(2));
    ledger.reserve(&who("a"), 1, at(3)).unwrap();
}

#[test]
fn what_is_reserved_is_not_there_for_others_until_it_is_given_back() {
    let mut ledger = ledger(100, 5, NO_FLOOR);
    ledger.reserve(&who("a"), 4, at(1)).unwrap();
    assert_eq!(ledger.free(), Some(1));
    let short = shortage(ledger.reserve(&who("b"), 2, at(1)));
    assert_eq!((short.why, short.pulls, short.remaining), (Why::OthersFirst, 2, 5));
    assert!(short.until <= at(61), "who has reserved it may give it back soon");
    ledger.release(&"a".into(), 3);
    ledger.reserve(&who("b"), 2, at(2)).unwrap();
}

#[test]
fn a_pull_in_flight_counts_until_its_answer() {
    let mut ledger = ledger(100, 2, NO_FLOOR);
    ledger.reserve(&who("a"), 1, at(1)).unwrap();
    ledger.ask();
    assert_eq!(ledger.free(), Some(1));
    tell(&mut ledger, 100, 1, 2);
    ledger.answered();
    assert_eq!(ledger.free(), Some(1));
}

#[test]
fn a_floor_is_left_for_others() {
    let mut with_pulls = ledger(100, 21, Floor { pulls: 20, percent: 10 });
    with_pulls.reserve(&who("a"), 1, at(1)).unwrap();
    let short = shortage(with_pulls.reserve(&who("a"), 1, at(1)));
    assert_eq!(short.kept, 20);

    let mut with_percent = ledger(200, 50, Floor { pulls: 0, percent: 25 });
    let short = shortage(with_percent.reserve(&who("a"), 1, at(1)));
    assert_eq!((short.kept, short.remaining, short.why), (50, 50, Why::UsedUp));
}

#[test]
fn what_can_never_fit_is_told_and_waited_for_by_nobody() {
    let mut ledger = ledger(10, 10, Floor { pulls: 8, percent: 0 });
    assert_eq!(shortage(ledger.reserve(&new("a"), 3, at(1))).why, Why::TooMuch);
    ledger.reserve(&who("b"), 2, at(2)).unwrap();
}

#[test]
fn it_goes_on_when_as_much_as_is_needed_is_a_window_old() {
    let mut ledger = ledger(100, 100, NO_FLOOR);
    tell(&mut ledger, 100, 40, 1_000);
    tell(&mut ledger, 100, 0, 5_000);
    let one = shortage(ledger.reserve(&who("a"), 1, at(6_000)));
    assert_eq!((one.until, one.look_at), (at(1_000) + WINDOW, at(6_000) + WINDOW / 12));
    assert_eq!(shortage(ledger.reserve(&who("b"), 61, at(6_000))).until, at(5_000) + WINDOW);
}

#[test]
fn what_comes_back_early_is_learnt_from_the_next_answer() {
    let mut ledger = ledger(100, 0, NO_FLOOR);
    shortage(ledger.reserve(&who("a"), 1, at(1)));
    tell(&mut ledger, 100, 30, 1_800);
    ledger.reserve(&who("a"), 30, at(1_801)).unwrap();
}

#[test]
fn what_others_spend_is_learnt_from_the_next_answer() {
    let mut ledger = ledger(100, 90, NO_FLOOR);
    tell(&mut ledger, 100, 3, 10);
    shortage(ledger.reserve(&who("a"), 4, at(11)));
}

#[test]
fn an_answer_that_comes_late_does_not_raise_what_is_left() {
    let mut ledger = ledger(100, 10, NO_FLOOR);
    tell(&mut ledger, 100, 6, 5);
    let late = Told { limit: Some(100), remaining: 8, window: Some(WINDOW), sent: at(4) };
    ledger.observe(late, at(6));
    assert_eq!(ledger.free(), Some(6));
    let fresh = Told { sent: at(6), ..late };
    ledger.observe(fresh, at(7));
    assert_eq!(ledger.free(), Some(8));
}

#[test]
fn a_refusal_closes_the_budget_until_the_time_that_it_names() {
    let mut known = ledger(100, 50, NO_FLOOR);
    known.refused(Some(at(600)), at(1));
    let short = shortage(known.reserve(&who("a"), 1, at(2)));
    assert_eq!((short.until, short.remaining), (at(600), 0));
    tell(&mut known, 100, 50, 700);
    known.reserve(&who("a"), 1, at(701)).unwrap();

    let mut unknown = Ledger::new(NO_FLOOR);
    unknown.refused(None, at(1));
    assert_eq!(shortage(unknown.reserve(&who("a"), 1, at(2))).until, at(1) + UNKNOWN_WINDOW);
    unknown.reserve(&who("a"), 1, at(2) + UNKNOWN_WINDOW).unwrap();
}

#[test]
fn who_has_spent_less_comes_first() {
    let mut ledger = ledger(100, 10, NO_FLOOR);
    ledger.reserve(&who("greedy"), 8, at(1)).unwrap();
    shortage(ledger.reserve(&who("modest"), 3, at(2)));
    ledger.release(&"greedy".into(), 2);
    // Four are there: the modest one's three come first, and one is left.
    assert_eq!(shortage(ledger.reserve(&who("greedy"), 2, at(3))).why, Why::OthersFirst);
    ledger.reserve(&who("greedy"), 1, at(3)).unwrap();
    ledger.reserve(&who("modest"), 3, at(4)).unwrap();
}

fn spend(ledger: &mut Ledger, name: &str, pulls: u64, second: u64) {
    ledger.reserve(&new(name), pulls, at(second)).unwrap();
    for _ in 0..pulls {
        ledger.ask();
        ledger.answered();
    }
}

#[test]
fn new_ones_come_first_but_not_with_all_of_it() {
    let mut ledger = ledger(100, 0, NO_FLOOR);
    shortage(ledger.reserve(&new("new"), 30, at(1)));
    shortage(ledger.reserve(&who("old"), 1, at(1)));
    tell(&mut ledger, 100, 30, 100);
    assert_eq!(shortage(ledger.reserve(&who("old"), 1, at(101))).why, Why::OthersFirst);
    spend(&mut ledger, "new", 30, 102);
    tell(&mut ledger, 100, 60, 103);
    spend(&mut ledger, "new", 30, 104);
    // New ones have had more than half of a window's pulls by now.
    tell(&mut ledger, 100, 30, 105);
    shortage(ledger.reserve(&new("new"), 30, at(106)));
    ledger.reserve(&who("old"), 1, at(107)).unwrap();
}

#[test]
fn what_is_there_is_shared_evenly_by_those_who_want_more_than_that() {
    let mut ledger = ledger(100, 0, NO_FLOOR);
    let (first, second) = (who("first"), who("second"));
    for _ in 0..8 {
        shortage(ledger.reserve(&first, 1, at(1)));
        shortage(ledger.reserve(&second, 1, at(2)));
    }
    tell(&mut ledger, 100, 9, 100);
    let mut got = |name: &str| {
        let who = who(name);
        (0..8).filter(|_| ledger.reserve(&who, 1, at(101)).is_ok()).count()
    };
    // Whoever comes back first leaves the other's share.
    assert_eq!((got("second"), got("first")), (4, 5));
}

#[test]
fn who_does_not_come_back_loses_its_place() {
    let mut ledger = ledger(100, 0, NO_FLOOR);
    let gone = shortage(ledger.reserve(&new("gone"), 5, at(1)));
    tell(&mut ledger, 100, 5, 10);
    shortage(ledger.reserve(&who("other"), 1, at(11)));
    let later = gone.look_at + PATIENCE + Duration::from_secs(1);
    ledger.reserve(&who("other"), 1, later).unwrap();
}

#[test]
fn a_large_image_is_not_starved_by_small_ones() {
    let mut ledger = ledger(100, 3, NO_FLOOR);
    shortage(ledger.reserve(&who("large"), 10, at(1)));
    for second in 2..10 {
        shortage(ledger.reserve(&who("small"), 1, at(second)));
    }
    tell(&mut ledger, 100, 11, 20);
    ledger.reserve(&who("small"), 1, at(21)).unwrap();
    ledger.reserve(&who("large"), 10, at(22)).unwrap();
}

/// What happens, in random order.
#[derive(Clone, Debug)]
enum Event {
    /// Somebody reserves, and reads so much of it.
    Pull {
        who: usize,
        pulls: u64,
        used: u64,
    },
    /// Somebody looks, which is free.
    Look,
    /// Somebody else pulls.
    Others(u64),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..4_usize, 1..6_u64, 0..6_u64).prop_map(|(who, pulls, used)| Event::Pull { who, pulls, used: used.min(pulls) }),
        2 => Just(Event::Look),
        1 => (0..5_u64).prop_map(Event::Others),
        2 => (1..4_000_u64).prop_map(Event::Wait),
    ]
}

/// A registry whose window slides.
struct Registry {
    limit: u64,
    pulls: VecDeque<u64>,
}

impl Registry {
    fn remaining(&mut self, now: u64) -> u64 {
        while self.pulls.front().is_some_and(|pull| pull + WINDOW.as_secs() <= now) {
            self.pulls.pop_front();
        }
        self.limit.saturating_sub(self.pulls.len() as u64)
    }
}

proptest! {
    #[test]
    fn we_never_spend_what_is_not_there_or_is_kept(
        floor in 0..20_u64,
        events in prop::collection::vec(event(), 1..200),
    ) {
        let mut registry = Registry { limit: 40, pulls: VecDeque::new() };
        let mut ledger = Ledger::new(Floor { pulls: floor, percent: 0 });
        let mut now = 0;
        for event in events {
            match event {
                Event::Wait(seconds) => now += seconds,
                Event::Others(pulls) => {
                    let pulls = pulls.min(registry.remaining(now));
                    registry.pulls.extend((0..pulls).map(|_| now));
                }
                Event::Look => tell(&mut ledger, 40, registry.remaining(now), now),
                Event::Pull { who: number, pulls, used } => {
                    // Who pulls has looked first.
                    tell(&mut ledger, 40, registry.remaining(now), now);
                    let name = Claimant { is_new: number == 0, ..who(&number.to_string()) };
                    match ledger.reserve(&name, pulls, at(now)) {
                        Ok(()) => {
                            for _ in 0..used {
                                prop_assert!(registry.remaining(now) > floor);
                                ledger.ask();
                                registry.pulls.push_back(now);
                                tell(&mut ledger, 40, registry.remaining(now), now);
                                ledger.answered();
                            }
                            ledger.release(&name.name, pulls - used);
                        }
                        Err(short) => {
                            prop_assert!(short.until > at(now) && short.look_at <= short.until);
                            let span = short.until.duration_since(at(now)).unwrap_or_default();
                            prop_assert!(span <= WINDOW, "{span:?}");
                        }
                    }
                }
            }
            prop_assert_eq!((ledger.held, ledger.in_flight), (0, 0));
            let spent: u64 = ledger.spent.iter().map(|(_, pulls)| pulls).sum();
            let known = ledger.known.map_or(0, |known| known.limit - known.remaining);
            prop_assert_eq!(spent, known);
            now += 1;
        }
    }

    #[test]
    fn whoever_comes_back_at_the_told_times_is_served_in_the_end(wants in prop::collection::vec(1..10_u64, 1..6)) {
        let mut registry = Registry { limit: 10, pulls: VecDeque::from(vec![0; 10]) };
        let mut ledger = Ledger::new(NO_FLOOR);
        let mut waiting: Vec<(u64, String, u64)> =
            wants.iter().enumerate().map(|(n, pulls)| (1, n.to_string(), *pulls)).collect();
        for _ in 0..2_000 {
            waiting.sort();
            let Some((now, name, pulls)) = waiting.first().cloned() else { return Ok(()) };
            waiting.remove(0);
            tell(&mut ledger, 10, registry.remaining(now), now);
            match ledger.reserve(&who(&name), pulls, at(now)) {
                Ok(()) => {
                    for _ in 0..pulls {
                        ledger.ask();
                        registry.pulls.push_back(now);
                        tell(&mut ledger, 10, registry.remaining(now), now);
                        ledger.answered();
                    }
                }
                Err(short) => {
                    let wait = short.look_at.duration_since(at(now)).unwrap_or_default().as_secs().max(1);
                    waiting.push((now + wait, name, pulls));
                }
            }
        }
        prop_assert!(waiting.is_empty(), "{waiting:?}");
    }
}
