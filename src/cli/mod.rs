//! The command line: one file a subcommand.

mod check;
mod crds;
mod plan;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Makes Amazon ECR match what Git declares.
#[derive(Debug, Parser)]
#[command(name = "ecr-operator", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator.
    Run(run::Args),
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
        Command::Run(args) => run::run(args).map(|()| ExitCode::SUCCESS),
        Command::Crds(args) => crds::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => check::run(&args),
        Command::Plan(args) => plan::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ecr-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
