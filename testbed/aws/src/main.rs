//! The AWS stand-in of the local stack.
//!
//! An emulator (the `fakecloud` crates) serves ECR, STS, IAM and KMS. A front of our own stands before it and closes the
//! gaps that our tests need closed: who may call, how the registry API words its errors, where blobs come from, which
//! calls were made and which of them fail. Nothing else links this program; see README.md.

mod api;
mod calls;
mod control;
mod emulator;
mod faults;
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

use crate::emulator::{Account, Emulator};

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
    /// The one region that this instance serves.
    #[arg(long, default_value = "eu-west-1")]
    region: String,
    /// The AWS account that the access key belongs to.
    #[arg(long, default_value = "123456789012")]
    account: String,
    /// The access key that may call the API from the start.
    #[arg(long)]
    access_key: String,
    /// The secret of the access key.
    #[arg(long)]
    secret_key: String,
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
    let registry_address = registry.local_addr().context("address of the registry")?;

    let emulator = Arc::new(Emulator::new(Account {
        id: args.account,
        region: args.region,
        access_key: args.access_key,
        secret_key: args.secret_key,
        registry: format!("https://{registry_address}"),
    }));
    let calls = Arc::new(calls::Calls::default());
    let faults = Arc::new(faults::Faults::default());
    let tokens = Arc::new(tokens::Tokens::default());
    let mutability = Arc::new(api::mutability::Exclusions::default());

    let api_front = Arc::new(api::Front {
        emulator: emulator.clone(),
        calls: calls.clone(),
        faults: faults.clone(),
        tokens: tokens.clone(),
        mutability: mutability.clone(),
    });
    let registry_front = Arc::new(registry::Front {
        emulator,
        calls: calls.clone(),
        faults: faults.clone(),
        tokens: tokens.clone(),
        mutability,
        layers: registry::layers::Layers::new(registry_address.port()),
        sessions: registry::sessions::Sessions::default(),
        address: registry_address,
    });
    let control_task = axum::serve(control, control::router(calls, faults, tokens));
    tracing::info!(api = %args.api_listen, registry = %registry_address, control = %args.control_listen, "serving");

    let api_task = serve::serve(api, tls.clone(), move |request| api_front.clone().handle(request));
    let registry_task = serve::serve(registry, tls, move |request| registry_front.clone().handle(request));
    tokio::select! {
        () = api_task => {}
        () = registry_task => {}
        served = control_task => served.context("serve the control API")?,
        signal = serve::stop_signal() => signal.context("wait for a signal")?,
    }
    Ok(())
}

async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{flag}: listen on {address}"))
}
