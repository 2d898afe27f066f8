//! Listing tags.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use reqwest::Method;
use reqwest::header::LINK;
use serde::Deserialize;

use super::{Session, protocol, redirects};
use crate::error::{Error, Operation, sanitize};
use crate::reference::is_tag;
use crate::retry::retrying;

/// ECR refuses more than 1,000 a page.
const PAGE: &str = "1000";
/// Old registries pay no heed to the page size and send everything at once.
const MAX_PAGE_BODY: usize = 16 << 20;
/// Pages in a row that bring nothing new. A registry may filter its pages; one that goes on like this has no end.
const MAX_VAIN_PAGES: usize = 32;

#[derive(Deserialize)]
struct Page {
    /// Registries answer `null` for a repository without tags.
    tags: Option<Vec<String>>,
}

impl Session {
    /// All tags, in the registry's order, page after page. What isn't a tag by the specification is left out.
    pub(crate) async fn list_tags(&self) -> Result<Vec<String>, Error> {
        let mut tags = Vec::new();
        self.visit_tags(|tag| tags.push(tag)).await?;
        Ok(tags)
    }

    /// Shows every tag once, in the registry's order, page after page, and returns how many there are. Of a tag that was
    /// shown only a hash stays here.
    pub(crate) async fn visit_tags(&self, mut visit: impl FnMut(String)) -> Result<usize, Error> {
        let mut url = self.url("tags/list");
        url.query_pairs_mut().append_pair("n", PAGE);
        let mut next = Some(url);
        let mut seen_pages = HashSet::new();
        // Two tags of a list of 100,000 have the same hash once in billions of lists.
        let hashes = RandomState::new();
        let mut seen = HashSet::new();
        let mut vain = 0;
        let limit = self.config.max_tags;
        while let Some(url) = next {
            if !seen_pages.insert(url.clone()) || vain > MAX_VAIN_PAGES {
                return Err(protocol(&self.place(Operation::ListTags, None), "its pages have no end"));
            }
            let (page, link) = retrying(&self.config.retry, || self.tag_page(url.clone())).await?;
            let before = seen.len();
            for tag in page.tags.unwrap_or_default() {
                if !is_tag(&tag) {
                    tracing::debug!(tag = sanitize(&tag, 200), repository = %self.repository, "not a tag, left out");
                } else if seen.insert(hashes.hash_one(&tag)) {
                    visit(tag);
                }
            }
            if seen.len() > limit {
                return Err(Error::TooManyTags { repository: Box::new(self.repository.clone()), limit });
            }
            vain = if seen.len() == before { vain + 1 } else { 0 };
            next = link;
        }
        Ok(seen.len())
    }

    /// Whether the repository has a tag, by a page of one.
    pub(crate) async fn has_tags(&self) -> Result<bool, Error> {
        let mut url = self.url("tags/list");
        url.query_pairs_mut().append_pair("n", "1");
        let (page, _) = retrying(&self.config.retry, || self.tag_page(url.clone())).await?;
        Ok(page.tags.is_some_and(|tags| !tags.is_empty()))
    }

    async fn tag_page(&self, url: url::Url) -> Result<(Page, Option<url::Url>), Error> {
        let call = self.call(Operation::ListTags, None, Method::GET, url);
        let answer = self.exchange(&call).await?;
        if !answer.status().is_success() {
            return Err(self.refuse(call.place, answer).await);
        }
        let link = match answer.header(LINK).and_then(next_link) {
            Some(target) => Some(
                redirects::same_origin(self.registry.endpoint(), answer.url(), target)
                    .map_err(|problem| Error::Blocked { place: Box::new(call.place.clone()), problem })?,
            ),
            None => None,
        };
        let body = answer.read(&call.place, MAX_PAGE_BODY, self.config.idle_timeout).await?;
        let page = serde_json::from_slice(&body)
            .map_err(|error| protocol(&call.place, format!("the list of tags can't be read: {error}")))?;
        Ok((page, link))
    }
}

/// The target of `rel="next"` in a `Link` header ([RFC 8288]).
///
/// [RFC 8288]: https://www.rfc-editor.org/rfc/rfc8288
pub(crate) fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some(start) = rest.find('<') {
        let (target, after) = rest[start + 1..].split_once('>')?;
        let end = after.find('<').unwrap_or(after.len());
        let is_next = after[..end].split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            })
        });
        if is_next {
            return Some(target);
        }
        rest = &after[end..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_the_link_header() {
        for (header, expected) in [
            ("</v2/a/tags/list?n=2&last=b>; rel=\"next\"", Some("/v2/a/tags/list?n=2&last=b")),
            ("<https://x/y>;rel=next", Some("https://x/y")),
            ("</first>; rel=\"first\", </next>; rel=\"next\"", Some("/next")),
            ("</next>; title=\"a, b\"; REL=Next", Some("/next")),
            ("</prev>; rel=\"prev\"", None),
            ("</x", None),
            ("", None),
            ("rel=next", None),
        ] {
            assert_eq!(next_link(header), expected, "{header}");
        }
    }
}
