//! What it costs a pod's creation that the API server rewrites its images: many mirrors, one policy, dry runs.
//!
//! `make bench-rewrite` runs it. All images are for one namespace, which is the worst case. The three kinds of requests take turns, so that what else the machine does is the same for all.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ecr_operator::api::{ImageRewrite, REWRITES_FOR_LABEL};
use ecr_operator::rewrite::policy::{FailurePolicy, OWN, POLICY, policy};
use ecr_operator::rewrite::shards::{LARGEST, shards};
use ecr_operator::rewrite::{RewrittenImages, entry};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::ApiResource;
use kube::{Client, Config};
use serde_json::{Value, json};

const MIRRORS: usize = 1_000;
const TAGS: usize = 20;
/// How many pods of each kind are created.
const ROUNDS: usize = 500;

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run_dir = root.join("testbed/run-bench");
    let stack = Stack { program: root.join("testbed/bin/stack"), run_dir };
    let client_config = stack.up();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let measured = runtime.block_on(measure(&client_config));
    drop(stack);
    let out = root.join("target/bench");
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("bench-rewrite.json"), serde_json::to_string_pretty(&measured).unwrap()).unwrap();
    println!("{}", serde_json::to_string_pretty(&measured).unwrap());
}

struct Stack {
    program: std::path::PathBuf,
    run_dir: std::path::PathBuf,
}

impl Stack {
    /// Starts it, and returns the path of its kubeconfig.
    fn up(&self) -> String {
        let mut up = Command::new(&self.program);
        up.args(["up", "--node", "off", "--operator", "off", "--run-dir"]).arg(&self.run_dir);
        assert!(up.status().expect("testbed/scripts/build core was run").success(), "the stack starts");
        let text = std::fs::read_to_string(self.run_dir.join("env")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("export KUBECONFIG=")).unwrap();
        line.trim_matches(['\'', '"']).to_owned()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = Command::new(&self.program).arg("down").arg("--run-dir").arg(&self.run_dir).status();
    }
}

async fn measure(kubeconfig: &str) -> Value {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let [plain, rewritten] = ["plain", "rewritten"];
    for name in [plain, rewritten] {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    }
    let objects = write_images(&client, rewritten).await;
    write_policy(&client, rewritten).await;
    let hit = "repo500:v3";
    for (namespace, image) in [(plain, hit), (rewritten, hit)] {
        until_ready(&client, namespace, image, namespace == rewritten).await;
    }
    let cases = [("none", plain, hit), ("hit", rewritten, hit), ("miss", rewritten, "nothing:like-it")];
    let mut times: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, namespace, image), times) in cases.iter().zip(&mut times) {
            let started = Instant::now();
            create(&client, namespace, image).await.unwrap();
            times.push(started.elapsed().as_secs_f64() * 1000.0);
        }
    }
    let mut measured = json!({"mirrors": MIRRORS, "tags": MIRRORS * TAGS, "objects": objects});
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    let at = |case: usize, part: f64| times[case][((ROUNDS - 1) as f64 * part) as usize];
    let round = |ms: f64| (ms * 100.0).round() / 100.0;
    for (case, (name, ..)) in cases.iter().enumerate() {
        measured[format!("ms_{name}")] = round(at(case, 0.5)).into();
        measured[format!("ms_{name}_p99")] = round(at(case, 0.99)).into();
    }
    for (case, name) in [(1, "hit"), (2, "miss")] {
        measured[format!("added_ms_{name}")] = round(at(case, 0.5) - at(0, 0.5)).into();
        measured[format!("added_ms_{name}_p99")] = round(at(case, 0.99) - at(0, 0.99)).into();
    }
    measured
}

/// Writes what the operator would for so many mirrors, and returns how many objects it took.
async fn write_images(client: &Client, namespace: &str) -> usize {
    let entries = (0..MIRRORS).map(|mirror| {
        let digest = |tag: usize| format!("sha256:{:064x}", mirror * TAGS + tag);
        let images = RewrittenImages {
            repository: format!("123456789012.dkr.ecr.eu-west-1.amazonaws.com/docker.io/library/repo{mirror}"),
            pin: true,
            tags: (0..TAGS).map(|tag| (format!("v{tag}"), digest(tag))).collect(),
            digests: Vec::new(),
        };
        (format!("docker.io/library/repo{mirror}"), entry::value(&images))
    });
    let shards = shards(entries.collect(), LARGEST);
    for (number, shard) in shards.iter().enumerate() {
        let map: ImageRewrite = serde_json::from_value(json!({
            "metadata": {"name": format!("own-{number}"), "labels": {REWRITES_FOR_LABEL: OWN}}, "spec": {"images": shard},
        }))
        .unwrap();
        Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &map).await.unwrap();
    }
    shards.len()
}

async fn write_policy(client: &Client, namespace: &str) {
    let binding = json!({
        "policyName": POLICY,
        "paramRef": {
            "namespace": namespace,
            "selector": {"matchLabels": {REWRITES_FOR_LABEL: OWN}},
            "parameterNotFoundAction": "Allow",
        },
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
    });
    for (kind, plural, spec) in [
        ("MutatingAdmissionPolicy", "mutatingadmissionpolicies", policy(FailurePolicy::Ignore)),
        ("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", binding),
    ] {
        let resource = ApiResource {
            group: "admissionregistration.k8s.io".into(),
            version: "v1".into(),
            api_version: "admissionregistration.k8s.io/v1".into(),
            kind: kind.into(),
            plural: plural.into(),
        };
        let object = json!({
            "apiVersion": resource.api_version, "kind": kind, "metadata": {"name": POLICY}, "spec": spec,
        });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        Api::all_with(client.clone(), &resource).create(&PostParams::default(), &object).await.unwrap();
    }
}

async fn create(client: &Client, namespace: &str, image: &str) -> Result<Pod, kube::Error> {
    let pod = json!({"metadata": {"name": "it"}, "spec": {"containers": [{"name": "main", "image": image}]}});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    Api::namespaced(client.clone(), namespace).create(&params, &pod).await
}

/// Waits for the namespace's service account, and until the API server has taken up the policy.
async fn until_ready(client: &Client, namespace: &str, image: &str, changes: bool) {
    for _ in 0..300 {
        if let Ok(pod) = create(client, namespace, image).await {
            let got = pod.spec.unwrap().containers.remove(0).image.unwrap();
            if (got != image) == changes {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("pods in {namespace} are not as they should be");
}
