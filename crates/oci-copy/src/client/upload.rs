//! A blob on its way: read from one registry, checked, and put into another, piece by piece.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use reqwest::header::AUTHORIZATION;
use reqwest::{Response, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::answer::{Answer, next_chunk};
use super::{Session, protocol, timed_out, transport};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Place};

/// A blob that is being read. What it yields is checked: the last piece comes out only when all of it has the digest and
/// the size that were promised, so whoever writes it elsewhere can't complete anything else.
pub(crate) struct BlobReader {
    pub(crate) place: Place,
    pub(crate) answer: Answer,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Session {
    /// Puts a blob's bytes to an upload's location, in one request.
    ///
    /// `on_bytes` hears of every piece that goes out.
    pub(crate) async fn upload(
        &self,
        location: &Url,
        blob: BlobReader,
        on_bytes: impl Fn(u64) + Send + 'static,
    ) -> Result<(), Error> {
        let call = self.upload_call(location, &blob.digest, blob.size);
        let grant = self.grant(&call.place).await?;
        let client = &self.registry.own;
        client.reach.check_url(&call.url).await.map_err(|blocked| self.blocked(&call.place, &blocked))?;

        let algorithm = blob.digest.algorithm();
        let pulse = Arc::new(Pulse::new());
        let failure = Arc::new(Mutex::new(None));
        let idle = self.config.idle_timeout;
        let body = if blob.size == 0 {
            // A body of length nothing is never asked for its pieces, so it is checked here.
            let (expected, actual) = (blob.digest, Digest::of(algorithm, b""));
            if actual != expected {
                return Err(Error::DigestMismatch { place: Box::new(blob.place), expected, actual });
            }
            reqwest::Body::from(Bytes::new())
        } else {
            reqwest::Body::wrap_stream(checked(blob, idle, pulse.clone(), failure.clone(), on_bytes))
        };
        let mut request = client.http.request(call.method.clone(), call.url.clone()).headers(call.headers.clone());
        if let Some(grant) = &grant {
            request = request.header(AUTHORIZATION, grant.authorization.header.clone());
        }
        let sending = request.body(body).send();
        let result = self.watch(&call.place, sending, &pulse).await;

        // If reading failed, the broken upload is only its echo.
        if let Some(error) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let response = result?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // The body is gone, so this try is lost; the next one starts with what this answer taught.
            self.learn(response.headers(), grant.as_ref()).await?;
        }
        let answer = Answer::new(response, true, grant.map(|grant| grant.authorization));
        match answer.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => {
                answer.drain(idle).await;
                Ok(())
            }
            status if status.is_success() || status.is_redirection() => {
                Err(protocol(&call.place, format!("it answers {} instead of 201", status.as_u16())))
            }
            _ => Err(self.refuse(call.place, answer).await),
        }
    }

    /// Waits for an upload's answer as long as bytes flow, and a while longer once all have gone out.
    async fn watch(
        &self,
        place: &Place,
        sending: impl Future<Output = reqwest::Result<Response>>,
        pulse: &Pulse,
    ) -> Result<Response, Error> {
        let mut sending = std::pin::pin!(sending);
        let (idle, commit) = (self.config.idle_timeout, self.config.commit_timeout);
        loop {
            let (since, waiting) = pulse.read();
            let (awaited, limit) = match waiting {
                // The reader has its own limit, which comes first.
                Waiting::Source => ("progress", idle.saturating_mul(2)),
                Waiting::Destination => ("progress", idle),
                Waiting::Commit => ("answer to the complete upload", commit),
            };
            let now = Instant::now();
            if now >= since + limit {
                return Err(timed_out(place, awaited, limit));
            }
            // What it waits for, and so the limit, changes meanwhile: it looks again no later than the shortest allows.
            let look_again = (since + limit).min(now + idle.min(commit));
            tokio::select! {
                biased;
                result = &mut sending => {
                    return result.map_err(|error| transport::failure(place, error, self.config.connect_timeout));
                }
                () = tokio::time::sleep_until(look_again) => {}
            }
        }
    }
}

/// Whom an upload is waiting for, and since when.
struct Pulse(Mutex<(Instant, Waiting)>);

#[derive(Clone, Copy, PartialEq)]
enum Waiting {
    Source,
    Destination,
    Commit,
}

impl Pulse {
    fn new() -> Self {
        Self(Mutex::new((Instant::now(), Waiting::Destination)))
    }

    fn beat(&self, waiting: Waiting) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), waiting);
    }

    fn read(&self) -> (Instant, Waiting) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends an upload's body; what really happened is kept beside it.
#[derive(Debug, thiserror::Error)]
#[error("the source failed")]
struct Stopped;

/// What is left to do of a body.
struct Reading {
    place: Place,
    response: Response,
    digest: Digest,
    size: u64,
    seen: u64,
    hasher: Option<Hasher>,
    /// Held back until the next piece, or the end, proves that it isn't the last of something wrong.
    held: Option<Bytes>,
}

fn checked(
    blob: BlobReader,
    idle: Duration,
    pulse: Arc<Pulse>,
    failure: Arc<Mutex<Option<Error>>>,
    on_bytes: impl Fn(u64) + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Stopped>> + Send + 'static {
    let reading = Reading {
        hasher: Some(Hasher::new(blob.digest.algorithm())),
        place: blob.place,
        response: blob.answer.into_response(),
        digest: blob.digest,
        size: blob.size,
        seen: 0,
        held: None,
    };
    let pieces = futures::stream::try_unfold(reading, move |mut reading| {
        let (pulse, failure) = (pulse.clone(), failure.clone());
        async move {
            pulse.beat(Waiting::Source);
            match reading.next(idle).await {
                Ok(Some(bytes)) => {
                    // Nobody may come back for more once the announced length is out.
                    pulse.beat(if reading.is_whole() { Waiting::Commit } else { Waiting::Destination });
                    Ok(Some((bytes, reading)))
                }
                Ok(None) => {
                    pulse.beat(Waiting::Commit);
                    Ok(None)
                }
                Err(error) => {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    Err(Stopped)
                }
            }
        }
    });
    pieces.inspect_ok(move |bytes| on_bytes(bytes.len() as u64))
}

impl Reading {
    /// The next piece that may go out.
    async fn next(&mut self, idle: Duration) -> Result<Option<Bytes>, Error> {
        loop {
            match next_chunk(&mut self.response, &self.place, idle).await? {
                Some(chunk) if chunk.is_empty() => {}
                Some(chunk) => {
                    self.seen += chunk.len() as u64;
                    if self.seen > self.size {
                        let (expected, actual) = (self.size, self.seen);
                        return Err(Error::SizeMismatch { place: Box::new(self.place.clone()), expected, actual });
                    }
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&chunk);
                    }
                    if let Some(released) = self.held.replace(chunk) {
                        return Ok(Some(released));
                    }
                }
                None => {
                    self.check_whole()?;
                    return Ok(self.held.take());
                }
            }
        }
    }

    /// All of it was checked, and the last piece has been handed out.
    fn is_whole(&self) -> bool {
        self.hasher.is_none()
    }

    fn check_whole(&mut self) -> Result<(), Error> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        if self.seen < self.size {
            let (expected, actual) = (self.size, self.seen);
            return Err(Error::Truncated { place: Box::new(self.place.clone()), expected, actual });
        }
        let actual = hasher.finish();
        if actual != self.digest {
            let (place, expected) = (Box::new(self.place.clone()), self.digest.clone());
            return Err(Error::DigestMismatch { place, expected, actual });
        }
        Ok(())
    }
}
