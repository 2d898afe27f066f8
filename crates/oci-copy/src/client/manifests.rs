//! Manifests on a registry.

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};

use super::{Session, protocol};
use crate::budget::Pulls;
use crate::digest::Digest;
use crate::engine::request::{Descriptor, Missing};
use crate::error::{Error, ErrorKind, Operation, TransportProblem};
use crate::manifest::{MAX_BYTES, Manifest};
use crate::media_type::{ACCEPT_MANIFESTS, essence};
use crate::retry::retrying;

impl Session {
    /// What a tag or digest names, by one `HEAD`; none if it isn't there.
    ///
    /// A registry that doesn't tell a digest in its answer to `HEAD` is asked again with `GET`.
    pub(crate) async fn head_manifest(&self, key: &str) -> Result<Option<Descriptor>, Error> {
        retrying(&self.config.retry, || self.head_manifest_once(key)).await
    }

    async fn head_manifest_once(&self, key: &str) -> Result<Option<Descriptor>, Error> {
        let mut call =
            self.call(Operation::HeadManifest, Some(key), Method::HEAD, self.url(&format!("manifests/{key}")));
        call.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPT_MANIFESTS));
        let answer = self.exchange(&call).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !answer.status().is_success() {
            return Err(self.refuse(call.place, answer).await);
        }
        let digest = match (answer.content_digest(), key.parse::<Digest>()) {
            (Some(told), Ok(asked)) if told != asked && told.algorithm() == asked.algorithm() => {
                return Err(protocol(&call.place, format!("it has the digest {told}")));
            }
            (_, Ok(asked)) => asked,
            (Some(told), Err(_)) => told,
            (None, Err(_)) => {
                let manifest = self.get_manifest_once(key).await?;
                let size = manifest.bytes.len() as u64;
                return Ok(Some(Descriptor { media_type: manifest.media_type, digest: manifest.digest, size }));
            }
        };
        let media_type = essence(answer.header(CONTENT_TYPE).unwrap_or_default());
        Ok(Some(Descriptor { media_type, digest, size: answer.content_length().unwrap_or(0) }))
    }

    /// Reads a manifest. By digest, its bytes have that digest; by tag, the one that the registry tells.
    pub(crate) async fn get_manifest(&self, key: &str) -> Result<Manifest, Error> {
        if let (Some(pulls), Ok(digest)) = (self.pulls(), key.parse::<Digest>()) {
            pulls.expect_image(&digest).map_err(|shortage| self.short(shortage))?;
        }
        retrying(&self.config.retry, || self.get_manifest_once(key)).await
    }

    /// A manifest that may be missing, while its repository may not: that is an error, if the registry says so.
    pub(crate) async fn find_manifest(&self, digest: &Digest) -> Result<Option<Manifest>, Error> {
        match self.get_manifest(digest.as_str()).await {
            Err(error) if error.kind() == ErrorKind::ManifestNotFound => Ok(None),
            result => result.map(Some),
        }
    }

    async fn get_manifest_once(&self, key: &str) -> Result<Manifest, Error> {
        let mut call = self.call(Operation::GetManifest, Some(key), Method::GET, self.url(&format!("manifests/{key}")));
        call.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPT_MANIFESTS));
        let asked = self.pulls().map(Pulls::ask).transpose().map_err(|shortage| self.short(shortage))?;
        let answer = self.exchange(&call).await;
        let counts = answer.as_ref().map_or_else(may_have_been_taken, |answer| answer.status().is_success());
        if let Some(asked) = asked.filter(|_| !counts) {
            asked.in_vain();
        }
        let answer = answer?;
        if !answer.status().is_success() {
            return Err(self.refuse(call.place, answer).await);
        }
        let content_type = answer.header(CONTENT_TYPE).map(str::to_owned);
        let expected = key.parse::<Digest>().ok().or_else(|| answer.content_digest());
        let bytes = answer.read(&call.place, MAX_BYTES, self.config.idle_timeout).await?;
        let digest = match expected {
            None => Digest::sha256(&bytes),
            Some(expected) => {
                let actual = Digest::of(expected.algorithm(), &bytes);
                if actual != expected {
                    return Err(Error::DigestMismatch { place: Box::new(call.place), expected, actual });
                }
                expected
            }
        };
        Manifest::read(bytes, digest.clone(), content_type.as_deref()).map_err(|problem| Error::InvalidManifest {
            repository: Box::new(self.repository.clone()),
            digest,
            problem,
        })
    }

    /// Puts a manifest's bytes as they are, by a tag or by its digest.
    ///
    /// A tag that can't be moved but names this manifest already counts as put.
    pub(crate) async fn put_manifest(&self, key: &str, manifest: &Manifest) -> Result<(), Error> {
        let result = retrying(&self.config.retry, || self.put_manifest_once(key, manifest)).await;
        match result {
            Err(error) if error.kind() == ErrorKind::TagImmutable => match self.head_manifest(key).await {
                Ok(Some(there)) if there.digest == manifest.digest => Ok(()),
                _ => Err(error),
            },
            result => result,
        }
    }

    async fn put_manifest_once(&self, key: &str, manifest: &Manifest) -> Result<(), Error> {
        let mut call = self.call(Operation::PutManifest, Some(key), Method::PUT, self.url(&format!("manifests/{key}")));
        let content_type = HeaderValue::from_str(&manifest.media_type)
            .map_err(|_| protocol(&call.place, "the media type can't stand in a header"))?;
        call.headers.insert(CONTENT_TYPE, content_type);
        call.body = Some(manifest.bytes.clone());
        let answer = self.exchange(&call).await?;
        if !answer.status().is_success() {
            return Err(self.refuse(call.place, answer).await);
        }
        match answer.content_digest() {
            Some(told) if told.algorithm() == manifest.digest.algorithm() && told != manifest.digest => {
                Err(protocol(&call.place, format!("it stored {told} instead of {}", manifest.digest)))
            }
            _ => {
                answer.drain(self.config.idle_timeout).await;
                Ok(())
            }
        }
    }

    /// What the registry says about a manifest that isn't there. `HEAD` has no words for it, so this is a `GET`.
    ///
    /// CNCF distribution says `MANIFEST_UNKNOWN` of repositories that don't exist, too; it tells the two apart when it is
    /// asked for tags, and so a page of one tag settles it.
    pub(crate) async fn why_missing(&self, key: &str) -> Result<Missing, Error> {
        let result = retrying(&self.config.retry, || async {
            let mut call =
                self.call(Operation::GetManifest, Some(key), Method::GET, self.url(&format!("manifests/{key}")));
            call.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPT_MANIFESTS));
            let answer = self.exchange(&call).await?;
            if answer.status().is_success() {
                // It came in between: nothing is missing, and nothing can be said.
                return Ok(Missing::Unknown);
            }
            Err(self.refuse(call.place, answer).await)
        });
        match result.await {
            Err(Error::Refused(refusal)) if refusal.status == 404 => match refusal.code.as_deref() {
                Some("NAME_UNKNOWN") => Ok(Missing::Repository),
                code => Ok(match (self.has_tags().await, code) {
                    (Ok(true), _) => Missing::Manifest,
                    (Err(Error::Refused(refusal)), _) if refusal.code.as_deref() == Some("NAME_UNKNOWN") => {
                        Missing::Repository
                    }
                    (_, Some("MANIFEST_UNKNOWN")) => Missing::Manifest,
                    _ => Missing::Unknown,
                }),
            },
            other => other,
        }
    }
}

/// Whether a registry may have taken a request that ended without an answer.
fn may_have_been_taken(error: &Error) -> bool {
    error.kind() == ErrorKind::Timeout || matches!(error, Error::Transport { problem: TransportProblem::Broken, .. })
}
