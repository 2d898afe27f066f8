//! Docker's credential helpers: programs that are asked for a registry's credentials
//! ([the protocol](https://github.com/docker/docker-credential-helpers#development)).

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use oci_copy::Credentials;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::KeychainError;

/// How long a helper may take: some ask a person.
const PATIENCE: Duration = Duration::from_secs(60);
/// No answer is longer than this, in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;
/// What helpers print when they have nothing.
const NOT_FOUND: &str = "credentials not found";

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// Asks `docker-credential-<name> get` about a registry. What it writes to stderr goes to ours. The program is looked for
/// in the folders of `path`, or of this process's `PATH`.
pub(super) async fn ask(path: Option<&OsStr>, name: &str, key: &str) -> Result<Option<Credentials>, KeychainError> {
    let failed = |problem: String| KeychainError::Helper { name: name.to_owned(), key: key.to_owned(), problem };
    // The name becomes part of a program's name: it must not lead to another folder.
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(failed("its name is not one of a program".to_owned()));
    }
    let mut command = Command::new(format!("docker-credential-{name}"));
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let mut child = command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("it can't be started: {error}")))?;
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that answers without reading is none of our business.
            let _ = stdin.write_all(key.as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, answer))
    };
    let (status, answer) = match tokio::time::timeout(PATIENCE, talk).await {
        Ok(result) => result.map_err(|error| failed(format!("it can't be talked to: {error}")))?,
        Err(_) => return Err(failed(format!("it did not answer within {} s", PATIENCE.as_secs()))),
    };
    if !status.success() {
        return match String::from_utf8_lossy(&answer).contains(NOT_FOUND) {
            true => Ok(None),
            false => Err(failed(format!("it failed with {status}"))),
        };
    }
    // What it says may be a secret, so it is in no message.
    let Ok(Answer { username, secret }) = serde_json::from_slice(&answer) else {
        return Err(failed("its answer is not what it should be".to_owned()));
    };
    if username == "<token>" {
        return Err(failed("it has an identity token only; log in with a user name and a password".to_owned()));
    }
    Ok((!secret.is_empty()).then(|| Credentials::new(username, secret)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keychain::tests::helpers;

    async fn get(key: &str) -> Result<Option<Credentials>, KeychainError> {
        ask(Some(&helpers()), "test", key).await
    }

    #[tokio::test]
    async fn a_helper_is_asked_for_a_server_and_answers_with_user_and_secret() {
        for key in ["good.example", "https://index.docker.io/v1/"] {
            assert_eq!(get(key).await.expect("an answer"), Some(Credentials::new("user", format!("secret of {key}"))));
        }
    }

    #[tokio::test]
    async fn a_helper_that_has_nothing_is_no_failure() {
        for key in ["none.example", "empty.example", "unknown.example"] {
            assert_eq!(get(key).await.expect("an answer"), None, "{key}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_fails_is_named_and_what_it_says_is_not_shown() {
        for (key, words) in [
            ("locked.example", "it failed with exit status: 1"),
            ("nonsense.example", "its answer is not what it should be"),
            ("token.example", "it has an identity token only"),
            ("endless.example", "it failed with"),
        ] {
            let error = get(key).await.expect_err(key);
            let shown = format!("{error} {error:?}");
            assert!(error.to_string().contains("docker-credential-test") && shown.contains(key), "{shown}");
            assert!(shown.contains(words) && !shown.contains("secret"), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_or_lies_in_another_folder_is_not_started() {
        let missing = ask(Some(&helpers()), "missing", "good.example").await.expect_err("it is not there");
        assert!(missing.to_string().contains("it can't be started"), "{missing}");
        for name in ["", "../test", "test/../../test", "/bin/sh", "test x", "test\0"] {
            let error = ask(Some(&helpers()), name, "good.example").await.expect_err(name);
            assert!(error.to_string().contains("its name is not one of a program"), "{error}");
        }
    }
}
