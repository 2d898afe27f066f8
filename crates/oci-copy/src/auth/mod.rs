//! How the engine proves to a registry who it is.
//!
//! There is no ping: the first request of a registry goes without credentials, and its `401` tells what it wants. From
//! then on requests carry it from the start, with a token that the cache has or that is fetched first.

pub(crate) mod challenge;
pub(crate) mod credentials;
pub(crate) mod token;

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use reqwest::header::HeaderValue;

use challenge::Challenge;
use credentials::Credentials;
use token::TokenCache;

/// What is known about how one registry wants to be talked to. It lives as long as the registry's configuration.
#[derive(Default)]
pub(crate) struct AuthState {
    challenge: Mutex<Option<Challenge>>,
    pub(crate) tokens: TokenCache,
}

impl AuthState {
    pub(crate) fn challenge(&self) -> Option<Challenge> {
        self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn remember(&self, challenge: Challenge) {
        *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = Some(challenge);
    }
}

/// `Authorization` as it goes onto the wire, and the secrets that must not come back in a message.
#[derive(Clone)]
pub(crate) struct Authorization {
    pub(crate) header: HeaderValue,
    secrets: Vec<String>,
}

impl Authorization {
    /// User name and password, or none if they can't stand in a header.
    pub(crate) fn basic(credentials: &Credentials) -> Option<Self> {
        let pair = format!("{}:{}", credentials.username, credentials.password);
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        let header = sensitive(&format!("Basic {encoded}"))?;
        Some(Self { header, secrets: vec![credentials.password.clone(), encoded] })
    }

    /// A token, or none if it can't stand in a header.
    pub(crate) fn bearer(token: &str) -> Option<Self> {
        let header = sensitive(&format!("Bearer {token}"))?;
        Some(Self { header, secrets: vec![token.to_owned()] })
    }

    /// `text` without the secrets, should a registry repeat them to us.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let long_enough = self.secrets.iter().filter(|secret| secret.len() >= 4);
        long_enough.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(value).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_a_registry_repeats_is_struck_out() {
        let basic = Authorization::basic(&Credentials::new("AWS", "hunter22")).unwrap();
        let header = basic.header.to_str().unwrap().to_owned();
        let text = basic.scrub(&format!("bad password hunter22 in {header}"));
        assert_eq!(text, "bad password *** in Basic ***");
        assert!(!format!("{:?}", basic.header).contains("Basic"));
    }

    #[test]
    fn a_token_that_would_break_out_of_its_header_is_not_used() {
        assert!(Authorization::bearer("a\r\nX-Evil: 1").is_none());
    }
}
