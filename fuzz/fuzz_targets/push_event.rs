//! See `weir_fuzz::push_event`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::push_event(data));
