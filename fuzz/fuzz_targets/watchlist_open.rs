//! See `weir_fuzz::watchlist_open`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::watchlist_open(data));
