//! An operator whose log is read.

use std::process::ExitStatus;

use tempfile::NamedTempFile;

use crate::support::operator::Operator as Process;

/// An operator, which is killed when it is dropped.
pub(crate) struct Operator {
    process: Process,
    log: NamedTempFile,
}

impl Operator {
    /// Starts one with more arguments and variables, and waits until its caches are filled.
    pub(crate) async fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = NamedTempFile::new().unwrap();
        let complete = |command: &mut tokio::process::Command| {
            command.args(["--stalled-interval=1s", "--log-level=info,ecr_operator=debug,oci_copy=debug"]);
            command.args(arguments).envs(variables.iter().copied()).stderr(log.reopen().unwrap());
        };
        let said = || std::fs::read_to_string(log.path()).unwrap();
        Self { process: Process::start(complete, said).await, log }
    }

    pub(crate) async fn log(&self) -> String {
        tokio::fs::read_to_string(self.log.path()).await.unwrap()
    }

    pub(crate) async fn signal(&self, name: &str) {
        self.process.signal(name).await;
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }
}
