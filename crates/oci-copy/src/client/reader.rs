//! A blob that is read: checked on the way, and taken up again where it broke off.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::time::Instant;

use super::answer::{Answer, next_chunk};
use super::{Session, protocol};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Operation, Place};
use crate::limit::Permit;
use crate::manifest::Blob;
use crate::retry::{random, wait_after};

/// A blob breaks off no more often than this, however far it gets each time.
const MAX_BREAKS: usize = 100;

/// A blob that is being read. What it yields is checked: the last piece comes out only when all of it has the digest and
/// the size that were promised, so whoever writes it elsewhere can't complete anything else.
pub(crate) struct BlobReader {
    session: Arc<Session>,
    place: Place,
    response: Option<Response>,
    progress: Progress,
    /// Pieces of the answer that were read before, from a registry that knows no ranges.
    skip: u64,
    /// Breaks and refusals since the last piece that was new, and in all.
    breaks: usize,
    all_breaks: usize,
    /// Held while bytes flow.
    permit: Option<Permit>,
}

/// What is held while a blob is read: the caller's own, and the registry's permit.
pub(crate) struct Turn<T>(pub(crate) T, pub(crate) Permit);

/// How far a blob has been read. From here another reader can go on.
#[derive(Clone)]
pub(crate) struct Progress {
    digest: Digest,
    size: u64,
    seen: u64,
    /// None when the end was seen.
    hasher: Option<Hasher>,
    /// All of it was seen, and is right.
    whole: bool,
    /// Held back until the next piece, or the end, proves that it isn't the last of something wrong.
    held: Option<Bytes>,
}

impl Progress {
    pub(crate) fn new(blob: &Blob) -> Self {
        let hasher = Some(Hasher::new(blob.digest.algorithm()));
        Self { digest: blob.digest.clone(), size: blob.size, seen: 0, hasher, whole: false, held: None }
    }

    /// Takes a piece, and gives the one that may go out for it.
    fn take(&mut self, piece: Bytes, place: &Place) -> Result<Option<Bytes>, Error> {
        self.seen += piece.len() as u64;
        if self.seen > self.size {
            let (expected, actual) = (self.size, self.seen);
            return Err(Error::SizeMismatch { place: Box::new(place.clone()), expected, actual });
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        Ok(self.held.replace(piece))
    }

    /// The end came: the last piece, if it is the right end.
    fn end(&mut self, place: &Place) -> Result<Option<Bytes>, Error> {
        if self.seen < self.size {
            let (expected, actual) = (self.size, self.seen);
            return Err(Error::Truncated { place: Box::new(place.clone()), expected, actual });
        }
        let actual = self.hasher.take().map(Hasher::finish);
        if actual.as_ref() != Some(&self.digest) {
            let (place, expected) = (Box::new(place.clone()), self.digest.clone());
            let actual = actual.unwrap_or_else(|| Digest::sha256(b""));
            return Err(Error::DigestMismatch { place, expected, actual });
        }
        self.whole = true;
        Ok(self.held.take())
    }

    /// All of it was checked, and the last piece has been handed out.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    #[cfg(test)]
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }
}

impl Session {
    /// Opens a blob for reading. What fails has been through all its tries.
    ///
    /// `turn` is what it was waited for, and is held while bytes flow. While it waits between two tries, others have their
    /// turn, and `again` waits for the next one.
    pub(crate) async fn open_blob<T, F>(
        self: &Arc<Self>,
        blob: &Blob,
        mut turn: Turn<T>,
        again: impl Fn() -> F,
    ) -> Result<(BlobReader, T), Error>
    where
        F: Future<Output = Turn<T>>,
    {
        let mut reader = self.read_on(Progress::new(blob));
        loop {
            let sent = Instant::now();
            match self.open_at(&reader.progress).await {
                Ok((place, answer, skip)) => {
                    turn.1.answered_within(sent.elapsed());
                    (reader.place, reader.response, reader.skip) = (place, Some(answer.into_response()), skip);
                    reader.permit = Some(turn.1);
                    return Ok((reader, turn.0));
                }
                Err(error) => {
                    drop(turn);
                    reader.broke(error).await?;
                    turn = again().await;
                }
            }
        }
    }

