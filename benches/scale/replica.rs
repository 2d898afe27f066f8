//! Replicas of the operator, as processes of the benchmark.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{LocalStack, Process, operator_program};

/// A replica, which is killed when it is dropped.
pub(crate) struct Replica {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Replica {
    /// Starts one, and waits until its caches are filled.
    pub(crate) async fn start(root: &Path, stack: &LocalStack, arguments: &[String]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let child = Command::new(operator_program(root))
            .args(["run", "--leader-elect", "--lease-namespace=ecr-system", "--listen", &address])
            .args(["--registries-config", stack.variable("REGISTRIES_CONFIG"), "--log-level=warn"])
            .args(arguments)
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("KUBECONFIG", stack.variable("OPERATOR_KUBECONFIG"))
            .env("AWS_ENDPOINT_URL", stack.variable("AWS_ENDPOINT_URL"))
            .env("AWS_REGION", stack.variable("AWS_REGION"))
            .env("AWS_ACCESS_KEY_ID", stack.variable("OPERATOR_AWS_ACCESS_KEY_ID"))
            .env("AWS_SECRET_ACCESS_KEY", stack.variable("OPERATOR_AWS_SECRET_ACCESS_KEY"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("SSL_CERT_FILE", stack.variable("SSL_CERT_FILE"))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("cargo build --release was run");
        let replica = Self { child, url: format!("http://{address}"), http: reqwest::Client::new() };
        let started = Instant::now();
        while replica.get("/readyz").await.is_none() {
            assert!(started.elapsed() < Duration::from_secs(120), "the operator gets ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        replica
    }

    async fn get(&self, path: &str) -> Option<String> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    pub(crate) async fn until_leader(&self) {
        let leads = |text: String| text.lines().any(|line| line == "ecr_operator_leader 1");
        while !self.get("/metrics").await.is_some_and(leads) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn process(&self) -> Process {
        Process::of(self.child.id().into())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
