//! One ClusterEcrPullSecret with ten registries in a thousand namespaces on the local stack: what it takes until all have
//! the Secret, what a refresh of all of them costs, and what rest costs.
//!
//! `make bench-pull-secrets` runs it. The first tokens live for minutes instead of twelve hours, so that the refresh comes
//! while the benchmark watches; everything that follows from a token's life is a part of it, and so is the same. What a
//! week brings is simulated by a unit test of the decisions with a clock of its own, and taken from there.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ecr_operator::api::conditions::READY;
use ecr_operator::api::{ClusterEcrPullSecret, EcrRegistry};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, ListParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use support::{LocalStack, difference, in_words, table, total};

/// Where the registries are.
const REGIONS: [&str; 10] = [
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-central-1",
    "eu-north-1",
    "us-east-1",
    "us-east-2",
    "us-west-2",
    "ap-southeast-1",
    "ap-northeast-1",
];
/// How long the first tokens live. Secrets are renewed from half of it on, over a twelfth, in sixty turns.
const LIFE: Duration = Duration::from_secs(12 * 60);
/// How long it is watched at rest.
const REST: Duration = Duration::from_secs(60);
/// Characters of a password, as many as ECR's have: https://github.com/aws/containers-roadmap/issues/1589
const PASSWORD: usize = 2714;
/// How many objects are created at once.
const CREATORS: usize = 16;
/// The name of the ClusterEcrPullSecret, of its Secrets, and of the label that selects the namespaces.
const NAME: &str = "bench";
const LABEL: (&str, &str) = ("pull", NAME);
/// Who writes these beside the operator is told apart by what happens at that time.
const WRITTEN: [&str; 2] = ["secrets", "serviceaccounts"];

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let count: usize = match std::env::var("NAMESPACES") {
        Ok(count) => count.parse().expect("NAMESPACES is a number"),
        Err(_) => 1000,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = root.join("target/bench");
    let week = std::env::var("SIMULATED_WEEK").map_or_else(|_| out.join("simulated-week.json"), PathBuf::from);
    let week = std::fs::read(&week).unwrap_or_else(|error| panic!("{}: {error}; make writes it", week.display()));
    let week: Value = serde_json::from_slice(&week).unwrap();

    let stack = LocalStack::up(root, &[]);
    let measured = runtime.block_on(measure(&stack, count));
    drop(stack);
    let table = table(&[measured.row(count, &week)]);
    println!("\n{table}");
    std::fs::create_dir_all(&out).unwrap();
    let flat = serde_json::to_string_pretty(&measured.flat(count, &week)).unwrap();
    std::fs::write(out.join("bench-pull-secrets.json"), flat).unwrap();
    std::fs::write(out.join("bench-pull-secrets.md"), table).unwrap();
}

struct Measured {
    seconds: f64,
    calls: BTreeMap<String, u64>,
    writes: BTreeMap<String, u64>,
    secret_kib: f64,
    idle_calls: BTreeMap<String, u64>,
    idle_writes: u64,
    idle_cpu_seconds: f64,
    refresh_seconds: f64,
    refresh_calls: BTreeMap<String, u64>,
    refresh_writes: BTreeMap<String, u64>,
    refresh_cpu_seconds: f64,
    rss_mib: f64,
    peak_mib: f64,
    newcomer_seconds: f64,
    restart_calls: BTreeMap<String, u64>,
    restart_writes: u64,
}

