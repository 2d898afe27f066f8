//! What is counted, in the names that the docs list.

mod pull_secrets;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::version;
use pull_secrets::PullSecrets;
pub use pull_secrets::Tally;

/// Labels of a finished reconcile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// Labels of a request to AWS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AwsCall {
    service: String,
    action: String,
}

/// Whose pulls are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Budget {
    registry: String,
    credentials: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MirrorState {
    mirror: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchPath {
    path: String,
}

/// All metrics. Clones count into the same ones.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: Family<Reconcile, Counter>,
    durations: Family<Kind, Histogram, fn() -> Histogram>,
    mirrored_tags: Family<Outcome, Counter>,
    mirrored_blobs: Family<Outcome, Counter>,
    mirrored_bytes: Counter<u64, AtomicU64>,
    pulls_left: Family<Budget, Gauge>,
    pull_limits: Family<Budget, Gauge>,
    mirrors: Family<State, Gauge>,
    mirror_images: Family<State, Gauge>,
    mirror_behind: Gauge<f64, AtomicU64>,
    rewrite_images: Family<State, Gauge>,
    rewrite_mirror_images: Family<MirrorState, Gauge>,
    pull_secret_writes: Family<Outcome, Counter>,
    pull_secrets: PullSecrets,
    aws_calls: Family<AwsCall, Counter>,
    leader: Gauge,
    watch_silent: Family<WatchPath, Gauge<f64, AtomicU64>>,
}

