//! What a docker config says about a repository.

use std::collections::BTreeMap;

use oci_copy::{Credentials, Repository};
use serde::Deserialize;

use crate::dockerconfig::{self, DockerConfigError};

/// Docker's own key for Docker Hub.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A file as docker, podman and their like keep it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(..)")
    }
}

/// Where a repository's credentials come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// They stand in the file.
    Here(Credentials),
    /// A credential helper has them, under this key.
    Helper { name: String, key: String },
    /// A credential helper that is asked about every registry may have them.
    Store { name: String, key: String },
    /// The file says nothing about it.
    Nothing,
}

impl ConfigFile {
    /// Reads a file's text. The error says nothing of its content.
    pub(super) fn parse(json: &[u8]) -> Result<Self, DockerConfigError> {
        serde_json::from_slice(json).map_err(|_| DockerConfigError::Syntax)
    }

    /// A registry's own helper comes first, then what stands in the file, then the helper for all.
    ///
    /// A key is a host, or, as podman writes it, a host with the beginning of a path; the longest that fits counts. Hosts
    /// are compared whole.
    pub(super) fn find(&self, repository: &Repository) -> Result<Found, DockerConfigError> {
        let host = repository.host();
        let helper = self.cred_helpers.iter().find(|(key, _)| dockerconfig::host_of(key) == host);
        if let Some((key, name)) = helper {
            return Ok(Found::Helper { name: name.clone(), key: key.clone() });
        }
        let whole = format!("{host}/{}", repository.path());
        let mut name = whole.as_str();
        loop {
            for (key, entry) in &self.auths {
                if matches(key, name)
                    && let Some(credentials) = entry.credentials()?
                {
                    return Ok(Found::Here(credentials));
                }
            }
            match name.rsplit_once('/') {
                Some((shorter, _)) => name = shorter,
                None => break,
            }
        }
        Ok(match &self.creds_store {
            Some(store) => Found::Store { name: store.clone(), key: server_of(host) },
            None => Found::Nothing,
        })
    }
}

/// What helpers call a registry.
fn server_of(host: &str) -> String {
    if host == oci_copy::DOCKER_HUB { DOCKER_HUB_KEY.to_owned() } else { host.to_owned() }
}

/// Whether a key of the file is this name: the host alone, or the host with a path.
fn matches(key: &str, name: &str) -> bool {
    if !name.contains('/') {
        let bare = key.trim_start_matches("https://").trim_start_matches("http://");
        // What docker wrote for Docker Hub has a path that isn't one of a repository.
        let is_host = !bare.contains('/') || bare.ends_with('/') || bare.ends_with("/v1") || bare.ends_with("/v2");
        return is_host && dockerconfig::host_of(key) == name;
    }
    key == name
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>, DockerConfigError> {
        if self.identitytoken.as_ref().is_some_and(|token| !token.is_empty()) {
            return Err(DockerConfigError::IdentityToken);
        }
        dockerconfig::credentials_of(self.auth.as_deref(), self.username.as_deref(), self.password.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, repository: &str) -> Found {
        let file = ConfigFile::parse(json.as_bytes()).expect("valid");
        file.find(&repository.parse().expect("a repository")).expect("readable")
    }

    fn here(password: &str) -> Found {
        Found::Here(Credentials::new("u", password))
    }

    #[test]
    fn an_entry_is_found_by_its_whole_host_only() {
        let json = r#"{"auths": {"example.com": {"username": "u", "password": "p"}}}"#;
        assert_eq!(find(json, "example.com/a"), here("p"));
        for other in [
            "registry.example.com/a",
            "example.com:5000/a",
            "example.com.evil.io/a",
            "evilexample.com/a",
            "evil.io/example.com/a",
            "example.co/a",
            "docker.io/example.com/a",
        ] {
            assert_eq!(find(json, other), Found::Nothing, "{other}");
        }
    }

    #[test]
    fn docker_hub_is_found_under_the_names_that_docker_writes() {
        for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"] {
            let json = format!(r#"{{"auths": {{"{key}": {{"username": "u", "password": "p"}}}}}}"#);
            assert_eq!(find(&json, "nginx"), here("p"), "{key}");
        }
    }

    #[test]
    fn the_longest_path_that_fits_counts() {
        let json = r#"{"auths": {
            "quay.io": {"username": "u", "password": "host"},
            "quay.io/team": {"username": "u", "password": "team"},
            "quay.io/team/app": {"username": "u", "password": "app"}}}"#;
        assert_eq!(find(json, "quay.io/team/app"), here("app"));
        assert_eq!(find(json, "quay.io/team/other"), here("team"));
        assert_eq!(find(json, "quay.io/teams"), here("host"));
    }

    #[test]
    fn a_registrys_own_helper_comes_first_and_the_helper_for_all_comes_last() {
        let json = r#"{"credsStore": "pass", "credHelpers": {"example.com": "ecr-login"},
            "auths": {"example.com": {"username": "u", "password": "p"}, "other.io": {"username": "u", "password": "p"},
            "empty.io": {}}}"#;
        let helper = Found::Helper { name: "ecr-login".to_owned(), key: "example.com".to_owned() };
        assert_eq!(find(json, "example.com/a"), helper);
        assert_eq!(find(json, "other.io/a"), here("p"));
        let store = |key: &str| Found::Store { name: "pass".to_owned(), key: key.to_owned() };
        assert_eq!(find(json, "empty.io/a"), store("empty.io"));
        assert_eq!(find(json, "nginx"), store(DOCKER_HUB_KEY));
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_showing_it() {
        assert!(ConfigFile::parse(b"secret").is_err());
        for entry in [r#"{"auth": "secret"}"#, r#"{"identitytoken": "secret"}"#] {
            let json = format!(r#"{{"auths": {{"a.io": {entry}}}}}"#);
            let file = ConfigFile::parse(json.as_bytes()).expect("valid");
            let error = file.find(&"a.io/b".parse().expect("a repository")).expect_err("refused");
            assert!(!error.to_string().contains("secret"));
            assert!(!format!("{file:?}").contains("secret"));
        }
    }
}
