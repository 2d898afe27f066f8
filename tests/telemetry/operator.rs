//! An operator as a process of the test, whose log is read.

use std::fs::File;
use std::net::TcpListener;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::process::{Child, Command};

use crate::support::env;

/// An operator, which is killed when it is dropped.
pub(crate) struct Operator {
    child: Child,
    log: NamedTempFile,
}

impl Operator {
    /// Starts one with more arguments and variables, and waits until its caches are filled.
    pub(crate) async fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let address = free_address();
        let log = NamedTempFile::new().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_ecr-operator"))
            .args(["run", "--listen", &address, "--registries-config", &env("REGISTRIES_CONFIG")])
            .args(["--max-backoff=1s", "--stalled-interval=1s", "--log-level=info,ecr_operator=debug,oci_copy=debug"])
            .args(arguments)
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("KUBECONFIG", env("OPERATOR_KUBECONFIG"))
            .env("AWS_ENDPOINT_URL", env("AWS_ENDPOINT_URL"))
            .env("AWS_REGION", env("AWS_REGION"))
            .env("AWS_ACCESS_KEY_ID", env("OPERATOR_AWS_ACCESS_KEY_ID"))
            .env("AWS_SECRET_ACCESS_KEY", env("OPERATOR_AWS_SECRET_ACCESS_KEY"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("SSL_CERT_FILE", env("SSL_CERT_FILE"))
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(File::create(log.path()).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut operator = Self { child, log };
        let url = format!("http://{address}/readyz");
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            let ended = operator.child.try_wait().unwrap();
            assert_eq!(ended, None, "the operator ends instead of getting ready: {}", operator.log().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        operator
    }

    pub(crate) async fn log(&self) -> String {
        tokio::fs::read_to_string(self.log.path()).await.unwrap()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await.expect("the operator ends").unwrap()
    }
}

pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
