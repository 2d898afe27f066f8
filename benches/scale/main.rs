//! Ten thousand EcrRepositories, a thousand ImageMirrors of twenty tags and pull secrets in a thousand namespaces, for one
//! leading replica: how long until all is ready, what it takes, how fast it reacts then, what an hour of rest costs, and
//! how long it takes until another replica has taken over.
//!
//! `make bench-scale` runs it. The hour is shrunk: every interval of the operator and of the mirrors is a twelfth of its
//! default, so that what is done in an hour is done in five minutes.
#![allow(clippy::unwrap_used, missing_docs)]

mod load;
mod replica;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kube::Client;
use load::{Load, change_repository, create_repository, delete_repository, reaction};
use replica::Replica;
use serde_json::{Value, json};
use support::{LocalStack, difference, in_words, table, total};

/// An hour takes a twelfth of it.
const SHRUNK: u32 = 12;
const HOUR: Duration = Duration::from_secs(3600);
/// How often a person or a pipeline changes something in the hour, as it is shrunk.
const CHANGE: Duration = Duration::from_secs(3);
/// How many repositories are created one after another to see how fast they are ready.
const REACTIONS: usize = 200;
/// Also written by the operator.
const WRITTEN: [&str; 1] = ["secrets"];

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let number = |name: &str, default: usize| {
        std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let load = Load {
        repositories: number("REPOSITORIES", 10_000),
        mirrors: number("MIRRORS", 1_000),
        tags: number("TAGS", 20),
        namespaces: number("NAMESPACES", 1_000),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stack = LocalStack::without_operator(root);
    let measured = runtime.block_on(measure(root, &stack, &load));
    drop(stack);
    let table = table(&[measured.row(&load)]);
    println!("\n{table}");
    let out = root.join("target/bench");
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("bench-scale.json"), serde_json::to_string_pretty(&measured.flat(&load)).unwrap()).unwrap();
    std::fs::write(out.join("bench-scale.md"), table).unwrap();
}

struct Measured {
    /// Repositories, mirrors, pull secrets.
    ready: [f64; 3],
    calls: BTreeMap<String, u64>,
    cpu_seconds: f64,
    rss_mib: f64,
    peak_mib: f64,
    reactions: Vec<f64>,
    hour: Hour,
    restart_seconds: f64,
    takeover_seconds: f64,
}

/// What an hour takes.
struct Hour {
    calls: BTreeMap<String, u64>,
    writes: BTreeMap<String, u64>,
    cpu_seconds: f64,
    /// Resident memory, first to last.
    memory_mib: Vec<f64>,
}

async fn measure(root: &Path, stack: &LocalStack, load: &Load) -> Measured {
    let client = stack.client().await;
    eprintln!("images and namespaces");
    load.push_images(stack, &root.join("testbed/bin/images")).await;
    load.create_namespaces(&client).await;

    let shrunk = |default: Duration| (default / SHRUNK).as_secs();
    let arguments = [
        format!("--resync-interval={}s", shrunk(Duration::from_secs(600))),
        format!("--audit-interval={}s", shrunk(HOUR)),
    ];
    let leader = Replica::start(root, stack, &arguments).await;
    leader.until_leader().await;
    stack.forget_calls().await;

    eprintln!("creating repositories, mirrors and pull secrets");
    let started = Instant::now();
    load.create_pull_secret(&client).await;
    let creation = async {
        load.create_mirrors(&client, HOUR / SHRUNK).await;
        load.create_repositories(&client).await;
        eprintln!("  created after {:.1} s", started.elapsed().as_secs_f64());
    };
    let (ready, ()) = tokio::join!(load.until_ready(&client, started), creation);
    eprintln!("  repositories, mirrors, pull secrets are ready after {ready:.1?} s");
    let calls = stack.calls().await;
    let cpu_seconds = leader.process().cpu_seconds();
    let (rss_mib, peak_mib) = leader.process().memory_mib();
    eprintln!("  {rss_mib:.0} MiB, {cpu_seconds:.1} s of CPU");

    eprintln!("reactions");
    let mut reactions = Vec::new();
    for n in 0..REACTIONS {
        reactions.push(reaction(&client, load.namespace(n), format!("new-{n}")).await);
    }
    reactions.sort_by(f64::total_cmp);

    eprintln!("an hour in {} s", (HOUR / SHRUNK).as_secs());
    let hour = Hour::watch(stack, &client, load, &leader).await;

    eprintln!("another replica takes over");
    let started = Instant::now();
    let standby = Replica::start(root, stack, &arguments).await;
    let restart_seconds = started.elapsed().as_secs_f64();
    let started = Instant::now();
    drop(leader);
    reaction(&client, load.namespace(0), "after-the-takeover".to_owned()).await;
    let takeover_seconds = started.elapsed().as_secs_f64();
    drop(standby);
    Measured { ready, calls, cpu_seconds, rss_mib, peak_mib, reactions, hour, restart_seconds, takeover_seconds }
}

