//! What it costs a pod's creation that the API server rewrites its images: many mirrors, one policy, dry runs.
//!
//! `make bench-rewrite` runs it. All images are for one namespace first, which is the worst case for its pods, and then for as many
//! namespaces as there are mirrors. Requests with the policy and without it take turns, so that what else the machine does is the same
//! for all.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ecr_operator::api::REWRITE_LABEL;
use ecr_operator::rewrite::policy::{BINDING, DISABLED, FailurePolicy, OWN, POLICY, policy};
use ecr_operator::rewrite::shards::{Shards, Whose, shards};
use ecr_operator::rewrite::{RewrittenImages, binding, entry};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
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

/// Where the policy does not reach.
const PLAIN: &str = "plain";

async fn measure(kubeconfig: &str) -> Value {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    namespace(&client, PLAIN, json!({REWRITE_LABEL: DISABLED})).await;
    namespace(&client, "mirrors-0", json!({})).await;
    write(&client, "MutatingAdmissionPolicy", POLICY, json!({"spec": policy(FailurePolicy::Ignore, "v1")})).await;
    let in_one = measure_one(&client, &entries(|_| "mirrors-0".to_owned()), true).await;
    let each = measure_one(&client, &entries(|mirror| format!("mirrors-{mirror}")), false).await;
    let mut measured = json!({"mirrors": MIRRORS, "tags": MIRRORS * TAGS, "rounds": ROUNDS});
    // The worse of the two.
    for name in ["added_ms_hit", "added_ms_hit_p99", "added_ms_miss", "added_ms_miss_p99"] {
        let worse = [&in_one, &each].into_iter().filter_map(|case| case[name].as_f64()).fold(f64::MIN, f64::max);
        measured[name] = worse.into();
    }
    measured["all_in_one_namespace"] = in_one;
    measured["a_namespace_each"] = each;
    measured
}

/// Measures with these images in place. `listed`: whether the bindings name the namespace.
async fn measure_one(client: &Client, entries: &[Whose], listed: bool) -> Value {
    let shards = shards(entries);
    let largest = write_bindings(client, &shards, listed).await;
    let (hit, miss) = ("repo0:v3", "nothing:like-it");
    until_ready(client, PLAIN, hit, false).await;
    until_ready(client, "mirrors-0", hit, true).await;
    // As many as a pod with sidecars has.
    let several = |image: &str| {
        (0..4).map(|number| format!("quay.io/side/car{number}:1")).chain([image.to_owned()]).collect::<Vec<_>>()
    };
    let one = |image: &str| vec![image.to_owned()];
    let cases = [
        ("none", PLAIN, one(hit)),
        ("hit", "mirrors-0", one(hit)),
        ("miss", "mirrors-0", one(miss)),
        ("none_of_5", PLAIN, several(hit)),
        ("hit_of_5", "mirrors-0", several(hit)),
        ("miss_of_5", "mirrors-0", several(miss)),
    ];
    let mut times: [Vec<f64>; 6] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, namespace, images), times) in cases.iter().zip(&mut times) {
            let started = Instant::now();
            create(client, namespace, images).await.unwrap();
            times.push(started.elapsed().as_secs_f64() * 1000.0);
        }
    }
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    let at = |case: usize, part: f64| times[case][((ROUNDS - 1) as f64 * part) as usize];
    let round = |ms: f64| (ms * 100.0).round() / 100.0;
    let mut measured = json!({"bindings": shards.len(), "largest_binding_kib": largest / 1024});
    for (case, (name, ..)) in cases.iter().enumerate() {
        let plain = case / 3 * 3;
        measured[format!("ms_{name}")] = round(at(case, 0.5)).into();
        measured[format!("ms_{name}_p99")] = round(at(case, 0.99)).into();
        if case > plain {
            measured[format!("added_ms_{name}")] = round(at(case, 0.5) - at(plain, 0.5)).into();
            measured[format!("added_ms_{name}_p99")] = round(at(case, 0.99) - at(plain, 0.99)).into();
        }
    }
    measured
}

/// What so many mirrors have for pods, of the namespaces that are given for each.
fn entries(whose: impl Fn(usize) -> String) -> Vec<Whose> {
    let of = |mirror: usize| {
        let digest = |tag: usize| format!("sha256:{:064x}", mirror * TAGS + tag);
        let images = RewrittenImages {
            repository: format!("123456789012.dkr.ecr.eu-west-1.amazonaws.com/docker.io/library/repo{mirror}"),
            pin: true,
            tags: (0..TAGS).map(|tag| (format!("v{tag}"), digest(tag))).collect(),
            digests: Vec::new(),
        };
        entry::entries(&format!("docker.io/library/repo{mirror}"), &images)
    };
    (0..MIRRORS)
        .flat_map(|mirror| of(mirror).into_iter().map(move |entry| (mirror, entry)))
        .map(|(mirror, entry)| (whose(mirror), entry))
        .collect()
}

/// Writes the bindings that the operator would, and returns the size of the largest.
async fn write_bindings(client: &Client, shards: &Shards, listed: bool) -> usize {
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "mirrors-0"}});
    let selector = serde_json::from_value(selector).unwrap();
    let bindings: Api<DynamicObject> = Api::all_with(client.clone(), &resource(BINDING));
    bindings.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let mut largest = 0;
    for (number, shard) in shards {
        let name = binding::name(OWN, *number);
        let binding = binding::binding(&name, OWN, Some(&selector).filter(|_| listed), shard);
        largest = largest.max(write(client, BINDING, &name, binding).await);
    }
    largest
}

/// Writes an object as the operator does, and returns its size.
async fn write(client: &Client, kind: &str, name: &str, mut object: Value) -> usize {
    let resource = resource(kind);
    object["apiVersion"] = resource.api_version.as_str().into();
    object["kind"] = kind.into();
    object["metadata"]["name"] = name.into();
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let written = api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(object)).await.unwrap();
    serde_json::to_string(&written).unwrap().len()
}

fn resource(kind: &str) -> ApiResource {
    let plural = if kind == BINDING { "mutatingadmissionpolicybindings" } else { "mutatingadmissionpolicies" };
    ApiResource {
        group: "admissionregistration.k8s.io".into(),
        version: "v1".into(),
        api_version: "admissionregistration.k8s.io/v1".into(),
        kind: kind.into(),
        plural: plural.into(),
    }
}

async fn namespace(client: &Client, name: &str, labels: Value) {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
}

async fn create(client: &Client, namespace: &str, images: &[String]) -> Result<Pod, kube::Error> {
    let container = |(number, image): (usize, &String)| json!({"name": format!("c{number}"), "image": image});
    let containers: Vec<Value> = images.iter().enumerate().map(container).collect();
    let pod = json!({"metadata": {"name": "it"}, "spec": {"containers": containers}});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    Api::namespaced(client.clone(), namespace).create(&params, &pod).await
}

/// Waits for the namespace's service account, and until the API server has taken up the policy.
async fn until_ready(client: &Client, namespace: &str, image: &str, changes: bool) {
    for _ in 0..300 {
        if let Ok(pod) = create(client, namespace, &[image.to_owned()]).await {
            let got = pod.spec.unwrap().containers.remove(0).image.unwrap();
            if (got != image) == changes {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("pods in {namespace} are not as they should be");
}
