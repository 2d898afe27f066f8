//! Host names of ECR: what is read as one prints the same, and nothing else is read as one.
#![no_main]

// The file alone: all of the operator would take long to build, and has no part in this.
#[allow(dead_code)]
#[path = "../../src/ecr/host.rs"]
mod host;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(read) = host::RegistryHost::parse(text) {
        assert_eq!(read.to_string(), text);
        assert!(!host::is_public(text));
    }
});
