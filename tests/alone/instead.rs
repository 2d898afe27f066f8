//! An operator of a test's own, with options that the stack's does not have. The stack's stands still meanwhile.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::support::{self, env};

/// The operator of a test. When it goes, the stack's goes on.
pub struct Instead {
    child: Child,
    stacks: String,
    directory: tempfile::TempDir,
}

impl Instead {
    /// Starts it with this kubeconfig and these options.
    pub async fn start(kubeconfig: &Path, options: &[&str]) -> Self {
        let stacks = stacks_operator().await;
        signal("-STOP", &stacks).await;
        let directory = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ecr-operator"));
        command
            .args(["run", "--listen", "127.0.0.1:0", "--log-format", "text", "--stalled-interval", "2s"])
            .args(["--max-backoff", "2s", "--registries-config", &env("REGISTRIES_CONFIG")])
            .args(options)
            .env("KUBECONFIG", kubeconfig)
            .env("AWS_ACCESS_KEY_ID", env("OPERATOR_AWS_ACCESS_KEY_ID"))
            .env("AWS_SECRET_ACCESS_KEY", env("OPERATOR_AWS_SECRET_ACCESS_KEY"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        Self { child: command.spawn().expect("the operator starts"), stacks, directory }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Lets it stand still, too.
    pub async fn stop(&self) {
        signal("-STOP", &self.child.id().expect("it runs").to_string()).await;
    }

    /// Ends it, and lets the stack's go on.
    pub async fn end(mut self) {
        self.child.kill().await.unwrap();
    }
}

impl Drop for Instead {
    fn drop(&mut self) {
        // A test that fails must not leave the others without an operator.
        let _ = self.child.start_kill();
        let _ = std::process::Command::new("kill").args(["-CONT", &self.stacks]).status();
    }
}

/// The kubeconfig of the stack's operator.
pub fn stacks_kubeconfig() -> PathBuf {
    env("OPERATOR_KUBECONFIG").into()
}

/// The process ID of the stack's operator.
pub async fn stacks_operator() -> String {
    let status = support::run("stack", &["status", "--run-dir", &env("RUN_DIR")]).await.unwrap();
    let running = status.lines().find(|line| line.starts_with("operator ") && line.ends_with("running"));
    running.and_then(|line| line.split_whitespace().nth(1)).expect("the operator runs").to_owned()
}

/// Sends a signal to a process.
pub async fn signal(signal: &str, process: &str) {
    let sent = Command::new("kill").args([signal, process]).status().await.unwrap();
    assert!(sent.success(), "kill {signal} {process}");
}
