//! Many EcrRepository objects on the local stack: how long until all are ready, what it costs, and what rest costs.
//!
//! `make bench-repositories` runs it. It starts a stack of its own for each size, applies the objects while the operator
//! runs, and counts at the other ends: requests at the AWS stand-in, writes at the API server, memory and CPU of the
//! operator's process as the kernel has them.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ecr_operator::api::EcrRepository;
use ecr_operator::api::conditions::READY;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Config, ResourceExt as _};
use serde_json::{Value, json};

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
        let stack = LocalStack::up(root);
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
    let writes_before = stack.api_writes(&client).await;
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
    let mut writes = difference(&stack.api_writes(&client).await, &writes_before);
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
    let repaired_after = drift_and_repair(&stack.ecr().await).await;
    let repair_calls = stack.calls().await;

    eprintln!("  the operator is restarted");
    stack.forget_calls().await;
    let writes_before = stack.api_writes(&client).await;
    let restart_seconds = stack.restart_operator().await;
    let restart_calls = stack.calls().await;
    let restart_writes = ours(&difference(&stack.api_writes(&client).await, &writes_before));
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
    let writes_before = stack.api_writes(client).await;
    let cpu_before = stack.operator().cpu_seconds();
    stack.forget_calls().await;
    tokio::time::sleep(RESYNC).await;
    let calls = stack.calls().await;
    let writes = ours(&difference(&stack.api_writes(client).await, &writes_before));
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

fn difference(after: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let more = after.iter().map(|(key, count)| (key.clone(), count - before.get(key).copied().unwrap_or_default()));
    more.filter(|(_, count)| *count > 0).collect()
}

