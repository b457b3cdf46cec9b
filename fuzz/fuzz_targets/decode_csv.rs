//! See `weir_fuzz::decode_csv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::decode_csv(data));
