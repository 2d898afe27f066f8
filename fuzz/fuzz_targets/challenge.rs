//! The `WWW-Authenticate` header.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oci_copy::fuzzing::challenge(data));
