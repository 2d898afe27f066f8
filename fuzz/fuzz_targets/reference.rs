//! Image references, repositories and platforms.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oci_copy::fuzzing::reference(data));
