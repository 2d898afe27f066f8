//! A blob on its way into a registry: in one request, or in pieces where the registry wants that.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::Stream;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::answer::Answer;
use super::reader::BlobReader;
use super::{Call, Session, protocol, redirects, spans, timed_out, transport};
use crate::digest::Digest;
use crate::engine::tee::Branch;
use crate::error::{Error, Operation, Place};
use crate::limit::Permit;
use crate::manifest::Blob;

/// Where an upload's bytes come from. Whatever it is, the last piece comes only when all of the blob is right.
pub(crate) enum Feed {
    /// A reader of one's own.
    Reader(Box<BlobReader>),
    /// A reader that others read from too.
    Branch(Box<Branch>),
    /// Bytes that are there already, and checked.
    Bytes(Option<Bytes>),
}

impl Feed {
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Reader(reader) => reader.next().await,
            Self::Branch(branch) => branch.next().await,
            Self::Bytes(bytes) => Ok(bytes.take().filter(|bytes| !bytes.is_empty())),
        }
    }
}

/// What is left to send of a blob, and who is to hear of it.
struct Outlet {
    feed: Feed,
    size: u64,
    sent: u64,
    /// A piece that didn't fit into the request before.
    left: Option<Bytes>,
    on_bytes: Box<dyn Fn(u64) + Send + Sync>,
    /// Given back when the last byte has gone out: another blob can flow while this one is committed.
    permits: Option<Vec<Box<dyn Send + Sync>>>,
    failure: Option<Error>,
}

/// Whose fault it is that an upload failed.
pub(crate) enum Failed {
    /// The bytes didn't come. Whoever reads has been through all tries.
    Reading(Error),
    /// The registry didn't take them.
    Sending(Error),
    /// The same, because of a token or password that ran out: the next try has another.
    Late(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Sending(error)
    }
}

/// One upload's bytes and its requests see the same outlet, one after the other.
type Shared = Arc<tokio::sync::Mutex<Outlet>>;

/// The parts of an upload.
pub(crate) struct Upload<'a> {
    pub(crate) location: &'a Url,
    pub(crate) blob: &'a Blob,
    pub(crate) feed: Feed,
    /// The registry's permit, which learns from how it ends.
    pub(crate) write: &'a Permit,
    /// What is given back when the last byte is out.
    pub(crate) permits: Vec<Box<dyn Send + Sync>>,
    /// Hears of every piece that goes out.
    pub(crate) on_bytes: Box<dyn Fn(u64) + Send + Sync>,
}

