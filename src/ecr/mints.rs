//! Tokens by what they are good for: one call to AWS serves everybody with the same rights.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::connect::Ecr;
use super::error::EcrError;
use super::mint::MintKey;
use super::token::{MARGIN, Token};

/// How long a failure is remembered, so that a thousand objects don't wait for AWS one after another.
const REMEMBER_FAILURE: SignedDuration = SignedDuration::from_secs(5);

/// All tokens.
#[derive(Debug, Default)]
pub struct Mints(Mutex<HashMap<MintKey, Arc<tokio::sync::Mutex<Slot>>>>);

/// A token to use now.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The token.
    pub token: Arc<Token>,
    /// Why it is not a newer one, although that is due. It still works.
    pub late: Option<EcrError>,
}

/// The token for one key. Decides, without I/O and without a clock, when AWS is asked.
#[derive(Debug, Default)]
pub struct Slot {
    token: Option<Arc<Token>>,
    failed: Option<(Timestamp, EcrError)>,
}

/// What to do about a slot.
#[derive(Clone, Debug)]
pub enum Step {
    /// Use what there is.
    Use(Minted),
    /// Ask AWS.
    Ask,
    /// AWS failed a moment ago, and there is no token that works.
    Fail(EcrError),
}

impl Slot {
    /// What to do now. AWS is asked only when half of the token's life is over.
    pub fn step(&self, now: Timestamp) -> Step {
        if let Some(token) = &self.token
            && now < token.renew_at()
        {
            return Step::Use(Minted { token: token.clone(), late: None });
        }
        match &self.failed {
            Some((at, error)) if now < *at + REMEMBER_FAILURE => match self.present(now, error) {
                Ok(minted) => Step::Use(minted),
                Err(error) => Step::Fail(error),
            },
            _ => Step::Ask,
        }
    }

    /// AWS answered.
    pub fn answered(&mut self, answer: Result<Token, EcrError>, now: Timestamp) -> Result<Minted, EcrError> {
        match answer {
            Ok(token) => {
                let token = Arc::new(token);
                *self = Self { token: Some(token.clone()), failed: None };
                Ok(Minted { token, late: None })
            }
            Err(error) => {
                let present = self.present(now, &error);
                self.failed = Some((now, error));
                present
            }
        }
    }

    /// The present token while it works, else the error for which there is no newer one.
    fn present(&self, now: Timestamp, error: &EcrError) -> Result<Minted, EcrError> {
        match &self.token {
            Some(token) if now + MARGIN < token.expires_at => {
                Ok(Minted { token: token.clone(), late: Some(error.clone()) })
            }
            _ => Err(error.clone()),
        }
    }

    fn is_of_use(&self, now: Timestamp) -> bool {
        self.token.as_ref().is_some_and(|token| now < token.expires_at)
    }
}

impl Mints {
    /// A token for this key. When a new one is due and AWS does not give it, the present one while it works.
    ///
    /// The lock makes concurrent callers share one call.
    pub async fn token(&self, ecr: &Ecr, key: &MintKey) -> Result<Minted, EcrError> {
        let slot = self.slot(key, Timestamp::now());
        let mut slot = slot.lock().await;
        let now = Timestamp::now();
        match slot.step(now) {
            Step::Use(minted) => Ok(minted),
            Step::Fail(error) => Err(error),
            Step::Ask => {
                let answer = ecr.mint(key, now).await;
                slot.answered(answer, Timestamp::now())
            }
        }
    }

    fn slot(&self, key: &MintKey, now: Timestamp) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return slot.clone();
        }
        // What nobody asks for any more goes when its token has expired.
        slots.retain(|_, slot| slot.try_lock().map_or(true, |slot| slot.is_of_use(now)));
        slots.entry(key.clone()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecr::ErrorKind;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).expect("in range")
    }

    fn token(issued: i64) -> Token {
        Token { username: "AWS".into(), password: "x".into(), issued_at: at(issued), expires_at: at(issued + 12) }
    }

    fn away() -> EcrError {
        EcrError { operation: "Test", kind: ErrorKind::Unreachable, message: "away".into() }
    }

    #[test]
    fn aws_is_asked_when_half_of_the_tokens_life_is_over_and_not_before() {
        let mut slot = Slot::default();
        assert!(matches!(slot.step(at(0)), Step::Ask));
        slot.answered(Ok(token(0)), at(0)).expect("a token");
        assert!(matches!(slot.step(at(5)), Step::Use(Minted { late: None, .. })));
        assert!(matches!(slot.step(at(6)), Step::Ask));
    }

    #[test]
    fn the_present_token_is_used_while_aws_is_away_and_it_works() {
        let mut slot = Slot::default();
        slot.answered(Ok(token(0)), at(0)).expect("a token");
        let minted = slot.answered(Err(away()), at(7)).expect("the present one");
        assert!(minted.late.is_some() && minted.token.issued_at == at(0));
        assert!(slot.answered(Err(away()), at(12)).is_err(), "it has expired");
    }

    #[test]
    fn a_failure_is_remembered_for_a_moment() {
        let mut slot = Slot::default();
        assert!(slot.answered(Err(away()), at(0)).is_err());
        assert!(matches!(slot.step(at(0)), Step::Fail(_)));
        assert!(matches!(slot.step(at(0) + REMEMBER_FAILURE), Step::Ask));
    }

    #[test]
    fn keys_whose_tokens_have_expired_go() {
        let mints = Mints::default();
        let key = |policy: &str| MintKey {
            account: "1".into(),
            region: "r".into(),
            endpoints: Default::default(),
            narrowed: Some((
                crate::ecr::PullRole {
                    arn: "a".into(),
                    external_id: None,
                    tags: Default::default(),
                    within_session: false,
                },
                policy.into(),
            )),
        };
        let slot = mints.slot(&key("one"), at(0));
        slot.try_lock().expect("free").answered(Ok(token(0)), at(0)).expect("a token");
        mints.slot(&key("two"), at(6));
        assert_eq!(mints.0.lock().expect("free").len(), 2);
        mints.slot(&key("three"), at(12));
        assert_eq!(mints.0.lock().expect("free").len(), 1, "neither one nor two has a token that works");
    }
}
