//! See `weir_fuzz::identifiers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::identifiers(data));
