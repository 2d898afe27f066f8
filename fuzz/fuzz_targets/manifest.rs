//! Manifests and indexes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oci_copy::fuzzing::manifest(data));
