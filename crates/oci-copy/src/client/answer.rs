//! Reading what a registry answers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::{protocol, timed_out, transport};
use crate::auth::Authorization;
use crate::digest::Digest;
use crate::engine::request::RateLimit;
use crate::error::{Error, Place, Refusal, read_error_body};

/// Error bodies and tokens are read up to here, in bytes.
pub(crate) const MAX_SMALL_BODY: usize = 1 << 20;
const DOCKER_CONTENT_DIGEST: &str = "docker-content-digest";

/// An answer whose body isn't read yet.
pub(crate) struct Answer {
    response: Response,
    /// It came from the registry's own origin, not from where a redirect led.
    pub(crate) own: bool,
    /// What the request was sent with.
    pub(crate) authorization: Option<Authorization>,
    /// It refused what the request was sent with, and now there is something else to send.
    pub(crate) renewed: bool,
}

impl Answer {
    pub(crate) fn new(response: Response, own: bool, authorization: Option<Authorization>) -> Self {
        Self { response, own, authorization, renewed: false }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub(crate) fn url(&self) -> &url::Url {
        self.response.url()
    }

    pub(crate) fn header(&self, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// `Docker-Content-Digest`, if it is there and is a digest.
    pub(crate) fn content_digest(&self) -> Option<Digest> {
        self.header(DOCKER_CONTENT_DIGEST)?.trim().parse().ok()
    }

    /// When the registry wants to be asked again: `Retry-After` in seconds or as a date ([RFC 9110, section 10.2.3]).
    ///
    /// [RFC 9110, section 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    pub(crate) fn retry_at(&self) -> Option<SystemTime> {
        retry_after(self.headers())
    }

    pub(crate) fn into_response(self) -> Response {
        self.response
    }

    /// Reads the body, which must not be longer than `limit` bytes, nor stand still for longer than `idle`, nor take
    /// longer than four times that: one that drips would never end otherwise.
    pub(crate) async fn read(self, place: &Place, limit: usize, idle: Duration) -> Result<Bytes, Error> {
        let whole = idle.saturating_mul(4);
        match tokio::time::timeout(whole, self.read_up_to(place, limit, idle)).await {
            Ok(result) => result,
            Err(_) => Err(timed_out(place, "end of the content", whole)),
        }
    }

    async fn read_up_to(mut self, place: &Place, limit: usize, idle: Duration) -> Result<Bytes, Error> {
        if self.content_length().is_some_and(|length| length > limit as u64) {
            return Err(protocol(place, format!("its body is longer than {limit} bytes")));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = next_chunk(&mut self.response, place, idle).await? {
            if body.len() + chunk.len() > limit {
                return Err(protocol(place, format!("its body is longer than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Reads a body that nobody wants, so that its connection can be used again, as far as that is worth the wait.
    pub(crate) async fn drain(mut self, idle: Duration) {
        let mut left = 64 * 1024_usize;
        let _ = tokio::time::timeout(idle, async {
            while let Ok(Some(chunk)) = self.response.chunk().await {
                match left.checked_sub(chunk.len()) {
                    Some(less) => left = less,
                    None => return,
                }
            }
        })
        .await;
    }

    /// The refusal that this answer is. A body that can't be read says nothing.
    pub(crate) async fn into_refusal(self, place: Place, note: Option<String>, idle: Duration) -> Refusal {
        let status = self.status().as_u16();
        let retry_at = self.retry_at();
        let content_type = self.header(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
        let none_left = none_left(self.headers());
        let authorization = self.authorization.clone();
        let own = self.own;
        let body = self.read(&place, MAX_SMALL_BODY, idle).await.unwrap_or_default();
        // What a storage service says is not the registry's word, and it likes to repeat the signed URL.
        let (code, message) = if own { read_error_body(&content_type, &body) } else { (None, None) };
        let exhausted = status == 429 && (none_left || message.as_deref().is_some_and(is_about_pulls));
        let message = message.map(|text| match &authorization {
            Some(authorization) => authorization.scrub(&text),
            None => text,
        });
        let note = note.or_else(|| (!own).then(|| "from where the registry redirected to".to_owned()));
        Refusal { place, status, code, message, retry_at, note, exhausted }
    }
}

/// The next piece of a body; waiting for it has an end.
pub(crate) async fn next_chunk(response: &mut Response, place: &Place, idle: Duration) -> Result<Option<Bytes>, Error> {
    match tokio::time::timeout(idle, response.chunk()).await {
        Ok(chunk) => chunk.map_err(|error| transport::failure(place, error, idle)),
        Err(_) => Err(timed_out(place, "more of the content", idle)),
    }
}

/// See [`Answer::retry_at`].
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<SystemTime> {
    retry_at(headers.get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

fn retry_at(value: &str, now: SystemTime) -> Option<SystemTime> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return now.checked_add(Duration::from_secs(seconds.into()));
    }
    httpdate::parse_http_date(value).ok()
}

/// Whether a registry's words are about a limit of pulls. Docker Hub has two limits with one status: this one's message
/// names it, with a link, and the one against abuse says "Too Many Requests" and no more.
fn is_about_pulls(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("pull rate limit") || message.contains("increase-rate-limit")
}

/// The pull budgets that registries told, by host.
#[derive(Default)]
pub(crate) struct RateLimits(Mutex<HashMap<String, RateLimit>>);

impl RateLimits {
    /// What an answer's headers tell, if they tell something.
    pub(crate) fn observe(&self, host: &str, headers: &HeaderMap) -> Option<RateLimit> {
        let seen = rate_limit(headers)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), seen);
        Some(seen)
    }

    pub(crate) fn get(&self, host: &str) -> Option<RateLimit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(host).copied()
    }
}

fn rate_limit(headers: &HeaderMap) -> Option<RateLimit> {
    let quota = |name| Some(quota(headers.get(name)?.to_str().ok()?));
    let (limit, remaining) = (quota("ratelimit-limit"), quota("ratelimit-remaining"));
    if limit.is_none() && remaining.is_none() {
        return None;
    }
    Some(RateLimit {
        limit: limit.and_then(|(count, _)| count),
        remaining: remaining.and_then(|(count, _)| count),
        window: limit.and_then(|(_, window)| window).or(remaining.and_then(|(_, window)| window)),
        observed_at: SystemTime::now(),
    })
}

/// Whether the headers say that a pull budget is used up.
pub(crate) fn none_left(headers: &HeaderMap) -> bool {
    rate_limit(headers).is_some_and(|told| told.remaining == Some(0))
}

/// `100;w=21600`: a count, and its window in seconds.
fn quota(value: &str) -> (Option<u64>, Option<Duration>) {
    let mut parts = value.split(';').map(str::trim);
    let count = parts.next().and_then(|count| count.parse().ok());
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok().map(Duration::from_secs));
    (count, window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(retry_at("30", now), Some(now + Duration::from_secs(30)));
        assert_eq!(retry_at("Mon, 12 Jan 1970 13:47:00 GMT", now), Some(now + Duration::from_secs(20)));
        for odd in ["", "-1", "soon", "99999999999999999999"] {
            assert_eq!(retry_at(odd, now), None, "{odd}");
        }
    }

    #[test]
    fn the_limit_of_pulls_is_told_from_the_one_against_abuse_by_its_words() {
        for words in [
            "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit",
            "You have reached your pull rate limit as 'someone'",
        ] {
            assert!(is_about_pulls(words), "{words}");
        }
        assert!(!is_about_pulls("Too Many Requests"));
    }

    #[test]
    fn a_pull_budget_is_read_as_docker_hub_writes_it() {
        let limits = RateLimits::default();
        let mut headers = HeaderMap::new();
        limits.observe("docker.io", &headers);
        assert_eq!(limits.get("docker.io"), None);
        headers.insert("ratelimit-limit", "100;w=21600".parse().unwrap());
        headers.insert("ratelimit-remaining", "76;w=21600".parse().unwrap());
        limits.observe("docker.io", &headers);
        let seen = limits.get("docker.io").unwrap();
        assert_eq!((seen.limit, seen.remaining, seen.window), (Some(100), Some(76), Some(Duration::from_secs(21600))));
        headers.insert("ratelimit-remaining", "odd".parse().unwrap());
        limits.observe("docker.io", &headers);
        assert_eq!(limits.get("docker.io").unwrap().remaining, None);
    }
}
