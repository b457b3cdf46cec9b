//! See `weir_fuzz::rules_eval`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::rules_eval(data));
