//! Credentials in a docker config, as `kubernetes.io/dockerconfigjson` Secrets hold them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use oci_copy::Credentials;
use serde::Deserialize;

/// Credentials by host.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig(BTreeMap<String, Credentials>);

/// Why a docker config can't be used. Says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DockerConfigError {
    /// It is not a JSON object with a member `auths`.
    #[error("it is not a JSON object with a member \"auths\"")]
    Syntax,
    /// The `auth` of an entry is not the base64 of `user:password`.
    #[error("the \"auth\" of an entry is not the base64 of user:password")]
    Auth,
    /// An entry has a token for a token service instead of a user and a password.
    #[error("an entry has an identity token only; log in with a user name and a password")]
    IdentityToken,
}

#[derive(Deserialize)]
struct Document {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl DockerConfig {
    /// Reads a docker config.
    pub fn parse(json: &[u8]) -> Result<Self, DockerConfigError> {
        let entries = entries(json)?.into_iter();
        Ok(Self(entries.filter_map(|(key, credentials)| Some((host_of(&key), credentials?))).collect()))
    }

    /// The credentials for a registry's host, as image names write it.
    pub fn credentials(&self, host: &str) -> Option<&Credentials> {
        self.0.get(host)
    }
}

/// The entries of a docker config, by the keys that it has. Those without a user and a password have no credentials.
pub(crate) fn entries(json: &[u8]) -> Result<Vec<(String, Option<Credentials>)>, DockerConfigError> {
    let document: Document = serde_json::from_slice(json).map_err(|_| DockerConfigError::Syntax)?;
    let entry = |(key, Entry { auth, username, password })| {
        let credentials = credentials_of(auth.as_deref(), username.as_deref(), password.as_deref())?;
        Ok((key, credentials))
    };
    document.auths.into_iter().map(entry).collect()
}

/// The user and the password of an entry; none if it has neither.
pub(crate) fn credentials_of(
    auth: Option<&str>,
    username: Option<&str>,
    password: Option<&str>,
) -> Result<Option<Credentials>, DockerConfigError> {
    match (auth, username, password) {
        (_, Some(username), Some(password)) => Ok(Some(Credentials::new(username, password))),
        (Some(auth), ..) if !auth.is_empty() => {
            let text = BASE64
                .decode(auth.trim())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or(DockerConfigError::Auth)?;
            let (username, password) = text.split_once(':').ok_or(DockerConfigError::Auth)?;
            Ok(Some(Credentials::new(username, password)))
        }
        _ => Ok(None),
    }
}

/// The host of a key: keys are hosts, or URLs as `docker login` wrote them for Docker Hub.
pub(crate) fn host_of(key: &str) -> String {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://");
    let host = bare.split('/').next().unwrap_or(bare);
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(json: &str, host: &str) -> Option<String> {
        let config = DockerConfig::parse(json.as_bytes()).expect("valid");
        config.credentials(host).map(|credentials| credentials.password.clone())
    }

    #[test]
    fn docker_hub_is_found_under_all_its_names() {
        for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"] {
            let json = format!(r#"{{"auths": {{"{key}": {{"username": "u", "password": "p"}}}}}}"#);
            assert_eq!(password(&json, "docker.io").as_deref(), Some("p"), "{key}");
        }
    }

    #[test]
    fn the_auth_field_is_as_good_as_user_and_password() {
        let json = format!(r#"{{"auths": {{"ghcr.io": {{"auth": "{}"}}}}}}"#, BASE64.encode("user:a:b"));
        assert_eq!(password(&json, "ghcr.io").as_deref(), Some("a:b"));
    }

    #[test]
    fn a_host_matches_whole_or_not_at_all() {
        let json = r#"{"auths": {"example.com": {"username": "u", "password": "p"}}}"#;
        assert_eq!(password(json, "registry.example.com"), None);
        assert_eq!(password(json, "example.com:5000"), None);
    }

    #[test]
    fn what_is_no_docker_config_is_refused_without_showing_it() {
        for (json, error) in [
            ("secret", DockerConfigError::Syntax),
            ("{}", DockerConfigError::Syntax),
            (r#"{"auths": {"a": {"auth": "secret"}}}"#, DockerConfigError::Auth),
        ] {
            let refused = DockerConfig::parse(json.as_bytes()).expect_err("refused");
            assert_eq!(refused, error);
            assert!(!refused.to_string().contains("secret"));
        }
    }
}
