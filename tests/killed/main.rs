//! `ecr-operator copy`, killed at every step and started again: what the destination has committed is not sent again, and
//! no tag names anything incomplete in between.
#![allow(clippy::unwrap_used)]

mod registry;

use std::collections::HashSet;
use std::process::Stdio;

use registry::{Hold, Registry};
use tokio::process::{Child, Command};

fn start(registry: &Registry) -> Child {
    let host = registry.host();
    Command::new(env!("CARGO_BIN_EXE_ecr-operator"))
        .args(["copy", "--quiet", "--plain-http", host, &format!("{host}/source:v1"), &format!("{host}/copy:v1")])
        // Neither the credentials nor the proxies of whoever runs the tests.
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn succeeds(child: Child, when: &str) {
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{when}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Kills a copy at its request number `step`, before or after it takes effect, and lets another one finish.
async fn kill_at(step: usize, hold: Hold) {
    let when = format!("killed at request {step}, {hold:?}");
    let registry = Registry::start().await;
    let image = registry.put_image();
    let held = registry.hold(step, hold);
    let mut child = start(&registry);
    held.await.unwrap();
    child.kill().await.unwrap();
    let committed = registry.blobs("copy");
    let before = registry.blob_puts();
    registry.assert_complete("copy", &when);

    succeeds(start(&registry), &when).await;
    registry.assert_complete("copy", &when);
    assert_eq!(registry.tag("copy", "v1"), Some(image), "{when}");
    let again: Vec<_> = registry.blob_puts().split_off(before.len());
    let twice: Vec<_> = again.iter().filter(|digest| committed.contains(*digest)).collect();
    assert!(twice.is_empty(), "{when}: sent again: {twice:?}");
    let different: HashSet<_> = again.iter().collect();
    assert_eq!(different.len(), again.len(), "{when}: the second run sent a blob twice: {again:?}");
}

#[tokio::test]
async fn a_copy_that_is_killed_at_any_step_and_started_again_sends_no_committed_blob_twice() {
    let registry = Registry::start().await;
    registry.put_image();
    succeeds(start(&registry), "undisturbed").await;
    let steps = registry.requests();
    assert!(steps >= 15, "only {steps} requests: nothing is tested");
    for step in 0..steps {
        for hold in [Hold::BeforeItTakesEffect, Hold::AfterItTookEffect] {
            kill_at(step, hold).await;
        }
    }
}
