//! `ecr-operator copy`.

mod progress;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use futures::StreamExt as _;
use oci_copy::{CopyRequest, Engine, Platform, PlatformSelection, Reference, RegistryConfig, Repository};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Failure, of_all};
use crate::keychain::{ForRepository, Keychain};
use crate::registries::Registries;
use progress::Display;
use report::Outcome;

/// Tags that are copied at the same time with `--all-tags`.
const TAGS_AT_ONCE: usize = 4;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 all of it is there; 1 another failure; 2 wrong usage; 3 not found; 4 credentials; 5 rate limited; \
6 may work later; 130 or 143 interrupted.")]
pub(super) struct Args {
    /// Image to read: `nginx:1.27`, `ghcr.io/team/app@sha256:...`; with --all-tags a repository.
    #[arg(value_name = "SRC")]
    source: String,

    /// Where to write it: an image with a tag or a digest; with --all-tags a repository.
    #[arg(value_name = "DST")]
    destination: String,

    /// Copy only this platform, such as linux/amd64. May be given several times, or as a list with commas.
    #[arg(long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    platforms: Vec<Platform>,

    /// Copy every tag of the repository.
    #[arg(long)]
    all_tags: bool,

    /// Copy signatures, SBOMs and attestations of the image and its platforms too. One that the destination does not take
    /// is reported, and fails nothing.
    #[arg(long)]
    referrers: bool,

    /// What is printed on stdout at the end. Progress goes to stderr.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,

    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,

    /// How long a copy of one image may take.
    #[arg(long, default_value = "1h", value_parser = super::run::duration)]
    deadline: Duration,

    /// Speak plain HTTP to this registry (host, and port if it has one). Whoever is on the way can read its credentials.
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<String>,

    /// File that says how registries are reached: endpoints, token realms, certificates. The same as for `run`.
    #[arg(long, env = "ECR_OPERATOR_REGISTRIES_CONFIG", value_name = "FILE")]
    registries_config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each image.
    Text,
    /// One JSON document.
    Json,
}

/// What the command line asks for.
enum Job {
    Image { source: Reference, destination: Reference },
    AllTags { source: Repository, destination: Repository },
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let job = match read(&args) {
        Ok(job) => job,
        Err(problem) => {
            eprintln!("ecr-operator copy: {problem}");
            return Ok(Failure::Usage.into());
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        tokio::select! {
            code = copy(&args, job) => code,
            code = interrupted() => code,
        }
    });
    // What was cut off tells the registry so that it needn't wait; that takes a moment, if anything.
    runtime.shutdown_timeout(Duration::from_millis(500));
    code
}

fn read(args: &Args) -> Result<Job, oci_copy::ReferenceError> {
    Ok(if args.all_tags {
        Job::AllTags { source: args.source.parse()?, destination: args.destination.parse()? }
    } else {
        Job::Image { source: args.source.parse()?, destination: args.destination.parse()? }
    })
}

/// Waits for a signal to stop. The copy is dropped then: what is in the destination stays, and no tag is put.
async fn interrupted() -> anyhow::Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let code = tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    eprintln!(
        "ecr-operator copy: interrupted; what was not tagged yet is not tagged, and the next run goes on from here"
    );
    Ok(code.into())
}

async fn copy(args: &Args, job: Job) -> anyhow::Result<ExitCode> {
    let engine = engine(args)?;
    let keychain = match Keychain::open() {
        Ok(keychain) => Arc::new(keychain),
        Err(error) => return nothing(args, Failure::Credentials, "credentials", &error.to_string()),
    };
    let display = Display::new(args.quiet);
    let pairs = match job {
        Job::Image { source, destination } => vec![(source, destination)],
        Job::AllTags { source, destination } => {
            let credentials = ForRepository { keychain: keychain.clone(), repository: source.clone() };
            match engine.with_credentials(Arc::new(credentials)).list_tags(&source).await {
                Ok(tags) if tags.is_empty() => {
                    return nothing(args, Failure::NotFound, "no_tags", &format!("{source} has no tags"));
                }
                Ok(tags) => pairs(&source, &destination, &tags)?,
                Err(error) => return nothing(args, Failure::from(&error), error.label(), &error.to_string()),
            }
        }
    };
    let copies = pairs.into_iter().map(|(source, destination)| {
        let own = |repository: &Repository| {
            Arc::new(ForRepository { keychain: keychain.clone(), repository: repository.clone() })
        };
        let request = CopyRequest::new(source.clone(), destination.clone())
            .platforms(PlatformSelection::only(args.platforms.iter().cloned()))
            .referrers(args.referrers)
            .source_credentials(own(source.repository()))
            .destination_credentials(own(destination.repository()))
            .deadline(args.deadline)
            .progress(display.progress(&destination));
        let (engine, display) = (&engine, &display);
        async move {
            let result = engine.copy(request).await;
            let outcome = Outcome { source, destination, result };
            display.done(&outcome);
            outcome
        }
    });
    let outcomes: Vec<Outcome> = futures::stream::iter(copies).buffered(TAGS_AT_ONCE).collect().await;
    display.clear();
    match args.output {
        Format::Text => report::print_text(&outcomes),
        Format::Json => report::print_json(&outcomes),
    }
    .context("can't write to stdout")?;
    let failures = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().err().map(Failure::from));
    Ok(of_all(failures).map_or(ExitCode::SUCCESS, ExitCode::from))
}

/// Nothing is copied, since it isn't known what.
fn nothing(args: &Args, failure: Failure, reason: &'static str, message: &str) -> anyhow::Result<ExitCode> {
    eprintln!("ecr-operator copy: {message}");
    if args.output == Format::Json {
        report::print_failure(reason, message).context("can't write to stdout")?;
    }
    Ok(failure.into())
}

fn engine(args: &Args) -> anyhow::Result<Engine> {
    let mut engine = Registries::read_if_given(args.registries_config.as_deref())?.engine()?;
    for host in &args.plain_http {
        let config = RegistryConfig::new(host)?.endpoint(&format!("http://{host}"));
        engine = engine.with_registry(config.with_context(|| format!("--plain-http {host}"))?)?;
    }
    Ok(engine)
}

/// Each tag of one repository, and the same tag of the other.
fn pairs(
    source: &Repository,
    destination: &Repository,
    tags: &[String],
) -> anyhow::Result<Vec<(Reference, Reference)>> {
    tags.iter().map(|tag| Ok((source.with_tag(tag)?, destination.with_tag(tag)?))).collect()
}
