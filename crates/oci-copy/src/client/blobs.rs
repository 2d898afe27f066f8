//! Blobs on a registry. Nothing here is tried again: a blob's transfer is repeated as a whole, with a new upload.

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use url::Url;

use super::answer::Answer;
use super::{Session, protocol, redirects};
use crate::digest::Digest;
use crate::error::{Error, Operation, Place};

/// The answer to a request for an upload.
pub(crate) enum Start {
    /// The registry took the blob over from the other repository.
    Mounted,
    /// The bytes are to be put here.
    Upload(Url),
}

impl Session {
    /// Whether the repository has a blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let key = digest.as_str();
        let call = self.call(Operation::HeadBlob, Some(key), Method::HEAD, self.url(&format!("blobs/{key}")));
        let answer = self.exchange(&call).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(self.refuse(call.place, answer).await),
        }
    }

    /// Opens a blob for reading. Its bytes are not checked yet.
    pub(crate) async fn open_blob(&self, digest: &Digest, size: u64) -> Result<(Place, Answer), Error> {
        let key = digest.as_str();
        let call = self.call(Operation::GetBlob, Some(key), Method::GET, self.url(&format!("blobs/{key}")));
        let answer = self.exchange(&call).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.refuse(call.place, answer).await);
        }
        if let Some(actual) = answer.content_length().filter(|length| *length != size) {
            return Err(Error::SizeMismatch { place: Box::new(call.place), expected: size, actual });
        }
        Ok((call.place, answer))
    }

    /// Reads a small blob whole, and checks it.
    pub(crate) async fn read_blob(&self, digest: &Digest, size: u64, limit: usize) -> Result<bytes::Bytes, Error> {
        crate::retry::retrying(&self.config.retry, || async {
            let (place, answer) = self.open_blob(digest, size).await?;
            let bytes = answer.read(&place, limit, self.config.idle_timeout).await?;
            let actual = Digest::of(digest.algorithm(), &bytes);
            if actual == *digest {
                Ok(bytes)
            } else {
                Err(Error::DigestMismatch { place: Box::new(place), expected: digest.clone(), actual })
            }
        })
        .await
    }

    /// Starts an upload. With `mount_from`, a repository of the same registry, the registry is asked to take the blob
    /// over from there; if it doesn't, the upload has started just as well.
    pub(crate) async fn start_upload(&self, digest: &Digest, mount_from: Option<&str>) -> Result<Start, Error> {
        let mut url = self.url("blobs/uploads/");
        if let Some(from) = mount_from {
            url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
        }
        let mut call = self.call(Operation::StartUpload, None, Method::POST, url);
        // Some registries and proxies want to see that there is no body.
        call.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let answer = self.exchange(&call).await?;
        match answer.status() {
            StatusCode::CREATED if mount_from.is_some() => {
                answer.drain(self.config.idle_timeout).await;
                Ok(Start::Mounted)
            }
            StatusCode::ACCEPTED => {
                let location = answer
                    .header(LOCATION)
                    .ok_or_else(|| protocol(&call.place, "it gives no Location for the upload"))?;
                let location = redirects::same_origin(self.registry.endpoint(), answer.url(), location)
                    .map_err(|problem| Error::Blocked { place: Box::new(call.place.clone()), problem })?;
                answer.drain(self.config.idle_timeout).await;
                Ok(Start::Upload(location))
            }
            status if status.is_success() || status.is_redirection() => {
                Err(protocol(&call.place, format!("it answers {} instead of 202", status.as_u16())))
            }
            _ => Err(self.refuse(call.place, answer).await),
        }
    }

    /// Tells the registry that an upload will not be finished. Nothing depends on it.
    pub(crate) async fn cancel_upload(&self, location: Url) {
        let call = self.call(Operation::CancelUpload, None, Method::DELETE, location);
        match self.exchange(&call).await {
            Ok(answer) => tracing::debug!(status = answer.status().as_u16(), "{}", call.place),
            Err(error) => tracing::debug!(error = %error, "an upload was not cancelled"),
        }
    }

    /// The request that brings a blob's bytes.
    pub(crate) fn upload_call(&self, location: &Url, digest: &Digest, size: u64) -> super::Call {
        let mut url = location.clone();
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let mut call = self.call(Operation::UploadBlob, Some(digest.as_str()), Method::PUT, url);
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        call.headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
        call
    }
}
