//! See `weir_fuzz::broker_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::broker_message(data));
