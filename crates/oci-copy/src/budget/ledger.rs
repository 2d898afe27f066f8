//! What is known of one pull budget, and who may spend of it. Pure: the time comes from outside.
//!
//! Others spend from the budget as well, so every answer of the registry corrects what is known. What comes back when is
//! read off what was spent when: a pull is free again one window later. That holds for windows that slide and, as the latest
//! time, for those that start anew.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Floor, Shortage, Why};

/// Who could have a turn but for what others have reserved is told to come again after this.
const BEHIND_OTHERS: Duration = Duration::from_secs(60);
/// Who waits keeps its place for so long after it was to come again.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where a registry tells no window, and where one is used up without any figures.
const UNKNOWN_WINDOW: Duration = Duration::from_secs(3600);
/// While a budget is used up, it is looked at so often in its window: others may have left more than it seems.
const LOOKS_A_WINDOW: u32 = 12;
/// What is spent within this part of a window comes back together.
const GRAIN: u32 = 256;
/// Claimants that neither wait nor have spent anything lately are forgotten when there are more than these.
const MANY_ACCOUNTS: usize = 256;

/// What the registry said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) limit: u64,
    pub(super) remaining: u64,
    pub(super) window: Duration,
    /// When `remaining` was told, or since when it is so.
    at: SystemTime,
}

impl Known {
    pub(super) fn at(&self) -> SystemTime {
        self.at
    }
}

/// What an answer tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) limit: Option<u64>,
    pub(super) remaining: u64,
    pub(super) window: Option<Duration>,
    /// When the request was sent.
    pub(super) sent: SystemTime,
}

/// One who reads from the registry.
#[derive(Debug)]
struct Account {
    is_new: bool,
    /// Spent, or reserved, since `since`.
    spent: u64,
    since: SystemTime,
    waits: Option<Waits>,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// In which of its rounds it asked.
    round: u64,
    /// For the image that needs most, and in all.
    most: u64,
    all: u64,
    since: SystemTime,
    until: SystemTime,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Claimant {
    pub(super) name: Arc<str>,
    /// It comes before those who aren't new.
    pub(super) is_new: bool,
    /// What it asks for and doesn't get in one round is what it wants in all.
    pub(super) round: u64,
}

/// The budget of one registry for one set of credentials.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    floor: Floor,
    known: Option<Known>,
    /// Reserved, and not asked for yet.
    held: u64,
    /// Asked for, and not answered yet.
    in_flight: u64,
    /// What was spent when, by anybody, the oldest first: together what is missing in the budget.
    spent: VecDeque<(SystemTime, u64)>,
    /// The registry refused a pull.
    refused_until: Option<SystemTime>,
    accounts: HashMap<Arc<str>, Account>,
}

impl Ledger {
    pub(super) fn new(floor: Floor) -> Self {
        Self { floor, ..Self::default() }
    }

    pub(super) fn known(&self) -> Option<Known> {
        self.known
    }

    /// When it is worth a look whether the registry takes pulls again, if it refuses them now.
    pub(super) fn refused_now(&self, now: SystemTime) -> Option<SystemTime> {
        let until = self.refused_until.filter(|until| *until > now)?;
        Some(self.look_before(until, now))
    }

    /// What may be spent now; none where there is no limit.
    pub(super) fn free(&self) -> Option<u64> {
        let known = self.known?;
        Some(self.ours(&known).saturating_sub(self.held + self.in_flight))
    }

    /// What of the budget is not kept for others.
    fn ours(&self, known: &Known) -> u64 {
        known.remaining.saturating_sub(self.floor.kept(known.limit))
    }

    /// Reserves so many pulls for one image, or says when to come again. Who waits keeps its place.
    pub(super) fn reserve(&mut self, who: &Claimant, pulls: u64, now: SystemTime) -> Result<(), Shortage> {
        let result = self.decide(who, pulls, now);
        let account = self.account(who, now);
        match &result {
            Ok(()) => {
                account.spent += pulls;
                // What it did not get in another round it will ask for again.
                account.waits = account.waits.filter(|waits| waits.round == who.round);
                self.held += pulls;
            }
            // It will never fit, and nobody shall wait for it.
            Err(Shortage { why: Why::TooMuch, .. }) => {}
            Err(shortage) => {
                let before = account.waits.filter(|waits| waits.round == who.round);
                account.waits = Some(Waits {
                    round: who.round,
                    most: before.map_or(pulls, |waits| waits.most.max(pulls)),
                    all: before.map_or(0, |waits| waits.all).saturating_add(pulls),
                    since: account.waits.map_or(now, |waits| waits.since),
                    until: shortage.look_at + PATIENCE,
                });
            }
        }
        result
    }

