//! See `weir_fuzz::log_recover`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::log_recover(data));
