//! Operators that compete for one Lease, as processes of the test.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::support::{env, eventually};

/// An operator, which is killed when it is dropped.
pub(crate) struct Operator {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Operator {
    /// Starts one that competes for the Lease `ecr-operator` in a namespace, and waits until its caches are filled.
    pub(crate) async fn start(lease_namespace: &str, lease_duration: &str) -> Self {
        let address = free_address();
        let child = Command::new(env!("CARGO_BIN_EXE_ecr-operator"))
            .args(["run", "--leader-elect", "--lease-namespace", lease_namespace, "--lease-duration", lease_duration])
            .args(["--listen", &address, "--registries-config", &env("REGISTRIES_CONFIG")])
            // What it does by itself comes seldom, so that what it does without being asked shows.
            .args(["--resync-interval=1h", "--max-backoff=1s", "--log-format=text"])
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
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut operator = Self { child, url: format!("http://{address}"), http: reqwest::Client::new() };
        while operator.get("/readyz").await.is_none() {
            assert_eq!(operator.child.try_wait().unwrap(), None, "the operator ends instead of getting ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        operator
    }

    async fn get(&self, path: &str) -> Option<String> {
        let answer = self.http.get(format!("{}{path}", self.url)).timeout(Duration::from_secs(5)).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    pub(crate) async fn is_leader(&self) -> bool {
        self.get("/metrics").await.unwrap().lines().any(|line| line == "ecr_operator_leader 1")
    }

    pub(crate) async fn until_leader(&self) {
        eventually("the operator leads", || async { self.is_leader().await.then_some(()) }).await;
    }

    pub(crate) async fn is_healthy(&self) -> bool {
        self.get("/healthz").await.is_some()
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

    pub(crate) async fn kill(mut self) {
        self.signal("KILL").await;
        assert_eq!(self.ended().await.signal(), Some(9));
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
