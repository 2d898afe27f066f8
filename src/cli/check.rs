//! `ecr-operator check`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::jiff::Timestamp;
use prometheus_client::registry::Registry;

use super::plan::Output;
use crate::api::EcrRegistrySpec;
use crate::check::{self, Answer, Row};
use crate::ecr::Ecr;
use crate::iam::{self, Need};
use crate::manifests::{self, Manifest, Object};
use crate::metrics::Metrics;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file or a directory of manifests, or `-` for the standard input. Can be given several times.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Print the IAM policy that allows what the manifests need, and nothing else. AWS is not asked.
    #[arg(long)]
    policy: bool,

    /// Region of the EcrRegistry `default`, if the files don't have it.
    #[arg(long, env = "AWS_REGION", value_name = "REGION")]
    region: Option<String>,

    /// The namespace of objects that name none.
    #[arg(short, long, default_value = "default")]
    namespace: String,

    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Exits with 0 where nothing is denied, with 2 where something is, and with 1 where that can't be found out.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let manifests = manifests::read(&args.files, &args.namespace)?;
    let needs: Vec<Need> = manifests.iter().flat_map(|manifest| iam::needs(&manifest.value)).collect();
    if needs.is_empty() {
        bail!("the files have no objects that need anything of AWS");
    }
    if args.policy {
        print(&format!("{:#}\n", iam::policy_for(&needs)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rows = runtime.block_on(ask(args, &manifests, &needs))?;
    match args.output {
        Output::Text => print(&check::text(&rows))?,
        Output::Json => print(&format!("{:#}\n", serde_json::json!({ "actions": rows })))?,
    }
    let denied = rows.iter().any(|row| row.answer == Answer::Denied);
    Ok(if denied { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

async fn ask(args: &Args, manifests: &[Manifest], needs: &[Need]) -> anyhow::Result<Vec<Row>> {
    let metrics = Metrics::register(&mut Registry::default());
    let nonce = format!("{:x}", Timestamp::now().as_nanosecond());
    let mut rows = Vec::new();
    for (name, tasks) in check::tasks(needs) {
        let spec = registry(args, manifests, &name)?;
        let ecr = Ecr::connect(&spec, &metrics).await.with_context(|| format!("EcrRegistry {name:?} can't be used"))?;
        rows.extend(check::check(&ecr, &name, tasks, &nonce).await);
    }
    Ok(rows)
}

fn registry(args: &Args, manifests: &[Manifest], name: &str) -> anyhow::Result<EcrRegistrySpec> {
    let found = manifests.iter().find_map(|manifest| match &manifest.object {
        Some(Object::Registry(registry)) if registry.metadata.name.as_deref() == Some(name) => Some(&registry.spec),
        _ => None,
    });
    match (found, &args.region) {
        (Some(spec), _) => Ok(spec.clone()),
        (None, Some(region)) if name == "default" => {
            Ok(serde_json::from_value(serde_json::json!({ "region": region }))?)
        }
        _ => Err(anyhow!(
            "the files have no EcrRegistry {name:?}: give its file too, or --region for the one named default"
        )),
    }
}

fn print(text: &str) -> std::io::Result<()> {
    std::io::stdout().write_all(text.as_bytes())
}
