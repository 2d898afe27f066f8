//! What the benchmarks on the local stack share: the stack, what its other ends count, and how results are written.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kube::{Client, Config};
use serde_json::Value;

/// What was counted since, without what stayed the same.
pub fn difference(after: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let more = after.iter().map(|(key, count)| (key.clone(), count - before.get(key).copied().unwrap_or_default()));
    more.filter(|(_, count)| *count > 0).collect()
}

pub fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

pub fn in_words(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(key, count)| format!("{key} {count}")).collect::<Vec<_>>().join(", ")
}

/// Our kinds, as the API server names their resources, and events.
const OURS: [&str; 6] =
    ["ecrregistries", "ecrrepositories", "imagemirrors", "ecrpullsecrets", "clusterecrpullsecrets", "events"];

/// A Markdown table with a column for each size.
pub fn table(rows: &[Vec<(&'static str, String)>]) -> String {
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

/// The operator's program: `OPERATOR`, or what `cargo build --release` made.
pub fn operator_program(root: &Path) -> PathBuf {
    std::env::var("OPERATOR").map_or_else(|_| root.join("target/release/ecr-operator"), PathBuf::from)
}

/// A local stack of the benchmark's own; it goes when this is dropped.
pub struct LocalStack {
    program: PathBuf,
    run_dir: PathBuf,
    variables: BTreeMap<String, String>,
    http: reqwest::Client,
}

impl LocalStack {
    /// Starts a stack without a node, with more arguments for the operator.
    pub fn up(root: &Path, operator_arguments: &[String]) -> Self {
        Self::start(root, &operator_program(root), operator_arguments)
    }

    /// The same without an operator.
    pub fn without_operator(root: &Path) -> Self {
        Self::start(root, Path::new("off"), &[])
    }

    fn start(root: &Path, operator: &Path, operator_arguments: &[String]) -> Self {
        let program = root.join("testbed/bin/stack");
        let run_dir = root.join("testbed/run-bench");
        let mut up = Command::new(&program);
        up.args(["up", "--node", "off", "--run-dir"]).arg(&run_dir).arg("--operator").arg(operator);
        up.args(operator_arguments.iter().map(|argument| format!("--operator-arg={argument}")));
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

    pub fn variable(&self, name: &str) -> &str {
        &self.variables[name]
    }

    pub async fn client(&self) -> Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.variable("KUBECONFIG")).unwrap();
        Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap()).unwrap()
    }

    /// ECR in a region, with the rights of the administrator.
    pub async fn ecr(&self, region: &str) -> aws_sdk_ecr::Client {
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
            .region(aws_sdk_ecr::config::Region::new(region.to_owned()))
            .endpoint_url(self.variable("AWS_ENDPOINT_URL"))
            .credentials_provider(key)
            .http_client(http)
            .build();
        aws_sdk_ecr::Client::from_conf(config)
    }

    pub async fn forget_calls(&self) {
        let url = format!("{}/calls", self.variable("AWS_CONTROL_URL"));
        self.http.delete(url).send().await.unwrap().error_for_status().unwrap();
    }

    pub async fn calls(&self) -> BTreeMap<String, u64> {
        let url = format!("{}/calls", self.variable("AWS_CONTROL_URL"));
        let counts: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        serde_json::from_value(counts["api"].clone()).unwrap()
    }

    /// Tells the AWS stand-in something, and returns what it answers.
    pub async fn control(&self, path: &str, what: &Value) -> Value {
        let url = format!("{}{path}", self.variable("AWS_CONTROL_URL"));
        let answer = self.http.post(url).json(what).send().await.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap_or_default()
    }

    /// Lets the Docker Hub stand-in serve as many pulls as it is asked for.
    pub async fn lift_pull_limit(&self) {
        let url = format!("{}/rate-limit", self.variable("HUB_CONTROL_URL"));
        self.http.post(url).json(&serde_json::json!({"limit": 0})).send().await.unwrap().error_for_status().unwrap();
    }

    pub async fn forget_faults(&self) {
        let url = format!("{}/faults", self.variable("AWS_CONTROL_URL"));
        self.http.delete(url).send().await.unwrap().error_for_status().unwrap();
    }

    /// Writes of our kinds, of events and of these other resources that the API server has answered, by resource and verb.
    pub async fn api_writes(&self, client: &Client, others: &[&str]) -> BTreeMap<String, u64> {
        let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let text = client.request_text(request).await.unwrap();
        let mut writes = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let label = |name: &str| line.split_once(&format!("{name}=\""))?.1.split_once('"').map(|(value, _)| value);
            let (Some(resource), Some(verb)) = (label("resource"), label("verb")) else { continue };
            let counts = OURS.contains(&resource) || others.contains(&resource);
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

    pub fn operator(&self) -> Process {
        self.processes().remove("operator").expect("the operator runs")
    }

    pub fn cpu_seconds(&self) -> BTreeMap<String, f64> {
        self.processes().into_iter().map(|(name, process)| (name, process.cpu_seconds())).collect()
    }

    /// Kills the operator, and returns how long it takes until the one that the stack starts is ready.
    pub async fn restart_operator(&self) -> f64 {
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
pub struct Process(u64);

impl Process {
    pub fn of(pid: u64) -> Self {
        Self(pid)
    }

    /// Resident memory now, and at its highest.
    pub fn memory_mib(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    pub fn cpu_seconds(&self) -> f64 {
        const TICKS_A_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS_A_SECOND
    }
}
