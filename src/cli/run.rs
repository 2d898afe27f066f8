//! `ecr-operator run`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use k8s_openapi::jiff::SignedDuration;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{lease, trusted_root};
use crate::apiserver::{Clients, Watches};
use crate::controllers::{self, CopyLimits, EnforcementSettings, Intervals, RewriteSettings, Scope, Settings};
use crate::leadership::{Candidate, Elected, Leadership, Lost};
use crate::metrics::Metrics;
use crate::registries::Registries;
use crate::rewrite::policy::FailurePolicy;
use crate::server::{self, Health};
use crate::telemetry::{self, LogFormat};
use crate::version;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "ECR_OPERATOR_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// File that says how registries other than ECR are reached: endpoints, token realms, certificates.
    #[arg(long, env = "ECR_OPERATOR_REGISTRIES_CONFIG", value_name = "FILE")]
    registries_config: Option<PathBuf>,

    /// File with the Sigstore trusted root (trusted_root.json) for mirrors that verify keyless signatures and name no root of
    /// their own. Default: that of Sigstore's public instance, which is part of the program.
    #[arg(long, env = "ECR_OPERATOR_TRUSTED_ROOT", value_name = "FILE")]
    trusted_root: Option<PathBuf>,

    /// How log lines look.
    #[arg(long, env = "ECR_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,

    /// Level of the logs, or directives such as `info,ecr_operator=debug`.
    #[arg(long, env = "ECR_OPERATOR_LOG_LEVEL", default_value = "info")]
    log_level: String,

    /// How often the repositories of each registry are listed, and what else is ready is compared with AWS again.
    #[arg(long, env = "ECR_OPERATOR_RESYNC_INTERVAL", default_value = "10m", value_parser = duration)]
    resync_interval: Duration,

    /// How often a repository is compared with what the list does not show: tags, lifecycle policy, repository policy.
    #[arg(long, env = "ECR_OPERATOR_AUDIT_INTERVAL", default_value = "1h", value_parser = duration)]
    audit_interval: Duration,

    /// How often an object that is stalled is tried again.
    #[arg(long, env = "ECR_OPERATOR_STALLED_INTERVAL", default_value = "5m", value_parser = duration)]
    stalled_interval: Duration,

    /// The longest delay between retries of what may pass by itself.
    #[arg(long, env = "ECR_OPERATOR_MAX_BACKOFF", default_value = "5m", value_parser = duration)]
    max_backoff: Duration,

    /// How many images are copied at once.
    #[arg(long, env = "ECR_OPERATOR_MIRROR_CONCURRENCY", default_value_t = 8)]
    mirror_concurrency: usize,

    /// How many of them are copied from one source registry.
    #[arg(long, env = "ECR_OPERATOR_MIRROR_CONCURRENCY_PER_SOURCE", default_value_t = 4)]
    mirror_concurrency_per_source: usize,

    /// How many of them are copied to one destination registry.
    #[arg(long, env = "ECR_OPERATOR_MIRROR_CONCURRENCY_PER_DESTINATION", default_value_t = 6)]
    mirror_concurrency_per_destination: usize,

    /// Copies that take longer than this no longer count among these: as many again as --mirror-concurrency may go on.
    #[arg(long, env = "ECR_OPERATOR_LONG_COPY_AFTER", default_value = "1m", value_parser = duration)]
    long_copy_after: Duration,

    /// How long the copy of one image may take.
    #[arg(long, env = "ECR_OPERATOR_COPY_DEADLINE", default_value = "1h", value_parser = duration)]
    copy_deadline: Duration,

    /// Whether pull secrets are refused whose token can do more than pull: those of an EcrRegistry that has neither
    /// pullRole nor credentials.assumeRole.
    #[arg(long, env = "ECR_OPERATOR_REQUIRE_PULL_ONLY", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    require_pull_only: bool,

    /// Name of the EcrRegistry that pods of this cluster are to pull from, where an ImageMirror with spec.rewrite has several
    /// destinations. Without it, or where a mirror doesn't have it, the first destination is taken.
    #[arg(long, env = "ECR_OPERATOR_OWN_REGISTRY", value_name = "NAME")]
    own_registry: Option<String>,

    /// What the API server does with a pod where the policy that rewrites images can't be evaluated.
    #[arg(long, env = "ECR_OPERATOR_REWRITE_FAILURE_POLICY", value_enum, ignore_case = true, default_value_t)]
    rewrite_failure_policy: FailurePolicy,

    /// Name of the ClusterRole that owns the policies which rewrite images and judge where they come from: when it is deleted, they
    /// have no effect any more.
    #[arg(long, env = "ECR_OPERATOR_CLUSTER_ROLE", value_name = "NAME")]
    cluster_role: Option<String>,

    /// The namespaces to work in, with commas between them; the operator needs no rights in others. Default: all. Objects
    /// in other namespaces are not looked at, and a ClusterEcrPullSecret leaves them out.
    #[arg(long, env = "ECR_OPERATOR_NAMESPACES", value_name = "NAMES", value_delimiter = ',')]
    namespaces: Vec<String>,

    /// Namespace of the Secrets that ClusterEcrPullSecret objects name in additionalSecretRefs, whose pods also keep the images
    /// that they name. Default: the namespace that the operator runs in.
    #[arg(long, env = "ECR_OPERATOR_OPERATOR_NAMESPACE", value_name = "NAME")]
    operator_namespace: Option<String>,

    #[command(flatten)]
    lease: lease::Args,

    #[command(flatten)]
    traces: telemetry::Args,
}

