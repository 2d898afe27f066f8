//! What a registry or token realm says when it refuses.

use std::fmt;
use std::time::SystemTime;

use super::{ErrorKind, sanitize};
use crate::reference::Repository;

/// The longest piece of a registry's own message that is shown, in characters.
const SHOWN: usize = 300;

/// What the engine was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Asking a token realm for a token.
    FetchToken,
    /// `HEAD /v2/<name>/manifests/<reference>`.
    HeadManifest,
    /// `GET /v2/<name>/manifests/<reference>`.
    GetManifest,
    /// `PUT /v2/<name>/manifests/<reference>`.
    PutManifest,
    /// `HEAD /v2/<name>/blobs/<digest>`.
    HeadBlob,
    /// `GET /v2/<name>/blobs/<digest>`.
    GetBlob,
    /// `POST /v2/<name>/blobs/uploads/`.
    StartUpload,
    /// `PUT` to an upload's location, with the blob's bytes.
    UploadBlob,
    /// `DELETE` of an upload's location.
    CancelUpload,
    /// `GET /v2/<name>/tags/list`.
    ListTags,
    /// `GET /v2/<name>/referrers/<digest>`.
    ListReferrers,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FetchToken => "fetching a token for",
            Self::HeadManifest => "looking up the manifest",
            Self::GetManifest => "reading the manifest",
            Self::PutManifest => "putting the manifest",
            Self::HeadBlob => "looking up the blob",
            Self::GetBlob => "reading the blob",
            Self::StartUpload => "starting an upload to",
            Self::UploadBlob => "uploading the blob",
            Self::CancelUpload => "cancelling an upload to",
            Self::ListTags => "listing the tags of",
            Self::ListReferrers => "listing what refers to",
        })
    }
}

/// Where an operation happened: the registry, the repository, and the tag or digest in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What was being done.
    pub operation: Operation,
    /// The repository it was done to.
    pub repository: Repository,
    /// The tag or digest it was about, if it was about one.
    pub subject: Option<String>,
}

impl Place {
    pub(crate) fn new(operation: Operation, repository: &Repository, subject: Option<&str>) -> Self {
        Self { operation, repository: repository.clone(), subject: subject.map(str::to_owned) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.repository)?;
        match &self.subject {
            Some(subject) if subject.contains(':') => write!(f, "@{subject}"),
            Some(subject) => write!(f, ":{subject}"),
            None => Ok(()),
        }
    }
}

/// A registry or token realm answered with an error status.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// What was refused.
    pub place: Place,
    /// The HTTP status.
    pub status: u16,
    /// The registry's own error code, such as `NAME_UNKNOWN`.
    pub code: Option<String>,
    /// The registry's own message, cut to a few lines and freed of control characters. Never a token realm's.
    pub message: Option<String>,
    /// When the registry wants to be asked again, if it said so.
    pub retry_at: Option<SystemTime>,
    /// What we know about the cause that the registry doesn't say.
    pub note: Option<String>,
    /// A pull budget is used up: asking again soon is of no use.
    pub(crate) exhausted: bool,
}

