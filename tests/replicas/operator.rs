//! Operators that compete for one Lease.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use crate::support::eventually;
use crate::support::operator::Operator as Process;

/// An operator, which is killed when it is dropped.
pub(crate) struct Operator(Process);

impl Operator {
    /// Starts one that competes for the Lease `ecr-operator` in a namespace, and waits until its caches are filled.
    pub(crate) async fn start(lease_namespace: &str, lease_duration: &str) -> Self {
        let complete = |command: &mut tokio::process::Command| {
            command.args(["--leader-elect", "--lease-namespace", lease_namespace, "--lease-duration", lease_duration]);
            // What it does by itself comes seldom, so that what it does without being asked shows.
            command.args(["--resync-interval=1h", "--log-format=text"]);
        };
        Self(Process::start(complete, String::new).await)
    }

    pub(crate) async fn is_leader(&self) -> bool {
        self.0.get("/metrics").await.unwrap().lines().any(|line| line == "ecr_operator_leader 1")
    }

    pub(crate) async fn until_leader(&self) {
        eventually("the operator leads", || async { self.is_leader().await.then_some(()) }).await;
    }

    pub(crate) async fn is_healthy(&self) -> bool {
        self.0.get("/healthz").await.is_some()
    }

    pub(crate) async fn signal(&self, name: &str) {
        self.0.signal(name).await;
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.0.ended().await
    }

    pub(crate) async fn kill(mut self) {
        self.signal("KILL").await;
        assert_eq!(self.ended().await.signal(), Some(9));
    }
}