impl Hour {
    async fn watch(stack: &LocalStack, client: &Client, load: &Load, leader: &Replica) -> Self {
        let (process, started) = (leader.process(), Instant::now());
        let cpu_before = process.cpu_seconds();
        let writes_before = stack.api_writes(client, &WRITTEN).await;
        stack.forget_calls().await;
        let mut memory_mib = vec![process.memory_mib().0];
        for round in 0.. {
            if started.elapsed() >= HOUR / SHRUNK {
                break;
            }
            // One is changed, one comes, and the one that came before goes.
            change_repository(client, &load.namespace(round), &format!("repository-{round}"), round).await;
            create_repository(client, load.namespace(0), format!("passing-{round}")).await;
            if let Some(before) = round.checked_sub(1) {
                delete_repository(client, &load.namespace(0), &format!("passing-{before}")).await;
            }
            tokio::time::sleep(CHANGE).await;
            memory_mib.push(process.memory_mib().0);
        }
        let mut writes = difference(&stack.api_writes(client, &WRITTEN).await, &writes_before);
        // The benchmark's own.
        writes.remove("ecrrepositories POST");
        writes.remove("ecrrepositories DELETE");
        Self { calls: stack.calls().await, writes, cpu_seconds: process.cpu_seconds() - cpu_before, memory_mib }
    }

    /// Of a processor, in thousandths, over a whole hour.
    fn millicores(&self) -> f64 {
        self.cpu_seconds * 1000.0 / HOUR.as_secs_f64()
    }

    /// Resident memory in a third of the hour, on average.
    fn memory_of_third(&self, third: usize) -> f64 {
        let length = self.memory_mib.len() / 3;
        let part = &self.memory_mib[third * length..(third + 1) * length];
        part.iter().sum::<f64>() / part.len() as f64
    }
}

impl Measured {
    /// The time within which this part of the reactions was.
    fn reaction(&self, part: f64) -> f64 {
        self.reactions[((self.reactions.len() - 1) as f64 * part).round() as usize]
    }

    fn row(&self, load: &Load) -> Vec<(&'static str, String)> {
        let [repositories, mirrors, secrets] = self.ready;
        let Load { repositories: count, mirrors: of, tags, namespaces } = load;
        let hour = &self.hour;
        vec![
            ("objects", format!("{count} repositories, {of} mirrors with {tags} tags each, {namespaces} namespaces")),
            ("until all namespaces have their Secret", format!("{secrets:.1} s")),
            ("until all mirrors are ready", format!("{mirrors:.1} s, {} images", of * tags)),
            ("until all repositories are ready", format!("{repositories:.1} s")),
            ("AWS calls until then", in_words(&self.calls)),
            ("operator: CPU until then", format!("{:.1} s", self.cpu_seconds)),
            ("operator: resident memory, peak", format!("{:.0} MiB, {:.0} MiB", self.rss_mib, self.peak_mib)),
            (
                "a new repository is ready after: p50, p95, p99",
                [0.5, 0.95, 0.99].map(|part| format!("{:.3} s", self.reaction(part))).join(", "),
            ),
            ("an hour: CPU", format!("{:.1} s, {:.1} millicores", hour.cpu_seconds, hour.millicores())),
            ("an hour: AWS calls", format!("{} ({})", total(&hour.calls), in_words(&hour.calls))),
            ("an hour: API server writes", in_words(&hour.writes)),
            (
                "an hour: resident memory in its three thirds",
                [0, 1, 2].map(|third| format!("{:.1} MiB", hour.memory_of_third(third))).join(", "),
            ),
            ("a replica that starts is ready after", format!("{:.1} s", self.restart_seconds)),
            (
                "the leader is killed: a repository created then is ready after",
                format!("{:.1} s", self.takeover_seconds),
            ),
        ]
    }

    fn flat(&self, load: &Load) -> Value {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        json!({
            "repositories": load.repositories,
            "mirrors": load.mirrors,
            "tags": load.mirrors * load.tags,
            "namespaces": load.namespaces,
            "seconds_until_ready": rounded(self.ready.into_iter().fold(0.0, f64::max)),
            "rss_mib": rounded(self.peak_mib),
            "rss_mib_first_third": rounded(self.hour.memory_of_third(0)),
            "rss_mib_last_third": rounded(self.hour.memory_of_third(2)),
            "idle_cpu_millicores": rounded(self.hour.millicores()),
            "idle_aws_calls_1h": total(&self.hour.calls),
            "idle_api_writes_1h": total(&self.hour.writes),
            "ready_p50_s": rounded(self.reaction(0.5)),
            "ready_p95_s": rounded(self.reaction(0.95)),
            "ready_p99_s": rounded(self.reaction(0.99)),
            "takeover_s": rounded(self.takeover_seconds),
        })
    }
}
