//! Tokens from a realm: [distribution's token authentication].
//!
//! [distribution's token authentication]: https://distribution.github.io/distribution/spec/auth/token/

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use crate::digest::Digest;

/// A token lives for 60 s if the realm doesn't say otherwise (the specification's default).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// Nobody checks what a realm says: longer than this is not believed.
const LONGEST_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Expired entries are thrown out when the cache has grown by so many.
const SWEEP: usize = 1024;

/// What a token is for and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    /// `repository:<name>:<actions>`, sorted, one space between.
    pub(crate) scope: String,
    /// None: anonymous.
    pub(crate) identity: Option<Digest>,
}

/// A token, and until when it is used.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) text: Arc<str>,
    use_until: Instant,
}

impl Token {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.use_until
    }
}

/// Tokens by what they are for. One request at a time fetches a token; others wait for it.
#[derive(Default)]
pub(crate) struct TokenCache {
    slots: Mutex<HashMap<TokenKey, Slot>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

impl TokenCache {
    fn slot(&self, key: &TokenKey) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= SWEEP && !slots.contains_key(key) {
            // A slot that is locked or fresh is in use.
            slots.retain(|_, slot| slot.try_lock().map_or(true, |token| token.as_ref().is_some_and(Token::is_fresh)));
        }
        slots.entry(key.clone()).or_default().clone()
    }

    /// The cached token, or the one that `fetch` brings.
    pub(crate) async fn get<E>(
        &self,
        key: &TokenKey,
        fetch: impl Future<Output = Result<Token, E>>,
    ) -> Result<Token, E> {
        let slot = self.slot(key);
        let mut token = slot.lock().await;
        match token.as_ref().filter(|token| token.is_fresh()) {
            Some(token) => Ok(token.clone()),
            None => Ok(token.insert(fetch.await?).clone()),
        }
    }

    /// Forgets a token that was refused. One that came in its place stays.
    pub(crate) async fn forget(&self, key: &TokenKey, refused: &str) {
        let slot = self.slot(key);
        let mut token = slot.lock().await;
        if token.as_ref().is_some_and(|token| &*token.text == refused) {
            *token = None;
        }
    }
}

/// The URL that asks a realm for a token.
pub(crate) fn token_url(key: &TokenKey) -> Url {
    let mut url = key.realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &key.service {
            query.append_pair("service", service);
        }
        for scope in key.scope.split(' ') {
            query.append_pair("scope", scope);
        }
    }
    url
}

/// Reads a realm's answer. Its text goes into no error: it may hold a token.
pub(crate) fn read_token(body: &[u8]) -> Result<Token, &'static str> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<f64>,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "its answer isn't the JSON of a token")?;
    let non_empty = |text: &String| !text.is_empty();
    let text = answer
        .token
        .filter(non_empty)
        .or(answer.access_token.filter(non_empty))
        .ok_or("its answer has no token in it")?;
    let life = match answer.expires_in {
        // Some realms say 0 for "don't know".
        Some(seconds) if seconds > 0.0 => {
            Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_LIFE).min(LONGEST_LIFE)
        }
        _ => DEFAULT_LIFE,
    };
    // Renewed a little early: the request has to arrive before it expires, and clocks differ.
    let margin = (life / 10).min(Duration::from_secs(30));
    Ok(Token { text: text.into(), use_until: Instant::now() + life - margin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn key(scope: &str) -> TokenKey {
        TokenKey {
            realm: Url::parse("https://auth.example/token?a=b").unwrap(),
            service: Some("r e".to_owned()),
            scope: scope.to_owned(),
            identity: None,
        }
    }

    fn token(text: &str, expires_in: &str) -> Token {
        read_token(format!("{{\"token\":\"{text}\",\"expires_in\":{expires_in}}}").as_bytes()).unwrap()
    }

    #[test]
    fn a_realm_is_asked_for_every_scope() {
        assert_eq!(
            token_url(&key("repository:a:pull repository:b:pull,push")).as_str(),
            "https://auth.example/token?a=b&service=r+e&scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull%2Cpush"
        );
    }

    #[test]
    fn both_names_of_a_token_are_read_and_nonsense_is_refused_without_being_shown() {
        assert_eq!(&*read_token(br#"{"access_token":"x"}"#).unwrap().text, "x");
        assert_eq!(&*read_token(br#"{"token":"x","access_token":"y","expires_in":1e300}"#).unwrap().text, "x");
        for body in [&b"secret"[..], b"{}", b"{\"token\":\"\"}", b"{\"token\":null}", b"{\"token\":1}", b"[]", b""] {
            let Err(error) = read_token(body) else { panic!() };
            assert!(!error.contains("secret"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_fetched_once_and_again_when_it_expires() {
        let cache = TokenCache::default();
        let fetched = AtomicUsize::new(0);
        let get = |scope: &'static str| {
            let (cache, fetched) = (&cache, &fetched);
            async move {
                cache
                    .get(&key(scope), async {
                        fetched.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        Ok::<_, ()>(token("t", "100"))
                    })
                    .await
                    .unwrap()
            }
        };
        tokio::join!(get("a"), get("a"), get("a"));
        assert_eq!(fetched.load(Ordering::SeqCst), 1);
        get("b").await;
        assert_eq!(fetched.load(Ordering::SeqCst), 2, "another scope is another token");
        tokio::time::advance(Duration::from_secs(89)).await;
        get("a").await;
        assert_eq!(fetched.load(Ordering::SeqCst), 2);
        tokio::time::advance(Duration::from_secs(2)).await;
        get("a").await;
        assert_eq!(fetched.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn only_the_token_that_was_refused_is_forgotten() {
        let cache = TokenCache::default();
        let get = |text: &'static str| {
            let cache = &cache;
            async move { cache.get(&key("a"), async { Ok::<_, ()>(token(text, "100")) }).await.unwrap().text }
        };
        assert_eq!(&*get("one").await, "one");
        cache.forget(&key("a"), "zero").await;
        assert_eq!(&*get("two").await, "one");
        cache.forget(&key("a"), "one").await;
        assert_eq!(&*get("two").await, "two");
    }

    #[tokio::test(start_paused = true)]
    async fn expired_tokens_do_not_pile_up() {
        let cache = TokenCache::default();
        for n in 0..SWEEP * 2 {
            tokio::time::advance(Duration::from_secs(61)).await;
            cache.get(&key(&n.to_string()), async { Ok::<_, ()>(token("t", "60")) }).await.unwrap();
        }
        assert!(cache.slots.lock().unwrap().len() <= SWEEP);
    }
}
