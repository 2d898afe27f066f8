//! The AWS stand-in of the local stack.
//!
//! An emulator (the `fakecloud` crates) serves ECR, STS, IAM and KMS. A front of our own stands before it and closes the
//! gaps that our tests need closed: who may call, how the registry API words its errors, where blobs come from, which
//! calls were made and which of them fail. Nothing else links this program; see README.md.

mod api;
mod calls;
mod cloud;
mod control;
mod emulator;
mod faults;
mod iam;
mod policy;
mod quotas;
mod registry;
mod serve;
mod tokens;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::cloud::Cloud;
use crate::iam::{Identities, NewUser};

/// Serves AWS's API for ECR, STS, IAM and KMS, and ECR's registry API.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address of AWS's API (TLS); `AWS_ENDPOINT_URL` points here.
    #[arg(long)]
    api_listen: SocketAddr,
    /// Address of ECR's registry API (TLS).
    #[arg(long)]
    registry_listen: SocketAddr,
    /// Address of the control API for tests (plain HTTP).
    #[arg(long)]
    control_listen: SocketAddr,
    /// Certificate chain, PEM; it must be valid for the addresses above and for `localhost`, where blobs come from.
    #[arg(long)]
    tls_cert: PathBuf,
    /// Private key of the certificate, PEM.
    #[arg(long)]
    tls_key: PathBuf,
    /// The region of the registry that is there from the start; others are opened when they are asked for.
    #[arg(long, default_value = "eu-west-1")]
    region: String,
    /// The AWS account that the access keys belong to.
    #[arg(long, default_value = "123456789012")]
    account: String,
    /// Access key of the user `ecr-operator`.
    #[arg(long)]
    access_key: String,
    /// The secret of that access key.
    #[arg(long)]
    secret_key: String,
    /// A policy document that says what the user `ecr-operator` may do; may be repeated. Without one it may do everything.
    #[arg(long, value_name = "FILE")]
    iam_policy: Vec<PathBuf>,
    /// Access key of the user `administrator`, who may do everything.
    #[arg(long, requires = "admin_secret_key")]
    admin_access_key: Option<String>,
    /// The secret of that access key.
    #[arg(long, requires = "admin_access_key")]
    admin_secret_key: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,aws=info")))
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let tls = serve::tls(&args.tls_cert, &args.tls_key)?;

    let api = listen(args.api_listen, "--api-listen").await?;
    let registry = listen(args.registry_listen, "--registry-listen").await?;
    let control = listen(args.control_listen, "--control-listen").await?;
    let cloud = Arc::new(Cloud::new(&args.account, &args.region, tls.clone()));
    add_users(&cloud.identities, &args)?;
    let home = cloud.open_home(registry).context("address of the registry")?;
    let control_task = axum::serve(control, control::router(cloud.clone()));
    tracing::info!(api = %args.api_listen, registry = %home.address, control = %args.control_listen, "serving");

    let api_front = Arc::new(api::Front { cloud });
    let api_task = serve::serve(api, tls, move |request| api_front.clone().handle(request));
    tokio::select! {
        () = api_task => {}
        served = control_task => served.context("serve the control API")?,
        signal = serve::stop_signal() => signal.context("wait for a signal")?,
    }
    Ok(())
}

fn add_users(identities: &Identities, args: &Args) -> anyhow::Result<()> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).with_context(|| format!("--iam-policy: read {}", path.display()))?;
        let _: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("--iam-policy: {} is no JSON", path.display()))?;
        anyhow::Ok(text)
    };
    let policies = args.iam_policy.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    identities.add_user(&NewUser {
        account: &args.account,
        name: "ecr-operator",
        access_key: &args.access_key,
        secret_key: &args.secret_key,
        policies: &policies,
    });
    if let (Some(access_key), Some(secret_key)) = (&args.admin_access_key, &args.admin_secret_key) {
        let (account, name) = (args.account.as_str(), "administrator");
        identities.add_user(&NewUser { account, name, access_key, secret_key, policies: &[] });
    }
    Ok(())
}

async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{flag}: listen on {address}"))
}
