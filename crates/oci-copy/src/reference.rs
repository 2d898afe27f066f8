//! Image references and repository names, with Docker's rules for short names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, DigestError};
use crate::error::sanitize;

/// The host under which Docker Hub's images are named. It is served elsewhere: see
/// [`RegistryConfig`](crate::RegistryConfig).
pub const DOCKER_HUB: &str = "docker.io";

const DEFAULT_TAG: &str = "latest";
/// Docker's limit for the path of a repository, in bytes.
const MAX_PATH: usize = 255;
/// The distribution specification's limit for a tag, in bytes.
const MAX_TAG: usize = 128;

/// A repository on a registry: `docker.io/library/nginx`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// A repository from its two parts. Only Docker Hub's own rules apply: its host has two names, and its official
    /// images live under `library/`.
    ///
    /// # Errors
    /// If the host isn't `name[:port]`, could be read as a Docker Hub user, or the path doesn't follow the distribution
    /// specification's grammar.
    pub fn new(host: &str, path: &str) -> Result<Self, ReferenceError> {
        let whole = format!("{host}/{path}");
        check_host(host).map_err(|problem| ReferenceError::new(&whole, problem))?;
        check_path(path).map_err(|problem| ReferenceError::new(&whole, problem))?;
        if !looks_like_host(host) {
            return Err(ReferenceError::new(&whole, Problem::AmbiguousHost));
        }
        whole.parse()
    }

    /// The registry's host, with its port if it has one, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's name within the registry, without a leading slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The reference to a tag in this repository.
    ///
    /// # Errors
    /// If the tag doesn't follow the distribution specification's grammar.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        check_tag(tag).map_err(|problem| ReferenceError::new(&format!("{self}:{tag}"), problem))?;
        Ok(Reference { repository: self.clone(), tag: Some(tag.to_owned()), digest: None })
    }

    /// The reference to a digest in this repository.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest) }
    }
}

/// A reference to an image: a repository with a tag, a digest, or both.
///
/// Parsing follows Docker: `nginx` is `docker.io/library/nginx:latest`, `team/app` is
/// `docker.io/team/app:latest`, and what stands before the first slash is a host if it has a dot or a colon, is
/// `localhost`, or has an upper-case letter. [`Display`](fmt::Display) prints the full form, and what it prints reads
/// back as the same reference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The repository that the reference names.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The registry's host, with its port if it has one.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.repository.host
    }

    /// The tag: what was written, or `latest` if there was neither tag nor digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest. Beside a tag it is the digest that counts.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same reference pinned to a digest.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// What stands behind `/manifests/` in a request.
    pub(crate) fn manifest_key(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    /// Reads a repository by the same short-name rules as a [`Reference`]; a tag or digest is an error.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let parsed = Parts::read(text)?;
        if parsed.tag.is_some() || parsed.digest.is_some() {
            return Err(ReferenceError::new(text, Problem::NotARepository));
        }
        Ok(parsed.repository)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let Parts { repository, mut tag, digest } = Parts::read(text)?;
        if tag.is_none() && digest.is_none() {
            tag = Some(DEFAULT_TAG.to_owned());
        }
        Ok(Self { repository, tag, digest })
    }
}

impl From<Reference> for Repository {
    fn from(reference: Reference) -> Self {
        reference.repository
    }
}

/// A reference as written: nothing is filled in except the host and `library/`.
struct Parts {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Parts {
    fn read(text: &str) -> Result<Self, ReferenceError> {
        let invalid = |problem| ReferenceError::new(text, problem);
        if text.is_empty() {
            return Err(invalid(Problem::Empty));
        }
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            // Docker keeps this form for local image IDs.
            return Err(invalid(Problem::ImageId));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|e| invalid(Problem::Digest(e)))?)),
            None => (text, None),
        };
        let (host, rest) = match rest.split_once('/') {
            Some((first, rest)) if looks_like_host(first) => (first, rest),
            _ => (DOCKER_HUB, rest),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        check_host(host).map_err(invalid)?;
        let mut host = lower_host(host);
        if host == "index.docker.io" {
            DOCKER_HUB.clone_into(&mut host);
        }
        check_path(path).map_err(invalid)?;
        let path = if host == DOCKER_HUB && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        if path.len() > MAX_PATH {
            return Err(invalid(Problem::PathLength));
        }
        if let Some(tag) = tag {
            check_tag(tag).map_err(invalid)?;
        }
        Ok(Self { repository: Repository { host, path }, tag: tag.map(str::to_owned), digest })
    }
}

/// Docker's rule for whether the text before the first slash is a host.
fn looks_like_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// Host names don't know case, and configuration is found by them. A single upper-case word stays as it is: in lower
/// case it would read as a Docker Hub user.
fn lower_host(host: &str) -> String {
    let lower = host.to_ascii_lowercase();
    if looks_like_host(&lower) { lower } else { host.to_owned() }
}

