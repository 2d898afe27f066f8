//! Host names of ECR: what is read as one prints the same, and nothing else is read as one.
#![no_main]

// The files alone: all of the operator would take long to build, and has no part in this.
#[allow(dead_code)]
#[path = "../../src/ecr/host.rs"]
mod host;
#[path = "../../src/ecr/host_fuzz.rs"]
mod host_fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| host_fuzz::read(data));
