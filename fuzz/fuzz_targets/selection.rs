//! Leaving platforms out of an index.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oci_copy::fuzzing::selection(data));
