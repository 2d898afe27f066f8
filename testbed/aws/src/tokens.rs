//! The registry tokens that `GetAuthorizationToken` handed out.

use std::collections::HashMap;

use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderValue;
use parking_lot::Mutex;
use serde_json::Value;

/// A token is good for 12 hours.
/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html>
const LIFETIME: TimeDelta = TimeDelta::hours(12);

/// Passwords of user `AWS`, each with the moment at which it expires.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<String, DateTime<Utc>>>);

/// Why a request may not pass.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    /// No token, or one that was never handed out.
    Unknown,
    /// Handed out once, no longer good.
    Expired,
}

impl Tokens {
    /// Remembers the tokens in a `GetAuthorizationToken` answer.
    pub(crate) fn remember(&self, answer: &Bytes, now: DateTime<Utc>) {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let mut issued = self.0.lock();
        for data in answer["authorizationData"].as_array().into_iter().flatten() {
            let token = data["authorizationToken"].as_str().unwrap_or_default();
            if let Some(password) = password_of(token) {
                issued.insert(password, now + LIFETIME);
            }
        }
    }

    /// Whether the `Authorization` header carries a token that is still good.
    pub(crate) fn check(&self, authorization: Option<&HeaderValue>, now: DateTime<Utc>) -> Result<(), Refusal> {
        let password = authorization
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, token)| password_of(token.trim()))
            .ok_or(Refusal::Unknown)?;
        match self.0.lock().get(&password) {
            None => Err(Refusal::Unknown),
            Some(expiry) if *expiry <= now => Err(Refusal::Expired),
            Some(_) => Ok(()),
        }
    }

    /// Lets every token that was handed out so far expire now.
    pub(crate) fn expire_all(&self, now: DateTime<Utc>) {
        for expiry in self.0.lock().values_mut() {
            *expiry = now;
        }
    }
}

/// The password in a token of the form base64(`AWS:<password>`).
fn password_of(token: &str) -> Option<String> {
    let pair = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    pair.strip_prefix("AWS:").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(user: &str, password: &str) -> HeaderValue {
        let token = STANDARD.encode(format!("{user}:{password}"));
        HeaderValue::from_str(&format!("Basic {token}")).expect("a header value")
    }

    fn handed_out(password: &str, now: DateTime<Utc>) -> Tokens {
        let tokens = Tokens::default();
        let token = STANDARD.encode(format!("AWS:{password}"));
        let answer = serde_json::json!({"authorizationData": [{"authorizationToken": token}]}).to_string();
        tokens.remember(&Bytes::from(answer), now);
        tokens
    }

    #[test]
    fn only_tokens_that_were_handed_out_pass() {
        let now = Utc::now();
        let tokens = handed_out("right", now);
        assert_eq!(tokens.check(Some(&header("AWS", "right")), now), Ok(()));
        assert_eq!(tokens.check(Some(&header("AWS", "wrong")), now), Err(Refusal::Unknown));
        assert_eq!(tokens.check(Some(&header("someone", "right")), now), Err(Refusal::Unknown));
        assert_eq!(tokens.check(Some(&HeaderValue::from_static("Bearer right")), now), Err(Refusal::Unknown));
        assert_eq!(tokens.check(None, now), Err(Refusal::Unknown));
    }

    #[test]
    fn a_token_expires_after_twelve_hours() {
        let now = Utc::now();
        let tokens = handed_out("right", now);
        let authorization = header("AWS", "right");
        let just_before = now + LIFETIME - TimeDelta::seconds(1);
        assert_eq!(tokens.check(Some(&authorization), just_before), Ok(()));
        assert_eq!(tokens.check(Some(&authorization), now + LIFETIME), Err(Refusal::Expired));
    }

    #[test]
    fn expiring_all_spares_later_tokens() {
        let now = Utc::now();
        let tokens = handed_out("early", now);
        tokens.expire_all(now);
        let token = STANDARD.encode("AWS:late");
        let answer = serde_json::json!({"authorizationData": [{"authorizationToken": token}]}).to_string();
        tokens.remember(&Bytes::from(answer), now);
        assert_eq!(tokens.check(Some(&header("AWS", "early")), now), Err(Refusal::Expired));
        assert_eq!(tokens.check(Some(&header("AWS", "late")), now), Ok(()));
    }
}