fn ours(writes: &BTreeMap<String, u64>) -> u64 {
    writes.values().sum()
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

fn in_words(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(key, count)| format!("{key} {count}")).collect::<Vec<_>>().join(", ")
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

/// A Markdown table with a column for each size.
fn table(rows: &[Vec<(&'static str, String)>]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let mut lines = Vec::new();
    for (index, (name, _)) in first.iter().enumerate() {
        let cells: Vec<_> = rows.iter().map(|row| row[index].1.clone()).collect();
        lines.push(format!("| {name} | {} |", cells.join(" | ")));
        if index == 0 {
            lines.push(format!("|---{}|", "|---".repeat(cells.len())));
        }
    }
    lines.join("\n") + "\n"
}

/// A local stack of the benchmark's own; it goes when this is dropped.
struct LocalStack {
    program: PathBuf,
    run_dir: PathBuf,
    variables: BTreeMap<String, String>,
    http: reqwest::Client,
}

impl LocalStack {
    fn up(root: &Path) -> Self {
        let program = root.join("testbed/bin/stack");
        let run_dir = root.join("testbed/run-bench");
        let operator =
            std::env::var("OPERATOR").map_or_else(|_| root.join("target/release/ecr-operator"), PathBuf::from);
        let mut up = Command::new(&program);
        up.args(["up", "--node", "off", "--run-dir"]).arg(&run_dir).arg("--operator").arg(operator);
        up.arg(format!("--operator-arg=--resync-interval={}s", RESYNC.as_secs()));
        let up = up.status().expect("testbed/scripts/build core was run");
        assert!(up.success(), "the stack starts");
        let text = std::fs::read_to_string(run_dir.join("env")).unwrap();
        let variables = text
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.trim_matches(['\'', '"']).to_owned()))
            .collect();
        Self { program, run_dir, variables, http: reqwest::Client::new() }
    }

    fn variable(&self, name: &str) -> &str {
        &self.variables[name]
    }

    async fn client(&self) -> Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.variable("KUBECONFIG")).unwrap();
        Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap()).unwrap()
    }

    async fn ecr(&self) -> aws_sdk_ecr::Client {
        use aws_smithy_http_client::tls;
        let pem = std::fs::read(self.variable("SSL_CERT_FILE")).unwrap();
        let trust = tls::TrustStore::empty().with_pem_certificate(pem);
        let context = tls::TlsContext::builder().with_trust_store(trust).build().unwrap();
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .tls_context(context)
            .build_https();
        let key = aws_sdk_ecr::config::Credentials::new(
            self.variable("AWS_ACCESS_KEY_ID"),
            self.variable("AWS_SECRET_ACCESS_KEY"),
            None,
            None,
            "benchmark",
        );
        let config = aws_sdk_ecr::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_ecr::config::Region::new(self.variable("AWS_REGION").to_owned()))
            .endpoint_url(self.variable("AWS_ENDPOINT_URL"))
            .credentials_provider(key)
            .http_client(http)
            .build();
        aws_sdk_ecr::Client::from_conf(config)
    }

    async fn forget_calls(&self) {
        let url = format!("{}/calls", self.variable("AWS_CONTROL_URL"));
        self.http.delete(url).send().await.unwrap().error_for_status().unwrap();
    }

    async fn calls(&self) -> BTreeMap<String, u64> {
        let url = format!("{}/calls", self.variable("AWS_CONTROL_URL"));
        let counts: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        serde_json::from_value(counts["api"].clone()).unwrap()
    }

    /// Writes of our kinds and of events that the API server has answered, by resource and verb.
    async fn api_writes(&self, client: &Client) -> BTreeMap<String, u64> {
        let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let text = client.request_text(request).await.unwrap();
        let mut writes = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let label = |name: &str| line.split_once(&format!("{name}=\""))?.1.split_once('"').map(|(value, _)| value);
            let (Some(resource), Some(verb)) = (label("resource"), label("verb")) else { continue };
            let counts = resource.starts_with("ecr") || resource == "imagemirrors" || resource == "events";
            if counts && ["POST", "PUT", "PATCH", "APPLY", "DELETE"].contains(&verb) {
                let count: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
                *writes.entry(format!("{resource} {verb}")).or_default() += count as u64;
            }
        }
        writes
    }

    /// The processes of the stack that run, by name.
    fn processes(&self) -> BTreeMap<String, Process> {
        let state: Value = serde_json::from_slice(&std::fs::read(self.run_dir.join("stack.json")).unwrap()).unwrap();
        let children = state["children"].as_array().unwrap().iter();
        let running = children.filter(|child| child["ended"].as_str().unwrap_or_default().is_empty());
        running
            .map(|child| {
                (child["name"].as_str().unwrap().to_owned(), Process(child["process"]["pid"].as_u64().unwrap()))
            })
            .collect()
    }

    fn operator(&self) -> Process {
        self.processes().remove("operator").expect("the operator runs")
    }

    fn cpu_seconds(&self) -> BTreeMap<String, f64> {
        self.processes().into_iter().map(|(name, process)| (name, process.cpu_seconds())).collect()
    }

    /// Kills the operator, and returns how long it takes until the one that the stack starts is ready.
    async fn restart_operator(&self) -> f64 {
        let before = self.operator().0;
        assert!(Command::new("kill").args(["-TERM", &before.to_string()]).status().unwrap().success());
        let started = Instant::now();
        let url = self.variable("OPERATOR_METRICS_URL").replace("/metrics", "/readyz");
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let answer = self.http.get(&url).send().await;
            let anew = self.processes().get("operator").is_some_and(|operator| operator.0 != before);
            if anew && answer.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "the operator is started again");
        }
        let ready = started.elapsed().as_secs_f64();
        // What it does at its start is done by then.
        tokio::time::sleep(Duration::from_secs(10)).await;
        ready
    }
}

impl Drop for LocalStack {
    fn drop(&mut self) {
        let _ = Command::new(&self.program).args(["down", "--run-dir"]).arg(&self.run_dir).status();
    }
}

/// A process, as the kernel knows it.
struct Process(u64);

impl Process {
    /// Resident memory now, and at its highest.
    fn memory_mib(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    fn cpu_seconds(&self) -> f64 {
        const TICKS_A_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS_A_SECOND
    }
}
