//! Walks through "Move a cluster off Docker Hub in an afternoon": applies the page's manifests and runs its commands, in their order.
//!
//! Other names stand in them, since tests run side by side, and what only the stack has: where its AWS is, and a node without
//! a scheduler.

use std::process::Stdio;

use ecr_operator::api::{EcrRegistry, ImageMirror};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::rewrite_pods::{busybox, on_node};
use crate::support::pulling::role;
use crate::support::rewriting::gets;
use crate::support::{Namespace, Stack, env, eventually, skipped, unique};

const PAGE: &str = include_str!("../../docs/guides/leave-docker-hub.md");

/// A manifest or commands of the page.
struct Block<'p> {
    language: &'p str,
    text: String,
}

/// The page as this test reads it.
struct Walk<'s> {
    stack: &'s Stack,
    /// What stands in the page, and what takes its place.
    names: Vec<(&'static str, String)>,
    role: String,
    endpoints: Value,
    node: String,
}

impl Walk<'_> {
    /// The blocks below a heading, with the test's names.
    fn step(&self, heading: &str) -> Vec<Block<'static>> {
        let (_, below) = PAGE.split_once(&format!("\n## {heading}")).unwrap_or_else(|| panic!("no step {heading}"));
        let section = below.split("\n## ").next().unwrap();
        let fenced = section.split("\n```").skip(1).step_by(2);
        let blocks = fenced.map(|block| {
            let (language, text) = block.split_once('\n').expect("a block of lines");
            let named = self.names.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
            Block { language, text: named }
        });
        blocks.collect()
    }

    /// Applies and runs all of a step, and gives what its commands printed.
    async fn walk(&self, heading: &str) -> String {
        let mut printed = String::new();
        for Block { language, text } in self.step(heading) {
            match language {
                "yaml" => {
                    for document in text.split("\n---\n") {
                        let object = self.fitted(serde_saphyr::from_str(document).expect("the page's YAML is valid"));
                        bash("kubectl apply --filename -", &object.to_string()).await;
                    }
                }
                // Nothing starts a pod where there is no node.
                "bash" if self.node.is_empty() => {
                    let without = text.lines().filter(|line| !line.contains("rollout status"));
                    printed += &bash(&without.collect::<Vec<_>>().join("\n"), "").await;
                }
                "bash" => printed += &bash(&text, "").await,
                // What a reader sees.
                "console" => {}
                other => panic!("the page has a block of {other:?}"),
            }
        }
        printed
    }

    /// The object with what only the stack has.
    fn fitted(&self, mut object: Value) -> Value {
        match object["kind"].as_str().expect("a kind") {
            "EcrRegistry" => {
                assert_eq!(object["spec"]["accountId"], env("AWS_ACCOUNT_ID"));
                object["spec"]["endpoints"] = self.endpoints.clone();
                object["spec"]["pullRole"]["roleArn"] = self.role.as_str().into();
            }
            "Deployment" if !self.node.is_empty() => {
                let spec = object["spec"]["template"]["spec"].as_object_mut().expect("a spec");
                spec.extend(on_node(&self.node).as_object().unwrap().clone());
            }
            _ => {}
        }
        object
    }

    fn name(&self, page: &str) -> String {
        self.names.iter().find(|(from, _)| *from == page).expect("a name of the page").1.clone()
    }

    fn namespace(&self, page: &str) -> Namespace<'_> {
        self.stack.namespace_of_others(&self.name(page))
    }
}

/// Runs commands with the stack's kubectl, and gives what they print.
async fn bash(script: &str, input: &str) -> String {
    let path = format!("{}:{}", env("TESTBED_BIN"), std::env::var("PATH").unwrap());
    let mut command = tokio::process::Command::new("bash");
    command.args(["-eu", "-c", script]).env("PATH", path);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("bash starts");
    // A program that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    let output = child.wait_with_output().await.unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{input}\n{words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_namespace_is_moved_off_docker_hub_as_the_page_says_and_back() {
    let stack = Stack::connect().await;
    let image = busybox("moved").await;
    let name = unique("hub-mirror");
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let walk = Walk {
        stack: &stack,
        endpoints: serde_json::to_value(default.spec.endpoints).unwrap(),
        role: role(&stack, &name, &["ecr:*"]).await,
        names: vec![("docker-hub-mirror", name), ("busybox", image.clone()), ("shop", unique("shop"))],
        node: env("NODE"),
    };
    if walk.node.is_empty() {
        skipped("the stack has no node, so the page's Deployment is made and its pods don't start");
    }
    let (mirrors, shop) = (walk.namespace("docker-hub-mirror"), walk.namespace("shop"));
    let named = format!("{image}:1.36");
    let ecr = format!("{}/docker.io/library/{image}", env("ECR_REGISTRY"));

    walk.walk("1.").await;
    walk.walk("2.").await;
    let listed = walk.walk("3.").await;
    assert!(listed.contains(&format!("docker.io/library/{image}")), "{listed}");
    let digest = stack.digest_in_ecr(&format!("docker.io/library/{image}"), "1.36").await.expect("it is mirrored");
    gets(&shop, &named, &named).await;
    let secret = eventually("the service account has the secret", || async {
        let printed = walk.walk("4.").await;
        printed.contains(&walk.name("docker-hub-mirror")).then_some(printed)
    });
    secret.await;
    let probe = walk.walk("5.").await;
    let expected = format!("{ecr}:1.36@{digest}");
    assert_eq!(probe.trim_end().lines().last(), Some(expected.as_str()), "{probe}");
    walk.walk("6.").await;
    let pod = eventually("a pod of the Deployment is from ECR", || async {
        let pods = shop.api::<Pod>().list(&ListParams::default().labels("app=web")).await.unwrap().items;
        let image = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.clone();
        pods.into_iter().find(|pod| image(pod).as_ref() == Some(&expected))
    })
    .await;
    assert_eq!(pod.annotations().get("image.ecr-operator.io/main"), Some(&named));
    let secrets = pod.spec.as_ref().unwrap().image_pull_secrets.clone().unwrap_or_default();
    assert_eq!(secrets.len(), 1, "by the service account");

    // An image that comes later.
    let later = busybox("later").await;
    let container = json!({"name": "main", "image": format!("{later}:1.36")});
    let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let deployments = shop.api::<Deployment>();
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    eventually("it is mirrored, too, and pods get it", || async {
        let digest = stack.digest_in_ecr(&format!("docker.io/library/{later}"), "1.36").await?;
        let expected = format!("{}/docker.io/library/{later}:1.36@{digest}", env("ECR_REGISTRY"));
        let pod = crate::support::rewriting::pod_of(&format!("{later}:1.36"));
        let pod = crate::support::rewriting::dry_run(&shop, &pod).await.ok()?;
        (crate::support::rewriting::image(&pod) == expected).then_some(())
    })
    .await;

    walk.walk("All of it undone").await;
    gets(&shop, &named, &named).await;
    assert!(stack.digest_in_ecr(&format!("docker.io/library/{image}"), "1.36").await.is_some(), "images stay");
    eventually("all that the page made is gone", || async {
        let registries = stack.all::<EcrRegistry>();
        let registry = registries.get_opt(&walk.name("docker-hub-mirror")).await.unwrap();
        let left = mirrors.api::<ImageMirror>().list(&ListParams::default()).await.unwrap().items;
        (registry.is_none() && left.is_empty()).then_some(())
    })
    .await;
    shop.cleanup().await;
}