impl Metrics {
    /// Registers all metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.005, 4.0, 10))),
            mirrored_tags: Family::default(),
            mirrored_blobs: Family::default(),
            mirrored_bytes: Counter::default(),
            pulls_left: Family::default(),
            pull_limits: Family::default(),
            mirrors: Family::default(),
            mirror_images: Family::default(),
            mirror_behind: Gauge::default(),
            rewrite_images: Family::default(),
            rewrite_mirror_images: Family::default(),
            pull_secret_writes: Family::default(),
            pull_secrets: PullSecrets::default(),
            aws_calls: Family::default(),
            leader: Gauge::default(),
            watch_silent: Family::default(),
        };
        let ours = registry.sub_registry_with_prefix("ecr_operator");
        ours.register("reconciles", "Reconciles, by kind and result", metrics.reconciles.clone());
        ours.register("reconcile_duration_seconds", "Time that a reconcile took, by kind", metrics.durations.clone());
        ours.register("mirror_tags", "Tags that were looked at, by outcome", metrics.mirrored_tags.clone());
        ours.register("mirror_blobs", "Blobs that were looked at, by outcome", metrics.mirrored_blobs.clone());
        ours.register("mirror_bytes", "Bytes of blobs that were copied", metrics.mirrored_bytes.clone());
        ours.register(
            "pull_budget_left",
            "Pulls that a source registry said are left, by registry and Secret",
            metrics.pulls_left.clone(),
        );
        ours.register(
            "pull_budget_limit",
            "Pulls that a source registry allows in its window, by registry and Secret",
            metrics.pull_limits.clone(),
        );
        ours.register("mirrors", "ImageMirror objects, by state", metrics.mirrors.clone());
        ours.register("mirror_images", "Images that mirrors select, by state", metrics.mirror_images.clone());
        ours.register(
            "mirror_behind_seconds",
            "Since when the mirror that is behind longest is not ready, or its look overdue",
            metrics.mirror_behind.clone(),
        );
        ours.register(
            "rewrite_images",
            "Images of pods that mirrors with spec.rewrite are about, by state",
            metrics.rewrite_images.clone(),
        );
        ours.register(
            "rewrite_mirror_images",
            "Images of pods that one of the first mirrors with spec.rewrite is about, by mirror and state",
            metrics.rewrite_mirror_images.clone(),
        );
        ours.register(
            "pull_secret_writes",
            "Pull secrets that were written, by why",
            metrics.pull_secret_writes.clone(),
        );
        ours.register_collector(Box::new(metrics.pull_secrets.clone()));
        ours.register(
            "aws_calls",
            "Requests to AWS, each try counted, by service and action",
            metrics.aws_calls.clone(),
        );
        ours.register("leader", "1 while this replica is the one that works, else 0", metrics.leader.clone());
        ours.register(
            "watch_silent_seconds",
            "Since when a watch of the API server has heard nothing, not even a bookmark, by path",
            metrics.watch_silent.clone(),
        );
        let build = [("version", version::VERSION), ("commit", version::COMMIT.unwrap_or("unknown"))];
        ours.register("build", "The version that runs", Info::new(build));
        metrics
    }

    /// A reconcile ended.
    pub fn reconciled(&self, kind: &'static str, result: &'static str, took: Duration) {
        self.reconciles.get_or_create(&Reconcile { kind, result }).inc();
        self.durations.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// A tag was looked at.
    pub fn tag(&self, outcome: &'static str) {
        self.mirrored_tags.get_or_create(&Outcome { outcome }).inc();
    }

    /// Blobs of an image were copied, mounted, or were there already.
    pub fn blobs(&self, outcome: &'static str, count: u64) {
        self.mirrored_blobs.get_or_create(&Outcome { outcome }).inc_by(count);
    }

    /// Bytes of blobs were copied.
    pub fn bytes(&self, count: u64) {
        self.mirrored_bytes.inc_by(count);
    }

    /// A source registry told a limit of pulls and how many are left, or has none.
    pub fn pull_budget(&self, registry: &str, credentials: &str, figures: Option<(u64, u64)>) {
        let labels = Budget { registry: registry.to_owned(), credentials: credentials.to_owned() };
        match figures {
            Some((limit, left)) => {
                self.pull_limits.get_or_create(&labels).set(i64::try_from(limit).unwrap_or(i64::MAX));
                self.pulls_left.get_or_create(&labels).set(i64::try_from(left).unwrap_or(i64::MAX));
            }
            None => {
                self.pull_limits.remove(&labels);
                self.pulls_left.remove(&labels);
            }
        }
    }

    /// So many mirrors are in this state.
    pub fn mirrors(&self, state: &'static str, count: i64) {
        self.mirrors.get_or_create(&State { state }).set(count);
    }

    /// So many images that mirrors select are in this state.
    pub fn mirror_images(&self, state: &'static str, count: i64) {
        self.mirror_images.get_or_create(&State { state }).set(count);
    }

    /// The mirror that is behind longest has been so for this long.
    pub fn mirror_behind(&self, seconds: f64) {
        self.mirror_behind.set(seconds);
    }

    /// So many images of pods are in these states: in all, and by name of some mirrors.
    pub fn rewriting(&self, all: [(&'static str, u64); 3], each: Vec<(String, [(&'static str, u64); 3])>) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, count) in all {
            self.rewrite_images.get_or_create(&State { state }).set(number(count));
        }
        self.rewrite_mirror_images.clear();
        for (mirror, states) in each {
            for (state, count) in states {
                let labels = MirrorState { mirror: mirror.clone(), state };
                self.rewrite_mirror_images.get_or_create(&labels).set(number(count));
            }
        }
    }

    /// A pull secret was written.
    pub fn pull_secret_written(&self, why: &'static str) {
        self.pull_secret_writes.get_or_create(&Outcome { outcome: why }).inc();
    }

    /// From now on this says what the pull secrets come to.
    pub fn watch_pull_secrets(&self, look: impl Fn() -> Vec<Tally> + Send + Sync + 'static) {
        self.pull_secrets.come_from(Box::new(look));
    }

    /// This replica works, or doesn't.
    pub fn leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// A watch has heard nothing for so long.
    pub fn watch_silent(&self, path: String, silence: Duration) {
        self.watch_silent.get_or_create(&WatchPath { path }).set(silence.as_secs_f64());
    }

    /// A request is sent to AWS.
    pub fn aws_call(&self, service: &str, action: &str) {
        self.aws_calls.get_or_create(&AwsCall { service: service.to_owned(), action: action.to_owned() }).inc();
    }
}
