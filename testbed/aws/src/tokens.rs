//! The registry tokens that `GetAuthorizationToken` handed out.

use std::collections::HashMap;

use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderValue;
use parking_lot::Mutex;
use serde_json::Value;

use crate::iam::Caller;

/// A token is good for 12 hours.
/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html>
const LIFETIME: TimeDelta = TimeDelta::hours(12);

/// Passwords of user `AWS`.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<String, Issued>>);

/// A token carries the rights of who asked for it.
struct Issued {
    expiry: DateTime<Utc>,
    caller: Caller,
}

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
    pub(crate) fn remember(&self, answer: &Bytes, caller: &Caller, now: DateTime<Utc>) {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let mut issued = self.0.lock();
        for data in answer["authorizationData"].as_array().into_iter().flatten() {
            let token = data["authorizationToken"].as_str().unwrap_or_default();
            if let Some(password) = password_of(token) {
                issued.insert(password, Issued { expiry: now + LIFETIME, caller: caller.clone() });
            }
        }
    }

    /// Who the token in the `Authorization` header was handed out to, if it is still good.
    pub(crate) fn check(&self, authorization: Option<&HeaderValue>, now: DateTime<Utc>) -> Result<Caller, Refusal> {
        let password = authorization
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, token)| password_of(token.trim()))
            .ok_or(Refusal::Unknown)?;
        match self.0.lock().get(&password) {
            None => Err(Refusal::Unknown),
            Some(issued) if issued.expiry <= now => Err(Refusal::Expired),
            Some(issued) => Ok(issued.caller.clone()),
        }
    }

    /// Lets every token that was handed out so far expire now.
    pub(crate) fn expire_all(&self, now: DateTime<Utc>) {
        for issued in self.0.lock().values_mut() {
            issued.expiry = now;
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

    fn caller() -> Caller {
        Caller::user("123456789012", "someone")
    }

    fn header(user: &str, password: &str) -> HeaderValue {
        let token = STANDARD.encode(format!("{user}:{password}"));
        HeaderValue::from_str(&format!("Basic {token}")).expect("a header value")
    }

    fn handed_out(password: &str, now: DateTime<Utc>) -> Tokens {
        let tokens = Tokens::default();
        let token = STANDARD.encode(format!("AWS:{password}"));
        let answer = serde_json::json!({"authorizationData": [{"authorizationToken": token}]}).to_string();
        tokens.remember(&Bytes::from(answer), &caller(), now);
        tokens
    }

    #[test]
    fn only_tokens_that_were_handed_out_pass() {
        let now = Utc::now();
        let tokens = handed_out("right", now);
        assert_eq!(tokens.check(Some(&header("AWS", "right")), now), Ok(caller()));
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
        assert_eq!(tokens.check(Some(&authorization), just_before), Ok(caller()));
        assert_eq!(tokens.check(Some(&authorization), now + LIFETIME), Err(Refusal::Expired));
    }

    #[test]
    fn expiring_all_spares_later_tokens() {
        let now = Utc::now();
        let tokens = handed_out("early", now);
        tokens.expire_all(now);
        let token = STANDARD.encode("AWS:late");
        let answer = serde_json::json!({"authorizationData": [{"authorizationToken": token}]}).to_string();
        tokens.remember(&Bytes::from(answer), &caller(), now);
        assert_eq!(tokens.check(Some(&header("AWS", "early")), now), Err(Refusal::Expired));
        assert_eq!(tokens.check(Some(&header("AWS", "late")), now), Ok(caller()));
    }
}
