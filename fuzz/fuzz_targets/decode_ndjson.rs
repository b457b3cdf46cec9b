//! See `weir_fuzz::decode_ndjson`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::decode_ndjson(data));
