//! Blobs on a registry. Nothing here is tried again: a blob's transfer is repeated as a whole, with a new upload.

use reqwest::header::{CONTENT_LENGTH, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use url::Url;

use super::{Session, protocol, redirects};
use crate::digest::Digest;
use crate::error::{Error, Operation};
use crate::reference::Repository;

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

    /// Starts an upload. With `mount_from`, a repository of the same registry, the registry is asked to take the blob
    /// over from there; if it doesn't, the upload has started just as well.
    pub(crate) async fn start_upload(&self, digest: &Digest, mount_from: Option<&Repository>) -> Result<Start, Error> {
        let mut url = self.url("blobs/uploads/");
        if let Some(from) = mount_from {
            url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from.path());
        }
        let mut call = self.call(Operation::StartUpload, None, Method::POST, url);
        call.also_pull = mount_from.cloned();
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
}
