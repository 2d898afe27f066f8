//! The content of a pull secret.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::jiff::Timestamp;
use oci_copy::Credentials;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::fresh;
use crate::controllers::failure::Failure;
use crate::ecr::Token;

/// The content of a `kubernetes.io/dockerconfigjson` Secret, and how long it is good for.
pub(super) struct Document {
    /// The docker config, as text.
    pub(super) dockerconfigjson: String,
    /// The hosts that it has tokens for, in order.
    pub(super) hosts: Vec<String>,
    /// When the first of its tokens expires.
    pub(super) expires_at: Timestamp,
    /// Why not all of its tokens are as fresh as they should be. They work.
    pub(super) late: Option<Failure>,
    tokens: Vec<Arc<Token>>,
}

impl Document {
    /// The content for these tokens, by host, and for others' credentials. There is at least one token, and no other entry
    /// takes its place.
    pub(super) fn new(
        tokens: &BTreeMap<String, Arc<Token>>,
        additional: &BTreeMap<String, Credentials>,
        late: Option<Failure>,
    ) -> Self {
        let others = additional.iter().map(|(key, it)| (key, it.username.as_str(), it.password.as_str()));
        let ours = tokens.iter().map(|(host, token)| (host, token.username.as_str(), token.password.as_str()));
        let auths: serde_json::Map<_, _> = others
            .chain(ours)
            .map(|(host, username, password)| {
                let auth = BASE64.encode(format!("{username}:{password}"));
                (host.clone(), json!({ "username": username, "password": password, "auth": auth }))
            })
            .collect();
        Self {
            dockerconfigjson: json!({ "auths": auths }).to_string(),
            hosts: tokens.keys().cloned().collect(),
            expires_at: tokens.values().map(|token| token.expires_at).min().unwrap_or_default(),
            late,
            tokens: tokens.values().cloned().collect(),
        }
    }

    /// When a Secret with this content is due to be renewed. `seed` tells Secrets apart that share it.
    pub(super) fn renew_at(&self, seed: &str) -> Timestamp {
        self.tokens.iter().map(|token| fresh::renew_at(token, seed)).min().unwrap_or_default()
    }
}

/// A fingerprint of a content, by which an edit is noticed without keeping the content.
pub(super) fn fingerprint(dockerconfigjson: &[u8]) -> String {
    Sha256::digest(dockerconfigjson).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::SignedDuration;

    fn token(password: &str, issued: i64) -> Arc<Token> {
        let issued_at = Timestamp::from_second(issued).expect("in range");
        Arc::new(Token {
            username: "AWS".into(),
            password: password.into(),
            issued_at,
            expires_at: issued_at + SignedDuration::from_hours(12),
        })
    }

    #[test]
    fn every_host_has_its_own_credentials_in_both_forms() {
        let tokens =
            BTreeMap::from([("b.example".to_owned(), token("two", 0)), ("a.example".to_owned(), token("one", 60))]);
        let document = Document::new(&tokens, &BTreeMap::new(), None);
        let config: serde_json::Value = serde_json::from_str(&document.dockerconfigjson).expect("JSON");
        assert_eq!(config["auths"]["a.example"]["password"], "one");
        assert_eq!(config["auths"]["b.example"]["auth"], BASE64.encode("AWS:two"));
        assert_eq!(document.hosts, ["a.example", "b.example"]);
    }

    #[test]
    fn others_credentials_stand_beside_the_tokens_and_never_in_their_place() {
        let tokens = BTreeMap::from([("b.example".to_owned(), token("two", 0))]);
        let others = ["a.example", "b.example"].map(|key| (key.to_owned(), Credentials::new("user", "theirs"))).into();
        let document = Document::new(&tokens, &others, None);
        let config: serde_json::Value = serde_json::from_str(&document.dockerconfigjson).expect("JSON");
        assert_eq!(config["auths"]["a.example"]["auth"], BASE64.encode("user:theirs"));
        assert_eq!(config["auths"]["b.example"]["password"], "two");
        assert_eq!(document.hosts, ["b.example"], "those that it has tokens for");
    }

    #[test]
    fn the_oldest_token_says_how_long_the_secret_is_good_for() {
        let tokens = BTreeMap::from([("a".to_owned(), token("one", 3600)), ("b".to_owned(), token("two", 0))]);
        let document = Document::new(&tokens, &BTreeMap::new(), None);
        assert_eq!(document.expires_at.as_second(), 12 * 3600);
        let due = document.renew_at("seed").as_second();
        assert!((6 * 3600..7 * 3600).contains(&due), "{due}");
    }

    #[test]
    fn another_content_has_another_fingerprint() {
        assert_eq!(fingerprint(b"one"), fingerprint(b"one"));
        assert_ne!(fingerprint(b"one"), fingerprint(b"two"));
        assert_eq!(fingerprint(b"one").len(), 64);
    }
}