/// Reads a duration such as `10m` or `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "not a duration such as 30s, 10m or 1h30m".to_owned())
}

/// How long what is being done may take to end after a signal to stop.
const GRACE: Duration = Duration::from_secs(24);

/// How long the end of the election may take after that: the Lease is given back.
const LEASE_GRACE: Duration = Duration::from_secs(3);

/// How long the last traces may take after that.
const TRACES_GRACE: Duration = Duration::from_secs(2);

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let traces = {
        let _within = runtime.enter();
        telemetry::init(args.log_format, &args.log_level, &args.traces)?
    };
    let outcome = runtime.block_on(serve(args));
    traces.end(TRACES_GRACE);
    // Whatever goes on after a lost lease, or after the grace period, ends here and not when it likes.
    runtime.shutdown_background();
    outcome
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let registries = Registries::read_if_given(args.registries_config.as_deref())?;
    let settings = Settings {
        intervals: Intervals {
            resync: args.resync_interval,
            audit: args.audit_interval,
            stalled: args.stalled_interval,
            longest_backoff: args.max_backoff,
        },
        registries,
        trusted_root: Arc::new(trusted_root(args.trusted_root.as_deref())?),
        copy_limits: CopyLimits {
            at_once: args.mirror_concurrency,
            from_one: args.mirror_concurrency_per_source,
            to_one: args.mirror_concurrency_per_destination,
            long_after: args.long_copy_after,
        },
        copy_deadline: args.copy_deadline,
        require_pull_only: args.require_pull_only,
        rewrite: RewriteSettings {
            own_registry: args.own_registry,
            own_namespace: args.operator_namespace.clone(),
            owner: args.cluster_role.clone(),
            failure_policy: args.rewrite_failure_policy,
        },
        enforcement: EnforcementSettings { own_namespace: args.operator_namespace.clone(), owner: args.cluster_role },
        scope: Scope::of(args.namespaces),
        operator_namespace: args.operator_namespace,
    };
    let watches = Watches::default();
    let (leadership, elected) = args.lease.leadership();
    let clients = Clients::connect(leadership.fence().clone(), watches.clone());
    let clients = clients.await.context("can't connect to the API server")?;
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("can't listen on {}", args.listen))?;

    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let health = Health::new(registry, metrics.clone(), watches);
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(server::serve(listener, health.clone(), shutdown.clone()));
    tracing::info!(version = version::text(), listen = %args.listen, "started");

    let mut election = Election::start(elected.map(|elected| (args.lease.candidate(clients.lease), elected)));
    tokio::spawn(show_leader(leadership.clone(), metrics.clone()));
    let fence = leadership.fence().clone();
    let run = controllers::run(clients.work, settings, metrics, health, leadership, shutdown.clone());
    let mut controllers = tokio::spawn(run);
    tokio::select! {
        ended = &mut controllers => {
            shutdown.cancel();
            ended??;
            return Err(anyhow!("the controllers ended by themselves"));
        }
        lost = election.lost() => return Err(lost),
        signal = stop_signal() => tracing::info!(signal = signal?, "stopping"),
    }
    // The lease is kept until the work has ended.
    shutdown.cancel();
    tokio::select! {
        ended = &mut controllers => ended??,
        lost = election.lost() => return Err(lost),
        () = tokio::time::sleep(GRACE) => tracing::warn!("work was still going on after {GRACE:?} and is cut off"),
    }
    fence.close();
    election.end().await;
    server.await??;
    tracing::info!("stopped");
    Ok(())
}

async fn show_leader(leadership: Leadership, metrics: Metrics) {
    metrics.leader(false);
    leadership.leads().await;
    metrics.leader(true);
}

/// The election in the background, if there is one.
struct Election {
    outcome: Option<JoinHandle<Result<(), Lost>>>,
    stop: CancellationToken,
}

impl Election {
    fn start(candidate: Option<(Candidate, Elected)>) -> Self {
        let stop = CancellationToken::new();
        let outcome = candidate.map(|(candidate, elected)| tokio::spawn(candidate.run(elected, stop.clone())));
        Self { outcome, stop }
    }

    /// Waits until the lease is lost, and says why. The fence is closed then.
    async fn lost(&mut self) -> anyhow::Error {
        let Some(election) = &mut self.outcome else { return std::future::pending().await };
        match election.await {
            Ok(Err(lost)) => anyhow!(lost).context("the lease is lost, and with it the right to write"),
            // It ends otherwise only when it is told to.
            Ok(Ok(())) => anyhow!("the election ended by itself"),
            Err(panicked) => anyhow!(panicked).context("the election failed"),
        }
    }

    /// Gives the lease back.
    async fn end(&mut self) {
        self.stop.cancel();
        let Some(election) = &mut self.outcome else { return };
        match tokio::time::timeout(LEASE_GRACE, election).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(lost))) => tracing::warn!(%lost, "the lease was lost at the end"),
            Ok(Err(panicked)) => tracing::error!(%panicked, "the election failed"),
            Err(_) => tracing::warn!("the lease could not be given back within {LEASE_GRACE:?}; it runs out"),
        }
    }
}

/// Waits for a signal to stop, and names it.
async fn stop_signal() -> std::io::Result<&'static str> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubernetes_writes_them() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("0s").is_err());
        assert!(duration("-1s").is_err());
        assert!(duration("ten").is_err());
    }
}