impl Refusal {
    /// Which kind of refusal it is, by the registry's own code first and by the HTTP status then.
    pub(super) fn kind(&self) -> ErrorKind {
        use Operation as Op;
        let message = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        let code = self.code.as_deref().unwrap_or_default();
        if self.place.operation == Op::PutManifest
            && matches!(self.status, 400 | 403 | 405 | 409 | 412)
            && (message.contains("immutab") || message.contains("imagetagalreadyexists"))
        {
            return ErrorKind::TagImmutable;
        }
        match (self.status, code) {
            (429, _) | (_, "TOOMANYREQUESTS") => ErrorKind::RateLimited,
            (401, _) if code != "DENIED" => ErrorKind::Unauthorized,
            (401 | 403, _) => ErrorKind::Forbidden,
            (404, "NAME_UNKNOWN") => ErrorKind::RepositoryNotFound,
            // A registry that has lost what it once said that it had: ECR and CNCF distribution use different statuses.
            (400..=499, "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN") if self.place.operation == Op::PutManifest => {
                ErrorKind::BlobNotFound
            }
            (404 | 416, _) if self.place.operation == Op::UploadBlob => ErrorKind::Unavailable,
            (404, "BLOB_UNKNOWN") => ErrorKind::BlobNotFound,
            (404, "MANIFEST_UNKNOWN") => ErrorKind::ManifestNotFound,
            (404, _) => match self.place.operation {
                Op::StartUpload | Op::ListTags => ErrorKind::RepositoryNotFound,
                Op::HeadBlob | Op::GetBlob => ErrorKind::BlobNotFound,
                Op::HeadManifest | Op::GetManifest => ErrorKind::ManifestNotFound,
                _ => ErrorKind::Other,
            },
            (400, "NAME_INVALID" | "TAG_INVALID") => ErrorKind::Invalid,
            (400 | 405 | 413 | 415 | 422, _) if self.place.operation == Op::PutManifest => ErrorKind::ManifestRefused,
            (408 | 500.., _) => ErrorKind::Unavailable,
            _ => ErrorKind::Other,
        }
    }

    fn advice(&self) -> &'static str {
        match self.kind() {
            ErrorKind::RepositoryNotFound => "; create the repository, or check its name",
            ErrorKind::ManifestNotFound => "; check the tag or digest",
            ErrorKind::BlobNotFound if self.place.operation == Operation::PutManifest => {
                "; it no longer has a part that it had before, copy again"
            }
            ErrorKind::Unavailable if self.place.operation == Operation::UploadBlob && self.status < 500 => {
                "; it lost the upload, copy again"
            }
            ErrorKind::Unauthorized => "; check that the repository exists and that the credentials are for it",
            ErrorKind::Forbidden => "; give these credentials the right to do this in the repository",
            ErrorKind::RateLimited if self.exhausted => "; wait, or use credentials with a higher limit",
            ErrorKind::RateLimited => "; it wants fewer requests, which is another limit than one for pulls",
            ErrorKind::TagImmutable => "; choose another tag, or exclude this tag from immutability",
            ErrorKind::ManifestRefused => "; the registry does not take this kind of manifest",
            ErrorKind::Unavailable => "; the registry has a problem, try again later",
            _ => "",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.place.operation == Operation::FetchToken { "the token realm" } else { "the registry" };
        write!(f, "{}: {who} answered {}", self.place, self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {}", message.trim_end_matches('.'))?;
        }
        if let Some(note) = &self.note {
            write!(f, " ({note})")?;
        }
        f.write_str(self.advice())
    }
}