    fn decide(&self, who: &Claimant, pulls: u64, now: SystemTime) -> Result<(), Shortage> {
        let (limit, remaining) = self.known.map_or((0, 0), |known| (known.limit, known.remaining));
        let kept = self.floor.kept(limit);
        let short = |why, until| Shortage { why, pulls, remaining, limit, kept, until, look_at: until };
        if let Some(until) = self.refused_until.filter(|until| *until > now) {
            return Err(self.looking_again(short(Why::UsedUp, until), now));
        }
        let Some(known) = self.known else { return Ok(()) };
        if pulls > known.limit.saturating_sub(kept) {
            return Err(self.looking_again(short(Why::TooMuch, now + known.window), now));
        }
        let ours = self.ours(&known);
        let needed = pulls.saturating_add(self.ahead_of(who, pulls, now));
        if needed > ours {
            let why = if pulls > ours { Why::UsedUp } else { Why::OthersFirst };
            return Err(self.looking_again(short(why, self.back_at(needed - ours, &known, now)), now));
        }
        if needed > ours.saturating_sub(self.held + self.in_flight) {
            // What is reserved may be given back soon.
            let soon = now + BEHIND_OTHERS.min(known.window / LOOKS_A_WINDOW);
            return Err(short(Why::OthersFirst, soon));
        }
        Ok(())
    }

    /// The same, with a look before the time has come: it is the latest.
    fn looking_again(&self, shortage: Shortage, now: SystemTime) -> Shortage {
        Shortage { look_at: self.look_before(shortage.until, now), ..shortage }
    }

    fn look_before(&self, until: SystemTime, now: SystemTime) -> SystemTime {
        let window = self.known.map_or(UNKNOWN_WINDOW, |known| known.window);
        until.min(now + window / LOOKS_A_WINDOW)
    }

    /// What is to be left to those who wait and come before `who`: the new ones, and those who have spent less, until they
    /// have spent as much as `who` will have.
    fn ahead_of(&self, who: &Claimant, pulls: u64, now: SystemTime) -> u64 {
        let Some(known) = self.known else { return 0 };
        let (mine, since) = match self.accounts.get(&who.name) {
            Some(account) => (account.spent_at(now, &known), account.waits.map_or(now, |waits| waits.since)),
            None => (0, now),
        };
        // New ones have no more than half of the budget before others, or many of them would leave nothing for long.
        let of_new = self.accounts.values().filter(|account| account.is_new);
        let spent_by_new: u64 = of_new.map(|account| account.spent_at(now, &known)).sum();
        let for_new = (known.limit.saturating_sub(self.floor.kept(known.limit)) / 2).saturating_sub(spent_by_new);
        let comes_later = |is_new: bool| !is_new || for_new == 0;

        let rank = (comes_later(who.is_new), mine, since, &who.name);
        let (mut new, mut new_next, mut others) = (0_u64, 0_u64, 0_u64);
        for (name, account) in &self.accounts {
            let Some(waits) = account.waits.filter(|waits| waits.until > now && *name != who.name) else { continue };
            let theirs = account.spent_at(now, &known);
            if (comes_later(account.is_new), theirs, waits.since, name) >= rank {
                continue;
            }
            if comes_later(account.is_new) == comes_later(who.is_new) {
                let level = mine.saturating_add(pulls);
                others += waits.most.max(waits.all.min(level.saturating_sub(theirs)));
            } else {
                new += waits.all;
                new_next += waits.most;
            }
        }
        others.saturating_add(new.min(for_new.max(new_next)))
    }

    /// When so many pulls are back at the latest.
    fn back_at(&self, missing: u64, known: &Known, now: SystemTime) -> SystemTime {
        let mut back = 0;
        for (at, pulls) in &self.spent {
            back += pulls;
            if back >= missing {
                return (*at + known.window).max(now + Duration::from_secs(1));
            }
        }
        now + known.window
    }