async fn measure(stack: &LocalStack, count: usize) -> Measured {
    let client = stack.client().await;
    eprintln!("{} registries and {count} namespaces: creating them", REGIONS.len());
    let hosts = create_registries(stack, &client).await;
    create_namespaces(&client, count).await;
    // The namespaces' own service accounts and what else comes with them.
    tokio::time::sleep(Duration::from_secs(10)).await;

    let first_expire = Timestamp::now() + SignedDuration::try_from(LIFE).unwrap();
    hand_out(stack, &hosts, first_expire).await;
    stack.forget_calls().await;
    let writes_before = stack.api_writes(&client, &WRITTEN).await;
    let started = Instant::now();
    create_pull_secret(&client).await;
    wait_until_served(&client, count).await;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("  served after {seconds:.1} s");
    // Events are published after the status.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let calls = stack.calls().await;
    let mut writes = difference(&stack.api_writes(&client, &WRITTEN).await, &writes_before);
    // That created the object, and was the benchmark's.
    writes.remove("clusterecrpullsecrets POST");
    let secret_kib = secret_kib(&client).await;

    eprintln!("  at rest");
    let (idle_calls, idle_writes, idle_cpu_seconds) = rest(stack, &client).await;

    let secrets = secrets(&client).await;
    assert_eq!(secrets.len(), count);
    let first_due = secrets.iter().map(|secret| annotated(secret, "renew-at")).min().unwrap();
    let until = Duration::try_from(Timestamp::now().duration_until(first_due)).unwrap_or_default();
    assert!(until > Duration::from_secs(5), "the Secrets were due before the benchmark was there: {first_due}");
    eprintln!("  due in {} s", until.as_secs());
    tokio::time::sleep(until - Duration::from_secs(5)).await;
    // From now on AWS gives tokens for twelve hours.
    hand_out(stack, &hosts, Timestamp::now() + SignedDuration::from_hours(12)).await;
    stack.forget_calls().await;
    let writes_before = stack.api_writes(&client, &WRITTEN).await;
    let cpu_before = stack.operator().cpu_seconds();
    let refresh_seconds = wait_until_renewed(&client, first_due, first_expire).await;
    eprintln!("  renewed within {refresh_seconds:.1} s");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let refresh_calls = stack.calls().await;
    let refresh_writes = difference(&stack.api_writes(&client, &WRITTEN).await, &writes_before);
    let refresh_cpu_seconds = stack.operator().cpu_seconds() - cpu_before;
    let (rss_mib, peak_mib) = stack.operator().memory_mib();

    eprintln!("  a namespace comes later");
    let newcomer_seconds = newcomer(&client, count).await;
    tokio::time::sleep(Duration::from_secs(5)).await;

    eprintln!("  the operator is restarted");
    stack.forget_calls().await;
    let writes_before = stack.api_writes(&client, &WRITTEN).await;
    stack.restart_operator().await;
    let restart_calls = stack.calls().await;
    let restart_writes = total(&difference(&stack.api_writes(&client, &WRITTEN).await, &writes_before));
    Measured {
        seconds,
        calls,
        writes,
        secret_kib,
        idle_calls,
        idle_writes,
        idle_cpu_seconds,
        refresh_seconds,
        refresh_calls,
        refresh_writes,
        refresh_cpu_seconds,
        rss_mib,
        peak_mib,
        newcomer_seconds,
        restart_calls,
        restart_writes,
    }
}

/// An EcrRegistry for each region, with a pull role. Gives the hosts, by region.
async fn create_registries(stack: &LocalStack, client: &Client) -> BTreeMap<&'static str, String> {
    let api: Api<EcrRegistry> = Api::all(client.clone());
    let default = api.get("default").await.unwrap();
    let policy =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}]});
    let role = stack.control("/roles", &json!({"name": "bench-pull", "policies": [policy]})).await;
    let mut hosts = BTreeMap::new();
    for region in REGIONS {
        let answer = stack.ecr(region).await.get_authorization_token().send().await.unwrap();
        let host = answer.authorization_data()[0].proxy_endpoint().unwrap().to_owned();
        let mut endpoints = serde_json::to_value(&default.spec.endpoints).unwrap();
        endpoints["registry"] = host.clone().into();
        let registry = serde_json::from_value(json!({
            "apiVersion": "ecr-operator.io/v1alpha1",
            "kind": "EcrRegistry",
            "metadata": {"name": region},
            "spec": {
                "region": region,
                "endpoints": endpoints,
                "pullRole": {"roleArn": role["arn"]},
                "access": [{"namespaceSelector": {}, "repositories": ["base/*", "shared/*"]}],
            },
        }))
        .unwrap();
        api.create(&PostParams::default(), &registry).await.unwrap();
        hosts.insert(region, host);
    }
    hosts
}

