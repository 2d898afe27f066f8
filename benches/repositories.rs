//! Many EcrRepository objects on the local stack: how long until all are ready, what it costs, and what rest costs.
//!
//! `make bench-repositories` runs it. It starts a stack of its own for each size, applies the objects while the operator
//! runs, and counts at the other ends: requests at the AWS stand-in, writes at the API server, memory and CPU of the
//! operator's process as the kernel has them.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use ecr_operator::api::EcrRepository;
use ecr_operator::api::conditions::READY;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use support::{LocalStack, difference, in_words, table, total};

/// How often the operator lists the repositories in the benchmark; ten minutes by default.
const RESYNC: Duration = Duration::from_secs(30);
/// How many objects are created at once.
const CREATORS: usize = 16;
const NAMESPACE: &str = "bench";

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sizes = std::env::var("SIZES").unwrap_or_else(|_| "500 10000".to_owned());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut flat = serde_json::Map::new();
    let mut rows = Vec::new();
    for size in sizes.split_whitespace() {
        let count: usize = size.parse().expect("SIZES is a list of numbers");
        let stack = LocalStack::up(root, &[format!("--resync-interval={}s", RESYNC.as_secs())]);
        let measured = runtime.block_on(measure(&stack, count));
        drop(stack);
        rows.push(measured.row(count));
        measured.flatten(count, &mut flat);
    }
    let table = table(&rows);
    println!("\n{table}");
    let out = root.join("target/bench");
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("bench-repositories.json"), serde_json::to_string_pretty(&flat).unwrap()).unwrap();
    std::fs::write(out.join("bench-repositories.md"), table).unwrap();
}

struct Measured {
    seconds: f64,
    calls: BTreeMap<String, u64>,
    writes: BTreeMap<String, u64>,
    rss_mib: f64,
    peak_mib: f64,
    /// Of every process of the stack, by name.
    cpu_seconds: BTreeMap<String, f64>,
    idle_calls: BTreeMap<String, u64>,
    idle_writes: u64,
    idle_cpu_seconds: f64,
    repaired_after: f64,
    repair_calls: BTreeMap<String, u64>,
    restart_seconds: f64,
    restart_calls: BTreeMap<String, u64>,
    restart_writes: u64,
}

async fn measure(stack: &LocalStack, count: usize) -> Measured {
    let client = stack.client().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    stack.forget_calls().await;
    let writes_before = stack.api_writes(&client, &[]).await;
    let cpu_before = stack.cpu_seconds();

    eprintln!("{count} repositories: creating them");
    let started = Instant::now();
    let all_ready = tokio::spawn(wait_until_ready(client.clone(), count));
    create_all(&client, count).await;
    eprintln!("  created after {:.1} s", started.elapsed().as_secs_f64());
    all_ready.await.unwrap();
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("  ready after {seconds:.1} s");
    // Events are published after the status.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let calls = stack.calls().await;
    let mut writes = difference(&stack.api_writes(&client, &[]).await, &writes_before);
    // Those that created the objects were the benchmark's.
    writes.remove("ecrrepositories POST");
    let cpu_seconds = stack.cpu_seconds().into_iter();
    let cpu_seconds = cpu_seconds.map(|(name, seconds)| (name.clone(), seconds - cpu_before[&name])).collect();
    let (rss_mib, peak_mib) = stack.operator().memory_mib();

    eprintln!("  at rest");
    tokio::time::sleep(RESYNC + Duration::from_secs(5)).await;
    let (idle_calls, idle_writes, idle_cpu_seconds) = rest(stack, &client).await;

    eprintln!("  one is changed by hand");
    stack.forget_calls().await;
    let repaired_after = drift_and_repair(&stack.ecr(stack.variable("AWS_REGION")).await).await;
    let repair_calls = stack.calls().await;

    eprintln!("  the operator is restarted");
    stack.forget_calls().await;
    let writes_before = stack.api_writes(&client, &[]).await;
    let restart_seconds = stack.restart_operator().await;
    let restart_calls = stack.calls().await;
    let restart_writes = total(&difference(&stack.api_writes(&client, &[]).await, &writes_before));
    Measured {
        seconds,
        calls,
        writes,
        rss_mib,
        peak_mib,
        cpu_seconds,
        idle_calls,
        idle_writes,
        idle_cpu_seconds,
        repaired_after,
        repair_calls,
        restart_seconds,
        restart_calls,
        restart_writes,
    }
}

/// Requests, writes and CPU time in one resync interval at rest.
async fn rest(stack: &LocalStack, client: &Client) -> (BTreeMap<String, u64>, u64, f64) {
    let writes_before = stack.api_writes(client, &[]).await;
    let cpu_before = stack.operator().cpu_seconds();
    stack.forget_calls().await;
    tokio::time::sleep(RESYNC).await;
    let calls = stack.calls().await;
    let writes = total(&difference(&stack.api_writes(client, &[]).await, &writes_before));
    (calls, writes, stack.operator().cpu_seconds() - cpu_before)
}

