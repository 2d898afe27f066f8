//! The command line: one file a subcommand.

mod crds;
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
}

/// Parses the command line and runs what it asks for.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Crds(args) => crds::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ecr-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