async fn create_namespaces(client: &Client, count: usize) {
    stream::iter(0..count).for_each_concurrent(CREATORS, |n| create_namespace(client, n)).await;
}

async fn create_namespace(client: &Client, n: usize) {
    let api: Api<Namespace> = Api::all(client.clone());
    let metadata = json!({"name": format!("{NAME}-{n}"), "labels": {LABEL.0: LABEL.1}});
    let namespace = serde_json::from_value(json!({"metadata": metadata})).unwrap();
    api.create(&PostParams::default(), &namespace).await.unwrap();
}

async fn create_pull_secret(client: &Client) {
    let object: ClusterEcrPullSecret = serde_json::from_value(json!({
        "apiVersion": "ecr-operator.io/v1alpha1",
        "kind": "ClusterEcrPullSecret",
        "metadata": {"name": NAME},
        "spec": {
            "registries": REGIONS.map(|region| json!({"name": region})),
            "namespaceSelector": {"matchLabels": {LABEL.0: LABEL.1}},
            "serviceAccounts": {"names": ["default"]},
        },
    }))
    .unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
}

/// Lets AWS answer with tokens of the size that ECR's have, which expire then.
async fn hand_out(stack: &LocalStack, hosts: &BTreeMap<&'static str, String>, expires_at: Timestamp) {
    stack.forget_faults().await;
    for (region, host) in hosts {
        let mut password = format!("{region} {}", expires_at.as_second());
        password.push_str(&"x".repeat(PASSWORD - password.len()));
        let answer = json!({"authorizationData": [{
            "authorizationToken": BASE64.encode(format!("AWS:{password}")),
            "expiresAt": expires_at.as_second(),
            "proxyEndpoint": host,
        }]});
        let fault = json!({
            "target": "api",
            "action": "GetAuthorizationToken",
            "region": region,
            "times": 0,
            "status": 200,
            "body": answer.to_string(),
            "headers": {"content-type": "application/x-amz-json-1.1"},
        });
        stack.control("/faults", &fault).await;
    }
}

async fn wait_until_served(client: &Client, count: usize) {
    let api: Api<ClusterEcrPullSecret> = Api::all(client.clone());
    let started = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = api.get(NAME).await.unwrap().status;
        let served = status.as_ref().and_then(|status| status.namespaces) == Some(count as i32);
        let ready = status.as_ref().and_then(|status| status.common.condition(READY));
        if served && ready.is_some_and(|ready| ready.status == "True") {
            return;
        }
        assert!(started.elapsed() < LIFE / 3, "not served: {ready:?}");
    }
}

/// Requests, writes and CPU time at rest.
async fn rest(stack: &LocalStack, client: &Client) -> (BTreeMap<String, u64>, u64, f64) {
    let writes_before = stack.api_writes(client, &WRITTEN).await;
    let cpu_before = stack.operator().cpu_seconds();
    stack.forget_calls().await;
    tokio::time::sleep(REST).await;
    let calls = stack.calls().await;
    let writes = total(&difference(&stack.api_writes(client, &WRITTEN).await, &writes_before));
    (calls, writes, stack.operator().cpu_seconds() - cpu_before)
}

/// Metadata of the operator's Secrets.
async fn secrets(client: &Client) -> Vec<PartialObjectMeta<Secret>> {
    let api: Api<Secret> = Api::all(client.clone());
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=ecr-operator");
    api.list_metadata(&ours).await.unwrap().items
}

fn annotated(secret: &PartialObjectMeta<Secret>, key: &str) -> Timestamp {
    secret.annotations()[&format!("ecr-operator.io/{key}")].parse().unwrap()
}

/// How large the docker config in a Secret is.
async fn secret_kib(client: &Client) -> f64 {
    let secret = Api::<Secret>::namespaced(client.clone(), &format!("{NAME}-0")).get(NAME).await.unwrap();
    secret.data.unwrap()[".dockerconfigjson"].0.len() as f64 / 1024.0
}