    /// Reads a blob that has been read in part already. That it was begun was its turn.
    pub(crate) fn read_on(self: &Arc<Self>, progress: Progress) -> BlobReader {
        BlobReader {
            session: self.clone(),
            place: self.place(Operation::GetBlob, Some(progress.digest.as_str())),
            response: None,
            progress,
            skip: 0,
            breaks: 0,
            all_breaks: 0,
            permit: None,
        }
    }

    pub(crate) fn reader_is_gone(&self) -> Error {
        protocol(&self.place(Operation::GetBlob, None), "its reader is gone")
    }

    /// Asks for what is missing of a blob, and tells how much of the answer is not.
    async fn open_at(&self, progress: &Progress) -> Result<(Place, Answer, u64), Error> {
        let key = progress.digest.as_str();
        let mut call = self.call(Operation::GetBlob, Some(key), Method::GET, self.url(&format!("blobs/{key}")));
        if progress.seen > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", progress.seen));
            call.headers.insert(RANGE, range.map_err(|_| protocol(&call.place, "a range can't be written"))?);
        }
        let answer = self.exchange(&call).await?;
        let size_mismatch =
            |place, actual| Error::SizeMismatch { place: Box::new(place), expected: progress.size, actual };
        match answer.status() {
            StatusCode::OK => match answer.content_length() {
                Some(length) if length != progress.size => Err(size_mismatch(call.place, length)),
                _ => Ok((call.place, answer, progress.seen)),
            },
            StatusCode::PARTIAL_CONTENT if progress.seen > 0 => {
                match answer.header(CONTENT_RANGE).and_then(content_range) {
                    Some((start, total)) if start == progress.seen && total.is_none_or(|t| t == progress.size) => {
                        Ok((call.place, answer, 0))
                    }
                    Some((start, Some(total))) if start == progress.seen => Err(size_mismatch(call.place, total)),
                    _ => Err(protocol(&call.place, "it sends another part than it was asked for")),
                }
            }
            status if status.is_success() => {
                Err(protocol(&call.place, format!("it answers {} instead of 200", status.as_u16())))
            }
            _ => Err(self.refuse(call.place, answer).await),
        }
    }

    /// Reads a small blob whole, and checks it.
    pub(crate) async fn read_blob(self: &Arc<Self>, blob: &Blob, limit: usize) -> Result<Bytes, Error> {
        if blob.size > limit as u64 {
            let place = self.place(Operation::GetBlob, Some(blob.digest.as_str()));
            return Err(protocol(&place, format!("it is longer than {limit} bytes")));
        }
        let turn = || async { Turn((), self.registry.limits.reads.acquire().await) };
        let (mut reader, ()) = self.open_blob(blob, turn().await, turn).await?;
        let mut bytes = bytes::BytesMut::new();
        while let Some(piece) = reader.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }
}

