//! The `Link` header.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oci_copy::fuzzing::link(data));