async fn create_all(client: &Client, count: usize) {
    let api: Api<EcrRepository> = Api::namespaced(client.clone(), NAMESPACE);
    stream::iter(0..count)
        .for_each_concurrent(CREATORS, |n| {
            let api = api.clone();
            async move {
                let object: EcrRepository = serde_json::from_value(json!({
                    "apiVersion": "ecr-operator.io/v1alpha1",
                    "kind": "EcrRepository",
                    "metadata": {"name": format!("repository-{n}"), "namespace": NAMESPACE},
                    "spec": {
                        "lifecycle": {"rules": [
                            {"description": "drop untagged", "untagged": {}, "expireAfterDays": 7},
                            {"description": "ten releases", "tagged": {"patterns": ["v*"]}, "keepLast": 10},
                        ]},
                        "access": [{"principals": ["222222222222"], "permissions": "Pull"}],
                        "tags": {"cost-center": "platform"},
                    },
                }))
                .unwrap();
                api.create(&PostParams::default(), &object).await.unwrap();
            }
        })
        .await;
}

async fn wait_until_ready(client: Client, count: usize) {
    let api: Api<EcrRepository> = Api::namespaced(client, NAMESPACE);
    let mut stream = watcher(api, watcher::Config::default()).applied_objects().boxed();
    let mut ready = HashSet::new();
    while let Some(object) = stream.try_next().await.unwrap() {
        let is_ready = object
            .status
            .as_ref()
            .is_some_and(|status| status.common.condition(READY).is_some_and(|condition| condition.status == "True"));
        if is_ready && ready.insert(object.name_any()) && ready.len() == count {
            return;
        }
    }
}

/// Changes one repository and returns how many seconds later it is as it should be.
async fn drift_and_repair(ecr: &aws_sdk_ecr::Client) -> f64 {
    let name = format!("{NAMESPACE}/repository-1");
    let arn = ecr.describe_repositories().repository_names(&name).send().await.unwrap();
    let arn = arn.repositories.unwrap().remove(0).repository_arn.unwrap();
    // Deleted by hand, and so with all that was set up.
    ecr.delete_repository().repository_name(&name).send().await.unwrap();
    let started = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let policy = ecr.get_lifecycle_policy().repository_name(&name).send().await;
        let tags = ecr.list_tags_for_resource().resource_arn(&arn).send().await;
        if policy.is_ok() && tags.is_ok_and(|tags| tags.tags.unwrap_or_default().len() == 4) {
            return started.elapsed().as_secs_f64();
        }
    }
}

impl Measured {
    fn row(&self, count: usize) -> Vec<(&'static str, String)> {
        let calls_each = total(&self.calls) as f64 / count as f64;
        vec![
            ("repositories", count.to_string()),
            ("seconds until all are ready", format!("{:.1}", self.seconds)),
            ("AWS calls a repository", format!("{calls_each:.2}")),
            ("AWS calls", in_words(&self.calls)),
            ("API server writes", in_words(&self.writes)),
            ("operator: resident memory", format!("{:.0} MiB", self.rss_mib)),
            ("operator: peak memory", format!("{:.0} MiB", self.peak_mib)),
            ("operator: CPU", format!("{:.1} s", self.cpu_seconds["operator"])),
            ("other processes: CPU", self.others_cpu()),
            (
                "at rest, AWS calls in a resync interval",
                format!("{} ({})", total(&self.idle_calls), in_words(&self.idle_calls)),
            ),
            ("at rest, API server writes", self.idle_writes.to_string()),
            ("at rest, CPU", format!("{:.0} ms/s", self.idle_cpu_seconds * 1000.0 / RESYNC.as_secs_f64())),
            (
                "one deleted by hand is back after",
                format!("{:.0} s of a resync interval of {} s", self.repaired_after, RESYNC.as_secs()),
            ),
            ("AWS calls for that, the benchmark's own and a sweep included", in_words(&self.repair_calls)),
            ("restart until ready", format!("{:.1} s", self.restart_seconds)),
            ("restart: AWS calls", in_words(&self.restart_calls)),
            ("restart: API server writes", self.restart_writes.to_string()),
        ]
    }

    /// What the rest of the stack spent, the most first.
    fn others_cpu(&self) -> String {
        let others = self.cpu_seconds.iter().filter(|(name, seconds)| *name != "operator" && **seconds >= 0.1);
        let mut others: Vec<_> = others.collect();
        others.sort_by(|a, b| b.1.total_cmp(a.1));
        others.iter().map(|(name, seconds)| format!("{name} {seconds:.1} s")).collect::<Vec<_>>().join(", ")
    }

    fn flatten(&self, count: usize, flat: &mut serde_json::Map<String, Value>) {
        let mut put = |key: &str, value: f64| {
            flat.insert(format!("{key}_{count}"), json!((value * 100.0).round() / 100.0));
        };
        put("seconds", self.seconds);
        put("calls_per_repository", total(&self.calls) as f64 / count as f64);
        put("rss_mib", self.peak_mib);
        put("cpu_seconds", self.cpu_seconds["operator"]);
        put("api_writes_per_repository", total(&self.writes) as f64 / count as f64);
        put("idle_aws_calls", total(&self.idle_calls) as f64);
        put("idle_api_writes", self.idle_writes as f64);
        put("idle_cpu_millicores", self.idle_cpu_seconds * 1000.0 / RESYNC.as_secs_f64());
        put("repair_seconds", self.repaired_after);
        put("restart_aws_calls", total(&self.restart_calls) as f64);
    }
}
