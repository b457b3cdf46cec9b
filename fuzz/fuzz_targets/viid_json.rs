//! See `weir_fuzz::viid_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::viid_json(data));
