//! Credentials as a person's other tools find them: docker's and podman's files, credential helpers, and for ECR's own
//! hosts the AWS identity.

mod config;
mod helper;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use oci_copy::{CredentialSource, Credentials, Repository};
use tokio::sync::Mutex;

use crate::dockerconfig::DockerConfigError;
use crate::ecr::host::RegistryHost;
use crate::ecr::{EcrError, Token, identity_token};
use config::{ConfigFile, Found};

/// A token with less life than this is asked for anew: a copy that starts with it may outlive it.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);

/// Why there are no credentials where there should be some. Nothing of it is a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeychainError {
    /// A file can't be read.
    #[error("can't read {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file can't be used.
    #[error("can't use {path:?}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DockerConfigError,
    },
    /// A credential helper failed.
    #[error("the credential helper docker-credential-{name} gives nothing for {key}: {problem}")]
    Helper {
        /// Its name, without `docker-credential-`.
        name: String,
        /// What it was asked for.
        key: String,
        /// What went wrong.
        problem: String,
    },
    /// AWS gives no token.
    #[error("no token of ECR: {0}")]
    Ecr(#[from] EcrError),
}

/// The credentials of whoever runs the program.
pub struct Keychain {
    files: Vec<(PathBuf, ConfigFile)>,
    /// Where helpers are looked for, if not where programs are.
    helpers: Option<OsString>,
    /// Answers of helpers, so that a person is asked once.
    asked: Mutex<HashMap<(String, String), Option<Credentials>>>,
    /// ECR's tokens, by region.
    tokens: Mutex<HashMap<String, Token>>,
}

