//! Copies many images with one engine.
//!
//! ```console
//! $ mirror --ca-bundle ca.pem < pairs     # one line an image: SOURCE DESTINATION [DESTINATION...]
//! $ mirror --floor < files                # one line a file: only hashes and writes their bytes, for comparison
//! ```
//!
//! `make bench-copy` measures this program.

use std::collections::BTreeSet;
use std::io::{BufRead, Read, Write};
use std::process::ExitCode;

use futures::StreamExt;
use oci_copy::{CopyRequest, Engine, EngineConfig, Reference, RegistryConfig};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How many images are worked on at once. Most of them wait for the engine's own limits.
const AT_ONCE: usize = 64;

fn main() -> Result<ExitCode, Failure> {
    let mut ca_bundle = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--floor" => return floor(),
            "--ca-bundle" => ca_bundle = Some(std::fs::read(arguments.next().ok_or("--ca-bundle needs a file")?)?),
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let mut jobs = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let references = line?.split_whitespace().map(str::parse).collect::<Result<Vec<Reference>, _>>()?;
        let [source, destinations @ ..] = references.as_slice() else { continue };
        jobs.push((source.clone(), destinations.to_vec()));
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(copy(jobs, ca_bundle))
}

async fn copy(jobs: Vec<(Reference, Vec<Reference>)>, ca_bundle: Option<Vec<u8>>) -> Result<ExitCode, Failure> {
    let all = jobs.iter().flat_map(|(source, destinations)| std::iter::once(source).chain(destinations));
    let hosts: BTreeSet<&str> = all.map(Reference::host).collect();
    let mut engine = Engine::new(EngineConfig::default());
    for host in hosts {
        let mut config = RegistryConfig::new(host)?;
        if let Some(pem) = &ca_bundle {
            // It is a registry of one's own, so it may be anywhere.
            config = config.endpoint(&format!("https://{host}"))?.ca_bundle(pem.clone())?;
        }
        engine = engine.with_registry(config)?;
    }
    let copies = jobs.into_iter().map(|(source, destinations)| {
        let engine = engine.clone();
        let first = destinations.first().cloned().unwrap_or_else(|| source.clone());
        // A task of its own, so that the work is spread over the processor's cores.
        tokio::spawn(async move { engine.copy_to_all(CopyRequest::new(source, first), destinations).await })
    });
    let mut failed = false;
    let mut results = futures::stream::iter(copies).buffer_unordered(AT_ONCE);
    while let Some(reports) = results.next().await {
        for report in reports? {
            if let Err(error) = report {
                failed = true;
                writeln!(std::io::stderr(), "{error}")?;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What nothing that copies can do without: every byte is hashed, and handed on.
fn floor() -> Result<ExitCode, Failure> {
    let mut buffer = vec![0; 256 << 10];
    let mut out = std::io::stdout().lock();
    for path in std::io::stdin().lock().lines() {
        let mut file = std::fs::File::open(path?)?;
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            context.update(&buffer[..length]);
            out.write_all(&buffer[..length])?;
        }
        // The floor is for what it costs, not for what comes of it.
        let _ = context.finish();
    }
    Ok(ExitCode::SUCCESS)
}