/// A registry's own error: the distribution specification's `{"errors": [{code, message, detail}]}`, or the body's
/// beginning if it is plain text.
pub(crate) fn read_error_body(content_type: &str, body: &[u8]) -> (Option<String>, Option<String>) {
    #[derive(serde::Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: serde_json::Value,
        #[serde(default)]
        message: serde_json::Value,
    }
    if let Ok(Body { errors }) = serde_json::from_slice::<Body>(body) {
        let Some(first) = errors.first() else { return (None, None) };
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let code = text(&first.code).map(|code| sanitize(&code.to_ascii_uppercase(), 64));
        let message = text(&first.message).filter(|m| !m.is_empty()).map(|m| sanitize(&m, SHOWN));
        return (code, message);
    }
    if content_type.starts_with("text/plain") || content_type.starts_with("application/json") {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        if !text.is_empty() {
            return (None, Some(sanitize(text, SHOWN)));
        }
    }
    // An HTML page says nothing in a status.
    (None, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn refusal(operation: Operation, status: u16, code: &str, message: &str) -> Error {
        let repository = "quay.io/a/b".parse().unwrap();
        Refusal {
            place: Place::new(operation, &repository, Some("v1")),
            status,
            code: Some(code.to_owned()).filter(|c| !c.is_empty()),
            message: Some(message.to_owned()).filter(|m| !m.is_empty()),
            retry_at: None,
            note: None,
            exhausted: false,
        }
        .into()
    }

    #[test]
    fn a_refusal_is_sorted_by_the_registrys_own_words_and_then_by_the_status() {
        use Operation as Op;
        let immutable = "The image tag 'v1' already exists in the 'b' repository and cannot be overwritten because the \
                         repository is immutable.";
        for (operation, status, code, message, kind) in [
            (Op::GetManifest, 404, "NAME_UNKNOWN", "", ErrorKind::RepositoryNotFound),
            (Op::GetManifest, 404, "MANIFEST_UNKNOWN", "", ErrorKind::ManifestNotFound),
            (Op::HeadManifest, 404, "", "", ErrorKind::ManifestNotFound),
            (Op::StartUpload, 404, "", "", ErrorKind::RepositoryNotFound),
            (Op::GetBlob, 404, "", "", ErrorKind::BlobNotFound),
            (Op::PutManifest, 400, "TAG_INVALID", immutable, ErrorKind::TagImmutable),
            (Op::PutManifest, 409, "", "ImageTagAlreadyExistsException", ErrorKind::TagImmutable),
            (Op::PutManifest, 412, "PRECONDITION", "configured as immutable", ErrorKind::TagImmutable),
            (Op::PutManifest, 405, "UNSUPPORTED", "Invalid JSON syntax", ErrorKind::ManifestRefused),
            (Op::PutManifest, 404, "MANIFEST_BLOB_UNKNOWN", "", ErrorKind::BlobNotFound),
            (Op::PutManifest, 400, "MANIFEST_BLOB_UNKNOWN", "", ErrorKind::BlobNotFound),
            (Op::UploadBlob, 404, "BLOB_UPLOAD_UNKNOWN", "", ErrorKind::Unavailable),
            (Op::UploadBlob, 416, "BLOB_UPLOAD_INVALID", "", ErrorKind::Unavailable),
            (Op::GetManifest, 401, "UNAUTHORIZED", "", ErrorKind::Unauthorized),
            (Op::GetManifest, 401, "DENIED", "", ErrorKind::Forbidden),
            (Op::GetManifest, 403, "DENIED", "", ErrorKind::Forbidden),
            (Op::GetManifest, 429, "TOOMANYREQUESTS", "", ErrorKind::RateLimited),
            (Op::GetBlob, 503, "", "", ErrorKind::Unavailable),
            (Op::GetBlob, 408, "", "", ErrorKind::Unavailable),
            (Op::GetBlob, 418, "", "", ErrorKind::Other),
        ] {
            let error = refusal(operation, status, code, message);
            assert_eq!(error.kind(), kind, "{error}");
        }
    }

    #[test]
    fn a_message_names_operation_repository_status_code_and_advice() {
        let error = refusal(Operation::GetManifest, 404, "NAME_UNKNOWN", "no such thing");
        assert_eq!(
            error.to_string(),
            "reading the manifest quay.io/a/b:v1: the registry answered 404 NAME_UNKNOWN: no such thing; create the \
             repository, or check its name"
        );
    }

    #[test]
    fn text_from_elsewhere_is_cut_and_cleaned() {
        assert_eq!(sanitize("a\u{1b}[31mb\nc\u{202e}d", 100), "a [31mb cd");
        assert_eq!(sanitize("abcdef", 3), "abc…");
        let long = format!("{{\"errors\":[{{\"code\":\"x\",\"message\":\"{}\"}}]}}", "m".repeat(5000));
        let (code, message) = read_error_body("application/json", long.as_bytes());
        assert_eq!(code.as_deref(), Some("X"));
        assert_eq!(message.unwrap().chars().count(), SHOWN + 1);
    }

    #[test]
    fn an_html_page_is_not_shown_and_odd_json_does_no_harm() {
        assert_eq!(read_error_body("text/html", b"<html>"), (None, None));
        assert_eq!(read_error_body("application/json", b"{\"errors\":[]}"), (None, None));
        assert_eq!(read_error_body("application/json", b"{\"errors\":[{\"code\":1}]}"), (None, None));
        assert_eq!(read_error_body("text/plain", b" slow down "), (None, Some("slow down".to_owned())));
    }
}
