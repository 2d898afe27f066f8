//! Where a registry may send a request on to.

use url::Url;

/// More hops than these are a loop.
pub(crate) const MAX_HOPS: usize = 10;

/// The next URL of a redirect that is to be followed, or why it is not.
///
/// Addresses are checked elsewhere: for literal ones before the request, for names while connecting.
pub(crate) fn next(from: &Url, location: &str) -> Result<Url, String> {
    let next = from.join(location).map_err(|_| "it redirects to something that is not a URL".to_owned())?;
    let host = next.host_str().unwrap_or_default();
    if host.is_empty() || !matches!(next.scheme(), "http" | "https") {
        return Err("it redirects to something that is not an http or https URL".to_owned());
    }
    if from.scheme() == "https" && next.scheme() != "https" {
        return Err(format!("it redirects from https to http, to {host}; that is never followed"));
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err(format!("it redirects to {host} with a user name in the URL; that is never followed"));
    }
    Ok(next)
}

/// A URL that a registry gives us to send the next request to, with credentials: an upload's `Location`, a list's
/// `Link`. It must stay on the registry's own origin.
pub(crate) fn same_origin(endpoint: &Url, from: &Url, location: &str) -> Result<Url, String> {
    let next = from.join(location).map_err(|_| "the URL it gives can't be read".to_owned())?;
    if next.origin() != endpoint.origin() {
        let place = next.host_str().unwrap_or("nowhere");
        return Err(format!(
            "it wants to go on at {}://{place}, which is not its own origin {}; if the registry is right, correct the \
             URL it gives out or configure that endpoint",
            next.scheme(),
            endpoint.origin().ascii_serialization(),
        ));
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err("the URL it gives has a user name in it".to_owned());
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_redirect_may_leave_the_host_but_not_tls() {
        let from = url("https://r.io/v2/a/blobs/sha256:1");
        for (location, expected) in [
            ("https://cdn.io/x?sig=1", Some("https://cdn.io/x?sig=1")),
            ("/other", Some("https://r.io/other")),
            ("other", Some("https://r.io/v2/a/blobs/other")),
            ("//cdn.io/x", Some("https://cdn.io/x")),
            ("http://cdn.io/x", None),
            ("http://r.io/x", None),
            ("ftp://cdn.io/x", None),
            ("file:///etc/passwd", None),
            ("data:,x", None),
            ("https://u:p@cdn.io/x", None),
            ("https://u@cdn.io/x", None),
            ("https://", None),
            ("https://[::1", None),
        ] {
            assert_eq!(next(&from, location).ok().as_ref().map(Url::as_str), expected, "{location}");
        }
        assert!(next(&url("http://r.local/x"), "http://cdn.local/x").is_ok());
        assert!(next(&url("http://r.local/x"), "https://cdn.local/x").is_ok());
    }

    #[test]
    fn an_uploads_location_stays_on_the_registrys_origin() {
        let endpoint = url("https://r.io:8443/");
        let from = url("https://r.io:8443/v2/a/blobs/uploads/");
        for (location, expected) in [
            ("/v2/a/blobs/uploads/1?_state=x", Some("https://r.io:8443/v2/a/blobs/uploads/1?_state=x")),
            ("1", Some("https://r.io:8443/v2/a/blobs/uploads/1")),
            ("https://r.io:8443/u", Some("https://r.io:8443/u")),
            ("https://r.io/u", None),
            ("http://r.io:8443/u", None),
            ("https://evil.io:8443/u", None),
            ("//evil.io/u", None),
            ("https://u:p@r.io:8443/u", None),
            ("data:,x", None),
        ] {
            assert_eq!(same_origin(&endpoint, &from, location).ok().as_ref().map(Url::as_str), expected, "{location}");
        }
    }

    #[test]
    fn a_refused_redirect_never_shows_its_query() {
        let error = next(&url("https://r.io/"), "http://cdn.io/x?X-Amz-Signature=secret").unwrap_err();
        assert!(error.contains("cdn.io") && !error.contains("secret"), "{error}");
    }
}
