//! Pages of a repository's tags, which the emulator gives all at once.

use axum::body::Bytes;
use serde_json::Value;

use super::error::RegistryError;

/// A page holds up to so many tags, and so many when the request does not say.
const PAGE: usize = 1000;

/// One page, and where the next one is.
#[derive(Debug, PartialEq)]
pub(crate) struct Page {
    pub(crate) body: Bytes,
    /// Value of the `Link` header.
    pub(crate) link: Option<String>,
}

/// Cuts the page that the query (`n`, `last`) asks for out of the list of all tags.
pub(crate) fn page(repository: &str, query: &str, all: &Bytes) -> Result<Page, RegistryError> {
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let size = match parameter("n") {
        None => PAGE,
        Some(n) => n.parse().ok().filter(|n| (1..=PAGE).contains(n)).ok_or_else(|| {
            RegistryError::unsupported("maxResults", "Member must have value less than or equal to 1000")
        })?,
    };
    let mut list: Value = serde_json::from_slice(all).unwrap_or_default();
    let tags = list["tags"].as_array().cloned().unwrap_or_default();
    let last = parameter("last").unwrap_or_default();
    let mut rest = tags.into_iter().skip_while(|tag| tag.as_str().is_some_and(|tag| tag <= last)).peekable();
    let tags: Vec<Value> = rest.by_ref().take(size).collect();
    let link = rest
        .peek()
        .and(tags.last())
        .and_then(Value::as_str)
        .map(|last| format!("</v2/{repository}/tags/list?last={last}&n={size}>; rel=\"next\""));
    list["tags"] = tags.into();
    Ok(Page { body: Bytes::from(list.to_string()), link })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Bytes = Bytes::from_static(br#"{"name":"app","tags":["a","b","c"]}"#);

    fn tags(query: &str) -> (Vec<String>, Option<String>) {
        let page = page("app", query, &ALL).expect("a page");
        let list: Value = serde_json::from_slice(&page.body).expect("JSON");
        let tags = list["tags"].as_array().expect("tags").iter();
        let tags = tags.filter_map(Value::as_str).map(str::to_owned).collect();
        (tags, page.link)
    }

    #[test]
    fn pages_follow_one_another_until_all_tags_are_seen() {
        let next = "</v2/app/tags/list?last=b&n=2>; rel=\"next\"".to_owned();
        assert_eq!(tags("n=2"), (vec!["a".into(), "b".into()], Some(next)));
        assert_eq!(tags("last=b&n=2"), (vec!["c".into()], None));
        assert_eq!(tags("").0.len(), 3);
    }

    #[test]
    fn a_page_of_more_than_a_thousand_is_refused() {
        assert!(page("app", "n=1001", &ALL).is_err());
    }
}