fn check_host(host: &str) -> Result<(), Problem> {
    let (name, port) = if host.starts_with('[') {
        let end = host.find(']').ok_or(Problem::Host)?;
        let address = &host[1..end];
        address.parse::<std::net::Ipv6Addr>().map_err(|_| Problem::Host)?;
        let port = match &host[end + 1..] {
            "" => None,
            rest => Some(rest.strip_prefix(':').ok_or(Problem::Host)?),
        };
        (None, port)
    } else {
        match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), None),
        }
    };
    if let Some(name) = name {
        let label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(Problem::Host);
        }
    }
    if let Some(port) = port {
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        if !digits || !matches!(port.parse::<u16>(), Ok(1..)) {
            return Err(Problem::Port);
        }
    }
    Ok(())
}

/// `name` in the distribution specification: components of `[a-z0-9]+`, joined inside by one `.`, one or two `_` or
/// any number of `-`, and among each other by `/`.
fn check_path(path: &str) -> Result<(), Problem> {
    if path.is_empty() {
        return Err(Problem::NoPath);
    }
    if path.len() > MAX_PATH {
        return Err(Problem::PathLength);
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(Problem::PathCase);
    }
    if path.split('/').all(is_path_component) { Ok(()) } else { Err(Problem::Path) }
}

fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(|&b| alphanumeric(b)) || !bytes.last().is_some_and(|&b| alphanumeric(b)) {
        return false;
    }
    bytes
        .split(|&b| alphanumeric(b))
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-'))
}

/// `reference` as a tag in the distribution specification: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(crate) fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    bytes.len() <= MAX_TAG
        && bytes.first().is_some_and(|&b| word(b))
        && bytes.iter().all(|&b| word(b) || b == b'.' || b == b'-')
}