impl Keychain {
    /// Reads the files that there are, the first of which that knows a repository counts: `config.json` in
    /// `$DOCKER_CONFIG` or `~/.docker`; `$REGISTRY_AUTH_FILE` or `$XDG_RUNTIME_DIR/containers/auth.json`;
    /// `~/.config/containers/auth.json`.
    ///
    /// # Errors
    /// If one of them can't be read, or isn't what it should be.
    pub fn open() -> Result<Self, KeychainError> {
        let mut files = Vec::new();
        for path in paths(|name| std::env::var_os(name).map(PathBuf::from)) {
            match std::fs::read(&path) {
                Ok(json) => {
                    let file = ConfigFile::parse(&json)
                        .map_err(|source| KeychainError::Config { path: path.clone(), source })?;
                    files.push((path, file));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(KeychainError::Read { path, source }),
            }
        }
        Ok(Self::of(files))
    }

    fn of(files: Vec<(PathBuf, ConfigFile)>) -> Self {
        Self { files, helpers: None, asked: Mutex::default(), tokens: Mutex::default() }
    }

    /// The credentials for a repository. None: it is asked anonymously.
    ///
    /// # Errors
    /// If a helper or AWS is to be asked and gives no answer.
    pub async fn find(&self, repository: &Repository) -> Result<Option<Credentials>, KeychainError> {
        for (path, file) in &self.files {
            let found = file.find(repository).map_err(|source| KeychainError::Config { path: path.clone(), source })?;
            let credentials = match found {
                Found::Here(credentials) => Some(credentials),
                Found::Helper { name, key } | Found::Store { name, key } => self.ask(name, key).await?,
                Found::Nothing => None,
            };
            if credentials.is_some() {
                return Ok(credentials);
            }
        }
        match RegistryHost::parse(repository.host()) {
            Some(host) => self.ecr(&host.region).await.map(Some),
            None => Ok(None),
        }
    }

    async fn ask(&self, name: String, key: String) -> Result<Option<Credentials>, KeychainError> {
        let mut asked = self.asked.lock().await;
        let question = (name, key);
        if let Some(known) = asked.get(&question) {
            return Ok(known.clone());
        }
        let answer = helper::ask(self.helpers.as_deref(), &question.0, &question.1).await?;
        asked.insert(question, answer.clone());
        Ok(answer)
    }

    async fn ecr(&self, region: &str) -> Result<Credentials, KeychainError> {
        let mut tokens = self.tokens.lock().await;
        let fresh = |token: &&Token| Timestamp::now() + MARGIN < token.expires_at;
        let token = match tokens.get(region).filter(fresh) {
            Some(token) => token.clone(),
            None => {
                let token = identity_token(Some(region)).await?.token;
                tokens.insert(region.to_owned(), token.clone());
                token
            }
        };
        Ok(Credentials::new(token.username, token.password))
    }
}

/// Where the files are, as docker and podman look for them.
fn paths(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let home = variable("HOME");
    let below = |base: Option<PathBuf>, rest: &str| base.map(|base| base.join(Path::new(rest)));
    let docker = below(variable("DOCKER_CONFIG"), "config.json").or(below(home.clone(), ".docker/config.json"));
    let podman = variable("REGISTRY_AUTH_FILE").or_else(|| below(variable("XDG_RUNTIME_DIR"), "containers/auth.json"));
    let config = below(variable("XDG_CONFIG_HOME").or(below(home, ".config")), "containers/auth.json");
    [docker, podman, config].into_iter().flatten().collect()
}

/// The docker config that is written to: `config.json` in `$DOCKER_CONFIG` or `~/.docker`.
pub fn docker_config_path() -> Option<PathBuf> {
    paths(|name| std::env::var_os(name).map(PathBuf::from)).into_iter().next()
}

/// One repository's credentials, for its own registry and no other.
pub struct ForRepository {
    /// Where they are looked for.
    pub keychain: Arc<Keychain>,
    /// Whose they are.
    pub repository: Repository,
}

#[async_trait]
impl CredentialSource for ForRepository {
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, Box<dyn std::error::Error + Send + Sync>> {
        if host != self.repository.host() {
            return Ok(None);
        }
        Ok(self.keychain.find(&self.repository).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the helper of the tests is, before everything else. It is a file of the repository: one that a test writes
    /// may still be open for writing in another test's new process, and then it can't be started.
    pub(super) fn helpers() -> OsString {
        let mut path = OsString::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/keychain/testdata:"));
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path
    }

    /// A keychain of these docker configs, with the tests' helper.
    fn with_helper(configs: &[&str]) -> Keychain {
        let file = |json: &&str| (PathBuf::from("f"), ConfigFile::parse(json.as_bytes()).expect("valid"));
        Keychain { helpers: Some(helpers()), ..Keychain::of(configs.iter().map(file).collect()) }
    }

    async fn password(keychain: &Keychain, repository: &str) -> Result<Option<String>, KeychainError> {
        let found = keychain.find(&repository.parse().expect("a repository")).await;
        found.map(|found| found.map(|credentials| credentials.password))
    }

    #[tokio::test]
    async fn helpers_are_asked_for_their_own_registry_or_for_all_that_stand_nowhere_else() {
        let own = r#"{"credHelpers": {"good.example": "test", "none.example": "test"},
            "auths": {"none.example": {"username": "u", "password": "p"}}}"#;
        let all = r#"{"credsStore": "test", "auths": {"file.example": {"username": "u", "password": "p"}}}"#;
        for (configs, repository, expected) in [
            (&[own][..], "good.example/a", Some("secret of good.example")),
            (&[own], "other.example/a", None),
            // A helper of its own that has nothing: what stands in the file is not what was meant.
            (&[own], "none.example/a", None),
            (&[all], "good.example/a/b", Some("secret of good.example")),
            (&[all], "nginx", Some("secret of https://index.docker.io/v1/")),
            (&[all], "file.example/a", Some("p")),
            (&[all], "none.example/a", None),
            // The next file counts where the first one's helper has nothing.
            (&[own, all], "file.example/a", Some("p")),
            (&[all, r#"{"auths": {"none.example": {"username": "u", "password": "q"}}}"#], "none.example/a", Some("q")),
        ] {
            let found = password(&with_helper(configs), repository).await.expect("an answer");
            assert_eq!(found.as_deref(), expected, "{repository} {configs:?}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_fails_is_an_error_and_not_an_anonymous_request() {
        let keychain = with_helper(&[r#"{"credsStore": "test"}"#]);
        for repository in ["locked.example/a", "token.example/a"] {
            let error = password(&keychain, repository).await.expect_err("refused").to_string();
            assert!(error.contains("docker-credential-test") && !error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_helper_is_asked_once_however_many_want_to_know() {
        let folder = tempfile::tempdir().expect("a folder");
        let calls = folder.path().join("calls");
        let config = format!(r#"{{"credHelpers": {{"https://counted.example/{}": "test"}}}}"#, calls.display());
        let keychain = with_helper(&[&config]);
        for _ in 0..2 {
            let (one, two) =
                tokio::join!(password(&keychain, "counted.example/a"), password(&keychain, "counted.example/b"),);
            assert_eq!(
                (one.expect("found").as_deref(), two.expect("found").as_deref()),
                (Some("secret"), Some("secret"))
            );
        }
        assert_eq!(std::fs::read_to_string(calls).expect("it was asked"), "asked\n");
    }

    fn looked_for(variables: &[(&str, &str)]) -> Vec<String> {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value));
        paths(variable).into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn files_are_looked_for_where_docker_and_podman_do() {
        assert_eq!(looked_for(&[("HOME", "/h")]), ["/h/.docker/config.json", "/h/.config/containers/auth.json"]);
        let all = [("HOME", "/h"), ("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "/r"), ("XDG_CONFIG_HOME", "/c")];
        assert_eq!(looked_for(&all), ["/d/config.json", "/r/containers/auth.json", "/c/containers/auth.json"]);
        let named = [("DOCKER_CONFIG", "/d"), ("REGISTRY_AUTH_FILE", "/f.json"), ("XDG_RUNTIME_DIR", "/r")];
        assert_eq!(looked_for(&named), ["/d/config.json", "/f.json"]);
        assert!(looked_for(&[]).is_empty());
    }

    #[tokio::test]
    async fn credentials_are_for_their_own_host_only() {
        let json = br#"{"auths": {"a.io": {"username": "u", "password": "p"}}}"#;
        let files = vec![(PathBuf::from("f"), ConfigFile::parse(json).expect("valid"))];
        let keychain = Arc::new(Keychain::of(files));
        let own = ForRepository { keychain, repository: "a.io/b".parse().expect("a repository") };
        assert!(own.credentials("a.io").await.expect("found").is_some());
        for other in ["b.io", "a.io:5000", "a.io.evil.io", "A.io", "a.io.", ""] {
            assert!(own.credentials(other).await.expect("found").is_none(), "{other}");
        }
    }

    #[tokio::test]
    async fn a_host_that_only_looks_like_ecrs_gets_no_token_of_the_identity() {
        let keychain = Keychain::of(Vec::new());
        for host in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.io",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443",
            "evil-123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "x.123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.evil.com",
            "123456789012.dkr-ecr.eu-west-1.amazonaws.com",
            "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.evil.io",
            "public.ecr.aws.evil.io",
        ] {
            let repository = format!("{host}/a").parse().expect("a repository");
            // Asking AWS would fail here, or take its time: nothing of it happens.
            assert!(keychain.find(&repository).await.expect("nobody is asked").is_none(), "{host}");
        }
    }
}
