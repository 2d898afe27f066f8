//! Where user names and passwords come from.

use std::fmt;

use async_trait::async_trait;

use crate::digest::{Algorithm, Digest, Hasher};

/// A user name and password for one registry. For ECR the user is `AWS` and the password an authorization token.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password or token.
    pub password: String,
}

impl Credentials {
    /// A user name and password.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: password.into() }
    }

    /// What tells these credentials from others without being a secret.
    #[must_use]
    pub fn identity(&self) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update(&(self.username.len() as u64).to_be_bytes());
        hasher.update(self.username.as_bytes());
        hasher.update(self.password.as_bytes());
        hasher.finish()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).field("password", &"***").finish()
    }
}

/// Gives the credentials for a registry.
///
/// It is asked once for each side of a copy and for each look-up, when the registry first wants credentials, and once
/// more when the registry refuses what it gave. It should answer from memory as long as its credentials are valid.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// The credentials for a registry's host, written as in an image reference; none to be anonymous there.
    ///
    /// # Errors
    /// Any error ends the operation, with this error as its source. Its text must not hold secrets.
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, Box<dyn std::error::Error + Send + Sync>>;
}

/// No credentials for any registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

#[async_trait]
impl CredentialSource for Anonymous {
    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(None)
    }
}

/// The same credentials for one host, and none for others.
#[derive(Clone, Debug)]
pub struct StaticCredentials {
    host: String,
    credentials: Credentials,
}

impl StaticCredentials {
    /// `credentials` for `host`, which is written as in an image reference.
    pub fn new(host: impl Into<String>, credentials: Credentials) -> Self {
        Self { host: host.into().to_ascii_lowercase(), credentials }
    }
}

#[async_trait]
impl CredentialSource for StaticCredentials {
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, Box<dyn std::error::Error + Send + Sync>> {
        Ok((host.to_ascii_lowercase() == self.host).then(|| self.credentials.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let credentials = Credentials::new("AWS", "hunter2");
        assert!(!format!("{credentials:?}").contains("hunter2"));
        assert!(!format!("{:?}", StaticCredentials::new("x", credentials)).contains("hunter2"));
    }

    #[test]
    fn different_credentials_have_different_identities() {
        let identity = |user: &str, password: &str| Credentials::new(user, password).identity();
        assert_ne!(identity("ab", "c"), identity("a", "bc"));
        assert_eq!(identity("a", "b"), identity("a", "b"));
    }
}
