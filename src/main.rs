//! The program `ecr-operator`.

use std::process::ExitCode;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all, and once: every TLS connection of the program uses this provider.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("ecr-operator: a TLS provider was installed already");
        return ExitCode::FAILURE;
    }
    ecr_operator::cli::main()
}
