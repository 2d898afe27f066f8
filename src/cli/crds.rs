//! `ecr-operator crds`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::api;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write a file for each kind into this directory, instead of printing.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    for (name, yaml) in api::crd_files()? {
        match &args.output {
            Some(directory) => {
                let path = directory.join(name);
                std::fs::write(&path, yaml).with_context(|| format!("can't write {}", path.display()))?;
            }
            None => std::io::stdout().write_all(format!("---\n{yaml}").as_bytes())?,
        }
    }
    Ok(())
}