impl BlobReader {
    /// The next piece that may go out; none at the end, when all of it is right.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let idle = self.session.config.idle_timeout;
        loop {
            if self.progress.is_whole() {
                return Ok(None);
            }
            let Some(response) = &mut self.response else {
                self.reopen().await?;
                continue;
            };
            match next_chunk(response, &self.place, idle).await {
                Ok(Some(piece)) => {
                    let Some(piece) = self.unseen(piece) else { continue };
                    self.breaks = 0;
                    if let Some(released) = self.progress.take(piece, &self.place)? {
                        return Ok(Some(released));
                    }
                }
                Ok(None) => match self.progress.end(&self.place) {
                    Ok(last) => return Ok(last),
                    Err(error) => self.broke(error).await?,
                },
                Err(error) => self.broke(error).await?,
            }
        }
    }

    /// How far it is, for another reader to go on.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What of a piece hasn't been seen before.
    fn unseen(&mut self, mut piece: Bytes) -> Option<Bytes> {
        let again = self.skip.min(piece.len() as u64);
        self.skip -= again;
        // It fits: it is no more than the piece's length.
        let _ = piece.split_to(again as usize);
        Some(piece).filter(|piece| !piece.is_empty())
    }

    /// It broke off, or was refused. If it may go on, it waits as long as the registry wants, or a moment; if not, that is
    /// the error, and nobody needs to try the same again.
    async fn broke(&mut self, error: Error) -> Result<(), Error> {
        self.response = None;
        self.breaks += 1;
        self.all_breaks += 1;
        let retry = &self.session.config.retry;
        let often = self.breaks >= retry.max_tries || self.all_breaks >= MAX_BREAKS;
        if often || !error.is_worth_retrying() {
            return Err(error);
        }
        let Some(wait) = wait_after(&error, self.delay(), retry) else { return Err(error) };
        tracing::debug!(error = %error, at = self.progress.seen, "a blob broke off, going on from there");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        match self.session.open_at(&self.progress).await {
            Ok((place, answer, skip)) => {
                (self.place, self.response, self.skip) = (place, Some(answer.into_response()), skip);
                Ok(())
            }
            Err(error) => self.broke(error).await,
        }
    }

    /// Twice as long after each break in a row, and a random part of it more or less.
    fn delay(&self) -> Duration {
        let retry = &self.session.config.retry;
        let doubled = retry.min_delay.saturating_mul(1 << self.breaks.saturating_sub(1).min(16)).min(retry.max_delay);
        doubled / 2 + doubled.mul_f64(random() / 2.0)
    }
}

/// Where a `Content-Range` starts, and how long the whole is, if it says so.
fn content_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = if total.trim() == "*" { None } else { Some(total.trim().parse().ok()?) };
    Some((start.trim().parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(content: &[u8]) -> Blob {
        Blob { media_type: "l".to_owned(), digest: Digest::sha256(content), size: content.len() as u64, data: None }
    }

    fn place() -> Place {
        Place::new(Operation::GetBlob, &"x.io/y".parse().unwrap(), None)
    }

    #[test]
    fn the_last_piece_comes_out_only_when_all_of_it_is_right() {
        let (mut right, place) = (Progress::new(&blob(b"hello world")), place());
        assert_eq!(right.take("hello ".into(), &place).unwrap(), None);
        assert_eq!(right.take("world".into(), &place).unwrap().unwrap(), "hello ");
        assert!(!right.is_whole());
        assert_eq!(right.end(&place).unwrap().unwrap(), "world");
        assert!(right.is_whole());

        let mut wrong = Progress::new(&blob(b"hello world"));
        wrong.take("hello ".into(), &place).unwrap();
        wrong.take("WORLD".into(), &place).unwrap();
        assert!(matches!(wrong.end(&place), Err(Error::DigestMismatch { .. })));
    }

    #[test]
    fn what_broke_off_goes_on_with_the_same_digest() {
        let (mut first, place) = (Progress::new(&blob(b"hello world")), place());
        first.take("hello".into(), &place).unwrap();
        assert!(matches!(first.end(&place), Err(Error::Truncated { .. })));
        let mut second = first.clone();
        assert_eq!(second.seen(), 5);
        assert_eq!(second.take(" world".into(), &place).unwrap().unwrap(), "hello");
        assert_eq!(second.end(&place).unwrap().unwrap(), " world");
    }

    #[test]
    fn more_than_was_promised_is_refused_at_once() {
        let mut progress = Progress::new(&blob(b"hello"));
        assert!(matches!(progress.take("hello!".into(), &place()), Err(Error::SizeMismatch { .. })));
    }

    #[test]
    fn a_content_range_is_read_strictly() {
        for (header, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes */10", None),
            ("bytes 5-9", None),
            ("items 5-9/10", None),
            ("bytes x-9/10", None),
            ("", None),
        ] {
            assert_eq!(content_range(header), expected, "{header}");
        }
    }
}