impl Session {
    /// Puts a blob's bytes to an upload's location.
    pub(crate) async fn upload(&self, upload: Upload<'_>) -> Result<(), Failed> {
        let Upload { location, blob, feed, write, permits, on_bytes } = upload;
        let (size, permits) = (blob.size, Some(permits));
        let outlet = Outlet { feed, size, sent: 0, left: None, on_bytes, permits, failure: None };
        let outlet = Arc::new(tokio::sync::Mutex::new(outlet));
        let answer = match self.registry.chunks.size().filter(|chunk| *chunk < size) {
            None => self.put_whole(location, blob, &outlet, write).await?,
            Some(chunk) => self.put_in_chunks(location, blob, &outlet, chunk, write).await?,
        };
        match answer.1.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => {
                write.succeeded();
                answer.1.drain(self.config.idle_timeout).await;
                Ok(())
            }
            status if status.is_success() || status.is_redirection() => {
                Err(protocol(&answer.0, format!("it answers {} instead of 201", status.as_u16())).into())
            }
            _ if answer.1.renewed => Err(Failed::Late(self.refuse(answer.0, answer.1).await)),
            _ => Err(self.refuse(answer.0, answer.1).await.into()),
        }
    }

    async fn put_whole(
        &self,
        location: &Url,
        blob: &Blob,
        outlet: &Shared,
        write: &Permit,
    ) -> Result<(Place, Answer), Failed> {
        let mut call = self.upload_call(Method::PUT, with_digest(location, &blob.digest), &blob.digest, blob.size);
        if blob.size == 0 {
            // A body of length nothing is never asked for its pieces, so the feed's check is heard here.
            outlet.lock().await.feed.next().await.map_err(Failed::Reading)?;
            call.body = Some(Bytes::new());
        }
        let answer = self.send_piece(&call, outlet, blob.size, write).await?;
        Ok((call.place, answer))
    }

    /// `PATCH` after `PATCH`, each from where the one before ended, and a `PUT` that says that this is all.
    ///
    /// ECR answers 201 where the specification wants 202, and its `Range` tells only of the first piece: the status and
    /// the `Location` are what counts.
    async fn put_in_chunks(
        &self,
        location: &Url,
        blob: &Blob,
        outlet: &Shared,
        chunk: u64,
        write: &Permit,
    ) -> Result<(Place, Answer), Failed> {
        let mut location = location.clone();
        let mut start = 0;
        while start < blob.size {
            let length = chunk.min(blob.size - start);
            let mut call = self.upload_call(Method::PATCH, location, &blob.digest, length);
            let range = HeaderValue::from_str(&format!("{start}-{}", start + length - 1));
            call.headers.insert(CONTENT_RANGE, range.map_err(|_| protocol(&call.place, "a range can't be written"))?);
            let answer = self.send_piece(&call, outlet, length, write).await?;
            if !matches!(
                answer.status(),
                StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT
            ) {
                return Ok((call.place, answer));
            }
            location = match answer.header(LOCATION) {
                Some(next) => redirects::same_origin(self.registry.endpoint(), answer.url(), next)
                    .map_err(|problem| Error::Blocked { place: Box::new(call.place), problem })?,
                None => call.url,
            };
            answer.drain(self.config.idle_timeout).await;
            start += length;
        }
        let mut call = self.upload_call(Method::PUT, with_digest(&location, &blob.digest), &blob.digest, 0);
        call.body = Some(Bytes::new());
        let answer = self.send_piece(&call, outlet, 0, write).await?;
        Ok((call.place, answer))
    }

    /// The request that brings bytes of a blob.
    fn upload_call(&self, method: Method, url: Url, digest: &Digest, length: u64) -> Call {
        let mut call = self.call(Operation::UploadBlob, Some(digest.as_str()), method, url);
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        call.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        call
    }

    /// Sends the outlet's next `length` bytes. Its body can't be sent twice, so there is one try.
    async fn send_piece(&self, call: &Call, outlet: &Shared, length: u64, write: &Permit) -> Result<Answer, Failed> {
        let grant = self.grant(&call.place, &self.scope).await?;
        let client = &self.registry.bulk;
        client.reach.check_url(&call.url).await.map_err(|blocked| self.blocked(&call.place, &blocked))?;
        super::may_write(&self.config, &call.place)?;
        let pulse = Arc::new(Pulse::new());
        let body = match &call.body {
            Some(bytes) => reqwest::Body::from(bytes.clone()),
            None => {
                let (config, place) = (self.config.clone(), call.place.clone());
                let may_write = move || super::may_write(&config, &place);
                reqwest::Body::wrap_stream(pieces(outlet.clone(), length, pulse.clone(), Arc::new(may_write)))
            }
        };
        if call.body.is_some() {
            pulse.beat(Waiting::Commit);
        }
        let mut request = client.http.request(call.method.clone(), call.url.clone()).headers(call.headers.clone());
        if let Some(grant) = &grant {
            request = request.header(AUTHORIZATION, grant.authorization.header.clone());
        }
        let sending = request.body(body).send();
        let watched = self.watch(&call.place, sending, &pulse);
        let result = spans::traced(&call.place, &call.method, &call.url, watched).await;

        // If reading failed, the broken upload is only its echo. Where the outlet is still busy, nothing has failed.
        if let Some(error) = outlet.try_lock().ok().and_then(|mut outlet| outlet.failure.take()) {
            return Err(Failed::Reading(error));
        }
        let response = result?;
        self.heed(Operation::UploadBlob, &response, write.sent, None);
        // The body is gone, so this try is lost; the next one starts with what this answer taught.
        let renewed = self.learn(response.status(), response.headers(), grant.as_ref()).await?;
        let mut answer = Answer::new(response, true, grant.map(|grant| grant.authorization));
        answer.renewed = renewed;
        Ok(answer)
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
            let limit = match waiting {
                // Whoever reads has limits, and tries, of its own.
                Waiting::Source => None,
                Waiting::Destination => Some(("progress", idle)),
                Waiting::Commit => Some(("answer to the complete upload", commit)),
            };
            let now = Instant::now();
            // What it waits for, and so the limit, changes meanwhile: it looks again no later than the shortest allows.
            let mut look_again = now + idle.min(commit);
            if let Some((awaited, limit)) = limit {
                if now >= since + limit {
                    return Err(timed_out(place, awaited, limit));
                }
                look_again = look_again.min(since + limit);
            }
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

fn with_digest(location: &Url, digest: &Digest) -> Url {
    let mut url = location.clone();
    url.query_pairs_mut().append_pair("digest", digest.as_str());
    url
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
#[error("the upload was given up")]
struct Stopped;

/// The next `length` bytes as the body of a request.
fn pieces(
    outlet: Shared,
    length: u64,
    pulse: Arc<Pulse>,
    may_write: Arc<dyn Fn() -> Result<(), Error> + Send + Sync>,
) -> impl Stream<Item = Result<Bytes, Stopped>> + Send + 'static {
    futures::stream::try_unfold((outlet, length), move |(outlet, length)| {
        let (pulse, may_write) = (pulse.clone(), may_write.clone());
        async move {
            if length == 0 {
                return Ok(None);
            }
            pulse.beat(Waiting::Source);
            let mut open = outlet.lock().await;
            let next = open.next(length).await.and_then(|next| may_write().map(|()| next));
            match next {
                Ok(Some(bytes)) => {
                    let length = length - bytes.len() as u64;
                    // Nobody may come back for more once the announced length is out.
                    pulse.beat(if length == 0 { Waiting::Commit } else { Waiting::Destination });
                    drop(open);
                    Ok(Some((bytes, (outlet, length))))
                }
                Ok(None) => Ok(None),
                Err(error) => {
                    open.failure = Some(error);
                    Err(Stopped)
                }
            }
        }
    })
}

impl Outlet {
    /// The next piece, no longer than `room`.
    async fn next(&mut self, room: u64) -> Result<Option<Bytes>, Error> {
        let next = match self.left.take() {
            Some(left) => Some(left),
            None => self.feed.next().await?,
        };
        let Some(mut piece) = next else { return Ok(None) };
        if piece.len() as u64 > room {
            // It fits: it is less than the piece's length.
            self.left = Some(piece.split_off(room as usize));
        }
        self.sent += piece.len() as u64;
        (self.on_bytes)(piece.len() as u64);
        if self.sent >= self.size {
            self.permits = None;
        }
        Ok(Some(piece))
    }
}