/// Waits until no Secret has a token that expires then, and gives the seconds since the first was due.
async fn wait_until_renewed(client: &Client, first_due: Timestamp, expire: Timestamp) -> f64 {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let secrets = secrets(client).await;
        if secrets.iter().all(|secret| annotated(secret, "expires-at") > expire) {
            return first_due.duration_until(Timestamp::now()).as_secs_f64();
        }
        assert!(Timestamp::now() < expire, "Secrets have expired");
    }
}

/// How many seconds after it is created a namespace has its Secret.
async fn newcomer(client: &Client, n: usize) -> f64 {
    create_namespace(client, n).await;
    let started = Instant::now();
    let api: Api<Secret> = Api::namespaced(client.clone(), &format!("{NAME}-{n}"));
    while api.get_opt(NAME).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(started.elapsed() < Duration::from_secs(60), "it has none");
    }
    started.elapsed().as_secs_f64()
}

impl Measured {
    /// Calls for tokens in half of a token's life, which is six hours of AWS's twelve: measured in the one refresh, and as
    /// the simulated week has them where it has more.
    fn token_calls_6h(&self, week: &Value) -> u64 {
        let measured = self.refresh_calls.get("GetAuthorizationToken").copied().unwrap_or_default();
        measured.max(week["tokens_6h"].as_u64().expect("a number"))
    }

    fn row(&self, count: usize, week: &Value) -> Vec<(&'static str, String)> {
        vec![
            ("namespaces", count.to_string()),
            ("registries", format!("{}, each in a region of its own", REGIONS.len())),
            ("size of a Secret", format!("{:.0} KiB", self.secret_kib)),
            ("seconds until all have it", format!("{:.1}", self.seconds)),
            ("AWS calls for that", in_words(&self.calls)),
            ("API server writes for that", in_words(&self.writes)),
            ("a refresh of all: seconds", format!("{:.0}, spread over {}", self.refresh_seconds, LIFE.as_secs() / 12)),
            ("a refresh of all: AWS calls", in_words(&self.refresh_calls)),
            ("a refresh of all: API server writes", in_words(&self.refresh_writes)),
            ("a refresh of all: CPU", format!("{:.1} s", self.refresh_cpu_seconds)),
            ("calls for tokens in 6 h", self.token_calls_6h(week).to_string()),
            ("operator: resident memory", format!("{:.0} MiB", self.rss_mib)),
            ("operator: peak memory", format!("{:.0} MiB", self.peak_mib)),
            ("at rest, AWS calls in a minute", total(&self.idle_calls).to_string()),
            ("at rest, API server writes in a minute", self.idle_writes.to_string()),
            ("at rest, CPU", format!("{:.1} ms/s", self.idle_cpu_seconds * 1000.0 / REST.as_secs_f64())),
            ("a namespace that comes later has its Secret after", format!("{:.2} s", self.newcomer_seconds)),
            ("restart: AWS calls, of each EcrRegistry's own check", in_words(&self.restart_calls)),
            ("restart: API server writes", self.restart_writes.to_string()),
            (
                "simulated",
                format!(
                    "{} weeks with two outages of AWS of two hours each, {} namespaces, {} different rights",
                    week["weeks"], week["namespaces"], week["keys"]
                ),
            ),
            ("simulated: seconds with an expired Secret", week["expired_secret_seconds"].to_string()),
            ("simulated: tokens with the same rights in 6 h, at most", week["tokens_6h_per_key"].to_string()),
        ]
    }

    fn flat(&self, count: usize, week: &Value) -> Value {
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        json!({
            "namespaces": count,
            "registries": REGIONS.len(),
            "rss_mib": rounded(self.peak_mib),
            "api_writes_per_refresh": total(&self.refresh_writes),
            "token_calls_6h": self.token_calls_6h(week),
            "simulated_days": week["simulated_days"],
            "expired_secret_seconds": week["expired_secret_seconds"],
            "seconds": rounded(self.seconds),
            "idle_aws_calls": total(&self.idle_calls),
            "idle_api_writes": self.idle_writes,
            "new_namespace_seconds": rounded(self.newcomer_seconds),
            // Only pull secrets' tokens come from a role here.
            "restart_pull_token_calls": self.restart_calls.get("AssumeRole").copied().unwrap_or_default(),
        })
    }
}
