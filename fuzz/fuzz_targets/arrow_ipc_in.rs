//! See `weir_fuzz::arrow_ipc_in`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::arrow_ipc_in(data));