fn check_tag(tag: &str) -> Result<(), Problem> {
    if is_tag(tag) { Ok(()) } else { Err(Problem::Tag) }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.repository, f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(Repository, Reference);

/// A text is not an image reference or a repository name. The message says which part is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid image reference {reference:?}: {problem}")]
pub struct ReferenceError {
    reference: String,
    #[source]
    problem: Problem,
}

impl ReferenceError {
    fn new(reference: &str, problem: Problem) -> Self {
        Self { reference: sanitize(reference, 300), problem }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("it is empty")]
    Empty,
    #[error("it is a local image ID; name a repository")]
    ImageId,
    #[error("the host must be a DNS name, an IPv4 address or an IPv6 address in brackets, with an optional port")]
    Host,
    #[error("the host's port must be a number from 1 to 65535")]
    Port,
    #[error("the host must have a dot or a port, or be \"localhost\"; else it reads as a Docker Hub user")]
    AmbiguousHost,
    #[error("the repository path is missing")]
    NoPath,
    #[error("the repository path must be in lower case")]
    PathCase,
    #[error("the repository path is longer than {MAX_PATH} characters")]
    PathLength,
    #[error(
        "the repository path must be made of components of a-z and 0-9, which may hold single \".\", \"_\", \"__\" or \
         \"-\" between them, separated by \"/\""
    )]
    Path,
    #[error(
        "the tag must be 1 to {MAX_TAG} characters of A-Z, a-z, 0-9, \"_\", \".\" and \"-\", not starting with \".\" or \"-\""
    )]
    Tag,
    #[error("{0}")]
    Digest(DigestError),
    #[error("a repository is wanted here: leave out the tag and the digest")]
    NotARepository,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let long_tag = "t".repeat(128);
        for (text, expected) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("library/nginx", "docker.io/library/nginx:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("docker.io/library/nginx:1", "docker.io/library/nginx:1"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/team/app", "docker.io/team/app:latest"),
            ("DOCKER.IO/nginx", "docker.io/library/nginx:latest"),
            ("team/app", "docker.io/team/app:latest"),
            ("team/deep/app:v1", "docker.io/team/deep/app:v1"),
            // Without a slash there is no host, whatever it looks like.
            ("docker.io", "docker.io/library/docker.io:latest"),
            ("localhost", "docker.io/library/localhost:latest"),
            ("localhost:5000", "docker.io/library/localhost:5000"),
            ("quay.io", "docker.io/library/quay.io:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("localhost:5000/x:y", "localhost:5000/x:y"),
            ("registry:5000/x", "registry:5000/x:latest"),
            ("registry/x", "docker.io/registry/x:latest"),
            ("quay.io/coreos/etcd:v3", "quay.io/coreos/etcd:v3"),
            ("QUAY.io/coreos/etcd:v3", "quay.io/coreos/etcd:v3"),
            ("Registry/x", "Registry/x:latest"),
            ("LOCALHOST/x", "localhost/x:latest"),
            ("127.0.0.1/x", "127.0.0.1/x:latest"),
            ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("[fd00::1]/x:1", "[fd00::1]/x:1"),
            ("xn--n3h.com/app", "xn--n3h.com/app:latest"),
            ("a-b.c-d.com/app", "a-b.c-d.com/app:latest"),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/api:1",
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/api:1",
            ),
            ("registry-1.docker.io/library/nginx", "registry-1.docker.io/library/nginx:latest"),
            (&format!("nginx@{D}"), &format!("docker.io/library/nginx@{D}")),
            (&format!("nginx:1.27@{D}"), &format!("docker.io/library/nginx:1.27@{D}")),
            (&format!("localhost:5000/x@{D}"), &format!("localhost:5000/x@{D}")),
            ("a__b/c", "docker.io/a__b/c:latest"),
            ("a_b/c.d/e-f", "docker.io/a_b/c.d/e-f:latest"),
            ("a--b/c---d", "docker.io/a--b/c---d:latest"),
            ("0/1", "docker.io/0/1:latest"),
            ("nginx:_x", "docker.io/library/nginx:_x"),
            ("nginx:A.b-C_d", "docker.io/library/nginx:A.b-C_d"),
            (&format!("nginx:{long_tag}"), &format!("docker.io/library/nginx:{long_tag}")),
        ] {
            let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(reference.to_string(), expected, "{text}");
            assert_eq!(expected.parse::<Reference>().unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn a_bad_name_is_refused_with_the_part_that_is_wrong() {
        let id = &D["sha256:".len()..];
        let long_tag = format!("nginx:{}", "t".repeat(129));
        let long_path = format!("quay.io/{}", "a".repeat(256));
        for (text, part) in [
            ("", "empty"),
            (id, "image ID"),
            ("Nginx", "lower case"),
            ("team/App", "lower case"),
            ("quay.io/", "path is missing"),
            ("/nginx", "path must be made"),
            ("nginx/", "path must be made"),
            ("a//b", "path must be made"),
            ("x/a..b", "path must be made"),
            ("a___b/c", "path must be made"),
            ("x/a._b", "path must be made"),
            ("-a/b", "path must be made"),
            ("a-/b", "path must be made"),
            ("quay.io/../x", "path must be made"),
            ("quay.io/a?b", "path must be made"),
            ("quay.io/a#b", "path must be made"),
            ("quay.io/a b", "path must be made"),
            ("quay.io/ä", "path must be made"),
            ("https://quay.io/x", "port must be"),
            ("user@quay.io/x", "invalid digest"),
            ("quay..io/x", "host must be"),
            ("-quay.io/x", "host must be"),
            ("quay_x.io/x", "host must be"),
            (".io/x", "host must be"),
            ("[::1/x", "host must be"),
            ("[::g]:5000/x", "host must be"),
            ("quay.io:/x", "port"),
            ("quay.io:0/x", "port"),
            ("quay.io:65536/x", "port"),
            ("quay.io:+80/x", "port"),
            ("quay.io:8a/x", "port"),
            ("nginx:", "tag"),
            ("nginx:.x", "tag"),
            ("nginx:-x", "tag"),
            ("nginx:a:b", "tag"),
            ("nginx:a/b", "port"),
            ("nginx:a b", "tag"),
            (&long_tag, "tag"),
            (&long_path, "longer than"),
            ("nginx@", "digest"),
            ("nginx@sha256:abc", "64 digits"),
            ("nginx@md5:abc", "only sha256"),
            ("nginx@sha256:abc@sha256:abc", "64 digits"),
        ] {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_repository_is_read_without_tag_and_digest() {
        assert_eq!("nginx".parse::<Repository>().unwrap().to_string(), "docker.io/library/nginx");
        assert!("nginx:1".parse::<Repository>().unwrap_err().to_string().contains("leave out the tag"));
        assert!(format!("nginx@{D}").parse::<Repository>().is_err());
    }

    #[test]
    fn a_repository_of_given_parts_reads_back_as_itself() {
        let repository = Repository::new("Registry.example.com:443", "a/b").unwrap();
        assert_eq!(repository.to_string(), "registry.example.com:443/a/b");
        assert_eq!(repository.to_string().parse::<Repository>().unwrap(), repository);
        assert_eq!(Repository::new("docker.io", "nginx").unwrap().path(), "library/nginx");
        assert!(Repository::new("registry", "a/b").unwrap_err().to_string().contains("a dot or a port"));
        assert!(Repository::new("quay.io", "A").is_err());
        assert!(Repository::new("quay.io/x", "a").is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same(
            text in "([a-zA-Z0-9.-]{1,12}(:[0-9]{1,5})?/)?[a-z0-9._-]{1,8}(/[a-z0-9._-]{1,8}){0,2}(:[A-Za-z0-9_.-]{1,10})?(@sha256:[0-9a-f]{64})?"
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                let printed = reference.to_string();
                prop_assert_eq!(printed.parse::<Reference>().unwrap(), reference.clone());
                let repository = reference.repository();
                prop_assert_eq!(&repository.to_string().parse::<Repository>().unwrap(), repository);
            }
        }

        #[test]
        fn reading_any_text_never_panics(text in "\\PC{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
