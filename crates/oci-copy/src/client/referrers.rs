//! What refers to a manifest: the referrers API, or the fallback tag where a registry hasn't got it.

use reqwest::header::{ACCEPT, HeaderValue, LINK};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::tags::next_link;
use super::{Session, protocol, redirects};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Operation};
use crate::manifest::{Content, Entry, MAX_BYTES, Manifest};
use crate::media_type::OCI_INDEX;
use crate::retry::retrying;

/// One manifest has no more referrers than these.
const MANY: usize = 1_000;

/// A manifest that tells about another.
#[derive(Clone, Debug)]
pub(crate) struct Referrer {
    pub(crate) entry: Entry,
    /// Its descriptor with all its fields.
    pub(crate) descriptor: Value,
}

impl Referrer {
    pub(crate) fn artifact_type(&self) -> Option<String> {
        Some(self.descriptor.get("artifactType")?.as_str()?.chars().take(200).collect())
    }
}

/// The tag under which the referrers of a manifest are listed where there is no API for it ([distribution
/// specification, "Referrers Tag Schema"]).
///
/// [distribution specification, "Referrers Tag Schema"]: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    format!("{}-{:.64}", subject.algorithm().as_str(), subject.hex())
}

impl Session {
    /// All that refers to a manifest.
    pub(crate) async fn referrers(&self, subject: &Digest) -> Result<Vec<Referrer>, Error> {
        if self.registry.referrers.known() != Some(false)
            && let Some(referrers) = self.referrers_by_api(subject).await?
        {
            return Ok(referrers);
        }
        match self.fallback_index(subject).await? {
            Some(index) => Ok(read(&index)),
            None => Ok(Vec::new()),
        }
    }

    /// Whether the registry has the API. It is asked at most once.
    pub(crate) async fn lists_referrers(&self, subject: &Digest) -> Result<bool, Error> {
        match self.registry.referrers.known() {
            Some(known) => Ok(known),
            None => Ok(self.referrers_by_api(subject).await?.is_some()),
        }
    }

    /// The index that a fallback tag names.
    pub(crate) async fn fallback_index(&self, subject: &Digest) -> Result<Option<Manifest>, Error> {
        match self.get_manifest(&fallback_tag(subject)).await {
            Ok(manifest) => Ok(Some(manifest).filter(|manifest| matches!(manifest.content, Content::Index(_)))),
            Err(error) if matches!(error.kind(), ErrorKind::ManifestNotFound | ErrorKind::RepositoryNotFound) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// None: the registry hasn't got the API.
    async fn referrers_by_api(&self, subject: &Digest) -> Result<Option<Vec<Referrer>>, Error> {
        let mut next = Some(self.url(&format!("referrers/{subject}")));
        let mut all = Vec::new();
        let mut pages = std::collections::HashSet::new();
        while let Some(url) = next {
            if !pages.insert(url.clone()) || all.len() > MANY {
                return Err(protocol(&self.place(Operation::ListReferrers, None), "its referrers have no end"));
            }
            let Some((page, link)) = retrying(&self.config.retry, || self.referrers_page(subject, &url)).await? else {
                return Ok(None);
            };
            all.extend(page);
            next = link;
        }
        Ok(Some(all))
    }

    async fn referrers_page(&self, subject: &Digest, url: &Url) -> Result<Option<(Vec<Referrer>, Option<Url>)>, Error> {
        let mut call = self.call(Operation::ListReferrers, Some(subject.as_str()), Method::GET, url.clone());
        call.headers.insert(ACCEPT, HeaderValue::from_static(OCI_INDEX));
        let answer = self.exchange(&call).await?;
        match answer.status() {
            StatusCode::OK => {}
            // What the specification wants for a registry without it, and what others say.
            StatusCode::NOT_FOUND
            | StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::NOT_IMPLEMENTED => {
                answer.drain(self.config.idle_timeout).await;
                self.registry.referrers.learn(false);
                return Ok(None);
            }
            _ => return Err(self.refuse(call.place, answer).await),
        }
        let link = match answer.header(LINK).and_then(next_link) {
            Some(target) => Some(
                redirects::same_origin(self.registry.endpoint(), answer.url(), target)
                    .map_err(|problem| Error::Blocked { place: Box::new(call.place.clone()), problem })?,
            ),
            None => None,
        };
        let body = answer.read(&call.place, MAX_BYTES, self.config.idle_timeout).await?;
        let digest = Digest::sha256(&body);
        let Ok(index) = Manifest::read(body, digest, Some(OCI_INDEX)) else {
            // A page for people, where an old registry knows no such path.
            self.registry.referrers.learn(false);
            return Ok(None);
        };
        self.registry.referrers.learn(true);
        Ok(Some((read(&index), link)))
    }
}

/// The entries of an index with their descriptors.
fn read(index: &Manifest) -> Vec<Referrer> {
    let document: Value = serde_json::from_slice(&index.bytes).unwrap_or_default();
    let descriptors = document.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
    let pairs = index.entries().iter().cloned().zip(descriptors);
    pairs.map(|(entry, descriptor)| Referrer { entry, descriptor }).collect()
}

/// A fallback index with one more entry; none if it is there already.
pub(crate) fn with_entry(index: Option<&Manifest>, referrer: &Referrer) -> Option<Vec<u8>> {
    if index.is_some_and(|index| index.entries().iter().any(|entry| entry.digest == referrer.entry.digest)) {
        return None;
    }
    let mut document: Value = index
        .and_then(|index| serde_json::from_slice(&index.bytes).ok())
        .unwrap_or_else(|| serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}));
    document.get_mut("manifests")?.as_array_mut()?.push(referrer.descriptor.clone());
    serde_json::to_vec(&document).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fallback_index_gets_an_entry_once_and_keeps_the_others() {
        let digest = |name: &str| Digest::sha256(name.as_bytes());
        let referrer = |name: &str| {
            let json = format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"m","digest":"{}","size":1,"artifactType":"a/{name}","annotations":{{"k":"v"}}}}]}}"#,
                digest(name)
            );
            let index = Manifest::read(json.into(), digest("index"), Some(OCI_INDEX)).unwrap();
            read(&index).remove(0)
        };
        let first = with_entry(None, &referrer("one")).unwrap();
        let first = Manifest::read(first.into(), digest("1"), Some(OCI_INDEX)).unwrap();
        assert!(with_entry(Some(&first), &referrer("one")).is_none());
        let second = with_entry(Some(&first), &referrer("two")).unwrap();
        let second = Manifest::read(second.into(), digest("2"), Some(OCI_INDEX)).unwrap();
        let all = read(&second);
        assert_eq!(all.iter().filter_map(Referrer::artifact_type).collect::<Vec<_>>(), ["a/one", "a/two"]);
        assert_eq!(all[1].descriptor["annotations"]["k"], "v");
    }

    #[test]
    fn the_fallback_tag_is_the_digest_with_a_dash() {
        let tag = fallback_tag(&Digest::sha256(b"x"));
        assert!(tag.starts_with("sha256-") && tag.len() == 71);
        assert!(crate::reference::is_tag(&fallback_tag(&Digest::of(crate::Algorithm::Sha512, b"x"))));
    }
}
