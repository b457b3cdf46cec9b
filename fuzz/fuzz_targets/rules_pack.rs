//! See `weir_fuzz::rules_pack`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::rules_pack(data));
