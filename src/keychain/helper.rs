//! Docker's credential helpers: programs that are asked for a registry's credentials
//! ([the protocol](https://github.com/docker/docker-credential-helpers#development)).

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

/// Asks `docker-credential-<name> get` about a registry. What it writes to stderr goes to ours.
pub(super) async fn ask(name: &str, key: &str) -> Result<Option<Credentials>, KeychainError> {
    let failed = |problem: String| KeychainError::Helper { name: name.to_owned(), key: key.to_owned(), problem };
    // The name becomes part of a program's name: it must not lead to another folder.
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(failed("its name is not one of a program".to_owned()));
    }
    let mut child = Command::new(format!("docker-credential-{name}"))
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