    /// So much of what was reserved is not needed.
    pub(super) fn release(&mut self, who: &Arc<str>, pulls: u64) {
        self.held = self.held.saturating_sub(pulls);
        if let Some(account) = self.accounts.get_mut(who) {
            account.spent = account.spent.saturating_sub(pulls);
        }
    }

    /// One pull of what was reserved is asked for.
    pub(super) fn ask(&mut self) {
        self.held = self.held.saturating_sub(1);
        self.in_flight += 1;
    }

    /// It was answered, or not, and what there is to learn of that has been learnt.
    pub(super) fn answered(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// It did not count, and stays reserved.
    pub(super) fn asked_in_vain(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.held += 1;
    }

    /// The registry told what is left.
    pub(super) fn observe(&mut self, told: Told, now: SystemTime) {
        let before = self.known;
        let limit = told.limit.or(before.map(|known| known.limit)).unwrap_or(0).max(told.remaining);
        let window = told.window.or(before.map(|known| known.window)).filter(|window| !window.is_zero());
        let window = window.unwrap_or(UNKNOWN_WINDOW);
        let (remaining, at) = match before {
            // Asked before we heard the other answer: it may be older, and then more is gone by now.
            Some(known) if told.sent <= known.at && known.limit == limit && told.remaining >= known.remaining => {
                (known.remaining, known.at)
            }
            Some(known) if told.remaining == known.remaining => (told.remaining, known.at),
            _ => (told.remaining, now),
        };
        if before.is_none_or(|known| told.sent > known.at) && remaining > 0 {
            self.refused_until = None;
        }
        self.known = Some(Known { limit, remaining, window, at });
        self.settle(now);
    }

    /// The registry answered such a request without a word of a budget: there is none.
    pub(super) fn unlimited(&mut self, sent: SystemTime) {
        if self.known.is_some_and(|known| sent <= known.at) {
            return;
        }
        self.known = None;
        self.refused_until = None;
        self.spent.clear();
    }

    /// The registry refused a pull since the budget is used up.
    pub(super) fn refused(&mut self, retry_at: Option<SystemTime>, now: SystemTime) {
        if let Some(known) = &mut self.known {
            known.remaining = 0;
            known.at = now;
        }
        self.settle(now);
        let back = self.known.map_or(now + UNKNOWN_WINDOW, |known| self.back_at(1, &known, now));
        self.refused_until = Some(retry_at.unwrap_or(back));
    }

    /// Makes what was spent match what is missing.
    fn settle(&mut self, now: SystemTime) {
        let Some(known) = self.known else { return };
        let missing = known.limit - known.remaining.min(known.limit);
        let mut spent: u64 = self.spent.iter().map(|(_, pulls)| pulls).sum();
        while spent > missing {
            let Some((at, pulls)) = self.spent.pop_front() else { break };
            spent -= pulls;
            if spent < missing {
                self.spent.push_front((at, missing - spent));
                spent = missing;
            }
        }
        if spent < missing {
            match self.spent.back_mut() {
                Some((at, pulls)) if now < *at + known.window / GRAIN => *pulls += missing - spent,
                _ => self.spent.push_back((now, missing - spent)),
            }
        }
        // The registry still counts them, so they can't be older than that.
        for (at, _) in &mut self.spent {
            *at = (*at).max(now.checked_sub(known.window).unwrap_or(*at));
        }
    }

    fn account(&mut self, who: &Claimant, now: SystemTime) -> &mut Account {
        let known = self.known;
        if self.accounts.len() > MANY_ACCOUNTS && !self.accounts.contains_key(&who.name) {
            self.accounts.retain(|_, account| {
                account.waits.is_some_and(|waits| waits.until > now)
                    || known.is_some_and(|known| account.spent_at(now, &known) > 0)
            });
        }
        let new = || Account { is_new: who.is_new, spent: 0, since: now, waits: None };
        let account = self.accounts.entry(who.name.clone()).or_insert_with(new);
        account.is_new = who.is_new;
        if known.is_none_or(|known| account.spent_at(now, &known) == 0) {
            (account.spent, account.since) = (0, now);
        }
        account
    }
}

impl Account {
    /// What was spent in the present window.
    fn spent_at(&self, now: SystemTime, known: &Known) -> u64 {
        if now < self.since + known.window { self.spent } else { 0 }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
