//! The command line: one file a subcommand.

mod check;
mod copy;
mod crds;
mod exit;
mod lease;
mod login;
mod plan;
mod run;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::verify::Root;

/// Makes Amazon ECR match what Git declares.
#[derive(Debug, Parser)]
#[command(name = "ecr-operator", version = crate::version::text(), about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator.
    Run(Box<run::Args>),
    /// Copy an image, or all tags of a repository, from one registry to another.
    Copy(copy::Args),
    /// Print a token for `docker login`, or write it into a docker config.
    Login(login::Args),
    /// Print the CustomResourceDefinitions as YAML.
    Crds(crds::Args),
    /// Print which IAM actions that manifests need are denied to the identity at hand. Changes nothing. Exits with 2 if
    /// one is.
    Check(check::Args),
    /// Print what applying manifests would change in ECR, without a cluster. Exits with 2 if something would.
    Plan(plan::Args),
}

/// Parses the command line and runs what it asks for.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(*args).map(|()| ExitCode::SUCCESS),
        Command::Copy(args) => copy::run(args),
        Command::Login(args) => login::run(args),
        Command::Crds(args) => crds::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => check::run(&args),
        Command::Plan(args) => plan::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("ecr-operator: {error:#}");
        ExitCode::FAILURE
    })
}

/// The trusted root of a file, or that of Sigstore's public instance.
fn trusted_root(file: Option<&Path>) -> anyhow::Result<Root> {
    let Some(file) = file else { return Ok(Root::public_good()?) };
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read the trusted root {file:?}"))?;
    Root::parse(&text).with_context(|| format!("the trusted root {file:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn no_options_contradict_one_another() {
        Cli::command().debug_assert();
    }
}
