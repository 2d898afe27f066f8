//! Where blobs come from: ECR redirects to a signed address at its storage, which is another host.

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, Mac};
use http::{HeaderMap, StatusCode, header};
use sha2::Sha256;

use super::error::answer;
use super::route::LAYER_PATH;
use crate::serve::Response;

/// How long a signed address is good for.
const LIFETIME: TimeDelta = TimeDelta::hours(1);

/// Signs and checks the addresses of layers at the storage origin, which is this same process under another host name.
pub(crate) struct Layers {
    key: [u8; 32],
    origin: String,
}

/// Why the storage origin refuses a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    /// The request carried credentials of its own: they leaked from the registry's host.
    Leak,
    /// The address is not one that was handed out.
    Signature,
    /// The address is too old.
    Expired,
}

impl Layers {
    pub(crate) fn new(port: u16) -> Self {
        let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let mut key = [0; 32];
        key[..16].copy_from_slice(a.as_bytes());
        key[16..].copy_from_slice(b.as_bytes());
        Self { key, origin: format!("https://localhost:{port}") }
    }

    /// A signed address of a layer.
    pub(crate) fn address(&self, repository: &str, digest: &str, now: DateTime<Utc>) -> String {
        let path = format!("{LAYER_PATH}{repository}/{digest}");
        let expires = (now + LIFETIME).timestamp();
        let signature = hex::encode(self.mac(&path, expires).finalize().into_bytes());
        format!("{}{path}?X-Amz-Expires={expires}&X-Amz-Signature={signature}", self.origin)
    }

    /// Whether a request for a layer may be answered.
    pub(crate) fn check(
        &self,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        if headers.contains_key(header::AUTHORIZATION) {
            return Err(Refusal::Leak);
        }
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let expires: i64 = parameter("X-Amz-Expires").and_then(|value| value.parse().ok()).ok_or(Refusal::Signature)?;
        let signature =
            parameter("X-Amz-Signature").and_then(|value| hex::decode(value).ok()).ok_or(Refusal::Signature)?;
        self.mac(path, expires).verify_slice(&signature).map_err(|_| Refusal::Signature)?;
        match expires <= now.timestamp() {
            true => Err(Refusal::Expired),
            false => Ok(()),
        }
    }

    fn mac(&self, path: &str, expires: i64) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(path.as_bytes());
        mac.update(&expires.to_be_bytes());
        mac
    }
}

impl Refusal {
    /// S3's words for it.
    pub(crate) fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Leak => (
                StatusCode::BAD_REQUEST,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
                 parameter or the Authorization header should be specified",
            ),
            Self::Signature => (
                StatusCode::FORBIDDEN,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            ),
            Self::Expired => (StatusCode::FORBIDDEN, "AccessDenied", "Request has expired"),
        };
        let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        answer(status, "application/xml", body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(address: &str) -> (String, String) {
        let rest = address.strip_prefix("https://localhost:1").expect("the origin");
        let (path, query) = rest.split_once('?').expect("a query");
        (path.to_owned(), query.to_owned())
    }

    #[test]
    fn a_signed_address_is_good_for_its_own_layer_until_it_expires() {
        let (layers, now, none) = (Layers::new(1), Utc::now(), HeaderMap::new());
        let (path, query) = parts(&layers.address("app", "sha256:1", now));
        assert_eq!(layers.check(&path, &query, &none, now), Ok(()));
        let other = path.replace("sha256:1", "sha256:2");
        assert_eq!(layers.check(&other, &query, &none, now), Err(Refusal::Signature));
        assert_eq!(layers.check(&path, &query, &none, now + LIFETIME), Err(Refusal::Expired));
    }

    #[test]
    fn credentials_at_the_storage_origin_are_a_leak() {
        let (layers, now) = (Layers::new(1), Utc::now());
        let (path, query) = parts(&layers.address("app", "sha256:1", now));
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, http::HeaderValue::from_static("Basic QVdTOng="))]);
        assert_eq!(layers.check(&path, &query, &headers, now), Err(Refusal::Leak));
    }
}
