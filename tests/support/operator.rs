//! Operators as processes of a test, on a stack that has none.

use std::net::TcpListener;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use super::env;

/// An operator, which is killed when it is dropped.
pub struct Operator {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Operator {
    /// Starts one as the test completes its command: the stack's rights, and nothing of the environment else. Waits until its caches
    /// are filled; `log` tells what it said if it ends instead.
    pub async fn start(complete: impl FnOnce(&mut Command), log: impl Fn() -> String) -> Self {
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ecr-operator"));
        command
            .args(["run", "--listen", &address, "--registries-config", &env("REGISTRIES_CONFIG"), "--max-backoff=1s"])
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("KUBECONFIG", env("OPERATOR_KUBECONFIG"))
            .env("AWS_ENDPOINT_URL", env("AWS_ENDPOINT_URL"))
            .env("AWS_REGION", env("AWS_REGION"))
            .env("AWS_ACCESS_KEY_ID", env("OPERATOR_AWS_ACCESS_KEY_ID"))
            .env("AWS_SECRET_ACCESS_KEY", env("OPERATOR_AWS_SECRET_ACCESS_KEY"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("SSL_CERT_FILE", env("SSL_CERT_FILE"))
            .stdout(Stdio::null())
            // Shown when the test fails.
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        complete(&mut command);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut operator = Self { child: command.spawn().unwrap(), url: format!("http://{address}"), http };
        while operator.get("/readyz").await.is_none() {
            let ended = operator.child.try_wait().unwrap();
            assert_eq!(ended, None, "the operator ends instead of getting ready: {}", log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        operator
    }

    /// What it answers at a path, if that is an answer of success.
    pub async fn get(&self, path: &str) -> Option<String> {
        let answer = self.http.get(format!("{}{path}", self.url)).timeout(Duration::from_secs(5)).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await.expect("the operator ends").unwrap()
    }
}

/// An address that nobody listens on.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
